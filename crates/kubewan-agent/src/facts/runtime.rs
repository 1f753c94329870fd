//! Container runtimes.

use std::fs;

use kubewan_core::facts::RuntimeFacts;

use super::systemd::Units;
use crate::command::{Program, exists};

pub(super) fn runtime(units: &Units) -> RuntimeFacts {
    let printed =
        exists("containerd").then(|| Program::new("containerd").arg("--version").stdout());
    RuntimeFacts {
        containerd: printed.map(|printed| containerd_version(&printed.unwrap_or_default())),
        containerd_active: units.get("containerd.service").active(),
        containerd_config: fs::read_to_string("/etc/containerd/config.toml").ok(),
        docker: exists("dockerd") || units.get("docker.service").loaded(),
    }
}

/// `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u2`; upstream writes `v2.1.3`.
fn containerd_version(printed: &str) -> String {
    let version = printed.split_whitespace().nth(2).unwrap_or_default();
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split(['~', '+', '-']).next().unwrap_or_default().to_owned()
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
}
