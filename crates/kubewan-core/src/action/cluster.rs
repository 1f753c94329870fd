//! Goals inside the cluster, reached through a control-plane host's own kubectl.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Change, ChangeKind};
use crate::inventory::{Taint, TaintEffect};

/// An object of the API, server-side applied under the field manager `kubewan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The manifest: only the fields that kubewan owns.
    pub manifest: Value,
}

/// An object as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSeen {
    /// The live object; `None` where there is none, or no API yet.
    pub live: Option<Value>,
}

impl Object {
    /// `Kind namespace/name`.
    pub fn subject(&self) -> String {
        let text = |pointer: &str| {
            self.manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
        };
        let name = text("/metadata/name");
        match text("/metadata/namespace") {
            "" => format!("{} {name}", text("/kind")),
            namespace => format!("{} {namespace}/{name}", text("/kind")),
        }
    }

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &ObjectSeen) -> Option<Change> {
        let Some(live) = &seen.live else {
            return Some(Change::new(ChangeKind::Create, format!("apply {}", self.subject())));
        };
        let mut details = Vec::new();
        missing_from(&self.manifest, live, "", &mut details);
        (!details.is_empty()).then(|| {
            Change::new(ChangeKind::Update, format!("apply {}", self.subject()))
                .with_details(details)
        })
    }
}

/// Collects what of `wanted` is not in `live`. Maps are compared by the keys that are wanted, lists element
/// by element: the server fills in defaults that are nobody's change.
fn missing_from(wanted: &Value, live: &Value, path: &str, out: &mut Vec<String>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                match live.get(key) {
                    Some(there) => missing_from(value, there, &format!("{path}.{key}"), out),
                    // The server drops empty collections and empty values.
                    None if is_empty(value) => {}
                    None => out.push(format!("{path}.{key}: {value}")),
                }
            }
        }
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            for (index, (wanted, live)) in wanted.iter().zip(live).enumerate() {
                missing_from(wanted, live, &format!("{path}[{index}]"), out);
            }
        }
        (wanted, live) if wanted == live => {}
        (wanted, live) => out.push(format!("{path}: {live} -> {wanted}")),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// Labels, annotations and taints of a node. Set in one patch, so that a label that gates a DaemonSet never
/// comes before the annotation it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMeta {
    /// The node's name.
    pub node: String,
    /// Labels it has.
    pub labels: BTreeMap<String, String>,
    /// Annotations it has.
    pub annotations: BTreeMap<String, String>,
    /// Taints it has.
    pub taints: Vec<Taint>,
    /// Keys of taints it has not.
    pub untainted: Vec<String>,
}

/// A node as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSeen {
    /// The API knows it.
    pub exists: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
}

/// The annotation by which a node itself tells what of it came from an inventory: what is taken out of the inventory
/// goes from the node too, and what others gave it stays.
pub const MANAGED_ANNOTATION: &str = "kubewan/managed";

/// What of a node came from an inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// Keys of labels.
    pub labels: Vec<String>,
    /// Taints without their values.
    pub taints: Vec<(String, TaintEffect)>,
}

impl Managed {
    /// The value of [`MANAGED_ANNOTATION`] for labels and taints of an inventory.
    pub fn annotation(labels: &BTreeMap<String, String>, taints: &[Taint]) -> String {
        let managed = Managed {
            labels: labels.keys().cloned().collect(),
            taints: taints.iter().map(|taint| (taint.key.clone(), taint.effect)).collect(),
        };
        serde_json::to_string(&managed).unwrap_or_else(|e| unreachable!("plain data: {e}"))
    }

    /// What a node says; one that says nothing, or nothing that makes sense, has nothing of ours.
    fn of(seen: &NodeSeen) -> Managed {
        let said = seen.annotations.get(MANAGED_ANNOTATION);
        said.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

impl NodeMeta {
    /// Labels and taints that an earlier inventory gave the node and this one doesn't.
    pub fn dropped(&self, seen: &NodeSeen) -> Managed {
        let mut managed = Managed::of(seen);
        managed
            .labels
            .retain(|key| !self.labels.contains_key(key) && seen.labels.contains_key(key));
        managed.taints.retain(|(key, effect)| {
            let is = |taint: &Taint| taint.key == *key && taint.effect == *effect;
            !self.taints.iter().any(is) && seen.taints.iter().any(is)
        });
        managed
    }

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &NodeSeen) -> Option<Change> {
        let mut details = Vec::new();
        for (what, wanted, there) in [
            ("label", &self.labels, &seen.labels),
            ("annotation", &self.annotations, &seen.annotations),
        ] {
            for (key, value) in wanted {
                if there.get(key) != Some(value) {
                    details.push(format!("{what} {key}={value}"));
                }
            }
        }
        for taint in &self.taints {
            if !seen.taints.contains(taint) {
                let value = taint.value.as_deref().unwrap_or_default();
                details.push(format!("taint {}={value}:{:?}", taint.key, taint.effect));
            }
        }
        let dropped = self.dropped(seen);
        details.extend(dropped.labels.iter().map(|key| format!("remove label {key}")));
        for (key, effect) in &dropped.taints {
            details.push(format!("remove taint {key}:{effect:?}"));
        }
        for key in &self.untainted {
            if seen.taints.iter().any(|taint| &taint.key == key) {
                details.push(format!("remove taint {key}"));
            }
        }
        (!details.is_empty()).then(|| {
            Change::new(ChangeKind::Update, format!("mark node {}", self.node))
                .with_details(details)
        })
    }
}

#[cfg(test)]
mod node_tests {
    use super::*;

