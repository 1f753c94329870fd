//! kubeadm's configuration: read, checked, defaulted and brought to the v1beta4 shape.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::value::{self, Res, at, default, list, set, split_documents, strings, text};
use crate::{VERSION, net, strict};

const KUBEADM: &str = "kubeadm.k8s.io";
/// Old versions and the last kubeadm that read them (cmd/kubeadm/app/util/config/common.go).
const OLD: [(&str, &str); 5] = [
    ("v1alpha1", "v1.11"),
    ("v1alpha2", "v1.12"),
    ("v1alpha3", "v1.14"),
    ("v1beta1", "v1.15"),
    ("v1beta2", "v1.22"),
];
const TIMEOUTS: [(&str, &str); 7] = [
    ("controlPlaneComponentHealthCheck", "4m0s"),
    ("kubeletHealthCheck", "4m0s"),
    ("kubernetesAPICall", "1m0s"),
    ("etcdAPICall", "2m0s"),
    ("tlsBootstrap", "5m0s"),
    ("discovery", "5m0s"),
    ("upgradeManifests", "5m0s"),
];

/// A whole configuration of `kubeadm init`, in the v1beta4 shape.
#[derive(Debug, Clone)]
pub struct Config {
    /// InitConfiguration.
    pub init: Value,
    /// ClusterConfiguration.
    pub cluster: Value,
    /// KubeletConfiguration.
    pub kubelet: Value,
    /// KubeProxyConfiguration.
    pub proxy: Value,
}

/// `name` and `value` of each argument in a v1beta4 list.
pub fn args(value: &Value, path: &str) -> Vec<(String, String)> {
    let pair = |a: &Value| (text(a, "name").to_owned(), text(a, "value").to_owned());
    list(value, path).iter().map(pair).collect()
}

/// Reads the documents of a file, checks each, and returns them by kind.
pub fn documents(content: &str) -> Res<Vec<Value>> {
    let mut found: Vec<Value> = Vec::new();
    for document in split_documents(content) {
        let value = value::from_yaml(&document)?;
        let (api, kind) = (text(&value, "apiVersion"), text(&value, "kind"));
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        if group.is_empty() || version.is_empty() || kind.is_empty() {
            return Err(format!(
                "invalid configuration for GroupVersionKind {group}/{version}, Kind={kind}: kind and apiVersion is mandatory \
                 information that must be specified"
            ));
        }
        if found.iter().any(|v| text(v, "kind") == kind) {
            return Err(format!(
                "invalid configuration: kind {kind:?} is specified twice in YAML file"
            ));
        }
        found.push(value);
    }
    found.sort_by_key(|v| format!("{}, Kind={}", text(v, "apiVersion"), text(v, "kind")));
    for value in &mut found {
        supported(value)?;
        strict::check(text(value, "apiVersion"), text(value, "kind"), value)?;
        if text(value, "apiVersion") == "kubeadm.k8s.io/v1beta3" {
            to_v1beta4(value);
        }
    }
    Ok(found)
}

fn supported(value: &Value) -> Res<()> {
    let (api, kind) = (text(value, "apiVersion"), text(value, "kind"));
    let Some(version) = api.strip_prefix("kubeadm.k8s.io/") else {
        return Ok(());
    };
    const MIGRATE: &str = "'kubeadm config migrate --old-config old-config-file --new-config new-config-file', \
                           which will write the new, similar spec using a newer API version.";
    if let Some((_, kubeadm)) = OLD.iter().find(|(old, _)| *old == version) {
        return Err(format!(
            "your configuration file uses an old API spec: {api:?} (kind: {kind:?}). Please use kubeadm {kubeadm} \
             instead and run {MIGRATE}"
        ));
    }
    if version == "v1beta3" {
        crate::warn(&format!(
            "your configuration file uses a deprecated API spec: {api:?} (kind: {kind:?}). Please use {MIGRATE}"
        ));
    } else if !strict::known(api, kind) {
        let gvk = strict::show_gvk(api, kind);
        return Err(format!("unknown configuration APIs: []schema.GroupVersionKind{{{gvk}}}"));
    }
    Ok(())
}

