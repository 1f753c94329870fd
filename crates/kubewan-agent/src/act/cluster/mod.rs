//! Goals inside the cluster, through this host's kubectl: its version matches the cluster's, and the API
//! needs to be open to nobody else for it.

mod announced;
pub(crate) mod node;
pub(crate) mod spread;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::action::cluster::ObjectSeen;
use kubewan_core::action::{Action, Object, Observed};
use kubewan_core::api::is_transient;
use serde_json::{Value, json};

use super::{Host, Performing, kubeadm};
use crate::command::{Output, Program};
use crate::facts::ownership;

pub use announced::{observe_announced, perform_announced};
pub use node::{observe_node_meta, perform_node_meta};
pub use spread::{observe_spread, perform_spread};

/// The admin's credentials, on control planes.
pub const ADMIN_CONF: &str = "/etc/kubernetes/admin.conf";

/// Bound of one request to the API.
const REQUEST: Duration = Duration::from_secs(15);

/// How long an API that does not answer is asked again while something is performed: an API server that
/// kubeadm or the kubelet restarts is away for some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it is asked again while something is only looked at.
const BLINK: Duration = Duration::from_secs(15);

/// Runs this host's kubectl as the cluster's admin.
///
/// # Errors
/// Fails where there is no kubectl or no admin.conf, and where it was stopped at its time bound.
pub fn kubectl(
    host: &Host,
    args: &[String],
    stdin: Option<&str>,
    timeout: Duration,
) -> Result<Output, String> {
    if !Path::new(ADMIN_CONF).exists() {
        return Err(format!("can't run kubectl: there is no {ADMIN_CONF} on this host"));
    }
    let mut program = with_conf(host, ADMIN_CONF).args(args.iter().cloned()).timeout(timeout);
    if let Some(text) = stdin {
        program = program.stdin(text);
    }
    program.output()
}

/// kubectl with the credentials of a kubeconfig, and no trace in root's home.
pub(super) fn with_conf(host: &Host, conf: &str) -> Program {
    let cache = host.root().join("kubectl-cache");
    Program::new("kubectl").args(["--kubeconfig", conf, "--cache-dir"]).arg(cache.to_string_lossy())
}

/// kubectl as admin, each request bounded.
pub(super) fn admin(host: &Host) -> Program {
    let seconds = REQUEST.as_secs();
    with_conf(host, ADMIN_CONF).arg(format!("--request-timeout={seconds}s")).timeout(REQUEST * 2)
}

/// What came of asking the API.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// It answered.
    Object(Value),
    /// It knows no such thing.
    Nothing,
    /// There is no API yet: `kubeadm init` has not ended here.
    NoApi,
}

impl Answer {
    /// The object, where there is one.
    pub(super) fn object(self) -> Option<Value> {
        match self {
            Answer::Object(object) => Some(object),
            Answer::Nothing | Answer::NoApi => None,
        }
    }
}

