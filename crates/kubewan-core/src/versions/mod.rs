//! What each minor release of Kubernetes needs from us, and what it can't do. Everything that differs between releases
//! is said here and nowhere else.
//!
//! | file | holds |
//! |---|---|
//! | [`table`] | the data, one row for each minor release, with their sources |
//! | [`kernels`] | kernels and control groups |
//! | [`arguments`] | the kubelet's arguments that came and went |

pub mod arguments;
pub mod kernels;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use kernels::{KernelFit, Kernels};
pub use table::{AS_OF, CONTAINERD_2_FROM, RELEASES};

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

/// The versions of the Container Runtime Interface that a kubelet speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cri {
    /// v1alpha2 alone.
    V1Alpha2,
    /// v1, and v1alpha2 where the runtime has no v1.
    Both,
    /// v1 alone.
    V1,
}

/// What a kubelet does on a host with cgroup v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CgroupV1 {
    /// It works.
    Works,
    /// It works, and nothing new is made for it.
    Kept,
    /// It does not start, nor does kubeadm go on, unless both are told to.
    Refused,
}

/// Whether kubeadm looks for crictl, which no package or archive of its own brings where Kubernetes comes as files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crictl {
    /// kubeadm works with it and does not start without: the version to take.
    Needed(&'static str),
    /// kubeadm warns where it is missing.
    Wished,
    /// kubeadm does not ask.
    Unasked,
}

/// Versions of containerd that a kubelet works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Containerds {
    /// The oldest.
    pub oldest: Series,
    /// From here on none. `None`: no such end is known.
    pub below: Option<Series>,
}

/// Tags of an image with the first patch release that asks for each, oldest first.
pub type Tags = &'static [(u32, &'static str)];

/// What one minor release needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// As 36 in 1.36.
    pub minor: u32,
    /// The newest patch release whose images were looked up.
    pub last_patch: u32,
    /// The day after which no more patch releases are promised, `YYYY-MM-DD`.
    pub end_of_life: &'static str,
    /// The newest configuration that its kubeadm reads.
    pub kubeadm_api: KubeadmApi,
    /// Tag of the pause image that its kubeadm expects.
    pub pause: &'static str,
    /// Tags of etcd's image.
    pub etcd: Tags,
    /// Tags of CoreDNS' image.
    pub coredns: Tags,
    /// The first patch release whose kubeadm takes images from registry.k8s.io unless told otherwise; those before take
    /// them from k8s.gcr.io.
    pub registry_from: u32,
    /// Whether pkgs.k8s.io has packages of it.
    pub packages: bool,
    /// The newest patch release in Google's former repositories, which mirrors still serve.
    pub former_packages: Option<u32>,
    /// What its kubelet speaks to a runtime.
    pub cri: Cri,
    /// The containerd that its kubelet works with.
    pub containerd: Containerds,
    /// Whether its kubelet runs containers by Docker itself.
    pub dockershim: bool,
    /// The newest Docker that its kubeadm was tried with, where its kubelet has a dockershim: kubeadm warns of later ones. `None`:
    /// kubeadm looks at the CRI alone.
    pub docker: Option<Series>,
    /// Whether its kubelet itself ends the WebSockets of `exec`, `attach` and `port-forward` (its gate
    /// `ExtendWebSocketsToKubelet`): it takes a runtime's address without a scheme for HTTPS then, and cri-dockerd gives
    /// such ones.
    pub extends_websockets: bool,
    /// Whether its kubeadm looks for crictl.
    pub crictl: Crictl,
    /// The kernels that it is made for.
    pub kernels: Kernels,
    /// What it does on cgroup v1.
    pub cgroup_v1: CgroupV1,
    /// Whether its kubelet asks the runtime which cgroup driver to use (its gate `KubeletCgroupDriverFromCRI`); containerd answers
    /// from 2.0 on.
    pub asks_cgroup_driver: bool,
    /// Labels by which its kubeadm marks a control plane.
    pub role_labels: &'static [&'static str],
    /// Taints that its kubeadm keeps workloads off a control plane with, all `NoSchedule`.
    pub role_taints: &'static [&'static str],
    /// Whether its kube-proxy can be told to leave 127.0.0.1 alone (`localhostNodePorts`).
    pub localhost_node_ports: bool,
    /// Whether its kubeadm writes super-admin.conf.
    pub super_admin: bool,
    /// Whether its kubeadm keeps the kubelets' configuration in a ConfigMap named after the minor release
    /// (`kubelet-config-1.23`); else it is `kubelet-config`.
    pub kubelet_config_of_minor: bool,
    /// The first patch release whose kubeadm takes a member of etcd in as a learner, and goes on with one that it has added
    /// before: so a host that is lost in the middle of its join takes nobody's quorum, and can join again.
    pub safe_joins_from: Option<u32>,
    /// Whether the phase that adds a member to etcd is `etcd-join`; else it is `control-plane-join/etcd`, and the other one, where
    /// it is known, does nothing.
    pub etcd_join: bool,
    /// The oldest kubelet, by its minor release, that its API server takes.
    pub oldest_kubelet: u32,
}

