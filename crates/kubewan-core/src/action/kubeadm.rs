//! What kubeadm does: init, join, tokens, reset.

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind, Input};

/// A control plane on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeadmInit {
    /// The whole kubeadm configuration, passed to every phase: `kubeadm init phase` without it takes the
    /// NIC's address and makes certificates that nobody can use.
    pub config: String,
    /// Names for `--ignore-preflight-errors` that the user asked for.
    pub ignore_preflight_errors: Vec<String>,
    /// Node name.
    pub node: String,
    /// `https://` URL that the API answers on.
    pub endpoint: String,
    /// Seconds after which a run of kubeadm is stopped.
    pub timeout_s: u64,
    /// The pin of the authority of a cluster that somebody made by hand and that counts as made; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub adopts: String,
}

/// How far a control plane is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitSeen {
    /// Our journal knows that `kubeadm init` was begun here.
    pub begun: bool,
    /// Our journal knows that it ended well.
    pub ended: bool,
    /// It was begun by hand and never ended: it is finished here, by the authorities that it made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
    /// State of a cluster that no journal of ours knows: what was found. Empty where an init got stuck.
    pub foreign: Vec<String>,
    /// Parts that are not there, by the name of the `kubeadm init phase` that makes them, as
    /// `etcd/local`, `control-plane/apiserver`, `kubeconfig/admin`, `addon/kube-proxy`.
    pub missing: Vec<String>,
    /// What of these parts is not there: files by their paths, objects as `ConfigMap kube-system/coredns`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// The cluster's authority: the file `ca.crt` in base64, as kubeconfigs have it.
    pub ca: Option<String>,
    /// The API did not answer within the time the agent waits for it, with its last words.
    pub unreachable: Option<String>,
}

impl KubeadmInit {
    /// Where a host keeps that an init, begun by hand, is known to have got stuck: its authority's pin. As soon as its
    /// address is on an interface the stuck etcd comes up, and nobody could tell it from one that has lived.
    pub const STUCK: &'static str = "/var/lib/kubewan/stuck-init";

    /// Where a host keeps that its cluster was made by hand and taken over: the pin of its authority. As long as that is the
    /// host's, what kubeadm did there counts as ended.
    pub const ADOPTED: &'static str = "/var/lib/kubewan/adopted";

    /// Output: the authority that joins trust.
    pub const CA: &'static str = "ca";

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &InitSeen) -> Option<Change> {
        if seen.ended {
            return (!seen.missing.is_empty()).then(|| {
                Change::new(
                    ChangeKind::Run,
                    format!("mend the control plane: {}", seen.missing.join(", ")),
                )
                .with_details(
                    seen.missing
                        .iter()
                        .map(|phase| format!("kubeadm init phase {}", phase.replace('/', " ")))
                        .collect(),
                )
            });
        }
        let summary = if seen.begun {
            "finish the kubeadm init that was begun here"
        } else if seen.stuck {
            "finish the kubeadm init that somebody began here by hand: its authorities stay, the rest is made anew"
        } else {
            "make the control plane with kubeadm init"
        };
        let details = self.config.lines().map(str::to_owned).collect();
        Some(Change::new(ChangeKind::Run, summary).with_details(details))
    }
}

/// A bootstrap token that joins can use and that expires by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapToken {
    /// Where the token comes from.
    pub token: Input,
    /// Seconds it lives.
    pub ttl_s: u64,
}

/// Whether the token is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSeen {
    /// It is there, not expired, and signed into cluster-info.
    pub usable: bool,
}

impl BootstrapToken {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &TokenSeen) -> Option<Change> {
        (!seen.usable).then(|| {
            Change::new(
                ChangeKind::Create,
                format!("make a bootstrap token for the joins, valid {} minutes", self.ttl_s / 60),
            )
        })
    }
}

/// The authorities and keys that control planes share, in the cluster and encrypted, for those that join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedCerts {
    /// What they are encrypted with.
    pub key: Input,
    /// The whole kubeadm configuration; carries the key's marker.
    pub config: String,
}

/// Whether they are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertsSeen {
    /// They are there, encrypted with the key.
    pub usable: bool,
}

impl UploadedCerts {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &CertsSeen) -> Option<Change> {
        (!seen.usable).then(|| {
            let summary =
                "hand the certificates that control planes share to the cluster, encrypted";
            Change::new(ChangeKind::Create, summary)
        })
    }
}

/// A node that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeadmJoin {
    /// The whole kubeadm configuration; carries the markers of `inputs`.
    pub config: String,
    /// A kubeconfig without credentials: where the API is and which authority it has. It lies at [`KubeadmJoin::DISCOVERY_FILE`] while
    /// kubeadm runs.
    #[serde(default)]
    pub discovery: String,
    /// Values that exist only at run time.
    pub inputs: Vec<Input>,
    /// Names for `--ignore-preflight-errors` that the user asked for.
    pub ignore_preflight_errors: Vec<String>,
    /// Node name.
    pub node: String,
    /// `https://` URL of the API.
    pub endpoint: String,
    /// Seconds after which a run of kubeadm is stopped.
    pub timeout_s: u64,
    /// It joins as a control plane.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control_plane: bool,
    /// As [`KubeadmInit::adopts`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub adopts: String,
}

/// How far a join is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinSeen {
    /// Our journal knows that `kubeadm join` was begun here.
    pub begun: bool,
    /// Our journal knows that it ended well.
    pub ended: bool,
    /// State of a cluster that no journal of ours knows: what was found.
    pub foreign: Vec<String>,
    /// Parts that are not there: `kubelet.conf`, `kubelet-config`, `node` (the API has no such node), `credentials`; of a
    /// control plane also its own, by the name of the `kubeadm join phase` that makes them, as
    /// `control-plane-prepare/certs` or `etcd-join`.
    pub missing: Vec<String>,
    /// The API did not answer, with its last words; `node` is then not known.
    pub unreachable: Option<String>,
}

impl KubeadmJoin {
    /// The configuration's `discovery.file.kubeConfigPath`: in the batch's own folder below /run, or wherever the agent has one.
    pub const DISCOVERY_FILE: &'static str = "/run/kubewan-batch/discovery.conf";

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &JoinSeen) -> Option<Change> {
        if seen.ended && seen.missing.is_empty() {
            return None;
        }
        let what = if self.control_plane { " as a control plane" } else { "" };
        let summary = match (seen.ended, seen.begun) {
            (true, _) => format!("join again: {} missing", seen.missing.join(", ")),
            (false, true) => format!("finish the kubeadm join{what} that was begun here"),
            (false, false) => format!("join the cluster{what} with kubeadm join"),
        };
        let details = self.config.lines().map(str::to_owned).collect();
        Some(Change::new(ChangeKind::Run, summary).with_details(details))
    }
}

/// No trace of kubeadm's work: the inverse of init and join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeadmReset {}

/// What is left of kubeadm's work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetSeen {
    /// Paths, links, rules and mounts that are there.
    pub traces: Vec<String>,
}

impl KubeadmReset {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &ResetSeen) -> Option<Change> {
        (!seen.traces.is_empty()).then(|| {
            Change::new(ChangeKind::Delete, "undo kubeadm's work with kubeadm reset")
                .with_details(seen.traces.clone())
        })
    }
}
