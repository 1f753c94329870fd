//! What happens in a run, as a value. The executor emits events; progress, JSON and logs are listeners.

use serde::{Deserialize, Serialize};

use crate::protocol::BatchNews;

/// One event of a run. `kubewan up -o json` prints one a line; docs/reference.md describes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run begins.
    RunStarted {
        /// The run's name.
        run: String,
        /// The cluster's name.
        cluster: String,
        /// Stand-ins take the place of Kubernetes.
        rehearsal: bool,
    },
    /// A connection to a host stands and its agent answers.
    Connected {
        /// The host.
        host: String,
        /// The agent had to be sent first.
        pushed_agent: bool,
    },
    /// A host is at work for another run, or for one that was cut off; its end is waited for, and told as it goes.
    Waiting {
        /// The host.
        host: String,
        /// The run that is at work there.
        run: String,
    },
    /// A phase begins.
    PhaseStarted {
        /// The phase.
        phase: String,
        /// Hosts with something to do in it.
        hosts: Vec<String>,
    },
    /// Bytes of a file on their way to a host.
    Upload {
        /// The host.
        host: String,
        /// The file's name.
        name: String,
        /// Bytes there.
        bytes: u64,
        /// Bytes in all.
        total: u64,
        /// The host that they come from, where it is not the operator's machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// News of a step.
    Step {
        /// The host.
        host: String,
        /// The news.
        #[serde(flatten)]
        news: StepNews,
    },
    /// The link to a host was lost or is back.
    Link {
        /// The host.
        host: String,
        /// It is there.
        up: bool,
        /// What came back.
        reason: String,
    },
    /// A phase has ended well.
    PhaseDone {
        /// The phase.
        phase: String,
    },
    /// A proof's result.
    Proof(Proof),
    /// The run has ended.
    RunDone {
        /// Steps that changed something.
        changed: usize,
        /// Why it failed; `None`: it did not.
        error: Option<String>,
    },
}

/// News of a step; the flat form of [`BatchNews`] for JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepNews {
    /// The step's id.
    pub step: String,
    /// `started`, `progress`, `done` or `failed`.
    pub state: String,
    /// Something was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
    /// A line of progress, or the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
}

/// Something that was to be shown of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Stable name of the check, as `pod-to-pod`.
    pub check: String,
    /// What exactly, as `node01 -> node02`.
    pub subject: String,
    /// How it went.
    pub outcome: Outcome,
    /// What came back, or why it could not be shown.
    pub detail: String,
}

/// How a proof went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Shown.
    Passed,
    /// Shown not to hold.
    Failed,
    /// Not shown: nothing here could show it (rehearsal).
    NotShown,
}

impl StepNews {
    /// The flat form of a batch's news; `None` for its end.
    pub fn of(news: &BatchNews) -> Option<StepNews> {
        let make = |step: &str, state: &str, changed, line: Option<&str>| {
            Some(StepNews {
                step: step.into(),
                state: state.into(),
                changed,
                line: line.map(str::to_owned),
            })
        };
        match news {
            BatchNews::Started { step } => make(step, "started", None, None),
            BatchNews::Progress { step, line } => make(step, "progress", None, Some(line)),
            BatchNews::Done { step, changed, .. } => make(step, "done", Some(*changed), None),
            BatchNews::Failed { step, error } => make(step, "failed", None, Some(error)),
            BatchNews::Finished => None,
        }
    }
}
