//! Paths, and refusals in the API's shape.

use serde_json::{Value, json};

use super::discovery::{self, Resource};
use super::serve::Reply;

/// A refusal: status code, reason, message.
pub type Refusal = (u16, &'static str, String);
/// What a call comes to.
pub type Answer<T> = Result<T, Refusal>;

/// What a path names.
#[derive(Debug, Clone)]
pub struct Target {
    /// What kind of object.
    pub resource: &'static Resource,
    /// The namespace, or "".
    pub namespace: String,
    /// The name, or "".
    pub name: String,
    /// `status` and the like, or "".
    pub sub: String,
}

impl Target {
    /// `/api/v1/[namespaces/NS/]PLURAL[/NAME[/SUB]]`, and the same under `/apis/GROUP/VERSION`.
    pub fn parse(path: &str) -> Option<Target> {
        let (group_version, rest) = match path.strip_prefix("/api/v1/") {
            Some(rest) => ("v1".to_owned(), rest),
            None => {
                let rest = path.strip_prefix("/apis/")?;
                let mut parts = rest.splitn(3, '/');
                (format!("{}/{}", parts.next()?, parts.next()?), parts.next()?)
            }
        };
        let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
        let (namespace, parts) = match parts.as_slice() {
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && !["status", "finalize"].contains(&rest[0]) =>
            {
                (*namespace, rest)
            }
            _ => ("", parts.as_slice()),
        };
        let part = |n: usize| parts.get(n).copied().unwrap_or_default().to_owned();
        let resource = discovery::find(&group_version, parts[0])?;
        Some(Target { resource, namespace: namespace.to_owned(), name: part(1), sub: part(2) })
    }

    pub fn key(&self, namespace: &str, name: &str) -> String {
        match self.resource.namespaced {
            true => format!("/registry/{}/{namespace}/{name}", self.resource.plural),
            false => format!("/registry/{}/{name}", self.resource.plural),
        }
    }

    pub fn own_key(&self) -> String {
        self.key(&self.namespace, &self.name)
    }

    pub fn prefix(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("/registry/{}/", self.resource.plural),
            namespace => format!("/registry/{}/{namespace}/", self.resource.plural),
        }
    }

    pub fn full_name(&self) -> String {
        match self.resource.group() {
            "" => self.resource.plural.to_owned(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }

    pub fn not_found(&self, name: &str) -> Refusal {
        (404, "NotFound", format!("{} {name:?} not found", self.full_name()))
    }
}

pub fn broken(error: String) -> Refusal {
    (500, "InternalError", format!("Internal error occurred: {error}"))
}

/// A `Status` object.
pub fn status(code: u16, reason: &str, message: &str) -> Value {
    let word = if code < 400 { "Success" } else { "Failure" };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": word, "message": message,
        "reason": reason, "code": code})
}

pub fn json_reply(code: u16, value: &Value) -> Reply {
    Reply::Full(code, "application/json", value.to_string().into_bytes())
}
