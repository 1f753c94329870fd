//! Why a command ended without doing what was asked.

use kubewan_core::finding::Finding;
use kubewan_core::plan::Unobserved;
use kubewan_fleet::bundle::BundleError;
use kubewan_fleet::error::HostError;
use kubewan_fleet::failure::{ConnectError, Obstacle};
use serde::Serialize;

use crate::exit_code::Code;

/// A failure: what is printed last, and the exit code.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The exit code.
    #[serde(skip)]
    pub code: Code,
    /// Text that is printed as it is.
    #[serde(rename = "error", skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What is not right, and what to do.
    pub findings: Vec<Finding>,
}

impl Failure {
    /// A failure, and what to do next.
    pub fn new(code: Code, said: impl std::fmt::Display, next: impl std::fmt::Display) -> Self {
        Failure::text(code, format!("error: {said}\n  = help: {next}"))
    }

    /// A failure that one text explains, printed as it is.
    pub fn text(code: Code, text: impl Into<String>) -> Self {
        Failure { code, text: Some(text.into()), findings: Vec::new() }
    }

    /// A failure that findings explain.
    pub fn findings(code: Code, findings: Vec<Finding>) -> Self {
        Failure { code, text: None, findings }
    }

    /// The failure in one line, for the end of a stream of events.
    pub fn summary(&self) -> String {
        let messages = self.findings.iter().map(|finding| match &finding.host {
            Some(host) => format!("{host}: {}", finding.message),
            None => finding.message.clone(),
        });
        self.text.iter().cloned().chain(messages).collect::<Vec<_>>().join("; ")
    }

    /// Hosts that can't be reached.
    pub fn unreachable(errors: &[ConnectError]) -> Self {
        let refused = errors.iter().all(|error| error.obstacle == Obstacle::NotTrusted);
        let code = if refused { Code::Unconfirmed } else { Code::Unreachable };
        Failure::findings(code, errors.iter().map(Finding::from).collect())
    }

    /// What went wrong on hosts.
    pub fn on_hosts(errors: &[HostError]) -> Self {
        let refused = errors.iter().all(|error| matches!(error, HostError::Busy { .. }));
        let code = if refused { Code::Refused } else { Code::Failed };
        Failure::findings(code, errors.iter().map(HostError::finding).collect())
    }

    /// The same after so many steps of the run have changed something: a refusal says that nothing was.
    pub fn after(mut self, changed: usize) -> Self {
        if changed > 0 && self.code == Code::Refused {
            self.code = Code::Failed;
        }
        self
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Failure::on_hosts(&[error])
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        Failure::findings(Code::Refused, vec![error.finding()])
    }
}

impl From<Unobserved> for Failure {
    fn from(error: Unobserved) -> Self {
        let message = format!("can't see the state of {}: {}", error.subject, error.reason);
        let remedy = "mend what the message names and run the same command again";
        Failure::findings(
            Code::Failed,
            vec![Finding::error("unobserved", &error.host, message, remedy)],
        )
    }
}
