//! Distribution packages and container images.

use serde::{Deserialize, Serialize};

use super::{Artifact, Change, ChangeKind};

/// Packages that are installed and held, or absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Package names. Installed from `artifacts`, or where there are none by the host's package manager.
    pub names: Vec<String>,
    /// Package files of the bundle.
    pub artifacts: Vec<Artifact>,
    /// Names among them that are held, so that an upgrade of the system does not restart the cluster.
    pub held: Vec<String>,
    /// They are to be gone (purged) instead.
    pub absent: bool,
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
        let missing: Vec<String> = seen
            .installed
            .iter()
            .filter(|(_, version)| version.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        let unheld: Vec<String> =
            self.held.iter().filter(|name| !seen.held.contains(name)).cloned().collect();
        if missing.is_empty() && unheld.is_empty() {
            return None;
        }
        let mut details: Vec<String> = Vec::new();
        let origin = if self.artifacts.is_empty() { "the distribution" } else { "the bundle" };
        details.extend(missing.iter().map(|name| format!("install {name} from {origin}")));
        details.extend(unheld.iter().map(|name| format!("hold {name}")));
        let kind = if missing.is_empty() { ChangeKind::Update } else { ChangeKind::Create };
        let names = if missing.is_empty() { unheld } else { missing };
        let verb = if kind == ChangeKind::Create { "install" } else { "hold" };
        Some(Change::new(kind, format!("{verb} {}", names.join(" "))).with_details(details))
    }
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

/// An image in containerd's `k8s.io` namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its reference with tag.
    pub reference: String,
    /// The archive it is imported from.
    pub artifact: Artifact,
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
        (!seen.present).then(|| {
            Change::new(ChangeKind::Create, format!("import image {}", self.reference))
                .with_details(vec![format!(
                    "{} bytes, sha256 {}",
                    self.artifact.size, self.artifact.sha256
                )])
        })
    }
}
