//! What `kubectl get` prints: nodes and pods with their columns, everything else by name and age.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::value::{self, at, list, text};

/// How long ago, as Kubernetes prints ages.
pub fn age(then: &str) -> String {
    let Some(then) = value::time(then) else { return "<unknown>".into() };
    let seconds = (OffsetDateTime::now_utc() - then).whole_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{}m{}s", seconds / 60, seconds % 60),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A node's status as one word.
pub fn node_status(node: &Value) -> String {
    let ready = list(node, "status.conditions").iter().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| text(c, "status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if at(node, "spec.unschedulable") == &Value::Bool(true) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_cells(node: &Value) -> Vec<Value> {
    let address = |kind: &str| {
        let found = list(node, "status.addresses").iter().find(|a| a["type"] == kind);
        found.map_or("<none>", |a| text(a, "address")).to_owned()
    };
    let labels = at(node, "metadata.labels").as_object();
    let role =
        |l: (&String, &Value)| l.0.strip_prefix("node-role.kubernetes.io/").map(str::to_owned);
    let mut roles: Vec<String> = labels.into_iter().flatten().filter_map(role).collect();
    roles.sort();
    let roles = if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") };
    let info = |name: &str| text(node, &format!("status.nodeInfo.{name}")).to_owned();
    let cells = [
        node_status(node),
        roles,
        age(text(node, "metadata.creationTimestamp")),
        info("kubeletVersion"),
    ];
    let wide = [
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ];
    cells.into_iter().chain(wide).map(Value::from).collect()
}

fn pod_cells(pod: &Value) -> Vec<Value> {
    let statuses = list(pod, "status.containerStatuses");
    let ready = statuses.iter().filter(|s| s["ready"] == true).count();
    let restarts: u64 = statuses.iter().filter_map(|s| s["restartCount"].as_u64()).sum();
    let or = |path: &str| {
        if text(pod, path).is_empty() { "<none>".to_owned() } else { text(pod, path).to_owned() }
    };
    let cells = [
        format!("{ready}/{}", list(pod, "spec.containers").len()),
        or("status.phase"),
        restarts.to_string(),
        age(text(pod, "metadata.creationTimestamp")),
        or("status.podIP"),
        or("spec.nodeName"),
    ];
    cells.into_iter().map(Value::from).collect()
}

const NODES: [(&str, u8); 9] = [
    ("Status", 0),
    ("Roles", 0),
    ("Age", 0),
    ("Version", 0),
    ("Internal-IP", 1),
    ("External-IP", 1),
    ("OS-Image", 1),
    ("Kernel-Version", 1),
    ("Container-Runtime", 1),
];
const PODS: [(&str, u8); 6] =
    [("Ready", 0), ("Status", 0), ("Restarts", 0), ("Age", 0), ("IP", 1), ("Node", 1)];

/// A table of objects of one resource.
pub fn table(plural: &str, objects: &[Value], revision: &str) -> Value {
    let columns: &[(&str, u8)] = match plural {
        "nodes" => &NODES,
        "pods" => &PODS,
        _ => &[("Age", 0)],
    };
    let column = |(name, priority): &(&str, u8)| json!({"name": name, "type": "string", "format": "", "description": "", "priority": priority});
    let mut definitions = vec![
        json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}),
    ];
    definitions.extend(columns.iter().map(column));
    let row = |object: &Value| {
        let mut cells = vec![at(object, "metadata.name").clone()];
        cells.extend(match plural {
            "nodes" => node_cells(object),
            "pods" => pod_cells(object),
            _ => vec![age(text(object, "metadata.creationTimestamp")).into()],
        });
        let partial = json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]
        });
        json!({"cells": cells, "object": partial})
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": revision},
        "columnDefinitions": definitions, "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}
