//! Sockets that listen, from /proc/net: no program of the host is needed for it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kubewan_core::facts::Listener;

/// `TCP_LISTEN` in include/net/tcp_states.h.
const TCP_LISTEN: &str = "0A";

/// `TCP_CLOSE`, which a bound UDP socket that is connected to nobody shows.
const UDP_UNCONNECTED: &str = "07";

pub(super) fn listeners() -> Vec<Listener> {
    let mut found = Vec::new();
    for (protocol, table, state) in [
        ("tcp", "tcp", TCP_LISTEN),
        ("tcp", "tcp6", TCP_LISTEN),
        ("udp", "udp", UDP_UNCONNECTED),
        ("udp", "udp6", UDP_UNCONNECTED),
    ] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        found.extend(parse(&text, state).into_iter().map(|socket| (protocol, socket)));
    }
    let owners = owners();
    let mut listeners: Vec<Listener> = found
        .into_iter()
        .map(|(protocol, (address, port, inode))| Listener {
            protocol: protocol.into(),
            address,
            port,
            process: owners.get(&inode).cloned().unwrap_or_default(),
        })
        .collect();
    listeners.sort_by_key(|l| (l.protocol.clone(), l.port, l.address));
    listeners.dedup();
    listeners
}

/// Address, port and inode of every socket of the table in that state.
pub(crate) fn parse(table: &str, state: &str) -> Vec<(IpAddr, u16, u64)> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (&local, &shown) = (words.get(1)?, words.get(3)?);
            if shown != state {
                return None;
            }
            let (address, port) = local.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            Some((parse_address(address)?, port, words.get(9)?.parse().ok()?))
        })
        .collect()
}

/// The kernel prints 32-bit words in the host's byte order.
pub(crate) fn parse_address(hex: &str) -> Option<IpAddr> {
    // A sign is no digit, but a number to Rust.
    if !matches!(hex.len(), 8 | 32) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 16];
    for (index, word) in bytes.chunks_exact_mut(4).take(hex.len() / 8).enumerate() {
        let digits = hex.get(index * 8..index * 8 + 8)?;
        word.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    let [a, b, c, d, ..] = bytes;
    Some(if hex.len() == 8 {
        Ipv4Addr::new(a, b, c, d).into()
    } else {
        Ipv6Addr::from(bytes).into()
    })
}

/// Process names by the inode of a socket that they hold.
fn owners() -> BTreeMap<u64, String> {
    let mut owners = BTreeMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let mut name = None;
        for fd in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(fd.path()) else { continue };
            let Some(inode) = target
                .to_str()
                .and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
            else {
                continue;
            };
            let name = name.get_or_insert_with(|| process_name(&process.path()));
            owners.entry(inode).or_insert_with(|| name.clone());
        }
    }
    owners
}

/// The kernel cuts names to 15 bytes; the command line has the rest.
fn process_name(process: &std::path::Path) -> String {
    let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let comm = comm.trim();
    let command = fs::read(process.join("cmdline")).unwrap_or_default();
    let first = command.split(|b| *b == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let base = first.rsplit('/').next().unwrap_or_default();
    if base.starts_with(comm) { base.to_owned() } else { comm.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1680 1 00000000af4744d7 100 0 0 10 0
   1: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1714 1 0000000000000000 100 0 0 10 0
   2: 020200C0:07E8 010200C0:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 1799 1 0000000000000000 20 4 30 10 -1
";

    #[cfg(target_endian = "little")]
    #[test]
    fn reads_listening_sockets_only() {
        assert_eq!(
            parse(TCP, TCP_LISTEN),
            [(IpAddr::from([0, 0, 0, 0]), 2024, 1680), (IpAddr::from([127, 0, 0, 1]), 631, 1714)]
        );
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn reads_version_6_addresses() {
        let address = parse_address("000080FE000000000000000001000000");
        assert_eq!(address, Some("fe80::1".parse().unwrap()));
        for text in ["zz", "", "+100007F", "0100007F0", "0100007F0100007F", "0100007é"] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }

    #[test]
    fn finds_a_socket_of_its_own() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listeners();
        let own = found.iter().find(|l| l.port == port && l.protocol == "tcp").unwrap();
        assert!(own.process.starts_with("kubewan_agent"), "{own:?}");
    }
}
