//! What the doctor says.

use kubewan_core::finding::Severity;
use serde::Serialize;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Name of the check, as `etcd-cannot-bind`; docs/reference.md has them all.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The host; `None`: the cluster, or a text that was pasted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What it is about where a host may have several: a path, a pod.
    #[serde(skip)]
    pub subject: String,
    /// What one notices.
    pub symptom: String,
    /// Why it is so.
    pub cause: String,
    /// What shows it, at least one.
    pub evidence: Vec<Quote>,
    /// What to do.
    pub remedy: String,
    /// Goals of `kubewan up` that mend it; empty where none does.
    pub fix: Vec<Goal>,
    /// Codes of what else is noticed because of it.
    pub explains: Vec<String>,
}

/// Words of a log, or something that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// Where it is.
    pub source: String,
    /// What it says.
    pub text: String,
}

/// A kind of step of `kubewan up`, and of whose subject it has to be part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Goal {
    /// As in a step's id, as `unit`.
    pub kind: &'static str,
    /// A part of the step's subject; empty: all of that kind.
    pub subject: &'static str,
}

/// Kinds of steps that the control plane does, by the API, for other hosts: a node's name stands in their subjects.
const BY_THE_API: [&str; 4] = ["announced", "node-meta", "object", "spread"];

/// Further kinds that can't be looked at while the API is silent: kubeadm's, and where etcd is told to listen.
const WITH_THE_API: [&str; 3] = ["kubeadm-init", "kubeadm-join", "etcd-listens"];

/// Whether a step with this id can't be looked at, or done, while the API is silent.
pub fn asks_the_api(id: &str) -> bool {
    let goal = id.split_once('/').map_or(id, |(_, goal)| goal);
    let kind = goal.split_once(':').map_or(goal, |(kind, _)| kind);
    BY_THE_API.contains(&kind) || WITH_THE_API.contains(&kind)
}

impl Goal {
    /// Whether a step with this id (`host/kind:subject`) is one of them, for this host.
    pub fn is_of(&self, host: Option<&str>, id: &str) -> bool {
        let Some((at, goal)) = id.split_once('/') else { return false };
        let Some((kind, subject)) = goal.split_once(':') else { return false };
        if kind != self.kind || !subject.contains(self.subject) {
            return false;
        }
        let Some(host) = host else { return true };
        match BY_THE_API.contains(&kind) {
            true => kind == "object" || subject.split_whitespace().any(|word| word == host),
            false => at == host,
        }
    }
}

/// Letters of a quote that are shown.
const QUOTED: usize = 600;

impl Quote {
    /// Words from somewhere, without what steers a terminal, cut where they are long.
    pub fn new(source: impl Into<String>, text: &str) -> Quote {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let source: String = source.into();
        let mut kept: String = text.trim().chars().map(clean).take(QUOTED).collect();
        if text.trim().chars().count() > QUOTED {
            kept.push('…');
        }
        Quote { source: source.chars().map(clean).collect(), text: kept }
    }
}

impl Diagnosis {
    /// An error. What else there is to say of it is added by the other methods.
    pub fn error(code: &'static str, host: Option<&str>, symptom: impl Into<String>) -> Diagnosis {
        Diagnosis {
            code,
            severity: Severity::Error,
            host: host.map(str::to_owned),
            subject: String::new(),
            symptom: symptom.into(),
            cause: String::new(),
            evidence: Vec::new(),
            remedy: String::new(),
            fix: Vec::new(),
            explains: Vec::new(),
        }
    }

    /// A warning: it works for now.
    pub fn warning(
        code: &'static str,
        host: Option<&str>,
        symptom: impl Into<String>,
    ) -> Diagnosis {
        Diagnosis { severity: Severity::Warning, ..Diagnosis::error(code, host, symptom) }
    }

    /// Why it is so.
    pub fn cause(self, cause: impl Into<String>) -> Self {
        Diagnosis { cause: cause.into(), ..self }
    }

    /// What shows it.
    pub fn seen(mut self, quotes: impl IntoIterator<Item = Quote>) -> Self {
        self.evidence.extend(quotes);
        self
    }

    /// What to do.
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Diagnosis { remedy: remedy.into(), ..self }
    }

    /// Goals of `kubewan up` that mend it.
    pub fn fix(self, goals: &[Goal]) -> Self {
        Diagnosis { fix: goals.to_vec(), ..self }
    }

    /// What it is about, where a host may have several.
    pub fn of(self, subject: impl Into<String>) -> Self {
        Diagnosis { subject: subject.into(), ..self }
    }
}

/// A goal by kind and part of its subject.
pub const fn goal(kind: &'static str, subject: &'static str) -> Goal {
    Goal { kind, subject }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_find_their_steps() {
        let announced = goal("announced", "");
        assert!(announced.is_of(Some("node01"), "master01/announced:node node01"));
        assert!(!announced.is_of(Some("node0"), "master01/announced:node node01"));
        let unit = goal("unit", "containerd.service");
        assert!(unit.is_of(Some("node01"), "node01/unit:containerd.service"));
        assert!(!unit.is_of(Some("node02"), "node01/unit:containerd.service"));
        assert!(!unit.is_of(None, "node01/file:containerd.service"));
        assert!(goal("object", "").is_of(Some("node01"), "master01/object:ConfigMap a"));
        assert!(asks_the_api("master01/announced:node node01"));
        assert!(asks_the_api("master01/etcd-listens:etcd"));
        assert!(!asks_the_api("node01/unit:containerd.service"));
    }
}
