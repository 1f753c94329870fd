//! Kubernetes that is there already: another cluster, its programs, its ports.

use crate::facts::{ClusterState, Facts};
use crate::finding::Finding;
use crate::inventory::Host;
use crate::plan::planner::View;
use crate::supply;

pub(super) fn foreign_cluster(_: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if facts.kubernetes.state != ClusterState::Foreign {
        return Vec::new();
    }
    let server = facts.kubernetes.api_server.as_deref().unwrap_or("an unknown API server");
    vec![Finding::error(
        "foreign-cluster",
        &host.name,
        format!("a Kubernetes that kubewan did not make is here (its API server: {server})"),
        "if nobody needs it: `kubeadm reset`, then run kubewan again",
    )]
}

pub(super) fn other_cluster(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let name = &view.inventory.name;
    let Some(other) = facts.own.cluster.as_ref().filter(|other| *other != name) else {
        return Vec::new();
    };
    vec![Finding::error(
        "other-cluster",
        &host.name,
        format!("belongs to the cluster {other}, not to {name}"),
        format!("give it back first: `kubewan reset` with the inventory of {other}"),
    )]
}

pub(super) fn other_binaries(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let own = format!("{}/", supply::bin(view.inventory));
    let others: Vec<&str> = facts
        .kubernetes
        .binaries
        .iter()
        .map(String::as_str)
        .filter(|path| !path.starts_with(&own))
        .collect();
    if others.is_empty() {
        return Vec::new();
    }
    vec![Finding::warning(
        "other-kubernetes-programs",
        &host.name,
        format!("{} would be found beside kubewan's in {own}", others.join(", ")),
        "remove what brought them, so that everyone uses one version",
    )]
}

pub(super) fn ports_in_use(_: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if facts.kubernetes.state != ClusterState::None {
        return Vec::new();
    }
    let mut wanted = vec![10250];
    if host.is_control_plane() {
        wanted.extend([6443, 2379, 2380, 10257, 10259]);
    }
    facts
        .listeners
        .iter()
        .filter(|listener| listener.protocol == "tcp" && wanted.contains(&listener.port))
        .map(|listener| {
            let who =
                if listener.process.is_empty() { "another program" } else { &listener.process };
            Finding::error(
                "port-in-use",
                &host.name,
                format!("port {} is taken by {who}, Kubernetes needs it", listener.port),
                format!("stop {who}, or give it another port"),
            )
        })
        .collect()
}
