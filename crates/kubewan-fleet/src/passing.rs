//! Artifacts over a narrow uplink once: the first control plane is sent what several hosts need, and the others take it from there
//! as soon as it is whole, over the port that they have to reach anyway. Where that is not faster, or can't be, everything goes
//! from here to each host as ever: nothing fails because of this.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kubewan_core::action::Artifact;
use kubewan_core::event::Event;
use kubewan_core::protocol::{Request, Response};

use crate::error::HostError;
use crate::executor::send_artifact;
use crate::fleet::{Emit, Fleet, Member};
use crate::random;
use crate::upload::Sources;

/// Bytes after which it is known how fast they go.
const SAMPLE: u64 = 4 << 20;

/// What has to be saved: to wait for others costs a little, and where all goes fast there is nothing to win.
const WORTH: Duration = Duration::from_secs(20);

/// Bytes of one request to take: an answer comes every few seconds.
const AT_ONCE: u64 = 32 << 20;

/// The host that passes on, and where the others find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Giver {
    /// Its name.
    pub host: String,
    /// Its public address.
    pub address: Ipv4Addr,
    /// A TCP port that the others reach and that nothing listens on yet.
    pub port: u16,
}

/// Bytes and the time that they took.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    bytes: u64,
    time: Duration,
}

impl Pace {
    /// Bytes a second; `None` before enough went through.
    fn rate(self) -> Option<f64> {
        (self.bytes >= SAMPLE).then(|| self.bytes as f64 / self.time.as_secs_f64().max(0.001))
    }
}

/// Whether it saves enough time that so many bytes go from here once and not to each of the other hosts too.
fn is_worth_it(uplink: f64, bytes: u64, takers: usize) -> bool {
    bytes as f64 * takers as f64 / uplink > WORTH.as_secs_f64()
}

/// Whether taking is no slower than this host's share of the uplink would be.
fn is_fast_enough(taking: f64, uplink: f64, takers: usize) -> bool {
    taking >= uplink / (takers.max(1) as f64 + 1.0)
}

/// How far the giver is, for those who wait for it.
#[derive(Debug, Default)]
struct Ready {
    /// Artifacts that it has, in the order in which they are sent.
    count: usize,
    /// There will be no more.
    over: bool,
    uplink: Pace,
}

struct Shared<'a> {
    artifacts: Vec<&'a Artifact>,
    takers: usize,
    ready: Mutex<Ready>,
    more: Condvar,
    word: String,
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Ready)) {
        change(&mut self.lock());
        self.more.notify_all();
    }

    /// Waits until the giver has that artifact; `None`: it won't.
    fn wait(&self, at: usize) -> Option<Pace> {
        let mut ready = self.lock();
        while ready.count <= at && !ready.over {
            ready = self.more.wait(ready).unwrap_or_else(PoisonError::into_inner);
        }
        (ready.count > at).then_some(ready.uplink)
    }
}

/// Whatever becomes of the giver, nobody waits for it for ever.
struct Over<'a, 'b>(&'a Shared<'b>);

impl Drop for Over<'_, '_> {
    fn drop(&mut self) {
        self.0.note(|ready| ready.over = true);
    }
}

