//! What joins need: the record of the cluster, flannel's objects, the first node's marks, an etcd that others reach, a
//! token, and the certificates that control planes share.

use serde_json::json;

use super::control_plane::node;
use super::nodes::mark;
use crate::action::{Action, BootstrapToken, EtcdListens, Input, Object, UploadedCerts};
use crate::inventory::{Host, Recorded};
use crate::network::mtu;
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::flannel;
use crate::render::kubeadm::{etcd_listens, upload_certs};
use crate::supply;

/// Name of the secret that joins use; made on the operator's side.
pub const JOIN_TOKEN: &str = "join-token";
/// Seconds it lives: long enough for joins over slow links, short enough to be of no use to a thief.
const TOKEN_TTL_S: u64 = 30 * 60;
/// Seconds more for each further control plane, since they join one after another and the workers after them.
const TOKEN_TTL_PER_CONTROL_PLANE_S: u64 = 15 * 60;
/// Name of the secret that encrypts the certificates for further control planes while the cluster holds them.
pub const CERTIFICATE_KEY: &str = "certificate-key";
/// Seconds that etcd may take to come back after its settings changed: the kubelet first asks the API to forget the pod
/// that was, which can't answer without etcd and is waited for 34 s; the API server's clients have backed off by then.
const ETCD_TIMEOUT_S: u64 = 240;
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
        bundled.unwrap_or_else(|| supply::as_named(view.inventory, (repository, tag)))
    };
    let outer = mtu(view.inventory, view.facts);
    let (flannel, plugin) = (image(supply::FLANNEL), image(supply::FLANNEL_CNI_PLUGIN));
    // Of a cluster that is adopted the nodes run flannel already: without the label that ours waits for, it would leave them all.
    steps.extend(running_flannel(view).map(|host| mark(view, host, Phase::Network)));
    for manifest in flannel::objects(view.inventory, outer, &flannel, &plugin) {
        steps.push(step(
            Action::Object(Object { manifest }),
            "flannel carries packets between pods of different hosts",
        ));
    }
    if !running_flannel(view).any(|node| node.name == host.name) {
        steps.push(mark(view, host, Phase::Network));
    }
    if view.inventory.has_several_control_planes() {
        let etcd = EtcdListens { urls: etcd_listens(view.inventory), timeout_s: ETCD_TIMEOUT_S };
        let why = "other members of etcd have to reach it, and behind NAT its public address is none to listen on";
        steps.push(step(Action::EtcdListens(etcd), why));
    }
    if view.joining().next().is_some() {
        let one_by_one = view.joining().filter(|host| host.is_control_plane()).count() as u64;
        let ttl_s = TOKEN_TTL_S + TOKEN_TTL_PER_CONTROL_PLANE_S * one_by_one;
        let token = Input::Secret { name: JOIN_TOKEN.into() };
        steps.push(step(
            Action::BootstrapToken(BootstrapToken { token, ttl_s }),
            "hosts prove with it that they may join",
        ));
    }
    if view.inventory.has_several_control_planes() {
        steps.extend(certificates(view, host));
    }
    steps
}

/// Hosts of an adopted cluster that are nodes of it.
pub(super) fn running_flannel<'a>(view: &'a View) -> impl Iterator<Item = &'a Host> {
    let is_node = |host: &&Host| view.facts.get(&host.name).is_some_and(|of| of.kubernetes.adopted);
    view.inventory.hosts.iter().filter(is_node)
}

/// kubeadm's own way to hand over authorities and keys: encrypted, in a Secret that ends with its token after two hours
/// (cmd/kubeadm/app/phases/copycerts). What decrypts them is made on the operator's side, goes to the hosts that join
/// and is kept nowhere; the keys themselves never leave the control planes in clear.
fn certificates(view: &View, host: &Host) -> Option<Step> {
    let key = Input::Secret { name: CERTIFICATE_KEY.into() };
    let node = node(view, host, view.facts.get(&host.name)?);
    let config = upload_certs(view.inventory, &node, &key.marker());
    let action = Action::UploadedCerts(UploadedCerts { key, config });
    let why = "control planes share one authority; encrypted with a key that only they are given";
    Some(Step::new(Phase::Network, &host.name, action, why))
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
