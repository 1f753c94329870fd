//! Distribution packages, through dpkg and apt; where a host has rpm, [`super::rpm`] does the same. apt orders what it
//! gets, so files of the bundle go through it too; it needs no package lists for that where they satisfy each other.

mod locks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewan_core::action::package::PackageSeen;
use kubewan_core::action::{Artifact, Package, Unheld};
use kubewan_core::packages::PackageManager;

use self::locks::wait_for_locks;
use super::{Host, Performing, rpm};
use crate::command::{Program, exists};
use crate::disk;

/// How long a run of apt may take.
const APT_MAX: Duration = Duration::from_secs(1800);

/// What containerd makes or fills when it starts, which its package does not own. CNI's folder is made by the watch on
/// it (containerd's `newCNINetConfSyncer`, internal/cri/server/cni_conf_syncer.go).
const CONTAINERD: &[&str] =
    &["/var/lib/containerd", "/run/containerd", "/opt/containerd", "/etc/cni", "/etc/cni/net.d"];

/// The same of Docker's. Below /run its sockets come and go with it; the key is its own, also in a folder of someone's.
const DOCKER: &[&str] =
    &["/etc/docker/key.json", "/var/lib/docker", "/var/lib/docker-engine", "/var/lib/cri-dockerd"];

/// Packages that bring a containerd or a Docker.
const RUNTIMES: [&str; 2] = ["containerd", "containerd.io"];
const DOCKERS: [&str; 2] = ["docker.io", "docker-ce"];

/// A package in dpkg's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    /// `${db:Status-Abbrev}`: wanted (`i`, `h`, `p`), then the state (`i` installed, `c` only configuration,
    /// others half-way).
    status: String,
    version: String,
}

impl Known {
    pub(crate) fn installed(&self) -> bool {
        matches!(self.status.as_bytes(), [_, b'i', error @ ..] if error.trim_ascii().is_empty())
    }

    pub(crate) fn held(&self) -> bool {
        self.status.starts_with('h')
    }

    /// A run of dpkg was cut off here.
    pub(crate) fn halfway(&self) -> bool {
        !matches!(self.status.as_bytes().get(1), Some(b'i' | b'c' | b'n') | None)
    }
}

/// What installs packages here, by the programs that there are.
///
/// # Errors
/// Fails where there is none that is known.
pub(crate) fn manager() -> Result<PackageManager, String> {
    let by_programs = [
        (["dpkg-query", "apt-get"], PackageManager::Apt),
        (["rpm", "dnf"], PackageManager::Dnf),
        (["rpm", "yum"], PackageManager::Yum),
    ];
    let found = by_programs.iter().find(|(programs, _)| programs.iter().all(|name| exists(name)));
    found.map(|(_, manager)| *manager).ok_or_else(|| {
        "this host has neither apt nor dnf nor yum, and kubewan installs by no other: take another host (docs/support.md)"
            .into()
    })
}

/// Asks dpkg about names; all packages where there are none.
fn known(names: &[String]) -> Result<Vec<Known>, String> {
    let program = Program::new("dpkg-query")
        .args(["--show", "--showformat=${Package}\\t${db:Status-Abbrev}\\t${Version}\\n"])
        .args(names);
    let output = program.output()?;
    // Code 1 says that some name is not known; those known are printed all the same.
    if output.code > 1 {
        program.checked(output.clone())?;
    }
    Ok(parse_known(&output.stdout))
}

pub(crate) fn parse_known(text: &str) -> Vec<Known> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let (name, status) = (fields.next()?, fields.next()?);
            let version = fields.next()?;
            (status.len() >= 2).then(|| Known {
                name: name.into(),
                status: status.into(),
                version: version.into(),
            })
        })
        .collect()
}

/// Looks which packages are installed, and held.
pub fn observe_package(goal: &Package, _host: &Host) -> Result<PackageSeen, String> {
    if manager()?.is_rpm() {
        return rpm::observe(goal);
    }
    let known = known(&goal.names)?;
    // What a cut off run of dpkg left half-way is not installed, and not gone either.
    let counts = |known: &&Known| known.installed() || goal.absent && known.halfway();
    let version = |name: &String| {
        known.iter().find(|k| &k.name == name && counts(k)).map(|k| k.version.clone())
    };
    Ok(PackageSeen {
        installed: goal.names.iter().map(|name| (name.clone(), version(name))).collect(),
        held: known.iter().filter(|k| k.held()).map(|k| k.name.clone()).collect(),
    })
}

