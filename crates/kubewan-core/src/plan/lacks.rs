//! What an adopted cluster lacks. kubeadm would make it again, from a configuration that is not the cluster's: so it is named,
//! with the command that makes it from the cluster's own, and nothing is changed until it is there.

use std::collections::BTreeMap;

use super::Step;
use crate::action::kubeadm::{InitSeen, JoinSeen};
use crate::action::{Action, Observed, Package, diff};
use crate::facts::Facts;
use crate::finding::Finding;

/// Packages by which a cluster's containers run.
const RUNTIMES: [&str; 5] = ["containerd", "containerd.io", "docker-ce", "docker.io", "runc"];

/// A finding for every host of an adopted cluster that is not whole, or that would get a second runtime.
pub fn lacking(
    facts: &BTreeMap<String, Facts>,
    steps: &[Step],
    seen: &BTreeMap<String, Result<Observed, String>>,
) -> Vec<Finding> {
    let is_adopted = |step: &&Step| facts.get(&step.host).is_some_and(|of| of.kubernetes.adopted);
    let finding = |step: &Step| {
        let now = seen.get(&step.id)?.as_ref().ok()?;
        diff(&step.action, now).ok().flatten()?;
        match (&step.action, now) {
            (Action::KubeadmInit(_), Observed::KubeadmInit(now)) => {
                Some(of_control_plane(&step.host, now))
            }
            (Action::KubeadmJoin(_), Observed::KubeadmJoin(now)) => Some(of_node(&step.host, now)),
            (Action::Package(goal), Observed::Package(now)) => {
                of_runtime(&step.host, goal, &goal.missing(now), facts.get(&step.host)?)
            }
            _ => None,
        }
    };
    steps.iter().filter(is_adopted).filter_map(finding).collect()
}

fn lacks(host: &str, what: String, remedy: String) -> Finding {
    let message = format!(
        "the adopted cluster lacks {what}; kubewan does not run kubeadm on it, which would make that from another configuration"
    );
    Finding::error("adopt-lacks", host, message, remedy)
}

fn of_control_plane(host: &str, now: &InitSeen) -> Finding {
    let unasked = now.unreachable.iter().map(|words| format!("an API that answers ({words})"));
    let gone: Vec<String> = now.gone.iter().cloned().chain(unasked).collect();
    // Certificates that kubeadm made beside an authority without its key would be another authority's.
    let signs = now.gone.iter().any(|path| is_key(path));
    let command = |phase: &String| {
        let phase = phase.replace('/', " ");
        format!("`kubeadm init phase {phase} --config kubeadm.yaml`")
    };
    let phases = now.missing.iter().filter(|phase| !(signs && *phase == "certs/all"));
    let commands: Vec<String> = phases.map(command).collect();
    let key =
        "put back from a copy what signs: kubeadm would make a new authority, which no node trusts";
    let made = format!(
        "put it back from a copy, or have kubeadm make it from the cluster's own configuration (`kubectl -n kube-system get \
         configmap kubeadm-config -o jsonpath='{{.data.ClusterConfiguration}}' > kubeadm.yaml`; an InitConfiguration beside it has \
         to say the node's address as `localAPIEndpoint.advertiseAddress`, or kubeadm takes the network card's): {}",
        commands.join(", ")
    );
    let remedy = match (signs, commands.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{key}; what else is gone: {made}"),
        (false, _) => made,
    };
    lacks(host, gone.join(", "), remedy)
}

/// Whether what is gone can't be made again.
fn is_key(path: &str) -> bool {
    let name = path.strip_prefix("/etc/kubernetes/pki/").unwrap_or_default();
    let pair = name.strip_suffix(".key").or_else(|| name.strip_suffix(".crt"));
    name == "sa.key" || pair.is_some_and(|of| ["ca", "front-proxy-ca", "etcd/ca"].contains(&of))
}

fn of_node(host: &str, now: &JoinSeen) -> Finding {
    let name = |part: &String| match part.as_str() {
        "kubelet.conf" => "/etc/kubernetes/kubelet.conf".to_owned(),
        "kubelet-config" => "/var/lib/kubelet/config.yaml".to_owned(),
        "node" => format!("the node {host}"),
        "credentials" => "credentials of the kubelet that the API takes".to_owned(),
        part => part.to_owned(),
    };
    let gone: Vec<String> = now.missing.iter().map(name).collect();
    let only_node = now.missing.iter().all(|part| part == "node");
    let remedy = match only_node {
        true => "`systemctl restart kubelet` there: a kubelet registers its node when it starts"
            .to_owned(),
        false => format!(
            "have it join again by kubeadm's own command (`kubeadm token create --print-join-command` on the control plane, after \
             `kubeadm reset` on {host}); or take {host} out of the cluster and the inventory"
        ),
    };
    lacks(host, gone.join(", "), remedy)
}

/// A runtime that no package of these brought: one that is installed now comes beside it, or in its place.
fn of_runtime(host: &str, goal: &Package, missing: &[String], facts: &Facts) -> Option<Finding> {
    let runtimes: Vec<&str> =
        missing.iter().map(String::as_str).filter(|name| RUNTIMES.contains(name)).collect();
    if goal.absent || runtimes.is_empty() {
        return None;
    }
    let there = match (&facts.runtime.containerd, facts.runtime.docker.installed) {
        (_, true) => "a Docker".to_owned(),
        (Some(version), false) => format!("containerd {version}"),
        (None, false) => return None,
    };
    Some(Finding::error(
        "adopt-runtime",
        host,
        format!(
            "the cluster's containers run by {there}, which no package of {} brought: it would be installed beside it, or in \
             its place, under running pods",
            runtimes.join(", ")
        ),
        "say whose it is: `runtime: { source: docker }` for Docker's packages, `distribution` for the distribution's, `release` for \
         containerd's own archive, whose programs kubewan replaces by those that it knows",
    ))
}
