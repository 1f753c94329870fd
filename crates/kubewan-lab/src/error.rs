//! What can go wrong, always with what was attempted, what came back and what to do next.

use std::path::{Path, PathBuf};

/// Why the lab could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The lab makes namespaces, mounts and machines, which only root may.
    #[error("the lab needs root: it makes namespaces, mounts and machines\nnext: run it as root")]
    NotRoot,

    /// A lab is already there, and it isn't the one that was asked for.
    #[error("a lab of this name is already up on this machine: {found}\nnext: {next}")]
    AlreadyUp {
        /// What was found.
        found: String,
        /// How to get on.
        next: String,
    },

    /// No lab of this name is up.
    #[error(
        "no lab `{name}` is up on this machine\nnext: `kubewan lab ls` shows those that are, `kubewan lab up` makes one"
    )]
    NotUp {
        /// The name that was asked for.
        name: String,
    },

    /// A topology file does not say what a lab can be made of.
    #[error("{0}\nnext: docs/lab.md describes every key")]
    BadTopology(String),

    /// Two ends were named that there is no way between.
    #[error(
        "there is no way between `{a}` and `{b}`\nnext: name two of {known}, hosts in them, or operator"
    )]
    NoSuchWay {
        /// One end.
        a: String,
        /// The other.
        b: String,
        /// The clouds there are.
        known: String,
    },

    /// The user's folder holds files that this lab did not write, or another lab's.
    #[error("{} {why}\nnext: {next}", path.display())]
    NotOurs {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        why: String,
        /// How to get on.
        next: String,
    },

    /// The options ask for something that the lab can't make.
    #[error("{option} is {value}: {why}\nnext: {next}")]
    BadOption {
        /// The option's name.
        option: &'static str,
        /// What it was set to.
        value: String,
        /// What is wrong with that.
        why: String,
        /// How to get on.
        next: String,
    },

    /// A host was named that the lab doesn't have.
    #[error("the lab has no `{name}`\nnext: name one of {known}")]
    UnknownHost {
        /// The name that was asked for.
        name: String,
        /// The hosts there are.
        known: String,
    },

    /// A host's machine doesn't run.
    #[error("host {host} doesn't run: {detail}\nnext: `kubewan lab reboot {host}` starts it again")]
    NotRunning {
        /// The host.
        host: String,
        /// What was seen.
        detail: String,
    },

    /// A program that the lab calls answered with an error.
    #[error("{attempted}: `{program}` said: {came_back}\nnext: {next}")]
    Program {
        /// What was being done, as a sentence's start.
        attempted: String,
        /// The program and its arguments.
        program: String,
        /// What it printed, or how it ended.
        came_back: String,
        /// How to get on.
        next: String,
    },

    /// A file or folder could not be read or written.
    #[error("{attempted} {}\nnext: {next}", path.display())]
    File {
        /// What was being done.
        attempted: &'static str,
        /// The file.
        path: PathBuf,
        /// How to get on.
        next: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },

    /// A wait ran out.
    #[error("waited {seconds} s for {awaited}: {came_back}\nnext: {next}")]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// How long.
        seconds: u64,
        /// What was seen last.
        came_back: String,
        /// How to get on.
        next: String,
    },
}

/// Turns an I/O result into a [`LabError::File`] that names the file.
pub(crate) trait OnPath<T> {
    /// `attempted` reads as a sentence's start: "write", "remove".
    fn on(self, attempted: &'static str, path: &Path) -> Result<T, LabError>;
}

impl<T> OnPath<T> for std::io::Result<T> {
    fn on(self, attempted: &'static str, path: &Path) -> Result<T, LabError> {
        self.map_err(|source| LabError::File {
            attempted,
            path: path.to_path_buf(),
            next: "see the cause; `kubewan lab down` removes whatever was made".into(),
            source,
        })
    }
}
