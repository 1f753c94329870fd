//! Pods of a Deployment on different nodes. The scheduler spreads pods only when it places them: those that
//! started while there was one node stay together until one of them is made anew. That they are ready in their
//! places is a proof's to show: the kubelet probes a new pod every ten seconds, and nothing else waits for it.

use std::time::{Duration, Instant};

use kubewan_core::action::cluster::SpreadSeen;
use kubewan_core::action::{Observed, Spread};
use serde_json::Value;

use super::super::{Host, Performing};
use super::{Answer, admin, ask, change, tolerate};

/// A pod that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    name: String,
    /// Empty where it is not scheduled.
    node: String,
    ready: bool,
}

/// Looks where the pods are.
///
/// # Errors
/// Fails where the API does not answer although it should.
pub fn observe_spread(goal: &Spread, host: &Host) -> Result<SpreadSeen, String> {
    let pods = pods(goal, host)?;
    let unscheduled = match &pods {
        // Nodes enough: no need to ask more.
        Some(pods) => pods.iter().all(|pod| pod.node.is_empty()) && unscheduled(host)?,
        None => false,
    };
    Ok(seen(pods.unwrap_or_default(), unscheduled))
}

fn seen(pods: Vec<Pod>, unscheduled: bool) -> SpreadSeen {
    SpreadSeen { pods: pods.into_iter().map(|pod| (pod.name, pod.node)).collect(), unscheduled }
}

/// The rehearsal's API server, behind which nothing schedules, says so in its version.
fn unscheduled(host: &Host) -> Result<bool, String> {
    let answer = ask(host, &admin(host).args(["get", "--raw", "/version"]))?;
    let Answer::Object(version) = answer else { return Ok(false) };
    let says = |field: &str| version[field].as_str().is_some_and(|text| text.contains("rehearsal"));
    Ok(says("gitVersion") || says("gitCommit"))
}

fn pods(goal: &Spread, host: &Host) -> Result<Option<Vec<Pod>>, String> {
    let get = ["get", "pods", "-n", &goal.namespace, "-l", &goal.selector, "-o", "json"];
    let answer = ask(host, &admin(host).args(get)).map_err(|e| {
        format!("can't look at the pods of {}/{}: {e}", goal.namespace, goal.deployment)
    })?;
    Ok(answer.object().map(|list| staying(&list)))
}

pub(crate) fn staying(list: &Value) -> Vec<Pod> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
        .filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")))
        .map(|pod| Pod {
            name: pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            node: pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
            ready: is_true(&pod["status"]["conditions"], "Ready"),
        })
        .collect()
}

fn is_true(conditions: &Value, kind: &str) -> bool {
    let list = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().any(|c| c["type"] == kind && c["status"] == "True")
}

/// Nodes that take pods.
pub(crate) fn open_nodes(list: &Value) -> usize {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter(|node| node["spec"]["unschedulable"] != true)
        .filter(|node| is_true(&node["status"]["conditions"], "Ready"))
        .count()
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    /// Pods are on their way.
    Wait,
    /// This one shares its node with another.
    Move(String),
}

pub(crate) fn next(pods: &[Pod], nodes: u32) -> Next {
    let mut used: Vec<&str> = pods.iter().map(|p| p.node.as_str()).collect();
    used.retain(|node| !node.is_empty());
    used.sort_unstable();
    used.dedup();
    if used.len() >= nodes as usize {
        return Next::Done;
    }
    let shared = |pod: &&Pod| {
        !pod.node.is_empty() && pods.iter().filter(|other| other.node == pod.node).count() > 1
    };
    let mut shared: Vec<&Pod> = pods.iter().filter(shared).collect();
    shared.sort_by_key(|pod| pod.ready);
    match shared.first() {
        // One at a time, so that names resolve meanwhile; one that is not ready yet resolves none.
        Some(pod) if !pod.ready || pods.iter().all(|pod| pod.ready) => Next::Move(pod.name.clone()),
        _ => Next::Wait,
    }
}

/// Between two looks at the pods: the scheduler places one at once where a node takes it.
const EVERY: Duration = Duration::from_millis(500);

