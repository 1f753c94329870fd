//! The inverse of init and join: kubeadm's own reset first, then what it leaves to the reader.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use kubewan_core::action::kubeadm::ResetSeen;
use kubewan_core::action::{Action, KubeadmReset};
use kubewan_core::render::kubeadm::{CRI_DOCKERD_SOCKET, DOCKERSHIM_SOCKET};

use super::super::docker::docker;
use super::super::file::unmount_below;
use super::super::kubelet;
use super::super::{Host, Performing};
use super::config::Config;
use super::{folders, last_lines, rules, traces};
use crate::command::{Program, exists};
use crate::facts::Ownership;
use crate::facts::systemd::Unit;
use crate::journal;

/// The runtime's socket, where no configuration names it.
const SOCKET: &str = "unix:///run/containerd/containerd.sock";

/// kubeadm's own folder, with the authorities and the control plane's manifests.
const ETC: &str = "/etc/kubernetes/";

/// Containers in one command.
const AT_ONCE: usize = 50;

/// kubeadm removes pods one by one and may wait for an API that is gone.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Looks for traces of kubeadm's work.
///
/// # Errors
/// Fails where the journal can't be read.
pub fn observe_kubeadm_reset(_goal: &KubeadmReset, host: &Host) -> Result<ResetSeen, String> {
    Ok(ResetSeen { traces: traces::all(host)? })
}

