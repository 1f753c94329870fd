//! Carries out a plan, phase by phase. It makes no choices: what is done on which host, and in which order, stands in
//! the plan. A phase is a barrier; inside one, hosts work side by side, each on one batch that goes on there whatever
//! becomes of the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kubewan_core::action::{Action, Artifact, Input};
use kubewan_core::event::Event;
use kubewan_core::plan::phase::network::CERTIFICATE_KEY;
use kubewan_core::plan::{Phase, Plan, PlannedStep};
use kubewan_core::protocol::{
    BatchEnd, BatchEvent, BatchNews, OrderedStep, Orders, Request, Response,
};
use kubewan_core::secret::Secret;

use crate::error::HostError;
use crate::fleet::{Emit, Fleet, Losses, Member, tell};
use crate::passing::{self, Giver};
use crate::random;
use crate::upload::{Sources, UploadError, upload};

/// Seconds that a batch may take beside what its longest steps ask for: package managers that wait for a lock, images
/// on a slow disk.
const BATCH_S: u64 = 1800;

/// A silent agent is given so much longer than systemd gives the batch.
const GRACE: Duration = Duration::from_secs(120);

/// What a run needs beside the plan.
pub struct Run<'a> {
    /// The run's name; see [`run_name`].
    pub name: &'a str,
    /// What to do.
    pub plan: &'a Plan,
    /// Where artifacts come from.
    pub sources: &'a Sources,
    /// `reset`: journal entries that steps take back, by step id.
    pub undoes: &'a BTreeMap<String, Vec<u64>>,
    /// The host that may pass on what it was sent, where there is one.
    pub giver: Option<&'a Giver>,
    /// Hears what happens.
    pub emit: &'a Emit<'a>,
    /// Steps that have changed something, also where the run fails afterwards.
    pub changed: &'a AtomicUsize,
}

/// What the steps of a batch have answered, by the markers of later steps' inputs.
type Brought = BTreeMap<String, String>;

/// A name for a run: when it began, and something that no other run has.
pub fn run_name() -> String {
    let seconds = crate::survey::unix_ms() / 1000;
    format!("{seconds}-{}", kubewan_core::hex(&random::bytes::<3>()))
}

/// Carries out the plan.
///
/// # Errors
/// Fails after the phase in which something failed, with what failed on every host: the others end what they began.
pub fn apply(fleet: &mut Fleet, run: &Run) -> Result<(), Vec<HostError>> {
    let secrets = secrets_of(run.plan);
    let mut outputs = run.plan.outputs.clone();
    for phase in Phase::ALL {
        let mut work: BTreeMap<String, Vec<&PlannedStep>> = BTreeMap::new();
        let mut order: Vec<&str> = Vec::new();
        for planned in run.plan.changes().filter(|planned| planned.step.phase == phase) {
            let host = &planned.step.host;
            work.entry(host.clone()).or_default().push(planned);
            if !order.contains(&host.as_str()) {
                order.push(host);
            }
        }
        if work.is_empty() {
            continue;
        }
        let name = phase.name().to_owned();
        let hosts: BTreeSet<String> = work.keys().cloned().collect();
        (run.emit)(Event::PhaseStarted {
            phase: name.clone(),
            hosts: hosts.iter().cloned().collect(),
        });
        if let Some(giver) = run.giver {
            let needed = work.iter().map(|(host, steps)| (host.clone(), needed(steps))).collect();
            passing::ahead(fleet, giver, &needed, run.sources, run.emit)?;
        }
        for hosts in turns(phase, &order) {
            let known = &outputs;
            let results = fleet.each_of(&hosts, |member| {
                let steps = &work[&member.host.name];
                send_artifacts(member, steps, run)?;
                let orders = orders(run, phase, steps, &secrets, known);
                run_batch(member, orders, run)
            });
            let mut errors = Vec::new();
            for result in results.into_values() {
                match result {
                    Ok(brought) => outputs.extend(brought),
                    Err(error) => errors.push(error),
                }
            }
            if !errors.is_empty() {
                return Err(errors);
            }
        }
        (run.emit)(Event::PhaseDone { phase: name });
    }
    Ok(())
}

