//! The journal of a host: what kubewan changed there and how it was before. One JSON object a line in
//! `/var/lib/kubewan/journal.jsonl` (0600), each line written and synced to disk before the action it tells
//! of is performed, and one more after it. `reset` is made of it. The format may grow fields, never change.

//!
//! An action says in `along` what it adds beyond its goal, `word:rest` a line:
//!
//! | line | meaning |
//! |---|---|
//! | `dir:PATH` | a folder was made for a file; it goes when it is empty |
//! | `tree:PATH` | nothing was there; programs that kubewan ran fill it |
//! | `contents:PATH` | an empty folder was there; programs that kubewan ran fill it |
//! | `foreign:PATH` | a folder with something in it was there; it stays |
//! | `kept:MODE,UID,GID:SHA256:PATH` | a file's content before it was edited, kept as a blob |
//! | `left:SHA256:PATH` | its content afterwards |
//! | `package:NAME` | a package came |
//! | `enabled:UNIT`, `started:UNIT`, `masked:UNIT` | a unit was |
//! | `ufw:RULE`, `firewalld:ARGUMENTS` | a rule was added |
//! | `ufw-was:RULE` | a rule that ours took the place of |

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
    /// It was cut short, and had added this to the host by then.
    Along {
        /// Number of the [`Begun`] line it belongs to.
        number: u64,
        /// As in [`Entry::Ended`].
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
    /// `/var/lib/kubewan/blobs/` (0600), so `text` is left out here; of an object only stands that there was one.
    pub before: Observed,
    /// Seconds since 1970 on the host's clock.
    pub unix_s: i64,
    /// A reset did it: nothing that would have to be taken back in its turn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// The cluster this host belongs to: the name in the last `Opened` line. A journal gets another one once nothing of
/// the cluster before stands.
pub fn cluster(entries: &[Entry]) -> Option<&str> {
    entries.iter().rev().find_map(|entry| match entry {
        Entry::Opened { cluster, .. } => Some(cluster.as_str()),
        _ => None,
    })
}

/// Ids of steps of the last run that take something from a server on the Internet, were begun, and did not come to their end.
/// Of a run before it nobody says that they are still wanted.
pub fn unended(entries: &[Entry]) -> Vec<String> {
    let mut open: Vec<(u64, &str)> = Vec::new();
    let mut run = "";
    for entry in entries {
        match entry {
            Entry::Begun(begun) => {
                if run != begun.run {
                    (run, open) = (&begun.run, Vec::new());
                }
                open.retain(|(_, step)| *step != begun.step);
                if is_taken_from_elsewhere(&begun.action) && !begun.reset {
                    open.push((begun.number, &begun.step));
                }
            }
            Entry::Ended { number, .. } | Entry::Undone { number } => {
                open.retain(|(other, _)| other != number);
            }
            Entry::Opened { .. } | Entry::Along { .. } => {}
        }
    }
    open.into_iter().map(|(_, step)| step.to_owned()).collect()
}

fn is_taken_from_elsewhere(action: &Action) -> bool {
    match action {
        Action::Image(image) => image.artifact.is_none(),
        Action::Package(package) => package.artifacts.is_empty(),
        other => other.artifacts().iter().any(|artifact| artifact.url.is_some()),
    }
}

/// Where a host keeps a content, by its SHA-256.
pub fn kept_as(sha256: &str) -> String {
    format!("/var/lib/kubewan/blobs/{sha256}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_belongs_to_the_cluster_that_opened_its_journal_last() {
        let opened = |name: &str| Entry::Opened { format: FORMAT, cluster: name.into() };
        assert_eq!(cluster(&[]), None);
        let journal = [opened("home"), Entry::Undone { number: 1 }, opened("work")];
        assert_eq!(cluster(&journal), Some("work"));
    }
}
