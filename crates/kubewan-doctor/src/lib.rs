//! The doctor: what is wrong with a host or a cluster, why, and what to do about it. Pure, as kubewan-core is: evidence
//! comes in as values, diagnoses go out as values.
//!
//! One file of [`checks`] is one thing that can be wrong. A check looks at a [`Case`]: hosts with facts, logs, units and
//! certificates, and what the API said; or only a text that someone pasted ([`Case::pasted`]). What a check looks for in
//! logs is the same for both; of living hosts it asks besides that the trouble is there now, since logs keep what is over.

pub mod case;
pub mod checks;
pub mod cluster;
pub mod date;
pub mod diagnosis;
#[doc(hidden)]
pub mod fuzz;
pub mod support;

pub use case::{Case, HostCase};
pub use diagnosis::{Diagnosis, Quote};

use checks::CHECKS;
use kubewan_core::finding::Severity;

/// Everything that is wrong, errors first, in the hosts' order.
pub fn diagnose(case: &Case) -> Vec<Diagnosis> {
    let mut all: Vec<Diagnosis> = CHECKS.iter().flat_map(|check| (check.run)(case)).collect();
    // The same words may stand in several logs of a host.
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|d| seen.insert((d.code, d.host.clone(), d.subject.clone())));
    let follows: Vec<Option<usize>> =
        all.iter().map(|symptom| all.iter().position(|cause| explains(cause, symptom))).collect();
    for (symptom, cause) in follows.iter().enumerate().filter_map(|(s, c)| Some((s, (*c)?))) {
        let told = match &all[symptom].host {
            Some(host) => format!("{} ({host})", all[symptom].code),
            None => all[symptom].code.to_owned(),
        };
        all[cause].explains.push(told);
    }
    let mut left: Vec<Diagnosis> = all
        .into_iter()
        .zip(follows)
        .filter(|(_, cause)| cause.is_none())
        .map(|(diagnosis, _)| diagnosis)
        .collect();
    let place = |name: &Option<String>| case.hosts.iter().position(|host| host.name == *name);
    left.sort_by_key(|d| (d.severity != Severity::Error, place(&d.host)));
    left
}

/// Whether one thing that is wrong is the reason for another.
fn explains(cause: &Diagnosis, symptom: &Diagnosis) -> bool {
    let Some(check) = CHECKS.iter().find(|check| check.code == cause.code) else { return false };
    // What works for now is no reason for what does not.
    let is_too_weak = cause.severity == Severity::Warning && symptom.severity == Severity::Error;
    if cause.code == symptom.code || is_too_weak {
        return false;
    }
    let here = cause.host == symptom.host && check.explains.contains(&symptom.code);
    here || check.explains_everywhere.contains(&symptom.code)
}
