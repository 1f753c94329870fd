//! Addresses and encapsulation: what the kernel can carry, and subnets over what a host has.

use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Backend, Host, NetworkMode};
use crate::network::reach;
use crate::network::subnets::collisions;
use crate::plan::planner::View;

pub(super) fn encryption(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let kernel = &facts.kernel;
    // flannel asks the kernel for its interface (pkg/backend/wireguard/device.go, ensureLink), whatever else there is.
    match view.inventory.network.backend {
        Backend::Wireguard if !kernel.wireguard => vec![Finding::error(
            "no-wireguard",
            &host.name,
            format!(
                "kernel {} has no WireGuard, so pod traffic can't be encrypted: flannel makes a WireGuard \
                 interface of the kernel's, which a userspace implementation does not provide",
                kernel.release
            ),
            "use a kernel from 5.6 on, or accept that anyone on the path reads pod traffic: `network: { backend: vxlan }`",
        )],
        Backend::Vxlan if !kernel.vxlan => vec![Finding::error(
            "no-vxlan",
            &host.name,
            format!("kernel {} has no VXLAN", kernel.release),
            "use a kernel with CONFIG_VXLAN",
        )],
        Backend::Vxlan => vec![
            Finding::warning(
                "plaintext-pod-traffic",
                &host.name,
                "pod traffic crosses the Internet in plaintext (network.backend: vxlan)",
                "use `network: { backend: wireguard }` where every kernel has WireGuard",
            )
            .for_cluster(),
        ]
        .into_iter()
        .filter(|_| view.inventory.hosts[0].name == host.name)
        .collect(),
        Backend::Wireguard => Vec::new(),
    }
}

pub(super) fn subnets(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    collisions(view.inventory, &host.name, facts, view.facts)
}

pub(super) fn private_address(view: &View, host: &Host, _: &Facts) -> Vec<Finding> {
    let (NetworkMode::Public, Some(address)) = (view.inventory.network.mode, host.private_address)
    else {
        return Vec::new();
    };
    vec![Finding::warning(
        "private-address-unused",
        &host.name,
        format!("`privateAddress: {address}` has no effect in network.mode public yet"),
        "leave it out; nodes find each other by their public addresses",
    )]
}

/// Ways between hosts that were tried and are closed, most likely by a provider, and hosts that come by them from an
/// address that is not theirs.
pub(super) fn ways(view: &View) -> Vec<Finding> {
    let (addresses, measured) = (view.inputs.addresses, view.inputs.measured);
    let mut findings = reach::findings(view.inventory, addresses, measured);
    findings.extend(reach::sources(view.inventory, addresses, measured));
    findings
}
