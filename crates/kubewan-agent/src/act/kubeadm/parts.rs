//! Parts of a control plane, by the `kubeadm init phase` that makes each.

use std::path::Path;
use std::time::Duration;

use kubewan_core::versions::Release;
use serde_json::{Value, json};

use super::super::Host;
use super::super::cluster::{Answer, admin, ask, give_up, wait_for};
use super::config::Config;

/// Certificates and keys below /etc/kubernetes/pki (cmd/kubeadm/app/phases/certs/certlist.go).
pub(super) const CERTIFICATES: &[&str] = &[
    "ca",
    "apiserver",
    "apiserver-kubelet-client",
    "front-proxy-ca",
    "front-proxy-client",
    "etcd/ca",
    "etcd/server",
    "etcd/peer",
    "etcd/healthcheck-client",
    "apiserver-etcd-client",
];

/// Those that sign others.
pub(super) const AUTHORITIES: &[&str] = &["ca", "front-proxy-ca", "etcd/ca"];

/// Where they lie.
pub(super) const PKI: &str = "/etc/kubernetes/pki";

/// kubeconfigs that init makes, by their phase's name.
pub(super) const KUBECONFIGS: &[&str] =
    &["admin", "super-admin", "kubelet", "controller-manager", "scheduler"];

/// Static pods beside etcd's, which `control-plane/…` makes.
const STATIC_PODS: [&str; 3] = ["apiserver", "controller-manager", "scheduler"];

fn absent(path: &str) -> bool {
    !Path::new(path).exists()
}

fn certificate_files<'a>(names: impl Iterator<Item = &'a &'a str>) -> Vec<String> {
    names.flat_map(|name| [format!("{PKI}/{name}.crt"), format!("{PKI}/{name}.key")]).collect()
}

/// Files of a further control plane that are not there, by the `kubeadm join phase` that makes them, in the order of
/// cmd/kubeadm/app/cmd/join.go.
pub(super) fn missing_files_of_joined() -> Vec<String> {
    let service_accounts = ["sa.key", "sa.pub"].map(|name| format!("{PKI}/{name}"));
    let shared = [certificate_files(AUTHORITIES.iter()), service_accounts.to_vec()].concat();
    let own = certificate_files(CERTIFICATES.iter().filter(|name| !AUTHORITIES.contains(name)));
    let kubeconfigs = ["admin", "controller-manager", "scheduler"]
        .map(|name| format!("/etc/kubernetes/{name}.conf"))
        .to_vec();
    let manifests =
        STATIC_PODS.map(|part| format!("/etc/kubernetes/manifests/kube-{part}.yaml")).to_vec();
    let etcd = vec![super::etcd::MANIFEST.to_owned()];
    [
        ("control-plane-prepare/download-certs", shared),
        ("control-plane-prepare/certs", own),
        ("control-plane-prepare/kubeconfig", kubeconfigs),
        ("control-plane-prepare/control-plane", manifests),
        ("etcd-join", etcd),
    ]
    .into_iter()
    .filter(|(_, files)| files.iter().any(|file| absent(file)))
    .map(|(phase, _)| phase.to_owned())
    .collect()
}

/// Phases whose parts are files, in the order of cmd/kubeadm/app/cmd/init.go.
pub(super) fn missing_files(config: Config<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    let certificates = certificate_files(
        CERTIFICATES.iter().filter(|name| !(config.has_external_etcd() && name.contains("etcd"))),
    )
    .into_iter()
    .chain([format!("{PKI}/sa.key"), format!("{PKI}/sa.pub")])
    .any(|path| absent(&path));
    if certificates {
        missing.push("certs/all".to_owned());
    }
    for name in KUBECONFIGS {
        let release = config.minor().and_then(Release::of_minor);
        let unknown = *name == "super-admin" && release.is_some_and(|r| !r.super_admin);
        if !unknown && absent(&format!("/etc/kubernetes/{name}.conf")) {
            missing.push(format!("kubeconfig/{name}"));
        }
    }
    if !config.has_external_etcd() && absent("/etc/kubernetes/manifests/etcd.yaml") {
        missing.push("etcd/local".to_owned());
    }
    for part in STATIC_PODS {
        if absent(&format!("/etc/kubernetes/manifests/kube-{part}.yaml")) {
            missing.push(format!("control-plane/{part}"));
        }
    }
    if absent(super::KUBELET_CONFIG) || absent(crate::facts::kubelet::FLAGS_FILE) {
        missing.push("kubelet-start".to_owned());
    }
    missing.retain(|phase| !config.skips(phase));
    missing
}

/// Waits until the API says that it is ready; its last words where it does not.
pub(super) fn wait_ready(host: &Host, patience: Duration) -> Option<String> {
    let program = admin(host).args(["get", "--raw", "/readyz"]);
    let mut last = String::new();
    let ready = wait_for(patience, Duration::from_secs(1), || {
        match program.stdout() {
            Ok(_) => return Ok(Some(())),
            Err(error) => last = error,
        }
        Ok(None)
    });
    match ready {
        Ok(Some(())) => None,
        _ => {
            give_up();
            Some(last)
        }
    }
}

