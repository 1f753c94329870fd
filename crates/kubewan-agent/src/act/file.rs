//! Files, marked blocks in files, and paths that are to be gone.

use std::fs::File as Handle;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewan_core::action::file::{BlockSeen, FileSeen, FileState, RemovedSeen};
use kubewan_core::action::{Action, Block, Content, Extent, File, Observed, Removed};

use super::unit::reload_for;
use super::{Host, Performing};
use crate::command::Program;
use crate::disk::{self, Access};
use crate::journal;

/// Largest file whose text is shown.
const TEXT_MAX: u64 = 256 << 10;

/// Largest file that a block may stand in.
const BLOCK_FILE_MAX: u64 = 8 << 20;

/// Folders that are never removed, whatever is asked.
const PROTECTED: &[&str] = &[
    "/etc/apt",
    "/etc/default",
    "/etc/network",
    "/etc/ssh",
    "/etc/sysctl.d",
    "/etc/systemd",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var/cache",
    "/var/lib",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/log",
];

/// Where Docker keeps all that it has.
const DOCKERS_FOLDER: &str = "/var/lib/docker";

/// Looks at what is at the path, without following a link.
pub fn observe_file(goal: &File, host: &Host) -> Result<FileSeen, String> {
    let path = Path::new(&goal.path);
    let failed = |e: std::io::Error| format!("can't read {}: {e}", goal.path);
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(FileSeen::default());
        }
        Err(e) => return Err(failed(e)),
    };
    let mut seen = FileSeen {
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        ..FileSeen::default()
    };
    if metadata.is_symlink() {
        let target = std::fs::read_link(path).map_err(failed)?;
        seen.other = Some(format!("symlink to {}", target.display()));
    } else if metadata.is_dir() {
        seen.other = Some("directory".into());
    } else if !metadata.is_file() {
        seen.other = Some("special file".into());
    } else if metadata.len() <= TEXT_MAX {
        let bytes = std::fs::read(path).map_err(failed)?;
        seen.sha256 = Some(kubewan_core::sha256_hex(&bytes));
        seen.text = String::from_utf8(bytes).ok();
    } else {
        seen.sha256 = Some(host.seen().sha256(path).map_err(failed)?);
    }
    Ok(seen)
}

/// Writes the file, whole or not at all, or takes it away.
pub fn perform_file(goal: &File, seen: &FileSeen, cx: &mut Performing<'_>) -> Result<(), String> {
    let path = Path::new(&goal.path);
    if !path.is_absolute() {
        return Err(format!("{} is no absolute path", goal.path));
    }
    if seen.other.as_deref() == Some("directory") {
        return Err(format!(
            "{} is a folder and a file has to be there; move the folder away, then run kubewan again",
            goal.path
        ));
    }
    if goal.state == FileState::Absent {
        disk::remove(path)?;
        remove_our_empty_parents(path, cx.host)?;
        return reload_for(&goal.path);
    }
    cx.record(disk::missing_parents(path).iter().map(|dir| format!("dir:{}", dir.display())))?;
    disk::make_parents(path)?;
    match &goal.state {
        FileState::Absent => Ok(()),
        FileState::Link { target } => {
            disk::link_atomic(path, target)?;
            reload_for(&goal.path)
        }
        FileState::Present { content, mode, owner } => {
            let access = Access { mode: *mode, uid: owner.0, gid: owner.1 };
            write(goal, content, access, cx)?;
            // One of ours is a unit's step's to bring in.
            if matches!(content, Content::Blob(_)) { reload_for(&goal.path) } else { Ok(()) }
        }
    }
}

fn write(
    goal: &File,
    content: &Content,
    access: Access,
    cx: &Performing<'_>,
) -> Result<(), String> {
    let wanted = content.sha256();
    let check = |sha256: &str| {
        if sha256 == wanted {
            return Ok(());
        }
        if let Content::Artifact(artifact) = content {
            let _ = std::fs::remove_file(cx.host.artifact(&artifact.sha256));
        }
        Err(format!(
            "{}: the content that is to be written has sha256 {sha256}, not {wanted}; run kubewan again, \
             and it is uploaded anew",
            goal.path
        ))
    };
    let mut bytes = open_content(content, cx.host)?;
    disk::write_atomic(Path::new(&goal.path), &mut bytes, access, &check).map(drop)
}

fn open_content<'a>(content: &'a Content, host: &Host) -> Result<Box<dyn Read + 'a>, String> {
    let open = |path: PathBuf, what: &str| -> Result<Box<dyn Read + 'a>, String> {
        let file = Handle::open(&path)
            .map_err(|e| format!("can't read {what} at {}: {e}", path.display()))?;
        Ok(Box::new(file))
    };
    match content {
        Content::Text(text) => Ok(Box::new(text.as_bytes())),
        Content::Artifact(artifact) => {
            open(host.artifact(&artifact.sha256), &format!("{} of the bundle", artifact.name))
        }
        Content::Blob(sha256) => open(host.blob(sha256), "the content that was kept"),
    }
}

