//! kubeadm's configuration, for `kubeadm.k8s.io/v1beta3` (up to 1.30) and `v1beta4` (from 1.31).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::{merge, object};
use crate::inventory::{Acceptance, Host, Inventory, Settings, Taint};
use crate::versions::KubeadmApi;

/// Port of the API server.
pub const API_PORT: u16 = 6443;
/// The runtime's socket.
pub const CRI_SOCKET: &str = "unix:///run/containerd/containerd.sock";
/// The taint of a control plane that takes no workloads.
pub const CONTROL_PLANE_TAINT: &str = "node-role.kubernetes.io/control-plane";

/// Extra arguments in the shape of a version of kubeadm's API.
fn extra_args(api: KubeadmApi, args: &BTreeMap<String, String>) -> Value {
    match api {
        KubeadmApi::V1Beta3 => json!(args),
        KubeadmApi::V1Beta4 => {
            args.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
        }
    }
}

/// A node as kubeadm registers it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The host.
    pub host: &'a Host,
    /// Its public address, which becomes the node's InternalIP.
    pub address: Ipv4Addr,
    /// The NIC's address, if it is another.
    pub nic_address: Option<Ipv4Addr>,
    /// What the operator accepts on it and is so there.
    pub accepted: Vec<Acceptance>,
}

/// The configuration for `kubeadm init`: four documents, and the only source of what a phase does.
pub fn init(inventory: &Inventory, node: &Node) -> String {
    let api = inventory.release().kubeadm_api;
    let user = &inventory.kubernetes;
    let mut init = object(json!({
        "apiVersion": api.api_version(),
        "kind": "InitConfiguration",
        // kubeadm makes a random token when none is given, valid a day; this one nobody uses ends at once.
        "bootstrapTokens": [{ "ttl": "1m0s", "description": "made by kubeadm init, unused" }],
        "localAPIEndpoint": { "advertiseAddress": node.address, "bindPort": API_PORT },
        "nodeRegistration": registration(api, inventory, node, Some(control_plane_taints(node.host))),
    }));
    if api == KubeadmApi::V1Beta4 {
        init.insert("timeouts".into(), json!({ "controlPlaneComponentHealthCheck": "4m0s" }));
    }
    merge(&mut init, &user.kubeadm.init);
    let mut cluster = cluster(api, inventory, node);
    merge(&mut cluster, &user.kubeadm.cluster);
    let kubelet = component(
        "kubelet.config.k8s.io/v1beta1",
        "KubeletConfiguration",
        json!({
            "cgroupDriver": "systemd",
        }),
        &user.kubelet,
    );
    // Health is asked for by cloud load balancers only; on all addresses it would answer the whole world.
    let proxy = component(
        "kubeproxy.config.k8s.io/v1alpha1",
        "KubeProxyConfiguration",
        json!({
            "clusterCIDR": inventory.network.pod_subnet.to_string(),
            "healthzBindAddress": "127.0.0.1:10256",
        }),
        &user.kube_proxy,
    );
    [init, cluster, kubelet, proxy].iter().map(yaml).collect::<Vec<_>>().join("---\n")
}

