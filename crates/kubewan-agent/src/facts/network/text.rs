//! What `ip` says where it writes no JSON: that came with iproute2 4.14, and CentOS 7 and Amazon Linux 2 have older ones.

use super::{IpAddress, IpHop, IpLink, IpLinkInfo, IpRoute};
use crate::command::Program;

/// Whether a program answered that it knows no JSON.
pub(crate) fn knows_no_json(stderr: &str) -> bool {
    stderr.contains("Option \"-json\" is unknown")
}

/// Links and addresses; of one link where it is named.
pub(crate) fn links(device: Option<&str>) -> Result<Vec<IpLink>, String> {
    let show = |words: &[&str]| {
        let dev = device.iter().flat_map(|name| ["dev", name]);
        Program::new("ip").args(words.iter().copied()).args(dev).stdout()
    };
    let links = show(&["-oneline", "-details", "link", "show"])?;
    let addresses = show(&["-oneline", "-4", "address", "show"])?;
    Ok(parse_links(&links, &addresses))
}

/// IPv4 routes of all tables.
pub(super) fn routes() -> Result<Vec<IpRoute>, String> {
    let show = ["-oneline", "-4", "route", "show", "table", "all"];
    Ok(parse_routes(&Program::new("ip").args(show).stdout()?))
}

/// `2: eth0: <BROADCAST,UP> mtu 1500 …\    link/ether …\    dummy …`, and `2: eth0    inet 10.0.4.7/24 … eth0\ …`.
pub(crate) fn parse_links(links: &str, addresses: &str) -> Vec<IpLink> {
    let link = |line: &str| -> Option<IpLink> {
        let mut parts = line.split('\\');
        let mut words = parts.next()?.split_whitespace().skip(1);
        // `veth0@if5:` names the other end.
        let name = words.next()?.trim_end_matches(':').split('@').next()?;
        let flags = words.next()?.trim_matches(['<', '>']);
        let kind = parts.nth(1).and_then(|part| part.split_whitespace().next());
        Some(IpLink {
            ifname: name.to_owned(),
            flags: flags.split(',').map(str::to_owned).collect(),
            mtu: after(words, "mtu").and_then(|mtu| mtu.parse().ok()).unwrap_or(0),
            linkinfo: IpLinkInfo {
                info_kind: kind.filter(|kind| *kind != "altname").unwrap_or_default().to_owned(),
            },
            addr_info: addresses.lines().filter_map(|line| address(line, name)).collect(),
        })
    };
    links.lines().filter_map(link).collect()
}

/// The address on a line, if it is this link's.
fn address(line: &str, link: &str) -> Option<IpAddress> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? != link {
        return None;
    }
    let network = after(words, "inet")?;
    // An address without a prefix is all of its network.
    let (local, prefix) = network.split_once('/').unwrap_or((network, "32"));
    let prefixlen = prefix.parse().ok()?;
    Some(IpAddress { family: "inet".into(), local: local.to_owned(), prefixlen })
}

/// `default via 10.0.4.1 dev eth0 metric 100`, `blackhole 10.244.0.0/24`, `local 10.0.4.7 dev eth0 table local …`, and
/// `default \ nexthop via … dev … weight 1\ nexthop …`.
pub(crate) fn parse_routes(text: &str) -> Vec<IpRoute> {
    const KINDS: [&str; 9] = [
        "unicast",
        "local",
        "broadcast",
        "multicast",
        "anycast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
    ];
    let route = |line: &str| -> Option<IpRoute> {
        let mut parts = line.split('\\');
        let own: Vec<&str> = parts.next()?.split_whitespace().collect();
        let kind = own.first().filter(|word| KINDS.contains(word));
        let dst = own.get(usize::from(kind.is_some()))?;
        let word = |key: &str| after(own.iter().copied(), key);
        let hop = |part: &str| {
            let word = |key: &str| after(part.split_whitespace(), key);
            let dev = word("dev").unwrap_or_default().to_owned();
            IpHop { dev, gateway: word("via").and_then(|via| via.parse().ok()) }
        };
        Some(IpRoute {
            dst: (*dst).to_owned(),
            dev: word("dev").unwrap_or_default().to_owned(),
            gateway: word("via").and_then(|via| via.parse().ok()),
            metric: word("metric").and_then(|metric| metric.parse().ok()).unwrap_or(0),
            kind: kind.copied().unwrap_or_default().to_owned(),
            table: word("table").map(str::to_owned),
            nexthops: parts.filter(|part| part.contains("nexthop")).map(hop).collect(),
        })
    };
    text.lines().filter_map(route).collect()
}

