//! What exists in a lab: clouds, hosts, addresses and names. Pure: the same request gives the
//! same lab.
//!
//! [`Spec`] is what is asked for, by a topology file ([`parse`]) or by a number of hosts
//! ([`Spec::usual`]); [`Topology::lay_out`] gives it addresses and names.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

mod file;
mod path;
mod spec;
mod subnet;

pub use file::parse;
pub use path::{Latency, Loss, OPERATOR, Path};
pub use spec::{CloudSpec, HostSpec, Impairment, Nat, PathSpec, Spec, User};
pub use subnet::{Ports, Protocol, Subnet};

use crate::image::ImageChoice;

/// The fewest hosts that a lab may have.
pub const HOSTS_MIN: usize = 1;
/// The most hosts that a lab may have: more don't fit a usual machine.
pub const HOSTS_MAX: usize = 8;
/// The name of a lab that is given none.
pub const USUAL_NAME: &str = "lab";
/// The longest name of a lab: an interface is called after it, and the kernel takes 15 bytes.
const NAME_MAX: usize = 8;

/// Ranges that documentation reserves (RFC 5737), so a lab's public addresses are never anyone's. A range
/// that this machine has a route into, or another lab lives in, is left out. Labs side by side take what
/// the earlier ones left.
const PUBLIC_RANGES: [Subnet; 6] = [
    Subnet::new(Ipv4Addr::new(198, 51, 100, 0), 25),
    Subnet::new(Ipv4Addr::new(192, 0, 2, 0), 25),
    Subnet::new(Ipv4Addr::new(198, 51, 100, 128), 25),
    Subnet::new(Ipv4Addr::new(192, 0, 2, 128), 25),
    Subnet::new(Ipv4Addr::new(203, 0, 113, 0), 25),
    Subnet::new(Ipv4Addr::new(203, 0, 113, 128), 25),
];

/// The next hop on every uplink. The same everywhere, as each uplink is a link of two.
pub(crate) const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The router of hosts whose public address is on the card.
const CARD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 3);

/// Everything that a lab consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The lab's name, at most eight small letters and digits.
    pub lab: String,
    /// The clouds.
    pub clouds: Vec<Cloud>,
    /// The operator's own address, as the hosts see it.
    pub operator: Ipv4Addr,
    /// An address in the Internet that hosts ask for names. Nobody listens there, and it says so
    /// at once, so that nothing waits for a resolver.
    pub resolver: Ipv4Addr,
    /// Ways that are not plain from the start, each with its two ends in the order of their names.
    pub paths: Vec<([String; 2], Path)>,
    /// What is to make ways slow and lossy.
    #[serde(default)]
    pub impairment: Impairment,
    /// The networks that the public addresses are from.
    pub ranges: Vec<Subnet>,
}

/// A provider's network, or a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloud {
    /// `A`, `B`, … in the usual lab.
    pub name: String,
    /// How its hosts get out and are reached.
    pub nat: Nat,
    /// Whether a host reaches itself by its own public address.
    pub hairpin: bool,
    /// Whether packets with a source that isn't the host's are dropped.
    pub spoof_filter: bool,
    /// What the provider lets in from the Internet; everything where nothing is said.
    pub ports: Option<Vec<Ports>>,
    /// The private address of the cloud's router, with the subnet's prefix length.
    pub gateway: Subnet,
    /// The hosts in it.
    pub hosts: Vec<Host>,
    /// The cloud's network namespace.
    pub namespace: String,
}

/// A server as one rents it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// 1 for the first.
    pub number: usize,
    /// `master01`, `node01`, …
    pub name: String,
    /// The address on its network card, with its network's prefix length.
    pub private: Subnet,
    /// The address that the world uses, which is on no network card of the host unless its cloud has no NAT.
    pub public: Ipv4Addr,
    /// Who logs in over SSH: `root`, or a user with `sudo -n`.
    pub ssh_user: String,
    /// Where its sshd listens.
    pub ssh_port: u16,
    /// Ports that a NAT with one address for all hands on to it.
    pub forward: Vec<Ports>,
    /// The system that it runs.
    pub image: ImageChoice,
    /// The host's network namespace.
    pub namespace: String,
}

impl Nat {
    /// Whether all hosts of a cloud have one public address.
    pub fn shares_an_address(self) -> bool {
        matches!(self, Self::PortRestricted | Self::Symmetric)
    }
}

impl Cloud {
    /// The Internet's end of the cloud's uplink.
    pub fn uplink(&self) -> String {
        format!("cloud{}", self.name)
    }

    /// The cloud's public addresses.
    pub fn public(&self) -> Vec<Ipv4Addr> {
        let mut addresses: Vec<Ipv4Addr> = self.hosts.iter().map(|host| host.public).collect();
        addresses.dedup();
        addresses
    }

