//! A cluster that somebody made by hand, and that kubewan takes over.

use super::*;
use crate::action::KubeadmInit;
use crate::inventory::Adopt;

const CA: &str = "sha256:4e14769ea08e56e388c3a0f386708ff395b7075fd154b1b212b6d0973588759b";

fn inventory() -> Inventory {
    let mut inventory = samples::inventory(2);
    inventory.adopt = Some(Adopt { ca: CA.into(), endpoint: "198.51.100.10:6443".into() });
    inventory
}

/// Facts of hosts with that authority, made by hand.
fn by_hand(inventory: &Inventory, ca: &str) -> BTreeMap<String, Facts> {
    let mut facts = samples::all_facts(inventory);
    for of in facts.values_mut().map(|facts| &mut facts.kubernetes) {
        of.state = ClusterState::Foreign;
        of.ca_hash = Some(ca.into());
    }
    facts
}

fn errors(plan: &Plan) -> Vec<(String, Option<String>)> {
    let errors = plan.findings.iter().filter(|f| f.severity == crate::finding::Severity::Error);
    errors.map(|finding| (finding.code.clone(), finding.host.clone())).collect()
}

#[test]
fn what_is_right_stays_and_the_mark_is_laid_first() {
    let inventory = inventory();
    let facts = by_hand(&inventory, CA);
    let see = |action: &Action| match action {
        Action::File(file) if file.path == KubeadmInit::ADOPTED => untouched(action),
        action => reached(action),
    };
    let plan = planned_on(&inventory, &facts, see, |_, _| {});
    assert_eq!(errors(&plan), []);
    let changed: Vec<&str> = plan.changes().map(|p| p.step.id.as_str()).collect();
    let mark = |host: &str| format!("{host}/file:{}", KubeadmInit::ADOPTED);
    assert_eq!(changed, [mark("master01"), mark("node01")]);
    assert_eq!(plan.steps[0].step.id, mark("master01"));
    // What joins later is told where the cluster is found.
    let join = plan.steps.iter().find_map(|p| match &p.step.action {
        Action::KubeadmJoin(join) => Some(join),
        _ => None,
    });
    let join = join.expect("a join");
    assert!(join.discovery.contains("server: https://198.51.100.10:6443"), "{}", join.discovery);
    assert_eq!(join.adopts, CA);
}

#[test]
fn a_new_host_of_it_gets_no_mark() {
    let inventory = inventory();
    let mut facts = by_hand(&inventory, CA);
    facts.get_mut("node01").expect("a host").kubernetes = Default::default();
    let plan = planned_on(&inventory, &facts, untouched, |_, _| {});
    let marks = plan.steps.iter().filter(|p| p.step.action.subject() == KubeadmInit::ADOPTED);
    assert_eq!(marks.map(|p| p.step.host.as_str()).collect::<Vec<_>>(), ["master01"]);
}

#[test]
fn another_cluster_is_refused_as_ever() {
    let mut inventory = inventory();
    let other = by_hand(&inventory, "sha256:00");
    let refused = |inventory: &Inventory, facts: &BTreeMap<String, Facts>| {
        errors(&planned_on(inventory, facts, untouched, |_, _| {}))
    };
    let on = |code: &str, host: &str| (code.to_owned(), Some(host.to_owned()));
    let both = [on("foreign-cluster", "master01"), on("foreign-cluster", "node01")];
    assert_eq!(refused(&inventory, &other), both);
    let none = samples::all_facts(&inventory);
    assert_eq!(refused(&inventory, &none), [on("nothing-to-adopt", "master01")]);
    let mut ours = by_hand(&inventory, CA);
    inventory.adopt = None;
    assert_eq!(refused(&inventory, &ours), both);
    // Once it was taken over, the mark has to stay.
    for of in ours.values_mut().map(|facts| &mut facts.kubernetes) {
        (of.state, of.adopted) = (ClusterState::Done, true);
    }
    let changed = [on("adopt-changed", "master01"), on("adopt-changed", "node01")];
    assert_eq!(refused(&inventory, &ours), changed);
    inventory.adopt = Some(Adopt { ca: CA.replace('4', "5"), endpoint: "a:6443".into() });
    assert_eq!(refused(&inventory, &ours), both);
}
