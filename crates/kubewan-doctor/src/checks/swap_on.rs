//! Swap that is on.

use kubewan_core::evidence::Component;

use super::{Check, NODE};
use crate::case::has_any;
use crate::diagnosis::{Diagnosis, goal};

/// pkg/kubelet/cm/container_manager_linux.go; kubeadm's check `Swap`.
const WORDS: [&str; 3] = [
    "running with swap on is not supported",
    "[ERROR Swap]",
    "swap on is not supported, please disable swap",
];

pub(super) const CHECK: Check = Check {
    code: "swap-on",
    means: "swap is on, and the kubelet was not told to live with it",
    looks_at: "/proc/swaps, the kubelet's configuration and log, kubeadm's check `Swap`",
    explains: NODE,
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let allowed = host.may_swap
                || host
                    .facts
                    .iter()
                    .flat_map(|facts| &facts.kubernetes.kubelet_args)
                    .any(|arg| arg.trim_start_matches('-') == "fail-swap-on=false")
                || host.file("/var/lib/kubelet/config.yaml").is_some_and(|text| {
                    text.lines().any(|line| line.trim() == "failSwapOn: false")
                });
            let quote = match &host.facts {
                Some(facts) if !facts.swaps.is_empty() && !allowed => {
                    Some(host.quote("/proc/swaps", facts.swaps.join(", ")))
                }
                Some(_) => None,
                None => host.said(&[Component::Kubelet], |line| has_any(line, &WORDS)),
            }?;
            Some(
                Diagnosis::error("swap-on", host.who(), "the kubelet ends as soon as it has started")
                    .cause("swap is on: something switches it on again at boot, though it was off when the node was made")
                    .seen([quote])
                    .remedy(
                        "`swapoff -a`, and out of /etc/fstab: put a `#` before the lines whose third word is `swap`; \
                         `systemctl list-units --type swap` shows what else brings it back",
                    )
                    .fix(&[goal("swap-off", ""), goal("unit", "kubelet.service")]),
            )
        };
        case.present().filter_map(of).collect()
    },
};
