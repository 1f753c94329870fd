//! `reset` as a plan: the inverse of every action that a host's journal holds, newest first. It is run by
//! the same executor; a file that someone else edited since is a finding, and left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Phase, Step};
use crate::action::file::FileState;
use crate::action::{
    Action, Block, Content, File, Hostname, KubeadmReset, Observed, Package, Removed, Sysctl, Unit,
};
use crate::finding::Finding;
use crate::journal::{Begun, Entry};

/// A host's way back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reset {
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Journal entries that each step takes back, by the step's id.
    pub undoes: BTreeMap<String, Vec<u64>>,
    /// For steps that restore or remove a file: the SHA-256 that kubewan left there last.
    pub left: BTreeMap<String, String>,
    /// What can't be taken back, and why.
    pub findings: Vec<Finding>,
}

/// Directories that kubeadm, the kubelet and CNI plugins fill; gone after a reset, since an init or join that
/// our journal owns began on a host without them.
const CLUSTER_PATHS: [&str; 8] = [
    "/etc/kubernetes",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/etc/cni/net.d",
    "/run/flannel",
    "/var/log/pods",
    "/var/log/containers",
];

/// The steps that take back what one host's journal holds.
///
/// Several entries may tell of one subject (a file written twice): the way back leads to the state before the
/// first of them. Entries that were undone already are left out.
pub fn steps(host: &str, journal: &[Entry]) -> Reset {
    let ended = ended(journal);
    let mut reset = Reset::default();
    let mut tail = Vec::new();
    for (begun, numbers) in subjects(journal).iter().rev() {
        let ends: Vec<&Ended> = numbers.iter().filter_map(|n| ended.get(n)).collect();
        let along: Vec<&str> =
            ends.iter().flat_map(|end| end.along.iter().map(String::as_str)).collect();
        let mut last = None;
        for (action, late) in inverse(begun, &along) {
            let why = format!("takes back `{}`", begun.step);
            let step = Step::new(Phase::Reset, host, action, why);
            if let (Action::File(_), Some(Observed::File(after))) =
                (&step.action, ends.last().map(|e| e.after))
            {
                reset.left.extend(after.sha256.clone().map(|sha256| (step.id.clone(), sha256)));
            }
            last = Some(step.id.clone());
            if late { tail.push(step) } else { reset.steps.push(step) }
        }
        if let Some(id) = last {
            reset.undoes.entry(id).or_default().extend(numbers.iter().copied());
        }
    }
    reset.steps.extend(tail);
    unique(&mut reset);
    reset
}

/// Takes out steps that would overwrite what someone else wrote since: each becomes a finding.
pub fn spare_foreign_edits(reset: &mut Reset, seen: &BTreeMap<String, Result<Observed, String>>) {
    let mut findings = Vec::new();
    let left = &reset.left;
    reset.steps.retain(|step| {
        let (Some(left), Some(Ok(Observed::File(now)))) = (left.get(&step.id), seen.get(&step.id))
        else {
            return true;
        };
        let edited = now.sha256.as_ref().is_some_and(|now| now != left) && step_changes(step, now);
        if edited {
            findings.push(Finding::warning(
                "edited-since",
                &step.host,
                format!(
                    "{} was edited after kubewan wrote it and is left as it is",
                    step.action.subject()
                ),
                "look at it and remove it by hand if nobody needs it",
            ));
        }
        !edited
    });
    reset.findings.append(&mut findings);
}

fn step_changes(step: &Step, now: &crate::action::file::FileSeen) -> bool {
    matches!(&step.action, Action::File(file) if file.diff(now).is_some())
}

/// How an action ended.
struct Ended<'a> {
    after: &'a Observed,
    along: &'a [String],
}

/// Every subject that is not taken back yet, with its first entry and the numbers of all its entries.
fn subjects(journal: &[Entry]) -> Vec<(&Begun, Vec<u64>)> {
    let undone: BTreeSet<u64> = journal
        .iter()
        .filter_map(|entry| match entry {
            Entry::Undone { number } => Some(*number),
            _ => None,
        })
        .collect();
    let mut subjects: Vec<(&Begun, Vec<u64>)> = Vec::new();
    for entry in journal {
        let Entry::Begun(begun) = entry else { continue };
        if undone.contains(&begun.number) {
            continue;
        }
        match subjects.iter_mut().find(|(b, _)| same_subject(&b.action, &begun.action)) {
            Some((_, numbers)) => numbers.push(begun.number),
            None => subjects.push((begun, vec![begun.number])),
        }
    }
    subjects
}

fn ended(journal: &[Entry]) -> BTreeMap<u64, Ended<'_>> {
    journal
        .iter()
        .filter_map(|entry| match entry {
            Entry::Ended { number, after, along } => Some((*number, Ended { after, along })),
            _ => None,
        })
        .collect()
}

