//! Runs that are stopped anywhere, each followed by another `up` (or a `reset`): the hosts end as if nothing had
//! happened, and their journals lead back to the start.
//!
//! `cargo xtask kill-sweep` chooses how many points, on which Kubernetes, and what comes after; `KILL_SWEEP` carries
//! its words here. Without it the story is a short one: a few points in one chain, each run taken up where the one
//! before was stopped.

mod canonical;
mod points;

use std::time::{Duration, Instant};

use kubewan_lab::{Allow, HostSnapshot};

use crate::support::looks::{AFTER_RESET, differences, looks};
use crate::support::running::{Ended, Running, UP};
use crate::support::{HOSTS, Stage, lab_name};
use points::{Place, Point, Stop, Sweep, Then};

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn stopped_anywhere_a_run_is_as_if_it_had_not_been() {
    let sweep = Sweep::from_environment();
    let stage = Stage::hosts_only(sweep.kubernetes);
    let start = looks(&stage);
    let (reference, events) = unstopped(&stage);
    reset_leads_back(&stage, &start);
    let chains = sweep.chains(&events);
    let count: usize = chains.iter().map(Vec::len).sum();
    eprintln!("{sweep:?}: {count} points over {} events", events.len());
    let mut failed = Vec::new();
    for (number, chain) in chains.iter().enumerate() {
        let began = Instant::now();
        stage.lab.rewind(&[], &mut |_| {}).expect("a rewind");
        let start = looks(&stage);
        let told = || format!("chain {number}: {chain:?}");
        eprintln!("{}", told());
        let last = chain.len().saturating_sub(1);
        let stop_there = |(at, point): &(usize, &Point)| stop(&stage, point, *at < last);
        let stopped = chain.iter().enumerate().filter(stop_there).count();
        let wrong = match sweep.then {
            Then::Up => goes_on(&stage, &reference).and_then(|()| went_back(&stage, &start)),
            Then::Reset => went_back(&stage, &start),
        };
        let took = began.elapsed().as_secs();
        match wrong {
            Ok(()) => eprintln!("chain {number}: as it should be, {stopped} stops, {took} s"),
            Err(why) => {
                eprintln!("chain {number} FAILED: {why}");
                failed.push(format!("{}\n{why}", told()));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} chains:\n{}",
        failed.len(),
        chains.len(),
        failed.join("\n")
    );
}

/// A run that nobody stops: how the hosts are after it, and what it told.
fn unstopped(stage: &Stage) -> (Vec<HostSnapshot>, Vec<serde_json::Value>) {
    let Ended { code, events, stderr } = Running::start(stage, &UP).end();
    assert_eq!(code, 0, "{stderr}");
    let events = events.into_iter().filter(|event| event["event"] != "upload").collect();
    (canonical::looks(stage), events)
}

fn reset_leads_back(stage: &Stage, start: &[HostSnapshot]) {
    if let Err(why) = went_back(stage, start) {
        panic!("the reset of a run that nobody stopped: {why}");
    }
}

/// Starts a run and stops it there. Whether it came so far. Where more stops follow, the program is killed too, whatever
/// else happens: it might outlive the rest, and leave nothing to be stopped.
fn stop(stage: &Stage, point: &Point, more_follow: bool) -> bool {
    let mut run = Running::start(stage, &UP);
    let reached = match point.place {
        Place::Event(count) => run.after(count),
        Place::Inside { kind, after } => {
            let begun = run.until_started_or_end(kind);
            if begun.is_some() {
                std::thread::sleep(after);
            }
            begun
        }
    };
    let Some(event) = reached else {
        eprintln!("  the run ended before {:?}: {}", point.place, run.end().code);
        return false;
    };
    let host = event["host"].as_str().unwrap_or(point.host).to_owned();
    let at = event["step"].as_str().or(event["phase"].as_str()).unwrap_or_default();
    eprintln!("  {:?} on {host} at {} {at}", point.stop, event["event"]);
    match point.stop {
        Stop::Kubewan => {}
        Stop::Agent => {
            stage.on(
                &host,
                "systemctl kill -s KILL kubewan-batch.service 2> /dev/null; pkill -KILL -f '^/var/lib/kubewan/'; true",
            );
        }
        Stop::Link => {
            stage.lab.cut(&host).expect("a cut");
            std::thread::sleep(Duration::from_secs(25));
            stage.lab.heal(&host).expect("a link");
        }
        Stop::Reboot => stage.lab.reboot(&host, &mut |_| {}).expect("a reboot"),
    }
    if more_follow || point.stop == Stop::Kubewan {
        run.kill_if_running();
        return true;
    }
    let ended = run.end();
    let last = ended.stderr.lines().rfind(|line| line.starts_with("error")).unwrap_or("no error");
    eprintln!("  it ended with {}: {last}", ended.code);
    true
}

/// The next `up` ends well, which an empty plan is part of, and the hosts are as they are without a stop.
fn goes_on(stage: &Stage, reference: &[HostSnapshot]) -> Result<(), String> {
    let said = stage.kubewan(&["up", "--yes", "--no-smoke"]);
    if said.code != 0 {
        return Err(format!(
            "the next up ended with {}:\n{}{}",
            said.code, said.stdout, said.stderr
        ));
    }
    same(reference, &canonical::looks(stage), canonical::LEFT_OUT)
}

fn went_back(stage: &Stage, start: &[HostSnapshot]) -> Result<(), String> {
    let said = stage.kubewan(&["reset", "--confirm", &lab_name()]);
    if said.code != 0 {
        return Err(format!("reset ended with {}:\n{}{}", said.code, said.stdout, said.stderr));
    }
    same(start, &looks(stage), AFTER_RESET).map_err(|why| format!("after reset: {why}"))
}

fn same(before: &[HostSnapshot], after: &[HostSnapshot], allowed: &[Allow]) -> Result<(), String> {
    let differences = differences(HOSTS, before, after, allowed);
    if differences.is_empty() { Ok(()) } else { Err(format!("hosts differ:\n{differences}")) }
}
