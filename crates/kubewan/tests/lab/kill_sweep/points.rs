//! Where runs are stopped, and how.

use std::time::Duration;

use serde_json::Value;

use crate::support::running::{begins, ends};
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
    /// A while after the first step of that kind began somewhere, when it has not ended yet.
    Inside {
        /// The kind of action.
        kind: &'static str,
        /// How long.
        after: Duration,
    },
}

/// What a run told that nobody stopped, each event with its time since the start; without uploads' progress.
pub struct Course(pub Vec<(Duration, Value)>);

impl Course {
    fn begin_of(&self, kind: &str) -> usize {
        let begin = self.0.iter().position(|(_, event)| begins(event, kind));
        begin.unwrap_or_else(|| panic!("no {kind} in the run"))
    }

    /// How long the shortest step of a kind took.
    fn length_of(&self, kind: &str) -> Duration {
        let steps = self.0.iter().enumerate().filter(|(_, (_, event))| begins(event, kind));
        let lengths = steps.filter_map(|(at, (start, begun))| {
            let (end, _) = self.0[at..].iter().find(|(_, event)| ends(event, begun))?;
            Some(*end - *start)
        });
        lengths.min().unwrap_or_default()
    }

    /// Where a place lies, counted in events.
    fn position(&self, place: Place) -> usize {
        match place {
            Place::Event(at) => at,
            Place::Inside { kind, .. } => self.begin_of(kind) + 1,
        }
    }
}

/// Stops in one life of the hosts, and what comes after the last.
#[derive(Debug)]
pub struct Chain {
    /// The stops, in their order.
    pub points: Vec<Point>,
    /// What comes after.
    pub then: Then,
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
    then: Then,
    /// Two lives only: the second ends half-way, with a `reset` at once.
    half_done: bool,
}

