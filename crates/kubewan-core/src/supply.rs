//! What a cluster is made of where no bundle brings it: files of releases, package repositories and images, by URL.
//! Fetching them is `curl`'s, the package manager's and containerd's work, on the machine that needs them; here is said what and from
//! where, and what publishers' checksums mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::bundle::ArtifactKind;
use crate::finding::Finding;
use crate::inventory::{Inventory, KubernetesSource, RuntimeSource};
use crate::versions::{Cri, Release};

mod repositories;

pub use repositories::{
    DOCKER_PACKAGES, Repository, docker_containerd, docker_repository, kubernetes_repository,
    repositories, unchecked,
};

/// The CNI plugins that are taken from releases (github.com/containernetworking/plugins), as flannel 0.28.9 ships its
/// own plugin for.
pub const CNI_PLUGINS: &str = "1.9.1";
/// The containerd that is taken from releases.
pub const CONTAINERD: &str = "2.3.5";
/// The last series of containerd that serves the CRI's v1alpha2 (containerd/containerd, RELEASES.md).
pub const CONTAINERD_V1: &str = "1.7.29";
/// The runc that is taken from releases: what containerd 2.3 is tested with (`script/setup/runc-version` there).
pub const RUNC: &str = "1.4.3";
/// cri-dockerd: a program of the bundle or of its release.
pub const CRI_DOCKERD: &str = "cri-dockerd";
/// The cri-dockerd that is taken from its release, and the SHA-256 of its archive by architecture. Its makers publish no
/// checksums: these are kubernetes-sigs/kubespray's (roles/kubespray_defaults/vars/main/checksums.yml at 005bdce7), who
/// install the same files.
const CRI_DOCKERD_VERSION: &str = "0.3.24";
const CRI_DOCKERD_SUMS: [(&str, &str); 2] = [
    ("amd64", "dd4b7f514c248a3aaca398f467430a4c58aae9a77ea8b96a2f5b5d6fba0948d1"),
    ("arm64", "c783a03735887c4a8fc894bd4cf7a1c0defef3ecf50a4d79ff31eed45c26b17e"),
];
/// flannel's images (`Documentation/kube-flannel.yml` of v0.28.9).
pub const FLANNEL: (&str, &str) = ("ghcr.io/flannel-io/flannel", "v0.28.9");
/// The image that brings flannel's CNI plugin (the same file).
pub const FLANNEL_CNI_PLUGIN: (&str, &str) =
    ("ghcr.io/flannel-io/flannel-cni-plugin", "v1.9.1-flannel1");

/// The program by which older kubeadm speaks to the runtime.
pub const CRICTL: &str = "crictl";

/// The folder of Kubernetes' programs where they are installed as files.
pub const FILES_BIN: &str = "/usr/local/bin";
/// The same where packages bring them.
pub const PACKAGES_BIN: &str = "/usr/bin";

/// A file that its publisher offers together with its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Where it lies.
    pub url: String,
    /// Its SHA-256.
    pub sums: Sums,
    /// What is in it.
    pub holds: Holds,
    /// Its own version.
    pub version: String,
}

/// The SHA-256 of a file that is downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sums {
    /// It stands in a text at this URL; see [`published`].
    At(String),
    /// Its publisher gives none; this one is known.
    Known(&'static str),
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sums::At(url) => f.write_str(url),
            Sums::Known(sha256) => write!(f, "sha256 {sha256}"),
        }
    }
}

/// What is in a file that is downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// One program.
    Program(Part),
    /// A gzipped tar archive with programs, by their path in it.
    Archive(BTreeMap<String, Part>),
}

/// A program, as a bundle would hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its name.
    pub name: String,
}

impl Part {
    fn new(kind: ArtifactKind, name: &str) -> Part {
        Part { kind, name: name.into() }
    }
}

impl Download {
    /// The last part of its URL.
    pub fn file(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }
}

