//! Where things come from: whether the bundle holds what a host needs, in versions that fit, and whether repositories do.

use crate::bundle::{ArtifactKind, RUNTIME};
use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Host, KubernetesSource, RuntimeSource};
use crate::plan::phase;
use crate::plan::planner::View;
use crate::supply;
use crate::versions::RELEASES;

pub(super) fn bundle_contents(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if view.inventory.source() != KubernetesSource::Bundle {
        return Vec::new();
    }
    let (bundle, arch) = (view.inputs.bundle, &facts.kernel.arch);
    let mut missing: Vec<String> = bundle
        .programs()
        .filter(|name| bundle.binary(name, arch).is_none())
        .map(|name| format!("binary {name} for {arch}"))
        .collect();
    missing.extend(missing_images(view, host, arch));
    let distribution = facts.os.distribution();
    let has = |name: &str| bundle.of(ArtifactKind::Runtime, arch).any(|file| file.name == name);
    if view.inventory.runtime.source == RuntimeSource::Bundle
        && !view.inventory.is_docker()
        && bundle.packages(&distribution, arch).next().is_none()
        && !RUNTIME.iter().all(|name| has(name))
    {
        missing.push(format!(
            "packages for {distribution} ({arch}), nor all of {}",
            RUNTIME.join(", ")
        ));
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

/// Images that the bundle has not, or has in another version than kubeadm asks for.
fn missing_images(view: &View, host: &Host, arch: &str) -> Vec<String> {
    let (inventory, bundle) = (view.inventory, view.inputs.bundle);
    let mut expected = vec![inventory.pause_image()];
    let mut names = vec!["kube-proxy", "flannel", "flannel-cni-plugin"];
    let (release, patch) = (inventory.release(), inventory.version().patch);
    let repository = &inventory.kubernetes.image_repository;
    let own = &inventory.kubernetes.kubeadm.cluster;
    // Of a patch release that the table does not know, and where the user names another, only that there is one.
    if patch > release.last_patch || own.contains_key("dns") {
        names.push("coredns");
    } else {
        expected.push(release.coredns_image(patch, repository));
    }
    if host.is_control_plane() {
        if patch > release.last_patch || own.contains_key("etcd") {
            names.push("etcd");
        } else {
            expected.push(release.etcd_image(patch, repository));
        }
    }
    if bundle.rehearsal {
        // It runs no pods, so its bundle carries no images but the one that containerd is told of.
        expected.truncate(1);
        names.clear();
    }
    let there = |wanted: &String| bundle.of(ArtifactKind::Image, arch).any(|i| i.name == *wanted);
    let version = &inventory.kubernetes.version;
    let expected = expected
        .iter()
        .filter(|wanted| !there(wanted))
        .map(|wanted| format!("image {wanted} for {arch}, which kubeadm {version} expects"));
    let names = names
        .iter()
        .filter(|name| bundle.image(name, arch).is_none())
        .map(|name| format!("image {name} for {arch}"));
    expected.chain(names).collect()
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

/// Repositories that have nothing for the cluster or the host, or that the host has already: apt reads no list at all where
/// two name one repository with different keys.
pub(super) fn repositories(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let inventory = view.inventory;
    let unavailable = |message: String, remedy: &str| {
        Finding::error("packages-unavailable", &host.name, message, remedy)
    };
    let mut findings = Vec::new();
    if inventory.source() == KubernetesSource::Packages
        && supply::kubernetes_repository(inventory).is_none()
    {
        let minor = inventory.release().minor;
        let first = RELEASES.iter().find(|release| release.packages).map_or(0, |first| first.minor);
        findings.push(unavailable(
            format!(
                "there are no packages of Kubernetes 1.{minor}: pkgs.k8s.io begins with 1.{first}, and Google's \
                 repositories, which had older ones, are gone"
            ),
            "take its programs as files: `kubernetes: { source: release }`, with `mirrors.kubernetes` where dl.k8s.io \
             can't be reached, or a bundle",
        ));
    }
    if inventory.runtime.source == RuntimeSource::Docker
        && supply::docker_repository(inventory, &facts.os).is_none()
    {
        findings.push(unavailable(
            format!("Docker has no package repository for {}", facts.os.pretty_name),
            "use `runtime: { source: distribution }` or `release`",
        ));
    }
    for repository in supply::repositories(inventory, &facts.os) {
        let same = facts.runtime.package_sources.iter().find(|s| s.uri == repository.uri);
        findings.extend(same.map(|source| {
            Finding::error(
                "foreign-repository",
                &host.name,
                format!(
                    "{} names {} already; beside kubewan's own list of it, apt would read none at all",
                    source.path, repository.uri
                ),
                format!("move {} away: kubewan writes one, with the key that it checks by", source.path),
            )
        }));
    }
    findings
}

/// Another source than the one that a living cluster's programs came from: its files would go on to be used.
pub(super) fn source_changed(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let inventory = view.inventory;
    let left = |path: &str| facts.own.left.contains_key(path);
    let kubernetes = match inventory.source() {
        KubernetesSource::Packages => left(phase::binaries::UNIT),
        KubernetesSource::Release | KubernetesSource::Bundle => {
            left("/etc/apt/sources.list.d/kubewan-kubernetes.list")
        }
    };
    let packaged =
        matches!(inventory.runtime.source, RuntimeSource::Distribution | RuntimeSource::Docker);
    let runtime = (packaged && left(phase::runtime::UNIT))
        || (inventory.runtime.source != RuntimeSource::Docker
            && left("/etc/apt/sources.list.d/kubewan-docker.list"));
    [(kubernetes, "kubernetes.source"), (runtime, "runtime.source")]
        .into_iter()
        .filter(|(changed, _)| *changed)
        .map(|(_, key)| {
            Finding::error(
                "source-changed",
                &host.name,
                format!("`{key}` is another than the one that this host was set up from, whose programs would go on to be used"),
                format!("put `{key}` back, or give the host back first: `kubewan reset`"),
            )
        })
        .collect()
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
