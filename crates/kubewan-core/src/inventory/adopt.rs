//! The inventory of a cluster that somebody made with kubeadm by hand, written from what is there; or why there can be none.
//! What its API and its hosts say goes in, nothing is asked here.

mod authority;
mod in_force;
pub mod kubelet;
mod nodes;
mod pod_network;

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::draft::Draft;
use super::{KubernetesSource, Network, Role, Runtime, RuntimeKind, RuntimeSource, Taint, names};
use crate::action::etcd::EtcdUrls;
use crate::facts::{ClusterState, Facts};
use crate::finding::Finding;
use crate::render::flannel;
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
    /// The ConfigMaps `kubewan`, `kubeadm-config`, `kube-proxy` and the kubelets' of kube-system, and `kube-flannel-cfg` of
    /// kube-flannel: those that are there.
    pub config_maps: Value,
    /// All DaemonSets.
    pub daemon_sets: Value,
}

impl Answers {
    /// The ConfigMaps as a question of `kubectl get -f`: those that are there come back.
    pub fn asked() -> Value {
        let of_minor = RELEASES.iter().filter(|release| release.kubelet_config_of_minor);
        let of_minor = of_minor.map(|release| format!("kubelet-config-1.{}", release.minor));
        let names =
            ["kubewan", "kubeadm-config", "kube-proxy", "kubelet-config"].map(str::to_owned);
        let map = |namespace: &str, name: String| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": namespace, "name": name } });
        let mut items: Vec<Value> =
            names.into_iter().chain(of_minor).map(|name| map("kube-system", name)).collect();
        items.push(map(flannel::NAMESPACE, "kube-flannel-cfg".into()));
        json!({ "apiVersion": "v1", "kind": "List", "items": items })
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
    /// The configuration that its kubelets were made with.
    pub kubelet: Value,
    /// kube-proxy's.
    pub kube_proxy: Value,
    /// Where `kubeadm-config` has etcd listen to other members, in which every upgrade believes; `None`: it says nothing, and
    /// kubeadm takes the address that the API server announces (cmd/kubeadm/app/phases/etcd/local.go).
    pub etcd_listens: Option<String>,
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
    /// The address that somebody told flannel to announce for it.
    pub overwrite: Option<String>,
    /// The address that flannel announces for it.
    pub announced: Option<String>,
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
    let config = in_map(answers, "kubeadm-config", "ClusterConfiguration");
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
    authority::authority(hosts, &first, &mut refusals);
    elsewhere(&config, hosts, &mut refusals);
    let version = version(text("/kubernetesVersion"), nodes, &mut refusals);
    let runtime = runtime(nodes, first.facts, &mut refusals);
    let network = network(&config, answers, &mut refusals);
    let endpoint = endpoint(text("/controlPlaneEndpoint"), first.facts, &mut refusals);
    let matched = nodes::matched(hosts, nodes, &mut refusals);
    nodes::several(nodes, &mut refusals);
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
        kubelet: in_force::kubelet(answers),
        kube_proxy: in_force::kube_proxy(answers),
        etcd_listens: etcd_listens(&config),
        nodes: matched,
    })
}

/// An argument of etcd's: a list of names and values from v1beta4 on, a mapping before.
fn etcd_listens(config: &Value) -> Option<String> {
    let arguments = config.pointer("/etcd/local/extraArgs")?;
    let listed = || arguments.as_array()?.iter().find(|each| each["name"] == EtcdUrls::PEER);
    let value = arguments.get(EtcdUrls::PEER).or_else(|| listed()?.get("value"));
    value?.as_str().map(str::to_owned)
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

/// A document that a ConfigMap holds.
fn in_map(answers: &Answers, name: &str, key: &str) -> Option<Value> {
    let text = config_map(answers, name)?.get("data")?.get(key)?.as_str()?;
    serde_saphyr::from_str::<Value>(text).ok().filter(Value::is_object)
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

/// What kubewan, as kubeadm, looks for in kubeadm's own folders.
fn elsewhere(config: &Value, hosts: &[Seen], refusals: &mut Vec<Finding>) {
    let usual = [
        ("certificatesDir", "/certificatesDir", "/etc/kubernetes/pki"),
        ("etcd.local.dataDir", "/etcd/local/dataDir", "/var/lib/etcd"),
    ];
    for (key, pointer, usual) in usual {
        let folder = config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if !folder.is_empty() && folder.trim_end_matches('/') != usual {
            let said = format!("kubeadm was told `{key}: {folder}`, and not {usual}");
            let next = "kubewan keeps clusters whose files lie where kubeadm puts them unasked";
            refusals.push(refusal("adopt-elsewhere", said, next));
        }
    }
    refusals.extend(hosts.iter().filter_map(|host| kubelet::elsewhere(host.name, host.facts)));
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
