//! What can only be right once all nodes are there.

use crate::action::{Action, Spread};
use crate::inventory::{Host, Inventory, TaintEffect};
use crate::plan::planner::View;
use crate::plan::{Phase, Step};

/// kubeadm's CoreDNS has two replicas (cmd/kubeadm/app/phases/addons/dns/manifests.go).
const COREDNS_REPLICAS: u32 = 2;

pub(in crate::plan) fn steps(view: &View) -> Vec<Step> {
    let Some(spread) = coredns(view.inventory) else { return Vec::new() };
    let action = Action::Spread(spread);
    let why =
        "both replicas start on the first node, the only one there was: names must outlive it";
    vec![Step::new(Phase::Settle, &view.inventory.first_control_plane().name, action, why)]
}

/// Where the replicas of the cluster's DNS are to be; `None` where there is only one node for them.
pub fn coredns(inventory: &Inventory) -> Option<Spread> {
    let nodes = inventory.hosts.iter().filter(|host| takes_coredns(host)).count();
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).min(COREDNS_REPLICAS);
    (nodes >= 2).then(|| Spread {
        namespace: "kube-system".into(),
        deployment: "coredns".into(),
        selector: "k8s-app=kube-dns".into(),
        nodes,
        timeout_s: 180,
    })
}

/// CoreDNS tolerates the control plane's taint, and no other.
fn takes_coredns(host: &Host) -> bool {
    host.taints.iter().all(|taint| taint.effect == TaintEffect::PreferNoSchedule)
}