/// The word behind another.
fn after<'a>(mut words: impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    words.find(|word| *word == key)?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::super::{links_of, parse_links as parse_json, routes_of};
    use super::*;
    use crate::command::exists;

    /// As iproute2 4.11 prints it (`print_linkinfo` in ip/ipaddress.c).
    #[test]
    fn reads_links_without_json() {
        let links = "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT qlen 1000\\    \
             link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00 promiscuity 0 addrgenmode eui64 \n\
             2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc pfifo_fast state UP mode DEFAULT qlen 1000\\    \
             link/ether 52:54:00:12:34:56 brd ff:ff:ff:ff:ff:ff promiscuity 0 addrgenmode eui64 \n\
             7: kubewan0: <BROADCAST,NOARP> mtu 1500 qdisc noop state DOWN mode DEFAULT qlen 1000\\    \
             link/ether 6a:11:22:33:44:55 brd ff:ff:ff:ff:ff:ff promiscuity 0 \\    dummy addrgenmode eui64 \n\
             9: veth1@if8: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP mode DEFAULT qlen 1000\\    \
             link/ether 6a:11:22:33:44:56 brd ff:ff:ff:ff:ff:ff link-netnsid 0 promiscuity 0 \\    veth addrgenmode eui64 \n";
        let addresses = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n\
             2: eth0    inet 10.0.4.7/24 brd 10.0.4.255 scope global dynamic eth0\\       valid_lft 86071sec\n\
             7: kubewan0    inet 198.51.100.10/32 scope global kubewan0\\       valid_lft forever\n";
        let read = links_of(parse_links(links, addresses));
        let shown: Vec<String> = read
            .interfaces
            .iter()
            .map(|link| format!("{} {} {} {}", link.name, link.mtu, link.up, link.kind))
            .collect();
        let expected = [
            "lo 65536 true ",
            "eth0 1450 true ",
            "kubewan0 1500 false dummy",
            "veth1 1500 true veth",
        ];
        assert_eq!(shown, expected);
        let addresses: Vec<String> =
            read.addresses.iter().map(|a| format!("{} {}", a.interface, a.address)).collect();
        assert_eq!(addresses, ["lo 127.0.0.1/8", "eth0 10.0.4.7/24", "kubewan0 198.51.100.10/32"]);
    }

    #[test]
    fn reads_routes_without_json() {
        let text = "default via 192.0.2.1 dev eth0 proto dhcp metric 100 \n\
             default dev tun0 table 200 scope link \n\
             10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink \n\
             blackhole 10.244.0.0/24 \n\
             192.0.2.9 via 192.0.2.1 dev eth0 \n\
             local 192.0.2.2 dev eth0 table local proto kernel scope host src 192.0.2.2 \n";
        let routes = routes_of(parse_routes(text));
        assert_eq!(routes.default.unwrap().interface, "eth0");
        let others: Vec<String> =
            routes.others.iter().map(|r| format!("{} {}", r.destination, r.interface)).collect();
        assert_eq!(others, ["10.244.1.0/24 flannel.1", "10.244.0.0/24 ", "192.0.2.9/32 eth0"]);
        let hops = "default proto static \\\tnexthop via 192.0.2.1 dev eth0 weight 1\\\tnexthop via 192.0.2.5 dev eth1 weight 1\n";
        let default = routes_of(parse_routes(hops)).default.unwrap();
        assert_eq!(
            (default.interface.as_str(), default.gateway),
            ("eth0", "192.0.2.1".parse().ok())
        );
        assert!(knows_no_json("Option \"-json\" is unknown, try \"ip -help\".\n"));
    }

    /// Newer ones print the same text, so that both ways of asking have to tell the same of this machine.
    #[test]
    fn says_the_same_as_json() {
        if !exists("ip") {
            return;
        }
        let json = Program::new("ip").args(["-json", "-details", "address", "show"]).stdout();
        let json = parse_json(&json.unwrap()).unwrap();
        assert_eq!(links_of(links(None).unwrap()), json);
        let json =
            Program::new("ip").args(["-json", "-4", "route", "show", "table", "all"]).stdout();
        let json = super::super::parse_routes(&json.unwrap()).unwrap();
        assert_eq!(routes_of(routes().unwrap()), json);
    }
}
