//! Exit codes: the one table, documented in docs/reference.md and in every manual page, and stable.

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

impl Code {
    /// All of them, in their order.
    pub const ALL: [Code; 8] = [
        Code::Done,
        Code::Failed,
        Code::Changes,
        Code::Refused,
        Code::Unreachable,
        Code::Unconfirmed,
        Code::Unproven,
        Code::Usage,
    ];

    /// What it means, as docs/reference.md has it.
    pub fn meaning(self) -> &'static str {
        match self {
            Code::Done => "done: what was asked for is so",
            Code::Failed => {
                "failed: something was attempted and did not succeed, on a host or as a download; run the same command again"
            }
            Code::Changes => "`plan --detailed-exitcode` only: there is something to do",
            Code::Refused => {
                "refused: the inventory, the bundle or a host's state forbids it; nothing was changed"
            }
            Code::Unreachable => "a host can't be reached or logged in to; nothing was changed",
            Code::Unconfirmed => {
                "not confirmed: another answer than the one asked for (also where new host keys are shown), or no terminal to \
                 ask on; nothing was changed"
            }
            Code::Unproven => "the cluster stands, and a proof failed",
            Code::Usage => "wrong usage of the command line",
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_the_same_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
        let reference = std::fs::read_to_string(path).unwrap();
        for code in Code::ALL {
            let line = format!("| {} | {} |\n", code as u8, code.meaning());
            assert!(reference.contains(&line), "not in docs/reference.md: {line}");
        }
    }
}
