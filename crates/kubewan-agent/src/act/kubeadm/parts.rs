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

/// A part that is not there: the phase that makes it, and what of it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) phase: String,
    pub(super) gone: Vec<String>,
}

/// Parts that are files, in the order of cmd/kubeadm/app/cmd/init.go.
pub(super) fn missing_files(config: Config<'_>) -> Vec<Part> {
    let certificates =
        CERTIFICATES.iter().filter(|name| !(config.has_external_etcd() && name.contains("etcd")));
    let service_accounts = ["sa.key", "sa.pub"].map(|name| format!("{PKI}/{name}"));
    let files = [certificate_files(certificates), service_accounts.to_vec()].concat();
    let mut parts = vec![("certs/all".to_owned(), files)];
    for name in KUBECONFIGS {
        let release = config.minor().and_then(Release::of_minor);
        if *name != "super-admin" || release.is_none_or(|release| release.super_admin) {
            let file = format!("/etc/kubernetes/{name}.conf");
            parts.push((format!("kubeconfig/{name}"), vec![file]));
        }
    }
    if !config.has_external_etcd() {
        parts.push(("etcd/local".to_owned(), vec![super::etcd::MANIFEST.to_owned()]));
    }
    for part in STATIC_PODS {
        let file = format!("/etc/kubernetes/manifests/kube-{part}.yaml");
        parts.push((format!("control-plane/{part}"), vec![file]));
    }
    let kubelet = [super::KUBELET_CONFIG, crate::facts::kubelet::FLAGS_FILE].map(str::to_owned);
    parts.push(("kubelet-start".to_owned(), kubelet.to_vec()));
    parts.retain(|(phase, _)| !config.skips(phase));
    let gone = |(phase, files): (String, Vec<String>)| {
        let gone: Vec<String> = files.into_iter().filter(|file| absent(file)).collect();
        (!gone.is_empty()).then_some(Part { phase, gone })
    };
    parts.into_iter().filter_map(gone).collect()
}

/// Keys that sign, and that are not among the files of a control plane.
pub(crate) fn keys_gone() -> Vec<String> {
    let authorities = AUTHORITIES.iter().map(|name| format!("{PKI}/{name}.key"));
    authorities.chain([format!("{PKI}/sa.key")]).filter(|path| absent(path)).collect()
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

/// Parts that are in the API, in the order of cmd/kubeadm/app/cmd/init.go; one request for all.
pub(super) fn missing_objects(
    host: &Host,
    config: Config<'_>,
    node: &str,
) -> Result<Vec<Part>, String> {
    let get = ["get", "-f", "-", "-o", "json", "--ignore-not-found"];
    let items = asked(node, config);
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let program = admin(host).args(get).stdin(list.to_string());
    let found = match ask(host, &program)? {
        Answer::Object(found) => found,
        Answer::Nothing => Value::Null,
        Answer::NoApi => return Ok(Vec::new()),
    };
    Ok(missing_in(&found, config, node))
}

/// Parts that are not among what the API has.
pub(super) fn missing_in(found: &Value, config: Config<'_>, node: &str) -> Vec<Part> {
    let mut missing = parts_missing(found, node, config.minor());
    missing.retain(|part| !config.skips(&part.phase));
    missing
}

/// The ConfigMap with the kubelets' configuration.
const KUBELET_CONFIG_MAP: &str = "kubelet-config";

/// The same as kubeadm calls it before `UnversionedKubeletConfigMap`, a gate that a user may open.
fn kubelet_config_of_minor(minor: Option<u32>) -> Option<String> {
    let release = minor.and_then(Release::of_minor)?;
    release.kubelet_config_of_minor.then(|| format!("{KUBELET_CONFIG_MAP}-1.{}", release.minor))
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
        object("v1", "ConfigMap", "kube-system", KUBELET_CONFIG_MAP, "upload-config/kubelet"),
        object("v1", "ConfigMap", "kube-public", "cluster-info", "bootstrap-token"),
        object("v1", "ConfigMap", "kube-system", "coredns", "addon/coredns"),
        object("v1", "Service", "kube-system", "kube-dns", "addon/coredns"),
        object("apps/v1", "Deployment", "kube-system", "coredns", "addon/coredns"),
        object("v1", "ConfigMap", "kube-system", "kube-proxy", "addon/kube-proxy"),
        object("apps/v1", "DaemonSet", "kube-system", "kube-proxy", "addon/kube-proxy"),
    ]
}

