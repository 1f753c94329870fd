//! What kubeadm, the kubelet, flannel and the runtime leave on a host, as far as it is surely theirs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewan_core::action::Action;
use kubewan_core::journal::Entry;

use super::super::Host;
use super::super::docker::docker;
use super::super::file::unescape;
use super::super::kubelet;
use super::{folders, rules};
use crate::command::{Program, exists};
use crate::facts::KUBELETS;
use crate::facts::systemd::Unit;
use crate::journal;

/// Files that kubeadm makes and folders that it and its pods fill. `kubeadm reset` removes some of them; CNI's
/// it leaves to the reader (cmd/kubeadm/app/cmd/reset.go, `manualCleanupInstructions`).
pub(super) const PATHS: &[&str] = &[
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/pki",
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/tmp",
    "/var/lib/kubelet",
    "/etc/cni/net.d/10-flannel.conflist",
];

/// etcd's folder, which only a control plane has, and the part of it that is surely its member's: where somebody keeps
/// another database there (Debian's package has its own in `default`), that is left.
const ETCD: &str = "/var/lib/etcd";
const ETCD_MEMBER: &str = "/var/lib/etcd/member";

/// Folders that other programs fill too. Where they held something before the first run of kubeadm, they stay.
pub(super) const SHARED: &[&str] =
    &[CNI_STATE, "/run/flannel", "/var/log/pods", "/var/log/containers"];

/// Where CNI plugins keep addresses and what they did.
const CNI_STATE: &str = "/var/lib/cni";

/// The part of it that is surely flannel's, by the name of its network.
const FLANNEL_STATE: &[&str] = &["/var/lib/cni/networks/cbr0", "/var/lib/cni/flannel"];

/// Folders that stay only where someone else has something in them.
pub(super) const FOLDERS: &[&str] = &[
    "/etc/kubernetes",
    "/etc/cni/net.d",
    "/etc/cni",
    "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
    "/usr/libexec/kubernetes/kubelet-plugins/volume",
    "/usr/libexec/kubernetes/kubelet-plugins",
    "/usr/libexec/kubernetes",
];

/// Copied there by flannel's init container.
const FLANNEL_PLUGIN: &str = "/opt/cni/bin/flannel";

/// Interfaces of flannel, of the bridge plugin and of kube-proxy.
const LINKS: &[&str] =
    &["cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0"];

/// Where the runtime keeps pods' network namespaces.
const NAMESPACES: &str = "/run/netns";

/// Everything that is there.
pub(super) fn all(host: &Host) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    if Unit::load(kubelet::UNIT).active() {
        found.push(format!("{} runs", kubelet::UNIT));
    }
    let pods = containers().len() + docker_containers().len();
    if pods > 0 {
        found.push(format!("{pods} containers of pods"));
    }
    found.extend(paths(host)?);
    found.extend(mounts().into_iter().map(|mount| format!("mount {mount}")));
    found.extend(links().into_iter().map(|link| format!("link {link}")));
    found.extend(namespaces().into_iter().map(|name| format!("network namespace {name}")));
    found.extend(rules::traces());
    Ok(found)
}

/// Files and folders that are there.
pub(super) fn paths(host: &Host) -> Result<Vec<String>, String> {
    let spared = folders::theirs(host)?;
    let there = |path: &&str| is_there(Path::new(path), &spared);
    let foreign = folders::foreign(host)?;
    let is_foreign = |path: &str| foreign.iter().any(|f| f == path);
    let theirs = |path: &str| SHARED.contains(&path) && is_foreign(path);
    let entries = journal::read(host)?;
    let etcd = match has_etcd(&entries) {
        true if is_foreign(ETCD) => Some(ETCD_MEMBER),
        true => Some(ETCD),
        false => None,
    };
    let mut found: Vec<String> = PATHS
        .iter()
        .chain(SHARED)
        .copied()
        .chain(etcd)
        .filter(|path| !theirs(path) && there(path))
        .map(str::to_owned)
        .collect();
    if theirs(CNI_STATE) {
        found.extend(FLANNEL_STATE.iter().filter(|p| there(p)).map(|p| (*p).to_owned()));
    }
    // kubewan may have put the same plugin there itself; that file's own step takes it back.
    let ours = |action: &Action| matches!(action, Action::File(f) if f.path == FLANNEL_PLUGIN);
    if there(&FLANNEL_PLUGIN) && !journal::standing(&entries).iter().any(|(b, _)| ours(&b.action)) {
        found.push(FLANNEL_PLUGIN.to_owned());
    }
    Ok(found)
}

/// Whether something is at a path that is not somebody's.
fn is_there(path: &Path, spared: &[PathBuf]) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    if spared.iter().any(|theirs| theirs == path) {
        return false;
    }
    if !metadata.is_dir() {
        return true;
    }
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    if spared.iter().any(|file| file.starts_with(path)) {
        return entries.any(|entry| is_there(&entry.path(), spared));
    }
    // An empty folder is nobody's work: packages bring some of these.
    entries.next().is_some()
}

