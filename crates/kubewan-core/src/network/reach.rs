//! Which ways between hosts have to be open, and what a way that is not means. They are measured before anything is
//! changed, by agents that answer on the very ports: providers filter outside the machine, and nothing on a host
//! tells of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::ports::{KUBELET_PORT, Port, Protocol, Source, ports};
use crate::facts::{ClusterState, Facts};
use crate::finding::Finding;
use crate::inventory::{Firewall, Inventory};

/// A way from somewhere to a port of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it begins: the operator's machine or a host.
    pub from: Source,
    /// The host it leads to.
    pub to: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Without it there is no cluster. Without others something is missing that not everyone needs.
    pub must: bool,
    /// What it is for.
    pub why: String,
}

/// What became of a way when it was tried: who came through, or why that was not seen.
pub type Measured = (Way, Result<Seen, Missed>);

/// Why nobody was seen to come through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missed {
    /// The way is closed: what came back, or that nothing did.
    Closed(String),
    /// It could not be tried, and why.
    Untried(String),
}

/// What was seen of a packet where its way ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The address that it came from; `None` where what answered can't tell.
    pub source: Option<Ipv4Addr>,
}

/// All ways that the cluster needs, in the order of [`ports`]. SSH's is left out: kubewan has come that way. Of a range
/// its first port stands for all.
pub fn ways(inventory: &Inventory) -> Vec<Way> {
    let listed = ports(inventory);
    listed.iter().flat_map(|port| to_port(inventory, port)).collect()
}

fn to_port(inventory: &Inventory, port: &Port) -> Vec<Way> {
    let is_control_plane = |name: &str| {
        inventory.hosts.iter().any(|host| host.name == name && host.is_control_plane())
    };
    let is_ssh = inventory
        .hosts
        .iter()
        .any(|host| host.name == port.host && port.first == host.ssh.port.unwrap_or(22));
    let way = |source: &Source| {
        let (from, must) = match source {
            Source::Host(name) => {
                // Metrics are asked for by pods on any node, logs and exec by the API server.
                (source.clone(), port.first != KUBELET_PORT || is_control_plane(name))
            }
            // kubectl works over SSH too, and not everyone uses NodePorts.
            Source::Operator | Source::Anyone => (Source::Operator, false),
        };
        let (protocol, first) = (port.protocol, port.first);
        Way { from, to: port.host.clone(), protocol, port: first, must, why: port.why.clone() }
    };
    let mut ways: Vec<Way> = if is_ssh { Vec::new() } else { port.from.iter().map(way).collect() };
    // The operator's machine sends no datagrams: no cluster needs that.
    ways.retain(|way| way.protocol == Protocol::Tcp || way.from != Source::Operator);
    ways
}

/// Those that can be tried before a run: to or from a host that is not part of a cluster yet, unless a firewall of the
/// host itself is in the way that the run opens or switches off.
pub fn to_try(inventory: &Inventory, facts: &BTreeMap<String, Facts>) -> Vec<Way> {
    let mut ways = ways_of_new_hosts(inventory, facts);
    ways.retain(|way| !opens(inventory, facts, &way.to));
    ways
}

/// The others, which end at a firewall that the run opens: nobody can answer behind it, so packets are looked at before
/// they come to it ([`super::overheard`]). That also tells where etcd's peers come from.
pub fn to_overhear(inventory: &Inventory, facts: &BTreeMap<String, Facts>) -> Vec<Way> {
    let mut ways = ways_of_new_hosts(inventory, facts);
    ways.retain(|way| opens(inventory, facts, &way.to));
    ways
}

fn ways_of_new_hosts(inventory: &Inventory, facts: &BTreeMap<String, Facts>) -> Vec<Way> {
    let is_new =
        |host: &str| facts.get(host).is_none_or(|f| f.kubernetes.state != ClusterState::Done);
    let mut ways = ways(inventory);
    ways.retain(|way| is_new(&way.to) || matches!(&way.from, Source::Host(name) if is_new(name)));
    ways
}

/// Whether a run opens a host's firewall, or switches it off.
fn opens(inventory: &Inventory, facts: &BTreeMap<String, Facts>, name: &str) -> bool {
    let host = inventory.hosts.iter().find(|host| host.name == name);
    let policy = host.and_then(|host| inventory.firewall_of(host));
    let active = facts.get(name).is_some_and(|f| f.firewalls.iter().any(|f| f.active));
    active && policy != Some(Firewall::Keep)
}

