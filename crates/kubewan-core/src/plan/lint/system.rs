//! The host's system: distribution, kernel, control groups, swap, name.

use crate::facts::{CgroupVersion, Facts, Os, SwapSource};
use crate::finding::Finding;
use crate::inventory::{Acceptance, Host, HostnamePolicy};
use crate::packages::{self, PackageManager};
use crate::plan::phase::prepare::swap_is_left;
use crate::plan::planner::View;
use crate::versions::kernels::{CGROUP_V2, CGROUP_V2_OLDEST};
use crate::versions::{CgroupV1, KernelFit, RELEASES, Series, series};

/// Whether kubewan knows how to install anything there, and whether anybody has tried.
pub(super) fn distribution(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let os = &facts.os;
    if let Some(message) = packages::too_old(os) {
        let remedy = match (os.id.as_str(), os.version_id.as_str()) {
            ("centos", "7") => {
                "`yum update -y` brings it to 7.9 (where `mirrorlist-gone` is said, turn its repositories to vault.centos.org first), then \
                 reboot; better a distribution that gets updates (docs/support.md)"
            }
            _ => "install a newer release, or another distribution (docs/support.md)",
        };
        return Some(Finding::error("distribution-too-old", &host.name, message, remedy));
    }
    match PackageManager::of(os) {
        None => Some(Finding::error(
            "distribution-unsupported",
            &host.name,
            format!("runs {} (systemd {})", os.pretty_name, os.systemd),
            "use Debian 11 to 13, Ubuntu 20.04 or later, or one of the distributions with yum or dnf that docs/support.md \
             names",
        )),
        Some(PackageManager::Apt) => None,
        Some(manager) => {
            let accepted = view.inventory.accepted(host, Acceptance::DistributionExperimental);
            let message = format!(
                "runs {}: kubewan's work with {} is held by recorded output and was never tried on such a host",
                os.pretty_name,
                manager.program()
            );
            let remedy = "try it on a host that nobody needs first, or use Debian 12; to have this said no more: `accept: \
                          [distribution-experimental]`";
            let finding =
                Finding::warning("distribution-experimental", &host.name, message, remedy);
            accepted.is_none().then_some(finding)
        }
    }
}

/// kubeadm's SystemVerification stops at kernels that its release is not made for, or warns of them
/// ([`crate::versions::Release::kernels`]); cgroup v2 asks for more than that.
pub(super) fn kernel(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let release = &facts.kernel.release;
    let kernel = series(release)?;
    let kubernetes = view.inventory.release();
    let minor = kubernetes.minor;
    let kernels = &kubernetes.kernels;
    let v2 = facts.cgroup == CgroupVersion::V2;
    let newer = newer_kernel(&facts.os);
    if kernels.fit(kernel) == KernelFit::TooOld {
        let message = format!(
            "kernel {release} is older than any that Kubernetes 1.{minor} is made for ({kernels}): the kubelet and \
             pods meet functions that it does not have"
        );
        return Some(Finding::error("kernel-too-old", &host.name, message, newer));
    }
    if v2 && kernel < CGROUP_V2_OLDEST {
        let message = format!(
            "kernel {release} can't freeze processes in cgroup v2, which takes {}: runc can't pause containers, and \
             kubeadm stops at it from 1.32 on",
            dotted(CGROUP_V2_OLDEST)
        );
        return Some(Finding::error("kernel-too-old", &host.name, message, newer));
    }
    if kernels.fit(kernel) == KernelFit::Outside {
        let message = format!(
            "kernel {release} is none of those that Kubernetes 1.{minor} is made for ({kernels}): it is not kept up for long, and \
             kubeadm warns of it"
        );
        return Some(Finding::warning("kernel-unsupported", &host.name, message, newer));
    }
    if v2 && kernel < CGROUP_V2 {
        let message = format!(
            "kernel {release} is older than {}, which Kubernetes asks for with cgroup v2: figures of the host's own \
             use of processors are missing",
            dotted(CGROUP_V2)
        );
        return Some(Finding::warning("kernel-unsupported", &host.name, message, newer));
    }
    None
}

fn dotted((major, minor): Series) -> String {
    format!("{major}.{minor}")
}

/// What is to be done: where a distribution keeps newer kernels for a release that it has out already.
fn newer_kernel(os: &Os) -> String {
    let from = match (os.id.as_str(), os.version_id.as_str()) {
        ("debian", _) => "`apt-get install linux-image-$(dpkg --print-architecture)`, then reboot",
        ("ubuntu", _) => {
            "`apt-get install linux-generic-hwe-$(. /etc/os-release; echo $VERSION_ID)`, then reboot"
        }
        ("centos", "7") => {
            return "use another distribution, since CentOS 7 has no newer kernel, or an older Kubernetes \
                    (docs/reference.md, \"Versions\")"
                .into();
        }
        _ => "the distribution's own, or another image of the provider's",
    };
    format!("boot a newer kernel: {from}")
}

