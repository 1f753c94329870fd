//! Files on their way to this host, sent by the operator's machine or downloaded: appended to
//! `artifacts/<sha256>.part`, resumed where a connection broke, checked as a whole before they get their name.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewan_core::action::Artifact;
use kubewan_core::download::{Download, Next};
use kubewan_core::protocol::{CHUNK, Response};

use crate::act::{Host, Performing};
use crate::command::{Program, exists};
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
    paths(host, sha256)?;
    let bytes = zstd::bulk::decompress(frame, CHUNK).map_err(|e| {
        format!("the bytes for artifact {sha256} at {offset} can't be unpacked: {e}")
    })?;
    append(host, sha256, offset, last, &bytes)
}

/// An artifact's path, where it is here and whole.
pub(crate) fn whole(host: &Host, sha256: &str) -> Option<PathBuf> {
    paths(host, sha256).ok().map(|(whole, _)| whole).filter(|path| path.is_file())
}

/// Appends bytes, as [`upload`] does with those of a frame.
///
/// # Errors
/// As [`upload`].
pub(crate) fn append(
    host: &Host,
    sha256: &str,
    offset: u64,
    last: bool,
    bytes: &[u8],
) -> Result<Response, String> {
    let (whole, part) = paths(host, sha256)?;
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
    room(&dir, bytes.len() as u64)?;
    let failed = |e: std::io::Error| format!("can't write {}: {e}", part.display());
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(&part).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
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

/// Downloads an artifact that has a URL, unless it is there. What an earlier run has of it is gone on with.
///
/// # Errors
/// Fails where it can't be had, or is something else than what was asked for: it is deleted then.
pub fn download(artifact: &Artifact, cx: &mut Performing<'_>) -> Result<(), String> {
    let Some(url) = &artifact.url else { return Ok(()) };
    let (whole, part) = paths(cx.host, &artifact.sha256)?;
    if whole.exists() {
        return Ok(());
    }
    let name = &artifact.name;
    let dir = cx.host.root().join("artifacts");
    disk::make_private_dir(cx.host.root())?;
    disk::make_private_dir(&dir)?;
    room(&dir, artifact.size.saturating_sub(length(&part)?))?;
    let failed = |e: std::io::Error| format!("can't read {}: {e}", part.display());
    // A run that was cut off just before its end has left all of it.
    let whole_part = part.exists() && disk::sha256_of(&part).map_err(failed)? == artifact.sha256;
    if !whole_part {
        (cx.progress)(&format!("downloads {name} from {url}"));
        fetch(url, &part, cx).map_err(|said| {
            format!(
                "can't download {name} from {url}: {said}\nsee whether this host reaches that server; `mirrors` of the \
                 inventory names others, and with a bundle (`kubewan bundle create`) hosts download nothing"
            )
        })?;
    }
    let found = disk::sha256_of(&part).map_err(failed)?;
    if found != artifact.sha256 {
        std::fs::remove_file(&part).map_err(failed)?;
        return Err(format!(
            "{name} from {url} is not what its publisher offers: its sha256 is {found}, and {} was published. It was \
             deleted; run kubewan again in case it was damaged on the way, else use another server in `mirrors`",
            artifact.sha256
        ));
    }
    std::fs::File::open(&part).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::rename(&part, &whole).map_err(failed)?;
    disk::sync_dir(&dir)
}

/// Has curl fill a file. The error is curl's.
fn fetch(url: &str, part: &Path, cx: &mut Performing<'_>) -> Result<(), String> {
    if !exists("curl") {
        return Err("there is no curl here".into());
    }
    let mut download = Download::default();
    loop {
        let before = length(part)?;
        let run = Program::new("curl")
            .args(download.args(url, &part.to_string_lossy()))
            .timeout(Duration::from_secs(download.patience_s()))
            .output()?;
        let now = length(part)?;
        match download.after(run.code, &run.stderr, now > before) {
            Next::Check => return Ok(()),
            Next::GiveUp(said) => return Err(said),
            Next::Again { fresh, pause_s } => {
                (cx.progress)(&format!("{} MiB are here", now >> 20));
                if fresh {
                    let _ = std::fs::remove_file(part);
                }
                std::thread::sleep(Duration::from_secs(pause_s));
            }
        }
    }
}

/// Refuses to fill the disk.
fn room(dir: &Path, bytes: u64) -> Result<(), String> {
    match disk::free_bytes(dir) {
        Some(free) if free < RESERVE + bytes => Err(format!(
            "only {} MiB are free where {} lies, too few for what is to be installed; make room there, then run kubewan again",
            free >> 20,
            dir.display()
        )),
        _ => Ok(()),
    }
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

fn length(path: &Path) -> Result<u64, String> {
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

    /// A server on loopback that knows one file, and ranges of it.
    fn serve(bytes: &'static [u8], times: usize) -> String {
        use std::io::{BufRead, BufReader};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().take(times) {
                let mut stream = stream.unwrap();
                let mut from = 0;
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    let range = line.to_ascii_lowercase();
                    if let Some(start) = range.strip_prefix("range: bytes=") {
                        from = start.trim_end_matches('-').parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let rest = &bytes[from..];
                let head = format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\
                     Connection: close\r\n\r\n",
                    rest.len(),
                    bytes.len() - 1,
                    bytes.len()
                );
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(rest).unwrap();
            }
        });
        url
    }

    fn downloaded(url: &str, sha256: &str, host: &Host) -> Result<(), String> {
        let (name, url) = ("kubelet".into(), Some(url.into()));
        let artifact = Artifact { sha256: sha256.into(), size: 0, name, url };
        let values = std::collections::BTreeMap::new();
        let mut progress = |_: &str| {};
        download(&artifact, &mut Performing::new(host, &values, &mut progress))
    }

    #[test]
    fn a_download_goes_on_where_it_broke_and_only_what_was_published_is_kept() {
        if !exists("curl") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path().join("state"));
        let sha256 = kubewan_core::sha256_hex(b"hello world");
        let url = serve(b"hello world", 2);
        let part = host.artifact(&sha256).with_extension("part");
        std::fs::create_dir_all(part.parent().unwrap()).unwrap();
        std::fs::write(&part, b"hello").unwrap();
        downloaded(&url, &sha256, &host).unwrap();
        assert_eq!(std::fs::read(host.artifact(&sha256)).unwrap(), b"hello world");
        let other = kubewan_core::sha256_hex(b"something else");
        let error = downloaded(&url, &other, &host).unwrap_err();
        assert!(error.contains("is not what its publisher offers"), "{error}");
        assert!(
            !host.artifact(&other).exists()
                && !host.artifact(&other).with_extension("part").exists()
        );
        let refused = downloaded("ftp://127.0.0.1/kubelet", &other, &host).unwrap_err();
        assert!(refused.contains("ftp://127.0.0.1") && refused.contains("`mirrors`"), "{refused}");
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