/// What is to be said of ways that were tried: one finding for a port and the reason that nobody came through.
pub fn findings(
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
    measured: &[Measured],
) -> Vec<Finding> {
    let mut closed: Vec<(&Way, &str, Vec<&Source>)> = Vec::new();
    for (way, result) in measured {
        let Err(Missed::Closed(said)) = result else { continue };
        let same = closed.iter_mut().find(|(first, reason, _)| {
            (&first.to, first.protocol, first.port, first.must)
                == (&way.to, way.protocol, way.port, way.must)
                && reason == said
        });
        match same {
            Some((_, _, sources)) => sources.push(&way.from),
            None => closed.push((way, said, vec![&way.from])),
        }
    }
    let address = |name: &str| addresses.get(name).map(ToString::to_string).unwrap_or_default();
    let finding = |(way, said, sources): (&Way, &str, Vec<&Source>)| {
        let name = |source: &&Source| match source {
            Source::Host(name) => name.clone(),
            Source::Operator | Source::Anyone => "this machine".to_owned(),
        };
        let from = sources.iter().map(name).collect::<Vec<_>>().join(", ");
        let peers = sources.iter().map(|source| match source {
            Source::Host(name) => address(name),
            Source::Operator | Source::Anyone => "your own address or anywhere".to_owned(),
        });
        let peers = peers.collect::<Vec<_>>().join(", ");
        let port = format!("{}/{}", way.port, way.protocol.name());
        let message = format!(
            "{port} at {} can't be reached from {from}: {said} ({})",
            address(&way.to),
            way.why
        );
        let range = port_range(inventory, way).unwrap_or(port);
        let needed = if way.must { "" } else { "if you need it, " };
        let remedy = format!(
            "{needed}let {range} in from {peers} at the provider of {} (security group, firewall rule); `kubewan ports` lists all",
            way.to
        );
        if way.must {
            Finding::error("port-closed", &way.to, message, remedy)
        } else {
            Finding::warning("port-closed", &way.to, message, remedy)
        }
    };
    closed.into_iter().map(finding).collect()
}

/// Ways that could not be tried, one finding for each host that they lead to: silence would be taken for an open port.
pub fn untried(inventory: &Inventory, measured: &[Measured]) -> Vec<Finding> {
    let mut found: BTreeMap<(&str, &str), Vec<&Way>> = BTreeMap::new();
    for (way, result) in measured {
        if let Err(Missed::Untried(why)) = result {
            found.entry((&way.to, why)).or_default().push(way);
        }
    }
    let finding = |((to, why), ways): ((&str, &str), Vec<&Way>)| {
        let (mut sources, mut listed) = (Vec::new(), Vec::new());
        for way in &ways {
            let source = match &way.from {
                Source::Host(name) => name.as_str(),
                Source::Operator | Source::Anyone => "this machine",
            };
            let port = port_range(inventory, way)
                .unwrap_or_else(|| format!("{}/{}", way.port, way.protocol.name()));
            if !sources.contains(&source) {
                sources.push(source);
            }
            if !listed.contains(&port) {
                listed.push(port);
            }
        }
        let (from, ports) = (sources.join(", "), listed.join(", "));
        let message = format!(
            "nobody tried whether {ports} can be reached from {from}: its own firewall is active, and packets in front of \
             it can't be seen ({why})"
        );
        let remedy = format!(
            "make sure that the provider of {to} lets them in (security group, firewall rule): `kubewan ports` lists all"
        );
        Finding::warning("port-untried", to, message, remedy)
    };
    found.into_iter().map(finding).collect()
}

