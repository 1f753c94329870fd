//! Bytes for hosts: pure functions from what was decided to the text of files and manifests.

pub mod containerd;
pub mod flannel;
pub mod kubeadm;
pub mod names;
pub mod registry;
pub mod unit;

use serde_json::{Map, Value};

/// Lays `over` on `base`: maps are merged key by key, kubeadm's lists of arguments (v1beta4's `extraArgs`) argument by
/// argument, everything else is replaced.
pub fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(there)), Value::Object(value)) => merge(there, value),
            (Some(Value::Array(there)), Value::Array(value))
                if are_arguments(there) && are_arguments(value) =>
            {
                // A name may come twice: some flags may be given so.
                there.retain(|old| !value.iter().any(|new| new["name"] == old["name"]));
                there.extend(value.iter().cloned());
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// `Arg` in cmd/kubeadm/app/apis/kubeadm/v1beta4/types.go.
fn are_arguments(items: &[Value]) -> bool {
    items.iter().all(|item| item["name"].is_string() && item["value"].is_string())
}

/// A `json!` object as a map.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("not an object: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(base: Value, over: Value) -> Value {
        let mut base = object(base);
        merge(&mut base, &object(over));
        Value::Object(base)
    }

    #[test]
    fn arguments_of_the_user_stand_beside_ours() {
        let ours =
            json!({ "extraArgs": [{ "name": "a", "value": "1" }, { "name": "b", "value": "1" }] });
        let theirs =
            json!({ "extraArgs": [{ "name": "b", "value": "2" }, { "name": "b", "value": "3" }] });
        let both = json!({ "extraArgs": [
            { "name": "a", "value": "1" },
            { "name": "b", "value": "2" },
            { "name": "b", "value": "3" },
        ] });
        assert_eq!(merged(ours, theirs), both);
        assert_eq!(merged(json!({ "x": ["a"] }), json!({ "x": ["b"] })), json!({ "x": ["b"] }));
        let maps = merged(json!({ "x": { "a": 1 } }), json!({ "x": { "b": 2 } }));
        assert_eq!(maps, json!({ "x": { "a": 1, "b": 2 } }));
    }
}