/// Phases whose parts are in the API, in the order of cmd/kubeadm/app/cmd/init.go; one request for all.
pub(super) fn missing_objects(
    host: &Host,
    config: Config<'_>,
    node: &str,
) -> Result<Vec<String>, String> {
    let get = ["get", "-f", "-", "-o", "json", "--ignore-not-found"];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": asked(node) });
    let program = admin(host).args(get).stdin(list.to_string());
    let found = match ask(host, &program)? {
        Answer::Object(found) => found,
        Answer::Nothing => Value::Null,
        Answer::NoApi => return Ok(Vec::new()),
    };
    Ok(missing_in(&found, config, node))
}

/// Phases whose parts are not among what the API has.
pub(super) fn missing_in(found: &Value, config: Config<'_>, node: &str) -> Vec<String> {
    let mut missing = missing_of(found, node);
    missing.retain(|phase| !config.skips(phase));
    missing
}

/// Kind, namespace, name, and the phases that make it.
fn objects(node: &str) -> Vec<(&'static str, &'static str, &'static str, String, &'static str)> {
    let object = |version, kind, namespace, name: &str, phase| {
        (version, kind, namespace, name.to_owned(), phase)
    };
    vec![
        // A node that was deleted comes back only when its kubelet starts again.
        object("v1", "Node", "", node, "kubelet-start"),
        object("v1", "ConfigMap", "kube-system", "kubeadm-config", "upload-config/kubeadm"),
        object("v1", "ConfigMap", "kube-system", "kubelet-config", "upload-config/kubelet"),
        object("v1", "ConfigMap", "kube-public", "cluster-info", "bootstrap-token"),
        object("v1", "ConfigMap", "kube-system", "coredns", "addon/coredns"),
        object("v1", "Service", "kube-system", "kube-dns", "addon/coredns"),
        object("apps/v1", "Deployment", "kube-system", "coredns", "addon/coredns"),
        object("v1", "ConfigMap", "kube-system", "kube-proxy", "addon/kube-proxy"),
        object("apps/v1", "DaemonSet", "kube-system", "kube-proxy", "addon/kube-proxy"),
    ]
}

/// The objects as a question of `kubectl get -f`.
pub(super) fn asked(node: &str) -> Vec<Value> {
    objects(node)
        .into_iter()
        .map(|(version, kind, namespace, name, _)| {
            let mut metadata = json!({ "name": name });
            if !namespace.is_empty() {
                metadata["namespace"] = namespace.into();
            }
            json!({ "apiVersion": version, "kind": kind, "metadata": metadata })
        })
        .collect()
}

pub(crate) fn missing_of(found: &Value, node: &str) -> Vec<String> {
    // One object alone is not wrapped into a list.
    let alone = std::slice::from_ref(found);
    let items = found["items"].as_array().map_or(alone, Vec::as_slice);
    let find = |kind: &str, name: &str| {
        items.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name)
    };
    let mut missing: Vec<&str> = Vec::new();
    for (_, kind, _, name, phase) in objects(node) {
        if find(kind, &name).is_none() && !missing.contains(&phase) {
            missing.push(phase);
        }
    }
    if !find("Node", node).is_some_and(is_marked) {
        // After upload-config, before bootstrap-token.
        let at = missing
            .iter()
            .position(|phase| *phase == "bootstrap-token" || phase.starts_with("addon/"))
            .unwrap_or(missing.len());
        missing.insert(at, "mark-control-plane");
    }
    missing.into_iter().map(str::to_owned).collect()
}

/// Whether a node has the label of a control plane (`LabelNodeRoleControlPlane`,
/// cmd/kubeadm/app/constants/constants.go).
pub(super) fn is_marked(node: &Value) -> bool {
    node["metadata"]["labels"].get("node-role.kubernetes.io/control-plane").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Value {
        let mut list = json!({ "items": asked("n1") });
        list["items"][0]["metadata"]["labels"] =
            json!({"node-role.kubernetes.io/control-plane": ""});
        list
    }

    #[test]
    fn a_whole_control_plane_misses_nothing() {
        assert_eq!(missing_of(&whole(), "n1"), Vec::<String>::new());
    }

    #[test]
    fn names_the_phase_of_what_is_not_there() {
        let mut list = whole();
        let items = list["items"].as_array_mut().unwrap();
        items
            .retain(|i| !matches!(i["metadata"]["name"].as_str(), Some("kube-proxy" | "kube-dns")));
        assert_eq!(missing_of(&list, "n1"), ["addon/coredns", "addon/kube-proxy"]);
        let unmarked = json!({ "items": asked("n1") });
        assert_eq!(missing_of(&unmarked, "n1"), ["mark-control-plane"]);
        let all = missing_of(&Value::Null, "n1");
        assert_eq!(
            all[..4],
            [
                "kubelet-start",
                "upload-config/kubeadm",
                "upload-config/kubelet",
                "mark-control-plane"
            ]
        );
        assert_eq!(all[4..], ["bootstrap-token", "addon/coredns", "addon/kube-proxy"]);
        // kubectl prints one object without a list around it.
        let alone = whole()["items"][1].clone();
        assert!(!missing_of(&alone, "n1").contains(&"upload-config/kubeadm".to_owned()));
    }
}
