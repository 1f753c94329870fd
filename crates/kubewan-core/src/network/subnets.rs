//! Subnets of ours that would take addresses away from a host.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::Inventory;

/// Interfaces whose routes are the cluster's own.
const OWN_INTERFACES: [&str; 6] =
    ["cni0", "flannel.1", "flannel-wg", "kube-ipvs0", "kubewan0", "lo"];

/// Where a subnet of ours covers a route, an address or a resolver that a host really has: Kubernetes would
/// accept it, and the host would lose what it reached there.
///
/// `all` are the facts of every host, since a subnet to take instead must be free on each.
pub fn collisions(
    inventory: &Inventory,
    host: &str,
    facts: &Facts,
    all: &BTreeMap<String, Facts>,
) -> Vec<Finding> {
    let network = &inventory.network;
    let [pods, services] = [network.pod_subnet, network.service_subnet];
    let mut findings = Vec::new();
    for (key, ours, others) in
        [("network.podSubnet", pods, services), ("network.serviceSubnet", services, pods)]
    {
        for there in occupied(facts).into_iter().filter(|there| overlap(ours, there.net)) {
            findings.push(Finding::error(
                "subnet-collision",
                host,
                format!("{key} {ours} overlaps {}: {}", there.what, there.lost),
                remedy(key, others, all),
            ));
        }
    }
    findings
}

/// Names a subnet that is free on every host, and another one for each key.
fn remedy(key: &str, others: Ipv4Net, all: &BTreeMap<String, Facts>) -> String {
    let taken: Vec<Ipv4Net> = all.values().flat_map(occupied).map(|there| there.net).collect();
    let tens = (1..=250).rev().map(|octet| Ipv4Addr::new(10, octet, 0, 0));
    // 172.16 to 172.19 are Docker's first networks.
    let more = (20..=31).rev().map(|octet| Ipv4Addr::new(172, octet, 0, 0));
    let mut free = tens.chain(more).map(|address| Ipv4Net::new_assert(address, 16));
    let is_free =
        |net: &Ipv4Net| !overlap(*net, others) && !taken.iter().any(|t| overlap(*net, *t));
    let (section, name) = key.split_once('.').unwrap_or(("network", key));
    let found = match name {
        "serviceSubnet" => free.filter(|net| is_free(net)).nth(1),
        _ => free.find(is_free),
    };
    match found {
        Some(net) => format!("take a subnet that no host uses: `{section}: {{ {name}: {net} }}`"),
        None => format!("set `{key}` to a private subnet that no host uses"),
    }
}

/// Something that a host has.
struct Occupied {
    /// What, for people.
    what: String,
    /// Where.
    net: Ipv4Net,
    /// What goes wrong when the cluster takes it.
    lost: &'static str,
}

fn occupied(facts: &Facts) -> Vec<Occupied> {
    let foreign =
        |interface: &str| !OWN_INTERFACES.contains(&interface) && !interface.starts_with("veth");
    let mut all: Vec<Occupied> = facts
        .routes
        .iter()
        .filter(|route| foreign(&route.interface))
        .map(|route| Occupied {
            what: format!("the route to {} by {}", route.destination, route.interface),
            net: route.destination,
            lost: "the host would reach pods or Services instead of what is there now",
        })
        .collect();
    all.extend(facts.addresses.iter().filter(|a| foreign(&a.interface)).map(|a| Occupied {
        what: format!("the address {} of {}", a.address, a.interface),
        net: Ipv4Net::from(a.address.addr()),
        lost: "a pod or Service may get the host's own address",
    }));
    for resolver in &facts.resolvers {
        if let IpAddr::V4(address) = resolver
            && !address.is_loopback()
        {
            all.push(Occupied {
                what: format!("the name server {address}"),
                net: Ipv4Net::from(*address),
                lost: "the host could no longer ask it, and no name would resolve",
            });
        }
    }
    all
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}
