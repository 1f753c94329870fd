//! Objects made, replaced, patched and applied.

use serde_json::{Value, json};

use super::auth::User;
use super::patch;
use super::rest::Api;
use super::serve::{Reply, Request};
use super::target::{Answer, Target, broken, json_reply};
use crate::value::{self, Res, at, set, text};

impl Api {
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

    pub fn create(&self, request: &Request, target: &Target, user: &User) -> Answer<Reply> {
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
    pub fn change(&self, request: &Request, target: &Target, verb: &str) -> Answer<Reply> {
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
}
