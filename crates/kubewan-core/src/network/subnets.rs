//! Subnets of ours that would take addresses away from a host.

use std::net::IpAddr;

use ipnet::Ipv4Net;

use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::Inventory;

/// Interfaces whose routes are the cluster's own.
const OWN_INTERFACES: [&str; 6] =
    ["cni0", "flannel.1", "flannel-wg", "kube-ipvs0", "kubewan0", "lo"];

/// Where a subnet of ours covers a route, an address or a resolver that a host really has: Kubernetes would
/// accept it, and the host would lose what it reached there.
pub fn collisions(inventory: &Inventory, host: &str, facts: &Facts) -> Vec<Finding> {
    let network = &inventory.network;
    let ours = [
        ("network.podSubnet", network.pod_subnet),
        ("network.serviceSubnet", network.service_subnet),
    ];
    let mut findings = Vec::new();
    for (key, subnet) in ours {
        for (what, there) in occupied(facts) {
            if overlap(subnet, there) {
                findings.push(Finding::error(
                    "subnet-collision",
                    host,
                    format!("{key} {subnet} covers {what}"),
                    format!("set {key} in the inventory to a private subnet that no host uses, as 10.{}.0.0/16", free_octet(facts)),
                ));
            }
        }
    }
    findings
}

fn occupied(facts: &Facts) -> Vec<(String, Ipv4Net)> {
    let foreign =
        |interface: &str| !OWN_INTERFACES.contains(&interface) && !interface.starts_with("veth");
    let mut all: Vec<(String, Ipv4Net)> = facts
        .routes
        .iter()
        .filter(|r| foreign(&r.interface))
        .map(|r| (format!("the route to {} by {}", r.destination, r.interface), r.destination))
        .collect();
    all.extend(facts.addresses.iter().filter(|a| foreign(&a.interface)).map(|a| {
        (format!("the address {} of {}", a.address, a.interface), Ipv4Net::from(a.address.addr()))
    }));
    for resolver in &facts.resolvers {
        if let IpAddr::V4(address) = resolver
            && !address.is_loopback()
        {
            all.push((format!("the name server {address}"), Ipv4Net::from(*address)));
        }
    }
    all
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Second octet of a 10.x/16 that nothing on this host touches.
fn free_octet(facts: &Facts) -> u8 {
    let taken = occupied(facts);
    (32..=250)
        .rev()
        .find(|octet| {
            let candidate = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, *octet, 0, 0), 16);
            !taken.iter().any(|(_, net)| overlap(candidate, *net))
        })
        .unwrap_or(200)
}
