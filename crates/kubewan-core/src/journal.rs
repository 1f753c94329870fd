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

use std::collections::{BTreeMap, BTreeSet};

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

/// Goals that still stand, in the order in which they were begun, and whether they were reached.
fn standing(entries: &[Entry]) -> impl Iterator<Item = (&Action, bool)> {
    let (mut undone, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        match entry {
            Entry::Undone { number } => undone.insert(*number),
            Entry::Ended { number, .. } => ended.insert(*number),
            _ => false,
        };
    }
    entries.iter().filter_map(move |entry| match entry {
        Entry::Begun(begun) if !begun.reset && !undone.contains(&begun.number) => {
            Some((&begun.action, ended.contains(&begun.number)))
        }
        _ => None,
    })
}

/// Logins of the inventory's registries that the kubelet was given, by registry, with their users. Those that were carried
/// over from an older configuration are none of them. What was begun may be there; gone is only what ended so.
pub fn logins(entries: &[Entry]) -> BTreeMap<String, String> {
    let mut logins = BTreeMap::new();
    for (action, ended) in standing(entries) {
        let Action::RegistryLogins(goal) = action else { continue };
        if ended {
            logins.retain(|registry, _| !goal.gone.contains_key(registry));
        }
        for login in &goal.logins {
            if login.is_carried() {
                if ended {
                    logins.remove(&login.registry);
                }
            } else {
                logins.insert(login.registry.clone(), login.username.clone());
            }
        }
    }
    logins
}

/// Names of certificates that were added to the system's store, and not surely taken out.
pub fn trusts(entries: &[Entry]) -> BTreeSet<String> {
    let mut trusts = BTreeSet::new();
    for (action, ended) in standing(entries) {
        let Action::SystemTrust(goal) = action else { continue };
        match goal.certificate {
            Some(_) => trusts.insert(goal.name.clone()),
            None => ended && trusts.remove(&goal.name),
        };
    }
    trusts
}

/// Where a host keeps a content, by its SHA-256.
pub fn kept_as(sha256: &str) -> String {
    format!("/var/lib/kubewan/blobs/{sha256}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_and_certificates_that_stand_are_told_from_the_journal() {
        use crate::action::{Input, Login, RegistryLogins, SystemTrust};
        let begun = |number, action| {
            Entry::Begun(Box::new(Begun {
                number,
                run: "r".into(),
                step: "s".into(),
                action,
                before: Observed::SystemTrust(Default::default()),
                unix_s: 0,
                reset: false,
            }))
        };
        let login = |registry: &str, name: String| Login {
            registry: registry.into(),
            username: "me".into(),
            password: Input::Secret { name },
        };
        let logins_of = |logins: Vec<Login>, gone: &[&str]| {
            let gone = gone.iter().map(|name| ((*name).to_owned(), "me".to_owned())).collect();
            Action::RegistryLogins(RegistryLogins { logins, gone })
        };
        let trust = |certificate: Option<&str>| {
            let certificate = certificate.map(str::to_owned);
            Action::SystemTrust(SystemTrust { name: "kubewan-a".into(), certificate })
        };
        let given = vec![
            login("a", Login::secret("a")),
            login("b", Login::secret("b")),
            login("c", Login::carried_secret("c", "node01")),
        ];
        let mut entries = vec![begun(1, logins_of(given, &[])), begun(2, trust(Some("pem")))];
        let names = |entries: &[Entry]| logins(entries).into_keys().collect::<Vec<_>>();
        assert_eq!((names(&entries), trusts(&entries).len()), (vec!["a".into(), "b".into()], 1));
        entries.push(begun(3, logins_of(Vec::new(), &["a"])));
        entries.push(begun(4, trust(None)));
        // Cut off in between: both may be there still.
        assert_eq!((names(&entries).len(), trusts(&entries).len()), (2, 1));
        let after = || Observed::SystemTrust(Default::default());
        entries.extend([3, 4].map(|number| Entry::Ended { number, after: after(), along: vec![] }));
        assert_eq!((names(&entries), trusts(&entries).len()), (vec!["b".to_owned()], 0));
        entries.push(Entry::Undone { number: 1 });
        assert!(names(&entries).is_empty());
    }

    #[test]
    fn a_host_belongs_to_the_cluster_that_opened_its_journal_last() {
        let opened = |name: &str| Entry::Opened { format: FORMAT, cluster: name.into() };
        assert_eq!(cluster(&[]), None);
        let journal = [opened("home"), Entry::Undone { number: 1 }, opened("work")];
        assert_eq!(cluster(&journal), Some("work"));
    }
}
