//! The journal of a host: what kubewan changed there and how it was before. One JSON object a line in
//! `/var/lib/kubewan/journal.jsonl` (0600), each line written and synced to disk before the action it tells
//! of is performed, and one more after it. `reset` is made of it. The format may grow fields, never change.

use serde::{Deserialize, Serialize};

use crate::action::{Action, Observed};

/// Format of the lines.
pub const FORMAT: u32 = 1;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// First line.
    Opened {
        /// [`FORMAT`].
        format: u32,
        /// The cluster this host belongs to.
        cluster: String,
    },
    /// An action is about to be performed.
    Begun(Box<Begun>),
    /// It was performed and verified.
    Ended {
        /// Number of the [`Begun`] line it belongs to.
        number: u64,
        /// What was observed afterwards.
        after: Observed,
        /// What the action adds to the host beyond its goal, as packages that came along.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        along: Vec<String>,
    },
    /// It was taken back by `reset`.
    Undone {
        /// Number of the [`Begun`] line it belongs to.
        number: u64,
    },
}

/// An action that is about to be performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Counts up from 1.
    pub number: u64,
    /// The run it belongs to.
    pub run: String,
    /// The step's id.
    pub step: String,
    /// The goal. Secrets stand in it as markers.
    pub action: Action,
    /// What was observed before. Contents of files are kept as blobs under their SHA-256 in
    /// `/var/lib/kubewan/blobs/` (0600), so `text` is left out here.
    pub before: Observed,
    /// Seconds since 1970 on the host's clock.
    pub unix_s: i64,
}
