//! The inverse of each kind of action.

use super::before::Before;
use super::{Subject, Way};
use crate::action::firewall::FirewallSeen;
use crate::action::package::PackageSeen;
use crate::action::registry::LOGINS;
use crate::action::system::SwapSeen;
use crate::action::unit::UnitSeen;
use crate::action::{
    Action, AliasOn, Block, Extent, FirewallGoal, FirewallState, Hostname, KubeadmReset, Observed,
    Package, Removed, SelinuxEnforcing, SwapOn, Sysctl, SystemTrust, Unheld, Unit, Unmasked,
};
use crate::finding::Finding;

/// The goals that lead back from what was done to a subject.
///
/// Images go with containerd's store, objects and nodes with the cluster, links with the unit that made them;
/// a loaded module is left, since something else may use it by now.
pub(super) fn way(host: &str, subject: &Subject<'_>, before: &Before<'_>) -> Way {
    let mut way = Way::default();
    // First what a file or a mask says, then what follows from it.
    let kept = subject.along("kept").filter_map(|rest| rest.splitn(3, ':').nth(2));
    let kept = kept.filter_map(|path| before.restored(path));
    let is_kubeadm =
        matches!(subject.first().action, Action::KubeadmInit(_) | Action::KubeadmJoin(_));
    // A kubelet that still runs would read them.
    if is_kubeadm {
        way.late.extend(kept)
    } else {
        way.now.extend(kept)
    }
    let masked =
        subject.along("masked").map(|unit| Action::Unmasked(Unmasked { unit: unit.into() }));
    way.now.extend(masked);
    let begun = subject.first();
    match (&begun.action, &begun.before) {
        (Action::File(file), Observed::File(_)) => match before.restored(&file.path) {
            Some(action) => way.now.push(action),
            None => way.findings.push(Finding::warning(
                "not-restored",
                host,
                format!(
                    "{} was neither a file nor a link before, and is not made again",
                    file.path
                ),
                "make it again by hand if something needs it",
            )),
        },
        (Action::Block(block), Observed::Block(seen)) => {
            let path = block.path.clone();
            way.now.push(Action::Block(Block { path: path.clone(), lines: Vec::new() }));
            if seen.text.is_none() {
                way.now.push(Action::Removed(Removed { path, extent: Extent::IfEmpty }));
            }
        }
        (Action::Sysctl(sysctl), Observed::Sysctl(seen)) => {
            let goal = |value: &String| {
                let (key, value) = (sysctl.key.clone(), value.clone());
                Action::Sysctl(Sysctl { key, value, unless_needed: true, ours: Vec::new() })
            };
            way.now.extend(seen.value.as_ref().map(goal));
        }
        (Action::SwapOff(_), Observed::SwapOff(seen)) => way.now.extend(swap_on(subject, seen)),
        (Action::SelinuxPermissive(_), Observed::SelinuxPermissive(seen)) if seen.enforcing => {
            way.now.push(Action::SelinuxEnforcing(SelinuxEnforcing {}));
        }
        (Action::Hostname(_), Observed::Hostname(seen)) => {
            let name = if seen.configured.is_empty() { &seen.running } else { &seen.configured };
            way.now.push(Action::Hostname(Hostname { name: name.clone() }));
        }
        (Action::Unit(unit), Observed::Unit(seen)) => unit_as_before(unit, seen, before, &mut way),
        (Action::AliasOff(goal), Observed::AliasOff(seen)) => {
            let (interface, address) = (goal.interface.clone(), goal.address);
            let on = |settings| Action::AliasOn(AliasOn { interface, address, settings });
            way.now.extend(seen.there.clone().map(on));
        }
        (Action::TimeSyncOn(_), _) => way.now.extend(stopped(subject)),
        (Action::Firewall(goal), Observed::Firewall(seen)) => {
            way.now.push(firewall_as_before(subject, goal, seen));
        }
        (Action::RegistryLogins(_), _) => way.now.extend(before.restored(LOGINS)),
        (Action::SystemTrust(goal), Observed::SystemTrust(seen)) if seen.sha256.is_none() => {
            let name = goal.name.clone();
            way.now.push(Action::SystemTrust(SystemTrust { name, certificate: None }));
        }
        (Action::KubeadmInit(_) | Action::KubeadmJoin(_), _) => {
            way.now.push(Action::KubeadmReset(KubeadmReset {}));
            way.findings.extend(foreign(subject).map(|path| stays(host, path)));
        }
        (Action::Package(goal), Observed::Package(seen)) if !goal.absent => {
            packages(host, subject, seen, &mut way);
        }
        _ => {}
    }
    if !matches!(begun.action, Action::Package(_)) {
        way.late.extend(purged(along_packages(subject)));
    }
    way
}

