//! The distribution, cgroups and security modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kubewan_core::facts::{CgroupVersion, Os, Selinux};

use super::text;
use crate::act::Host;

pub(super) fn os(host: &Host) -> Os {
    let release = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_default();
    let release = assignments(&release);
    let get = |key: &str| release.get(key).cloned().unwrap_or_default();
    Os {
        id: get("ID"),
        version_id: get("VERSION_ID"),
        codename: get("VERSION_CODENAME"),
        pretty_name: get("PRETTY_NAME"),
        systemd: systemd(host),
    }
}

/// `KEY=value` lines, values with or without quotes.
pub(crate) fn assignments(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| !key.starts_with('#'))
        .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// systemd's version, if it is what runs the services here.
pub(crate) fn systemd(host: &Host) -> u32 {
    // sd_booted(3): the test that systemd itself recommends.
    if !Path::new("/run/systemd/system").is_dir() {
        return 0;
    }
    let printed = host.seen().version("systemctl", &["--version"]);
    systemd_version(&printed.unwrap_or_default())
}

pub(crate) fn systemd_version(printed: &str) -> u32 {
    // `systemd 252 (252.36-1~deb12u1)`
    let word = printed.split_whitespace().nth(1).unwrap_or_default();
    let digits = word.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

pub(super) fn cgroup() -> CgroupVersion {
    // On a hybrid hierarchy cgroup2 lies at /sys/fs/cgroup/unified and has no controllers.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        CgroupVersion::V2
    } else {
        CgroupVersion::V1
    }
}

pub(super) fn selinux() -> Option<Selinux> {
    match text("/sys/fs/selinux/enforce").as_str() {
        "1" => Some(Selinux::Enforcing),
        "0" => Some(Selinux::Permissive),
        _ => Path::new("/etc/selinux/config").exists().then_some(Selinux::Disabled),
    }
}

pub(super) fn apparmor() -> bool {
    text("/sys/module/apparmor/parameters/enabled") == "Y"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_os_release() {
        let read = assignments(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n#ID=x\nVERSION_ID='12'\n",
        );
        assert_eq!(read["PRETTY_NAME"], "Debian GNU/Linux 12 (bookworm)");
        assert_eq!((read["ID"].as_str(), read["VERSION_ID"].as_str()), ("debian", "12"));
    }

    #[test]
    fn reads_systemd_s_version() {
        assert_eq!(systemd_version("systemd 252 (252.36-1~deb12u1)\n+PAM +AUDIT"), 252);
        assert_eq!(systemd_version("systemd 257~rc1"), 257);
        assert_eq!(systemd_version("systemd 219\n+PAM"), 219);
        assert_eq!(systemd_version(""), 0);
    }
}
