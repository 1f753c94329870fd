//! Trying the ways between hosts before anything is changed: agents answer on the ports that nobody listens on yet,
//! and every host, and this machine, knocks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use kubewan_core::facts::Facts;
use kubewan_core::inventory::Inventory;
use kubewan_core::network::Protocol;
use kubewan_core::network::ports::Source;
use kubewan_core::network::reach::{self, Measured, Seen, Way};
use kubewan_core::protocol::{Request, Response};

use crate::error::HostError;
use crate::fleet::{Fleet, Member};
use crate::random;

/// A round trip around the world takes a third of a second; a lost packet is sent again after one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ways in one request; see the agent's `probe::TARGETS_MAX`.
const AT_ONCE: usize = 64;

/// Probes targets from this machine as an agent does from its host: `kubewan_agent::probe::all`.
pub type ProbeHere<'a> = dyn Fn(&[String], Duration) -> Vec<Result<String, String>> + Sync + 'a;

/// Tries all ways that can be tried now.
///
/// # Errors
/// Fails with what went wrong on every host; a way that is closed is no error here.
pub fn measure(
    fleet: &mut Fleet,
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
    facts: &BTreeMap<String, Facts>,
    probe_here: &ProbeHere,
) -> Result<Vec<Measured>, Vec<HostError>> {
    let ways = reach::to_try(inventory, facts);
    let overheard = reach::to_overhear(inventory, facts);
    if ways.is_empty() && overheard.is_empty() {
        return Ok(Vec::new());
    }
    let word = format!("kubewan-{}", random::nonce());
    let answering = collect(fleet.each(|member| listen(member, &ways, &overheard, &word)))?;
    let target = |way: &Way| {
        let address = SocketAddr::from((addresses[&way.to], way.port));
        let is_ours = answering[&way.to].contains(&(way.protocol, way.port));
        match (way.protocol, is_ours) {
            (Protocol::Tcp, true) => Some(format!("greets://{address}/{word}")),
            (Protocol::Udp, true) => Some(format!("udp://{address}/{word}")),
            // Someone else's: that he can be reached is all that can be known.
            (Protocol::Tcp, false) => Some(address.to_string()),
            (Protocol::Udp, false) => None,
        }
    };
    let tried: Vec<(&Way, String)> =
        ways.iter().filter_map(|way| Some((way, target(way)?))).collect();
    let of = |source: &Source| -> Vec<&(&Way, String)> {
        tried.iter().filter(|(way, _)| way.from == *source).collect()
    };
    let answers = thread::scope(|scope| {
        let ours = of(&Source::Operator);
        let here = scope.spawn(move || from(&ours, |targets| Ok(probe_here(&targets, PATIENCE))));
        let theirs = fleet.each(|member| {
            let source = Source::Host(member.host.name.clone());
            from(&of(&source), |targets| member.probe(targets, PATIENCE.as_millis() as u64))
        });
        let here = here.join().expect("knocking does not panic").map_err(|error| vec![error])?;
        collect(theirs).map(|theirs| theirs.into_values().flatten().chain(here).collect())
    });
    let told = collect(fleet.each(|member| tell(member, &overheard, addresses, &word)));
    // Nobody answers there any longer, whatever came of it.
    let heard = collect(fleet.each(|member| stop_listening(member)))?;
    told?;
    let mut measured: Vec<Measured> = answers?;
    measured.extend(overheard.into_iter().map(|way| {
        let result = source_of(&way, &heard[&way.to]);
        (way, result)
    }));
    Ok(measured)
}

/// Has a host say its name to others whose firewalls drop it.
fn tell(
    member: &mut Member,
    overheard: &[Way],
    addresses: &BTreeMap<String, Ipv4Addr>,
    word: &str,
) -> Result<(), HostError> {
    let name = member.host.name.clone();
    let mine = overheard.iter().filter(|way| way.from == Source::Host(name.clone()));
    let targets: Vec<String> = mine
        .map(|way| {
            let to = SocketAddr::from((addresses[&way.to], way.port));
            format!("tells://{to}/{word} {name}")
        })
        .collect();
    for part in targets.chunks(AT_ONCE) {
        member.probe(part.to_vec(), PATIENCE.as_millis() as u64)?;
    }
    Ok(())
}

/// Where the packets came from that were seen in front of a firewall.
fn source_of(way: &Way, heard: &[(String, Ipv4Addr)]) -> Result<Seen, String> {
    let is_it = |name: &String| way.from == Source::Host(name.clone());
    match heard.iter().find(|(name, _)| is_it(name)) {
        Some((_, source)) => Ok(Seen { source: Some(*source) }),
        None => Err("no packet came as far as its own firewall".into()),
    }
}

fn collect<T>(
    results: BTreeMap<String, Result<T, HostError>>,
) -> Result<BTreeMap<String, T>, Vec<HostError>> {
    let (mut found, mut errors) = (BTreeMap::new(), Vec::new());
    for (host, result) in results {
        match result {
            Ok(value) => drop(found.insert(host, value)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// Has a host answer on the ports that ways lead to; which ones it could have.
fn listen(
    member: &mut Member,
    ways: &[Way],
    overheard: &[Way],
    word: &str,
) -> Result<BTreeSet<(Protocol, u16)>, HostError> {
    let ports = |protocol| -> Vec<u16> {
        let here = ways.iter().filter(|way| way.to == member.host.name);
        let ports: BTreeSet<u16> =
            here.filter(|way| way.protocol == protocol).map(|way| way.port).collect();
        ports.into_iter().collect()
    };
    let (tcp, udp) = (ports(Protocol::Tcp), ports(Protocol::Udp));
    let attempted = "answering on the ports that the cluster needs";
    let overheard = overheard.iter().find(|way| way.to == member.host.name).map(|way| way.port);
    match member.call(attempted, &Request::Listen { tcp, udp, overheard, word: word.into() })? {
        Response::Listening { tcp, udp, .. } => {
            let tcp = tcp.into_iter().map(|port| (Protocol::Tcp, port));
            Ok(tcp.chain(udp.into_iter().map(|port| (Protocol::Udp, port))).collect())
        }
        _ => Err(member.other(attempted)),
    }
}

/// Who was overheard in the meantime, and from which addresses.
fn stop_listening(member: &mut Member) -> Result<Vec<(String, Ipv4Addr)>, HostError> {
    let attempted = "freeing the ports that were tried";
    let (tcp, udp, word) = (Vec::new(), Vec::new(), String::new());
    match member.call(attempted, &Request::Listen { tcp, udp, overheard: None, word })? {
        Response::Listening { heard, .. } => Ok(heard),
        _ => Err(member.other(attempted)),
    }
}

/// Tries ways that begin at one place.
fn from(
    tried: &[&(&Way, String)],
    mut probe: impl FnMut(Vec<String>) -> Result<Vec<Result<String, String>>, HostError>,
) -> Result<Vec<Measured>, HostError> {
    let mut measured = Vec::new();
    for part in tried.chunks(AT_ONCE) {
        let answers = probe(part.iter().map(|(_, target)| target.clone()).collect())?;
        let ways = part.iter().map(|(way, _)| (*way).clone());
        measured.extend(ways.zip(answers.into_iter().map(|answer| answer.map(seen))));
    }
    Ok(measured)
}

/// What one of ours said of a packet; of what someone else answered nothing is known.
fn seen(answer: String) -> Seen {
    Seen { source: answer.parse().ok() }
}
