//! Probes: what comes back from an address, seen from this host.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Targets in one request.
pub const TARGETS_MAX: usize = 64;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 << 10;

/// Probes all targets side by side; answers come in their order.
///
/// `address:port` answers `connected`; `http://address:port/path` answers the status code, a space and the body.
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
    let (address, path) = match target.strip_prefix("http://") {
        Some(rest) => {
            let at = rest.find('/').unwrap_or(rest.len());
            (&rest[..at], Some(if at == rest.len() { "/" } else { &rest[at..] }))
        }
        None => (target, None),
    };
    let socket: SocketAddr =
        address.parse().map_err(|_| format!("`{target}` is no address with a port"))?;
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&socket, timeout).map_err(|e| e.to_string())?;
    match path {
        None => Ok("connected".into()),
        Some(path) => get(&mut stream, address, path, deadline),
    }
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
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err("timed out".to_owned()) } else { Ok(left) }
    };
    stream.set_write_timeout(Some(left()?)).map_err(|e| e.to_string())?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: kubewan\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while answer.len() < ANSWER_MAX {
        stream.set_read_timeout(Some(left()?)).map_err(|e| e.to_string())?;
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
fn parse_answer(answer: &str) -> Result<String, String> {
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
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
}
