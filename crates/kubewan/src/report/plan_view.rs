//! A plan for people: per host and phase, with a sign before each change, its reason, and its diff.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{self, IsTerminal};

use anstyle::Style;
use kubewan_core::action::file::{self, FileState};
use kubewan_core::action::{Action, ChangeKind, Content};
use kubewan_core::plan::{Phase, Plan, PlannedStep};
use kubewan_core::render::docker::DAEMON_JSON;
use serde::Serialize;

use super::catalogue::localized;
use super::style::{FAINT, GONE, GOOD, HEAD, NEXT, WARN, styled, wrapped};
use super::{Verbosity, screen, verbosity};

/// Most detail lines of one change: a whole manifest says less than its first lines.
const DETAILS: usize = 60;

/// How many changes there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Something new.
    pub create: usize,
    /// Something gets another content or state.
    pub update: usize,
    /// Something goes.
    pub delete: usize,
    /// Something is run.
    pub run: usize,
    /// Steps that are right already.
    pub unchanged: usize,
}

/// A plan with its summary: what `plan -o json` prints.
#[derive(Serialize)]
pub struct PlanDocument<'a> {
    #[serde(flatten)]
    plan: Cow<'a, Plan>,
    summary: Summary,
}

impl<'a> PlanDocument<'a> {
    /// The document of a plan.
    pub fn new(plan: &'a Plan) -> Self {
        let summary = Summary::of(plan);
        let theirs = |planned: &PlannedStep| planned.step.action.subject() == DAEMON_JSON;
        if !plan.steps.iter().any(theirs) {
            return PlanDocument { plan: Cow::Borrowed(plan), summary };
        }
        // It has lines of someone's in it.
        let mut shown = plan.clone();
        for planned in &mut shown.steps {
            if let Action::File(file) = &mut planned.step.action
                && file.path == DAEMON_JSON
                && let FileState::Present { content: Content::Text(text), .. } = &mut file.state
            {
                *text = file::shown(text);
            }
        }
        PlanDocument { plan: Cow::Owned(shown), summary }
    }
}

impl Summary {
    /// Counts a plan's changes.
    pub fn of(plan: &Plan) -> Summary {
        let mut summary = Summary::default();
        for planned in &plan.steps {
            let count = match planned.change.as_ref().map(|change| change.kind) {
                Some(ChangeKind::Create) => &mut summary.create,
                Some(ChangeKind::Update) => &mut summary.update,
                Some(ChangeKind::Delete) => &mut summary.delete,
                Some(ChangeKind::Run) => &mut summary.run,
                None => &mut summary.unchanged,
            };
            *count += 1;
        }
        summary
    }

    /// The summary as a sentence.
    pub fn sentence(&self) -> String {
        let Summary { create, update, delete, run, unchanged } = self;
        if create + update + delete + run == 0 {
            return format!("Nothing to do: all {unchanged} goals are reached.");
        }
        format!(
            "Plan: {create} to create, {update} to change, {delete} to delete, {run} to run; {unchanged} right already."
        )
    }
}

/// A plan as text; with what is right already, where that is told.
pub fn text(plan: &Plan) -> String {
    let columns = io::stdout().is_terminal().then(|| screen::size().columns);
    told(plan, verbosity() >= Verbosity::Verbose, columns)
}

fn told(plan: &Plan, whole: bool, columns: Option<usize>) -> String {
    let mut text = String::new();
    for phase in Phase::ALL {
        let shown = |p: &&PlannedStep| p.step.phase == phase && (whole || p.change.is_some());
        let steps: Vec<&PlannedStep> = plan.steps.iter().filter(shown).collect();
        // In the plan's order, which is the operator's.
        let mut told = BTreeSet::new();
        for host in steps.iter().map(|planned| &planned.step.host) {
            if !told.insert(host) {
                continue;
            }
            let _ = writeln!(
                text,
                "{}",
                styled(HEAD, &format!("{host}: {}", localized(phase.title())))
            );
            for planned in steps.iter().filter(|planned| &planned.step.host == host) {
                step(&mut text, planned, columns);
            }
            text.push('\n');
        }
    }
    text + &styled(HEAD, &localized(&Summary::of(plan).sentence())) + "\n"
}

