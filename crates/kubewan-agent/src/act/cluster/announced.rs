//! The public address that flannel announces for a node.

use std::time::{Duration, Instant};

use kubewan_core::action::cluster::AnnouncedSeen;
use kubewan_core::action::{Announced, Observed};
use serde_json::Value;

use super::super::{Host, Performing};
use super::{admin, change, node, tolerate, wait_for};

/// Where flannel says which address others send to (`pkg/subnet/kube/annotations.go`).
const ANNOTATION: &str = "flannel.alpha.coreos.com/public-ip";

/// Where flannel's own manifest puts its DaemonSet.
const NAMESPACE: &str = "kube-flannel";

/// Between two looks while flannel starts, where kubectl can't wait for it.
const EVERY: Duration = Duration::from_millis(500);

/// How long kubectl waits for the right address before another one is looked for.
const WATCH: Duration = Duration::from_secs(10);

/// Looks at what is announced.
///
/// # Errors
/// Fails where the API does not answer although it should.
pub fn observe_announced(goal: &Announced, host: &Host) -> Result<AnnouncedSeen, String> {
    Ok(node::get(host, &goal.node)?.as_ref().map(seen).unwrap_or_default())
}

/// What is announced for a node.
pub(super) fn seen(node: &Value) -> AnnouncedSeen {
    let address = node["metadata"]["annotations"][ANNOTATION].as_str().map(str::to_owned);
    AnnouncedSeen { address }
}

/// Waits for the announcement. Where it is another address, flannel started before it was told the right one,
/// and reads that only when it starts: its pod is made anew.
///
/// # Errors
/// Says what was announced in the end, and what the node's flannel pod is doing.
pub fn perform_announced(
    goal: &Announced,
    seen: &AnnouncedSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let wanted = goal.address.to_string();
    let until = Instant::now() + Duration::from_secs(goal.timeout_s);
    let mut now = seen.address.clone();
    let mut restarted = false;
    loop {
        match &now {
            Some(address) if *address == wanted => {
                cx.after = Some(Observed::Announced(AnnouncedSeen { address: now }));
                return Ok(());
            }
            Some(address) if !restarted => {
                (cx.progress)(&format!(
                    "flannel announces {address} for {}; starting it again",
                    goal.node
                ));
                restart(goal, cx)?;
                restarted = true;
            }
            _ => {}
        }
        let left = until.saturating_duration_since(Instant::now());
        let last = now.clone();
        let host = cx.host;
        let mut first = true;
        let changed = wait_for(left, EVERY, || {
            // Not before the first look: what is there already is seen faster.
            if !std::mem::take(&mut first) {
                watch(goal, left.min(WATCH), host);
            }
            let seen = observe_announced(goal, host);
            tolerate(seen.map(|seen| (seen.address != last).then_some(seen.address)))
        })?;
        match changed {
            Some(address) => now = address,
            None => return Err(failure(goal, now.as_deref(), cx.host)),
        }
    }
}

/// Has one kubectl wait for the right address, which is cheaper than to ask again and again on a host that is busy starting pods.
/// How it ends is not asked: the node is looked at after it, and kubectl before 1.23 knows no such condition.
fn watch(goal: &Announced, time: Duration, host: &Host) {
    let path = ANNOTATION.replace('.', "\\.");
    let condition = format!("--for=jsonpath={{.metadata.annotations.{path}}}={}", goal.address);
    let timeout = format!("--timeout={}s", time.as_secs().max(1));
    let node = format!("node/{}", goal.node);
    let _ = admin(host).args(["wait", &node, &condition, &timeout]).timeout(time + EVERY).output();
}

fn restart(goal: &Announced, cx: &mut Performing<'_>) -> Result<(), String> {
    let field = format!("spec.nodeName={}", goal.node);
    let delete = ["delete", "pod", "-n", NAMESPACE, "-l", "app=flannel", "--wait=false"];
    let program = admin(cx.host).args(delete).args(["--field-selector", &field]);
    change(&program, cx)
        .map(drop)
        .map_err(|e| format!("can't start flannel on {} again: {e}", goal.node))
}

fn failure(goal: &Announced, now: Option<&str>, host: &Host) -> String {
    let field = format!("spec.nodeName={}", goal.node);
    let get =
        ["get", "pod", "-n", NAMESPACE, "-o", "wide", "--no-headers", "--field-selector", &field];
    let pods = admin(host).args(get).stdout().unwrap_or_else(|e| e);
    let pods = pods.trim();
    format!(
        "flannel did not announce {} for node {} within {} s; it announces {}. Its pod: {}. \
         Look at `kubectl -n {NAMESPACE} logs -l app=flannel`",
        goal.address,
        goal.node,
        goal.timeout_s,
        now.unwrap_or("nothing"),
        if pods.is_empty() { "there is none on that node" } else { pods }
    )
}
