//! A healthy cluster as hosts and its API tell of it, for cases that take something away.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use kubewan_core::action::docker::DockerEngineSeen;
use kubewan_core::evidence::{
    Certificate, ClusterAnswers, Component, Disk, HostEvidence, Log, UnitState,
};
use kubewan_core::facts::{ClusterState, Facts, InterfaceAddress, Listener, TextFile};
use kubewan_core::inventory::Inventory;
use kubewan_doctor::cluster::Cluster;
use kubewan_doctor::{Case, HostCase};

pub const NOW: i64 = 1_795_651_200;

pub fn inventory() -> Inventory {
    serde_json::from_value(serde_json::json!({
        "name": "home",
        "kubernetes": { "version": "1.36.2" },
        "network": { "backend": "vxlan" },
        "hosts": [
            { "name": "master01", "address": "198.51.100.10", "roles": ["control-plane"] },
            { "name": "node01", "address": "198.51.100.20", "roles": ["worker"] },
        ],
    }))
    .unwrap()
}

pub fn facts(name: &str, address: &str, master: bool) -> Facts {
    let mut facts = Facts::default();
    facts.os.id = "debian".into();
    facts.hostname = name.into();
    facts.clock_unix_ms = NOW * 1000;
    facts.hostname_resolves = true;
    facts.machine_id = format!("machine-{name}");
    facts.product_uuid = format!("uuid-{name}");
    facts.runtime.containerd = Some("1.7.24".into());
    facts.runtime.containerd_active = true;
    facts.runtime.containerd_config = Some("version = 2\n  SystemdCgroup = true\n".into());
    facts.kubernetes.kubelet = Some("1.36.2".into());
    facts.kubernetes.kubelet_active = true;
    facts.kubernetes.kubelet_args = vec![format!("--node-ip={address}")];
    facts.kubernetes.state = ClusterState::Done;
    let address = Ipv4Net::new_assert(address.parse().unwrap(), 32);
    facts.addresses = vec![InterfaceAddress { interface: "kubewan0".into(), address }];
    if master {
        facts.kubernetes.manifests = vec!["etcd.yaml".into(), "kube-apiserver.yaml".into()];
        let port = |port| Listener {
            protocol: "tcp".into(),
            address: "0.0.0.0".parse().unwrap(),
            port,
            process: String::new(),
        };
        facts.listeners = vec![port(6443), port(2379)];
    }
    facts
}

/// Lines of the day on which the cluster was made.
pub fn log(component: Component, text: &str) -> Log {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("2026-11-25T23:00:00+0000 {}", line.trim_start()))
        .collect();
    Log { component, source: format!("{component:?}"), text: lines.join("\n"), recent: true }
}

/// Of those lines one, written just now.
pub fn says(host: &mut HostCase, component: Component, word: &str) {
    for log in host.evidence.logs.iter_mut().filter(|log| log.component == component) {
        let lines: Vec<String> = log
            .text
            .lines()
            .filter(|line| line.contains(word))
            .map(|line| line.replace("2026-11-25T23:00:00+0000", "2026-11-26T00:59:30+0100"))
            .collect();
        log.text = lines.join("\n");
    }
}

/// What every cluster's logs hold of the minutes in which it was made.
pub fn evidence(master: bool) -> HostEvidence {
    let mut logs = vec![
        log(
            Component::Kubelet,
            "E1126 09:00:00.1 1 x.go:1] \"Error\" err=\"dial tcp 198.51.100.10:6443: connect: connection refused\"\n\
            E1126 09:00:01.1 1 x.go:1] \"Container runtime network not ready\" networkReady=\"NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized\"\n\
            E1126 09:00:02.1 1 x.go:1] validate CRI: dial unix /run/containerd/containerd.sock: connect: connection refused\n\
            E1126 09:00:02.2 1 x.go:1] Unable to register: Post https://198.51.100.10:6443: x509: certificate signed by unknown authority\n\
            E1126 09:00:03.1 1 x.go:1] failed to get sandbox image \"registry.k8s.io/pause:3.10\": failed to pull image",
        ),
        log(
            Component::KubeProxy,
            "E1126 09:00:00.1 1 server.go:1] set nf_conntrack_max: permission denied",
        ),
        log(
            Component::CoreDns,
            "[FATAL] plugin/loop: Loop (127.0.0.1:1 -> :53) detected for zone \".\"",
        ),
    ];
    if master {
        logs.push(log(
            Component::Etcd,
            "{\"msg\":\"received signal; shutting down\",\"signal\":\"terminated\"}\n\
            {\"error\":\"listen tcp 198.51.100.10:2380: bind: cannot assign requested address\"}",
        ));
    }
    let sysctl = |name: &str| (name.to_owned(), Some("1".to_owned()));
    HostEvidence {
        logs,
        units: vec![UnitState {
            name: "kubelet.service".into(),
            active: "active".into(),
            ..UnitState::default()
        }],
        certificates: vec![
            certificate("/etc/kubernetes/pki/ca.crt", 3000),
            certificate("/etc/kubernetes/pki/apiserver.crt", 360),
        ],
        sysctls: BTreeMap::from([
            sysctl("net.ipv4.ip_forward"),
            sysctl("net.bridge.bridge-nf-call-iptables"),
        ]),
        disks: vec![Disk {
            path: "/".into(),
            total: 20 << 30,
            free: 10 << 30,
            free_files: 1 << 20,
        }],
        files: vec![TextFile {
            path: "/var/lib/kubelet/config.yaml".into(),
            text: "cgroupDriver: systemd\n".into(),
        }],
        ..HostEvidence::default()
    }
}

