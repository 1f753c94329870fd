//! Files, blocks in files, and removed paths.

use kubewan_core::action::file::{BlockSeen, FileSeen, RemovedSeen};
use kubewan_core::action::{Block, File, Removed};

use super::{Host, Performing};

/// Looks at the goal.
pub fn observe_file(_goal: &File, _host: &Host) -> Result<FileSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_file(
    _goal: &File,
    _seen: &FileSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_block(_goal: &Block, _host: &Host) -> Result<BlockSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_block(
    _goal: &Block,
    _seen: &BlockSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_removed(_goal: &Removed, _host: &Host) -> Result<RemovedSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_removed(
    _goal: &Removed,
    _seen: &RemovedSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}
