//! Where things come from: whether the bundle holds what a host needs, in versions that fit, and whether repositories do.

use std::collections::BTreeSet;

use crate::bundle::{ArtifactKind, RUNTIME};
use crate::facts::{ClusterState, Facts};
use crate::finding::Finding;
use crate::inventory::{Host, Inventory, KubernetesSource, PackagesLayout, RuntimeSource};
use crate::packages::{self, PackageManager};
use crate::plan::planner::View;
use crate::plan::{SYSTEMD, phase};
use crate::supply;
use crate::versions::RELEASES;

/// Images that a worker runs none of.
const CONTROL_PLANES: [&str; 4] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];

pub(super) fn bundle_contents(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if view.inventory.source() != KubernetesSource::Bundle {
        return Vec::new();
    }
    let (bundle, arch) = (view.inputs.bundle, &facts.kernel.arch);
    let of_workers = |what: &&String| {
        host.is_control_plane() || !CONTROL_PLANES.contains(&what.trim_start_matches("image "))
    };
    let lacks = bundle.missing(arch);
    let for_arch = |what: &String| match what.split_once(' ') {
        Some(("binary", name)) => format!("binary {name} for {arch}"),
        Some(("image", name)) => format!("image {name} for {arch}"),
        Some((_, name)) => format!("CNI plugin {name} for {arch}"),
        None => what.clone(),
    };
    let mut missing: Vec<String> = lacks.iter().filter(of_workers).map(for_arch).collect();
    missing.extend(other_images(view, host, arch));
    let distribution = facts.os.distribution();
    let has = |name: &str| bundle.of(ArtifactKind::Runtime, arch).any(|file| file.name == name);
    let mut packages = bundle.packages(&distribution, arch);
    let has_packages = packages.any(|package| package.name == "containerd")
        || facts.runtime.containerd.is_some()
            && bundle.packages(&distribution, arch).next().is_some();
    if view.inventory.runtime.source == RuntimeSource::Bundle
        && !view.inventory.is_docker()
        && !has_packages
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
    findings.extend(missing_packages(view, host, facts));
    findings
}

/// Images that the bundle has in another version than kubeadm asks for.
fn other_images(view: &View, host: &Host, arch: &str) -> Vec<String> {
    let (inventory, bundle) = (view.inventory, view.inputs.bundle);
    let mut expected = vec![("pause", inventory.pause_image())];
    let (release, patch) = (inventory.release(), inventory.version().patch);
    let repository = &inventory.kubernetes.image_repository;
    let own = &inventory.kubernetes.kubeadm.cluster;
    // Of a patch release that the table does not know, and where the user names another, only that there is one.
    let is_known = |key: &str| patch <= release.last_patch && !own.contains_key(key);
    if is_known("dns") && !bundle.rehearsal {
        expected.push(("coredns", release.coredns_image(patch, repository)));
    }
    if host.is_control_plane() && is_known("etcd") && !bundle.rehearsal {
        expected.push(("etcd", release.etcd_image(patch, repository)));
    }
    let version = &inventory.kubernetes.version;
    let there = |wanted: &String| bundle.of(ArtifactKind::Image, arch).any(|i| i.name == *wanted);
    expected
        .into_iter()
        // A rehearsal runs no pods; the one image that it takes is the one that containerd is told of.
        .filter(|(name, wanted)| {
            !there(wanted) && (bundle.rehearsal || bundle.image(name, arch).is_some())
        })
        .map(|(_, wanted)| format!("image {wanted} for {arch}, which kubeadm {version} expects"))
        .collect()
}

