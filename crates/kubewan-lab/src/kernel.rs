//! What this machine's kernel offers. The lab chooses by it, and so may an inventory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::call::Call;

/// What Kubernetes in the hosts and the lab itself will want. Hosts may not load modules, so the lab does, where
/// modules exist at all; one that is missing or built in is no error.
const MODULES: [&str; 16] = [
    "overlay",
    "br_netfilter",
    "nf_tables",
    "nf_conntrack",
    "nft_chain_nat",
    "nft_compat",
    "ip_tables",
    "iptable_nat",
    "iptable_filter",
    "vxlan",
    "veth",
    "dummy",
    "wireguard",
    "tun",
    // For paths between clouds.
    "sch_htb",
    "sch_netem",
];

/// How control groups are mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupLayout {
    /// Controllers on version 1 hierarchies (a version 2 hierarchy without controllers may stand
    /// beside them). Every mount point of a hierarchy.
    V1(Vec<PathBuf>),
    /// Version 2 only, without a systemd that owns it.
    V2(PathBuf),
    /// Version 2 only, owned by this machine's systemd: it must be asked for a group of our own.
    V2Systemd(PathBuf),
}

/// What was found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// How control groups are mounted.
    pub cgroups: CgroupLayout,
    /// Whether the kernel makes WireGuard interfaces.
    pub wireguard: bool,
    /// Whether a process here may raise its own limits (`CAP_SYS_RESOURCE`). Without it a kubelet
    /// can't protect itself from the kernel's out-of-memory killer.
    pub may_raise_limits: bool,
}

impl KernelFacts {
    /// Looks at this machine; makes and removes one interface to learn about WireGuard.
    pub fn gather() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let systemd = Path::new("/run/systemd/system").is_dir();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cgroups: cgroup_layout(&mounts, systemd),
            wireguard: makes_wireguard(),
            may_raise_limits: effective_capabilities(&status) & (1 << CAP_SYS_RESOURCE) != 0,
        }
    }

    /// Whether the kubelet will find version 1 control groups in the hosts.
    pub fn cgroup_v1(&self) -> bool {
        matches!(self.cgroups, CgroupLayout::V1(_))
    }
}

/// The capability's number in the kernel's interface.
const CAP_SYS_RESOURCE: u32 = 24;

/// Loads what hosts will need and can't load themselves.
pub(crate) fn load_modules() {
    for module in MODULES {
        let _ = Call::new("modprobe", "load a module").args(["-q", module]).succeeds();
    }
}

fn makes_wireguard() -> bool {
    // Two commands may look at once.
    let probe = format!("kwprobe{}", std::process::id());
    let made = Call::new("ip", "try a WireGuard interface")
        .args(["link", "add", &probe, "type", "wireguard"])
        .succeeds();
    if made {
        let _ = Call::new("ip", "remove it").args(["link", "del", &probe]).succeeds();
    }
    made
}

fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

/// Reads `/proc/self/mountinfo`: `… <mount point> <options> … - <type> <source> <options>`.
fn cgroup_layout(mountinfo: &str, systemd: bool) -> CgroupLayout {
    let mut v1 = Vec::new();
    let mut v2 = None;
    for line in mountinfo.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
        // One hierarchy may be mounted twice; only the usual place counts.
        if !point.starts_with("/sys/fs/cgroup") {
            continue;
        }
        match kind.split(' ').next() {
            Some("cgroup") => v1.push(point),
            Some("cgroup2") => v2 = Some(point),
            _ => {}
        }
    }
    match v2 {
        Some(point) if v1.is_empty() && systemd => CgroupLayout::V2Systemd(point),
        Some(point) if v1.is_empty() => CgroupLayout::V2(point),
        v2 => {
            v1.extend(v2);
            CgroupLayout::V1(v1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_counts_as_v1() {
        let mounts = "\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let CgroupLayout::V1(points) = cgroup_layout(mounts, true) else { panic!("version 1") };
        assert_eq!(points.len(), 2);
    }

    #[test]
    fn v2_depends_on_who_owns_it() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let root = PathBuf::from("/sys/fs/cgroup");
        assert_eq!(cgroup_layout(mounts, false), CgroupLayout::V2(root.clone()));
        assert_eq!(cgroup_layout(mounts, true), CgroupLayout::V2Systemd(root));
    }

    #[test]
    fn capabilities_are_read_from_the_status() {
        let all_but_one = effective_capabilities("Name:\tx\nCapEff:\t000001fffeffffff\n");
        assert_eq!(all_but_one & (1 << CAP_SYS_RESOURCE), 0);
        assert_ne!(effective_capabilities("CapEff:\t000001ffffffffff\n") & (1 << 24), 0);
    }
}
