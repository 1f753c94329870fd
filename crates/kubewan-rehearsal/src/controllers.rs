//! The controller manager's and the scheduler's stand-ins: a health port, and the few loops a lab needs.
//!
//! Loops: pod networks for nodes, node requests signed, the authority in every namespace, `cluster-info` signed for each token, old tokens removed,
//! silent nodes marked. There is no scheduler: its stand-in only answers that it is well.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::api::serve::{self, Reply};
use crate::client::{Failure, Kube};
use crate::manifests::flag;
use crate::pki::read;
use crate::value::{self, Res, at, list, text};
use crate::{pki, token};

/// Serves `/healthz` and its like, over TLS.
fn health(args: &[String], port: u16, name: &'static str) -> Res<()> {
    let address = flag(args, "bind-address").unwrap_or("127.0.0.1".into());
    let listener = TcpListener::bind((address.as_str(), port))
        .map_err(|e| format!("{address}:{port}: {e}"))?;
    let config = serve::own_tls(name)?;
    std::thread::spawn(move || {
        serve::serve(&listener, &config, |_| Reply::Full(200, "text/plain", b"ok".to_vec()))
    });
    Ok(())
}

/// Runs the stand-in of kube-scheduler.
pub fn scheduler(args: &[String]) -> Res<()> {
    health(args, 10259, "localhost")?;
    loop {
        std::thread::park();
    }
}