/// The files that hosts of an architecture need.
pub fn downloads(inventory: &Inventory, arch: &str) -> Vec<Download> {
    let mut wanted = Vec::new();
    if inventory.source() == KubernetesSource::Release {
        wanted.extend(kubernetes(inventory, arch));
    }
    // Docker has no release of its own here: what is downloaded is its side of the CRI, unless a bundle brings it.
    let released = match inventory.is_docker() {
        true => inventory.runtime.source != RuntimeSource::Bundle,
        false => inventory.runtime.source == RuntimeSource::Release,
    };
    if released {
        wanted.extend(runtime(inventory, arch));
    }
    wanted
}

/// Kubernetes' programs, crictl where its kubeadm needs it, and the CNI plugins, from their releases.
pub fn kubernetes(inventory: &Inventory, arch: &str) -> Vec<Download> {
    let version = &inventory.kubernetes.version;
    let server = inventory.mirrors.kubernetes.trim_end_matches('/');
    let mut wanted: Vec<Download> = ["kubeadm", "kubelet", "kubectl"]
        .iter()
        .map(|name| {
            let url = format!("{server}/v{version}/bin/linux/{arch}/{name}");
            Download {
                sums: Sums::At(format!("{url}.sha256")),
                url,
                holds: Holds::Program(Part::new(ArtifactKind::Binary, name)),
                version: version.clone(),
            }
        })
        .collect();
    wanted.extend(
        inventory.release().needed_crictl().map(|version| crictl(inventory, arch, version)),
    );
    let file = format!("cni-plugins-linux-{arch}-v{CNI_PLUGINS}.tgz");
    let url = github(inventory, "containernetworking/plugins", CNI_PLUGINS, &file);
    let plugins = crate::bundle::CNI_PLUGINS
        .iter()
        .map(|name| ((*name).to_owned(), Part::new(ArtifactKind::CniPlugin, name)));
    wanted.push(Download {
        sums: Sums::At(format!("{url}.sha256")),
        url,
        holds: Holds::Archive(plugins.collect()),
        version: CNI_PLUGINS.into(),
    });
    wanted
}

/// crictl, from its release.
fn crictl(inventory: &Inventory, arch: &str, version: &str) -> Download {
    let file = format!("{CRICTL}-v{version}-linux-{arch}.tar.gz");
    let url = github(inventory, "kubernetes-sigs/cri-tools", version, &file);
    Download {
        sums: Sums::At(format!("{url}.sha256")),
        url,
        holds: Holds::Archive(BTreeMap::from([(
            CRICTL.to_owned(),
            Part::new(ArtifactKind::Binary, CRICTL),
        )])),
        version: version.into(),
    }
}

/// cri-dockerd, from its release; nothing where the kubelet speaks to Docker itself.
fn cri_dockerd(inventory: &Inventory, arch: &str) -> Option<Download> {
    let (_, sha256) = CRI_DOCKERD_SUMS.into_iter().find(|(known, _)| *known == arch)?;
    let file = format!("{CRI_DOCKERD}-{CRI_DOCKERD_VERSION}.{arch}.tgz");
    let member = format!("{CRI_DOCKERD}/{CRI_DOCKERD}");
    let part = Part::new(ArtifactKind::Runtime, CRI_DOCKERD);
    inventory.uses_cri_dockerd().then(|| Download {
        url: github(inventory, "Mirantis/cri-dockerd", CRI_DOCKERD_VERSION, &file),
        sums: Sums::Known(sha256),
        holds: Holds::Archive(BTreeMap::from([(member, part)])),
        version: CRI_DOCKERD_VERSION.into(),
    })
}

