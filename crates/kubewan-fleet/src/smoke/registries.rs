//! That every node pulls from the inventory's registries, by a pod of an image in them that has to be pulled anew: the kubelet's
//! login, containerd's files and the registry's certificate all have to be right for that.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::event::{Outcome, Proof};
use kubewan_core::inventory::Registry;
use kubewan_core::registry::remedy;
use serde_json::{Value, json};

use super::objects::{self, NAMESPACE};
use super::{PROBE_MS, Test, apply};
use crate::error::HostError;
use crate::fleet::{Fleet, Member};

/// Until all nodes have pulled; large images take their time over thin lines.
const PULLED: Duration = Duration::from_secs(300);

/// The label of the pods that pull.
const LABEL: &str = "kubewan-pull";

/// Reasons of a container that waits for its image (pkg/kubelet/images/types.go).
const NOT_PULLED: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RegistryUnavailable",
    "ErrImageNeverPull",
];

/// Reasons of a container whose image is there and that does not start for another reason.
const PULLED_AND_NOT_STARTED: [&str; 6] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "PreCreateHookError",
    "PostStartHookError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// How far a pod's pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pull {
    /// Under way, or not begun.
    Waits,
    /// Failed once or more; the last words.
    Failed(String),
    /// Done.
    Done(String),
}

/// A proof for every registry and node.
pub(super) fn prove(fleet: &mut Fleet, test: &Test) -> Result<Vec<Proof>, HostError> {
    let mut proofs = Vec::new();
    for (number, registry) in test.inventory.registries.iter().enumerate() {
        proofs.extend(match registry.probe_image() {
            Some(image) => pulled(test.control_plane(fleet), test, registry, &image, number)?,
            None => asked(fleet, test, registry)?,
        });
    }
    Ok(proofs)
}

