//! What kubeadm does.

use kubewan_core::action::kubeadm::{InitSeen, JoinSeen, ResetSeen, TokenSeen};
use kubewan_core::action::{BootstrapToken, KubeadmInit, KubeadmJoin, KubeadmReset};

use super::{Host, Performing};

/// Looks at the goal.
pub fn observe_kubeadm_init(_goal: &KubeadmInit, _host: &Host) -> Result<InitSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_kubeadm_init(
    _goal: &KubeadmInit,
    _seen: &InitSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_bootstrap_token(_goal: &BootstrapToken, _host: &Host) -> Result<TokenSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_bootstrap_token(
    _goal: &BootstrapToken,
    _seen: &TokenSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_kubeadm_join(_goal: &KubeadmJoin, _host: &Host) -> Result<JoinSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_kubeadm_join(
    _goal: &KubeadmJoin,
    _seen: &JoinSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_kubeadm_reset(_goal: &KubeadmReset, _host: &Host) -> Result<ResetSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_kubeadm_reset(
    _goal: &KubeadmReset,
    _seen: &ResetSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}