/// What of the runtime comes from releases: containerd and runc, the static build, which asks for no glibc; with Docker,
/// cri-dockerd.
pub fn runtime(inventory: &Inventory, arch: &str) -> Vec<Download> {
    if inventory.is_docker() {
        return cri_dockerd(inventory, arch).into_iter().collect();
    }
    let version = containerd(inventory.release());
    let file = format!("containerd-static-{version}-linux-{arch}.tar.gz");
    let url = github(inventory, "containerd/containerd", version, &file);
    let programs = ["containerd", "containerd-shim-runc-v2", "ctr"]
        .iter()
        .map(|name| (format!("bin/{name}"), Part::new(ArtifactKind::Runtime, name)));
    let runc = github(inventory, "opencontainers/runc", RUNC, &format!("runc.{arch}"));
    vec![
        Download {
            sums: Sums::At(format!("{url}.sha256sum")),
            url,
            holds: Holds::Archive(programs.collect()),
            version: version.into(),
        },
        Download {
            sums: Sums::At(github(inventory, "opencontainers/runc", RUNC, "runc.sha256sum")),
            url: runc,
            holds: Holds::Program(Part::new(ArtifactKind::Runtime, "runc")),
            version: RUNC.into(),
        },
    ]
}

/// The containerd that is taken from releases for a minor release of Kubernetes: one that speaks all that its kubelet may.
pub fn containerd(release: &Release) -> &'static str {
    match release.cri {
        Cri::V1Alpha2 | Cri::Both => CONTAINERD_V1,
        Cri::V1 => CONTAINERD,
    }
}

fn github(inventory: &Inventory, repository: &str, version: &str, file: &str) -> String {
    let server = inventory.mirrors.github.trim_end_matches('/');
    format!("{server}/{repository}/releases/download/v{version}/{file}")
}

/// The SHA-256 that a publisher's text gives for a file: the only one in it where no file is named (`kubeadm.sha256`),
/// else that of the line with the file's name, as `sha256sum` writes them.
pub fn published(text: &str, file: &str) -> Option<String> {
    let hex = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut bare = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(sum) = words.next().filter(hex) else { continue };
        match words.next().map(|name| name.trim_start_matches(['*', '.', '/'])) {
            None => bare.push(sum),
            Some(name) if name == file || name.ends_with(&format!("/{file}")) => {
                return Some(sum.to_ascii_lowercase());
            }
            Some(_) => {}
        }
    }
    match bare.as_slice() {
        [only] => Some(only.to_ascii_lowercase()),
        _ => None,
    }
}

/// Whether the operator's machine has anything to look up: files that no bundle brings, or keys.
pub fn is_looked_up(inventory: &Inventory) -> bool {
    downloads_by_hosts(inventory)
        || (inventory.uses_cri_dockerd() && inventory.runtime.source != RuntimeSource::Bundle)
}

/// Whether hosts speak to servers of the Internet by HTTPS: for packages of others, files, or images.
pub fn downloads_by_hosts(inventory: &Inventory) -> bool {
    inventory.source() != KubernetesSource::Bundle
        || matches!(inventory.runtime.source, RuntimeSource::Docker | RuntimeSource::Release)
}

/// The images that a host runs and that are known before kubeadm is there. etcd's and CoreDNS' tags change with patch
/// releases: their names are kubeadm's, which pulls them itself.
pub fn images(inventory: &Inventory, control_plane: bool) -> Vec<String> {
    let repository = &inventory.kubernetes.image_repository;
    let version = &inventory.kubernetes.version;
    let only_there = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    let names = only_there.iter().filter(|_| control_plane).chain(&["kube-proxy"]);
    let mut images: Vec<String> =
        names.map(|name| format!("{repository}/{name}:v{version}")).collect();
    images.push(inventory.pause_image());
    images.extend([FLANNEL, FLANNEL_CNI_PLUGIN].map(|image| as_named(inventory, image)));
    images
}

/// An image of flannel's by the name that hosts pull it by. Docker asks mirrors of docker.io alone, so that one of ghcr.io has to
/// stand in the name; one with a path in its URL, or without TLS, can't.
pub fn as_named(inventory: &Inventory, (name, tag): (&str, &str)) -> String {
    let (registry, path) = name.split_once('/').unwrap_or_default();
    let mirror = inventory.mirrors.images.get(registry).filter(|_| inventory.is_docker());
    let host = mirror.and_then(|url| url.trim_end_matches('/').strip_prefix("https://"));
    match host.filter(|host| !host.contains('/')) {
        Some(host) => format!("{host}/{path}:{tag}"),
        None => format!("{name}:{tag}"),
    }
}

