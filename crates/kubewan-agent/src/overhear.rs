//! Datagrams on their way to a port of this host, seen before its firewall drops them: where another host's packets come
//! from is known before a firewall is opened for them.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};

/// Who said the word, and from which address.
pub type Heard = Arc<Mutex<Vec<(String, Ipv4Addr)>>>;

/// Longest name of a host, which is a node's.
const NAME_MAX: usize = 253;

/// A socket that sees all IPv4 packets that come to this host (packet(7)); `None` where the host allows none.
pub(crate) fn open(turn: Duration) -> Option<OwnedFd> {
    let (flags, kind) = (SocketFlags::CLOEXEC, SocketType::DGRAM);
    let socket = socket_with(AddressFamily::PACKET, kind, flags, Some(eth::IP)).ok()?;
    set_socket_timeout(&socket, Timeout::Recv, Some(turn)).ok()?;
    Some(socket)
}

/// Notes the next packet, if it says the word to that port.
pub(crate) fn next(socket: &OwnedFd, port: u16, word: &str, heard: &Heard) {
    let mut buffer = [0; 2048];
    let Ok((count, _)) = recv(socket, &mut buffer, RecvFlags::empty()) else { return };
    let Some(said) = said(&buffer[..count], port, word) else { return };
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    // Everyone may send packets: as many names as a cluster can have hosts, and no more.
    if heard.len() < 4096 && !heard.contains(&said) {
        heard.push(said);
    }
}

/// The name that an IPv4 packet (RFC 791) with a UDP datagram (RFC 768) to that port says after the word, and where it
/// came from.
pub(crate) fn said(packet: &[u8], port: u16, word: &str) -> Option<(String, Ipv4Addr)> {
    let first = *packet.first()?;
    let header = usize::from(first & 0xf) * 4;
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
    let is_udp = first >> 4 == 4 && header >= 20 && fragment == 0 && packet.get(9) == Some(&17);
    let [a, b, c, d]: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let datagram = packet.get(header..).filter(|_| is_udp)?;
    if datagram.get(2..4)? != port.to_be_bytes() {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([*datagram.get(4)?, *datagram.get(5)?]));
    let text = std::str::from_utf8(datagram.get(8..length)?).ok()?;
    let name = text.strip_prefix(word)?.strip_prefix(' ')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let is_name = (1..=NAME_MAX).contains(&name.len()) && name.chars().all(plain);
    is_name.then(|| (name.to_owned(), Ipv4Addr::new(a, b, c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram of "a-word node01" from 203.0.113.7, as tcpdump writes it.
    fn packet(payload: &str) -> Vec<u8> {
        let length = 8 + payload.len() as u16;
        let mut packet =
            vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 203, 0, 113, 7, 10, 0, 4, 7];
        packet.extend([0xc3, 0x50, 0x21, 0x18]);
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload.bytes());
        packet
    }

    #[test]
    fn reads_what_is_said_to_the_port() {
        let whole = packet("a-word node01");
        let heard = said(&whole, 8472, "a-word");
        assert_eq!(heard, Some(("node01".into(), Ipv4Addr::new(203, 0, 113, 7))));
        assert_eq!(said(&whole, 8473, "a-word"), None);
        assert_eq!(said(&whole, 8472, "another"), None);
        assert_eq!(said(&packet("a-word \u{1b}[31m"), 8472, "a-word"), None);
        assert_eq!(said(&packet("a-word "), 8472, "a-word"), None);
        for end in 0..whole.len() {
            assert_eq!(said(&whole[..end], 8472, "a-word"), None);
        }
        let padded = [whole, vec![0; 20]].concat();
        assert_eq!(
            said(&padded, 8472, "a-word").unwrap().0,
            "node01",
            "frames are at least 60 bytes"
        );
        let mut tcp = packet("a-word node01");
        tcp[9] = 6;
        assert_eq!(said(&tcp, 8472, "a-word"), None);
    }
}
