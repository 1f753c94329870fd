//! What an `up` has to have shown of a cluster.

use std::collections::BTreeSet;

use super::Road;
use crate::support::HOSTS;
use crate::support::{Kubernetes, Said, lab_name};

const REHEARSAL: &str = "REHEARSAL: stand-ins take the place of Kubernetes; this is not a cluster.";

/// Checks that need pods, by the product's names.
const POD_CHECKS: [&str; 7] =
    ["pod-to-pod", "service", "node-port", "dns", "dns-replicas", "logs", "exec"];

/// Every proof that there has to be was given, and none failed.
pub fn expect(road: &Road, up: &Said) {
    eprintln!("{}{}", up.stderr, up.stdout);
    let told: BTreeSet<(&str, &str, &str)> = up.stderr.lines().filter_map(proof).collect();
    let failed: Vec<_> = told.iter().filter(|(outcome, ..)| *outcome == "FAILED").collect();
    assert!(failed.is_empty(), "{failed:?}");
    let shown = |check: &str, begins: &str| {
        told.iter().any(|(outcome, found, subject)| {
            *outcome == "passed" && *found == check && subject.starts_with(begins)
        })
    };
    let mut wanted: Vec<(&str, String)> = vec![("at-rest", lab_name())];
    for host in HOSTS {
        wanted.push(("node-ready", host.into()));
        for other in HOSTS.into_iter().filter(|other| *other != host) {
            // Real TCP over public addresses, also in a rehearsal.
            let subject = format!("{host} -> {other} ({}:", road.address(other));
            wanted.push(("host-to-host", subject));
        }
    }
    match road.kubernetes {
        Kubernetes::Bundle => wanted.extend(of_pods(road)),
        Kubernetes::Rehearsal => is_a_rehearsal(up, &told),
    }
    for (check, subject) in &wanted {
        assert!(shown(check, subject), "not shown: {check} {subject}");
    }
    let rehearses = up.stdout.contains(REHEARSAL);
    assert_eq!(rehearses, road.kubernetes == Kubernetes::Rehearsal, "{}", up.stdout);
}

/// `passed    pod-to-pod  node01 -> node02: …`
fn proof(line: &str) -> Option<(&str, &str, &str)> {
    let outcome = ["passed", "FAILED", "not shown"].into_iter().find(|o| line.starts_with(o))?;
    let (check, subject) = line[outcome.len()..].trim_start().split_once("  ")?;
    Some((outcome, check, subject))
}

/// All pairs of pods, and everything that each of them and each public address has to show.
fn of_pods(road: &Road) -> Vec<(&'static str, String)> {
    let mut wanted = vec![("dns-replicas", "kube-system/coredns: ready on ".to_owned())];
    for host in HOSTS {
        wanted.push(("pod-on-node", host.to_owned()));
        for other in HOSTS.into_iter().filter(|other| *other != host) {
            wanted.push(("pod-to-pod", format!("{host} -> {other}: the pod on {other} answered")));
        }
        wanted.push(("service", format!("{host} -> ClusterIP: ")));
        wanted.push(("node-port", format!("you -> {host} ({}:", road.address(host))));
        for check in ["dns", "logs", "exec"] {
            wanted.push((check, format!("{host}: ")));
        }
    }
    wanted
}

/// A rehearsal says so first and last, and claims nothing about pods.
fn is_a_rehearsal(up: &Said, told: &BTreeSet<(&str, &str, &str)>) {
    assert_eq!(up.stdout.lines().next(), Some(REHEARSAL));
    assert_eq!(up.stdout.lines().last(), Some(REHEARSAL));
    for check in POD_CHECKS {
        let outcomes: Vec<&str> =
            told.iter().filter(|(_, found, _)| *found == check).map(|(o, ..)| *o).collect();
        assert_eq!(outcomes, ["not shown"], "{check}");
    }
}