/// Makes pods that share a node anew, one after the other, once enough nodes are ready to take them.
///
/// # Errors
/// Says where the pods are after the time that was given.
pub fn perform_spread(
    goal: &Spread,
    _seen: &SpreadSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(goal.timeout_s);
    let mut moved = 0;
    loop {
        let there = tolerate(pods(goal, cx.host))?.unwrap_or_default();
        match next(&there, goal.nodes) {
            Next::Done => {
                cx.after = Some(Observed::Spread(seen(there, false)));
                return Ok(());
            }
            Next::Move(pod) if moved < 10 && nodes_ready(cx.host)? >= goal.nodes as usize => {
                (cx.progress)(&format!("{pod} shares its node; making it anew"));
                let delete = ["delete", "pod", "-n", &goal.namespace, &pod, "--wait=false"];
                change(&admin(cx.host).args(delete), cx)?;
                moved += 1;
            }
            _ => {}
        }
        if Instant::now() > until {
            let places: Vec<String> = there
                .iter()
                .map(|p| {
                    format!(
                        "{} on {}{}",
                        p.name,
                        or_none(&p.node),
                        if p.ready { "" } else { ", not ready" }
                    )
                })
                .collect();
            return Err(format!(
                "{}/{} is not on {} nodes after {} s: {}. Look at `kubectl -n {} describe pod -l {}`",
                goal.namespace,
                goal.deployment,
                goal.nodes,
                goal.timeout_s,
                if places.is_empty() { "it has no pods".into() } else { places.join("; ") },
                goal.namespace,
                goal.selector
            ));
        }
        std::thread::sleep(EVERY);
    }
}

fn or_none(node: &str) -> &str {
    if node.is_empty() { "no node" } else { node }
}

fn nodes_ready(host: &Host) -> Result<usize, String> {
    let answer = ask(host, &admin(host).args(["get", "nodes", "-o", "json"]));
    Ok(tolerate(answer.map(Answer::object))?.map_or(0, |list| open_nodes(&list)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, ready: bool) -> Pod {
        Pod { name: name.into(), node: node.into(), ready }
    }

    #[test]
    fn moves_one_pod_at_a_time() {
        let together = [pod("a", "n1", true), pod("b", "n1", true)];
        assert_eq!(next(&together, 2), Next::Move("a".into()));
        assert_eq!(next(&[pod("b", "n1", true), pod("c", "n2", false)], 2), Next::Done);
        assert_eq!(next(&[pod("b", "n1", true), pod("c", "", false)], 2), Next::Wait);
        assert_eq!(next(&[pod("b", "n1", true), pod("c", "n2", true)], 2), Next::Done);
        assert_eq!(next(&[pod("b", "n1", true)], 2), Next::Wait);
        let starting = [pod("a", "n1", true), pod("b", "n1", false)];
        assert_eq!(next(&starting, 2), Next::Move("b".into()), "it is no loss");
        let third = [pod("a", "n1", true), pod("b", "n1", true), pod("c", "n2", false)];
        assert_eq!(next(&third, 3), Next::Wait);
        assert_eq!(next(&[pod("a", "", false), pod("b", "", false)], 2), Next::Wait);
        assert_eq!(next(&[], 2), Next::Wait);
    }

    #[test]
    fn leaves_out_pods_that_go() {
        let list = json!({"items": [
            {"metadata": {"name": "a", "deletionTimestamp": "x"}, "spec": {"nodeName": "n1"}},
            {"metadata": {"name": "b"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}]}},
            {"metadata": {"name": "c"}, "spec": {}, "status": {"phase": "Pending"}},
            {"metadata": {"name": "d"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Failed"}},
        ]});
        assert_eq!(staying(&list), [pod("b", "n1", true), pod("c", "", false)]);
    }

    #[test]
    fn counts_nodes_that_take_pods() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let list = json!({"items": [
            {"spec": {}, "status": {"conditions": ready}},
            {"spec": {"unschedulable": true}, "status": {"conditions": ready}},
            {"spec": {}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
        ]});
        assert_eq!(open_nodes(&list), 1);
    }
}
