//! Host firewalls.

use kubewan_core::action::FirewallGoal;
use kubewan_core::action::firewall::FirewallSeen;

use super::{Host, Performing};

/// Looks at the goal.
pub fn observe_firewall(_goal: &FirewallGoal, _host: &Host) -> Result<FirewallSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_firewall(
    _goal: &FirewallGoal,
    _seen: &FirewallSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}
