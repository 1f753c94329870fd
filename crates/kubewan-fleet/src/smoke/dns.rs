//! Just enough DNS for a pod to ask its cluster's name server for one address: a test's probe (RFC 1035, sections 4.1
//! and 4.2.1), no resolver for anything else.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use crate::random;

/// For one answer.
const TRY: Duration = Duration::from_secs(2);

/// Types and classes (RFC 1035, 3.2.2 and 3.2.4).
const A: u16 = 1;
const IN: u16 = 1;

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    server: IpAddr,
    search: Vec<String>,
}

/// The address of a name, by the first name server of `/etc/resolv.conf` and its search list.
pub fn resolve(name: &str) -> Result<Ipv4Addr, String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").map_err(|error| error.to_string())?;
    let config = config(&text).ok_or("/etc/resolv.conf names no server")?;
    let mut said = format!("{} knows no {name}", config.server);
    for domain in config.search.iter().map(String::as_str).chain([""]) {
        let full = if domain.is_empty() { name.to_owned() } else { format!("{name}.{domain}") };
        match ask(config.server, &full) {
            Ok(Some(address)) => return Ok(address),
            Ok(None) => {}
            Err(error) => said = format!("{}: {error}", config.server),
        }
    }
    Err(said)
}

pub(crate) fn config(text: &str) -> Option<Config> {
    let values = |key: &str| -> Option<Vec<String>> {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(key))?;
        Some(line.split_whitespace().skip(1).map(str::to_owned).collect())
    };
    let server = values("nameserver")?.first()?.parse().ok()?;
    Some(Config { server, search: values("search").unwrap_or_default() })
}

fn ask(server: IpAddr, name: &str) -> Result<Option<Ipv4Addr>, String> {
    let said = |error: std::io::Error| error.to_string();
    let id = u16::from_be_bytes(random::bytes());
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(said)?;
    socket.set_read_timeout(Some(TRY)).map_err(said)?;
    socket.connect((server, 53)).map_err(said)?;
    socket.send(&question(id, name)).map_err(said)?;
    let mut buffer = [0; 1500];
    let bytes = socket.recv(&mut buffer).map_err(said)?;
    answer(&buffer[..bytes], id).ok_or("not an answer to the question".into())
}

pub(crate) fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Vec::new();
    // Recursion desired; one question, no records.
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len().min(63) as u8);
        message.extend(&label.as_bytes()[..label.len().min(63)]);
    }
    message.push(0);
    message.extend(A.to_be_bytes());
    message.extend(IN.to_be_bytes());
    message
}

/// The first A record; the inner `None` where the server knows none. The outer one for what is no answer to us.
pub(crate) fn answer(message: &[u8], id: u16) -> Option<Option<Ipv4Addr>> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    if word(0)? != id || word(2)? & 0x8000 == 0 {
        return None;
    }
    let mut at = skip_name(message, 12)? + 4;
    for _ in 0..word(6)? {
        at = skip_name(message, at)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if let (A, &[a, b, c, d]) = (kind, data) {
            return Some(Some(Ipv4Addr::new(a, b, c, d)));
        }
        at += 10 + length;
    }
    Some(None)
}

/// The place behind a name, which may end in a pointer (RFC 1035, 4.1.4).
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_configuration_is_read() {
        let text = "search smoke.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
        let config = config(text).unwrap();
        assert_eq!(config.server, IpAddr::from([10, 96, 0, 10]));
        assert_eq!(config.search, ["smoke.svc.cluster.local", "svc.cluster.local"]);
        assert_eq!(super::config("search x\n"), None);
    }

    #[test]
    fn an_answer_is_read_behind_an_alias() {
        let mut message = question(7, "smoke.example");
        message[2] = 0x80;
        message[7] = 2;
        let record = |kind: u16, data: &[u8]| {
            let mut record = vec![0xc0, 12];
            record.extend(kind.to_be_bytes());
            record.extend(IN.to_be_bytes());
            record.extend([0, 0, 0, 30]);
            record.extend((data.len() as u16).to_be_bytes());
            record.extend(data);
            record
        };
        message.extend(record(5, &[1, b'x', 0]));
        message.extend(record(A, &[10, 96, 1, 2]));
        assert_eq!(answer(&message, 7), Some(Some(Ipv4Addr::new(10, 96, 1, 2))));
        assert_eq!(answer(&message, 8), None);
        for end in 0..message.len() {
            // A cut message is no answer and no panic.
            assert_eq!(answer(&message[..end], 7), None, "cut at {end}");
        }
    }
}
