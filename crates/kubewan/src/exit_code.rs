//! Exit codes: the one table, documented in docs/reference.md and stable.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// What was asked for is so.
    Done = 0,
    /// Something was attempted and did not succeed.
    Failed = 1,
    /// `plan --detailed-exitcode`: there is something to do.
    Changes = 2,
    /// The inventory, the bundle or a host's state forbids it; nothing was changed.
    Refused = 3,
    /// A host can't be reached or logged in to; nothing was changed.
    Unreachable = 4,
    /// It was not confirmed; nothing was changed.
    Unconfirmed = 5,
    /// The cluster stands, and a proof failed.
    Unproven = 6,
    /// The command line is wrong (`EX_USAGE` of sysexits.h; 2 has another meaning here).
    Usage = 64,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}
