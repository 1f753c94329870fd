//! kubeadm's configuration, in the version of its API that the release reads.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::{merge, object};
use crate::action::KubeadmJoin;
use crate::action::etcd::EtcdUrls;
use crate::inventory::{Acceptance, Host, Inventory, Settings, Taint, TaintEffect};
use crate::versions::KubeadmApi;

/// Port of the API server.
pub const API_PORT: u16 = 6443;
/// Ports on which etcd answers API servers and other members (cmd/kubeadm/app/constants/constants.go,
/// `EtcdListenClientPort`, `EtcdListenPeerPort`).
pub const ETCD_CLIENT_PORT: u16 = 2379;
/// See [`ETCD_CLIENT_PORT`].
pub const ETCD_PEER_PORT: u16 = 2380;
/// The runtime's socket: containerd's.
pub const CRI_SOCKET: &str = "unix:///run/containerd/containerd.sock";
/// cri-dockerd's (packaging/systemd/cri-docker.socket of Mirantis/cri-dockerd).
pub const CRI_DOCKERD_SOCKET: &str = "unix:///var/run/cri-dockerd.sock";
/// What stands for the kubelet's own dockershim: by it kubeadm up to 1.23 knows that the runtime is Docker, and gives the
/// kubelet `--network-plugin=cni` in place of `--container-runtime=remote` (`buildKubeletArgMapCommon` in
/// cmd/kubeadm/app/phases/kubelet/flags.go at v1.23.6).
pub const DOCKERSHIM_SOCKET: &str = "/var/run/dockershim.sock";

/// The runtime's socket, as kubeadm is told.
pub fn cri_socket(inventory: &Inventory) -> &'static str {
    match (inventory.is_docker(), inventory.uses_cri_dockerd()) {
        (false, _) => CRI_SOCKET,
        (true, true) => CRI_DOCKERD_SOCKET,
        (true, false) => DOCKERSHIM_SOCKET,
    }
}

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
    documents(inventory, node, None)
}

/// The configuration for `kubeadm init phase upload-certs`: that of init, with the key that certificates and keys are
/// encrypted with. `key` is a marker. As an argument every user of the host could read it.
pub fn upload_certs(inventory: &Inventory, node: &Node, key: &str) -> String {
    documents(inventory, node, Some(key))
}

fn documents(inventory: &Inventory, node: &Node, certificate_key: Option<&str>) -> String {
    let api = inventory.release().kubeadm_api;
    let user = &inventory.kubernetes;
    let mut init = object(json!({
        "apiVersion": api.api_version(),
        "kind": "InitConfiguration",
        // kubeadm makes a random token when none is given, valid a day; this one nobody uses ends at once.
        "bootstrapTokens": [{ "ttl": "1m0s", "description": "made by kubeadm init, unused" }],
        "localAPIEndpoint": { "advertiseAddress": node.address, "bindPort": API_PORT },
        "nodeRegistration": registration(api, inventory, node, Some(control_plane_taints(inventory, node.host))),
    }));
    if api == KubeadmApi::V1Beta4 {
        init.insert("timeouts".into(), json!({ "controlPlaneComponentHealthCheck": "4m0s" }));
    }
    if let Some(key) = certificate_key {
        init.insert("certificateKey".into(), json!(key));
    }
    merge(&mut init, &user.kubeadm.init);
    let mut cluster = cluster(api, inventory, node);
    merge(&mut cluster, &user.kubeadm.cluster);
    let kubelet = component(
        "kubelet.config.k8s.io/v1beta1",
        "KubeletConfiguration",
        kubelet(inventory),
        &user.kubelet,
    );
    let proxy = component(
        "kubeproxy.config.k8s.io/v1alpha1",
        "KubeProxyConfiguration",
        proxy(inventory),
        &user.kube_proxy,
    );
    [init, cluster, kubelet, proxy].iter().map(yaml).collect::<Vec<_>>().join("---\n")
}

/// cri-dockerd gives addresses without a scheme, by which `kubectl exec` would end at a kubelet that takes them for HTTPS.
fn kubelet(inventory: &Inventory) -> Value {
    let mut kubelet = json!({ "cgroupDriver": "systemd" });
    if inventory.uses_cri_dockerd() && inventory.release().extends_websockets {
        kubelet["featureGates"] = json!({ "ExtendWebSocketsToKubelet": false });
    }
    kubelet
}

