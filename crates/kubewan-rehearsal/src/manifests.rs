//! Static pods, images and the kubelet's files, computed as kubeadm does.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Config, args, timeout};
use crate::value::{Res, at, text, to_yaml};
use crate::{net, pki};

type Args = Vec<(String, String)>;

/// The image references a control plane needs (cmd/kubeadm/app/images/images.go, constants.go of 1.36).
pub fn images(cluster: &Value) -> Vec<String> {
    let repository = text(cluster, "imageRepository");
    let version = text(cluster, "kubernetesVersion");
    let image = |name: &str, tag: &str| format!("{repository}/{name}:{tag}");
    let mut all: Vec<String> = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
        .map(|n| image(n, version))
        .into();
    if at(cluster, "proxy.disabled") != &Value::Bool(true) {
        all.push(image("kube-proxy", version));
    }
    if at(cluster, "dns.disabled") != &Value::Bool(true) {
        all.push(dns_image(cluster));
    }
    all.push(image("pause", "3.10.2"));
    all.push(etcd_image(cluster));
    all
}

fn or<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

/// The reference of CoreDNS' image.
pub fn dns_image(cluster: &Value) -> String {
    let repository = or(text(cluster, "dns.imageRepository"), text(cluster, "imageRepository"));
    let repository =
        if repository == "registry.k8s.io" { "registry.k8s.io/coredns" } else { repository };
    format!("{repository}/coredns:{}", or(text(cluster, "dns.imageTag"), "v1.14.2"))
}

fn etcd_image(cluster: &Value) -> String {
    let repository =
        or(text(cluster, "etcd.local.imageRepository"), text(cluster, "imageRepository"));
    format!("{repository}/etcd:{}", or(text(cluster, "etcd.local.imageTag"), "3.6.8-0"))
}

/// Default arguments sorted, those overridden left out, and the overrides after them.
fn command(program: &str, defaults: Vec<(&str, String)>, overrides: Args) -> Vec<String> {
    let mut base: Args = defaults.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
    base.retain(|(name, _)| !overrides.iter().any(|(o, _)| o == name));
    base.sort();
    let all = base.into_iter().chain(overrides).map(|(name, value)| format!("--{name}={value}"));
    std::iter::once(program.to_owned()).chain(all).collect()
}

/// etcd's command line (cmd/kubeadm/app/phases/etcd/local.go).
pub fn etcd_command(config: &Config) -> Vec<String> {
    let Config { init, cluster, .. } = config;
    let node = text(init, "nodeRegistration.name");
    let advertise = text(init, "localAPIEndpoint.advertiseAddress");
    let pki = text(cluster, "certificatesDir");
    let local = if advertise.contains(':') { "::1" } else { "127.0.0.1" };
    let client = format!("https://{}", net::join(advertise, 2379));
    let peer = format!("https://{}", net::join(advertise, 2380));
    let defaults = vec![
        ("name", node.to_owned()),
        ("listen-client-urls", format!("https://{},{client}", net::join(local, 2379))),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("{node}={peer}")),
        ("data-dir", text(cluster, "etcd.local.dataDir").to_owned()),
        ("cert-file", format!("{pki}/etcd/server.crt")),
        ("key-file", format!("{pki}/etcd/server.key")),
        ("trusted-ca-file", format!("{pki}/etcd/ca.crt")),
        ("client-cert-auth", "true".into()),
        ("peer-cert-file", format!("{pki}/etcd/peer.crt")),
        ("peer-key-file", format!("{pki}/etcd/peer.key")),
        ("peer-trusted-ca-file", format!("{pki}/etcd/ca.crt")),
        ("peer-client-cert-auth", "true".into()),
        ("snapshot-count", "10000".into()),
        ("listen-metrics-urls", format!("http://{}", net::join(local, 2381))),
        ("feature-gates", "InitialCorruptCheck=true".into()),
        ("watch-progress-notify-interval", "5s".into()),
    ];
    command("etcd", defaults, args(cluster, "etcd.local.extraArgs"))
}

