//! A kubelet whose `--node-ip` is on no interface: its node has no InternalIP.

use std::net::Ipv4Addr;

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{HostCase, has_all};
use crate::diagnosis::{Diagnosis, goal};

pub(super) const CHECK: Check = Check {
    code: "node-ip-nowhere",
    means: "the kubelet's `--node-ip` is on no interface of the host, so its node has no InternalIP",
    looks_at: "the arguments of the running kubelet, the host's addresses, `not found in the host's network interfaces`",
    explains: &["node-not-ready", "hairpin"],
    explains_everywhere: &[],
    run: |case| case.present().filter_map(of).collect(),
};

/// pkg/kubelet/kubelet_node_status.go, `validateNodeIP`.
fn is_said(line: &str) -> bool {
    has_all(line, &["node IP", "not found in the host's network interfaces"])
}

fn of(host: &HostCase) -> Option<Diagnosis> {
    let said = host.said(&[Component::Kubelet], is_said);
    let nowhere: Option<Ipv4Addr> = host.facts.as_ref().and_then(|facts| {
        let arguments = facts.kubernetes.kubelet_args.iter();
        let ip =
            { arguments }.find_map(|arg| arg.trim_start_matches('-').strip_prefix("node-ip="))?;
        // 0.0.0.0: the address of the default route, whichever that is.
        ip.parse()
            .ok()
            .filter(|ip: &Ipv4Addr| !ip.is_unspecified() && facts.interface_with(*ip).is_none())
    });
    let said = said.filter(|_| host.is_pasted() || nowhere.is_some());
    if said.is_none() && nowhere.is_none() {
        return None;
    }
    let argument = nowhere.map(|ip| {
        host.quote("the kubelet's arguments", format!("--node-ip={ip}; no interface has it"))
    });
    Some(
        Diagnosis::error("node-ip-nowhere", host.who(), "the node has no InternalIP: `kubectl logs` and `exec` don't reach its pods, pods of other nodes neither")
            .cause("the kubelet is to use an address that is on no interface of the host; behind NAT the public address is on none by itself")
            .seen(argument.into_iter().chain(said))
            .remedy("put the address on an interface as a /32 (`kubewan up` does, by a unit of its own that comes back at boot), then `systemctl restart kubelet`")
            .fix(&[goal("file", "kubewan-address"), goal("link", ""), goal("unit", "kubewan")]),
    )
}
