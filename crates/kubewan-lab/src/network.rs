//! The commands that make a lab's network, as text for `ip -batch` and `nft -f`. Pure.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::image::NetworkStack;
use crate::topology::{Cloud, Host, NEXT_HOP, Nat, OPERATOR, Path, Ports, Protocol, Topology};

/// The router's own address on the uplink of a cloud whose public addresses are its hosts'.
const ROUTER: &str = "169.254.1.2";

/// The counter of packets that a cloud dropped for their source address.
pub(crate) const SPOOF_COUNTER: &str = "spoofed";
/// The clouds' NAT and filter.
pub(crate) const CLOUD_TABLE: &str = "cloud";
/// There while a cloud is cut off the Internet.
pub(crate) const CUT_TABLE: &str = "cut";
/// There while a cloud's own firewall drops what comes to some ports.
pub(crate) const FILTER_TABLE: &str = "filter";
/// How the names of the Internet's tables begin that cut one way.
pub(crate) const CUT_PATH: &str = "cut_";
/// How the names of the Internet's tables begin that make one way a black hole.
pub(crate) const HOLE_PATH: &str = "hole_";

/// Run in the Internet's namespace, after [`operator`]: its end of the link to the operator.
pub(crate) fn internet(lab: &Topology) -> Vec<String> {
    vec![
        "link set lo up".into(),
        format!("addr add {}/32 dev lo", lab.resolver),
        format!("addr add {NEXT_HOP}/32 dev op"),
        "link set op up".into(),
        format!("route add {}/32 dev op", lab.operator),
        // Whatever isn't in the lab is answered at once, so that nothing hangs on a time-out.
        "route add unreachable default".into(),
    ]
}

/// Run in the operator's own namespace: a link into the Internet, and routes to the lab's public addresses and to nothing else.
pub(crate) fn operator(lab: &Topology) -> Vec<String> {
    let link = lab.operator_link();
    let mut lines = vec![
        format!("link add {link} type veth peer name op netns {}", lab.internet()),
        format!("addr add {}/32 dev {link}", lab.operator),
        format!("link set {link} up"),
    ];
    lines.extend(lab.clouds.iter().flat_map(Cloud::public).map(|public| {
        format!("route add {public}/32 via {NEXT_HOP} dev {link} onlink src {}", lab.operator)
    }));
    lines
}

/// Run in the Internet's namespace: a server's address.
pub(crate) fn site(address: Ipv4Addr) -> Vec<String> {
    vec![format!("addr add {address}/32 dev lo")]
}

/// Run in the operator's own namespace: the way to that server.
pub(crate) fn way_to_site(lab: &Topology, address: Ipv4Addr) -> Vec<String> {
    let link = lab.operator_link();
    vec![format!("route replace {address}/32 via {NEXT_HOP} dev {link} onlink")]
}

/// Run in a cloud's namespace: its uplink, and the switch that its hosts are plugged into.
pub(crate) fn cloud(lab: &Topology, cloud: &Cloud) -> Vec<String> {
    let uplink = cloud.uplink();
    let mut lines = vec![
        "link set lo up".into(),
        format!("link add wan type veth peer name {uplink} netns {}", lab.internet()),
    ];
    lines.extend(match cloud.nat {
        Nat::None => vec![format!("addr add {ROUTER}/32 dev wan")],
        _ => cloud.public().iter().map(|public| format!("addr add {public}/32 dev wan")).collect(),
    });
    lines.extend([
        "link set wan up".into(),
        format!("route add default via {NEXT_HOP} dev wan onlink"),
        "link add lan type bridge".into(),
        format!("addr add {} dev lan", cloud.gateway),
        "link set lan up".into(),
    ]);
    if cloud.nat == Nat::None {
        lines.extend(cloud.public().iter().map(|public| format!("route add {public}/32 dev lan")));
    }
    lines
}

/// Run in the Internet's namespace: its end of a cloud's uplink.
pub(crate) fn cloud_uplink(cloud: &Cloud) -> Vec<String> {
    let uplink = cloud.uplink();
    let mut lines =
        vec![format!("addr add {NEXT_HOP}/32 dev {uplink}"), format!("link set {uplink} up")];
    lines.extend(cloud.public().iter().map(|public| match cloud.nat {
        Nat::None => format!("route add {public}/32 via {ROUTER} dev {uplink} onlink"),
        _ => format!("route add {public}/32 dev {uplink}"),
    }));
    lines
}

