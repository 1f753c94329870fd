//! A node without a pod network.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{HostCase, has_any, node_rows};
use crate::diagnosis::Diagnosis;

/// pkg/cri of containerd, and dockershim's.
const WORDS: [&str; 5] = [
    "cni plugin not initialized",
    "cni config uninitialized",
    "no networks found in /etc/cni/net.d",
    "NetworkPluginNotReady",
    "failed to find plugin \"",
];

pub(super) const CHECK: Check = Check {
    code: "no-cni",
    means: "the node has no pod network: no CNI configuration, or a plugin that is missing",
    looks_at: "the node's condition, `cni plugin not initialized`, `failed to find plugin`",
    explains: &["node-not-ready"],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &HostCase| {
            let node = case.node(host).filter(|node| !node.ready && has_any(&node.said, &WORDS));
            let from_node = node.map(|node| host.quote(&format!("node {}", node.name), &node.said));
            let plugin = |line: &str| line.contains("failed to find plugin \"");
            let said = host.says_now(&[Component::Kubelet, Component::Containerd], |line| {
                match host.is_pasted() {
                    // A kubelet says so as it starts, before flannel has written its file.
                    true => has_any(line, &WORDS) && !became_ready(host),
                    false => plugin(line) && case.node_may_be_ill(host),
                }
            });
            if from_node.is_none() && said.is_none() {
                return no_node_is_ready(host);
            }
            let quotes: Vec<_> = from_node.into_iter().chain(said).collect();
            let is_plugin = quotes.iter().any(|quote| plugin(&quote.text));
            let (cause, remedy) = match is_plugin {
                true => (
                    "a CNI plugin's program is missing in /opt/cni/bin",
                    "put the CNI plugins there (the package kubernetes-cni); `kubewan up` brings them",
                ),
                false => (
                    "no pod network was installed yet, or its pod on this node does not run, so that /etc/cni/net.d is empty",
                    "install one: `kubectl apply -f kube-flannel.yml`; where there is one, look at its pod: `kubectl -n kube-flannel get pods -o wide`, and its log; where it runs, delete it: the next one writes the file again. \
                     `kubewan up` brings flannel",
                ),
            };
            Some(
                Diagnosis::error(
                    "no-cni",
                    host.who(),
                    "the node is NotReady, and its pods stay in ContainerCreating",
                )
                .cause(cause)
                .seen(quotes)
                .remedy(remedy)
                .fix(&[
                    crate::diagnosis::goal("file", "/opt/cni/bin/"),
                    crate::diagnosis::goal("object", ""),
                    crate::diagnosis::goal("node-meta", ""),
                ]),
            )
        };
        case.present().filter_map(of).collect()
    },
};

/// A new cluster before its network: `kubectl get nodes` with not one that is ready, and nothing else that says why.
fn no_node_is_ready(host: &HostCase) -> Option<Diagnosis> {
    let rows = node_rows(host);
    let none = !rows.is_empty() && rows.iter().all(|(_, status)| status.starts_with("NotReady"));
    let quote =
        host.said(&[], |line| line.contains(" NotReady ")).filter(|_| none && host.is_pasted())?;
    Some(
        Diagnosis::warning("no-cni", None, "no node of the cluster is Ready")
            .cause("so it is from `kubeadm init` on until a pod network is there; where there is one, nodes have other reasons")
            .seen([quote])
            .remedy(
                "install one: `kubectl apply -f kube-flannel.yml`, and wait some minutes; where there is one, `kubectl describe node` says \
                 the reason under `Ready`. `kubewan up` brings flannel",
            ),
    )
}

/// The node is well in the same text.
fn became_ready(host: &HostCase) -> bool {
    host.said(&[], |line| line.contains("it just became ready")).is_some()
}
