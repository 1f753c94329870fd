//! What hosts may look like, for the cases.

use super::Cluster;
use crate::action::docker::DockerEngineSeen;
use crate::facts::{ClusterState, Container, Facts, InterfaceAddress, StuckInit};

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

/// A container of someone's, in Docker.
pub(super) fn web() -> Container {
    Container { id: "web".into(), program: "nginx:1.27".into(), ..Container::default() }
}
