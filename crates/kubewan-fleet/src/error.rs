//! What can go wrong on a host once it is connected, each with what was attempted, what came back and what to do next.

use kubewan_core::finding::Finding;
use kubewan_core::protocol::FRAME_MAX;

use crate::client::LinkLost;
use crate::failure::ConnectError;

/// An error on one host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No connection.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// The connection was lost and did not come back.
    #[error("{host}: {attempted}: {lost}")]
    Lost {
        /// The host.
        host: String,
        /// What was attempted.
        attempted: String,
        /// What came back.
        lost: LinkLost,
    },
    /// What was to be sent fits into no frame of the protocol.
    #[error("{host}: {attempted}: the request has {bytes} bytes, {FRAME_MAX} are the most")]
    TooLarge {
        /// The host.
        host: String,
        /// What was attempted.
        attempted: String,
        /// Its size.
        bytes: usize,
    },
    /// The agent could not do it.
    #[error("{host}: {attempted}: {said}")]
    Answer {
        /// The host.
        host: String,
        /// What was attempted.
        attempted: String,
        /// What came back.
        said: String,
    },
    /// A step failed.
    #[error("{step}: {said}")]
    Step {
        /// The host.
        host: String,
        /// The step.
        step: String,
        /// What the agent said of it.
        said: String,
    },
    /// Another run works on the host.
    #[error("{host}: another run of kubewan, {run}, works there")]
    Busy {
        /// The host.
        host: String,
        /// That run.
        run: String,
    },
    /// A batch ended without saying how.
    #[error("{host}: the phase {phase} was cut off: {reason}")]
    CutOff {
        /// The host.
        host: String,
        /// The phase.
        phase: String,
        /// What systemd says of it.
        reason: String,
    },
    /// A file that a step needs can't be read here.
    #[error("{host}: can't send {name}: {said}")]
    File {
        /// The host.
        host: String,
        /// The file.
        name: String,
        /// What came back.
        said: String,
    },
}

impl From<ConnectError> for HostError {
    fn from(error: ConnectError) -> Self {
        HostError::Connect(Box::new(error))
    }
}

impl HostError {
    /// The same for people and JSON.
    pub fn finding(&self) -> Finding {
        let about = |code, host: &str, remedy: &str| {
            let text = self.to_string();
            let message = text.strip_prefix(&format!("{host}: ")).unwrap_or(&text);
            Finding::error(code, host, message, remedy)
        };
        match self {
            HostError::Connect(error) => error.as_ref().into(),
            HostError::Lost { host, .. } => about(
                "link-lost",
                host,
                "once the host can be reached, run the same command again: it goes on where it was",
            ),
            HostError::TooLarge { host, .. } => about(
                "request-too-large",
                host,
                "write less into the inventory's free settings; without large ones there this is a fault of kubewan",
            ),
            HostError::Answer { host, .. } => about(
                "agent-failed",
                host,
                "mend what the message names and run the same command again; `kubewan status` shows how the cluster is",
            ),
            HostError::Step { host, step, said } => {
                let goal = step.split_once('/').map_or(step.as_str(), |(_, goal)| goal);
                let subject = goal.split_once(':').map_or(goal, |(_, subject)| subject);
                let named = said.contains(subject);
                let message = if named { said.clone() } else { format!("{goal}: {said}") };
                let remedy = "mend what the message names and run the same command again: what is done is not done twice";
                Finding::error("step-failed", host, message, remedy)
            }
            HostError::Busy { host, .. } => {
                about("host-busy", host, "let the other run end, then run the same command again")
            }
            HostError::CutOff { host, .. } => about(
                "batch-cut-off",
                host,
                "run the same command again: what is done is not done twice; \
                 `journalctl -u 'kubewan*'` on the host tells more",
            ),
            HostError::File { host, .. } => {
                about("artifact-unreadable", host, "check the bundle with `kubewan bundle check`")
            }
        }
    }
}