/// Installs and holds, or purges.
pub fn perform_package(
    goal: &Package,
    seen: &PackageSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let manager = manager()?;
    wait_for_locks(manager, cx)?;
    match manager {
        PackageManager::Apt => perform_by_apt(goal, seen, cx),
        PackageManager::Yum | PackageManager::Dnf if goal.absent => {
            rpm::remove(seen)?;
            after_purge(seen.installed.iter().map(|(name, _)| name))
        }
        PackageManager::Yum | PackageManager::Dnf => rpm::install(goal, seen, manager, cx),
    }
}

fn perform_by_apt(
    goal: &Package,
    seen: &PackageSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    mend_interrupted(goal, cx)?;
    if goal.absent {
        return purge(goal, seen, cx);
    }
    let missing = goal.missing(seen);
    if !missing.is_empty() {
        let files = link_files(goal, cx.host)?;
        let installed = if files.is_empty() {
            install_names(&in_versions(goal, &missing), cx)
        } else {
            install_files(&files, cx)
        };
        let _ = std::fs::remove_dir_all(files_dir(cx.host));
        installed?;
    }
    let unheld: Vec<&String> = goal.held.iter().filter(|n| !seen.held.contains(n)).collect();
    mark("hold", &unheld)
}

/// Looks which packages are held.
pub fn observe_unheld(goal: &Unheld, _host: &Host) -> Result<PackageSeen, String> {
    if manager()?.is_rpm() {
        return Ok(PackageSeen::default());
    }
    let held = known(&goal.names)?.into_iter().filter(Known::held).map(|k| k.name).collect();
    Ok(PackageSeen { installed: Vec::new(), held })
}

/// Lets them be upgraded again.
pub fn perform_unheld(
    goal: &Unheld,
    seen: &PackageSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    wait_for_locks(PackageManager::Apt, cx)?;
    mark("unhold", &goal.names.iter().filter(|n| seen.held.contains(n)).collect::<Vec<_>>())
}

/// Installs one package with the host's package manager.
pub fn install_from_distribution(name: &str, cx: &mut Performing<'_>) -> Result<(), String> {
    let goal = Package { names: vec![name.to_owned()], ..Package::default() };
    let seen = PackageSeen { installed: vec![(name.to_owned(), None)], held: Vec::new() };
    perform_package(&goal, &seen, cx)
}

/// Names as apt takes them: `kubeadm=1.36.2-*` is any revision of a version (apt-get(8)).
fn in_versions(goal: &Package, names: &[String]) -> Vec<String> {
    names
        .iter()
        .map(|name| match goal.versions.get(name) {
            Some(version) => format!("{name}={version}-*"),
            None => name.clone(),
        })
        .collect()
}

fn install_names(names: &[String], cx: &mut Performing<'_>) -> Result<(), String> {
    if let Err(first) = install(names, cx) {
        // Lists may be old, or not there at all on a fresh cloud image.
        (cx.progress)("fetches the package lists");
        let update = apt("update", &[], &[]);
        let updated = update.output()?;
        let complaints = complaints(&updated.stderr, &updated.stdout);
        update.checked(updated).map_err(|e| format!("{first}; and {e}"))?;
        install(names, cx).map_err(|e| format!("{e}{complaints}"))?;
    }
    Ok(())
}

/// What `apt-get update` warns of and ends well: a repository that does not answer, and is passed over.
pub(crate) fn complaints(stderr: &str, stdout: &str) -> String {
    let lines = stderr.lines().chain(stdout.lines());
    let telling = lines.filter(|line| ["W: ", "E: ", "Err:"].iter().any(|at| line.starts_with(at)));
    telling.take(8).map(|line| format!("\n  apt-get update: {line}")).collect()
}

