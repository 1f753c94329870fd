//! Plans of several control planes, and of hosts of two architectures.

use super::*;
use crate::action::etcd::EtcdUrls;

/// Lines that tell of every change; of other hosts' preparation only how much it is.
fn told(plan: &Plan, hosts: &[&str]) -> String {
    let told =
        |p: &&PlannedStep| hosts.contains(&p.step.host.as_str()) || p.step.phase > Phase::Binaries;
    let line = |p: &PlannedStep| {
        let change = p.change.as_ref().expect("changes() has changes");
        let (phase, host) = (p.step.phase.name(), &p.step.host);
        format!("{phase:<19} {host:<8} {:?} {}", change.kind, change.summary)
    };
    plan.changes().filter(told).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_plan_of_three_control_planes() {
    let plan = planned(&samples::control_planes(3), ClusterState::None, untouched);
    insta::assert_snapshot!(told(&plan, &["node02"]));
    let codes: Vec<&str> = plan.findings.iter().map(|finding| finding.code.as_str()).collect();
    let exposed = codes.iter().filter(|code| **code == "control-plane-exposed").count();
    assert_eq!(exposed, 3, "{codes:?}");
}

/// A cluster of one control plane that is there, and two hosts that become others.
#[test]
fn the_plan_from_one_control_plane_to_three() {
    let inventory = samples::control_planes(3);
    let built = samples::inventory(1);
    let recorded = Recorded::of(&built, &samples::addresses(&built));
    let mut facts = samples::all_facts(&inventory);
    facts.get_mut("master01").expect("a host").kubernetes.state = ClusterState::Done;
    let (addresses, bundle) = (samples::addresses(&inventory), samples::bundle());
    let inputs = Inputs { recorded: Some(&recorded), ..Inputs::new(&addresses, &bundle) };
    let goals = steps(&inventory, &facts, &inputs);
    let before: BTreeMap<String, Step> = {
        let facts = BTreeMap::from([("master01".to_owned(), facts["master01"].clone())]);
        let addresses = samples::addresses(&built);
        let steps = steps(&built, &facts, &Inputs::new(&addresses, &bundle)).steps;
        steps.into_iter().map(|step| (step.id.clone(), step)).collect()
    };
    let alone =
        EtcdUrls { client: "https://127.0.0.1:2379".into(), peer: "https://127.0.0.1:2380".into() };
    let see = |step: &Step| match (&step.action, before.get(&step.id)) {
        (Action::EtcdListens(_), _) => Observed::EtcdListens(EtcdSeen {
            manifest: Some(alone.clone()),
            configured: Some(alone.clone()),
            running: Some(alone.clone()),
        }),
        (_, Some(before)) => reached(&before.action),
        (_, None) => untouched(&step.action),
    };
    let seen = goals.steps.iter().map(|step| (step.id.clone(), Ok(see(step)))).collect();
    let plan = Plan::new("home", false, goals.steps, &seen, goals.findings).expect("all observed");
    insta::assert_snapshot!(told(&plan, &["master01"]));
    let refused: Vec<&str> = plan
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.code.as_str())
        .collect();
    assert_eq!(refused, ["control-plane-exposed"; 3], "nothing else stands in the way");
}

/// Both architectures in one cluster: each host gets the binaries and images of its own, by their digests.
#[test]
fn the_plan_of_hosts_of_two_architectures() {
    let inventory = samples::inventory(2);
    let mut bundle = samples::bundle();
    let arm64: Vec<_> = bundle
        .artifacts
        .iter()
        .map(|amd64| crate::bundle::Artifact {
            arch: "arm64".into(),
            sha256: crate::sha256_hex(format!("{} for arm64", amd64.name).as_bytes()),
            ..amd64.clone()
        })
        .collect();
    bundle.artifacts.extend(arm64);
    let mut facts = samples::all_facts(&inventory);
    facts.get_mut("node01").expect("a host").kernel.arch = "arm64".into();
    let addresses = samples::addresses(&inventory);
    let planned = steps(&inventory, &facts, &Inputs::new(&addresses, &bundle));
    let line = |step: &Step| {
        let digests: Vec<&str> =
            step.action.artifacts().iter().map(|artifact| &artifact.sha256[..12]).collect();
        let shown = |digests: &[&str]| {
            format!("{:<8} {:<55} {}", step.host, step.action.subject(), digests.join(" "))
        };
        (!digests.is_empty()).then(|| shown(&digests))
    };
    let lines: Vec<String> = planned.steps.iter().filter_map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
    // The manifests of flannel name images by tag: each node has its own architecture's under it.
    assert!(!planned.findings.iter().any(|finding| finding.code == "bundle-incomplete"));
}

/// With a firewall that kubewan opens for the cluster's hosts only, or where it is accepted, etcd is not exposed.
#[test]
fn several_control_planes_need_a_firewall_or_an_acceptance() {
    use crate::facts::{FirewallFacts, FirewallTool};
    use crate::inventory::{Acceptance, Firewall};
    let exposed = |policy: Option<Firewall>, tool: Option<FirewallTool>, accepted: bool| {
        let mut inventory = samples::control_planes(3);
        inventory.firewall = policy;
        inventory.accept.extend(accepted.then_some(Acceptance::ControlPlaneExposed));
        let mut facts = samples::all_facts(&inventory);
        for facts in facts.values_mut() {
            let active = |tool| FirewallFacts { tool, active: true, enabled: true };
            facts.firewalls.extend(tool.map(active));
        }
        let (addresses, bundle) = (samples::addresses(&inventory), samples::bundle());
        let findings = steps(&inventory, &facts, &Inputs::new(&addresses, &bundle)).findings;
        let mut found = findings.into_iter().filter(|f| f.code == "control-plane-exposed");
        found.next().map(|finding| finding.severity)
    };
    use FirewallTool::{Nftables, Ufw};
    assert_eq!(exposed(Some(Firewall::Open), Some(Ufw), false), None);
    assert_eq!(exposed(None, None, false), Some(Severity::Error));
    assert_eq!(exposed(Some(Firewall::Open), None, false), Some(Severity::Error));
    assert_eq!(exposed(Some(Firewall::Open), Some(Nftables), false), Some(Severity::Error));
    assert_eq!(exposed(Some(Firewall::Keep), Some(Ufw), false), Some(Severity::Error));
    assert_eq!(exposed(Some(Firewall::Off), Some(Ufw), false), Some(Severity::Error));
    assert_eq!(exposed(Some(Firewall::Keep), Some(Nftables), true), Some(Severity::Warning));
}
