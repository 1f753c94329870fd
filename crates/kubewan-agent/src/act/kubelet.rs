//! Arguments of the running kubelet.

use kubewan_core::action::KubeletFlag;
use kubewan_core::action::unit::KubeletFlagSeen;

use super::{Host, Performing};

/// Looks at the goal.
pub fn observe_kubelet_flag(_goal: &KubeletFlag, _host: &Host) -> Result<KubeletFlagSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_kubelet_flag(
    _goal: &KubeletFlag,
    _seen: &KubeletFlagSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}