fn to_v1beta4(value: &mut Value) {
    const MAPS: [&str; 5] = [
        "nodeRegistration.kubeletExtraArgs",
        "apiServer.extraArgs",
        "controllerManager.extraArgs",
        "scheduler.extraArgs",
        "etcd.local.extraArgs",
    ];
    for path in MAPS {
        if let Some(map) = at(value, path).as_object() {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(name, _)| name.to_owned());
            let args =
                pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            set(value, path, Value::Array(args));
        }
    }
    let moved = [("discovery", "timeout", "timeouts.discovery")];
    for (parent, old, new) in moved {
        let timeout =
            value.get_mut(parent).and_then(|p| p.as_object_mut()).and_then(|p| p.remove(old));
        if let Some(timeout) = timeout {
            set(value, new, timeout);
        }
    }
    set(value, "apiVersion", "kubeadm.k8s.io/v1beta4".into());
}

fn take(documents: &mut Vec<Value>, kind: &str, api: &str) -> Option<Value> {
    let found = documents.iter().position(|v| text(v, "kind") == kind)?;
    let value = documents.remove(found);
    Some(value).filter(|v| text(v, "apiVersion").starts_with(api))
}

fn empty(kind: &str, api: &str) -> Value {
    json!({"apiVersion": api, "kind": kind})
}

/// Reads the configuration of `kubeadm init`.
pub fn load_init(content: &str) -> Res<Config> {
    let mut found = documents(content)?;
    let init = take(&mut found, "InitConfiguration", KUBEADM);
    let cluster = take(&mut found, "ClusterConfiguration", KUBEADM);
    if init.is_none() && cluster.is_none() {
        return Err(
            "no InitConfiguration or ClusterConfiguration kind was found in the configuration file"
                .into(),
        );
    }
    let v1beta4 = "kubeadm.k8s.io/v1beta4";
    let kubelet = "kubelet.config.k8s.io/v1beta1";
    let proxy = "kubeproxy.config.k8s.io/v1alpha1";
    let mut config = Config {
        init: init.unwrap_or_else(|| empty("InitConfiguration", v1beta4)),
        cluster: cluster.unwrap_or_else(|| empty("ClusterConfiguration", v1beta4)),
        kubelet: take(&mut found, "KubeletConfiguration", "kubelet.config.k8s.io")
            .unwrap_or_else(|| empty("KubeletConfiguration", kubelet)),
        proxy: take(&mut found, "KubeProxyConfiguration", "kubeproxy.config.k8s.io")
            .unwrap_or_else(|| empty("KubeProxyConfiguration", proxy)),
    };
    for ignored in found {
        let (api, kind) = (text(&ignored, "apiVersion"), text(&ignored, "kind"));
        crate::warn(&format!(
            "[config] WARNING: Ignored configuration document with GroupVersionKind {api}, Kind={kind}"
        ));
    }
    // v1beta3 had this timeout in the cluster's part.
    let old = config.cluster.get_mut("apiServer").and_then(|a| a.as_object_mut());
    if let Some(timeout) = old.and_then(|a| a.remove("timeoutForControlPlane")) {
        default(&mut config.init, "timeouts.controlPlaneComponentHealthCheck", timeout);
    }
    defaults(&mut config)?;
    validate_init(&config)?;
    Ok(config)
}

fn defaults(config: &mut Config) -> Res<()> {
    let Config { init, cluster, kubelet, proxy } = config;
    node_defaults(init);
    if at(init, "nodeRegistration.taints").is_null() {
        let taint =
            json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
        set(init, "nodeRegistration.taints", taint);
    }
    default(init, "localAPIEndpoint.bindPort", 6443);
    let address = text(init, "localAPIEndpoint.advertiseAddress").to_owned();
    if address.is_empty() {
        let nic = net::default_address().map_or("0.0.0.0".into(), |a| a.to_string());
        set(init, "localAPIEndpoint.advertiseAddress", nic.into());
    } else if address.parse::<IpAddr>().is_err() {
        return Err(format!(
            "couldn't use \"{address}\" as \"apiserver-advertise-address\", must be ipv4 or ipv6 address"
        ));
    }
    if list(init, "bootstrapTokens").is_empty() {
        set(init, "bootstrapTokens", json!([{}]));
    }
    for token in init["bootstrapTokens"].as_array_mut().into_iter().flatten() {
        crate::token::defaults(token);
    }
    for (path, value) in [
        ("networking.serviceSubnet", "10.96.0.0/12"),
        ("networking.dnsDomain", "cluster.local"),
        ("certificatesDir", "/etc/kubernetes/pki"),
        ("imageRepository", "registry.k8s.io"),
        ("clusterName", "kubernetes"),
        ("encryptionAlgorithm", "RSA-2048"),
        ("certificateValidityPeriod", "8760h0m0s"),
        ("caCertificateValidityPeriod", "87600h0m0s"),
    ] {
        default(cluster, path, value);
    }
    if at(cluster, "etcd.external").is_null() {
        default(cluster, "etcd.local.dataDir", "/var/lib/etcd");
    }
    cluster_version(cluster)?;
    let endpoint = text(cluster, "controlPlaneEndpoint").to_owned();
    if !endpoint.is_empty() && !endpoint.rsplit(']').next().is_some_and(|e| e.contains(':')) {
        let port = &init["localAPIEndpoint"]["bindPort"];
        set(cluster, "controlPlaneEndpoint", format!("{endpoint}:{port}").into());
    }
    kubelet_defaults(kubelet, cluster);
    default(proxy, "clusterCIDR", text(cluster, "networking.podSubnet"));
    default(proxy, "bindAddress", "0.0.0.0");
    default(proxy, "clientConnection.kubeconfig", "/var/lib/kube-proxy/kubeconfig.conf");
    Ok(())
}

