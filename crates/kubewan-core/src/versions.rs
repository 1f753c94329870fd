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
    /// The kernels that it is made for.
    pub kernels: Kernels,
}

/// `MAJOR.MINOR` of a kernel or of containerd.
pub type Series = (u32, u32);

/// The kernels that a release is made for, as its kubeadm knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// The oldest of all.
    pub oldest: Series,
    /// From here on any.
    pub any_from: Series,
    /// Between the two only these.
    pub between: &'static [Series],
}

/// Whether a release is made for a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelFit {
    /// It is.
    Fits,
    /// The kernel is newer than the oldest, and none of those that are kept up for long.
    Outside,
    /// The kernel is older than any of them.
    TooOld,
}

/// k8s.io/system-validators up to v1.8.0, `DefaultSysSpec` in validators/types_unix.go; others stop kubeadm.
const KERNELS_V1_8: Kernels = Kernels { oldest: (3, 10), any_from: (3, 10), between: &[] };
/// The same at v1.9.1 and v1.9.2; others stop kubeadm.
const KERNELS_V1_9: Kernels = Kernels { oldest: (4, 19), any_from: (4, 19), between: &[] };
/// The same from v1.10.1 to v1.12.1; kubeadm warns of others (kubernetes/system-validators#49).
const KERNELS_V1_10: Kernels =
    Kernels { oldest: (5, 4), any_from: (6, 0), between: &[(5, 4), (5, 10), (5, 15)] };

/// The oldest kernel whose cgroup v2 can freeze, which kubeadm and runc ask for (`checkCgroupV2Freeze` in
/// validators/cgroup_validator_linux.go of k8s.io/system-validators; docs/cgroup-v2.md of opencontainers/runc).
pub const CGROUP_V2_OLDEST_KERNEL: Series = (5, 2);
/// From here on cgroup v2 is what Kubernetes asks for (kubernetes.io, "About cgroup v2", "Requirements").
pub const CGROUP_V2_KERNEL: Series = (5, 8);

/// From here on kubeadm and the kubelet refuse cgroup v1 unless they are told otherwise (KEP-5573;
/// `isCgroupsV1DisabledInKubelet` in validators/cgroup_validator_linux.go of k8s.io/system-validators v1.12.1).
pub const CGROUP_V1_REFUSED_FROM: u32 = 35;

/// From here on the kubelet takes the cgroup driver from the runtime alone, which containerd tells from 2.0 on
/// (containerd/containerd#8722). kubeadm 1.36 announces it for 1.37 (`ContainerRuntimeVersionCheck` in
/// cmd/kubeadm/app/preflight/checks.go); KEP-4033 has since spoken of 1.38, and kubewan keeps to the earlier one.
pub const CONTAINERD_2_FROM: u32 = 37;
/// The first containerd that speaks the CRI's v1 by default, which is all that kubelets speak from 1.26 on
/// (kubernetes.io, blog of 2022-12-09, "CRI v1alpha2 removed"), and the oldest that kubewan's settings are made for.
const CONTAINERD_OLDEST: Series = (1, 6);

/// The minor releases of Kubernetes 1 that kubewan knows, oldest first.
///
/// Source: `PauseVersion` in `cmd/kubeadm/app/constants/constants.go` at v1.31.14, v1.32.13, v1.33.13, v1.34.9,
/// v1.35.6 and v1.36.2. For 1.22 to 1.30 what `kubeadm config images list` printed, as recorded in minikube's
/// `pkg/minikube/constants/constants_kubeadm_images.go`: one tag for all patches of a minor release.
/// v1beta4 came with kubeadm 1.31 (Kubernetes' change log of 1.31).
///
/// Kernels: the k8s.io/system-validators in `go.mod`: v1.8.0 or older up to 1.31 (kubernetes/kubernetes#114060, #134097),
/// v1.9.1 and v1.9.2 in 1.32 and 1.33 (#134090, #134086), v1.10.1 and v1.10.2 in 1.34 (#131919, #134087), v1.12.1 from
/// 1.35 on (#134744).
pub const RELEASES: &[Release] = &[
    release(22, KubeadmApi::V1Beta3, "3.5", KERNELS_V1_8),
    release(23, KubeadmApi::V1Beta3, "3.6", KERNELS_V1_8),
    release(24, KubeadmApi::V1Beta3, "3.7", KERNELS_V1_8),
    release(25, KubeadmApi::V1Beta3, "3.8", KERNELS_V1_8),
    release(26, KubeadmApi::V1Beta3, "3.9", KERNELS_V1_8),
    release(27, KubeadmApi::V1Beta3, "3.9", KERNELS_V1_8),
    release(28, KubeadmApi::V1Beta3, "3.9", KERNELS_V1_8),
    release(29, KubeadmApi::V1Beta3, "3.9", KERNELS_V1_8),
    release(30, KubeadmApi::V1Beta3, "3.9", KERNELS_V1_8),
    release(31, KubeadmApi::V1Beta4, "3.10", KERNELS_V1_8),
    release(32, KubeadmApi::V1Beta4, "3.10", KERNELS_V1_9),
    release(33, KubeadmApi::V1Beta4, "3.10", KERNELS_V1_9),
    release(34, KubeadmApi::V1Beta4, "3.10.1", KERNELS_V1_10),
    release(35, KubeadmApi::V1Beta4, "3.10.1", KERNELS_V1_10),
    release(36, KubeadmApi::V1Beta4, "3.10.2", KERNELS_V1_10),
];