/// Installs files of the bundle: those that are missing, and where these need it, newer versions too.
///
/// First without the distribution's archive: apt would rather download a file of the same version from there,
/// slowly or in vain. Only what the bundle lacks may come from it.
fn install_files(files: &[DebFile], cx: &mut Performing<'_>) -> Result<(), String> {
    let missing: Vec<String> =
        files.iter().filter(|f| f.standing == Standing::Missing).map(|f| f.path.clone()).collect();
    let wanted: Vec<String> =
        files.iter().filter(|f| f.standing != Standing::Enough).map(|f| f.path.clone()).collect();
    let mut first = None;
    for (what, archive) in [(&missing, false), (&wanted, false), (&missing, true)] {
        match simulate(what, archive) {
            Ok(plan) => return install_planned(what, archive, &plan, cx),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_default())
}

/// `apt-get install` of names.
fn install(names: &[String], cx: &mut Performing<'_>) -> Result<(), String> {
    let plan = simulate(names, true)?;
    install_planned(names, true, &plan, cx)
}

/// `apt-get install`; what comes newly is recorded before it comes.
fn install_planned(
    what: &[String],
    archive: bool,
    plan: &str,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    refuse_removals(plan)?;
    let before = names_of(Known::installed)?;
    record_coming(&newly_installed(plan), cx)?;
    let program = apt("install", what, &["--yes", "--no-install-recommends"])
        .args(changes(what).iter().copied());
    let result = sources(program, archive).stream(&mut |line| {
        if is_progress(line) {
            (cx.progress)(line);
        }
    });
    let after = names_of(|known| known.installed() || known.halfway())?;
    cx.record(after.difference(&before).map(|name| format!("package:{name}")))?;
    if result.is_err() {
        cx.forget_packages_but(&after)?;
    }
    result.map(drop).map_err(|e| {
        format!(
            "{e}\nsee /var/log/dpkg.log and `dpkg --audit` on this host, then run kubewan again"
        )
    })
}

/// apt resolves a conflict by removing what stands in the way, as Docker's containerd.io: never unasked.
pub(crate) fn refuse_removals(plan: &str) -> Result<(), String> {
    let removed = removed(plan);
    if removed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "installing would remove {}, which something on this host may need; remove it yourself if nothing does, \
         then run kubewan again",
        removed.join(" ")
    ))
}

fn simulate(what: &[String], archive: bool) -> Result<String, String> {
    let program = apt("install", what, &["--simulate", "--no-install-recommends"])
        .args(changes(what).iter().copied());
    sources(program, archive).stdout()
}

/// A package of ours that is held in another version gives way to the version that is asked for; nothing else does.
fn changes(what: &[String]) -> &'static [&'static str] {
    match what.iter().any(|name| name.contains('=')) {
        true => &["--allow-change-held-packages", "--allow-downgrades"],
        false => &[],
    }
}

/// With the distribution's archive or without; the caches of the one are not to be taken for the other's.
fn sources(program: Program, archive: bool) -> Program {
    if archive {
        return program;
    }
    program.args([
        "--option=Dir::Etc::sourcelist=/dev/null",
        "--option=Dir::Etc::sourceparts=/dev/null",
        "--option=Dir::Cache::pkgcache=",
        "--option=Dir::Cache::srcpkgcache=",
    ])
}

/// `apt-get VERB WHAT OPTIONS`; the words that a message shows come first.
fn apt(verb: &str, what: &[String], options: &[&str]) -> Program {
    Program::new("apt-get")
        .arg(verb)
        .args(what)
        .args(options.iter().copied())
        .args([
            "--quiet",
            // A configuration file that someone changed stays; ours are steps of their own.
            "--option=Dpkg::Options::=--force-confold",
            "--option=Dpkg::Options::=--force-confdef",
            "--option=DPkg::Lock::Timeout=300",
            "--option=Acquire::http::Timeout=30",
            "--option=Acquire::https::Timeout=30",
            "--option=Acquire::Retries=3",
        ])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("APT_LISTCHANGES_FRONTEND", "none")
        // needrestart lists what should restart, and restarts nothing behind our back.
        .env("NEEDRESTART_MODE", "l")
        .env("NEEDRESTART_SUSPEND", "1")
        .timeout(APT_MAX)
}

/// Lines of apt and dpkg that tell how far they are.
pub(crate) fn is_progress(line: &str) -> bool {
    let begins = |start: &&str| line.starts_with(*start);
    ["Unpacking ", "Setting up ", "Removing ", "Purging "].iter().any(begins)
        || line.starts_with("Get:") && line.contains("://")
}

