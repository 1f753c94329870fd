//! Bundles: the folder with everything a host needs, as docs/bundle.md describes it. This module reads
//! `bundle.yaml` and answers what a cluster takes from it; reading and hashing files is not done here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::inventory::RuntimeKind;
use crate::packages::TOOLS;
use crate::supply::{CRI_DOCKERD, CRICTL};
use crate::versions::{Release, Version};

/// The only format there is so far.
pub const FORMAT: u32 = 1;

/// A parsed `bundle.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Format of the file, [`FORMAT`].
    pub format: u32,
    /// The Kubernetes version of its binaries and images.
    pub kubernetes: String,
    /// Its kubeadm and kubelet are stand-ins.
    #[serde(default)]
    pub rehearsal: bool,
    /// Where each part comes from.
    #[serde(default)]
    pub provenance: String,
    /// Every file in it.
    pub artifacts: Vec<Artifact>,
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// What it is.
    pub kind: ArtifactKind,
    /// Binary, plugin or package name; for an image its reference with tag.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// Go's name of the architecture, as `amd64`.
    pub arch: String,
    /// For packages: `ID-VERSION_ID` of the distribution they are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// For packages: the runtime that they are for, where that is one alone. Of a package of the same name that names no
    /// runtime, it takes the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeKind>,
    /// Relative path in the bundle.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// Where each host downloads it itself, since the file is not here. A bundle's own have none.
    #[serde(skip)]
    pub url: Option<String>,
}

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// A program for `/usr/local/bin`.
    Binary,
    /// A program for `/opt/cni/bin`.
    CniPlugin,
    /// A container image archive.
    Image,
    /// A distribution package.
    Package,
    /// A program of the container runtime for `/usr/local/bin`.
    Runtime,
}

/// Reads the text of a `bundle.yaml`.
///
/// # Errors
/// Fails with what is wrong, for people: the place in the text, or the artifact.
pub fn parse(text: &str) -> Result<Bundle, String> {
    let bundle: Bundle = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if bundle.format != FORMAT {
        return Err(format!("format {} is not known; this kubewan reads {FORMAT}", bundle.format));
    }
    let mut paths = BTreeSet::new();
    for artifact in &bundle.artifacts {
        let path = &artifact.path;
        if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("{}: path `{path}` does not stay in the bundle", artifact.name));
        }
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if artifact.sha256.len() != 64 || !artifact.sha256.bytes().all(hex) {
            return Err(format!("{path}: sha256 is not 64 lower-case hexadecimal digits"));
        }
        if artifact.kind == ArtifactKind::Package && artifact.distribution.is_none() {
            return Err(format!("{path}: a package needs its distribution, as debian-12"));
        }
        if artifact.kind != ArtifactKind::Package && artifact.runtime.is_some() {
            return Err(format!("{path}: only a package is for one runtime alone"));
        }
        if !paths.insert(path) {
            return Err(format!("{path} is listed twice"));
        }
    }
    Ok(bundle)
}

/// CNI plugins that flannel's configuration chains, and what they need.
pub const CNI_PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// Programs of a container runtime that come as files.
pub const RUNTIME: [&str; 4] = ["containerd", "containerd-shim-runc-v2", "ctr", "runc"];

/// Images that a cluster runs.
const IMAGES: [&str; 9] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "coredns",
    "pause",
    "etcd",
    "flannel",
    "flannel-cni-plugin",
];

impl Bundle {
    /// Architectures that it has anything for.
    pub fn architectures(&self) -> BTreeSet<&str> {
        self.artifacts.iter().map(|a| a.arch.as_str()).collect()
    }

    /// What a cluster on that architecture needs and the bundle has not, packages left out: those may come from
    /// the distribution. A rehearsal runs no pods and needs no images but what its stand-ins take.
    pub fn missing(&self, arch: &str) -> Vec<String> {
        let binaries = self
            .programs()
            .filter(|name| self.binary(name, arch).is_none())
            .map(|name| format!("binary {name}"));
        let plugins = CNI_PLUGINS
            .into_iter()
            .filter(|name| !self.of(ArtifactKind::CniPlugin, arch).any(|a| a.name == *name))
            .map(|name| format!("cni-plugin {name}"));
        let images = IMAGES
            .into_iter()
            .filter(|name| self.image(name, arch).is_none())
            .map(|name| format!("image {name}"));
        if self.rehearsal {
            return binaries.collect();
        }
        binaries.chain(plugins).chain(images).collect()
    }