/// Run in a cloud's namespace: the cable to a host. It goes with the host's namespace, so a
/// reboot makes it anew.
pub(crate) fn cable(host: &Host) -> Vec<String> {
    let cable = host.cable();
    vec![
        format!(
            "link add {cable} type veth peer name eth0 address {} netns {}",
            host.hardware_address(),
            host.namespace
        ),
        format!("link set {cable} master lan"),
        format!("link set {cable} up"),
    ]
}

/// Run in a host's namespace: what DHCP would give the one network card.
pub(crate) fn network_card(cloud: &Cloud, host: &Host) -> Vec<String> {
    if host.image.network != NetworkStack::Lab {
        // The host's own network stack does the rest, from its files.
        return vec!["link set lo up".into()];
    }
    // Without NAT the router is no neighbour by its address.
    let onlink = if cloud.nat == Nat::None { " onlink" } else { "" };
    vec![
        "link set lo up".into(),
        format!("addr add {} dev eth0", host.private),
        "link set eth0 up".into(),
        format!("route add default via {} dev eth0{onlink}", cloud.gateway.address),
    ]
}

/// A cloud's NAT and its edge filter.
///
/// The filter looks before connection tracking does, so it sees what the host really sent. A
/// cloud without hairpin drops what its host sends to its own public address, as otherwise the
/// packet would come back from the Internet, which is a hairpin by a longer road.
pub(crate) fn cloud_rules(cloud: &Cloud) -> String {
    let (mut edge, mut inbound, mut outbound) = (String::new(), String::new(), String::new());
    let sources: Vec<String> =
        cloud.hosts.iter().map(|host| host.private.address.to_string()).collect();
    if cloud.spoof_filter {
        let sources = one_or_set(&sources);
        let _ = writeln!(
            edge,
            "    iifname \"lan\" ip saddr != {sources} counter name \"{SPOOF_COUNTER}\" drop"
        );
    }
    for host in &cloud.hosts {
        match cloud.nat {
            Nat::OneToOne => one_to_one(cloud, host, &mut edge, &mut inbound, &mut outbound),
            Nat::PortRestricted | Nat::Symmetric => forwards(cloud, host, &mut inbound),
            Nat::None => {}
        }
    }
    if cloud.nat.shares_an_address() {
        let public = one_or_set(&texts(&cloud.public()));
        // Another port for every connection makes it symmetric; else the host's own is kept while it is free.
        let how = if cloud.nat == Nat::Symmetric { " fully-random" } else { "" };
        let _ = writeln!(outbound, "    oifname \"wan\" snat to {public}{how}");
        let _ = writeln!(outbound, "    iifname \"lan\" oifname \"lan\" snat to {public}");
        if !cloud.hairpin {
            let _ = writeln!(edge, "    iifname \"lan\" ip daddr {public} drop");
        }
    }
    format!(
        "table ip {CLOUD_TABLE} {{
  counter {SPOOF_COUNTER} {{ }}
  chain edge {{
    type filter hook prerouting priority raw; policy accept;
{edge}  }}
  chain inbound {{
    type nat hook prerouting priority dstnat; policy accept;
{inbound}  }}
  chain outbound {{
    type nat hook postrouting priority srcnat; policy accept;
{outbound}  }}
  chain ports {{
    type filter hook forward priority filter; policy accept;
{}  }}
  chain router {{
    type filter hook input priority filter; policy accept;
    iifname \"wan\" ct state new drop
  }}
}}
",
        ports_rules(cloud)
    )
}

