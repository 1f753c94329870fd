//! Trying the ways between hosts before anything is changed: agents answer on the ports that nobody listens on yet,
//! and every host, and this machine, knocks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use kubewan_core::facts::Facts;
use kubewan_core::inventory::Inventory;
use kubewan_core::network::Protocol;
use kubewan_core::network::ports::Source;
use kubewan_core::network::reach::{self, Measured, Way};
use kubewan_core::protocol::{Request, Response};

use crate::error::HostError;
use crate::fleet::{Fleet, Member};
use crate::random;

/// A round trip around the world takes a third of a second; a lost packet is sent again after one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ways in one request; see the agent's `probe::TARGETS_MAX`.
const AT_ONCE: usize = 64;

/// Tries all ways that can be tried now.
///
/// # Errors
/// Fails with what went wrong on every host; a way that is closed is no error here.
pub fn measure(
    fleet: &mut Fleet,
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
    facts: &BTreeMap<String, Facts>,
) -> Result<Vec<Measured>, Vec<HostError>> {
    let ways = reach::to_try(inventory, facts);
    if ways.is_empty() {
        return Ok(Vec::new());
    }
    let word = format!("kubewan-{}", random::nonce());
    let answering = collect(fleet.each(|member| listen(member, &ways, &word)))?;
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
        let own = scope.spawn(move || from_here(&ours));
        let theirs = fleet.each(|member| {
            let source = Source::Host(member.host.name.clone());
            from_host(member, &of(&source))
        });
        let own = own.join().expect("knocking does not panic");
        collect(theirs).map(|theirs| theirs.into_values().flatten().chain(own).collect())
    });
    // Nobody answers there any longer, whatever came of it.
    collect(fleet.each(|member| stop_listening(member)))?;
    answers
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
    match member.call(attempted, &Request::Listen { tcp, udp, word: word.into() })? {
        Response::Listening { tcp, udp } => {
            let tcp = tcp.into_iter().map(|port| (Protocol::Tcp, port));
            Ok(tcp.chain(udp.into_iter().map(|port| (Protocol::Udp, port))).collect())
        }
        _ => Err(member.other(attempted)),
    }
}

fn stop_listening(member: &mut Member) -> Result<(), HostError> {
    let nothing = Request::Listen { tcp: Vec::new(), udp: Vec::new(), word: String::new() };
    member.call("freeing the ports that were tried", &nothing).map(drop)
}

fn from_host(member: &mut Member, tried: &[&(&Way, String)]) -> Result<Vec<Measured>, HostError> {
    let mut measured = Vec::new();
    for part in tried.chunks(AT_ONCE) {
        let targets = part.iter().map(|(_, target)| target.clone()).collect();
        let answers = member.probe(targets, PATIENCE.as_millis() as u64)?;
        let ways = part.iter().map(|(way, _)| (*way).clone());
        measured.extend(ways.zip(answers.into_iter().map(|answer| answer.map(drop))));
    }
    Ok(measured)
}

/// Knocks from this machine, by TCP.
fn from_here(tried: &[&(&Way, String)]) -> Vec<Measured> {
    let mut measured = Vec::new();
    for part in tried.chunks(AT_ONCE) {
        let answers: Vec<_> = thread::scope(|scope| {
            let knocks: Vec<_> =
                part.iter().map(|(_, target)| scope.spawn(move || knock(target))).collect();
            knocks.into_iter().map(|knock| knock.join().expect("knocking does not panic")).collect()
        });
        measured.extend(part.iter().map(|(way, _)| (*way).clone()).zip(answers));
    }
    measured
}

/// Connects to `address:port`, or to `greets://address:port/word` and reads the word.
fn knock(target: &str) -> Result<(), String> {
    let (address, word) = match target.strip_prefix("greets://") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => (target, ""),
    };
    let socket: SocketAddr = address.parse().map_err(|_| format!("`{address}` is no address"))?;
    let mut stream = TcpStream::connect_timeout(&socket, PATIENCE).map_err(|e| match e.kind() {
        std::io::ErrorKind::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
        _ => e.to_string(),
    })?;
    let mut greeting = vec![0; word.len()];
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    match stream.read_exact(&mut greeting) {
        Ok(()) if greeting == word.as_bytes() => Ok(()),
        Ok(()) => Err("something else than this host answers there".into()),
        Err(error) => Err(format!("connected, and then nobody spoke: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_knock_wants_the_word() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.unwrap().write_all(b"a-word\n");
            }
        });
        assert_eq!(knock(&format!("greets://{address}/a-word")), Ok(()));
        assert_eq!(knock(&address.to_string()), Ok(()));
        let other = knock(&format!("greets://{address}/b-word")).unwrap_err();
        assert!(other.contains("something else"), "{other}");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(knock(&closed.to_string()).unwrap_err().contains("refused"));
    }
}