/// The API server's command line (cmd/kubeadm/app/phases/controlplane/manifests.go).
pub fn apiserver_command(config: &Config) -> Vec<String> {
    let Config { init, cluster, .. } = config;
    let advertise = text(init, "localAPIEndpoint.advertiseAddress");
    let local = if advertise.contains(':') { "::1" } else { "127.0.0.1" };
    let pki = |file: &str| format!("{}/{file}", text(cluster, "certificatesDir"));
    let etcd = args(cluster, "etcd.local.extraArgs");
    let etcd = etcd.iter().find(|(n, _)| n == "advertise-client-urls").map(|(_, v)| v.clone());
    let etcd = etcd.unwrap_or_else(|| format!("https://{}", net::join(local, 2379)));
    let domain = text(cluster, "networking.dnsDomain");
    let defaults = vec![
        ("advertise-address", advertise.to_owned()),
        ("enable-admission-plugins", "NodeRestriction".into()),
        ("service-cluster-ip-range", text(cluster, "networking.serviceSubnet").to_owned()),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-account-issuer", format!("https://kubernetes.default.svc.{domain}")),
        ("client-ca-file", pki("ca.crt")),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
        ("kubelet-client-certificate", pki("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", pki("apiserver-kubelet-client.key")),
        ("enable-bootstrap-token-auth", "true".into()),
        ("secure-port", at(init, "localAPIEndpoint.bindPort").to_string()),
        ("allow-privileged", "true".into()),
        ("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname".into()),
        ("requestheader-username-headers", "X-Remote-User".into()),
        ("requestheader-group-headers", "X-Remote-Group".into()),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".into()),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("requestheader-allowed-names", "front-proxy-client".into()),
        ("proxy-client-cert-file", pki("front-proxy-client.crt")),
        ("proxy-client-key-file", pki("front-proxy-client.key")),
        ("etcd-servers", etcd),
        ("etcd-cafile", pki("etcd/ca.crt")),
        ("etcd-certfile", pki("apiserver-etcd-client.crt")),
        ("etcd-keyfile", pki("apiserver-etcd-client.key")),
        ("authorization-mode", "Node,RBAC".into()),
    ];
    command("kube-apiserver", defaults, args(cluster, "apiServer.extraArgs"))
}

fn controller_manager_command(cluster: &Value) -> Vec<String> {
    let pki = |file: &str| format!("{}/{file}", text(cluster, "certificatesDir"));
    let kubeconfig = "/etc/kubernetes/controller-manager.conf";
    let mut defaults = vec![
        ("bind-address", "127.0.0.1".into()),
        ("leader-elect", "true".into()),
        ("kubeconfig", kubeconfig.into()),
        ("authentication-kubeconfig", kubeconfig.into()),
        ("authorization-kubeconfig", kubeconfig.into()),
        ("client-ca-file", pki("ca.crt")),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("root-ca-file", pki("ca.crt")),
        ("service-account-private-key-file", pki("sa.key")),
        ("cluster-signing-cert-file", pki("ca.crt")),
        ("cluster-signing-key-file", pki("ca.key")),
        ("use-service-account-credentials", "true".into()),
        ("controllers", "*,bootstrapsigner,tokencleaner".into()),
        ("cluster-name", text(cluster, "clusterName").to_owned()),
    ];
    let pods = text(cluster, "networking.podSubnet");
    if !pods.is_empty() {
        defaults.push(("allocate-node-cidrs", "true".into()));
        defaults.push(("cluster-cidr", pods.to_owned()));
        defaults.push((
            "service-cluster-ip-range",
            text(cluster, "networking.serviceSubnet").to_owned(),
        ));
    }
    command("kube-controller-manager", defaults, args(cluster, "controllerManager.extraArgs"))
}

fn scheduler_command(cluster: &Value) -> Vec<String> {
    let kubeconfig = "/etc/kubernetes/scheduler.conf";
    let defaults = vec![
        ("bind-address", "127.0.0.1".into()),
        ("leader-elect", "true".into()),
        ("kubeconfig", kubeconfig.into()),
        ("authentication-kubeconfig", kubeconfig.into()),
        ("authorization-kubeconfig", kubeconfig.into()),
    ];
    command("kube-scheduler", defaults, args(cluster, "scheduler.extraArgs"))
}

/// A host path mounted at the same place: its name, the path, its type, and whether it is only read.
type Mount<'a> = (&'a str, String, &'a str, bool);

struct Component<'a> {
    image: String,
    command: Vec<String>,
    mounts: Vec<Mount<'a>>,
    cpu: &'a str,
    port: u64,
    host: String,
    /// Liveness, readiness and start-up paths; "" for none.
    probes: [&'a str; 3],
    scheme: &'a str,
    annotation: Option<(&'a str, String)>,
}

fn pod(component: Component<'_>, start_failures: u64, extra: &[Value]) -> Value {
    let Component { image, command, mut mounts, cpu, port, host, probes, scheme, annotation } =
        component;
    let name = command[0].clone();
    let probe = |path: &str, delay: u64, failures: u64, period: u64| {
        let get = json!({"host": host, "path": path, "port": "probe-port", "scheme": scheme});
        let mut probe = json!({"failureThreshold": failures, "httpGet": get, "periodSeconds": period,
            "timeoutSeconds": 15});
        if delay > 0 {
            probe["initialDelaySeconds"] = delay.into();
        }
        probe
    };
    for volume in extra {
        let kind = or(text(volume, "pathType"), "");
        let readonly = volume["readOnly"] == true;
        mounts.push((text(volume, "name"), text(volume, "hostPath").to_owned(), kind, readonly));
    }
    let mut volumes = mounts.clone();
    volumes.sort();
    if name != "etcd" {
        mounts.sort();
    }
    let mount = |(name, path, _, readonly): &Mount<'_>| {
        let inside = extra
            .iter()
            .find(|v| text(v, "name") == *name)
            .map_or(path.as_str(), |v| text(v, "mountPath"));
        let mut mount = json!({"mountPath": inside, "name": name});
        if *readonly {
            mount["readOnly"] = true.into();
        }
        mount
    };
    let volume = |(name, path, kind, _): &Mount<'_>| json!({"hostPath": {"path": path, "type": kind}, "name": name});
    let mut requests = json!({"cpu": cpu});
    if name == "etcd" {
        requests["memory"] = "100Mi".into();
    }
    let mut container = json!({
        "command": command, "image": image, "imagePullPolicy": "IfNotPresent",
        "livenessProbe": probe(probes[0], 10, 8, 10), "name": name,
        "ports": [{"containerPort": port, "name": "probe-port", "protocol": "TCP"}],
        "resources": {"requests": requests}, "startupProbe": probe(probes[2], 10, start_failures, 10),
        "volumeMounts": mounts.iter().map(mount).collect::<Vec<_>>(),
    });
    if !probes[1].is_empty() {
        container["readinessProbe"] = probe(probes[1], 0, 3, 1);
    }
    let mut metadata = json!({"labels": {"component": name, "tier": "control-plane"}, "name": name, "namespace": "kube-system"});
    if let Some((key, value)) = annotation {
        metadata["annotations"] = json!({key: value});
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {
            "containers": [container], "hostNetwork": true, "priority": 2000001000,
            "priorityClassName": "system-node-critical",
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": volumes.iter().map(volume).collect::<Vec<_>>(),
        },
        "status": {},
    })
}

