//! Addresses and ports, as a topology file writes them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

    /// The network that it lies in, without the address's other bits.
    pub fn network(self) -> Self {
        Self::new(self.nth(0), self.prefix)
    }

    /// The address at an offset from the network's start.
    pub(super) fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network_of(self.prefix).wrapping_add(offset))
    }

    /// The network's last address, which is for broadcasts.
    pub(super) fn last(self) -> Ipv4Addr {
        self.nth(u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0))
    }

    fn network_of(self, prefix: u8) -> u32 {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        self.address.to_bits() & mask
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What a filter tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP's echo requests; without ports.
    Icmp,
}

/// Ports of one protocol: `22/tcp`, `30000-32767/udp`, or `icmp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The first one; 0 of a protocol without ports.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl Ports {
    /// One TCP port.
    pub const fn tcp(port: u16) -> Self {
        Self { protocol: Protocol::Tcp, first: port, last: port }
    }

    /// Whether all ports of the other are among these.
    pub fn cover(self, other: Self) -> bool {
        self.protocol == other.protocol && self.first <= other.first && other.last <= self.last
    }

    /// Whether it is one port and no more, as a NAT's forward is.
    pub fn is_one(self) -> bool {
        self.protocol != Protocol::Icmp && self.first == self.last
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "icmp" {
            return Ok(Self { protocol: Protocol::Icmp, first: 0, last: 0 });
        }
        let wrong = || format!("`{text}` is none of `22/tcp`, `30000-32767/udp`, `icmp`");
        let (ports, protocol) = text.split_once('/').ok_or_else(wrong)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(wrong()),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { protocol, first, last }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        ports.to_string()
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => return f.write_str("icmp"),
        };
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "{first}/{protocol}"),
            (first, last) => write!(f, "{first}-{last}/{protocol}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_parse_and_compare() {
        assert_eq!(Subnet::parse("10.0.4.7/24").unwrap().to_string(), "10.0.4.7/24");
        assert_eq!(Subnet::parse("10.0.4.7").unwrap().prefix, 32);
        assert!(Subnet::parse("10.0.4.7/33").is_none());
        assert!(Subnet::parse("10.0.4/24").is_none());
        let everything = Subnet::parse("0.0.0.0/0").unwrap();
        assert!(everything.overlaps(Subnet::parse("198.51.100.0/24").unwrap()));
        let subnet = Subnet::parse("172.21.3.4/20").unwrap();
        assert_eq!(subnet.network().to_string(), "172.21.0.0/20");
        assert_eq!(subnet.last(), Ipv4Addr::new(172, 21, 15, 255));
    }

    #[test]
    fn ports_are_written_as_they_are_read() {
        for text in ["22/tcp", "30000-32767/udp", "icmp"] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
        }
        for text in ["22", "22/sctp", "0/tcp", "9-8/tcp", "65536/udp", "-/tcp", ""] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
        let node_ports: Ports = "30000-32767/tcp".parse().unwrap();
        assert!(node_ports.cover(Ports::tcp(31000)) && !node_ports.cover(Ports::tcp(22)));
    }
}
