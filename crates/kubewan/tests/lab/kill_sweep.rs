//! Runs that are stopped anywhere, each followed by another `up` (or a `reset`): the hosts end as if nothing had
//! happened, and their journals lead back to the start.
//!
//! `cargo xtask kill-sweep` chooses how many points, on which Kubernetes, and what comes after; `KILL_SWEEP` carries
//! its words here. Without it the story is a short one: a few points in one chain, each run taken up where the one
//! before was stopped, and another chain that a `reset` ends half-way.

mod canonical;
mod points;

use std::time::{Duration, Instant};

use kubewan_lab::{Allow, HostSnapshot};

use crate::support::looks::{AFTER_RESET, differences, looks};
use crate::support::running::{Ended, Running, UP};
use crate::support::{HOSTS, Stage, lab_name};
use points::{Chain, Course, Place, Point, Stop, Sweep, Then};

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn stopped_anywhere_a_run_is_as_if_it_had_not_been() {
    let sweep = Sweep::from_environment();
    let stage = Stage::hosts_only(sweep.kubernetes);
    let start = looks(&stage);
    let (reference, course) = unstopped(&stage);
    reset_leads_back(&stage, &start);
    let chains = sweep.chains(&course);
    let count: usize = chains.iter().map(|chain| chain.points.len()).sum();
    eprintln!("{sweep:?}: {count} points over {} events", course.0.len());
    let (mut failed, mut missed) = (Vec::new(), Vec::new());
    for (number, chain) in chains.iter().enumerate() {
        let began = Instant::now();
        stage.lab.rewind(&[], &mut |_| {}).expect("a rewind");
        let start = looks(&stage);
        let told = || format!("chain {number}: {chain:?}");
        eprintln!("{}", told());
        let last = chain.points.len().saturating_sub(1);
        for (at, point) in chain.points.iter().enumerate() {
            // A run that outlived its stop would finish what is to be given back half-done.
            let is_killed = at < last || chain.then == Then::Reset;
            if let Err(why) = stop(&stage, point, is_killed) {
                eprintln!("  not stopped: {why}");
                missed.push((point.place, format!("chain {number}, stop {at}, {point:?}: {why}")));
            }
        }
        let wrong = match chain.then {
            Then::Up => goes_on(&stage, &reference).and_then(|()| went_back(&stage, &start)),
            Then::Reset => went_back(&stage, &start),
        };
        let took = began.elapsed().as_secs();
        match wrong {
            Ok(()) => eprintln!("chain {number}: as it should be, {took} s"),
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
    enough_were_stopped(&chains, &missed);
}

/// A sweep shows something only where runs were stopped: in every step that it was to be stopped in, and at nine of ten
/// other points, as a run may tell fewer events than another.
fn enough_were_stopped(chains: &[Chain], missed: &[(Place, String)]) {
    let is_event = |place: &Place| matches!(place, Place::Event(_));
    let places = chains.iter().flat_map(|chain| &chain.points).map(|point| point.place);
    let events = places.filter(is_event).count();
    let missed_events = missed.iter().filter(|(place, _)| is_event(place)).count();
    let lines: Vec<&str> = missed.iter().map(|(_, line)| line.as_str()).collect();
    eprintln!("{} stops did not come in time", missed.len());
    assert!(
        missed_events == missed.len() && missed_events * 10 <= events.max(10),
        "runs were not stopped:\n{}",
        lines.join("\n")
    );
}

/// A run that nobody stops: how the hosts are after it, and what it told.
fn unstopped(stage: &Stage) -> (Vec<HostSnapshot>, Course) {
    let begun = Instant::now();
    let mut run = Running::start(stage, &UP);
    let mut events = Vec::new();
    while let Some(event) = run.after(1) {
        events.push((begun.elapsed(), event));
    }
    let Ended { code, stderr, .. } = run.end();
    assert_eq!(code, 0, "{stderr}");
    spools_would_be_found(stage);
    (canonical::looks(stage), Course(events))
}

fn reset_leads_back(stage: &Stage, start: &[HostSnapshot]) {
    if let Err(why) = went_back(stage, start) {
        panic!("the reset of a run that nobody stopped: {why}");
    }
}

/// Starts a run and stops it there, or says why it was not to be stopped there. Where the program is to be
/// killed too, whatever else happens, it is: it might outlive the rest, and leave nothing to be stopped.
fn stop(stage: &Stage, point: &Point, is_killed: bool) -> Result<(), String> {
    let mut run = Running::start(stage, &UP);
    let reached = match point.place {
        Place::Event(count) => run.after(count),
        Place::Inside { kind, .. } => run.until_started_or_end(kind),
    };
    let Some(event) = reached else {
        return Err(format!("the run ended before, with {}", run.end().code));
    };
    let mut in_time = Ok(());
    if let Place::Inside { after, .. } = point.place
        && run.ends_within(&event, after)
    {
        in_time = Err("the step ended before".to_owned());
    }
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
    if is_killed || point.stop == Stop::Kubewan {
        run.kill_if_running();
        return in_time;
    }
    let ended = run.end();
    let last = ended.stderr.lines().rfind(|line| line.starts_with("error")).unwrap_or("no error");
    eprintln!("  it ended with {}: {last}", ended.code);
    in_time
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
    match HOSTS.iter().map(|host| spools(stage, host)).collect::<String>().as_str() {
        "" => same(reference, &canonical::looks(stage), canonical::LEFT_OUT),
        spools => Err(format!("a finished run leaves spools:\n{spools}")),
    }
}

/// Orders and kubeadm's configurations that lie on a host: they hold secrets, and are gone when what reads them ends.
fn spools(stage: &Stage, host: &str) -> String {
    let found = stage.on(
        host,
        "find /var/lib/kubewan /run -xdev \\( -name orders.json -o -name 'kubeadm-*.yaml' \\)",
    );
    found.lines().map(|path| format!("{host}: {path}\n")).collect()
}

/// A look that never finds anything shows nothing.
fn spools_would_be_found(stage: &Stage) {
    let planted = ["/var/lib/kubewan/runs/orders.json", "/run/kubeadm-join.yaml"];
    assert_eq!(spools(stage, "node01"), "");
    stage.on("node01", &format!("touch {}", planted.join(" ")));
    let found = spools(stage, "node01");
    assert!(planted.iter().all(|path| found.contains(path)), "{found}");
    stage.on("node01", &format!("rm {}", planted.join(" ")));
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
