//! Runs told by the real [`Progress`]. `recorded-run.log` has the events of a run of three hosts in the lab with real Kubernetes, in
//! the log file's form and without most of the uploads' progress; a crowd's are those of its hosts, once for each of many.

use std::thread;
use std::time::Duration;

use kubewan_core::event::{Event, Outcome, Proof, StepNews};
use kubewan_core::inventory::{self, Host};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::screen::captured;
use super::*;

const RECORDED: &str = include_str!("recorded-run.log");

fn hosts(names: &[String]) -> Vec<Host> {
    let mut text = "name: home\nkubernetes: { version: \"1.36.2\" }\nhosts:\n".to_owned();
    for (index, name) in names.iter().enumerate() {
        let role = if index == 0 { "control-plane" } else { "worker" };
        let address = format!("198.51.{}.{}", 100 + index / 200, index % 200 + 1);
        text += &format!("  - {{ name: {name}, address: {address}, roles: [{role}] }}\n");
    }
    inventory::parse("cluster.yaml", &text).unwrap().hosts
}

/// The recorded events, each with the milliseconds since the one before.
fn recorded() -> Vec<(u64, Event)> {
    let mut last = None;
    let event = |line: &str| {
        let (time, rest) = line.split_once(' ')?;
        let json = rest.strip_prefix("event  ")?;
        let time = OffsetDateTime::parse(time, &Rfc3339).expect("a time");
        let mut event: Event = serde_json::from_str(json).expect("an event");
        if let Event::Connected { pushed_agent, .. } = &mut event {
            // As at the first contact.
            *pushed_agent = true;
        }
        let since = (time - last.replace(time).unwrap_or(time)).whole_milliseconds();
        Some((since as u64, event))
    };
    RECORDED.lines().filter_map(event).collect()
}

/// The same for so many hosts: what node01 and node02 did, each of the others did, a little later.
fn crowd(names: &[String]) -> Vec<(u64, Event)> {
    let others = |host: &str| -> Vec<String> {
        let at = |index: usize| names.iter().skip(index).step_by(2).cloned().collect();
        match host {
            "node01" => at(1),
            "node02" => at(2),
            _ => vec![names[0].clone()],
        }
    };
    let mut events = Vec::new();
    for (since, event) in recorded() {
        let several: Vec<Event> = match &event {
            Event::Connected { host, pushed_agent } => others(host)
                .into_iter()
                .map(|host| Event::Connected { host, pushed_agent: *pushed_agent })
                .collect(),
            Event::Step { host, news } => others(host)
                .into_iter()
                .map(|name| {
                    let step = news.step.replacen(host.as_str(), &name, 1);
                    Event::Step { host: name, news: StepNews { step, ..news.clone() } }
                })
                .collect(),
            Event::Upload { host, name, bytes, total, from } => others(host)
                .into_iter()
                .map(|host| Event::Upload {
                    host,
                    name: name.clone(),
                    bytes: *bytes,
                    total: *total,
                    from: from.clone(),
                })
                .collect(),
            Event::PhaseStarted { phase, hosts } => vec![Event::PhaseStarted {
                phase: phase.clone(),
                hosts: hosts.iter().flat_map(|host| others(host)).collect(),
            }],
            Event::Proof(proof) => {
                (0..names.len() / 3).map(|_| Event::Proof(proof.clone())).collect()
            }
            other => vec![other.clone()],
        };
        let count = several.len().max(1) as u64;
        events.extend(several.into_iter().map(|event| (since / count + 1, event)));
    }
    events
}

fn names(count: usize) -> Vec<String> {
    let name = |number| match number {
        0 => "master01".to_owned(),
        17 => "frankfurt-am-main-with-a-long-name-17".to_owned(),
        number => format!("node{number:02}"),
    };
    (0..count).map(name).collect()
}

/// A listener that knows how many steps each host has, as from a plan.
fn progress(hosts: &[Host], events: &[(u64, Event)]) -> Progress {
    let mut progress = Progress::new(Output::Table, hosts);
    let mut phase = "";
    for (_, event) in events {
        match event {
            Event::PhaseStarted { phase: name, .. } => {
                let known = Phase::ALL.iter().find(|phase| phase.name() == name);
                phase = known.map_or("", |phase| phase.name());
            }
            Event::Step { host, news } if news.state == "done" => {
                *progress.totals.entry((phase, host.clone())).or_default() += 1;
            }
            _ => {}
        }
    }
    progress
}

