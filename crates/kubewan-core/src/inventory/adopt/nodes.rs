//! The cluster's nodes: which host each is, and what somebody gave it.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::{LivingNode, Seen, name_of, refusal, said};
use crate::action::KubeadmInit;
use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Role, Taint};
use crate::render::flannel;

fn is_control_plane(node: &Value) -> bool {
    ["control-plane", "master"].iter().any(|role| {
        node["metadata"]["labels"].get(format!("node-role.kubernetes.io/{role}")).is_some()
    })
}

pub(super) fn several(nodes: &[Value], refusals: &mut Vec<Finding>) {
    let names: Vec<String> =
        nodes.iter().filter(|node| is_control_plane(node)).map(name_of).collect();
    if names.len() != 1 {
        let said = format!("it has {} control planes: {}", names.len(), names.join(", "));
        let next = "only clusters with one can be adopted so far";
        refusals.push(refusal("adopt-several-control-planes", said, next));
    }
}

/// The node of each host. Every host has to be one, and every node to be among the hosts.
pub(super) fn matched(
    hosts: &[Seen],
    nodes: &[Value],
    refusals: &mut Vec<Finding>,
) -> Vec<LivingNode> {
    let mut matched = Vec::new();
    let mut taken: Vec<usize> = Vec::new();
    for host in hosts {
        let Some(at) = node_of(host, hosts, nodes).filter(|at| !taken.contains(at)) else {
            refusals.push(Finding::error(
                "adopt-no-node",
                host.name,
                "the cluster has no node that is surely this host",
                "leave it out: hosts that are new come into the inventory once the cluster is adopted",
            ));
            continue;
        };
        taken.push(at);
        matched.push(living_node(&nodes[at]));
    }
    // What a run has begun may have left a node that comes back only when it is finished.
    let is_begun = |host: &Seen| host.facts.own.left.contains_key(KubeadmInit::ADOPTED);
    let is_begun = hosts.iter().any(is_begun);
    for (at, node) in nodes.iter().enumerate() {
        let name = name_of(node);
        if !taken.contains(&at) {
            let said = format!(
                "its node {name} ({}) is none of the hosts that were named",
                internal_ip(node)
            );
            refusals.push(refusal("adopt-host-missing", said, "name all hosts of the cluster"));
        }
        let addresses: Vec<&str> = internal_ips(node).collect();
        if addresses.len() > 1 {
            let said = format!("its node {name} has several InternalIPs: {}", addresses.join(", "));
            let next =
                "kubewan keeps clusters of IPv4 alone: it gives a kubelet one address (--node-ip)";
            refusals.push(refusal("adopt-subnets", said, next));
        }
        let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
        let is_ready = |each: &Value| each["type"] == "Ready" && each["status"] == "True";
        if !is_begun && !conditions.is_some_and(|all| all.iter().any(is_ready)) {
            let said = format!("its node {name} is not ready");
            let next = "mend it first: what is healthy is taken over as it is";
            refusals.push(refusal("adopt-not-ready", said, next));
        }
    }
    matched
}

fn internal_ips(node: &Value) -> impl Iterator<Item = &str> {
    let addresses =
        node.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let internal = addresses.filter(|address| address["type"] == "InternalIP");
    internal.filter_map(|address| address["address"].as_str())
}

fn internal_ip(node: &Value) -> &str {
    internal_ips(node).next().unwrap_or_default()
}

/// A node is a host's by the address that it was named by, by its machine's id, its name, or an address of its own: by the
/// first of these that is one node's alone, and no other host's.
fn node_of(host: &Seen, hosts: &[Seen], nodes: &[Value]) -> Option<usize> {
    let carries = |facts: &Facts, ip: &str| {
        ip.parse::<Ipv4Addr>().is_ok_and(|ip| facts.interface_with(ip).is_some())
    };
    type Same<'a> = &'a dyn Fn(&Seen, &Value) -> bool;
    let ways: [Same; 4] = [
        &|host, node| internal_ip(node) == host.address,
        &|host, node| {
            let id = said(node, "/status/nodeInfo/machineID");
            !id.is_empty() && id == host.facts.machine_id
        },
        &|host, node| name_of(node) == host.facts.hostname,
        &|host, node| carries(host.facts, internal_ip(node)),
    ];
    ways.iter().find_map(|is| {
        let mut found = nodes.iter().enumerate().filter(|(_, node)| is(host, node));
        let (at, node) = found.next()?;
        let is_only =
            found.next().is_none() && hosts.iter().filter(|other| is(other, node)).count() == 1;
        is_only.then_some(at)
    })
}

fn living_node(node: &Value) -> LivingNode {
    let taints: Vec<Taint> = node
        .pointer("/spec/taints")
        .and_then(|taints| serde_json::from_value::<Vec<Value>>(taints.clone()).ok())
        .into_iter()
        .flatten()
        .filter_map(|mut taint| {
            // When it came is nothing of an inventory's.
            taint.as_object_mut()?.remove("timeAdded");
            serde_json::from_value(taint).ok()
        })
        .collect();
    let of_role = |taint: &Taint| taint.key.starts_with("node-role.kubernetes.io/");
    let works = !taints.iter().any(of_role);
    let roles = match (is_control_plane(node), works) {
        (true, true) => vec![Role::ControlPlane, Role::Worker],
        (true, false) => vec![Role::ControlPlane],
        (false, _) => vec![Role::Worker],
    };
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.filter(|(key, _)| !is_systems(key));
    let annotation = |name: &str| {
        let value = node.pointer("/metadata/annotations").and_then(|all| all.get(name)?.as_str());
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    LivingNode {
        name: name_of(node),
        address: internal_ip(node).to_owned(),
        roles,
        labels: labels
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        taints: taints.into_iter().filter(|taint| !is_systems(&taint.key)).collect(),
        overwrite: annotation(flannel::OVERWRITE_ANNOTATION),
        announced: annotation(flannel::ANNOUNCED_ANNOTATION),
    }
}

/// Keys of labels and taints that Kubernetes, flannel or kubewan set themselves.
fn is_systems(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    ["kubernetes.io", "k8s.io", "coreos.com"]
        .iter()
        .any(|own| domain == *own || domain.ends_with(&format!(".{own}")))
        || domain == "kubewan"
}
