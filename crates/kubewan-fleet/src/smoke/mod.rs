//! The proof that a cluster works, from outside and from pods on every node. The pods' image is made from kubewan's own
//! program, so that no registry is needed; whatever happens, it is cleaned up.

pub(crate) mod dns;
mod exposure;
mod http;
mod image;
mod objects;
pub(crate) mod pod;
mod registries;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::action::{Action, Artifact, Image, Spread};
use kubewan_core::event::{Event, Outcome, Proof};
use kubewan_core::inventory::Inventory;
use kubewan_core::network::ports::{Protocol, Source as From};
use kubewan_core::network::reach::{Way, ways};
use kubewan_core::plan::phase::{runtime, settle};
use kubewan_core::plan::{Phase, Plan, Step};

use crate::error::HostError;
use crate::executor::{self, Run};
use crate::fleet::{Emit, Fleet, Member};
use crate::nodes;
use crate::program::Programs;
use crate::survey;
use crate::upload::{Source, Sources};

pub use pod::{client, server};

pub use objects::NAMESPACE;
use objects::Pod;

/// Until all pods run.
const PODS: Duration = Duration::from_secs(180);

/// For the namespace to be gone.
const GONE_S: u64 = 120;

/// For one round of questions from one pod; each question is asked again for a third of it.
const ROUND_S: u64 = 90;

/// Milliseconds until a host's connection to another is given up.
const PROBE_MS: u64 = 5_000;

/// Checks that need pods.
const POD_CHECKS: [&str; 7] =
    ["pod-to-pod", "service", "node-port", "dns", "dns-replicas", "logs", "exec"];

/// What a proof is about.
pub struct Test<'a> {
    /// The cluster.
    pub inventory: &'a Inventory,
    /// Public addresses by host.
    pub addresses: &'a BTreeMap<String, Ipv4Addr>,
    /// Go's name of each host's architecture.
    pub archs: &'a BTreeMap<String, String>,
    /// Programs that the image is made from.
    pub programs: &'a Programs,
    /// Stand-ins take the place of Kubernetes: there are no pods.
    pub rehearsal: bool,
    /// Hears what happens.
    pub emit: &'a Emit<'a>,
}

impl Test<'_> {
    fn tell(&self, check: &str, subject: String, result: Result<String, String>) -> Proof {
        let (outcome, detail) = match result {
            Ok(detail) => (Outcome::Passed, detail),
            Err(detail) => (Outcome::Failed, detail),
        };
        self.tell_outcome(check, subject, outcome, detail)
    }

    fn tell_outcome(
        &self,
        check: &str,
        subject: String,
        outcome: Outcome,
        detail: String,
    ) -> Proof {
        let proof = Proof { check: check.into(), subject, outcome, detail };
        (self.emit)(Event::Proof(proof.clone()));
        proof
    }

    fn control_plane<'f, 'd>(&self, fleet: &'f mut Fleet<'d>) -> &'f mut Member<'d> {
        let name = &self.inventory.first_control_plane().name;
        fleet.member(name).expect("a proof begins with all hosts connected")
    }
}

/// Runs the whole proof.
///
/// # Errors
/// Fails where hosts can't be reached or the pods can't be made; what does not hold is a failed proof.
pub fn run(fleet: &mut Fleet, test: &Test) -> Result<Vec<Proof>, Vec<HostError>> {
    let mut proofs = host_to_host(fleet, test)?;
    proofs.extend(exposure::closed_to_others(test));
    if test.rehearsal {
        let spread = settle::coredns(test.inventory).is_some();
        let asked = POD_CHECKS.into_iter().filter(|check| spread || *check != "dns-replicas");
        let registries = (!test.inventory.registries.is_empty()).then_some("registry-pull");
        proofs.extend(asked.chain(registries).map(|check| not_shown(test, check)));
        return Ok(proofs);
    }
    let images = bring_image(fleet, test)?;
    let shown = with_namespace(fleet, test, |fleet| {
        let mut shown = with_pods(fleet, test, &images)?;
        shown.extend(registries::prove(fleet, test)?);
        Ok(shown)
    });
    proofs.extend(shown?);
    Ok(proofs)
}

