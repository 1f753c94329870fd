//! Trying the ways between hosts before anything is changed: agents answer on the ports that nobody listens on yet, or
//! look at packets in front of a firewall that is in the way, and every host, and this machine, knocks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use kubewan_core::facts::Facts;
use kubewan_core::inventory::Inventory;
use kubewan_core::network::Protocol;
use kubewan_core::network::overheard::{self, Heard, Overheard};
use kubewan_core::network::ports::Source;
use kubewan_core::network::reach::{self, Measured, Missed, Seen, Way};
use kubewan_core::protocol::{Request, Response};

use crate::error::HostError;
use crate::fleet::{Fleet, Member};
use crate::random;

/// A round trip around the world takes a third of a second; a lost packet is sent again after one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ways in one request; see the agent's `probe::TARGETS_MAX`. A request takes the whole patience where packets are dropped,
/// and listeners live for a minute: this is enough for a thousand hosts, tried twice.
const AT_ONCE: usize = 256;

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
    let targets = Targets { addresses, answering: &answering, word: &word };
    let mut tried: Vec<(&Way, String)> =
        ways.iter().filter_map(|way| Some((way, targets.answered(way)?))).collect();
    tried.extend(overheard.iter().filter_map(|way| Some((way, targets.overheard(way)?))));
    let behind: BTreeSet<&str> = overheard.iter().map(|way| way.to.as_str()).collect();
    let counts = |way: &Way| !behind.contains(way.to.as_str());
    let answers = knock_twice(fleet, &tried, probe_here, &counts);
    // Nobody answers there any longer, whatever came of it.
    let heard = collect(fleet.each(stop_listening))?;
    let heard: Heard = heard
        .into_iter()
        .map(|(name, heard)| {
            let deaf = answering[&name].deaf.clone();
            (name, deaf.map_or(Ok(heard), Err))
        })
        .collect();
    let (mut measured, mut local_ports) = (Vec::new(), BTreeMap::new());
    for (way, answer) in answers? {
        if !behind.contains(way.to.as_str()) {
            measured.push((way, answer.map(seen).map_err(Missed::Closed)));
        } else if let Some(port) = answer.ok().and_then(|port| port.parse::<u16>().ok()) {
            local_ports.insert((way.from, way.to, way.port), port);
        }
    }
    let with_port = |way: Way| {
        let local = local_ports.get(&(way.from.clone(), way.to.clone(), way.port));
        (way, local.copied())
    };
    let knocked = overheard.iter().cloned().map(with_port).collect();
    let judged = overheard::judged(knocked, &heard, addresses, &measured);
    measured.extend(judged);
    Ok(measured)
}

/// What is probed to try a way.
struct Targets<'a> {
    addresses: &'a BTreeMap<String, Ipv4Addr>,
    answering: &'a BTreeMap<String, Answering>,
    word: &'a str,
}

impl Targets<'_> {
    /// Of a way that somebody answers on; `None` where nothing could be known.
    fn answered(&self, way: &Way) -> Option<String> {
        let (address, word) = (self.address(way), self.word);
        let is_ours = self.answering[&way.to].ports.contains(&(way.protocol, way.port));
        match (way.protocol, is_ours) {
            (Protocol::Tcp, true) => Some(format!("greets://{address}/{word}")),
            (Protocol::Udp, true) => Some(format!("udp://{address}/{word}")),
            // Someone else's: that he can be reached is all that can be known.
            (Protocol::Tcp, false) => Some(address.to_string()),
            (Protocol::Udp, false) => None,
        }
    }

    /// Of a way on which packets are looked at; `None` where they can't be.
    fn overheard(&self, way: &Way) -> Option<String> {
        let (address, word) = (self.address(way), self.word);
        if self.answering[&way.to].deaf.is_some() {
            return None;
        }
        match (way.protocol, &way.from) {
            (Protocol::Tcp, _) => Some(format!("knocks://{address}")),
            (Protocol::Udp, Source::Host(name)) => Some(format!("tells://{address}/{word} {name}")),
            (Protocol::Udp, _) => None,
        }
    }

    fn address(&self, way: &Way) -> SocketAddr {
        SocketAddr::from((self.addresses[&way.to], way.port))
    }
}

/// What probes answered, for each way.
type Answers = Vec<(Way, Result<String, String>)>;

