//! What the kernel supports: built in, loaded or loadable. Nothing is loaded to find out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use kubewan_core::facts::Kernel;

use super::text;
use crate::command::Program;

/// Modules that kubewan may ask for.
const ASKED: &[&str] = &[
    "overlay",
    "br_netfilter",
    "nf_conntrack",
    "bridge",
    "dummy",
    "veth",
    "vxlan",
    "wireguard",
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_sh",
    "nf_tables",
    "tun",
];

/// Name of the link that is made and deleted in a throw-away namespace.
const PROBE: &str = "kw-probe";

pub(super) fn kernel() -> Kernel {
    let modules = Modules::read();
    // What the lists of modules don't tell is tried, once.
    let tried = ASKED.iter().filter(|name| !modules.has(name) && works(name));
    let tried: BTreeSet<&str> = tried.copied().collect();
    let supports = |name: &str| modules.has(name) || tried.contains(name);
    Kernel {
        release: text("/proc/sys/kernel/osrelease"),
        arch: arch().into(),
        dummy: supports("dummy"),
        bridge: supports("bridge"),
        vxlan: supports("vxlan"),
        wireguard: supports("wireguard"),
        br_netfilter: supports("br_netfilter"),
        overlay: supports("overlay"),
        present_modules: ASKED
            .iter()
            .filter(|name| modules.present(name) || tried.contains(**name))
            .map(|name| (*name).to_owned())
            .collect(),
    }
}

/// A module is part of the kernel, or loaded, or does its work without any trace of a module.
pub fn present(name: &str) -> bool {
    let modules = Modules::read();
    modules.present(name) || (!modules.loadable(name) && works(name))
}

/// Go's name of the architecture.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The module lists of the running kernel's folder.
struct Modules {
    builtin: String,
    loadable: String,
}

impl Modules {
    fn read() -> Modules {
        let folder = format!("/lib/modules/{}", text("/proc/sys/kernel/osrelease"));
        let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
        Modules { builtin: read("modules.builtin"), loadable: read("modules.dep") }
    }

    fn has(&self, name: &str) -> bool {
        self.present(name) || self.loadable(name)
    }

    fn present(&self, name: &str) -> bool {
        Path::new("/sys/module").join(name).exists() || lists(&self.builtin, name)
    }

    fn loadable(&self, name: &str) -> bool {
        lists(&self.loadable, name)
    }
}

/// `kernel/net/bridge/br_netfilter.ko.xz: …`; file names may have `-` where module names have `_`.
pub(crate) fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == name)
    })
}

/// Built into a kernel whose modules.builtin is not installed (many cloud and lab kernels): ask for what
/// the module does. Called where no module of that name could be loaded by asking.
fn works(name: &str) -> bool {
    match name {
        "overlay" => text("/proc/filesystems").lines().any(|l| l.ends_with("\toverlay")),
        "br_netfilter" => Path::new("/proc/sys/net/bridge").exists(),
        "nf_conntrack" => Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists(),
        "tun" => Path::new("/dev/net/tun").exists(),
        "vxlan" => makes_link(name, &["id", "1", "dstport", "0"]),
        "dummy" | "bridge" | "wireguard" | "veth" => makes_link(name, &[]),
        _ => false,
    }
}

/// Whether a link of that kind can be made, tried in a network namespace that ends with the program.
fn makes_link(kind: &str, options: &[&str]) -> bool {
    let add = ["-n", "ip", "link", "add", PROBE, "type", kind];
    Program::new("unshare")
        .args(add)
        .args(options.iter().copied())
        .timeout(Duration::from_secs(5))
        .output()
        .is_ok_and(|output| output.code == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_module_lists() {
        let list = "kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\n\
                    kernel/fs/overlayfs/overlay.ko:\nkernel/net/netfilter/nf-tables.ko.zst:\n";
        assert!(lists(list, "br_netfilter") && lists(list, "overlay") && lists(list, "nf_tables"));
        // Only a dependency of another one.
        assert!(!lists(list, "bridge"));
        assert!(!lists("", "dummy"));
    }
}