/// Behind NAT a packet for a NodePort comes to the address of the NIC, which is not the node's. Left unset, kube-proxy
/// answers there in iptables mode only: in nftables mode it takes `primary`, the node's own address
/// (`platformApplyDefaults` in cmd/kube-proxy/app/server_linux.go). And only in iptables mode 127.0.0.1 would answer
/// too, for which kube-proxy sets route_localnet (pkg/proxy/iptables/proxier.go).
fn proxy(inventory: &Inventory) -> Value {
    let mut proxy = json!({
        "clusterCIDR": inventory.network.pod_subnet.to_string(),
        // Health is asked for by cloud load balancers only; on all addresses it would answer the whole world.
        "healthzBindAddress": "127.0.0.1:10256",
        "nodePortAddresses": ["0.0.0.0/0"],
    });
    if inventory.release().localhost_node_ports {
        proxy["iptables"] = json!({ "localhostNodePorts": false });
    }
    proxy
}

/// Where etcd listens. It would bind the advertise address (cmd/kubeadm/app/phases/etcd/local.go), and what NAT
/// delivers is addressed to the NIC. With one control plane nothing but the API server beside it speaks to etcd; several
/// members find each other by the public addresses that kubeadm has them announce.
pub fn etcd_listens(inventory: &Inventory) -> EtcdUrls {
    let address = if inventory.has_several_control_planes() { "0.0.0.0" } else { "127.0.0.1" };
    EtcdUrls {
        client: format!("https://{address}:{ETCD_CLIENT_PORT}"),
        peer: format!("https://{address}:{ETCD_PEER_PORT}"),
    }
}

fn cluster(api: KubeadmApi, inventory: &Inventory, node: &Node) -> Map<String, Value> {
    let network = &inventory.network;
    let mut sans = vec![inventory.api_name(), node.address.to_string(), node.host.name.clone()];
    sans.extend(node.nic_address.map(|a| a.to_string()));
    sans.push("127.0.0.1".into());
    let listens = etcd_listens(inventory);
    let etcd = BTreeMap::from([
        (EtcdUrls::CLIENT.to_owned(), listens.client),
        (EtcdUrls::PEER.to_owned(), listens.peer),
    ]);
    let mut api_server = object(json!({ "certSANs": sans }));
    if api == KubeadmApi::V1Beta3 {
        api_server.insert("timeoutForControlPlane".into(), json!("4m0s"));
    }
    let mut cluster = object(json!({
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
    }));
    if let Some(repository) = inventory.coredns_repository() {
        cluster.insert("dns".into(), json!({ "imageRepository": repository }));
    }
    cluster
}

/// Markers of the values of a join that exist only when it runs.
#[derive(Clone, Copy, Debug)]
pub struct JoinSecrets<'a> {
    /// The bootstrap token.
    pub token: &'a str,
    /// What the certificates and keys that control planes share are encrypted with.
    pub certificate_key: &'a str,
}

/// The configuration for `kubeadm join`, of a control plane where the host is one.
pub fn join(inventory: &Inventory, node: &Node, secrets: JoinSecrets<'_>) -> String {
    let api = inventory.release().kubeadm_api;
    // Of a worker kubeadm takes the taints over unless it is given others; a control plane's are its own.
    let taints = node.host.is_control_plane().then(|| control_plane_taints(inventory, node.host));
    let mut join = object(json!({
        "apiVersion": api.api_version(),
        "kind": "JoinConfiguration",
        "discovery": {
            "file": { "kubeConfigPath": KubeadmJoin::DISCOVERY_FILE },
            "tlsBootstrapToken": secrets.token,
        },
        "nodeRegistration": registration(api, inventory, node, taints),
    }));
    if node.host.is_control_plane() {
        let control_plane = json!({
            "localAPIEndpoint": { "advertiseAddress": node.address, "bindPort": API_PORT },
            "certificateKey": secrets.certificate_key,
        });
        join.insert("controlPlane".into(), control_plane);
    }
    merge(&mut join, &inventory.kubernetes.kubeadm.join);
    yaml(&join)
}

/// The cluster and its authority as a kubeconfig without credentials, in the form of `cluster-info`: one cluster without a name and no
/// context, since a context would need a user (`GetClusterFromKubeConfig` in cmd/kubeadm/app/util/kubeconfig).
///
/// Discovery by a file and not by the token: then kubeadm need not wait until kube-controller-manager has signed `cluster-info` with
/// it, which asks every five seconds (cmd/kubeadm/app/discovery), and what it trusts is the certificate itself.
pub fn discovery(inventory: &Inventory, ca: &str) -> String {
    let cluster = json!({
        "server": format!("https://{}", endpoint(inventory)),
        "certificate-authority-data": ca,
    });
    yaml(&object(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "", "cluster": cluster }],
    })))
}