fn cluster(api: KubeadmApi, inventory: &Inventory, node: &Node) -> Map<String, Value> {
    let network = &inventory.network;
    let mut sans = vec![inventory.api_name(), node.address.to_string(), node.host.name.clone()];
    sans.extend(node.nic_address.map(|a| a.to_string()));
    sans.push("127.0.0.1".into());
    // etcd would bind the advertise address (cmd/kubeadm/app/phases/etcd/local.go), and behind NAT that is no
    // address of any interface. With one control plane nothing but the API server beside it speaks to etcd.
    let etcd = BTreeMap::from([
        ("listen-client-urls".to_owned(), "https://127.0.0.1:2379".to_owned()),
        ("listen-peer-urls".to_owned(), "https://127.0.0.1:2380".to_owned()),
    ]);
    let mut api_server = object(json!({ "certSANs": sans }));
    if api == KubeadmApi::V1Beta3 {
        api_server.insert("timeoutForControlPlane".into(), json!("4m0s"));
    }
    object(json!({
        "apiVersion": api.api_version(),
        "kind": "ClusterConfiguration",
        "clusterName": inventory.name,
        "kubernetesVersion": format!("v{}", inventory.kubernetes.version),
        "controlPlaneEndpoint": endpoint(inventory),
        "imageRepository": inventory.kubernetes.image_repository,
        "networking": {
            "podSubnet": network.pod_subnet.to_string(),
            "serviceSubnet": network.service_subnet.to_string(),
            "dnsDomain": network.dns_domain,
        },
        "apiServer": api_server,
        "etcd": { "local": { "dataDir": "/var/lib/etcd", "extraArgs": extra_args(api, &etcd) } },
    }))
}

/// The configuration for `kubeadm join`. `token` and `ca_hash` are markers of values that exist only when it runs.
pub fn join(inventory: &Inventory, node: &Node, token: &str, ca_hash: &str) -> String {
    let api = inventory.release().kubeadm_api;
    let mut join = object(json!({
        "apiVersion": api.api_version(),
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": endpoint(inventory),
                "token": token,
                "caCertHashes": [ca_hash],
            },
        },
        "nodeRegistration": registration(api, inventory, node, None),
    }));
    merge(&mut join, &inventory.kubernetes.kubeadm.join);
    yaml(&join)
}

/// `api.<cluster>.kubewan:6443`.
pub fn endpoint(inventory: &Inventory) -> String {
    format!("{}:{API_PORT}", inventory.api_name())
}

/// Arguments of a host's kubelet: the node's address, what the operator accepts there, and the user's own.
pub fn kubelet_args(inventory: &Inventory, node: &Node) -> BTreeMap<String, String> {
    let mut args = BTreeMap::from([("node-ip".to_owned(), node.address.to_string())]);
    args.extend(accepted_args(inventory, node));
    args.extend(node.host.kubelet_args.clone());
    args
}

/// Arguments without which the kubelet would not start on what the operator accepts, unless he set the fields himself.
///
/// An argument and no field of the `KubeletConfiguration`: that one is the whole cluster's, and what is in it when a
/// cluster is built is what hosts get that join later.
pub fn accepted_args(inventory: &Inventory, node: &Node) -> BTreeMap<String, String> {
    let own = &inventory.kubernetes.kubelet;
    let switches = node.accepted.iter().filter_map(|what| what.kubelet());
    switches
        .filter(|switch| !own.contains_key(switch.field))
        .map(|switch| (switch.argument.to_owned(), "false".to_owned()))
        .collect()
}

