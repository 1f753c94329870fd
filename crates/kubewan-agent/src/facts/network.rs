//! Links, addresses, routes and name servers.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use kubewan_core::facts::{DefaultRoute, Interface, InterfaceAddress, Route};
use serde::Deserialize;

use crate::command::Program;

pub(crate) mod files;
pub(crate) mod text;

/// Links and the IPv4 addresses on them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) addresses: Vec<InterfaceAddress>,
}

/// IPv4 routes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    pub(crate) default: Option<DefaultRoute>,
    pub(crate) others: Vec<Route>,
}

pub(crate) fn links() -> Result<Links, String> {
    match json(&["-json", "-details", "address", "show"])? {
        Some(json) => parse_links(&json),
        None => Ok(links_of(text::links(None)?)),
    }
}

pub(super) fn routes() -> Result<Routes, String> {
    match json(&["-json", "-4", "route", "show", "table", "all"])? {
        Some(json) => parse_routes(&json),
        None => Ok(routes_of(text::routes()?)),
    }
}

/// What `ip` prints; `None` where it knows no JSON.
fn json(args: &[&str]) -> Result<Option<String>, String> {
    let program = Program::new("ip").args(args.iter().copied());
    let output = program.output()?;
    if output.code != 0 && text::knows_no_json(&output.stderr) {
        return Ok(None);
    }
    program.checked(output).map(|output| Some(output.stdout))
}

pub(super) fn resolvers() -> Vec<IpAddr> {
    let read = |path: &str| parse_resolvers(&fs::read_to_string(path).unwrap_or_default());
    let mut found = read("/etc/resolv.conf");
    // systemd-resolved's stub says nothing about where queries go in the end.
    if found.contains(&IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53))) {
        for upstream in read("/run/systemd/resolve/resolv.conf") {
            if !found.contains(&upstream) {
                found.push(upstream);
            }
        }
    }
    found
}

#[derive(Deserialize)]
pub(crate) struct IpLink {
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    mtu: u32,
    #[serde(default)]
    linkinfo: IpLinkInfo,
    #[serde(default)]
    addr_info: Vec<IpAddress>,
}

#[derive(Default, Deserialize)]
pub(crate) struct IpLinkInfo {
    #[serde(default)]
    info_kind: String,
}

#[derive(Deserialize)]
pub(crate) struct IpAddress {
    #[serde(default)]
    family: String,
    #[serde(default)]
    local: String,
    #[serde(default)]
    prefixlen: u8,
}

pub(crate) fn parse_links(json: &str) -> Result<Links, String> {
    Ok(links_of(parse_ip(json, "ip -json -details address show")?))
}

pub(crate) fn links_of(parsed: Vec<IpLink>) -> Links {
    let mut links = Links::default();
    // `ip` prints an empty object for what its filters leave out.
    for link in parsed.into_iter().filter(|link| !link.ifname.is_empty()) {
        for address in link.addr_info.iter().filter(|address| address.family == "inet") {
            let Ok(local) = address.local.parse::<Ipv4Addr>() else { continue };
            let Ok(address) = Ipv4Net::new(local, address.prefixlen) else { continue };
            links.addresses.push(InterfaceAddress { interface: link.ifname.clone(), address });
        }
        links.interfaces.push(Interface {
            up: link.flags.iter().any(|flag| flag == "UP"),
            name: link.ifname,
            mtu: link.mtu,
            kind: link.linkinfo.info_kind,
        });
    }
    links
}

#[derive(Deserialize)]
pub(crate) struct IpRoute {
    #[serde(default)]
    dst: String,
    #[serde(default)]
    dev: String,
    gateway: Option<Ipv4Addr>,
    #[serde(default)]
    metric: u32,
    #[serde(default, rename = "type")]
    kind: String,
    table: Option<String>,
    #[serde(default)]
    nexthops: Vec<IpHop>,
}

#[derive(Deserialize)]
pub(crate) struct IpHop {
    #[serde(default)]
    dev: String,
    gateway: Option<Ipv4Addr>,
}

pub(crate) fn parse_routes(json: &str) -> Result<Routes, String> {
    Ok(routes_of(parse_ip(json, "ip -json -4 route show table all")?))
}

