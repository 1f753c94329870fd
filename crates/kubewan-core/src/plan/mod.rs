//! The plan: goals for every host ([`steps`]), and what has to change to reach them ([`Plan`]).

mod against;
#[cfg(test)]
mod bench;
pub mod by_hand;
mod edits;
pub mod found;
mod lacks;
mod lint;
pub mod phase;
pub mod planner;
pub mod reset;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::registry::LOGINS;
use crate::action::unit::Unit;
use crate::action::{Action, Change, ChangeKind, Extent, Input, Observed, diff};
use crate::finding::{Finding, Severity};
use crate::secret::Secret;

pub use against::against;
pub use edits::{SYSTEMD, edited};
pub use lacks::lacking;
pub use lint::one_cluster::several_clusters;
pub use phase::taken_out::but_what_stays;
pub use planner::{Inputs, adopted, steps};

/// A goal for one host, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique in a plan: `host/kind:subject`.
    pub id: String,
    /// When it is done.
    pub phase: Phase,
    /// The host it is done on.
    pub host: String,
    /// The goal.
    pub action: Action,
    /// Why it has to be so, in one sentence.
    pub why: String,
}

impl Step {
    /// A step with the id that its host, kind and subject give.
    pub fn new(phase: Phase, host: &str, action: Action, why: impl Into<String>) -> Self {
        let id = format!("{host}/{}:{}", action.kind(), action.subject());
        Step { id, phase, host: host.into(), action, why: why.into() }
    }
}

/// The order of work. A phase begins when the one before it has ended on all hosts; within a phase hosts run
/// in parallel (but for [`Phase::is_one_by_one`]), and a host's steps in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Address, firewall, swap, names, kernel, time.
    Prepare,
    /// containerd and the images.
    Runtime,
    /// The same on hosts that are nodes already, one after another: a runtime that does not come back takes one node along.
    RuntimeInTurn,
    /// kubeadm, kubelet, kubectl, CNI plugins.
    Binaries,
    /// `kubeadm init` on the first control plane.
    ControlPlane,
    /// What joins need: flannel's objects, the first node's marks, a token.
    Network,
    /// The other control planes join, one after another.
    JoinControlPlanes,
    /// The other hosts join, side by side.
    Join,
    /// Labels, taints, announcements of all nodes.
    Nodes,
    /// What can only be right once all nodes are there.
    Settle,
    /// `reset`: everything taken back, newest first.
    Reset,
}

impl Phase {
    /// The order of work, whole.
    pub const ALL: [Phase; 11] = [
        Phase::Prepare,
        Phase::Runtime,
        Phase::RuntimeInTurn,
        Phase::Binaries,
        Phase::ControlPlane,
        Phase::Network,
        Phase::JoinControlPlanes,
        Phase::Join,
        Phase::Nodes,
        Phase::Settle,
        Phase::Reset,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Runtime => "runtime",
            Phase::RuntimeInTurn => "runtime-in-turn",
            Phase::Binaries => "binaries",
            Phase::ControlPlane => "control-plane",
            Phase::Network => "network",
            Phase::JoinControlPlanes => "join-control-planes",
            Phase::Join => "join",
            Phase::Nodes => "nodes",
            Phase::Settle => "settle",
            Phase::Reset => "reset",
        }
    }

    /// Its hosts work one after another, in the order of the plan's steps: each join adds a member to etcd, which takes
    /// one at a time; and of nodes whose runtime starts again only one is without it.
    pub fn is_one_by_one(self) -> bool {
        matches!(self, Phase::JoinControlPlanes | Phase::RuntimeInTurn)
    }

    /// What it does, for people.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare the hosts",
            Phase::Runtime => "set up the container runtime",
            Phase::RuntimeInTurn => {
                "set up the container runtime under running pods, one host after another"
            }
            Phase::Binaries => "install Kubernetes' programs",
            Phase::ControlPlane => "make the control plane",
            Phase::Network => "set up the pod network",
            Phase::JoinControlPlanes => "join the other control planes, one after another",
            Phase::Join => "join the other hosts",
            Phase::Nodes => "mark the nodes",
            Phase::Settle => "settle",
            Phase::Reset => "give the hosts back",
        }
    }
}

/// What will be done, shown before it is done. Everything reads this one value: the table, JSON, the executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The cluster's name.
    pub cluster: String,
    /// Stand-ins take the place of Kubernetes.
    pub rehearsal: bool,
    /// What is not right. A plan with an error among them can't be applied.
    pub findings: Vec<Finding>,
    /// All steps in the order of work, those without a change too.
    pub steps: Vec<PlannedStep>,
    /// Values that observations have yielded already, by marker.
    #[serde(skip)]
    pub outputs: BTreeMap<String, String>,
    /// Secrets that the operator's side read, by marker. Those that have none here are made for the run.
    #[serde(skip)]
    pub secrets: BTreeMap<String, Secret>,
}

/// A step and what has to change for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The step.
    #[serde(flatten)]
    pub step: Step,
    /// What has to change; `None`: it is right already.
    pub change: Option<Change>,
}

