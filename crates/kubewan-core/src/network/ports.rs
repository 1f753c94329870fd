//! Which ports must be reachable, from whom, and why: what the operator enters at his clouds, what host
//! firewalls are opened for, and what may answer after `up`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::action::firewall::Opening;
use crate::inventory::{Backend, Host, Inventory};
use crate::render::flannel::{VXLAN_PORT, WIREGUARD_PORT};
use crate::render::kubeadm::{API_PORT, ETCD_CLIENT_PORT, ETCD_PEER_PORT};

/// The kubelet's API (pkg/cluster/ports/ports.go, KubeletPort).
pub const KUBELET_PORT: u16 = 10250;

/// A port, or a range, of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The host it is on.
    pub host: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port; the same as the first for a single one.
    pub last: u16,
    /// Who must reach it.
    pub from: Vec<Source>,
    /// What it is for.
    pub why: String,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Who must reach a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The operator's machine.
    Operator,
    /// Whoever uses the cluster's services.
    Anyone,
    /// A host of the cluster, by name.
    Host(String),
}

impl Protocol {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl Port {
    /// `6443/tcp` or `30000-32767/tcp`.
    pub fn notation(&self) -> String {
        let protocol = self.protocol.name();
        if self.first == self.last {
            format!("{}/{protocol}", self.first)
        } else {
            format!("{}-{}/{protocol}", self.first, self.last)
        }
    }
}

/// All ports of all hosts, in the hosts' order.
pub fn ports(inventory: &Inventory) -> Vec<Port> {
    inventory.hosts.iter().flat_map(|host| of_host(inventory, host)).collect()
}

/// TCP ports of a host that the cluster's hosts need and nobody else.
pub fn of_hosts_alone(inventory: &Inventory, host: &Host) -> Vec<u16> {
    let is_a_host = |source: &Source| matches!(source, Source::Host(_));
    let all = of_host(inventory, host).into_iter();
    all.filter(|port| port.protocol == Protocol::Tcp && port.from.iter().all(is_a_host))
        .map(|port| port.first)
        .collect()
}

/// The ports of one host (kubernetes.io, "Ports and Protocols"; flannel's from its backends).
fn of_host(inventory: &Inventory, host: &Host) -> Vec<Port> {
    let everyone: Vec<Source> =
        others_of(inventory, host).map(|other| Source::Host(other.name.clone())).collect();
    let port = |protocol, first, last, from: Vec<Source>, why: &str| Port {
        host: host.name.clone(),
        protocol,
        first,
        last,
        from,
        why: why.into(),
    };
    let mut ports = vec![port(
        Protocol::Tcp,
        host.ssh.port.unwrap_or(22),
        host.ssh.port.unwrap_or(22),
        vec![Source::Operator],
        "SSH: kubewan itself",
    )];
    if host.is_control_plane() {
        let mut from = vec![Source::Operator];
        from.extend(everyone.clone());
        ports.push(port(
            Protocol::Tcp,
            API_PORT,
            API_PORT,
            from,
            "Kubernetes API: kubelets, kube-proxy, pods, kubectl",
        ));
    }
    let members: Vec<Source> = others_of(inventory, host)
        .filter(|other| host.is_control_plane() && other.is_control_plane())
        .map(|other| Source::Host(other.name.clone()))
        .collect();
    for (number, why) in [
        (ETCD_CLIENT_PORT, "etcd, asked by a control plane that joins or leaves"),
        (ETCD_PEER_PORT, "etcd: its members among each other"),
    ] {
        ports.push(port(Protocol::Tcp, number, number, members.clone(), why));
    }
    // The API server on a control plane, and on any host a pod that gathers metrics (metrics-server asks all kubelets).
    ports.push(port(
        Protocol::Tcp,
        KUBELET_PORT,
        KUBELET_PORT,
        everyone.clone(),
        "kubelet: logs and exec, asked for by the API server; metrics, asked for by pods",
    ));
    let (overlay, why) = match inventory.network.backend {
        Backend::Vxlan => (VXLAN_PORT, "flannel VXLAN: traffic between pods"),
        Backend::Wireguard => (WIREGUARD_PORT, "flannel WireGuard: encrypted traffic between pods"),
    };
    ports.push(port(Protocol::Udp, overlay, overlay, everyone, why));
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        ports.push(port(protocol, 30000, 32767, vec![Source::Anyone], "NodePort Services"));
    }
    ports.retain(|p| !p.from.is_empty());
    ports
}

