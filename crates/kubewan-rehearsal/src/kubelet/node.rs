//! The node's object: registered once, its status renewed every ten seconds.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Settings, log};
use crate::client::{Failure, Kube};
use crate::cri::Runtime;
use crate::value::{self, Res, list, text};
use crate::{VERSION, net};

/// What is known of this node.
pub struct Node {
    runtime: Runtime,
    runtime_version: String,
    registered: bool,
    /// Whether the last status said that the node is ready.
    pub settled: bool,
}

fn word_of(file: &str, name: &str) -> String {
    let content = std::fs::read_to_string(file).unwrap_or_default();
    let line = content.lines().find_map(|l| l.strip_prefix(name));
    line.unwrap_or_default().trim_matches(['=', '"', ' ', ':', '\t']).to_owned()
}

fn first_line(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

impl Node {
    /// A node not registered yet.
    pub fn new(_: &Settings, runtime: Runtime, runtime_version: String) -> Node {
        Node { runtime, runtime_version, registered: false, settled: false }
    }

    /// The node's addresses; `None` leaves those it has (pkg/kubelet/nodestatus/setters.go): where `--node-ip` is
    /// on no interface, and where a cloud provider elsewhere has set them.
    fn addresses(&self, settings: &Settings, old: &Value) -> Option<Vec<Value>> {
        let wanted = settings.flag("node-ip").unwrap_or_default().split(',').next();
        let wanted = wanted.and_then(|w| w.parse::<IpAddr>().ok()).filter(|w| !w.is_unspecified());
        if let Some(wanted) = wanted.filter(|w| !net::is_local(*w)) {
            let name = &settings.name;
            log(
                'E',
                &format!(
                    "\"Failed to set some node status fields\" err=\"failed to validate nodeIP: node IP: \
                     \\\"{wanted}\\\" not found in the host's network interfaces\" node=\"{name}\""
                ),
            );
            return None;
        }
        let external = settings.flag("cloud-provider") == Some("external");
        if external && !list(old, "status.addresses").is_empty() {
            return None;
        }
        let internal = wanted.or_else(|| net::default_address().filter(|_| !external));
        let internal = internal.map(|a| json!({"type": "InternalIP", "address": a.to_string()}));
        let name = json!({"type": "Hostname", "address": settings.name});
        Some(internal.into_iter().chain([name]).collect())
    }

    fn info(&self) -> Value {
        let kernel = rustix::system::uname();
        json!({
            "machineID": first_line("/etc/machine-id"),
            "systemUUID": first_line("/sys/class/dmi/id/product_uuid"),
            "bootID": first_line("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": kernel.release().to_string_lossy(),
            "osImage": word_of("/etc/os-release", "PRETTY_NAME"),
            "containerRuntimeVersion": self.runtime_version,
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": crate::architecture(),
        })
    }

    fn conditions(&self, old: &Value) -> Vec<Value> {
        let runtime = self.runtime.conditions();
        let trouble = match runtime {
            Err(error) => Some(format!("container runtime is down: {error}")),
            Ok(all) => all.iter().find(|c| !c.holds).map(|c| match c.kind.as_str() {
                // The runtime says "Network plugin returns error: cni plugin not initialized".
                "NetworkReady" => format!(
                    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{}",
                    c.message
                ),
                _ => format!("container runtime status check failed: {}", c.message),
            }),
        };
        let now = value::now();
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            let before = list(old, "status.conditions").iter().find(|c| c["type"] == kind);
            let since =
                before.filter(|c| c["status"] == status).map(|c| c["lastTransitionTime"].clone());
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": since.unwrap_or(now.as_str().into())})
        };
        let mut all = vec![
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            condition(
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            condition(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
        ];
        all.push(match trouble {
            None => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            Some(why) => condition("Ready", "False", "KubeletNotReady", &why),
        });
        all
    }

    fn fresh(&self, settings: &Settings) -> Value {
        let mut labels = Map::new();
        for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
            labels.insert(format!("{prefix}/arch"), crate::architecture().into());
            labels.insert(format!("{prefix}/os"), "linux".into());
        }
        labels.insert("kubernetes.io/hostname".into(), settings.name.as_str().into());
        for pair in
            settings.flag("node-labels").unwrap_or_default().split(',').filter(|p| !p.is_empty())
        {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            labels.insert(key.to_owned(), value.into());
        }
        let mut taints =
            vec![json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})];
        if settings.flag("cloud-provider") == Some("external") {
            let key = "node.cloudprovider.kubernetes.io/uninitialized";
            taints.push(json!({"key": key, "value": "true", "effect": "NoSchedule"}));
        }
        for taint in settings
            .flag("register-with-taints")
            .unwrap_or_default()
            .split(',')
            .filter(|t| !t.is_empty())
        {
            let (left, effect) = taint.rsplit_once(':').unwrap_or((taint, "NoSchedule"));
            let (key, value) = left.split_once('=').unwrap_or((left, ""));
            let mut one = json!({"key": key, "effect": effect});
            if !value.is_empty() {
                one["value"] = value.into();
            }
            taints.push(one);
        }
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": settings.name, "labels": labels, "annotations": {
                "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
            "spec": {"taints": taints},
        })
    }

    /// Registers the node, or renews its status.
    pub fn update(&mut self, api: &Kube, settings: &Settings) -> Res<()> {
        let path = format!("/api/v1/nodes/{}", settings.name);
        if !self.registered {
            match api.call("POST", "/api/v1/nodes", "application/json", Some(&self.fresh(settings)))
            {
                Ok(_) => log(
                    'I',
                    &format!("\"Successfully registered node\" node=\"{}\"", settings.name),
                ),
                Err(Failure::Refused(409, _)) => {}
                Err(other) => {
                    return Err(format!(
                        "Unable to register node with API server: {}",
                        other.text()
                    ));
                }
            }
            self.registered = true;
        }
        // A node that somebody deleted comes back only with the kubelet's next start.
        let missing = || format!("error getting node {0:?}: nodes {0:?} not found", settings.name);
        let old = api.get(&path)?.ok_or_else(missing)?;
        let conditions = self.conditions(&old);
        self.settled = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = format!(
            "{}Ki",
            rustix::system::sysinfo().totalram * u64::from(rustix::system::sysinfo().mem_unit)
                / 1024
        );
        let room = json!({"cpu": processors.to_string(), "memory": memory, "pods": "110"});
        let mut status = json!({"conditions": conditions, "nodeInfo": self.info(), "capacity": room,
            "allocatable": room, "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}});
        if let Some(addresses) = self.addresses(settings, &old) {
            // The list is replaced, so what others added goes.
            let ours = |a: &&Value| addresses.iter().any(|n| n["type"] == a["type"]);
            let gone = list(&old, "status.addresses").iter().filter(|a| !ours(a));
            let gone: Vec<Value> =
                gone.map(|a| json!({"$patch": "delete", "type": a["type"]})).collect();
            status["addresses"] = addresses.into_iter().chain(gone).collect();
        }
        api.merge(&format!("{path}/status"), &json!({"status": status}))?;
        let untaint = |t: &Value| text(t, "key") != "node.kubernetes.io/not-ready";
        let taints = list(&old, "spec.taints");
        if self.settled && !taints.iter().all(untaint) {
            let left: Vec<&Value> = taints.iter().filter(|t| untaint(t)).collect();
            api.merge(&path, &json!({"spec": {"taints": left}}))?;
        }
        Ok(())
    }
}
