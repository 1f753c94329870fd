//! Folders that kubeadm, the kubelet, etcd and CNI plugins fill, as they were before the first of them ran.

use std::fs;
use std::path::{Path, PathBuf};

use kubewan_core::action::Action;

use super::super::{Host, Performing, file};
use crate::facts::evidence;
use crate::journal;

/// The folders, outer ones first.
const FOLDERS: &[&str] = &[
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/var/lib/cni",
    // The kubelet's own dockershim, up to 1.23 (`DockershimRootDirectory` in cmd/kubelet/app/options/container_runtime.go): kubeadm empties it.
    "/var/lib/dockershim",
    "/etc/cni",
    "/etc/cni/net.d",
    "/run/flannel",
    "/usr/libexec/kubernetes",
    "/var/log/pods",
    "/var/log/containers",
];

/// Filled on a control plane only: elsewhere it is nothing of a cluster's, whoever makes it.
const ETCD: &str = "/var/lib/etcd";

/// Of these, files that somebody had there are noted one by one, and left where they are: a login for the kubelet, a policy for
/// audits. What else is in them afterwards is kubeadm's and the kubelet's.
const SIFTED: &[&str] = &["/etc/kubernetes", "/var/lib/kubelet"];

/// So many files are noted, and so deep.
const SIFTED_MAX: usize = 500;
const DEPTH_MAX: usize = 6;

/// Mounted into kube-proxy's and flannel's pods, and made for them where there is none, as in a container. It goes again
/// only while it is empty: a kernel that was installed since is nobody's to remove.
const MODULES: &str = "/lib/modules";

/// Notes how they are, unless a run of kubeadm that was begun before has: what is in them then is its work. All of it is noted at
/// once, or nothing: a next run would take a part for the whole.
pub(super) fn record(control_plane: bool, cx: &mut Performing<'_>) -> Result<(), String> {
    let noted = recorded(cx.host)?;
    let mut lines = Vec::new();
    let is_etcds = |line: &String| line.split_once(':').is_some_and(|(_, path)| path == ETCD);
    if control_plane && !noted.iter().any(is_etcds) {
        lines.extend(file::trees(&[ETCD], cx.host)?);
    }
    if !noted.is_empty() {
        return cx.record(lines);
    }
    lines.extend((!Path::new(MODULES).exists()).then(|| format!("dir:{MODULES}")));
    lines.extend(file::trees(FOLDERS, cx.host)?);
    let mut theirs = Vec::new();
    // What a kubeadm by hand got stuck with is finished here, and goes with the cluster.
    let folders = if evidence().is_empty() { SIFTED } else { &[] };
    for folder in folders {
        if lines.contains(&format!("foreign:{folder}")) {
            theirs.extend(files_below(Path::new(folder), DEPTH_MAX)?);
        }
    }
    if theirs.len() > SIFTED_MAX {
        return Err(format!(
            "{} files of somebody's lie in {}, more than kubewan keeps apart from a cluster's: move them to another place",
            theirs.len(),
            SIFTED.join(" and ")
        ));
    }
    lines.extend(theirs.into_iter().map(|path| format!("theirs:{}", path.display())));
    cx.record(lines)
}

/// Everything below a folder that is no folder itself, and folders that lie deeper than that, as wholes; links are not followed.
pub(super) fn files_below(folder: &Path, depth: usize) -> Result<Vec<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("can't look into {}: {e}", folder.display());
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        match is_folder && depth > 0 {
            true => found.extend(files_below(&entry.path(), depth - 1)?),
            false => found.push(entry.path()),
        }
        if found.len() > SIFTED_MAX {
            break;
        }
    }
    Ok(found)
}

/// Files that somebody had there before, and folders with all that is in them.
pub(super) fn theirs(host: &Host) -> Result<Vec<PathBuf>, String> {
    Ok(noted(host, "theirs:")?.into_iter().map(PathBuf::from).collect())
}

/// Folders that held someone's files before.
pub(super) fn foreign(host: &Host) -> Result<Vec<String>, String> {
    noted(host, "foreign:")
}

/// Folders that were there before, and empty.
pub(super) fn empty_before(host: &Host) -> Result<Vec<String>, String> {
    noted(host, "contents:")
}

fn noted(host: &Host, word: &str) -> Result<Vec<String>, String> {
    let lines = recorded(host)?;
    Ok(lines.iter().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect())
}

/// What runs of kubeadm noted that are not taken back.
fn recorded(host: &Host) -> Result<Vec<String>, String> {
    let entries = journal::read(host)?;
    let runs = journal::standing(&entries).into_iter().filter(|(begun, _)| {
        matches!(begun.action, Action::KubeadmInit(_) | Action::KubeadmJoin(_))
    });
    let words = ["tree:", "contents:", "foreign:", "theirs:"];
    let lines = runs.flat_map(|(begun, _)| journal::along(&entries, begun.number));
    let lines = lines.filter(|line| words.iter().any(|word| line.starts_with(word)));
    Ok(lines.map(str::to_owned).collect())
}
