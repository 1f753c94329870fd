//! What joins need: the record of the cluster, flannel's objects, the first node's marks, a token.

use serde_json::json;

use super::nodes::mark;
use crate::action::{Action, BootstrapToken, Input, Object};
use crate::inventory::Recorded;
use crate::network::mtu;
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::flannel;
use crate::supply;

/// Name of the secret that joins use; made on the operator's side.
pub const JOIN_TOKEN: &str = "join-token";
/// Seconds it lives: long enough for joins over slow links, short enough to be of no use to a thief.
const TOKEN_TTL_S: u64 = 30 * 60;
/// Where the cluster keeps what it was built from.
pub const RECORD: (&str, &str) = ("kube-system", "kubewan");

pub(in crate::plan) fn steps(view: &View) -> Vec<Step> {
    let host = view.inventory.first_control_plane();
    let step = |action, why: &str| Step::new(Phase::Network, &host.name, action, why);
    let mut steps = vec![step(
        Action::Object(record(view)),
        "a later run has to know what the cluster was built from",
    )];
    let arch = view.facts.get(&host.name).map(|f| f.kernel.arch.clone()).unwrap_or_default();
    let image = |(repository, tag): (&str, &str)| {
        let name = repository.rsplit('/').next().unwrap_or(repository);
        let bundled = view.inputs.bundle.image(name, &arch).map(|image| image.name.clone());
        bundled.unwrap_or_else(|| format!("{repository}:{tag}"))
    };
    let outer = mtu(view.inventory, view.facts);
    let (flannel, plugin) = (image(supply::FLANNEL), image(supply::FLANNEL_CNI_PLUGIN));
    for manifest in flannel::objects(view.inventory, outer, &flannel, &plugin) {
        steps.push(step(
            Action::Object(Object { manifest }),
            "flannel carries packets between pods of different hosts",
        ));
    }
    steps.push(mark(view, host, Phase::Network));
    if view.joining().next().is_some() {
        let token = Input::Secret { name: JOIN_TOKEN.into() };
        steps.push(step(
            Action::BootstrapToken(BootstrapToken { token, ttl_s: TOKEN_TTL_S }),
            "hosts prove with it that they may join",
        ));
    }
    steps
}

fn record(view: &View) -> Object {
    let mut recorded = Recorded::of(view.inventory, view.inputs.addresses);
    if let Some(living) = view.inputs.recorded {
        // Those in force, which the inventory's are not if they changed since.
        recorded.settings.clone_from(&living.settings);
        for (name, host) in &mut recorded.hosts {
            let living = living.hosts.get(name).into_iter();
            host.kubelet_args.extend(living.flat_map(|host| host.kubelet_args.iter().cloned()));
        }
    }
    let text =
        serde_json::to_string_pretty(&recorded).unwrap_or_else(|e| unreachable!("plain data: {e}"));
    let (namespace, name) = RECORD;
    Object {
        manifest: json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": namespace },
            "data": { "cluster.json": text },
        }),
    }
}
