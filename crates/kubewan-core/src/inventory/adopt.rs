//! The inventory of a cluster that somebody made with kubeadm by hand, written from what is there; or why there can be none.
//! What its API and its hosts say goes in, nothing is asked here.

mod pod_network;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::draft::Draft;
use super::{KubernetesSource, Network, Role, Runtime, RuntimeKind, RuntimeSource, Taint, names};
use crate::facts::{ClusterState, Facts};
use crate::finding::Finding;
use crate::render::kubeadm::API_PORT;
use crate::versions::{RELEASES, Version};

/// `adopt:` which cluster is taken over. Hosts with state of another one are refused as ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adopt {
    /// The pin of its authority, as `kubeadm token create --print-join-command` prints it: `sha256:…`.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub ca: String,
    /// Where its nodes find its API, as `198.51.100.10:6443`: what its certificates are good for.
    #[schemars(length(min = 1))]
    pub endpoint: String,
}

/// A host that was named, with what it says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The name that findings give it.
    pub name: &'a str,
    /// The address that it was named by.
    pub address: &'a str,
    /// What it says.
    pub facts: &'a Facts,
}

/// What the cluster's API says, as kubectl prints it: lists of objects.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// All nodes.
    pub nodes: Value,
    /// The ConfigMaps `kubeadm-config` and `kubewan` of kube-system and `kube-flannel-cfg` of kube-flannel, those that are there.
    pub config_maps: Value,
    /// All DaemonSets.
    pub daemon_sets: Value,
}

impl Answers {
    /// Two answers as one list.
    pub fn together(one: &Value, other: &Value) -> Value {
        let items = [items(one), items(other)].concat();
        json!({ "items": items })
    }
}

/// What the cluster is, in an inventory's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Living {
    /// Its name, where it has one that an inventory can have and that is not everybody's.
    pub name: Option<String>,
    /// Its version.
    pub version: String,
    /// Where its programs came from.
    pub source: KubernetesSource,
    /// The registry of its images.
    pub image_repository: Option<String>,
    /// What runs its containers.
    pub runtime: Runtime,
    /// Its networks.
    pub network: Network,
    /// What it is known by.
    pub adopt: Adopt,
    /// For each host, in the order in which they were given: its node.
    pub nodes: Vec<LivingNode>,
}

/// A node of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LivingNode {
    /// Its name.
    pub name: String,
    /// The address that the cluster knows it by.
    pub address: String,
    /// What it does.
    pub roles: Vec<Role>,
    /// Labels that somebody gave it.
    pub labels: BTreeMap<String, String>,
    /// Taints that somebody gave it.
    pub taints: Vec<Taint>,
}

/// The host on which the cluster's admin can be asked: its control plane. Else why nothing here can be taken over.
///
/// # Errors
/// Where there is no Kubernetes, one that kubewan keeps, or none with a control plane among these hosts.
pub fn control_plane(hosts: &[Seen]) -> Result<usize, Vec<Finding>> {
    let kept = |host: &&Seen| {
        host.facts.own.cluster.is_some()
            || matches!(host.facts.kubernetes.state, ClusterState::Done | ClusterState::Begun)
    };
    let kept: Vec<Finding> =
        hosts.iter().filter(kept).map(|host| already_kept(host.name, host.facts)).collect();
    if !kept.is_empty() {
        return Err(kept);
    }
    if let Some(host) = hosts.iter().find(|host| host.facts.kubernetes.stuck_init.is_some()) {
        return Err(vec![Finding::error(
            "adopt-stuck-init",
            host.name,
            "the kubeadm init that somebody ran here never ended: there is no cluster yet",
            "`kubewan init` writes an inventory, and `kubewan up` finishes that init",
        )]);
    }
    let api_server = |host: &Seen| {
        host.facts.kubernetes.manifests.iter().any(|name| name == "kube-apiserver.yaml")
    };
    hosts.iter().position(api_server).ok_or_else(|| {
        let said = "none of these hosts has an API server that kubeadm made (/etc/kubernetes/manifests/kube-apiserver.yaml)";
        let next = "name the cluster's control plane too; `kubewan init` is for hosts without Kubernetes";
        vec![refusal("adopt-no-cluster", said, next)]
    })
}