fn same_subject(a: &Action, b: &Action) -> bool {
    a.kind() == b.kind() && a.subject() == b.subject()
}

/// The goals that lead back, and whether they have to wait until everything else is back (packages that
/// others still use, directories that others still fill).
///
/// Images go with containerd's store, objects and nodes with the cluster, links with the unit that made them;
/// a loaded module is left, since something else may use it by now.
fn inverse(begun: &Begun, along: &[&str]) -> Vec<(Action, bool)> {
    let mut actions: Vec<(Action, bool)> = match (&begun.action, &begun.before) {
        (Action::File(file), Observed::File(before)) => vec![(restore_file(file, before), false)],
        (Action::Block(block), Observed::Block(before)) => {
            let action = match before.text {
                Some(_) => Action::Block(Block { path: block.path.clone(), lines: Vec::new() }),
                None => Action::File(File { path: block.path.clone(), state: FileState::Absent }),
            };
            vec![(action, false)]
        }
        (Action::Sysctl(sysctl), Observed::Sysctl(before)) => before
            .value
            .iter()
            .map(|value| {
                (Action::Sysctl(Sysctl { key: sysctl.key.clone(), value: value.clone() }), false)
            })
            .collect(),
        (Action::Unit(unit), Observed::Unit(before)) => vec![(restore_unit(unit, before), false)],
        (Action::Package(_), Observed::Package(before)) => purge(before, along),
        (Action::Hostname(_), Observed::Hostname(before)) => {
            vec![(Action::Hostname(Hostname { name: before.configured.clone() }), false)]
        }
        (Action::KubeadmInit(_) | Action::KubeadmJoin(_), _) => {
            let mut actions = vec![(Action::KubeadmReset(KubeadmReset {}), false)];
            actions.extend(CLUSTER_PATHS.map(|path| (removed(path), true)));
            actions
        }
        _ => Vec::new(),
    };
    actions.extend(along.iter().filter_map(|what| kept_file(what)).map(|action| (action, false)));
    actions.extend(
        along.iter().filter_map(|a| a.strip_prefix("dir:")).map(|path| (removed(path), true)),
    );
    actions
}

fn removed(path: &str) -> Action {
    Action::Removed(Removed { path: path.into() })
}

/// Packages that came with an action: what it says came along, or where it was cut short, those that were not
/// installed before.
fn purge(before: &crate::action::package::PackageSeen, along: &[&str]) -> Vec<(Action, bool)> {
    let mut names: Vec<String> =
        along.iter().filter_map(|a| a.strip_prefix("package:")).map(str::to_owned).collect();
    if names.is_empty() {
        names =
            before.installed.iter().filter(|(_, v)| v.is_none()).map(|(n, _)| n.clone()).collect();
    }
    let runtime = names.iter().any(|name| name == "containerd");
    let mut actions = Vec::new();
    if !names.is_empty() {
        let absent = Package { names, artifacts: Vec::new(), held: Vec::new(), absent: true };
        actions.push((Action::Package(absent), true));
    }
    if runtime {
        actions.push((removed("/var/lib/containerd"), true));
        actions.push((removed("/run/containerd"), true));
    }
    actions
}

/// A file that an action of another kind edited, and whose first content the journal kept:
/// `kept:<octal mode>:<sha256>:<path>`.
fn kept_file(what: &str) -> Option<Action> {
    let mut parts = what.strip_prefix("kept:")?.splitn(3, ':');
    let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
    let content = Content::Blob(parts.next()?.to_owned());
    let path = parts.next()?.to_owned();
    Some(Action::File(File { path, state: FileState::Present { content, mode } }))
}

fn restore_file(file: &File, before: &crate::action::file::FileSeen) -> Action {
    let state = match &before.sha256 {
        Some(sha256) => {
            FileState::Present { content: Content::Blob(sha256.clone()), mode: before.mode }
        }
        None => FileState::Absent,
    };
    Action::File(File { path: file.path.clone(), state })
}

fn restore_unit(unit: &Unit, before: &crate::action::unit::UnitSeen) -> Action {
    Action::Unit(Unit {
        name: unit.name.clone(),
        enabled: before.enabled == "enabled",
        active: Some(before.active == "active"),
        restart_on: Vec::new(),
    })
}

/// Keeps the last of equal steps: a directory is removed once, when all else is gone.
fn unique(reset: &mut Reset) {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<Step> = Vec::new();
    for step in reset.steps.drain(..).rev() {
        if seen.insert(step.id.clone()) {
            kept.push(step);
        }
    }
    kept.reverse();
    reset.steps = kept;
}
