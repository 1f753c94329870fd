//! `kubeadm join` of a worker.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Line;
use super::init::{kubelet_service, retry, wait_for_kubelet};
use crate::client::{Failure, Kube};
use crate::config::timeout;
use crate::net::Identity;
use crate::value::{self, Res, at, list, set, strings, text};
use crate::{manifests, pki, preflight, token};

const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// Joins this host to a cluster.
pub fn run(root: &Path, line: &Line) -> Res<()> {
    let join = line.join_config()?;
    let phase = |name: &'static str| move |e: String| format!("error execution phase {name}: {e}");
    println!("[preflight] Running pre-flight checks");
    let ignored = preflight::ignored(&line.all("ignore-preflight-errors"), &join);
    preflight::join(root, &join).conclude(&ignored).map_err(phase("preflight"))?;
    let found = discover(&join)
        .map_err(|e| format!("couldn't validate the identity of the API Server: {e}"))
        .map_err(phase("preflight"))?;
    let token = text(&join, "discovery.tlsBootstrapToken").to_owned();
    let identity =
        Identity { ca: Some(found.ca.clone()), token: Some(token), ..Identity::default() };
    let api = Kube::new(&found.server, &identity)?;
    let kubelet = configuration(&api).map_err(phase("preflight"))?;
    let start = Start { root, join: &join, api: &api, found: &found, identity: &identity };
    start.kubelet(&kubelet).map_err(phase("kubelet-start"))?;
    start.wait(&kubelet).map_err(phase("kubelet-wait-bootstrap"))?;
    print!("{}", include_str!("../../texts/join-done.txt"));
    Ok(())
}

/// Where the cluster is, and its authority's certificate.
struct Found {
    server: String,
    ca: String,
}

fn discover(join: &Value) -> Res<Found> {
    match at(join, "discovery.file").is_null() {
        true => by_token(join),
        false => by_file(join),
    }
}

/// Finds the cluster by a kubeconfig, here one without credentials (cmd/kubeadm/app/discovery/file/file.go): that the API answers
/// with a certificate of that authority is all that is asked.
fn by_file(join: &Value) -> Res<Found> {
    let path = text(join, "discovery.file.kubeConfigPath");
    let kubeconfig = std::fs::read_to_string(path).map_err(|e| format!("open {path}: {e}"))?;
    let parsed = value::from_yaml(&kubeconfig)?;
    for context in list(&parsed, "contexts") {
        if text(context, "context.user").is_empty() {
            let name = text(context, "name");
            return Err(format!(
                "invalid configuration: user was not specified for context {name:?}"
            ));
        }
    }
    let (server, identity) = pki::from_kubeconfig(&kubeconfig)?;
    let ca = identity.ca.ok_or("the kubeconfig has no authority's certificate")?;
    let limit = timeout(join, "discovery");
    let api = Kube::new(&server, &Identity { ca: Some(ca.clone()), ..Identity::default() })?;
    retry(limit, Duration::from_secs(5).min(limit), || {
        let info = api.call("GET", CLUSTER_INFO, "application/json", None);
        info.map_err(|e| {
            format!(
                "Abort reading the cluster-info ConfigMap after timeout of {limit:?}: {}",
                e.text()
            )
        })
    })?;
    Ok(Found { server, ca })
}

/// Finds the cluster by a token and pins (cmd/kubeadm/app/discovery/token/token.go).
fn by_token(join: &Value) -> Res<Found> {
    let bootstrap = at(join, "discovery.bootstrapToken");
    let server = format!("https://{}", text(bootstrap, "apiServerEndpoint"));
    let (id, secret) = token::parse(text(bootstrap, "token"))?;
    let limit = timeout(join, "discovery");
    let info = |identity: &Identity| {
        let api = Kube::new(&server, identity)?;
        retry(limit, Duration::from_secs(5).min(limit), || {
            let fail =
                |e: Failure| format!("failed to request the cluster-info ConfigMap: {}", e.text());
            let info = api
                .call("GET", &format!("{CLUSTER_INFO}?timeout=10s"), "application/json", None)
                .map_err(fail)?;
            match info["data"][format!("jws-kubeconfig-{id}")].as_str() {
                Some(_) => Ok(info),
                None => Err(format!(
                    "could not find a JWS signature in the cluster-info ConfigMap for token ID {id:?}"
                )),
            }
        })
    };
    let insecure = info(&Identity::default())?;
    let pins = strings(bootstrap, "caCertHashes");
    for pin in &pins {
        check_pin(pin).map_err(|e| format!("invalid discovery token CA certificate hash: {e}"))?;
    }
    let kubeconfig = text(&insecure, "data.kubeconfig");
    let signature = insecure["data"][format!("jws-kubeconfig-{id}")].as_str().unwrap_or_default();
    if kubeconfig.is_empty() {
        return Err("there is no kubeconfig key in the cluster-info ConfigMap. This API Server isn't set up for \
                    token bootstrapping, can't connect"
            .into());
    }
    if signature != token::sign(kubeconfig, id, secret) {
        return Err(
            "failed to verify JWS signature of received cluster info object, can't trust this API Server".into()
        );
    }
    let (real, identity) = pki::from_kubeconfig(kubeconfig)?;
    let ca = identity.ca.ok_or("failed to parse cluster CA from the cluster-info ConfigMap")?;
    if pins.is_empty() {
        return Ok(Found { server: real, ca });
    }
    let own = pki::pin(&ca)?;
    if !pins.iter().any(|p| p.eq_ignore_ascii_case(&own)) {
        return Err(format!(
            "cluster CA found in cluster-info ConfigMap is invalid: none of the public keys {own:?} are pinned"
        ));
    }
    let secure = info(&Identity { ca: Some(ca.clone()), ..Identity::default() })?;
    if text(&secure, "data.kubeconfig") != kubeconfig {
        return Err("the second kubeconfig from the cluster-info ConfigMap (using validated TLS) was different from \
                    the first"
            .into());
    }
    Ok(Found { server: real, ca })
}