fn already_kept(name: &str, facts: &Facts) -> Finding {
    let cluster = facts.own.cluster.as_deref().unwrap_or("a cluster");
    Finding::error(
        "adopt-kept",
        name,
        format!("kubewan keeps this host already, for {cluster}"),
        "use that cluster's inventory; what it was built from is in its ConfigMap kube-system/kubewan",
    )
}

fn refusal(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::error(code, "", message, remedy).for_cluster()
}

/// What the cluster is.
///
/// # Errors
/// Everything that keeps it from being taken over.
pub fn living(hosts: &[Seen], first: usize, answers: &Answers) -> Result<Living, Vec<Finding>> {
    let mut refusals = Vec::new();
    let first = hosts[first];
    let nodes = items(&answers.nodes);
    if config_map(answers, "kubewan").is_some() {
        refusals.push(already_kept(first.name, first.facts));
    }
    let config = config_map(answers, "kubeadm-config")
        .and_then(|map| map.pointer("/data/ClusterConfiguration")?.as_str())
        .and_then(|text| serde_saphyr::from_str::<Value>(text).ok())
        .filter(Value::is_object);
    let Some(config) = config else {
        let said = "the cluster has no ConfigMap kube-system/kubeadm-config that can be read: kubeadm did not make it";
        refusals.push(refusal(
            "adopt-not-kubeadm",
            said,
            "kubewan keeps clusters that kubeadm made, and no others",
        ));
        return Err(refusals);
    };
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    etcd(&config, first.facts, &mut refusals);
    authority(hosts, first.facts, &mut refusals);
    let version = version(text("/kubernetesVersion"), nodes, &mut refusals);
    let runtime = runtime(nodes, first.facts, &mut refusals);
    let network = network(&config, answers, &mut refusals);
    let endpoint = endpoint(text("/controlPlaneEndpoint"), first.facts, &mut refusals);
    let matched = matched(hosts, nodes, &mut refusals);
    several(nodes, &mut refusals);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let is_package =
        first.facts.kubernetes.binaries.iter().any(|path| path.starts_with("/usr/bin/"));
    let repository = text("/imageRepository");
    let name = text("/clusterName");
    let is_own = name != "kubernetes" && names::dns_label(name).is_ok();
    Ok(Living {
        name: is_own.then(|| name.to_owned()),
        version,
        source: if is_package { KubernetesSource::Packages } else { KubernetesSource::Release },
        image_repository: Some(repository)
            .filter(|name| !matches!(*name, "" | "registry.k8s.io" | "k8s.gcr.io"))
            .map(str::to_owned),
        runtime,
        network,
        adopt: Adopt { ca: first.facts.kubernetes.ca_hash.clone().unwrap_or_default(), endpoint },
        nodes: matched,
    })
}

fn items(list: &Value) -> &[Value] {
    // One object alone is not wrapped into a list.
    match list["items"].as_array() {
        Some(items) => items,
        None if list["kind"].is_string() => std::slice::from_ref(list),
        None => &[],
    }
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    items(list).iter().find(|item| item["metadata"]["name"] == name)
}

fn config_map<'a>(answers: &'a Answers, name: &str) -> Option<&'a Value> {
    named(&answers.config_maps, name)
}

fn etcd(config: &Value, first: &Facts, refusals: &mut Vec<Finding>) {
    let is_here = first.kubernetes.manifests.iter().any(|name| name == "etcd.yaml");
    if config.pointer("/etcd/external").is_some() || !is_here {
        let said = "its etcd is elsewhere, not a static pod beside its API server";
        refusals.push(refusal(
            "adopt-external-etcd",
            said,
            "kubewan keeps clusters whose etcd kubeadm made",
        ));
    }
}

