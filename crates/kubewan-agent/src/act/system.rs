//! Kernel and host-wide settings.

use kubewan_core::action::system::{
    HostnameSeen, ModuleSeen, SelinuxSeen, SwapSeen, SysctlSeen, TimeSyncSeen,
};
use kubewan_core::action::{Hostname, Module, SelinuxPermissive, SwapOff, Sysctl, TimeSyncOn};

use super::{Host, Performing};

/// Looks at the goal.
pub fn observe_module(_goal: &Module, _host: &Host) -> Result<ModuleSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_module(
    _goal: &Module,
    _seen: &ModuleSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_sysctl(_goal: &Sysctl, _host: &Host) -> Result<SysctlSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_sysctl(
    _goal: &Sysctl,
    _seen: &SysctlSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_swap_off(_goal: &SwapOff, _host: &Host) -> Result<SwapSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_swap_off(
    _goal: &SwapOff,
    _seen: &SwapSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_selinux_permissive(
    _goal: &SelinuxPermissive,
    _host: &Host,
) -> Result<SelinuxSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_selinux_permissive(
    _goal: &SelinuxPermissive,
    _seen: &SelinuxSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_hostname(_goal: &Hostname, _host: &Host) -> Result<HostnameSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_hostname(
    _goal: &Hostname,
    _seen: &HostnameSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_time_sync_on(_goal: &TimeSyncOn, _host: &Host) -> Result<TimeSyncSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_time_sync_on(
    _goal: &TimeSyncOn,
    _seen: &TimeSyncSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}
