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

/// Kinds of links that are made in a throw-away namespace, with what they need.
const LINKS: &[(&str, &str)] =
    &[("vxlan", " id 1 dstport 0"), ("dummy", ""), ("bridge", ""), ("wireguard", ""), ("veth", "")];

pub(super) fn kernel() -> Kernel {
    let modules = Modules::read();
    // What the lists of modules don't tell is tried, once.
    let unknown: Vec<&str> = ASKED.iter().filter(|name| !modules.has(name)).copied().collect();
    let tried = working(&unknown);
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
    modules.present(name) || (!modules.loadable(name) && working(&[name]).contains(name))
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

/// Those that are built into a kernel whose modules.builtin is not installed (many cloud and lab kernels): ask for what
/// the module does. Called where no module of that name could be loaded by asking.
fn working<'a>(names: &[&'a str]) -> BTreeSet<&'a str> {
    let links = made_links(names);
    let works = |name: &str| match name {
        "overlay" => text("/proc/filesystems").lines().any(|l| l.ends_with("\toverlay")),
        "br_netfilter" => Path::new("/proc/sys/net/bridge").exists(),
        "nf_conntrack" => Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists(),
        "tun" => Path::new("/dev/net/tun").exists(),
        _ => links.contains(name),
    };
    names.iter().copied().filter(|name| works(name)).collect()
}

/// Which of these kinds of links can be made, tried in a network namespace that ends with the program.
fn made_links(kinds: &[&str]) -> BTreeSet<String> {
    let asked: Vec<String> = LINKS
        .iter()
        .filter(|(kind, _)| kinds.contains(kind))
        .map(|(kind, needs)| format!("link add {} type {kind}{needs}\n", probe(kind)))
        .collect();
    if asked.is_empty() {
        return BTreeSet::new();
    }
    // What fails is passed over; what is there in the end tells.
    let ip = ["-n", "ip", "-force", "-batch", "-"];
    let batch = Program::new("unshare").args(ip).stdin(asked.concat() + "link show\n");
    let there = batch.timeout(Duration::from_secs(5)).output().unwrap_or_default().stdout;
    let kinds = LINKS.iter().filter(|(kind, _)| shows_link(&there, &probe(kind)));
    kinds.map(|(kind, _)| (*kind).to_owned()).collect()
}

/// Name of the link of a kind that is tried.
fn probe(kind: &str) -> String {
    format!("kw-{kind}")
}

/// `2: kw-veth@veth0: <BROADCAST,MULTICAST> mtu 1500 …`
pub(crate) fn shows_link(shown: &str, name: &str) -> bool {
    shown.lines().any(|line| {
        let word = line.split_whitespace().nth(1).unwrap_or_default();
        word.split(['@', ':']).next() == Some(name) && word.ends_with(':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_links() {
        let shown = "1: lo: <LOOPBACK> mtu 65536 qdisc noop state DOWN\n    link/loopback 00:00:00:00:00:00 brd 00\n\
                     2: kw-veth@veth0: <BROADCAST> mtu 1500\n3: kw-bridge: <BROADCAST> mtu 1500\n";
        assert!(shows_link(shown, "kw-veth") && shows_link(shown, "kw-bridge"));
        assert!(!shows_link(shown, "kw-dummy") && !shows_link("", "kw-veth"));
    }

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
