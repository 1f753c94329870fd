//! What the operator's side and the agent say to each other over the standard streams of one SSH connection.
//! Client and agent are the same build, so there is no compatibility to keep.
//!
//! The agent first writes a line `kubewan-agent <nonce>` with the nonce it was started with; whatever a login
//! shell printed before is skipped. Then frames in both directions: a big-endian u32 length and that many
//! bytes of JSON, at most [`FRAME_MAX`]. Every request is answered by one final [`Response`], before which
//! [`Response::Event`] frames may come.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::action::{Action, Change, Observed};
use crate::evidence::HostEvidence;
use crate::facts::Facts;
use crate::journal::Entry;
use crate::mirror::Ask;
use crate::mirror::answer::Answer;

/// Largest frame in bytes.
pub const FRAME_MAX: usize = 8 << 20;

/// Bytes of a file that one [`Request::Upload`] carries, before compression.
pub const CHUNK: usize = 2 << 20;

/// Bytes of entries in one answer to [`Request::Journal`], unless a single entry is larger: a host that lives long has
/// a long journal.
pub const JOURNAL_PART: usize = FRAME_MAX / 2;

/// The line that marks where the protocol begins, whatever a login shell printed before it.
pub fn hello(nonce: &str) -> String {
    format!("kubewan-agent {nonce}\n")
}

/// What the operator's side asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Read everything about the host.
    Gather,
    /// Read what may tell why something is wrong: logs, units, certificates.
    Evidence,
    /// Look at goals.
    Observe {
        /// The goals.
        goals: Vec<Action>,
        /// Values for markers that goals are compared with, as passwords: they are held in memory and written nowhere.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        values: BTreeMap<String, String>,
    },
    /// How many bytes of an artifact are already there.
    Offset {
        /// The artifact.
        sha256: String,
    },
    /// The next bytes of an artifact. One raw frame follows: a zstd frame with at most [`CHUNK`] bytes.
    Upload {
        /// The artifact.
        sha256: String,
        /// Where the bytes go; what [`Request::Offset`] or the last upload answered.
        offset: u64,
        /// These are the last bytes: check the whole file's hash.
        last: bool,
    },
    /// Start a batch in a transient unit, or attach to it when it runs already, and relay its events.
    Run {
        /// The orders; written to a 0600 spool that is removed with the batch.
        orders: Box<Orders>,
    },
    /// Attach to a batch that an earlier connection started; answered with [`Response::Ran`].
    Attach {
        /// The run.
        run: String,
        /// Events with a smaller sequence number are known.
        from: u64,
    },
    /// The journal, as much of it as fits into an answer.
    Journal {
        /// Entries that are known already.
        from: usize,
    },
    /// Run this host's kubectl as the cluster's admin. The operator's side builds the arguments; they carry
    /// no secrets.
    Kubectl {
        /// Arguments.
        args: Vec<String>,
        /// Standard input.
        stdin: Option<String>,
        /// Seconds after which it is stopped.
        timeout_s: u64,
    },
    /// Read a small file (the admin kubeconfig, a log).
    Read {
        /// Its path.
        path: String,
    },
    /// Answer on ports that nobody listens on, until the next such request (which may name none), the end of the
    /// connection or a minute has passed.
    Listen {
        /// TCP ports.
        tcp: Vec<u16>,
        /// UDP ports.
        udp: Vec<u16>,
        /// A UDP port of which is noted who says the word to it, also where a firewall of the host drops it.
        overheard: Option<u16>,
        /// What is answered, followed by a blank and the address that the asker came from.
        word: String,
    },
    /// Connect to addresses and say what came back: a proof's probe.
    Probe {
        /// `address:port` or `http://address:port/path`; `greets://address:port/word` and `udp://address:port/word`
        /// for what [`Request::Listen`] answers, `tells://address:port/word` for what it overhears.
        targets: Vec<String>,
        /// Milliseconds for each.
        timeout_ms: u64,
    },
    /// Ask servers that things are to be taken from, by the host's own curl.
    Ask {
        /// The questions.
        asks: Vec<Ask>,
        /// The certificates of those who have signed registries' own, in PEM, by the registries.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        authorities: BTreeMap<String, String>,
    },
    /// Give artifacts to other hosts, until the next such request or the end of the connection; once more for the same port and word
    /// changes nothing.
    Give {
        /// On this TCP port; `None`: no longer.
        port: Option<u16>,
        /// To those who know this word.
        word: String,
    },
    /// Take the next bytes of an artifact from a host that gives it: what comes within some seconds.
    Take {
        /// That host's address.
        address: Ipv4Addr,
        /// Its port.
        port: u16,
        /// Its word.
        word: String,
        /// The artifact.
        sha256: String,
        /// Its size in bytes.
        size: u64,
        /// Bytes at most.
        most: u64,
    },
    /// Forget this host: remove /var/lib/kubewan, the agent with it. The connection ends.
    Farewell,
}

