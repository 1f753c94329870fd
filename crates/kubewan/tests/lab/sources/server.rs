//! A server on the lab's Internet: files of a folder over HTTP, with ranges, and a registry's manifests with their type.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A server of one folder; ends with the story.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    ended: AtomicBool,
    ranges: AtomicUsize,
}

impl Server {
    /// Serves a folder at an address in a network namespace.
    pub fn start(namespace: &Path, address: Ipv4Addr, root: &Path) -> Server {
        let namespace = File::open(namespace).expect("the Internet's namespace");
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            ended: AtomicBool::new(false),
            ranges: AtomicUsize::new(0),
        });
        let here = Arc::clone(&shared);
        let (sender, receiver) = std::sync::mpsc::channel();
        // The namespace is the thread's alone.
        thread::spawn(move || {
            use std::os::fd::AsFd;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("into the Internet");
            let listener = TcpListener::bind((address, 80)).expect("the server's port");
            sender.send(()).expect("the story waits");
            for stream in listener.incoming() {
                if here.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (here, stream) = (Arc::clone(&here), stream.expect("a connection"));
                thread::spawn(move || here.answer(stream));
            }
        });
        receiver.recv().expect("the server listens");
        Server { address: (address, 80).into(), shared }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address.ip())
    }

    /// How often a file was gone on with in its middle.
    pub fn ranges(&self) -> usize {
        self.shared.ranges.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread, which then goes.
        let _ = TcpStream::connect(self.address);
    }
}

/// A path without percent-encoding, as apt's `%2b`.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).unwrap_or(("25", part));
        text.push(u8::from_str_radix(code, 16).map_or('%', char::from));
        text.push_str(rest);
    }
    text
}

impl Shared {
    /// One request; a client that goes away is none of ours.
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        let mut from = 0;
        for line in lines.take_while(|line| !line.is_empty()) {
            let line = line.to_ascii_lowercase();
            if let Some(start) = line.strip_prefix("range: bytes=") {
                from = start.split('-').next().and_then(|at| at.parse().ok()).unwrap_or(0);
            }
        }
        let mut words = first.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let _ = self.send(&mut stream, method == "HEAD", path, from);
    }

    fn send(
        &self,
        stream: &mut TcpStream,
        head_only: bool,
        path: &str,
        from: u64,
    ) -> std::io::Result<()> {
        let path = decoded(path.split('?').next().unwrap_or_default());
        let file = self.root.join(path.trim_start_matches('/'));
        let inside = Path::new(&path).components().all(|part| part != Component::ParentDir);
        let opened =
            File::open(&file).ok().filter(|_| inside && (file.is_file() || path == "/v2/"));
        let Some(mut opened) = opened else {
            return stream.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        };
        let size = if file.is_file() { opened.metadata()?.len() } else { 0 };
        let kind = match path.contains("/manifests/") {
            true => "application/vnd.docker.distribution.manifest.v2+json",
            false => "application/octet-stream",
        };
        let status = match from {
            0 => "200 OK".to_owned(),
            from if from >= size => "416 Range Not Satisfiable".to_owned(),
            from => {
                self.ranges.fetch_add(1, Ordering::Relaxed);
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}", size - 1)
            }
        };
        let rest = size.saturating_sub(from);
        let digest = match path.contains("/manifests/") {
            // A folder of that name lies of what it has.
            true if path.starts_with("/liar/") => {
                format!("Docker-Content-Digest: sha256:{}\r\n", "0".repeat(64))
            }
            true => {
                let sum = kubewan_core::sha256_hex(&std::fs::read(&file)?);
                format!("Docker-Content-Digest: sha256:{sum}\r\n")
            }
            false => String::new(),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {rest}\r\nContent-Type: {kind}\r\nAccept-Ranges: bytes\r\n{digest}Connection: close\r\n\r\n"
        )?;
        if !head_only && rest > 0 {
            opened.seek(SeekFrom::Start(from))?;
            std::io::copy(&mut opened.take(rest), stream)?;
        }
        Ok(())
    }
}