/// kubeadm's checks that are set aside on a node: the user's own, and those that would stop at what he accepts.
pub fn set_aside(inventory: &Inventory, node: &Node) -> Vec<String> {
    let mut names = inventory.kubernetes.kubeadm.ignore_preflight_errors.clone();
    let listed = |names: &[String], name: &str| {
        names.iter().any(|n| n.eq_ignore_ascii_case(name) || n.eq_ignore_ascii_case("all"))
    };
    for name in node.accepted.iter().filter_map(|what| what.preflight()) {
        if !listed(&names, name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn registration(
    api: KubeadmApi,
    inventory: &Inventory,
    node: &Node,
    taints: Option<Vec<Taint>>,
) -> Value {
    let mut registration = object(json!({
        "name": node.host.name,
        "criSocket": CRI_SOCKET,
        "kubeletExtraArgs": extra_args(api, &kubelet_args(inventory, node)),
    }));
    if let Some(taints) = taints {
        // An empty list, unlike none, leaves a control plane untainted.
        registration.insert("taints".into(), json!(taints));
    }
    let ignored = set_aside(inventory, node);
    if !ignored.is_empty() {
        registration.insert("ignorePreflightErrors".into(), json!(ignored));
    }
    Value::Object(registration)
}

/// Taints that a control plane registers with.
fn control_plane_taints(host: &Host) -> Vec<Taint> {
    let mut taints = host.taints.clone();
    if !host.is_worker() {
        taints.push(Taint {
            key: CONTROL_PLANE_TAINT.into(),
            value: None,
            effect: crate::inventory::TaintEffect::NoSchedule,
        });
    }
    taints
}

fn component(group_version: &str, kind: &str, ours: Value, user: &Settings) -> Map<String, Value> {
    let mut config = object(json!({ "apiVersion": group_version, "kind": kind }));
    merge(&mut config, &object(ours));
    merge(&mut config, user);
    config
}

/// YAML text of a map, keys in their order.
fn yaml(map: &Map<String, Value>) -> String {
    let mut text =
        serde_saphyr::to_string(map).unwrap_or_else(|e| unreachable!("JSON is YAML: {e}"));
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn node(inventory: &Inventory, at: usize) -> Node<'_> {
        Node {
            host: &inventory.hosts[at],
            address: Ipv4Addr::new(198, 51, 100, 10),
            nic_address: Some(Ipv4Addr::new(10, 0, 4, 7)),
            accepted: Vec::new(),
        }
    }

    #[test]
    fn init_for_v1beta4() {
        let inventory = samples::inventory(2);
        insta::assert_snapshot!(init(&inventory, &node(&inventory, 0)));
    }

    #[test]
    fn init_for_v1beta3() {
        let mut inventory = samples::inventory(2);
        inventory.kubernetes.version = "1.29.4".into();
        insta::assert_snapshot!(init(&inventory, &node(&inventory, 0)));
    }

    #[test]
    fn join_carries_markers_and_no_secret() {
        let inventory = samples::inventory(2);
        let text =
            join(&inventory, &node(&inventory, 1), "@secret(join-token)@", "@output(x.ca-hash)@");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_is_accepted_is_told_to_kubeadm_and_the_kubelet() {
        let mut inventory = samples::inventory(2);
        inventory.kubernetes.kubeadm.ignore_preflight_errors = vec!["numcpu".into()];
        let accepted = Acceptance::ALL.to_vec();
        let with = |inventory: &Inventory| {
            let node = Node { accepted: accepted.clone(), ..node(inventory, 1) };
            (
                set_aside(inventory, &node),
                kubelet_args(inventory, &node),
                join(inventory, &node, "t", "h"),
            )
        };
        let (names, args, text) = with(&inventory);
        assert_eq!(names, ["numcpu", "Mem", "SystemVerification", "Swap"]);
        assert_eq!(
            args.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            ["fail-cgroupv1=false", "fail-swap-on=false", "node-ip=198.51.100.10"]
        );
        insta::assert_snapshot!(text);
        inventory.kubernetes.kubelet = object(json!({ "failCgroupV1": false, "failSwapOn": true }));
        inventory.hosts[1].kubelet_args.insert("v".into(), "4".into());
        inventory.kubernetes.kubeadm.ignore_preflight_errors = vec!["all".into()];
        let (names, args, _) = with(&inventory);
        assert_eq!(names, ["all"], "kubeadm takes no others beside it");
        assert_eq!(
            args.into_keys().collect::<Vec<_>>(),
            ["node-ip", "v"],
            "the user's own fields count"
        );
    }

    #[test]
    fn the_users_settings_win() {
        let mut inventory = samples::inventory(1);
        inventory.kubernetes.kubelet = object(json!({ "maxPods": 50, "cgroupDriver": "systemd" }));
        inventory.kubernetes.kubeadm.cluster =
            object(json!({ "apiServer": { "certSANs": ["example.org"] } }));
        let text = init(&inventory, &node(&inventory, 0));
        assert!(text.contains("maxPods: 50"), "{text}");
        assert!(text.contains("example.org"), "{text}");
    }
}
