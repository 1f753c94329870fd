//! Settings that kubewan decides itself. Handed through, they would contradict what the plan says elsewhere:
//! each is refused with the key of the inventory to use instead.

use super::error::{Code, Report};
use super::tree::{Node, Value};

/// A part of the inventory that is handed through, and what in it is kubewan's own.
struct Section {
    path: &'static [&'static str],
    own: &'static [(&'static [&'static str], &'static str)],
}

const WRITTEN: &str = "kubewan writes it";
const BY_ADDRESS: &str = "it follows from the hosts' `address`";
const BY_NAME: &str = "use the host's `name`";
const BY_RUNTIME: &str = "it follows from `runtime.kind`";
const BY_TAINTS: &str = "use the host's `taints`, and `roles` for the control plane's own";
const BY_TOKENS: &str = "kubewan makes a short-lived token for each run";
const BY_PREFLIGHT: &str = "use `kubernetes.kubeadm.ignorePreflightErrors`";
const BY_DOMAIN: &str = "use `network.dnsDomain`";
const BY_PODS: &str = "use `network.podSubnet`";
const BY_SERVICES: &str = "use `network.serviceSubnet`";
const BY_VERSION: &str = "it follows from `kubernetes.version`";

const SECTIONS: &[Section] = &[
    Section {
        path: &["kubernetes", "kubelet"],
        own: &[
            (&["apiVersion"], WRITTEN),
            (&["kind"], WRITTEN),
            (&["clusterDNS"], "it is the tenth address of `network.serviceSubnet`"),
            (&["clusterDomain"], BY_DOMAIN),
            (&["staticPodPath"], "kubeadm puts the control plane there"),
            (&["containerRuntimeEndpoint"], BY_RUNTIME),
        ],
    },
    Section {
        path: &["kubernetes", "kubeProxy"],
        own: &[
            (&["apiVersion"], WRITTEN),
            (&["kind"], WRITTEN),
            (&["clusterCIDR"], BY_PODS),
            (&["hostnameOverride"], BY_NAME),
        ],
    },
    Section {
        path: &["kubernetes", "kubeadm", "cluster"],
        own: &[
            (&["apiVersion"], WRITTEN),
            (&["kind"], WRITTEN),
            (&["kubernetesVersion"], "use `kubernetes.version`"),
            (&["clusterName"], "use `name`"),
            (&["controlPlaneEndpoint"], "it is a name of kubewan's own, made from `name`"),
            (&["imageRepository"], "use `kubernetes.imageRepository`"),
            (&["networking", "podSubnet"], BY_PODS),
            (&["networking", "serviceSubnet"], BY_SERVICES),
            (&["networking", "dnsDomain"], BY_DOMAIN),
            (
                &["etcd", "external"],
                "etcd runs on the control plane; an etcd elsewhere comes later",
            ),
            (&["certificatesDir"], "it is /etc/kubernetes/pki"),
        ],
    },
    Section {
        path: &["kubernetes", "kubeadm", "init"],
        own: &[
            (&["apiVersion"], WRITTEN),
            (&["kind"], WRITTEN),
            (&["bootstrapTokens"], BY_TOKENS),
            (&["certificateKey"], BY_TOKENS),
            (&["localAPIEndpoint"], BY_ADDRESS),
            (&["nodeRegistration", "name"], BY_NAME),
            (&["nodeRegistration", "criSocket"], BY_RUNTIME),
            (&["nodeRegistration", "taints"], BY_TAINTS),
            (&["nodeRegistration", "ignorePreflightErrors"], BY_PREFLIGHT),
        ],
    },
    Section {
        path: &["kubernetes", "kubeadm", "join"],
        own: &[
            (&["apiVersion"], WRITTEN),
            (&["kind"], WRITTEN),
            (&["discovery"], BY_TOKENS),
            (&["controlPlane"], "it follows from `roles`"),
            (&["nodeRegistration", "name"], BY_NAME),
            (&["nodeRegistration", "criSocket"], BY_RUNTIME),
            (&["nodeRegistration", "taints"], BY_TAINTS),
            (&["nodeRegistration", "ignorePreflightErrors"], BY_PREFLIGHT),
        ],
    },
    Section {
        path: &["runtime", "containerd"],
        own: &[
            (&["version"], "it follows from the containerd that the host has"),
            (&["disabled_plugins"], "the plugin `cri` must stay enabled"),
            (&["grpc", "address"], BY_RUNTIME),
            (&["plugins", "io.containerd.grpc.v1.cri", "sandbox_image"], BY_VERSION),
            (&["plugins", "io.containerd.cri.v1.images", "pinned_images", "sandbox"], BY_VERSION),
        ],
    },
    Section {
        path: &["runtime", "docker"],
        own: &[
            (
                &["exec-opts"],
                "the cgroup driver is systemd's, as the kubelet's; other options stay that stand in the hosts' daemon.json",
            ),
            (&["hosts"], "Docker's unit says it, and Docker does not start where both do"),
        ],
    },
];

