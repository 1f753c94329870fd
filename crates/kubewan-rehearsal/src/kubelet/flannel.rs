//! What flanneld would leave on a node. No pod runs: the files and annotations are made when its DaemonSet asks
//! for this node.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::client::Kube;
use crate::value::{Res, at, list, text};
use crate::{net, pki};

const SUBNET: &str = "/run/flannel/subnet.env";

/// Where flanneld says which address others send to.
const PUBLIC_IP: &str = "flannel.alpha.coreos.com/public-ip";

/// Where flannel's own manifest and kubewan's may put it.
const NAMESPACES: [&str; 2] = ["kube-flannel", "kube-system"];

fn fits(set: &Value, node: &Value) -> bool {
    let wanted = at(set, "spec.template.spec.nodeSelector").as_object();
    let labels = &node["metadata"]["labels"];
    let affinity = list(
        set,
        "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
    );
    let expression = |e: &Value| {
        let label = labels.get(text(e, "key"));
        let values = list(e, "values");
        match text(e, "operator") {
            "In" => label.is_some_and(|l| values.contains(l)),
            "NotIn" => !label.is_some_and(|l| values.contains(l)),
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            _ => true,
        }
    };
    let term = |t: &Value| list(t, "matchExpressions").iter().all(expression);
    wanted.is_none_or(|w| w.iter().all(|(k, v)| labels.get(k) == Some(v)))
        && (affinity.is_empty() || affinity.iter().any(term))
}

/// Plays flanneld's part once for a node, when its DaemonSet exists and selects this node. In life a node that is
/// deleted takes flannel's pod with it, and gets another when it joins again.
pub fn sync(api: &Kube, name: &str) -> Res<()> {
    let node_path = format!("/api/v1/nodes/{name}");
    let Some(node) = api.get(&node_path)? else { return Ok(()) };
    let announced = !node["metadata"]["annotations"][PUBLIC_IP].is_null();
    if announced && Path::new(SUBNET).exists() {
        return Ok(());
    }
    for namespace in NAMESPACES {
        let sets = api.list(&format!("/apis/apps/v1/namespaces/{namespace}/daemonsets"))?;
        let flannel = |s: &&Value| text(s, "metadata.name").contains("flannel") && fits(s, &node);
        if sets.iter().any(|s| flannel(&s)) {
            return play(api, namespace, &node, &node_path);
        }
    }
    Ok(())
}

fn play(api: &Kube, namespace: &str, node: &Value, node_path: &str) -> Res<()> {
    let subnet = text(node, "spec.podCIDR");
    let map = api
        .get(&format!("/api/v1/namespaces/{namespace}/configmaps/kube-flannel-cfg"))?
        .unwrap_or_default();
    let parse = |key: &str| -> Res<Value> {
        serde_json::from_str(map["data"][key].as_str().unwrap_or_default())
            .map_err(|e| format!("kube-flannel-cfg {key}: {e}"))
    };
    let (net_conf, cni) = (parse("net-conf.json")?, parse("cni-conf.json")?);
    if subnet.is_empty() {
        return Err("node pod cidr not assigned".into());
    }
    let start = "flannel.alpha.coreos.com";
    let annotation = |name: &str| {
        node["metadata"]["annotations"][format!("{start}/{name}")].as_str().map(str::to_owned)
    };
    // Read once, at the start: an overwrite that comes later is not seen, as in life.
    let public =
        annotation("public-ip-overwrite").or_else(|| net::default_address().map(|a| a.to_string()));
    let backend = match text(&net_conf, "Backend.Type") {
        "" => "udp",
        other => other,
    };
    let mac = crate::value::random::<5>().iter().map(|b| format!(":{b:02x}")).collect::<String>();
    let data = match backend {
        "vxlan" => {
            json!({"VNI": at(&net_conf, "Backend.VNI").as_u64().unwrap_or(1), "VtepMAC": format!("0a{mac}")})
        }
        _ => Value::Null,
    };
    let mut annotations = Map::new();
    for (name, value) in [
        ("backend-data", data.to_string()),
        ("backend-type", backend.to_owned()),
        ("kube-subnet-manager", "true".to_owned()),
        ("public-ip", public.unwrap_or_default()),
    ] {
        annotations.insert(format!("{start}/{name}"), value.into());
    }
    api.merge(node_path, &json!({"metadata": {"annotations": annotations}}))?;
    let cni_text = serde_json::to_string_pretty(&cni).unwrap_or_default();
    pki::write(Path::new("/etc/cni/net.d/10-flannel.conflist"), &cni_text, 0o644)?;
    let overhead = match backend {
        "vxlan" => 50,
        "wireguard" => 80,
        _ => 0,
    };
    let mtu = at(&net_conf, "Backend.MTU").as_u64().unwrap_or(1500) - overhead;
    let gateway = subnet.replace(".0/24", ".1/24");
    let network = text(&net_conf, "Network");
    let env = format!(
        "FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={gateway}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n"
    );
    super::log('I', &format!("[rehearsal] played flanneld: {backend}, no packets are carried"));
    pki::write(Path::new(SUBNET), &env, 0o644)
}
