//! Packages through rpm, and dnf or yum. What is installed rpm itself is asked, and it takes packages away: it refuses
//! what others need, where dnf and yum would remove those as well.
//!
//! Nothing is held here: the file of a repository of ours excludes its packages, which dnf and yum are told to pass
//! over while they install for us.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kubewan_core::action::Package;
use kubewan_core::action::package::PackageSeen;
use kubewan_core::packages::PackageManager;

use super::Performing;
use crate::command::{Output, Program};

/// How long a run of dnf or yum may take.
const RUN_MAX: Duration = Duration::from_secs(1800);
/// Name and version of packages, a line each. The epoch is shown where there is one, as in names of files.
const FORMAT: &str = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\n";
/// The name under which rpm keeps keys, told apart by their versions.
const KEY: &str = "gpg-pubkey";

/// Files with the process that installs now, as dnf and yum write them.
pub(super) const PID_FILES: [&str; 3] =
    ["/var/run/yum.pid", "/var/lib/dnf/rpmdb_lock.pid", "/var/cache/dnf/metadata_lock.pid"];
/// Locks of rpm's, where it has had its database first and has it now.
pub(super) const LOCKS: [&str; 2] = ["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"];

/// Looks which packages are installed. A name that none has is asked for as what one provides, or has as a file.
pub(super) fn observe(goal: &Package) -> Result<PackageSeen, String> {
    let known = installed()?;
    let version = |name: &String| match known.get(name) {
        Some(version) => Ok(Some(version.clone())),
        None if goal.absent => Ok(None),
        None => provider(name),
    };
    let seen = |name: &String| Ok((name.clone(), version(name)?));
    let installed = goal.names.iter().map(seen).collect::<Result<_, String>>()?;
    Ok(PackageSeen { installed, held: Vec::new() })
}

/// All packages and keys with their versions.
pub(super) fn installed() -> Result<BTreeMap<String, String>, String> {
    let all = Program::new("rpm").args(["--query", "--all", "--queryformat", FORMAT]).stdout()?;
    Ok(parse_installed(&all))
}

/// Of two packages of one name, as kernels are, either.
pub(crate) fn parse_installed(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    let named = lines.filter(|(name, version)| !name.is_empty() && !version.is_empty());
    let named = named.map(|(name, version)| match name {
        KEY => (format!("{KEY}-{version}"), version.to_owned()),
        name => (name.to_owned(), version.to_owned()),
    });
    named.collect()
}

/// The version of the package that provides something.
fn provider(what: &str) -> Result<Option<String>, String> {
    let program =
        Program::new("rpm").args(["--query", "--whatprovides", what, "--queryformat", FORMAT]);
    let output = program.output()?;
    // Nobody provides it: code 1, and words on standard output.
    Ok((output.code == 0).then(|| parse_installed(&output.stdout).into_values().next()).flatten())
}

/// Installs what is missing, in the versions that the goal asks for; what comes newly is recorded before it comes.
pub(super) fn install(
    goal: &Package,
    seen: &PackageSeen,
    manager: PackageManager,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let (lower, other) = by_direction(goal, seen);
    // dnf goes down by `install` too, yum by `downgrade` only.
    let (lower, other) = match manager {
        PackageManager::Yum => (lower, other),
        _ => (Vec::new(), [other, lower].concat()),
    };
    for (verb, names) in [("install", other), ("downgrade", lower)] {
        if !names.is_empty() {
            run(verb, &names, goal, manager, cx)?;
        }
    }
    Ok(())
}

/// What has to be installed, as dnf and yum take it (`kubeadm-1.36.2` is any release of that version), in those that are
/// newer here, and all others.
fn by_direction(goal: &Package, seen: &PackageSeen) -> (Vec<String>, Vec<String>) {
    let (mut lower, mut other) = (Vec::new(), Vec::new());
    for name in goal.missing(seen) {
        match goal.versions.get(&name) {
            Some(wanted) => {
                let newer = seen.version(&name).is_some_and(|there| is_newer(there, wanted));
                let names = if newer { &mut lower } else { &mut other };
                names.push(format!("{name}-{wanted}"));
            }
            None => other.push(name),
        }
    }
    (lower, other)
}

/// Whether `1.36.3-150500.1.1` is newer than `1.36.2`, both of Kubernetes' kind.
fn is_newer(there: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let version = text.split('-').next().unwrap_or_default();
        version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    numbers(there.split_once(':').map_or(there, |(_, rest)| rest)) > numbers(wanted)
}

fn run(
    verb: &str,
    names: &[String],
    goal: &Package,
    manager: PackageManager,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let program = |answer: &str| tool(manager, verb, names, &goal.repository).arg(answer);
    let table = simulated(&program("--assumeno"))?;
    refuse_removals(&table)?;
    super::package::record_coming(&table.installed, cx)?;
    let before: BTreeSet<String> = installed()?.into_keys().collect();
    let result = program("--assumeyes").stream(&mut |line| {
        if is_progress(line) {
            (cx.progress)(line.trim());
        }
    });
    // A repository's key is one of them, also where it was taken in vain.
    let after: BTreeSet<String> = installed()?.into_keys().collect();
    cx.record(after.difference(&before).map(|name| format!("package:{name}")))?;
    if result.is_err() {
        cx.forget_packages_but(&after)?;
    }
    result.map(drop).map_err(|e| {
        let log = format!("/var/log/{}.log", manager.program());
        format!("{e}\nsee {log} on this host, then run kubewan again")
    })
}