fn routes_of(parsed: Vec<IpRoute>) -> Routes {
    let mut routes = Routes::default();
    let mut best = u32::MAX;
    for route in parsed {
        // The local table: our own addresses, not where packets may go.
        if matches!(route.kind.as_str(), "local" | "broadcast" | "multicast" | "anycast") {
            continue;
        }
        let hop = route.nexthops.first();
        let interface = match hop {
            Some(hop) if route.dev.is_empty() => hop.dev.clone(),
            _ => route.dev.clone(),
        };
        if route.dst == "default" || route.dst == "0.0.0.0/0" {
            // Tables of policy rules carry special traffic only; the main table says what the NIC is.
            if route.table.is_none() && !interface.is_empty() && route.metric < best {
                best = route.metric;
                let gateway = route.gateway.or(hop.and_then(|hop| hop.gateway));
                routes.default = Some(DefaultRoute { interface, gateway });
            }
            continue;
        }
        let destination = route.dst.parse::<Ipv4Net>().ok().or_else(|| {
            route.dst.parse::<Ipv4Addr>().ok().and_then(|host| Ipv4Net::new(host, 32).ok())
        });
        if let Some(destination) = destination {
            let route = Route { destination, interface };
            if !routes.others.contains(&route) {
                routes.others.push(route);
            }
        }
    }
    routes
}

fn parse_ip<T: for<'a> Deserialize<'a>>(json: &str, what: &str) -> Result<Vec<T>, String> {
    // Nothing to show is no output at all.
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(json).map_err(|e| format!("can't read what `{what}` printed: {e}"))
}

pub(crate) fn parse_resolvers(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // `fe80::1%eth0` names an interface after the address.
        let address = words.next().and_then(|word| word.split('%').next()?.parse().ok());
        if let Some(address) = address
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_links_and_addresses() {
        let links = parse_links(
            r#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,
              "addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8},
                           {"family":"inet6","local":"::1","prefixlen":128}]},{},
             {"ifname":"kw0","flags":["BROADCAST"],"mtu":1500,"linkinfo":{"info_kind":"dummy"},
              "addr_info":[{"family":"inet","local":"198.51.100.10","prefixlen":32}]}]"#,
        )
        .unwrap();
        assert_eq!(
            links.interfaces,
            [
                Interface { name: "lo".into(), mtu: 65536, up: true, kind: String::new() },
                Interface { name: "kw0".into(), mtu: 1500, up: false, kind: "dummy".into() },
            ]
        );
        let addresses: Vec<String> =
            links.addresses.iter().map(|a| format!("{} {}", a.interface, a.address)).collect();
        assert_eq!(addresses, ["lo 127.0.0.1/8", "kw0 198.51.100.10/32"]);
    }

    #[test]
    fn the_default_route_is_the_main_table_s_with_the_lowest_metric() {
        let routes = parse_routes(
            r#"[{"dst":"default","gateway":"10.1.0.1","dev":"wlan0","metric":600,"flags":[]},
             {"dst":"default","gateway":"192.0.2.1","dev":"eth0","metric":100,"flags":[]},
             {"dst":"default","dev":"tun0","table":"200","flags":[]},
             {"dst":"192.0.2.0/24","dev":"eth0","protocol":"kernel","scope":"link","flags":[]},
             {"dst":"192.0.2.9","gateway":"192.0.2.1","dev":"eth0","flags":[]},
             {"type":"local","dst":"192.0.2.2","dev":"eth0","table":"local","flags":[]},
             {"type":"blackhole","dst":"10.244.0.0/24","flags":[]}]"#,
        )
        .unwrap();
        let default = routes.default.unwrap();
        assert_eq!(default.interface, "eth0");
        assert_eq!(default.gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));
        let others: Vec<String> =
            routes.others.iter().map(|r| format!("{} {}", r.destination, r.interface)).collect();
        assert_eq!(others, ["192.0.2.0/24 eth0", "192.0.2.9/32 eth0", "10.244.0.0/24 "]);
    }

    #[test]
    fn takes_the_first_hop_of_several() {
        let routes = parse_routes(
            r#"[{"dst":"default","flags":[],"nexthops":[
                {"gateway":"192.0.2.1","dev":"eth0","weight":1,"flags":[]},
                {"gateway":"192.0.2.5","dev":"eth1","weight":1,"flags":[]}]}]"#,
        )
        .unwrap();
        let gateway = Some(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(routes.default, Some(DefaultRoute { interface: "eth0".into(), gateway }));
        assert_eq!(parse_routes(""), Ok(Routes::default()));
    }

    #[test]
    fn reads_name_servers() {
        let text = "# nameserver 9.9.9.9\nsearch x\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\n";
        let found: Vec<String> = parse_resolvers(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["10.0.0.2", "fe80::1"]);
    }
}
