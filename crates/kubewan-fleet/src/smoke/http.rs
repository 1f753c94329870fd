//! Just enough HTTP to ask the smoke pods: a test's probe, no client for anything else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// For one try.
const TRY: Duration = Duration::from_secs(3);

/// Most bytes of an answer that are read.
const ANSWER_MAX: u64 = 64 << 10;

/// The body behind `http://ADDRESS:PORT/PATH`, tried again for some seconds: routes settle while pods start.
pub fn get(url: &str, seconds: u64) -> Result<String, String> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match once(url) {
            Ok(body) => return Ok(body),
            Err(said) if Instant::now() > deadline => return Err(said),
            Err(_) => thread::sleep(Duration::from_millis(500)),
        }
    }
}

fn once(url: &str) -> Result<String, String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// is known here")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address: SocketAddr =
        authority.parse().map_err(|_| format!("{authority} is no address"))?;
    let said = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, TRY).map_err(said)?;
    stream.set_read_timeout(Some(TRY)).map_err(said)?;
    stream.set_write_timeout(Some(TRY)).map_err(said)?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(said)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).map_err(said)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it did not answer in HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(status.to_owned());
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answer_once(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    #[test]
    fn bodies_and_errors_are_told_apart() {
        assert_eq!(get(&answer_once("HTTP/1.1 200 OK\r\nX: y\r\n\r\nbody"), 0).unwrap(), "body");
        let error = get(&answer_once("HTTP/1.1 503 Busy\r\n\r\n"), 0).unwrap_err();
        assert_eq!(error, "HTTP/1.1 503 Busy");
        assert_eq!(get(&answer_once("nonsense"), 0).unwrap_err(), "it did not answer in HTTP");
    }
}