/// Runs an image as one pod and asks it by HTTP from every host, as tutorials do with nginx.
///
/// # Errors
/// As [`run`].
pub fn run_image(
    fleet: &mut Fleet,
    test: &Test,
    image: &str,
) -> Result<Vec<Proof>, Vec<HostError>> {
    if test.rehearsal {
        return Ok(vec![not_shown(test, "image")]);
    }
    with_namespace(fleet, test, |fleet| {
        let address = {
            let member = test.control_plane(fleet);
            apply(member, &objects::single(image))?;
            let pods = wait_for_pods(member, 1)?;
            match pods.first() {
                Some(pod) if pod.ready => pod.ip.clone(),
                _ => {
                    let said = why_not_ready(member, "")?;
                    return Ok(vec![test.tell("image", image.into(), Err(said))]);
                }
            }
        };
        let url = format!("http://{address}:80/");
        let answers = fleet.each(|member| member.probe(vec![url.clone()], PROBE_MS));
        let mut proofs = Vec::new();
        for (host, answer) in answers {
            let answer = answer?.pop().unwrap_or(Err("no answer".into()));
            let subject = format!("{host} -> {image}");
            let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
            proofs.push(test.tell("image", subject, answer.map(first_line)));
        }
        Ok(proofs)
    })
}

fn not_shown(test: &Test, check: &str) -> Proof {
    let detail = "a rehearsal runs no pods".into();
    test.tell_outcome(check, test.inventory.name.clone(), Outcome::NotShown, detail)
}

/// TCP between all pairs of hosts over their public addresses, on every port that one has to open for the other.
fn host_to_host(fleet: &mut Fleet, test: &Test) -> Result<Vec<Proof>, Vec<HostError>> {
    let ways = ways(test.inventory);
    let answers = fleet.each(|member| {
        let from = From::Host(member.host.name.clone());
        let tcp = |way: &&Way| way.from == from && way.protocol == Protocol::Tcp;
        let mine: Vec<&Way> = ways.iter().filter(tcp).collect();
        let target = |way: &&Way| format!("{}:{}", test.addresses[&way.to], way.port);
        let answers = member.probe(mine.iter().map(target).collect(), PROBE_MS)?;
        let subject = |way: &&Way| format!("{} -> {} ({})", member.host.name, way.to, target(way));
        let subjects: Vec<String> = mine.iter().map(subject).collect();
        let musts = mine.iter().map(|way| way.must);
        Ok(subjects.into_iter().zip(musts).zip(answers).collect::<Vec<_>>())
    });
    let mut proofs = Vec::new();
    let mut errors = Vec::new();
    for answer in answers.into_values() {
        match answer {
            Err(error) => errors.push(error),
            Ok(answers) => proofs.extend(answers.into_iter().map(|((subject, must), result)| {
                let (outcome, detail) = match result {
                    Ok(said) => (Outcome::Passed, said),
                    Err(said) if must => (Outcome::Failed, said),
                    Err(said) => (Outcome::NotShown, format!("not everyone needs it: {said}")),
                };
                test.tell_outcome("host-to-host", subject, outcome, detail)
            })),
        }
    }
    if errors.is_empty() { Ok(proofs) } else { Err(errors) }
}

/// Brings the image to every host, as the steps of a small plan of its own: it is in the journal, so `reset` knows it.
fn bring_image(fleet: &mut Fleet, test: &Test) -> Result<BTreeMap<String, String>, Vec<HostError>> {
    let store = runtime::store(test.inventory);
    let mut steps = Vec::new();
    let mut sources = Sources::new();
    let mut references = BTreeMap::new();
    let mut made: BTreeMap<&String, (String, Artifact)> = BTreeMap::new();
    for (host, arch) in test.archs {
        if !made.contains_key(arch) {
            let program = test.programs.for_arch(arch).map_err(|error| {
                let said = error.to_string();
                vec![HostError::File { host: host.clone(), name: "the smoke image".into(), said }]
            })?;
            let (reference, archive) = image::archive(&program, arch);
            let sha256 = kubewan_core::sha256_hex(&archive);
            let size = archive.len() as u64;
            sources.insert(sha256.clone(), Source::Bytes(Arc::new(archive)));
            made.insert(
                arch,
                (reference, Artifact { sha256, size, name: "smoke image".into(), url: None }),
            );
        }
        let (reference, artifact) = made[arch].clone();
        references.insert(host.clone(), reference.clone());
        let goal = Action::Image(Image { reference, artifact: Some(artifact), store });
        steps.push(Step::new(Phase::Runtime, host, goal, "pods that prove the cluster run it"));
    }
    let seen = survey::observe(fleet, &steps)?;
    let plan =
        Plan::new(&test.inventory.name, false, steps, &seen, Vec::new()).map_err(|error| {
            let attempted = "looking for the smoke image".to_owned();
            vec![HostError::Answer { host: error.host, attempted, said: error.reason }]
        })?;
    let name = executor::run_name();
    let undoes = BTreeMap::new();
    let run = Run {
        name: &name,
        plan: &plan,
        sources: &sources,
        undoes: &undoes,
        giver: None,
        emit: test.emit,
        changed: &AtomicUsize::new(0),
    };
    executor::apply(fleet, &run)?;
    Ok(references)
}