    #[test]
    fn what_leaves_the_inventory_leaves_the_node() {
        let strings = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
        };
        let taint =
            |key: &str| Taint { key: key.into(), value: None, effect: TaintEffect::NoSchedule };
        let (labels, taints) = (strings(&[("disk", "ssd"), ("zone", "a")]), [taint("gpu")]);
        let seen = NodeSeen {
            exists: true,
            labels: strings(&[("disk", "ssd"), ("zone", "a"), ("theirs", "x")]),
            annotations: strings(&[(MANAGED_ANNOTATION, &Managed::annotation(&labels, &taints))]),
            taints: vec![taint("gpu"), taint("theirs")],
        };
        let goal = NodeMeta {
            node: "n".into(),
            labels: strings(&[("zone", "a")]),
            annotations: BTreeMap::new(),
            taints: Vec::new(),
            untainted: Vec::new(),
        };
        let change = goal.diff(&seen).expect("a change");
        assert_eq!(change.details, ["remove label disk", "remove taint gpu:NoSchedule"]);
        let after = NodeSeen {
            labels: strings(&[("zone", "a"), ("theirs", "x")]),
            taints: vec![taint("theirs")],
            ..seen
        };
        assert_eq!(goal.diff(&after), None);
    }
}

/// The public address that flannel announces for a node. flannel reads `public-ip-overwrite` once, when it
/// starts (`pkg/subnet/kube/kube.go`, AcquireLease), so a node whose pod came first has to start it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The node's name.
    pub node: String,
    /// The address that other nodes must send to.
    pub address: Ipv4Addr,
    /// Seconds to wait for flannel's first announcement.
    pub timeout_s: u64,
}

/// What flannel announces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedSeen {
    /// The annotation `flannel.alpha.coreos.com/public-ip`; `None` where it was not announced yet.
    pub address: Option<String>,
}

impl Announced {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &AnnouncedSeen) -> Option<Change> {
        match &seen.address {
            Some(address) if *address == self.address.to_string() => None,
            Some(address) => Some(Change::new(
                ChangeKind::Update,
                format!(
                    "restart flannel on {}: it announces {address}, not {}",
                    self.node, self.address
                ),
            )),
            None => Some(Change::new(
                ChangeKind::Run,
                format!("wait until flannel announces {} for {}", self.address, self.node),
            )),
        }
    }
}

/// Pods of a Deployment on different nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The Deployment's namespace.
    pub namespace: String,
    /// Its name.
    pub deployment: String,
    /// Label selector of its pods, as `k8s-app=kube-dns`.
    pub selector: String,
    /// On at least so many nodes.
    pub nodes: u32,
    /// Seconds to wait for moved pods.
    pub timeout_s: u64,
}

/// Where a Deployment's pods are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadSeen {
    /// Pods with their node, those that go away left out.
    pub pods: Vec<(String, String)>,
    /// No pod exists because nothing schedules here (rehearsal).
    pub unscheduled: bool,
}

impl Spread {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &SpreadSeen) -> Option<Change> {
        if seen.unscheduled {
            return None;
        }
        let mut nodes: Vec<&str> =
            seen.pods.iter().map(|(_, node)| node.as_str()).filter(|n| !n.is_empty()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        // Of one pod alone there is nothing to spread: whoever wants one has one.
        let wanted = match seen.pods.len() {
            0 => self.nodes as usize,
            pods => pods.min(self.nodes as usize),
        };
        (nodes.len() < wanted).then(|| {
            Change::new(
                ChangeKind::Update,
                format!("spread {}/{} over {} nodes", self.namespace, self.deployment, self.nodes),
            )
            .with_details(vec![format!(
                "now on {}",
                if nodes.is_empty() { "none".into() } else { nodes.join(", ") }
            )])
        })
    }
}