/// A host's own public address. Its neighbours in the cloud reach it there too, hairpin or not.
fn one_to_one(
    cloud: &Cloud,
    host: &Host,
    edge: &mut String,
    inbound: &mut String,
    outbound: &mut String,
) {
    let (private, public) = (host.private.address, host.public);
    let _ = writeln!(inbound, "    iifname \"wan\" ip daddr {public} dnat to {private}");
    let _ = writeln!(outbound, "    oifname \"wan\" ip saddr {private} snat to {public}");
    if !cloud.hairpin {
        let _ = writeln!(edge, "    iifname \"lan\" ip saddr {private} ip daddr {public} drop");
    }
    if cloud.hairpin || cloud.hosts.len() > 1 {
        let _ = writeln!(inbound, "    iifname \"lan\" ip daddr {public} dnat to {private}");
        let _ = writeln!(
            outbound,
            "    iifname \"lan\" oifname \"lan\" ip saddr {private} snat to {public}"
        );
    }
}

/// Ports of the one public address that are a host's.
fn forwards(cloud: &Cloud, host: &Host, inbound: &mut String) {
    for port in &host.forward {
        let inside = if cloud.hairpin { "{ \"wan\", \"lan\" }" } else { "\"wan\"" };
        let _ = writeln!(
            inbound,
            "    iifname {inside} ip daddr {} {} dnat to {}",
            host.public,
            matches(*port),
            host.private.address
        );
    }
}

/// What a provider lets in; replies always come.
fn ports_rules(cloud: &Cloud) -> String {
    let Some(open) = &cloud.ports else { return String::new() };
    let mut rules: String = open
        .iter()
        .map(|ports| format!("    iifname \"wan\" {} accept\n", matches(*ports)))
        .collect();
    rules += "    iifname \"wan\" ct state new drop\n";
    rules
}

fn matches(ports: Ports) -> String {
    let protocol = match ports.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => return "icmp type echo-request".into(),
    };
    match (ports.first, ports.last) {
        (first, last) if first == last => format!("{protocol} dport {first}"),
        (first, last) => format!("{protocol} dport {first}-{last}"),
    }
}

/// nft's sets have a price in readability; most clouds have one host.
fn one_or_set(values: &[String]) -> String {
    match values {
        [one] => one.clone(),
        more => format!("{{ {} }}", more.join(", ")),
    }
}

fn texts(addresses: &[Ipv4Addr]) -> Vec<String> {
    addresses.iter().map(Ipv4Addr::to_string).collect()
}

/// Cuts a cloud off the Internet: packets vanish both ways, as on a broken path, while links and
/// routes stay as they are.
pub(crate) fn cut_rules() -> String {
    format!(
        "table ip {CUT_TABLE} {{
  chain in {{ type filter hook prerouting priority -400; policy accept; iifname \"wan\" drop; }}
  chain out {{ type filter hook postrouting priority 400; policy accept; oifname \"wan\" drop; }}
}}
"
    )
}

/// A provider's firewall ("security group"): packets from outside to these ports vanish before they reach the host.
pub(crate) fn filter_rules(closed: &[String]) -> String {
    let rules: String = closed
        .iter()
        .map(|port| {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            format!("    iifname \"wan\" {protocol} dport {number} drop;\n")
        })
        .collect();
    format!(
        "table ip {FILTER_TABLE} {{
  chain in {{
    type filter hook prerouting priority -350; policy accept;
{rules}  }}
}}
"
    )
}

/// A way between two clouds as the Internet's namespace sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The two ends, in the order of their names.
    pub(crate) ends: [String; 2],
    /// The Internet's interface towards each end.
    links: [String; 2],
    /// The public addresses behind each end.
    addresses: [Vec<String>; 2],
    /// Numbers the way: each has routing tables, a packet queue and a class of its own. Never 0.
    number: u32,
}

impl Way {
    /// The way between two ends of a lab, if there are such ends.
    pub(crate) fn find(lab: &Topology, ends: &[String; 2]) -> Option<Self> {
        let index = |end: &str| match end {
            OPERATOR => Some(lab.clouds.len()),
            name => lab.clouds.iter().position(|cloud| cloud.name == name),
        };
        let [a, b] = [index(&ends[0])?, index(&ends[1])?];
        let side = |end: usize| match lab.clouds.get(end) {
            Some(cloud) => (cloud.uplink(), texts(&cloud.public())),
            None => ("op".to_owned(), vec![lab.operator.to_string()]),
        };
        let ((link_a, addresses_a), (link_b, addresses_b)) = (side(a), side(b));
        Some(Self {
            ends: ends.clone(),
            links: [link_a, link_b],
            addresses: [addresses_a, addresses_b],
            number: u32::try_from(a * 16 + b).ok()?,
        })
    }

