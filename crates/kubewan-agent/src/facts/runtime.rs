//! Container runtimes.

use std::fs;

use kubewan_core::facts::RuntimeFacts;

use super::systemd::Units;
use crate::command::{Program, exists};

pub(super) fn runtime(units: &Units) -> RuntimeFacts {
    let printed =
        exists("containerd").then(|| Program::new("containerd").arg("--version").stdout());
    RuntimeFacts {
        containerd_offered: if printed.is_some() { None } else { offered() },
        containerd: printed.map(|printed| containerd_version(&printed.unwrap_or_default())),
        containerd_active: units.get("containerd.service").active(),
        containerd_config: fs::read_to_string("/etc/containerd/config.toml").ok(),
        docker: exists("dockerd") || units.get("docker.service").loaded(),
    }
}

/// `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u2`; upstream writes `v2.1.3`.
pub(crate) fn containerd_version(printed: &str) -> String {
    let version = printed.split_whitespace().nth(2).unwrap_or_default();
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split(['~', '+', '-']).next().unwrap_or_default().to_owned()
}

/// What apt would install, from the lists that it has.
fn offered() -> Option<String> {
    if !exists("apt-cache") {
        return None;
    }
    candidate(&Program::new("apt-cache").args(["policy", "containerd"]).stdout().ok()?)
}

/// `  Candidate: 1.6.20~ds1-1+deb12u2`; `(none)` where no list names the package. An epoch goes before a colon
/// (deb-version(7)).
fn candidate(policy: &str) -> Option<String> {
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    let version = line.split_once(':').map_or(line, |(_, version)| version);
    let version = version.split(['~', '+', '-']).next().unwrap_or_default();
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_debian_s_and_upstream_s_version() {
        let debian =
            "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u2\n";
        assert_eq!(containerd_version(debian), "1.6.20");
        let upstream = "containerd github.com/containerd/containerd/v2 v2.1.3 c787fb98911740dd3ff2d0e45ce88cdf01410486";
        assert_eq!(containerd_version(upstream), "2.1.3");
        assert_eq!(containerd_version(""), "");
    }

    #[test]
    fn reads_what_apt_would_install() {
        let policy = |candidate: &str| {
            format!(
                "containerd:\n  Installed: (none)\n  Candidate: {candidate}\n  Version table:\n"
            )
        };
        assert_eq!(candidate(&policy("1.6.20~ds1-1+deb12u2")).as_deref(), Some("1.6.20"));
        assert_eq!(candidate(&policy("1:2.1.3-0ubuntu1")).as_deref(), Some("2.1.3"));
        assert_eq!(candidate(&policy("(none)")), None);
        assert_eq!(candidate("N: Unable to locate package containerd\n"), None);
    }
}