/// Brings artifacts that several hosts of a phase need to as many of them as can have them faster so.
///
/// # Errors
/// Fails where the giver itself can't be sent what it needs, or a host can't be reached any more.
pub fn ahead(
    fleet: &mut Fleet,
    giver: &Giver,
    needed: &BTreeMap<String, BTreeSet<&Artifact>>,
    sources: &Sources,
    emit: &Emit,
) -> Result<(), Vec<HostError>> {
    let Some(shared) = shared(giver, needed) else { return Ok(()) };
    let hosts: BTreeSet<String> = needed.keys().cloned().collect();
    let results = fleet.each_of(&hosts, |member| {
        if member.host.name == giver.host {
            give(member, giver, &shared, sources, emit)
        } else {
            take_all(member, giver, &shared, &needed[&member.host.name], emit)
        }
    });
    let mut errors: Vec<HostError> = results.into_values().filter_map(Result::err).collect();
    let name = BTreeSet::from([giver.host.clone()]);
    // The port is the API server's.
    let ends = fleet.each_of(&name, |member| offer(member, None, &shared.word).map(drop));
    errors.extend(ends.into_values().filter_map(Result::err));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What the giver and others need, the largest first; `None` where that is nothing to speak of.
fn shared<'a>(
    giver: &Giver,
    needed: &BTreeMap<String, BTreeSet<&'a Artifact>>,
) -> Option<Shared<'a>> {
    let own = needed.get(&giver.host)?;
    let others = || needed.iter().filter(|(host, _)| **host != giver.host).map(|(_, needs)| needs);
    let mut artifacts: Vec<&Artifact> = own
        .iter()
        .copied()
        .filter(|artifact| others().any(|needs| needs.contains(artifact)))
        .collect();
    artifacts.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.sha256.cmp(&b.sha256)));
    let takers = others().filter(|needs| artifacts.iter().any(|a| needs.contains(a))).count();
    let enough = artifacts.iter().map(|artifact| artifact.size).sum::<u64>() > SAMPLE;
    enough.then(|| Shared {
        artifacts,
        takers,
        ready: Mutex::default(),
        more: Condvar::new(),
        word: format!("kubewan-{}", random::nonce()),
    })
}

/// Has a host give on a port, or no longer; whether it does.
fn offer(member: &mut Member, port: Option<u16>, word: &str) -> Result<bool, HostError> {
    let attempted = "having it pass files on";
    match member.call(attempted, &Request::Give { port, word: word.into() })? {
        Response::Giving(gives) => Ok(gives),
        _ => Err(member.other(attempted)),
    }
}

fn give(
    member: &mut Member,
    giver: &Giver,
    shared: &Shared,
    sources: &Sources,
    emit: &Emit,
) -> Result<(), HostError> {
    let _over = Over(shared);
    let mut left: u64 = shared.artifacts.iter().map(|artifact| artifact.size).sum();
    let mut uplink = Pace::default();
    for artifact in &shared.artifacts {
        let before = stored(member, artifact)?;
        let begun = Instant::now();
        send_artifact(member, artifact, sources, emit)?;
        if before < artifact.size {
            uplink.bytes += artifact.size - before;
            uplink.time += begun.elapsed();
        }
        left -= artifact.size;
        if let Some(rate) = uplink.rate()
            && !is_worth_it(rate, left + uplink.bytes, shared.takers)
        {
            return Ok(());
        }
        // A connection that was made anew knows nothing of it.
        if !offer(member, Some(giver.port), &shared.word)? {
            return Ok(());
        }
        shared.note(|ready| {
            ready.count += 1;
            ready.uplink = uplink;
        });
    }
    Ok(())
}

/// How many bytes of an artifact a host has.
fn stored(member: &mut Member, artifact: &Artifact) -> Result<u64, HostError> {
    let attempted = "looking what it has";
    match member.call(attempted, &Request::Offset { sha256: artifact.sha256.clone() })? {
        Response::Stored { bytes, .. } => Ok(bytes),
        Response::Failed(said) => Err(member.refused(attempted, said)),
        _ => Err(member.other(attempted)),
    }
}

