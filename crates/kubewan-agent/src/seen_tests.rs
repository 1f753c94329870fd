use std::fs::FileTimes;
use std::thread::sleep;
use std::time::Duration;

use super::*;

/// A folder of kubewan's with a file beside it that has not changed for long enough.
fn settled(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("agent")).unwrap();
    let path = dir.path().join("program");
    std::fs::write(&path, text).unwrap();
    sleep(Duration::from_nanos(SETTLED_NS as u64) + Duration::from_millis(50));
    (dir, path)
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn sum(text: &str) -> String {
    kubewan_core::sha256_hex(text.as_bytes())
}

#[test]
fn a_file_that_changed_in_its_size_and_mtime_is_seen() {
    let (dir, path) = settled("good bytes");
    let seen = Seen::below(dir.path());
    assert_eq!(seen.sha256(&path).unwrap(), sum("good bytes"));
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "evil bytes").unwrap();
    set_modified(&path, modified);
    let now = std::fs::metadata(&path).unwrap();
    assert_eq!((now.modified().unwrap(), now.len()), (modified, 10), "only ctime tells");
    assert_eq!(seen.sha256(&path).unwrap(), sum("evil bytes"));
    // Another file in its place, of the same size and times.
    let other = dir.path().join("other");
    std::fs::write(&other, "more bytes").unwrap();
    set_modified(&other, modified);
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(seen.sha256(&path).unwrap(), sum("more bytes"));
}

#[test]
fn what_is_known_is_not_found_out_again() {
    let (dir, path) = settled("bytes");
    let answer =
        |seen: &Seen, value: &str| seen.ask("sha256", &path, || Ok(value.to_owned())).unwrap();
    let seen = Seen::below(dir.path());
    assert_eq!(answer(&seen, "first"), "first");
    assert_eq!(answer(&seen, "second"), "first");
    assert_eq!(answer(&Seen::below(dir.path()), "not kept yet"), "not kept yet");
    seen.keep();
    assert_eq!(answer(&Seen::below(dir.path()), "another connection"), "first");
    let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(dir.path().join(FILE), "torn").unwrap();
    assert_eq!(answer(&Seen::below(dir.path()), "anew"), "anew");
}

#[test]
fn a_file_that_may_change_unseen_is_read_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("program");
    std::fs::write(&path, "just now").unwrap();
    let seen = Seen::below(dir.path());
    for value in ["first", "second"] {
        assert_eq!(seen.ask("sha256", &path, || Ok(value.into())).unwrap(), value);
    }
    // One that changes while it is read.
    let (_dir, path) = settled("old");
    let change = || {
        std::fs::write(&path, "new").unwrap();
        Ok("old".to_owned())
    };
    assert_eq!(seen.ask("sha256", &path, change).unwrap(), "old");
    assert_eq!(seen.sha256(&path).unwrap(), sum("new"));
}

#[test]
fn a_clock_that_was_set_back_settles_nothing() {
    let identity = Identity { device: 1, inode: 1, size: 1, modified: (10, 0), changed: (10, 5) };
    assert!(!identity.is_settled(9_000_000_000));
    assert!(!identity.is_settled(12_000_000_005));
    assert!(identity.is_settled(12_000_000_006));
}

#[test]
fn a_host_without_kubewan_gets_nothing() {
    let (dir, path) = settled("bytes");
    let nowhere = dir.path().join("nowhere");
    let seen = Seen::below(&nowhere);
    seen.sha256(&path).unwrap();
    seen.keep();
    assert!(!nowhere.exists());
}

#[test]
fn versions_of_programs_are_known_and_scripts_are_asked() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen::below(dir.path());
    assert!(seen.version("cat", &["--version"]).is_some_and(|said| said.contains("cat")));
    assert!(seen.version("no-such-program", &[]).is_none());
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    assert!(!is_elf(&script) && !is_elf(dir.path()));
    assert!(is_elf(&std::env::current_exe().unwrap()));
}
