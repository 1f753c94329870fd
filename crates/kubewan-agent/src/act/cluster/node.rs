//! Labels, annotations and taints of a node.

use std::collections::BTreeMap;
use std::time::Duration;

use kubewan_core::action::cluster::{Managed, NodeSeen};
use kubewan_core::action::{NodeMeta, Observed};
use kubewan_core::inventory::Taint;
use serde_json::{Map, Value, json};

use super::super::{Host, Performing};
use super::{Answer, admin, ask, change, parse, tolerate, wait_for};

/// How long a node that has just joined may take to appear.
const APPEARS: Duration = Duration::from_secs(60);

/// Tries of a patch that another writer came before.
const CONFLICTS: u32 = 5;

/// A node as the API has it.
pub(super) fn get(host: &Host, name: &str) -> Result<Option<Value>, String> {
    let program = admin(host).args(["get", "node", name, "-o", "json", "--ignore-not-found"]);
    let answer = ask(host, &program).map_err(|e| format!("can't look at node {name}: {e}"))?;
    Ok(answer.object())
}

/// A node as a question of `kubectl get -f`.
pub(super) fn named(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } })
}

/// Looks at a node.
///
/// # Errors
/// Fails where the API does not answer although it should.
pub fn observe_node_meta(goal: &NodeMeta, host: &Host) -> Result<NodeSeen, String> {
    Ok(get(host, &goal.node)?.as_ref().map(seen).unwrap_or_default())
}

pub(crate) fn seen(node: &Value) -> NodeSeen {
    NodeSeen {
        exists: true,
        labels: strings(&node["metadata"]["labels"]),
        annotations: strings(&node["metadata"]["annotations"]),
        taints: taints(node)
            .iter()
            .filter_map(|t| serde_json::from_value(t.clone()).ok())
            .collect(),
    }
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Taints without the time they were added at, which the inventory does not know.
fn taints(node: &Value) -> Vec<Value> {
    let list = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    list.into_iter()
        .map(|mut taint| {
            if let Some(fields) = taint.as_object_mut() {
                fields.remove("timeAdded");
            }
            taint
        })
        .collect()
}

/// Sets all of it in one patch, so that a label that gates a DaemonSet never comes before the annotation
/// that its pods read once.
///
/// # Errors
/// What the API answered, or that there is no such node.
pub fn perform_node_meta(
    goal: &NodeMeta,
    _seen: &NodeSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..CONFLICTS {
        let host = cx.host;
        let node = wait_for(APPEARS, Duration::from_secs(1), || tolerate(get(host, &goal.node)))?;
        let Some(node) = node else {
            return Err(format!(
                "can't mark node {}: the API knows no such node after {} s. Look at its kubelet: \
                 `journalctl -u kubelet` on that host",
                goal.node,
                APPEARS.as_secs()
            ));
        };
        let patch = patch(goal, &node).to_string();
        let change_node = ["patch", "node", &goal.node, "-o", "json", "--type=merge", "-p"];
        let program = admin(cx.host).args(change_node).arg(patch);
        match change(&program, cx) {
            Ok(output) => {
                let node = parse(&output.stdout).ok().and_then(Answer::object);
                cx.after = node.map(|node| Observed::NodeMeta(seen(&node)));
                return Ok(());
            }
            // The kubelet and the controllers write to nodes all the time.
            Err(error) if error.contains("Conflict") || error.contains("has been modified") => {
                last = error;
            }
            Err(error) => return Err(format!("can't mark node {}: {error}", goal.node)),
        }
    }
    Err(format!("can't mark node {}: someone else changes it each time: {last}", goal.node))
}

/// A merge patch. It replaces lists whole, so it is good for this version of the node only.
pub(crate) fn patch(goal: &NodeMeta, node: &Value) -> Value {
    let dropped = goal.dropped(&seen(node));
    let gone = dropped.labels.iter().map(|key| (key.clone(), Value::Null));
    let labels = goal.labels.iter().map(|(key, value)| (key.clone(), json!(value))).chain(gone);
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), node["metadata"]["resourceVersion"].clone());
    metadata.insert("labels".into(), Value::Object(labels.collect()));
    metadata.insert("annotations".into(), json!(goal.annotations));
    let there = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let wanted = wanted_taints(goal, &dropped, &there);
    let mut patch = json!({ "metadata": metadata });
    if wanted != there {
        patch["spec"] = json!({ "taints": wanted });
    }
    patch
}

