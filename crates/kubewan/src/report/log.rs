//! The log file: everything that happens in a run, with times, whatever is shown. Appended to, its owner's alone, and
//! without secrets, since nothing that is told here holds any.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;

use time::OffsetDateTime;

use super::style;

/// An open log file.
#[derive(Debug)]
pub struct Log(Mutex<File>);

impl Log {
    /// Opens a file to append to; a regular file becomes its owner's alone first.
    ///
    /// # Errors
    /// Fails where it can't be opened, or not be closed to others.
    pub fn open(path: &Path) -> io::Result<Log> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(Log(Mutex::new(file)))
    }

    /// Writes lines, each with the time and its kind. That it can't be written ends no run.
    pub fn write(&self, kind: &str, text: &str) {
        let time = stamp(OffsetDateTime::now_utc());
        let plain = style::plain(text);
        let lines = plain.lines().filter(|line| !line.trim().is_empty());
        let text: String = lines.map(|line| format!("{time} {kind:<6} {line}\n")).collect();
        if let Ok(mut file) = self.0.lock() {
            // In one piece: several runs may share a file.
            let _ = file.write_all(text.as_bytes());
        }
    }
}

/// RFC 3339, in UTC and always with milliseconds, so that lines can be sorted and cut.
fn stamp(time: OffsetDateTime) -> String {
    let (hour, minute, second, millisecond) = time.time().as_hms_milli();
    let (date, zone) = (time.date(), 'Z');
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_form() {
        let time = OffsetDateTime::from_unix_timestamp(1_795_666_086).unwrap();
        assert_eq!(stamp(time), "2026-11-26T04:08:06.000Z");
    }

    #[test]
    fn it_is_appended_to_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let log = Log::open(&path).unwrap();
        log.write("error", &style::diagnostic("error: x\n  = help: y\n"));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], "before");
        assert!(lines[1].ends_with("Z error  error: x"), "{text}");
        assert!(lines[2].ends_with("Z error    = help: y"), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Log::open(folder.path()).is_err());
    }
}
