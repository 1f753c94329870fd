//! Control groups: one per host in every hierarchy, below one per lab, so that each machine sees a root of its own
//! and two kubelets don't fight over `/kubepods`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::LabError;
use crate::error::OnPath;
use crate::kernel::CgroupLayout;

/// How the names of labs' groups begin, at the top of every hierarchy.
pub(crate) const PREFIX: &str = "kubewan-lab-";

/// Makes a host's groups and gives the folders that its first process has to join. On version 2
/// under systemd there are none: systemd makes the group.
pub(crate) fn make(layout: &CgroupLayout, lab: &str, host: &str) -> Result<Vec<PathBuf>, LabError> {
    match layout {
        CgroupLayout::V1(hierarchies) => {
            hierarchies.iter().map(|top| make_v1(&top.join(group(lab)), host)).collect()
        }
        CgroupLayout::V2(top) => Ok(vec![make_v2(top, lab, host)?]),
        CgroupLayout::V2Systemd(_) => Ok(Vec::new()),
    }
}

/// Where a process is, as folders that another process may join.
pub(crate) fn of_process(layout: &CgroupLayout, pid: u32) -> Vec<PathBuf> {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    lines.lines().filter_map(|line| folder_of(layout, line)).filter(|at| at.is_dir()).collect()
}

/// Ends every process in a lab's groups and removes the groups.
pub(crate) fn remove(layout: &CgroupLayout, lab: &str) -> Result<(), LabError> {
    for top in tops(layout).into_iter().map(|top| top.join(group(lab))).filter(|top| top.is_dir()) {
        remove_below(&top)?;
    }
    Ok(())
}

/// Ends every process in a host's groups and removes them.
pub(crate) fn remove_host(layout: &CgroupLayout, lab: &str, host: &str) -> Result<(), LabError> {
    let hosts = tops(layout).into_iter().map(|top| top.join(group(lab)).join(host));
    for group in hosts.filter(|group| group.is_dir()) {
        remove_below(&group)?;
    }
    Ok(())
}

/// The labs' groups that exist.
pub(crate) fn existing(layout: &CgroupLayout) -> Vec<PathBuf> {
    let entries = tops(layout).into_iter().flat_map(fs::read_dir).flatten().flatten();
    let groups = entries.map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
    };
    groups.filter(is_ours).filter(|path| path.is_dir()).collect()
}

/// The name of a lab's group.
pub(crate) fn group(lab: &str) -> String {
    format!("{PREFIX}{lab}")
}

fn tops(layout: &CgroupLayout) -> Vec<PathBuf> {
    match layout {
        CgroupLayout::V1(hierarchies) => hierarchies.clone(),
        CgroupLayout::V2(top) => vec![top.clone()],
        CgroupLayout::V2Systemd(_) => Vec::new(),
    }
}

fn make_v1(lab: &Path, host: &str) -> Result<PathBuf, LabError> {
    let group = lab.join(host);
    fs::create_dir_all(&group).on("make the control group", &group)?;
    // A cpuset without processors or memory nodes accepts no process.
    for setting in ["cpuset.cpus", "cpuset.mems"] {
        for group in [lab, &group] {
            let file = group.join(setting);
            let parent = group.parent().map(|parent| parent.join(setting));
            if let Some(Ok(value)) = parent.filter(|_| file.exists()).map(fs::read_to_string) {
                fs::write(&file, value).on("write", &file)?;
            }
        }
    }
    Ok(group)
}

fn make_v2(top: &Path, lab: &str, host: &str) -> Result<PathBuf, LabError> {
    let lab = top.join(group(lab));
    let group = lab.join(host);
    fs::create_dir_all(&group).on("make the control group", &group)?;
    for parent in [top, &lab] {
        let available = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        for controller in available.split_whitespace() {
            // One that can't be handed down is missing in the hosts, and the kubelet says so.
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(group)
}

/// Reads a line of `/proc/PID/cgroup`: `4:memory:/path`, `9:name=systemd:/path`, `0::/path`.
fn folder_of(layout: &CgroupLayout, line: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':');
    let controllers = fields.nth(1)?;
    let path = fields.next()?.trim_start_matches('/');
    let top = match layout {
        CgroupLayout::V2(top) | CgroupLayout::V2Systemd(top) => top,
        CgroupLayout::V1(hierarchies) => {
            let name = match controllers {
                "" => "unified",
                named => named.strip_prefix("name=").unwrap_or(named),
            };
            hierarchies.iter().find(|top| top.ends_with(name))?
        }
    };
    Some(top.join(path))
}

fn remove_below(group: &Path) -> Result<(), LabError> {
    const ROUNDS: u32 = 1200;
    let mut last = None;
    for _ in 0..ROUNDS {
        match try_remove(group) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
        // A killed process leaves its group only when the kernel is done with it.
        sleep(Duration::from_millis(50));
    }
    last.map_or(Ok(()), |error| Err(error).on("remove the control group", group))
}

fn try_remove(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            try_remove(&entry.path())?;
        }
    }
    for pid in processes(group) {
        let _ = kill_process(pid, Signal::KILL);
    }
    fs::remove_dir(group)
}

fn processes(group: &Path) -> Vec<Pid> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    listed.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_line_names_its_folder() {
        let v1 = CgroupLayout::V1(
            ["memory", "systemd", "unified", "cpu,cpuacct"]
                .map(|name| Path::new("/sys/fs/cgroup").join(name))
                .to_vec(),
        );
        let folder = |line| folder_of(&v1, line).unwrap().display().to_string();
        assert_eq!(folder("4:memory:/kubewan-lab/x"), "/sys/fs/cgroup/memory/kubewan-lab/x");
        assert_eq!(folder("9:name=systemd:/a/init.scope"), "/sys/fs/cgroup/systemd/a/init.scope");
        assert_eq!(folder("2:cpu,cpuacct:/"), "/sys/fs/cgroup/cpu,cpuacct/");
        assert_eq!(folder("0::/a"), "/sys/fs/cgroup/unified/a");
        let v2 = CgroupLayout::V2("/sys/fs/cgroup".into());
        assert_eq!(folder_of(&v2, "0::/a").unwrap(), Path::new("/sys/fs/cgroup/a"));
    }
}