/// Taints of others stay; one of ours takes the place of another with its key and effect.
fn wanted_taints(goal: &NodeMeta, dropped: &Managed, there: &[Value]) -> Vec<Value> {
    let same = |taint: &Taint, there: &Value| {
        there["key"] == taint.key.as_str() && there["effect"] == json!(taint.effect)
    };
    let mut wanted: Vec<Value> = there
        .iter()
        .filter(|t| !goal.untainted.iter().any(|key| t["key"] == key.as_str()))
        .filter(|t| {
            !dropped.taints.iter().any(|(k, e)| t["key"] == k.as_str() && t["effect"] == json!(e))
        })
        .filter(|t| !goal.taints.iter().any(|ours| same(ours, t) && !has_value(t, ours)))
        .cloned()
        .collect();
    for taint in &goal.taints {
        if !wanted.iter().any(|t| same(taint, t)) {
            wanted.push(json!(taint));
        }
    }
    wanted
}

fn has_value(there: &Value, taint: &Taint) -> bool {
    there["value"].as_str().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kubewan_core::action::cluster::MANAGED_ANNOTATION;
    use kubewan_core::inventory::TaintEffect;

    use super::*;

    fn node() -> Value {
        json!({
            "metadata": { "resourceVersion": "7", "labels": {"a": "1"}, "annotations": {"b": "2"} },
            "spec": { "taints": [
                {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"},
                {"key": "gpu", "value": "old", "effect": "NoSchedule"},
            ] },
        })
    }

    fn goal() -> NodeMeta {
        NodeMeta {
            node: "n".into(),
            labels: BTreeMap::from([("a".into(), "3".into())]),
            annotations: BTreeMap::new(),
            taints: vec![Taint {
                key: "gpu".into(),
                value: Some("new".into()),
                effect: TaintEffect::NoSchedule,
            }],
            untainted: vec!["node-role.kubernetes.io/control-plane".into()],
        }
    }

    #[test]
    fn reads_a_node() {
        let seen = seen(&node());
        assert!(seen.exists && seen.labels["a"] == "1" && seen.annotations["b"] == "2");
        assert_eq!(seen.taints.len(), 3, "{seen:?}");
    }

    #[test]
    fn one_patch_keeps_what_others_set() {
        assert_eq!(
            patch(&goal(), &node()),
            json!({
                "metadata": { "resourceVersion": "7", "labels": {"a": "3"}, "annotations": {} },
                "spec": { "taints": [
                    {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"},
                    {"key": "gpu", "value": "new", "effect": "NoSchedule"},
                ] },
            })
        );
    }

    #[test]
    fn what_an_inventory_no_longer_says_is_taken_away() {
        let mut node = node();
        let managed = Managed {
            labels: vec!["a".into(), "old".into()],
            taints: vec![("gpu".into(), TaintEffect::NoSchedule)],
        };
        node["metadata"]["labels"]["old"] = json!("1");
        node["metadata"]["annotations"][MANAGED_ANNOTATION] = json!(json!(managed).to_string());
        let goal = NodeMeta { taints: vec![], untainted: vec![], ..goal() };
        let patch = patch(&goal, &node);
        assert_eq!(patch["metadata"]["labels"], json!({"a": "3", "old": null}));
        let keys: Vec<&Value> =
            patch["spec"]["taints"].as_array().unwrap().iter().map(|taint| &taint["key"]).collect();
        assert_eq!(keys, ["node-role.kubernetes.io/control-plane", "node.kubernetes.io/not-ready"]);
    }

    #[test]
    fn taints_that_are_right_are_not_written() {
        let goal = NodeMeta { untainted: vec![], taints: vec![], ..goal() };
        assert!(patch(&goal, &node()).get("spec").is_none());
    }
}