/// The host's certificate folders that a control plane mounts, where they exist.
fn certificate_mounts(root: &Path, pki: &str) -> Vec<Mount<'static>> {
    let mut mounts = vec![
        ("k8s-certs", pki.to_owned(), "DirectoryOrCreate", true),
        ("ca-certs", "/etc/ssl/certs".into(), "DirectoryOrCreate", true),
    ];
    for (name, path) in [
        ("etc-pki-ca-trust", "/etc/pki/ca-trust"),
        ("etc-pki-tls-certs", "/etc/pki/tls/certs"),
        ("etc-ca-certificates", "/etc/ca-certificates"),
        ("usr-share-ca-certificates", "/usr/share/ca-certificates"),
        ("usr-local-share-ca-certificates", "/usr/local/share/ca-certificates"),
    ] {
        if root.join(&path[1..]).exists() {
            mounts.push((name, path.into(), "DirectoryOrCreate", true));
        }
    }
    mounts
}

/// Where a component's health is asked: its bind address, or this host's own.
fn bind_address(cluster: &Value, section: &str) -> String {
    let all = args(cluster, &format!("{section}.extraArgs"));
    match all.iter().rev().find(|(n, _)| n == "bind-address").map(|(_, v)| v.as_str()) {
        None | Some("0.0.0.0") => "127.0.0.1".to_owned(),
        Some(address) => address.to_owned(),
    }
}

fn etcd(config: &Config) -> Component<'static> {
    let advertise = text(&config.init, "localAPIEndpoint.advertiseAddress");
    let data = text(&config.cluster, "etcd.local.dataDir").to_owned();
    let certificates = format!("{}/etcd", text(&config.cluster, "certificatesDir"));
    let url = format!("https://{}", net::join(advertise, 2379));
    Component {
        image: etcd_image(&config.cluster),
        command: etcd_command(config),
        mounts: vec![
            ("etcd-data", data, "DirectoryOrCreate", false),
            ("etcd-certs", certificates, "DirectoryOrCreate", false),
        ],
        cpu: "100m",
        port: 2381,
        host: if advertise.contains(':') { "::1" } else { "127.0.0.1" }.into(),
        probes: ["/livez", "/readyz", "/readyz"],
        scheme: "HTTP",
        annotation: Some(("kubeadm.kubernetes.io/etcd.advertise-client-urls", url)),
    }
}

