//! Artifacts that go from host to host: one that has them gives them, on a port that the cluster needs anyway and nobody listens on
//! yet, to those who know the run's word; the others take them. Where a home's uplink is narrow, a bundle goes over it once.
//!
//! The taker sends a line `<word> <sha256> <offset> <most>` and gets frames ([`kubewan_core::frame`]) of zstd with up to [`CHUNK`]
//! bytes each, then the end of the stream; an empty frame says that the giver has no such artifact. Nothing is trusted: what is
//! taken is checked by its SHA-256 as what is uploaded is.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kubewan_core::frame;
use kubewan_core::protocol::{CHUNK, Response};

use crate::act::Host;
use crate::artifacts;

/// How long the listener waits before it looks whether it is to go on.
const TURN: Duration = Duration::from_millis(20);

/// For a connection, and between two packets of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request is a word, a hash and two numbers.
const REQUEST_MAX: u64 = 256;

/// Takers at once; a cluster's hosts, with room for connections that a scan left open.
const TAKERS_MAX: usize = 64;

/// What one answer may take, so that the operator's side hears how far it is.
const TURN_OF_TAKER: Duration = Duration::from_secs(20);

/// How long it gives to nobody. Of an operator's link that died without a word the connection hears only hours later, and
/// the port has to be free for whoever comes next. One who goes on offers again what has become whole since.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// zstd's fastest ordinary level, as for uploads.
const LEVEL: i32 = 1;

/// Gives until it is dropped, or nobody has taken anything for a while.
pub struct Giving {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Where.
    pub port: u16,
    /// To whom.
    pub word: String,
}

/// Gives the artifacts that are whole here to whoever knows the word; nothing where the port is someone else's.
pub fn give(host: &Host, port: u16, word: &str) -> Option<Giving> {
    give_while_taken(host, port, word, IDLE_MAX)
}