    /// Whether a connection from the Internet to these ports of a host gets through.
    pub fn lets_in(&self, host: &Host, ports: Ports) -> bool {
        if self.nat.shares_an_address() {
            return file::lets_in(Some(&host.forward), ports);
        }
        file::lets_in(self.ports.as_deref(), ports)
    }

    /// What the cloud does, in a few words.
    pub fn describe(&self) -> String {
        let mut words = match self.nat {
            Nat::OneToOne => "1:1 NAT".to_owned(),
            Nat::PortRestricted => "NAT with one address, port-restricted".into(),
            Nat::Symmetric => "NAT with one address, symmetric".into(),
            Nat::None => "no NAT".into(),
        };
        if self.nat != Nat::None {
            words += if self.hairpin { " with hairpin" } else { " without hairpin" };
        }
        words += if self.spoof_filter { ", drops spoofed sources" } else { ", passes any source" };
        let list = |ports: &[Ports]| {
            let all: Vec<String> = ports.iter().map(Ports::to_string).collect();
            if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
        };
        if self.nat.shares_an_address() {
            let forward: Vec<Ports> = self.hosts.iter().flat_map(|h| h.forward.clone()).collect();
            words += &format!(", lets in {}", list(&forward));
        } else if let Some(ports) = &self.ports {
            words += &format!(", lets in {}", list(ports));
        }
        words
    }
}

impl Host {
    /// The network card's hardware address: the same after every reboot, as a rented server's is.
    pub fn hardware_address(&self) -> String {
        format!("02:6b:77:6c:00:{:02x}", self.number)
    }

    /// The cloud's end of its cable.
    pub fn cable(&self) -> String {
        format!("h{}", self.number)
    }
}

/// What the names of a lab's namespaces and links begin with. No lab's prefix begins another's, as
/// names have no dash.
pub(crate) fn prefix(lab: &str) -> String {
    format!("kwl-{lab}-")
}

/// The operator's end of a lab's link to the Internet.
pub(crate) fn operator_link(lab: &str) -> String {
    format!("{}op", prefix(lab))
}

/// Whether a lab may have this name.
pub fn is_lab_name(name: &str) -> bool {
    let sound = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (1..=NAME_MAX).contains(&name.len()) && sound
}

impl Topology {
    /// Gives addresses and names to what is asked for. `occupied` are the networks that this machine
    /// has routes to already, and those of other labs.
    ///
    /// # Errors
    /// Says what can't be had: no public range is free, or no host can be reached.
    pub fn lay_out(lab: &str, spec: &Spec, occupied: &[Subnet]) -> Result<Self, String> {
        let free = |range: &Subnet| !occupied.iter().any(|taken| taken.overlaps(*range));
        let ranges: Vec<Subnet> = PUBLIC_RANGES.into_iter().filter(free).take(2).collect();
        let [first, last] = match ranges[..] {
            [one] => [one, one],
            [one, other] => [one, other],
            _ => return Err("every range that documentation reserves is in use".into()),
        };
        let mut number = 0;
        let mut clouds = Vec::new();
        for (index, cloud) in spec.clouds.iter().enumerate() {
            // Every third cloud is in the second range, so that not all hosts look like neighbours.
            let range = if index % 3 == 2 { last } else { first };
            clouds.push(self::cloud(lab, cloud, range, &mut number));
        }
        let topology = Self {
            lab: lab.into(),
            clouds,
            operator: first.nth(1),
            resolver: first.nth(53),
            paths: spec.paths.iter().map(|path| (ends(&path.between.value), path.path())).collect(),
            impairment: spec.impairment,
            ranges,
        };
        if !topology.hosts().any(|host| topology.is_reachable(host)) {
            return Err("no host's sshd can be reached from the Internet: let one in".into());
        }
        Ok(topology)
    }

    /// Whether it is the same lab, wherever its public addresses are from.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.without_addresses() == other.without_addresses()
    }

    /// What is the same in every range.
    fn without_addresses(&self) -> Self {
        const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
        let mut lab = Self { operator: ANY, resolver: ANY, ranges: Vec::new(), ..self.clone() };
        for host in lab.clouds.iter_mut().flat_map(|cloud| &mut cloud.hosts) {
            if host.private.address == host.public {
                host.private.address = ANY;
            }
            host.public = ANY;
        }
        lab
    }

    /// The namespace between the clouds and the operator.
    pub fn internet(&self) -> String {
        format!("{}net", prefix(&self.lab))
    }

    /// The operator's end of the link to the Internet.
    pub fn operator_link(&self) -> String {
        operator_link(&self.lab)
    }

    /// The hosts in order.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.clouds.iter().flat_map(|cloud| &cloud.hosts)
    }

    /// The host of this name, with its cloud.
    pub fn host(&self, name: &str) -> Option<(&Cloud, &Host)> {
        self.clouds
            .iter()
            .find_map(|cloud| Some((cloud, cloud.hosts.iter().find(|host| host.name == name)?)))
    }

    /// The cloud of this name, or that of the host of this name.
    pub fn cloud(&self, name: &str) -> Option<&Cloud> {
        let by_name = self.clouds.iter().find(|cloud| cloud.name == name);
        by_name.or_else(|| Some(self.host(name)?.0))
    }

    /// Whether the operator can log in to it.
    pub fn is_reachable(&self, host: &Host) -> bool {
        let cloud = self.cloud(&host.name);
        cloud.is_some_and(|cloud| cloud.lets_in(host, Ports::tcp(host.ssh_port)))
    }
}