/// The hosts that work side by side in a phase, one turn after another: all at once, or each by itself in the order of
/// the plan.
fn turns(phase: Phase, order: &[&str]) -> Vec<BTreeSet<String>> {
    let hosts = order.iter().map(|host| (*host).to_owned());
    if phase.is_one_by_one() {
        return hosts.map(|host| BTreeSet::from([host])).collect();
    }
    vec![hosts.collect()]
}

/// A value for every secret that the plan names: what the operator's side read, and fresh bootstrap tokens and the key that
/// certificates are encrypted with. What a cluster keeps secret for longer is made on its hosts.
fn secrets_of(plan: &Plan) -> BTreeMap<String, Secret> {
    let mut secrets = BTreeMap::new();
    for planned in plan.changes() {
        let action = &planned.step.action;
        // What only the operator knows is read and never made up: without it the host says what it misses.
        let is_made_here = !matches!(action, Action::RegistryLogins(_));
        for input in inputs_of(action) {
            let Input::Secret { name } = input else { continue };
            let marker = input.marker();
            if let Some(read) = plan.secrets.get(&marker) {
                secrets.insert(marker, read.clone());
            } else if is_made_here {
                secrets.entry(marker).or_insert_with(|| {
                    let is_key = name == CERTIFICATE_KEY;
                    if is_key { random::certificate_key() } else { random::bootstrap_token() }
                });
            }
        }
    }
    secrets
}

/// Values that an action needs.
pub(crate) fn inputs_of(action: &Action) -> Vec<&Input> {
    match action {
        Action::KubeadmJoin(join) => join.inputs.iter().collect(),
        Action::RegistryLogins(goal) => goal.logins.iter().map(|login| &login.password).collect(),
        Action::BootstrapToken(token) => vec![&token.token],
        Action::UploadedCerts(certs) => vec![&certs.key],
        _ => Vec::new(),
    }
}

/// Brings what the steps need to the host. A lost link is made anew and the upload goes on where it was.
fn send_artifacts(member: &mut Member, steps: &[&PlannedStep], run: &Run) -> Result<(), HostError> {
    for artifact in needed(steps) {
        send_artifact(member, artifact, run.sources, run.emit)?;
    }
    Ok(())
}

/// What has to be brought to a host: what has a URL it downloads itself.
fn needed<'a>(steps: &[&'a PlannedStep]) -> BTreeSet<&'a Artifact> {
    let artifacts = steps.iter().flat_map(|planned| planned.step.action.artifacts());
    artifacts.filter(|artifact| artifact.url.is_none()).collect()
}

/// Brings one artifact to a host.
///
/// # Errors
/// Fails where its bytes can't be had, or the host does not take them.
pub fn send_artifact(
    member: &mut Member,
    artifact: &Artifact,
    sources: &Sources,
    emit: &Emit,
) -> Result<(), HostError> {
    let host = member.host.name.clone();
    let attempted = format!("sending {}", artifact.name);
    let unreadable =
        |said| HostError::File { host: host.clone(), name: artifact.name.clone(), said };
    let source = sources
        .get(&artifact.sha256)
        .ok_or_else(|| unreadable("the bundle does not hold it".to_owned()))?;
    let (mut losses, mut there) = (Losses::default(), 0);
    loop {
        let mut progress = |bytes| {
            there = bytes;
            let (host, name) = (host.clone(), artifact.name.clone());
            emit(Event::Upload { host, name, bytes, total: artifact.size, from: None });
        };
        match upload(member.agent(), artifact, source, &mut progress) {
            Ok(()) => return Ok(()),
            Err(UploadError::Lost(lost)) => {
                losses.note(there);
                member.reconnect(&attempted, lost, &losses, emit)?;
            }
            Err(UploadError::Refused(said)) => return Err(member.refused(&attempted, said)),
            Err(UploadError::Unreadable(said)) => return Err(unreadable(said)),
        }
    }
}