fn step(text: &mut String, planned: &PlannedStep, columns: Option<usize>) {
    let Some(change) = &planned.change else {
        let (_, goal) = planned.step.id.split_once('/').unwrap_or(("", &planned.step.id));
        let _ = writeln!(text, "{}", styled(FAINT, &format!("  = {goal}")));
        return;
    };
    let (sign, style) = sign(change.kind);
    let _ = writeln!(text, "  {} {}", styled(style, sign), localized(&change.summary));
    let why = localized(&planned.step.why);
    let why = wrapped(&format!("      # {why}"), columns.unwrap_or(usize::MAX), 8);
    let _ = writeln!(text, "{}", styled(FAINT, &why));
    for line in change.details.iter().take(DETAILS) {
        let line = match line.as_bytes().first() {
            Some(b'+') => styled(GOOD, line),
            Some(b'-') => styled(GONE, line),
            // What a file has, and where.
            Some(b' ' | b'@') => line.clone(),
            _ => localized(line).into_owned(),
        };
        let _ = writeln!(text, "      {line}");
    }
    if change.details.len() > DETAILS {
        let more = change.details.len() - DETAILS;
        let more = format!("… {more} more lines; all of them: -o json");
        let _ = writeln!(text, "      {}", localized(&more));
    }
}

fn sign(kind: ChangeKind) -> (&'static str, Style) {
    match kind {
        ChangeKind::Create => ("+", GOOD),
        ChangeKind::Update => ("~", WARN),
        ChangeKind::Delete => ("-", GONE),
        ChangeKind::Run => (">", NEXT),
    }
}

#[cfg(test)]
mod tests {
    use super::super::language::of_test::in_chinese;
    use super::super::style::plain;
    use super::*;
    use kubewan_core::action::{Action, Observed, Sysctl, system::SysctlSeen};
    use kubewan_core::plan::Step;

    fn plan(value: &str) -> Plan {
        let goal =
            Sysctl { key: "net.ipv4.ip_forward".into(), value: "1".into(), ..Sysctl::default() };
        let step = Step::new(Phase::Prepare, "node01", Action::Sysctl(goal), "pods' packets pass");
        let seen =
            Observed::Sysctl(SysctlSeen { value: Some(value.into()), ..SysctlSeen::default() });
        let seen = [(step.id.clone(), Ok(seen))].into();
        Plan::new("home", false, vec![step], &seen, Vec::new()).unwrap()
    }

    #[test]
    fn a_change_has_its_sign_and_reason() {
        assert_eq!(
            plain(&told(&plan("0"), false, None)),
            "node01: prepare the hosts\n  ~ set net.ipv4.ip_forward = 1 (now 0)\n      # pods' packets pass\n\n\
             Plan: 0 to create, 1 to change, 0 to delete, 0 to run; 0 right already.\n"
        );
    }

    #[test]
    fn a_plan_is_told_in_chinese() {
        let text = in_chinese(|| plain(&told(&plan("0"), false, Some(40))));
        insta::assert_snapshot!(text);
        assert!(text.lines().all(|line| super::super::style::width(line) <= 60), "{text}");
    }

    #[test]
    fn nothing_to_do_is_one_line() {
        let text = told(&plan("1"), false, None);
        assert_eq!(plain(&text), "Nothing to do: all 1 goals are reached.\n");
    }

    #[test]
    fn what_is_right_already_is_told_to_who_asks() {
        assert_eq!(
            plain(&told(&plan("1"), true, Some(80))),
            "node01: prepare the hosts\n  = sysctl:net.ipv4.ip_forward\n\nNothing to do: all 1 goals are reached.\n"
        );
    }

    #[test]
    fn the_document_is_the_plan_with_a_summary() {
        let value = serde_json::to_value(PlanDocument::new(&plan("0"))).unwrap();
        assert_eq!(value["summary"]["update"], 1);
        assert_eq!(value["steps"][0]["id"], "node01/sysctl:net.ipv4.ip_forward");
        assert_eq!(value["steps"][0]["change"]["kind"], "update");
    }
}
