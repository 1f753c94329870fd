//! A node that is not ready, or is not there, and nothing else says why.

use super::Check;
use crate::case::{Case, HostCase, node_rows};
use crate::diagnosis::{Diagnosis, goal};

pub(super) const CHECK: Check = Check {
    code: "node-not-ready",
    means: "a node is NotReady or missing, and nothing else says why",
    looks_at: "the nodes as the API has them",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        case.hosts.iter().filter_map(|host| of(case, host).or_else(|| pasted(host))).collect()
    },
};

/// `kubectl get nodes` with some that are ready. Where none is, it is the network's matter (`no-cni`).
fn pasted(host: &HostCase) -> Option<Diagnosis> {
    let rows = node_rows(host);
    let is_ill = |status: &str| status.starts_with("NotReady");
    let (name, _) = rows.iter().find(|(_, status)| is_ill(status))?;
    let quote = host.said(&[], |line| {
        line.split_whitespace().next() == Some(name.as_str()) && line.contains(" NotReady ")
    });
    let quote =
        quote.filter(|_| host.is_pasted() && !rows.iter().all(|(_, status)| is_ill(status)))?;
    Some(
        Diagnosis::warning("node-not-ready", None, "a node is NotReady beside others that are Ready")
            .cause("for some minutes after a join that is as it should be: its network has to come up first")
            .seen([quote])
            .remedy(format!(
                "wait five minutes; then `kubectl describe node {name}` says the reason under `Ready`, and `journalctl -u kubelet -n 50` on it"
            )),
    )
}

fn of(case: &Case, host: &HostCase) -> Option<Diagnosis> {
    let cluster = case.cluster.as_ref().filter(|cluster| cluster.silent.is_none())?;
    let name = host.who()?;
    let (quote, cause) = match cluster.nodes.iter().find(|node| node.name == name) {
        Some(node) if node.ready => return None,
        Some(node) => (
            host.quote(&format!("node {name}"), &node.said),
            "its kubelet says so, or says nothing any more",
        ),
        None => (
            host.quote("kubectl get nodes", format!("no {name}")),
            "the host has not joined, or its node was deleted",
        ),
    };
    Some(
        Diagnosis::error(
            "node-not-ready",
            Some(name),
            "the node takes no pods, and after five minutes its pods are started elsewhere",
        )
        .cause(cause)
        .seen([quote])
        .remedy(format!(
            "`journalctl -u kubelet -n 50` on {name}; a kubelet that runs and says nothing any more: `systemctl restart kubelet`; \
             `kubewan up` joins a host that is missing"
        ))
        .fix(&[goal("unit", "kubelet.service")]),
    )
}
