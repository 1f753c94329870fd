//! Holds packets of a way back, or drops them: the kernel hands each packet of the way to a queue (netfilter's
//! NFQUEUE) and keeps it until a verdict comes, which this program gives when its time has come. The packets
//! themselves never leave the kernel.
//!
//! The messages are those of linux/netfilter/nfnetlink.h and nfnetlink_queue.h, in the kernel's byte order where not
//! said otherwise.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use crate::topology::{Loss, Path};

/// Subsystem of packet queues, in the high byte of a message's type.
const QUEUE_SUBSYSTEM: u16 = 3;
const MSG_PACKET: u16 = QUEUE_SUBSYSTEM << 8;
const MSG_VERDICT: u16 = QUEUE_SUBSYSTEM << 8 | 1;
const MSG_CONFIG: u16 = QUEUE_SUBSYSTEM << 8 | 2;
const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 1;
const WANTS_ANSWER: u16 = 4;
/// A netlink header and that of netfilter behind it.
const HEADERS: usize = 16 + 4;

const CONFIG_COMMAND: u16 = 1;
const CONFIG_COPY: u16 = 2;
const CONFIG_LENGTH: u16 = 3;
const BIND: u8 = 1;
/// Only what is said about a packet is copied to us.
const COPY_META: u8 = 1;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// As many packets as a path may hold at once: 5 s of 100 Mbit/s in full-sized packets, rounded up.
const PACKETS_MAX: u32 = 65_536;
/// What the kernel may keep for us to read, in bytes; packets beyond it are lost.
const RECEIVE_BYTES: usize = 8 << 20;

/// Serves a queue until it is ended: every packet is kept for the path's latency, and some are dropped.
///
/// # Errors
/// Fails where the kernel refuses the queue, as without `CAP_NET_ADMIN`.
pub fn forward(queue: u16, path: &Path) -> io::Result<()> {
    let socket = open(queue)?;
    let latency = path.latency.0;
    let mut chance = Chance::new(queue);
    let mut held: VecDeque<(Instant, u32)> = VecDeque::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let now = Instant::now();
        while held.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, id)) = held.pop_front() {
                tell(&socket, &verdict(queue, id, ACCEPT))?;
            }
        }
        let wait = held.front().map(|(due, _)| due.saturating_duration_since(now));
        if !readable(&socket, wait)? {
            continue;
        }
        let (read, _) = match recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok(read) => read,
            // More packets came than there was room for: those are lost, as on a full link.
            Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => continue,
            Err(error) => return Err(error.into()),
        };
        let due = Instant::now() + latency;
        for id in packet_ids(&buffer[..read]) {
            if chance.happens(path.loss) {
                tell(&socket, &verdict(queue, id, DROP))?;
            } else {
                held.push_back((due, id));
            }
        }
    }
}

fn open(queue: u16) -> io::Result<OwnedFd> {
    let family = AddressFamily::NETLINK;
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    let _ = set_socket_recv_buffer_size(&socket, RECEIVE_BYTES);
    // Command, padding, protocol family of the packets (big-endian), which kernels since 3.8 ignore.
    ask(&socket, queue, CONFIG_COMMAND, &[BIND, 0, 0, 2])?;
    ask(&socket, queue, CONFIG_LENGTH, &PACKETS_MAX.to_be_bytes())?;
    // Range (big-endian) and mode.
    ask(&socket, queue, CONFIG_COPY, &[0, 0, 0, 0, COPY_META])?;
    Ok(socket)
}

/// One setting of the queue, and the kernel's answer to it.
fn ask(socket: &OwnedFd, queue: u16, attribute: u16, payload: &[u8]) -> io::Result<()> {
    tell(socket, &message(MSG_CONFIG, WANTS_ANSWER, queue, attribute, payload))?;
    let mut answer = [0; 4096];
    // No packet comes in between: the rule that leads them here is made when the queue is seen to be set up.
    let (read, _) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    let number = |from: usize| answer.get(from..from + 4).and_then(|b| b.try_into().ok());
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    match number(16).map(i32::from_ne_bytes) {
        Some(0) if read >= HEADERS && kind == NLMSG_ERROR => Ok(()),
        Some(code) if kind == NLMSG_ERROR => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::other("the kernel answered something else")),
    }
}

