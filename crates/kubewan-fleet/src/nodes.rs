//! Nodes as the Kubernetes API has them.

use kubewan_core::finding::Finding;
use serde_json::Value;

use crate::error::HostError;
use crate::fleet::Member;

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its condition `Ready` is true.
    pub ready: bool,
    /// What the condition says.
    pub reason: String,
    /// Its address of type InternalIP. A kubelet whose `--node-ip` is on no interface goes Ready without one.
    pub internal_ip: Option<String>,
    /// Its kubelet's version, without `v`.
    pub version: String,
    /// Its container runtime.
    pub runtime: String,
    /// Addresses of its pods.
    pub pod_cidr: Option<String>,
    /// What it runs short of, as `DiskPressure`: it takes no pods then, and evicts some.
    pub pressures: Vec<String>,
}

/// The cluster's nodes, asked through a control plane's own kubectl. The inner error is kubectl's: no API answers.
///
/// # Errors
/// Fails where the host can't be reached.
pub fn list(control_plane: &mut Member) -> Result<Result<Vec<Node>, String>, HostError> {
    let output = control_plane.kubectl(&["get", "nodes", "-o", "json"], None, 20)?;
    if output.code != 0 {
        let said = output.stderr.trim();
        return Ok(Err(said.lines().last().unwrap_or("kubectl said nothing").to_owned()));
    }
    Ok(parse(&output.stdout))
}

/// The nodes among the objects of a list that kubectl printed as JSON.
///
/// # Errors
/// Fails where it is no list.
pub fn among(text: &str) -> Result<Vec<Node>, String> {
    read(text, |item| item["kind"] == "Node")
}

/// Whether stand-ins take the place of Kubernetes in a cluster that stands: the API server's build says so.
///
/// # Errors
/// Fails where the host can't be reached.
pub fn is_rehearsal(control_plane: &mut Member) -> Result<bool, HostError> {
    let output = control_plane.kubectl(&["get", "--raw", "/version"], None, 20)?;
    Ok(output.stdout.contains("kubewan-rehearsal"))
}

/// Reads a NodeList.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, String> {
    read(text, |_| true)
}

fn read(text: &str, wanted: impl Fn(&&Value) -> bool) -> Result<Vec<Node>, String> {
    let list: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let items = list["items"].as_array().ok_or("kubectl answered no list")?;
    Ok(items.iter().filter(wanted).map(node).collect())
}

fn node(item: &Value) -> Node {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let of_type = |list: &str, wanted: &str| -> Option<&Value> {
        let list = item.pointer(list)?.as_array()?;
        list.iter().find(|entry| entry["type"] == wanted)
    };
    let condition = of_type("/status/conditions", "Ready");
    let address = of_type("/status/addresses", "InternalIP");
    let said = condition.map(|condition| {
        let part = |key: &str| condition[key].as_str().unwrap_or_default();
        format!("{}: {}", part("reason"), part("message"))
    });
    Node {
        name: text("/metadata/name").into(),
        ready: condition.is_some_and(|condition| condition["status"] == "True"),
        reason: said.unwrap_or_else(|| "its kubelet has not said anything yet".into()),
        internal_ip: address.and_then(|a| a["address"].as_str()).map(str::to_owned),
        version: text("/status/nodeInfo/kubeletVersion").trim_start_matches('v').into(),
        runtime: text("/status/nodeInfo/containerRuntimeVersion").into(),
        pod_cidr: Some(text("/spec/podCIDR")).filter(|cidr| !cidr.is_empty()).map(str::to_owned),
        pressures: ["DiskPressure", "MemoryPressure", "PIDPressure"]
            .into_iter()
            .filter(|kind| {
                of_type("/status/conditions", kind).is_some_and(|c| c["status"] == "True")
            })
            .map(str::to_owned)
            .collect(),
    }
}

/// What is not right with a host's node; `None` where all is.
pub fn fault(host: &str, address: &str, nodes: &[Node]) -> Option<Finding> {
    let Some(node) = nodes.iter().find(|node| node.name == host) else {
        return Some(Finding::error(
            "node-missing",
            host,
            "the cluster has no such node",
            "`kubewan up` joins it",
        ));
    };
    match &node.internal_ip {
        Some(ip) if ip != address => Some(Finding::error(
            "node-address",
            host,
            format!("its node has the InternalIP {ip}, and its address is {address}"),
            "`kubewan plan` shows what sets another `--node-ip`",
        )),
        None if node.ready => Some(Finding::error(
            "node-address",
            host,
            format!("its node is Ready without an InternalIP: {address} is on no interface there"),
            "`kubewan up` brings the interface up",
        )),
        _ if !node.ready => Some(Finding::error(
            "node-not-ready",
            host,
            format!("its node is not Ready: {}", node.reason),
            format!("look at its kubelet: `journalctl -u kubelet -n 50` on {host}"),
        )),
        _ => None,
    }
}

/// What a host's node runs short of; `None` where it has enough of all.
pub fn shortage(host: &str, nodes: &[Node]) -> Option<Finding> {
    let node = nodes.iter().find(|node| node.name == host && !node.pressures.is_empty())?;
    Some(Finding::warning(
        "node-pressure",
        host,
        format!("its node takes no pods: {}", node.pressures.join(", ")),
        "free disk or memory there; a kubelet wants 15 % of the images' disk and 10 % of its own left free, unless \
         `kubernetes.kubelet.evictionHard` says otherwise",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"items": [
        {"metadata": {"name": "master01"}, "spec": {"podCIDR": "10.244.0.0/24"}, "status": {
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": "True",
                "reason": "KubeletReady", "message": "kubelet is posting ready status"}],
            "addresses": [{"type": "InternalIP", "address": "198.51.100.10"}, {"type": "Hostname", "address": "x"}],
            "nodeInfo": {"kubeletVersion": "v1.36.2", "containerRuntimeVersion": "containerd://1.7.24"}}},
        {"metadata": {"name": "node01"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        {"metadata": {"name": "node02"}, "status": {}}]}"#;

    #[test]
    fn nodes_are_read() {
        let nodes = parse(LIST).unwrap();
        assert_eq!(nodes[0].internal_ip.as_deref(), Some("198.51.100.10"));
        assert_eq!(nodes[0].version, "1.36.2");
        assert_eq!(
            shortage("master01", &nodes).unwrap().message,
            "its node takes no pods: DiskPressure"
        );
        assert_eq!(shortage("node01", &nodes), None);
        assert!(nodes[0].ready && nodes[1].ready && !nodes[2].ready);
        assert!(parse("{}").is_err());
        let mixed = r#"{"items": [{"kind": "ConfigMap", "metadata": {"name": "kubewan"}},
            {"kind": "Node", "metadata": {"name": "node01"}}]}"#;
        let names: Vec<String> = among(mixed).unwrap().into_iter().map(|node| node.name).collect();
        assert_eq!(names, ["node01"]);
    }

    #[test]
    fn ready_alone_is_not_enough() {
        let nodes = parse(LIST).unwrap();
        let code = |host, address| fault(host, address, &nodes).map(|finding| finding.code);
        assert_eq!(code("master01", "198.51.100.10"), None);
        assert_eq!(code("master01", "198.51.100.11").as_deref(), Some("node-address"));
        assert_eq!(code("node01", "198.51.100.20").as_deref(), Some("node-address"));
        assert_eq!(code("node02", "198.51.100.30").as_deref(), Some("node-not-ready"));
        assert_eq!(code("node03", "198.51.100.40").as_deref(), Some("node-missing"));
    }
}
