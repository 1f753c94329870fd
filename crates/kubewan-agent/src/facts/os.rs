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
        release: centos_release(&text("/etc/centos-release")).unwrap_or_default(),
        systemd: systemd(host),
    }
}

/// `7.9.2009` of `CentOS Linux release 7.9.2009 (Core)`.
pub(crate) fn centos_release(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(" release ")?;
    let release = rest.split_whitespace().next()?;
    release.starts_with(|c: char| c.is_ascii_digit()).then(|| release.to_owned())
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

    /// Recorded on such hosts: see `samples` of the core.
    #[test]
    fn reads_every_family() {
        let read = |text: &str| {
            let read = assignments(text);
            [read["ID"].clone(), read["VERSION_ID"].clone(), read["PRETTY_NAME"].clone()]
        };
        let centos = "NAME=\"CentOS Linux\"\nVERSION=\"7 (Core)\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\n\
            VERSION_ID=\"7\"\nPRETTY_NAME=\"CentOS Linux 7 (Core)\"\nANSI_COLOR=\"0;31\"\n\
            CPE_NAME=\"cpe:/o:centos:centos:7\"\n\nCENTOS_MANTISBT_PROJECT=\"CentOS-7\"\n";
        assert_eq!(read(centos), ["centos", "7", "CentOS Linux 7 (Core)"]);
        let openeuler = "NAME=\"openEuler\"\nVERSION=\"22.03 (LTS-SP2)\"\nID=\"openEuler\"\n\
            VERSION_ID=\"22.03\"\nPRETTY_NAME=\"openEuler 22.03 (LTS-SP2)\"\nANSI_COLOR=\"0;31\"\n\n";
        assert_eq!(read(openeuler), ["openEuler", "22.03", "openEuler 22.03 (LTS-SP2)"]);
        let amazon = "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\n\
            VERSION_ID=\"2023\"\nPLATFORM_ID=\"platform:al2023\"\nPRETTY_NAME=\"Amazon Linux 2023.4.20240416\"\n";
        assert_eq!(read(amazon), ["amzn", "2023", "Amazon Linux 2023.4.20240416"]);
    }

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
