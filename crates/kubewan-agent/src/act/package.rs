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

/// Installs one package with the host's package manager.
pub fn install_from_distribution(_name: &str, _cx: &mut Performing<'_>) -> Result<(), String> {
    Err("not written yet".into())
}
