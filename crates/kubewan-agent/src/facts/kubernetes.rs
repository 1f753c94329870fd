//! kubeadm, kubelet and etcd on this host.

use std::fs;
use std::path::Path;

use kubewan_core::action::etcd::EtcdUrls;
use kubewan_core::facts::{ClusterState, KubernetesFacts};

use super::cluster_state::{ca_hash, ownership};
use super::kubelet;
use super::systemd::Units;
use crate::act::Host;
use crate::act::kubeadm::parts::keys_gone;
use crate::act::kubeadm::stuck;
use crate::command::PATH;

pub(super) fn kubernetes(host: &Host, units: &Units) -> Result<KubernetesFacts, String> {
    let unit = units.get("kubelet.service");
    let owned = ownership(host)?;
    let state = owned.state();
    let is_foreign = state == ClusterState::Foreign;
    let by_hand = is_foreign || owned.adopted;
    let kubelet_args = kubelet::running_args(&unit);
    let manifests = manifests();
    let has_api_server = manifests.iter().any(|name| name == "kube-apiserver.yaml");
    let version = |program, args| last_version(&host.seen().version(program, args)?);
    Ok(KubernetesFacts {
        kubeadm: version("kubeadm", &["version", "-o", "short"]),
        kubelet: version("kubelet", &["--version"]),
        binaries: binaries(),
        kubelet_active: unit.active(),
        kubelet_config: if by_hand { kubelet::config_files(&kubelet_args) } else { Vec::new() },
        kubelet_args,
        kubelet_arg_files: kubelet::arg_files(&unit),
        state,
        etcd_data: Path::new("/var/lib/etcd/member").exists(),
        manifests,
        api_server: ["/etc/kubernetes/kubelet.conf", "/etc/kubernetes/admin.conf"]
            .iter()
            .find_map(|path| server_of(&fs::read_to_string(path).ok()?)),
        ca_hash: ca_hash(),
        etcd_listens: by_hand.then(etcd_listens).flatten(),
        keys_gone: if has_api_server { keys_gone() } else { Vec::new() },
        adopted: owned.adopted,
        stuck_init: if is_foreign { stuck::stuck_init(host) } else { None },
    })
}

/// As etcd's manifest has it.
fn etcd_listens() -> Option<String> {
    let manifest = fs::read_to_string("/etc/kubernetes/manifests/etcd.yaml").ok()?;
    stuck::argument(&manifest, EtcdUrls::PEER).map(str::to_owned)
}

/// `v1.36.2` and `Kubernetes v1.36.2`.
pub(crate) fn last_version(printed: &str) -> Option<String> {
    let word = printed.split_whitespace().next_back()?;
    Some(word.strip_prefix('v').unwrap_or(word).to_owned())
}

fn binaries() -> Vec<String> {
    // /bin is /usr/bin on merged systems.
    let folders =
        PATH.split(':').filter(|f| !fs::symlink_metadata(f).is_ok_and(|m| m.is_symlink()));
    folders
        .flat_map(|folder| {
            ["kubeadm", "kubelet", "kubectl"].map(|program| format!("{folder}/{program}"))
        })
        .filter(|path| Path::new(path).is_file())
        .collect()
}

/// Names of the static pod manifests.
fn manifests() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/etc/kubernetes/manifests")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    names
}

/// The first `server:` of a kubeconfig.
pub(crate) fn server_of(kubeconfig: &str) -> Option<String> {
    kubeconfig.lines().find_map(|line| Some(line.trim().strip_prefix("server:")?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_and_servers() {
        assert_eq!(last_version("v1.36.2\n").as_deref(), Some("1.36.2"));
        assert_eq!(last_version("Kubernetes v1.36.2\n").as_deref(), Some("1.36.2"));
        assert_eq!(last_version(""), None);
        let conf = "clusters:\n- cluster:\n    certificate-authority-data: LS0\n    server: https://api.home.kubewan:6443\n";
        assert_eq!(server_of(conf).as_deref(), Some("https://api.home.kubewan:6443"));
    }
}
