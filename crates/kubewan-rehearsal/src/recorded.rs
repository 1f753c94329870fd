//! The stand-ins held against outcomes of the real programs, kept in `recorded/`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::{self, Config};
use crate::value::from_yaml;
use crate::{kubeadm, manifests};

struct Recording {
    name: String,
    check: String,
    words: String,
}

fn recordings() -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".txt") {
            continue;
        }
        let content = std::fs::read_to_string(&path).unwrap();
        let field = |key: &str| {
            let found = content.lines().find_map(|l| l.strip_prefix(&format!("# {key}: ")));
            found.unwrap_or_else(|| panic!("{name} has no {key}")).to_owned()
        };
        for key in ["program", "source", "situation"] {
            assert!(!field(key).is_empty());
        }
        let words: Vec<&str> = content.lines().filter(|l| !l.starts_with("# ")).collect();
        all.push(Recording { check: field("check"), words: words.join("\n"), name });
    }
    all
}

/// Whether a text has the recorded pieces in order, with anything where `@ANY@` is.
fn fits(recorded: &str, said: &str) -> bool {
    let mut rest = said;
    let pieces: Vec<&str> = recorded.split("@ANY@").collect();
    for (n, piece) in pieces.iter().enumerate() {
        match rest.find(piece) {
            Some(at) if n > 0 || at == 0 => rest = &rest[at + piece.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || pieces.last().is_some_and(|p| p.is_empty())
}

const INIT: &str = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n";
const CLUSTER: &str = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n";

/// What `kubeadm config validate` says of the input beside a recording.
fn validate(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded/inputs");
    let input = folder.join(name.replace(".txt", ".yaml"));
    let args = ["config", "validate", "--config", &input.display().to_string()].map(str::to_owned);
    format!("error: {}", kubeadm::main(&args).unwrap_err())
}

/// Writes a file as the phases do, and compares it with the recorded one.
fn written(name: &str, path: &str, recorded: &str) {
    let root = tempfile::tempdir().unwrap();
    // Folders that the recording's machine had.
    for folder in
        ["etc/ca-certificates", "usr/share/ca-certificates", "usr/local/share/ca-certificates"]
    {
        if recorded.contains(&format!("path: /{folder}\n")) {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
    }
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded/inputs/full.yaml");
    let config = config::load_init(&std::fs::read_to_string(input).unwrap()).unwrap();
    let pod = path.strip_prefix("etc/kubernetes/manifests/").map(|p| p.trim_end_matches(".yaml"));
    match pod {
        Some(pod) => manifests::write_static_pod(root.path(), &config, pod).unwrap(),
        None => {
            manifests::write_kubelet(root.path(), &config.init, &config.kubelet, false).unwrap()
        }
    }
    let said = std::fs::read_to_string(root.path().join(path)).unwrap();
    match path.ends_with(".yaml") {
        true => assert_eq!(from_yaml(&said).unwrap(), from_yaml(recorded).unwrap(), "{name}"),
        false => assert_eq!(said.trim(), recorded.trim(), "{name}"),
    }
}

/// The configuration of upstream's own tests.
fn upstream() -> Config {
    let text = format!(
        "{INIT}nodeRegistration: {{name: foo}}\nlocalAPIEndpoint: {{advertiseAddress: 1.2.3.4}}\n---\n\
         {CLUSTER}kubernetesVersion: v1.36.2\n"
    );
    config::load_init(&text).unwrap()
}

fn lines(all: Vec<String>) -> String {
    let mut all = all;
    all[1..].sort();
    all.join("\n")
}

#[test]
fn the_stand_in_says_what_the_real_one_says() {
    let all = recordings();
    assert!(all.len() >= 10, "{} recordings", all.len());
    for recording in all {
        let (mut recorded, name) = (recording.words.clone(), recording.name.as_str());
        let sort = |text: &str| lines(text.lines().map(str::to_owned).collect());
        if let Some(path) = recording.check.strip_prefix("file ") {
            written(name, path, &recorded);
            continue;
        }
        let said = match recording.check.as_str() {
            "validate" => validate(name),
            "pin" => kubeadm::check_pin("md5:00").unwrap_err(),
            "images" => manifests::images(&upstream().cluster).join("\n"),
            "etcd-command" => {
                recorded = sort(&recorded);
                lines(manifests::etcd_command(&upstream()))
            }
            "apiserver-command" => {
                recorded = sort(&recorded);
                lines(manifests::apiserver_command(&upstream()))
            }
            "lab" => continue,
            other => panic!("{name}: no producer {other:?}"),
        };
        assert!(fits(&recorded, &said), "{name}\nrecorded: {recorded}\nsaid:     {said}");
    }
}

#[test]
fn overrides_replace_and_come_last() {
    let mut config = upstream();
    let local = "https://127.0.0.1:2379";
    config.cluster["etcd"]["local"]["extraArgs"] =
        serde_json::json!([{"name": "listen-client-urls", "value": local}]);
    let command = manifests::etcd_command(&config);
    assert_eq!(command.last().unwrap(), &format!("--listen-client-urls={local}"));
    assert_eq!(command.iter().filter(|a| a.starts_with("--listen-client-urls")).count(), 1);
}

#[test]
fn what_init_writes() {
    let root = tempfile::tempdir().unwrap();
    let mut config = upstream();
    config.cluster["controlPlaneEndpoint"] = "api.kubewan:6443".into();
    config.cluster["apiServer"]["certSANs"] = serde_json::json!(["198.51.100.10"]);
    crate::pki::certificates(root.path(), &config, None).unwrap();
    crate::pki::kubeconfigs(root.path(), &config, None).unwrap();
    let pki = root.path().join("etc/kubernetes/pki");
    let before: BTreeSet<String> = ["ca.crt", "apiserver.crt", "etcd/peer.crt", "sa.key"]
        .map(|f| std::fs::read_to_string(pki.join(f)).unwrap())
        .into();
    // Once more: everything is kept.
    crate::pki::certificates(root.path(), &config, None).unwrap();
    crate::pki::kubeconfigs(root.path(), &config, None).unwrap();
    for file in ["ca.crt", "apiserver.crt", "etcd/peer.crt", "sa.key"] {
        assert!(before.contains(&std::fs::read_to_string(pki.join(file)).unwrap()), "{file}");
    }
    let kubeconfig = |name: &str| {
        let text = std::fs::read_to_string(root.path().join("etc/kubernetes").join(name)).unwrap();
        crate::pki::from_kubeconfig(&text).unwrap()
    };
    assert_eq!(kubeconfig("admin.conf").0, "https://api.kubewan:6443");
    assert_eq!(kubeconfig("kubelet.conf").0, "https://1.2.3.4:6443");
    let (certificate, _) = kubeconfig("kubelet.conf").1.certificate.unwrap();
    let der = crate::net::certificates(&certificate).unwrap();
    let (name, groups) = crate::pki::subject(&der[0]).unwrap();
    assert_eq!((name.as_str(), groups), ("system:node:foo", vec!["system:nodes".to_owned()]));
    let apiserver = std::fs::read_to_string(pki.join("apiserver.crt")).unwrap();
    let der = crate::net::certificates(&apiserver).unwrap();
    let text = String::from_utf8_lossy(&der[0]).into_owned();
    for name in ["api.kubewan", "kubernetes.default.svc.cluster.local", "foo"] {
        assert!(text.contains(name), "{name}");
    }
    // A certificate of another authority is refused.
    let (other, _) = crate::pki::authority("other").unwrap();
    std::fs::write(pki.join("ca.crt"), other).unwrap();
    let error = crate::pki::certificates(root.path(), &config, None).unwrap_err();
    assert!(error.contains("not signed by CA certificate"), "{error}");
}

#[test]
fn node_requests_are_signed_and_others_refused() {
    let (ca, key) = crate::pki::authority("kubernetes").unwrap();
    let (csr, _) = crate::pki::signing_request("system:node:node01", "system:nodes").unwrap();
    let signed = crate::pki::sign_request(&csr, (&ca, &key)).unwrap();
    let der = crate::net::certificates(&signed).unwrap();
    assert_eq!(crate::pki::subject(&der[0]).unwrap().0, "system:node:node01");
    let (csr, _) = crate::pki::signing_request("kubernetes-admin", "system:masters").unwrap();
    assert!(crate::pki::sign_request(&csr, (&ca, &key)).is_err());
}

#[test]
fn recordings_are_compared_with_gaps() {
    assert!(fits("a@ANY@c", "a b c"));
    assert!(fits("@ANY@c@ANY@", "b c d"));
    assert!(!fits("a@ANY@c", "b c"));
    assert!(!fits("a", "a b"));
}
