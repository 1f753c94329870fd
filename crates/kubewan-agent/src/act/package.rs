//! Distribution packages.

use kubewan_core::action::Package;
use kubewan_core::action::package::PackageSeen;

use super::{Host, Performing};

/// Looks at the goal.
pub fn observe_package(_goal: &Package, _host: &Host) -> Result<PackageSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_package(
    _goal: &Package,
    _seen: &PackageSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}
