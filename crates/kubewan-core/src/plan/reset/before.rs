//! How files and folders were before kubewan, from all entries of a journal together: several actions may
//! have changed one path, and what counts is the oldest word on it.

use std::collections::{BTreeMap, BTreeSet};

use super::Subject;
use crate::action::file::{Extent, FileSeen, FileState};
use crate::action::registry::{LOGINS, LoginsSeen};
use crate::action::{Action, Content, File, Observed, Removed};

/// How files and folders were.
#[derive(Debug, Default)]
pub(super) struct Before<'a> {
    /// State of a file and the entry that tells of it; `None`: it can't be made again.
    files: BTreeMap<&'a str, (u64, Option<FileState>)>,
    /// How much of a folder has to go, and the entry that tells of it; `None`: it stays.
    folders: BTreeMap<&'a str, (u64, Option<Extent>)>,
    /// SHA-256s of what kubewan may have left at a path.
    left: BTreeMap<&'a str, BTreeSet<String>>,
    /// Paths where what kubewan left can't be known, since values were put in.
    unknown: BTreeSet<&'a str>,
}

impl<'a> Before<'a> {
    pub(super) fn of(subjects: &[Subject<'a>]) -> Self {
        let mut before = Before::default();
        for subject in subjects {
            for (begun, after) in &subject.entries {
                if let (Action::File(file), Observed::File(seen)) = (&begun.action, &begun.before) {
                    before.file(&file.path, begun.number, state(seen));
                    before.written(file, *after);
                }
                if let Observed::RegistryLogins(LoginsSeen { exists: false, .. }) = &begun.before {
                    before.file(LOGINS, begun.number, Some(FileState::Absent));
                }
            }
            for (number, line) in &subject.along {
                before.line(*number, line);
            }
        }
        before
    }

    fn file(&mut self, path: &'a str, number: u64, state: Option<FileState>) {
        let (oldest, first) = self.files.entry(path).or_insert_with(|| (number, state.clone()));
        if number < *oldest {
            (*oldest, *first) = (number, state);
        }
    }

    fn written(&mut self, file: &'a File, after: Option<&Observed>) {
        let goal = match &file.state {
            FileState::Present { content, .. } => content,
            FileState::Absent | FileState::Link { .. } => return,
        };
        if let Some(Observed::File(FileSeen { sha256: Some(sha256), .. })) = after {
            self.left.entry(&file.path).or_default().insert(sha256.clone());
        } else if matches!(goal, Content::Text(t) if t.contains("@secret(") || t.contains("@output("))
        {
            self.unknown.insert(&file.path);
        } else {
            self.left.entry(&file.path).or_default().insert(goal.sha256());
        }
    }

    fn line(&mut self, number: u64, line: &'a str) {
        let Some((word, rest)) = line.split_once(':') else { return };
        let extent = match word {
            "kept" => {
                if let Some((path, state)) = kept(rest) {
                    self.file(path, number, Some(state));
                }
                return;
            }
            "left" => {
                if let Some((sha256, path)) = rest.split_once(':') {
                    self.left.entry(path).or_default().insert(sha256.to_owned());
                }
                return;
            }
            "dir" => Some(Extent::IfEmpty),
            "tree" => Some(Extent::Whole),
            "contents" => Some(Extent::Contents),
            "foreign" => None,
            _ => return,
        };
        let (oldest, first) = self.folders.entry(rest).or_insert((number, extent));
        let ours = |extent| matches!(extent, Some(Extent::IfEmpty | Extent::Whole));
        if ours(*first) && ours(extent) && *first != extent {
            // Made for a file and filled by programs: there was no such folder.
            *first = Some(Extent::Whole);
        } else if number < *oldest {
            *first = extent;
        }
        *oldest = number.min(*oldest);
    }

    /// The goal that puts a file back; `None` where that can't be.
    pub(super) fn restored(&self, path: &str) -> Option<Action> {
        let (_, state) = self.files.get(path)?;
        Some(Action::File(File { path: path.into(), state: state.clone()? }))
    }

    /// There was no such file before, and kubewan made one.
    pub(super) fn goes(&self, path: &str) -> bool {
        matches!(self.files.get(path), Some((_, Some(FileState::Absent))))
    }

    /// Goals for the folders that a subject's entries tell of.
    pub(super) fn folders(&self, subject: &Subject<'a>) -> Vec<Action> {
        ["dir", "tree", "contents"]
            .iter()
            .flat_map(|word| subject.along(word))
            .filter_map(|path| {
                let extent = self.folders.get(path)?.1?;
                Some(Action::Removed(Removed { path: path.into(), extent }))
            })
            .collect()
    }

    /// Files of which is told what kubewan may have left.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'a str> {
        self.left.keys().copied()
    }

    /// What kubewan may have left at a path, where that is known.
    pub(super) fn left(&self, path: &str) -> Option<&BTreeSet<String>> {
        if self.unknown.contains(path) { None } else { self.left.get(path) }
    }
}

/// The goal that a file's state before is; `None` where it was neither a file nor a link.
fn state(seen: &FileSeen) -> Option<FileState> {
    match (&seen.sha256, seen.link()) {
        (Some(sha256), _) => Some(FileState::Present {
            content: Content::Blob(sha256.clone()),
            mode: seen.mode,
            owner: seen.owner,
        }),
        (None, Some(target)) => Some(FileState::Link { target: target.into() }),
        (None, None) if seen.other.is_none() => Some(FileState::Absent),
        (None, None) => None,
    }
}

/// `MODE,UID,GID:SHA256:PATH` of a file that an action of another kind edited.
fn kept(rest: &str) -> Option<(&str, FileState)> {
    let mut parts = rest.splitn(3, ':');
    let mut access = parts.next()?.split(',');
    let mode = u32::from_str_radix(access.next()?, 8).ok()?;
    let mut id = || access.next().map_or(Ok(0), str::parse).ok();
    let owner = (id()?, id()?);
    let content = Content::Blob(parts.next()?.to_owned());
    Some((parts.next()?, FileState::Present { content, mode, owner }))
}
