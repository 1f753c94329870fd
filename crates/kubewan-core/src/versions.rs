//! What each Kubernetes minor release needs from us. Only releases whose kubeadm we know are accepted:
//! a wrong pause image or configuration version shows itself late, in the middle of `kubeadm init`.

use std::fmt;
use std::str::FromStr;

/// A release, `MAJOR.MINOR.PATCH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// As 1 in 1.36.2.
    pub major: u32,
    /// As 36 in 1.36.2.
    pub minor: u32,
    /// As 2 in 1.36.2.
    pub patch: u32,
}

/// A text that is not `MAJOR.MINOR.PATCH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not MAJOR.MINOR.PATCH, as in 1.36.2")]
pub struct NotAVersion;

/// The API version of kubeadm's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KubeadmApi {
    /// `kubeadm.k8s.io/v1beta3`: extra arguments are maps.
    V1Beta3,
    /// `kubeadm.k8s.io/v1beta4`: extra arguments are lists of names and values.
    V1Beta4,
}

/// What one minor release needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// As 36 in 1.36.
    pub minor: u32,
    /// The newest configuration that its kubeadm reads.
    pub kubeadm_api: KubeadmApi,
    /// Tag of the pause image that its kubeadm expects.
    pub pause: &'static str,
}

/// The minor releases of Kubernetes 1 that kubewan knows, oldest first.
///
/// Source: `PauseVersion` in `cmd/kubeadm/app/constants/constants.go` at v1.31.14, v1.32.13, v1.33.13, v1.34.9,
/// v1.35.6 and v1.36.2. For 1.22 to 1.30 what `kubeadm config images list` printed, as recorded in minikube's
/// `pkg/minikube/constants/constants_kubeadm_images.go`: one tag for all patches of a minor release.
/// v1beta4 came with kubeadm 1.31 (Kubernetes' change log of 1.31).
pub const RELEASES: &[Release] = &[
    release(22, KubeadmApi::V1Beta3, "3.5"),
    release(23, KubeadmApi::V1Beta3, "3.6"),
    release(24, KubeadmApi::V1Beta3, "3.7"),
    release(25, KubeadmApi::V1Beta3, "3.8"),
    release(26, KubeadmApi::V1Beta3, "3.9"),
    release(27, KubeadmApi::V1Beta3, "3.9"),
    release(28, KubeadmApi::V1Beta3, "3.9"),
    release(29, KubeadmApi::V1Beta3, "3.9"),
    release(30, KubeadmApi::V1Beta3, "3.9"),
    release(31, KubeadmApi::V1Beta4, "3.10"),
    release(32, KubeadmApi::V1Beta4, "3.10"),
    release(33, KubeadmApi::V1Beta4, "3.10"),
    release(34, KubeadmApi::V1Beta4, "3.10.1"),
    release(35, KubeadmApi::V1Beta4, "3.10.1"),
    release(36, KubeadmApi::V1Beta4, "3.10.2"),
];

const fn release(minor: u32, kubeadm_api: KubeadmApi, pause: &'static str) -> Release {
    Release { minor, kubeadm_api, pause }
}

impl Version {
    /// What this version's minor release needs; `None`: kubewan does not know it.
    pub fn release(self) -> Option<&'static Release> {
        RELEASES.iter().find(|release| self.major == 1 && release.minor == self.minor)
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let mut parts = text.split('.').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Version { major, minor, patch })
            }
            _ => Err(NotAVersion),
        }
    }
}

/// A number without sign or leading zero (semver.org §2).
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if plain && !padded { text.parse().ok() } else { None }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl KubeadmApi {
    /// The `apiVersion` to write.
    pub fn api_version(self) -> &'static str {
        match self {
            KubeadmApi::V1Beta3 => "kubeadm.k8s.io/v1beta3",
            KubeadmApi::V1Beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_three_numbers_and_nothing_else() {
        assert_eq!("1.36.2".parse(), Ok(Version { major: 1, minor: 36, patch: 2 }));
        for text in ["", "1", "1.36", "1.36.2.1", "v1.36.2", "1.36.x", "1.036.2", "1.36.-2", "1..2"]
        {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text}");
        }
    }

    #[test]
    fn knows_what_a_release_needs() {
        let release = |text: &str| text.parse::<Version>().expect("a version").release();
        let newest = release("1.36.2").expect("known");
        assert_eq!((newest.kubeadm_api, newest.pause), (KubeadmApi::V1Beta4, "3.10.2"));
        let older = release("1.30.14").expect("known");
        assert_eq!((older.kubeadm_api, older.pause), (KubeadmApi::V1Beta3, "3.9"));
        assert_eq!(release("1.37.0"), None);
        assert_eq!(release("2.36.0"), None);
    }

    #[test]
    fn the_table_has_no_holes() {
        assert!(RELEASES.windows(2).all(|pair| pair[0].minor + 1 == pair[1].minor));
    }
}
