//! Labels, taints and the address that flannel announces, for nodes that have joined.

use std::collections::BTreeMap;

use super::network::running_flannel;
use crate::action::cluster::{MANAGED_ANNOTATION, Managed};
use crate::action::{Action, Announced, NodeMeta};
use crate::inventory::Host;
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::flannel::{GATE_LABEL, OVERWRITE_ANNOTATION};
use crate::render::kubeadm::role_taints;

/// Label by which kubectl shows a worker's role; kubeadm sets only the control plane's.
const WORKER_LABEL: &str = "node-role.kubernetes.io/worker";
/// Seconds to wait for flannel on a node: its image is there, its pod has to start.
const ANNOUNCE_TIMEOUT_S: u64 = 240;

pub(in crate::plan) fn steps(view: &View) -> Vec<Step> {
    let control_plane = &view.inventory.first_control_plane().name;
    let is_marked = |host: &Host| running_flannel(view).any(|node| node.name == host.name);
    let mut steps: Vec<Step> = view
        .joining()
        .filter(|host| !is_marked(host))
        .map(|host| mark(view, host, Phase::Nodes))
        .collect();
    for host in &view.inventory.hosts {
        let action = Action::Announced(Announced {
            node: host.name.clone(),
            address: view.address(host),
            timeout_s: ANNOUNCE_TIMEOUT_S,
        });
        let why = "other nodes send pod traffic to the address that flannel announces";
        steps.push(Step::new(Phase::Nodes, control_plane, action, why));
    }
    steps
}

/// A node's labels, annotations and taints, in one patch.
pub(super) fn mark(view: &View, host: &Host, phase: Phase) -> Step {
    let mut labels = host.labels.clone();
    labels.insert(GATE_LABEL.into(), "announced".into());
    if host.is_worker() {
        labels.insert(WORKER_LABEL.into(), String::new());
    }
    let mut taints = host.taints.clone();
    if host.is_control_plane() && !host.is_worker() {
        // kubeadm sets them; a host that was a worker too has lost them.
        for taint in role_taints(view.inventory) {
            if !taints.iter().any(|there| there.key == taint.key) {
                taints.push(taint);
            }
        }
    }
    let annotations = BTreeMap::from([
        (OVERWRITE_ANNOTATION.to_owned(), view.address(host).to_string()),
        (MANAGED_ANNOTATION.to_owned(), Managed::annotation(&labels, &taints)),
    ]);
    let untainted = if host.is_control_plane() && host.is_worker() {
        role_taints(view.inventory).map(|taint| taint.key).collect()
    } else {
        Vec::new()
    };
    let action = Action::NodeMeta(NodeMeta {
        node: host.name.clone(),
        labels,
        annotations,
        taints,
        untainted,
    });
    let control_plane = &view.inventory.first_control_plane().name;
    let why =
        "its public address before flannel starts there; roles, labels and taints of the inventory";
    Step::new(phase, control_plane, action, why)
}
