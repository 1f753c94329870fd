//! `reset` as a plan: the inverse of every action that a host's journal holds, newest first. It is run by
//! the same executor; a file that someone else edited since is a finding, and left alone.

mod before;
mod inverse;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::phase::runtime::CONFIG;
use super::{Phase, Step};
use crate::action::file::{Extent, FileState};
use crate::action::{Action, Content, File, Observed};
use crate::facts::{Container, Facts};
use crate::finding::Finding;
use crate::journal::{Begun, Entry, kept_as};

use before::Before;

/// A host's way back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reset {
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Journal entries that each step takes back, by the step's id.
    pub undoes: BTreeMap<String, Vec<u64>>,
    /// For steps that restore or remove a file, the SHA-256s of what kubewan may have left there; for a host's name, the names
    /// that it gave.
    pub left: BTreeMap<String, BTreeSet<String>>,
    /// What can't be taken back, and why.
    pub findings: Vec<Finding>,
}

/// The goals that lead back from what was done to one subject.
#[derive(Debug, Default)]
struct Way {
    /// In their order.
    now: Vec<Action>,
    /// When everything else is back: packages that others still use, services that read restored files,
    /// folders that others still fill.
    late: Vec<Action>,
    findings: Vec<Finding>,
}

/// What the journal tells of one subject and is not taken back yet.
struct Subject<'a> {
    /// Its entries, oldest first, with what was observed after those that ended.
    entries: Vec<(&'a Begun, Option<&'a Observed>)>,
    /// What they added to the host, oldest first, with the entry's number.
    along: Vec<(u64, &'a str)>,
}

impl<'a> Subject<'a> {
    fn first(&self) -> &'a Begun {
        self.entries[0].0
    }

    /// Files and folders of which its entries say how they were.
    fn paths(&self) -> BTreeSet<&'a str> {
        let written = self.entries.iter().filter_map(|(begun, _)| match &begun.action {
            Action::File(file) => Some(file.path.as_str()),
            _ => None,
        });
        let kept = self.along("kept").filter_map(|rest| rest.splitn(3, ':').nth(2));
        let words = ["dir", "tree", "contents", "foreign"];
        let folders = words.iter().flat_map(|word| self.along(word));
        written.chain(kept).chain(folders).collect()
    }

    /// What `along` says under a word.
    fn along(&self, word: &str) -> impl Iterator<Item = &'a str> {
        let start = format!("{word}:");
        self.along.iter().filter_map(move |(_, line)| line.strip_prefix(start.as_str()))
    }
}

/// The steps that take back what one host's journal holds.
///
/// Several entries may tell of one subject (a file written twice): the way back leads to the state before the
/// first of them. Entries that were undone already are left out, and so are those of a reset that was cut
/// short: what they took back is told by the entries that they belong to.
pub fn steps(host: &str, journal: &[Entry]) -> Reset {
    let subjects = subjects(journal);
    let before = Before::of(&subjects);
    let mut reset = Reset::default();
    let (mut late, mut folders) = (Vec::new(), BTreeMap::new());
    let mut ways_back = Vec::new();
    let mut units = BTreeMap::new();
    for subject in subjects.iter().rev() {
        let begun = subject.first();
        let way = inverse::way(host, subject, &before);
        let step = |action| {
            let why = format!("takes back `{}`", begun.step);
            Step::new(Phase::Reset, host, action, why)
        };
        let mut gone: Vec<Step> = before.folders(subject).into_iter().map(step).collect();
        gone.sort_by_key(|step| std::cmp::Reverse(step.action.subject()));
        let now: Vec<Step> = way.now.into_iter().map(step).collect();
        let later: Vec<Step> = way.late.into_iter().map(step).collect();
        ways_back.push(WayBack {
            numbers: subject.entries.iter().map(|(begun, _)| begun.number).collect(),
            paths: subject.paths(),
            steps: now.iter().chain(&later).chain(&gone).map(|step| step.id.clone()).collect(),
        });
        // Several actions may have changed one unit; what counts is the oldest word on it, which comes last here.
        let of_units =
            now.iter().chain(&later).filter(|step| matches!(step.action, Action::Unit(_)));
        units.extend(of_units.map(|step| (step.id.clone(), step.action.clone())));
        reset.steps.extend(now);
        late.extend(later);
        folders.extend(gone.into_iter().map(|step| (step.action.subject(), step)));
        reset.findings.extend(way.findings);
        reset.findings.extend(put_back(host, subject, &before));
    }
    no_vain_starts(&mut late, &mut ways_back);
    reset.steps.extend(late);
    after_purge(&mut reset.steps);
    // What is deeper goes first.
    reset.steps.extend(folders.into_values().rev());
    unique(&mut reset);
    for step in &mut reset.steps {
        if let Some(oldest) = units.remove(&step.id) {
            step.action = oldest;
        }
    }
    let interfaces = interfaces(&subjects);
    for step in &mut reset.steps {
        if let Action::Sysctl(goal) = &mut step.action {
            goal.ours.clone_from(&interfaces);
        }
    }
    reset.undoes = undoes(ways_back, &reset.steps);
    for step in &reset.steps {
        match &step.action {
            Action::File(file) => {
                let left = before.left(&file.path).cloned();
                reset.left.extend(left.map(|left| (step.id.clone(), left)));
            }
            Action::Hostname(_) => {
                let given = subjects.iter().flat_map(|subject| &subject.entries);
                let given = given.filter_map(|(begun, _)| match &begun.action {
                    Action::Hostname(goal) => Some(goal.name.clone()),
                    _ => None,
                });
                reset.left.insert(step.id.clone(), given.collect());
            }
            _ => {}
        }
    }
    reset
}

