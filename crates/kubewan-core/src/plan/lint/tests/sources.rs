//! Where things come from, and unit files that stand before what comes.

use super::{Case, Cluster};
use crate::facts::{ClusterState, PackageSource};
use crate::inventory::{KubernetesSource, RuntimeSource};
use crate::samples;

/// Packages for everything.
fn packaged(cluster: &mut Cluster) {
    cluster.inventory.kubernetes.source = Some(KubernetesSource::Packages);
    cluster.inventory.runtime.source = RuntimeSource::Distribution;
}

fn units(cluster: &mut Cluster) {
    cluster.node().runtime.unit_files = [
        "/etc/systemd/system/containerd.service",
        "/etc/systemd/system/containerd.service.d/proxy.conf",
        "/etc/systemd/system/kubelet.service",
        "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
        "/etc/systemd/system/docker.service",
    ]
    .map(str::to_owned)
    .to_vec();
}

pub(super) const CASES: &[Case] = &[
    ("units of someone's before those of packages", |c| {
        packaged(c);
        units(c);
    }),
    ("the same, with files of kubewan's own in their place", units),
    ("another repository of Kubernetes for dnf", |c| {
        packaged(c);
        c.inventory.runtime.source = RuntimeSource::Docker;
        c.node().os = samples::rpm_system("rocky", "9.6");
        let source = |path: &str, uri: &str| PackageSource { path: path.into(), uri: uri.into() };
        c.node().runtime.package_sources = vec![
            source(
                "/etc/yum.repos.d/k8s.repo",
                "https://mirror.example/kubernetes-new/core/stable/v1.35/rpm",
            ),
            source("/etc/yum.repos.d/rocky.repo", "https://dl.rockylinux.org/pub/rocky/9/BaseOS"),
        ];
    }),
    ("CentOS 7 as it was installed", |c| {
        let source = |name: &str, repo: &str| PackageSource {
            path: format!("/etc/yum.repos.d/{name}.repo"),
            uri: format!(
                "http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo={repo}"
            ),
        };
        for (host, state) in [("node01", ClusterState::None), ("node02", ClusterState::Done)] {
            let facts = c.facts.get_mut(host).expect("a host");
            facts.os = samples::rpm_system("centos", "7");
            facts.kubernetes.state = state;
            facts.runtime.package_sources = vec![
                source("CentOS-Base", "os"),
                source("CentOS-Base", "updates"),
                source("CentOS-fasttrack", "fasttrack"),
            ];
        }
    }),
];
