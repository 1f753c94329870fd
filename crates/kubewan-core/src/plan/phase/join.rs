//! The other hosts join: control planes one after another, since each changes etcd's members, then the workers side by
//! side.

use super::control_plane::{KUBEADM_TIMEOUT_S, adopts, init_id, node};
use super::network::{CERTIFICATE_KEY, JOIN_TOKEN};
use crate::action::{Action, Input, KubeadmInit, KubeadmJoin};
use crate::inventory::Host;
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::kubeadm::{self, JoinSecrets};

/// Joins of control planes, in the operator's order.
pub(in crate::plan) fn control_planes(view: &View) -> Vec<Step> {
    let why = "the host becomes a control plane with a member of etcd of its own";
    let joining = view.joining().filter(|host| host.is_control_plane());
    joining.filter_map(|host| step(view, host, Phase::JoinControlPlanes, why)).collect()
}

/// Joins of workers.
pub(in crate::plan) fn workers(view: &View) -> Vec<Step> {
    let why = "the host becomes a node; the authority's certificate proves the cluster to it";
    let joining = view.joining().filter(|host| !host.is_control_plane());
    joining.filter_map(|host| step(view, host, Phase::Join, why)).collect()
}

fn step(view: &View, host: &Host, phase: Phase, why: &str) -> Option<Step> {
    let facts = view.facts.get(&host.name)?;
    let node = node(view, host, facts);
    let token = Input::Secret { name: JOIN_TOKEN.into() };
    let ca = Input::Output { step: init_id(view), field: KubeadmInit::CA.into() };
    let key = Input::Secret { name: CERTIFICATE_KEY.into() };
    let secrets = JoinSecrets { token: &token.marker(), certificate_key: &key.marker() };
    let discovery = kubeadm::discovery(view.inventory, &ca.marker());
    let config = kubeadm::join(view.inventory, &node, secrets);
    let control_plane = host.is_control_plane();
    let inputs = [token, ca].into_iter().chain(control_plane.then_some(key)).collect();
    let action = Action::KubeadmJoin(KubeadmJoin {
        config,
        discovery,
        inputs,
        ignore_preflight_errors: kubeadm::set_aside(view.inventory, &node),
        node: host.name.clone(),
        endpoint: format!("https://{}", kubeadm::endpoint(view.inventory)),
        timeout_s: KUBEADM_TIMEOUT_S,
        control_plane,
        adopts: adopts(view.inventory),
    });
    Some(Step::new(phase, &host.name, action, why))
}
