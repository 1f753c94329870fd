//! The kernels that releases are made for, and what control groups ask of them.

use std::fmt;

use super::Series;

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

/// The oldest kernel whose cgroup v2 can freeze, which kubeadm asks for from 1.32 on (`checkCgroupV2Freeze` in
/// validators/cgroup_validator_linux.go of k8s.io/system-validators, from v1.9.0) and runc recommends (docs/cgroup-v2.md of
/// opencontainers/runc).
pub const CGROUP_V2_OLDEST: Series = (5, 2);
/// From here on cgroup v2 is what Kubernetes asks for (kubernetes.io, "About cgroup v2", "Requirements").
pub const CGROUP_V2: Series = (5, 8);

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
