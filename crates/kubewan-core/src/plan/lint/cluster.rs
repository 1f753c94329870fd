//! Kubernetes that is there already: another cluster, its programs, its ports.

use crate::facts::{ClusterState, Facts, StuckInit};
use crate::finding::Finding;
use crate::inventory::Host;
use crate::plan::planner::View;
use crate::supply;

pub(super) fn foreign_cluster(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let adopt = view.inventory.adopt.as_ref();
    let (adopted, found) = (facts.kubernetes.adopted, &facts.kubernetes.ca_hash);
    let is_other = adopt.is_none_or(|adopt| found.as_deref() != Some(&adopt.ca));
    if facts.kubernetes.state != ClusterState::Foreign && !(adopted && is_other) {
        return Vec::new();
    }
    if let Some(stuck) = &facts.kubernetes.stuck_init
        && host.name == view.inventory.first_control_plane().name
    {
        return stuck_init(view, host, stuck);
    }
    let found = found.as_deref().unwrap_or("none");
    if adopted && adopt.is_none() {
        return vec![Finding::error(
            "adopt-changed",
            &host.name,
            format!(
                "this host's cluster was adopted, and the inventory does not say `adopt: {{ ca: {found} }}`"
            ),
            "put `adopt` back as it was: the cluster's ConfigMap kube-system/kubewan has its endpoint",
        )];
    }
    if let Some(adopt) = adopt {
        return vec![Finding::error(
            "foreign-cluster",
            &host.name,
            format!(
                "a Kubernetes is here that is not the one to adopt: its authority is {found}, `adopt.ca` says {}",
                adopt.ca
            ),
            "`kubewan adopt` writes an inventory for the cluster that is here; or, if nobody needs it, `kubeadm reset`",
        )];
    }
    let server = facts.kubernetes.api_server.as_deref().unwrap_or("an unknown API server");
    vec![Finding::error(
        "foreign-cluster",
        &host.name,
        format!("a Kubernetes that kubewan did not make is here (its API server: {server})"),
        "if it is healthy and is to stay: `kubewan adopt` writes an inventory for it; if nobody needs it: `kubeadm reset`, \
         then run kubewan again",
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

/// A cluster that was to be taken over and is not there: a new one would be made in its place.
pub(super) fn nothing_to_adopt(view: &View) -> Option<Finding> {
    let adopt = view.inventory.adopt.as_ref()?;
    let first = view.inventory.first_control_plane();
    let facts = view.facts.get(&first.name)?;
    (facts.kubernetes.state == ClusterState::None).then(|| {
        Finding::error(
            "nothing-to-adopt",
            &first.name,
            format!("there is no Kubernetes here, and `adopt` names the cluster {}", adopt.ca),
            "take `adopt` out of the inventory to have a new cluster made; or name the host that is its control plane",
        )
    })
}

/// Taking over is for one control plane: of several nobody has tried it.
pub(super) fn adopts_several(view: &View) -> Option<Finding> {
    let several = view.inventory.adopt.is_some() && view.inventory.has_several_control_planes();
    several.then(|| {
        Finding::error(
            "adopt-several-control-planes",
            "",
            "a cluster with several control planes can't be adopted yet, nor can an adopted one get more",
            "leave it with one control plane, or out of kubewan's care",
        )
        .for_cluster()
    })
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
