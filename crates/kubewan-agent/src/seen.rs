//! What was once worked out about files of this host: their sums, and the versions that programs print. Both take far
//! longer than to see that a file has not changed since.
//!
//! A file has not changed where device, inode, size and both times, to the nanosecond, are what they were. A program can
//! set a file's mtime, but not its ctime, which the kernel sets at every change of content, mode, owner or name
//! (inode(7)).

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::command::{self, Program};
use crate::disk::{self, Access};

/// Where it is kept below kubewan's own folder: beside the agent, and gone when another one takes its place.
const FILE: &str = "agent/seen.json";

/// A file must not have changed for so long before it is read, in nanoseconds. The kernel's stamps go in steps, of some
/// milliseconds or of a second on old file systems: a change that follows another within a step leaves no trace (git's
/// Documentation/technical/racy-git.txt).
const SETTLED_NS: i128 = 2_000_000_000;

/// Largest number of things that are kept; a host has a dozen.
const MOST: usize = 500;

/// What tells that a file is the same as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether any later change would show at a time (nanoseconds since 1970).
    fn is_settled(&self, now_ns: i128) -> bool {
        let (seconds, ns) = self.changed;
        i128::from(seconds) * 1_000_000_000 + i128::from(ns) + SETTLED_NS < now_ns
    }
}

/// Something that is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    identity: Identity,
    /// The boot that it was found out in: what was not on disk when the power went, the next one finds.
    boot: String,
    value: String,
}

/// What is known, by the question and the path.
type Table = BTreeMap<String, Known>;

/// What this host knows of its files.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until the file was read.
    table: Option<Table>,
    is_new: bool,
}

impl Seen {
    /// What is known in a folder of kubewan's; it is read when the first question comes.
    pub fn below(root: &Path) -> Seen {
        Seen { path: root.join(FILE), state: Mutex::default() }
    }

    /// The SHA-256 of a file.
    ///
    /// # Errors
    /// Fails where it can't be read.
    pub fn sha256(&self, path: &Path) -> std::io::Result<String> {
        self.ask("sha256", path, || disk::sha256_of(path))
    }

    /// What a program prints, with the same arguments always, that says which version it is. `None` where there is no
    /// such program or it fails.
    pub fn version(&self, name: &str, args: &[&str]) -> Option<String> {
        let path = std::fs::canonicalize(command::find(name)?).ok()?;
        // By its path: it has to be the file that is looked at.
        let print = || Program::new(path.to_string_lossy()).args(args.iter().copied()).stdout();
        // A script, or a link to a program that stands for many (`snap`), says what yet other files make it say.
        if path.file_name().is_some_and(|file| file == name) && is_elf(&path) {
            self.ask("version", &path, || print().map_err(std::io::Error::other)).ok()
        } else {
            print().ok()
        }
    }

    /// What is known of the file as it is, else what is found out.
    fn ask(
        &self,
        question: &str,
        path: &Path,
        find_out: impl FnOnce() -> std::io::Result<String>,
    ) -> std::io::Result<String> {
        let now = now_ns();
        let identity = Identity::of(&std::fs::metadata(path)?);
        let key = format!("{question} {}", path.display());
        let known = self.table(|table| table.get(&key).cloned());
        let boot = boot();
        if let Some(known) = known.filter(|known| known.identity == identity && known.boot == boot)
        {
            return Ok(known.value);
        }
        let value = find_out()?;
        // One that changes while it is read is not known.
        let same = Identity::of(&std::fs::metadata(path)?) == identity;
        if same && identity.is_settled(now) {
            let known = Known { identity, boot, value: value.clone() };
            self.table(|table| {
                if table.len() < MOST || table.contains_key(&key) {
                    table.insert(key, known);
                }
            });
            self.lock().is_new = true;
        }
        Ok(value)
    }

    /// Brings what is new to disk, for the next connection. Where that fails, the next one finds out anew.
    pub fn keep(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.is_new) {
            return;
        }
        // A host that has no agent gets nothing.
        let folder = self.path.parent().is_some_and(Path::is_dir);
        if let (true, Some(Ok(json))) = (folder, state.table.as_ref().map(serde_json::to_vec)) {
            let access = Access::root(0o600);
            let _ = disk::write_atomic(&self.path, &mut json.as_slice(), access, &|_| Ok(()));
        }
    }

    fn table<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        let mut state = self.lock();
        let read = || parse(&std::fs::read(&self.path).unwrap_or_default());
        work(state.table.get_or_insert_with(read))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what was kept; what makes no sense is nothing.
fn parse(bytes: &[u8]) -> Table {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// How many things a file of ours tells of, whatever is in it.
pub(crate) fn count(bytes: &[u8]) -> usize {
    parse(bytes).len()
}

/// A program of machine code, and no script.
fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

/// proc_sys_kernel(5).
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

fn now_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or_default()
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
