use serde_json::json;

use super::*;
use crate::facts::InterfaceAddress;
use crate::inventory;
use crate::inventory::draft::DraftHost;
use crate::inventory::{Backend, Inventory};
use crate::render::flannel;

const CA: &str = "sha256:4e14769ea08e56e388c3a0f386708ff395b7075fd154b1b212b6d0973588759b";

/// A cluster of two hosts as kubeadm and flannel's own manifest make it.
struct World {
    facts: Vec<Facts>,
    config: Value,
    conf: Value,
    flannel: Value,
    kubelet: Value,
    answers: Answers,
}

fn node(name: &str, ip: &str) -> Value {
    json!({
        "kind": "Node",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "disk": "ssd", "node.kubernetes.io/exclude": "x",
        } },
        "spec": {},
        "status": {
            "addresses": [{ "type": "Hostname", "address": name }, { "type": "InternalIP", "address": ip }],
            "conditions": [{ "type": "Ready", "status": "True" }],
            "nodeInfo": {
                "kubeletVersion": "v1.36.2", "containerRuntimeVersion": "containerd://1.7.24", "machineID": name,
            },
        },
    })
}

impl World {
    fn new() -> World {
        let on = |address: &str| InterfaceAddress {
            interface: "eth0".into(),
            address: address.parse().expect("an address"),
        };
        let host = |name: &str, addresses: &[&str]| {
            let mut facts =
                Facts { hostname: name.into(), machine_id: name.into(), ..Facts::default() };
            facts.addresses = addresses.iter().map(|address| on(address)).collect();
            facts.kubernetes.state = ClusterState::Foreign;
            facts.kubernetes.ca_hash = Some(CA.into());
            facts.kubernetes.binaries = vec!["/usr/bin/kubelet".into()];
            facts
        };
        let mut first = host("vps-1", &["10.0.4.7/24", "198.51.100.10/32"]);
        first.kubernetes.manifests =
            ["etcd.yaml", "kube-apiserver.yaml"].map(str::to_owned).to_vec();
        first.kubernetes.api_server = Some("https://198.51.100.10:6443".into());
        let mut control_plane = node("cp", "198.51.100.10");
        control_plane["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = "".into();
        control_plane["spec"]["taints"] =
            json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }]);
        let mut worker = node("w1", "198.51.100.20");
        worker["spec"]["taints"] = json!([
            { "key": "gpu", "value": "yes", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z" },
            { "key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule" },
        ]);
        let mut flannel = flannel::daemon_set("i", "p", "{}");
        flannel["spec"]["template"]["spec"]["nodeSelector"] = Value::Null;
        World {
            facts: vec![first, host("vps-2", &["10.0.4.7/24", "198.51.100.20/24"])],
            config: json!({
                "kubernetesVersion": "v1.36.2", "clusterName": "kubernetes", "imageRepository": "registry.k8s.io",
                "etcd": { "local": {} },
                "networking": {
                    "podSubnet": "10.244.0.0/16", "serviceSubnet": "10.96.0.0/12", "dnsDomain": "cluster.local",
                },
            }),
            flannel: flannel::cni(),
            kubelet: json!({ "cgroupDriver": "systemd", "maxPods": 110 }),
            conf: json!({ "Network": "10.244.0.0/16", "Backend": { "Type": "vxlan" } }),
            answers: Answers {
                nodes: json!({ "items": [control_plane, worker] }),
                config_maps: Value::Null,
                daemon_sets: json!({ "items": [flannel] }),
            },
        }
    }

    fn living(&self) -> Result<Living, Vec<Finding>> {
        let map = |name: &str, key: &str, text: String| json!({ "metadata": { "name": name }, "data": { key: text } });
        let mut answers = self.answers.clone();
        let mut flannel = self.flannel.clone();
        flannel["data"]["net-conf.json"] = self.conf.to_string().into();
        let maps = [
            map("kubeadm-config", "ClusterConfiguration", self.config.to_string()),
            map("kubelet-config", "kubelet", self.kubelet.to_string()),
            flannel,
        ];
        let more = items(&answers.config_maps).to_vec();
        let all = [&maps[..], &more].concat();
        answers.config_maps = json!({ "items": all });
        let named = ["198.51.100.10", "vps2"];
        let hosts: Vec<Seen> = named
            .iter()
            .zip(&self.facts)
            .map(|(name, facts)| Seen { name, address: name, facts })
            .collect();
        living(&hosts, control_plane(&hosts)?, &answers)
    }

    fn worker(&mut self) -> &mut Value {
        &mut self.answers.nodes["items"][1]
    }

    fn daemon_set(&mut self, pointer: &str) -> &mut Value {
        self.answers.daemon_sets["items"][0].pointer_mut(pointer).expect("a field")
    }
}

