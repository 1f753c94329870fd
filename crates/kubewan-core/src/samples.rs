//! Inventories, facts and bundles for tests.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::bundle::{Artifact, ArtifactKind, Bundle, FORMAT};
use crate::facts::{DefaultRoute, Facts, Interface, InterfaceAddress};
use crate::inventory::{Inventory, KubernetesSource};
use crate::supply::{self, Holds, Part};

/// A cluster of `hosts` hosts: `master01`, then `node01`, …
pub fn inventory(hosts: usize) -> Inventory {
    let hosts: Vec<serde_json::Value> = (0..hosts)
        .map(|n| {
            let (name, roles) = match n {
                0 => ("master01".to_owned(), vec!["control-plane", "worker"]),
                n => (format!("node{n:02}"), vec!["worker"]),
            };
            serde_json::json!({ "name": name, "address": format!("198.51.100.{}", 10 * (n + 1)), "roles": roles })
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "name": "home",
        "kubernetes": { "version": "1.36.2", "source": "bundle" },
        "runtime": { "source": "bundle" },
        "network": { "backend": "vxlan" },
        "hosts": hosts,
    }))
    .expect("the sample is well-formed")
}

/// A cluster of three hosts or more, of which the first so many are control planes.
pub fn control_planes(count: usize) -> Inventory {
    let mut inventory = inventory(count.max(3));
    let first = inventory.hosts[0].roles.clone();
    for host in inventory.hosts.iter_mut().take(count) {
        host.roles.clone_from(&first);
    }
    inventory
}

/// Public addresses as the inventory writes them.
pub fn addresses(inventory: &Inventory) -> BTreeMap<String, Ipv4Addr> {
    let parse = |text: &str| text.parse().expect("a literal address");
    inventory.hosts.iter().map(|h| (h.name.clone(), parse(&h.address))).collect()
}

/// An untouched Debian 12 behind 1:1 NAT.
pub fn facts(n: u8) -> Facts {
    let mut facts = Facts::default();
    facts.os.id = "debian".into();
    facts.os.version_id = "12".into();
    facts.os.codename = "bookworm".into();
    facts.os.systemd = 252;
    facts.kernel.release = "6.1.0-37-amd64".into();
    facts.kernel.arch = "amd64".into();
    facts.kernel.dummy = true;
    facts.kernel.bridge = true;
    facts.kernel.vxlan = true;
    facts.kernel.wireguard = true;
    facts.interfaces =
        vec![Interface { name: "eth0".into(), mtu: 1500, up: true, kind: String::new() }];
    let address = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 4, 7), 24);
    facts.addresses = vec![InterfaceAddress { interface: "eth0".into(), address }];
    facts.default_route = Some(DefaultRoute { interface: "eth0".into(), gateway: None });
    facts.memory_bytes = 4 << 30;
    facts.cores = 2;
    facts.disk_free_bytes = 20 << 30;
    facts.machine_id = format!("machine-{n}");
    facts.product_uuid = format!("uuid-{n}");
    facts.hostname = format!("host-{n}");
    facts.hostname_resolves = true;
    facts.own.rehearsal_allowed = true;
    facts
}

/// Facts of every host.
pub fn all_facts(inventory: &Inventory) -> BTreeMap<String, Facts> {
    inventory.hosts.iter().zip(0..).map(|(host, n)| (host.name.clone(), facts(n))).collect()
}

/// What hosts are given beside or in place of a bundle, and keys, as the operator's side finds them.
pub fn supply(inventory: &Inventory) -> (Bundle, BTreeMap<String, String>) {
    let mut whole = match inventory.source() {
        KubernetesSource::Bundle => bundle(),
        KubernetesSource::Release | KubernetesSource::Packages => {
            Bundle { artifacts: Vec::new(), ..bundle() }
        }
    };
    for download in supply::downloads(inventory, "amd64") {
        let file = |part: &Part, url: Option<String>| Artifact {
            kind: part.kind,
            name: part.name.clone(),
            version: download.version.clone(),
            arch: "amd64".into(),
            distribution: None,
            runtime: None,
            path: format!("files/{}", part.name),
            size: if url.is_some() { 0 } else { 1000 },
            sha256: crate::sha256_hex(part.name.as_bytes()),
            url,
        };
        match &download.holds {
            Holds::Program(part) => whole.artifacts.push(file(part, Some(download.url.clone()))),
            Holds::Archive(members) => {
                whole.artifacts.extend(members.values().map(|part| file(part, None)));
            }
        }
    }
    let repositories = supply::repositories(inventory, &facts(0).os);
    let keys = repositories.into_iter().map(|r| (r.key_url, "-----BEGIN PGP…\n".into())).collect();
    (whole, keys)
}

/// A small bundle with one artifact of what matters.
pub fn bundle() -> Bundle {
    let artifact = |kind, name: &str, version: &str| Artifact {
        kind,
        name: name.into(),
        version: version.into(),
        arch: "amd64".into(),
        distribution: (kind == ArtifactKind::Package).then(|| "debian-12".into()),
        runtime: None,
        path: format!("files/{}", name.replace(['/', ':'], "_")),
        size: 1000,
        sha256: crate::sha256_hex(name.as_bytes()),
        url: None,
    };
    let artifacts = vec![
        artifact(ArtifactKind::Binary, "kubeadm", "1.36.2"),
        artifact(ArtifactKind::Binary, "kubelet", "1.36.2"),
        artifact(ArtifactKind::Binary, "kubectl", "1.36.2"),
        artifact(ArtifactKind::CniPlugin, "bridge", "1.7.1"),
        artifact(ArtifactKind::Image, "registry.k8s.io/pause:3.10.2", "3.10.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/kube-apiserver:v1.36.2", "1.36.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/kube-proxy:v1.36.2", "1.36.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/coredns/coredns:v1.14.2", "1.14.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/etcd:3.6.8-0", "3.6.8"),
        artifact(ArtifactKind::Image, "ghcr.io/flannel-io/flannel:v0.28.9", "0.28.9"),
        artifact(ArtifactKind::Image, "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1", "1.9.1"),
        artifact(ArtifactKind::Package, "containerd", "1.6.20~ds1-1"),
        artifact(ArtifactKind::Package, "runc", "1.1.5"),
        artifact(ArtifactKind::Runtime, "cri-dockerd", "0.3.24"),
        Artifact {
            runtime: Some(crate::inventory::RuntimeKind::Docker),
            ..artifact(ArtifactKind::Package, "docker.io", "20.10.24+dfsg1-1")
        },
    ];
    Bundle {
        format: FORMAT,
        kubernetes: "1.36.2".into(),
        rehearsal: false,
        provenance: String::new(),
        artifacts,
    }
}