/// The objects as a question of `kubectl get -f`.
pub(super) fn asked(node: &str, config: Config<'_>) -> Vec<Value> {
    let question = |version: &str, kind: &str, namespace: &str, name: &str| {
        let mut metadata = json!({ "name": name });
        if !namespace.is_empty() {
            metadata["namespace"] = namespace.into();
        }
        json!({ "apiVersion": version, "kind": kind, "metadata": metadata })
    };
    let of_minor = kubelet_config_of_minor(config.minor());
    let of_minor = of_minor.map(|name| question("v1", "ConfigMap", "kube-system", &name));
    let objects = objects(node).into_iter();
    objects
        .map(|(version, kind, namespace, name, _)| question(version, kind, namespace, &name))
        .chain(of_minor)
        .collect()
}

/// The phases of [`missing_in`].
pub(crate) fn missing_of(found: &Value, node: &str, minor: Option<u32>) -> Vec<String> {
    parts_missing(found, node, minor).into_iter().map(|part| part.phase).collect()
}

fn parts_missing(found: &Value, node: &str, minor: Option<u32>) -> Vec<Part> {
    // One object alone is not wrapped into a list.
    let alone = std::slice::from_ref(found);
    let items = found["items"].as_array().map_or(alone, Vec::as_slice);
    let find = |kind: &str, name: &str| {
        items.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name)
    };
    let mut missing: Vec<Part> = Vec::new();
    for (_, kind, namespace, name, phase) in objects(node) {
        let former = kubelet_config_of_minor(minor).filter(|_| name == KUBELET_CONFIG_MAP);
        if find(kind, &name).or_else(|| find(kind, &former?)).is_some() {
            continue;
        }
        let object = match namespace {
            "" => format!("{kind} {name}"),
            namespace => format!("{kind} {namespace}/{name}"),
        };
        match missing.iter_mut().find(|part| part.phase == phase) {
            Some(part) => part.gone.push(object),
            None => missing.push(Part { phase: phase.into(), gone: vec![object] }),
        }
    }
    if !find("Node", node).is_some_and(is_marked) {
        // After upload-config, before bootstrap-token.
        let comes_after =
            |part: &Part| part.phase == "bootstrap-token" || part.phase.starts_with("addon/");
        let at = missing.iter().position(comes_after).unwrap_or(missing.len());
        let gone = vec![format!("{CONTROL_PLANE_LABEL} of Node {node}")];
        missing.insert(at, Part { phase: "mark-control-plane".into(), gone });
    }
    missing
}

/// `LabelNodeRoleControlPlane`, cmd/kubeadm/app/constants/constants.go.
const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";

/// Whether a node has the label of a control plane.
pub(super) fn is_marked(node: &Value) -> bool {
    node["metadata"]["labels"].get(CONTROL_PLANE_LABEL).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Value {
        let mut list = json!({ "items": asked("n1", Config("")) });
        list["items"][0]["metadata"]["labels"] =
            json!({"node-role.kubernetes.io/control-plane": ""});
        list
    }

    #[test]
    fn a_whole_control_plane_misses_nothing() {
        assert_eq!(missing_of(&whole(), "n1", None), Vec::<String>::new());
    }

    #[test]
    fn the_kubelets_configuration_is_known_by_both_its_names() {
        let config = |minor: u32| format!("kubernetesVersion: v1.{minor}.6\n");
        let names = |text: &str| -> Vec<String> {
            let asked = asked("n1", Config(text));
            let names = asked.iter().filter_map(|item| item["metadata"]["name"].as_str());
            names.filter(|name| name.starts_with("kubelet-config")).map(str::to_owned).collect()
        };
        assert_eq!(names(&config(23)), ["kubelet-config", "kubelet-config-1.23"]);
        assert_eq!(names(&config(24)), ["kubelet-config"]);
        let mut list = whole();
        list["items"][2]["metadata"]["name"] = "kubelet-config-1.23".into();
        assert_eq!(missing_of(&list, "n1", Some(23)), Vec::<String>::new());
        for minor in [Some(22), Some(24), None] {
            assert_eq!(missing_of(&list, "n1", minor), ["upload-config/kubelet"], "{minor:?}");
        }
        assert_eq!(
            missing_of(&whole(), "n1", Some(23)),
            Vec::<String>::new(),
            "the gate was opened"
        );
    }

    #[test]
    fn names_the_phase_of_what_is_not_there() {
        let mut list = whole();
        let items = list["items"].as_array_mut().unwrap();
        items
            .retain(|i| !matches!(i["metadata"]["name"].as_str(), Some("kube-proxy" | "kube-dns")));
        assert_eq!(missing_of(&list, "n1", None), ["addon/coredns", "addon/kube-proxy"]);
        let unmarked = json!({ "items": asked("n1", Config("")) });
        assert_eq!(missing_of(&unmarked, "n1", None), ["mark-control-plane"]);
        let all = missing_of(&Value::Null, "n1", None);
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
        assert!(!missing_of(&alone, "n1", None).contains(&"upload-config/kubeadm".to_owned()));
    }
}
