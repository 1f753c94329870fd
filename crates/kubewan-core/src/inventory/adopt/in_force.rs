//! The record of a cluster that nobody wrote one for: what it was built with, from its own objects. So an inventory that was
//! edited before the first `up` is compared as any later one is.

use serde_json::{Value, json};

use super::{Answers, Living, LivingNode, config_map, in_map, items};
use crate::inventory::recorded::{self, Recorded, RecordedHost};
use crate::inventory::{Inventory, Role, Settings};
use crate::versions::{FORMER_REGISTRY, REGISTRY};

/// The configuration that kubelets were made with, under one of the two names that kubeadm has for it (KEP-2915).
pub(super) fn kubelet(answers: &Answers) -> Value {
    let maps = items(&answers.config_maps).iter();
    let mut names = maps.filter_map(|map| map["metadata"]["name"].as_str());
    let name = match config_map(answers, "kubelet-config") {
        Some(_) => Some("kubelet-config"),
        None => names.find(|name| name.starts_with("kubelet-config-")),
    };
    name.and_then(|name| in_map(answers, name, "kubelet")).unwrap_or_default()
}

pub(super) fn kube_proxy(answers: &Answers) -> Value {
    in_map(answers, "kube-proxy", "config.conf").unwrap_or_default()
}

impl Living {
    /// What it was built with. What its objects don't tell is as the inventory has it: its name for kubewan, and what
    /// kubeadm was told beside.
    pub fn recorded(&self, inventory: &Inventory) -> Recorded {
        let mut settings = recorded::settings(inventory);
        let kubernetes = &inventory.kubernetes;
        for (key, wanted, living) in [
            ("kubernetes.kubelet", &kubernetes.kubelet, &self.kubelet),
            ("kubernetes.kubeProxy", &kubernetes.kube_proxy, &self.kube_proxy),
        ] {
            if !has(living, wanted) {
                settings.insert(key.into(), recorded::hash(living));
            }
        }
        let living = self.image_repository.as_deref().unwrap_or(REGISTRY);
        if own(&kubernetes.image_repository) != own(living) {
            settings.insert("kubernetes.imageRepository".into(), recorded::hash(&json!(living)));
        }
        let first = self.nodes.iter().find(|node| node.roles.contains(&Role::ControlPlane));
        Recorded {
            format: Recorded::FORMAT,
            name: inventory.name.clone(),
            kubernetes_version: self.version.clone(),
            runtime: self.runtime.kind,
            network_mode: self.network.mode,
            backend: self.network.backend,
            pod_subnet: self.network.pod_subnet,
            service_subnet: self.network.service_subnet,
            dns_domain: self.network.dns_domain.clone(),
            first_control_plane: first.map(|node| node.name.clone()).unwrap_or_default(),
            adopted: Some(self.adopt.endpoint.clone()),
            settings,
            hosts: self.nodes.iter().map(|node| (node.name.clone(), host(node))).collect(),
        }
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&LivingNode> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

fn host(node: &LivingNode) -> RecordedHost {
    RecordedHost {
        address: node.address.clone(),
        ip: node.address.parse().ok(),
        roles: node.roles.clone(),
        kubelet_args: Default::default(),
    }
}

/// Whether all that is wanted is so already.
fn has(living: &Value, wanted: &Settings) -> bool {
    fn holds(living: &Value, wanted: &Value) -> bool {
        match (living, wanted) {
            (Value::Object(living), Value::Object(wanted)) => {
                wanted.iter().all(|(key, value)| living.get(key).is_some_and(|of| holds(of, value)))
            }
            (living, wanted) => living == wanted,
        }
    }
    wanted.iter().all(|(key, value)| living.get(key).is_some_and(|of| holds(of, value)))
}

/// Kubernetes' own registry under one of its two names.
fn own(repository: &str) -> &str {
    let repository = repository.trim_end_matches('/');
    if repository == FORMER_REGISTRY { REGISTRY } else { repository }
}
