//! The programs that the lab calls, installed from the distribution when they are missing.

use std::env;

use crate::LabError;
use crate::call::{Call, search_path};

/// A file whose absence shows that a package is missing.
struct Requirement {
    /// A program's name, or an absolute path.
    shown_by: &'static str,
    package: &'static str,
}

const REQUIREMENTS: [Requirement; 12] = [
    Requirement { shown_by: "ip", package: "iproute2" },
    Requirement { shown_by: "nft", package: "nftables" },
    Requirement { shown_by: "ethtool", package: "ethtool" },
    Requirement { shown_by: "sysctl", package: "procps" },
    Requirement { shown_by: "modprobe", package: "kmod" },
    Requirement { shown_by: "mount", package: "mount" },
    Requirement { shown_by: "nsenter", package: "util-linux" },
    Requirement { shown_by: "ssh", package: "openssh-client" },
    Requirement { shown_by: "ssh-keygen", package: "openssh-client" },
    Requirement { shown_by: "systemd-nspawn", package: "systemd-container" },
    Requirement { shown_by: "debootstrap", package: "debootstrap" },
    // Where the operator's machine isn't a Debian, its images can't be verified without.
    Requirement {
        shown_by: "/usr/share/keyrings/debian-archive-keyring.gpg",
        package: "debian-archive-keyring",
    },
];

/// The packages that this machine lacks.
pub(crate) fn missing() -> Vec<&'static str> {
    let lacking = REQUIREMENTS.iter().filter(|requirement| !is_there(requirement.shown_by));
    let mut packages: Vec<&str> = lacking.map(|requirement| requirement.package).collect();
    packages.dedup();
    packages
}

/// The package that leads packets into queues, if this machine lacks it: only slow and lossy paths need it.
pub(crate) fn missing_for_queues() -> Option<&'static str> {
    (!is_there("iptables")).then_some("iptables")
}

/// Installs packages without a question.
pub(crate) fn install(packages: &[&str]) -> Result<(), LabError> {
    let by_hand = format!("install by hand: {}", packages.join(" "));
    let apt = |attempted: &str| {
        Call::new("apt-get", attempted)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
            .next(by_hand.clone())
    };
    apt("refresh the package lists").arg("update").run()?;
    apt("install what the lab needs")
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages)
        .run()
        .map(drop)
}

fn is_there(shown_by: &str) -> bool {
    // An absolute path replaces the folder it is joined to.
    env::split_paths(&search_path()).any(|folder| folder.join(shown_by).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_files_are_both_looked_for() {
        assert!(is_there("sh"));
        assert!(is_there("/proc/self/status"));
        assert!(!is_there("kubewan-no-such-program"));
        assert!(!is_there("/nonexistent"));
    }
}