/// Tools that a bundle's packages leave out: without a mirror the host has to have them.
fn missing_packages(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let (bundle, arch) = (view.inputs.bundle, &facts.kernel.arch);
    let distribution = facts.os.distribution();
    // A rehearsal's kubeadm asks for no tools.
    if view.inventory.runtime.source != RuntimeSource::Bundle
        || bundle.rehearsal
        || bundle.packages(&distribution, arch).next().is_none()
    {
        return None;
    }
    // Docker's own are another check's.
    let missing: Vec<&str> = bundle
        .packages_missing(&distribution, arch)
        .into_iter()
        .filter(|name| *name != "containerd")
        .collect();
    (!missing.is_empty()).then(|| {
        let names = missing.join(", ");
        Finding::warning(
            "bundle-packages",
            &host.name,
            format!("the bundle's packages for {distribution} ({arch}) are without {names}, which the host has to have already"),
            format!(
                "`apt-get install {}` on it where it has a mirror, or `kubewan bundle packages DIR`",
                missing.join(" ")
            ),
        )
    })
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
/// two name one repository with different keys, and yum and dnf would upgrade what only kubewan's file holds.
pub(super) fn repositories(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let inventory = view.inventory;
    let mut findings = unavailable(view, host, facts);
    let major = facts.os.version_id.split('.').next().unwrap_or_default();
    let arch = match facts.kernel.arch.as_str() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    // As dnf.conf(5) says of both.
    let whole = |uri: &str| uri.replace("$releasever", major).replace("$basearch", arch);
    let beside = match packages::manager(&facts.os) {
        PackageManager::Apt => "beside kubewan's own list of it, apt would read none at all",
        PackageManager::Yum | PackageManager::Dnf => {
            "upgrades would take from there what kubewan's own file of it holds back"
        }
    };
    for repository in supply::repositories(inventory, &facts.os) {
        let mut sources = facts.runtime.package_sources.iter();
        let same = sources.find(|source| whole(&source.uri) == whole(&repository.uri));
        findings.extend(same.map(|source| {
            Finding::error(
                "foreign-repository",
                &host.name,
                format!("{} names {} already; {beside}", source.path, repository.uri),
                format!(
                    "move {} away: kubewan writes one, with the key that it checks by",
                    source.path
                ),
            )
        }));
    }
    findings.extend(others_of_kubernetes(view, host, facts, &whole));
    findings.extend(without_mirrors(host, facts));
    findings
}

/// CentOS' list of mirrors: the name has no address since CentOS 7 ended in July 2024.
const GONE: &str = "http://mirrorlist.centos.org";

/// Repositories that nothing can be had from: yum stops at the first of them, whatever it is to install and from where.
fn without_mirrors(host: &Host, facts: &Facts) -> Option<Finding> {
    let sources = facts.runtime.package_sources.iter();
    let files: BTreeSet<&str> = sources
        .filter(|source| source.uri.starts_with(GONE))
        .map(|source| source.path.as_str())
        .collect();
    if files.is_empty() {
        return None;
    }
    let files = |between: &str| files.iter().copied().collect::<Vec<_>>().join(between);
    let message = format!(
        "packages are to come from mirrorlist.centos.org ({}), which is gone since July 2024: nothing can be installed, from \
         other repositories neither",
        files(", ")
    );
    let remedy = format!(
        "`sed -i 's/^mirrorlist=/#&/; s|^#baseurl=http://mirror.centos.org|baseurl=http://vault.centos.org|' {}` on it, or name \
         a mirror of vault.centos.org there",
        files(" ")
    );
    // What is installed already goes on.
    let finding = match facts.kubernetes.state {
        ClusterState::Done => Finding::warning,
        _ => Finding::error,
    };
    Some(finding("mirrorlist-gone", &host.name, message, remedy))
}

/// Other repositories of Kubernetes for yum and dnf: what kubewan's own file holds back, an upgrade takes from there.
fn others_of_kubernetes(
    view: &View,
    host: &Host,
    facts: &Facts,
    whole: &dyn Fn(&str) -> String,
) -> Vec<Finding> {
    let inventory = view.inventory;
    let is_rpm = packages::manager(&facts.os).is_rpm();
    let ours = supply::kubernetes_repository(inventory, &facts.os);
    let Some(ours) = ours.filter(|_| is_rpm && inventory.source() == KubernetesSource::Packages)
    else {
        return Vec::new();
    };
    let is_kubernetes = |uri: &str| uri.contains("kubernetes") || uri.contains("pkgs.k8s.io");
    let others = facts
        .runtime
        .package_sources
        .iter()
        .filter(|source| is_kubernetes(&source.uri) && whole(&source.uri) != whole(&ours.uri));
    others
        .map(|source| {
            Finding::warning(
                "foreign-repository",
                &host.name,
                format!(
                    "{} names {}: an upgrade of the system would take kubelet and kubeadm from there, past what kubewan's own \
                     file holds back",
                    source.path, source.uri
                ),
                format!("move {} away, or add `exclude=kubelet kubeadm kubectl` to it", source.path),
            )
        })
        .collect()
}

/// Packages that can't be had on a host.
fn unavailable(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let (inventory, os) = (view.inventory, &facts.os);
    let unavailable = |message: String, remedy: &str| {
        Finding::error("packages-unavailable", &host.name, message, remedy)
    };
    let mut findings = Vec::new();
    if inventory.source() == KubernetesSource::Packages
        && supply::kubernetes_repository(inventory, os).is_none()
    {
        findings.push(unavailable(
            no_packages(inventory),
            "take its programs as files: `kubernetes: { source: release }`, with `mirrors.kubernetes` where dl.k8s.io \
             can't be reached, or a bundle",
        ));
    }
    if PackageManager::of(os).is_none() {
        return findings;
    }
    let elsewhere = "use `runtime: { source: release }`";
    match inventory.runtime.source {
        RuntimeSource::Docker if supply::docker_repository(inventory, os).is_none() => {
            let message = format!("Docker has no package repository for {}", os.pretty_name);
            let remedy = match inventory.is_docker() {
                true => {
                    "take containerd: leave `runtime.kind` out, with `runtime: { source: release }`"
                        .to_owned()
                }
                false => format!("{elsewhere} or `distribution`"),
            };
            findings.push(unavailable(message, &remedy));
        }
        RuntimeSource::Distribution
            if !inventory.is_docker()
                && !packages::has_containerd(os)
                && facts.runtime.containerd.is_none()
                && facts.runtime.containerd_offered.is_none() =>
        {
            let message = format!("{} has no containerd of its own", os.pretty_name);
            let docker = supply::docker_repository(inventory, os).map_or("", |_| " or `docker`");
            findings.push(unavailable(message, &format!("{elsewhere}{docker}")));
        }
        RuntimeSource::Bundle if packages::manager(os).is_rpm() => {
            let distribution = os.distribution();
            let mut bundled = view.inputs.bundle.packages(&distribution, &facts.kernel.arch);
            findings.extend(bundled.next().map(|_| {
                let message = format!(
                    "the bundle has packages for {distribution}, and kubewan installs no rpm from a bundle"
                );
                unavailable(message, &format!("{elsewhere}, or a bundle with its programs as files"))
            }));
        }
        _ => {}
    }
    findings
}

/// Why there are no packages of a release where the inventory looks for them.
fn no_packages(inventory: &Inventory) -> String {
    let version = &inventory.kubernetes.version;
    if inventory.mirrors.packages_layout == PackagesLayout::Former {
        return format!(
            "there are no packages of Kubernetes {version} with `packagesLayout: former`: Google's repositories ended on \
             2023-09-13, and mirrors with them"
        );
    }
    let first = RELEASES.iter().find(|release| release.packages).map_or(0, |first| first.minor);
    format!(
        "there are no packages of Kubernetes 1.{}: pkgs.k8s.io begins with 1.{first}, and Google's repositories, which \
         had older ones, are gone",
        inventory.release().minor
    )
}

/// Units of someone's below /etc/systemd/system where packages bring theirs: systemd reads the former, and whatever the
/// package's says is not in force.
pub(super) fn shadowed_units(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let inventory = view.inventory;
    let mut ours: Vec<&str> = Vec::new();
    if inventory.source() == KubernetesSource::Packages {
        ours.push("kubelet.service");
        // Google's former packages had the drop-in there themselves.
        if inventory.mirrors.packages_layout != PackagesLayout::Former {
            ours.push("kubelet.service.d/10-kubeadm.conf");
        }
    }
    if matches!(inventory.runtime.source, RuntimeSource::Distribution | RuntimeSource::Docker) {
        ours.push("containerd.service");
        ours.extend(inventory.is_docker().then_some("docker.service"));
    }
    let there = facts.runtime.unit_files.iter();
    let shadows = there.filter(|path| {
        path.strip_prefix(SYSTEMD).is_some_and(|name| ours.contains(&name))
            && !facts.own.left.contains_key(*path)
    });
    shadows
        .map(|path| {
            Finding::warning(
                "foreign-unit",
                &host.name,
                format!("{path} is someone's, and goes before the file of that name that comes with the package"),
                format!(
                    "move it away and run `systemctl daemon-reload`; what it is for goes into a drop-in (`systemctl cat {}`)",
                    path.trim_start_matches(SYSTEMD).split(".d/").next().unwrap_or_default()
                ),
            )
        })
        .collect()
}

/// Another source than the one that a living cluster's programs came from: its files would go on to be used.
pub(super) fn source_changed(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let inventory = view.inventory;
    let left = |path: &str| facts.own.left.contains_key(path);
    let listed = |name: &str| {
        left(&format!("/etc/apt/sources.list.d/kubewan-{name}.list"))
            || left(&format!("/etc/yum.repos.d/kubewan-{name}.repo"))
    };
    let kubernetes = match inventory.source() {
        KubernetesSource::Packages => left(phase::binaries::UNIT),
        KubernetesSource::Release | KubernetesSource::Bundle => listed("kubernetes"),
    };
    let packaged =
        matches!(inventory.runtime.source, RuntimeSource::Distribution | RuntimeSource::Docker);
    let runtime = (packaged && left(phase::runtime::UNIT))
        || (inventory.runtime.source != RuntimeSource::Docker && listed("docker"));
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
