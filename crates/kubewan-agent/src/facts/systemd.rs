//! States of systemd units, read with one `systemctl show` for all that any fact asks about: each start of it costs the
//! system manager more than the program itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::act::system::SWAP_SERVICES;
use crate::act::unit::ask;
use crate::relay;

/// Properties that are read.
const PROPERTIES: &[&str] = &[
    "Id",
    "Names",
    "Description",
    "LoadState",
    "ActiveState",
    "ActiveEnterTimestampMonotonic",
    "UnitFileState",
    "Result",
    "MainPID",
    "FragmentPath",
    "SourcePath",
    "DropInPaths",
    "EnvironmentFiles",
    "Following",
    "What",
];

/// Units that facts ask about. Those that a host does not have show `LoadState=not-found`.
const ASKED: &[&str] = &[
    "containerd.service",
    "docker.service",
    "kubelet.service",
    "ufw.service",
    "firewalld.service",
    "netfilter-persistent.service",
    "iptables.service",
    "nftables.service",
    "systemd-timesyncd.service",
    "chrony.service",
    "chronyd.service",
    "ntp.service",
    "ntpd.service",
    "ntpsec.service",
    "openntpd.service",
    relay::UNIT,
];

/// Every swap unit that systemd has loaded, whatever made it: `systemctl show` takes patterns for those.
const SWAPS: &str = "*.swap";

/// One unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    properties: BTreeMap<String, String>,
}

/// Units by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    units: BTreeMap<String, Unit>,
}

impl Unit {
    /// Reads one unit; all its properties are empty where there is no systemd.
    pub fn load(name: &str) -> Unit {
        Units::read(&[name]).unwrap_or_default().get(name)
    }

    /// A property, in systemd's words; empty where it has none.
    pub fn get(&self, property: &str) -> &str {
        self.properties.get(property).map_or("", String::as_str)
    }

    /// systemd has a file for it.
    pub fn loaded(&self) -> bool {
        matches!(self.get("LoadState"), "loaded" | "masked" | "bad-setting" | "error")
    }

    /// It runs.
    pub fn active(&self) -> bool {
        self.get("ActiveState") == "active"
    }

    /// It is started at boot.
    pub fn enabled(&self) -> bool {
        matches!(self.get("UnitFileState"), "enabled" | "enabled-runtime" | "alias")
    }

    /// It can't be started.
    pub fn masked(&self) -> bool {
        self.get("LoadState") == "masked"
    }

    /// Its main process.
    pub fn main_pid(&self) -> Option<u32> {
        self.get("MainPID").parse().ok().filter(|pid| *pid != 0)
    }

    /// Its file, its drop-ins and the environment files that they name, in the order they are read.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for property in ["FragmentPath", "DropInPaths", "EnvironmentFiles"] {
            // `EnvironmentFiles=/etc/default/kubelet (ignore_errors=yes)`
            let paths = self.get(property).split_whitespace().filter(|word| word.starts_with('/'));
            files.extend(paths.map(str::to_owned));
        }
        files
    }
}

impl Units {
    /// Reads all units that facts ask about; nothing where there is no systemd.
    pub fn load() -> Units {
        let files = unit_files("swap");
        let names =
            ASKED.iter().chain(SWAP_SERVICES).copied().chain(files.iter().map(String::as_str));
        Units::read(&names.chain([SWAPS]).collect::<Vec<_>>()).unwrap_or_default()
    }

    /// Reads units by their names.
    ///
    /// # Errors
    /// Fails where systemd does not answer. A unit that systemd does not know is no error.
    pub fn read(names: &[&str]) -> Result<Units, String> {
        ask(names, PROPERTIES).map(|text| parse(&text))
    }

    /// A unit; empty where it was not read.
    pub fn get(&self, name: &str) -> Unit {
        self.find(name).cloned().unwrap_or_default()
    }

    /// A unit; `None` where it was not read.
    pub fn find(&self, name: &str) -> Option<&Unit> {
        self.units.get(name)
    }

