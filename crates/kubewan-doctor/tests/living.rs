//! Hosts and a cluster in which one thing is wrong: exactly that is found, and nothing in a cluster that is well, although
//! its logs still hold the troubles of the day when it was made.

#[path = "living/world.rs"]
mod world;

use std::collections::BTreeMap;

use kubewan_core::bundle::{self, Bundle};
use kubewan_core::evidence::{Component, Disk, UnitState};
use kubewan_core::facts::{Facts, FirewallFacts, FirewallTool, TextFile};
use kubewan_core::inventory::{Backend, Firewall, KubernetesSource, RuntimeKind};
use kubewan_core::plan;
use kubewan_doctor::cluster::{Cluster, TokenState};
use kubewan_doctor::{Case, HostCase, diagnose};

use world::*;

#[test]
fn a_healthy_cluster_has_nothing() {
    let found = diagnose(&well());
    assert!(found.is_empty(), "{found:#?}");
}

type Oddity = (&'static str, fn(&mut Case));

/// What is unusual, and nothing is wrong with it.
const ODDITIES: &[Oddity] = &[
    ("the empty tables that containerd prints, beside a folder of registries", |case| {
        of(case, 1).runtime.containerd_config = Some(
            "SystemdCgroup = true\n    [plugins.\"io.containerd.grpc.v1.cri\".registry]\n      config_path = \"/etc/containerd/certs.d\"\n\
             \n      [plugins.\"io.containerd.grpc.v1.cri\".registry.configs]\n\n      [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]\n"
                .into(),
        );
    }),
    ("the kubelet's own certificate, which nobody looks at, has ended", |case| {
        let certificates = &mut case.hosts[1].evidence.certificates;
        certificates.push(certificate("/var/lib/kubelet/pki/kubelet.crt", -40));
    }),
    ("a copy of an old certificate lies beside kubeadm's", |case| {
        let certificates = &mut case.hosts[0].evidence.certificates;
        certificates.push(certificate("/etc/kubernetes/pki/apiserver.2025.crt", -40));
    }),
    ("swap that the kubelet's arguments allow", |case| {
        of(case, 1).swaps = vec!["/dev/zram0".into()];
        of(case, 1).kubernetes.kubelet_args.push("--fail-swap-on=false".into());
    }),
    ("the address of the default route, whichever that is", |case| {
        of(case, 1).kubernetes.kubelet_args = vec!["--node-ip=0.0.0.0".into()];
    }),
    ("a small file system with room", |case| {
        let small =
            Disk { path: "/var/log".into(), total: 200 << 20, free: 90 << 20, free_files: 900 };
        case.hosts[1].evidence.disks.push(small);
    }),
    ("an API on another port", |case| {
        let listener = &mut of(case, 0).listeners[0];
        (listener.port, listener.process) = (8443, "kube-apiserver".into());
    }),
    ("a NAT without hairpin, and an API that has another address", |case| {
        of(case, 0).addresses.clear();
        of(case, 0).kubernetes.kubelet_args.clear();
        case.hosts[0].own_api = Some(Err("timed out".into()));
    }),
    ("somebody of the Internet tries etcd's port", |case| {
        let text = r#"{"msg":"rejected connection on peer endpoint","remote-addr":"192.0.2.77:1","error":"remote error: tls: bad certificate"}"#;
        case.hosts[0].evidence.logs.push(log(Component::Etcd, text));
        says(&mut case.hosts[0], Component::Etcd, "rejected");
    }),
    ("a pause image that was mended a moment ago, and an API that is away", |case| {
        case.cluster = None;
        says(&mut case.hosts[1], Component::Kubelet, "sandbox image");
        let text = "RunPodSandbox for &PodSandboxMetadata{Name:a} returns sandbox id \"1\"";
        let mut log = log(Component::Containerd, text);
        log.text = log.text.replace("2026-11-25T23:00:00+0000", "2026-11-26T00:59:45+0100");
        case.hosts[1].evidence.logs.push(log);
    }),
    ("docker-ce with cri-dockerd", |case| by_docker(case, 1)),
    ("Docker and a containerd that is too old for the kubelet", |case| {
        by_docker(case, 1);
        of(case, 1).runtime.containerd = Some("1.4.13".into());
    }),
    ("Docker, as the node alone says", |case| {
        by_docker(case, 1);
        of(case, 1).kubernetes.kubelet_args.pop();
    }),
    ("the kubelet's own dockershim", |case| {
        by_docker(case, 1);
        // kubeadm 1.23 names no socket to it.
        of(case, 1).kubernetes.kubelet_args.pop();
        of(case, 1).kubernetes.kubelet_args.push("--network-plugin=cni".into());
        of(case, 1).kubernetes.kubelet = Some("1.23.6".into());
        node(case, 1).runtime.clear();
        for name in ["cri-docker.service", "cri-docker.socket"] {
            set_unit(case, 1, name, "inactive");
        }
    }),
    ("a kubelet of 1.23 with containerd, and somebody's argument for dockershim", |case| {
        of(case, 1).kubernetes.kubelet = Some("1.23.6".into());
        node(case, 1).runtime.clear();
        let args = &mut of(case, 1).kubernetes.kubelet_args;
        args.push("--network-plugin=cni".into());
        args.push("--container-runtime-endpoint=unix:///run/containerd/containerd.sock".into());
        set_unit(case, 1, "docker.service", "inactive");
    }),
    ("cri-dockerd that systemd starts when it is asked", |case| {
        by_docker(case, 1);
        set_unit(case, 1, "cri-docker.service", "inactive");
    }),
    ("daemon.json and Docker agree", |case| {
        by_docker(case, 1);
        let text = "{ \"exec-opts\": [\"native.cgroupdriver=systemd\"] }\n".into();
        let file = TextFile { path: "/etc/docker/daemon.json".into(), text };
        case.hosts[1].evidence.files.push(file);
    }),
    ("CentOS 7.9", |case| {
        of(case, 1).os.id = "centos".into();
        of(case, 1).kernel.release = "3.10.0-1160.el7.x86_64".into();
        let text = "CentOS Linux release 7.9.2009 (Core)\n".into();
        let file = TextFile { path: "/etc/centos-release".into(), text };
        case.hosts[1].evidence.files.push(file);
    }),
    ("CentOS 7.8, by its kernel", |case| {
        of(case, 1).os.id = "centos".into();
        of(case, 1).kernel.release = "3.10.0-1127.el7.x86_64".into();
    }),
    ("a clock that is off by less than a minute", |case| {
        case.hosts[1].clock_offset_ms = 59_999;
    }),
    ("some wrong checksums, as the Internet brings them", |case| {
        case.hosts[1].evidence.udp_checksum_errors = 99;
    }),
    ("many wrong checksums of others' packets, where WireGuard carries the pods'", |case| {
        case.hosts[1].network.as_mut().unwrap().backend = Backend::Wireguard;
        case.hosts[1].evidence.udp_checksum_errors = 5000;
    }),
    ("a token that has just ended and is not swept away yet", |case| {
        let token =
            TokenState { id: "zzzzzz".into(), end: "2026-11-25T23:59:59Z".into(), signs: true };
        case.cluster.as_mut().unwrap().tokens.push(token);
    }),
];

#[test]
fn what_is_odd_is_not_ill() {
    for (name, oddity) in ODDITIES {
        let mut case = well();
        oddity(&mut case);
        let found = diagnose(&case);
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

type Fault = (&'static str, &'static [&'static str], fn(&mut Case));

/// What is wrong, and what is found of it.
const FAULTS: &[Fault] = &[
    ("a host that is away", &["node01 host-unreachable"], |case| {
        case.hosts[1].unreachable = Some(("ssh-no-answer".into(), "timed out".into()));
        node(case, 1).ready = false;
    }),
    ("CentOS 7.5", &["node01 centos-too-old"], |case| {
        of(case, 1).os.id = "centos".into();
        of(case, 1).kernel.release = "3.10.0-862.el7.x86_64".into();
    }),
    ("CentOS 7.7", &["node01 centos-too-old"], |case| {
        of(case, 1).os.id = "centos".into();
        of(case, 1).kernel.release = "3.10.0-1062.el7.x86_64".into();
        let text = "CentOS Linux release 7.7.1908 (Core)\n".into();
        let file = TextFile { path: "/etc/centos-release".into(), text };
        case.hosts[1].evidence.files.push(file);
    }),
    ("a full disk", &["node01 disk-full"], |case| {
        case.hosts[1].evidence.disks[0].free = 5 << 20;
        let node = node(case, 1);
        node.pressures = vec![("DiskPressure".into(), "KubeletHasDiskPressure: m".into())];
    }),
    ("a clock that is off", &["node01 clock-skew"], |case| {
        case.hosts[1].clock_offset_ms = -7_200_000
    }),
    ("a clock that is off by a minute", &["node01 clock-skew"], |case| {
        case.hosts[1].clock_offset_ms = 60_000;
    }),
    ("a copied machine", &["node01 identity-twice"], |case| {
        of(case, 1).product_uuid = "uuid-master01".into()
    }),
    ("no name", &["node01 hostname-unresolved"], |case| of(case, 1).hostname_resolves = false),
    ("swap", &["node01 swap-on"], |case| {
        of(case, 1).swaps = vec!["/swapfile".into()];
        of(case, 1).kubernetes.kubelet_active = false;
        node(case, 1).ready = false;
    }),
    ("a firewall", &["node01 firewall-on-again"], |case| {
        case.hosts[1].firewall = Some(Firewall::Off);
        let ufw = FirewallFacts { tool: FirewallTool::Ufw, active: true, enabled: true };
        of(case, 1).firewalls = vec![ufw];
    }),
    ("daemon.json", &["node01 daemon-json-invalid"], |case| {
        let unit = UnitState {
            name: "docker.service".into(),
            load: "loaded".into(),
            ..UnitState::default()
        };
        case.hosts[1].evidence.units.push(unit);
        let text =
            "{\n  \"log-driver\": \"json-file\"\n  \"storage-driver\": \"overlay2\"\n}\n".into();
        case.hosts[1]
            .evidence
            .files
            .push(TextFile { path: "/etc/docker/daemon.json".into(), text });
    }),
    ("containerd stopped", &["node01 runtime-down"], |case| {
        of(case, 1).runtime.containerd_active = false;
        of(case, 1).kubernetes.kubelet_active = false;
        let node = node(case, 1);
        (node.ready, node.said) = (false, "NodeStatusUnknown: m".into());
    }),
    ("Docker stopped", &["node01 runtime-down"], |case| {
        of(case, 1)
            .kubernetes
            .kubelet_args
            .push("--container-runtime-endpoint=unix:///run/cri-dockerd.sock".into());
        let unit = UnitState {
            name: "docker.service".into(),
            active: "failed".into(),
            ..UnitState::default()
        };
        case.hosts[1].evidence.units.push(unit);
    }),
    ("Docker with cgroupfs", &["node01 cgroup-driver"], |case| {
        of(case, 1)
            .kubernetes
            .kubelet_args
            .push("--container-runtime-endpoint=unix:///run/cri-dockerd.sock".into());
        let text = "{ \"exec-opts\": [\"native.cgroupdriver=cgroupfs\"] }\n".into();
        case.hosts[1]
            .evidence
            .files
            .push(TextFile { path: "/etc/docker/daemon.json".into(), text });
    }),
    ("Docker with cgroupfs as its default", &["node01 cgroup-driver"], |case| {
        by_docker(case, 1);
        of(case, 1).runtime.docker.engine.as_mut().unwrap().cgroup_driver = "cgroupfs".into();
    }),
    ("Docker with cgroupfs by an argument", &["node01 cgroup-driver"], |case| {
        by_docker(case, 1);
        let docker = &mut of(case, 1).runtime.docker;
        docker.engine.as_mut().unwrap().cgroup_driver = "cgroupfs".into();
        docker.args = vec!["--exec-opt=native.cgroupdriver=cgroupfs".into()];
    }),
    ("cri-dockerd stopped", &["node01 runtime-down"], |case| {
        by_docker(case, 1);
        set_unit(case, 1, "cri-docker.service", "inactive");
        set_unit(case, 1, "cri-docker.socket", "inactive");
        (node(case, 1).ready, node(case, 1).said) = (false, "NodeStatusUnknown: m".into());
    }),
    ("cri-dockerd of another name stopped", &["node01 runtime-down"], |case| {
        by_docker(case, 1);
        case.hosts[1].evidence.units.retain(|unit| !unit.name.starts_with("cri-docker"));
        let text = "E1126 09:00:02.1 1 x.go:1] err=\"rpc error: code = Unavailable desc = connection error: desc = \\\"transport: Error while dialing dial unix /run/cri-dockerd.sock: connect: connection refused\\\"\"";
        case.hosts[1].evidence.logs.push(log(Component::Kubelet, text));
        says(&mut case.hosts[1], Component::Kubelet, "cri-dockerd.sock");
        (node(case, 1).ready, node(case, 1).said) = (false, "NodeStatusUnknown: m".into());
    }),
    ("Docker's containerd stopped", &["node01 runtime-down"], |case| {
        by_docker(case, 1);
        of(case, 1).runtime.containerd_active = false;
    }),
    ("containerd too old", &["node01 runtime-pair"], |case| {
        of(case, 1).runtime.containerd = Some("1.4.13".into());
        node(case, 1).ready = false;
    }),
    ("the CRI plugin is off", &["node01 runtime-pair"], |case| {
        of(case, 1).runtime.containerd_config =
            Some("disabled_plugins = [\"cri\"]\nSystemdCgroup = true\n".into());
    }),
    ("registries in both ways", &["node01 runtime-pair"], |case| {
        of(case, 1).runtime.containerd_config = Some(
            "SystemdCgroup = true\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n"
                .into(),
        );
    }),
    ("a kubelet of 1.35 on cgroup v1", &["node01 kubelet-down"], |case| {
        of(case, 1).kubernetes.kubelet_active = false;
        let refuses = "2026-11-26T00:59:30+0100 node01 kubelet[871]: E1126 00:59:30.120011 871 run.go:72] \"command failed\" \
             err=\"failed to validate kubelet configuration, error: kubelet is configured to not run on a host using cgroup v1\"";
        let logs = case.hosts[1].evidence.logs.iter_mut();
        let kubelets = logs.filter(|log| log.component == Component::Kubelet);
        kubelets.for_each(|log| log.text = refuses.into());
        (node(case, 1).ready, node(case, 1).said) = (false, "NodeStatusUnknown: m".into());
    }),
    ("cgroupfs", &["master01 cgroup-driver"], |case| {
        of(case, 0).runtime.containerd_config = Some("version = 2\n".into());
        of(case, 0).listeners.clear();
        *case.cluster.as_mut().unwrap() =
            Cluster { silent: Some("refused".into()), ..Cluster::default() };
    }),
    ("cgroupfs, and a kubelet that asks", &["master01 cgroup-driver"], |case| {
        of(case, 0).runtime.containerd = Some("2.1.9".into());
        of(case, 0).runtime.containerd_config =
            Some("version = 3\n  SystemdCgroup = false\n".into());
    }),
    ("cgroupfs, and the first kubelet that asks", &["master01 cgroup-driver"], |case| {
        of(case, 0).runtime.containerd = Some("2.1.9".into());
        of(case, 0).kubernetes.kubelet = Some("1.31.14".into());
        of(case, 0).runtime.containerd_config =
            Some("version = 3\n  SystemdCgroup = false\n".into());
    }),
    ("cgroupfs, and a kubelet that does not ask yet", &["master01 cgroup-driver"], |case| {
        of(case, 0).runtime.containerd = Some("2.1.9".into());
        of(case, 0).kubernetes.kubelet = Some("1.30.14".into());
        of(case, 0).runtime.containerd_config =
            Some("version = 3\n  SystemdCgroup = false\n".into());
    }),
    ("no pause image", &["node01 pause-image"], |case| {
        node(case, 1).ready = false;
        says(&mut case.hosts[1], Component::Kubelet, "sandbox image");
    }),
    ("no pause image for Docker", &["node01 pause-image"], |case| {
        by_docker(case, 1);
        node(case, 1).ready = false;
        let text = "E1126 09:00:03.1 1 x.go:1] \"CreatePodSandbox for pod failed\" err=\"rpc error: code = Unknown desc = failed pulling image \\\"registry.k8s.io/pause:3.10\\\": Error response from daemon: Get https://registry.k8s.io/v2/: net/http: request canceled\"";
        case.hosts[1].evidence.logs.push(log(Component::Kubelet, text));
        says(&mut case.hosts[1], Component::Kubelet, "failed pulling image");
    }),
    ("a registry's certificate", &["node01 registry-certificate"], |case| {
        let pods = &mut case.cluster.as_mut().unwrap().pods;
        let said = "failed to do request: Head \"https://r.example:5000/v2/a/manifests/1\": x509: certificate signed by unknown authority";
        pods[1].waiting = vec![("ErrImagePull".into(), said.into())];
    }),
    ("a registry's certificate, by dockershim", &["node01 registry-certificate"], |case| {
        of(case, 1).kubernetes.kubelet_args.push("--network-plugin=cni".into());
        let pods = &mut case.cluster.as_mut().unwrap().pods;
        let said = "Get \"https://r.example:5000/v2/\": x509: certificate signed by unknown authority, while the image was pulled";
        pods[1].waiting = vec![("ErrImagePull".into(), said.into())];
    }),
    ("daemon.json where no Docker is", &["node01 daemon-json-invalid"], |case| {
        let text = "{ # mine\n}\n".into();
        case.hosts[1]
            .evidence
            .files
            .push(TextFile { path: "/etc/docker/daemon.json".into(), text });
    }),
    ("a control plane without manifests", &["master01 api-refused"], |case| {
        of(case, 0).kubernetes.manifests.clear();
        of(case, 0).listeners.clear();
        *case.cluster.as_mut().unwrap() =
            Cluster { silent: Some("refused".into()), ..Cluster::default() };
        case.hosts.iter_mut().for_each(|host| host.evidence.logs.clear());
    }),
    ("a certificate that ended", &["master01 certificate-expired"], |case| {
        case.hosts[0]
            .evidence
            .certificates
            .push(certificate("/etc/kubernetes/pki/apiserver-etcd-client.crt", -2));
    }),
    ("a certificate that ends soon", &["master01 certificate-ends-soon"], |case| {
        case.hosts[0].evidence.certificates.push(certificate("/etc/kubernetes/admin.conf", 20));
    }),
    ("etcd can't bind", &["master01 etcd-cannot-bind"], |case| {
        of(case, 0).listeners.clear();
        of(case, 0).addresses.clear();
        of(case, 0).kubernetes.kubelet_args.clear();
        says(&mut case.hosts[0], Component::Etcd, "cannot assign");
        let text = "    - --listen-peer-urls=https://198.51.100.10:2380\n".into();
        case.hosts[0]
            .evidence
            .files
            .push(TextFile { path: "/etc/kubernetes/manifests/etcd.yaml".into(), text });
        *case.cluster.as_mut().unwrap() =
            Cluster { silent: Some("refused".into()), ..Cluster::default() };
    }),
    ("etcd refuses a member", &["master01 etcd-peer-rejected"], |case| {
        let text = r#"{"msg":"rejected connection on peer endpoint","remote-addr":"192.0.2.77:1","error":"tls: \"192.0.2.77\" does not match any of DNSNames [\"a\"]"}"#;
        case.hosts[0].evidence.logs.push(log(Component::Etcd, text));
        says(&mut case.hosts[0], Component::Etcd, "rejected");
    }),
    ("a node-ip on no interface", &["node01 node-ip-nowhere"], |case| {
        of(case, 1).addresses.clear()
    }),
    ("no hairpin", &["master01 hairpin"], |case| {
        of(case, 0).addresses.clear();
        of(case, 0).kubernetes.kubelet_args.clear();
        case.hosts[0].own_api = Some(Err("timed out".into()));
        *case.cluster.as_mut().unwrap() =
            Cluster { silent: Some("i/o timeout".into()), ..Cluster::default() };
    }),
    ("no br_netfilter", &["node01 no-br-netfilter"], |case| {
        case.hosts[1].evidence.sysctls.insert("net.bridge.bridge-nf-call-iptables".into(), None);
    }),
    ("no forwarding", &["node01 no-ip-forward"], |case| {
        case.hosts[1].evidence.sysctls.insert("net.ipv4.ip_forward".into(), Some("0".into()));
    }),
    ("another address announced", &["node01 flannel-address"], |case| {
        node(case, 1).flannel_address = Some("10.0.4.7".into());
    }),
    ("wrong checksums", &["node01 udp-checksum"], |case| {
        case.hosts[1].evidence.udp_checksum_errors = 100
    }),
    ("kube-proxy may not", &["node01 conntrack-refused"], |case| {
        case.cluster.as_mut().unwrap().pods[1].ready = false;
        says(&mut case.hosts[1], Component::KubeProxy, "conntrack");
    }),
    ("CoreDNS asks itself", &["node01 coredns-loop"], |case| {
        case.cluster.as_mut().unwrap().pods[2].ready = false;
        says(&mut case.hosts[1], Component::CoreDns, "plugin/loop");
    }),
    ("a token that is not signed", &["token-unsigned"], |case| {
        let token = TokenState { id: "zzzzzz".into(), end: String::new(), signs: true };
        case.cluster.as_mut().unwrap().tokens.push(token);
    }),
    ("a kubelet that is stopped", &["node01 kubelet-down"], |case| {
        of(case, 1).kubernetes.kubelet_active = false;
        node(case, 1).ready = false;
        case.hosts[1].evidence.logs.clear();
    }),
    ("no pod network", &["node01 no-cni"], |case| {
        let node = node(case, 1);
        node.ready = false;
        node.said = "KubeletNotReady: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized".into();
        case.hosts[1].evidence.logs.clear();
    }),
    ("pressure", &["node01 disk-pressure"], |case| {
        node(case, 1).pressures =
            vec![("MemoryPressure".into(), "KubeletHasInsufficientMemory: m".into())];
    }),
    ("an API that is away", &["master01 api-refused"], |case| {
        of(case, 0).listeners.remove(0);
        *case.cluster.as_mut().unwrap() =
            Cluster { silent: Some("refused".into()), ..Cluster::default() };
        case.hosts.iter_mut().for_each(|host| host.evidence.logs.clear());
    }),
    ("an API of another authority", &["node01 api-certificate"], |case| {
        node(case, 1).ready = false;
        says(&mut case.hosts[1], Component::Kubelet, "x509");
    }),
    ("a node that is not there", &["node01 node-not-ready"], |case| {
        case.cluster.as_mut().unwrap().nodes.pop();
        case.hosts[1].evidence.logs.clear();
    }),
];

#[test]
fn one_fault_is_one_diagnosis() {
    let mut told = String::new();
    for (name, expected, fault) in FAULTS {
        let mut case = well();
        fault(&mut case);
        let found = diagnose(&case);
        let codes: Vec<String> = found
            .iter()
            .map(|d| {
                d.host.iter().map(String::as_str).chain([d.code]).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(codes, *expected, "{name}: {found:#?}");
        told += &format!("== {name}\n");
        for d in &found {
            assert!(!d.evidence.is_empty() && !d.remedy.is_empty() && !d.cause.is_empty());
            told += &format!("{:?}[{}] {}\n  why: {}\n", d.severity, d.code, d.symptom, d.cause);
            d.evidence.iter().for_each(|q| told += &format!("  {}: {}\n", q.source, q.text));
            told +=
                &format!("  do: {}\n  fix: {:?}\n  explains: {:?}\n", d.remedy, d.fix, d.explains);
        }
    }
    insta::assert_snapshot!("living", told);
}

/// Every check has a fault here or a text that was pasted.
#[test]
fn every_check_is_shown() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots/pasted__pasted.snap");
    let pasted = std::fs::read_to_string(path).unwrap_or_default();
    let shown =
        |code: &str| FAULTS.iter().any(|(_, found, _)| found.iter().any(|f| f.ends_with(code)));
    for check in kubewan_doctor::checks::CHECKS {
        assert!(
            shown(check.code) || pasted.contains(&format!("[{}]", check.code)),
            "{}",
            check.code
        );
    }
}

/// A goal's kind is the name of a kind of action.
#[test]
fn goals_are_actions() {
    let actions = include_str!("../../kubewan-core/src/action/mod.rs");
    for (_, _, fault) in FAULTS {
        let mut case = well();
        fault(&mut case);
        for goal in diagnose(&case).into_iter().flat_map(|d| d.fix) {
            assert!(actions.contains(&format!(": \"{}\"", goal.kind)), "{goal:?}");
        }
    }
}

/// What mends Docker is a step of a plan with Docker.
#[test]
fn what_is_said_of_docker_has_its_steps() {
    let mut inventory = inventory();
    inventory.kubernetes.source = Some(KubernetesSource::Release);
    inventory.runtime.kind = RuntimeKind::Docker;
    let facts: BTreeMap<String, Facts> = inventory
        .hosts
        .iter()
        .map(|host| (host.name.clone(), facts(&host.name, &host.address, host.is_control_plane())))
        .collect();
    let addresses = inventory.hosts.iter();
    let addresses =
        addresses.map(|host| (host.name.clone(), host.address.parse().unwrap())).collect();
    let bundle = Bundle {
        format: bundle::FORMAT,
        kubernetes: "1.36.2".into(),
        rehearsal: false,
        provenance: String::new(),
        artifacts: Vec::new(),
    };
    let steps = plan::steps(&inventory, &facts, &plan::Inputs::new(&addresses, &bundle)).steps;
    let mut asked = 0;
    for (name, _, fault) in FAULTS {
        let mut case = well();
        fault(&mut case);
        let of_runtime =
            |d: &kubewan_doctor::Diagnosis| d.code == "cgroup-driver" || d.code == "runtime-down";
        let by_docker = case.uses_docker(&case.hosts[1]);
        for d in diagnose(&case).iter().filter(|d| by_docker && of_runtime(d)) {
            for goal in &d.fix {
                asked += 1;
                let is_there = steps.iter().any(|step| goal.is_of(d.host.as_deref(), &step.id));
                assert!(is_there, "{name}: no step is {goal:?}");
            }
        }
    }
    assert!(asked > 10, "{asked}");
}

/// The kubelet's arguments go before what its node says, and that before what the inventory asks for.
#[test]
fn who_runs_the_pods() {
    let mut case = well();
    let uses = |case: &Case| case.uses_docker(&case.hosts[1]);
    assert!(!uses(&case));
    case.hosts[1].is_to_use_docker = true;
    assert!(!uses(&case), "the node says containerd");
    case.cluster = None;
    assert!(uses(&case), "nobody says otherwise");
    let args = &mut of(&mut case, 1).kubernetes.kubelet_args;
    args.push("--container-runtime-endpoint=unix:///run/containerd/containerd.sock".into());
    assert!(!uses(&case), "its kubelet does");
    let mut inventory = inventory();
    inventory.runtime.kind = RuntimeKind::Docker;
    assert!(HostCase::new(&inventory, &inventory.hosts[1], None).is_to_use_docker);
}