/// Folders that were not empty before, without those that hold others which are told of.
fn foreign<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a str> {
    let words = ["tree", "contents", "foreign"];
    let told: Vec<&str> = words.iter().flat_map(|word| subject.along(word)).collect();
    let outer = move |path: &str| told.iter().any(|t| t.starts_with(&format!("{path}/")));
    subject.along("foreign").filter(move |path| !outer(path))
}

fn stays(host: &str, path: &str) -> Finding {
    Finding::warning(
        "folder-stays",
        host,
        format!(
            "{path} was not empty before kubewan came and is left, with what the cluster added"
        ),
        "look into it and remove what nobody needs",
    )
}

fn swap_on(subject: &Subject<'_>, seen: &SwapSeen) -> Option<Action> {
    let units = subject.along("masked").map(str::to_owned).collect();
    let areas = seen.active.clone();
    (!areas.is_empty()).then_some(Action::SwapOn(SwapOn { areas, units }))
}

/// A unit that ran before goes on, and reads the files that are restored by then; one that did not stops
/// before its file goes. One that was on its way is left on its way.
fn unit_as_before(unit: &Unit, seen: &UnitSeen, before: &Before<'_>, way: &mut Way) {
    let running = seen.active == "active";
    // Of a file that goes nothing is left to tell when; its folder tells.
    let changed = |path: &String| match (before.goes(path), path.rsplit_once('/')) {
        (true, Some((folder, _))) => folder.to_owned(),
        _ => path.clone(),
    };
    let between = matches!(seen.active.as_str(), "activating" | "reloading" | "deactivating");
    let action = Action::Unit(Unit {
        name: unit.name.clone(),
        enabled: seen.enabled == "enabled",
        active: (!between).then_some(running),
        restart_on: if running {
            unit.restart_on.iter().map(changed).collect()
        } else {
            Vec::new()
        },
        node: None,
    });
    if running { way.late.push(action) } else { way.now.push(action) }
}

/// Units that an action started, or had start at boot.
fn stopped(subject: &Subject<'_>) -> Vec<Action> {
    let enabled: Vec<&str> = subject.along("enabled").collect();
    let started: Vec<&str> = subject.along("started").collect();
    let mut names = [started.as_slice(), enabled.as_slice()].concat();
    names.sort_unstable();
    names.dedup();
    let as_before = |name: &str| Unit {
        name: name.into(),
        enabled: !enabled.contains(&name),
        active: started.contains(&name).then_some(false),
        restart_on: Vec::new(),
        node: None,
    };
    names.into_iter().map(|name| Action::Unit(as_before(name))).collect()
}

fn firewall_as_before(subject: &Subject<'_>, goal: &FirewallGoal, seen: &FirewallSeen) -> Action {
    let rules = |word: &str| subject.along(word).map(str::to_owned).collect::<Vec<_>>();
    Action::Firewall(FirewallGoal {
        tool: goal.tool,
        state: FirewallState::Restored {
            active: seen.active,
            enabled: seen.enabled,
            ours: [rules("ufw"), rules("firewalld")].concat(),
        },
    })
}

fn along_packages(subject: &Subject<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in subject.along("package") {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn purged(names: Vec<String>) -> Option<Action> {
    let absent = Package { names, absent: true, ..Package::default() };
    (!absent.names.is_empty()).then_some(Action::Package(absent))
}

/// Packages that came along go: one that was missing before may have been installed by someone else since. Those that were
/// there are held as they were before.
fn packages(host: &str, subject: &Subject<'_>, before: &PackageSeen, way: &mut Way) {
    let came = along_packages(subject);
    let mut names: Vec<String> = Vec::new();
    for (begun, after) in &subject.entries {
        let Action::Package(goal) = &begun.action else { continue };
        let ours = goal.held.iter().filter(|n| !before.held.contains(n) && !came.contains(n));
        names.extend(ours.cloned());
        if let Some(Observed::Package(after)) = after {
            way.findings.extend(newer(host, before, after));
        }
    }
    names.sort();
    names.dedup();
    if !names.is_empty() {
        way.now.push(Action::Unheld(Unheld { names }));
    }
    way.late.extend(purged(came));
}

/// Packages that were there and got another version: the old one is not at hand.
fn newer(host: &str, before: &PackageSeen, after: &PackageSeen) -> Vec<Finding> {
    let version = |name: &String| after.installed.iter().find(|(n, _)| n == name)?.1.clone();
    before
        .installed
        .iter()
        .filter_map(|(name, old)| Some((name, old.as_ref()?, version(name)?)))
        .filter(|(_, old, new)| *old != new)
        .map(|(name, old, new)| {
            Finding::warning(
                "package-stays",
                host,
                format!("{name} was {old} before kubewan came, and stays {new}"),
                format!(
                    "if it has to be that again: `apt-get install --allow-downgrades {name}={old}`, or with rpm \
                     `dnf downgrade {name}-{old}`"
                ),
            )
        })
        .collect()
}