fn tell(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    send(socket, message, SendFlags::empty())?;
    Ok(())
}

fn readable(socket: &OwnedFd, wait: Option<Duration>) -> io::Result<bool> {
    let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
    let mut waiting = [PollFd::new(socket, PollFlags::IN)];
    match poll(&mut waiting, wait.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn verdict(queue: u16, id: u32, verdict: u32) -> Vec<u8> {
    let mut payload = verdict.to_be_bytes().to_vec();
    payload.extend(id.to_be_bytes());
    message(MSG_VERDICT, 0, queue, VERDICT_HEADER, &payload)
}

/// A message about a queue with one attribute.
fn message(kind: u16, flags: u16, queue: u16, attribute: u16, payload: &[u8]) -> Vec<u8> {
    let attribute_length = 4 + payload.len();
    let length = HEADERS + attribute_length.next_multiple_of(4);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(0).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    // Family (any), version 0, and the queue's number, which is big-endian.
    bytes.extend([0, 0]);
    bytes.extend(queue.to_be_bytes());
    bytes.extend(u16::try_from(attribute_length).unwrap_or(0).to_ne_bytes());
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(length, 0);
    bytes
}

/// The numbers of the packets that a batch of messages tells of.
fn packet_ids(mut bytes: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    while let Some(length) = bytes.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b) as usize) {
        let Some(one) = bytes.get(..length).filter(|one| one.len() >= HEADERS) else { break };
        if u16::from_ne_bytes([one[4], one[5]]) == MSG_PACKET {
            ids.extend(packet_id(&one[HEADERS..]));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    ids
}

/// The packet's number (big-endian) in a message's attributes.
fn packet_id(mut attributes: &[u8]) -> Option<u32> {
    while let [a, b, c, d, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let payload = attributes.get(4..length)?;
        if u16::from_ne_bytes([c, d]) == PACKET_HEADER {
            return payload.first_chunk().map(|id| u32::from_be_bytes(*id));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Which packets get lost: a xorshift generator (Marsaglia 2003), the same run after run, so that what a story
/// measured can be measured again.
struct Chance(u64);

impl Chance {
    fn new(seed: u16) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ u64::from(seed))
    }

    fn happens(&mut self, loss: Loss) -> bool {
        if loss.0 == 0 {
            return false;
        }
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % u64::from(Loss::WHOLE) < u64::from(loss.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_among_its_attributes() {
        let told = message(MSG_PACKET, 0, 7, PACKET_HEADER, &[0, 0, 1, 2, 8, 0, 1]);
        let other = message(MSG_PACKET, 0, 7, 4, &[1, 2, 3]);
        let batch = [told.clone(), other, told].concat();
        assert_eq!(packet_ids(&batch), [258, 258]);
        assert_eq!(packet_ids(&batch[..30]), Vec::<u32>::new());
        assert_eq!(packet_ids(&[]), Vec::<u32>::new());
        assert_eq!(packet_ids(&[0; 64]), Vec::<u32>::new(), "no length, no end");
        for cut in 0..batch.len() {
            packet_ids(&batch[..cut]);
        }
    }

    #[test]
    fn a_verdict_names_queue_and_packet() {
        let bytes = verdict(300, 258, ACCEPT);
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[4..6], MSG_VERDICT.to_ne_bytes());
        assert_eq!(bytes[18..20], [1, 44]);
        assert_eq!(bytes[24..32], [0, 0, 0, 1, 0, 0, 1, 2]);
    }

    #[test]
    fn about_so_many_get_lost() {
        let mut chance = Chance::new(3);
        let mut lost = |loss: Loss| (0..100_000).filter(|_| chance.happens(loss)).count();
        assert_eq!(lost(Loss(0)), 0);
        assert!((1_700..2_300).contains(&lost(Loss(20_000))));
        assert_eq!(lost(Loss(Loss::WHOLE)), 100_000);
    }
}
