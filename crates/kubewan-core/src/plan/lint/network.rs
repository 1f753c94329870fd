//! Addresses and encapsulation: what the kernel can carry, and subnets over what a host has.

use std::net::Ipv4Addr;

use crate::facts::{ConfiguredAddress, Facts, InterfaceAddress};
use crate::finding::{Finding, Severity};
use crate::inventory::{Backend, Host, NetworkMode};
use crate::network::alias::{WideAlias, wide};
use crate::network::ports::Source;
use crate::network::reach::{self, Measured};
use crate::network::subnets::collisions;
use crate::plan::planner::View;
use crate::render::unit::LINK;

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

/// The usual recipe's virtual NIC `eth0:1` with a /24; see [`wide`]. A run takes it off; where it can't, and a host of
/// the inventory is in that range, the cluster would lack that way.
pub(super) fn wide_alias(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let own = view.address(host);
    let finding = |alias: &WideAlias| {
        let (interface, address) = (&alias.on.interface, alias.on.address);
        let network = address.trunc();
        let neighbours = view.inventory.hosts.iter();
        let lost: Vec<String> = neighbours
            .filter(|other| other.name != host.name && network.contains(&view.address(other)))
            .map(|other| format!("{} ({})", other.name, view.address(other)))
            .collect();
        let message = format!(
            "{interface} has {address} beside {}: it looks for all of {network} on its own wire, where that is not, and \
             reaches no server there{}",
            alias.beside,
            if lost.is_empty() { String::new() } else { format!(", such as {}", lost.join(", ")) }
        );
        if alias.is_alone {
            let remedy = format!(
                "nothing now: `kubewan up` puts {own}/32 on {LINK} and takes {address} off {interface}, and `kubewan \
                 reset` gives it back"
            );
            return Finding::warning("public-address-mask", &host.name, message, remedy);
        }
        let remedy = format!(
            "{interface} has more addresses in that range, which the kernel might take away with this one. Give it the \
             mask 255.255.255.255 where it is configured, and now: `ip address add {own}/32 dev {interface} && ip \
             address del {address} dev {interface}`"
        );
        let severity = if lost.is_empty() { Severity::Warning } else { Severity::Error };
        let finding = Finding::warning("public-address-mask", &host.name, message, remedy);
        Finding { severity, ..finding }
    };
    wide(own, facts).iter().map(finding).chain(alias_returns(host, own, facts)).collect()
}

/// Files that bring such an address back at boot. They are somebody's, and left as they are.
fn alias_returns(host: &Host, own: Ipv4Addr, facts: &Facts) -> Vec<Finding> {
    let on_card = |on: &InterfaceAddress| {
        on.address.addr() == own
            && on.interface != LINK
            && !wide(own, facts).iter().any(|alias| alias.on == on)
    };
    let gateway = facts.default_route.as_ref().and_then(|route| route.gateway);
    let is_wide = |each: &&ConfiguredAddress| {
        let network = each.address.trunc();
        each.address.addr() == own
            && each.address.prefix_len() < 32
            && !gateway.is_some_and(|gateway| network.contains(&gateway))
    };
    // A card that carries the address for good is configured as it has to be.
    if own.is_private() || facts.addresses.iter().any(on_card) {
        return Vec::new();
    }
    let finding = |each: &ConfiguredAddress| {
        let ConfiguredAddress { path, line, text, address } = each;
        let message =
            format!("{path} line {line} (`{text}`) brings {address} back at the next boot");
        let remedy = format!(
            "take {own} out of {path}, since kubewan has it on {LINK}; or give it the mask 255.255.255.255 (/32) in line \
             {line}. kubewan leaves that file alone; `kubewan up` takes the address off again"
        );
        Finding::warning("public-address-returns", &host.name, message, remedy)
    };
    facts.configured_addresses.iter().filter(is_wide).map(finding).collect()
}

/// Ways between hosts that were tried and are closed, most likely by a provider, and hosts that come by them from an
/// address that is not theirs.
pub(super) fn ways(view: &View) -> Vec<Finding> {
    let addresses = view.inputs.addresses;
    let measured: Vec<Measured> =
        view.inputs.measured.iter().filter(|way| !is_blind(view, way)).cloned().collect();
    let mut findings = reach::findings(view.inventory, addresses, &measured);
    findings.extend(reach::untried(view.inventory, &measured));
    findings.extend(reach::sources(view.inventory, addresses, &measured));
    findings
}

/// A way that an address on a network card closes at one of its ends, until the run takes it off: it tells nothing of a
/// provider.
fn is_blind(view: &View, (way, result): &Measured) -> bool {
    let host = |name: &str| view.inventory.hosts.iter().find(|host| host.name == name);
    let Source::Host(from) = &way.from else { return false };
    let (Some(from), Some(to)) = (host(from), host(&way.to)) else { return false };
    let misses = |host: &Host, other: &Host| {
        let facts = view.facts.get(&host.name);
        let aliases = facts.map(|facts| wide(view.address(host), facts)).unwrap_or_default();
        aliases
            .iter()
            .any(|alias| alias.is_alone && alias.on.address.trunc().contains(&view.address(other)))
    };
    result.is_err() && (misses(from, to) || misses(to, from))
}