/// Hosts whose packets leave by another address than their own, as behind a NAT gateway or with a second uplink.
///
/// etcd takes a member for what its certificate says only if it comes from an address of that certificate (`checkCertSAN`
/// in client/pkg/transport/listener_tls.go), and there the host's own public address stands. Elsewhere packets are told
/// apart by ports and keys, but for firewalls that are opened for peers only.
pub fn sources(
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
    measured: &[Measured],
) -> Vec<Finding> {
    let mut found: BTreeMap<(&str, Ipv4Addr), Vec<&str>> = BTreeMap::new();
    for (way, result) in measured {
        let (Source::Host(from), Ok(Seen { source: Some(source) })) = (&way.from, result) else {
            continue;
        };
        if addresses.get(from) != Some(source) {
            let seen_by = found.entry((from, *source)).or_default();
            if !seen_by.contains(&way.to.as_str()) {
                seen_by.push(&way.to);
            }
        }
    }
    let several = inventory.has_several_control_planes();
    let is_member =
        |name: &str| several && inventory.control_planes().any(|host| host.name == name);
    let finding = |((from, source), seen_by): ((&str, Ipv4Addr), Vec<&str>)| {
        let own = addresses.get(from).map(ToString::to_string).unwrap_or_default();
        let message = format!(
            "its packets come to {} from {source}, and its address is {own}",
            seen_by.join(", ")
        );
        if is_member(from) && seen_by.iter().any(|name| is_member(name)) {
            let remedy = format!(
                "have its provider send them from {own} (one NIC, a 1:1 address); or make it a worker: etcd refuses a \
                 member that comes from another address than its certificate's"
            );
            return Finding::error("other-source-address", from, message, remedy);
        }
        let remedy = format!(
            "let {source} in too where a firewall lets only the cluster's hosts in: `kubewan ports` lists what for"
        );
        Finding::warning("other-source-address", from, message, remedy)
    };
    found.into_iter().map(finding).collect()
}

