//! What may tell why something is wrong on this host: ends of logs, units, certificates. All of it is bounded
//! ([`kubewan_core::evidence`]), and nothing is changed. What is not there, or can't be read, is left out: a host in trouble
//! lacks this and that.

pub(crate) mod certificates;
pub(crate) mod logs;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::thread;

use kubewan_core::evidence::{Disk, FILE_BYTES, HostEvidence, UnitState};
use kubewan_core::facts::TextFile;
use kubewan_core::redact::redact;

use crate::command::{self, Program};

/// Units that a node needs.
const UNITS: [&str; 5] = [
    "kubelet.service",
    "containerd.service",
    "docker.service",
    "cri-docker.service",
    "cri-docker.socket",
];

/// Kernel settings that pods need, or that are refused to kube-proxy.
const SYSCTLS: [&str; 4] = [
    "net.ipv4.ip_forward",
    "net.bridge.bridge-nf-call-iptables",
    "net.netfilter.nf_conntrack_max",
    "net.ipv4.conf.all.rp_filter",
];

/// Folders that a node writes to.
const FOLDERS: [&str; 7] = [
    "/",
    "/var",
    "/var/lib",
    "/var/lib/etcd",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log",
];

/// Small files that are evidence themselves.
const FILES: [&str; 4] = [
    "/etc/kubernetes/manifests/etcd.yaml",
    "/var/lib/kubelet/config.yaml",
    "/etc/docker/daemon.json",
    "/etc/centos-release",
];

/// Programs of packet filters and of what is asked for where they err.
const FILTERS: [&str; 6] = ["iptables", "ip6tables", "nft", "ipset", "conntrack", "ethtool"];

/// All of it.
pub fn evidence() -> HostEvidence {
    thread::scope(|scope| {
        let logs = scope.spawn(logs::logs);
        let units = scope.spawn(units);
        HostEvidence {
            certificates: certificates::certificates(Path::new("/")),
            sysctls: SYSCTLS.iter().map(|name| ((*name).to_owned(), sysctl(name))).collect(),
            disks: disks(),
            files: FILES.iter().filter_map(|path| file(path)).collect(),
            udp_checksum_errors: fs::read_to_string("/proc/net/snmp")
                .map_or(0, |text| udp_checksum_errors(&text)),
            packet_filters: FILTERS
                .iter()
                .filter(|name| command::exists(name))
                .map(|name| (*name).to_owned())
                .collect(),
            units: units.join().unwrap_or_default(),
            logs: logs.join().unwrap_or_default(),
        }
    })
}

fn sysctl(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Each file system once, by its first folder.
fn disks() -> Vec<Disk> {
    let mut seen = Vec::new();
    let mut disks = Vec::new();
    for path in FOLDERS {
        let (Ok(stat), Ok(room)) = (rustix::fs::stat(path), rustix::fs::statvfs(path)) else {
            continue;
        };
        if seen.contains(&stat.st_dev) {
            continue;
        }
        seen.push(stat.st_dev);
        disks.push(Disk {
            path: path.into(),
            total: room.f_blocks.saturating_mul(room.f_frsize),
            free: room.f_bavail.saturating_mul(room.f_frsize),
            // File systems that make them as needed say 0 of both.
            free_files: if room.f_files == 0 { u64::MAX } else { room.f_ffree },
        });
    }
    disks
}

fn file(path: &str) -> Option<TextFile> {
    let text = tail(Path::new(path), FILE_BYTES)?;
    Some(TextFile { path: path.into(), text: redact(&text, &BTreeMap::new()) })
}

/// The last bytes of a regular file, as text.
pub(crate) fn tail(path: &Path, bytes: usize) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(bytes as u64))).ok()?;
    let mut text = Vec::new();
    file.take(bytes as u64).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn units() -> Vec<UnitState> {
    let shown = Program::new("systemctl")
        .args(["show", "--property=Id,LoadState,ActiveState,SubState,Result,NRestarts"])
        .args(UNITS)
        .output();
    shown.map_or_else(|_| Vec::new(), |output| parse_units(&output.stdout))
}

/// Blocks of `KEY=VALUE` with an empty line between them, in the order that was asked for.
pub(crate) fn parse_units(text: &str) -> Vec<UnitState> {
    let block = |block: &str| {
        let mut unit = UnitState::default();
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => unit.name = value.into(),
                "LoadState" => unit.load = value.into(),
                "ActiveState" => unit.active = value.into(),
                "SubState" => unit.sub = value.into(),
                "Result" => unit.result = value.into(),
                "NRestarts" => unit.restarts = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        unit
    };
    text.split("\n\n").map(block).filter(|unit| !unit.name.is_empty()).collect()
}

/// `InCsumErrors` of the two lines `Udp:` in /proc/net/snmp: names, then values.
pub(crate) fn udp_checksum_errors(snmp: &str) -> u64 {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let place = names.split_whitespace().position(|name| name == "InCsumErrors");
    place.and_then(|place| values.split_whitespace().nth(place)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        let text = "Result=exit-code\nNRestarts=7\nId=kubelet.service\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\n\n\
                    Result=success\nNRestarts=0\nId=docker.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n";
        let units = parse_units(text);
        assert_eq!((units[0].name.as_str(), units[0].restarts), ("kubelet.service", 7));
        assert_eq!((units[1].load.as_str(), units.len()), ("not-found", 2));
    }

    /// As Linux 6.18 prints it.
    #[test]
    fn checksum_errors_are_found_by_their_name() {
        let snmp = "Icmp: InMsgs\nIcmp: 0\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n\
                    Udp: 4 0 3 4 0 0 3 0 0\nUdpLite: InDatagrams NoPorts\nUdpLite: 0 0\n";
        assert_eq!(udp_checksum_errors(snmp), 3);
        assert_eq!(udp_checksum_errors("Udp: InCsumErrors\n"), 0);
    }

    #[test]
    fn ends_of_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "first\nlast\n").unwrap();
        assert_eq!(tail(&path, 5).as_deref(), Some("last\n"));
        assert_eq!(tail(folder.path(), 5), None);
    }
}
