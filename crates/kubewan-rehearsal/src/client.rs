//! Calls to the API stand-in.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::net::{Client, Identity};
use crate::pki;
use crate::value::{self, Res, list, text};

/// What became of a call.
#[derive(Debug)]
pub enum Failure {
    /// The server was not reached.
    Unreached(String),
    /// The server refused: code and message.
    Refused(u16, String),
}

impl Failure {
    /// Its words.
    pub fn text(self) -> String {
        match self {
            Failure::Unreached(text) | Failure::Refused(_, text) => text,
        }
    }
}

/// The API of one server, as one user.
#[derive(Debug, Clone)]
pub struct Kube(Client);

impl Kube {
    /// The API at `https://HOST:PORT`.
    pub fn new(server: &str, identity: &Identity) -> Res<Kube> {
        Client::new(server, identity, Duration::from_secs(10)).map(Kube)
    }

    /// The server and user of a kubeconfig; another server when one is given.
    pub fn from_file(path: &Path, server: Option<&str>) -> Res<Kube> {
        let (own, identity) = pki::from_kubeconfig(&pki::read(path)?)?;
        Kube::new(server.unwrap_or(&own), &identity)
    }

    /// One call.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer =
            self.0.request(method, path, kind, body.as_bytes()).map_err(Failure::Unreached)?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        match answer.status {
            200..300 => Ok(value),
            401 => Err(Failure::Refused(401, "Unauthorized".into())),
            code if text(&value, "message").is_empty() => {
                Err(Failure::Refused(code, String::from_utf8_lossy(&answer.body).into_owned()))
            }
            code => Err(Failure::Refused(code, text(&value, "message").to_owned())),
        }
    }

    /// Reads; `None` when there is no such object.
    pub fn get(&self, path: &str) -> Res<Option<Value>> {
        match self.call("GET", path, "application/json", None) {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Refused(404, _)) => Ok(None),
            Err(other) => Err(other.text()),
        }
    }

    /// The objects of a list.
    pub fn list(&self, path: &str) -> Res<Vec<Value>> {
        Ok(list(&self.get(path)?.unwrap_or_default(), "items").to_vec())
    }

    /// Merges into an object or its status.
    pub fn merge(&self, path: &str, patch: &Value) -> Res<Value> {
        self.call("PATCH", path, "application/strategic-merge-patch+json", Some(patch))
            .map_err(Failure::text)
    }

    /// Makes an object, or changes the one that is there.
    pub fn ensure(&self, folder: &str, object: &Value) -> Res<()> {
        match self.call("POST", folder, "application/json", Some(object)) {
            Ok(_) => Ok(()),
            Err(Failure::Refused(409, _)) => {
                let name = text(object, "metadata.name");
                self.call(
                    "PATCH",
                    &format!("{folder}/{name}"),
                    "application/merge-patch+json",
                    Some(object),
                )
                .map(drop)
                .map_err(Failure::text)
            }
            Err(other) => Err(other.text()),
        }
    }

    /// Ensures every object of a YAML stream.
    pub fn ensure_all(&self, documents: &str) -> Res<()> {
        for document in value::split_documents(documents) {
            let object = value::from_yaml(&document)?;
            self.ensure(&folder(&object), &object)?;
        }
        Ok(())
    }
}

/// The path under which an object's like are.
pub fn folder(object: &Value) -> String {
    let (api, kind) = (text(object, "apiVersion"), text(object, "kind"));
    let start = if api.contains('/') { format!("/apis/{api}") } else { format!("/api/{api}") };
    let found = crate::api::discovery::resources()
        .iter()
        .find(|r| r.kind == kind && r.group_version == api);
    match found {
        Some(r) if r.namespaced => {
            format!("{start}/namespaces/{}/{}", text(object, "metadata.namespace"), r.plural)
        }
        Some(r) => format!("{start}/{}", r.plural),
        None => format!("{start}/{}s", kind.to_lowercase()),
    }
}