fn component(root: &Path, config: &Config, name: &str) -> (&'static str, Component<'static>) {
    let Config { init, cluster, .. } = config;
    let advertise = text(init, "localAPIEndpoint.advertiseAddress");
    let mut mounts = certificate_mounts(root, text(cluster, "certificatesDir"));
    let kubeconfig =
        |file: &str| ("kubeconfig", format!("/etc/kubernetes/{file}.conf"), "FileOrCreate", true);
    let mut part = Component {
        image: format!(
            "{}/{name}:{}",
            text(cluster, "imageRepository"),
            text(cluster, "kubernetesVersion")
        ),
        command: Vec::new(),
        mounts: Vec::new(),
        cpu: "100m",
        port: 10259,
        host: bind_address(cluster, "scheduler"),
        probes: ["/livez", "/readyz", "/livez"],
        scheme: "HTTPS",
        annotation: None,
    };
    match name {
        "kube-apiserver" => {
            part.port = at(init, "localAPIEndpoint.bindPort").as_u64().unwrap_or(6443);
            let endpoint = net::join(advertise, part.port);
            part.annotation =
                Some(("kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint", endpoint));
            (part.command, part.mounts) = (apiserver_command(config), mounts);
            (part.cpu, part.host) = ("250m", advertise.into());
            ("apiServer", part)
        }
        "kube-controller-manager" => {
            mounts.push(kubeconfig("controller-manager"));
            (part.command, part.mounts) = (controller_manager_command(cluster), mounts);
            (part.cpu, part.port) = ("200m", 10257);
            part.host = bind_address(cluster, "controllerManager");
            part.probes = ["/healthz", "", "/healthz"];
            ("controllerManager", part)
        }
        _ => {
            (part.command, part.mounts) =
                (scheduler_command(cluster), vec![kubeconfig("scheduler")]);
            ("scheduler", part)
        }
    }
}

/// One of the four static pods.
pub fn static_pod(root: &Path, config: &Config, name: &str) -> Value {
    let failures = timeout(&config.init, "controlPlaneComponentHealthCheck").as_secs().div_ceil(10);
    let (section, component) = match name {
        "etcd" => ("", etcd(config)),
        name => component(root, config, name),
    };
    let extra = at(&config.cluster, &format!("{section}.extraVolumes")).as_array();
    pod(component, failures, extra.map_or(&[], Vec::as_slice))
}

/// Writes a static pod's manifest.
pub fn write_static_pod(root: &Path, config: &Config, name: &str) -> Res<()> {
    let path = root.join(format!("etc/kubernetes/manifests/{name}.yaml"));
    pki::write(&path, &to_yaml(&static_pod(root, config, name)), 0o600)
}

/// Writes the kubelet's flags and configuration (cmd/kubeadm/app/phases/kubelet/flags.go).
pub fn write_kubelet(root: &Path, node: &Value, kubelet: &Value, register_taints: bool) -> Res<()> {
    let overrides = args(node, "nodeRegistration.kubeletExtraArgs");
    let mut flags = Vec::new();
    let taint = |t: &Value| match text(t, "value") {
        "" => format!("{}:{}", text(t, "key"), text(t, "effect")),
        value => format!("{}={value}:{}", text(t, "key"), text(t, "effect")),
    };
    let taints: Vec<String> =
        crate::value::list(node, "nodeRegistration.taints").iter().map(taint).collect();
    if register_taints && !taints.is_empty() {
        flags.push(("register-with-taints", taints.join(",")));
    }
    let name =
        overrides.iter().rev().find(|(n, _)| n == "hostname-override").map(|(_, v)| v.clone());
    let name = name.unwrap_or_else(|| text(node, "nodeRegistration.name").to_owned());
    if name != net::hostname().to_lowercase() {
        flags.push(("hostname-override", name));
    }
    let line = command("", flags, overrides).join(" ");
    println!(
        "[kubelet-start] Writing kubelet environment file with flags to file \"/var/lib/kubelet/kubeadm-flags.env\""
    );
    let folder = root.join("var/lib/kubelet");
    pki::write(
        &folder.join("kubeadm-flags.env"),
        &format!("KUBELET_KUBEADM_ARGS={:?}\n", line.trim_start()),
        0o644,
    )?;
    // Since 1.34 the runtime's socket is the node's own setting, patched into the cluster's (NodeLocalCRISocket).
    let socket = text(node, "nodeRegistration.criSocket");
    let writing = "[kubelet-start] Writing kubelet configuration to file";
    println!("{writing} \"/var/lib/kubelet/instance-config.yaml\"");
    let instance = format!("containerRuntimeEndpoint: {socket:?}\n");
    pki::write(&folder.join("instance-config.yaml"), &instance, 0o644)?;
    println!(
        "[patches] Applied patch of type \"application/strategic-merge-patch+json\" to target \"kubeletconfiguration\""
    );
    let mut kubelet = kubelet.clone();
    kubelet["containerRuntimeEndpoint"] = socket.into();
    println!("{writing} \"/var/lib/kubelet/config.yaml\"");
    pki::write(&folder.join("config.yaml"), &to_yaml(&kubelet), 0o644)
}

/// The value of a `--name=value` in a container's command; the last one counts.
pub fn flag(command: &[String], name: &str) -> Option<String> {
    let start = format!("--{name}=");
    command.iter().rev().find_map(|a| a.strip_prefix(&start).map(str::to_owned))
}