/// Removes them.
///
/// # Errors
/// Says what could not be removed.
pub fn perform_kubeadm_reset(
    _goal: &KubeadmReset,
    _seen: &ResetSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    super::refuse_adopted()?;
    super::refuse_a_second_kubeadm()?;
    Ownership::unmark(cx.host)?;
    stop_kubelet()?;
    let units = runtime_units(&socket(cx.host));
    units.iter().for_each(|unit| start_runtime(unit, cx));
    // kubeadm unmounts what is below the kubelet's folder, and empties these with all that is mounted in them (`resetConfigDir`,
    // cmd/kubeadm/app/cmd/phases/reset/cleanupnode.go).
    for path in traces::paths(cx.host)?.iter().filter(|path| path.starts_with(ETC)) {
        unmount_below(path, cx)?;
    }
    kubeadm_reset(cx);
    remove_containers(cx);
    for mount in traces::mounts() {
        unmount(&mount)?;
    }
    remove_namespaces()?;
    for link in traces::links() {
        (cx.progress)(&format!("deleting the interface {link}"));
        Program::new("ip").args(["link", "delete", &link]).stdout()?;
    }
    rules::remove()?;
    let stay = folders::empty_before(cx.host)?;
    let stays = |path: &str| stay.iter().any(|folder| folder == path);
    let spared = folders::theirs(cx.host)?;
    for path in traces::paths(cx.host)? {
        // What somebody has mounted there is not the cluster's.
        unmount_below(&path, cx)?;
        let folder = Path::new(&path);
        if stays(&path) { empty(folder, &spared)? } else { remove(folder, &spared)? }
    }
    let folders = [traces::PATHS, traces::SHARED, traces::FOLDERS].concat();
    for folder in folders.into_iter().filter(|folder| !stays(folder)) {
        // Only empty ones go.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Those of pods. A process that was just killed may still be in one of them for a moment.
fn remove_namespaces() -> Result<(), String> {
    for attempt in 0..5 {
        for name in traces::namespaces() {
            Program::new("ip").args(["netns", "delete", &name]).stdout()?;
        }
        if traces::all_namespaces().is_empty() || attempt == 4 {
            break;
        }
        thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

/// It would start the pods again.
fn stop_kubelet() -> Result<(), String> {
    if Unit::load(kubelet::UNIT).loaded() {
        let stop = Program::new("systemctl").args(["stop", kubelet::UNIT]);
        stop.timeout(Duration::from_secs(120)).stdout()?;
        let _ = Program::new("systemctl").args(["reset-failed", kubelet::UNIT]).output();
    }
    Ok(())
}

/// The units behind a runtime's socket.
fn runtime_units(socket: &str) -> &'static [&'static str] {
    match socket {
        CRI_DOCKERD_SOCKET => &["docker.service", "cri-docker.service"],
        DOCKERSHIM_SOCKET => &["docker.service"],
        _ => &["containerd.service"],
    }
}

/// Pods can only be removed through a runtime that runs.
fn start_runtime(name: &str, cx: &mut Performing<'_>) {
    let unit = Unit::load(name);
    if unit.loaded() && !unit.active() && !unit.masked() {
        let start = Program::new("systemctl").args(["start", name]);
        if let Err(error) = start.stdout() {
            (cx.progress)(&format!("the runtime does not start, its pods may stay: {error}"));
        }
    }
}

/// kubeadm's own part. What it can't do is done below, so its failure is only told.
fn kubeadm_reset(cx: &mut Performing<'_>) {
    if !exists("kubeadm") {
        return;
    }
    let mut args = vec!["reset".to_owned(), "--force".into()];
    // It looks for sockets by itself, and gives up where it finds two.
    args.push(format!("--cri-socket={}", socket(cx.host)));
    // All hosts of a cluster are given back, so no member has to be taken out of etcd: none of them is there in the end,
    // and whoever asks last would ask in vain, since more than half of them have gone. Also, without a manifest this
    // phase empties /var/lib/etcd, whoever's that is (`getEtcdDataDir`, cmd/kubeadm/app/cmd/phases/reset/
    // removeetcdmember.go).
    // Nor may it clean up where somebody's own files lie between the cluster's (cleanup-node removes /var/lib/kubelet, and all
    // of pki and manifests): what it would do there is done below too.
    let skipped = match folders::theirs(cx.host) {
        Ok(theirs) if theirs.is_empty() => "remove-etcd-member",
        _ => "remove-etcd-member,cleanup-node",
    };
    args.push(format!("--skip-phases={skipped}"));
    match super::run(&args, TIMEOUT, cx) {
        Ok(output) if output.code == 0 => {}
        Ok(output) => {
            (cx.progress)(&format!("kubeadm reset did not end well:{}", last_lines(&output)))
        }
        Err(error) => (cx.progress)(&format!("kubeadm reset did not end well: {error}")),
    }
}

/// The socket that kubeadm was given when it made what is taken back.
fn socket(host: &Host) -> String {
    let entries = journal::read(host).unwrap_or_default();
    let configs =
        journal::standing(&entries).into_iter().rev().filter_map(|(begun, _)| {
            match &begun.action {
                Action::KubeadmInit(init) => Some(&init.config),
                Action::KubeadmJoin(join) => Some(&join.config),
                _ => None,
            }
        });
    let named = configs.filter_map(|text| Config(text).cri_socket().map(str::to_owned)).next();
    named.unwrap_or_else(|| SOCKET.to_owned())
}

/// Containers that kubeadm could not remove.
fn remove_containers(cx: &mut Performing<'_>) {
    let dockers = traces::docker_containers();
    if !dockers.is_empty() {
        (cx.progress)(&format!("removing {} containers of pods", dockers.len()));
        for some in dockers.chunks(AT_ONCE) {
            let ids: Vec<&str> = some.iter().map(String::as_str).collect();
            let args = [["rm", "--force", "--volumes"].as_slice(), ids.as_slice()].concat();
            // What stays shows when the step is verified.
            let _ = docker(&args).timeout(TIMEOUT).output();
        }
    }
    let left = traces::containers();
    if left.is_empty() {
        return;
    }
    (cx.progress)(&format!("removing {} containers of pods", left.len()));
    if exists("crictl") {
        let socket = socket(cx.host);
        let args = ["--runtime-endpoint", &socket, "rmp", "-fa"];
        let _ = Program::new("crictl").args(args).timeout(TIMEOUT).output();
    }
    for id in traces::containers() {
        for words in [
            vec!["tasks", "kill", "-a", "-s", "SIGKILL", id.as_str()],
            vec!["tasks", "delete", "-f", id.as_str()],
            vec!["containers", "delete", id.as_str()],
        ] {
            // One that has no task says so; what stays shows when the step is verified.
            let _ = Program::new("ctr").args(["-n", "k8s.io"]).args(words).output();
        }
    }
}

fn unmount(path: &str) -> Result<(), String> {
    if Program::new("umount").arg(path).stdout().is_ok() {
        return Ok(());
    }
    // A process may still hold it; detached, it goes with that process.
    Program::new("umount").args(["--lazy", path]).stdout().map(drop)
}

/// Removes a path with all below it, but for what is somebody's and the folders that it lies in.
fn remove(path: &Path, spared: &[PathBuf]) -> Result<(), String> {
    if spared.iter().any(|theirs| theirs == path) {
        return Ok(());
    }
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            if spared.iter().any(|file| file.starts_with(path)) {
                return empty(path, spared);
            }
            fs::remove_dir_all(path)
        }
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == ErrorKind::ResourceBusy => empty(path, spared),
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(format!("can't remove {}: {e}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A folder that was there before, or is a mount of its own (a disk for /var/lib/etcd), is emptied and stays.
fn empty(folder: &Path, spared: &[PathBuf]) -> Result<(), String> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        remove(&entry.path(), spared)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_links_and_not_what_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        let folder = dir.path().join("folder");
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::write(&kept, "x").unwrap();
        std::os::unix::fs::symlink(&kept, folder.join("deep/link")).unwrap();
        remove(&folder, &[]).unwrap();
        assert!(kept.exists() && !folder.exists());
        assert_eq!(remove(&folder, &[]), Ok(()));
    }

    #[test]
    fn files_of_somebodys_between_the_clusters_stay() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("kubernetes");
        fs::create_dir_all(folder.join("pki/etcd")).unwrap();
        for name in ["audit.yaml", "pki/company.crt", "pki/ca.crt", "pki/etcd/ca.crt", "admin.conf"]
        {
            fs::write(folder.join(name), name).unwrap();
        }
        // Too deep to be looked through: noted as a whole.
        let deep = folder.join("theirs/deep");
        fs::create_dir_all(deep.join("er")).unwrap();
        fs::write(deep.join("er/data"), "").unwrap();
        let spared = [folder.join("audit.yaml"), folder.join("pki/company.crt"), deep.clone()];
        remove(&folder, &spared).unwrap();
        let mut left = folders::files_below(&folder, 6).unwrap();
        left.sort();
        assert_eq!(left, [&spared[0], &spared[1], &deep.join("er/data")].map(PathBuf::clone));
        assert!(!folder.join("pki/etcd").exists());
    }
}