/// One authority on all hosts, and its key on the control plane: whatever joins later is signed with it.
fn authority(hosts: &[Seen], first: &Facts, refusals: &mut Vec<Finding>) {
    let ours = &first.kubernetes.ca_hash;
    if ours.is_none() || !first.kubernetes.ca_key {
        let said = "its control plane lacks /etc/kubernetes/pki/ca.crt or ca.key: it has an authority elsewhere";
        refusals.push(refusal(
            "adopt-authority",
            said,
            "kubewan keeps clusters whose authority kubeadm made",
        ));
        return;
    }
    for host in hosts.iter().filter(|host| host.facts.kubernetes.ca_hash != *ours) {
        let found = host.facts.kubernetes.ca_hash.as_deref().unwrap_or("none");
        refusals.push(Finding::error(
            "adopt-authority",
            host.name,
            format!(
                "its authority is {found}, and the control plane's {}",
                ours.as_deref().unwrap_or_default()
            ),
            "name hosts of one cluster only; new ones come into the inventory once it is adopted",
        ));
    }
}

/// The version that the cluster has and all its kubelets.
fn version(configured: &str, nodes: &[Value], refusals: &mut Vec<Finding>) -> String {
    let plain = |text: &str| text.trim_start_matches('v').to_owned();
    let version = plain(configured);
    let mut others: Vec<String> = nodes
        .iter()
        .map(|node| (name_of(node), plain(said(node, "/status/nodeInfo/kubeletVersion"))))
        .filter(|(_, kubelet)| *kubelet != version)
        .map(|(name, kubelet)| format!("{name} {kubelet}"))
        .collect();
    others.sort();
    if !others.is_empty() {
        let said = format!(
            "the cluster has version {version}, and kubelets of another: {}",
            others.join(", ")
        );
        let next = "finish the upgrade first, with kubeadm's own steps";
        refusals.push(refusal("adopt-versions-differ", said, next));
    }
    let known = version.parse::<Version>().ok().is_some_and(|version| version.release().is_some());
    if !known {
        let range = RELEASES.first().zip(RELEASES.last());
        let range =
            range.map(|(a, b)| format!("1.{} to 1.{}", a.minor, b.minor)).unwrap_or_default();
        let said = format!("the cluster has version {version}, which this kubewan does not know");
        refusals.push(refusal("adopt-version", said, format!("it knows {range}")));
    }
    version
}

fn said<'a>(node: &'a Value, pointer: &str) -> &'a str {
    node.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name_of(node: &Value) -> String {
    said(node, "/metadata/name").to_owned()
}