/// Asks for JSON. An API that should be there and does not answer is an error, after it was asked again for
/// a while.
pub(super) fn ask(host: &Host, program: &Program) -> Result<Answer, String> {
    if !Path::new(ADMIN_CONF).exists() {
        return Ok(Answer::NoApi);
    }
    // What somebody got stuck in is none of ours yet: each question would wait for an API that is not there.
    let owned = ownership(host)?;
    if !owned.init_begun && !owned.join_begun {
        return Ok(Answer::NoApi);
    }
    let begun = Instant::now();
    loop {
        let error = match program.output().and_then(|output| program.checked(output)) {
            Ok(output) => return parse(&output.stdout),
            Err(error) => error,
        };
        if error.contains("no matches for kind") || error.contains("(NotFound)") {
            return Ok(Answer::Nothing);
        }
        // Whatever it says: a control plane whose init was cut off may come up without the admin's rights, and is
        // made anew.
        let owned = ownership(host)?;
        if !owned.init_ended && !owned.join_ended {
            return Ok(Answer::NoApi);
        }
        if !is_transient(&error) {
            return Err(error);
        }
        if begun.elapsed() > BLINK || is_known_dead() {
            give_up();
            return Err(error);
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// When the API was last given up. A plan asks a dozen times, and need not wait each time.
fn dead_since() -> MutexGuard<'static, Option<Instant>> {
    static DEAD: Mutex<Option<Instant>> = Mutex::new(None);
    DEAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that the API was waited for in vain.
pub(super) fn give_up() {
    *dead_since() = Some(Instant::now());
}

fn is_known_dead() -> bool {
    dead_since().is_some_and(|since| since.elapsed() < PATIENCE)
}

/// A look that failed because the API was not there for a moment saw nothing.
pub(super) fn tolerate<T>(looked: Result<Option<T>, String>) -> Result<Option<T>, String> {
    match looked {
        Err(error) if is_transient(&error) => Ok(None),
        other => other,
    }
}

pub(crate) fn parse(stdout: &str) -> Result<Answer, String> {
    // --ignore-not-found prints nothing at all.
    if stdout.trim().is_empty() {
        return Ok(Answer::Nothing);
    }
    let object =
        serde_json::from_str(stdout).map_err(|e| format!("kubectl printed no JSON: {e}"))?;
    Ok(Answer::Object(object))
}

/// Runs a change of the API, again while the API does not answer.
pub(super) fn change(program: &Program, cx: &mut Performing<'_>) -> Result<Output, String> {
    let until = Instant::now() + PATIENCE;
    let mut said = false;
    loop {
        let error = match program.output().and_then(|output| program.checked(output)) {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        if !is_transient(&error) || Instant::now() > until {
            return Err(error);
        }
        if !said {
            (cx.progress)("the API does not answer; asking again");
            said = true;
        }
        thread::sleep(Duration::from_secs(2));
    }
}

/// Calls until it returns something, or an error, or the time is over.
pub(super) fn wait_for<T>(
    timeout: Duration,
    every: Duration,
    mut look: impl FnMut() -> Result<Option<T>, String>,
) -> Result<Option<T>, String> {
    let until = Instant::now() + timeout;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Instant::now() + every > until {
            return Ok(None);
        }
        thread::sleep(every);
    }
}

/// Looks at an object.
///
/// # Errors
/// Fails where the API does not answer although it should.
pub fn observe_object(goal: &Object, host: &Host) -> Result<ObjectSeen, String> {
    let get = ["get", "-f", "-", "-o", "json", "--ignore-not-found"];
    let program = admin(host).args(get).stdin(goal.manifest.to_string());
    let answer =
        ask(host, &program).map_err(|e| format!("can't look at {}: {e}", goal.subject()))?;
    Ok(ObjectSeen { live: answer.object().and_then(only_of_list) })
}

/// Looks at goals inside the cluster with one question for all of them, and answers in their order. `None` where that
/// question can't be answered for all, as when the API does not know the kind of one, or a goal is about something else:
/// each is to be asked for alone then.
pub fn observe_together(goals: &[&Action], host: &Host) -> Option<Vec<Observed>> {
    let mut items: Vec<Value> = Vec::new();
    for goal in goals {
        let asked = match goal {
            Action::KubeadmInit(goal) => kubeadm::asks(goal, host)?,
            Action::Object(goal) => vec![named(&goal.manifest)],
            Action::NodeMeta(goal) => vec![node::named(&goal.node)],
            Action::Announced(goal) => vec![node::named(&goal.node)],
            _ => return None,
        };
        for item in asked {
            if !items.contains(&item) {
                items.push(item);
            }
        }
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let get = ["get", "-f", "-", "-o", "json", "--ignore-not-found"];
    let program = admin(host).args(get).stdin(list.to_string());
    let found = match ask(host, &program).ok()? {
        Answer::Object(list) => list,
        Answer::NoApi => Value::Null,
        Answer::Nothing => return None,
    };
    let seen = |goal: &&Action| match goal {
        Action::KubeadmInit(goal) => {
            kubeadm::observe_answered(goal, &found, host).ok().map(Observed::KubeadmInit)
        }
        Action::Object(goal) => {
            Some(Observed::Object(ObjectSeen { live: pick(&goal.manifest, &found).cloned() }))
        }
        Action::NodeMeta(goal) => {
            let node = pick(&node::named(&goal.node), &found);
            Some(Observed::NodeMeta(node.map(node::seen).unwrap_or_default()))
        }
        Action::Announced(goal) => {
            let node = pick(&node::named(&goal.node), &found);
            Some(Observed::Announced(node.map(announced::seen).unwrap_or_default()))
        }
        _ => None,
    };
    goals.iter().map(seen).collect()
}

/// Where an object's version, kind, namespace and name stand.
const IDENTITY: [&str; 4] = ["/apiVersion", "/kind", "/metadata/namespace", "/metadata/name"];

fn identity(object: &Value) -> [Option<&str>; 4] {
    IDENTITY.map(|pointer| object.pointer(pointer).and_then(Value::as_str))
}

/// As much of an object as a question about it needs.
fn named(object: &Value) -> Value {
    let [version, kind, namespace, name] = identity(object);
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    json!({ "apiVersion": version, "kind": kind, "metadata": metadata })
}

/// The object that is asked for, among those that the API has.
fn pick<'a>(asked: &Value, list: &'a Value) -> Option<&'a Value> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let wanted = identity(asked);
    items.iter().find(|item| {
        let mut found = identity(item);
        // Where the question leaves it to the API.
        found[2] = found[2].filter(|_| wanted[2].is_some());
        found == wanted
    })
}

/// What kubectl reads from standard input it answers as a list, even of one.
fn only_of_list(mut object: Value) -> Option<Value> {
    if object["kind"] != "List" {
        return Some(object);
    }
    object["items"].as_array_mut()?.pop()
}

/// Applies an object on the server's side: fields that others own stay theirs, unless they are in the
/// manifest.
///
/// # Errors
/// What the API answered.
pub fn perform_object(
    goal: &Object,
    _seen: &ObjectSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    // Server-side apply checks fields against the schema by itself; kubectl would fetch it to check first.
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=kubewan"];
    let program = admin(cx.host)
        .args(apply)
        .args(["--validate=false", "-o", "json", "-f", "-"])
        .stdin(goal.manifest.to_string());
    let output =
        change(&program, cx).map_err(|e| format!("can't apply {}: {e}", goal.subject()))?;
    let live = parse(&output.stdout).ok().and_then(Answer::object).and_then(only_of_list);
    cx.after = live.map(|live| Observed::Object(ObjectSeen { live: Some(live) }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_printed_is_nothing_there() {
        assert_eq!(parse("\n"), Ok(Answer::Nothing));
        assert_eq!(parse("{\"a\":1}"), Ok(Answer::Object(json!({"a": 1}))));
        let listed = |text: &str| only_of_list(serde_json::from_str(text).unwrap());
        assert_eq!(listed(r#"{"kind": "List", "items": [{"a":1}]}"#), Some(json!({"a": 1})));
        assert_eq!(listed(r#"{"kind": "List", "items": []}"#), None);
        assert_eq!(listed(r#"{"kind": "Node"}"#), Some(json!({"kind": "Node"})));
        assert!(parse("Name: x").is_err());
    }

    #[test]
    fn each_goal_gets_its_own_object() {
        let object = |kind: &str, namespace: Option<&str>| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": namespace}});
        let goals =
            [object("ConfigMap", Some("a")), object("ConfigMap", Some("b")), object("Node", None)];
        let live = [object("Node", None), object("ConfigMap", Some("b"))];
        let list = json!({"kind": "List", "items": live});
        let seen = goals.each_ref().map(|goal| pick(goal, &list));
        assert_eq!(seen, [None, Some(&live[1]), Some(&live[0])]);
        assert_eq!(pick(&goals[0], &Value::Null), None);
        let node = node::named("x");
        assert_eq!(pick(&node, &list), Some(&live[0]), "the API says that it is in no namespace");
        let mut full = object("ConfigMap", Some("a"));
        full["data"] = json!({"key": "value"});
        assert_eq!(named(&full), goals[0]);
    }

    #[test]
    fn waiting_is_bounded() {
        let mut calls = 0;
        let mut look = || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        };
        let short = Duration::from_millis(1);
        assert_eq!(wait_for(Duration::from_secs(1), short, &mut look), Ok(Some(3)));
        assert_eq!(wait_for::<u8>(short * 5, short, || Ok(None)), Ok(None));
        assert_eq!(wait_for::<u8>(short, short, || Err("x".into())), Err("x".into()));
    }
}
