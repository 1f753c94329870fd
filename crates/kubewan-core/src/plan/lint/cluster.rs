//! Kubernetes that is there already: another cluster, its programs, its ports.

use crate::facts::{ClusterState, Facts, StuckInit};
use crate::finding::Finding;
use crate::inventory::Host;
use crate::plan::planner::View;
use crate::supply;

pub(super) fn foreign_cluster(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if facts.kubernetes.state != ClusterState::Foreign {
        return Vec::new();
    }
    if let Some(stuck) = &facts.kubernetes.stuck_init
        && host.name == view.inventory.first_control_plane().name
    {
        return stuck_init(view, host, stuck);
    }
    let server = facts.kubernetes.api_server.as_deref().unwrap_or("an unknown API server");
    vec![Finding::error(
        "foreign-cluster",
        &host.name,
        format!("a Kubernetes that kubewan did not make is here (its API server: {server})"),
        "if nobody needs it: `kubeadm reset`, then run kubewan again",
    )]
}

/// An init that somebody ran by hand and that never ended: what it was begun with has to be what the inventory says, since it
/// comes up as soon as its address is there.
fn stuck_init(view: &View, host: &Host, stuck: &StuckInit) -> Vec<Finding> {
    let network = &view.inventory.network;
    let wanted = [
        ("node name", "name", &stuck.node, host.name.clone()),
        (
            "Services' subnet",
            "network.serviceSubnet",
            &stuck.service_subnet,
            network.service_subnet.to_string(),
        ),
        ("pods' subnet", "network.podSubnet", &stuck.pod_subnet, network.pod_subnet.to_string()),
        ("address", "address", &stuck.advertises, view.address(host).to_string()),
    ];
    let differs = wanted.into_iter().filter_map(|(what, key, found, wanted)| {
        let found = found.as_ref().filter(|found| **found != wanted)?;
        Some(Finding::error(
            "stuck-init",
            &host.name,
            format!("the kubeadm init that got stuck here was begun with the {what} {found}, not {wanted}"),
            format!("write `{key}: {found}` in the inventory; or, if nobody needs it, `kubeadm reset` on the host"),
        ))
    });
    let differs: Vec<Finding> = differs.collect();
    if !differs.is_empty() {
        return differs;
    }
    let listens =
        stuck.etcd_listens.as_ref().map(|url| format!(": its etcd is told to listen on {url}"));
    let said = stuck.said.as_ref().map(|said| format!("\netcd: {said}"));
    vec![Finding::warning(
        "stuck-init",
        &host.name,
        format!(
            "a kubeadm init that somebody ran by hand got stuck here{}{}",
            listens.unwrap_or_default(),
            said.unwrap_or_default()
        ),
        "`kubewan up` finishes it without `kubeadm reset`: authorities and their keys stay, certificates are signed anew, and \
         where etcd listens goes into the cluster's kubeadm-config too, so that an upgrade keeps it",
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