fn told(names: &[String], events: &[(u64, Event)]) -> Vec<String> {
    let hosts = hosts(names);
    let lines = captured::lines(|| {
        let progress = progress(&hosts, events);
        events.iter().for_each(|(_, event)| progress.hear(event));
    });
    // Times are the machine's.
    let timeless = |line: &String| match line.split_once(':') {
        Some((minutes, rest)) if minutes.trim() == "0" && rest.len() > 2 => rest[2..].to_owned(),
        _ => line.clone(),
    };
    lines.iter().map(timeless).collect()
}

#[test]
fn of_few_hosts_every_step_stays_as_a_line() {
    let names = ["master01", "node01", "node02"].map(str::to_owned);
    let lines = told(&names, &recorded());
    let done = RECORDED.matches(r#""state":"done","changed":true"#).count();
    let steps = lines.iter().filter(|line| line.starts_with(' ')).count();
    assert!(done > 50 && steps >= done, "{done} steps, {steps} lines");
    let text = lines.join("\n");
    assert!(text.contains("── join the other hosts (node01, node02)\n"), "{text}");
    assert!(text.contains("\n node01       agent sent\n"), "{text}");
    assert!(!lines.iter().any(|line| line.contains('\x1b')), "{text}");
}

#[test]
fn of_a_crowd_phases_and_what_went_wrong_stay() {
    let names = names(50);
    let mut events = crowd(&names);
    let at = events.len() / 2;
    let failed = |host: &str| {
        let step = format!("{host}/package:containerd");
        let state = "failed".to_owned();
        let news = StepNews { step, state, changed: None, line: Some("no space left".into()) };
        Event::Step { host: host.into(), news }
    };
    events.insert(at, (0, failed("node40")));
    let lost = Event::Link { host: "node30".into(), up: false, reason: "timed out".into() };
    events.insert(at, (0, lost));
    let lines = told(&names, &events);
    let text = lines.join("\n");
    assert!(lines.len() < 60, "{} lines:\n{text}", lines.len());
    assert!(text.contains("agent sent to 50 hosts\n"), "{text}");
    assert!(text.contains("── join the other hosts (49 hosts)\n"), "{text}");
    assert!(text.contains(" join the other hosts: "), "{text}");
    let about = |host: &str, what: &str| {
        lines.iter().any(|line| line.trim_start().starts_with(host) && line.ends_with(what))
    };
    assert!(about("node40", " FAILED package:containerd"), "{text}");
    assert!(about("node30", " link lost: timed out"), "{text}");
    assert!(text.contains("passed    node-ready  "), "{text}");
}

#[test]
fn passed_proofs_of_a_crowd_are_counted_and_failed_ones_shown() {
    let proof = |check: &str, outcome| {
        let (subject, detail) = ("node01 -> node02".to_owned(), "no answer".to_owned());
        (0, Event::Proof(Proof { check: check.into(), subject, outcome, detail }))
    };
    let events = [
        proof("pod-to-pod", Outcome::Passed),
        proof("pod-to-pod", Outcome::Passed),
        proof("pod-to-pod", Outcome::Failed),
        proof("pod-to-pod", Outcome::Passed),
        proof("dns", Outcome::Passed),
    ];
    assert_eq!(
        told(&names(9), &events),
        [
            "FAILED    pod-to-pod  node01 -> node02: no answer",
            "passed    pod-to-pod  3 times",
            "passed    dns  once",
        ]
    );
    assert_eq!(told(&names(8), &events).len(), 5, "few hosts have a line for each");
}

/// To be looked at: `KUBEWAN_HOSTS=50 cargo test -p kubewan --bin kubewan -- --ignored --nocapture replay`, ten times as fast
/// as it was.
#[test]
#[ignore = "for eyes, on a terminal"]
fn replay() {
    let wanted = std::env::var("KUBEWAN_HOSTS").ok().and_then(|count| count.parse().ok());
    let names = names(wanted.unwrap_or(50));
    let hosts = hosts(&names);
    let events = crowd(&names);
    let progress = progress(&hosts, &events);
    for (since, event) in &events {
        thread::sleep(Duration::from_millis(*since / 10));
        progress.hear(event);
    }
}