/// Removes what a proof has left that was broken off: its Service answers everyone on a port of every node.
///
/// # Errors
/// Fails where the API does not take it away in time.
pub fn remove(control_plane: &mut Member) -> Result<(), HostError> {
    let wait = format!("--timeout={GONE_S}s");
    let args = ["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", &wait];
    let output = control_plane.kubectl(&args, None, GONE_S + 10)?;
    if output.code == 0 {
        Ok(())
    } else {
        Err(control_plane.refused("removing the smoke namespace", output.stderr))
    }
}

/// Does something in a fresh namespace, which is gone afterwards whatever came of it.
fn with_namespace<'d, T>(
    fleet: &mut Fleet<'d>,
    test: &Test,
    work: impl FnOnce(&mut Fleet<'d>) -> Result<T, HostError>,
) -> Result<T, Vec<HostError>> {
    remove(test.control_plane(fleet)).map_err(|error| vec![error])?;
    let result = work(fleet);
    let removed = remove(test.control_plane(fleet));
    match (result, removed) {
        (Ok(value), Ok(())) => Ok(value),
        (result, removed) => Err(result.err().into_iter().chain(removed.err()).collect()),
    }
}

fn apply(member: &mut Member, manifest: &serde_json::Value) -> Result<(), HostError> {
    let output = member.kubectl(&["apply", "-f", "-"], Some(manifest.to_string()), 60)?;
    if output.code == 0 {
        return Ok(());
    }
    Err(member.refused("making the smoke pods", output.stderr))
}

fn with_pods(
    fleet: &mut Fleet,
    test: &Test,
    images: &BTreeMap<String, String>,
) -> Result<Vec<Proof>, HostError> {
    let member = test.control_plane(fleet);
    apply(member, &objects::everywhere(images))?;
    let pods = wait_for_pods(member, test.inventory.hosts.len())?;
    let mut proofs = Vec::new();
    let ready: BTreeSet<&str> =
        pods.iter().filter(|pod| pod.ready).map(|pod| pod.node.as_str()).collect();
    for host in &test.inventory.hosts {
        let result = match ready.contains(host.name.as_str()) {
            true => Ok("runs".to_owned()),
            false => Err(why_not_ready(member, &host.name)?),
        };
        proofs.push(test.tell("pod-on-node", host.name.clone(), result));
    }
    let pods: Vec<Pod> = pods.into_iter().filter(|pod| pod.ready).collect();
    let service = objects::service(member)?;
    for pod in &pods {
        proofs.extend(from_pod(member, test, pod, &pods, &service)?);
    }
    for host in &test.inventory.hosts {
        let address = test.addresses[&host.name];
        let subject = format!("you -> {} ({address}:{})", host.name, service.node_port);
        let answer = http::get(&format!("http://{address}:{}/", service.node_port), ROUND_S / 3);
        proofs.push(test.tell("node-port", subject, known(answer, &pods)));
    }
    // The last, as one of them may have been moved just before, and the rest takes as long as it needs.
    if let Some(spread) = settle::coredns(test.inventory) {
        let result = replicas_ready(test.control_plane(fleet), &spread)?;
        let subject = format!("{}/{}", spread.namespace, spread.deployment);
        proofs.push(test.tell("dns-replicas", subject, result));
    }
    Ok(proofs)
}

