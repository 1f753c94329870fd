//! Versions of Kubernetes on hosts of all kinds: what is refused, what is warned of.

use std::collections::BTreeMap;

use super::*;
use crate::inventory::{KubernetesSource, RuntimeSource};

/// First and last of what changes something, and the recipe's.
const VERSIONS: &[&str] = &[
    "1.22.17", "1.23.6", "1.23.17", "1.24.17", "1.25.16", "1.26.15", "1.28.15", "1.30.14",
    "1.31.14", "1.32.13", "1.33.13", "1.34.9", "1.35.6", "1.36.2",
];

type HostCase = (&'static str, fn(&mut Inventory, &mut Facts));

/// Debian 12 with containerd 2.1 is the host otherwise.
const HOSTS: &[HostCase] = &[
    ("as it is", |_, _| {}),
    ("cgroup v1", |_, facts| facts.cgroup = CgroupVersion::V1),
    ("containerd 1.4", |_, facts| facts.runtime.containerd = Some("1.4.13~ds1-1~deb11u4".into())),
    ("containerd 1.6", |_, facts| facts.runtime.containerd = Some("1.6.20~ds1-1+b1".into())),
    ("containerd 1.7", |_, facts| facts.runtime.containerd = Some("1.7.24~ds1-6+b4".into())),
    ("containerd from its releases", |inventory, facts| {
        inventory.runtime.source = RuntimeSource::Release;
        facts.runtime.containerd = None;
    }),
    ("Docker's containerd, to come", |inventory, facts| {
        inventory.runtime.source = RuntimeSource::Docker;
        facts.runtime.containerd = None;
    }),
    ("kernel 3.10", |_, facts| old_kernel(facts, "3.10.0-1160.el7.x86_64")),
    ("kernel 4.19", |_, facts| old_kernel(facts, "4.19.0-27-amd64")),
    ("kernel 4.19, cgroup v2", |_, facts| facts.kernel.release = "4.19.0-27-amd64".into()),
    ("kernel 5.4", |_, facts| old_kernel(facts, "5.4.0-216-generic")),
    ("kernel 5.13", |_, facts| facts.kernel.release = "5.13.0-52-generic".into()),
    ("packages of Kubernetes", |inventory, _| {
        inventory.kubernetes.source = Some(KubernetesSource::Packages);
    }),
    ("k8s.gcr.io", |inventory, _| inventory.kubernetes.image_repository = "k8s.gcr.io".into()),
];

/// Of a time when cgroup v1 was usual.
fn old_kernel(facts: &mut Facts, release: &str) {
    facts.kernel.release = release.into();
    facts.cgroup = CgroupVersion::V1;
}

fn findings_of(version: &str, change: fn(&mut Inventory, &mut Facts)) -> Vec<Finding> {
    let mut inventory = samples::inventory(1);
    inventory.kubernetes.version = version.into();
    inventory.kubernetes.source = Some(KubernetesSource::Release);
    inventory.runtime.source = RuntimeSource::Distribution;
    let mut facts = samples::facts(0);
    facts.runtime.containerd = Some("2.1.9+ds1-5".into());
    change(&mut inventory, &mut facts);
    let (supplied, keys) = samples::supply(&inventory);
    let addresses = samples::addresses(&inventory);
    let inputs = Inputs { keys: &keys, ..Inputs::new(&addresses, &supplied) };
    let facts = BTreeMap::from([(inventory.hosts[0].name.clone(), facts)]);
    let findings = steps(&inventory, &facts, &inputs).findings;
    // Said of each cluster of the sample's.
    findings.into_iter().filter(|finding| finding.code != "plaintext-pod-traffic").collect()
}

#[test]
fn every_version_on_every_host() {
    let mut text = String::new();
    let mut said: BTreeMap<(String, Severity), String> = BTreeMap::new();
    for (host, change) in HOSTS {
        let _ = writeln!(text, "## {host}");
        for version in VERSIONS {
            let findings = findings_of(version, *change);
            let codes: Vec<String> = findings
                .iter()
                .filter(|finding| finding.code != "end-of-life" || *host == "as it is")
                .map(|finding| {
                    let mark = if finding.severity == Severity::Error { "REFUSED " } else { "" };
                    format!("{mark}{}", finding.code)
                })
                .collect();
            let _ = writeln!(
                text,
                "{version:<8} {}",
                if codes.is_empty() { "-".into() } else { codes.join(", ") }
            );
            for finding in findings {
                let shown = shown(&format!("{version}, {host}"), std::slice::from_ref(&finding));
                said.entry((finding.code, finding.severity)).or_insert(shown);
            }
        }
    }
    let said: Vec<String> = said.into_values().collect();
    insta::assert_snapshot!(format!(
        "{text}\n# Their words, where each came first\n\n{}",
        said.join("\n")
    ));
}

/// What a bundle lacks, with some of its images in other versions.
fn bundle_lacks(change: fn(&mut Inventory), rename: &[(&str, &str)]) -> Vec<String> {
    let mut inventory = samples::inventory(2);
    change(&mut inventory);
    let mut bundle = samples::bundle();
    for image in &mut bundle.artifacts {
        for (from, to) in rename {
            image.name = image.name.replace(from, to);
        }
    }
    let (facts, addresses) = (samples::all_facts(&inventory), samples::addresses(&inventory));
    let findings = steps(&inventory, &facts, &Inputs::new(&addresses, &bundle)).findings;
    let lacking = findings.into_iter().filter(|finding| finding.code == "bundle-incomplete");
    lacking.map(|f| format!("{}: {}", f.host.unwrap_or_default(), f.message)).collect()
}

#[test]
fn a_bundle_has_the_images_that_kubeadm_asks_for() {
    const OLDER: &[(&str, &str)] = &[("etcd:3.6.8-0", "etcd:3.6.6-0"), ("v1.14.2", "v1.13.1")];
    assert_eq!(bundle_lacks(|_| {}, &[]), [] as [String; 0]);
    let coredns =
        "no image registry.k8s.io/coredns/coredns:v1.14.2 for amd64, which kubeadm 1.36.2 expects";
    let etcd = "no image registry.k8s.io/etcd:3.6.8-0 for amd64, which kubeadm 1.36.2 expects";
    assert_eq!(
        bundle_lacks(|_| {}, OLDER),
        [
            format!("master01: the bundle has {coredns}, {etcd}"),
            format!("node01: the bundle has {coredns}")
        ]
    );
    // Which the user asks for: any.
    let asked = |inventory: &mut Inventory| {
        let cluster = &mut inventory.kubernetes.kubeadm.cluster;
        cluster.insert("dns".into(), json!({ "imageTag": "v1.13.1" }));
        cluster.insert("etcd".into(), json!({ "local": { "imageTag": "3.6.6-0" } }));
    };
    assert_eq!(bundle_lacks(asked, OLDER), [] as [String; 0]);
    // A patch release that is not known yet may ask for others.
    let later = |inventory: &mut Inventory| inventory.kubernetes.version = "1.36.99".into();
    assert_eq!(bundle_lacks(later, OLDER), [] as [String; 0]);
}
