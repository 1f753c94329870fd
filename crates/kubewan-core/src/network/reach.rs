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

/// What became of a way when it was tried: nothing, or why nobody answered.
pub type Measured = (Way, Result<(), String>);

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
    let is_new =
        |host: &str| facts.get(host).is_none_or(|f| f.kubernetes.state != ClusterState::Done);
    let opens = |name: &str| {
        let host = inventory.hosts.iter().find(|host| host.name == name);
        let policy = host.and_then(|host| inventory.firewall_of(host));
        let active = facts.get(name).is_some_and(|f| f.firewalls.iter().any(|f| f.active));
        active && policy != Some(Firewall::Keep)
    };
    let mut ways = ways(inventory);
    ways.retain(|way| {
        let new = is_new(&way.to) || matches!(&way.from, Source::Host(name) if is_new(name));
        new && !opens(&way.to)
    });
    ways
}

/// What is to be said of ways that were tried: one finding for a port and the reason that nobody came through.
pub fn findings(
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
    measured: &[Measured],
) -> Vec<Finding> {
    let mut closed: Vec<(&Way, &str, Vec<&Source>)> = Vec::new();
    for (way, result) in measured {
        let Err(said) = result else { continue };
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
    fn a_closed_port_is_named_once_with_who_needs_it() {
        let inventory = samples::inventory(3);
        let measured: Vec<Measured> = ways(&inventory)
            .into_iter()
            .map(|way| {
                let closed = way.port == 6443 || way.port == 30000;
                (way, if closed { Err("no answer within 3 s".to_owned()) } else { Ok(()) })
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