/// Kinds of steps that runs are stopped within.
const KUBEADM: [&str; 2] = ["kubeadm-init", "kubeadm-join"];

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
            half_done: words.is_empty(),
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

    /// The points, in chains of stops that one life of the hosts has.
    pub fn chains(&self, course: &Course) -> Vec<Chain> {
        let mut random = Random(self.seed);
        let events = course.0.len();
        let mut all = Vec::new();
        for at in 0..self.points {
            // One in each of as many equal parts of the run.
            let part = events as f64 / self.points as f64;
            let event = (at as f64 * part) as usize + random.below(part.ceil() as usize);
            all.push(Place::Event(event.clamp(1, events - 1)));
        }
        for kind in KUBEADM {
            // Another time it may be much faster, as where the machine stalled in the run that nobody stopped, and has to be within
            // it all the same.
            let length = course.length_of(kind).mul_f64(if self.inside > 1 { 0.6 } else { 0.25 });
            for at in 0..self.inside {
                let part = length / self.inside as u32;
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
        self.in_lives(&points, course)
    }

    /// Where a life has several stops, none goes before those within kubeadm's part: a run that goes on where another was
    /// stopped tells fewer events, and would be beyond it.
    fn in_lives(&self, points: &[Point], course: &Course) -> Vec<Chain> {
        let chain = |points: &[Point], then| Chain { points: in_a_row(points, course), then };
        if self.chain == 1 {
            // One without any stop: what differs then is no stop's doing.
            let none = (self.then == Then::Up).then_some(chain(&[], Then::Up));
            return none
                .into_iter()
                .chain(points.chunks(1).map(|point| chain(point, self.then)))
                .collect();
        }
        let (events, within) = points.split_at(self.points);
        let (inits, joins) = within.split_at(self.inside);
        let mut lives: Vec<Vec<Point>> =
            inits.iter().zip(joins).map(|(init, join)| vec![*init, *join]).collect();
        if !self.half_done {
            lives.extend(events.chunks(self.chain).map(<[Point]>::to_vec));
            return lives.iter().map(|points| chain(points, self.then)).collect();
        }
        // Two lives: what lies behind the joins goes with them, what lies before is given up.
        let joined = course.begin_of(KUBEADM[1]);
        let behind = |point: &&Point| course.position(point.place) > joined;
        let (behind, before): (Vec<&Point>, Vec<&Point>) = events.iter().partition(behind);
        let mut on: Vec<Point> = lives.concat();
        on.extend(behind);
        let mut given_up: Vec<Point> = before.into_iter().copied().collect();
        // A run that outlives its stop would finish what is to be half-done.
        let kill = on.iter_mut().find(|point| point.stop == Stop::Kubewan);
        if let (Some(kill), Some(last)) = (kill, given_up.last_mut()) {
            std::mem::swap(&mut kill.stop, &mut last.stop);
        }
        vec![chain(&on, Then::Up), chain(&given_up, Then::Reset)]
    }
}

/// In the order of the run. One that goes on where another was stopped tells about half of the events, so that each point
/// is half as far from the one before as it is in a single run.
fn in_a_row(points: &[Point], course: &Course) -> Vec<Point> {
    let mut chain = points.to_vec();
    chain.sort_by_key(|point| course.position(point.place));
    let mut before = 0;
    for point in &mut chain {
        let position = course.position(point.place);
        if let Place::Event(at) = &mut point.place {
            let distance = position - before;
            *at = if before == 0 { distance } else { distance / 2 }.max(1);
        }
        before = position;
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

/// A run of 300 events, with an init from the 100th on and a join from the 150th on, an event a second.
#[cfg(test)]
fn a_course() -> Course {
    let mut events = vec![Value::Null; 300];
    for (at, step, state) in [
        (100, "master01/kubeadm-init", "started"),
        (120, "master01/kubeadm-init", "done"),
        (150, "node01/kubeadm-join", "started"),
        (151, "node02/kubeadm-join", "started"),
        (155, "node02/kubeadm-join", "done"),
        (160, "node01/kubeadm-join", "done"),
    ] {
        let host = step.split('/').next();
        events[at] =
            serde_json::json!({ "event": "step", "host": host, "step": step, "state": state });
    }
    let at = |(at, event)| (Duration::from_secs(at), event);
    Course((0..).zip(events).map(at).collect())
}

#[cfg(test)]
fn a_sweep(points: usize, inside: usize, chain: usize, seed: u64) -> Sweep {
    let (kubernetes, then) = (Kubernetes::Rehearsal, Then::Up);
    Sweep { points, inside, chain, seed, kubernetes, then, half_done: chain > 1 }
}

#[test]
fn points_are_spread_over_the_run_and_the_same_for_a_seed() {
    let sweep = |seed| a_sweep(60, 5, 1, seed);
    let course = a_course();
    let chains = sweep(1).chains(&course);
    assert!(chains[0].points.is_empty());
    let places = |chains: &[Chain]| -> Vec<Place> {
        chains.iter().flat_map(|chain| &chain.points).map(|point| point.place).collect()
    };
    let again = places(&sweep(1).chains(&course));
    assert_ne!(again, places(&sweep(2).chains(&course)));
    let places = places(&chains);
    assert_eq!(places, again);
    assert_eq!(places.len(), 70);
    for (at, place) in places[..60].iter().enumerate() {
        let Place::Event(event) = place else { panic!("{place:?}") };
        assert!((at * 5..=at * 5 + 5).contains(event), "{at}: {event}");
    }
    for (at, place) in places[60..].iter().enumerate() {
        let Place::Inside { kind, after } = place else { panic!("{place:?}") };
        let length = if at < 5 { 20 } else { 10 };
        assert_eq!(*kind, KUBEADM[at / 5]);
        assert!(*after < Duration::from_secs(length), "{at}: {after:?}");
    }
    for stop in [Stop::Kubewan, Stop::Agent, Stop::Link, Stop::Reboot] {
        let points = chains.iter().flat_map(|chain| &chain.points);
        assert!(points.filter(|point| point.stop == stop).count() >= 15, "{stop:?}");
    }
}

#[test]
fn stops_of_one_life_come_in_the_order_of_the_run() {
    let course = a_course();
    let chains = a_sweep(4, 1, 6, 1).chains(&course);
    let kinds = |chain: &Chain| -> Vec<&str> {
        let kind = |point: &Point| match point.place {
            Place::Event(_) => "event",
            Place::Inside { kind, .. } => kind,
        };
        chain.points.iter().map(kind).collect()
    };
    assert_eq!(chains.len(), 2);
    assert_eq!((chains[0].then, chains[1].then), (Then::Up, Then::Reset));
    let [on, given_up] = [&chains[0], &chains[1]];
    assert_eq!(kinds(on)[..2], KUBEADM);
    assert_eq!(on.points.len() + given_up.points.len(), 6);
    assert!(kinds(given_up).iter().all(|kind| *kind == "event"));
    assert_eq!(given_up.points.last().unwrap().stop, Stop::Kubewan);
    let all = chains.iter().flat_map(|chain| &chain.points);
    for stop in [Stop::Kubewan, Stop::Agent, Stop::Link, Stop::Reboot] {
        assert!(all.clone().any(|point| point.stop == stop), "{stop:?}");
    }
    // Together the distances are as long as the run at most.
    let far = given_up.points.iter().map(|point| match point.place {
        Place::Event(count) => count,
        Place::Inside { .. } => 0,
    });
    assert!(far.sum::<usize>() < 300);
}