/// `api.<cluster>.kubewan:6443`; of a cluster that somebody made by hand, what its certificates are good for.
pub fn endpoint(inventory: &Inventory) -> String {
    match &inventory.adopt {
        Some(adopt) => adopt.endpoint.clone(),
        None => format!("{}:{API_PORT}", inventory.api_name()),
    }
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
        "criSocket": cri_socket(inventory),
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
fn control_plane_taints(inventory: &Inventory, host: &Host) -> Vec<Taint> {
    let mut taints = host.taints.clone();
    if !host.is_worker() {
        taints.extend(role_taints(inventory));
    }
    taints
}

/// What keeps workloads off a control plane that is no worker: the taints that this version's kubeadm would set itself, and
/// its own addons tolerate.
pub fn role_taints(inventory: &Inventory) -> impl Iterator<Item = Taint> {
    inventory.release().role_taints.iter().map(|key| Taint {
        key: (*key).to_owned(),
        value: None,
        effect: TaintEffect::NoSchedule,
    })
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
    use crate::inventory::Role;
    use crate::samples;
    use crate::versions::Version;

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

    /// The whole configuration of a first control plane that takes no workloads, and of one that joins it.
    #[test]
    fn what_each_generation_of_kubeadm_gets() {
        for version in ["1.22.17", "1.23.6", "1.24.17", "1.28.15", "1.31.14", "1.36.2"] {
            let several = version.parse::<Version>().is_ok_and(Version::joins_control_planes);
            let mut inventory =
                if several { samples::control_planes(3) } else { samples::inventory(2) };
            inventory.kubernetes.version = version.into();
            for host in inventory.hosts.iter_mut().filter(|host| host.is_control_plane()) {
                host.roles = vec![Role::ControlPlane];
            }
            let first = init(&inventory, &node(&inventory, 0));
            let joined = join(&inventory, &node(&inventory, 1), MARKERS);
            insta::assert_snapshot!(format!("kubeadm_{version}"), format!("{first}---\n{joined}"));
        }
    }

    /// With Docker: the socket tells kubeadm, up to 1.23 that of the kubelet's dockershim.
    #[test]
    fn with_docker_little_is_different() {
        for version in ["1.23.6", "1.24.17", "1.36.2"] {
            let mut inventory = samples::inventory(2);
            inventory.kubernetes.version = version.into();
            let with = |inventory: &Inventory| {
                let first = init(inventory, &node(inventory, 0));
                format!("{first}---\n{}", join(inventory, &node(inventory, 1), MARKERS))
            };
            let containerds = with(&inventory);
            inventory.runtime.kind = crate::inventory::RuntimeKind::Docker;
            let dockers = with(&inventory);
            let diff = crate::action::file::unified_diff(&containerds, &dockers);
            let changed = diff.into_iter().filter(|line| line.starts_with(['-', '+']));
            insta::assert_snapshot!(
                format!("docker_{version}"),
                changed.collect::<Vec<_>>().join("\n")
            );
        }
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
        insta::assert_snapshot!(join(&inventory, &node(&inventory, 1), MARKERS));
    }

    const MARKERS: JoinSecrets<'static> =
        JoinSecrets { token: "@secret(join-token)@", certificate_key: "@secret(certificate-key)@" };

    #[test]
    fn a_joins_discovery_names_the_api_and_no_user() {
        insta::assert_snapshot!(discovery(&samples::inventory(2), "@output(x.ca)@"));
    }

    #[test]
    fn a_further_control_plane_joins_with_its_own_address_and_a_key() {
        for version in ["1.29.4", "1.36.2"] {
            let mut inventory = samples::control_planes(3);
            inventory.kubernetes.version = version.into();
            let text = join(&inventory, &node(&inventory, 1), MARKERS);
            insta::assert_snapshot!(format!("join_of_a_control_plane_{version}"), text);
        }
    }

    #[test]
    fn etcd_listens_to_others_only_where_there_are_others() {
        let text = init(&samples::inventory(3), &node(&samples::inventory(3), 0));
        assert!(text.contains("https://127.0.0.1:2380") && !text.contains("0.0.0.0:2"), "{text}");
        let inventory = samples::control_planes(3);
        let text = init(&inventory, &node(&inventory, 0));
        assert!(text.contains("https://0.0.0.0:2379") && text.contains("https://0.0.0.0:2380"));
        assert!(!text.contains("127.0.0.1:23"), "{text}");
        let upload = upload_certs(&inventory, &node(&inventory, 0), MARKERS.certificate_key);
        let key = "certificateKey: \"@secret(certificate-key)@\"\n";
        assert_eq!(upload.replacen(key, "", 1), text, "it is init's but for the key");
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
                join(inventory, &node, MARKERS),
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
