//! What the API has: discovery documents, and as much OpenAPI as `kubectl apply` asks for.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::{VERSION, strict};

/// A kind of object.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    /// `v1` or `GROUP/VERSION`.
    pub group_version: &'static str,
    /// Its name in paths.
    pub plural: &'static str,
    /// Its name in objects.
    pub kind: &'static str,
    /// Whether it lives in a namespace.
    pub namespaced: bool,
    short: &'static str,
}

impl Resource {
    /// The group, "" for the core's.
    pub fn group(&self) -> &'static str {
        self.group_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// Everything served.
pub fn resources() -> &'static [Resource] {
    static ALL: OnceLock<Vec<Resource>> = OnceLock::new();
    ALL.get_or_init(|| {
        let row = |row: &'static str| {
            let mut words = row.split(' ');
            let mut next = || words.next().unwrap_or_default();
            let (group_version, plural, kind, scope, short) =
                (next(), next(), next(), next(), next());
            Resource { group_version, plural, kind, namespaced: scope == "namespaced", short }
        };
        strict::rows(include_str!("../../fields/resources.txt")).map(row).collect()
    })
}

/// The resource of that name.
pub fn find(group_version: &str, plural: &str) -> Option<&'static Resource> {
    resources().iter().find(|r| r.group_version == group_version && r.plural == plural)
}

fn group_versions() -> Vec<&'static str> {
    let mut all: Vec<_> = resources().iter().map(|r| r.group_version).collect();
    all.dedup();
    all
}

fn group(group_version: &str) -> Value {
    let (name, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let version = json!({"groupVersion": group_version, "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn list(group_version: &str) -> Value {
    let entry = |r: &Resource| {
        let mut entry = json!({
            "name": r.plural, "singularName": r.kind.to_lowercase(), "namespaced": r.namespaced, "kind": r.kind,
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        });
        if r.short != "-" {
            entry["shortNames"] = json!([r.short]);
        }
        if ["pods", "services", "daemonsets", "deployments", "replicasets", "jobs"]
            .contains(&r.plural)
        {
            entry["categories"] = json!(["all"]);
        }
        let status = json!({"name": format!("{}/status", r.plural), "singularName": "", "namespaced": r.namespaced,
            "kind": r.kind, "verbs": ["get", "patch", "update"]});
        [entry, status]
    };
    let all: Vec<Value> =
        resources().iter().filter(|r| r.group_version == group_version).flat_map(entry).collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": all})
}

/// OpenAPI v3 of one group: only which paths can be patched, and that they take `fieldValidation`.
fn openapi(group_version: &str) -> Value {
    let mut paths = Map::new();
    for r in resources().iter().filter(|r| r.group_version == group_version) {
        let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
        let start =
            if group.is_empty() { "/api/v1".into() } else { format!("/apis/{group_version}") };
        let scope = if r.namespaced { "/namespaces/{namespace}" } else { "" };
        let parameter =
            |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
        let patch = json!({
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation"), parameter("force")],
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": r.kind},
            "responses": {"200": {"description": "OK"}},
        });
        paths.insert(format!("{start}{scope}/{}/{{name}}", r.plural), json!({"patch": patch}));
    }
    json!({"openapi": "3.0.0", "info": {"title": "kubewan rehearsal", "version": VERSION}, "paths": paths})
}

/// The document at a path, if it is one of these.
pub fn document(path: &str) -> Option<Value> {
    let start =
        |gv: &str| if gv.contains('/') { format!("apis/{gv}") } else { format!("api/{gv}") };
    match path.trim_end_matches('/') {
        "/version" => {
            let mut parts = VERSION.trim_start_matches('v').split('.');
            let mut part = || parts.next().unwrap_or_default();
            Some(json!({
                "major": part(), "minor": part(), "gitVersion": VERSION, "gitCommit": "kubewan-rehearsal",
                "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
                "platform": format!("linux/{}", crate::architecture()),
            }))
        }
        "/api" => Some(
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ),
        "/apis" => {
            let groups: Vec<_> =
                group_versions().into_iter().filter(|g| g.contains('/')).map(group).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        "/openapi/v2" => Some(json!({
            "swagger": "2.0", "info": {"title": "kubewan rehearsal", "version": VERSION}, "paths": {}
        })),
        "/openapi/v3" => {
            let entry = |gv: &str| {
                (start(gv), json!({"serverRelativeURL": format!("/openapi/v3/{}", start(gv))}))
            };
            let paths: Map<String, Value> = group_versions().into_iter().map(entry).collect();
            Some(json!({"paths": paths}))
        }
        path => {
            group_versions().into_iter().find_map(|gv| match path.strip_prefix("/openapi/v3/") {
                Some(rest) => (rest == start(gv)).then(|| openapi(gv)),
                None if path[1.min(path.len())..] == start(gv) => Some(list(gv)),
                None => {
                    let name = gv.split_once('/')?.0;
                    (path.strip_prefix("/apis/")? == name).then(|| group(gv))
                }
            })
        }
    }
}
