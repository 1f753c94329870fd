//! What `init` leaves in the API: configuration, the node's marks, tokens, addons.

use std::time::Duration;

use serde_json::{Value, json};

use super::init::{Init, retry};
use crate::client::Kube;
use crate::config::{self, service_address, timeout};
use crate::value::{Res, at, list, set, text, to_yaml};
use crate::{manifests, pki, token};

const RBAC: &str = "rbac.authorization.k8s.io";

fn config_map(namespace: &str, name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data})
}

fn config_maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// A role that lets groups read one ConfigMap, and its binding. The stand-in's API has such rules built in; the
/// objects are made because kubeadm makes them.
fn readable(api: &Kube, namespace: &str, role: &str, config_map: &str, subjects: Value) -> Res<()> {
    let metadata = json!({"name": role, "namespace": namespace});
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [config_map], "verbs": ["get"]}]);
    let folder = format!("/apis/{RBAC}/v1/namespaces/{namespace}");
    let api_version = format!("{RBAC}/v1");
    let object =
        json!({"apiVersion": api_version, "kind": "Role", "metadata": metadata, "rules": rules});
    api.ensure(&format!("{folder}/roles"), &object)?;
    let object = json!({"apiVersion": api_version, "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": role}, "subjects": subjects});
    api.ensure(&format!("{folder}/rolebindings"), &object)
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|n| json!({"apiGroup": RBAC, "kind": "Group", "name": n})).collect()
}

const TOKENS: &str = "system:bootstrappers:kubeadm:default-node-token";

/// Stores the configuration for those who join.
pub fn upload_config(init: &mut Init<'_>, only: Option<&str>) -> Res<()> {
    let api = init.api()?;
    let readers = groups(&[TOKENS, "system:nodes"]);
    if only.is_none_or(|o| o == "kubeadm") {
        println!(
            "[upload-config] Storing the configuration used in ConfigMap \"kubeadm-config\" in the \"kube-system\" Namespace"
        );
        let data = json!({"ClusterConfiguration": to_yaml(&init.config.cluster)});
        let fail = |e| format!("error uploading the kubeadm ClusterConfiguration: {e}");
        api.ensure(&config_maps("kube-system"), &config_map("kube-system", "kubeadm-config", data))
            .map_err(fail)?;
        readable(
            &api,
            "kube-system",
            "kubeadm:nodes-kubeadm-config",
            "kubeadm-config",
            readers.clone(),
        )
        .map_err(fail)?;
    }
    if only.is_none_or(|o| o == "kubelet") {
        println!(
            "[kubelet] Creating a ConfigMap \"kubelet-config\" in namespace kube-system with the configuration for \
             the kubelets in the cluster"
        );
        let data = json!({"kubelet": to_yaml(&init.config.kubelet)});
        let fail = |e| format!("error creating kubelet configuration ConfigMap: {e}");
        api.ensure(&config_maps("kube-system"), &config_map("kube-system", "kubelet-config", data))
            .map_err(fail)?;
        readable(&api, "kube-system", "kubeadm:kubelet-config", "kubelet-config", readers)
            .map_err(fail)?;
    }
    Ok(())
}

/// Uploading certificates is for further control planes, which are not rehearsed.
pub fn upload_certs(init: &mut Init<'_>) -> Res<()> {
    match init.line.is_on("upload-certs") {
        false => {
            println!("[upload-certs] Skipping phase. Please see --upload-certs");
            Ok(())
        }
        true => Err("[rehearsal] --upload-certs is not rehearsed".into()),
    }
}

/// Labels and taints the node.
pub fn mark(init: &mut Init<'_>) -> Res<()> {
    let api = init.api()?;
    let node = text(&init.config.init, "nodeRegistration.name").to_owned();
    let labels = [
        "node-role.kubernetes.io/control-plane",
        "node.kubernetes.io/exclude-from-external-load-balancers",
    ];
    println!(
        "[mark-control-plane] Marking the node {node} as control-plane by adding the labels: [{}]",
        labels.join(" ")
    );
    let taints = list(&init.config.init, "nodeRegistration.taints").to_vec();
    if !taints.is_empty() {
        let shown: Vec<String> =
            taints.iter().map(|t| format!("{}:{}", text(t, "key"), text(t, "effect"))).collect();
        println!(
            "[mark-control-plane] Marking the node {node} as control-plane by adding the taints [{}]",
            shown.join(" ")
        );
    }
    let path = format!("/api/v1/nodes/{node}");
    let limit = timeout(&init.config.init, "kubernetesAPICall");
    retry(limit, Duration::from_millis(500), || {
        let old = api.get(&path)?.ok_or_else(|| format!("nodes {node:?} not found"))?;
        let mut all = taints.clone();
        let kept = list(&old, "spec.taints").iter().filter(|t| !taints.contains(t)).cloned();
        all.extend(kept);
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|l| (l.to_string(), "".into())).collect();
        api.merge(&path, &json!({"metadata": {"labels": labels}, "spec": {"taints": all}}))
            .map(drop)
    })
}

