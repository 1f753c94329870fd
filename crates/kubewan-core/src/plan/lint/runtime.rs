//! The container runtime that the host has or will get.

use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Host, RuntimeSource};
use crate::packages;
use crate::plan::phase::runtime::containerd_version;
use crate::plan::planner::View;
use crate::supply::{self, CONTAINERD_V1};
use crate::versions::{CONTAINERD_2_FROM, Cri, RELEASES, Release, series};

/// containerd against what the release's kubelet works with.
pub(super) fn containerd(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    if view.inventory.is_docker() {
        return None;
    }
    let version = containerd_version(view, facts)?;
    let there = facts.runtime.containerd.is_some();
    let from = match view.inventory.runtime.source {
        RuntimeSource::Bundle => "the bundle's containerd",
        RuntimeSource::Release => "the released containerd",
        RuntimeSource::Docker | RuntimeSource::Distribution if there => "the host's containerd",
        RuntimeSource::Docker => "Docker's containerd",
        RuntimeSource::Distribution => "the distribution's containerd",
    };
    let release = view.inventory.release();
    let remedy = instead(release, view, facts);
    judge(release, &host.name, from, &version, &remedy)
}

/// Where a containerd comes from that the release's kubelet works with for long.
fn instead(release: &Release, view: &View, facts: &Facts) -> String {
    let program = packages::manager(&facts.os).program();
    let series = if program == "apt-get" { "containerd.io=1.7.*" } else { "containerd.io-1.7.*" };
    let wanted = match release.cri {
        Cri::V1Alpha2 | Cri::Both => format!("containerd {CONTAINERD_V1}"),
        Cri::V1 => "containerd 2".to_owned(),
    };
    // Where Docker has it too.
    let newest = supply::docker_containerd(&facts.os).starts_with('2');
    let docker = newest && supply::docker_repository(view.inventory, &facts.os).is_some();
    match view.inventory.runtime.source {
        RuntimeSource::Bundle => format!("use a bundle with packages of {wanted}"),
        RuntimeSource::Docker if release.containerd.below.is_some() => format!(
            "install the package of {wanted} (`{program} install '{series}'`), or take it by `runtime: {{ source: release }}`"
        ),
        RuntimeSource::Docker if docker => {
            format!("upgrade its package: `{program} install containerd.io`")
        }
        RuntimeSource::Release | RuntimeSource::Distribution
            if release.cri == Cri::V1 && docker =>
        {
            format!(
                "take {wanted} from elsewhere: `runtime: {{ source: release }}`, `docker`, or a bundle with its packages"
            )
        }
        RuntimeSource::Release | RuntimeSource::Distribution | RuntimeSource::Docker => {
            format!("take {wanted}: `runtime: {{ source: release }}`, or a bundle with it")
        }
    }
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
    let oldest = release.containerd.oldest;
    if release.containerd.is_too_new(there) {
        return Some(too_new(release, host, from, version));
    }
    if there < oldest {
        let (major, minor_of) = oldest;
        // Older kubelets speak v1alpha2 too, which older containerds have.
        let message = match release.cri {
            Cri::V1 => format!(
                "{from} is {version}, and the kubelet of 1.{minor} needs {major}.{minor_of} or later: it would not start"
            ),
            Cri::Both | Cri::V1Alpha2 => format!(
                "{from} is {version}, and kubewan's settings are made for {major}.{minor_of} or later"
            ),
        };
        return Some(Finding::error("containerd-too-old", host, message, remedy));
    }
    // Before the CRI's v1 alone, 1.x is what containerd's makers test a kubelet with.
    (there.0 < 2 && release.cri == Cri::V1).then(|| {
        let message = format!(
            "{from} is {version}: it works with Kubernetes 1.{minor}, and no longer from 1.{CONTAINERD_2_FROM} on, so \
             this host can't be upgraded that far"
        );
        Finding::warning("containerd-too-old", host, message, remedy)
    })
}

/// A containerd that no longer speaks what the release's kubelet does.
fn too_new(release: &Release, host: &str, from: &str, version: &str) -> Finding {
    let minor = release.minor;
    let who = match release.cri {
        Cri::V1Alpha2 => format!("the kubelet of 1.{minor}"),
        Cri::Both | Cri::V1 => format!("crictl, by which kubeadm of 1.{minor} looks at it,"),
    };
    let message = format!(
        "{from} is {version}, and {who} speaks only the CRI's v1alpha2, which containerd has no more: the node would not be made"
    );
    let speaking =
        RELEASES.iter().find(|r| r.containerd.below.is_none()).map_or(minor, |r| r.minor);
    let remedy = format!(
        "take containerd {CONTAINERD_V1} (`runtime: {{ source: release }}`, with the other one's package removed), or Kubernetes \
         1.{speaking} or later"
    );
    Finding::error("containerd-too-new", host, message, remedy)
}