/// The batch of one host in one phase. This is the one place where secrets are revealed, and only to hosts whose steps
/// ask for them.
fn orders(
    run: &Run,
    phase: Phase,
    steps: &[&PlannedStep],
    secrets: &BTreeMap<String, Secret>,
    outputs: &BTreeMap<String, String>,
) -> Orders {
    let values = steps
        .iter()
        .flat_map(|planned| inputs_of(&planned.step.action))
        .filter_map(|input| {
            let marker = input.marker();
            let secret = secrets.get(&marker).map(|secret| secret.reveal().to_owned());
            let value = secret.or_else(|| outputs.get(&marker).cloned())?;
            Some((marker, value))
        })
        .collect();
    let undoes = steps
        .iter()
        .filter_map(|p| Some((p.step.id.clone(), run.undoes.get(&p.step.id)?.clone())))
        .collect();
    Orders {
        run: run.name.to_owned(),
        cluster: run.plan.cluster.clone(),
        batch: phase.name().to_owned(),
        steps: steps
            .iter()
            .map(|planned| OrderedStep {
                id: planned.step.id.clone(),
                action: planned.step.action.clone(),
                shown: planned.change.clone(),
            })
            .collect(),
        values,
        timeout_s: BATCH_S + steps.iter().map(|p| seconds_of(&p.step.action)).sum::<u64>(),
        undoes,
    }
}

fn seconds_of(action: &Action) -> u64 {
    let artifacts = action.artifacts();
    let downloads = artifacts.iter().filter(|artifact| artifact.url.is_some()).count() as u64;
    match action {
        Action::KubeadmInit(init) => init.timeout_s,
        // kubeadm runs up to three times, alone or phase by phase; between them the agent waits for a node to go unready
        // and for what was mended to come back.
        Action::KubeadmJoin(join) => 3 * join.timeout_s + 15 * 60,
        Action::EtcdListens(etcd) => etcd.timeout_s,
        Action::Announced(announced) => announced.timeout_s,
        Action::Spread(spread) => spread.timeout_s,
        // What the agent itself allows: ten minutes for others' package locks, half an hour for apt.
        Action::Package(_) => 40 * 60,
        // An import; a pull may be tried three times.
        Action::Image(_) => 3 * 15 * 60,
        Action::File(_) => 60 * 60 * downloads,
        _ => 0,
    }
}

/// Has a host carry out a batch and relays its news until it has ended, over as many connections as that takes.
fn run_batch(member: &mut Member, orders: Orders, run: &Run) -> Result<Brought, HostError> {
    let host = member.host.name.clone();
    let phase = orders.batch.clone();
    let attempted = format!("the phase {phase}");
    let patience = Duration::from_secs(orders.timeout_s) + GRACE;
    let request = Request::Run { orders: Box::new(orders) };
    let mut brought = Brought::new();
    let (mut losses, mut known) = (Losses::default(), 0);
    member.check_size(&attempted, &request)?;
    loop {
        let mut relay = |event: BatchEvent| {
            // A host that was asked twice tells its news from the start.
            if event.seq > known {
                known = event.seq;
                take(&event.what, &mut brought, run.changed);
                tell(&host, &event, run.emit);
            }
        };
        // Asking again is right after a lost link too: the host attaches us to the batch that it has.
        let sent = member.agent().send(&request, None);
        let answer = sent.and_then(|()| member.agent().receive(patience, &mut relay));
        return match answer {
            Ok(Response::Ran(BatchEnd::Finished)) => Ok(brought),
            Ok(Response::Ran(BatchEnd::Failed { step, error })) => {
                Err(HostError::Step { host, step, said: error })
            }
            Ok(Response::Ran(BatchEnd::Lost { reason })) => {
                Err(HostError::CutOff { host, phase, reason })
            }
            Ok(Response::Ran(BatchEnd::Busy { run: other })) => {
                Err(HostError::Busy { host, run: other })
            }
            Ok(Response::Failed(said)) => Err(member.refused(&attempted, said)),
            Ok(_) => Err(member.other(&attempted)),
            Err(lost) => {
                losses.note(known);
                member.reconnect(&attempted, lost, &losses, run.emit)?;
                continue;
            }
        };
    }
}

fn take(news: &BatchNews, brought: &mut Brought, count: &AtomicUsize) {
    let BatchNews::Done { step, changed, outputs } = news else { return };
    count.fetch_add(usize::from(*changed), Ordering::Relaxed);
    for (field, value) in outputs {
        let input = Input::Output { step: step.clone(), field: field.clone() };
        brought.insert(input.marker(), value.clone());
    }
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
