//! Probes: what comes back from an address, seen from this host.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::render::registry::{ca_path, docker_ca_path};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};

use crate::command::{Program, exists};

/// Targets in one request.
pub const TARGETS_MAX: usize = 256;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 << 10;

/// Probes all targets side by side; answers come in their order.
///
/// `address:port` answers `connected`; `http://address:port/path` answers the status code, a space and the body;
/// `greets://address:port/word` and `udp://address:port/word` answer the address that we came from, as [`crate::listen`]
/// there sees it, where it says that word; `tells://address:port/word` sends that word and answers `sent`;
/// `knocks://address:port` begins a connection and answers the local port, whatever comes of it; `registry://name` answers what a
/// registry says to `GET /v2/`, by its authorities in the runtime's folder, `registry-unverified://name` whoever signed its
/// certificate, and `registry-insecure://name` also without TLS, as Docker asks an insecure registry.
pub fn all(targets: &[String], timeout: Duration) -> Vec<Result<String, String>> {
    thread::scope(|scope| {
        let probes: Vec<_> =
            targets.iter().map(|target| scope.spawn(move || one(target, timeout))).collect();
        probes
            .into_iter()
            .map(|probe| probe.join().unwrap_or_else(|_| Err("the probe broke off".into())))
            .collect()
    })
}

fn one(target: &str, timeout: Duration) -> Result<String, String> {
    let (scheme, rest) = target.split_once("://").unwrap_or(("", target));
    match scheme {
        "registry" => return registry("https", rest, true, timeout),
        "registry-unverified" => return registry("https", rest, false, timeout),
        "registry-insecure" => {
            return registry("https", rest, false, timeout)
                .or_else(|said| registry("http", rest, false, timeout).map_err(|_| said));
        }
        _ => {}
    }
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let socket: SocketAddr =
        address.parse().map_err(|_| format!("`{target}` is no address with a port"))?;
    let deadline = Instant::now() + timeout;
    match scheme {
        "udp" => return echoes(socket, path, timeout),
        "tells" => return tells(socket, path),
        "knocks" => return knocks(socket, timeout),
        _ => {}
    }
    let mut stream =
        TcpStream::connect_timeout(&socket, timeout).map_err(|e| not_connected(&e, timeout))?;
    match scheme {
        "" => Ok("connected".into()),
        "greets" => greets(&mut stream, path, deadline),
        "http" => get(&mut stream, address, &format!("/{path}"), deadline),
        _ => Err(format!("`{target}` is of no kind that is probed")),
    }
}

/// What a registry answers to `GET /v2/`, which is its own to answer (OCI distribution specification); 401 is an answer too.
fn registry(scheme: &str, name: &str, verified: bool, timeout: Duration) -> Result<String, String> {
    if !exists("curl") {
        return Err("curl is needed on this host to ask, and is not there".into());
    }
    let seconds = timeout.as_secs().max(1).to_string();
    let mut program = Program::new("curl")
        .args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--max-time", &seconds])
        .timeout(timeout + Duration::from_secs(5));
    let ca = [ca_path(name), docker_ca_path(name)].into_iter().find(|ca| Path::new(ca).exists());
    if !verified {
        program = program.arg("--insecure");
    } else if let Some(ca) = &ca {
        program = program.args(["--cacert", ca]);
    }
    let url = format!("{scheme}://{name}/v2/");
    let output = program.arg(&url).output()?;
    match (output.code, output.stdout.trim()) {
        (0, "200" | "401") => Ok(format!("HTTP {}", output.stdout.trim())),
        (0, other) => Err(format!("GET {url} answers HTTP {other}: that is no registry")),
        _ => Err(output.stderr.lines().next().unwrap_or("curl said nothing").to_owned()),
    }
}

fn not_connected(error: &Error, timeout: Duration) -> String {
    match error.kind() {
        ErrorKind::TimedOut => no_answer(timeout),
        _ => error.to_string(),
    }
}

fn no_answer(timeout: Duration) -> String {
    format!("no answer within {} s", timeout.as_secs_f32())
}

/// What is left of the time, to wait for a stream or a datagram.
fn left(deadline: Instant) -> Result<Duration, String> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err("timed out".to_owned()) } else { Ok(left) }
}

/// A line with the word, as soon as one is connected.
fn greets(stream: &mut TcpStream, word: &str, deadline: Instant) -> Result<String, String> {
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    while !line.ends_with(b"\n") && line.len() < buffer.len() {
        stream.set_read_timeout(Some(left(deadline)?)).map_err(|e| e.to_string())?;
        match stream.read(&mut buffer) {
            Ok(0) if line.is_empty() => return Err("connected, and then nobody spoke".into()),
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(format!("connected, and then nobody spoke: {error}")),
        }
    }
    came_from(&line, word).ok_or_else(|| "something else than this host answers there".into())
}

