//! This host's journal, `journal.jsonl`: a line is synced to disk before the action it tells of is performed.
//! A line torn by a power cut is passed over, for nothing was done under it; the file is never rewritten.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

use kubewan_core::action::{Action, Observed};
use kubewan_core::journal::{Begun, Entry, FORMAT, cluster};
use kubewan_core::plan::reset;

use crate::act::Host;
use crate::disk::{make_private_dir, sync_dir};

/// Reads the whole journal; empty where there is none. What an action that was cut short had added to the host
/// is in it, from where it was noted at the time.
///
/// # Errors
/// Fails where it can't be read, or holds lines of a newer kubewan.
pub fn read(host: &Host) -> Result<Vec<Entry>, String> {
    let path = host.journal_path();
    let mut entries = match std::fs::read(&path) {
        Ok(bytes) => parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))?,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("can't read {}: {e}", path.display())),
    };
    entries.extend(noted(host, &entries));
    Ok(entries)
}

/// What was noted beside the journal by the action that was begun last.
fn noted(host: &Host, entries: &[Entry]) -> Option<Entry> {
    let text = std::fs::read_to_string(host.along_path()).ok()?;
    let along: Vec<String> = text.lines().map(str::to_owned).collect();
    let number = entries.iter().rev().find_map(|entry| match entry {
        Entry::Begun(begun) => Some(begun.number),
        _ => None,
    })?;
    (!along.is_empty()).then_some(Entry::Along { number, along })
}

/// What an entry's action added to the host.
pub fn along(entries: &[Entry], wanted: u64) -> impl Iterator<Item = &str> {
    entries
        .iter()
        .filter_map(move |entry| match entry {
            Entry::Ended { number, along, .. } | Entry::Along { number, along } => {
                (*number == wanted).then_some(along)
            }
            _ => None,
        })
        .flatten()
        .map(String::as_str)
}

