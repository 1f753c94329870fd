//! What `kubewan doctor` reads of a host and a cluster beside [`crate::facts`]: ends of logs, states of units, dates of
//! certificates, and the like. Plain data of bounded size; what follows from it is kubewan-doctor's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::facts::TextFile;

/// Bytes that are read of one log, from its end.
pub const LOG_BYTES: usize = 64 << 10;

/// Lines that are read of one log, from its end.
pub const LOG_LINES: usize = 400;

/// Logs of one host: all together they stay far below [`crate::protocol::FRAME_MAX`].
pub const LOGS: usize = 32;

/// Bytes of a small file that is evidence itself.
pub const FILE_BYTES: usize = 32 << 10;

/// A log that was written to within this time tells of now.
pub const RECENT_S: u64 = 600;

/// What a host shows when something may be wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEvidence {
    /// Ends of logs.
    pub logs: Vec<Log>,
    /// States of the units that a node needs.
    pub units: Vec<UnitState>,
    /// Dates of the certificates in Kubernetes' folders.
    pub certificates: Vec<Certificate>,
    /// Kernel settings by name; `None` where the kernel has no such setting now.
    pub sysctls: BTreeMap<String, Option<String>>,
    /// Room on the file systems that a node writes to.
    pub disks: Vec<Disk>,
    /// Small files: etcd's manifest, the kubelet's configuration, Docker's daemon.json, the release of CentOS.
    pub files: Vec<TextFile>,
    /// UDP packets with a wrong checksum since the host was booted (`InCsumErrors` of `/proc/net/snmp`).
    pub udp_checksum_errors: u64,
    /// Programs of packet filters that are there, as `iptables`.
    pub packet_filters: Vec<String>,
}

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Who wrote it.
    pub component: Component,
    /// Where it is, for people: a path, or `journal of kubelet`.
    pub source: String,
    /// Its last lines, without tokens and keys.
    pub text: String,
    /// Its last line is not older than [`RECENT_S`].
    pub recent: bool,
}

/// Who writes a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The kubelet.
    Kubelet,
    /// containerd.
    Containerd,
    /// Docker's daemon.
    Docker,
    /// etcd.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kube-proxy.
    KubeProxy,
    /// CoreDNS.
    CoreDns,
    /// flanneld.
    Flannel,
    /// Nobody knows: someone pasted it.
    Pasted,
}

impl Component {
    /// All who write logs on a host.
    pub const ALL: [Component; 10] = [
        Component::Kubelet,
        Component::Containerd,
        Component::Docker,
        Component::Etcd,
        Component::ApiServer,
        Component::ControllerManager,
        Component::Scheduler,
        Component::KubeProxy,
        Component::CoreDns,
        Component::Flannel,
    ];

    /// By the name of its container.
    pub fn of_container(name: &str) -> Option<Component> {
        Some(match name {
            "etcd" => Component::Etcd,
            "kube-apiserver" => Component::ApiServer,
            "kube-controller-manager" => Component::ControllerManager,
            "kube-scheduler" => Component::Scheduler,
            "kube-proxy" => Component::KubeProxy,
            "coredns" => Component::CoreDns,
            "kube-flannel" => Component::Flannel,
            _ => return None,
        })
    }
}

/// A unit's state, in systemd's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// Its name, as `kubelet.service`.
    pub name: String,
    /// `LoadState`.
    pub load: String,
    /// `ActiveState`.
    pub active: String,
    /// `SubState`.
    pub sub: String,
    /// `Result`.
    pub result: String,
    /// `NRestarts`.
    pub restarts: u32,
}

/// A certificate's names and dates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The file that it is in.
    pub path: String,
    /// Common name of whom it is for.
    pub subject: String,
    /// Common name of who signed it.
    pub issuer: String,
    /// Seconds since 1970 from which on it is valid.
    pub not_before: i64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
}

/// Room on a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// A folder on it.
    pub path: String,
    /// Bytes that it has.
    pub total: u64,
    /// Bytes that are free for everyone.
    pub free: u64,
    /// Files that can still be made.
    pub free_files: u64,
}

/// What the cluster's API answered, as kubectl printed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterAnswers {
    /// The nodes, a List in JSON.
    pub nodes: Option<String>,
    /// The pods of `kube-system` and `kube-flannel`, Lists in JSON.
    pub pods: Vec<String>,
    /// The ConfigMap `kube-public/cluster-info` in JSON.
    pub cluster_info: Option<String>,
    /// One line for each bootstrap token: its id, its end and whether it signs, each in base64. Never its secret.
    pub tokens: Option<String>,
    /// Why the API did not answer: what kubectl said.
    pub silent: Option<String>,
}