pub fn certificate(path: &str, days: i64) -> Certificate {
    Certificate {
        path: path.into(),
        subject: "kubernetes".into(),
        issuer: "kubernetes".into(),
        not_before: NOW - 86_400,
        not_after: NOW + days * 86_400,
    }
}

/// As kubectl prints them.
pub fn cluster() -> Cluster {
    let node = |name: &str, address: &str| {
        serde_json::json!({
            "metadata": { "name": name, "annotations": { "flannel.alpha.coreos.com/public-ip": address } },
            "status": {
                "conditions": [
                    { "type": "DiskPressure", "status": "False", "reason": "KubeletHasNoDiskPressure", "message": "m" },
                    { "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status" },
                ],
                "addresses": [{ "type": "InternalIP", "address": address }],
                "nodeInfo": { "kubeletVersion": "v1.36.2", "containerRuntimeVersion": "containerd://1.7.24" },
            },
        })
    };
    let pod = |name: &str, on: &str| {
        serde_json::json!({
            "metadata": { "name": name, "namespace": "kube-system" },
            "spec": { "nodeName": on },
            "status": { "containerStatuses": [{ "name": "c", "ready": true, "state": { "running": {} } }] },
        })
    };
    let list = |items: Vec<serde_json::Value>| serde_json::json!({ "items": items }).to_string();
    Cluster::read(&ClusterAnswers {
        nodes: Some(list(vec![node("master01", "198.51.100.10"), node("node01", "198.51.100.20")])),
        pods: vec![list(vec![
            pod("kube-proxy-a", "master01"),
            pod("kube-proxy-b", "node01"),
            pod("coredns-a", "node01"),
        ])],
        cluster_info: Some(r#"{"data":{"kubeconfig":"","jws-kubeconfig-abcdef":"x"}}"#.into()),
        tokens: Some("YWJjZGVm MjAyNi0xMS0yNlQxMDowMDowMFo= dHJ1ZQ==\n".into()),
        silent: None,
    })
}

pub fn well() -> Case {
    let inventory = inventory();
    let hosts = inventory.hosts.iter().map(|host| {
        let mut case = HostCase::new(&inventory, host, host.address.parse().ok());
        case.facts = Some(facts(&host.name, &host.address, host.is_control_plane()));
        case.evidence = evidence(host.is_control_plane());
        case.own_api = host.is_control_plane().then_some(Ok(()));
        case
    });
    Case { hosts: hosts.collect(), cluster: Some(cluster()), now_unix: NOW }
}

/// Has Docker run a host's pods, as its own packages and cri-dockerd lay it: containerd of Docker's package has no CRI.
pub fn by_docker(case: &mut Case, host: usize) {
    node(case, host).runtime = "docker://27.5.1".into();
    let facts = of(case, host);
    facts.runtime.containerd_config =
        Some(include_str!("../../../kubewan-core/src/plan/lint/containerd/docker.toml").into());
    facts.runtime.docker.installed = true;
    facts.runtime.docker.engine = Some(DockerEngineSeen {
        version: Some("27.5.1".into()),
        cgroup_driver: "systemd".into(),
        storage_driver: "overlay2".into(),
    });
    let socket = "--container-runtime-endpoint=unix:///var/run/cri-dockerd.sock";
    facts.kubernetes.kubelet_args.push(socket.into());
    for name in ["docker.service", "cri-docker.service", "cri-docker.socket"] {
        set_unit(case, host, name, "active");
    }
}

/// A unit's state.
pub fn set_unit(case: &mut Case, host: usize, name: &str, active: &str) {
    let units = &mut case.hosts[host].evidence.units;
    units.retain(|unit| unit.name != name);
    let result = if active == "active" { "success" } else { "exit-code" };
    units.push(UnitState {
        name: name.into(),
        load: "loaded".into(),
        active: active.into(),
        result: result.into(),
        ..UnitState::default()
    });
}

pub fn of(case: &mut Case, host: usize) -> &mut Facts {
    case.hosts[host].facts.as_mut().unwrap()
}

pub fn node(case: &mut Case, at: usize) -> &mut kubewan_doctor::cluster::NodeState {
    &mut case.cluster.as_mut().unwrap().nodes[at]
}