/// How a host comes to cgroup v2, which systemd knows since 226 (its NEWS).
fn unified_hierarchy(facts: &Facts) -> &'static str {
    if facts.os.systemd < 226 {
        return "its systemd is too old for cgroup v2: use another distribution, or an older Kubernetes (docs/reference.md, \
                \"Versions\")";
    }
    match packages::manager(&facts.os) {
        PackageManager::Apt => {
            "boot with cgroup v2: add `systemd.unified_cgroup_hierarchy=1` to GRUB_CMDLINE_LINUX in /etc/default/grub, \
             `update-grub`, then reboot"
        }
        PackageManager::Yum | PackageManager::Dnf => {
            "boot with cgroup v2: `grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1`, then reboot"
        }
    }
}

/// cgroup v1, which some releases refuse and those before them only keep up.
pub(super) fn cgroups(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    if facts.cgroup == CgroupVersion::V2 {
        return None;
    }
    let release = view.inventory.release();
    let remedy = unified_hierarchy(facts);
    match release.cgroup_v1 {
        CgroupV1::Works => None,
        CgroupV1::Kept => {
            let refusing = RELEASES.iter().find(|release| release.refuses_cgroup_v1())?.minor;
            let message = format!(
                "uses cgroup v1: Kubernetes 1.{} works with it, and 1.{refusing} no longer by itself, so this host can't be \
                 upgraded that far",
                release.minor
            );
            Some(Finding::warning("cgroup-v1", &host.name, message, remedy))
        }
        CgroupV1::Refused => {
            let message = format!(
                "uses cgroup v1, which kubeadm and the kubelet of {} refuse: they give it up in a later release",
                view.inventory.kubernetes.version
            );
            Some(Finding::error("cgroup-v1", &host.name, message, remedy))
        }
    }
}

/// Swap is switched off and masked by a step of the plan; this tells of what would bring it back at boot all the same,
/// when the kubelet does not start with it (`failSwapOn`).
pub(super) fn swap(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let kubelet = &view.inventory.kubernetes.kubelet;
    if kubelet.get("failSwapOn") == Some(&serde_json::Value::Bool(false)) {
        return Vec::new();
    }
    let then = "the kubelet does not start with swap on";
    let findings = facts.swap_returns.iter().map(|source| match source {
        SwapSource::Unit { name, path } => Finding::error(
            "swap-returns",
            &host.name,
            format!("{name} brings swap back at boot, and can't be masked, since its own file is {path}: {then}"),
            format!("`systemctl disable --now {name} && rm {path} && systemctl daemon-reload`"),
        ),
        SwapSource::Line { path, text } => Finding::error(
            "swap-returns",
            &host.name,
            format!("{path} switches swap on at boot (`{text}`): {then}"),
            format!("take that line out of {path}"),
        ),
        SwapSource::Area { name } => Finding::warning(
            "swap-returns",
            &host.name,
            format!(
                "swap is on at {name}, and nothing says what switched it on: kubewan switches it off, it may be back \
                 after a reboot, and {then}"
            ),
            "look for what does: `grep -rs swapon /etc /usr/local /opt`; nothing is to be done where someone did it \
             by hand",
        ),
    });
    // Swap that stays comes as no surprise.
    let left = swap_is_left(view, host);
    findings.filter(|f| !left || f.severity == crate::finding::Severity::Error).collect()
}

/// kubeadm warns of a node's name that does not resolve (`HostnameCheck`); programs that ask for the host's own name, as
/// sudo does, wait for DNS each time.
pub(super) fn hostname(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let name = &facts.hostname;
    if facts.hostname_resolves || name.is_empty() {
        return None;
    }
    let ours = *name == host.name || view.inventory.hostname_of(host) == HostnamePolicy::Set;
    let remedy = if ours {
        "nothing: kubewan writes the name of every node into /etc/hosts".to_owned()
    } else {
        format!(
            "`echo 127.0.1.1 {name} >> /etc/hosts`, or have kubewan name the host: `hostname: set`"
        )
    };
    let message = format!(
        "its own name {name} does not resolve: sudo and other programs wait for DNS each time that they ask for it"
    );
    Some(Finding::warning("hostname-unresolvable", &host.name, message, remedy))
}