/// `dnf VERB NAMES`; the words that a message shows come first.
fn tool(manager: PackageManager, verb: &str, names: &[String], repository: &str) -> Program {
    let mut program = Program::new(manager.program()).arg(verb).args(names.iter().cloned());
    if !repository.is_empty() {
        program = program.arg(format!("--disableexcludes={repository}"));
    }
    if manager == PackageManager::Dnf {
        // yum has no weak dependencies.
        program = program.arg("--setopt=install_weak_deps=False");
    }
    program.arg("--setopt=timeout=30").arg("--setopt=retries=3").timeout(RUN_MAX)
}

/// What a run would do. Refusing to go on is what both were told to do, and they end with 1 for it.
fn simulated(program: &Program) -> Result<Transaction, String> {
    let output: Output = program.output()?;
    match parse_transaction(&output.stdout) {
        Some(table) => Ok(table),
        None => program.checked(output).map(|_| Transaction::default()),
    }
}

/// What dnf and yum say that they are about to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Packages that come newly.
    pub(crate) installed: Vec<String>,
    /// Packages that go, by themselves or since another takes their place.
    pub(crate) removed: Vec<String>,
}

/// Reads the table that both show: sections with a heading, a line for each package that begins with one blank and its
/// name, and below it what it replaces. Long names have the other columns on a line of their own, further to the
/// right. `None` where there is no such table.
pub(crate) fn parse_transaction(text: &str) -> Option<Transaction> {
    let (table, _) = text.split_once("\nTransaction Summary\n")?;
    let mut found = Transaction::default();
    let mut heading = "";
    for line in table.lines() {
        if let Some(replaced) = line.trim_start().strip_prefix("replacing ") {
            found.removed.extend(replaced.split_whitespace().next().map(without_arch));
            continue;
        }
        match line.strip_prefix(' ') {
            Some(row) if !row.starts_with(' ') => {
                let name = row.split_whitespace().next().map(str::to_owned);
                match heading {
                    of if of.starts_with("Installing") => found.installed.extend(name),
                    of if of.starts_with("Removing") => found.removed.extend(name),
                    _ => {}
                }
            }
            Some(_) => {}
            None => heading = line,
        }
    }
    Some(found)
}

/// `runc` of `runc.x86_64`.
fn without_arch(name: &str) -> String {
    name.rsplit_once('.').map_or(name, |(name, _)| name).to_owned()
}

/// A package may say that it takes another one's place, as Docker's containerd.io of runc: never unasked.
pub(crate) fn refuse_removals(table: &Transaction) -> Result<(), String> {
    if table.removed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "installing would remove {}, which something on this host may need; remove it yourself if nothing does, \
         then run kubewan again",
        table.removed.join(" ")
    ))
}

/// Takes packages and keys away.
pub(super) fn remove(seen: &PackageSeen) -> Result<(), String> {
    let there = seen.installed.iter().filter(|(_, version)| version.is_some());
    let names: Vec<String> = there.map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let erase = Program::new("rpm").arg("--erase").args(names.iter().cloned()).timeout(RUN_MAX);
    erase.stdout().map(drop).map_err(|e| {
        format!("{e}\nwhat needs them someone has installed since; remove that first, then run kubewan again")
    })
}

/// The version of a package that a repository has, from the index that was fetched last: nothing is downloaded.
pub(crate) fn offered(manager: PackageManager, name: &str) -> Option<String> {
    let list =
        Program::new(manager.program()).args(["--cacheonly", "--quiet", "list", "available"]);
    parse_offered(&list.arg(name).stdout().ok()?, name)
}

/// `containerd.x86_64   1.6.22-1.oe2403   OS`, with an epoch before a colon where there is one.
pub(crate) fn parse_offered(listed: &str, name: &str) -> Option<String> {
    let mut words = listed.split_whitespace();
    words.find(|word| without_arch(word) == name && *word != name)?;
    let version = words.next()?;
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    let version = version.split(['-', '~', '^', '+']).next().unwrap_or_default();
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

/// Lines that tell how far a run is: `  Installing  : kubelet-1.36.2-150500.1.1.x86_64   6/7`.
pub(crate) fn is_progress(line: &str) -> bool {
    let line = line.trim_start();
    let begins = |verb: &&str| line.starts_with(*verb);
    let verbs = ["Installing ", "Upgrading ", "Updating ", "Downgrading ", "Erasing ", "Cleanup "];
    (verbs.iter().any(begins) && line.contains(" : ")) || line.starts_with("Downloading Packages")
}

#[cfg(test)]
#[path = "rpm_tests.rs"]
mod tests;
