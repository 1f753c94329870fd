//! What exists in a lab: clouds, hosts, addresses and names. Pure: the same request gives the
//! same lab.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The fewest hosts that a lab may have.
pub const HOSTS_MIN: usize = 1;
/// The most hosts that a lab may have: more don't fit a usual machine.
pub const HOSTS_MAX: usize = 8;

/// Ranges that documentation reserves, so a lab's public addresses are never anyone's. A range
/// that the operator's machine has a route into is left out, as its neighbours live there.
const PUBLIC_RANGES: [Subnet; 2] =
    [Subnet::new(Ipv4Addr::new(198, 51, 100, 0), 24), Subnet::new(Ipv4Addr::new(192, 0, 2, 0), 24)];

/// Private networks, cloud by cloud. The first and the third are the same on purpose: unrelated
/// clouds choose alike, and nothing that kubewan does may mistake one for the other. None lies in
/// Kubernetes' usual pod and service subnets.
const PRIVATE_HOSTS: [(Ipv4Addr, u8); HOSTS_MAX] = [
    (Ipv4Addr::new(10, 0, 4, 7), 24),
    (Ipv4Addr::new(172, 21, 3, 4), 20),
    (Ipv4Addr::new(10, 0, 4, 7), 24),
    (Ipv4Addr::new(192, 168, 7, 20), 24),
    (Ipv4Addr::new(10, 1, 9, 12), 22),
    (Ipv4Addr::new(172, 21, 3, 4), 20),
    (Ipv4Addr::new(10, 0, 4, 7), 24),
    (Ipv4Addr::new(192, 168, 7, 21), 24),
];

/// An IPv4 network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Any address in it; for a host's own address, that address.
    pub address: Ipv4Addr,
    /// The prefix length, 0 to 32.
    pub prefix: u8,
}

impl Subnet {
    /// A network from an address in it and its prefix length.
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    /// Reads `10.0.4.0/24`, or `10.0.4.7` as a /32.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Self::new(address.parse().ok()?, prefix))
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.prefix.min(other.prefix);
        self.network_of(shorter) == other.network_of(shorter)
    }

    fn network_of(self, prefix: u8) -> u32 {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        self.address.to_bits() & mask
    }

    /// The address at an offset from the network's start.
    fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network_of(self.prefix) + offset)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Everything that a lab consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The clouds, one host in each; the first host is the control plane.
    pub clouds: Vec<Cloud>,
    /// The operator's own address, as the hosts see it.
    pub operator: Ipv4Addr,
    /// An address in the Internet that hosts ask for names. Nobody listens there, and it says so
    /// at once, so that nothing waits for a resolver.
    pub resolver: Ipv4Addr,
}

/// A provider's network: 1:1 NAT between one public and one private address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloud {
    /// `A`, `B`, …
    pub letter: char,
    /// Whether its host reaches itself by its own public address.
    pub hairpin: bool,
    /// The private address of the cloud's router.
    pub gateway: Ipv4Addr,
    /// The one host in it.
    pub host: Host,
}

/// A server as one rents it: its network card has a private address only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// 1 for the first.
    pub number: usize,
    /// `master01`, `node01`, …
    pub name: String,
    /// The address on its network card, with its network's prefix length.
    pub private: Subnet,
    /// The address that the world uses, which is on no network card of the host.
    pub public: Ipv4Addr,
    /// Who logs in over SSH: `root`, or a user with `sudo -n`.
    pub ssh_user: String,
    /// Where its sshd listens.
    pub ssh_port: u16,
}

impl Cloud {
    /// The cloud's network namespace.
    pub fn namespace(&self) -> String {
        format!("kwl-c{}", self.letter)
    }

    /// The Internet's end of the cloud's uplink.
    pub fn uplink(&self) -> String {
        format!("cloud{}", self.letter)
    }

    /// What the cloud does, in a few words.
    pub fn describe(&self) -> &'static str {
        if self.hairpin {
            "1:1 NAT with hairpin, drops spoofed sources"
        } else {
            "1:1 NAT without hairpin, drops spoofed sources"
        }
    }
}

impl Host {
    /// The host's network namespace.
    pub fn namespace(&self) -> String {
        format!("kwl-h{}", self.number)
    }

    /// The network card's hardware address: the same after every reboot, as a rented server's is.
    pub fn hardware_address(&self) -> String {
        format!("02:6b:77:6c:00:{:02x}", self.number)
    }
}

impl Topology {
    /// The namespace between the clouds and the operator.
    pub const INTERNET: &str = "kwl-net";
    /// The operator's end of the link to the Internet.
    pub const OPERATOR_LINK: &str = "kwl-op";

    /// Lays out `hosts` clouds with one host in each. `occupied` are the networks that the
    /// operator's machine already has routes to.
    ///
    /// Gives nothing when the number of hosts is out of bounds or every public range is occupied.
    pub fn plan(hosts: usize, occupied: &[Subnet]) -> Option<Self> {
        if !(HOSTS_MIN..=HOSTS_MAX).contains(&hosts) {
            return None;
        }
        let free = |range: &Subnet| !occupied.iter().any(|taken| taken.overlaps(*range));
        let ranges: Vec<Subnet> = PUBLIC_RANGES.into_iter().filter(free).take(2).collect();
        let first = ranges.first()?;
        // Every third cloud is in the second range, so that not all hosts look like neighbours.
        let range_of = |index: usize| if index % 3 == 2 { ranges.last() } else { ranges.first() };
        let clouds =
            (0..hosts).map(|index| cloud(index, *range_of(index).unwrap_or(first))).collect();
        Some(Self { clouds, operator: first.nth(1), resolver: first.nth(53) })
    }

