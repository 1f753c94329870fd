//! flannel's objects, after `Documentation/kube-flannel.yml` of flannel v0.28.9, with four differences:
//! a node's pod waits for a label that is set together with the address it must announce; the MTU is said, not
//! guessed; the configuration is copied with `cp`, which every 0.28 image has; health answers on 127.0.0.1 only.

use serde_json::{Value, json};

use crate::inventory::{Backend, Inventory};

/// Label without which flannel's pod is not started on a node.
pub const GATE_LABEL: &str = "kubewan/public-address";
/// The address to announce instead of the NIC's. It leaves the NIC's address as the outer source
/// (flannel `pkg/subnet/kube/kube.go`, AcquireLease), so that clouds which drop foreign sources let packets pass.
pub const OVERWRITE_ANNOTATION: &str = "flannel.alpha.coreos.com/public-ip-overwrite";
/// The address that flannel announces for a node: it writes it itself when it starts (`pkg/subnet/kube/annotations.go`).
pub const ANNOUNCED_ANNOTATION: &str = "flannel.alpha.coreos.com/public-ip";
/// UDP port of VXLAN on Linux, flannel's default (`pkg/backend/vxlan/vxlan.go`).
pub const VXLAN_PORT: u16 = 8472;
/// UDP port of flannel's WireGuard backend (`pkg/backend/wireguard/wireguard.go`).
pub const WIREGUARD_PORT: u16 = 51820;
/// flannel's namespace.
pub const NAMESPACE: &str = "kube-flannel";

/// Largest packet that a NIC is taken to carry across the Internet, in bytes: jumbo frames end at its own cloud.
pub const INTERNET_MTU: u32 = 1500;

/// flannel's objects in the order they are applied. `mtu` is the outer one; flannel takes its own overhead off
/// (50 bytes for VXLAN, `pkg/backend/vxlan/device.go`; 80 for WireGuard, `pkg/backend/wireguard/wireguard_network.go`).
pub fn objects(inventory: &Inventory, mtu: u32, image: &str, plugin_image: &str) -> Vec<Value> {
    vec![
        namespace(),
        cluster_role(),
        cluster_role_binding(),
        service_account(),
        config_map(inventory, mtu),
        daemon_set(image, plugin_image, &net_conf(inventory, mtu)),
    ]
}

fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": { "k8s-app": "flannel", "pod-security.kubernetes.io/enforce": "privileged" },
        },
    })
}

fn cluster_role() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": "flannel", "labels": { "k8s-app": "flannel" } },
        "rules": [
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
        ],
    })
}

fn cluster_role_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "flannel", "labels": { "k8s-app": "flannel" } },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flannel" },
        "subjects": [{ "kind": "ServiceAccount", "name": "flannel", "namespace": NAMESPACE }],
    })
}

fn service_account() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": "flannel", "namespace": NAMESPACE, "labels": { "k8s-app": "flannel" } },
    })
}

fn net_conf(inventory: &Inventory, mtu: u32) -> String {
    let backend = match inventory.network.backend {
        Backend::Vxlan => json!({ "Type": "vxlan", "Port": VXLAN_PORT, "MTU": mtu }),
        // Keepalives hold NAT bindings open; flannel's default is none.
        Backend::Wireguard => json!({
            "Type": "wireguard",
            "ListenPort": WIREGUARD_PORT,
            "PersistentKeepaliveInterval": 25,
            "MTU": mtu,
        }),
    };
    let conf = json!({
        "Network": inventory.network.pod_subnet.to_string(),
        "EnableNFTables": false,
        "Backend": backend,
    });
    format!("{conf:#}\n")
}

fn config_map(inventory: &Inventory, mtu: u32) -> Value {
    let mut map = cni();
    map["data"]["net-conf.json"] = net_conf(inventory, mtu).into();
    map
}

