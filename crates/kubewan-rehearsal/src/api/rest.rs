//! Objects over HTTP: who may, get, list, delete; the rest is in `write` and `watch`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::auth::{self, Ask, User};
use super::serve::{Reply, Request};
use super::store::Store;
use super::target::{Answer, Target, broken, json_reply, status};
use super::{discovery, select, table};
use crate::value::{Res, text};

/// The API over a store.
#[derive(Debug)]
pub struct Api {
    /// Where objects are.
    pub store: Store,
}

impl Api {
    /// Answers one request.
    pub fn handle(self: &Arc<Self>, request: Request) -> Reply {
        match self.answer(request) {
            Ok(reply) => reply,
            Err((code, reason, message)) => {
                let mut status = status(code, reason, &message);
                let quoted: Vec<&str> = message.split('"').collect();
                if quoted.len() == 3 {
                    let kind = quoted[0].split(' ').next().unwrap_or_default();
                    status["details"] = json!({"name": quoted[1], "kind": kind});
                }
                json_reply(code, &status)
            }
        }
    }

    fn user(&self, request: &Request) -> Answer<User> {
        if let Some((name, groups)) = &request.certificate {
            let mut groups = groups.clone();
            groups.push("system:authenticated".into());
            return Ok(User { name: name.clone(), groups });
        }
        let Some(bearer) = request.header("authorization").strip_prefix("Bearer ") else {
            return Ok(User::anonymous());
        };
        let user = auth::bearer(&self.store, bearer.trim()).map_err(broken)?;
        user.ok_or((401, "Unauthorized", "Unauthorized".into()))
    }

