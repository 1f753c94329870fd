//! The API server's stand-in: JSON objects in a real etcd, served over TLS to `kubectl`, kubelets and kubeadm.

pub mod auth;
pub mod discovery;
pub mod patch;
pub mod rest;
pub mod select;
pub mod serve;
pub mod store;
pub mod table;
pub mod target;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::manifests::flag;
use crate::net::{Client, Identity};
use crate::pki::read;
use crate::value::{self, Res};
use rest::Api;
use store::Store;

/// Runs the stand-in of kube-apiserver with its real flags.
pub fn main(args: &[String]) -> Res<()> {
    let wanted = |name: &str| flag(args, name).ok_or_else(|| format!("--{name} is missing"));
    let file = |name: &str| read(Path::new(&wanted(name)?));
    let servers = wanted("etcd-servers")?;
    let identity = Identity {
        ca: Some(file("etcd-cafile")?),
        certificate: Some((file("etcd-certfile")?, file("etcd-keyfile")?)),
        token: None,
    };
    let etcd = Client::new(
        servers.split(',').next().unwrap_or_default(),
        &identity,
        Duration::from_secs(5),
    )?;
    let api = Arc::new(Api { store: Store::Etcd(etcd) });
    let subnet = flag(args, "service-cluster-ip-range").unwrap_or_default();
    // The real one ends when it finds no etcd, and is started again.
    let end = Instant::now() + Duration::from_secs(20);
    while let Err(error) = bootstrap(&api.store, &subnet) {
        eprintln!(
            "W{} logging.go:55] [core] grpc: addrConn.createTransport failed to connect: {error}",
            crate::clock()
        );
        if Instant::now() > end {
            return Err(format!("\"command failed\" err=\"context deadline exceeded: {error}\""));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let ca = file("client-ca-file")?;
    let config = serve::tls(&file("tls-cert-file")?, &file("tls-private-key-file")?, Some(&ca))?;
    let port: u16 = flag(args, "secure-port").and_then(|p| p.parse().ok()).unwrap_or(6443);
    let address = flag(args, "bind-address").unwrap_or("::".into());
    let listener = TcpListener::bind((address.as_str(), port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .map_err(|e| {
            format!("failed to create listener: failed to listen on 0.0.0.0:{port}: {e}")
        })?;
    eprintln!("I{} secure_serving.go:211] Serving securely on [::]:{port}", crate::clock());
    serve::serve(&listener, &config, move |request| api.handle(request))
}

/// The namespaces and the service that every cluster has.
pub fn bootstrap(store: &Store, service_subnet: &str) -> Res<()> {
    let object = |api: &str, kind: &str, name: &str| {
        json!({"apiVersion": api, "kind": kind, "metadata": {
            "name": name, "uid": value::uuid(), "creationTimestamp": value::now(), "generation": 1}})
    };
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let mut namespace = object("v1", "Namespace", name);
        namespace["metadata"]["labels"] = json!({"kubernetes.io/metadata.name": name});
        namespace["status"] = json!({"phase": "Active"});
        store.write(&format!("/registry/namespaces/{name}"), &namespace, 0)?;
    }
    let cluster = json!({"networking": {"serviceSubnet": service_subnet}});
    let mut service = object("v1", "Service", "kubernetes");
    service["metadata"]["namespace"] = "default".into();
    let address = crate::config::service_address(&cluster, 1).map(|a| Value::from(a.to_string()));
    let ports = json!([{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]);
    service["spec"] = json!({"type": "ClusterIP", "clusterIP": address, "ports": ports});
    store.write("/registry/services/default/kubernetes", &service, 0)?;
    Ok(())
}
