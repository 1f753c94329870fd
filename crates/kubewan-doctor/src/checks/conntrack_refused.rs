//! A kube-proxy that may not set the table of connections.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{has_all, has_any};
use crate::diagnosis::Diagnosis;

pub(super) const CHECK: Check = Check {
    code: "conntrack-refused",
    means: "kube-proxy ends, because it may not write nf_conntrack_max: the host shares its kernel with others (OpenVZ, LXC)",
    looks_at: "kube-proxy's `nf_conntrack_max: permission denied`",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let quote = host.said_lately(&[Component::KubeProxy], |line| {
                line.contains("conntrack")
                    && has_any(
                        line,
                        &["permission denied", "read-only file system", "operation not permitted"],
                    )
            })?;
            // kube-proxy in a host's own namespace says so and goes on.
            let pods = case.cluster.iter().flat_map(|cluster| &cluster.pods);
            let runs = { pods }.any(|pod| {
                pod.ready
                    && has_all(&pod.name, &["kube-proxy"])
                    && Some(pod.node.as_str()) == host.who()
            });
            (!runs).then(|| {
                Diagnosis::error("conntrack-refused", host.who(), "kube-proxy is restarted all the time, and no Service answers on this node")
                    .cause("kube-proxy sets nf_conntrack_max when it starts and may not: the host is a container of its provider's")
                    .seen([quote])
                    .remedy(
                        "tell kube-proxy to leave it alone: `conntrack: { maxPerCore: 0, min: 0 }` in the ConfigMap kube-system/kube-proxy, then \
                         delete its pods; with kubewan: `kubernetes.kubeProxy`",
                    )
            })
        };
        case.present().filter_map(of).collect()
    },
};