/// The whole range that a way's port stands for.
fn port_range(inventory: &Inventory, way: &Way) -> Option<String> {
    let listed = ports(inventory);
    let port = listed
        .iter()
        .find(|port| (&port.host, port.protocol, port.first) == (&way.to, way.protocol, way.port));
    port.map(Port::notation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn told(ways: &[Way]) -> Vec<String> {
        let line = |way: &Way| {
            let from = match &way.from {
                Source::Host(name) => name.as_str(),
                _ => "operator",
            };
            let must = if way.must { "must" } else { "may" };
            format!("{from} {} {}/{} {must}", way.to, way.port, way.protocol.name())
        };
        ways.iter().map(line).collect()
    }

    #[test]
    fn every_way_and_whether_the_cluster_stands_without_it() {
        let ways = told(&ways(&samples::inventory(2)));
        assert_eq!(
            ways,
            [
                "operator master01 6443/tcp may",
                "node01 master01 6443/tcp must",
                "node01 master01 10250/tcp may",
                "node01 master01 8472/udp must",
                "operator master01 30000/tcp may",
                "master01 node01 10250/tcp must",
                "master01 node01 8472/udp must",
                "operator node01 30000/tcp may",
            ]
        );
    }

    #[test]
    fn etcds_ways_lead_from_control_plane_to_control_plane() {
        let mut inventory = samples::control_planes(3);
        inventory.hosts.push(samples::inventory(4).hosts.remove(3));
        let mut ways = ways(&inventory);
        ways.retain(|way| matches!(way.port, 2379 | 2380));
        assert_eq!(ways.len(), 3 * 2 * 2);
        assert!(ways.iter().all(|way| way.must));
        assert_eq!(
            told(&ways[..2]),
            ["node01 master01 2379/tcp must", "node02 master01 2379/tcp must"]
        );
    }

    #[test]
    fn a_host_that_comes_from_elsewhere_is_no_member_of_etcd() {
        let told = |inventory: &Inventory| {
            let addresses = samples::addresses(inventory);
            let elsewhere = Ipv4Addr::new(203, 0, 113, 7);
            let seen = |way: Way| {
                let own = match &way.from {
                    Source::Host(name) if name == "node01" => Some(elsewhere),
                    Source::Host(name) => addresses.get(name).copied(),
                    _ => None,
                };
                (way, Ok(Seen { source: own }))
            };
            let measured: Vec<Measured> = ways(inventory).into_iter().map(seen).collect();
            sources(inventory, &addresses, &measured)
        };
        let severity = |findings: &[Finding]| {
            findings.iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        use crate::finding::Severity;
        assert_eq!(severity(&told(&samples::inventory(3))), [Severity::Warning]);
        let findings = told(&samples::control_planes(3));
        assert_eq!(severity(&findings), [Severity::Error]);
        insta::assert_snapshot!(format!("{}\n{}", findings[0].message, findings[0].remedy));
    }

    #[test]
    fn a_cluster_at_work_is_not_tried_and_nor_is_what_a_run_opens() {
        let mut inventory = samples::inventory(3);
        let mut facts = samples::all_facts(&inventory);
        assert_eq!(to_try(&inventory, &facts).len(), ways(&inventory).len());
        for name in ["master01", "node01"] {
            facts.get_mut(name).expect("a host").kubernetes.state = ClusterState::Done;
        }
        let to_and_from_the_new_one = to_try(&inventory, &facts);
        assert!(
            to_and_from_the_new_one
                .iter()
                .all(|way| { way.to == "node02" || way.from == Source::Host("node02".into()) })
        );
        let firewall = crate::facts::FirewallFacts {
            tool: crate::facts::FirewallTool::Ufw,
            active: true,
            enabled: true,
        };
        facts.get_mut("node02").expect("a host").firewalls.push(firewall);
        inventory.firewall = Some(Firewall::Open);
        assert!(to_try(&inventory, &facts).iter().all(|way| way.to != "node02"));
        inventory.firewall = Some(Firewall::Keep);
        assert!(to_try(&inventory, &facts).iter().any(|way| way.to == "node02"));
    }

    #[test]
    fn what_a_firewall_drops_is_overheard_and_the_rest_tried() {
        let mut inventory = samples::control_planes(3);
        inventory.firewall = Some(Firewall::Open);
        let mut facts = samples::all_facts(&inventory);
        assert!(to_overhear(&inventory, &facts).is_empty(), "who can be tried is tried");
        let firewall = crate::facts::FirewallFacts {
            tool: crate::facts::FirewallTool::Ufw,
            active: true,
            enabled: true,
        };
        facts.get_mut("node02").expect("a host").firewalls.push(firewall);
        assert_eq!(
            told(&to_overhear(&inventory, &facts)),
            [
                "operator node02 6443/tcp may",
                "master01 node02 6443/tcp must",
                "node01 node02 6443/tcp must",
                "master01 node02 2379/tcp must",
                "node01 node02 2379/tcp must",
                "master01 node02 2380/tcp must",
                "node01 node02 2380/tcp must",
                "master01 node02 10250/tcp must",
                "node01 node02 10250/tcp must",
                "master01 node02 8472/udp must",
                "node01 node02 8472/udp must",
                "operator node02 30000/tcp may",
            ]
        );
        // Each way is in one of the two, whatever the inventory says of the firewall.
        for policy in [None, Some(Firewall::Open), Some(Firewall::Off), Some(Firewall::Keep)] {
            inventory.firewall = policy;
            let (tried, overheard) = (to_try(&inventory, &facts), to_overhear(&inventory, &facts));
            assert_eq!(overheard.is_empty(), policy == Some(Firewall::Keep));
            assert_eq!(tried.len() + overheard.len(), ways(&inventory).len());
        }
        // In a cluster at work nothing is.
        for facts in facts.values_mut() {
            facts.kubernetes.state = ClusterState::Done;
        }
        assert!(to_overhear(&inventory, &facts).is_empty());
    }

    #[test]
    fn what_could_not_be_tried_is_said_once_for_a_host() {
        let inventory = samples::inventory(3);
        let deaf = |way: Way| {
            let is_deaf = way.to == "master01";
            let why = Missed::Untried("Operation not permitted (os error 1)".to_owned());
            (way, if is_deaf { Err(why) } else { Ok(Seen::default()) })
        };
        let measured: Vec<Measured> = ways(&inventory).into_iter().map(deaf).collect();
        assert!(findings(&inventory, &samples::addresses(&inventory), &measured).is_empty());
        let said = untried(&inventory, &measured);
        assert_eq!(said.len(), 1);
        insta::assert_snapshot!(format!("{}\n{}", said[0].message, said[0].remedy));
    }

    #[test]
    fn a_closed_port_is_named_once_with_who_needs_it() {
        let inventory = samples::inventory(3);
        let measured: Vec<Measured> = ways(&inventory)
            .into_iter()
            .map(|way| {
                let closed = way.port == 6443 || way.port == 30000;
                (
                    way,
                    if closed {
                        Err(Missed::Closed("no answer within 3 s".to_owned()))
                    } else {
                        Ok(Seen::default())
                    },
                )
            })
            .collect();
        let findings = findings(&inventory, &samples::addresses(&inventory), &measured);
        let text: Vec<String> = findings
            .iter()
            .map(|f| {
                let host = f.host.as_deref().unwrap_or_default();
                format!("{:?} {host}: {}\n  {}", f.severity, f.message, f.remedy)
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}