/// What is written, as the operator gets it.
#[test]
fn a_cluster_made_by_hand_becomes_an_inventory() {
    let living = World::new().living().expect("it can be taken over");
    let host = |address: &str| DraftHost { address: address.into(), ..DraftHost::default() };
    let mut draft = Draft {
        name: living.name.clone().unwrap_or_else(|| "home".into()),
        hosts: vec![host("198.51.100.10"), host("vps2")],
        ..Draft::default()
    };
    living.write(&mut draft);
    let text = draft.text();
    insta::assert_snapshot!(text);
    let inventory = inventory::parse("cluster.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(inventory.adopt, Some(living.adopt));
    assert_eq!(inventory.first_control_plane().name, "cp");
}

/// A change of the world, and the code of the refusal.
type Case = (&'static str, fn(&mut World));

const REFUSED: &[Case] = &[
    ("adopt-kept", |w| w.facts[1].own.cluster = Some("other".into())),
    ("adopt-kept", |w| w.facts[0].kubernetes.state = ClusterState::Done),
    ("adopt-kept", |w| {
        w.answers.config_maps = json!({ "kind": "ConfigMap", "metadata": { "name": "kubewan" } });
    }),
    ("adopt-stuck-init", |w| w.facts[0].kubernetes.stuck_init = Some(Default::default())),
    ("adopt-no-cluster", |w| w.facts[0].kubernetes.manifests.clear()),
    ("adopt-not-kubeadm", |w| w.config = json!([1])),
    ("adopt-external-etcd", |w| w.config["etcd"] = json!({ "external": {} })),
    ("adopt-external-etcd", |w| w.facts[0].kubernetes.manifests.retain(|name| name != "etcd.yaml")),
    ("adopt-authority", |w| w.facts[0].kubernetes.ca_hash = None),
    ("adopt-authority", |w| {
        w.facts[0].kubernetes.keys_gone = ["ca.key", "front-proxy-ca.key", "etcd/ca.key", "sa.key"]
            .map(|name| format!("/etc/kubernetes/pki/{name}"))
            .to_vec();
    }),
    ("adopt-authority", |w| w.facts[1].kubernetes.ca_hash = None),
    ("adopt-elsewhere", |w| w.config["certificatesDir"] = "/etc/k8s/pki".into()),
    ("adopt-elsewhere", |w| w.config["etcd"]["local"]["dataDir"] = "/data/etcd".into()),
    ("adopt-elsewhere", |w| w.facts[1].kubernetes.kubelet_args = vec!["--root-dir=/data".into()]),
    ("adopt-version", |w| {
        w.config["kubernetesVersion"] = "v1.99.0".into();
        for node in w.answers.nodes["items"].as_array_mut().expect("nodes") {
            node["status"]["nodeInfo"]["kubeletVersion"] = "v1.99.0".into();
        }
    }),
    ("adopt-versions-differ", |w| {
        w.worker()["status"]["nodeInfo"]["kubeletVersion"] = "v1.35.1".into();
    }),
    ("adopt-runtime", |w| {
        w.worker()["status"]["nodeInfo"]["containerRuntimeVersion"] = "cri-o://1.36.0".into();
    }),
    ("adopt-subnets", |w| {
        w.config["networking"]["serviceSubnet"] = "10.96.0.0/12,fd00::/112".into()
    }),
    ("adopt-pod-network", |w| w.answers.daemon_sets = json!({ "items": [] })),
    ("adopt-pod-network", |w| {
        let calico = json!({ "metadata": { "name": "calico-node" } });
        w.answers.daemon_sets["items"].as_array_mut().expect("sets").push(calico);
    }),
    ("adopt-pod-network", |w| w.conf["Backend"]["Type"] = "host-gw".into()),
    ("adopt-pod-network", |w| w.conf["Backend"]["VNI"] = 4096.into()),
    ("adopt-pod-network", |w| {
        let cni = json!({ "plugins": [{ "type": "flannel" }, { "type": "bandwidth" }] });
        w.flannel["data"]["cni-conf.json"] = cni.to_string().into();
    }),
    ("adopt-pod-network", |w| w.conf["EnableNFTables"] = true.into()),
    ("adopt-pod-network", |w| {
        *w.daemon_set("/spec/template/spec/tolerations") = json!([{ "operator": "Exists" }]);
    }),
    ("adopt-subnets", |w| {
        let more = json!({ "type": "InternalIP", "address": "fd00::2" });
        w.worker()["status"]["addresses"].as_array_mut().expect("addresses").push(more);
    }),
    ("adopt-pod-network", |w| w.conf["Network"] = "10.245.0.0/16".into()),
    ("adopt-pod-network", |w| {
        *w.daemon_set("/spec/selector/matchLabels") = json!({ "k8s-app": "flannel" });
    }),
    ("adopt-pod-network", |w| {
        let volumes = w.daemon_set("/spec/template/spec/volumes").as_array_mut().expect("volumes");
        volumes.push(json!({ "name": "more" }));
    }),
    ("adopt-api-port", |w| w.config["controlPlaneEndpoint"] = "k8s.example.org:443".into()),
    ("adopt-several-control-planes", |w| {
        w.worker()["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = "".into();
    }),
    ("adopt-host-missing", |w| {
        let more = node("w2", "198.51.100.30");
        w.answers.nodes["items"].as_array_mut().expect("nodes").push(more);
    }),
    ("adopt-not-ready", |w| w.worker()["status"]["conditions"][0]["status"] = "False".into()),
];

#[test]
fn what_can_t_be_taken_over_is_refused_with_a_reason() {
    let mut said = String::new();
    for (code, change) in REFUSED {
        let mut world = World::new();
        change(&mut world);
        let refusals = world.living().expect_err(code);
        let codes: Vec<&str> = refusals.iter().map(|finding| finding.code.as_str()).collect();
        assert!(codes.iter().all(|found| found == code), "{code}: {codes:?}");
        for finding in &refusals {
            let host = finding.host.as_deref().map(|host| format!("{host}: ")).unwrap_or_default();
            said += &format!("{code}: {host}{}\n    {}\n", finding.message, finding.remedy);
        }
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_host_whose_node_is_not_sure_is_refused() {
    let mut world = World::new();
    world.worker()["status"]["addresses"][1]["address"] = "192.0.2.1".into();
    world.worker()["status"]["nodeInfo"]["machineID"] = "other".into();
    let refusals = world.living().expect_err("no node is that host's");
    let codes: Vec<&str> = refusals.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["adopt-no-node", "adopt-host-missing"]);
    // By its name it is.
    world.facts[1].hostname = "w1".into();
    assert_eq!(world.living().expect("a node").nodes[1].name, "w1");
}

#[test]
fn where_etcd_is_configured_to_listen_is_read_in_both_forms() {
    let of = |arguments: Value| {
        let mut world = World::new();
        world.config["etcd"]["local"]["extraArgs"] = arguments;
        world.living().expect("it can be taken over").etcd_listens
    };
    assert_eq!(of(Value::Null), None);
    let url = "https://127.0.0.1:2380";
    assert_eq!(of(json!({ "listen-peer-urls": url })).as_deref(), Some(url));
    let named = |name: &str, value: &str| json!({ "name": name, "value": value });
    let listed = json!([named("listen-client-urls", "a"), named("listen-peer-urls", url)]);
    assert_eq!(of(listed).as_deref(), Some(url));
}

#[test]
fn one_machine_id_on_two_hosts_tells_nothing() {
    let mut world = World::new();
    for (facts, node) in
        world.facts.iter_mut().zip(world.answers.nodes["items"].as_array_mut().expect("nodes"))
    {
        facts.machine_id = "same".into();
        node["status"]["nodeInfo"]["machineID"] = "same".into();
    }
    // Its address on its card still does.
    assert_eq!(world.living().expect("nodes").nodes[1].name, "w1");
}

#[test]
fn what_an_operator_wrote_is_kept() {
    let mut world = World::new();
    world.config["clusterName"] = "shop".into();
    world.config["controlPlaneEndpoint"] = "k8s.example.org".into();
    world.config["imageRepository"] = "mirror.example.org/k8s".into();
    world.conf["Backend"] = json!({ "Type": "wireguard", "PersistentKeepaliveInterval": 25 });
    world.facts[0].runtime.containerd_io = true;
    let living = world.living().expect("it can be taken over");
    assert_eq!(living.name.as_deref(), Some("shop"));
    assert_eq!(living.adopt.endpoint, "k8s.example.org:6443");
    assert_eq!(living.image_repository.as_deref(), Some("mirror.example.org/k8s"));
    assert_eq!(living.network.backend, Backend::Wireguard);
    assert_eq!(living.runtime.source, RuntimeSource::Docker);
}

/// A change of an inventory after it was written, and the code of what forbids it.
type Edit = (&'static str, fn(&mut Inventory));

const EDITS: &[Edit] = &[
    ("version-changed", |i| i.kubernetes.version = "1.36.1".into()),
    ("runtime-changed", |i| i.runtime.kind = RuntimeKind::Docker),
    ("backend-changed", |i| i.network.backend = Backend::Wireguard),
    ("pod-subnet-changed", |i| i.network.pod_subnet = "10.245.0.0/16".parse().expect("a range")),
    ("service-subnet-changed", |i| {
        i.network.service_subnet = "10.97.0.0/16".parse().expect("a range")
    }),
    ("dns-domain-changed", |i| i.network.dns_domain = "k8s.local".into()),
    ("adopt-changed", |i| i.adopt.as_mut().expect("the mark").endpoint = "192.0.2.9:6443".into()),
    ("host-removed", |i| drop(i.hosts.pop())),
    ("address-changed", |i| i.hosts[1].address = "198.51.100.21".into()),
    ("role-changed", |i| i.hosts[1].roles = vec![Role::ControlPlane]),
    ("settings-changed", |i| drop(i.kubernetes.kubelet.insert("maxPods".into(), 50.into()))),
    ("settings-changed", |i| i.kubernetes.image_repository = "mirror.example.org".into()),
];

#[test]
fn what_was_edited_before_the_first_up_is_compared_with_the_cluster() {
    let living = World::new().living().expect("it can be taken over");
    let host = |address: &str| DraftHost { address: address.into(), ..DraftHost::default() };
    let mut draft = Draft {
        name: "home".into(),
        hosts: vec![host("198.51.100.10"), host("vps2")],
        ..Draft::default()
    };
    living.write(&mut draft);
    let written = inventory::parse("cluster.yaml", &draft.text()).unwrap_or_else(|e| panic!("{e}"));
    let against = |inventory: &Inventory| -> Vec<String> {
        let recorded = living.recorded(inventory);
        let findings = inventory::compare_with_living(&recorded, inventory);
        assert!(findings.iter().all(|finding| !finding.remedy.contains("reset")), "{findings:?}");
        findings.into_iter().map(|finding| finding.code).collect()
    };
    assert_eq!(against(&written), [""; 0]);
    let mut same = written.clone();
    same.kubernetes.kubelet.insert("maxPods".into(), 110.into());
    assert_eq!(against(&same), [""; 0]);
    for (code, edit) in EDITS {
        let mut edited = written.clone();
        edit(&mut edited);
        assert_eq!(against(&edited), [*code], "{code}");
    }
}
