//! A disk without room.

use kubewan_core::evidence::{Component, Disk};

use super::Check;
use crate::diagnosis::Diagnosis;

/// Less is an error: programs that write fail, and etcd stops.
const LEAST: u64 = 256 << 20;

/// Of a small file system: less than a tenth.
fn is_full(disk: &Disk) -> bool {
    let short = disk.free < LEAST && disk.free.saturating_mul(10) < disk.total;
    short || disk.free_files < 100
}

pub(super) const CHECK: Check = Check {
    code: "disk-full",
    means: "a file system that the node writes to is full",
    looks_at: "free bytes and files, `no space left on device` in logs",
    explains: &[
        "disk-pressure",
        "node-not-ready",
        "kubelet-down",
        "runtime-down",
        "api-refused",
        "pause-image",
        "init-timeout",
        "api-certificate",
    ],
    explains_everywhere: &[],
    run: |case| {
        let mut found = Vec::new();
        for host in case.present() {
            let disk = host.evidence.disks.iter().find(|disk| is_full(disk));
            let quote = disk.map(|disk| {
                let (free, total) = (disk.free >> 20, disk.total >> 20);
                let text = format!("{free} MiB of {total} MiB and {} files free", disk.free_files);
                host.quote(&format!("statfs {}", disk.path), text)
            });
            // A log tells of a disk that may have room again by now.
            let said =
                || host.said(&Component::ALL, |line| line.contains("no space left on device"));
            let said = said().filter(|_| disk.is_some() || host.is_pasted());
            if disk.is_none() && said.is_none() {
                continue;
            }
            let of = disk.map_or(String::new(), |disk| disk.path.clone());
            found.push(
                Diagnosis::error("disk-full", host.who(), "writing fails: pods, images, etcd, the journal")
                    .cause("there is no room left on a file system that the node writes to")
                    .seen(quote.into_iter().chain(said))
                    .remedy(
                        "free some: `crictl rmi --prune`, `journalctl --vacuum-size=200M`, `du -xhd2 /var | sort -h | tail`; \
                         or mount a larger disk there",
                    )
                    .of(of),
            );
        }
        found
    },
};