impl Request {
    /// What is asked, for people; `None` for the parts of an upload, of which there are many. Orders, values to compare with
    /// and what goes to kubectl's standard input may hold secrets, so only how much there is of them is said.
    pub fn summary(&self) -> Option<String> {
        Some(match self {
            Request::Gather => "facts".into(),
            Request::Evidence => "evidence".into(),
            Request::Observe { goals, .. } => format!("state of {} goals", goals.len()),
            Request::Offset { sha256 } => {
                format!("bytes that are there of {}", sha256.get(..12).unwrap_or(sha256))
            }
            Request::Upload { .. } => return None,
            Request::Run { orders } => {
                format!("do {} steps of the phase {}", orders.steps.len(), orders.batch)
            }
            Request::Attach { run, from } => format!("events of the run {run} from {from} on"),
            Request::Journal { from } => format!("journal from {from} on"),
            Request::Kubectl { args, stdin, .. } => {
                let input = stdin
                    .as_ref()
                    .map_or(String::new(), |text| format!(" with {} bytes of input", text.len()));
                format!("kubectl {}{input}", args.join(" "))
            }
            Request::Read { path } => format!("text of {path}"),
            Request::Listen { tcp, udp, .. } if tcp.is_empty() && udp.is_empty() => {
                "stop listening".into()
            }
            Request::Listen { tcp, udp, .. } => {
                format!("listen on {} TCP and {} UDP ports", tcp.len(), udp.len())
            }
            Request::Probe { targets, .. } => format!("probe {} addresses", targets.len()),
            Request::Ask { asks, .. } => format!("ask mirrors {} questions", asks.len()),
            Request::Give { port: Some(port), .. } => format!("give files on port {port}"),
            Request::Give { port: None, .. } => "give no files any longer".into(),
            Request::Take { address, port, sha256, .. } => {
                let short = sha256.get(..12).unwrap_or(sha256);
                format!("take bytes of {short} from {address}:{port}")
            }
            Request::Farewell => "remove itself".into(),
        })
    }
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Gather`].
    Facts(Box<Facts>),
    /// To [`Request::Evidence`].
    Evidence(Box<HostEvidence>),
    /// To [`Request::Observe`], in the goals' order.
    Observed(Vec<Result<Observed, String>>),
    /// To [`Request::Offset`], [`Request::Upload`] and [`Request::Take`]: bytes that are there; `complete` once checked.
    Stored {
        /// Bytes.
        bytes: u64,
        /// The whole file is there and its hash is right.
        complete: bool,
    },
    /// While a batch runs.
    Event(BatchEvent),
    /// To [`Request::Run`] and [`Request::Attach`]: the batch has ended.
    Ran(BatchEnd),
    /// To [`Request::Journal`].
    Journal {
        /// The next entries.
        entries: Vec<Entry>,
        /// How many the journal has.
        whole: usize,
    },
    /// To [`Request::Kubectl`].
    Output {
        /// Exit code; -1 when it was stopped.
        code: i32,
        /// Standard output.
        stdout: String,
        /// Standard error.
        stderr: String,
    },
    /// To [`Request::Read`]: the text; `None` where there is no such file.
    Text(Option<String>),
    /// To [`Request::Listen`]: the ports that could be had, and what the request before has heard.
    Listening {
        /// TCP ports.
        tcp: Vec<u16>,
        /// UDP ports.
        udp: Vec<u16>,
        /// Names that were said after the word, and the addresses that they came from.
        heard: Vec<(String, Ipv4Addr)>,
    },
    /// To [`Request::Probe`], in the targets' order: what came back, or why nothing did.
    Probed(Vec<Result<String, String>>),
    /// To [`Request::Ask`], in the questions' order.
    Asked(Vec<Answer>),
    /// To [`Request::Give`]: the port is ours and is answered on.
    Giving(bool),
    /// To [`Request::Farewell`].
    Gone,
    /// The request could not be served: what was attempted and what came back.
    Failed(String),
}

/// A batch: the steps of one phase on one host, in order. It holds secrets, so it is written to a 0600
/// spool only, and has no place in logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// Names the run; the same for all phases and hosts of an `up`.
    pub run: String,
    /// The cluster's name, for the journal.
    pub cluster: String,
    /// Names the batch within the run: the phase.
    pub batch: String,
    /// Steps in order.
    pub steps: Vec<OrderedStep>,
    /// Values for the markers of [`crate::action::Input`], by marker.
    pub values: BTreeMap<String, String>,
    /// Seconds after which systemd stops the batch.
    pub timeout_s: u64,
    /// `reset`: journal entries that the steps take back, by step id; written as `Undone`.
    pub undoes: BTreeMap<String, Vec<u64>>,
}

/// A step as a host gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderedStep {
    /// The step's id.
    pub id: String,
    /// Its goal.
    pub action: Action,
    /// What the plan showed. If the host would need another change than this one because its state has
    /// another [`Change::basis`], someone changed it meanwhile: the batch stops.
    pub shown: Option<Change>,
}

/// One line of a batch's event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchEvent {
    /// Counts up from 1 within a batch.
    pub seq: u64,
    /// Milliseconds since 1970 on the host's clock.
    pub unix_ms: i64,
    /// What happened.
    pub what: BatchNews,
}

/// What happens in a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNews {
    /// A step starts to change something.
    Started {
        /// The step.
        step: String,
    },
    /// A line that tells how far a long step is, without secrets.
    Progress {
        /// The step.
        step: String,
        /// The line.
        line: String,
    },
    /// A step's goal is reached.
    Done {
        /// The step.
        step: String,
        /// Something was changed; else it was right already.
        changed: bool,
        /// Values for later steps ([`crate::action::Input::Output`]), by field.
        outputs: BTreeMap<String, String>,
    },
    /// A step failed; the batch ends.
    Failed {
        /// The step.
        step: String,
        /// What was attempted, what came back, what to do next.
        error: String,
    },
    /// All steps are done.
    Finished,
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchEnd {
    /// All steps are done.
    Finished,
    /// A step failed.
    Failed {
        /// The step.
        step: String,
        /// Its error.
        error: String,
    },
    /// The unit ended without saying how (killed, host rebooted).
    Lost {
        /// What systemd says of it.
        reason: String,
    },
    /// Another run's batch is in progress here: the host is locked.
    Busy {
        /// That run.
        run: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_told_without_secrets() {
        let orders = Orders {
            run: "1-a".into(),
            cluster: "home".into(),
            batch: "join".into(),
            steps: Vec::new(),
            values: [("@secret(join-token)@".into(), "abcdef.Sesame".into())].into(),
            timeout_s: 60,
            undoes: BTreeMap::new(),
        };
        let run = Request::Run { orders: Box::new(orders) };
        assert_eq!(run.summary().unwrap(), "do 0 steps of the phase join");
        let args = vec!["apply".into(), "-f".into(), "-".into()];
        let kubectl = Request::Kubectl { args, stdin: Some("Sesame".into()), timeout_s: 30 };
        assert_eq!(kubectl.summary().unwrap(), "kubectl apply -f - with 6 bytes of input");
        let upload = Request::Upload { sha256: "00".into(), offset: 0, last: true };
        assert_eq!(upload.summary(), None);
    }
}