fn pulled(
    member: &mut Member,
    test: &Test,
    registry: &Registry,
    image: &str,
    number: usize,
) -> Result<Vec<Proof>, HostError> {
    let hosts: Vec<&str> = test.inventory.hosts.iter().map(|host| host.name.as_str()).collect();
    let pods = hosts.iter().enumerate().map(|(place, host)| pod(number, place, host, image));
    apply(
        member,
        &json!({ "apiVersion": "v1", "kind": "List", "items": pods.collect::<Vec<_>>() }),
    )?;
    let deadline = Instant::now() + PULLED;
    let mut seen: BTreeMap<String, Pull> = BTreeMap::new();
    loop {
        let list = objects::get(member, "pods", NAMESPACE, &format!("{LABEL}={number}"))?;
        for item in list["items"].as_array().into_iter().flatten() {
            let host = item["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
            let now = state(item);
            // The first words say why; later ones may only say that it is being tried again.
            let known = seen.entry(host).or_insert(Pull::Waits);
            if !matches!((&*known, &now), (Pull::Failed(_), Pull::Waits)) && tells_more(known, &now)
            {
                *known = now;
            }
        }
        let settled = |host: &&str| match seen.get(*host) {
            Some(Pull::Done(_)) => true,
            Some(Pull::Failed(said)) => remedy(said, &registry.address).is_some(),
            _ => false,
        };
        if hosts.iter().all(settled) || Instant::now() > deadline {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(hosts
        .into_iter()
        .map(|host| {
            let result = match seen.remove(host) {
                Some(Pull::Done(said)) => Ok(said),
                Some(Pull::Failed(said)) => Err(with_remedy(&said, &registry.address)),
                _ => Err(format!("it was not pulled within {} s", PULLED.as_secs())),
            };
            test.tell("registry-pull", format!("{host} <- {image}"), result)
        })
        .collect())
}

/// Whether a later state says more than the one that is known: back-off may repeat the words of the failure or leave them out.
fn tells_more(known: &Pull, now: &Pull) -> bool {
    match (known, now) {
        (Pull::Failed(known), Pull::Failed(now)) => now.len() >= known.len(),
        _ => true,
    }
}

fn with_remedy(said: &str, address: &str) -> String {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    match remedy(&said, address) {
        Some(remedy) => format!("{said}; {remedy}"),
        None => said,
    }
}

fn state(pod: &Value) -> Pull {
    let status = &pod["status"]["containerStatuses"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let waiting = &status["state"]["waiting"];
    let reason = text(&waiting["reason"]);
    if NOT_PULLED.contains(&reason.as_str()) {
        return Pull::Failed(text(&waiting["message"]));
    }
    let id = text(&status["imageID"]);
    if PULLED_AND_NOT_STARTED.contains(&reason.as_str()) {
        return Pull::Done(format!("pulled; it does not run by itself: {reason}"));
    }
    match id.rsplit_once('@') {
        _ if id.is_empty() => Pull::Waits,
        Some((_, digest)) => Pull::Done(format!("pulled {digest}")),
        None => Pull::Done(format!("pulled {id}")),
    }
}

/// A pod on one node that pulls the image, whatever is there already, and may end as it likes.
fn pod(number: usize, place: usize, host: &str, image: &str) -> Value {
    let term =
        json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [host] }] });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("pull-{number}-{place}"),
            "namespace": NAMESPACE,
            "labels": { LABEL: number.to_string() },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{ "operator": "Exists" }],
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [term],
            } } },
            "containers": [{
                "name": "pull",
                "image": image,
                "imagePullPolicy": "Always",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}

/// Where no image is named, a registry is asked whether it is one (`GET /v2/`, OCI distribution specification); what a login
/// and a pull would say is not shown by that.
fn asked(fleet: &mut Fleet, test: &Test, registry: &Registry) -> Result<Vec<Proof>, HostError> {
    let address = &registry.address;
    let scheme = match (registry.skip_verify, test.inventory.is_docker()) {
        (false, _) => "registry",
        (true, false) => "registry-unverified",
        (true, true) => "registry-insecure",
    };
    let target = format!("{scheme}://{address}");
    let answers = fleet.each(|member| member.probe(vec![target.clone()], PROBE_MS));
    let mut proofs = Vec::new();
    for (host, answer) in answers {
        let answer = answer?.pop().unwrap_or(Err("no answer".into()));
        let (outcome, detail) = match answer {
            Ok(said) => (
                Outcome::NotShown,
                format!(
                    "GET /v2/ answers {said}; no image is named to be pulled: `probe` of the registry names one"
                ),
            ),
            Err(said) => (Outcome::Failed, with_remedy(&said, address)),
        };
        proofs.push(test.tell_outcome(
            "registry-pull",
            format!("{host} <- {address}"),
            outcome,
            detail,
        ));
    }
    Ok(proofs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: Value) -> Pull {
        state(&json!({ "status": { "containerStatuses": [status] } }))
    }

    #[test]
    fn a_pull_is_told_from_the_containers_state() {
        assert_eq!(state(&json!({})), Pull::Waits);
        let waiting = |reason: &str, message: &str| {
            of(
                json!({ "imageID": "", "state": { "waiting": { "reason": reason, "message": message } } }),
            )
        };
        assert_eq!(waiting("ContainerCreating", ""), Pull::Waits);
        assert_eq!(waiting("ErrImagePull", "x509: …"), Pull::Failed("x509: …".into()));
        assert!(matches!(waiting("RunContainerError", "exec"), Pull::Done(_)));
        let id = "r.example:5000/kubewan/smoke@sha256:ab";
        let done = of(json!({ "imageID": id, "state": { "running": {} } }));
        assert_eq!(done, Pull::Done("pulled sha256:ab".into()));
    }

    #[test]
    fn the_words_that_say_most_are_kept() {
        let failed = |said: &str| Pull::Failed(said.into());
        assert!(tells_more(&Pull::Waits, &failed("x")));
        assert!(!tells_more(
            &failed("x509: certificate signed by unknown authority"),
            &failed("Back-off")
        ));
        assert!(tells_more(&failed("Back-off"), &Pull::Done("pulled".into())));
    }

    #[test]
    fn a_pod_pulls_on_its_node_whatever_is_there() {
        let pod = pod(0, 1, "node01", "r.example:5000/a:1");
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(pod["spec"]["tolerations"][0]["operator"], "Exists");
        let term = pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0");
        assert_eq!(term.unwrap()["matchFields"][0]["values"][0], "node01");
        // The Service of the other pods does not lead to it.
        assert!(pod["metadata"]["labels"]["app"].is_null());
    }
}
