//! The container runtime that the host has or will get.

use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Host, RuntimeSource};
use crate::plan::phase::runtime::containerd_version;
use crate::plan::planner::View;
use crate::versions::{CONTAINERD_2_FROM, Release, series};

/// containerd against what the release's kubelet works with.
pub(super) fn containerd(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let version = containerd_version(view, facts)?;
    let there = facts.runtime.containerd.is_some();
    let from = match view.inventory.runtime.source {
        RuntimeSource::Bundle => "the bundle's containerd",
        RuntimeSource::Release => "the released containerd",
        RuntimeSource::Docker | RuntimeSource::Distribution if there => "the host's containerd",
        RuntimeSource::Docker => "Docker's containerd",
        RuntimeSource::Distribution => "the distribution's containerd",
    };
    let remedy = match view.inventory.runtime.source {
        RuntimeSource::Bundle => "use a bundle with packages of containerd 2",
        RuntimeSource::Docker => "upgrade its package: `apt-get install containerd.io`",
        RuntimeSource::Release | RuntimeSource::Distribution => {
            "take containerd 2 from elsewhere: `runtime: { source: release }`, `docker`, or a bundle with its packages"
        }
    };
    judge(view.inventory.release(), &host.name, from, &version, remedy)
}

pub(super) fn judge(
    release: &Release,
    host: &str,
    from: &str,
    version: &str,
    remedy: &str,
) -> Option<Finding> {
    let minor = release.minor;
    let there = series(version)?;
    let oldest = release.oldest_containerd();
    if there < oldest {
        let message = format!(
            "{from} is {version}, and the kubelet of 1.{minor} needs {}.{} or later: it would not start",
            oldest.0, oldest.1
        );
        return Some(Finding::error("containerd-too-old", host, message, remedy));
    }
    (there.0 < 2).then(|| {
        let message = format!(
            "{from} is {version}: it works with Kubernetes 1.{minor}, and no longer from 1.{CONTAINERD_2_FROM} on, so \
             this host can't be upgraded that far"
        );
        Finding::warning("containerd-too-old", host, message, remedy)
    })
}
