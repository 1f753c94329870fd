//! What the living cluster was built from, and what of a changed inventory can't be honoured on it yet.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Backend, Inventory, NetworkMode, Role};
use crate::finding::Finding;

/// Kept in the cluster (ConfigMap `kube-system/kubewan`), so that the cluster itself says what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// Format of the record, 1.
    pub format: u32,
    /// The cluster's name.
    pub name: String,
    /// Kubernetes' version.
    pub kubernetes: String,
    /// The network mode in force.
    pub mode: NetworkMode,
    /// flannel's backend in force.
    pub backend: Backend,
    /// The pods' subnet.
    pub pod_subnet: Ipv4Net,
    /// The Services' subnet.
    pub service_subnet: Ipv4Net,
    /// The DNS domain.
    pub dns_domain: String,
    /// Hosts by name.
    pub hosts: BTreeMap<String, RecordedHost>,
}

/// A host of a living cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedHost {
    /// Its public address.
    pub address: Ipv4Addr,
    /// Its roles.
    pub roles: Vec<Role>,
}

impl Recorded {
    /// What is recorded of an inventory whose addresses are resolved.
    pub fn of(inventory: &Inventory, addresses: &BTreeMap<String, Ipv4Addr>) -> Self {
        let network = &inventory.network;
        let hosts = inventory
            .hosts
            .iter()
            .map(|host| {
                let address = addresses.get(&host.name).copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
                (host.name.clone(), RecordedHost { address, roles: host.roles.clone() })
            })
            .collect();
        Recorded {
            format: 1,
            name: inventory.name.clone(),
            kubernetes: inventory.kubernetes.version.clone(),
            mode: network.mode,
            backend: network.backend,
            pod_subnet: network.pod_subnet,
            service_subnet: network.service_subnet,
            dns_domain: network.dns_domain.clone(),
            hosts,
        }
    }
}

/// Differences between a living cluster and a changed inventory that a run can't carry out yet. Each is said;
/// none is ignored.
pub fn compare_with_living(old: &Recorded, new: &Inventory) -> Vec<Finding> {
    let mut findings = Vec::new();
    let network = &new.network;
    let fixed = [
        ("name", old.name.clone(), new.name.clone()),
        ("kubernetes.version", old.kubernetes.clone(), new.kubernetes.version.clone()),
        ("network.mode", format!("{:?}", old.mode), format!("{:?}", network.mode)),
        ("network.backend", format!("{:?}", old.backend), format!("{:?}", network.backend)),
        ("network.podSubnet", old.pod_subnet.to_string(), network.pod_subnet.to_string()),
        (
            "network.serviceSubnet",
            old.service_subnet.to_string(),
            network.service_subnet.to_string(),
        ),
        ("network.dnsDomain", old.dns_domain.clone(), network.dns_domain.clone()),
    ];
    for (key, was, is) in fixed {
        if was != is {
            findings.push(refused(
                "inventory-change-unsupported",
                format!("{key} is {was} in the living cluster and {is} in the inventory"),
                format!("set {key} back to {was}, or `kubewan reset` and build the cluster anew"),
            ));
        }
    }
    for (name, host) in &old.hosts {
        findings.extend(host_difference(name, host, new));
    }
    findings
}

fn host_difference(name: &str, old: &RecordedHost, new: &Inventory) -> Option<Finding> {
    let Some(host) = new.host(name) else {
        return Some(refused(
            "host-removed",
            format!("host {name} is part of the living cluster and no longer in the inventory"),
            format!(
                "put {name} back; taking a node out of a cluster comes with a later version of kubewan"
            ),
        ));
    };
    if host.is_control_plane() != old.roles.contains(&Role::ControlPlane) {
        return Some(refused(
            "role-changed",
            format!("host {name} changes between control plane and worker"),
            "set its roles back; that needs the host to leave and join again".into(),
        ));
    }
    match host.address.parse::<Ipv4Addr>() {
        Ok(address) if address != old.address => Some(refused(
            "address-changed",
            format!(
                "host {name} has the address {} in the living cluster and {address} in the inventory",
                old.address
            ),
            format!(
                "set it back to {}; moving a node to another address comes with a later version",
                old.address
            ),
        )),
        _ => None,
    }
}

fn refused(code: &str, message: String, remedy: String) -> Finding {
    Finding::error(code, "", message, remedy).for_cluster()
}
