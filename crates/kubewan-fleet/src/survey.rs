//! Looking at all hosts at once: facts, clocks, and how far each is from its goals.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubewan_core::action::{Action, Observed};
use kubewan_core::facts::Facts;
use kubewan_core::plan::Step;
use kubewan_core::secret::Secret;

use crate::error::HostError;
use crate::executor::inputs_of;
use crate::fleet::{Emit, Fleet, Member};

/// Longest that a batch of an earlier run is waited for: kubeadm's own limits and a large image on a slow disk.
const ORPHAN: Duration = Duration::from_secs(3600);

/// Goals per request, so that no answer comes near the largest frame.
const GOALS: usize = 100;

/// What the hosts say.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Facts by host.
    pub facts: BTreeMap<String, Facts>,
    /// How far each host's clock is ahead of ours for certain, milliseconds.
    pub clock_offsets_ms: BTreeMap<String, i64>,
}

/// Reads all hosts' facts; what an earlier run left at work there is waited for first.
///
/// # Errors
/// Fails with what went wrong on every host.
pub fn survey(fleet: &mut Fleet, emit: &Emit) -> Result<Survey, Vec<HostError>> {
    let results = fleet.each(|member| {
        let mut seen = look(member)?;
        if let Some(run) = seen.0.own.running.clone() {
            member.wait_for(&run, ORPHAN, emit)?;
            seen = look(member)?;
        }
        match &seen.0.own.running {
            // A second one after the first has ended: someone is at work there now.
            Some(run) => Err(HostError::Busy { host: member.host.name.clone(), run: run.clone() }),
            None => Ok(seen),
        }
    });
    let mut survey = Survey::default();
    let mut errors = Vec::new();
    for (host, result) in results {
        match result {
            Ok((facts, offset)) => {
                survey.clock_offsets_ms.insert(host.clone(), offset);
                survey.facts.insert(host, facts);
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(survey) } else { Err(errors) }
}

/// One host's facts, and how far its clock is ahead of ours for certain.
///
/// # Errors
/// Fails where the host can't be reached.
pub fn look(member: &mut Member) -> Result<(Facts, i64), HostError> {
    let before = unix_ms();
    let facts = member.facts()?;
    let offset = certain_offset(before, facts.clock_unix_ms, unix_ms());
    Ok((facts, offset))
}

/// The part of a clock's offset that the time between question and answer does not explain.
fn certain_offset(asked: i64, theirs: i64, answered: i64) -> i64 {
    if theirs < asked {
        theirs - asked
    } else if theirs > answered {
        theirs - answered
    } else {
        0
    }
}

/// Our clock, milliseconds since 1970.
pub fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// What the agents see of the steps' goals, by the steps' ids.
///
/// # Errors
/// Fails with what went wrong on every host.
pub fn observe(
    fleet: &mut Fleet,
    steps: &[Step],
) -> Result<BTreeMap<String, Result<Observed, String>>, Vec<HostError>> {
    observe_with(fleet, steps, &BTreeMap::new())
}

/// The same where goals are compared with secrets, by marker. Each host is told those of its own goals.
///
/// # Errors
/// As [`observe`].
pub fn observe_with(
    fleet: &mut Fleet,
    steps: &[Step],
    secrets: &BTreeMap<String, Secret>,
) -> Result<BTreeMap<String, Result<Observed, String>>, Vec<HostError>> {
    let results = fleet.each(|member| {
        let mine: Vec<&Step> = steps.iter().filter(|s| s.host == member.host.name).collect();
        let mut seen = Vec::with_capacity(mine.len());
        for part in mine.chunks(GOALS) {
            let goals: Vec<Action> = part.iter().map(|step| step.action.clone()).collect();
            let ids = part.iter().map(|step| step.id.clone());
            let values = goals.iter().flat_map(inputs_of).filter_map(|input| {
                let marker = input.marker();
                let value = secrets.get(&marker)?.reveal().to_owned();
                Some((marker, value))
            });
            let values = values.collect();
            seen.extend(ids.zip(member.observe(goals, values)?));
        }
        Ok(seen)
    });
    let mut seen = BTreeMap::new();
    let mut errors = Vec::new();
    for result in results.into_values() {
        match result {
            Ok(part) => seen.extend(part),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(seen) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        assert_eq!(certain_offset(1_000, 1_400, 3_000), 0);
        assert_eq!(certain_offset(1_000, 900, 3_000), -100);
        assert_eq!(certain_offset(1_000, 3_600, 3_000), 600);
    }
}
