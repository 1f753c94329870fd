//! The cluster's own subnets. What the hosts' routes say about them is measured later; here is what can be known
//! from the file alone.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::error::{Code, Report, Span, quoted};
use super::tree::Node;
use super::{default_pod_subnet, default_service_subnet};

/// The subnets of a cluster, as written or by default; `None`: no subnet was written there.
pub(super) struct Subnets {
    pub pods: Option<Ipv4Net>,
    pub services: Option<Ipv4Net>,
}

impl Subnets {
    /// The subnet, by its name in the inventory, that holds an address.
    pub fn holding(&self, ip: Ipv4Addr) -> Option<(&'static str, Ipv4Net)> {
        let named = [("network.podSubnet", self.pods), ("network.serviceSubnet", self.services)];
        named.into_iter().find_map(|(name, subnet)| {
            subnet.filter(|subnet| subnet.contains(&ip)).map(|subnet| (name, subnet))
        })
    }
}

/// Every node gets a /24 of the pod subnet: kube-controller-manager's `--node-cidr-mask-size` default,
/// `getClusterNodeMask` in kubeadm's `validation.go`.
const NODE_PREFIX: u8 = 24;

/// The pod subnet may be at most 16 bits larger than a node's: `PodSubnetNodeMaskMaxDiff` in kubeadm's
/// `constants.go`.
const LARGEST_POD_PREFIX: u8 = NODE_PREFIX - 16;

/// `MaximumBitsForServiceSubnet` = 20 in kubeadm's `constants.go`.
const LARGEST_SERVICE_PREFIX: u8 = 12;

/// `MinimumAddressesInServiceSubnet` = 10 in kubeadm's `constants.go`: cluster DNS has the tenth address.
const SMALLEST_SERVICE_PREFIX: u8 = 28;

/// Ranges that never are ours (RFC 6890).
const TAKEN: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "\"this network\""),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local, where clouds keep their metadata"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// Checks both subnets by themselves and against each other.
pub(super) fn check(report: &mut Report<'_>, root: &Node) -> Subnets {
    let network = root.get("network");
    let node = |key| network.and_then(|network| network.get(key));
    let pods = one(report, node("podSubnet"), "network.podSubnet", default_pod_subnet());
    let services =
        one(report, node("serviceSubnet"), "network.serviceSubnet", default_service_subnet());
    let hosts = root.get("hosts").map_or(0, |hosts| hosts.items().len());
    if let Some((subnet, Some(at))) = pods {
        pod_size(report, subnet, at, hosts);
    }
    if let Some((subnet, Some(at))) = services {
        service_size(report, subnet, at);
    }
    if let (Some((pods, pods_at)), Some((services, services_at))) = (pods, services) {
        overlap(report, (pods, pods_at), (services, services_at));
    }
    Subnets { pods: pods.map(|(subnet, _)| subnet), services: services.map(|(subnet, _)| subnet) }
}

/// A subnet and, where it was written, its place.
type Placed = (Ipv4Net, Option<Span>);

fn one(
    report: &mut Report<'_>,
    node: Option<&Node>,
    path: &str,
    default: Ipv4Net,
) -> Option<Placed> {
    let Some(node) = node else { return Some((default, None)) };
    let text = node.text()?;
    let Ok(subnet) = text.parse::<Ipv4Net>() else {
        let message = format!("{} is not an IPv4 subnet", quoted(text));
        let help = if text.contains(':') {
            format!("IPv6 comes later: one IPv4 subnet, as {default}")
        } else if text.parse::<Ipv4Addr>().is_ok() {
            format!("the prefix length is missing, as in {default}")
        } else {
            format!("an address and a prefix length from 0 to 32, as {default}")
        };
        report.push(Code::BadSubnet, node.span, path, message, &help);
        return None;
    };
    if subnet.trunc() != subnet {
        let message = format!("`{text}` does not start at a boundary of /{}", subnet.prefix_len());
        let help = format!("did you mean `{}`?", subnet.trunc());
        report.push(Code::BadSubnet, node.span, path, message, &help);
    }
    let subnet = subnet.trunc();
    let taken = TAKEN.iter().find_map(|(first, prefix, what)| {
        let range = Ipv4Net::new_assert(*first, *prefix);
        (range.contains(&subnet) || subnet.contains(&range)).then_some((range, what))
    });
    if let Some((range, what)) = taken {
        let message = format!("`{path}` {subnet} overlaps {range}: {what}");
        let help = format!("a private range (RFC 1918), as {default}");
        report.push(Code::SubnetOverlap, node.span, path, message, &help);
        return None;
    }
    Some((subnet, Some(node.span)))
}

fn pod_size(report: &mut Report<'_>, subnet: Ipv4Net, at: Span, hosts: usize) {
    let prefix = subnet.prefix_len();
    let path = "network.podSubnet";
    if prefix < LARGEST_POD_PREFIX {
        let message = format!("`{path}` {subnet} is too large");
        let help = format!("/{LARGEST_POD_PREFIX} is the largest that kubeadm takes");
        report.push(Code::SubnetSize, at, path, message, &help);
        return;
    }
    let rooms = NODE_PREFIX.checked_sub(prefix).map_or(0, |bits| 1_usize << bits);
    if rooms < hosts.max(1) {
        let message = format!("`{path}` {subnet} has room for {rooms} nodes, there are {hosts}");
        let needed = hosts.max(1).next_power_of_two().trailing_zeros();
        let largest = u32::from(NODE_PREFIX).saturating_sub(needed);
        let help = format!("every node needs a /{NODE_PREFIX} of it: /{largest} or larger");
        report.push(Code::SubnetSize, at, path, message, &help);
    }
}

fn service_size(report: &mut Report<'_>, subnet: Ipv4Net, at: Span) {
    let path = "network.serviceSubnet";
    let allowed = LARGEST_SERVICE_PREFIX..=SMALLEST_SERVICE_PREFIX;
    if !allowed.contains(&subnet.prefix_len()) {
        let message = format!("`{path}` cannot be a /{}", subnet.prefix_len());
        let help = format!("kubeadm takes /{LARGEST_SERVICE_PREFIX} to /{SMALLEST_SERVICE_PREFIX}");
        report.push(Code::SubnetSize, at, path, message, &help);
    }
}

fn overlap(report: &mut Report<'_>, pods: Placed, services: Placed) {
    let ((pods, pods_at), (services, services_at)) = (pods, services);
    if !pods.contains(&services) && !services.contains(&pods) {
        return;
    }
    // Point at the one that was written; where both were, at the second.
    let written = |at: Option<Span>| if at.is_some() { "" } else { " (the default)" };
    let (at, path) = match (pods_at, services_at) {
        (Some(pods), Some(services)) if pods > services => (pods, "network.podSubnet"),
        (Some(pods), None) => (pods, "network.podSubnet"),
        (_, Some(services)) => (services, "network.serviceSubnet"),
        (None, None) => return,
    };
    let message = format!(
        "`network.podSubnet` {pods}{} and `network.serviceSubnet` {services}{} overlap",
        written(pods_at),
        written(services_at),
    );
    let help = "pods and Services need ranges of their own, as 10.244.0.0/16 and 10.96.0.0/12";
    report.push(Code::SubnetOverlap, at, path, message, help);
}
