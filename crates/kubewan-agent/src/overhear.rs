//! Packets on their way to ports of this host, seen before its firewall drops them: that they come so far, and where
//! from, is known before the firewall is opened for them.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kubewan_core::network::overheard::{Knock, Overheard};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};

/// What was overheard so far.
pub type Heard = Arc<Mutex<Overheard>>;

/// Longest name of a host, which is a node's.
const NAME_MAX: usize = 253;

/// Everyone may send packets: no more are noted than thousands of hosts send.
const NOTED_MAX: usize = 16 << 10;

/// Bytes of packets that wait: a download on the same host must not push out the few that count.
const BUFFER: usize = 8 << 20;

/// What is listened for.
pub(crate) struct Wanted {
    /// A UDP port, to which a word is said.
    pub udp: Option<u16>,
    /// The word.
    pub word: String,
    /// TCP ports.
    pub tcp: Vec<u16>,
    /// This host's addresses: a router sees others' packets too.
    pub own: Vec<Ipv4Addr>,
}

/// A socket that sees all IPv4 packets that come to this host (packet(7)), before the hooks of its packet filter for IP do.
///
/// # Errors
/// What the host says where it allows none: a container without CAP_NET_RAW, a kernel without such sockets.
pub(crate) fn open(turn: Duration) -> Result<OwnedFd, String> {
    let (flags, kind) = (SocketFlags::CLOEXEC, SocketType::DGRAM);
    let socket = socket_with(AddressFamily::PACKET, kind, flags, Some(eth::IP));
    let socket = socket.map_err(|error| format!("socket(AF_PACKET): {error}"))?;
    // As large as the kernel gives it: only root may have so much.
    let _ = set_socket_recv_buffer_size_force(&socket, BUFFER);
    set_socket_timeout(&socket, Timeout::Recv, Some(turn)).map_err(|error| error.to_string())?;
    Ok(socket)
}

/// Notes the next packet, if it is one of those wanted.
pub(crate) fn next(socket: &OwnedFd, wanted: &Wanted, heard: &Heard) {
    let mut buffer = [0; 2048];
    let Ok((count, _)) = recv(socket, &mut buffer, RecvFlags::empty()) else { return };
    note(&buffer[..count], wanted, heard);
}

fn note(packet: &[u8], wanted: &Wanted, heard: &Heard) {
    let said = wanted.udp.and_then(|port| said(packet, port, &wanted.word));
    let knocked = knocked(packet)
        .filter(|(to, knock)| wanted.own.contains(to) && wanted.tcp.contains(&knock.port))
        .map(|(_, knock)| knock);
    if said.is_none() && knocked.is_none() {
        return;
    }
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(said) = said
        && heard.names.len() < NOTED_MAX
        && !heard.names.contains(&said)
    {
        heard.names.push(said);
    }
    // A SYN is sent again while nobody answers it.
    if let Some(knock) = knocked
        && heard.knocks.len() < NOTED_MAX
        && !heard.knocks.contains(&knock)
    {
        heard.knocks.push(knock);
    }
}

