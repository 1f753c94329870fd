//! Addresses and encapsulation: what the kernel can carry, and subnets over what a host has.

use crate::facts::Facts;
use crate::finding::{Finding, Severity};
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

/// The public address beside a private one on the NIC, as a network that is not there: the usual recipe's virtual NIC `eth0:1`
/// with a /24. The host looks for its neighbours in that range on its own wire. Where the router is in that network too, it
/// is one.
pub(super) fn wide_alias(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let own = view.address(host);
    let same = facts.addresses.iter().filter(|found| found.address.addr() == own);
    let Some(found) = same.min_by_key(|found| found.address.prefix_len()) else {
        return Vec::new();
    };
    let network = found.address.trunc();
    let beside = facts.addresses.iter().find(|other| {
        other.interface == found.interface && other.address.addr().is_private() && !own.is_private()
    });
    let gateway = facts.default_route.as_ref().and_then(|route| route.gateway);
    let is_real = gateway.is_some_and(|gateway| network.contains(&gateway));
    let (Some(beside), false, 0..=31) = (beside, is_real, network.prefix_len()) else {
        return Vec::new();
    };
    let lost: Vec<String> = view
        .inventory
        .hosts
        .iter()
        .filter(|other| other.name != host.name && network.contains(&view.address(other)))
        .map(|other| format!("{} ({})", other.name, view.address(other)))
        .collect();
    let message = format!(
        "{} has {} beside {}: it looks for all of {network} on its own wire, where that is not, and reaches no server there{}",
        found.interface,
        found.address,
        beside.address.addr(),
        if lost.is_empty() { String::new() } else { format!(", such as {}", lost.join(", ")) }
    );
    let remedy = format!(
        "give it the mask 255.255.255.255 where it is configured (/etc/network/interfaces, netplan), and now: `ip address add \
         {own}/32 dev {0} && ip address del {1} dev {0}`; or take it away there: kubewan puts it on an interface of its own",
        found.interface, found.address
    );
    let finding = Finding::warning("public-address-mask", &host.name, message, remedy);
    vec![if lost.is_empty() { finding } else { Finding { severity: Severity::Error, ..finding } }]
}

/// Ways between hosts that were tried and are closed, most likely by a provider, and hosts that come by them from an
/// address that is not theirs.
pub(super) fn ways(view: &View) -> Vec<Finding> {
    let (addresses, measured) = (view.inputs.addresses, view.inputs.measured);
    let mut findings = reach::findings(view.inventory, addresses, measured);
    findings.extend(reach::sources(view.inventory, addresses, measured));
    findings
}
