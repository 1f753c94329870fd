//! That the hosts are nodes of one cluster, and that it is the one which the first control plane has: what hosts say of
//! themselves, whether or not the cluster's own record can be read.

use std::collections::BTreeMap;

use crate::facts::{ClusterState, Facts};
use crate::finding::Finding;
use crate::inventory::Host;
use crate::plan::planner::View;

/// Hosts that belong to a cluster while the first control plane has none: its `kubeadm init` would make a second one, and the
/// API's name, which is the same, would lead the first one's nodes to it.
pub(super) fn first_control_plane_lost(view: &View) -> Option<Finding> {
    let first = view.inventory.first_control_plane();
    if is_node(view.facts.get(&first.name)?) {
        return None;
    }
    let nodes = || view.inventory.hosts.iter().filter(|host| belongs(view, host));
    let names: Vec<&str> = nodes().map(|host| host.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let first = &first.name;
    let other = nodes().find(|host| host.is_control_plane());
    let remedy = match other {
        Some(other) => format!(
            "if {first} is new, put it below {} in `hosts`; if it was set up anew, bring it back from a copy of its disk, or give all \
             hosts back with `kubewan reset` and build anew: what is in the cluster is lost then",
            other.name
        ),
        None => format!(
            "if {first} is new, put the cluster's own control plane before it; if it was set up anew, its cluster is lost with its \
             etcd: `kubewan reset` gives the other hosts back, then `kubewan up`"
        ),
    };
    Some(
        Finding::error(
            "first-control-plane-lost",
            first,
            format!(
                "{first} has no cluster, and these hosts belong to one: {}; kubewan would make a second one here, and lead the first \
                 one's nodes to it",
                names.join(", ")
            ),
            remedy,
        )
        .for_cluster(),
    )
}

/// A further control plane that was set up anew while the cluster still has it: kubeadm finds its member in etcd and adds none
/// (`AddMember` in cmd/kubeadm/app/util/etcd/etcd.go), so that one with an empty log would have the former one's vote. etcd's
/// documentation ("Runtime reconfiguration", "Replace a failed machine"): such a member has to be removed first.
pub(super) fn control_plane_lost(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let first = &view.inventory.first_control_plane().name;
    let is_anew = facts.kubernetes.state == ClusterState::None;
    let has =
        host.is_control_plane() && host.name != *first && view.inputs.nodes.contains(&host.name);
    (is_anew && has).then(|| {
        let name = &host.name;
        Finding::error(
            "control-plane-lost",
            name,
            format!(
                "the cluster has a node {name}, and this host has nothing of it: it was set up anew, and its etcd would have the vote of \
                 the former one without knowing what that knew"
            ),
            format!(
                "remove the former one, then run kubewan again. On {first}, with etcdctl in the container of the pod etcd-{first}: \
                 `etcdctl member list`, `etcdctl member remove ID`; then `kubectl delete node {name}`"
            ),
        )
    })
}

/// Nodes that trust another authority than the first control plane's: they are nodes of another cluster, whatever its name.
pub(super) fn other_authority(view: &View) -> Vec<Finding> {
    let first = &view.inventory.first_control_plane().name;
    let authority = |name: &str| {
        let facts = view.facts.get(name).filter(|facts| is_node(facts))?;
        facts.kubernetes.ca_hash.as_deref()
    };
    let Some(own) = authority(first) else { return Vec::new() };
    let hosts = view.inventory.hosts.iter().filter_map(|host| {
        let other = authority(&host.name).filter(|other| *other != own)?;
        Some(Finding::error(
            "other-cluster",
            &host.name,
            format!(
                "this host is a node of another cluster: the authority that it trusts is {other}, that of {first} is {own}"
            ),
            "see which inventory it belongs to; where nobody needs that cluster, run `kubeadm reset` on this host, then kubewan again",
        ))
    });
    hosts.collect()
}

/// The same where no control plane counts as the right one: a reset ends one cluster, not a part of another that has the same name.
pub fn several_clusters(facts: &BTreeMap<String, Facts>) -> Option<Finding> {
    let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (host, facts) in facts.iter().filter(|(_, facts)| is_node(facts)) {
        if let Some(pin) = &facts.kubernetes.ca_hash {
            clusters.entry(pin).or_default().push(host);
        }
    }
    let named = clusters.iter().map(|(pin, hosts)| format!("{} ({pin})", hosts.join(", ")));
    let named: Vec<String> = named.collect();
    (named.len() > 1).then(|| {
        Finding::error(
            "other-cluster",
            "",
            format!("these hosts are nodes of different clusters, by the authorities that they trust: {}", named.join("; ")),
            "take those of the other cluster out of the inventory; where nobody needs that cluster, run `kubeadm reset` on them first",
        )
        .for_cluster()
    })
}

/// A node whose kubelet has another address than the inventory: where the cluster's record can't be read, nothing else
/// says that the address was changed.
pub(super) fn address_changed(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    if view.inputs.recorded.is_some() || !is_node(facts) {
        return None;
    }
    let mut args = facts.kubernetes.kubelet_args.iter();
    let old = args.find_map(|arg| arg.strip_prefix("--node-ip="))?;
    let new = view.address(host).to_string();
    (old != new).then(|| {
        Finding::error(
            "address-changed",
            &host.name,
            format!("the node's kubelet has the address {old}, the inventory says {new}"),
            format!("changing a node's address comes later: put `address: {old}` back"),
        )
    })
}

fn is_node(facts: &Facts) -> bool {
    facts.kubernetes.state == ClusterState::Done
}

/// A node that has what a node is one by: who was reset with kubeadm alone is none any more, whatever the journal knows.
fn belongs(view: &View, host: &Host) -> bool {
    let facts = view.facts.get(&host.name);
    facts.is_some_and(|facts| is_node(facts) && facts.kubernetes.ca_hash.is_some())
}