/// Takes away folders above a path that are empty now and that kubewan made.
fn remove_our_empty_parents(path: &Path, host: &Host) -> Result<(), String> {
    let made = made_folders(host)?;
    for dir in path.ancestors().skip(1) {
        let ours = made.iter().any(|made| made == dir);
        // A folder that is not empty has got other owners meanwhile.
        if !ours || std::fs::remove_dir(dir).is_err() {
            break;
        }
    }
    Ok(())
}

/// Folders that kubewan made and that are not given back.
fn made_folders(host: &Host) -> Result<Vec<PathBuf>, String> {
    let entries = journal::read(host)?;
    let lines = journal::standing(&entries)
        .into_iter()
        .flat_map(|(b, _)| journal::along(&entries, b.number));
    let paths = lines.filter_map(|line| line.strip_prefix("dir:").or(line.strip_prefix("tree:")));
    Ok(paths.map(PathBuf::from).collect())
}

/// Notes how folders are that programs are about to fill.
pub fn record_trees(paths: &[&str], cx: &mut Performing<'_>) -> Result<(), String> {
    let lines = trees(paths, cx.host)?;
    cx.record(lines)
}

/// How folders are: not there, empty, or someone's.
pub fn trees(paths: &[&str], host: &Host) -> Result<Vec<String>, String> {
    let made = made_folders(host)?;
    let mut lines = Vec::new();
    for path in paths {
        let folder = Path::new(path);
        let word = match std::fs::symlink_metadata(folder) {
            Err(_) => "tree",
            Ok(_) if made.iter().any(|made| made == folder) => "tree",
            Ok(m) if m.is_dir() && children(folder)?.is_empty() => "contents",
            Ok(_) => "foreign",
        };
        lines.push(format!("{word}:{path}"));
    }
    Ok(lines)
}

/// Removes what killed writes of these actions left beside their files.
pub fn remove_parts<'a>(actions: impl Iterator<Item = (&'a Action, &'a Observed)>) {
    for path in actions.flat_map(|(action, before)| super::files_written(action, before)) {
        disk::remove_part(&path);
    }
}

/// Keeps the content of a file under its hash before it is changed. `None` where there is none.
pub fn keep_first(path: &str, host: &Host) -> Result<Option<String>, String> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() || metadata.is_symlink() => {}
        _ => return Ok(None),
    }
    match std::fs::read(path) {
        Ok(bytes) => journal::keep_blob(host, &bytes).map(Some),
        // A link that leads nowhere.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("can't keep the first content of {path}: {e}")),
    }
}

/// Reads the file around the block.
pub fn observe_block(goal: &Block, _host: &Host) -> Result<BlockSeen, String> {
    match std::fs::metadata(&goal.path) {
        Ok(metadata) if metadata.len() > BLOCK_FILE_MAX => {
            return Err(format!(
                "{} has {} bytes, too many for a block",
                goal.path,
                metadata.len()
            ));
        }
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BlockSeen { text: None }),
        _ => {}
    }
    match std::fs::read_to_string(&goal.path) {
        Ok(text) => Ok(BlockSeen { text: Some(text) }),
        Err(e) => Err(format!("can't read {}: {e}", goal.path)),
    }
}

/// Puts the block in, changes or removes it; the file keeps mode and owner, and stays where a link leads.
pub fn perform_block(
    goal: &Block,
    seen: &BlockSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let text = goal.render(seen.text.as_deref().unwrap_or_default());
    let path = match std::fs::canonicalize(&goal.path) {
        Ok(path) => path,
        Err(_) => {
            let path = PathBuf::from(&goal.path);
            let missing = disk::missing_parents(&path);
            cx.record(missing.iter().map(|dir| format!("dir:{}", dir.display())))?;
            disk::make_parents(&path)?;
            path
        }
    };
    rewrite(&path, &text)
}

/// As [`rewrite`], for a file that is no goal of its own and that a reset puts back ([`Performing::record_left`]).
pub fn rewrite_kept(path: &Path, text: &str, cx: &mut Performing<'_>) -> Result<(), String> {
    cx.record_left(&path.to_string_lossy(), text)?;
    rewrite(path, text)
}

/// Replaces a file's text; mode and owner stay.
fn rewrite(path: &Path, text: &str) -> Result<(), String> {
    let access = match std::fs::metadata(path) {
        Ok(m) => Access { mode: m.mode() & 0o7777, uid: m.uid(), gid: m.gid() },
        Err(_) => Access::root(0o644),
    };
    disk::write_atomic(path, &mut text.as_bytes(), access, &|_| Ok(())).map(drop)
}