fn cluster_version(cluster: &mut Value) -> Res<()> {
    default(cluster, "kubernetesVersion", "stable-1");
    let asked = text(cluster, "kubernetesVersion").to_owned();
    if asked.starts_with("stable") || asked.starts_with("latest") || asked.starts_with("ci/") {
        crate::warn(&format!(
            "could not fetch a Kubernetes version from the internet: unable to get URL \
             \"https://dl.k8s.io/release/{asked}.txt\""
        ));
        crate::warn(&format!("falling back to the local client version: {VERSION}"));
        set(cluster, "kubernetesVersion", VERSION.into());
        return Ok(());
    }
    let bare = asked.trim_start_matches('v');
    let mut parts = bare.split(['.', '-']).map(|p| p.parse::<u32>().ok());
    let (Some(major), Some(minor), Some(_)) =
        (parts.next().flatten(), parts.next().flatten(), parts.next().flatten())
    else {
        return Err(format!(
            "couldn't parse Kubernetes version {asked:?}: illegal version string {asked:?}"
        ));
    };
    if (major, minor) < (1, 35) {
        return Err(format!(
            "this version of kubeadm only supports deploying clusters with the control plane version >= 1.35.0. \
             Current version: v{bare}"
        ));
    }
    set(cluster, "kubernetesVersion", format!("v{bare}").into());
    Ok(())
}

fn node_defaults(value: &mut Value) {
    default(value, "nodeRegistration.name", net::hostname());
    let name = text(value, "nodeRegistration.name").to_lowercase();
    set(value, "nodeRegistration.name", name.into());
    default(value, "nodeRegistration.imagePullPolicy", "IfNotPresent");
    default(value, "nodeRegistration.imagePullSerial", true);
    default(value, "nodeRegistration.criSocket", "unix:///var/run/containerd/containerd.sock");
    let socket = text(value, "nodeRegistration.criSocket").to_owned();
    if !socket.starts_with("unix://") {
        crate::warn(&format!(
            "Usage of CRI endpoints without URL scheme is deprecated and can cause kubelet errors in the future. \
             Automatically prepending scheme \"unix\" to the \"criSocket\" with value {socket:?}. Please update \
             your configuration!"
        ));
        set(value, "nodeRegistration.criSocket", format!("unix://{socket}").into());
    }
    for (name, timeout) in TIMEOUTS {
        default(value, &format!("timeouts.{name}"), timeout);
    }
}

