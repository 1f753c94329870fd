//! A node that runs short of disk, memory or process ids.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{HostCase, has_any};
use crate::diagnosis::Diagnosis;

const PRESSURES: [&str; 3] = ["DiskPressure", "MemoryPressure", "PIDPressure"];

pub(super) const CHECK: Check = Check {
    code: "disk-pressure",
    means: "a node runs short of disk, memory or process ids: it takes no pods and evicts some",
    looks_at: "the node's conditions, `eviction_manager` in the kubelet's log",
    explains: &["node-not-ready"],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &HostCase| {
            let node = case.node(host);
            let pressure = node.and_then(|node| {
                node.pressures.iter().find(|(kind, _)| PRESSURES.contains(&kind.as_str()))
            });
            let quote = match pressure {
                Some((kind, said)) => {
                    host.quote(&format!("node {}", node?.name), format!("{kind}: {said}"))
                }
                None if host.is_pasted() => host.said(&[Component::Kubelet], |line| {
                    has_any(
                        line,
                        &[
                            "eviction manager: attempting to reclaim",
                            "Eviction manager: attempting to reclaim",
                            "attempting to reclaim\" resourceName",
                            "NodeHasDiskPressure",
                            "had condition: [DiskPressure]",
                        ],
                    )
                })?,
                None => return None,
            };
            let disk = host
                .evidence
                .disks
                .iter()
                .min_by_key(|disk| disk.free.saturating_mul(1000) / disk.total.max(1));
            let room = disk.map(|d| {
                host.quote(
                    &format!("statfs {}", d.path),
                    format!("{} MiB of {} MiB free", d.free >> 20, d.total >> 20),
                )
            });
            Some(
                Diagnosis::error("disk-pressure", host.who(), "pods are evicted, and new ones stay Pending")
                    .cause("the kubelet keeps 15 % of the images' disk and 10 % of its own free (memory: 100 MiB), and there is less")
                    .seen([quote].into_iter().chain(room))
                    .remedy("`crictl rmi --prune`, `journalctl --vacuum-size=200M`, a larger disk at /var/lib; or lower `evictionHard` (`kubernetes.kubelet`)"),
            )
        };
        case.present().filter_map(of).collect()
    },
};
