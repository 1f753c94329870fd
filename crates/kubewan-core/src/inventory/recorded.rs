//! What a living cluster was built from, as its ConfigMap `kube-system/kubewan` keeps it, and what of a
//! changed inventory a later `up` cannot honour yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Backend, Inventory, NetworkMode, Role, RuntimeKind};
use crate::finding::Finding;

/// The parts of an inventory that a cluster cannot change while it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// Version of this record.
    pub format: u32,
    /// The cluster's name.
    pub name: String,
    /// Kubernetes' version.
    pub kubernetes_version: String,
    /// What runs the containers. Records of older kubewans do not say it: there was containerd alone.
    #[serde(default)]
    pub runtime: RuntimeKind,
    /// How hosts find each other.
    pub network_mode: NetworkMode,
    /// How pod traffic crosses the Internet.
    pub backend: Backend,
    /// Addresses of pods.
    pub pod_subnet: Ipv4Net,
    /// Addresses of Services.
    pub service_subnet: Ipv4Net,
    /// The cluster's DNS domain.
    pub dns_domain: String,
    /// The host that ran `kubeadm init`.
    pub first_control_plane: String,
    /// Where the API of a cluster is found that somebody made by hand; `None`: kubewan made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<String>,
    /// SHA-256 of free settings in force, by their key in the inventory. Records of older kubewans have none, and then
    /// nothing is compared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The hosts by name.
    pub hosts: BTreeMap<String, RecordedHost>,
}

/// One host of a living cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedHost {
    /// As the inventory gives it.
    pub address: String,
    /// The IPv4 address behind it when the cluster was built; `None`: not resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// What it does.
    pub roles: Vec<Role>,
    /// Names of the kubelet's arguments that some inventory gave it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kubelet_args: BTreeSet<String>,
}

/// What a later `up` cannot honour, where DNS names were not resolved. [`Recorded::refusals`] compares what they
/// resolve to as well.
pub fn compare_with_living(old: &Recorded, new: &Inventory) -> Vec<Finding> {
    old.refusals(&Recorded::of(new, &BTreeMap::new()))
}

impl Recorded {
    /// The version of the record that this kubewan writes.
    pub const FORMAT: u32 = 1;

    /// What to record of an inventory. `addresses`: the IPv4 address of each host by name, where it is a DNS
    /// name that was resolved.
    pub fn of(inventory: &Inventory, addresses: &BTreeMap<String, Ipv4Addr>) -> Recorded {
        let network = &inventory.network;
        let host = |host: &super::Host| RecordedHost {
            address: host.address.clone(),
            ip: addresses.get(&host.name).copied().or_else(|| host.address.parse().ok()),
            roles: host.roles.clone(),
            kubelet_args: host.kubelet_args.keys().cloned().collect(),
        };
        Recorded {
            format: Recorded::FORMAT,
            name: inventory.name.clone(),
            kubernetes_version: inventory.kubernetes.version.clone(),
            runtime: inventory.runtime.kind,
            network_mode: network.mode,
            backend: network.backend,
            pod_subnet: network.pod_subnet,
            service_subnet: network.service_subnet,
            dns_domain: network.dns_domain.clone(),
            first_control_plane: inventory.first_control_plane().name.clone(),
            adopted: inventory.adopt.as_ref().map(|adopt| adopt.endpoint.clone()),
            settings: settings(inventory),
            hosts: inventory.hosts.iter().map(|each| (each.name.clone(), host(each))).collect(),
        }
    }

    /// What of `new` cannot be honoured by a cluster that was built from `self`. New workers can; free settings of
    /// Kubernetes are passed over with a warning.
    pub fn refusals(&self, new: &Recorded) -> Vec<Finding> {
        if self.format > new.format {
            let message = format!(
                "the cluster's record has format {}, this kubewan knows up to {}",
                self.format, new.format
            );
            let remedy = "use the kubewan that built the cluster, or a later one";
            return vec![cluster("record-too-new", message, remedy)];
        }
        let mut findings = self.cluster_refusals(new);
        findings.extend(self.settings_kept(new));
        for (name, old) in &self.hosts {
            match new.hosts.get(name) {
                Some(new) => findings.extend(old.refusals(name, new)),
                None => findings.push(Finding::error(
                    "host-removed",
                    name,
                    format!("{name} is a node of the cluster and no longer in the inventory"),
                    "removing a node comes later: put the host back into `hosts`",
                )),
            }
        }
        findings
    }