/// A goal whose state could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host}: can't see the state of {subject}: {reason}")]
pub struct Unobserved {
    /// The host.
    pub host: String,
    /// The goal's subject.
    pub subject: String,
    /// What came back.
    pub reason: String,
}

impl Plan {
    /// Compares goals with what the agents observed.
    ///
    /// `seen` holds an observation for every step, by the step's id.
    ///
    /// # Errors
    /// Fails for a step that was not observed.
    pub fn new(
        cluster: &str,
        rehearsal: bool,
        steps: Vec<Step>,
        seen: &BTreeMap<String, Result<Observed, String>>,
        findings: Vec<Finding>,
    ) -> Result<Plan, Unobserved> {
        let mut outputs = BTreeMap::new();
        let mut planned = Vec::with_capacity(steps.len());
        for step in steps {
            let unobserved = |reason: String| Unobserved {
                host: step.host.clone(),
                subject: step.action.subject(),
                reason,
            };
            let observed = match seen.get(&step.id) {
                Some(Ok(observed)) => observed,
                Some(Err(reason)) => return Err(unobserved(reason.clone())),
                None => return Err(unobserved("the agent did not answer for it".into())),
            };
            let change = diff(&step.action, observed).map_err(|e| unobserved(e.to_string()))?;
            for (field, value) in outputs_of(observed) {
                let input = Input::Output { step: step.id.clone(), field: field.into() };
                outputs.insert(input.marker(), value);
            }
            planned.push(PlannedStep { step, change });
        }
        planned.sort_by_key(|p| p.step.phase);
        let secrets = BTreeMap::new();
        let mut plan =
            Plan { cluster: cluster.into(), rehearsal, findings, steps: planned, outputs, secrets };
        plan.foresee();
        Ok(plan)
    }

    /// Changes that follow from other changes of the same plan: a unit restarts when a file it reads changes,
    /// and a bootstrap token is made only when some host joins, certificates are handed over only when a control plane
    /// does, and a folder that a reset empties goes.
    fn foresee(&mut self) {
        let changed_files: Vec<(String, String)> = self
            .steps
            .iter()
            .filter(|p| p.change.is_some())
            .filter_map(|p| match &p.step.action {
                Action::File(file) => Some((p.step.host.clone(), file.path.clone())),
                Action::Block(block) => Some((p.step.host.clone(), block.path.clone())),
                Action::Removed(removed) => Some((p.step.host.clone(), removed.path.clone())),
                Action::RegistryLogins(_) => Some((p.step.host.clone(), LOGINS.to_owned())),
                _ => None,
            })
            .collect();
        let joining = |p: &PlannedStep| match &p.step.action {
            Action::KubeadmJoin(join) if p.change.is_some() => Some(join.control_plane),
            _ => None,
        };
        let joining: Vec<bool> = self.steps.iter().filter_map(joining).collect();
        let (joins, control_planes_join) = (!joining.is_empty(), joining.contains(&true));
        for planned in &mut self.steps {
            let host = &planned.step.host;
            match &planned.step.action {
                Action::Unit(Unit { name, active: Some(true), restart_on, .. })
                    if planned.change.is_none() =>
                {
                    let stale: Vec<&str> = restart_on
                        .iter()
                        .filter(|path| changed_files.iter().any(|(h, p)| h == host && p == *path))
                        .map(String::as_str)
                        .collect();
                    if !stale.is_empty() {
                        let summary = format!("restart {name}");
                        planned.change = Some(
                            Change::new(ChangeKind::Run, summary)
                                .with_details(vec![format!("{} changes", stale.join(", "))]),
                        );
                    }
                }
                Action::BootstrapToken(_) if !joins => planned.change = None,
                Action::UploadedCerts(_) if !control_planes_join => planned.change = None,
                Action::Removed(removed)
                    if planned.change.is_none() && removed.extent == Extent::IfEmpty =>
                {
                    let below = format!("{}/", removed.path);
                    let empties = |path: &str| path == removed.path || path.starts_with(&below);
                    if changed_files.iter().any(|(h, path)| h == host && empties(path)) {
                        let summary = format!("remove {} if it is empty then", removed.path);
                        planned.change = Some(Change::new(ChangeKind::Delete, summary));
                    }
                }
                _ => {}
            }
        }
    }

    /// Steps that change something.
    pub fn changes(&self) -> impl Iterator<Item = &PlannedStep> {
        self.steps.iter().filter(|p| p.change.is_some())
    }

    /// Nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.changes().next().is_none()
    }

    /// Something in it forbids to apply it.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }
}

/// Values for later steps that an observation yields, by field.
pub fn outputs_of(seen: &Observed) -> Vec<(&'static str, String)> {
    match seen {
        Observed::KubeadmInit(init) => {
            init.ca.iter().map(|ca| (crate::action::KubeadmInit::CA, ca.clone())).collect()
        }
        _ => Vec::new(),
    }
}
