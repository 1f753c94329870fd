//! Kernel and host-wide settings.

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind};

/// A kernel module that is loaded (or built in).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name, as `br_netfilter`.
    pub name: String,
}

/// Whether a module is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleSeen {
    /// Loaded or built in.
    pub present: bool,
}

impl Module {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &ModuleSeen) -> Option<Change> {
        (!seen.present)
            .then(|| Change::new(ChangeKind::Create, format!("load kernel module {}", self.name)))
    }
}

/// A kernel setting in force; the file that keeps it over a reboot is a step of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Dotted key, as `net.ipv4.ip_forward`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// `reset`: it stays as it is where something else on the host may need that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unless_needed: bool,
    /// With it: how names of network interfaces begin that came with the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ours: Vec<String>,
}

/// A setting's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlSeen {
    /// The value; `None` where the kernel has no such key (a module may bring it).
    pub value: Option<String>,
    /// What may need that value, as a file of somebody's or a network interface; looked for with `unless_needed` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed_by: Vec<String>,
}

impl Sysctl {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &SysctlSeen) -> Option<Change> {
        if seen.value.as_deref() == Some(&self.value) || !seen.needed_by.is_empty() {
            return None;
        }
        let old = seen.value.as_deref().unwrap_or("(not there)");
        Some(Change::new(
            ChangeKind::Update,
            format!("set {} = {} (now {old})", self.key, self.value),
        ))
    }
}

/// No swap, now and after a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapOff {}

/// The host's swap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapSeen {
    /// Active areas.
    pub active: Vec<String>,
    /// Lines of /etc/fstab that name swap.
    pub fstab: Vec<String>,
    /// systemd swap units that start at boot and do not come from /etc/fstab, and services that make swap.
    pub units: Vec<String>,
}

impl SwapOff {
    /// In front of a line of /etc/fstab that kubewan switched off.
    pub const FSTAB_MARK: &'static str = "# kubewan: ";

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &SwapSeen) -> Option<Change> {
        let mut details: Vec<String> = seen.active.iter().map(|a| format!("swapoff {a}")).collect();
        details.extend(seen.fstab.iter().map(|line| format!("/etc/fstab: comment out `{line}`")));
        details.extend(seen.units.iter().map(|unit| format!("mask {unit}")));
        (!details.is_empty())
            .then(|| Change::new(ChangeKind::Update, "switch swap off").with_details(details))
    }
}

/// Swap areas that are in use, as they were before us. Their lines in /etc/fstab are a step of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapOn {
    /// The areas.
    pub areas: Vec<String>,
    /// systemd units that bring some of them, by what they were made for (compressed memory).
    pub units: Vec<String>,
}

/// Swap areas that are not in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapOnSeen {
    /// Those of the goal's areas that are there and not in use.
    pub idle: Vec<String>,
}

impl SwapOn {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &SwapOnSeen) -> Option<Change> {
        let details: Vec<String> = seen.idle.iter().map(|area| format!("swapon {area}")).collect();
        (!details.is_empty())
            .then(|| Change::new(ChangeKind::Update, "switch swap on again").with_details(details))
    }
}

/// SELinux permissive, now and after a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxPermissive {}

/// SELinux' state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxSeen {
    /// It enforces now.
    pub enforcing: bool,
    /// /etc/selinux/config says `SELINUX=enforcing`.
    pub configured_enforcing: bool,
    /// The kernel runs without SELinux.
    #[serde(default)]
    pub disabled: bool,
}

impl SelinuxPermissive {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &SelinuxSeen) -> Option<Change> {
        let mut details = Vec::new();
        if seen.enforcing {
            details.push("setenforce 0".to_owned());
        }
        if seen.configured_enforcing {
            details.push("/etc/selinux/config: SELINUX=permissive".to_owned());
        }
        (!details.is_empty()).then(|| {
            Change::new(ChangeKind::Update, "make SELinux permissive").with_details(details)
        })
    }
}

/// SELinux that enforces now, as it did before us; /etc/selinux/config is a step of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxEnforcing {}

impl SelinuxEnforcing {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &SelinuxSeen) -> Option<Change> {
        (!seen.enforcing && !seen.disabled)
            .then(|| Change::new(ChangeKind::Update, "make SELinux enforce again (setenforce 1)"))
    }
}

/// The host's name, static and running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hostname {
    /// The name.
    pub name: String,
}

/// The host's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameSeen {
    /// The kernel's.
    pub running: String,
    /// /etc/hostname.
    pub configured: String,
}

impl Hostname {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &HostnameSeen) -> Option<Change> {
        (seen.running != self.name || seen.configured != self.name).then(|| {
            Change::new(
                ChangeKind::Update,
                format!("set the host name to {} (now {})", self.name, seen.running),
            )
        })
    }
}

/// A time service that runs now and after a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSyncOn {}

/// Time services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSyncSeen {
    /// The unit that is active.
    pub active: Option<String>,
    /// A unit that is installed.
    pub installed: Option<String>,
}

impl TimeSyncOn {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &TimeSyncSeen) -> Option<Change> {
        if seen.active.is_some() {
            return None;
        }
        let how = match &seen.installed {
            Some(unit) => format!("enable and start {unit}"),
            None => "install and start systemd-timesyncd".into(),
        };
        Some(
            Change::new(ChangeKind::Update, "switch time synchronisation on")
                .with_details(vec![how]),
        )
    }
}