/// Runs the stand-in of kube-controller-manager.
pub fn manager(args: &[String]) -> Res<()> {
    let wanted = |name: &str| flag(args, name).ok_or_else(|| format!("--{name} is missing"));
    let api = Kube::from_file(Path::new(&wanted("kubeconfig")?), None)?;
    let ca = (
        read(Path::new(&wanted("cluster-signing-cert-file")?))?,
        read(Path::new(&wanted("cluster-signing-key-file")?))?,
    );
    let pods = flag(args, "cluster-cidr").unwrap_or_default();
    health(args, 10257, "localhost")?;
    loop {
        for (name, result) in [
            ("nodeipam", pod_networks(&api, &pods)),
            ("certificatesigningrequest-signing", signatures(&api, (&ca.0, &ca.1))),
            ("bootstrapsigner", cluster_info(&api)),
            ("root-ca-certificate-publisher", root_certificates(&api, &ca.0)),
            ("nodelifecycle", silent_nodes(&api)),
        ] {
            if let Err(error) = result {
                eprintln!("E{} {name}: {error}", crate::clock());
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The n-th /24 of a network.
fn nth_network(network: &str, n: u32) -> Option<String> {
    let (base, bits) = network.split(',').next()?.split_once('/')?;
    let (base, bits): (Ipv4Addr, u32) = (base.parse().ok()?, bits.parse().ok()?);
    let free = 24u32.checked_sub(bits)?;
    (n < 1u32.checked_shl(free).unwrap_or(u32::MAX))
        .then(|| format!("{}/24", Ipv4Addr::from(u32::from(base) + n * 256)))
}

fn pod_networks(api: &Kube, network: &str) -> Res<()> {
    if network.is_empty() {
        return Ok(());
    }
    let nodes = api.list("/api/v1/nodes")?;
    let mut taken: BTreeSet<String> =
        nodes.iter().map(|n| text(n, "spec.podCIDR").to_owned()).collect();
    for node in nodes.iter().filter(|n| text(n, "spec.podCIDR").is_empty()) {
        let free = (0..65_536).map_while(|n| nth_network(network, n)).find(|n| !taken.contains(n));
        let free = free.ok_or("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")?;
        let name = text(node, "metadata.name");
        api.merge(
            &format!("/api/v1/nodes/{name}"),
            &json!({"spec": {"podCIDR": free, "podCIDRs": [free]}}),
        )?;
        taken.insert(free);
    }
    Ok(())
}

fn signatures(api: &Kube, ca: (&str, &str)) -> Res<()> {
    let folder = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    for request in api.list(folder)? {
        let kubelet =
            text(&request, "spec.signerName") == "kubernetes.io/kube-apiserver-client-kubelet";
        if !kubelet || !text(&request, "status.certificate").is_empty() {
            continue;
        }
        let pem = STANDARD.decode(text(&request, "spec.request")).unwrap_or_default();
        let (kind, reason, certificate) =
            match pki::sign_request(&String::from_utf8_lossy(&pem), ca) {
                Ok(pem) => {
                    ("Approved", "AutoApproved".to_owned(), Value::from(STANDARD.encode(pem)))
                }
                Err(error) => ("Denied", error, Value::Null),
            };
        let condition = json!({"type": kind, "status": "True", "reason": reason, "lastUpdateTime": value::now(),
            "message": "Auto approving kubelet client certificate after SubjectAccessReview."});
        let path = format!("{folder}/{}/status", text(&request, "metadata.name"));
        api.merge(
            &path,
            &json!({"status": {"conditions": [condition], "certificate": certificate}}),
        )?;
    }
    Ok(())
}

/// The authority's certificate in every namespace, for pods. It does not change in a rehearsal.
fn root_certificates(api: &Kube, ca: &str) -> Res<()> {
    for namespace in api.list("/api/v1/namespaces")? {
        let folder = format!("/api/v1/namespaces/{}/configmaps", text(&namespace, "metadata.name"));
        if api.get(&format!("{folder}/kube-root-ca.crt"))?.is_none() {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ca}});
            api.ensure(&folder, &map)?;
        }
    }
    Ok(())
}

fn cluster_info(api: &Kube) -> Res<()> {
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let tokens =
        api.list(&format!("{secrets}?fieldSelector=type=bootstrap.kubernetes.io/token"))?;
    let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    for expired in tokens.iter().filter(|t| token::expired(t)) {
        let path = format!("{secrets}/{}", text(expired, "metadata.name"));
        api.call("DELETE", &path, "application/json", None).map_err(Failure::text)?;
    }
    let Some(info) = api.get(path)? else { return Ok(()) };
    let content = text(&info, "data.kubeconfig");
    let mut wanted = json!({"kubeconfig": content});
    for secret in tokens
        .iter()
        .filter(|t| !token::expired(t) && token::data(t, "usage-bootstrap-signing") == "true")
    {
        let (id, key) = (token::data(secret, "token-id"), token::data(secret, "token-secret"));
        wanted[format!("jws-kubeconfig-{id}")] = token::sign(content, &id, &key).into();
    }
    if *at(&info, "data") == wanted {
        return Ok(());
    }
    let mut patch = wanted.clone();
    for (old, _) in at(&info, "data")
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(k, _)| wanted.get(k.as_str()).is_none())
    {
        patch[old] = Value::Null;
    }
    api.merge(path, &json!({"data": patch})).map(drop)
}

/// A node that was not heard of for 50 seconds is no longer known to be ready.
fn silent_nodes(api: &Kube) -> Res<()> {
    for node in api.list("/api/v1/nodes")? {
        let silent = |c: &&Value| {
            let heard = value::time(text(c, "lastHeartbeatTime"));
            text(c, "status") != "Unknown"
                && heard.is_some_and(|t| (OffsetDateTime::now_utc() - t).whole_seconds() > 50)
        };
        let unknown = |c: &Value| {
            json!({"type": c["type"], "status": "Unknown", "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.", "lastTransitionTime": value::now()})
        };
        let conditions: Vec<Value> =
            list(&node, "status.conditions").iter().filter(silent).map(unknown).collect();
        if !conditions.is_empty() {
            let path = format!("/api/v1/nodes/{}/status", text(&node, "metadata.name"));
            api.merge(&path, &json!({"status": {"conditions": conditions}}))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_networks_are_taken_in_order() {
        assert_eq!(nth_network("10.244.0.0/16", 2).as_deref(), Some("10.244.2.0/24"));
        assert_eq!(nth_network("10.244.0.0/16", 256), None);
        assert_eq!(nth_network("10.244.0.0/25", 0), None);
    }
}
