//! A bundle over an uplink that is slow: it goes to one host, and the others take it from there.

use serde_json::Value;

use crate::support::running::{Running, UP};
use crate::support::{HOSTS, Kubernetes, Stage, lab_name, run};

/// Files below that are sent as they always are.
const LARGE: u64 = 4 << 20;

/// Two seconds for four round trips: as much as three chunks on their way make of that is what goes through.
const LATENCY: &str = "200ms";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn long_a_slow_uplink_carries_a_bundle_once() {
    let kubernetes = *Kubernetes::told().last().expect("at least a rehearsal");
    let stage = Stage::hosts_only(kubernetes);
    for cloud in ["A", "B", "C"] {
        run(&["lab", "impair", "--name", &lab_name(), "operator", cloud, "--latency", LATENCY])
            .expect_code(0);
    }
    let up = Running::start(&stage, &UP).end();
    assert_eq!(up.code, 0, "{}", up.stderr);
    let large = |event: &&Value| {
        let is = |field: &str| event[field].as_u64().unwrap_or_default();
        event["event"] == "upload" && is("total") >= LARGE && is("bytes") == is("total")
    };
    let arrived: Vec<&Value> = up.events.iter().filter(large).collect();
    let of = |host: &str, from: Option<&str>| -> Vec<String> {
        let of = arrived.iter().filter(|event| event["host"] == host);
        let of = of.filter(|event| event["from"].as_str() == from);
        let mut names: Vec<String> =
            of.map(|event| event["name"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        names
    };
    let first = HOSTS[0];
    let sent = of(first, None);
    assert!(!sent.is_empty() && of(first, Some(first)).is_empty(), "{sent:?}");
    for host in &HOSTS[1..] {
        let taken = of(host, Some(first));
        assert!(!taken.is_empty(), "{host} took nothing: {}", up.stderr);
        assert!(taken.iter().all(|name| sent.contains(name)), "{taken:?} of {sent:?}");
        let twice: Vec<String> =
            of(host, None).into_iter().filter(|name| sent.contains(name)).collect();
        assert_eq!(
            twice,
            Vec::<String>::new(),
            "{host}: over the slow way though the first has it"
        );
    }
    for cloud in ["A", "B", "C"] {
        run(&["lab", "heal", "--name", &lab_name(), "operator", cloud]).expect_code(0);
    }
    stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
}