fn runtime(nodes: &[Value], first: &Facts, refusals: &mut Vec<Finding>) -> Runtime {
    let mut kinds: Vec<&str> = nodes
        .iter()
        .filter_map(|node| {
            said(node, "/status/nodeInfo/containerRuntimeVersion").split("://").next()
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let kind = match kinds.as_slice() {
        ["containerd"] => RuntimeKind::Containerd,
        ["docker"] => RuntimeKind::Docker,
        _ => {
            let said = format!("its nodes run containers with {}", kinds.join(", "));
            let next =
                "kubewan keeps clusters in which all nodes have containerd, or all have Docker";
            refusals.push(refusal("adopt-runtime", said, next));
            RuntimeKind::Containerd
        }
    };
    let is_dockers =
        first.runtime.containerd_io || first.runtime.docker.package.as_deref() == Some("docker-ce");
    let source = if is_dockers { RuntimeSource::Docker } else { RuntimeSource::Distribution };
    Runtime { kind, source, ..Runtime::default() }
}

/// Subnets of kubeadm's configuration, and flannel as kubewan has it.
fn network(config: &Value, answers: &Answers, refusals: &mut Vec<Finding>) -> Network {
    let mut network = Network::default();
    let networking = &config["networking"];
    for (key, subnet) in
        [("podSubnet", &mut network.pod_subnet), ("serviceSubnet", &mut network.service_subnet)]
    {
        let text = networking[key].as_str().unwrap_or_default();
        match text.parse::<Ipv4Net>() {
            Ok(found) => *subnet = found,
            Err(_) => {
                let is = if text.is_empty() { "none" } else { text };
                let said = format!("kubeadm was told `{key}: {is}`, and one IPv4 range is needed");
                refusals.push(refusal(
                    "adopt-subnets",
                    said,
                    "kubewan keeps clusters of IPv4 alone",
                ));
            }
        }
    }
    if let Some(domain) = networking["dnsDomain"].as_str().filter(|domain| !domain.is_empty()) {
        domain.clone_into(&mut network.dns_domain);
    }
    match pod_network::flannel_backend(answers, network.pod_subnet) {
        Ok(backend) => network.backend = backend,
        Err(said) => {
            let next = "kubewan keeps clusters whose pod network is flannel, as its own manifest has it \
                (kube-flannel/kube-flannel-ds, backend vxlan or wireguard)";
            refusals.push(refusal("adopt-pod-network", said, next));
        }
    }
    network
}

/// Where nodes find the API: as kubeadm was told, else as the control plane itself finds it.
fn endpoint(configured: &str, first: &Facts, refusals: &mut Vec<Finding>) -> String {
    let server = first.kubernetes.api_server.as_deref().unwrap_or_default();
    let found =
        if configured.is_empty() { server.trim_start_matches("https://") } else { configured };
    let endpoint = match found.rsplit_once(':') {
        Some(_) => found.to_owned(),
        None => format!("{found}:{API_PORT}"),
    };
    if !endpoint.ends_with(&format!(":{API_PORT}")) {
        let said = format!("its API is found at {endpoint}");
        refusals.push(refusal(
            "adopt-api-port",
            said,
            format!("kubewan keeps clusters whose API is at port {API_PORT}"),
        ));
    }
    endpoint
}

fn is_control_plane(node: &Value) -> bool {
    ["control-plane", "master"].iter().any(|role| {
        node["metadata"]["labels"].get(format!("node-role.kubernetes.io/{role}")).is_some()
    })
}

fn several(nodes: &[Value], refusals: &mut Vec<Finding>) {
    let names: Vec<String> =
        nodes.iter().filter(|node| is_control_plane(node)).map(name_of).collect();
    if names.len() != 1 {
        let said = format!("it has {} control planes: {}", names.len(), names.join(", "));
        let next = "only clusters with one can be adopted so far";
        refusals.push(refusal("adopt-several-control-planes", said, next));
    }
}

/// The node of each host. Every host has to be one, and every node to be among the hosts.
fn matched(hosts: &[Seen], nodes: &[Value], refusals: &mut Vec<Finding>) -> Vec<LivingNode> {
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
    for (at, node) in nodes.iter().enumerate() {
        let name = name_of(node);
        if !taken.contains(&at) {
            let said = format!(
                "its node {name} ({}) is none of the hosts that were named",
                internal_ip(node)
            );
            refusals.push(refusal("adopt-host-missing", said, "name all hosts of the cluster"));
        }
        let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
        let is_ready = |each: &Value| each["type"] == "Ready" && each["status"] == "True";
        if !conditions.is_some_and(|all| all.iter().any(is_ready)) {
            let said = format!("its node {name} is not ready");
            let next = "mend it first: what is healthy is taken over as it is";
            refusals.push(refusal("adopt-not-ready", said, next));
        }
    }
    matched
}

fn internal_ip(node: &Value) -> &str {
    let addresses =
        node.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let mut internal = addresses.filter(|address| address["type"] == "InternalIP");
    internal.find_map(|address| address["address"].as_str()).unwrap_or_default()
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
    LivingNode {
        name: name_of(node),
        address: internal_ip(node).to_owned(),
        roles,
        labels: labels
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        taints: taints.into_iter().filter(|taint| !is_systems(&taint.key)).collect(),
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

impl Living {
    /// Writes it into a draft whose hosts are those that were given, in their order.
    pub fn write(&self, draft: &mut Draft) {
        draft.version.clone_from(&self.version);
        draft.living = Some(self.clone());
        for (host, node) in draft.hosts.iter_mut().zip(&self.nodes) {
            host.name.clone_from(&node.name);
            host.roles.clone_from(&node.roles);
            host.labels.clone_from(&node.labels);
            host.taints.clone_from(&node.taints);
            if host.address != node.address {
                // ssh goes on to where it was told.
                let ssh = host.address.clone();
                host.ssh.host.get_or_insert(ssh);
                host.address.clone_from(&node.address);
            }
        }
    }
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;
