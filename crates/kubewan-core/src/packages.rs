//! Package managers, and the distributions that have them: what is called by another name in one than in another.

use crate::facts::Os;

/// What installs packages on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// apt and dpkg: Debian, Ubuntu.
    Apt,
    /// yum 3 and rpm: CentOS 7, Amazon Linux 2.
    Yum,
    /// dnf 4 and rpm: what came after those.
    Dnf,
}

/// What kubeadm's preflight and pods' networks need beside a runtime (kubernetes.io, "Installing kubeadm"), by the names of
/// Debian's packages.
pub const TOOLS: [&str; 4] = ["conntrack", "iptables", "ethtool", "socat"];

/// A distribution with rpm that kubewan knows how to install on.
struct Rpm {
    /// `ID` in /etc/os-release, which openEuler does not write in small letters.
    id: &'static str,
    /// The oldest `VERSION_ID`.
    oldest: [u32; 2],
    /// From this `VERSION_ID` on there is dnf.
    dnf_from: u32,
    /// The first and last major version that are built like the Enterprise Linux of the same number.
    enterprise: Option<(u32, u32)>,
}

/// CentOS Linux, and CentOS Stream, which calls itself the same.
const CENTOS: &str = "centos";
/// Amazon's Linux.
const AMAZON: &str = "amzn";
/// The first CentOS 7 that kubewan takes: the usual recipe has failed on older ones.
const CENTOS_7: [u32; 2] = [7, 8];

const RPM: [Rpm; 6] = [
    Rpm { id: CENTOS, oldest: [7, 0], dnf_from: 8, enterprise: Some((7, 10)) },
    Rpm { id: "rocky", oldest: [8, 0], dnf_from: 8, enterprise: Some((8, 10)) },
    Rpm { id: "almalinux", oldest: [8, 0], dnf_from: 8, enterprise: Some((8, 10)) },
    Rpm { id: "openeuler", oldest: [20, 3], dnf_from: 20, enterprise: None },
    // Anolis OS 8 says of itself that it is compatible with CentOS 8; 23 goes its own way.
    Rpm { id: "anolis", oldest: [8, 0], dnf_from: 8, enterprise: Some((8, 8)) },
    Rpm { id: AMAZON, oldest: [2, 0], dnf_from: 2022, enterprise: None },
];

/// Names of packages that have another one with rpm. A file stands for the package that has it, whichever that is: where
/// `curl-minimal` is installed, `curl` can't be.
const RPM_NAMES: [(&str, &str); 2] = [("conntrack", "conntrack-tools"), ("curl", "/usr/bin/curl")];

impl PackageManager {
    /// That of a host; `None` where kubewan doesn't know how to install anything there.
    pub fn of(os: &Os) -> Option<PackageManager> {
        if os.systemd == 0 {
            return None;
        }
        if matches!(os.id.as_str(), "debian" | "ubuntu") {
            return Some(PackageManager::Apt);
        }
        let known = rpm(os)?;
        let [major, _] = version(&os.version_id)?;
        let dnf = major >= known.dnf_from;
        Some(if dnf { PackageManager::Dnf } else { PackageManager::Yum })
    }

    /// Whether packages are rpm's.
    pub fn is_rpm(self) -> bool {
        self != PackageManager::Apt
    }

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            PackageManager::Apt => "apt-get",
            PackageManager::Yum => "yum",
            PackageManager::Dnf => "dnf",
        }
    }

    /// What a package of Debian's is called here.
    pub fn package(self, debian: &str) -> String {
        let other = RPM_NAMES.iter().find(|(name, _)| self.is_rpm() && *name == debian);
        other.map_or(debian, |(_, rpm)| rpm).to_owned()
    }
}

/// The manager of a host whatever is known of it, for what is said to people.
pub fn manager(os: &Os) -> PackageManager {
    PackageManager::of(os).unwrap_or(PackageManager::Apt)
}

/// Why a distribution that kubewan knows is too old; `None` where it is not.
pub fn too_old(os: &Os) -> Option<String> {
    let known = rpm(os)?;
    let there = version(&os.version_id)?;
    let said = |release: &str, oldest: [u32; 2]| {
        let [major, minor] = oldest;
        let minor = if known.id == "openeuler" { format!("{minor:02}") } else { minor.to_string() };
        format!("runs {} {release}, and kubewan takes {major}.{minor} or later", os.pretty_name)
    };
    if there < known.oldest {
        return Some(said(&os.version_id, known.oldest));
    }
    // The first Amazon Linux had years for versions, and no systemd.
    if known.id == AMAZON && (2003..2022).contains(&there[0]) {
        return Some(said(&os.version_id, known.oldest));
    }
    // CentOS' series is in one file, its release in another.
    let release = version(&os.release).filter(|[major, _]| known.id == CENTOS && *major == 7)?;
    (release < CENTOS_7).then(|| said(&os.release, CENTOS_7))
}