    fn cluster_refusals(&self, new: &Recorded) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ((code, key, old), (_, _, new)) in self.fixed().into_iter().zip(new.fixed()) {
            if old != new {
                let message =
                    format!("the cluster was built with `{key}: {old}`, the inventory says {new}");
                findings.push(cluster(code, message, self.remedy(key, &old)));
            }
        }
        let (old, new) = (&self.first_control_plane, &new.first_control_plane);
        if old != new {
            let message =
                format!("{old} is the cluster's first control plane, the inventory now says {new}");
            let remedy = format!("put {old} before all other control planes");
            findings.push(cluster("first-control-plane-changed", message, remedy));
        }
        findings
    }

    /// Settings that the inventory has otherwise now, and that nodes do not get while they live.
    fn settings_kept(&self, new: &Recorded) -> Option<Finding> {
        let changed: Vec<String> = self
            .settings
            .iter()
            .filter(|(key, old)| new.settings.get(*key).is_some_and(|new| new != *old))
            .map(|(key, _)| format!("`{key}`"))
            .collect();
        let message = format!(
            "{} changed since the cluster was built; it keeps the settings that it was built with",
            changed.join(", ")
        );
        let remedy = match self.adopted {
            Some(_) => "changing them comes later: put them back as they were",
            None => {
                "changing them comes later: put them back as they were, or `kubewan reset` and build anew"
            }
        };
        (!changed.is_empty())
            .then(|| Finding::warning("settings-changed", "", message, remedy).for_cluster())
    }

    fn remedy(&self, key: &str, old: &str) -> String {
        let how = match key {
            "kubernetes.version" => "upgrades come later".to_owned(),
            "name" => "a cluster keeps its name, which is in its certificates".to_owned(),
            _ => format!("changing `{key}` of a living cluster comes later"),
        };
        match self.adopted {
            // Nobody but those who made it can make it anew.
            Some(_) => format!("{how}: put `{key}: {old}` back"),
            None => format!("{how}: put `{key}: {old}` back, or `kubewan reset` and build anew"),
        }
    }

    /// What stays as it was built: the finding's code, the key in the inventory, and the value as written there.
    fn fixed(&self) -> [(&'static str, &'static str, String); 9] {
        [
            ("name-changed", "name", self.name.clone()),
            ("version-changed", "kubernetes.version", self.kubernetes_version.clone()),
            ("runtime-changed", "runtime.kind", word(&self.runtime)),
            ("network-mode-changed", "network.mode", word(&self.network_mode)),
            ("backend-changed", "network.backend", word(&self.backend)),
            ("pod-subnet-changed", "network.podSubnet", self.pod_subnet.to_string()),
            ("service-subnet-changed", "network.serviceSubnet", self.service_subnet.to_string()),
            ("dns-domain-changed", "network.dnsDomain", self.dns_domain.clone()),
            (
                "adopt-changed",
                "adopt.endpoint",
                self.adopted.clone().unwrap_or_else(|| "(none)".to_owned()),
            ),
        ]
    }
}

impl RecordedHost {
    fn refusals(&self, name: &str, new: &RecordedHost) -> Vec<Finding> {
        let mut findings = Vec::new();
        let same_address = match (self.ip, new.ip) {
            (Some(old), Some(new)) => old == new,
            _ => self.address.eq_ignore_ascii_case(&new.address),
        };
        if !same_address {
            let message = format!(
                "{name} joined the cluster with the address {}, the inventory says {}",
                self.shown(),
                new.shown()
            );
            let remedy = "moving a node to another address comes later: put the old one back";
            findings.push(Finding::error("address-changed", name, message, remedy));
        }
        if self.is_control_plane() != new.is_control_plane() {
            let was = if self.is_control_plane() { "a control plane" } else { "a worker" };
            let message = format!("{name} was built as {was}, the inventory says otherwise");
            let remedy = "changing it comes later: put the role back as it was";
            findings.push(Finding::error("role-changed", name, message, remedy));
        }
        let left: Vec<String> =
            self.kubelet_args.difference(&new.kubelet_args).map(|arg| format!("--{arg}")).collect();
        if !left.is_empty() {
            let message = format!(
                "{} left `kubeletArgs` of the inventory, and its kubelet keeps what it was given",
                left.join(", ")
            );
            let remedy = "say the kubelet's default in `kubeletArgs`, which is carried out";
            findings.push(Finding::warning("settings-changed", name, message, remedy));
        }
        findings
    }

    fn is_control_plane(&self) -> bool {
        self.roles.contains(&Role::ControlPlane)
    }

    /// The address as written, with what it resolved to.
    fn shown(&self) -> String {
        match self.ip {
            Some(ip) if ip.to_string() != self.address => format!("{} ({ip})", self.address),
            _ => self.address.clone(),
        }
    }
}

/// The hash of each block of free settings that kubeadm hands on once, when a cluster is built or a host joins.
pub(super) fn settings(inventory: &Inventory) -> BTreeMap<String, String> {
    let kubernetes = &inventory.kubernetes;
    let kubeadm = &kubernetes.kubeadm;
    [
        ("kubernetes.kubelet", json!(kubernetes.kubelet)),
        ("kubernetes.kubeProxy", json!(kubernetes.kube_proxy)),
        ("kubernetes.kubeadm", json!([kubeadm.cluster, kubeadm.init, kubeadm.join])),
        ("kubernetes.imageRepository", json!(&*kubernetes.image_repository)),
    ]
    .map(|(key, value)| (key.to_owned(), hash(&value)))
    .into()
}

/// What is kept of free settings.
pub(super) fn hash(value: &serde_json::Value) -> String {
    crate::sha256_hex(value.to_string().as_bytes())
}

