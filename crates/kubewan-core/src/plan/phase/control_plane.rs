//! `kubeadm init` on the first control plane: once, with everything said before.

use crate::action::{Action, KubeadmInit};
use crate::facts::Facts;
use crate::inventory::{Host, Inventory};
use crate::plan::lint::accept;
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::kubeadm::{self, Node};

/// Seconds that one run of kubeadm may take: its own waits (4 minutes for the API server, 4 for the kubelet,
/// 1 for each API call) and slow disks.
pub(super) const KUBEADM_TIMEOUT_S: u64 = 15 * 60;

pub(in crate::plan) fn steps(view: &View) -> Vec<Step> {
    init(view).into_iter().collect()
}

/// The step that makes the control plane.
fn init(view: &View) -> Option<Step> {
    let host = view.inventory.first_control_plane();
    let facts = view.facts.get(&host.name)?;
    let node = node(view, host, facts);
    let action = Action::KubeadmInit(KubeadmInit {
        config: kubeadm::init(view.inventory, &node),
        ignore_preflight_errors: kubeadm::set_aside(view.inventory, &node),
        node: host.name.clone(),
        endpoint: format!("https://{}", kubeadm::endpoint(view.inventory)),
        timeout_s: KUBEADM_TIMEOUT_S,
        adopts: adopts(view.inventory),
    });
    let why = if view.inventory.has_several_control_planes() {
        "the cluster's first control plane; etcd is told before to listen on all addresses, since it can't bind one behind NAT"
    } else {
        "the cluster's control plane; etcd is told before to listen on 127.0.0.1, since it can't bind an address behind NAT"
    };
    Some(Step::new(Phase::ControlPlane, &host.name, action, why))
}

/// The cluster that counts as made, if somebody made it by hand.
pub(super) fn adopts(inventory: &Inventory) -> String {
    inventory.adopt.as_ref().map(|adopt| adopt.ca.clone()).unwrap_or_default()
}

/// A host as kubeadm registers it.
pub(super) fn node<'a>(view: &View, host: &'a Host, facts: &Facts) -> Node<'a> {
    Node {
        host,
        address: view.address(host),
        nic_address: facts.nic_address(),
        accepted: accept::in_force(view, host, facts),
    }
}

/// Id of the init step, for the values that joins take from it.
pub(super) fn init_id(view: &View) -> String {
    init(view).map(|step| step.id).unwrap_or_default()
}