/// The address in an answer with the word.
pub(crate) fn came_from(answer: &[u8], word: &str) -> Option<String> {
    let answer = std::str::from_utf8(answer).ok()?;
    let address: Ipv4Addr = answer.strip_prefix(word)?.trim().parse().ok()?;
    Some(address.to_string())
}

/// Datagrams with the word, until one comes back: one of them may be lost.
fn echoes(to: SocketAddr, word: &str, timeout: Duration) -> Result<String, String> {
    const TRIES: u32 = 4;
    let each = timeout / TRIES;
    let failed = |e: Error| e.to_string();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed)?;
    socket.connect(to).map_err(failed)?;
    let mut buffer = [0; 256];
    for turn in 1..=TRIES {
        socket.send(word.as_bytes()).map_err(failed)?;
        let until = Instant::now() + each;
        while let Ok(wait) = left(until) {
            socket.set_read_timeout(Some(wait)).map_err(failed)?;
            match socket.recv(&mut buffer) {
                Ok(count) => {
                    if let Some(address) = came_from(&buffer[..count], word) {
                        return Ok(address);
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                // ICMP: the packet came through, and nobody listens.
                Err(e) if turn == TRIES => return Err(failed(e)),
                Err(_) => std::thread::sleep(wait),
            }
        }
    }
    Err(no_answer(timeout))
}

/// Some datagrams with the word, of which one may be lost, and time for the last to arrive.
fn tells(to: SocketAddr, word: &str) -> Result<String, String> {
    const TIMES: u32 = 3;
    const APART: Duration = Duration::from_millis(300);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| e.to_string())?;
    for _ in 0..TIMES {
        socket.send_to(word.as_bytes(), to).map_err(|e| e.to_string())?;
        thread::sleep(APART);
    }
    Ok("sent".into())
}

/// The beginning of a connection, which the kernel sends again until it is answered or the time is over. Whoever is
/// asked there tells what came of it.
fn knocks(to: SocketAddr, timeout: Duration) -> Result<String, String> {
    let failed = |e: Errno| Error::from(e).to_string();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(failed)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(failed(error)),
    }
    let local = SocketAddr::try_from(getsockname(&socket).map_err(failed)?).map_err(failed)?;
    let wait = Timespec::try_from(timeout).map_err(|e| e.to_string())?;
    // Answered or refused, or neither.
    let _ = poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&wait));
    Ok(local.port().to_string())
}

/// HTTP/1.0, so that no answer comes in chunks.
fn get(
    stream: &mut TcpStream,
    host: &str,
    path: &str,
    deadline: Instant,
) -> Result<String, String> {
    if path.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return Err("the path holds spaces or control characters".into());
    }
    stream.set_write_timeout(Some(left(deadline)?)).map_err(|e| e.to_string())?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: kubewan\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while answer.len() < ANSWER_MAX {
        stream.set_read_timeout(Some(left(deadline)?)).map_err(|e| e.to_string())?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                return Err("connected, then timed out waiting for the answer".into());
            }
            Err(e) => return Err(format!("connected, then {e}")),
        }
    }
    parse_answer(&String::from_utf8_lossy(&answer))
}

/// Status code and body.
pub(crate) fn parse_answer(answer: &str) -> Result<String, String> {
    let status = answer
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.trim().parse::<u16>().ok())
        .ok_or("connected, but what answers speaks no HTTP")?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    Ok(format!("{status} {body}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn says_what_came_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 1024];
                    if stream.read(&mut buffer).unwrap_or(0) > 0 {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nnonce-1\n").unwrap();
                    }
                });
            }
        });
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let targets = [
            format!("http://{address}/"),
            address.to_string(),
            closed.to_string(),
            "nowhere".to_owned(),
        ];
        let answers = all(&targets, Duration::from_secs(5));
        assert_eq!(answers[0], Ok("200 nonce-1\n".into()));
        assert_eq!(answers[1], Ok("connected".into()));
        assert!(answers[2].as_ref().unwrap_err().contains("refused"), "{answers:?}");
        assert!(answers[3].as_ref().unwrap_err().contains("no address"), "{answers:?}");
    }

    #[test]
    fn an_answer_that_does_not_end_is_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("http://{}/x", listener.local_addr().unwrap());
        let begin = Instant::now();
        let answers = all(&[target], Duration::from_millis(200));
        assert!(answers[0].as_ref().unwrap_err().contains("timed out"), "{answers:?}");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_knock_says_where_it_came_from() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = all(&[format!("knocks://{address}")], Duration::from_secs(5));
        let (_, from) = listener.accept().unwrap();
        assert_eq!(answers, [Ok(from.port().to_string())]);
        drop(listener);
        let begin = Instant::now();
        let answers = all(&[format!("knocks://{address}")], Duration::from_secs(60));
        assert!(answers[0].as_ref().unwrap().parse::<u16>().is_ok(), "{answers:?}");
        assert!(begin.elapsed() < Duration::from_secs(30), "a refusal is waited for");
    }
}