/// cmd/kubeadm/app/util/pubkeypin/pubkeypin.go
pub fn check_pin(pin: &str) -> Res<()> {
    let Some((format, hash)) = pin.split_once(':').filter(|(_, h)| !h.contains(':')) else {
        return Err(
            "invalid hash, expected \"format:hex-value\". Known format(s) are: sha256".into()
        );
    };
    if !format.eq_ignore_ascii_case("sha256") {
        return Err(format!("unknown hash format {format:?}. Known format(s) are: sha256"));
    }
    if hash.len() / 2 != 32 {
        return Err(format!(
            "invalid hash {pin:?}, expected a 32 byte SHA-256 hash, found {} bytes",
            hash.len() / 2
        ));
    }
    match hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err(format!("invalid hash {pin:?}, could not decode SHA-256 from hex")),
    }
}

/// Reads the cluster's configuration, and returns the kubelet's.
fn configuration(api: &Kube) -> Res<Value> {
    println!(
        "[preflight] Reading configuration from the \"kubeadm-config\" ConfigMap in namespace \"kube-system\"..."
    );
    println!(
        "[preflight] Use 'kubeadm init phase upload-config kubeadm --config your-config-file' to re-upload it."
    );
    let read = |name: &str, key: &str| -> Res<String> {
        let path = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
        let map = api.call("GET", &path, "application/json", None).map_err(Failure::text)?;
        Ok(text(&map, &format!("data.{key}")).to_owned())
    };
    let fail =
        |e| format!("unable to fetch the kubeadm-config ConfigMap: failed to get config map: {e}");
    read("kubeadm-config", "ClusterConfiguration").map_err(fail)?;
    value::from_yaml(&read("kubelet-config", "kubelet")?)
}

struct Start<'a> {
    root: &'a Path,
    join: &'a Value,
    api: &'a Kube,
    found: &'a Found,
    identity: &'a Identity,
}

impl Start<'_> {
    fn kubelet(&self, kubelet: &Value) -> Res<()> {
        let Found { server, ca } = self.found;
        let identity = Identity { ca: None, ..self.identity.clone() };
        let config =
            pki::kubeconfig(server, "kubernetes", "tls-bootstrap-token-user", ca, &identity);
        pki::write(&self.root.join("etc/kubernetes/bootstrap-kubelet.conf"), &config, 0o600)?;
        let ca_path = self.root.join(text(self.join, "caCertPath").trim_start_matches('/'));
        if !ca_path.exists() {
            pki::write(&ca_path, ca, 0o644)?;
        }
        let name = text(self.join, "nodeRegistration.name");
        let node = self
            .api
            .get(&format!("/api/v1/nodes/{name}"))
            .map_err(|e| format!("cannot get Node {name:?}: {e}"))?;
        let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
        if node.is_some_and(|n| list(&n, "status.conditions").iter().any(ready)) {
            return Err(format!(
                "a Node with name {name:?} and status \"Ready\" already exists in the cluster. You must delete the \
                 existing Node or change the name of this new joining Node"
            ));
        }
        kubelet_service("stop");
        let mut own = self.join.clone();
        if at(&own, "nodeRegistration.taints").is_null() {
            set(&mut own, "nodeRegistration.taints", json!([]));
        }
        manifests::write_kubelet(self.root, &own, kubelet, true)?;
        println!("[kubelet-start] Starting the kubelet");
        kubelet_service("restart");
        Ok(())
    }

    fn wait(&self, kubelet: &Value) -> Res<()> {
        let waited = self.wait_inner(kubelet);
        let _ = std::fs::remove_file(self.root.join("etc/kubernetes/bootstrap-kubelet.conf"));
        waited
    }

    fn wait_inner(&self, kubelet: &Value) -> Res<()> {
        wait_for_kubelet(kubelet, timeout(self.join, "kubeletHealthCheck"))?;
        println!("[kubelet-start] Waiting for the kubelet to perform the TLS Bootstrap");
        let path = self.root.join("etc/kubernetes/kubelet.conf");
        retry(timeout(self.join, "tlsBootstrap"), Duration::from_secs(1), || {
            Kube::from_file(&path, None).map(drop)
        })
        .map_err(|_| "failed while waiting for TLS bootstrap: context deadline exceeded".into())
    }
}
