//! Files that are either old or new, whenever the power goes: written beside their place, synced, renamed.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::command::{Program, exists};

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Access {
    /// Root's, with these permission bits.
    pub fn root(mode: u32) -> Self {
        Access { mode, uid: 0, gid: 0 }
    }
}

/// Replaces what is at a path by a file with this content, and returns the content's SHA-256.
///
/// A symbolic link at the path is replaced, not followed. The check sees the SHA-256 before the file takes
/// its place.
///
/// # Errors
/// Fails where the file can't be written or the check refuses it; what was there is then untouched.
pub fn write_atomic(
    path: &Path,
    content: &mut dyn Read,
    access: Access,
    check: &dyn Fn(&str) -> Result<(), String>,
) -> Result<String, String> {
    let failed = |what: &str, e: std::io::Error| format!("can't {what} {}: {e}", path.display());
    let (dir, part) = beside(path)?;
    // One batch runs at a time: what is there was left by one that was killed.
    match std::fs::remove_file(&part) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("write beside", e)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .map_err(|e| failed("write beside", e))?;
    let written: Result<String, String> = (|| {
        let sha256 = copy(content, &mut file).map_err(|e| failed("write", e))?;
        check(&sha256)?;
        fchown(&file, Some(access.uid), Some(access.gid)).map_err(|e| failed("own", e))?;
        file.set_permissions(Permissions::from_mode(access.mode))
            .and_then(|()| file.sync_all())
            .map_err(|e| failed("write", e))?;
        rename_over(&part, path).map_err(|e| failed("put a new file at", e))?;
        Ok(sha256)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    let sha256 = written?;
    sync_dir(&dir)?;
    restore_context(path);
    Ok(sha256)
}

/// Replaces what is at a path by a symbolic link.
///
/// # Errors
/// Fails where it can't be made; what was there is then untouched.
pub fn link_atomic(path: &Path, target: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("can't link {} to {target}: {e}", path.display());
    let (dir, part) = beside(path)?;
    let _ = std::fs::remove_file(&part);
    std::os::unix::fs::symlink(target, &part).map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)?;
    sync_dir(&dir)
}

/// The folder of a path, and the place beside it where its next content is written. The name begins with a
/// dot, for services that read whole folders.
fn beside(path: &Path) -> Result<(PathBuf, PathBuf), String> {
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => {
            Ok((dir.to_owned(), dir.join(format!(".{}.kubewan", name.to_string_lossy()))))
        }
        _ => Err(format!("{} is no path of a file", path.display())),
    }
}

/// Removes a file that may not be there, and brings that to disk.
///
/// # Errors
/// Fails where it can't be removed.
pub fn remove(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(format!("can't remove {}: {e}", path.display()))
        }
        _ => path.parent().filter(|dir| dir.exists()).map_or(Ok(()), sync_dir),
    }
}

/// Removes what a write of a path that was killed left beside it; what can't be removed stays.
pub fn remove_part(path: &Path) {
    if let Ok((_, part)) = beside(path) {
        let _ = std::fs::remove_file(part);
    }
}

/// Renames; a file that something is mounted on can't be renamed over, so its bytes are replaced.
fn rename_over(part: &Path, path: &Path) -> std::io::Result<()> {
    match std::fs::rename(part, path) {
        Err(e) if e.kind() == ErrorKind::ResourceBusy => {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).truncate(true).open(path)?;
            std::io::copy(&mut File::open(part)?, &mut file)?;
            file.sync_all()?;
            std::fs::remove_file(part)
        }
        other => other,
    }
}

/// Copies to the end and returns the SHA-256 of what was copied.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(kubewan_core::hex(&hash.finalize())),
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
}

/// SHA-256 of a file, read in pieces.
///
/// # Errors
/// Fails where it can't be read.
pub fn sha256_of(path: &Path) -> std::io::Result<String> {
    copy(&mut File::open(path)?, &mut std::io::sink())
}

/// Makes the missing folders above a path (0755) and returns them, outermost first.
///
/// # Errors
/// Fails where one can't be made.
pub fn make_parents(path: &Path) -> Result<Vec<PathBuf>, String> {
    let missing = missing_parents(path);
    for dir in &missing {
        std::fs::DirBuilder::new()
            .mode(0o755)
            .create(dir)
            .map_err(|e| format!("can't make the folder {}: {e}", dir.display()))?;
        restore_context(dir);
    }
    Ok(missing)
}

/// Folders above a path that are not there, outermost first.
pub fn missing_parents(path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<PathBuf> = path
        .ancestors()
        .skip(1)
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .map(Path::to_owned)
        .collect();
    missing.reverse();
    missing
}

/// A folder that only root may enter.
///
/// # Errors
/// Fails where it can't be made.
pub fn make_private_dir(path: &Path) -> Result<(), String> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        // One that was there may have been made under another mask.
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|e| format!("can't make the folder {}: {e}", path.display()))
}

/// Brings a folder's names to disk.
///
/// # Errors
/// Fails where that is not possible.
pub fn sync_dir(path: &Path) -> Result<(), String> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| format!("can't sync the folder {}: {e}", path.display()))
}

/// Gives a path the SELinux context that the policy has for it. A new file has its folder's, with which
/// systemd may not start it.
fn restore_context(path: &Path) {
    if Path::new("/sys/fs/selinux/enforce").exists() && exists("restorecon") {
        // Where there is no rule for the path this fails, and the folder's context is as good as any.
        let _ = Program::new("restorecon").arg(path.to_string_lossy()).output();
    }
}

/// Free bytes for root where a path is, or would be.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) -> Result<String, String> {
        let root = std::fs::metadata("/proc/self").unwrap();
        let uid = std::os::unix::fs::MetadataExt::uid(&root);
        let gid = std::os::unix::fs::MetadataExt::gid(&root);
        write_atomic(path, &mut text.as_bytes(), Access { mode, uid, gid }, &|_| Ok(()))
    }

    #[test]
    fn replaces_a_link_and_leaves_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (target, path) = (dir.path().join("target"), dir.path().join("file"));
        std::fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        write(&path, "ours", 0o640).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "theirs");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((metadata.is_file(), metadata.permissions().mode() & 0o7777), (true, 0o640));
    }

    #[test]
    fn a_refused_content_leaves_the_old_one_and_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let refuse = |_: &str| Err("damaged".to_owned());
        let error = write_atomic(&path, &mut "new".as_bytes(), Access::root(0o644), &refuse);
        assert_eq!(error, Err("damaged".into()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_rest_of_a_killed_batch_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(dir.path().join(".file.kubewan"), "half").unwrap();
        write(&path, "new", 0o644).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_the_folders_it_makes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        let made = make_parents(&path).unwrap();
        assert_eq!(made, [dir.path().join("a"), dir.path().join("a/b")]);
        assert_eq!(make_parents(&path).unwrap(), Vec::<PathBuf>::new());
    }
}
