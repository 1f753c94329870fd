//! Addresses that files of a host's network stacks give it at boot: ifupdown's, NetworkManager's, the network scripts',
//! netplan's, systemd-networkd's, and rc.local. Of a file no more is kept than the lines that have addresses: others hold
//! passwords.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use kubewan_core::facts::ConfiguredAddress;

/// Folders with the ends of the names that their stacks read; an empty end stands for every name.
const FOLDERS: [(&str, &str); 9] = [
    ("/etc/network/interfaces.d", ""),
    ("/etc/sysconfig/network-scripts", ""),
    ("/etc/sysconfig/network", ""),
    ("/etc/netplan", ".yaml"),
    ("/etc/NetworkManager/system-connections", ".nmconnection"),
    ("/run/NetworkManager/system-connections", ".nmconnection"),
    ("/etc/systemd/network", ".network"),
    ("/usr/lib/systemd/network", ".network"),
    ("/etc/network/if-up.d", ""),
];

/// Files that are read by themselves.
const FILES: [&str; 3] = ["/etc/network/interfaces", "/etc/rc.local", "/etc/rc.d/rc.local"];

/// Nobody writes more about a host's network than this.
const FILE_MAX: u64 = 256 * 1024;

/// Every address with a mask that a file of this host gives some interface.
pub(crate) fn configured() -> Vec<ConfiguredAddress> {
    let mut paths: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    for (folder, end) in FOLDERS {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
        let mut found: Vec<PathBuf> = entries.filter(|path| is_read(path, folder, end)).collect();
        found.sort();
        paths.extend(found);
    }
    paths.iter().flat_map(|path| of_file(path)).collect()
}

fn is_read(path: &Path, folder: &str, end: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let scripts = folder.starts_with("/etc/sysconfig");
    name.ends_with(end) && !name.ends_with('~') && (!scripts || name.starts_with("ifcfg-"))
}

fn of_file(path: &Path) -> Vec<ConfiguredAddress> {
    let fits = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= FILE_MAX);
    let text = if fits { fs::read(path).unwrap_or_default() } else { Vec::new() };
    parse(&path.to_string_lossy(), &String::from_utf8_lossy(&text))
}

/// The addresses in a file: `198.51.100.10/24` wherever it stands, and where the mask has a line of its own, `address`
/// with `netmask` in a stanza (interfaces(5)) and `IPADDR` with `NETMASK` or `PREFIX` (ifcfg).
pub(crate) fn parse(path: &str, text: &str) -> Vec<ConfiguredAddress> {
    let mut found = Vec::new();
    // An address that waits for its mask: with what stands after the key, as `1` of `IPADDR1`.
    let mut bare: Vec<(String, Ipv4Addr)> = Vec::new();
    let mut masks: Vec<(String, u8, u32, String)> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.starts_with(['#', ';', '!']) {
            continue;
        }
        let shown = || line.chars().take(120).collect::<String>();
        let with_mask = tokens(line).filter_map(|word| word.parse::<Ipv4Net>().ok());
        found.extend(with_mask.map(|address| ConfiguredAddress {
            path: path.to_owned(),
            line: number,
            text: shown(),
            address,
        }));
        if ["iface ", "auto ", "mapping ", "allow-"].iter().any(|word| line.starts_with(word)) {
            found.extend(paired(path, &mut bare, &mut masks));
        }
        let Some((key, value)) = setting(line) else { continue };
        let index = |words: [&str; 2]| {
            let [one, other] = words;
            key.strip_prefix(one).or_else(|| key.strip_prefix(other)).map(str::to_owned)
        };
        if let (Some(index), Ok(address)) = (index(["IPADDR", "ADDRESS"]), value.parse()) {
            bare.push((index, address));
        } else if let (Some(index), Some(length)) = (index(["NETMASK", "PREFIX"]), prefix(&value)) {
            masks.push((index, length, number, shown()));
        }
    }
    found.extend(paired(path, &mut bare, &mut masks));
    found.sort_by_key(|each| each.line);
    found
}

/// Addresses with their masks, each at the line that has the mask.
fn paired(
    path: &str,
    bare: &mut Vec<(String, Ipv4Addr)>,
    masks: &mut Vec<(String, u8, u32, String)>,
) -> Vec<ConfiguredAddress> {
    let masks = std::mem::take(masks);
    let with_mask = std::mem::take(bare).into_iter().filter_map(|(index, address)| {
        let (_, length, line, text) = masks.iter().find(|(other, ..)| *other == index)?;
        let address = Ipv4Net::new(address, *length).ok()?;
        Some(ConfiguredAddress { path: path.to_owned(), line: *line, text: text.clone(), address })
    });
    with_mask.collect()
}