/// Makes tokens and `cluster-info`.
pub fn bootstrap_token(init: &mut Init<'_>) -> Res<()> {
    let api = init.api()?;
    let tokens = list(&init.config.init, "bootstrapTokens").to_vec();
    let shown: Vec<&str> = tokens.iter().map(|t| text(t, "token")).collect();
    match shown.as_slice() {
        _ if init.line.is_on("skip-token-print") => {}
        [one] => println!("[bootstrap-token] Using token: {one}"),
        more => println!("[bootstrap-token] Using tokens: [{}]", more.join(" ")),
    }
    println!("[bootstrap-token] Configuring bootstrap tokens, cluster-info ConfigMap, RBAC Roles");
    for one in &tokens {
        let fail = |e| format!("error updating or creating token: {e}");
        api.ensure("/api/v1/namespaces/kube-system/secrets", &token::secret(one)?).map_err(fail)?;
    }
    // Rules that the stand-in's API has built in; kubeadm's words.
    for rule in [
        "allow Node Bootstrap tokens to get nodes",
        "allow Node Bootstrap tokens to post CSRs in order for nodes to get long term certificate credentials",
        "allow the csrapprover controller automatically approve CSRs from a Node Bootstrap Token",
        "allow certificate rotation for all node client certificates in the cluster",
        "allow the API server kubelet client certificate to access the kubelet API",
    ] {
        println!("[bootstrap-token] Configured RBAC rules to {rule}");
    }
    println!(
        "[bootstrap-token] Creating the \"cluster-info\" ConfigMap in the \"kube-public\" namespace"
    );
    let admin = pki::read(&init.root.join("etc/kubernetes/admin.conf"))?;
    let mut bootstrap = crate::value::from_yaml(&admin)?;
    let clusters = json!([{"cluster": bootstrap["clusters"][0]["cluster"], "name": ""}]);
    set(&mut bootstrap, "clusters", clusters);
    for emptied in ["contexts", "users"] {
        set(&mut bootstrap, emptied, Value::Null);
    }
    set(&mut bootstrap, "current-context", "".into());
    let data = json!({"kubeconfig": to_yaml(&bootstrap)});
    let fail = |e| format!("error creating bootstrap ConfigMap: {e}");
    api.ensure(&config_maps("kube-public"), &config_map("kube-public", "cluster-info", data))
        .map_err(fail)?;
    let anyone = json!([{"apiGroup": RBAC, "kind": "User", "name": "system:anonymous"}]);
    readable(&api, "kube-public", "kubeadm:bootstrap-signer-clusterinfo", "cluster-info", anyone)
        .map_err(fail)
}

/// Makes the objects of CoreDNS and kube-proxy; nothing runs from them.
pub fn addons(init: &mut Init<'_>, only: Option<&str>) -> Res<()> {
    let api = init.api()?;
    let cluster = &init.config.cluster;
    let on = |part: &str| at(cluster, &format!("{part}.disabled")) != &Value::Bool(true);
    if on("dns") && only.is_none_or(|o| o == "coredns") {
        let dns = service_address(cluster, 10).map(|a| a.to_string()).unwrap_or_default();
        let documents = include_str!("../../manifests/coredns.yaml")
            .replace("@DNSDomain@", text(cluster, "networking.dnsDomain"))
            .replace("@Image@", &manifests::dns_image(cluster))
            .replace("@DNSIP@", &dns);
        api.ensure_all(&documents)?;
        println!("[addons] Applied essential addon: CoreDNS");
    }
    if on("proxy") && only.is_none_or(|o| o == "kube-proxy") {
        let version = text(cluster, "kubernetesVersion");
        let image = format!("{}/kube-proxy:{version}", text(cluster, "imageRepository"));
        let indented: String =
            to_yaml(&init.config.proxy).lines().map(|l| format!("    {l}\n")).collect();
        let documents = include_str!("../../manifests/kube-proxy.yaml")
            .replace("@ControlPlaneEndpoint@", &config::endpoint(&init.config))
            .replace("@Image@", &image)
            .replace("@ProxyConfig@", indented.trim_end());
        api.ensure_all(&documents)?;
        println!("[addons] Applied essential addon: kube-proxy");
    }
    Ok(())
}

/// The command that joins a worker, on two lines.
pub fn join_command(kubeconfig: &str, token: &str) -> Res<String> {
    let (server, identity) = pki::from_kubeconfig(kubeconfig)?;
    let pin = pki::pin(&identity.ca.ok_or("no CA certificates found in kubeconfig")?)?;
    let server = server.trim_start_matches("https://");
    Ok(format!("kubeadm join {server} --token {token} \\\n\t--discovery-token-ca-cert-hash {pin} "))
}

/// Says that it is done (cmd/kubeadm/app/cmd/phases/init/showjoincommand.go).
pub fn show_join_command(init: &mut Init<'_>) -> Res<()> {
    let admin = pki::read(&init.root.join("etc/kubernetes/admin.conf"))?;
    let hide = init.line.is_on("skip-token-print");
    for one in list(&init.config.init, "bootstrapTokens") {
        let token = if hide { "<value withheld>" } else { text(one, "token") };
        let command = join_command(&admin, token)?;
        let stable = match text(&init.config.cluster, "controlPlaneEndpoint") {
            "" => String::new(),
            _ => format!(
                "{}  {command}\\\n\t--control-plane \n\n",
                include_str!("../../texts/init-done-control-plane.txt")
            ),
        };
        print!(
            "{}",
            include_str!("../../texts/init-done.txt")
                .replace("@ControlPlane@", &stable)
                .replace("@JoinCommand@", &command)
        );
    }
    Ok(())
}