/// Whether a run of kubeadm that stands here makes a member of etcd.
fn has_etcd(entries: &[Entry]) -> bool {
    journal::standing(entries).iter().any(|(begun, _)| match &begun.action {
        Action::KubeadmInit(_) => true,
        Action::KubeadmJoin(join) => join.control_plane,
        _ => false,
    })
}

/// Mounts below the kubelet's folder, the deepest first.
pub(super) fn mounts() -> Vec<String> {
    below(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), "/var/lib/kubelet/")
}

pub(crate) fn below(mounts: &str, folder: &str) -> Vec<String> {
    let mut found: Vec<String> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(unescape)
        .filter(|path| path.starts_with(folder))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.len()));
    found
}

pub(super) fn links() -> Vec<String> {
    let there = |name: &&&str| Path::new("/sys/class/net").join(name).exists();
    LINKS.iter().filter(there).map(|name| (*name).to_owned()).collect()
}

/// Network namespaces of pods. Podman before 4 calls its own the same: one that a process lives in when the kubelet's
/// containers are gone is not theirs.
pub(super) fn namespaces() -> Vec<String> {
    let mut names = all_namespaces();
    if names.is_empty() {
        return names;
    }
    let lived_in = lived_in(Path::new("/proc"));
    let is_lived_in = |name: &String| {
        let inode = fs::metadata(Path::new(NAMESPACES).join(name)).map(|m| m.ino());
        inode.is_ok_and(|inode| lived_in.contains(&inode))
    };
    names.retain(|name| !is_lived_in(name));
    names
}

/// As [`namespaces`], with those that a process lives in.
pub(super) fn all_namespaces() -> Vec<String> {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("cni-")).collect();
    names.sort();
    names
}

/// Inodes of the network namespaces of all processes (namespaces(7)).
fn lived_in(proc: &Path) -> BTreeSet<u64> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(fs::metadata(entry.path().join("ns/net")).ok()?.ino()))
        .collect()
}

/// Containers of the kubelet's pods in Docker.
pub(super) fn docker_containers() -> Vec<String> {
    if !exists("docker") || !Unit::load("docker.service").active() {
        return Vec::new();
    }
    let label = format!("label={KUBELETS}");
    let listed = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]).stdout();
    listed.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Containers in the namespace that containerd keeps for the kubelet's pods.
pub(super) fn containers() -> Vec<String> {
    if !exists("ctr") || !Path::new("/run/containerd/containerd.sock").exists() {
        return Vec::new();
    }
    let list = ["-n", "k8s.io", "containers", "list", "-q"];
    let listed = Program::new("ctr").args(list).timeout(Duration::from_secs(20)).stdout();
    listed.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_somebodys_are_no_traces() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("kubelet");
        fs::create_dir_all(folder.join("pods")).unwrap();
        let login = folder.join("config.json");
        fs::write(&login, "{}").unwrap();
        assert!(is_there(&folder, &[]));
        let spared = [login];
        assert!(!is_there(&folder.join("pods"), &spared) && !is_there(&folder, &spared));
        fs::write(folder.join("config.yaml"), "").unwrap();
        assert!(is_there(&folder, &spared));
    }

    #[test]
    fn only_a_control_plane_has_etcd() {
        use kubewan_core::action::kubeadm::JoinSeen;
        use kubewan_core::action::{KubeadmJoin, Observed};
        use kubewan_core::journal::Begun;
        let joined = |control_plane| {
            let join = KubeadmJoin {
                control_plane,
                ..serde_json::from_value(serde_json::json!({
                    "config": "", "inputs": [], "ignore_preflight_errors": [], "node": "n",
                    "endpoint": "", "timeout_s": 1,
                }))
                .unwrap()
            };
            [Entry::Begun(Box::new(Begun {
                number: 1,
                run: "r".into(),
                step: "s".into(),
                action: Action::KubeadmJoin(join),
                before: Observed::KubeadmJoin(JoinSeen::default()),
                unix_s: 0,
                reset: false,
            }))]
        };
        assert!(has_etcd(&joined(true)) && !has_etcd(&joined(false)) && !has_etcd(&[]));
    }

    #[test]
    fn a_namespace_that_a_process_lives_in_is_seen() {
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert!(lived_in(Path::new("/proc")).contains(&own));
    }

    #[test]
    fn deep_mounts_come_first() {
        let mounts = "tmpfs /var/lib/kubelet/pods/a/volumes/token tmpfs rw 0 0\n\
            tmpfs /var/lib/kubelet/pods/a/volumes/token/deep\\040\\134one tmpfs rw 0 0\n\
            /dev/vda /var/lib/kubelet ext4 rw 0 0\n";
        assert_eq!(
            below(mounts, "/var/lib/kubelet/"),
            [
                "/var/lib/kubelet/pods/a/volumes/token/deep \\one",
                "/var/lib/kubelet/pods/a/volumes/token"
            ]
        );
    }
}
