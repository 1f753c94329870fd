//! Objects over HTTP: get, list, watch, create, update, patch, delete.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::auth::{self, Ask, User};
use super::discovery::{self, Resource};
use super::serve::{Reply, Request, Sink};
use super::store::Store;
use super::{patch, select, table};
use crate::value::{self, Res, at, set, text};

/// The API over a store.
#[derive(Debug)]
pub struct Api {
    /// Where objects are.
    pub store: Store,
}

/// A refusal: status code, reason, message.
type Refusal = (u16, &'static str, String);
type Answer<T> = Result<T, Refusal>;

/// What a path names.
#[derive(Debug, Clone)]
struct Target {
    resource: &'static Resource,
    namespace: String,
    name: String,
    sub: String,
}

impl Target {
    /// `/api/v1/[namespaces/NS/]PLURAL[/NAME[/SUB]]`, and the same under `/apis/GROUP/VERSION`.
    fn parse(path: &str) -> Option<Target> {
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

    fn key(&self, namespace: &str, name: &str) -> String {
        match self.resource.namespaced {
            true => format!("/registry/{}/{namespace}/{name}", self.resource.plural),
            false => format!("/registry/{}/{name}", self.resource.plural),
        }
    }

    fn own_key(&self) -> String {
        self.key(&self.namespace, &self.name)
    }

    fn prefix(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("/registry/{}/", self.resource.plural),
            namespace => format!("/registry/{}/{namespace}/", self.resource.plural),
        }
    }

    fn full_name(&self) -> String {
        match self.resource.group() {
            "" => self.resource.plural.to_owned(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }

    fn not_found(&self, name: &str) -> Refusal {
        (404, "NotFound", format!("{} {name:?} not found", self.full_name()))
    }
}

fn broken(error: String) -> Refusal {
    (500, "InternalError", format!("Internal error occurred: {error}"))
}

/// A `Status` object.
pub fn status(code: u16, reason: &str, message: &str) -> Value {
    let word = if code < 400 { "Success" } else { "Failure" };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": word, "message": message,
        "reason": reason, "code": code})
}

fn json_reply(code: u16, value: &Value) -> Reply {
    Reply::Full(code, "application/json", value.to_string().into_bytes())
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
        if path == "/version" || user.name != "system:anonymous" {
            if let Some(document) = discovery::document(&path) {
                return Ok(json_reply(200, &document));
            }
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

    fn shown(
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

    fn selected(&self, request: &Request, target: &Target) -> Res<(Vec<Value>, u64)> {
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

    fn read(&self, target: &Target) -> Answer<Value> {
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

    fn body(request: &Request) -> Answer<Value> {
        let bad =
            |e: String| (400, "BadRequest", format!("the object provided is unrecognized: {e}"));
        let text = String::from_utf8(request.body.clone()).map_err(|e| bad(e.to_string()))?;
        if request.header("content-type").contains("protobuf") {
            return Err((
                415,
                "UnsupportedMediaType",
                "the stand-in speaks JSON and YAML only".into(),
            ));
        }
        match serde_json::from_str(&text) {
            Ok(value) => Ok(value),
            Err(_) => value::from_yaml(&text).map_err(bad),
        }
    }

    fn create(&self, request: &Request, target: &Target, user: &User) -> Answer<Reply> {
        let object = Self::body(request)?;
        let name = match (text(&object, "metadata.name"), text(&object, "metadata.generateName")) {
            ("", "") => {
                return Err((
                    422,
                    "Invalid",
                    format!(
                        "{} \"\" is invalid: metadata.name: Required value: name or generateName is required",
                        target.resource.kind
                    ),
                ));
            }
            ("", start) => format!("{start}{}", value::hex(&value::random::<3>())),
            (name, _) => name.to_owned(),
        };
        let mut target = target.clone();
        target.name = name;
        let object = self.fresh(object, &target, user)?;
        if request.parameter("dryRun") == "All" {
            return Ok(json_reply(201, &object));
        }
        match self.store.write(&target.own_key(), &object, 0).map_err(broken)? {
            Some(object) => Ok(json_reply(201, &object)),
            None => Err((
                409,
                "AlreadyExists",
                format!("{} {:?} already exists", target.full_name(), target.name),
            )),
        }
    }

    /// Fills what a new object lacks, and refuses one that does not fit its place.
    fn fresh(&self, mut object: Value, target: &Target, user: &User) -> Answer<Value> {
        let resource = target.resource;
        let kind = text(&object, "kind");
        if !kind.is_empty() && kind != resource.kind {
            return Err((
                400,
                "BadRequest",
                format!(
                    "{kind} in version {:?} cannot be handled as a {}",
                    text(&object, "apiVersion"),
                    resource.kind
                ),
            ));
        }
        if resource.namespaced {
            let namespace = self
                .store
                .get(&format!("/registry/namespaces/{}", target.namespace))
                .map_err(broken)?;
            if namespace.is_none() {
                return Err((
                    404,
                    "NotFound",
                    format!("namespaces {:?} not found", target.namespace),
                ));
            }
            set(&mut object, "metadata.namespace", target.namespace.as_str().into());
        }
        set(&mut object, "kind", resource.kind.into());
        set(&mut object, "apiVersion", resource.group_version.into());
        set(&mut object, "metadata.name", target.name.as_str().into());
        set(&mut object, "metadata.uid", value::uuid().into());
        set(&mut object, "metadata.creationTimestamp", value::now().into());
        set(&mut object, "metadata.generation", 1.into());
        match resource.plural {
            "namespaces" => set(&mut object, "status.phase", "Active".into()),
            "certificatesigningrequests" => {
                set(&mut object, "spec.username", user.name.as_str().into());
                set(&mut object, "spec.groups", json!(user.groups));
            }
            "pods" if at(&object, "status.phase").is_null() => {
                set(&mut object, "status.phase", "Pending".into())
            }
            _ => {}
        }
        Ok(object)
    }

    /// PUT and PATCH, tried again when somebody else wrote meanwhile.
    fn change(&self, request: &Request, target: &Target, verb: &str) -> Answer<Reply> {
        let body = Self::body(request)?;
        for _ in 0..8 {
            let old = self.store.get(&target.own_key()).map_err(broken)?;
            let (mut new, expected) = match (&old, verb) {
                (None, "patch") if request.header("content-type").contains("apply-patch") => {
                    let user = User::anonymous();
                    (self.fresh(body.clone(), target, &user)?, 0)
                }
                (None, _) => return Err(target.not_found(&target.name)),
                (Some(old), _) => {
                    let revision = text(old, "metadata.resourceVersion");
                    (
                        self.changed(request, target, old, &body)?,
                        revision.parse().unwrap_or_default(),
                    )
                }
            };
            if request.parameter("dryRun") == "All" {
                return Ok(json_reply(200, &new));
            }
            let applied = self.remember(request, target, &body);
            let asked = text(&body, "metadata.resourceVersion");
            let stale = !["", "0"].contains(&asked) && asked != expected.to_string();
            let unchanged = old.as_ref().is_some_and(|old| *old == new);
            let written = match (stale, unchanged) {
                (true, _) => None,
                (false, true) => Some(std::mem::take(&mut new)),
                (false, false) => {
                    self.store.write(&target.own_key(), &new, expected).map_err(broken)?
                }
            };
            match written {
                Some(object) => {
                    applied.map_err(broken)?;
                    return Ok(json_reply(if expected == 0 { 201 } else { 200 }, &object));
                }
                None if stale => {
                    return Err((
                        409,
                        "Conflict",
                        format!(
                            "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your \
                         changes to the latest version and try again",
                            target.full_name(),
                            target.name
                        ),
                    ));
                }
                None => {}
            }
        }
        Err((
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {:?}: too many writers",
                target.full_name(),
                target.name
            ),
        ))
    }

    fn applied_key(request: &Request, target: &Target) -> Option<String> {
        let manager = request.parameter("fieldManager");
        let apply = request.header("content-type").contains("apply-patch");
        apply.then(|| format!("/rehearsal/applied/{manager}{}", target.own_key()))
    }

    /// Keeps what a manager applied, so that fields it later drops can be removed.
    fn remember(&self, request: &Request, target: &Target, body: &Value) -> Res<()> {
        let Some(key) = Self::applied_key(request, target) else { return Ok(()) };
        let before = self.store.get(&key)?;
        let revision =
            before.map_or(0, |b| text(&b, "metadata.resourceVersion").parse().unwrap_or_default());
        self.store.write(&key, body, revision).map(drop)
    }

    fn changed(
        &self,
        request: &Request,
        target: &Target,
        old: &Value,
        body: &Value,
    ) -> Answer<Value> {
        let kind = request.header("content-type");
        let mut new = old.clone();
        let bad = |e: String| (422, "Invalid", e);
        match kind {
            _ if request.method == "PUT" => new = body.clone(),
            _ if kind.contains("json-patch") => patch::json_patch(&mut new, body).map_err(bad)?,
            _ if kind.contains("apply-patch") => {
                let key = Self::applied_key(request, target).unwrap_or_default();
                if let Some(mut before) = self.store.get(&key).map_err(broken)? {
                    before["metadata"].as_object_mut().map(|m| m.remove("resourceVersion"));
                    patch::prune(&mut new, &before, body);
                }
                patch::merge(&mut new, body, true);
            }
            _ => patch::merge(&mut new, body, kind.contains("strategic")),
        }
        let mut result = new;
        match target.sub.as_str() {
            "" => {
                if !at(old, "status").is_null() {
                    set(&mut result, "status", old["status"].clone());
                }
            }
            _ => {
                let status = result["status"].take();
                result = old.clone();
                set(&mut result, "status", status);
            }
        }
        for kept in
            ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion"]
        {
            match &old["metadata"][kept] {
                Value::Null => drop(result["metadata"].as_object_mut().map(|m| m.remove(kept))),
                value => set(&mut result, &format!("metadata.{kept}"), value.clone()),
            }
        }
        if result["spec"] != old["spec"] {
            let generation = at(old, "metadata.generation").as_u64().unwrap_or(1) + 1;
            set(&mut result, "metadata.generation", generation.into());
        }
        Ok(result)
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

    /// Sends the state, then what changes in it, looking twice a second.
    fn watch(self: Arc<Self>, request: &Request, target: Target) -> Reply {
        let seconds = request.parameter("timeoutSeconds").parse().unwrap_or(300);
        let since: u64 = request.parameter("resourceVersion").parse().unwrap_or(0);
        let initial = request.parameter("sendInitialEvents") == "true";
        let request = Request {
            query: request.query.clone(),
            headers: request.headers.clone(),
            ..Request::default()
        };
        Reply::Stream(Box::new(move |sink| {
            let end = Instant::now() + Duration::from_secs(seconds);
            let mut seen: BTreeMap<String, (u64, Value)> = BTreeMap::new();
            let mut first = true;
            while Instant::now() < end {
                let Ok((objects, revision)) = self.selected(&request, &target) else {
                    return Ok(());
                };
                let mut now = BTreeMap::new();
                for object in objects {
                    let version = text(&object, "metadata.resourceVersion").parse().unwrap_or(0);
                    let key = format!(
                        "{}/{}",
                        text(&object, "metadata.namespace"),
                        text(&object, "metadata.name")
                    );
                    let before = seen.get(&key).map(|s| s.0);
                    let quiet = first && !initial && since > 0 && version <= since;
                    if before != Some(version) && !quiet {
                        let word = if before.is_some() || (first && since > 0) {
                            "MODIFIED"
                        } else {
                            "ADDED"
                        };
                        event(sink, &request, &target, word, &object)?;
                    }
                    now.insert(key, (version, object));
                }
                for (key, (_, object)) in &seen {
                    if !now.contains_key(key) {
                        event(sink, &request, &target, "DELETED", object)?;
                    }
                }
                if first && initial {
                    let metadata = json!({"resourceVersion": revision.to_string(),
                        "annotations": {"k8s.io/initial-events-end": "true"}});
                    let object = json!({"kind": target.resource.kind, "apiVersion": target.resource.group_version,
                        "metadata": metadata});
                    sink(
                        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).as_bytes(),
                    )?;
                }
                (seen, first) = (now, false);
                std::thread::sleep(Duration::from_millis(500));
            }
            Ok(())
        }))
    }
}

fn event(
    sink: Sink<'_>,
    request: &Request,
    target: &Target,
    word: &str,
    object: &Value,
) -> io::Result<()> {
    let revision = text(object, "metadata.resourceVersion");
    let table = Api::shown(request, target, std::slice::from_ref(object), revision);
    let object = table.unwrap_or_else(|| object.clone());
    sink(format!("{}\n", json!({"type": word, "object": object})).as_bytes())
}
