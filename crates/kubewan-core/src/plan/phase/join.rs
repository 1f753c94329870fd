//! The other hosts join, side by side.

use super::control_plane::{KUBEADM_TIMEOUT_S, init_id, node};
use super::network::JOIN_TOKEN;
use crate::action::{Action, Input, KubeadmInit, KubeadmJoin};
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::kubeadm;

pub(in crate::plan) fn steps(view: &View) -> Vec<Step> {
    let token = Input::Secret { name: JOIN_TOKEN.into() };
    let ca_hash = Input::Output { step: init_id(view), field: KubeadmInit::CA_HASH.into() };
    view.joining()
        .filter_map(|host| {
            let facts = view.facts.get(&host.name)?;
            let node = node(view, host, facts);
            let action = Action::KubeadmJoin(KubeadmJoin {
                config: kubeadm::join(view.inventory, &node, &token.marker(), &ca_hash.marker()),
                inputs: vec![token.clone(), ca_hash.clone()],
                ignore_preflight_errors: kubeadm::set_aside(view.inventory, &node),
                node: host.name.clone(),
                endpoint: format!("https://{}", kubeadm::endpoint(view.inventory)),
                timeout_s: KUBEADM_TIMEOUT_S,
            });
            Some(Step::new(
                Phase::Join,
                &host.name,
                action,
                "the host becomes a node; the CA's hash proves the cluster to it",
            ))
        })
        .collect()
}