/// `MAJOR.MINOR` of a kernel or of containerd.
pub type Series = (u32, u32);

/// The registry of Kubernetes' own images.
pub const REGISTRY: &str = "registry.k8s.io";
/// Its former name. Nothing new is put there since 2023-04-03, and Kubernetes 1.27 and later never was (kubernetes.io, blog
/// of 2023-02-06, "k8s.gcr.io Image Registry Will Be Frozen From the 3rd of April 2023").
pub const FORMER_REGISTRY: &str = "k8s.gcr.io";

impl Release {
    /// The row of a minor release of Kubernetes 1.
    pub fn of_minor(minor: u32) -> Option<&'static Release> {
        RELEASES.iter().find(|release| release.minor == minor)
    }

    /// Its kubelet starts on cgroup v1 only where it is told to.
    pub fn refuses_cgroup_v1(&self) -> bool {
        self.cgroup_v1 == CgroupV1::Refused
    }

    /// The version of crictl without which its kubeadm does not start.
    pub fn needed_crictl(&self) -> Option<&'static str> {
        match self.crictl {
            Crictl::Needed(version) => Some(version),
            Crictl::Wished | Crictl::Unasked => None,
        }
    }

    /// Whether it had had its last patch release when this table was made.
    pub fn is_ended(&self) -> bool {
        // Dates of this form are in order as texts.
        self.end_of_life < AS_OF
    }

    /// Where a patch release's kubeadm takes images from unless it is told otherwise.
    pub fn registry(&self, patch: u32) -> &'static str {
        if patch >= self.registry_from { REGISTRY } else { FORMER_REGISTRY }
    }

    /// etcd's image, as a patch release's kubeadm asks for it. Of one after [`Release::last_patch`] it may be another.
    pub fn etcd_image(&self, patch: u32, repository: &str) -> String {
        format!("{repository}/etcd:{}", tag(self.etcd, patch))
    }

    /// CoreDNS' image, likewise. Kubernetes' own registry has it a level further down than everyone else's.
    pub fn coredns_image(&self, patch: u32, repository: &str) -> String {
        let tag = tag(self.coredns, patch);
        if is_kubernetes_own(repository) {
            format!("{repository}/coredns/coredns:{tag}")
        } else {
            format!("{repository}/coredns:{tag}")
        }
    }

    /// The repository that kubeadm has to be told for CoreDNS: it looks a level further down in the registry that it knows
    /// as its own, and in no other (`GetDNSImage` in cmd/kubeadm/app/images/images.go; what came of it with 1.23: kubernetes/minikube#16017).
    pub fn coredns_repository(&self, patch: u32, repository: &str) -> Option<String> {
        let unknown = is_kubernetes_own(repository) && repository != self.registry(patch);
        unknown.then(|| format!("{repository}/coredns"))
    }
}

/// Whether images lie there as Kubernetes publishes them.
fn is_kubernetes_own(repository: &str) -> bool {
    [REGISTRY, FORMER_REGISTRY].contains(&repository)
}

/// The tag that a patch release asks for.
fn tag(tags: Tags, patch: u32) -> &'static str {
    tags.iter().rfind(|(from, _)| *from <= patch).map_or("", |(_, tag)| tag)
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
    /// Whether further control planes join without a danger to those that are there ([`Release::safe_joins_from`]).
    pub fn joins_control_planes(self) -> bool {
        let from = self.release().and_then(|release| release.safe_joins_from);
        from.is_some_and(|from| self.patch >= from)
    }

    /// The versions for which [`Version::joins_control_planes`] holds, in words.
    pub fn that_join_control_planes() -> String {
        let from = |release: &Release| Some((release.minor, release.safe_joins_from?));
        let mut words = Vec::new();
        for (minor, patch) in RELEASES.iter().filter_map(from) {
            if patch == 0 {
                words.push(format!("1.{minor} or later"));
                break;
            }
            words.push(format!("1.{minor}.{patch}"));
        }
        words.join(", ")
    }

    /// What this version's minor release needs; `None`: kubewan does not know it.
    pub fn release(self) -> Option<&'static Release> {
        Release::of_minor(self.minor).filter(|_| self.major == 1)
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

impl Containerds {
    /// Whether a version is too new for the kubelet.
    pub fn is_too_new(&self, version: Series) -> bool {
        self.below.is_some_and(|below| version >= below)
    }
}
