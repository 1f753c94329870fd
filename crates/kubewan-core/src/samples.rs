//! Inventories, facts and bundles for tests.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::bundle::{Artifact, ArtifactKind, Bundle, FORMAT};
use crate::facts::{DefaultRoute, Facts, Interface, InterfaceAddress, Os};
use crate::inventory::adopt::{Living, LivingNode};
use crate::inventory::{Host, Inventory, KubernetesSource};
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

/// The cluster that an inventory takes over, as its API tells before that.
pub fn living(inventory: &Inventory) -> Living {
    let node = |host: &Host| LivingNode {
        name: host.name.clone(),
        address: host.address.clone(),
        roles: host.roles.clone(),
        announced: Some(host.address.clone()),
        ..LivingNode::default()
    };
    Living {
        name: None,
        version: inventory.kubernetes.version.clone(),
        source: inventory.source(),
        image_repository: None,
        runtime: inventory.runtime.clone(),
        network: inventory.network.clone(),
        adopt: inventory.adopt.clone().expect("the mark"),
        kubelet: serde_json::Value::Null,
        kube_proxy: serde_json::Value::Null,
        etcd_listens: None,
        nodes: inventory.hosts.iter().map(node).collect(),
    }
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
    facts.default_route =
        Some(DefaultRoute { interface: "eth0".into(), gateway: Some(Ipv4Addr::new(10, 0, 4, 1)) });
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

/// What /etc/os-release says, and /etc/centos-release of the one whose series alone it says; as recorded in
/// canonical/cloud-init, tests/unittests/test_util.py, and in public logs of such hosts.
const RPM_SYSTEMS: [(&str, &str, &str, &str, u32); 9] = [
    ("centos", "7", "CentOS Linux 7 (Core)", "7.9.2009", 219),
    ("rocky", "8.10", "Rocky Linux 8.10 (Green Obsidian)", "", 239),
    ("rocky", "9.6", "Rocky Linux 9.6 (Blue Onyx)", "", 252),
    ("almalinux", "10.0", "AlmaLinux 10.0 (Purple Lion)", "", 257),
    ("openEuler", "22.03", "openEuler 22.03 (LTS-SP2)", "", 249),
    ("anolis", "8.9", "Anolis OS 8.9", "", 239),
    ("anolis", "23", "Anolis OS 23", "", 255),
    ("amzn", "2", "Amazon Linux 2", "", 219),
    ("amzn", "2023", "Amazon Linux 2023.4.20240416", "", 252),
];

/// A host of every family with rpm.
pub fn rpm_systems() -> Vec<Os> {
    let os =
        |&(id, version_id, pretty_name, release, systemd): &(&str, &str, &str, &str, u32)| Os {
            id: id.into(),
            version_id: version_id.into(),
            codename: String::new(),
            pretty_name: pretty_name.into(),
            release: release.into(),
            systemd,
        };
    RPM_SYSTEMS.iter().map(os).collect()
}

/// One of them.
pub fn rpm_system(id: &str, version_id: &str) -> Os {
    let mut all = rpm_systems().into_iter();
    all.find(|os| os.id == id && os.version_id == version_id).expect("a sample")
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
    let systems = [rpm_systems(), vec![facts(0).os]].concat();
    let repositories = systems.iter().flat_map(|os| supply::repositories(inventory, os));
    let urls = repositories.filter_map(|repository| repository.key_url);
    let keys = urls.map(|url| (url, "-----BEGIN PGP…\n".into())).collect();
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
        artifact(ArtifactKind::CniPlugin, "host-local", "1.7.1"),
        artifact(ArtifactKind::CniPlugin, "loopback", "1.7.1"),
        artifact(ArtifactKind::CniPlugin, "portmap", "1.7.1"),
        artifact(ArtifactKind::Image, "registry.k8s.io/pause:3.10.2", "3.10.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/kube-apiserver:v1.36.2", "1.36.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/kube-controller-manager:v1.36.2", "1.36.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/kube-scheduler:v1.36.2", "1.36.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/kube-proxy:v1.36.2", "1.36.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/coredns/coredns:v1.14.2", "1.14.2"),
        artifact(ArtifactKind::Image, "registry.k8s.io/etcd:3.6.8-0", "3.6.8"),
        artifact(ArtifactKind::Image, "ghcr.io/flannel-io/flannel:v0.28.9", "0.28.9"),
        artifact(ArtifactKind::Image, "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1", "1.9.1"),
        artifact(ArtifactKind::Package, "containerd", "1.6.20~ds1-1"),
        artifact(ArtifactKind::Package, "runc", "1.1.5"),
        artifact(ArtifactKind::Package, "conntrack", "1.4.7"),
        artifact(ArtifactKind::Package, "iptables", "1.8.9"),
        artifact(ArtifactKind::Package, "ethtool", "6.1"),
        artifact(ArtifactKind::Package, "socat", "1.7.4"),
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
