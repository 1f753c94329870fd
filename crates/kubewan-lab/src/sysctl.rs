//! Kernel settings that hosts share with this machine: first values kept, some raised, all
//! given back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Settings the lab raises: the kernel's usual limits are per user, and all hosts' root users are
/// one user to it. A fifth host met "too many open files" without.
const RAISED: [(&str, u64); 5] = [
    ("fs.inotify.max_user_instances", 8192),
    ("fs.inotify.max_user_watches", 1_048_576),
    ("kernel.keys.maxkeys", 20_000),
    ("kernel.keys.maxbytes", 4_000_000),
    ("kernel.keys.root_maxkeys", 1_000_000),
];

/// Settings that a systemd, kubelet or kubeadm in a host may write, though they are this
/// machine's. Those of the `net` tree belong to a host's own namespace.
const WRITTEN_BY_HOSTS: [&str; 16] = [
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.pid_max",
    "kernel.sysrq",
    "kernel.core_pattern",
    "kernel.core_uses_pid",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "vm.swappiness",
    "vm.max_map_count",
    "fs.file-max",
    "fs.nr_open",
    "fs.protected_fifos",
    "fs.protected_hardlinks",
    "fs.protected_regular",
    "fs.protected_symlinks",
];

/// First values by name, as they stood before the lab.
pub(crate) type Sysctls = BTreeMap<String, String>;

/// Reads every setting that the lab or its hosts may change.
pub(crate) fn record() -> Sysctls {
    let raised = RAISED.iter().map(|(name, _)| *name);
    raised.chain(WRITTEN_BY_HOSTS).filter_map(|name| Some((name.to_owned(), read(name)?))).collect()
}

/// Raises what is lower than hosts need. What may not be written here stays as it is.
pub(crate) fn raise() {
    for (name, least) in RAISED {
        let current = read(name).and_then(|value| value.parse::<u64>().ok());
        if current.is_some_and(|current| current < least) {
            let _ = fs::write(path(name), least.to_string());
        }
    }
}

/// Gives back the first values; names those that could not be.
pub(crate) fn restore(first: &Sysctls) -> Vec<String> {
    let differs = |(name, value): &(&String, &String)| read(name).as_ref() != Some(*value);
    let changed = first.iter().filter(differs);
    changed
        .filter(|(name, value)| fs::write(path(name), value.as_str()).is_err())
        .map(|(name, value)| format!("{name} should be {value} again"))
        .collect()
}

/// Sets one value in the namespaces of the calling process.
fn read(name: &str) -> Option<String> {
    fs::read_to_string(path(name)).ok().map(|value| value.trim().to_owned())
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        assert_eq!(path("kernel.keys.maxkeys"), Path::new("/proc/sys/kernel/keys/maxkeys"));
    }

    #[test]
    fn what_is_raised_is_recorded() {
        let recorded = record();
        assert!(recorded.contains_key("fs.inotify.max_user_instances"));
        assert!(recorded.contains_key("kernel.panic"));
        assert!(recorded.keys().all(|name| !name.starts_with("net.")));
    }

    #[test]
    fn restoring_what_is_unchanged_writes_nothing() {
        assert!(restore(&record()).is_empty());
    }
}
