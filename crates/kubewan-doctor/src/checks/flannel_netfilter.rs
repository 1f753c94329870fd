//! Bridged packets that pass the packet filter by: Services and flannel don't work.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{HostCase, has_all, has_any};
use crate::diagnosis::{Diagnosis, goal};

const SETTING: &str = "net.bridge.bridge-nf-call-iptables";

pub(super) const CHECK: Check = Check {
    code: "no-br-netfilter",
    means: "the kernel module br_netfilter is missing or its setting is off: flannel ends, and Services don't answer on a node's own pods",
    looks_at: "net.bridge.bridge-nf-call-iptables, flannel's `Failed to check br_netfilter`, kubeadm's check `FileContent…bridge-nf-call-iptables`",
    explains: &["no-cni", "node-not-ready"],
    explains_everywhere: &[],
    run: |case| case.present().filter_map(of).collect(),
};

fn is_said(line: &str) -> bool {
    has_all(line, &["br_netfilter", "Failed to check"])
        || (line.contains("bridge-nf-call-iptables")
            && has_any(
                line,
                &[
                    "does not exist",
                    "not set to 1",
                    "no such file or directory",
                    "[ERROR FileContent",
                ],
            ))
}

fn of(host: &HostCase) -> Option<Diagnosis> {
    let value = host.evidence.sysctls.get(SETTING);
    let off = match value {
        Some(value) if host.has_cluster() => value.as_deref() != Some("1"),
        _ => false,
    };
    let said = host
        .said(&[Component::Flannel, Component::Kubelet], is_said)
        .filter(|_| off || host.is_pasted());
    if !off && said.is_none() {
        return None;
    }
    let setting = value.filter(|_| off).map(|value| {
        host.quote(
            &format!("sysctl {SETTING}"),
            value.as_deref().unwrap_or("there is no such setting: br_netfilter is not loaded"),
        )
    });
    Some(
        Diagnosis::error("no-br-netfilter", host.who(), "flannel's pod ends, or pods don't reach Services whose pods are on their own node")
            .cause("br_netfilter is not loaded, or net.bridge.bridge-nf-call-iptables is not 1: what a bridge forwards is not seen by iptables then")
            .seen(setting.into_iter().chain(said))
            .remedy("`modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1`, and for the next boot a line in /etc/modules-load.d and one in /etc/sysctl.d")
            .fix(&[goal("module", "br_netfilter"), goal("file", "/etc/modules-load.d/"), goal("file", "/etc/sysctl.d/"), goal("sysctl", "net.bridge.")]),
    )
}