/// The Enterprise Linux whose packages fit, by its major version.
pub fn enterprise_linux(os: &Os) -> Option<u32> {
    let (first, last) = rpm(os)?.enterprise?;
    let [major, _] = version(&os.version_id)?;
    (first..=last).contains(&major).then_some(major)
}

/// Whether a distribution has a containerd in the repositories that are on from the start. Enterprise Linux has podman in its
/// place, and Amazon Linux 2 has it among its extras.
pub fn has_containerd(os: &Os) -> bool {
    let amazon_2 = os.id == AMAZON && PackageManager::of(os) == Some(PackageManager::Yum);
    enterprise_linux(os).is_none_or(|_| os.id == "anolis") && !amazon_2
}

fn rpm(os: &Os) -> Option<&'static Rpm> {
    RPM.iter().find(|known| os.id.eq_ignore_ascii_case(known.id))
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<[u32; 2]> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    Some([major, parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn os(id: &str, version_id: &str, release: &str) -> Os {
        let text = str::to_owned;
        Os {
            id: text(id),
            version_id: text(version_id),
            release: text(release),
            ..samples::facts(0).os
        }
    }

    #[test]
    fn every_family_has_its_manager() {
        use PackageManager::{Apt, Dnf, Yum};
        let of = |id: &str, version: &str| PackageManager::of(&os(id, version, ""));
        for (id, version, expected) in [
            ("debian", "12", Some(Apt)),
            ("ubuntu", "24.04", Some(Apt)),
            ("centos", "7", Some(Yum)),
            ("centos", "9", Some(Dnf)),
            ("rocky", "8.10", Some(Dnf)),
            ("almalinux", "10.0", Some(Dnf)),
            ("openEuler", "22.03", Some(Dnf)),
            ("anolis", "8.9", Some(Dnf)),
            ("anolis", "23", Some(Dnf)),
            ("amzn", "2", Some(Yum)),
            ("amzn", "2023", Some(Dnf)),
            ("fedora", "43", None),
            ("rocky", "", None),
            ("alpine", "3.20", None),
        ] {
            assert_eq!(of(id, version), expected, "{id} {version}");
        }
        let without_systemd = Os { systemd: 0, ..os("rocky", "9.6", "") };
        assert_eq!(PackageManager::of(&without_systemd), None);
    }

    #[test]
    fn centos_7_goes_by_its_release() {
        let old = |id: &str, version: &str, release: &str| too_old(&os(id, version, release));
        for release in ["7.0.1406", "7.7.1908"] {
            let said = old("centos", "7", release).expect("too old");
            assert!(said.contains(release) && said.ends_with("7.8 or later"), "{said}");
        }
        for release in ["7.8.2003", "7.9.2009", ""] {
            assert_eq!(old("centos", "7", release), None, "{release}");
        }
        assert!(old("centos", "6", "").is_some() && old("rocky", "7", "").is_some());
        assert!(old("anolis", "7.9", "").is_some());
        assert!(old("openEuler", "20.02", "").expect("too old").ends_with("20.03 or later"));
        assert_eq!(old("openEuler", "20.03", ""), None);
        assert!(old("amzn", "2018.03", "").is_some());
        assert_eq!(old("amzn", "2", "").or(old("amzn", "2023", "")), None);
        assert_eq!(old("debian", "9", ""), None, "not an rpm");
    }

    #[test]
    fn repositories_of_enterprise_linux_fit_what_is_built_like_it() {
        let of = |id: &str, version: &str| enterprise_linux(&os(id, version, ""));
        assert_eq!(of("centos", "7"), Some(7));
        assert_eq!(of("rocky", "9.6").zip(of("almalinux", "10.0")), Some((9, 10)));
        assert_eq!(of("anolis", "8.9"), Some(8));
        assert_eq!(of("anolis", "23").or(of("openEuler", "22.03")).or(of("amzn", "2023")), None);
        let has = |id: &str, version: &str| has_containerd(&os(id, version, ""));
        assert!(has("openEuler", "24.03") && has("anolis", "23") && has("amzn", "2023"));
        assert!(!has("rocky", "9.6") && !has("centos", "7") && !has("amzn", "2"));
        assert!(has("debian", "12"));
    }

    #[test]
    fn packages_have_their_own_names() {
        let names = |m: PackageManager| ["conntrack", "socat", "curl"].map(|n| m.package(n));
        assert_eq!(names(PackageManager::Apt), ["conntrack", "socat", "curl"]);
        assert_eq!(names(PackageManager::Yum), ["conntrack-tools", "socat", "/usr/bin/curl"]);
    }
}