/// Looks whether something is at the path. A disk of its own that is mounted there and empty counts as gone.
pub fn observe_removed(goal: &Removed, _host: &Host) -> Result<RemovedSeen, String> {
    let path = Path::new(&goal.path);
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if goal.extent == Extent::IfEmpty => {
            let empty_file = metadata.is_file() && metadata.len() == 0;
            let empty =
                || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            let empty_folder = metadata.is_dir() && empty() && !is_mount(&mountinfo()?, &goal.path);
            let exists = empty_file || empty_folder;
            Ok(RemovedSeen { exists, ..RemovedSeen::default() })
        }
        Ok(metadata) if metadata.is_dir() && goal.extent == Extent::Contents => {
            Ok(RemovedSeen { exists: !children(path)?.is_empty(), volumes: volumes(path) })
        }
        Ok(_) if goal.extent == Extent::Contents => Ok(RemovedSeen::default()),
        Ok(metadata) if metadata.is_dir() => {
            let empty_mount = is_mount(&mountinfo()?, &goal.path) && children(path)?.is_empty();
            Ok(RemovedSeen { exists: !empty_mount, volumes: volumes(path) })
        }
        Ok(_) => Ok(RemovedSeen { exists: true, ..RemovedSeen::default() }),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(RemovedSeen::default())
        }
        Err(e) => Err(format!("can't look at {}: {e}", goal.path)),
    }
}

/// Docker's volumes in its folder: each is a folder of its own beside Docker's database of them (moby, volume/local). The
/// kubelet's containers have none.
fn volumes(dir: &Path) -> Vec<String> {
    if dir != Path::new(DOCKERS_FOLDER) {
        return Vec::new();
    }
    let entries = std::fs::read_dir(dir.join("volumes")).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<String> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What is in a folder, but for what a file system itself puts there.
fn children(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("can't look into {}: {e}", dir.display());
    let entries = std::fs::read_dir(dir).map_err(failed)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.retain(|path| path.file_name().is_none_or(|name| name != "lost+found"));
    Ok(paths)
}

/// Unmounts what is mounted below the path, then removes it with all below it. Where it is a disk of its
/// own, that stays mounted, and empty.
pub fn perform_removed(
    goal: &Removed,
    _seen: &RemovedSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let path = Path::new(&goal.path);
    if goal.extent == Extent::IfEmpty {
        return if path.is_dir() {
            std::fs::remove_dir(path).map_err(|e| format!("can't remove {}: {e}", goal.path))
        } else {
            disk::remove(path)
        };
    }
    refuse_unsafe(&goal.path)?;
    let failed = |e: std::io::Error| format!("can't remove {}: {e}", goal.path);
    if !path.is_dir() || path.is_symlink() {
        disk::remove(path)?;
        return remove_our_empty_parents(path, cx.host);
    }
    unmount_below(&goal.path, cx)?;
    if goal.extent == Extent::Whole && !is_mount(&mountinfo()?, &goal.path) {
        std::fs::remove_dir_all(path).map_err(failed)?;
        return remove_our_empty_parents(path, cx.host);
    }
    for child in children(path)? {
        let folder = std::fs::symlink_metadata(&child).map_err(failed)?.is_dir();
        let removed =
            if folder { std::fs::remove_dir_all(&child) } else { std::fs::remove_file(&child) };
        removed.map_err(failed)?;
    }
    Ok(())
}

/// Refuses paths whose loss would cost more than a cluster.
pub(crate) fn refuse_unsafe(path: &str) -> Result<(), String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let plain = path.starts_with('/') && !parts.iter().any(|part| matches!(*part, "." | ".."));
    let normal = format!("/{}", parts.join("/"));
    if !plain || parts.len() < 2 || PROTECTED.contains(&normal.as_str()) {
        return Err(format!("{path} is not removed: it holds more than what kubewan made"));
    }
    Ok(())
}

fn mountinfo() -> Result<String, String> {
    std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|e| format!("can't read /proc/self/mountinfo: {e}"))
}

pub(super) fn unmount_below(path: &str, cx: &mut Performing<'_>) -> Result<(), String> {
    for attempt in 0..4 {
        let mounts = mounts_below(&mountinfo()?, path);
        if mounts.is_empty() {
            return Ok(());
        }
        for mount in &mounts {
            (cx.progress)(&format!("unmounts {mount}"));
            let mut program = Program::new("umount").timeout(Duration::from_secs(20));
            // What is still busy after three rounds goes as soon as its last user ends.
            if attempt == 3 {
                program = program.arg("--lazy");
            }
            let _ = program.arg(mount).output();
        }
        std::thread::sleep(Duration::from_millis(300 * attempt));
    }
    match mounts_below(&mountinfo()?, path).first() {
        Some(mount) => Err(format!(
            "{mount} can't be unmounted, so {path} is not removed; see `fuser -vm {mount}` for who uses it"
        )),
        None => Ok(()),
    }
}

/// Mount points below a path, the last mounted first.
pub(crate) fn mounts_below(mountinfo: &str, path: &str) -> Vec<String> {
    let below = format!("{}/", path.trim_end_matches('/'));
    let mut mounts: Vec<String> =
        mount_points(mountinfo).filter(|mount| mount.starts_with(&below)).collect();
    mounts.reverse();
    mounts
}

pub(crate) fn is_mount(mountinfo: &str, path: &str) -> bool {
    mount_points(mountinfo).any(|mount| mount == path.trim_end_matches('/'))
}

pub(crate) fn mount_points(mountinfo: &str) -> impl Iterator<Item = String> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape)
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
