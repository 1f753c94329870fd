//! Where things come from: whether the bundle holds what a host needs, in versions that fit, and whether repositories do.

use crate::bundle::ArtifactKind;
use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Host, KubernetesSource, RuntimeSource};
use crate::plan::planner::View;
use crate::supply;

pub(super) fn bundle_contents(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if view.inventory.source() != KubernetesSource::Bundle {
        return Vec::new();
    }
    let bundle = view.inputs.bundle;
    let arch = &facts.kernel.arch;
    let mut missing: Vec<String> = ["kubeadm", "kubelet", "kubectl"]
        .iter()
        .filter(|name| bundle.binary(name, arch).is_none())
        .map(|name| format!("binary {name} for {arch}"))
        .collect();
    let pause = view.inventory.pause_image();
    if !bundle.of(ArtifactKind::Image, arch).any(|image| image.name == pause) {
        missing.push(format!(
            "image {pause} for {arch}, which kubeadm {} expects",
            view.inventory.kubernetes.version
        ));
    }
    for image in ["kube-proxy", "coredns", "flannel", "flannel-cni-plugin"] {
        // A rehearsal runs no pods, so its bundle carries no images for them.
        if bundle.image(image, arch).is_none() && !bundle.rehearsal {
            missing.push(format!("image {image} for {arch}"));
        }
    }
    let distribution = facts.os.distribution();
    if view.inventory.runtime.source == RuntimeSource::Bundle
        && bundle.packages(&distribution, arch).next().is_none()
        && bundle.of(ArtifactKind::Runtime, arch).next().is_none()
    {
        missing.push(format!("packages for {distribution} ({arch})"));
    }
    let mut findings = Vec::new();
    if !missing.is_empty() {
        findings.push(Finding::error(
            "bundle-incomplete",
            &host.name,
            format!("the bundle has no {}", missing.join(", no ")),
            "use a bundle made for this architecture and distribution; `kubewan bundle check DIR` says what one holds",
        ));
    }
    findings.extend(flannel_version(view, host, arch));
    findings
}

/// flannel before 0.28 takes the announced address as the outer source of VXLAN too (0.27.4 to 0.27.x), or
/// ignores the overwrite's subtleties: see docs/how-it-works.md.
fn flannel_version(view: &View, host: &Host, arch: &str) -> Option<Finding> {
    let image = view.inputs.bundle.image("flannel", arch)?;
    let version: Vec<u32> = image
        .version
        .trim_start_matches('v')
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect();
    (version.as_slice() < [0, 28].as_slice()).then(|| {
        Finding::error(
            "flannel-too-old",
            &host.name,
            format!("the bundle's flannel is {}", image.version),
            "use a bundle with flannel 0.28 or later",
        )
    })
}

/// Repositories that have nothing for the cluster or the host.
pub(super) fn repositories(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let inventory = view.inventory;
    let minor = inventory.release().minor;
    let mut findings = Vec::new();
    if inventory.source() == KubernetesSource::Packages && minor < supply::PACKAGES_FROM {
        findings.push(Finding::error(
            "packages-unavailable",
            &host.name,
            format!(
                "there are no packages of Kubernetes 1.{minor}: they begin with 1.{}",
                supply::PACKAGES_FROM
            ),
            "use `kubernetes: { source: release }`, or a bundle",
        ));
    }
    let docker =
        ["debian", "ubuntu"].contains(&facts.os.id.as_str()) && !facts.os.codename.is_empty();
    if inventory.runtime.source == RuntimeSource::Docker && !docker {
        findings.push(Finding::error(
            "packages-unavailable",
            &host.name,
            format!("Docker has no package repository for {}", facts.os.pretty_name),
            "use `runtime: { source: distribution }` or `release`",
        ));
    }
    findings
}

/// Mirrors whose bytes anyone on the way can change, and the checksums with them. Packages are signed all the same.
pub(super) fn mirrors(view: &View) -> Option<Finding> {
    let urls = supply::unencrypted(view.inventory);
    (!urls.is_empty()).then(|| {
        let message = format!(
            "{}: no encryption; whoever is on the way can change what is served, and its checksums",
            urls.into_iter().collect::<Vec<_>>().join(", ")
        );
        let remedy = "use https, or a bundle, unless the way there is your own";
        Finding::warning("mirror-unencrypted", "", message, remedy).for_cluster()
    })
}

pub(super) fn rehearsal_only_in_labs(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if !view.inputs.bundle.rehearsal || facts.own.rehearsal_allowed {
        return Vec::new();
    }
    vec![Finding::error(
        "rehearsal-outside-lab",
        &host.name,
        "the bundle holds stand-ins, and this host is none of a kubewan lab",
        "set `kubernetes.bundle` to a bundle with real Kubernetes",
    )]
}