/// cmd/kubeadm/app/componentconfigs/kubelet.go, and the zeroes that Go writes for what is not set.
fn kubelet_defaults(kubelet: &mut Value, cluster: &Value) {
    default(kubelet, "staticPodPath", "/etc/kubernetes/manifests");
    let dns = service_address(cluster, 10).map_or("10.96.0.10".into(), |a| a.to_string());
    default(kubelet, "clusterDNS", json!([dns]));
    default(kubelet, "clusterDomain", text(cluster, "networking.dnsDomain"));
    let ca = format!("{}/ca.crt", text(cluster, "certificatesDir"));
    default(kubelet, "authentication.x509.clientCAFile", ca);
    default(kubelet, "authentication.anonymous.enabled", false);
    default(kubelet, "authentication.webhook.enabled", true);
    default(kubelet, "authorization.mode", "Webhook");
    default(kubelet, "healthzBindAddress", "127.0.0.1");
    default(kubelet, "healthzPort", 10248);
    default(kubelet, "cgroupDriver", "systemd");
    set(kubelet, "rotateCertificates", true.into());
    for zero in strict::rows(include_str!("../fields/kubelet-zero-durations.txt")) {
        default(kubelet, zero, "0s");
    }
    for empty in ["crashLoopBackOff", "memorySwap"] {
        default(kubelet, empty, json!({}));
    }
    default(kubelet, "logging.flushFrequency", 0);
    default(kubelet, "logging.verbosity", 0);
    default(kubelet, "logging.options.json.infoBufferSize", "0");
    default(kubelet, "logging.options.text.infoBufferSize", "0");
}

/// The n-th address of the service subnet: 1 is the API's, 10 the DNS service's.
pub fn service_address(cluster: &Value, n: u32) -> Option<IpAddr> {
    let subnet = text(cluster, "networking.serviceSubnet").split(',').next()?;
    let base: std::net::Ipv4Addr = subnet.split_once('/')?.0.parse().ok()?;
    Some(IpAddr::from(std::net::Ipv4Addr::from(u32::from(base) + n)))
}

/// `https://HOST:PORT` of this host's own API server.
pub fn local_endpoint(init: &Value) -> String {
    let port = at(init, "localAPIEndpoint.bindPort").as_u64().unwrap_or(6443);
    format!("https://{}", net::join(text(init, "localAPIEndpoint.advertiseAddress"), port))
}

/// `https://HOST:PORT` of the control plane.
pub fn endpoint(config: &Config) -> String {
    match text(&config.cluster, "controlPlaneEndpoint") {
        "" => local_endpoint(&config.init),
        stable => format!("https://{stable}"),
    }
}

/// The time-out of that name.
pub fn timeout(value: &Value, name: &str) -> std::time::Duration {
    value::duration(text(value, &format!("timeouts.{name}"))).unwrap_or_default()
}

fn is_dns_name(name: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// apimachinery's words for a name that is none.
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which \
    must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. \
    '*.example.com', regex used for validation is \
    '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn aggregate(errors: Vec<String>) -> Res<()> {
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        more => Err(format!("[{}]", more.join(", "))),
    }
}

fn validate_node(value: &Value, errors: &mut Vec<String>) {
    let name = text(value, "nodeRegistration.name");
    if !is_dns_name(name) {
        errors.push(format!("nodeRegistration.name: Invalid value: {name:?}: {SUBDOMAIN}"));
    }
    for (index, (argument, _)) in
        args(value, "nodeRegistration.kubeletExtraArgs").iter().enumerate()
    {
        if argument.is_empty() {
            errors.push(format!(
                "nodeRegistration.kubeletExtraArgs: Invalid value: \"index {index}\": argument has no name"
            ));
        }
    }
}

fn validate_init(config: &Config) -> Res<()> {
    let Config { init, cluster, .. } = config;
    let mut errors = Vec::new();
    validate_node(init, &mut errors);
    for token in list(init, "bootstrapTokens") {
        if let Err(error) = crate::token::parse(text(token, "token")) {
            errors.push(error);
        }
    }
    let advertise = text(init, "localAPIEndpoint.advertiseAddress");
    if advertise.parse::<IpAddr>().is_err() {
        errors.push(format!(
            "localAPIEndpoint.advertiseAddress: Invalid value: {advertise:?}: ip address is not valid"
        ));
    }
    for (name, required) in [("serviceSubnet", true), ("podSubnet", false)] {
        let subnet = text(cluster, &format!("networking.{name}"));
        if (required || !subnet.is_empty()) && subnet.split(',').any(|s| !is_subnet(s)) {
            errors.push(format!(
                "networking.{name}: Invalid value: {subnet:?}: couldn't parse subnet"
            ));
        }
    }
    for san in strings(cluster, "apiServer.certSANs") {
        if san.parse::<IpAddr>().is_err() && !is_dns_name(&san.to_lowercase()) {
            errors.push(format!(
                "apiServer.certSANs: Invalid value: {san:?}: altname is not a valid IP address, DNS label or a DNS \
                 label with subdomain wildcards: {SUBDOMAIN}; {WILDCARD}"
            ));
        }
    }
    let endpoint = text(cluster, "controlPlaneEndpoint");
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(h, _)| h).trim_matches(['[', ']']);
    if !host.is_empty() && host.parse::<IpAddr>().is_err() && !is_dns_name(host) {
        errors.push(format!(
            "hostport {endpoint}: host '{host}' must be a valid IP address or a valid RFC-1123 DNS subdomain"
        ));
    }
    if !at(cluster, "etcd.local").is_null() && !at(cluster, "etcd.external").is_null() {
        errors.push(
            "etcd: Invalid value: \"\": .Etcd.Local and .Etcd.External are mutually exclusive"
                .into(),
        );
    }
    if !at(cluster, "etcd.external").is_null() {
        errors.push("[rehearsal] an external etcd is not rehearsed".into());
    }
    aggregate(errors)
}

