//! Which flannel is there, and whether kubewan can go on with it.

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{Answers, config_map, items, named, said};
use crate::inventory::Backend;
use crate::render::flannel;

/// DaemonSets of other pod networks.
const OTHERS: [&str; 9] = [
    "calico-node",
    "canal",
    "cilium",
    "weave-net",
    "kube-router",
    "antrea-agent",
    "kindnet",
    "kube-ovn-cni",
    "aws-node",
];

/// The backend of the flannel that is there; else why kubewan can't go on with it.
pub(super) fn flannel_backend(answers: &Answers, pods: Ipv4Net) -> Result<Backend, String> {
    if let Some(other) = OTHERS.iter().find(|name| named(&answers.daemon_sets, name).is_some()) {
        return Err(format!("its pod network is {other}"));
    }
    let there = items(&answers.daemon_sets).iter().find(|set| {
        set["metadata"]["name"] == "kube-flannel-ds"
            && set["metadata"]["namespace"] == flannel::NAMESPACE
    });
    let there = there.ok_or("there is no DaemonSet kube-flannel/kube-flannel-ds")?;
    let ours = flannel::daemon_set("", "", "");
    if there.pointer("/spec/selector") != ours.pointer("/spec/selector") {
        return Err(
            "flannel's DaemonSet selects its pods by other labels, which can't be changed".into()
        );
    }
    for list in
        ["initContainers", "containers", "volumes", "containers/0/env", "containers/0/volumeMounts"]
    {
        let pointer = format!("/spec/template/spec/{list}");
        let names = |of: &Value| -> Vec<String> {
            let each = of.pointer(&pointer).and_then(Value::as_array).into_iter().flatten();
            each.map(|each| said(each, "/name").to_owned()).collect()
        };
        let ours = names(&ours);
        if let Some(more) = names(there).into_iter().find(|name| !ours.contains(name)) {
            return Err(format!(
                "flannel's DaemonSet has `{more}` among its {list}, which kubewan's has not"
            ));
        }
    }
    let tolerations = |of: &Value| -> Vec<Value> {
        let all = of.pointer("/spec/template/spec/tolerations").and_then(Value::as_array);
        all.cloned().unwrap_or_default()
    };
    let ours_tolerates = tolerations(&ours);
    if let Some(more) = tolerations(there).iter().find(|each| !ours_tolerates.contains(each)) {
        return Err(format!(
            "flannel's DaemonSet tolerates `{more}`, and kubewan's only `NoSchedule`: a node with another taint would lose its network"
        ));
    }
    let arguments = there.pointer("/spec/template/spec/containers/0/args");
    let arguments = arguments.and_then(Value::as_array).into_iter().flatten();
    let mut arguments = arguments.filter_map(Value::as_str);
    if let Some(more) = arguments.find(|argument| !is_ours(argument)) {
        return Err(format!("flannel is called with `{more}`, which kubewan would leave out"));
    }
    let map = config_map(answers, "kube-flannel-cfg")
        .ok_or("there is no ConfigMap kube-flannel/kube-flannel-cfg")?;
    if let Some(other) = other_plugins(map) {
        return Err(other);
    }
    let text = map.pointer("/data/net-conf.json").and_then(Value::as_str);
    let text = text.ok_or("flannel's ConfigMap has no net-conf.json")?;
    let conf: Value = serde_json::from_str(text)
        .map_err(|e| format!("flannel's net-conf.json is no JSON: {e}"))?;
    if conf["Network"].as_str().and_then(|text| text.parse().ok()) != Some(pods) {
        return Err(format!(
            "flannel's network is {}, and kubeadm's pod subnet {pods}",
            conf["Network"]
        ));
    }
    backend(&conf)
}

/// Pods' plugins that kubewan's file, as upstream's manifest has it, would take away.
fn other_plugins(map: &Value) -> Option<String> {
    let read = |map: &Value| -> Option<Value> {
        let text = map.pointer("/data/cni-conf.json")?.as_str()?;
        serde_json::from_str::<Value>(text).ok()?.get("plugins").cloned()
    };
    let (there, ours) = (read(map), read(&flannel::cni()));
    (there != ours).then(|| {
        let there = there.map_or_else(|| "none".to_owned(), |plugins| plugins.to_string());
        format!("flannel's cni-conf.json has other plugins than its own manifest: {there}")
    })
}

/// What upstream's manifest and kubewan's give flanneld; where it looks for its health is nobody's business.
fn is_ours(argument: &str) -> bool {
    let name = argument.split('=').next().unwrap_or_default();
    ["--ip-masq", "--kube-subnet-mgr"].contains(&argument) || name.starts_with("--healthz-")
}

fn backend(conf: &Value) -> Result<Backend, String> {
    let backend = &conf["Backend"];
    let (kind, kept, free): (Backend, Value, &[&str]) = match backend["Type"].as_str() {
        Some("vxlan") => {
            (Backend::Vxlan, json!({ "Port": flannel::VXLAN_PORT, "VNI": 1 }), &["MTU"])
        }
        Some("wireguard") => (
            Backend::Wireguard,
            json!({ "ListenPort": flannel::WIREGUARD_PORT, "Mode": "separate" }),
            &["MTU", "PersistentKeepaliveInterval"],
        ),
        other => return Err(format!("flannel's backend is {}", other.unwrap_or("none"))),
    };
    let settings = backend.as_object().into_iter().flatten();
    let mut more = settings
        .filter(|(key, _)| *key != "Type" && !free.contains(&key.as_str()))
        .filter(|(key, value)| kept.get(key.as_str()) != Some(value));
    if let Some((key, value)) = more.next() {
        return Err(format!("flannel's backend has `{key}: {value}`, which kubewan's has not"));
    }
    if conf["EnableNFTables"] == true {
        return Err(
            "flannel makes its rules with nftables (EnableNFTables), which kubewan's does not"
                .into(),
        );
    }
    if conf["EnableIPv6"] == true || conf["EnableIPv4"] == false {
        return Err("flannel carries IPv6".into());
    }
    Ok(kind)
}
