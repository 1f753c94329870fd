//! systemd units and our interface.

use kubewan_core::action::unit::{LinkSeen, UnitSeen};
use kubewan_core::action::{Link, Unit};

use super::{Host, Performing};

/// Looks at the goal.
pub fn observe_unit(_goal: &Unit, _host: &Host) -> Result<UnitSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_unit(
    _goal: &Unit,
    _seen: &UnitSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_link(_goal: &Link, _host: &Host) -> Result<LinkSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_link(
    _goal: &Link,
    _seen: &LinkSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}