/// An image's name as a host pulls it, of one that kubeadm names where it knows the repository of all images and nothing
/// else: CoreDNS may have to be looked for elsewhere ([`crate::versions::Release::coredns_repository`]).
pub fn as_pulled(inventory: &Inventory, listed: &str) -> String {
    let repository = &inventory.kubernetes.image_repository;
    let tag = listed.strip_prefix(&**repository).and_then(|rest| rest.strip_prefix("/coredns:"));
    match (tag, inventory.coredns_repository()) {
        (Some(tag), Some(its_own)) => format!("{its_own}/coredns:{tag}"),
        _ => listed.to_owned(),
    }
}

/// The programs of Kubernetes lie there.
pub fn bin(inventory: &Inventory) -> &'static str {
    match inventory.source() {
        KubernetesSource::Packages => PACKAGES_BIN,
        KubernetesSource::Release | KubernetesSource::Bundle => FILES_BIN,
    }
}

/// Mirrors that are spoken to without encryption: whoever is on the way can change what they serve, and the checksums and
/// keys with it.
pub fn unencrypted(inventory: &Inventory) -> Option<Finding> {
    let mirrors = &inventory.mirrors;
    let all = [&mirrors.kubernetes, &mirrors.packages, &mirrors.docker, &mirrors.github];
    let of_registries = inventory.registries.iter().flat_map(|registry| &registry.mirrors);
    let all = all.into_iter().chain(mirrors.images.values());
    let all = all.flat_map(|servers| servers.candidates()).chain(of_registries);
    let urls: BTreeSet<&str> =
        all.map(String::as_str).filter(|url| url.starts_with("http://")).collect();
    (!urls.is_empty()).then(|| {
        let message = format!(
            "{}: no encryption; whoever is on the way can change what is served, and the checksums and keys that it is \
             checked by",
            urls.into_iter().collect::<Vec<_>>().join(", ")
        );
        let remedy = "use https, or a bundle, unless the way there is your own";
        Finding::warning("mirror-unencrypted", "", message, remedy).for_cluster()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn inventory() -> Inventory {
        let mut inventory = samples::inventory(1);
        inventory.kubernetes.source = Some(KubernetesSource::Release);
        inventory.runtime.source = RuntimeSource::Release;
        inventory
    }

    #[test]
    fn files_lie_where_their_publishers_put_them() {
        let urls: Vec<String> = downloads(&inventory(), "arm64")
            .iter()
            .map(|file| format!("{}\n  {}\n", file.url, file.sums))
            .collect();
        insta::assert_snapshot!(urls.concat());
    }

    #[test]
    fn mirrors_take_the_publishers_place() {
        let mut inventory = inventory();
        inventory.mirrors.kubernetes = "https://mirror.example/k8s/".into();
        inventory.mirrors.github = "http://192.0.2.1:8080/gh".into();
        let all = downloads(&inventory, "amd64");
        assert_eq!(all[0].url, "https://mirror.example/k8s/v1.36.2/bin/linux/amd64/kubeadm");
        assert!(all[3].url.starts_with("http://192.0.2.1:8080/gh/containernetworking/plugins/"));
        let finding = unencrypted(&inventory).expect("one is not encrypted");
        assert!(finding.message.starts_with("http://192.0.2.1:8080/gh: "), "{finding:?}");
    }

    #[test]
    fn checksums_are_read_as_publishers_write_them() {
        let (a, b) = ("a1".repeat(32), "B2".repeat(32));
        let upper = b.to_ascii_lowercase();
        assert_eq!(published(&a, "kubeadm").as_deref(), Some(a.as_str()));
        assert_eq!(published(&format!("{a}\n"), "kubeadm").as_deref(), Some(a.as_str()));
        let sums =
            format!("-----BEGIN PGP SIGNED MESSAGE-----\n\n{a} *runc.amd64\n{b}  runc.arm64\n");
        assert_eq!(published(&sums, "runc.arm64"), Some(upper));
        assert_eq!(published(&sums, "runc.armhf"), None);
        assert_eq!(published(&format!("{a}  ./bin/x.tgz"), "x.tgz").as_deref(), Some(a.as_str()));
        // Another file's, two without a name, and a server's error page.
        assert_eq!(published(&format!("{a}  kubelet"), "kubeadm"), None);
        assert_eq!(published(&format!("{a}\n{b}\n"), "kubeadm"), None);
        assert_eq!(published("<html>404 Not Found</html>", "kubeadm"), None);
    }

    #[test]
    fn old_kubelets_get_an_old_containerd() {
        let of = |minor| containerd(Release::of_minor(minor).expect("known"));
        assert_eq!([22, 25, 26, 36].map(of), ["1.7.29", "1.7.29", "2.3.5", "2.3.5"]);
    }

    #[test]
    fn crictl_comes_with_those_whose_kubeadm_needs_it() {
        let urls = |version: &str| {
            let mut inventory = inventory();
            inventory.kubernetes.version = version.into();
            let all = kubernetes(&inventory, "amd64");
            let all = all.into_iter().filter(|d| d.url.contains(CRICTL));
            all.map(|d| d.sums.to_string()).collect::<Vec<_>>()
        };
        let there = "https://github.com/kubernetes-sigs/cri-tools/releases/download";
        let sums = |v: &str| vec![format!("{there}/v{v}/crictl-v{v}-linux-amd64.tar.gz.sha256")];
        assert_eq!(urls("1.23.6"), sums("1.23.0"));
        assert_eq!(urls("1.30.14"), sums("1.30.1"));
        assert_eq!(urls("1.31.0"), [] as [String; 0]);
    }

    #[test]
    fn cri_dockerd_comes_from_its_release_where_the_kubelet_has_no_dockershim() {
        let of = |version: &str, source: RuntimeSource| {
            let mut inventory = samples::inventory(1);
            inventory.kubernetes.version = version.into();
            inventory.runtime.kind = crate::inventory::RuntimeKind::Docker;
            inventory.runtime.source = source;
            assert_eq!(is_looked_up(&inventory), !downloads(&inventory, "arm64").is_empty());
            downloads(&inventory, "arm64").into_iter().map(|d| d.url).collect::<Vec<_>>()
        };
        let there = "https://github.com/Mirantis/cri-dockerd/releases/download/v0.3.24/cri-dockerd-0.3.24.arm64.tgz";
        assert_eq!(of("1.36.2", RuntimeSource::Distribution), [there]);
        assert_eq!(of("1.36.2", RuntimeSource::Bundle), [] as [String; 0]);
        assert_eq!(of("1.23.6", RuntimeSource::Distribution), [] as [String; 0]);
    }

    #[test]
    fn coredns_is_pulled_from_where_it_lies() {
        let pulled = |version: &str, repository: &str| {
            let mut inventory = inventory();
            inventory.kubernetes.version = version.into();
            inventory.kubernetes.image_repository = repository.into();
            ["coredns:v1.8.6", "pause:3.6"]
                .map(|image| as_pulled(&inventory, &format!("{repository}/{image}")))
        };
        let own = |image: &str| format!("registry.k8s.io/{image}");
        assert_eq!(
            pulled("1.23.6", "registry.k8s.io"),
            ["coredns/coredns:v1.8.6", "pause:3.6"].map(own)
        );
        // That kubeadm finds it by itself, and writes the longer name.
        assert_eq!(pulled("1.23.15", "registry.k8s.io"), ["coredns:v1.8.6", "pause:3.6"].map(own));
        let mirror = "registry.aliyuncs.com/google_containers";
        assert_eq!(pulled("1.23.6", mirror)[0], format!("{mirror}/coredns:v1.8.6"));
    }
}