/// Packages that `apt-get --simulate` would install and that have no older version here.
pub(crate) fn newly_installed(simulation: &str) -> Vec<String> {
    simulation
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter_map(|rest| rest.split_once(' '))
        .filter(|(_, rest)| !rest.starts_with('['))
        .filter_map(|(name, _)| package_name(name))
        .collect()
}

/// Packages that `apt-get --simulate` would take away.
pub(crate) fn removed(simulation: &str) -> Vec<String> {
    simulation
        .lines()
        .filter_map(|line| line.strip_prefix("Remv ").or(line.strip_prefix("Purg ")))
        .filter_map(|rest| package_name(rest.split(' ').next()?))
        .collect()
}

/// `libseccomp2` of `libseccomp2:i386`.
fn package_name(word: &str) -> Option<String> {
    let name = word.split(|c: char| c == ':' || c.is_whitespace()).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn names_of(which: impl Fn(&Known) -> bool) -> Result<BTreeSet<String>, String> {
    Ok(known(&[])?.into_iter().filter(which).map(|k| k.name).collect())
}

fn purge(goal: &Package, seen: &PackageSeen, cx: &mut Performing<'_>) -> Result<(), String> {
    let there: Vec<String> =
        seen.installed.iter().filter(|(_, v)| v.is_some()).map(|(n, _)| n.clone()).collect();
    let held: Vec<&String> = seen.held.iter().filter(|n| goal.names.contains(n)).collect();
    // A held package that another depends on stops the resolver, allowed or not.
    mark("unhold", &held)?;
    let purged = purge_unheld(&there, goal, cx);
    if purged.is_err() {
        let _ = mark("hold", &held);
    }
    purged
}

/// Notes packages that are about to come, and how the folders are that runtimes among them will make or fill.
pub(crate) fn record_coming(names: &[String], cx: &mut Performing<'_>) -> Result<(), String> {
    let comes = |of: &[&str]| names.iter().any(|name| of.contains(&name.as_str()));
    if comes(&RUNTIMES) {
        record_containerd(cx)?;
    }
    if comes(&DOCKERS) {
        super::file::record_trees(DOCKER, cx)?;
    }
    cx.record(names.iter().map(|name| format!("package:{name}")))
}

/// Notes how the folders are that containerd is about to make or fill.
pub fn record_containerd(cx: &mut Performing<'_>) -> Result<(), String> {
    super::file::record_trees(CONTAINERD, cx)
}

fn mark(how: &str, names: &[&String]) -> Result<(), String> {
    if names.is_empty() {
        return Ok(());
    }
    Program::new("apt-mark").arg(how).args(names.iter().copied()).stdout().map(drop)
}

fn purge_unheld(there: &[String], goal: &Package, cx: &mut Performing<'_>) -> Result<(), String> {
    let simulation = apt("purge", there, &["--no-auto-remove", "--simulate"]).stdout()?;
    let others: Vec<String> =
        removed(&simulation).into_iter().filter(|name| !goal.names.contains(name)).collect();
    if !others.is_empty() {
        return Err(format!(
            "to purge {} would take away {} too, which someone installed since; remove those first, then run \
             kubewan again",
            there.join(" "),
            others.join(" ")
        ));
    }
    let program = apt("purge", there, &["--yes", "--no-auto-remove"]);
    program
        .stream(&mut |line| {
            if is_progress(line) {
                (cx.progress)(line);
            }
        })
        .map(drop)?;
    after_purge(there.iter())
}

/// What packages leave behind that were taken away.
fn after_purge<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    if names.any(|name| DOCKERS.contains(&name.as_str())) {
        super::docker::remove_network()?;
    }
    forget_failed_units()
}

/// systemd goes on to list a service that failed at its last stop as `not-found failed`, after its unit went with the
/// package; whoever looks for what is wrong with the host would find it.
fn forget_failed_units() -> Result<(), String> {
    let list = ["list-units", "--all", "--state=failed", "--plain", "--no-legend"];
    let listed = Program::new("systemctl").args(list).stdout()?;
    for unit in gone_and_failed(&listed) {
        Program::new("systemctl").args(["reset-failed", unit]).stdout()?;
    }
    Ok(())
}

fn gone_and_failed(listed: &str) -> impl Iterator<Item = &str> {
    listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (unit, load, active) = (words.next()?, words.next()?, words.next()?);
        (load == "not-found" && active == "failed").then_some(unit)
    })
}

