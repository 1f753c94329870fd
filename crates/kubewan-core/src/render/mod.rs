//! Bytes for hosts: pure functions from what was decided to the text of files and manifests.

pub mod containerd;
pub mod flannel;
pub mod kubeadm;
pub mod names;
pub mod unit;

use serde_json::{Map, Value};

/// Lays `over` on `base`: maps are merged key by key, everything else is replaced.
pub fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(there)), Value::Object(value)) => merge(there, value),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A `json!` object as a map.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("not an object: {other}"),
    }
}
