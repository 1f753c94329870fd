//! The API over a store in memory.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::bootstrap;
use super::rest::Api;
use super::serve::{Reply, Request};
use super::store::Store;
use crate::token;

fn api() -> Arc<Api> {
    let store = Store::Memory(Mutex::new(Default::default()));
    bootstrap(&store, "10.96.0.0/12").unwrap();
    Arc::new(Api { store })
}

fn admin() -> Option<(String, Vec<String>)> {
    Some(("kubernetes-super-admin".into(), vec!["system:masters".into()]))
}

fn ask(api: &Arc<Api>, method: &str, target: &str, kind: &str, body: Value) -> (u16, Value) {
    call(api, method, target, kind, body, admin(), "")
}

fn call(
    api: &Arc<Api>,
    method: &str,
    target: &str,
    kind: &str,
    body: Value,
    certificate: Option<(String, Vec<String>)>,
    bearer: &str,
) -> (u16, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |p: &str| p.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
    let mut headers = vec![("content-type".to_owned(), kind.to_owned())];
    if !bearer.is_empty() {
        headers.push(("authorization".to_owned(), format!("Bearer {bearer}")));
    }
    let request = Request {
        method: method.into(),
        path: path.into(),
        query: query.split('&').filter_map(pair).collect(),
        headers,
        body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
        certificate,
    };
    match api.handle(request) {
        Reply::Full(status, _, body) => {
            (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
        }
        Reply::Stream(_) => panic!("a stream"),
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[test]
fn objects_live() {
    let api = api();
    let (code, made) = ask(&api, "POST", MAPS, JSON, map("a", json!({"k": "1"})));
    assert_eq!((code, &made["metadata"]["namespace"]), (201, &json!("default")));
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["resourceVersion"].is_string());
    let (code, again) = ask(&api, "POST", MAPS, JSON, map("a", json!({})));
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(again["message"], "configmaps \"a\" already exists");
    let (_, merged) = ask(&api, "PATCH", &format!("{MAPS}/a"), MERGE, json!({"data": {"z": "2"}}));
    assert_eq!(merged["data"], json!({"k": "1", "z": "2"}));
    let (code, stale) = ask(&api, "PUT", &format!("{MAPS}/a"), JSON, made);
    assert_eq!((code, &stale["reason"]), (409, &json!("Conflict")));
    assert_eq!(ask(&api, "DELETE", &format!("{MAPS}/a"), JSON, Value::Null).0, 200);
    let (code, gone) = ask(&api, "GET", &format!("{MAPS}/a"), JSON, Value::Null);
    assert_eq!((code, &gone["details"]["name"]), (404, &json!("a")));
    let (code, lost) =
        ask(&api, "POST", "/api/v1/namespaces/none/configmaps", JSON, map("a", json!({})));
    assert_eq!((code, &lost["message"]), (404, &json!("namespaces \"none\" not found")));
}

#[test]
fn what_is_applied_is_kept_and_what_is_dropped_goes() {
    let api = api();
    let path = format!("{MAPS}/a?fieldManager=kubewan&force=true");
    assert_eq!(ask(&api, "PATCH", &path, APPLY, map("a", json!({"k": "1", "l": "1"}))).0, 201);
    ask(&api, "PATCH", &format!("{MAPS}/a"), MERGE, json!({"data": {"theirs": "1"}}));
    let (code, dry) =
        ask(&api, "PATCH", &format!("{path}&dryRun=All"), APPLY, map("a", json!({"k": "2"})));
    assert_eq!((code, &dry["data"]), (200, &json!({"k": "2", "theirs": "1"})));
    let (_, real) = ask(&api, "GET", &format!("{MAPS}/a"), JSON, Value::Null);
    assert_eq!(real["data"], json!({"k": "1", "l": "1", "theirs": "1"}));
    let (_, applied) = ask(&api, "PATCH", &path, APPLY, map("a", json!({"k": "2"})));
    assert_eq!(applied["data"], json!({"k": "2", "theirs": "1"}));
    let version = applied["metadata"]["resourceVersion"].clone();
    let (_, same) = ask(&api, "PATCH", &path, APPLY, map("a", json!({"k": "2"})));
    assert_eq!(same["metadata"]["resourceVersion"], version, "nothing to change, nothing written");
}

#[test]
fn status_and_spec_are_apart() {
    let api = api();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {}});
    ask(&api, "POST", "/api/v1/nodes", JSON, node);
    let ready =
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"x": 1}});
    let kind = "application/strategic-merge-patch+json";
    let (_, node) = ask(&api, "PATCH", "/api/v1/nodes/n/status", kind, ready);
    assert_eq!((&node["spec"], &node["metadata"]["generation"]), (&json!({}), &json!(1)));
    let spec = json!({"status": {"conditions": []}, "spec": {"unschedulable": true}});
    let (_, node) = ask(&api, "PATCH", "/api/v1/nodes/n", kind, spec);
    assert_eq!(node["status"]["conditions"][0]["status"], "True");
    assert_eq!(
        (&node["spec"], &node["metadata"]["generation"]),
        (&json!({"unschedulable": true}), &json!(2))
    );
}