    /// The binaries that its version of Kubernetes needs.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> {
        let release = self.kubernetes.parse().ok().and_then(Version::release);
        let crictl = release.and_then(Release::needed_crictl).map(|_| CRICTL);
        ["kubeadm", "kubelet", "kubectl"].into_iter().chain(crictl.filter(|_| !self.rehearsal))
    }

    /// Artifacts of one kind for one architecture, in the file's order.
    pub fn of(&self, kind: ArtifactKind, arch: &str) -> impl Iterator<Item = &Artifact> {
        self.artifacts.iter().filter(move |a| a.kind == kind && a.arch == arch)
    }

    /// The binary of that name.
    pub fn binary(&self, name: &str, arch: &str) -> Option<&Artifact> {
        self.of(ArtifactKind::Binary, arch).find(|a| a.name == name)
    }

    /// The image whose repository path ends in `/name`, as `pause` or `flannel`.
    pub fn image(&self, name: &str, arch: &str) -> Option<&Artifact> {
        let end = format!("/{name}");
        self.of(ArtifactKind::Image, arch).find(|a| {
            a.name.rsplit_once(':').is_some_and(|(repository, _)| repository.ends_with(&end))
        })
    }

    /// Packages for containerd, and what is needed beside it, for a distribution, as `debian-12`.
    pub fn packages<'a>(
        &'a self,
        distribution: &'a str,
        arch: &'a str,
    ) -> impl Iterator<Item = &'a Artifact> {
        self.packages_for(RuntimeKind::Containerd, distribution, arch)
    }

    /// Packages for a runtime, and what is needed beside it, for a distribution.
    pub fn packages_for<'a, 'b>(
        &'a self,
        runtime: RuntimeKind,
        distribution: &'b str,
        arch: &'b str,
    ) -> impl Iterator<Item = &'a Artifact> + use<'a, 'b> {
        let all = move || {
            self.of(ArtifactKind::Package, arch)
                .filter(move |a| a.distribution.as_deref() == Some(distribution))
        };
        let own = move |name: &str| all().any(|a| a.name == name && a.runtime == Some(runtime));
        all().filter(move |a| match a.runtime {
            Some(only) => only == runtime,
            None => !own(&a.name),
        })
    }

    /// The distributions and architectures that it has packages for, as `debian-12` and `amd64`.
    pub fn distributions(&self) -> BTreeSet<(&str, &str)> {
        let packages = self.artifacts.iter().filter(|a| a.kind == ArtifactKind::Package);
        packages.filter_map(|a| Some((a.distribution.as_deref()?, a.arch.as_str()))).collect()
    }

    /// What is not among the packages for a distribution: hosts that reach no mirror of theirs have to have it.
    pub fn packages_missing(&self, distribution: &str, arch: &str) -> Vec<&'static str> {
        let is_there =
            |name: &&str| self.packages(distribution, arch).any(|found| found.name == **name);
        let wanted = ["containerd"].into_iter().chain(TOOLS);
        wanted.filter(|name| !is_there(name)).collect()
    }

    /// Docker's side of the CRI.
    pub fn cri_dockerd(&self, arch: &str) -> Option<&Artifact> {
        self.of(ArtifactKind::Runtime, arch).find(|a| a.name == CRI_DOCKERD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "format: 1\nkubernetes: \"1.36.2\"\nartifacts:\n";

    fn artifact(line: &str) -> String {
        let sha = "0".repeat(64);
        format!("{HEAD}  - {{ version: \"1\", arch: amd64, size: 1, sha256: \"{sha}\", {line} }}\n")
    }

    #[test]
    fn what_is_missing_is_said() {
        let bundle = parse(&artifact("kind: binary, name: kubeadm, path: bin/kubeadm")).unwrap();
        assert_eq!(bundle.architectures().into_iter().collect::<Vec<_>>(), ["amd64"]);
        let missing = bundle.missing("amd64");
        assert!(!missing.contains(&"binary kubeadm".to_owned()));
        assert!(missing.contains(&"binary kubelet".to_owned()));
        assert!(missing.contains(&"image flannel".to_owned()));
        assert!(missing.contains(&"cni-plugin portmap".to_owned()));
        assert!(bundle.missing("arm64").contains(&"binary kubeadm".to_owned()));
    }

    #[test]
    fn crictl_is_missing_only_where_kubeadm_needs_it() {
        let line = artifact("kind: binary, name: kubeadm, path: bin/kubeadm");
        let lacks = |version: &str| {
            let bundle = parse(&line.replacen("1.36.2", version, 1)).unwrap();
            bundle.missing("amd64").contains(&"binary crictl".to_owned())
        };
        assert_eq!(
            ["1.23.6", "1.30.14", "1.31.0", "1.36.2"].map(lacks),
            [true, true, false, false]
        );
        let rehearsal = line.replacen("1.36.2\"", "1.23.6\"\nrehearsal: true", 1);
        assert_eq!(
            parse(&rehearsal).unwrap().missing("amd64"),
            ["binary kubelet", "binary kubectl"]
        );
    }

    #[test]
    fn a_package_for_one_runtime_takes_the_place_of_its_namesake() {
        let sha = "0".repeat(64);
        let package = |line: &str| {
            format!(
                "  - {{ kind: package, arch: amd64, distribution: debian-12, size: 1, sha256: \"{sha}\", {line} }}\n"
            )
        };
        let text = [
            HEAD.to_owned(),
            package("name: containerd, version: 2.1.9, path: a"),
            package("name: socat, version: 1.7, path: b"),
            package("name: containerd, version: 1.6.20, path: c, runtime: docker"),
            package("name: docker.io, version: 20.10, path: d, runtime: docker"),
        ]
        .concat();
        let bundle = parse(&text).unwrap();
        let paths = |kind| {
            let packages = bundle.packages_for(kind, "debian-12", "amd64");
            packages.map(|a| a.path.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(paths(RuntimeKind::Containerd), ["a", "b"]);
        assert_eq!(paths(RuntimeKind::Docker), ["b", "c", "d"]);
    }

    #[test]
    fn what_can_not_be_trusted_is_refused() {
        for (line, words) in [
            ("kind: binary, name: x, path: ../x", "does not stay in the bundle"),
            ("kind: binary, name: x, path: /x", "does not stay in the bundle"),
            ("kind: package, name: x, path: x.deb", "needs its distribution"),
            ("kind: binary, name: x, path: x, colour: red", "colour"),
            ("kind: binary, name: x, path: x, runtime: docker", "only a package"),
        ] {
            let error = parse(&artifact(line)).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
        let error = parse("format: 2\nkubernetes: \"1\"\nartifacts: []\n").unwrap_err();
        assert_eq!(error, "format 2 is not known; this kubewan reads 1");
    }
}
