//! Distribution packages and container images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Artifact, Change, ChangeKind};

/// Packages that are installed and held, or absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Package names. Installed from `artifacts`, or where there are none by the host's package manager.
    pub names: Vec<String>,
    /// Package files of the bundle.
    pub artifacts: Vec<Artifact>,
    /// Names among them that are held, so that an upgrade of the system does not restart the cluster.
    pub held: Vec<String>,
    /// They are to be gone (purged) instead.
    pub absent: bool,
    /// Upstream's version of those that have to have a certain one, as `1.36.2` for `1.36.2-1.1`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
    /// The yum or dnf repository whose file keeps these packages from every upgrade (`exclude`): its own exclusions are
    /// set aside while they are installed. Empty: none does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repository: String,
    /// Where they come from, for people; empty: the bundle or the distribution.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
}

/// State of packages, in the order of the goal's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSeen {
    /// Name and installed version.
    pub installed: Vec<(String, Option<String>)>,
    /// Names that are held.
    pub held: Vec<String>,
}

impl Package {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &PackageSeen) -> Option<Change> {
        if self.absent {
            let there: Vec<&str> = seen
                .installed
                .iter()
                .filter(|(_, version)| version.is_some())
                .map(|(name, _)| name.as_str())
                .collect();
            return (!there.is_empty())
                .then(|| Change::new(ChangeKind::Delete, format!("purge {}", there.join(" "))));
        }
        let missing = self.missing(seen);
        let unheld: Vec<String> =
            self.held.iter().filter(|name| !seen.held.contains(name)).cloned().collect();
        if missing.is_empty() && unheld.is_empty() {
            return None;
        }
        let mut details: Vec<String> = Vec::new();
        let origin = match self.origin.as_str() {
            "" if self.artifacts.is_empty() => "the distribution",
            "" => "the bundle",
            origin => origin,
        };
        details.extend(missing.iter().map(|name| {
            let wanted = self.versions.get(name).map(|v| format!(" {v}")).unwrap_or_default();
            let there = seen.version(name).map(|v| format!(" in place of {v}")).unwrap_or_default();
            format!("install {name}{wanted} from {origin}{there}")
        }));
        details.extend(unheld.iter().map(|name| format!("hold {name}")));
        let kind = if missing.is_empty() { ChangeKind::Update } else { ChangeKind::Create };
        let names = if missing.is_empty() { unheld } else { missing };
        let verb = if kind == ChangeKind::Create { "install" } else { "hold" };
        Some(Change::new(kind, format!("{verb} {}", names.join(" "))).with_details(details))
    }

    /// Names that are not installed, or in another version than the one they have to have.
    pub fn missing(&self, seen: &PackageSeen) -> Vec<String> {
        let right = |name: &str, there: &str| {
            self.versions.get(name).is_none_or(|wanted| is_of(there, wanted))
        };
        let is_missing = |(name, version): &&(String, Option<String>)| {
            !version.as_ref().is_some_and(|there| right(name, there))
        };
        seen.installed.iter().filter(is_missing).map(|(name, _)| name.clone()).collect()
    }
}

impl PackageSeen {
    /// The installed version of a package.
    pub fn version(&self, name: &str) -> Option<&str> {
        self.installed.iter().find(|(known, _)| known == name)?.1.as_deref()
    }
}

/// Whether a package's version is a revision of upstream's (deb-version(7): `[epoch:]upstream[-revision]`; rpm's
/// `[epoch:]version-release` is alike).
fn is_of(version: &str, upstream: &str) -> bool {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.rsplit_once('-').map_or(version, |(upstream, _)| upstream) == upstream
}

/// Packages that were there before us and that are not held any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheld {
    /// Package names.
    pub names: Vec<String>,
}

impl Unheld {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &PackageSeen) -> Option<Change> {
        let held: Vec<&str> =
            self.names.iter().filter(|n| seen.held.contains(n)).map(String::as_str).collect();
        (!held.is_empty())
            .then(|| Change::new(ChangeKind::Update, format!("unhold {}", held.join(" "))))
    }
}

/// Where the kubelet's runtime keeps its images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageStore {
    /// containerd's `k8s.io` namespace.
    #[default]
    Containerd,
    /// Docker's own.
    Docker,
}

impl ImageStore {
    fn is_containerd(&self) -> bool {
        *self == ImageStore::Containerd
    }
}

/// An image in the runtime's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its reference with tag.
    pub reference: String,
    /// The archive it is imported from; `None`: the runtime pulls it from its registry, or from the mirror of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Whose store.
    #[serde(default, skip_serializing_if = "ImageStore::is_containerd")]
    pub store: ImageStore,
}

/// Whether an image is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSeen {
    /// The runtime has it, complete.
    pub present: bool,
}

impl Image {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &ImageSeen) -> Option<Change> {
        if seen.present {
            return None;
        }
        Some(match &self.artifact {
            Some(artifact) => {
                Change::new(ChangeKind::Create, format!("import image {}", self.reference))
                    .with_details(vec![format!(
                        "{} bytes, sha256 {}",
                        artifact.size, artifact.sha256
                    )])
            }
            None => Change::new(ChangeKind::Create, format!("pull image {}", self.reference)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: Option<&str>) -> PackageSeen {
        let installed = vec![("kubeadm".into(), version.map(str::to_owned))];
        PackageSeen { installed, held: vec!["kubeadm".into()] }
    }

    #[test]
    fn a_certain_version_is_a_goal() {
        let goal = Package {
            names: vec!["kubeadm".into()],
            held: vec!["kubeadm".into()],
            versions: BTreeMap::from([("kubeadm".into(), "1.36.2".into())]),
            origin: "https://pkgs.example".into(),
            ..Package::default()
        };
        assert_eq!(goal.diff(&seen(Some("1.36.2-1.1"))), None);
        assert_eq!(goal.diff(&seen(Some("1:1.36.2-2"))), None);
        assert_eq!(goal.diff(&seen(Some("1.36.2-150500.1.1"))), None);
        for (there, told) in [
            (None, "install kubeadm 1.36.2 from https://pkgs.example"),
            (
                Some("1.36.20-1.1"),
                "install kubeadm 1.36.2 from https://pkgs.example in place of 1.36.20-1.1",
            ),
        ] {
            assert_eq!(goal.diff(&seen(there)).expect("a change").details, [told]);
        }
    }
}