fn give_while_taken(host: &Host, port: u16, word: &str, idle_max: Duration) -> Option<Giving> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
    listener.set_nonblocking(true).ok()?;
    let port = listener.local_addr().ok()?.port();
    let stop = Arc::new(AtomicBool::new(false));
    let (giver, word_, stop_) = (host.clone(), word.to_owned(), Arc::clone(&stop));
    let thread = thread::spawn(move || {
        let takers = Arc::new(AtomicUsize::new(0));
        let mut taken = Instant::now();
        while !stop_.load(Ordering::Relaxed) && taken.elapsed() < idle_max {
            if takers.load(Ordering::Relaxed) > 0 {
                taken = Instant::now();
            }
            let Ok((stream, _)) = listener.accept() else {
                thread::sleep(TURN);
                continue;
            };
            if takers.load(Ordering::Relaxed) >= TAKERS_MAX {
                continue;
            }
            takers.fetch_add(1, Ordering::Relaxed);
            let (giver, word, stop) = (giver.clone(), word_.clone(), Arc::clone(&stop_));
            let takers = Arc::clone(&takers);
            thread::spawn(move || {
                // Whatever the other side does concerns nobody here.
                let _ = serve(&giver, stream, &word, &stop);
                takers.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Some(Giving { stop, thread: Some(thread), port, word: word.to_owned() })
}

impl Giving {
    /// Whether it still does.
    pub fn goes_on(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The port has to be free when the API server wants it.
            let _ = thread.join();
        }
    }
}

fn serve(host: &Host, stream: TcpStream, word: &str, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(REQUEST_MAX)).read_line(&mut line)?;
    let Some((sha256, offset, most)) = request(&line, word) else { return Ok(()) };
    let mut out = &stream;
    let Some(file) = artifacts::whole(host, sha256).and_then(|path| File::open(path).ok()) else {
        return frame::write(&mut out, &[]);
    };
    let mut at = offset;
    let end = offset.saturating_add(most).min(file.metadata()?.len());
    while at < end && !stop.load(Ordering::Relaxed) {
        let mut bytes = vec![0; (end - at).min(CHUNK as u64) as usize];
        file.read_exact_at(&mut bytes, at)?;
        frame::write(&mut out, &zstd::bulk::compress(&bytes, LEVEL)?)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Hash, offset and how many bytes at most, of one who knows the word.
pub(crate) fn request<'a>(line: &'a str, word: &str) -> Option<(&'a str, u64, u64)> {
    let words: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
    let [said, sha256, offset, most] = words[..] else { return None };
    let known = !word.is_empty() && said == word;
    known.then_some((sha256, offset.parse().ok()?, most.parse().ok()?))
}

/// Takes the next bytes of an artifact from a host that gives it, as many as come within some seconds and at most `most`.
///
/// # Errors
/// Fails where nobody gives it there, with what came back; what is here of it is kept.
pub fn take(
    host: &Host,
    from: SocketAddr,
    word: &str,
    artifact: (&str, u64),
    most: u64,
) -> Result<Response, String> {
    let (sha256, size) = artifact;
    let mut stored = artifacts::offset(host, sha256)?;
    let Response::Stored { bytes: mut have, complete: false } = stored else { return Ok(stored) };
    let failed = |e: std::io::Error| format!("can't take {sha256} from {from}: {e}");
    let until = Instant::now() + TURN_OF_TAKER;
    let stream = TcpStream::connect_timeout(&from, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let line = format!("{word} {sha256} {have} {most}\n");
    (&stream).write_all(line.as_bytes()).map_err(failed)?;
    let (mut reader, before) = (BufReader::new(&stream), have);
    while Instant::now() < until {
        let Some(part) = frame::read(&mut reader).map_err(failed)? else { break };
        if part.is_empty() {
            let gone = std::io::Error::new(ErrorKind::NotFound, "it has no such file");
            return Err(failed(gone));
        }
        let bytes = zstd::bulk::decompress(&part, CHUNK).map_err(failed)?;
        // Nobody on the way may fill the disk.
        if have + bytes.len() as u64 > size {
            let more = std::io::Error::new(ErrorKind::InvalidData, "more comes than the file has");
            return Err(failed(more));
        }
        let last = have + bytes.len() as u64 == size;
        stored = artifacts::append(host, sha256, have, last, &bytes)?;
        let Response::Stored { bytes: now, complete } = stored else { break };
        if complete || now != have + bytes.len() as u64 {
            return Ok(stored);
        }
        have = now;
    }
    if have == before {
        let silent = std::io::Error::new(ErrorKind::UnexpectedEof, "nothing came from there");
        return Err(failed(silent));
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn host(dir: &tempfile::TempDir) -> Host {
        Host::at(dir.path().join("state"))
    }

    fn with_artifact(dir: &tempfile::TempDir, bytes: &[u8]) -> String {
        let sha256 = kubewan_core::sha256_hex(bytes);
        let path = host(dir).artifact(&sha256);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        sha256
    }

    fn many(count: usize) -> Vec<u8> {
        (0..count as u32).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn what_one_has_the_other_takes_in_parts_and_whole() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bytes = many(2_000_000);
        let sha256 = with_artifact(&one, &bytes);
        let giving = give(&host(&one), 0, "sesame").unwrap();
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, giving.port));
        let size = bytes.len() as u64;
        let take = |most| take(&host(&two), from, "sesame", (&sha256, size), most);
        let part = 3 << 20;
        assert_eq!(take(part).unwrap(), Response::Stored { bytes: part, complete: false });
        assert_eq!(take(size).unwrap(), Response::Stored { bytes: size, complete: true });
        assert_eq!(take(size).unwrap(), Response::Stored { bytes: size, complete: true });
        assert_eq!(fs::read(host(&two).artifact(&sha256)).unwrap(), bytes);
        drop(giving);
        assert!(TcpListener::bind(from).is_ok(), "the port is free");
    }

    #[test]
    fn the_port_is_free_when_nobody_takes_any_more() {
        let one = tempfile::tempdir().unwrap();
        let giving = give_while_taken(&host(&one), 0, "sesame", Duration::ZERO).unwrap();
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, giving.port));
        let ended = (0..500).any(|_| {
            thread::sleep(TURN);
            !giving.goes_on()
        });
        assert!(ended && TcpListener::bind(from).is_ok());
    }

    #[test]
    fn without_the_word_or_the_artifact_nothing_comes() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sha256 = with_artifact(&one, b"bytes");
        let giving = give(&host(&one), 0, "sesame").unwrap();
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, giving.port));
        let take =
            |word: &str, sha256: &str| take(&host(&two), from, word, (sha256, 5), 5).unwrap_err();
        assert!(take("barley", &sha256).contains("nothing came from there"));
        assert!(take("sesame", &"0".repeat(64)).contains("it has no such file"));
        assert!(take("sesame", "../../etc/shadow").contains("no SHA-256"));
        let longer = with_artifact(&one, b"longer");
        let error = super::take(&host(&two), from, "sesame", (&longer, 5), 9).unwrap_err();
        assert!(error.contains("more comes than the file has"), "{error}");
        let mut stream = TcpStream::connect(from).unwrap();
        stream.write_all(b"sesame ../../../../../etc/passwd 0 9999\n").unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said, [0; 4], "an empty frame");
    }

    #[test]
    fn what_is_something_else_is_not_kept() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sha256 = with_artifact(&one, b"right");
        fs::write(host(&one).artifact(&sha256), b"wrong").unwrap();
        let giving = give(&host(&one), 0, "sesame").unwrap();
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, giving.port));
        let error = take(&host(&two), from, "sesame", (&sha256, 5), 9).unwrap_err();
        assert!(error.contains("was deleted"), "{error}");
        assert!(!host(&two).artifact(&sha256).exists());
    }

    #[test]
    fn a_taken_port_is_left_to_whoever_has_it() {
        let one = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(give(&host(&one), taken.local_addr().unwrap().port(), "sesame").is_none());
    }

    #[test]
    fn requests_are_read_strictly() {
        assert_eq!(request("w ab 1 2\n", "w"), Some(("ab", 1, 2)));
        for line in ["w ab 1 2", "v ab 1 2\n", "w ab 1\n", "w ab 1 2 3\n", "w ab -1 2\n", "\n", ""]
        {
            assert_eq!(request(line, "w"), None, "{line:?}");
        }
        assert_eq!(request(" ab 1 2\n", ""), None, "no word is no password");
    }
}
