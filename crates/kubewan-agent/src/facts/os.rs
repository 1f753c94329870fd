//! The distribution, cgroups and security modules.

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
    Os {
        release: centos_release(&text("/etc/centos-release")).unwrap_or_default(),
        systemd: systemd(host),
        ..Os::of_release(&release)
    }
}

/// `7.9.2009` of `CentOS Linux release 7.9.2009 (Core)`.
pub(crate) fn centos_release(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(" release ")?;
    let release = rest.split_whitespace().next()?;
    release.starts_with(|c: char| c.is_ascii_digit()).then(|| release.to_owned())
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
    fn reads_the_release_of_centos() {
        let read = |text: &str| centos_release(text).unwrap_or_default();
        assert_eq!(read("CentOS Linux release 7.9.2009 (Core)"), "7.9.2009");
        assert_eq!(read("CentOS Linux release 7.0.1406 (Core) "), "7.0.1406");
        assert_eq!(read("CentOS Stream release 9"), "9");
        assert_eq!(read("").as_str(), read("CentOS Linux release x"));
    }

    #[test]
    fn reads_systemd_s_version() {
        assert_eq!(systemd_version("systemd 252 (252.36-1~deb12u1)\n+PAM +AUDIT"), 252);
        assert_eq!(systemd_version("systemd 257~rc1"), 257);
        assert_eq!(systemd_version("systemd 219\n+PAM"), 219);
        assert_eq!(systemd_version(""), 0);
    }
}
