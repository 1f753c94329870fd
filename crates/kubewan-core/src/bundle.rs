//! Bundles: the folder with everything a host needs, as docs/bundle.md describes it. This module reads
//! `bundle.yaml` and answers what a cluster takes from it; reading and hashing files is not done here.

use serde::{Deserialize, Serialize};

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
    /// Relative path in the bundle.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
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
}

impl Bundle {
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

    /// Packages for a distribution, as `debian-12`.
    pub fn packages<'a>(
        &'a self,
        distribution: &'a str,
        arch: &'a str,
    ) -> impl Iterator<Item = &'a Artifact> {
        self.of(ArtifactKind::Package, arch)
            .filter(move |a| a.distribution.as_deref() == Some(distribution))
    }
}