    /// Its name in names of tables and files.
    pub(crate) fn name(&self) -> String {
        format!("{}_{}", self.ends[0], self.ends[1])
    }

    /// The number of the packet queue that both directions go through.
    pub(crate) fn queue(&self) -> u32 {
        self.number
    }

    /// Both directions: from one link to the other, with the addresses there.
    fn directions(&self) -> [(u32, &str, &str, &[String]); 2] {
        let [a, b] = &self.links;
        let [at_a, at_b] = &self.addresses;
        // Routing tables 1000 and up: the kernel's own are 253 to 255.
        let table = 1000 + self.number * 2;
        [(table, a, b, at_b), (table + 1, b, a, at_a)]
    }

    /// Run in the Internet's namespace: smaller packets from one end to the other.
    pub(crate) fn routes(&self, lab: &Topology, mtu: u16) -> Vec<String> {
        let mut lines = Vec::new();
        for (table, from, to, addresses) in self.directions() {
            let via = if self.routed(lab, to) {
                format!("via {ROUTER} dev {to} onlink")
            } else {
                format!("dev {to}")
            };
            for address in addresses {
                lines.push(format!("route add {address}/32 {via} table {table} mtu {mtu}"));
                lines.push(format!("rule add iif {from} to {address}/32 lookup {table}"));
            }
        }
        lines
    }