    /// The hosts in order; the first is the control plane.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.clouds.iter().map(|cloud| &cloud.host)
    }

    /// The cloud of the host with this name.
    pub fn cloud_of(&self, host: &str) -> Option<&Cloud> {
        self.clouds.iter().find(|cloud| cloud.host.name == host)
    }
}

fn cloud(index: usize, range: Subnet) -> Cloud {
    let number = index + 1;
    let (address, prefix) = PRIVATE_HOSTS[index];
    let private = Subnet::new(address, prefix);
    // The second host is one of those where root can't log in and sshd was moved.
    let (ssh_user, ssh_port) = if number == 2 { ("admin", 2222) } else { ("root", 22) };
    let offset = u32::try_from(number * 10).unwrap_or(u32::from(u8::MAX));
    Cloud {
        letter: char::from(b'A' + u8::try_from(index).unwrap_or(0)),
        hairpin: index % 3 == 1,
        gateway: private.nth(1),
        host: Host {
            number,
            name: if index == 0 { "master01".into() } else { format!("node{index:02}") },
            private,
            public: range.nth(offset),
            ssh_user: ssh_user.into(),
            ssh_port,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_usual_lab_is_the_hard_one() {
        let lab = Topology::plan(3, &[]).unwrap();
        let [a, b, c] = &lab.clouds[..] else { panic!("three clouds") };
        assert_eq!(a.host.private, c.host.private);
        assert_ne!(a.host.private, b.host.private);
        assert!(!a.hairpin && b.hairpin && !c.hairpin);
        assert_eq!(a.host.public, Ipv4Addr::new(198, 51, 100, 10));
        assert_eq!(b.host.public, Ipv4Addr::new(198, 51, 100, 20));
        assert_eq!(c.host.public, Ipv4Addr::new(192, 0, 2, 30));
        assert_eq!(a.gateway, Ipv4Addr::new(10, 0, 4, 1));
        assert_eq!(b.gateway, Ipv4Addr::new(172, 21, 0, 1));
        assert_eq!(a.host.name, "master01");
        assert_eq!((b.host.ssh_user.as_str(), b.host.ssh_port), ("admin", 2222));
    }

    #[test]
    fn every_size_has_addresses_and_names_of_its_own() {
        for size in HOSTS_MIN..=HOSTS_MAX {
            let lab = Topology::plan(size, &[]).unwrap();
            let unique = |of: fn(&Host) -> String| lab.hosts().map(of).collect::<BTreeSet<_>>();
            assert_eq!(unique(|host| host.public.to_string()).len(), size);
            assert_eq!(unique(|host| host.name.clone()).len(), size);
            assert_eq!(unique(Host::namespace).len(), size);
            assert_eq!(unique(Host::hardware_address).len(), size);
            assert!(lab.hosts().all(|host| host.public != lab.operator));
        }
        assert!(Topology::plan(0, &[]).is_none());
        assert!(Topology::plan(HOSTS_MAX + 1, &[]).is_none());
    }

    #[test]
    fn names_fit_the_kernel() {
        let lab = Topology::plan(HOSTS_MAX, &[]).unwrap();
        assert!(lab.clouds.iter().all(|cloud| cloud.uplink().len() <= 15));
        assert!(Topology::OPERATOR_LINK.len() <= 15);
    }

    #[test]
    fn a_range_in_use_on_this_machine_is_left_alone() {
        let occupied = [Subnet::parse("192.0.2.0/24").unwrap()];
        let lab = Topology::plan(3, &occupied).unwrap();
        assert_eq!(lab.clouds[2].host.public, Ipv4Addr::new(198, 51, 100, 30));
        let all = ["192.0.2.128/25", "198.51.0.0/16"];
        let all: Vec<Subnet> = all.iter().filter_map(|text| Subnet::parse(text)).collect();
        assert!(Topology::plan(3, &all).is_none());
    }

    #[test]
    fn private_networks_avoid_kubernetes_own() {
        let pods = Subnet::parse("10.244.0.0/16").unwrap();
        let services = Subnet::parse("10.96.0.0/12").unwrap();
        let lab = Topology::plan(HOSTS_MAX, &[]).unwrap();
        assert!(lab.hosts().all(|h| !h.private.overlaps(pods) && !h.private.overlaps(services)));
    }

    #[test]
    fn subnets_parse_and_compare() {
        assert_eq!(Subnet::parse("10.0.4.7/24").unwrap().to_string(), "10.0.4.7/24");
        assert_eq!(Subnet::parse("10.0.4.7").unwrap().prefix, 32);
        assert!(Subnet::parse("10.0.4.7/33").is_none());
        assert!(Subnet::parse("10.0.4/24").is_none());
        let everything = Subnet::parse("0.0.0.0/0").unwrap();
        assert!(everything.overlaps(Subnet::parse("198.51.100.0/24").unwrap()));
    }
}