/// Two ends in the order of their names, as a way has no direction.
pub(crate) fn ends(between: &[String; 2]) -> [String; 2] {
    let mut ends = between.clone();
    ends.sort();
    ends
}

fn cloud(lab: &str, spec: &CloudSpec, range: Subnet, number: &mut usize) -> Cloud {
    let nat = spec.nat;
    let subnet = spec.subnet.as_ref().and_then(|subnet| Subnet::parse(&subnet.value));
    let first = *number + 1;
    let mut hosts = Vec::new();
    for host in &spec.hosts {
        *number += 1;
        // One whose address is written may have any; the others follow the router.
        let taken = |address: Ipv4Addr| {
            let of = |host: &HostSpec| host.address.as_ref().map(|address| address.value);
            spec.hosts.iter().any(|host| of(host) == Some(address))
                || hosts.iter().any(|host: &Host| host.private.address == address)
        };
        let public_of = if nat.shares_an_address() { first } else { *number };
        let public = range.nth(u32::try_from(public_of * 10).unwrap_or(0));
        let private = match (subnet, &host.address) {
            (Some(subnet), Some(address)) => Subnet::new(address.value, subnet.prefix),
            (Some(subnet), None) => {
                let free = (2..).map(|offset| subnet.nth(offset)).find(|a| !taken(*a));
                Subnet::new(free.unwrap_or(subnet.address), subnet.prefix)
            }
            (None, _) => Subnet::new(public, 32),
        };
        hosts.push(Host {
            number: *number,
            name: host.name.value.clone(),
            private,
            public,
            ssh_user: host.user.name().into(),
            ssh_port: host.ssh_port.get(),
            forward: host.forward.iter().map(|ports| ports.value).collect(),
            image: ImageChoice {
                distribution: host.distribution.unwrap_or_default(),
                network: host.network,
            },
            namespace: format!("{}h{number}", prefix(lab)),
        });
    }
    Cloud {
        name: spec.name.value.clone(),
        nat,
        hairpin: spec.hairpin.as_ref().is_some_and(|hairpin| hairpin.value),
        spoof_filter: spec.spoof_filter,
        ports: spec.ports.as_ref().map(|ports| ports.value.clone()),
        gateway: match subnet {
            Some(subnet) => Subnet::new(subnet.nth(1), subnet.prefix),
            None => Subnet::new(CARD_GATEWAY, 32),
        },
        hosts,
        namespace: format!("{}c{}", prefix(lab), spec.name.value),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn usual(hosts: usize) -> Topology {
        Topology::lay_out("lab", &Spec::usual(hosts), &[]).unwrap()
    }

    #[test]
    fn the_usual_lab_is_the_hard_one() {
        let lab = usual(3);
        let [a, b, c] = &lab.clouds[..] else { panic!("three clouds") };
        let host = |cloud: &Cloud| cloud.hosts[0].clone();
        assert_eq!(host(a).private, host(c).private);
        assert_ne!(host(a).private, host(b).private);
        assert!(!a.hairpin && b.hairpin && !c.hairpin);
        assert_eq!(host(a).public, Ipv4Addr::new(198, 51, 100, 10));
        assert_eq!(host(b).public, Ipv4Addr::new(198, 51, 100, 20));
        assert_eq!(host(c).public, Ipv4Addr::new(192, 0, 2, 30));
        assert_eq!(a.gateway.address, Ipv4Addr::new(10, 0, 4, 1));
        assert_eq!(b.gateway.address, Ipv4Addr::new(172, 21, 0, 1));
        assert_eq!(host(a).name, "master01");
        assert_eq!((host(b).ssh_user.as_str(), host(b).ssh_port), ("admin", 2222));
        assert_eq!(b.describe(), "1:1 NAT with hairpin, drops spoofed sources");
    }

    #[test]
    fn every_size_has_addresses_and_names_of_its_own() {
        for size in HOSTS_MIN..=HOSTS_MAX {
            let lab = usual(size);
            let unique = |of: fn(&Host) -> String| lab.hosts().map(of).collect::<BTreeSet<_>>();
            assert_eq!(unique(|host| host.public.to_string()).len(), size);
            assert_eq!(unique(|host| host.name.clone()).len(), size);
            assert_eq!(unique(|host| host.namespace.clone()).len(), size);
            assert_eq!(unique(Host::hardware_address).len(), size);
            assert!(lab.hosts().all(|host| host.public != lab.operator));
        }
        assert!(Topology::lay_out("lab", &Spec::usual(0), &[]).is_err());
    }

    #[test]
    fn names_fit_the_kernel() {
        let spec = Spec::usual(HOSTS_MAX);
        let lab = Topology::lay_out("abcdefgh", &spec, &[]).unwrap();
        assert!(lab.clouds.iter().all(|cloud| cloud.uplink().len() <= 15));
        assert!(lab.operator_link().len() <= 15);
        assert!(is_lab_name("abcdefgh") && is_lab_name("2"));
        for name in ["", "abcdefghi", "a-b", "A", "a/b", ".."] {
            assert!(!is_lab_name(name), "{name}");
        }
    }

    #[test]
    fn a_range_in_use_on_this_machine_is_left_alone() {
        let occupied = [Subnet::parse("192.0.2.0/24").unwrap()];
        let lab = Topology::lay_out("lab", &Spec::usual(3), &occupied).unwrap();
        assert_eq!(lab.clouds[2].hosts[0].public, Ipv4Addr::new(198, 51, 100, 158));
        let all = ["192.0.2.128/24", "198.51.0.0/16", "203.0.113.7/24"];
        let all: Vec<Subnet> = all.iter().filter_map(|text| Subnet::parse(text)).collect();
        assert!(Topology::lay_out("lab", &Spec::usual(3), &all).is_err());
    }

    #[test]
    fn three_labs_fit_side_by_side() {
        let mut taken: Vec<Subnet> = Vec::new();
        let mut addresses = BTreeSet::new();
        for name in ["lab", "b", "c"] {
            let lab = Topology::lay_out(name, &Spec::usual(3), &taken).unwrap();
            assert!(lab.hosts().all(|host| addresses.insert(host.public)));
            assert!(addresses.insert(lab.operator) && addresses.insert(lab.resolver));
            taken.extend(lab.ranges);
        }
        assert!(Topology::lay_out("d", &Spec::usual(3), &taken).is_err());
    }

    #[test]
    fn private_networks_avoid_kubernetes_own() {
        let pods = Subnet::parse("10.244.0.0/16").unwrap();
        let services = Subnet::parse("10.96.0.0/12").unwrap();
        let lab = usual(HOSTS_MAX);
        assert!(lab.hosts().all(|h| !h.private.overlaps(pods) && !h.private.overlaps(services)));
    }

    #[test]
    fn clouds_of_every_kind_get_their_addresses() {
        let text = "\
clouds:
  - { name: open, nat: none, ports: [22/tcp], hosts: [{ name: a }, { name: b }] }
  - name: home
    nat: port-restricted
    subnet: 192.168.1.0/24
    hosts: [{ name: c, forward: [22/tcp] }, { name: d }, { name: e, address: 192.168.1.2 }]
";
        let lab = Topology::lay_out("lab", &parse("t", text).unwrap(), &[]).unwrap();
        let host = |name: &str| lab.host(name).unwrap().1.clone();
        assert_eq!(host("a").private.to_string(), "198.51.100.10/32");
        assert_ne!(host("a").public, host("b").public);
        assert_eq!(host("c").public, host("e").public);
        assert_eq!(lab.cloud("home").unwrap().public().len(), 1);
        assert_eq!(host("c").private.to_string(), "192.168.1.3/24");
        assert_eq!(host("d").private.to_string(), "192.168.1.4/24");
        let reachable: Vec<&str> =
            lab.hosts().filter(|h| lab.is_reachable(h)).map(|h| h.name.as_str()).collect();
        assert_eq!(reachable, ["a", "b", "c"]);
        let open = lab.cloud("open").unwrap();
        assert_eq!(open.describe(), "no NAT, drops spoofed sources, lets in 22/tcp");
        assert!(!open.lets_in(&host("a"), Ports::tcp(6443)));
    }

    #[test]
    fn a_lab_without_a_way_in_is_refused() {
        let text = "clouds: [{ name: A, subnet: 10.0.4.0/24, ports: [], hosts: [{ name: a }] }]";
        let refused = Topology::lay_out("lab", &parse("t", text).unwrap(), &[]).unwrap_err();
        assert!(refused.contains("let one in"), "{refused}");
    }
}
