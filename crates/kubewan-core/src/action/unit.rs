//! systemd units, our network interface, and the running kubelet's arguments.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind};

/// State of a systemd unit. Its file, where it is ours, is a step of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Full name, as `containerd.service`.
    pub name: String,
    /// Started at boot.
    pub enabled: bool,
    /// Running now. `None`: not our affair (kubelet before kubeadm has configured it).
    pub active: Option<bool>,
    /// Files whose change asks for a restart: one that changed after the unit started makes it stale.
    pub restart_on: Vec<String>,
    /// The node whose pods stop with this unit: after a restart it is waited for, and for the pods that were ready before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A unit's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSeen {
    /// systemd knows it.
    pub loaded: bool,
    /// `enabled`, `disabled`, `static`, `masked`, …
    pub enabled: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// Those of `restart_on` that changed after it started.
    pub stale: Vec<String>,
}

impl Unit {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &UnitSeen) -> Option<Change> {
        let mut details = Vec::new();
        let enabled = seen.enabled == "enabled";
        if self.enabled && !enabled && seen.enabled != "static" {
            details.push(format!("enable (now {})", or_absent(&seen.enabled)));
        }
        if !self.enabled && enabled {
            details.push("disable".to_owned());
        }
        let running = seen.active == "active" || seen.active == "activating";
        match self.active {
            Some(true) if !running => {
                details.push(format!("start (now {})", or_absent(&seen.active)))
            }
            Some(true) if !seen.stale.is_empty() => {
                details
                    .push(format!("restart: {} changed since it started", seen.stale.join(", ")));
            }
            Some(false) if running => details.push("stop".to_owned()),
            _ => {}
        }
        if details.is_empty() {
            return None;
        }
        let verbs: Vec<&str> = details.iter().filter_map(|d| d.split([' ', ':']).next()).collect();
        let summary = format!("{} {}", verbs.join(" and "), self.name);
        Some(Change::new(ChangeKind::Update, summary).with_details(details))
    }
}

fn or_absent(state: &str) -> &str {
    if state.is_empty() { "not there" } else { state }
}

/// A unit that is not masked, as it was before us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmasked {
    /// Its full name.
    pub unit: String,
}

/// Whether a unit is masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmaskedSeen {
    /// It is.
    pub masked: bool,
}

impl Unmasked {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &UnmaskedSeen) -> Option<Change> {
        seen.masked.then(|| Change::new(ChangeKind::Update, format!("unmask {}", self.unit)))
    }
}

/// A network interface of ours that carries an address as /32, brought up by a unit of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The interface's name.
    pub name: String,
    /// The address it carries.
    pub address: Ipv4Addr,
    /// The unit that makes it; restarting that is how it is mended.
    pub unit: String,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSeen {
    /// It exists.
    pub exists: bool,
    /// It is up.
    pub up: bool,
    /// Its IPv4 addresses with prefix, as `198.51.100.10/32`.
    pub addresses: Vec<String>,
}

impl Link {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &LinkSeen) -> Option<Change> {
        let wanted = format!("{}/32", self.address);
        if seen.exists && seen.up && seen.addresses == [wanted.as_str()] {
            return None;
        }
        let kind = if seen.exists { ChangeKind::Update } else { ChangeKind::Create };
        let now = match (seen.exists, seen.up) {
            (false, _) => "not there".to_owned(),
            (true, false) => "down".to_owned(),
            (true, true) => format!("carries {}", seen.addresses.join(" ")),
        };
        Some(
            Change::new(kind, format!("bring up {} with {wanted}", self.name))
                .with_details(vec![format!("now {now}"), format!("by {}", self.unit)]),
        )
    }
}

/// An argument of the kubelet that has to be in force: in the file that kubeadm writes, contradicted by
/// no other file that feeds it, and in the running process.
///
/// `/etc/default/kubelet`'s `KUBELET_EXTRA_ARGS` comes last on the kubelet's command line and wins
/// over kubeadm-flags.env (`10-kubeadm.conf` in kubernetes/release), so a stale line there undoes the node's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeletFlag {
    /// Name without dashes, as `node-ip`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Where a kubelet argument is set, and to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeletFlagSeen {
    /// kubeadm has configured this kubelet (kubeadm-flags.env exists).
    pub configured: bool,
    /// The value in /var/lib/kubelet/kubeadm-flags.env.
    pub in_flags_file: Option<String>,
    /// Other files that set it, with the value.
    pub elsewhere: Vec<(String, String)>,
    /// The value of the running kubelet; `None` where it does not run or has no such argument.
    pub running: Option<String>,
    /// The kubelet runs.
    pub kubelet_runs: bool,
}

impl KubeletFlag {
    /// What has to change; see [`super::diff`]. Before kubeadm has run, only contradicting files matter.
    pub fn diff(&self, seen: &KubeletFlagSeen) -> Option<Change> {
        let mut details = Vec::new();
        let flag = format!("--{}={}", self.name, self.value);
        for (path, value) in seen.elsewhere.iter().filter(|(_, value)| *value != self.value) {
            details.push(format!("{path}: take out --{}={value}", self.name));
        }
        if seen.configured && seen.in_flags_file.as_deref() != Some(&self.value) {
            details.push(format!("/var/lib/kubelet/kubeadm-flags.env: {flag}"));
        }
        if seen.configured && seen.kubelet_runs && seen.running.as_deref() != Some(&self.value) {
            details.push("restart kubelet.service".to_owned());
        }
        (!details.is_empty()).then(|| {
            Change::new(ChangeKind::Update, format!("run the kubelet with {flag}"))
                .with_details(details)
        })
    }
}
