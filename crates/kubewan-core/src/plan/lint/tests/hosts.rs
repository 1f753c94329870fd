//! What hosts may look like, for the cases.

use super::Cluster;
use crate::action::docker::DockerEngineSeen;
use crate::facts::{
    ClusterState, ConfiguredAddress, Container, Facts, InterfaceAddress, StuckInit,
};

/// What a Docker says of itself.
pub(super) fn engine(cgroup_driver: &str, storage_driver: &str) -> DockerEngineSeen {
    DockerEngineSeen {
        version: Some("20.10.24".into()),
        cgroup_driver: cgroup_driver.into(),
        storage_driver: storage_driver.into(),
    }
}

/// A `kubeadm init` by hand, with etcd on the public address.
pub(super) fn stuck(cluster: &mut Cluster, node: &str) {
    let kubernetes = &mut cluster.master().kubernetes;
    kubernetes.state = ClusterState::Foreign;
    kubernetes.stuck_init = Some(StuckInit {
        ca_hash: "sha256:00".into(),
        node: Some(node.into()),
        etcd_listens: Some("https://198.51.100.10:2380".into()),
        advertises: Some("198.51.100.10".into()),
        service_subnet: Some("10.96.0.0/12".into()),
        pod_subnet: None,
        said: Some("listen tcp 198.51.100.10:2380: bind: cannot assign requested address".into()),
    });
}

/// The public address beside the NIC's own.
pub(super) fn alias(facts: &mut Facts, prefix: u8) {
    let address = "198.51.100.10".parse().expect("an address");
    let address = ipnet::Ipv4Net::new_assert(address, prefix);
    facts.addresses.push(InterfaceAddress { interface: "eth0".into(), address });
}

/// The same beside another address of that range.
pub(super) fn crowded_alias(facts: &mut Facts) {
    let address = "198.51.100.99/24".parse().expect("an address");
    facts.addresses.push(InterfaceAddress { interface: "eth0".into(), address });
    alias(facts, 24);
}

/// A file of ifupdown's has it, and one with a mask of its own.
pub(super) fn alias_in_a_file(facts: &mut Facts) {
    let line = |line: u32, text: &str, address: &str| ConfiguredAddress {
        path: "/etc/network/interfaces".into(),
        line,
        text: text.into(),
        address: address.parse().expect("an address"),
    };
    facts.configured_addresses = vec![
        line(12, "netmask 255.255.255.0", "198.51.100.10/24"),
        line(20, "address 198.51.100.10/32", "198.51.100.10/32"),
        line(26, "netmask 255.255.255.0", "10.0.4.7/24"),
    ];
}

/// A container of someone's, in Docker.
pub(super) fn web() -> Container {
    Container { id: "web".into(), program: "nginx:1.27".into(), ..Container::default() }
}

/// All hosts are nodes of one cluster.
pub fn lives(c: &mut Cluster) {
    for kubernetes in c.facts.values_mut().map(|facts| &mut facts.kubernetes) {
        kubernetes.state = ClusterState::Done;
        kubernetes.ca_hash = Some(format!("sha256:{}", "a".repeat(64)));
    }
}

/// The same, but for a host of which nothing is left.
pub fn set_up_anew(c: &mut Cluster, host: &str) {
    lives(c);
    c.facts.get_mut(host).expect("a host").kubernetes = Default::default();
}

/// A host that comes to a living cluster stands before its control plane.
pub fn new_one_first(c: &mut Cluster) {
    set_up_anew(c, "node01");
    c.inventory.hosts[1].roles = c.inventory.hosts[0].roles.clone();
    c.inventory.hosts.swap(0, 1);
}

/// Of those that belonged to the lost cluster none is a node any more.
pub fn all_given_back(c: &mut Cluster) {
    set_up_anew(c, "master01");
    c.facts.values_mut().for_each(|facts| facts.kubernetes.ca_hash = None);
}

/// Nothing is left on the second control plane nor on a worker, and the API has both.
pub fn further_one_anew(c: &mut Cluster) {
    lives(c);
    c.inventory.hosts[1].roles = c.inventory.hosts[0].roles.clone();
    c.nodes = c.inventory.hosts.iter().map(|host| host.name.clone()).collect();
    for host in ["node01", "node02"] {
        c.facts.get_mut(host).expect("a host").kubernetes = Default::default();
    }
}
