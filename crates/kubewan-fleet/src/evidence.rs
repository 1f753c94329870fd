//! Evidence of all hosts at once, and what the API says, for `kubewan doctor`. It goes on where something is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use kubewan_core::evidence::{ClusterAnswers, HostEvidence};
use kubewan_core::facts::{ClusterState, Facts};
use kubewan_core::inventory::Inventory;
use kubewan_core::protocol::{Request, Response};
use kubewan_core::render::kubeadm::API_PORT;

use crate::error::HostError;
use crate::fleet::{Fleet, Member};
use crate::survey;

/// Seconds that the API has for an answer.
const API_S: u64 = 15;

/// Milliseconds that a host has to reach its own address.
const OWN_MS: u64 = 3000;

/// Namespaces with Kubernetes' own pods.
const NAMESPACES: [&str; 2] = ["kube-system", "kube-flannel"];

/// What was gathered.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// By host.
    pub hosts: BTreeMap<String, Seen>,
    /// What kubectl said; `None` where no host has a control plane.
    pub answers: Option<ClusterAnswers>,
    /// What went wrong on hosts on the way.
    pub errors: Vec<HostError>,
}

/// What was gathered of a host.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its facts.
    pub facts: Facts,
    /// How far its clock is ahead of ours for certain, milliseconds.
    pub clock_offset_ms: i64,
    /// Logs and the rest.
    pub evidence: HostEvidence,
    /// Of a control plane, whether it reaches its API at its own public address, or why not.
    pub own_api: Option<Result<(), String>>,
}

/// Gathers it.
pub fn gather(
    fleet: &mut Fleet,
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
) -> Gathered {
    let mut gathered = Gathered::default();
    let control_planes: BTreeSet<&str> =
        inventory.control_planes().map(|host| host.name.as_str()).collect();
    let seen = fleet.each(|member| {
        let own = addresses.get(&member.host.name).copied();
        let own = own.filter(|_| control_planes.contains(member.host.name.as_str()));
        look(member, own)
    });
    for (host, seen) in seen {
        match seen {
            Ok(seen) => drop(gathered.hosts.insert(host, seen)),
            Err(error) => gathered.errors.push(error),
        }
    }
    let stands = |name: &&str| {
        let seen = gathered.hosts.get(*name);
        seen.is_some_and(|seen| seen.facts.kubernetes.state != ClusterState::None)
    };
    // The first that answers; where none does, what the first said.
    for name in inventory.control_planes().map(|host| host.name.as_str()).filter(stands) {
        let Some(member) = fleet.member(name) else { continue };
        let Ok(answers) = ask(member) else { continue };
        let answered = answers.silent.is_none();
        if answered || gathered.answers.is_none() {
            gathered.answers = Some(answers);
        }
        if answered {
            break;
        }
    }
    gathered
}

fn look(member: &mut Member, own: Option<Ipv4Addr>) -> Result<Seen, HostError> {
    let (facts, clock_offset_ms) = survey::look(member)?;
    let attempted = "reading logs and units";
    let evidence = match member.call(attempted, &Request::Evidence)? {
        Response::Evidence(evidence) => *evidence,
        _ => return Err(member.other(attempted)),
    };
    let own_api = match own.filter(|_| facts.kubernetes.state != ClusterState::None) {
        Some(address) => {
            let answers = member.probe(vec![format!("{address}:{API_PORT}")], OWN_MS)?;
            answers.into_iter().next().map(|answer| answer.map(drop))
        }
        None => None,
    };
    Ok(Seen { facts, clock_offset_ms, evidence, own_api })
}

fn ask(member: &mut Member) -> Result<ClusterAnswers, HostError> {
    let mut answers = ClusterAnswers::default();
    let mut get = |args: &[&str]| {
        let args: Vec<&str> =
            ["get", "--request-timeout=10s"].iter().chain(args).copied().collect();
        member.kubectl(&args, None, API_S)
    };
    let nodes = get(&["nodes", "-o", "json"])?;
    if nodes.code != 0 {
        let last = nodes.stderr.trim().lines().last().unwrap_or("kubectl said nothing");
        answers.silent = Some(last.to_owned());
        return Ok(answers);
    }
    answers.nodes = Some(nodes.stdout);
    for namespace in NAMESPACES {
        let pods = get(&["pods", "-n", namespace, "-o", "json"])?;
        answers.pods.extend((pods.code == 0).then_some(pods.stdout));
    }
    // Never the part of a token that is a secret.
    let fields = "{range .items[*]}{.data.token-id} {.data.expiration} {.data.usage-bootstrap-signing}{\"\\n\"}{end}";
    let of_tokens = "--field-selector=type=bootstrap.kubernetes.io/token";
    let tokens =
        get(&["secrets", "-n", "kube-system", of_tokens, "-o", &format!("jsonpath={fields}")])?;
    answers.tokens = (tokens.code == 0).then_some(tokens.stdout);
    // After the tokens: one that was made between the two would look as if nobody had signed it.
    let info = get(&["configmap", "cluster-info", "-n", "kube-public", "-o", "json"])?;
    answers.cluster_info = (info.code == 0).then_some(info.stdout);
    Ok(answers)
}