    /// All units that were read, each once, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|(name, unit)| *name == unit.get("Id")).map(|(_, unit)| unit)
    }
}

/// Where systemd looks for unit files (systemd.unit(5), "Unit File Load Path", system mode).
const LOAD_PATH: &[&str] = &[
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Names of the unit files of a type (`swap`), sorted. What `systemctl list-unit-files` says too, which has the system
/// manager load the state of every unit file there is: 0.4 s in which it does nothing else.
pub fn unit_files(kind: &str) -> Vec<String> {
    unit_files_in(LOAD_PATH, kind)
}

fn unit_files_in<P: AsRef<Path>>(folders: &[P], kind: &str) -> Vec<String> {
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    // One name that is none of a unit, or a template's, and `systemctl` would answer nothing of any.
    let may_stand = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let is_of_kind = |name: &String| {
        let stem = name.rsplit_once('.').filter(|(_, ending)| *ending == kind);
        stem.is_some_and(|(stem, _)| {
            !stem.is_empty() && !stem.ends_with('@') && stem.chars().all(may_stand)
        })
    };
    let names: BTreeSet<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(is_of_kind)
        .collect();
    names.into_iter().collect()
}

pub(crate) fn parse(text: &str) -> Units {
    let mut units = Units::default();
    for block in text.split("\n\n") {
        let mut unit = Unit::default();
        for line in block.lines() {
            let Some((property, value)) = line.split_once('=') else { continue };
            // `EnvironmentFiles` comes once per file.
            let there = unit.properties.entry(property.to_owned()).or_default();
            if !there.is_empty() {
                there.push(' ');
            }
            there.push_str(value);
        }
        // An alias (`ntp.service` of ntpsec) is asked for by one name and shown by another.
        let names = format!("{} {}", unit.get("Id"), unit.get("Names"));
        for name in names.split_whitespace() {
            units.units.insert(name.to_owned(), unit.clone());
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "MainPID=812
EnvironmentFiles=/var/lib/kubelet/kubeadm-flags.env (ignore_errors=yes)
EnvironmentFiles=/etc/default/kubelet (ignore_errors=yes)
Id=kubelet.service
Names=kubelet.service
LoadState=loaded
ActiveState=active
FragmentPath=/etc/systemd/system/kubelet.service
DropInPaths=/etc/systemd/system/kubelet.service.d/10-kubeadm.conf
UnitFileState=enabled

MainPID=0
Id=ufw.service
Names=ufw.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
";

    #[test]
    fn reads_units() {
        let units = parse(SHOWN);
        let kubelet = units.get("kubelet.service");
        assert!(kubelet.loaded() && kubelet.active() && kubelet.enabled() && !kubelet.masked());
        assert_eq!(kubelet.main_pid(), Some(812));
        assert_eq!(
            kubelet.files(),
            [
                "/etc/systemd/system/kubelet.service",
                "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
                "/var/lib/kubelet/kubeadm-flags.env",
                "/etc/default/kubelet"
            ]
        );
        let ufw = units.get("ufw.service");
        assert!(!ufw.loaded() && !ufw.active() && ufw.main_pid().is_none());
        assert_eq!(units.get("nothing.service"), Unit::default());
    }

    #[test]
    fn unit_files_are_found_by_their_type() {
        let root = tempfile::tempdir().unwrap();
        let (etc, lib) = (root.path().join("etc"), root.path().join("lib"));
        for folder in [&etc, &lib] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("dev-vdb.swap"), "").unwrap();
        }
        std::os::unix::fs::symlink("/dev/null", etc.join("dev-zram0.swap")).unwrap();
        for other in ["swap", ".swap", "swap.target", "a.swap.d", "a@.swap", "my own.swap"] {
            fs::write(lib.join(other), "").unwrap();
        }
        let none = root.path().join("none");
        assert_eq!(unit_files_in(&[etc, none, lib], "swap"), ["dev-vdb.swap", "dev-zram0.swap"]);
    }
}