    /// What [`Way::routes`] made, taken back; a line for what isn't there fails, which does no harm.
    pub(crate) fn without_routes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (table, from, _, addresses) in self.directions() {
            for address in addresses {
                lines.push(format!("rule del iif {from} to {address}/32 lookup {table}"));
            }
            lines.push(format!("route flush table {table}"));
        }
        lines
    }

    /// Whether the end's addresses are behind a router that has none of them.
    fn routed(&self, lab: &Topology, link: &str) -> bool {
        lab.clouds.iter().any(|cloud| cloud.uplink() == link && cloud.nat == Nat::None)
    }

    /// The class on either link that holds its packets ([`crate::netem`]).
    pub(crate) fn class(&self) -> String {
        format!("1:{:x}", self.number)
    }

    /// Both directions for iptables: from and to which interface.
    pub(crate) fn links(&self) -> [(&str, &str); 2] {
        let [a, b] = &self.links;
        [(a, b), (b, a)]
    }

    /// Cuts this way and no other.
    pub(crate) fn cut_rules(&self) -> String {
        let [a, b] = &self.links;
        format!(
            "table ip {CUT_PATH}{} {{
  chain forward {{
    type filter hook forward priority -400; policy accept;
    iifname \"{a}\" oifname \"{b}\" drop
    iifname \"{b}\" oifname \"{a}\" drop
  }}
}}
",
            self.name()
        )
    }

    /// Drops what is larger than the path carries, without a word.
    pub(crate) fn hole_rules(&self, path: &Path) -> String {
        let [a, b] = &self.links;
        let mtu = path.mtu.unwrap_or(u16::MAX);
        format!(
            "table ip {HOLE_PATH}{} {{
  chain forward {{
    type filter hook forward priority -390; policy accept;
    iifname \"{a}\" oifname \"{b}\" ip length > {mtu} drop
    iifname \"{b}\" oifname \"{a}\" ip length > {mtu} drop
  }}
}}
",
            self.name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Spec, parse};

    fn lab() -> Topology {
        Topology::lay_out("lab", &Spec::usual(3), &[]).unwrap()
    }

    fn from_file(text: &str) -> Topology {
        Topology::lay_out("lab", &parse("t", text).unwrap(), &[]).unwrap()
    }

    #[test]
    fn the_operator_gets_routes_to_public_addresses_only() {
        let lab = lab();
        let lines = operator(&lab).join("\n");
        assert_eq!(lines.matches("route add").count(), 3);
        assert!(lab.hosts().all(|host| lines.contains(&format!("{}/32", host.public))));
        assert!(!lines.contains("default"));
        assert!(!lines.contains("10.0.4"));
    }

    #[test]
    fn a_card_has_the_private_address_and_nothing_else() {
        let lab = lab();
        let lines = network_card(&lab.clouds[0], &lab.clouds[0].hosts[0]);
        assert_eq!(lines[1], "addr add 10.0.4.7/24 dev eth0");
        assert!(!lines.join("\n").contains("198.51.100"));
    }

    #[test]
    fn hairpin_is_the_clouds_choice() {
        let lab = lab();
        let without = cloud_rules(&lab.clouds[0]);
        assert!(without.contains("iifname \"lan\" ip saddr 10.0.4.7 ip daddr 198.51.100.10 drop"));
        assert!(!without.contains("oifname \"lan\""));
        let with = cloud_rules(&lab.clouds[1]);
        assert!(with.contains("iifname \"lan\" ip daddr 198.51.100.20 dnat to 172.21.3.4"));
        assert!(
            with.contains(
                "iifname \"lan\" oifname \"lan\" ip saddr 172.21.3.4 snat to 198.51.100.20"
            )
        );
    }

    #[test]
    fn every_edge_counts_and_drops_foreign_sources() {
        for cloud in &lab().clouds {
            let private = cloud.hosts[0].private.address;
            let filter = format!("ip saddr != {private} counter name \"spoofed\" drop");
            assert!(cloud_rules(cloud).contains(&filter));
        }
    }

    #[test]
    fn a_home_lets_in_what_it_forwards() {
        let lab = from_file(
            "\
clouds:
  - name: home
    nat: symmetric
    spoofFilter: false
    subnet: 192.168.1.0/24
    hosts: [{ name: a, forward: [22/tcp, 51820/udp] }, { name: b }]
",
        );
        let rules = cloud_rules(&lab.clouds[0]);
        assert!(
            rules.contains(
                "iifname \"wan\" ip daddr 198.51.100.10 tcp dport 22 dnat to 192.168.1.2"
            )
        );
        assert!(rules.contains("udp dport 51820 dnat to 192.168.1.2"));
        assert!(rules.contains("oifname \"wan\" snat to 198.51.100.10 fully-random"));
        assert!(!rules.contains("saddr !="), "any source passes");
        assert!(!rules.contains("192.168.1.3"), "nothing comes to the second");
    }

    #[test]
    fn ports_are_let_in_and_the_rest_dropped() {
        let lab = from_file(
            "\
clouds:
  - { name: A, nat: none, ports: [22/tcp, 30000-32767/tcp, icmp], hosts: [{ name: a }, { name: b }] }
",
        );
        let rules = cloud_rules(&lab.clouds[0]);
        for rule in [
            "iifname \"wan\" tcp dport 22 accept",
            "iifname \"wan\" tcp dport 30000-32767 accept",
            "iifname \"wan\" icmp type echo-request accept",
            "iifname \"wan\" ct state new drop",
            "ip saddr != { 198.51.100.10, 198.51.100.20 } counter",
        ] {
            assert!(rules.contains(rule), "{rule} in\n{rules}");
        }
        assert!(!rules.contains("dnat"));
    }

    #[test]
    fn a_way_is_its_own_in_both_directions() {
        let lab = lab();
        let way = |a: &str, b: &str| Way::find(&lab, &[a.into(), b.into()]).unwrap();
        let lines = way("A", "C").routes(&lab, 1400);
        assert_eq!(
            lines,
            [
                "route add 192.0.2.30/32 dev cloudC table 1004 mtu 1400",
                "rule add iif cloudA to 192.0.2.30/32 lookup 1004",
                "route add 198.51.100.10/32 dev cloudA table 1005 mtu 1400",
                "rule add iif cloudC to 198.51.100.10/32 lookup 1005",
            ]
        );
        assert_ne!(way("A", "C").queue(), way("B", "C").queue());
        assert!(
            way("A", "operator").cut_rules().contains("iifname \"cloudA\" oifname \"op\" drop")
        );
        assert!(Way::find(&lab, &["A".into(), "D".into()]).is_none());
        let path = Path { mtu: Some(1300), black_hole: true, ..Path::default() };
        assert!(way("A", "B").hole_rules(&path).contains("ip length > 1300 drop"));
    }
}