fn others_of<'a>(inventory: &'a Inventory, host: &'a Host) -> impl Iterator<Item = &'a Host> {
    inventory.hosts.iter().filter(move |other| other.name != host.name)
}

/// What a host's firewall has to let in. Ports that only peers need are open to those alone; where the operator sits
/// nobody knows beforehand. SSH is not among them: it is let in already, or no run would get here, and to whom is for the
/// firewall's owner to say.
pub fn openings(
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
    host: &Host,
) -> Vec<Opening> {
    let mut open: Vec<Opening> = Vec::new();
    let is_ssh = |port: &Port| port.from == [Source::Operator] && port.first != API_PORT;
    for port in of_host(inventory, host).iter().filter(|port| !is_ssh(port)) {
        let peers = port.from.iter().map(|source| match source {
            Source::Host(name) => addresses.get(name).copied(),
            Source::Operator | Source::Anyone => None,
        });
        match peers.collect::<Option<Vec<_>>>() {
            Some(peers) => {
                open.extend(peers.into_iter().map(|peer| Opening::to_one(port.notation(), peer)));
            }
            None => open.push(Opening::to_anyone(port.notation())),
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_host_needs_no_peer_ports() {
        let inventory = crate::samples::inventory(1);
        let notations: Vec<String> = ports(&inventory).iter().map(Port::notation).collect();
        assert_eq!(notations, ["22/tcp", "6443/tcp", "30000-32767/tcp", "30000-32767/udp"]);
    }

    #[test]
    fn ssh_is_opened_to_nobody_else() {
        let inventory = crate::samples::inventory(1);
        let open = openings(&inventory, &BTreeMap::new(), &inventory.hosts[0]);
        let open: Vec<String> = open.iter().map(ToString::to_string).collect();
        assert_eq!(open, ["6443/tcp", "30000-32767/tcp", "30000-32767/udp"]);
    }

    #[test]
    fn etcd_is_reached_by_other_control_planes_only() {
        let etcd = |inventory: &Inventory| -> Vec<(String, u16, Vec<Source>)> {
            let etcd = ports(inventory).into_iter().filter(|p| (2379..=2380).contains(&p.first));
            etcd.map(|port| (port.host, port.first, port.from)).collect()
        };
        assert!(etcd(&crate::samples::inventory(4)).is_empty());
        let mut inventory = crate::samples::control_planes(3);
        inventory.hosts.push(crate::samples::inventory(4).hosts.remove(3));
        let found = etcd(&inventory);
        assert_eq!(found.len(), 6, "two ports on each control plane, none on the worker");
        let others = ["node01", "node02"].map(|name| Source::Host(name.into())).to_vec();
        let alone = |at: usize| of_hosts_alone(&inventory, &inventory.hosts[at]);
        assert_eq!(alone(0), [2379, 2380, 10250]);
        assert_eq!(alone(3), [10250], "a worker has no etcd");
        assert_eq!(found[0], ("master01".into(), 2379, others.clone()));
        assert_eq!(found[1], ("master01".into(), 2380, others));
    }

    #[test]
    fn kubelets_are_reached_by_peers_only() {
        let inventory = crate::samples::inventory(3);
        let kubelets: Vec<Port> =
            ports(&inventory).into_iter().filter(|p| p.first == KUBELET_PORT).collect();
        assert_eq!(kubelets.len(), 3);
        let peers = ["node01", "node02"].map(|name| Source::Host(name.into()));
        assert_eq!(kubelets[0].from, peers);
    }
}
