//! What a plan for very many hosts costs. `cargo xtask bench` runs it, built for speed; nothing is asserted of time.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock; nothing of it is in the product"
)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::tests::untouched;
use super::{Inputs, Plan, steps};
use crate::finding::Severity;
use crate::inventory::Inventory;
use crate::samples;

const HOSTS: u32 = 1000;

#[test]
#[ignore = "a benchmark: cargo xtask bench"]
fn a_plan_for_a_thousand_hosts() {
    let inventory = inventory();
    let address = |n: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n);
    let names = || inventory.hosts.iter().map(|host| host.name.clone());
    let addresses = names().zip((1..).map(address)).collect();
    let facts = names()
        .zip(0..)
        .map(|(name, n): (String, u32)| {
            let mut facts = samples::facts(0);
            facts.machine_id = format!("machine-{n}");
            facts.product_uuid = format!("uuid-{n}");
            facts.hostname = format!("host-{n}");
            (name, facts)
        })
        .collect();
    let bundle = samples::bundle();
    let inputs = Inputs::new(&addresses, &bundle);
    // What agents saw is input, so it is made before the clock runs.
    let goals = steps(&inventory, &facts, &inputs);
    let seen = goals.steps.iter().map(|s| (s.id.clone(), Ok(untouched(&s.action)))).collect();
    drop(goals);
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let goals = steps(&inventory, &facts, &inputs);
        let plan = Plan::new(&inventory.name, false, goals.steps, &seen, goals.findings)
            .expect("all observed");
        took.push(begun.elapsed());
        assert!(plan.changes().count() > 20 * HOSTS as usize, "{}", plan.changes().count());
        let refused = plan.findings.iter().find(|f| f.severity == Severity::Error);
        assert!(refused.is_none(), "{refused:?}");
    }
    took.sort();
    let median = took[2].as_secs_f64();
    println!("plan for {HOSTS} hosts: median {median:.3} s of {took:.3?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("VmHWM: unknown");
    println!("plan for {HOSTS} hosts: peak memory of the process, with its inputs {peak}");
}

fn inventory() -> Inventory {
    let hosts: Vec<serde_json::Value> = (0..HOSTS)
        .map(|n| {
            let roles = if n == 0 { vec!["control-plane", "worker"] } else { vec!["worker"] };
            let address = format!("198.18.{}.{}", (n + 1) / 256, (n + 1) % 256);
            serde_json::json!({ "name": format!("node{n:04}"), "address": address, "roles": roles })
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "name": "home",
        "kubernetes": { "version": "1.36.2" },
        "runtime": { "source": "bundle" },
        "network": { "backend": "vxlan", "podSubnet": "10.128.0.0/12" },
        "hosts": hosts,
    }))
    .expect("the sample is well-formed")
}
