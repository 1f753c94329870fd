//! Findings that the operator accepts: they become warnings which say so. What follows of it for kubeadm and the
//! kubelet is in [`crate::render::kubeadm`].

use super::per_host;
use crate::facts::Facts;
use crate::finding::{Finding, Severity};
use crate::inventory::{Acceptance, Host};
use crate::plan::planner::View;

/// A finding as it stands with what the inventory accepts.
pub(super) fn judged(view: &View, host: &Host, finding: Finding) -> Finding {
    let Some(what) = may_be_accepted(&finding) else { return finding };
    if let Some(place) = view.inventory.accepted(host, what) {
        return Finding {
            severity: Severity::Warning,
            message: format!("{} (accepted by {place})", finding.message),
            remedy: format!("to end it: {}", finding.remedy),
            ..finding
        };
    }
    let remedy = match view.inventory.overruling(what) {
        Some(setting) => format!(
            "{}; or take {setting} out and accept it: `accept: [{}]`",
            finding.remedy,
            what.code()
        ),
        None => format!(
            "{}; or accept it, for all hosts or this one: `accept: [{}]`",
            finding.remedy,
            what.code()
        ),
    };
    Finding { remedy, ..finding }
}

/// What a finding would be accepted as; of a warning nothing has to be accepted.
fn may_be_accepted(finding: &Finding) -> Option<Acceptance> {
    Acceptance::of(&finding.code).filter(|_| finding.severity == Severity::Error)
}

/// What the operator accepts on a host and is so there: only there kubeadm and the kubelet are told, so that a check
/// which is set aside for one host still looks at the others.
///
/// Swap counts where nothing was found too: it may be there only after the next boot.
pub(in crate::plan) fn in_force(view: &View, host: &Host, facts: &Facts) -> Vec<Acceptance> {
    let found: Vec<Acceptance> =
        per_host(view, host, facts).iter().filter_map(may_be_accepted).collect();
    Acceptance::ALL
        .iter()
        .copied()
        .filter(|what| found.contains(what) || *what == Acceptance::SwapReturns)
        .filter(|what| view.inventory.accepted(host, *what).is_some())
        .collect()
}
