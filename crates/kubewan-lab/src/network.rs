//! The commands that make a lab's network, as text for `ip -batch` and `nft -f`. Pure.

use std::net::Ipv4Addr;

use crate::topology::{Cloud, Host, Topology};

/// The next hop on every uplink. The same everywhere, as each uplink is a link of two.
const NEXT_HOP: &str = "169.254.1.1";

/// The counter of packets that a cloud dropped for their source address.
pub(crate) const SPOOF_COUNTER: &str = "spoofed";
/// The clouds' NAT and filter.
pub(crate) const CLOUD_TABLE: &str = "cloud";
/// There while a cloud is cut off the Internet.
pub(crate) const CUT_TABLE: &str = "cut";
/// There while a cloud's own firewall drops what comes to some ports.
pub(crate) const FILTER_TABLE: &str = "filter";

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
    let link = Topology::OPERATOR_LINK;
    let mut lines = vec![
        format!("link add {link} type veth peer name op netns {}", Topology::INTERNET),
        format!("addr add {}/32 dev {link}", lab.operator),
        format!("link set {link} up"),
    ];
    lines.extend(lab.hosts().map(|host| {
        format!(
            "route add {}/32 via {NEXT_HOP} dev {link} onlink src {}",
            host.public, lab.operator
        )
    }));
    lines
}

/// Run in the Internet's namespace: a server's address.
pub(crate) fn site(address: Ipv4Addr) -> Vec<String> {
    vec![format!("addr add {address}/32 dev lo")]
}

/// Run in the operator's own namespace: the way to that server.
pub(crate) fn way_to_site(address: Ipv4Addr) -> Vec<String> {
    let link = Topology::OPERATOR_LINK;
    vec![format!("route replace {address}/32 via {NEXT_HOP} dev {link} onlink")]
}

/// Run in a cloud's namespace: its uplink.
pub(crate) fn cloud(cloud: &Cloud) -> Vec<String> {
    let uplink = cloud.uplink();
    let public = cloud.host.public;
    vec![
        "link set lo up".into(),
        format!("link add wan type veth peer name {uplink} netns {}", Topology::INTERNET),
        format!("addr add {public}/32 dev wan"),
        "link set wan up".into(),
        format!("route add default via {NEXT_HOP} dev wan onlink"),
    ]
}

/// Run in the Internet's namespace: its end of a cloud's uplink.
pub(crate) fn cloud_uplink(cloud: &Cloud) -> Vec<String> {
    let uplink = cloud.uplink();
    vec![
        format!("addr add {NEXT_HOP}/32 dev {uplink}"),
        format!("link set {uplink} up"),
        format!("route add {}/32 dev {uplink}", cloud.host.public),
    ]
}

/// Run in a cloud's namespace: the cable to its host. It goes with the host's namespace, so a
/// reboot makes it anew.
pub(crate) fn cable(cloud: &Cloud) -> Vec<String> {
    let Host { private, .. } = cloud.host;
    vec![
        format!(
            "link add lan type veth peer name eth0 address {} netns {}",
            cloud.host.hardware_address(),
            cloud.host.namespace()
        ),
        format!("addr add {}/{} dev lan", cloud.gateway, private.prefix),
        "link set lan up".into(),
    ]
}

/// Run in a host's namespace: what DHCP would give the one network card.
pub(crate) fn network_card(cloud: &Cloud) -> Vec<String> {
    vec![
        "link set lo up".into(),
        format!("addr add {} dev eth0", cloud.host.private),
        "link set eth0 up".into(),
        format!("route add default via {} dev eth0", cloud.gateway),
    ]
}

/// A cloud's NAT and its edge filter.
///
/// The filter looks before connection tracking does, so it sees what the host really sent. A
/// cloud without hairpin drops what its host sends to its own public address, as otherwise the
/// packet would come back from the Internet, which is a hairpin by a longer road.
pub(crate) fn cloud_rules(cloud: &Cloud) -> String {
    let public = cloud.host.public;
    let private = cloud.host.private.address;
    let (own_address, hairpin_in, hairpin_out) = if cloud.hairpin {
        (
            String::new(),
            format!("iifname \"lan\" ip daddr {public} dnat to {private}"),
            format!("iifname \"lan\" oifname \"lan\" snat to {public}"),
        )
    } else {
        (format!("iifname \"lan\" ip daddr {public} drop"), String::new(), String::new())
    };
    format!(
        "table ip {CLOUD_TABLE} {{
  counter {SPOOF_COUNTER} {{ }}
  chain edge {{
    type filter hook prerouting priority raw; policy accept;
    iifname \"lan\" ip saddr != {private} counter name \"{SPOOF_COUNTER}\" drop
    {own_address}
  }}
  chain inbound {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname \"wan\" ip daddr {public} dnat to {private}
    {hairpin_in}
  }}
  chain outbound {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname \"wan\" ip saddr {private} snat to {public}
    {hairpin_out}
  }}
}}
"
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Topology {
        Topology::plan(3, &[]).unwrap()
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
        let lines = network_card(&lab().clouds[0]);
        assert_eq!(lines[1], "addr add 10.0.4.7/24 dev eth0");
        assert!(!lines.join("\n").contains("198.51.100"));
    }

    #[test]
    fn hairpin_is_the_clouds_choice() {
        let lab = lab();
        let without = cloud_rules(&lab.clouds[0]);
        assert!(without.contains("iifname \"lan\" ip daddr 198.51.100.10 drop"));
        assert!(!without.contains("oifname \"lan\""));
        let with = cloud_rules(&lab.clouds[1]);
        assert!(with.contains("iifname \"lan\" ip daddr 198.51.100.20 dnat to 172.21.3.4"));
        assert!(with.contains("iifname \"lan\" oifname \"lan\" snat to 198.51.100.20"));
    }

    #[test]
    fn every_edge_counts_and_drops_foreign_sources() {
        for cloud in &lab().clouds {
            let private = cloud.host.private.address;
            let filter = format!("ip saddr != {private} counter name \"spoofed\" drop");
            assert!(cloud_rules(cloud).contains(&filter));
        }
    }
}