/// Has every host, and this machine, try its own ways side by side.
fn knock_everywhere(
    fleet: &mut Fleet,
    tried: &[(&Way, String)],
    probe_here: &ProbeHere,
) -> Result<Answers, Vec<HostError>> {
    let of = |source: &Source| -> Vec<&(&Way, String)> {
        tried.iter().filter(|(way, _)| way.from == *source).collect()
    };
    thread::scope(|scope| {
        let ours = of(&Source::Operator);
        let here = scope.spawn(move || from(&ours, |targets| Ok(probe_here(&targets, PATIENCE))));
        let theirs = fleet.each(|member| {
            let source = Source::Host(member.host.name.clone());
            from(&of(&source), |targets| member.probe(targets, PATIENCE.as_millis() as u64))
        });
        let here = here.join().expect("knocking does not panic").map_err(|error| vec![error])?;
        collect(theirs).map(|theirs| theirs.into_values().flatten().chain(here).collect())
    })
}

/// The same, and once more where nothing came back: a way that loses packets, or a host that was busy, is not closed.
fn knock_twice(
    fleet: &mut Fleet,
    tried: &[(&Way, String)],
    probe_here: &ProbeHere,
    counts: &dyn Fn(&Way) -> bool,
) -> Result<Answers, Vec<HostError>> {
    let key = |way: &Way| (way.from.clone(), way.to.clone(), way.protocol, way.port);
    let mut answers = knock_everywhere(fleet, tried, probe_here)?;
    let silent = answers.iter().filter(|(way, answer)| answer.is_err() && counts(way));
    let silent: BTreeSet<_> = silent.map(|(way, _)| key(way)).collect();
    if silent.is_empty() {
        return Ok(answers);
    }
    let again = tried.iter().filter(|(way, _)| silent.contains(&key(way))).cloned();
    let second = knock_everywhere(fleet, &again.collect::<Vec<_>>(), probe_here)?;
    let mut second: BTreeMap<_, _> =
        second.into_iter().map(|(way, answer)| (key(&way), answer)).collect();
    for (way, answer) in &mut answers {
        if let Some(again) = second.remove(&key(way)) {
            *answer = again;
        }
    }
    Ok(answers)
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

/// What a host does while it is tried.
struct Answering {
    /// The ports it answers on.
    ports: BTreeSet<(Protocol, u16)>,
    /// Why it overhears nothing, where it should.
    deaf: Option<String>,
}

/// Has a host answer on the ports that ways lead to, and overhear the others; which ones it could have.
fn listen(
    member: &mut Member,
    ways: &[Way],
    overheard: &[Way],
    word: &str,
) -> Result<Answering, HostError> {
    let name = member.host.name.clone();
    let ports = |ways: &[Way], protocol| -> Vec<u16> {
        let here = ways.iter().filter(|way| way.to == name && way.protocol == protocol);
        here.map(|way| way.port).collect::<BTreeSet<u16>>().into_iter().collect()
    };
    let attempted = "answering on the ports that the cluster needs";
    let request = Request::Listen {
        tcp: ports(ways, Protocol::Tcp),
        udp: ports(ways, Protocol::Udp),
        // The overlay's: there is no other.
        overheard: ports(overheard, Protocol::Udp).first().copied(),
        knocked: ports(overheard, Protocol::Tcp),
        word: word.into(),
    };
    match member.call(attempted, &request)? {
        Response::Listening { tcp, udp, deaf, .. } => {
            let tcp = tcp.into_iter().map(|port| (Protocol::Tcp, port));
            let ports = tcp.chain(udp.into_iter().map(|port| (Protocol::Udp, port))).collect();
            Ok(Answering { ports, deaf })
        }
        _ => Err(member.other(attempted)),
    }
}

/// What was overheard in the meantime.
fn stop_listening(member: &mut Member) -> Result<Overheard, HostError> {
    let attempted = "freeing the ports that were tried";
    let (tcp, udp, knocked) = (Vec::new(), Vec::new(), Vec::new());
    let request = Request::Listen { tcp, udp, overheard: None, knocked, word: String::new() };
    match member.call(attempted, &request)? {
        Response::Listening { heard, .. } => Ok(heard),
        _ => Err(member.other(attempted)),
    }
}

/// Tries ways that begin at one place.
fn from(
    tried: &[&(&Way, String)],
    mut probe: impl FnMut(Vec<String>) -> Result<Vec<Result<String, String>>, HostError>,
) -> Result<Answers, HostError> {
    let mut answered = Vec::new();
    for part in tried.chunks(AT_ONCE) {
        let answers = probe(part.iter().map(|(_, target)| target.clone()).collect())?;
        answered.extend(part.iter().map(|(way, _)| (*way).clone()).zip(answers));
    }
    Ok(answered)
}

/// What one of ours said of a packet; of what someone else answered nothing is known.
fn seen(answer: String) -> Seen {
    Seen { source: answer.parse().ok() }
}