/// Lines of a journal. What is no JSON was torn when the power went.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let entry: Entry = serde_json::from_value(value).map_err(|e| {
            format!("line {} is not of this kubewan's format ({e}); use the newer one", index + 1)
        })?;
        if let Entry::Opened { format, .. } = &entry
            && *format > FORMAT
        {
            return Err(format!("format {format} is newer than this kubewan's {FORMAT}"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// What was begun and not taken back, oldest first, and whether it ended.
pub fn standing(entries: &[Entry]) -> Vec<(&Begun, bool)> {
    let mut ended = BTreeSet::new();
    let mut undone = BTreeSet::new();
    for entry in entries {
        match entry {
            Entry::Ended { number, .. } => ended.insert(*number),
            Entry::Undone { number } => undone.insert(*number),
            _ => false,
        };
    }
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Begun(begun) if !undone.contains(&begun.number) => {
                Some((begun.as_ref(), ended.contains(&begun.number)))
            }
            _ => None,
        })
        .collect()
}

/// The number of the next line that tells of an action.
pub(crate) fn next_number(entries: &[Entry]) -> u64 {
    let begun = entries.iter().filter_map(|entry| match entry {
        Entry::Begun(begun) => Some(begun.number),
        _ => None,
    });
    begun.max().unwrap_or(0).saturating_add(1)
}

/// A journal that is written to.
pub struct Journal {
    file: File,
    next: u64,
    entries: Vec<Entry>,
    /// What is written from now on is done by a reset.
    pub reset: bool,
}

impl Journal {
    /// Opens this host's journal for a cluster, and makes it where there is none.
    ///
    /// # Errors
    /// Refuses a host whose journal tells of another cluster's things that still stand.
    pub fn open(host: &Host, cluster_name: &str) -> Result<Journal, String> {
        let path = host.journal_path();
        make_private_dir(host.root())?;
        let mut entries = read(host)?;
        let owner = cluster(&entries).map(str::to_owned);
        if let Some(other) = &owner
            && other != cluster_name
            && !reset::steps("this host", &entries).steps.is_empty()
        {
            return Err(format!(
                "this host belongs to the cluster `{other}`: {} tells of things that kubewan did for it. \
                 Give it back with `kubewan reset` and that cluster's file first, or take it out of `{cluster_name}`",
                path.display()
            ));
        }
        let fresh = owner.as_deref() != Some(cluster_name);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file =
            options.open(&path).map_err(|e| format!("can't open {}: {e}", path.display()))?;
        sync_dir(host.root())?;
        let next = next_number(&entries);
        let noted = noted(host, &entries);
        entries.truncate(entries.len() - usize::from(noted.is_some()));
        let mut journal = Journal { file, next, entries, reset: false };
        journal.end_torn_line().map_err(|e| format!("can't mend {}: {e}", path.display()))?;
        if let Some(noted) = noted {
            journal.write(noted)?;
            let _ = std::fs::remove_file(host.along_path());
        }
        if fresh {
            journal.write(Entry::Opened { format: FORMAT, cluster: cluster_name.into() })?;
        }
        Ok(journal)
    }

    /// What stands in it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Writes that an action is about to be performed, and returns the line's number.
    ///
    /// # Errors
    /// Fails where the line can't be brought to disk; the action must not be performed then.
    pub fn begin(
        &mut self,
        run: &str,
        step: &str,
        action: &Action,
        before: Observed,
        unix_s: i64,
    ) -> Result<u64, String> {
        let number = self.next;
        self.write(Entry::Begun(Box::new(Begun {
            number,
            run: run.into(),
            step: step.into(),
            action: action.clone(),
            before: without_text(before),
            unix_s,
            reset: self.reset,
        })))?;
        self.next = self.next.saturating_add(1);
        Ok(number)
    }

    /// Writes that it was performed and verified.
    ///
    /// # Errors
    /// Fails where the line can't be brought to disk.
    pub fn end(&mut self, number: u64, after: Observed, along: Vec<String>) -> Result<(), String> {
        self.write(Entry::Ended { number, after: without_text(after), along })
    }

    /// Writes that it was taken back.
    ///
    /// # Errors
    /// Fails where the line can't be brought to disk.
    pub fn undo(&mut self, number: u64) -> Result<(), String> {
        self.write(Entry::Undone { number })
    }

    fn write(&mut self, entry: Entry) -> Result<(), String> {
        let mut line = serde_json::to_vec(&entry).map_err(|e| format!("journal: {e}"))?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| format!("can't write the journal, so nothing was done: {e}"))?;
        self.entries.push(entry);
        Ok(())
    }

    fn end_torn_line(&mut self) -> std::io::Result<()> {
        if self.file.seek(SeekFrom::End(0))? == 0 {
            return Ok(());
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        if last != *b"\n" {
            self.file.write_all(b"\n")?;
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// The journal holds no file's text and no object's content: files are kept as blobs, and of the rest it is
/// enough that they were there.
fn without_text(seen: Observed) -> Observed {
    match seen {
        Observed::File(mut seen) => {
            seen.text = None;
            Observed::File(seen)
        }
        Observed::Block(mut seen) => {
            seen.text = seen.text.map(|_| String::new());
            Observed::Block(seen)
        }
        Observed::Object(mut seen) => {
            // Not null, which would read as none.
            seen.live = seen.live.map(|_| serde_json::json!({}));
            Observed::Object(seen)
        }
        other => other,
    }
}

/// Keeps a file's content under its hash, once.
///
/// # Errors
/// Fails where it can't be brought to disk.
pub fn keep_blob(host: &Host, bytes: &[u8]) -> Result<String, String> {
    let sha256 = kubewan_core::sha256_hex(bytes);
    let path = host.blob(&sha256);
    let dir = host.root().join("blobs");
    make_private_dir(host.root())?;
    make_private_dir(&dir)?;
    if path.exists() {
        return Ok(sha256);
    }
    let part = dir.join(format!("{sha256}.part"));
    let written: std::io::Result<()> = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)
    })();
    written.map_err(|e| format!("can't keep the first content as {}: {e}", path.display()))?;
    sync_dir(&dir)?;
    Ok(sha256)
}

#[cfg(test)]
mod tests {
    use kubewan_core::action::Sysctl;
    use kubewan_core::action::system::SysctlSeen;

    use super::*;

    fn goal() -> Action {
        Action::Sysctl(Sysctl {
            key: "net.ipv4.ip_forward".into(),
            value: "1".into(),
            ..Sysctl::default()
        })
    }

    fn seen(on: bool) -> Observed {
        Observed::Sysctl(SysctlSeen {
            value: Some(u8::from(on).to_string()),
            ..SysctlSeen::default()
        })
    }

    #[test]
    fn a_torn_line_is_passed_over_and_appended_after() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let mut journal = Journal::open(&host, "home").unwrap();
        assert_eq!(journal.begin("r1", "h/sysctl:x", &goal(), seen(false), 1), Ok(1));
        journal.end(1, seen(true), vec![]).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(host.journal_path()).unwrap();
        file.write_all(br#"{"begun":{"number":2,"run":"r2","st"#).unwrap();
        let mut journal = Journal::open(&host, "home").unwrap();
        assert_eq!(journal.begin("r2", "h/sysctl:x", &goal(), seen(false), 2), Ok(2));
        let entries = read(&host).unwrap();
        assert_eq!(entries.len(), 4);
        assert_eq!(
            standing(&entries).iter().map(|(b, e)| (b.number, *e)).collect::<Vec<_>>(),
            [(1, true), (2, false)]
        );
    }

    #[test]
    fn another_clusters_host_is_refused_until_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let mut journal = Journal::open(&host, "home").unwrap();
        let number = journal.begin("r1", "s", &goal(), seen(false), 1).unwrap();
        let error = Journal::open(&host, "work").err().unwrap();
        assert!(error.contains("belongs to the cluster `home`"), "{error}");
        journal.undo(number).unwrap();
        let journal = Journal::open(&host, "work").unwrap();
        assert_eq!(cluster(journal.entries()), Some("work"));
    }

    #[test]
    fn it_holds_no_text_of_files_and_no_objects() {
        use kubewan_core::action::cluster::ObjectSeen;
        use kubewan_core::action::file::{BlockSeen, FileSeen};
        let canary = "aHVudGVyMg";
        let text = Some(format!("password: {canary}"));
        let live = Some(serde_json::json!({"kind": "Secret", "data": {"key": canary}}));
        let file = FileSeen { text: text.clone(), ..FileSeen::default() };
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let mut journal = Journal::open(&host, "home").unwrap();
        for seen in [
            Observed::File(file),
            Observed::Block(BlockSeen { text }),
            Observed::Object(ObjectSeen { live }),
        ] {
            let number = journal.begin("r", "s", &goal(), seen.clone(), 1).unwrap();
            journal.end(number, seen, vec![]).unwrap();
        }
        let written = std::fs::read_to_string(host.journal_path()).unwrap();
        assert!(!written.contains(canary), "{written}");
        // Whether there was one is still told.
        let there: Vec<bool> = read(&host)
            .unwrap()
            .iter()
            .filter_map(|entry| match entry {
                Entry::Begun(begun) => Some(&begun.before),
                _ => None,
            })
            .filter_map(|before| match before {
                Observed::Block(seen) => Some(seen.text.is_some()),
                Observed::Object(seen) => Some(seen.live.is_some()),
                _ => None,
            })
            .collect();
        assert_eq!(there, [true, true]);
        let metadata = std::fs::metadata(host.journal_path()).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777, 0o600);
    }

    #[test]
    fn a_number_that_nobody_counted_to_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let mut journal = Journal::open(&host, "home").unwrap();
        journal.next = u64::MAX;
        journal.begin("r", "s", &goal(), seen(false), 1).unwrap();
        let mut journal = Journal::open(&host, "home").unwrap();
        assert_eq!(journal.begin("r", "s", &goal(), seen(false), 1), Ok(u64::MAX));
    }

    #[test]
    fn a_newer_format_is_refused() {
        assert!(parse(br#"{"opened":{"format":2,"cluster":"x"}}"#).is_err());
        assert!(parse(br#"{"renamed":{}}"#).is_err());
        assert_eq!(parse(b""), Ok(vec![]));
    }
}
