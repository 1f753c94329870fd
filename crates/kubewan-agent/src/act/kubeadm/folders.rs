//! Folders that kubeadm, the kubelet, etcd and CNI plugins fill, as they were before the first of them ran.

use std::path::Path;

use kubewan_core::action::Action;

use super::super::{Host, Performing, file};
use crate::journal;

/// The folders, outer ones first.
const FOLDERS: &[&str] = &[
    "/etc/kubernetes",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/etc/cni",
    "/etc/cni/net.d",
    "/run/flannel",
    "/usr/libexec/kubernetes",
    "/var/log/pods",
    "/var/log/containers",
];

/// Mounted into kube-proxy's and flannel's pods, and made for them where there is none, as in a container. It goes again
/// only while it is empty: a kernel that was installed since is nobody's to remove.
const MODULES: &str = "/lib/modules";

/// Notes how they are, unless a run of kubeadm that was begun before has: what is in them then is its work.
pub(super) fn record(cx: &mut Performing<'_>) -> Result<(), String> {
    if !recorded(cx.host)?.is_empty() {
        return Ok(());
    }
    let made = (!Path::new(MODULES).exists()).then(|| format!("dir:{MODULES}"));
    cx.record(made)?;
    file::record_trees(FOLDERS, cx)
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
    let words = ["tree:", "contents:", "foreign:"];
    let lines = runs.flat_map(|(begun, _)| journal::along(&entries, begun.number));
    let lines = lines.filter(|line| words.iter().any(|word| line.starts_with(word)));
    Ok(lines.map(str::to_owned).collect())
}