fn take_all(
    member: &mut Member,
    giver: &Giver,
    shared: &Shared,
    needs: &BTreeSet<&Artifact>,
    emit: &Emit,
) -> Result<(), HostError> {
    let mut pace = Pace::default();
    for (at, artifact) in shared.artifacts.iter().enumerate() {
        if !needs.contains(artifact) || stored(member, artifact)? == artifact.size {
            continue;
        }
        let Some(uplink) = shared.wait(at) else { return Ok(()) };
        let is_slow = |pace: &Pace| {
            let rates = pace.rate().zip(uplink.rate());
            rates.is_some_and(|(taking, uplink)| !is_fast_enough(taking, uplink, shared.takers))
        };
        if is_slow(&pace) || !take(member, giver, shared, artifact, &mut pace, &is_slow, emit)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Takes an artifact whole; whether it could be had, and not too slowly. What came of it is kept: the rest comes from here.
fn take(
    member: &mut Member,
    giver: &Giver,
    shared: &Shared,
    artifact: &Artifact,
    pace: &mut Pace,
    is_slow: &dyn Fn(&Pace) -> bool,
    emit: &Emit,
) -> Result<bool, HostError> {
    let attempted = format!("taking {} from {}", artifact.name, giver.host);
    let request = Request::Take {
        address: giver.address,
        port: giver.port,
        word: shared.word.clone(),
        sha256: artifact.sha256.clone(),
        size: artifact.size,
        most: AT_ONCE,
    };
    let mut before = stored(member, artifact)?;
    loop {
        let begun = Instant::now();
        let Response::Stored { bytes, complete } = member.call(&attempted, &request)? else {
            return Ok(false);
        };
        pace.bytes += bytes.saturating_sub(before);
        pace.time += begun.elapsed();
        emit(Event::Upload {
            host: member.host.name.clone(),
            name: artifact.name.clone(),
            bytes,
            total: artifact.size,
            from: Some(giver.host.clone()),
        });
        if complete || bytes <= before || is_slow(pace) {
            return Ok(complete);
        }
        before = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, mebi: u64) -> Artifact {
        let (sha256, size) = (kubewan_core::sha256_hex(name.as_bytes()), mebi << 20);
        Artifact { sha256, size, name: name.into(), url: None }
    }

    fn giver() -> Giver {
        Giver { host: "m".into(), address: Ipv4Addr::new(198, 51, 100, 10), port: 6443 }
    }

    #[test]
    fn only_what_the_giver_and_others_need_is_passed_on_the_largest_first() {
        let (big, small, own, theirs) =
            (artifact("big", 9), artifact("small", 1), artifact("own", 99), artifact("theirs", 99));
        let needed = BTreeMap::from([
            ("m".to_owned(), BTreeSet::from([&big, &small, &own])),
            ("a".to_owned(), BTreeSet::from([&big, &small, &theirs])),
            ("b".to_owned(), BTreeSet::from([&theirs])),
        ]);
        let found = shared(&giver(), &needed).unwrap();
        assert_eq!(found.artifacts, [&big, &small]);
        assert_eq!(found.takers, 1);
        let little = BTreeMap::from([
            ("m".to_owned(), BTreeSet::from([&small])),
            ("a".to_owned(), BTreeSet::from([&small])),
        ]);
        assert!(shared(&giver(), &little).is_none());
        let others = BTreeMap::from([("a".to_owned(), BTreeSet::from([&big]))]);
        assert!(shared(&giver(), &others).is_none(), "the giver has nothing to do in this phase");
    }

    /// A home's 20 Mbit/s against a data centre's gigabit, for 200 MB and two hosts more.
    #[test]
    fn a_narrow_uplink_is_used_once_and_a_wide_one_for_all() {
        let (home, gigabit, bytes) = (2.5e6, 1.2e8, 200 << 20);
        assert!(is_worth_it(home, bytes, 2) && !is_worth_it(gigabit, bytes, 2));
        assert!(is_worth_it(gigabit, bytes, 50));
        assert!(is_fast_enough(1e7, home, 2) && !is_fast_enough(5e5, home, 2));
    }

    #[test]
    fn nobody_waits_for_a_giver_that_has_ended() {
        let big = artifact("big", 9);
        let needed = BTreeMap::from([
            ("m".to_owned(), BTreeSet::from([&big])),
            ("a".to_owned(), BTreeSet::from([&big])),
        ]);
        let shared = shared(&giver(), &needed).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| shared.wait(0).is_some());
            drop(Over(&shared));
            assert!(!waits.join().unwrap());
        });
        shared.note(|ready| ready.count = 1);
        assert!(shared.wait(0).is_some() && shared.wait(1).is_none());
    }
}
