//! What the API says of the cluster, read from kubectl's answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubewan_core::evidence::ClusterAnswers;
use serde_json::Value;

/// The cluster as its API has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<NodeState>,
    /// The pods of Kubernetes' own namespaces.
    pub pods: Vec<PodState>,
    /// Ids of tokens by which `cluster-info` is signed; `None` where it was not read.
    pub signed: Option<Vec<String>>,
    /// The bootstrap tokens.
    pub tokens: Vec<TokenState>,
    /// Why nothing of it is known.
    pub silent: Option<String>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its condition `Ready` is true.
    pub ready: bool,
    /// What that condition says.
    pub said: String,
    /// Conditions that are true and should not be, with what they say.
    pub pressures: Vec<(String, String)>,
    /// Its InternalIP.
    pub internal_ip: Option<String>,
    /// Its kubelet's version, without `v`.
    pub kubelet: String,
    /// Its runtime, as `containerd://1.7.24`.
    pub runtime: String,
    /// The address that flannel announces for it.
    pub flannel_address: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodState {
    /// Namespace and name.
    pub name: String,
    /// The node that it is on; empty where it has none.
    pub node: String,
    /// All its containers are ready.
    pub ready: bool,
    /// What its containers wait for: reason and message.
    pub waiting: Vec<(String, String)>,
}

/// A bootstrap token, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenState {
    /// The part before the dot.
    pub id: String,
    /// Its end, as `2026-11-26T10:00:00Z`; empty: none.
    pub end: String,
    /// `cluster-info` is to be signed with it.
    pub signs: bool,
}

impl Cluster {
    /// Reads kubectl's answers. What can't be read is taken for not said.
    pub fn read(answers: &ClusterAnswers) -> Cluster {
        let items = |text: &str| -> Vec<Value> {
            let mut list: Value = serde_json::from_str(text).unwrap_or_default();
            match list.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        };
        Cluster {
            nodes: answers.nodes.iter().flat_map(|text| items(text)).map(|n| node(&n)).collect(),
            pods: answers.pods.iter().flat_map(|text| items(text)).map(|p| pod(&p)).collect(),
            signed: answers.cluster_info.as_deref().and_then(signed),
            tokens: answers.tokens.iter().flat_map(|text| text.lines()).filter_map(token).collect(),
            silent: answers.silent.clone(),
        }
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn node(item: &Value) -> NodeState {
    let list = |pointer: &str| item.pointer(pointer).and_then(Value::as_array);
    let conditions: Vec<&Value> = list("/status/conditions").into_iter().flatten().collect();
    let said = |c: &Value| format!("{}: {}", text(c, "/reason"), text(c, "/message"));
    let ready = conditions.iter().find(|c| c["type"] == "Ready");
    let pressures = conditions.iter().filter(|c| c["type"] != "Ready" && c["status"] == "True");
    let address = list("/status/addresses").into_iter().flatten();
    let address = { address }.find(|a| a["type"] == "InternalIP");
    let announced = text(item, "/metadata/annotations/flannel.alpha.coreos.com~1public-ip");
    NodeState {
        name: text(item, "/metadata/name"),
        ready: ready.is_some_and(|c| c["status"] == "True"),
        said: ready.map_or("its kubelet has not said anything yet".into(), |c| said(c)),
        pressures: pressures.map(|c| (text(c, "/type"), said(c))).collect(),
        internal_ip: address.map(|a| text(a, "/address")),
        kubelet: text(item, "/status/nodeInfo/kubeletVersion").trim_start_matches('v').into(),
        runtime: text(item, "/status/nodeInfo/containerRuntimeVersion"),
        flannel_address: Some(announced).filter(|address| !address.is_empty()),
    }
}

fn pod(item: &Value) -> PodState {
    let of = |key: &str| item["status"][key].as_array().cloned().unwrap_or_default();
    let containers = of("containerStatuses");
    let all = containers.iter().chain(&of("initContainerStatuses")).cloned().collect::<Vec<_>>();
    let waiting = all.iter().filter(|c| c["state"]["waiting"].is_object());
    let wait = |c: &Value| (text(c, "/state/waiting/reason"), text(c, "/state/waiting/message"));
    PodState {
        name: format!("{}/{}", text(item, "/metadata/namespace"), text(item, "/metadata/name")),
        node: text(item, "/spec/nodeName"),
        ready: !containers.is_empty() && containers.iter().all(|c| c["ready"] == true),
        waiting: waiting.map(wait).collect(),
    }
}

fn signed(config_map: &str) -> Option<Vec<String>> {
    let value: Value = serde_json::from_str(config_map).ok()?;
    let keys = value["data"].as_object()?.keys();
    Some(keys.filter_map(|key| key.strip_prefix("jws-kubeconfig-")).map(str::to_owned).collect())
}

/// `ID END SIGNS`, each in base64, `-` where it is empty.
fn token(line: &str) -> Option<TokenState> {
    let decoded = |word: &str| String::from_utf8(STANDARD.decode(word).ok()?).ok();
    let mut words = line.split(' ').map(|word| decoded(word).unwrap_or_default());
    let id = words.next().filter(|id| !id.is_empty())?;
    let end = words.next().unwrap_or_default();
    Some(TokenState { id, end, signs: words.next().is_some_and(|signs| signs == "true") })
}