/// A word as the inventory writes it.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

fn cluster(code: &str, message: String, remedy: impl Into<String>) -> Finding {
    Finding::error(code, "", message, remedy).for_cluster()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn codes(change: impl Fn(&mut Inventory)) -> Vec<String> {
        let old = samples::inventory(3);
        let mut new = old.clone();
        change(&mut new);
        let recorded = Recorded::of(&old, &samples::addresses(&old));
        compare_with_living(&recorded, &new).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn what_stays_the_same_is_honoured_and_so_is_a_new_worker() {
        assert!(codes(|_| {}).is_empty());
        let added = codes(|new| {
            let host = super::super::Host {
                name: "node09".into(),
                address: "198.51.100.90".into(),
                ..new.hosts[1].clone()
            };
            new.hosts.push(host);
        });
        assert!(added.is_empty());
    }

    #[test]
    fn every_change_that_cannot_be_honoured_is_said() {
        assert_eq!(codes(|new| new.name = "away".into()), ["name-changed"]);
        assert_eq!(codes(|new| new.kubernetes.version = "1.36.3".into()), ["version-changed"]);
        assert_eq!(codes(|new| new.runtime.kind = RuntimeKind::Docker), ["runtime-changed"]);
        assert_eq!(codes(|new| new.network.backend = Backend::Wireguard), ["backend-changed"]);
        assert_eq!(codes(|new| new.network.dns_domain = "x".into()), ["dns-domain-changed"]);
        let subnet: Ipv4Net = "172.20.0.0/16".parse().expect("a subnet");
        assert_eq!(codes(|new| new.network.pod_subnet = subnet), ["pod-subnet-changed"]);
        assert_eq!(codes(|new| new.network.service_subnet = subnet), ["service-subnet-changed"]);
        assert_eq!(codes(|new| drop(new.hosts.remove(2))), ["host-removed"]);
        assert_eq!(codes(|new| new.hosts[1].address = "192.0.2.1".into()), ["address-changed"]);
        let swapped = codes(|new| {
            let roles = new.hosts[0].roles.clone();
            new.hosts[0].roles = std::mem::replace(&mut new.hosts[1].roles, roles);
        });
        assert_eq!(swapped, ["first-control-plane-changed", "role-changed", "role-changed"]);
    }

    #[test]
    fn settings_that_are_not_carried_out_are_named_unless_the_record_is_old() {
        let old = samples::inventory(2);
        let mut new = old.clone();
        new.kubernetes.kubelet.insert("maxPods".into(), 50.into());
        new.kubernetes.kubeadm.cluster.insert("clusterName".into(), "x".into());
        new.kubernetes.kubeadm.ignore_preflight_errors.push("Mem".into());
        let mut recorded = Recorded::of(&old, &samples::addresses(&old));
        let findings = compare_with_living(&recorded, &new);
        assert_eq!((findings.len(), findings[0].code.as_str()), (1, "settings-changed"));
        assert_eq!(findings[0].severity, crate::finding::Severity::Warning);
        let named = "`kubernetes.kubeadm`, `kubernetes.kubelet` changed";
        assert!(findings[0].message.starts_with(named), "{}", findings[0].message);
        recorded.settings.clear();
        assert!(compare_with_living(&recorded, &new).is_empty());
    }

    #[test]
    fn an_argument_that_left_the_inventory_is_named() {
        let mut old = samples::inventory(2);
        old.hosts[1].kubelet_args.insert("max-pods".into(), "50".into());
        let recorded = Recorded::of(&old, &samples::addresses(&old));
        let mut new = old.clone();
        *new.hosts[1].kubelet_args.get_mut("max-pods").expect("an argument") = "60".into();
        assert!(compare_with_living(&recorded, &new).is_empty(), "a new value is carried out");
        new.hosts[1].kubelet_args.clear();
        let findings = compare_with_living(&recorded, &new);
        assert_eq!((findings.len(), findings[0].code.as_str()), (1, "settings-changed"));
        assert!(findings[0].message.starts_with("--max-pods left"), "{}", findings[0].message);
    }

    #[test]
    fn a_name_for_the_same_address_is_the_same_host() {
        let old = samples::inventory(2);
        let recorded = Recorded::of(&old, &samples::addresses(&old));
        let mut new = old.clone();
        new.hosts[1].address = "vps.example.org".into();
        let resolved = Recorded::of(&new, &samples::addresses(&old));
        assert!(recorded.refusals(&resolved).is_empty());
        assert_eq!(compare_with_living(&recorded, &new)[0].code, "address-changed");
    }

    #[test]
    fn a_record_survives_json_and_a_newer_one_is_refused() {
        let old = samples::inventory(2);
        let recorded = Recorded::of(&old, &samples::addresses(&old));
        let text = serde_json::to_string(&recorded).expect("JSON");
        assert_eq!(serde_json::from_str::<Recorded>(&text).expect("a record"), recorded);
        let newer = Recorded { format: Recorded::FORMAT + 1, ..recorded.clone() };
        assert_eq!(newer.refusals(&recorded)[0].code, "record-too-new");
    }
}