/// Whether a file's package has to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is not installed.
    Missing,
    /// An older version is installed.
    Older,
    /// This version or a newer one is installed.
    Enough,
}

struct DebFile {
    path: String,
    standing: Standing,
}

fn files_dir(host: &Host) -> PathBuf {
    host.root().join("packages")
}

/// Gives uploaded packages names that end in `.deb`, by which apt knows a file, and compares them with what
/// is installed.
fn link_files(goal: &Package, host: &Host) -> Result<Vec<DebFile>, String> {
    let dir = files_dir(host);
    let _ = std::fs::remove_dir_all(&dir);
    if goal.artifacts.is_empty() {
        return Ok(Vec::new());
    }
    disk::make_private_dir(&dir)?;
    let installed: BTreeMap<String, String> = known(&[])?
        .into_iter()
        .filter(Known::installed)
        .map(|known| (known.name, known.version))
        .collect();
    goal.artifacts.iter().map(|artifact| link_file(artifact, &dir, host, &installed)).collect()
}

fn link_file(
    artifact: &Artifact,
    dir: &Path,
    host: &Host,
    installed: &BTreeMap<String, String>,
) -> Result<DebFile, String> {
    let source = host.artifact(&artifact.sha256);
    let failed = |e: std::io::Error| {
        format!("can't take {} of the bundle from {}: {e}", artifact.name, source.display())
    };
    let found = disk::sha256_of(&source).map_err(failed)?;
    if found != artifact.sha256 {
        let _ = std::fs::remove_file(&source);
        return Err(format!(
            "{} of the bundle was damaged on this host (sha256 {found}); run kubewan again, and it is \
             uploaded anew",
            artifact.name
        ));
    }
    let path = dir.join(format!("{}.deb", &artifact.sha256[..16]));
    std::fs::hard_link(&source, &path).map_err(failed)?;
    let path = path.to_string_lossy().into_owned();
    let fields =
        Program::new("dpkg-deb").args(["--field", &path, "Package", "Version"]).stdout()?;
    let (name, version) = parse_fields(&fields)
        .ok_or_else(|| format!("{} of the bundle is no Debian package", artifact.name))?;
    let standing = match installed.get(&name) {
        None => Standing::Missing,
        Some(installed) if is_older(installed, &version)? => Standing::Older,
        Some(_) => Standing::Enough,
    };
    Ok(DebFile { path, standing })
}

/// `Package: NAME` and `Version: VERSION` lines.
pub(crate) fn parse_fields(text: &str) -> Option<(String, String)> {
    let field = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
    };
    Some((field("Package:")?, field("Version:")?))
}

fn is_older(installed: &str, version: &str) -> Result<bool, String> {
    let output =
        Program::new("dpkg").args(["--compare-versions", installed, "lt", version]).output()?;
    Ok(output.code == 0)
}

/// Finishes what a killed run of dpkg began: until then apt refuses everything.
fn mend_interrupted(goal: &Package, cx: &mut Performing<'_>) -> Result<(), String> {
    let journaled = std::fs::read_dir("/var/lib/dpkg/updates")
        .is_ok_and(|mut entries| entries.next().is_some());
    let halfway: Vec<String> =
        known(&[])?.into_iter().filter(Known::halfway).map(|known| known.name).collect();
    if !journaled && halfway.is_empty() {
        return Ok(());
    }
    (cx.progress)("finishes an interrupted installation of packages (dpkg --configure -a)");
    let mut dpkg = Program::new("dpkg")
        .args(["--force-confold", "--force-confdef", "--configure", "--pending"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    if all_go(goal, &halfway) {
        // systemctl then starts nothing (systemctl(1)): a service that never ran would just make its folders before it goes.
        dpkg = dpkg.env("SYSTEMD_OFFLINE", "1");
    }
    if dpkg.timeout(APT_MAX).stdout().is_err() {
        // What was only unpacked may lack what it depends on; apt brings it or says what is missing.
        apt("install", &[], &["--yes", "--fix-broken", "--no-install-recommends"]).stdout()?;
    }
    Ok(())
}

/// Nobody wants one of these packages: they are taken away next.
fn all_go(goal: &Package, halfway: &[String]) -> bool {
    goal.absent && halfway.iter().all(|name| goal.names.contains(name))
}

#[cfg(test)]
#[path = "package_tests.rs"]
mod tests;
