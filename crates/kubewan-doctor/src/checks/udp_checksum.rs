//! UDP packets of the pod network whose checksums are wrong behind NAT.

use kubewan_core::inventory::Backend;

use super::Check;
use crate::case::has_all;
use crate::diagnosis::{Diagnosis, Quote};

/// Below, it is what damaged packets of the Internet leave.
const MANY: u64 = 100;

/// tcpdump's words, and the kernel's (`UDP: bad checksum. From … to …:8472`, net/ipv4/udp.c).
fn is_said(line: &str) -> bool {
    line.contains("bad udp cksum") || has_all(line, &["UDP: bad checksum", ":8472"])
}

pub(super) const CHECK: Check = Check {
    code: "udp-checksum",
    means: "the kernel drops VXLAN packets for their checksum: a network card computes them wrongly behind NAT",
    looks_at: "`InCsumErrors` of UDP in /proc/net/snmp, `bad udp cksum` of tcpdump, the kernel's `UDP: bad checksum`",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let count = host.evidence.udp_checksum_errors;
            let vxlan =
                host.network.as_ref().is_none_or(|network| network.backend == Backend::Vxlan);
            let counted = (count >= MANY && vxlan)
                .then(|| Quote::new("/proc/net/snmp", &format!("Udp: InCsumErrors {count}")));
            let quote = counted.or_else(|| host.said(&[], is_said).filter(|_| host.is_pasted()))?;
            Some(
                Diagnosis::warning("udp-checksum", host.who(), "pods of other nodes answer pings and nothing else, or very slowly")
                    .cause("packets of the pod network come with wrong UDP checksums and are dropped: the sender's card or its NAT computes them wrongly (flannel-io/flannel#1279)")
                    .seen([quote])
                    .remedy(
                        "on the nodes: `ethtool -K flannel.1 tx-checksum-ip-generic off`; it is lost at a reboot, so by a udev rule or unit. \
                         WireGuard as the backend has no such packets. The count is since the boot: `nstat -az UdpInCsumErrors` says whether it grows",
                    ),
            )
        };
        case.present().filter_map(of).collect()
    },
};