    fn answer(self: &Arc<Self>, request: Request) -> Answer<Reply> {
        let path = request.path.clone();
        if ["/healthz", "/livez", "/readyz"]
            .iter()
            .any(|p| path == *p || path.starts_with(&format!("{p}/")))
        {
            return Ok(match self.store.get("/registry/health") {
                Ok(_) => Reply::Full(200, "text/plain", b"ok".to_vec()),
                Err(error) => {
                    let text = format!(
                        "[+]ping ok\n[-]etcd failed: {error}\n{} check failed\n",
                        &path[1..]
                    );
                    Reply::Full(500, "text/plain", text.into_bytes())
                }
            });
        }
        let user = self.user(&request)?;
        let known = path == "/version" || user.name != "system:anonymous";
        if let Some(document) = known.then(|| discovery::document(&path)).flatten() {
            return Ok(json_reply(200, &document));
        }
        let missing =
            || (404, "NotFound", "the server could not find the requested resource".to_owned());
        let Some(target) = Target::parse(&path) else {
            if user.name == "system:anonymous" {
                return Err((
                    403,
                    "Forbidden",
                    format!("forbidden: User \"system:anonymous\" cannot get path {path:?}"),
                ));
            }
            return Err(missing());
        };
        let watch = ["true", "1"].contains(&request.parameter("watch"));
        let verb = match (request.method.as_str(), target.name.is_empty()) {
            ("GET", _) if watch => "watch",
            ("GET", true) => "list",
            ("GET", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", _) => "delete",
            _ => {
                return Err((
                    405,
                    "MethodNotAllowed",
                    "the server does not allow this method".into(),
                ));
            }
        };
        self.authorize(&user, verb, &target)?;
        if !["", "status", "approval", "finalize", "scale"].contains(&target.sub.as_str()) {
            return Err((
                501,
                "NotImplemented",
                format!("[rehearsal] no pods run here: no {}", target.sub),
            ));
        }
        match verb {
            "watch" => Ok(self.clone().watch(&request, target)),
            "list" => self.list(&request, &target),
            "get" => self.get(&request, &target),
            "create" => self.create(&request, &target, &user),
            "delete" => self.delete(&request, &target),
            _ => self.change(&request, &target, verb),
        }
    }

    fn authorize(&self, user: &User, verb: &str, target: &Target) -> Answer<()> {
        let resource = match target.sub.as_str() {
            "" => target.resource.plural.to_owned(),
            sub => format!("{}/{sub}", target.resource.plural),
        };
        let ask =
            Ask { verb, resource: &resource, namespace: &target.namespace, name: &target.name };
        if auth::allowed(&self.store, user, ask).map_err(broken)? {
            return Ok(());
        }
        let scope = match target.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let subject = match target.name.as_str() {
            "" => format!("{} is forbidden", target.full_name()),
            name => format!("{} {name:?} is forbidden", target.full_name()),
        };
        let group = target.resource.group();
        let message = format!(
            "{subject}: User {:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}",
            user.name
        );
        Err((403, "Forbidden", message))
    }

    pub fn shown(
        request: &Request,
        target: &Target,
        objects: &[Value],
        revision: &str,
    ) -> Option<Value> {
        request
            .header("accept")
            .contains("as=Table")
            .then(|| table::table(target.resource.plural, objects, revision))
    }

    pub fn selected(&self, request: &Request, target: &Target) -> Res<(Vec<Value>, u64)> {
        let (mut objects, revision) = self.store.list(&target.prefix())?;
        let (labels, fields) =
            (request.parameter("labelSelector"), request.parameter("fieldSelector"));
        objects.retain(|o| select::labels(o, labels) && select::fields(o, fields));
        objects.retain(|o| target.name.is_empty() || text(o, "metadata.name") == target.name);
        Ok((objects, revision))
    }

    fn list(&self, request: &Request, target: &Target) -> Answer<Reply> {
        let (objects, revision) = self.selected(request, target).map_err(broken)?;
        let revision = revision.to_string();
        let table = Self::shown(request, target, &objects, &revision);
        Ok(json_reply(200, &table.unwrap_or_else(|| {
            json!({"kind": format!("{}List", target.resource.kind), "apiVersion": target.resource.group_version,
                "metadata": {"resourceVersion": revision}, "items": objects})
        })))
    }

    pub fn read(&self, target: &Target) -> Answer<Value> {
        let found = self.store.get(&target.own_key()).map_err(broken)?;
        found.ok_or_else(|| target.not_found(&target.name))
    }

    fn get(&self, request: &Request, target: &Target) -> Answer<Reply> {
        let object = self.read(target)?;
        let table = Self::shown(
            request,
            target,
            std::slice::from_ref(&object),
            text(&object, "metadata.resourceVersion"),
        );
        Ok(json_reply(200, &table.unwrap_or(object)))
    }
    fn delete(&self, request: &Request, target: &Target) -> Answer<Reply> {
        let dry = request.parameter("dryRun") == "All"
            || String::from_utf8_lossy(&request.body).contains("\"dryRun\":[\"All\"]");
        let gone = if target.name.is_empty() {
            self.selected(request, target).map_err(broken)?.0
        } else {
            vec![self.read(target)?]
        };
        for object in gone.iter().filter(|_| !dry) {
            let (namespace, name) =
                (text(object, "metadata.namespace"), text(object, "metadata.name"));
            self.store.delete(&target.key(namespace, name)).map_err(broken)?;
            if target.resource.plural == "namespaces" {
                self.empty_namespace(name).map_err(broken)?;
            }
        }
        let mut success = status(200, "", "");
        success["details"] = json!({"name": target.name, "group": target.resource.group(), "kind": target.resource.plural});
        Ok(json_reply(200, &success))
    }

    fn empty_namespace(&self, namespace: &str) -> Res<()> {
        for resource in discovery::resources().iter().filter(|r| r.namespaced) {
            let prefix = format!("/registry/{}/{namespace}/", resource.plural);
            for object in self.store.list(&prefix)?.0 {
                self.store.delete(&format!("{prefix}{}", text(&object, "metadata.name")))?;
            }
        }
        Ok(())
    }
}
