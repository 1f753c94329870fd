//! Where runs are stopped, and how.

use std::time::Duration;

use serde_json::Value;

use crate::support::{HOSTS, Kubernetes};

/// What stops a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGKILL of the program on the operator's machine.
    Kubewan,
    /// SIGKILL of everything of kubewan's that runs on a host.
    Agent,
    /// The host's link is cut for longer than ssh waits.
    Link,
    /// The host is booted anew.
    Reboot,
}

/// Where in the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// After so many events.
    Event(usize),
    /// A while after the first step of that kind began somewhere.
    Inside {
        /// The kind of action.
        kind: &'static str,
        /// How long.
        after: Duration,
    },
}

/// One stop.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Where.
    pub place: Place,
    /// By what.
    pub stop: Stop,
    /// On which host, where the last event names none.
    pub host: &'static str,
}

/// What comes after a stopped run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another `up`, and then a `reset`.
    Up,
    /// A `reset` at once.
    Reset,
}

/// What is asked for.
#[derive(Debug)]
pub struct Sweep {
    /// Stops over the whole run.
    points: usize,
    /// Stops within `kubeadm init` and the joins, each.
    inside: usize,
    /// So many stops in one life of the hosts.
    chain: usize,
    /// Points of the same seed are the same.
    seed: u64,
    /// What runs.
    pub kubernetes: Kubernetes,
    /// What comes after.
    pub then: Then,
}

impl Sweep {
    /// As `KILL_SWEEP` says, in words like `points=60`; a short one where it says nothing.
    pub fn from_environment() -> Sweep {
        let words = std::env::var("KILL_SWEEP").unwrap_or_default();
        let mut sweep = Sweep {
            points: 4,
            inside: 1,
            chain: 6,
            seed: 1,
            kubernetes: Kubernetes::Rehearsal,
            then: Then::Up,
        };
        for word in words.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let number = || value.parse().unwrap_or_else(|_| panic!("`{word}` has no number"));
            match (key, value) {
                ("points", _) => sweep.points = number(),
                ("inside", _) => sweep.inside = number(),
                ("chain", _) => sweep.chain = number().max(1),
                ("seed", _) => sweep.seed = number() as u64,
                ("kubernetes", "rehearsal") => sweep.kubernetes = Kubernetes::Rehearsal,
                ("kubernetes", "bundle") => sweep.kubernetes = Kubernetes::Bundle,
                ("then", "up") => sweep.then = Then::Up,
                ("then", "reset") => sweep.then = Then::Reset,
                _ => panic!("`{word}` is nothing that a sweep knows"),
            }
        }
        sweep
    }

    /// The points, in chains of stops that one life of the hosts has, of a run that tells these events.
    pub fn chains(&self, events: &[Value]) -> Vec<Vec<Point>> {
        let mut random = Random(self.seed);
        let mut all = Vec::new();
        for at in 0..self.points {
            // One in each of as many equal parts of the run.
            let part = events.len() as f64 / self.points as f64;
            let event = (at as f64 * part) as usize + random.below(part.ceil() as usize);
            all.push(Place::Event(event.clamp(1, events.len() - 1)));
        }
        for kind in ["kubeadm-init", "kubeadm-join"] {
            let lasts = match self.kubernetes {
                // As long as they take, so that some come before its first effect and some after its last.
                Kubernetes::Rehearsal => Duration::from_secs(5),
                Kubernetes::Bundle => Duration::from_secs(14),
            };
            for at in 0..self.inside {
                let part = lasts / self.inside as u32;
                let after = part * at as u32 + part.mul_f64(random.below(1000) as f64 / 1000.0);
                all.push(Place::Inside { kind, after });
            }
        }
        let stops = [Stop::Kubewan, Stop::Agent, Stop::Reboot, Stop::Link];
        let first = random.below(stops.len());
        let points: Vec<Point> = all
            .into_iter()
            .enumerate()
            .map(|(at, place)| Point {
                place,
                stop: stops[(first + at) % stops.len()],
                host: HOSTS[random.below(HOSTS.len())],
            })
            .collect();
        let mut chains: Vec<_> =
            points.chunks(self.chain).map(|chunk| in_a_row(chunk.to_vec())).collect();
        if self.chain == 1 && self.then == Then::Up {
            // Without any stop: what differs then is no stop's doing.
            chains.insert(0, Vec::new());
        }
        chains
    }
}

/// A run that goes on where another was stopped tells fewer events: each point of a chain is as far from the one before
/// as it is in a single run.
fn in_a_row(mut chain: Vec<Point>) -> Vec<Point> {
    let mut before = 0;
    for point in &mut chain {
        if let Place::Event(at) = &mut point.place {
            (before, *at) = (*at, (*at - before).max(1));
        }
    }
    chain
}

/// splitmix64 (Steele, Lea, Flood 2014): enough to choose places, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

#[test]
fn points_are_spread_over_the_run_and_the_same_for_a_seed() {
    let events = vec![Value::Null; 300];
    let sweep = |seed| Sweep {
        points: 60,
        inside: 5,
        chain: 1,
        seed,
        kubernetes: Kubernetes::Rehearsal,
        then: Then::Up,
    };
    let chains = sweep(1).chains(&events);
    assert!(chains[0].is_empty());
    let places = |chains: &[Vec<Point>]| -> Vec<Place> {
        chains.iter().flatten().map(|point| point.place).collect()
    };
    let again = places(&sweep(1).chains(&events));
    assert_ne!(again, places(&sweep(2).chains(&events)));
    let places = places(&chains);
    assert_eq!(places, again);
    assert_eq!(places.len(), 70);
    for (at, place) in places[..60].iter().enumerate() {
        let Place::Event(event) = place else { panic!("{place:?}") };
        assert!((at * 5..=at * 5 + 5).contains(event), "{at}: {event}");
    }
    for stop in [Stop::Kubewan, Stop::Agent, Stop::Link, Stop::Reboot] {
        assert!(
            chains.iter().flatten().filter(|point| point.stop == stop).count() >= 15,
            "{stop:?}"
        );
    }
}
