//! Files of the bundle on their way to this host: appended to `artifacts/<sha256>.part`, resumed where a
//! connection broke, checked as a whole before they get their name.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use kubewan_core::protocol::{CHUNK, Response};

use crate::act::Host;
use crate::disk;

/// Bytes that stay free on the disk: the host has to live with what is left.
const RESERVE: u64 = 256 << 20;

/// How much of an artifact is there.
///
/// # Errors
/// Fails on a name that is no SHA-256, and where the file can't be looked at.
pub fn offset(host: &Host, sha256: &str) -> Result<Response, String> {
    let (whole, part) = paths(host, sha256)?;
    if let Ok(metadata) = std::fs::metadata(&whole) {
        return Ok(Response::Stored { bytes: metadata.len(), complete: true });
    }
    Ok(Response::Stored { bytes: length(&part)?, complete: false })
}

/// Appends the next bytes of an artifact (a zstd frame). Bytes for another place than the end of what is
/// there are not written; the answer says where to go on.
///
/// # Errors
/// Fails where the disk is full, the frame is damaged, or the whole has another hash: it is deleted then.
pub fn upload(
    host: &Host,
    sha256: &str,
    offset: u64,
    last: bool,
    frame: &[u8],
) -> Result<Response, String> {
    let (whole, part) = paths(host, sha256)?;
    let bytes = zstd::bulk::decompress(frame, CHUNK).map_err(|e| {
        format!("the bytes for artifact {sha256} at {offset} can't be unpacked: {e}")
    })?;
    if let Ok(metadata) = std::fs::metadata(&whole) {
        return Ok(Response::Stored { bytes: metadata.len(), complete: true });
    }
    let dir = host.root().join("artifacts");
    disk::make_private_dir(host.root())?;
    disk::make_private_dir(&dir)?;
    let have = length(&part)?;
    if have != offset {
        return Ok(Response::Stored { bytes: have, complete: false });
    }
    if let Some(free) = disk::free_bytes(&dir)
        && free < RESERVE + bytes.len() as u64
    {
        return Err(format!(
            "only {} MiB are free where {} lies, too few for the bundle; make room there, then run kubewan again",
            free >> 20,
            dir.display()
        ));
    }
    let failed = |e: std::io::Error| format!("can't write {}: {e}", part.display());
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(&part).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    let have = have + bytes.len() as u64;
    if !last {
        return Ok(Response::Stored { bytes: have, complete: false });
    }
    file.sync_all().map_err(failed)?;
    let found = disk::sha256_of(&part).map_err(failed)?;
    if found != sha256 {
        std::fs::remove_file(&part).map_err(failed)?;
        return Err(format!(
            "the uploaded artifact has sha256 {found}, not {sha256}, and was deleted; check the bundle with \
             `kubewan bundle check`, then run kubewan again"
        ));
    }
    std::fs::rename(&part, &whole).map_err(failed)?;
    disk::sync_dir(&dir)?;
    Ok(Response::Stored { bytes: have, complete: true })
}

fn paths(host: &Host, sha256: &str) -> Result<(PathBuf, PathBuf), String> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if sha256.len() != 64 || !sha256.bytes().all(hex) {
        return Err(format!("`{sha256}` is no SHA-256 in lower-case hex"));
    }
    let whole = host.artifact(sha256);
    let part = whole.with_extension("part");
    Ok((whole, part))
}

fn length(path: &std::path::Path) -> Result<u64, String> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        Err(e) => Err(format!("can't look at {}: {e}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 3).unwrap()
    }

    fn stored(bytes: u64, complete: bool) -> Result<Response, String> {
        Ok(Response::Stored { bytes, complete })
    }

    #[test]
    fn an_upload_goes_on_where_it_broke() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path().join("state"));
        let sha256 = kubewan_core::sha256_hex(b"hello world");
        assert_eq!(offset(&host, &sha256), stored(0, false));
        assert_eq!(upload(&host, &sha256, 0, false, &pack(b"hello")), stored(5, false));
        // The answer was lost, and the same bytes come again.
        assert_eq!(upload(&host, &sha256, 0, false, &pack(b"hello")), stored(5, false));
        assert_eq!(offset(&host, &sha256), stored(5, false));
        assert_eq!(upload(&host, &sha256, 5, true, &pack(b" world")), stored(11, true));
        assert_eq!(offset(&host, &sha256), stored(11, true));
        assert_eq!(upload(&host, &sha256, 0, false, &pack(b"hello")), stored(11, true));
        assert_eq!(std::fs::read(host.artifact(&sha256)).unwrap(), b"hello world");
    }

    #[test]
    fn a_wrong_hash_is_deleted_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path().join("state"));
        let sha256 = kubewan_core::sha256_hex(b"right");
        let error = upload(&host, &sha256, 0, true, &pack(b"wrong")).unwrap_err();
        assert!(error.contains("was deleted"), "{error}");
        assert_eq!(offset(&host, &sha256), stored(0, false));
    }

    #[test]
    fn names_and_sizes_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path().join("state"));
        assert!(offset(&host, "../../etc/shadow").is_err());
        assert!(upload(&host, &"a".repeat(64), 0, false, b"no zstd").is_err());
        assert!(upload(&host, &"a".repeat(64), 0, false, &pack(&vec![0; CHUNK + 1])).is_err());
        assert!(!dir.path().join("state").exists());
    }
}
