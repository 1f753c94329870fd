//! A cluster that somebody made by hand, before kubewan changes anything under it: what of theirs would be overwritten or cease
//! to fit. What is not whole is told from what hosts say of each goal, in [`crate::plan::lacks`].

use crate::action::etcd::EtcdUrls;
use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::Host;
use crate::inventory::adopt::kubelet;
use crate::plan::planner::View;
use crate::render::docker::CGROUP_DRIVER;
use crate::render::flannel::OVERWRITE_ANNOTATION;
use crate::render::kubeadm::{ETCD_CLIENT_PORT, ETCD_PEER_PORT};

/// An address that flannel announces for the node, by somebody's word or its own choice, and that kubewan would change. Only before
/// the first `up` has ended: afterwards the node's marks are kubewan's.
pub(super) fn announced(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let node = view.inputs.living.filter(|_| facts.kubernetes.adopted)?.node(&host.name)?;
    let address = view.address(host).to_string();
    let finding = |message: String, remedy: String| {
        Finding::error("adopt-announced", &host.name, message, remedy)
    };
    match (&node.overwrite, &node.announced) {
        (Some(theirs), _) if *theirs != address => Some(finding(
            format!(
                "somebody has flannel announce {theirs} for this node ({OVERWRITE_ANNOTATION}); kubewan would write {address} \
                 over it, the node's address, and its pods would be looked for there"
            ),
            format!(
                "have the node known by {theirs} (its kubelet's --node-ip, with the address on an interface) and run \
                 `kubewan adopt` anew; or, where other nodes reach it by {address}, `kubectl annotate node {} {OVERWRITE_ANNOTATION}-`",
                host.name
            ),
        )),
        (None, Some(theirs)) if *theirs != address => Some(finding(
            format!(
                "flannel announces {theirs} for this node; kubewan would have it announce {address}, the node's address, and \
                 start it again"
            ),
            format!(
                "where other nodes reach it by {address}, say so yourself: `kubectl annotate node {} {OVERWRITE_ANNOTATION}={address}`, \
                 and start its flannel again",
                host.name
            ),
        )),
        _ => None,
    }
}

/// A kubelet that makes control groups with another driver than the runtime will: its pods would not start any more, etcd among
/// them. What its node would need is a drained node and edits in two places, which only its owner can choose the time of.
pub(super) fn cgroup_driver(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let driver =
        kubelet::cgroup_driver(view.inventory, facts).filter(|_| facts.kubernetes.adopted)?;
    let runtime = if view.inventory.is_docker() { "Docker" } else { "containerd" };
    let restart = if view.inventory.is_docker() { "docker" } else { "containerd" };
    (driver != CGROUP_DRIVER).then(|| {
        Finding::error(
            "adopt-cgroup-driver",
            &host.name,
            format!(
                "its kubelet makes control groups with {driver}, and kubewan sets {runtime} to {CGROUP_DRIVER}: pods would not start any \
                 more, those of the control plane neither"
            ),
            format!(
                "change the node by hand, one after another, as kubernetes.io has it (\"Configuring a cgroup driver\"): `kubectl drain {name} \
                 --ignore-daemonsets`; `systemctl stop kubelet`; `cgroupDriver: systemd` in /var/lib/kubelet/config.yaml, and \
                 {runtime} to systemd too; `systemctl restart {restart} && systemctl start kubelet`; `kubectl uncordon {name}`. For nodes to come, \
                 the same in the ConfigMap kube-system/kubelet-config",
                name = host.name
            ),
        )
    })
}

/// An etcd whose manifest somebody edited and whose `kubeadm-config` does not know of it, as usual recipes leave it: kubeadm writes the
/// manifest anew at its next upgrade, with the address that the API server announces.
pub(super) fn etcd_listens(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let living = view.inputs.living.filter(|_| facts.kubernetes.adopted)?;
    let listens = facts.kubernetes.etcd_listens.as_ref()?;
    let usual = format!("https://{}:{ETCD_PEER_PORT}", view.address(host));
    let configured = living.etcd_listens.as_ref().unwrap_or(&usual);
    (listens != configured).then(|| {
        let client = listens.replace(&ETCD_PEER_PORT.to_string(), &ETCD_CLIENT_PORT.to_string());
        Finding::warning(
            "adopt-etcd-listens",
            &host.name,
            format!(
                "etcd listens on {listens} by an edit of its manifest, and kubeadm-config has {configured}: the next upgrade writes the \
                 manifest anew, with that"
            ),
            format!(
                "say it there too: `kubectl -n kube-system edit configmap kubeadm-config`, under `etcd.local.extraArgs`: \
                 `{CLIENT}` {client}, `{PEER}` {listens}",
                CLIENT = EtcdUrls::CLIENT,
                PEER = EtcdUrls::PEER
            ),
        )
    })
}