fn is_subnet(subnet: &str) -> bool {
    let Some((address, bits)) = subnet.split_once('/') else {
        return false;
    };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|b| b <= most)
}

/// Reads the configuration of `kubeadm join`.
pub fn load_join(content: &str) -> Res<Value> {
    let mut found = documents(content)?;
    let Some(mut join) = take(&mut found, "JoinConfiguration", KUBEADM) else {
        return Err("no JoinConfiguration found in config file \"\"".into());
    };
    for ignored in found {
        let (api, kind) = (text(&ignored, "apiVersion"), text(&ignored, "kind"));
        crate::warn(&format!(
            "[config] WARNING: Ignored configuration document with GroupVersionKind {api}, Kind={kind}"
        ));
    }
    node_defaults(&mut join);
    default(&mut join, "caCertPath", "/etc/kubernetes/pki/ca.crt");
    let token = text(&join, "discovery.bootstrapToken.token").to_owned();
    if !token.is_empty() {
        default(&mut join, "discovery.tlsBootstrapToken", token.clone());
    }
    validate_join(&join, &token)?;
    Ok(join)
}

/// `ValidateDiscovery` and `ValidateDiscoveryFile` (cmd/kubeadm/app/apis/kubeadm/validation/validation.go).
fn validate_file_discovery(join: &Value, token_too: bool, errors: &mut Vec<String>) {
    if token_too {
        errors.push(
            "discovery: Invalid value: \"\": bootstrapToken and file cannot both be set".into(),
        );
    }
    let path = text(join, "discovery.file.kubeConfigPath");
    if !Path::new(path).exists() {
        errors.push(format!(
            "discovery.file.kubeConfigPath: Invalid value: {path:?}: not a valid HTTPS URL or a file on disk"
        ));
    }
    let token = text(join, "discovery.tlsBootstrapToken");
    if !token.is_empty() && crate::token::parse(token).is_err() {
        errors.push(format!(
            "discovery.tlsBootstrapToken: Invalid value: {token:?}: the bootstrap token is invalid"
        ));
    }
}

fn validate_join(join: &Value, token: &str) -> Res<()> {
    let mut errors = Vec::new();
    let discovery = at(join, "discovery.bootstrapToken");
    let file = at(join, "discovery.file");
    if !file.is_null() {
        validate_file_discovery(join, !discovery.is_null(), &mut errors);
    } else if discovery.is_null() {
        errors.push("discovery: Invalid value: \"\": bootstrapToken or file must be set".into());
    } else {
        if crate::token::parse(token).is_err() {
            errors.push(format!(
                "discovery.bootstrapToken.token: Invalid value: {token:?}: the bootstrap token is invalid"
            ));
        }
        if text(discovery, "apiServerEndpoint").is_empty() {
            errors.push(
                "discovery.bootstrapToken: Required value: APIServerEndpoint is not set".into(),
            );
        }
        let pinned = !list(discovery, "caCertHashes").is_empty();
        if !pinned && at(discovery, "unsafeSkipCAVerification") != &Value::Bool(true) {
            errors.push(
                "discovery.bootstrapToken.caCertHashes: Invalid value: \"\": using token-based discovery without \
                 caCertHashes can be unsafe. Set unsafeSkipCAVerification as true in your kubeadm config file or \
                 pass --discovery-token-unsafe-skip-ca-verification flag to continue"
                    .into(),
            );
        }
    }
    validate_node(join, &mut errors);
    if !at(join, "controlPlane").is_null() {
        errors.push("[rehearsal] joining a further control plane is not rehearsed".into());
    }
    aggregate(errors)
}