/// Whom an IPv4 packet with the first segment of a TCP connection is for, and what is noted of it (RFC 9293, 3.1: SYN and
/// nothing of ACK, RST and FIN). One that comes in pieces is none: no sender cuts a header.
pub(crate) fn knocked(packet: &[u8]) -> Option<(Ipv4Addr, Knock)> {
    const MORE_AND_OFFSET: u16 = 0x3fff;
    const SYN: u8 = 0x02;
    const FIN_SYN_RST_ACK: u8 = 0x17;
    let first = *packet.first()?;
    let header = usize::from(first & 0xf) * 4;
    let whole = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & MORE_AND_OFFSET;
    let is_tcp = first >> 4 == 4 && header >= 20 && fragment == 0 && packet.get(9) == Some(&6);
    let address = |at: usize| -> Option<Ipv4Addr> {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let (source, to) = (address(12)?, address(16)?);
    // Frames are padded: the packet ends where its header says.
    let segment = packet.get(header..whole).filter(|_| is_tcp)?;
    let length = usize::from(segment.get(12)? >> 4) * 4;
    let is_first = segment.get(13)? & FIN_SYN_RST_ACK == SYN;
    if length < 20 || segment.len() < length || !is_first {
        return None;
    }
    let number = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    Some((to, Knock { port: number(2), source, source_port: number(0) }))
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

    /// A SYN from 203.0.113.7:40000 to 10.0.4.7:6443 with the options that Linux sends (MSS, SACK, timestamps, scale).
    fn syn() -> Vec<u8> {
        let mut packet =
            vec![0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0, 203, 0, 113, 7, 10, 0, 4, 7];
        packet.extend([0x9c, 0x40, 0x19, 0x2b, 1, 2, 3, 4, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0]);
        packet.extend([0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7]);
        packet
    }

    fn knock() -> (Ipv4Addr, Knock) {
        let source = Ipv4Addr::new(203, 0, 113, 7);
        (Ipv4Addr::new(10, 0, 4, 7), Knock { port: 6443, source, source_port: 40000 })
    }

    /// The packet with bytes set.
    fn with(bytes: &[(usize, u8)]) -> Vec<u8> {
        let mut packet = syn();
        bytes.iter().for_each(|(at, byte)| packet[*at] = *byte);
        packet
    }

    #[test]
    fn reads_the_first_packet_of_a_connection_and_no_other() {
        assert_eq!(knocked(&syn()), Some(knock()));
        // ECN (RFC 3168) is asked for in the SYN; frames are padded.
        assert_eq!(knocked(&with(&[(33, 0xc2)])), Some(knock()));
        assert_eq!(knocked(&[syn(), vec![0; 6]].concat()), Some(knock()));
        // Options of IP come before TCP's header.
        let mut options = syn();
        options.splice(20..20, [1, 1, 1, 0]);
        (options[0], options[3]) = (0x46, 64);
        assert_eq!(knocked(&options), Some(knock()));
        for end in 0..60 {
            assert_eq!(knocked(&syn()[..end]), None, "cut to {end} bytes");
        }
        let others: [(&str, &[(usize, u8)]); 11] = [
            ("SYN with ACK", &[(33, 0x12)]),
            ("ACK", &[(33, 0x10)]),
            ("RST", &[(33, 0x04)]),
            ("SYN with FIN", &[(33, 0x03)]),
            ("no flag", &[(33, 0)]),
            ("UDP", &[(9, 17)]),
            ("IPv6", &[(0, 0x65)]),
            ("a header too short", &[(0, 0x44)]),
            ("a first piece", &[(6, 0x20)]),
            ("a later piece", &[(7, 1)]),
            ("a TCP header of 16 bytes", &[(32, 0x40)]),
        ];
        for (what, bytes) in others {
            assert_eq!(knocked(&with(bytes)), None, "{what}");
        }
        assert_eq!(knocked(&with(&[(3, 59)])), None, "it ends before its header does");
    }

    #[test]
    fn notes_each_once_and_only_what_is_for_this_host() {
        let heard = Heard::default();
        let (own, source) = (Ipv4Addr::new(10, 0, 4, 7), Ipv4Addr::new(203, 0, 113, 7));
        let wanted =
            Wanted { udp: Some(8472), word: "a-word".into(), tcp: vec![6443], own: vec![own] };
        for _ in 0..2 {
            note(&syn(), &wanted, &heard);
            note(&packet("a-word node01"), &wanted, &heard);
        }
        note(&with(&[(19, 8)]), &wanted, &heard);
        note(&with(&[(23, 0x2c)]), &wanted, &heard);
        let heard = heard.lock().unwrap();
        assert_eq!(heard.knocks, [knock().1]);
        assert_eq!(heard.names, [("node01".to_owned(), source)]);
    }
}
