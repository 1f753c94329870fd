//! What the proof makes in the cluster, and how it reads it back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::HostError;
use crate::fleet::Member;

/// The namespace that everything is in.
pub const NAMESPACE: &str = "kubewan-smoke";

/// The Service's name.
pub const SERVICE: &str = "smoke";

/// The Service's port.
pub const SERVICE_PORT: u16 = 80;

/// The pods' port.
pub const POD_PORT: u16 = 8080;

/// A pod of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// The node it is on.
    pub node: String,
    /// Its address.
    pub ip: String,
    /// Its UID: nobody else has it, so it is the nonce that its answers carry.
    pub uid: String,
    /// It answers.
    pub ready: bool,
}

/// The Service of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its address inside the cluster.
    pub cluster_ip: String,
    /// Its port on every node.
    pub node_port: u16,
}

/// A pod on every node, tainted or not, and a Service before them. There is one DaemonSet per image: hosts of another
/// architecture run another one.
pub fn everywhere(images: &BTreeMap<String, String>) -> Value {
    let mut by_image: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    for (host, image) in images {
        by_image.entry(image).or_default().push(host);
    }
    let mut items = vec![namespace(), service_object()];
    for (index, (image, hosts)) in by_image.into_iter().enumerate() {
        items.push(daemon_set(&format!("{SERVICE}-{index}"), image, &hosts));
    }
    list(items)
}

/// One pod of this image.
pub fn single(image: &str) -> Value {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "image", "namespace": NAMESPACE },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "image", "image": image, "ports": [{ "containerPort": 80 }] }],
        },
    });
    list(vec![namespace(), pod])
}

fn list(items: Vec<Value>) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } })
}

fn service_object() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": SERVICE, "namespace": NAMESPACE },
        "spec": {
            "type": "NodePort",
            "selector": { "app": SERVICE },
            "ports": [{ "port": SERVICE_PORT, "targetPort": POD_PORT }],
        },
    })
}

fn daemon_set(name: &str, image: &str, hosts: &[&String]) -> Value {
    let of_pod = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    // The API takes one value per field here, so there is a term for each host.
    let term = |host: &&String| json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [host] }] });
    let terms: Vec<Value> = hosts.iter().map(term).collect();
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "selector": { "matchLabels": { "app": SERVICE, "set": name } },
            "template": {
                "metadata": { "labels": { "app": SERVICE, "set": name } },
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 0,
                    "tolerations": [{ "operator": "Exists" }],
                    "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": terms,
                    } } },
                    "containers": [{
                        "name": "smoke",
                        "image": image,
                        // It was brought to every node; no registry has it.
                        "imagePullPolicy": "Never",
                        "args": [POD_PORT.to_string()],
                        "env": [
                            { "name": "NONCE", "valueFrom": of_pod("metadata.uid") },
                            { "name": "NODE", "valueFrom": of_pod("spec.nodeName") },
                        ],
                        "readinessProbe": { "httpGet": { "path": "/", "port": POD_PORT }, "periodSeconds": 2 },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "runAsNonRoot": true,
                            "runAsUser": 65534,
                            "capabilities": { "drop": ["ALL"] },
                        },
                    }],
                },
            },
        },
    })
}

/// The pods that are there, those that go away left out.
pub fn pods(member: &mut Member) -> Result<Vec<Pod>, HostError> {
    pods_of(member, NAMESPACE, "")
}

/// The pods of a namespace that a label selector takes, those that go away left out.
pub fn pods_of(
    member: &mut Member,
    namespace: &str,
    selector: &str,
) -> Result<Vec<Pod>, HostError> {
    let list = get(member, "pods", namespace, selector)?;
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let stays = |item: &&Value| item["metadata"]["deletionTimestamp"].is_null();
    Ok(items.iter().filter(stays).map(pod).collect())
}

fn pod(item: &Value) -> Pod {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = item["status"]["conditions"].as_array();
    let is_ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    Pod {
        name: text(&item["metadata"]["name"]),
        node: text(&item["spec"]["nodeName"]),
        ip: text(&item["status"]["podIP"]),
        uid: text(&item["metadata"]["uid"]),
        ready: conditions.is_some_and(|conditions| conditions.iter().any(is_ready)),
    }
}

/// The Service as the API has it.
pub fn service(member: &mut Member) -> Result<Service, HostError> {
    let list = get(member, "services", NAMESPACE, "")?;
    let spec = &list["items"][0]["spec"];
    let node_port = spec["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    match (spec["clusterIP"].as_str(), node_port) {
        (Some(ip), Some(node_port)) => Ok(Service { cluster_ip: ip.into(), node_port }),
        _ => Err(member
            .refused("reading the smoke Service", "it has no ClusterIP or no NodePort".into())),
    }
}

/// Objects of a kind that a label selector takes, as the API has them.
pub fn get(
    member: &mut Member,
    kind: &str,
    namespace: &str,
    selector: &str,
) -> Result<Value, HostError> {
    let args = ["get", kind, "-n", namespace, "--selector", selector, "-o", "json"];
    let output = member.kubectl(&args, None, 30)?;
    let attempted = format!("reading the {kind} of {namespace}");
    if output.code != 0 {
        return Err(member.refused(&attempted, output.stderr));
    }
    serde_json::from_str(&output.stdout)
        .map_err(|error| member.refused(&attempted, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_has_its_own_set() {
        let images = [("a", "x:1"), ("b", "x:2"), ("c", "x:1")];
        let images = images.map(|(host, image)| (host.to_owned(), image.to_owned())).into();
        let list = everywhere(&images);
        let sets: Vec<&Value> =
            list["items"].as_array().unwrap().iter().filter(|i| i["kind"] == "DaemonSet").collect();
        assert_eq!(sets.len(), 2);
        let spec = &sets[0]["spec"]["template"]["spec"];
        let affinity = &spec["affinity"]["nodeAffinity"];
        let terms =
            &affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        assert_eq!(terms[0]["matchFields"][0]["values"][0], "a");
        assert_eq!(terms[1]["matchFields"][0]["values"][0], "c");
    }

    #[test]
    fn pods_are_read() {
        let item = json!({
            "metadata": { "name": "smoke-0-x", "uid": "u-1" },
            "spec": { "nodeName": "node01" },
            "status": { "podIP": "10.244.1.2", "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let pod = pod(&item);
        assert!(pod.ready);
        assert_eq!((pod.node.as_str(), pod.ip.as_str()), ("node01", "10.244.1.2"));
    }
}
