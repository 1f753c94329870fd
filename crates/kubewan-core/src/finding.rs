//! Findings: what is not right, how bad it is, and what to do about it. Checks return them; only the
//! report prints them.

use serde::{Deserialize, Serialize};

/// Something that is not right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name, as `host-firewall-active`; documented in docs/reference.md.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// The host it is about; `None`: the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What was found, in one sentence.
    pub message: String,
    /// What to do next.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The run is refused.
    Error,
    /// The run goes on.
    Warning,
}

impl Finding {
    /// A finding about a host that refuses the run.
    pub fn error(
        code: &str,
        host: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding {
            code: code.into(),
            severity: Severity::Error,
            host: Some(host.into()),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// A finding about a host that lets the run go on.
    pub fn warning(
        code: &str,
        host: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding { severity: Severity::Warning, ..Finding::error(code, host, message, remedy) }
    }

    /// The same about the whole cluster.
    pub fn for_cluster(self) -> Self {
        Finding { host: None, ..self }
    }
}