/// Waits until pods of a Deployment are ready on as many nodes as they are to be on.
fn replicas_ready(
    member: &mut Member,
    spread: &Spread,
) -> Result<Result<String, String>, HostError> {
    let deadline = Instant::now() + PODS;
    loop {
        let pods = objects::pods_of(member, &spread.namespace, &spread.selector)?;
        let nodes: BTreeSet<&str> =
            pods.iter().filter(|pod| pod.ready).map(|pod| pod.node.as_str()).collect();
        let names = nodes.iter().copied().collect::<Vec<_>>().join(", ");
        let said = format!("ready on {}", if names.is_empty() { "no node" } else { &names });
        if nodes.len() >= spread.nodes as usize {
            return Ok(Ok(said));
        }
        if Instant::now() > deadline {
            return Ok(Err(format!("{said}, and has to be on {}", spread.nodes)));
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// All that one pod can show: that its log and its shell can be reached, and whom it reaches.
fn from_pod(
    member: &mut Member,
    test: &Test,
    pod: &Pod,
    pods: &[Pod],
    service: &objects::Service,
) -> Result<Vec<Proof>, HostError> {
    let mut proofs = Vec::new();
    let log = member.kubectl(&["logs", "-n", NAMESPACE, &pod.name], None, 30)?;
    let result = match log.stdout.contains(&pod.uid) {
        true => Ok("its log has its nonce".to_owned()),
        false => Err(format!("exit {}: {}", log.code, log.stderr.trim())),
    };
    proofs.push(test.tell("logs", pod.node.clone(), result));

    let others: Vec<&Pod> = pods.iter().filter(|other| other.uid != pod.uid).collect();
    let service_url = format!("http://{}:{}/", service.cluster_ip, objects::SERVICE_PORT);
    let mut questions: Vec<String> =
        others.iter().map(|other| format!("http://{}:{}/", other.ip, objects::POD_PORT)).collect();
    questions.push(service_url);
    questions.push(format!("dns:{}", objects::SERVICE));
    let seconds = (ROUND_S / 3).to_string();
    let mut args =
        vec!["exec", "-n", NAMESPACE, &pod.name, "--", "/kubewan", "smoke-client", &seconds];
    args.extend(questions.iter().map(String::as_str));
    let output = member.kubectl(&args, None, ROUND_S)?;
    let mut answers = pod::answers(&output.stdout).into_iter();
    let exec = match output.code == 0 && answers.len() == questions.len() {
        true => Ok("a program ran in its pod".to_owned()),
        false => Err(format!("exit {}: {}", output.code, output.stderr.trim())),
    };
    proofs.push(test.tell("exec", pod.node.clone(), exec));

    let mut next = || answers.next().unwrap_or(Err("it could not be asked".into()));
    for other in others {
        let subject = format!("{} -> {}", pod.node, other.node);
        let only = std::slice::from_ref(other);
        proofs.push(test.tell("pod-to-pod", subject, known(next(), only)));
    }
    proofs.push(test.tell("service", format!("{} -> ClusterIP", pod.node), known(next(), pods)));
    let resolved = next().and_then(|address| match address == service.cluster_ip {
        true => Ok(format!("{} is {address}", objects::SERVICE)),
        false => Err(format!("{} is {address}, not {}", objects::SERVICE, service.cluster_ip)),
    });
    proofs.push(test.tell("dns", pod.node.clone(), resolved));
    Ok(proofs)
}

/// An answer counts only with the nonce of a pod that may give it.
fn known(answer: Result<String, String>, pods: &[Pod]) -> Result<String, String> {
    let answer = answer?;
    match pods.iter().find(|pod| answer.contains(&pod.uid)) {
        Some(pod) => Ok(format!("the pod on {} answered", pod.node)),
        None => Err(format!(
            "something else answered: {}",
            answer.chars().take(100).collect::<String>()
        )),
    }
}

fn wait_for_pods(member: &mut Member, wanted: usize) -> Result<Vec<Pod>, HostError> {
    let deadline = Instant::now() + PODS;
    loop {
        let pods = objects::pods(member)?;
        let ready = pods.iter().filter(|pod| pod.ready).count();
        if ready >= wanted || Instant::now() > deadline {
            return Ok(pods);
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// The cluster's own words on pods that do not run: those that name the node, if any do.
fn why_not_ready(member: &mut Member, node: &str) -> Result<String, HostError> {
    let shortage = match nodes::list(member)? {
        Ok(nodes) => nodes::shortage(node, &nodes),
        Err(said) => return Ok(format!("the API does not answer: {said}")),
    };
    if let Some(finding) = shortage {
        return Ok(finding.message);
    }
    let columns = "-o=custom-columns=:.reason,:.message";
    let warnings = "--field-selector=type!=Normal";
    let args = ["get", "events", "-n", NAMESPACE, "--no-headers", warnings, columns];
    let output = member.kubectl(&args, None, 30)?;
    let lines = || output.stdout.lines().rev().filter(|line| !line.trim().is_empty());
    let line = lines().find(|line| line.contains(node)).or_else(|| lines().next());
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(line.map_or("no pod became ready there, and no event says why".into(), words))
}
