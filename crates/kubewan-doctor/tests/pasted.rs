//! Texts as people paste them, and what the doctor says to each. `recipe-…` are what the usual blog recipe shows of its
//! troubles: their answers are the recipe's own. Lines of programs are facts: as their sources, users' reports and notes of
//! labs have them (docs/support.md, "The doctor").

use std::collections::BTreeMap;
use std::fs;

use kubewan_core::finding::Severity;
use kubewan_doctor::{Case, diagnose};

/// What must come of each text: the recipe's answer, or the check's own.
const EXPECTED: [(&str, &[&str]); 52] = [
    ("api-certificate", &["api-certificate"]),
    ("br-netfilter", &["no-br-netfilter"]),
    ("certificate-expired", &["certificate-expired"]),
    ("cgroup-driver-1.23", &["cgroup-driver"]),
    ("cgroup-driver-1.23-rebooted", &["cgroup-driver"]),
    ("cgroup-driver-docker", &["cgroup-driver"]),
    ("cgroup-v1", &["kubelet-down"]),
    ("clock-skew", &["clock-skew"]),
    ("conntrack", &["conntrack-refused"]),
    ("containers-exited", &["api-refused"]),
    ("coredns-loop", &["coredns-loop"]),
    ("cri-disabled", &["runtime-pair"]),
    ("disk", &["disk-full"]),
    ("docker-json-file", &["etcd-cannot-bind"]),
    ("docker-stopped", &["runtime-down"]),
    ("etcd-peer", &["etcd-peer-rejected"]),
    ("firewalld", &["firewall-on-again"]),
    ("flannel-interface", &["flannel-address"]),
    ("healthy", &[]),
    ("hostname", &["hostname-unresolved"]),
    ("init-1.28", &["init-timeout"]),
    ("init-1.30", &["init-timeout"]),
    ("init-1.33", &["init-timeout"]),
    ("init-1.36", &["init-timeout"]),
    ("init-1.36-etcd-cannot-bind", &["etcd-cannot-bind"]),
    ("init-1.36-no-hairpin", &["hairpin"]),
    ("node-ip", &["node-ip-nowhere"]),
    ("pause-image", &["pause-image"]),
    ("reboot", &[]),
    ("registries-twice", &["runtime-pair"]),
    ("recipe-centos", &["centos-too-old"]),
    ("recipe-daemon-json", &["daemon-json-invalid"]),
    ("recipe-daemon-json-scheme", &["daemon-json-invalid"]),
    ("recipe-etcd-restarts", &["cgroup-driver"]),
    ("recipe-etcd-restarts-kubelet-alone", &["api-refused"]),
    ("recipe-etcd-restarts-with-its-cure", &["cgroup-driver"]),
    ("recipe-init-times-out", &["init-timeout"]),
    ("recipe-kubeadm-config", &["etcd-cannot-bind"]),
    ("recipe-kubeadm-init", &["etcd-cannot-bind"]),
    ("recipe-nodes-not-ready", &["no-cni"]),
    ("recipe-nodes-ready", &[]),
    ("recipe-kubectl-without-config", &["no-kubeconfig"]),
    ("recipe-node-joined", &["node-not-ready"]),
    ("recipe-init-times-out-with-etcd-s-manifest", &["etcd-cannot-bind"]),
    ("recipe-not-ready", &["no-cni"]),
    ("recipe-registry", &["registry-certificate"]),
    ("recipe-token-forgotten", &["token-unsigned"]),
    ("runtime-down", &["runtime-down"]),
    ("runtime-pair", &["runtime-pair"]),
    ("swap", &["swap-on"]),
    ("udp-checksum", &["udp-checksum"]),
    ("nothing", &[]),
];

fn texts() -> BTreeMap<String, String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pasted");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    files.filter(|path| path.extension().is_some_and(|e| e == "txt")).map(text).collect()
}

#[test]
fn each_text_has_its_answer() {
    let mut texts = texts();
    texts.insert("nothing".into(), String::new());
    let mut told = String::new();
    for (name, expected) in EXPECTED {
        let text = texts.remove(name).unwrap_or_else(|| panic!("no {name}"));
        let found = diagnose(&Case::pasted("FILE", &text));
        let codes: Vec<&str> = found.iter().map(|d| d.code).collect();
        assert_eq!(codes, expected, "{name}: {found:#?}");
        told += &format!("== {name}\n");
        for d in found {
            let severity = if d.severity == Severity::Error { "error" } else { "warning" };
            told += &format!("{severity}[{}]: {}\n  why: {}\n", d.code, d.symptom, d.cause);
            for quote in d.evidence {
                told += &format!("  {}: {}\n", quote.source, quote.text);
            }
            told += &format!("  do: {}\n  explains: {:?}\n", d.remedy, d.explains);
        }
    }
    assert!(texts.is_empty(), "texts without an answer: {:?}", texts.keys());
    insta::assert_snapshot!("pasted", told);
}

/// The recipe's answer stands in the remedy, in its own words.
#[test]
fn the_recipes_answers_are_given() {
    let texts = texts();
    for (name, words) in [
        (
            "recipe-etcd-restarts",
            &[
                "SystemdCgroup = true",
                "/etc/containerd/config.toml",
                "systemctl restart containerd",
            ][..],
        ),
        (
            "recipe-init-times-out-with-etcd-s-manifest",
            &[
                "listen-client-urls=https://127.0.0.1:2379",
                "listen-peer-urls=https://127.0.0.1:2380",
                "no `kubeadm reset`",
            ],
        ),
        (
            "recipe-registry",
            &[
                "/etc/containerd/certs.d/192.168.3.9:8443/ca.crt",
                "systemctl restart containerd",
                "crictl pull 192.168.3.9:8443/library/nginx:latest",
            ],
        ),
        ("recipe-token-forgotten", &["kubeadm token list", "the hash of the CA"]),
        ("recipe-centos", &["yum update -y", "7.9"]),
        ("recipe-not-ready", &["kubectl apply -f kube-flannel.yml"]),
        ("recipe-etcd-restarts-kubelet-alone", &["crictl ps -a"]),
        ("recipe-init-times-out", &["journalctl -u kubelet"]),
        ("recipe-kubeadm-config", &["listen-peer-urls=https://127.0.0.1:2380", "etcd.yaml"]),
        ("recipe-kubeadm-init", &["listen-peer-urls=https://127.0.0.1:2380", "etcd.yaml"]),
        ("recipe-nodes-not-ready", &["kubectl apply -f kube-flannel.yml", "some minutes"]),
        ("recipe-node-joined", &["wait five minutes"]),
    ] {
        let found = diagnose(&Case::pasted("FILE", &texts[name]));
        for word in words {
            assert!(found[0].remedy.contains(word), "{name}: no `{word}` in {}", found[0].remedy);
        }
    }
}
