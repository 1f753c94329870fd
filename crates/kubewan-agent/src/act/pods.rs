//! Pods of this host's node that stop when its runtime starts again, and their coming back.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::cluster::{wait_for, with_conf};
use super::kubeadm::KUBELET_CONF;
use super::{Host, Performing};

/// Until the kubelet has seen that its containers are gone (it looks every second) and has told the API (every ten;
/// `nodeStatusUpdateFrequency`): what the API says before is of the time before.
const TOLD: Duration = Duration::from_secs(20);
/// How long a control plane may take to come back with all its pods.
const COMES_BACK: Duration = Duration::from_secs(300);
/// How long one question may take.
const ASKS: Duration = Duration::from_secs(20);

/// A pod, by its id.
type Uids = BTreeSet<String>;

/// The pods of a node that are ready, asked with the kubelet's own credentials; `None` where the API does not tell.
pub(super) fn ready_pods(host: &Host, node: &str) -> Option<Uids> {
    let pods = ask(host, &["get", "pods", "-A", &format!("--field-selector=spec.nodeName={node}")])
        .ok()?;
    Some(uids(&pods, is_ready))
}

/// Waits until a node is ready, and of its pods those that were before.
///
/// # Errors
/// What is missing when the time is over.
pub(super) fn wait_back(
    node: &str,
    before: Option<&Uids>,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    (cx.progress)(&format!("waiting until node {node} is ready again, and its pods"));
    thread::sleep(TOLD);
    let host = cx.host;
    let mut last = String::new();
    let back = wait_for(COMES_BACK, Duration::from_secs(2), || {
        last = match missing(host, node, before) {
            Ok(None) => return Ok(Some(())),
            Ok(Some(missing)) => missing,
            Err(error) => error,
        };
        Ok(None)
    })?;
    back.ok_or_else(|| {
        format!(
            "the runtime of node {node} started again, and after {} s it is not what it was: {last}. No other host was touched after \
             it; see to this one (`kubewan doctor`), then run the same command again",
            COMES_BACK.as_secs()
        )
    })
}

/// What a node lacks of what it was.
fn missing(host: &Host, node: &str, before: Option<&Uids>) -> Result<Option<String>, String> {
    if !is_ready(&ask(host, &["get", "node", node])?) {
        return Ok(Some("it is not ready".into()));
    }
    let Some(before) = before else { return Ok(None) };
    let pods =
        ask(host, &["get", "pods", "-A", &format!("--field-selector=spec.nodeName={node}")])?;
    let waiting = uids(&pods, |pod| !is_ready(pod));
    let waiting = waiting.intersection(before).count();
    Ok((waiting > 0).then(|| format!("{waiting} of its pods are not ready, which were before")))
}

fn ask(host: &Host, args: &[&str]) -> Result<Value, String> {
    let program = with_conf(host, KUBELET_CONF).arg("--request-timeout=10s");
    let text = program.args(args.iter().copied()).args(["-o", "json"]).timeout(ASKS).stdout()?;
    serde_json::from_str(&text).map_err(|error| format!("kubectl's answer is no JSON: {error}"))
}

fn uids(pods: &Value, is: impl Fn(&Value) -> bool) -> Uids {
    let pods = pods["items"].as_array().into_iter().flatten().filter(|pod| is(pod));
    pods.filter_map(|pod| pod["metadata"]["uid"].as_str()).map(str::to_owned).collect()
}

/// Whether a node or a pod says that it is ready.
fn is_ready(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let is_ready = |each: &Value| each["type"] == "Ready" && each["status"] == "True";
    conditions.is_some_and(|all| all.iter().any(is_ready))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_were_not_ready_are_not_waited_for() {
        let pod = |uid: &str, status: &str| {
            json!({
                "metadata": { "uid": uid },
                "status": { "conditions": [{ "type": "Ready", "status": status }] },
            })
        };
        let before = json!({ "items": [pod("a", "True"), pod("b", "False"), json!({})] });
        let before = uids(&before, is_ready);
        assert_eq!(before, BTreeSet::from(["a".to_owned()]));
        let after = json!({ "items": [pod("a", "False"), pod("b", "False"), pod("c", "False")] });
        let waiting = uids(&after, |pod| !is_ready(pod));
        assert_eq!(waiting.intersection(&before).count(), 1);
    }
}