/// Where kubeadm takes extra arguments, and those of them that are kubewan's own.
const ARGUMENTS: &[Section] = &[
    Section {
        path: &["kubernetes", "kubeadm", "cluster", "apiServer", "extraArgs"],
        own: &[(&["advertise-address"], BY_ADDRESS), (&["service-cluster-ip-range"], BY_SERVICES)],
    },
    Section {
        path: &["kubernetes", "kubeadm", "cluster", "controllerManager", "extraArgs"],
        own: &[
            (&["cluster-cidr"], BY_PODS),
            (&["service-cluster-ip-range"], BY_SERVICES),
            (&["node-cidr-mask-size"], "every node gets a /24"),
        ],
    },
    Section {
        path: &["kubernetes", "kubeadm", "cluster", "etcd", "local", "extraArgs"],
        own: &[
            (&["listen-client-urls"], BY_ADDRESS),
            (&["listen-peer-urls"], BY_ADDRESS),
            (&["advertise-client-urls"], BY_ADDRESS),
            (&["initial-advertise-peer-urls"], BY_ADDRESS),
        ],
    },
    Section {
        path: &["kubernetes", "kubeadm", "init", "nodeRegistration", "kubeletExtraArgs"],
        own: &[(&["node-ip"], BY_ADDRESS), (&["hostname-override"], BY_NAME)],
    },
    Section {
        path: &["kubernetes", "kubeadm", "join", "nodeRegistration", "kubeletExtraArgs"],
        own: &[(&["node-ip"], BY_ADDRESS), (&["hostname-override"], BY_NAME)],
    },
];

/// Notes every setting that is kubewan's own.
pub(super) fn check(report: &mut Report<'_>, root: &Node) {
    for section in SECTIONS {
        let Some(node) = descend(root, section.path) else { continue };
        for (key, instead) in section.own {
            reserved_key(report, node, section.path, key, instead);
        }
    }
    for section in ARGUMENTS {
        let Some(node) = descend(root, section.path) else { continue };
        for (name, instead) in section.own {
            reserved_argument(report, node, section.path, name[0], instead);
        }
    }
    cgroup_driver(report, root);
    if let Some(containerd) = descend(root, &["runtime", "containerd"]) {
        no_null(report, containerd, "runtime.containerd");
    }
}

fn descend<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, key| node.get(key))
}

fn reserved_key(
    report: &mut Report<'_>,
    node: &Node,
    section: &[&str],
    key: &[&str],
    instead: &str,
) {
    let Some((last, parents)) = key.split_last() else { return };
    if let Some(entry) = descend(node, parents).and_then(|parent| parent.entry(last)) {
        let path = format!("{}.{}", section.join("."), key.join("."));
        let message = format!("`{path}` is decided by kubewan");
        report.push(Code::ReservedSetting, entry.key_span, &path, message, instead);
    }
}

/// v1beta3 takes arguments as a mapping, v1beta4 as a list of `name` and `value`.
fn reserved_argument(
    report: &mut Report<'_>,
    node: &Node,
    section: &[&str],
    name: &str,
    instead: &str,
) {
    let in_map = node.entry(name).map(|entry| entry.key_span);
    let named = |item: &&Node| item.get("name").and_then(Node::text) == Some(name);
    let in_list = node.items().iter().find(named).map(|item| item.span);
    if let Some(at) = in_map.or(in_list) {
        let path = section.join(".");
        let message = format!("the argument `{name}` of `{path}` is decided by kubewan");
        report.push(Code::ReservedSetting, at, &path, message, instead);
    }
}

/// The runtime and the kubelet must use one driver, and where systemd runs the host it is systemd's
/// (kubernetes.io, "Container Runtimes", "cgroup drivers").
fn cgroup_driver(report: &mut Report<'_>, root: &Node) {
    let path = "kubernetes.kubelet.cgroupDriver";
    if let Some(node) = descend(root, &["kubernetes", "kubelet", "cgroupDriver"])
        && node.text() != Some("systemd")
    {
        let message = format!("`{path}` can only be systemd");
        let help = "the hosts run systemd, which must be the only one that writes cgroups";
        report.push(Code::ReservedSetting, node.span, path, message, help);
    }
    for plugin in ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"] {
        let keys =
            ["plugins", plugin, "containerd", "runtimes", "runc", "options", "SystemdCgroup"];
        let Some(node) = descend(root, &["runtime", "containerd"]) else { continue };
        if let Some(node) = descend(node, &keys)
            && node.value != Value::Bool(true)
        {
            let path = format!("runtime.containerd.{}", keys.join("."));
            let message = "`SystemdCgroup` can only be true".to_owned();
            let help = "the kubelet and the runtime use systemd's cgroups";
            report.push(Code::ReservedSetting, node.span, &path, message, help);
        }
    }
}

/// containerd's configuration is TOML, which has no null.
fn no_null(report: &mut Report<'_>, node: &Node, path: &str) {
    for entry in node.entries() {
        let path = super::shape::child(path, &entry.key);
        if entry.value.value == Value::Null {
            let message = format!("`{path}` has no value, and TOML has no null");
            let help = "give it a value, or take the key out";
            report.push(Code::Unrepresentable, entry.key_span, &path, message, help);
        }
        no_null(report, &entry.value, &path);
    }
    for (index, item) in node.items().iter().enumerate() {
        if item.value == Value::Null {
            let message = format!("an item of `{path}` has no value, and TOML has no null");
            report.push(Code::Unrepresentable, item.span, path, message, "take it out");
        }
        no_null(report, item, &format!("{path}[{index}]"));
    }
}
