//! What kubewan wrote for an entry of the inventory that is not there any more: it would stay in force, and nobody would see
//! it in the inventory. The journal tells what it was.

use std::collections::{BTreeMap, BTreeSet};

use super::registries;
use crate::action::file::{FileSeen, FileState};
use crate::action::{Action, File, Observed, SystemTrust};
use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::Host;
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::containerd::CERTS_D;
use crate::render::registry::{self as render, CARRIED, DOCKER_CERTS_D};

/// systemd-timesyncd's file of time servers; chrony's lies where the host's own configuration has such files.
pub(in crate::plan) const TIMESYNCD_FILE: &str = "/etc/systemd/timesyncd.conf.d/60-kubewan.conf";

/// The runtimes' files of registries, and authorities in the system's store. Logins are [`logins`].
pub(super) fn of_registries(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let inventory = view.inventory;
    let has_ca = |address: &str| {
        let files = view.inputs.registries.get(address);
        files.is_some_and(|files| files.ca().is_some())
    };
    let named = inventory.registries.iter().map(|registry| registry.address.as_str());
    let carried = registries::carried(view, facts).hosts;
    let is_docker = inventory.is_docker();
    let mut wanted: BTreeSet<String> = named
        .chain(inventory.mirrors.images.keys().map(String::as_str))
        .chain(carried.keys().map(String::as_str))
        .filter(|_| !is_docker)
        .map(render::hosts_path)
        .collect();
    let with_ca = inventory.registries.iter().filter(|registry| has_ca(&registry.address));
    let ca_path = if is_docker { render::docker_ca_path } else { render::ca_path };
    wanted.extend(with_ca.map(|registry| ca_path(&registry.address)));
    let step = |action, why: &str| Step::new(Phase::Runtime, &host.name, action, why);
    let files = facts.own.left.keys().filter(|path| is_of_registry(path));
    let mut steps: Vec<Step> = files
        .filter(|path| !wanted.contains(*path))
        .map(|path| {
            step(
                absent(path),
                "`registries` and `mirrors.images` name it no more, and the runtime would go on by it",
            )
        })
        .collect();
    let trusted: BTreeSet<String> = registries::trusts(view).map(|(name, _, _)| name).collect();
    steps.extend(facts.own.trusts.iter().filter(|name| !trusted.contains(*name)).map(|name| {
        let goal = SystemTrust { name: name.clone(), certificate: None };
        step(Action::SystemTrust(goal), "the inventory does not say `trustInSystem` of it any more")
    }));
    steps
}

/// Logins of registries that have none in the inventory any more: the registry and the user.
pub(super) fn logins(view: &View, facts: &Facts) -> BTreeMap<String, String> {
    let with_login = view.inventory.registries.iter().filter(|r| r.username.is_some());
    let named: BTreeSet<String> = with_login.map(|r| render::login_key(&r.address)).collect();
    let carried = registries::carried(view, facts).logins;
    let carried: BTreeSet<String> = carried.keys().map(|name| render::login_key(name)).collect();
    let ours = facts.own.logins.iter();
    ours.filter(|(registry, _)| !named.contains(*registry) && !carried.contains(*registry))
        .map(|(registry, user)| (registry.clone(), user.clone()))
        .collect()
}

/// Files of time servers that the inventory does not ask for. `wanted`: the one that it does.
pub(super) fn time_files<'a>(facts: &'a Facts, wanted: Option<&str>) -> Vec<&'a str> {
    let ours = facts.own.left.keys().map(String::as_str).filter(|path| is_of_time(path));
    ours.filter(|path| Some(*path) != wanted).collect()
}

/// kubewan's file of either time service ([`crate::facts::ChronyFolder::file`]).
fn is_of_time(path: &str) -> bool {
    // Other files of kubewan's in folders of their own are called the same.
    let is_chronys = path.starts_with("/etc/chrony");
    path == TIMESYNCD_FILE
        || is_chronys && (path.ends_with("/kubewan.sources") || path.ends_with("/kubewan.conf"))
}

/// The goal that a file is gone.
pub(super) fn absent(path: &str) -> Action {
    Action::File(File { path: path.into(), state: FileState::Absent })
}

/// `/etc/containerd/certs.d/NAME/hosts.toml`, or `ca.crt` there or in Docker's folder.
fn is_of_registry(path: &str) -> bool {
    let in_folder = |folder| {
        let below = path.strip_prefix(folder)?.strip_prefix('/')?;
        below.split_once('/').map(|(_, name)| name)
    };
    matches!(in_folder(CERTS_D), Some("hosts.toml" | "ca.crt"))
        || in_folder(DOCKER_CERTS_D) == Some("ca.crt")
}

/// The steps without those that would take away what is not kubewan's alone: a file that someone edited since stays, and is
/// said; one that was carried over from an older configuration was never in the inventory.
pub fn but_what_stays(
    facts: &BTreeMap<String, Facts>,
    steps: Vec<Step>,
    seen: &BTreeMap<String, Result<Observed, String>>,
) -> (Vec<Step>, Vec<Finding>) {
    let mut findings = Vec::new();
    let kept = |step: &Step| {
        let Some((path, now)) = takes_away(step, seen) else { return true };
        if now.text.as_deref().is_some_and(|text| text.starts_with(CARRIED)) {
            return false;
        }
        let left = facts.get(&step.host).and_then(|facts| facts.own.left.get(path));
        let is_ours = match (&now.sha256, left) {
            (Some(sha256), Some(left)) => left.contains(sha256),
            // Nothing is there, or what is no file.
            (None, _) => now.other.is_none(),
            (Some(_), None) => false,
        };
        if !is_ours {
            findings.push(Finding::warning(
                "left-in-force",
                &step.host,
                format!(
                    "{path} stays in force, and the inventory names it no more: it was edited after kubewan wrote it"
                ),
                format!("look at it, and where nobody needs it, `rm {path}` on this host"),
            ));
        }
        is_ours
    };
    let steps = steps.into_iter().filter(kept).collect();
    (steps, findings)
}

/// The file that a step takes away, and what is there.
fn takes_away<'a>(
    step: &'a Step,
    seen: &'a BTreeMap<String, Result<Observed, String>>,
) -> Option<(&'a str, &'a FileSeen)> {
    match (&step.action, seen.get(&step.id)) {
        (Action::File(File { path, state: FileState::Absent }), Some(Ok(Observed::File(now))))
            if is_of_registry(path) || is_of_time(path) =>
        {
            Some((path.as_str(), now))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_time;

    #[test]
    fn only_files_of_time_services_are_theirs() {
        for path in [
            "/etc/systemd/timesyncd.conf.d/60-kubewan.conf",
            "/etc/chrony/sources.d/kubewan.sources",
            "/etc/chrony.d/kubewan.conf",
        ] {
            assert!(is_of_time(path), "{path}");
        }
        for path in ["/etc/modules-load.d/kubewan.conf", "/etc/sysctl.d/kubewan.conf"] {
            assert!(!is_of_time(path), "{path}");
        }
    }
}