const fn release(
    minor: u32,
    kubeadm_api: KubeadmApi,
    pause: &'static str,
    kernels: Kernels,
) -> Release {
    Release { minor, kubeadm_api, pause, kernels }
}

impl Release {
    /// The oldest containerd that its kubelet works with.
    pub fn oldest_containerd(&self) -> Series {
        if self.minor >= CONTAINERD_2_FROM { (2, 0) } else { CONTAINERD_OLDEST }
    }

    /// Its kubelet starts on cgroup v1 only where it is told to.
    pub fn refuses_cgroup_v1(&self) -> bool {
        self.minor >= CGROUP_V1_REFUSED_FROM
    }
}

impl Kernels {
    /// Whether a kernel is one of them.
    pub fn fit(&self, kernel: Series) -> KernelFit {
        if kernel < self.oldest {
            KernelFit::TooOld
        } else if kernel >= self.any_from || self.between.contains(&kernel) {
            KernelFit::Fits
        } else {
            KernelFit::Outside
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (major, minor) in self.between {
            write!(f, "{major}.{minor}, ")?;
        }
        write!(f, "{}.{} or later", self.any_from.0, self.any_from.1)
    }
}

/// The first two numbers of a version as programs print it: of `6.1.0-37-amd64` or `1.6.20~ds1-1`, 6.1 and 1.6.
pub fn series(text: &str) -> Option<Series> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

impl Version {
    /// What this version's minor release needs; `None`: kubewan does not know it.
    pub fn release(self) -> Option<&'static Release> {
        RELEASES.iter().find(|release| self.major == 1 && release.minor == self.minor)
    }
}

/// The first patches whose kubeadm takes a member of etcd in as a learner and goes on with one that it has added before:
/// so a host that is lost in the middle of its join takes nobody's quorum, and can join again.
///
/// Learners are the default from 1.29 on (`EtcdLearnerMode` in cmd/kubeadm/app/features/features.go). An address that is
/// a member's already is seen since kubernetes/kubernetes#127491, picked to 1.29, 1.30 and 1.31 (#127621, #127620,
/// #127619) for the patches of 22 October 2024.
const SAFE_JOINS: [(u32, u32); 3] = [(29, 10), (30, 6), (31, 2)];

impl Version {
    /// Whether further control planes join without a danger to those that are there; see [`Version::SAFE_JOINS`].
    pub fn joins_control_planes(self) -> bool {
        let first = SAFE_JOINS.iter().find(|(minor, _)| *minor == self.minor);
        first.map_or(self.minor > SAFE_JOINS[SAFE_JOINS.len() - 1].0, |(_, patch)| {
            self.patch >= *patch
        })
    }

    /// The versions for which [`Version::joins_control_planes`] holds, in words.
    pub const SAFE_JOINS: &str = "1.29.10, 1.30.6, 1.31.2, 1.32 or later";
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
    fn knows_where_control_planes_join_safely() {
        let safe = |text: &str| text.parse::<Version>().expect("a version").joins_control_planes();
        assert!(
            ["1.29.10", "1.30.6", "1.31.2", "1.31.14", "1.32.0", "1.36.2"].map(safe) == [true; 6]
        );
        assert!(["1.23.6", "1.28.15", "1.29.9", "1.30.5", "1.31.1"].map(safe) == [false; 5]);
        let words = SAFE_JOINS.map(|(minor, patch)| format!("1.{minor}.{patch}")).join(", ");
        assert_eq!(Version::SAFE_JOINS, format!("{words}, 1.32 or later"));
    }

    #[test]
    fn reads_series() {
        let texts = ["6.1.0-37-amd64", "5.15.0-1053-aws", "1.6.20~ds1-1+deb12u2", "6.12-rc1"];
        assert_eq!(texts.map(series), [(6, 1), (5, 15), (1, 6), (6, 12)].map(Some));
        assert_eq!(["", "6", "v1.2", "six.one", "6.x"].map(series), [None; 5]);
    }

    #[test]
    fn knows_which_kernels_a_release_is_made_for() {
        use KernelFit::{Fits, Outside, TooOld};
        let fit = |minor: u32, kernel| {
            let release = RELEASES.iter().find(|release| release.minor == minor).expect("known");
            release.kernels.fit(kernel)
        };
        let kernels = [(3, 2), (3, 10), (4, 15), (4, 19), (5, 4), (5, 8), (5, 15), (6, 0), (7, 1)];
        let of = |minor: u32| kernels.map(|kernel| fit(minor, kernel));
        assert_eq!(of(31), [TooOld, Fits, Fits, Fits, Fits, Fits, Fits, Fits, Fits]);
        assert_eq!(of(33), [TooOld, TooOld, TooOld, Fits, Fits, Fits, Fits, Fits, Fits]);
        assert_eq!(of(36), [TooOld, TooOld, TooOld, TooOld, Fits, Outside, Fits, Fits, Fits]);
        let newest = RELEASES.last().expect("a release").kernels;
        assert_eq!(newest.to_string(), "5.4, 5.10, 5.15, 6.0 or later");
    }

    #[test]
    fn the_table_has_no_holes() {
        assert!(RELEASES.windows(2).all(|pair| pair[0].minor + 1 == pair[1].minor));
    }
}