/// Docker's unit, and the packages that bring it.
const DOCKER: (&str, [&str; 2]) = ("docker.service", ["docker.io", "docker-ce"]);

/// How names of network interfaces begin that came with what kubewan brought: those of CNI's bridge, of flannel and kubewan, and
/// Docker's bridges where Docker is kubewan's.
fn interfaces(subjects: &[Subject<'_>]) -> Vec<String> {
    let (_, packages) = DOCKER;
    let mut came = subjects.iter().flat_map(|subject| subject.along("package"));
    let dockers: &[&str] =
        if came.any(|name| packages.contains(&name)) { &["docker", "br-"] } else { &[] };
    ["cni0", "flannel", "kube"].iter().chain(dockers).map(|start| (*start).to_owned()).collect()
}

/// Takes out starts of a Docker whose package goes as well: by its own settings of before it would change the host's packet
/// filter, just to be taken away. The unit is as it was once its package is gone.
fn no_vain_starts(late: &mut Vec<Step>, ways_back: &mut [WayBack<'_>]) {
    let (unit, packages) = DOCKER;
    let goes = |step: &Step| match &step.action {
        Action::Package(goal) => {
            goal.absent && packages.iter().any(|name| goal.names.iter().any(|n| n == name))
        }
        _ => false,
    };
    let Some(purge) = late.iter().find(|step| goes(step)).map(|step| step.id.clone()) else {
        return;
    };
    let is_start = |step: &Step| matches!(&step.action, Action::Unit(goal) if goal.name == unit);
    for start in late.extract_if(.., |step| is_start(step)) {
        for way in ways_back.iter_mut().filter(|way| way.steps.contains(&start.id)) {
            way.steps.remove(&start.id);
            way.steps.insert(purge.clone());
        }
    }
}

/// containerd's settings go with its package when that is purged (dpkg's conffiles): those of someone's who had them without
/// the package are put back after it.
fn after_purge(steps: &mut Vec<Step>) {
    let is_purge = |step: &Step| match &step.action {
        Action::Package(package) => {
            package.absent && package.names.iter().any(|name| name.starts_with("containerd"))
        }
        _ => false,
    };
    let is_restored = |step: &Step| match &step.action {
        Action::File(file) => file.path == CONFIG && file.state != FileState::Absent,
        _ => false,
    };
    if let (Some(purge), Some(restored)) =
        (steps.iter().rposition(is_purge), steps.iter().position(is_restored))
        && restored < purge
    {
        let step = steps.remove(restored);
        steps.insert(purge, step);
    }
}

/// What kubewan may have left in each file that it wrote and that a reset would take back, as SHA-256s; without those
/// where it can't be known.
pub fn left(journal: &[Entry]) -> BTreeMap<String, BTreeSet<String>> {
    let subjects = subjects(journal);
    let before = Before::of(&subjects);
    let paths =
        before.paths().filter_map(|path| Some((path.to_owned(), before.left(path)?.clone())));
    paths.collect()
}

/// Edits of someone's that a later run put kubewan's text in place of. They are kept, but not beyond the reset.
fn put_back(host: &str, subject: &Subject<'_>, before: &Before<'_>) -> Vec<Finding> {
    let first = match &subject.first().before {
        Observed::File(seen) => seen.sha256.as_ref(),
        _ => None,
    };
    let edit = |begun: &&Begun| match (&begun.action, &begun.before) {
        (Action::File(file), Observed::File(seen)) => {
            let sha256 = seen.sha256.as_ref().filter(|sha256| Some(*sha256) != first)?;
            let left = before.left(&file.path)?;
            (!left.contains(sha256)).then(|| (file.path.clone(), sha256.clone()))
        }
        _ => None,
    };
    let edits: BTreeSet<_> = subject.entries.iter().filter_map(|(begun, _)| edit(begun)).collect();
    let finding = |(path, sha256): (String, String)| {
        Finding::warning(
            "edited-since",
            host,
            format!(
                "{path} was edited by someone before a run put kubewan's text back; the edit is {} on this host, and \
                 goes with this reset",
                kept_as(&sha256)
            ),
            "copy it first if somebody needs it",
        )
    };
    edits.into_iter().map(finding).collect()
}

/// A subject's entries, the paths that they tell of, and the steps that take them back.
struct WayBack<'a> {
    numbers: Vec<u64>,
    paths: BTreeSet<&'a str>,
    steps: BTreeSet<String>,
}

/// Which entries are taken back once a step is done.
///
/// Subjects that share a step, or tell of one path (a file that one action wrote and another edited, a folder that was
/// someone else's to the first and empty to the second), are taken back together, with the last step of all of them:
/// what was there at first may be told by the entries of one only, and a reset that is cut off in between, or comes
/// again, has to read them again.
fn undoes(ways_back: Vec<WayBack<'_>>, steps: &[Step]) -> BTreeMap<String, Vec<u64>> {
    let mut together: Vec<WayBack<'_>> = Vec::new();
    for mut way in ways_back {
        let (same, others): (Vec<_>, Vec<_>) = together.into_iter().partition(|other| {
            !other.steps.is_disjoint(&way.steps) || !other.paths.is_disjoint(&way.paths)
        });
        for other in same {
            way.numbers.extend(other.numbers);
            way.paths.extend(other.paths);
            way.steps.extend(other.steps);
        }
        together = others;
        together.push(way);
    }
    let last = |way: &WayBack<'_>| steps.iter().rfind(|step| way.steps.contains(&step.id));
    let end = steps.last();
    let mut undoes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for way in together {
        // What changed nothing is over with the last step of all: standing, it would be the first word on what a later run changes.
        let Some(step) = last(&way).or(end) else { continue };
        undoes.entry(step.id.clone()).or_default().extend(way.numbers);
    }
    undoes.values_mut().for_each(|numbers| numbers.sort_unstable());
    undoes
}

/// Takes out steps that would overwrite what someone else wrote since: each becomes a finding.
pub fn spare_foreign_edits(reset: &mut Reset, seen: &BTreeMap<String, Result<Observed, String>>) {
    let mut findings = Vec::new();
    let left = &reset.left;
    reset.steps.retain(|step| {
        let (Some(left), Some(Ok(now))) = (left.get(&step.id), seen.get(&step.id)) else {
            return true;
        };
        if let (Action::Hostname(goal), Observed::Hostname(now)) = (&step.action, now) {
            let is_own = now.configured.is_empty()
                || now.configured == goal.name
                || left.contains(&now.configured);
            if !is_own {
                findings.push(renamed(&step.host, &goal.name, &now.configured));
            }
            return is_own;
        }
        let Observed::File(now) = now else { return true };
        let is_other = match &now.sha256 {
            Some(now) => !left.contains(now),
            // Someone put a link or a folder where kubewan had left a file.
            None => now.other.is_some(),
        };
        let edited = is_other && step_changes(step, now);
        if edited {
            findings.push(Finding::warning(
                "edited-since",
                &step.host,
                format!(
                    "{} was edited after kubewan wrote it and is left as it is",
                    step.action.subject()
                ),
                match &step.action {
                    Action::File(File {
                        state: FileState::Present { content: Content::Blob(first), .. },
                        ..
                    }) => format!(
                        "look at it; how it was before kubewan is {} on this host until this reset has ended: copy it \
                         first if somebody needs it",
                        kept_as(first)
                    ),
                    _ => "look at it and remove it by hand if nobody needs it".into(),
                },
            ));
        }
        !edited
    });
    reset.findings.append(&mut findings);
}

/// A name that somebody gave since.
fn renamed(host: &str, before: &str, now: &str) -> Finding {
    Finding::warning(
        "edited-since",
        host,
        format!("it was renamed to `{now}` after kubewan named it, and keeps that name"),
        format!("where nobody needs it, `hostnamectl set-hostname {before}`"),
    )
}

/// Folders of runtimes that a reset takes away with all that is in them, by the runtime's name.
const RUNTIMES: [(&str, &str); 2] =
    [("/var/lib/docker", "Docker"), ("/var/lib/containerd", "containerd")];

/// Kernel settings that stay, as something else on the host may need them by now.
pub fn settings_that_stay(
    reset: &Reset,
    seen: &BTreeMap<String, Result<Observed, String>>,
) -> Vec<Finding> {
    let stays = |step: &Step| {
        let (Action::Sysctl(goal), Some(Ok(Observed::Sysctl(now)))) =
            (&step.action, seen.get(&step.id))
        else {
            return None;
        };
        let value = now.value.as_ref().filter(|_| !now.needed_by.is_empty())?;
        let (key, before, by) = (&goal.key, &goal.value, now.needed_by.join(", "));
        Some(Finding::warning(
            "setting-stays",
            &step.host,
            format!(
                "{key} was {before} before kubewan came, and stays {value}, which may be needed: {by}"
            ),
            format!(
                "where nothing needs it, `sysctl -w {key}={before}`; where something does and no file says so, write `{key} = {value}` into one \
                 of /etc/sysctl.d, as the next boot would forget it"
            ),
        ))
    };
    reset.steps.iter().filter_map(stays).collect()
}

/// What of others a reset would take away with a runtime that kubewan brought: their containers that run there, and Docker's
/// volumes. Nobody asked for that to go with the cluster.
pub fn others(
    reset: &Reset,
    seen: &BTreeMap<String, Result<Observed, String>>,
    facts: &BTreeMap<String, Facts>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for step in &reset.steps {
        let (Action::Removed(goal), Some(Ok(Observed::Removed(now)))) =
            (&step.action, seen.get(&step.id))
        else {
            continue;
        };
        let Some((_, runtime)) = RUNTIMES.iter().find(|(folder, _)| *folder == goal.path) else {
            continue;
        };
        let Some(facts) = facts.get(&step.host) else { continue };
        if goal.extent == Extent::IfEmpty || !now.exists {
            continue;
        }
        let docker = &facts.runtime.docker;
        let containers = match *runtime {
            "Docker" => &docker.others,
            // Docker's own containers are in containerd too, and Kubernetes' are among them there.
            _ if docker.installed => continue,
            _ => &facts.runtime.others,
        };
        let named = |of: &Container| format!("{} ({})", of.id, of.program);
        let volumes = now.volumes.iter().map(|name| format!("volume {name}"));
        let all: Vec<String> = containers.iter().map(named).chain(volumes).collect();
        if !all.is_empty() {
            findings.push(Finding::error(
                "others-data",
                &step.host,
                format!(
                    "{runtime} came with kubewan and would go with all that is in {}, where things are that are not \
                     Kubernetes': {}",
                    goal.path,
                    all.join(", ")
                ),
                "move what somebody needs to another host and remove it here (`docker rm`, `docker volume rm`, `ctr`), then \
                 run `kubewan reset` again",
            ));
        }
    }
    findings
}

fn step_changes(step: &Step, now: &crate::action::file::FileSeen) -> bool {
    matches!(&step.action, Action::File(file) if file.diff(now).is_some())
}

/// Every subject that is not taken back yet, in the order of their first entries.
fn subjects(journal: &[Entry]) -> Vec<Subject<'_>> {
    let mut undone = BTreeSet::new();
    let mut after = BTreeMap::new();
    let mut added: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for entry in journal {
        match entry {
            Entry::Undone { number } => {
                undone.insert(*number);
            }
            Entry::Ended { number, after: seen, along } => {
                after.insert(*number, seen);
                added.entry(*number).or_default().extend(along.iter().map(String::as_str));
            }
            Entry::Along { number, along } => {
                added.entry(*number).or_default().extend(along.iter().map(String::as_str));
            }
            Entry::Opened { .. } | Entry::Begun(_) => {}
        }
    }
    let mut subjects: Vec<Subject<'_>> = Vec::new();
    for entry in journal {
        let Entry::Begun(begun) = entry else { continue };
        if begun.reset || undone.contains(&begun.number) {
            continue;
        }
        let lines = added.remove(&begun.number).unwrap_or_default();
        let along: Vec<_> = lines.into_iter().map(|line| (begun.number, line)).collect();
        let entry = (begun.as_ref(), after.get(&begun.number).copied());
        match subjects.iter_mut().find(|s| same_subject(&s.first().action, &begun.action)) {
            Some(subject) => {
                subject.entries.push(entry);
                subject.along.extend(along);
            }
            None => subjects.push(Subject { entries: vec![entry], along }),
        }
    }
    subjects
}

fn same_subject(a: &Action, b: &Action) -> bool {
    a.kind() == b.kind() && a.subject() == b.subject()
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