#[test]
fn who_may_what() {
    let api = api();
    let get = |path: &str, who: Option<(String, Vec<String>)>, bearer: &str| {
        call(&api, "GET", path, JSON, Value::Null, who, bearer).0
    };
    assert_eq!(get("/api/v1/nodes", None, ""), 403);
    assert_eq!(get("/version", None, ""), 200);
    assert_eq!(get("/api/v1/namespaces/kube-public/configmaps/cluster-info", None, ""), 404);
    assert_eq!(get("/api/v1/nodes", None, "abcdef.0123456789abcdef"), 401);
    let mut made = json!({"token": "abcdef.0123456789abcdef"});
    token::defaults(&mut made);
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    assert_eq!(ask(&api, "POST", secrets, JSON, token::secret(&made).unwrap()).0, 201);
    assert_eq!(get("/api/v1/nodes", None, "abcdef.0123456789abcdef"), 403);
    assert_eq!(get("/api/v1/nodes/n", None, "abcdef.0123456789abcdef"), 404);
    assert_eq!(get(secrets, None, "abcdef.0123456789abcdef"), 403);
    made["token"] = "fedcba.0123456789abcdef".into();
    made["expires"] = "2020-01-01T00:00:00Z".into();
    ask(&api, "POST", secrets, JSON, token::secret(&made).unwrap());
    assert_eq!(get("/api/v1/nodes/n", None, "fedcba.0123456789abcdef"), 401);
    let node = |name: &str| Some((format!("system:node:{name}"), vec!["system:nodes".to_owned()]));
    assert_eq!(get(secrets, node("a"), ""), 403);
    let patch = |who| call(&api, "PATCH", "/api/v1/nodes/b", MERGE, json!({}), who, "").0;
    assert_eq!((patch(node("a")), patch(node("b"))), (403, 404));
    let kubeadm = Some(("kubernetes-admin".to_owned(), vec!["kubeadm:cluster-admins".to_owned()]));
    assert_eq!(get("/api/v1/nodes", kubeadm.clone(), ""), 403);
    let binding = json!({"metadata": {"name": "kubeadm:cluster-admins"}});
    ask(&api, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", JSON, binding);
    assert_eq!(get("/api/v1/nodes", kubeadm, ""), 200);
}

#[test]
fn a_namespace_takes_its_objects_with_it() {
    let api = api();
    let space = json!({"metadata": {"name": "x"}});
    assert_eq!(ask(&api, "POST", "/api/v1/namespaces", JSON, space).0, 201);
    let maps = "/api/v1/namespaces/x/configmaps";
    ask(&api, "POST", maps, JSON, map("a", json!({})));
    let items =
        |path: &str| ask(&api, "GET", path, JSON, Value::Null).1["items"].as_array().unwrap().len();
    assert_eq!((items(maps), items("/api/v1/configmaps?fieldSelector=metadata.name=b")), (1, 0));
    assert_eq!(ask(&api, "DELETE", "/api/v1/namespaces/x", JSON, Value::Null).0, 200);
    assert_eq!(items(maps), 0);
}