/// `IPADDR=198.51.100.10` and `address 198.51.100.10`, the key in capitals.
fn setting(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=').or_else(|| line.split_once(char::is_whitespace))?;
    let value = value.trim().trim_matches(['"', '\'']).to_owned();
    Some((key.trim().to_ascii_uppercase(), value))
}

/// `255.255.255.0` and `24`.
fn prefix(mask: &str) -> Option<u8> {
    match mask.parse::<Ipv4Addr>() {
        Ok(mask) => ipnet::ipv4_mask_to_prefix(mask).ok(),
        Err(_) => mask.parse().ok().filter(|length| *length <= 32),
    }
}

/// Words of a line that may be addresses with a mask.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '/')).filter(|w| !w.is_empty())
}

/// Neighbours on a wire whose hardware address is known: they have answered there. `/proc/net/arp`, whose third column has 2
/// for those (`ATF_COM` in if_arp.h).
pub(crate) fn parse_neighbours(text: &str) -> Vec<(String, Ipv4Addr)> {
    let neighbour = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, .., interface] = words.as_slice() else { return None };
        let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
        (flags & 2 != 0).then_some(((*interface).to_owned(), address.parse().ok()?))
    };
    text.lines().skip(1).filter_map(neighbour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        parse("f", text).iter().map(|a| format!("{} {} `{}`", a.line, a.address, a.text)).collect()
    }

    /// The recipe's own stanza, and one with the mask behind the address.
    #[test]
    fn reads_interfaces() {
        let text = "auto lo\niface lo inet loopback\n\nauto eth0:1\niface eth0:1 inet static\naddress 198.51.100.10\n\
            netmask 255.255.255.0\n\nauto eth0:2\niface eth0:2 inet static\n  address 203.0.113.9/25\n\
            iface eth0:3 inet static\n  address 192.0.2.3\n  netmask 24\n  # netmask 255.255.0.0\n  up ip address add \
            192.0.2.4/30 dev eth0\n";
        assert_eq!(
            shown(text),
            [
                "7 198.51.100.10/24 `netmask 255.255.255.0`",
                "11 203.0.113.9/25 `address 203.0.113.9/25`",
                "14 192.0.2.3/24 `netmask 24`",
                "16 192.0.2.4/30 `up ip address add 192.0.2.4/30 dev eth0`"
            ]
        );
    }

    #[test]
    fn reads_ifcfg() {
        let text = "DEVICE=eth0:1\nBOOTPROTO=static\nIPADDR=\"198.51.100.10\"\nNETMASK=255.255.255.0\nIPADDR1=192.0.2.3\n\
            PREFIX1=26\nIPADDR2=192.0.2.9\n";
        assert_eq!(
            shown(text),
            ["4 198.51.100.10/24 `NETMASK=255.255.255.0`", "6 192.0.2.3/26 `PREFIX1=26`"]
        );
    }

    #[test]
    fn reads_netplan_keyfiles_and_networkd() {
        let netplan = "network:\n  ethernets:\n    eth0:\n      addresses:\n        - 198.51.100.10/24:\n            label: \
            eth0:1\n      addresses: [10.0.4.7/24, \"198.51.100.11/32\"]\n";
        assert_eq!(
            shown(netplan).iter().map(|line| line.split(' ').nth(1).unwrap()).collect::<Vec<_>>(),
            ["198.51.100.10/24", "10.0.4.7/24", "198.51.100.11/32"]
        );
        let keyfile = "[wifi-security]\npsk=secret\n[ipv4]\naddress1=198.51.100.10/24,10.0.4.1\nmethod=manual\n";
        assert_eq!(shown(keyfile), ["4 198.51.100.10/24 `address1=198.51.100.10/24,10.0.4.1`"]);
        let networkd = "[Network]\nAddress=198.51.100.10/24\n";
        assert_eq!(shown(networkd), ["2 198.51.100.10/24 `Address=198.51.100.10/24`"]);
        assert!(shown("Name=1/2\nDNS=9.9.9.9\n").is_empty());
    }

    #[test]
    fn a_neighbour_has_answered() {
        let text = "IP address       HW type     Flags       HW address            Mask     Device\n\
            10.0.4.1         0x1         0x2         02:00:00:00:00:01     *        eth0\n\
            198.51.100.20    0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert_eq!(parse_neighbours(text), [("eth0".to_owned(), Ipv4Addr::new(10, 0, 4, 1))]);
    }
}