/// Its ConfigMap, as far as it is the same in every cluster: the plugins of pods.
pub fn cni() -> Value {
    let cni = json!({
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "kube-flannel-cfg",
            "namespace": NAMESPACE,
            "labels": { "tier": "node", "k8s-app": "flannel", "app": "flannel" },
        },
        "data": { "cni-conf.json": format!("{cni:#}\n") },
    })
}

/// flannel's DaemonSet.
pub fn daemon_set(image: &str, plugin_image: &str, net_conf: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": "kube-flannel-ds",
            "namespace": NAMESPACE,
            "labels": { "tier": "node", "app": "flannel", "k8s-app": "flannel" },
        },
        "spec": {
            "selector": { "matchLabels": { "app": "flannel" } },
            "template": {
                "metadata": {
                    "labels": { "tier": "node", "app": "flannel" },
                    // flannel reads its configuration once: a change of it has to start new pods.
                    "annotations": { "kubewan/net-conf": &crate::sha256_hex(net_conf.as_bytes())[..16] },
                },
                "spec": pod_spec(image, plugin_image),
            },
        },
    })
}

fn pod_spec(image: &str, plugin_image: &str) -> Value {
    json!({
        "nodeSelector": { "kubernetes.io/os": "linux", GATE_LABEL: "announced" },
        "hostNetwork": true,
        "priorityClassName": "system-node-critical",
        "tolerations": [{ "operator": "Exists", "effect": "NoSchedule" }],
        "serviceAccountName": "flannel",
        "initContainers": [
            copy("install-cni-plugin", plugin_image, "/flannel", "/opt/cni/bin/flannel",
                &[("cni-plugin", "/opt/cni/bin")]),
            copy("install-cni", image, "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist",
                &[("cni", "/etc/cni/net.d"), ("flannel-cfg", "/etc/kube-flannel/")]),
        ],
        "containers": [flanneld(image)],
        "volumes": [
            host_path("run", "/run/flannel"),
            host_path("cni-plugin", "/opt/cni/bin"),
            host_path("cni", "/etc/cni/net.d"),
            { "name": "flannel-cfg", "configMap": { "name": "kube-flannel-cfg" } },
            { "name": "xtables-lock", "hostPath": { "path": "/run/xtables.lock", "type": "FileOrCreate" } },
        ],
    })
}

fn flanneld(image: &str) -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let probe = |path: &str| json!({ "host": "127.0.0.1", "path": path, "port": 8081 });
    json!({
        "name": "kube-flannel",
        "image": image,
        "command": ["/opt/bin/flanneld"],
        "args": ["--ip-masq", "--kube-subnet-mgr", "--healthz-ip=127.0.0.1", "--healthz-port=8081"],
        "livenessProbe": { "httpGet": probe("/healthz"), "initialDelaySeconds": 10, "periodSeconds": 30 },
        "readinessProbe": { "httpGet": probe("/readyz"), "initialDelaySeconds": 5, "periodSeconds": 10 },
        "resources": { "requests": { "cpu": "100m", "memory": "50Mi" } },
        "securityContext": { "privileged": false, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } },
        "env": [
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            { "name": "EVENT_QUEUE_DEPTH", "value": "5000" },
            { "name": "CONT_WHEN_CACHE_NOT_READY", "value": "false" },
        ],
        "volumeMounts": [
            { "name": "run", "mountPath": "/run/flannel" },
            { "name": "flannel-cfg", "mountPath": "/etc/kube-flannel/" },
            { "name": "xtables-lock", "mountPath": "/run/xtables.lock" },
        ],
    })
}

fn copy(name: &str, image: &str, from: &str, to: &str, mounts: &[(&str, &str)]) -> Value {
    let mounts: Vec<Value> =
        mounts.iter().map(|(name, path)| json!({ "name": name, "mountPath": path })).collect();
    json!({ "name": name, "image": image, "command": ["cp"], "args": ["-f", from, to], "volumeMounts": mounts })
}

fn host_path(name: &str, path: &str) -> Value {
    json!({ "name": name, "hostPath": { "path": path } })
}
