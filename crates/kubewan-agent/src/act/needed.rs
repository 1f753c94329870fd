//! What else on a host may need a kernel setting to be as it is: a VPN that somebody has set up since loses the network of its
//! clients with `net.ipv4.ip_forward`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kubewan_core::render::unit::SYSCTL_CONF;

/// Where settings for every boot lie, the first place of a name counts (sysctl.d(5)).
const FOLDERS: [&str; 5] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];
/// Read after all of them (procps' sysctl(8), `--system`).
const LAST: &str = "/etc/sysctl.conf";
/// The setting that lets a host route the packets of others.
const FORWARDS: &str = "net.ipv4.ip_forward";

/// What may need the setting, each as people call it; empty where nothing does.
/// Interfaces whose names begin with one of `ours` count for nothing.
pub(super) fn by(key: &str, value: &str, ours: &[String]) -> Vec<String> {
    by_below(Path::new("/"), key, value, ours)
}

fn by_below(root: &Path, key: &str, value: &str, ours: &[String]) -> Vec<String> {
    let mut found: Vec<String> = file(root, key, value).into_iter().collect();
    if key == FORWARDS && value == "1" {
        found.extend(links(&root.join("sys/class/net"), ours));
    }
    found
}

/// The file that sets the key at every boot, if what it says is this value.
fn file(root: &Path, key: &str, value: &str) -> Option<String> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(below(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".conf") && Path::new(folder).join(&name) != Path::new(SYSCTL_CONF) {
                files.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    let set = |path: &Path| fs::read_to_string(path).ok().and_then(|text| last_of(&text, key));
    let mut last = None;
    for path in files.into_values().chain([below(LAST)]) {
        if let Some(said) = set(&path) {
            last = Some((said, path));
        }
    }
    let (said, path) = last?;
    let path = path.strip_prefix(root).unwrap_or(&path);
    (said == value).then(|| format!("/{} sets it", path.display()))
}

/// What a file sets a key to (sysctl.conf(5): `key = value`, comments after `#` and `;`, `-` where an error is no matter; slashes
/// may stand for dots).
fn last_of(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let mut set = lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim().trim_start_matches('-').replace('/', ".");
        (name == key).then(|| value.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    set.next_back()
}

/// Tunnels and bridges of somebody's.
fn links(net: &Path, ours: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(net).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let at = entry.path();
        let is_wireguard = || {
            let told = fs::read_to_string(at.join("uevent")).unwrap_or_default();
            told.lines().any(|line| line == "DEVTYPE=wireguard")
        };
        if ours.iter().any(|start| name.starts_with(start.as_str())) {
            continue;
        }
        if at.join("bridge").is_dir() {
            found.push(format!("the bridge {name}"));
        } else if at.join("tun_flags").exists() || is_wireguard() {
            found.push(format!("the tunnel {name}"));
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_last_file_of_somebodys_counts() {
        let root = tempfile::tempdir().unwrap();
        let (root, ours) = (root.path(), ["cni0", "flannel"].map(str::to_owned));
        write(root, SYSCTL_CONF.trim_start_matches('/'), "net.ipv4.ip_forward = 1\n");
        assert_eq!(by_below(root, FORWARDS, "1", &ours), [""; 0], "kubewan's own");
        write(root, "usr/lib/sysctl.d/50-vpn.conf", "# on\n-net/ipv4/ip_forward=1\n");
        assert_eq!(by_below(root, FORWARDS, "1", &ours), ["/usr/lib/sysctl.d/50-vpn.conf sets it"]);
        assert_eq!(by_below(root, "net.ipv4.ip_forwarded", "1", &ours), [""; 0]);
        write(root, "etc/sysctl.d/50-vpn.conf", "; net.ipv4.ip_forward = 1\n");
        assert_eq!(by_below(root, FORWARDS, "1", &ours), [""; 0], "the name stands in /etc");
        write(root, "etc/sysctl.conf", "net.ipv4.ip_forward = 1\nnet.ipv4.ip_forward = 0\n");
        assert_eq!(by_below(root, FORWARDS, "1", &ours), [""; 0]);
    }

    #[test]
    fn tunnels_and_bridges_of_others_forward() {
        let root = tempfile::tempdir().unwrap();
        let (root, ours) = (root.path(), ["cni0", "flannel"].map(str::to_owned));
        write(root, "sys/class/net/eth0/uevent", "INTERFACE=eth0\n");
        write(root, "sys/class/net/cni0/bridge/x", "");
        write(root, "sys/class/net/flannel-wg/uevent", "DEVTYPE=wireguard\nINTERFACE=flannel-wg\n");
        assert_eq!(by_below(root, FORWARDS, "1", &ours), [""; 0]);
        write(root, "sys/class/net/wg0/uevent", "DEVTYPE=wireguard\nINTERFACE=wg0\n");
        write(root, "sys/class/net/tun0/tun_flags", "0x1");
        write(root, "sys/class/net/docker0/bridge/x", "");
        let all = ["the bridge docker0", "the tunnel tun0", "the tunnel wg0"];
        assert_eq!(by_below(root, FORWARDS, "1", &ours), all);
        assert_eq!(by_below(root, "net.bridge.bridge-nf-call-iptables", "1", &ours), [""; 0]);
    }
}
