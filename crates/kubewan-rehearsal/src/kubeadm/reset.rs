//! `kubeadm reset`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Line;
use super::init::kubelet_service;
use crate::cri::Runtime;
use crate::value::{Res, list, text};

fn clean(folder: &Path) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)?
        } else {
            fs::remove_file(&path)?
        }
    }
    Ok(())
}

/// Takes back what `init` and `join` made; the words of cmd/kubeadm/app/cmd/phases/reset/cleanupnode.go.
pub fn run(root: &Path, line: &Line) -> Res<()> {
    if !line.is_on("force") {
        crate::warn(
            "[reset] WARNING: Changes made to this host by 'kubeadm init' or 'kubeadm join' will be reverted.",
        );
        print!("[reset] Are you sure you want to proceed? [y/N]: ");
        let mut answer = String::new();
        let _ = std::io::stdin().read_line(&mut answer);
        if !["y", "Y"].contains(&answer.trim()) {
            return Err("error execution phase preflight: won't proceed; the user didn't answer (Y|y) in order to continue".into());
        }
    }
    println!("[preflight] Running pre-flight checks");
    let manifest =
        fs::read_to_string(root.join("etc/kubernetes/manifests/etcd.yaml")).unwrap_or_default();
    let pod = crate::value::from_yaml(&manifest).unwrap_or_default();
    let volumes = list(&pod, "spec.volumes");
    let data =
        volumes.iter().find(|v| text(v, "name") == "etcd-data").map(|v| text(v, "hostPath.path"));
    let data = data.unwrap_or("/var/lib/etcd").to_owned();
    crate::warn("[reset] No kubeadm config, using etcd pod spec to get data directory");
    let skipped: Vec<&str> = line.flag("skip-phases").unwrap_or_default().split(',').collect();
    if skipped.contains(&"cleanup-node") {
        return Ok(());
    }
    println!("[reset] Stopping the kubelet service");
    kubelet_service("stop");
    let socket = line.flag("cri-socket").unwrap_or("unix:///var/run/containerd/containerd.sock");
    let runtime = Runtime::new(socket);
    match runtime.sandboxes() {
        Ok(all) => {
            for sandbox in all {
                if let Err(error) = runtime.remove(&sandbox.id) {
                    crate::warn(&format!("[reset] Failed to remove containers: {error}"));
                }
            }
        }
        Err(error) => crate::warn(&format!("[reset] Failed to remove containers: {error}")),
    }
    let empty = |folder: &str| {
        clean(&root.join(folder.trim_start_matches('/'))).unwrap_or_else(|e| {
            crate::warn(&format!("[reset] Failed to delete contents of {folder:?} directory: {e}"))
        });
    };
    // It is that phase which empties the folder (removeetcdmember.go).
    if !skipped.contains(&"remove-etcd-member") {
        empty(&data);
        println!("[reset] Deleted contents of the etcd data directory: {data}");
    }
    println!("[reset] Unmounting mounted directories in \"/var/lib/kubelet\"");
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for mount in mounts
        .lines()
        .filter_map(|l| l.split(' ').nth(1))
        .filter(|m| m.starts_with("/var/lib/kubelet/"))
    {
        let _ = Command::new("umount").arg(mount).output();
    }
    let folders = ["/etc/kubernetes/manifests", "/var/lib/kubelet", "/etc/kubernetes/pki"];
    println!("[reset] Deleting contents of directories: [{}]", folders.join(" "));
    folders.into_iter().for_each(empty);
    let names =
        ["admin", "super-admin", "kubelet", "bootstrap-kubelet", "controller-manager", "scheduler"];
    let files = names.map(|n| format!("/etc/kubernetes/{n}.conf"));
    println!("[reset] Deleting files: [{}]", files.join(" "));
    for file in files {
        let _ = fs::remove_file(root.join(&file[1..]));
    }
    print!("{}", include_str!("../../texts/reset-done.txt"));
    Ok(())
}
