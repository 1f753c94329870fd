//! Kinds of action. An action is a *goal*, never a command: the agent observes how far a host is from it
//! ([`Observed`]), [`diff`] says what would change, the agent performs just that and observes again.
//! Plan, apply, verify and drift are this one function.
//!
//! One file per group of kinds; each holds the goals, what is observed, and the pure diff.

pub mod alias;
pub mod cluster;
pub mod docker;
pub mod etcd;
pub mod file;
pub mod firewall;
pub mod kubeadm;
pub mod package;
pub mod registry;
pub mod system;
pub mod unit;

use serde::{Deserialize, Serialize};

pub use alias::{AliasOff, AliasOn};
pub use cluster::{Announced, NodeMeta, Object, Spread};
pub use docker::DockerEngine;
pub use etcd::EtcdListens;
pub use file::{Artifact, Block, Content, Extent, File, Removed};
pub use firewall::{FirewallGoal, FirewallState};
pub use kubeadm::{BootstrapToken, KubeadmInit, KubeadmJoin, KubeadmReset, UploadedCerts};
pub use package::{Image, ImageStore, Package, Unheld};
pub use registry::{Login, RegistryLogins, SystemTrust};
pub use system::{
    Hostname, Module, SelinuxEnforcing, SelinuxPermissive, SwapOff, SwapOn, Sysctl, TimeSyncOn,
};
pub use unit::{KubeletFlag, Link, Unit, Unmasked};

/// A goal for one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A file with a content and a mode, or none.
    File(File),
    /// A marked block of lines in a file that others write to as well.
    Block(Block),
    /// A path that is gone with all below it.
    Removed(Removed),
    /// A loaded kernel module.
    Module(Module),
    /// A kernel setting in force.
    Sysctl(Sysctl),
    /// No swap, now and after a reboot.
    SwapOff(SwapOff),
    /// Swap areas that are in use again.
    SwapOn(SwapOn),
    /// SELinux permissive, now and after a reboot.
    SelinuxPermissive(SelinuxPermissive),
    /// SELinux that enforces again.
    SelinuxEnforcing(SelinuxEnforcing),
    /// The host's name.
    Hostname(Hostname),
    /// A time service that runs.
    TimeSyncOn(TimeSyncOn),
    /// Installed (or absent) packages.
    Package(Package),
    /// Packages that are not held any more.
    Unheld(Unheld),
    /// An image in the runtime's store.
    Image(Image),
    /// The kubelet's logins to registries.
    RegistryLogins(RegistryLogins),
    /// A certificate in the operating system's store.
    SystemTrust(SystemTrust),
    /// A systemd unit's state.
    Unit(Unit),
    /// Docker's daemon with certain drivers in force.
    DockerEngine(DockerEngine),
    /// A unit that may start again.
    Unmasked(Unmasked),
    /// A network interface of ours with its address.
    Link(Link),
    /// A network card without an address that has a wrong mask.
    AliasOff(AliasOff),
    /// That address on its card again.
    AliasOn(AliasOn),
    /// An argument of the running kubelet.
    KubeletFlag(KubeletFlag),
    /// A host firewall, opened or off.
    Firewall(FirewallGoal),
    /// A control plane made by `kubeadm init`.
    KubeadmInit(KubeadmInit),
    /// A bootstrap token that joins can use.
    BootstrapToken(BootstrapToken),
    /// An etcd that listens where it has to.
    EtcdListens(EtcdListens),
    /// Certificates that control planes can join with.
    UploadedCerts(UploadedCerts),
    /// A node that has joined.
    KubeadmJoin(KubeadmJoin),
    /// No trace of kubeadm's work.
    KubeadmReset(KubeadmReset),
    /// An object of the Kubernetes API.
    Object(Object),
    /// Labels, annotations and taints of a node.
    NodeMeta(NodeMeta),
    /// The public address that flannel announces for a node.
    Announced(Announced),
    /// Pods of a Deployment on different nodes.
    Spread(Spread),
}

/// What the agent saw when it looked at a goal. The variants have the names of [`Action`]'s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observed {
    /// See [`file::FileSeen`].
    File(file::FileSeen),
    /// See [`file::BlockSeen`].
    Block(file::BlockSeen),
    /// See [`file::RemovedSeen`].
    Removed(file::RemovedSeen),
    /// See [`system::ModuleSeen`].
    Module(system::ModuleSeen),
    /// See [`system::SysctlSeen`].
    Sysctl(system::SysctlSeen),
    /// See [`system::SwapSeen`].
    SwapOff(system::SwapSeen),
    /// See [`system::SwapOnSeen`].
    SwapOn(system::SwapOnSeen),
    /// See [`system::SelinuxSeen`].
    SelinuxPermissive(system::SelinuxSeen),
    /// See [`system::SelinuxSeen`].
    SelinuxEnforcing(system::SelinuxSeen),
    /// See [`system::HostnameSeen`].
    Hostname(system::HostnameSeen),
    /// See [`system::TimeSyncSeen`].
    TimeSyncOn(system::TimeSyncSeen),
    /// See [`package::PackageSeen`].
    Package(package::PackageSeen),
    /// See [`package::PackageSeen`].
    Unheld(package::PackageSeen),
    /// See [`package::ImageSeen`].
    Image(package::ImageSeen),
    /// See [`registry::LoginsSeen`].
    RegistryLogins(registry::LoginsSeen),
    /// See [`registry::TrustSeen`].
    SystemTrust(registry::TrustSeen),
    /// See [`unit::UnitSeen`].
    Unit(unit::UnitSeen),
    /// See [`docker::DockerEngineSeen`].
    DockerEngine(docker::DockerEngineSeen),
    /// See [`unit::UnmaskedSeen`].
    Unmasked(unit::UnmaskedSeen),
    /// See [`unit::LinkSeen`].
    Link(unit::LinkSeen),
    /// See [`alias::AliasSeen`].
    AliasOff(alias::AliasSeen),
    /// See [`alias::AliasOnSeen`].
    AliasOn(alias::AliasOnSeen),
    /// See [`unit::KubeletFlagSeen`].
    KubeletFlag(unit::KubeletFlagSeen),
    /// See [`firewall::FirewallSeen`].
    Firewall(firewall::FirewallSeen),
    /// See [`kubeadm::InitSeen`].
    KubeadmInit(kubeadm::InitSeen),
    /// See [`kubeadm::TokenSeen`].
    BootstrapToken(kubeadm::TokenSeen),
    /// See [`etcd::EtcdSeen`].
    EtcdListens(etcd::EtcdSeen),
    /// See [`kubeadm::CertsSeen`].
    UploadedCerts(kubeadm::CertsSeen),
    /// See [`kubeadm::JoinSeen`].
    KubeadmJoin(kubeadm::JoinSeen),
    /// See [`kubeadm::ResetSeen`].
    KubeadmReset(kubeadm::ResetSeen),
    /// See [`cluster::ObjectSeen`].
    Object(cluster::ObjectSeen),
    /// See [`cluster::NodeSeen`].
    NodeMeta(cluster::NodeSeen),
    /// See [`cluster::AnnouncedSeen`].
    Announced(cluster::AnnouncedSeen),
    /// See [`cluster::SpreadSeen`].
    Spread(cluster::SpreadSeen),
}

/// What has to change on a host to reach a goal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What kind of change it is, for the sign in front of it.
    pub kind: ChangeKind,
    /// One line: what will be done.
    pub summary: String,
    /// Lines of a unified diff or of details, without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Fingerprint of the state the change starts from, where no earlier step of a run touches it. A host
    /// whose state has another one when its turn comes was changed by someone after the plan was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
}

/// The sign in front of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Something new.
    Create,
    /// Something that is there gets another content or state.
    Update,
    /// Something goes.
    Delete,
    /// Something is run (`kubeadm init`, a restart).
    Run,
}

impl Change {
    /// A change without details.
    pub fn new(kind: ChangeKind, summary: impl Into<String>) -> Self {
        Change { kind, summary: summary.into(), details: Vec::new(), basis: None }
    }

    /// The same with detail lines.
    pub fn with_details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// The same with the fingerprint of the state it starts from.
    pub fn from_basis(mut self, basis: impl Into<String>) -> Self {
        self.basis = Some(basis.into());
        self
    }
}

/// An observation that does not belong to the goal it is compared with: a bug, not a user's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent answered {goal} with an observation of another kind")]
pub struct MismatchedObservation {
    /// The goal's kind.
    pub goal: &'static str,
}

/// What has to change so that what was observed reaches the goal; `None` where it already does.
///
/// # Errors
/// Fails only if the observation is of another kind than the goal.
pub fn diff(goal: &Action, seen: &Observed) -> Result<Option<Change>, MismatchedObservation> {
    macro_rules! pairs {
        ($($kind:ident),+ $(,)?) => {
            match (goal, seen) {
                $((Action::$kind(goal), Observed::$kind(seen)) => Ok(goal.diff(seen)),)+
                _ => Err(MismatchedObservation { goal: goal.kind() }),
            }
        };
    }
    pairs!(
        File,
        Block,
        Removed,
        Module,
        Sysctl,
        SwapOff,
        SwapOn,
        SelinuxPermissive,
        SelinuxEnforcing,
        Hostname,
        TimeSyncOn,
        Package,
        Unheld,
        Image,
        RegistryLogins,
        SystemTrust,
        Unit,
        DockerEngine,
        Unmasked,
        Link,
        AliasOff,
        AliasOn,
        KubeletFlag,
        Firewall,
        KubeadmInit,
        BootstrapToken,
        EtcdListens,
        UploadedCerts,
        KubeadmJoin,
        KubeadmReset,
        Object,
        NodeMeta,
        Announced,
        Spread
    )
}

/// A kind's name, and all of them: one list, so that neither can lack one.
macro_rules! kinds {
    ($($kind:ident: $name:literal),+ $(,)?) => {
        impl Action {
            /// The names of all kinds.
            pub const KINDS: &'static [&'static str] = &[$($name),+];

            /// The kind's name, as it stands in JSON.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Action::$kind(_) => $name,)+
                }
            }
        }
    };
}

kinds! {
    File: "file",
    Block: "block",
    Removed: "removed",
    Module: "module",
    Sysctl: "sysctl",
    SwapOff: "swap-off",
    SwapOn: "swap-on",
    SelinuxPermissive: "selinux-permissive",
    SelinuxEnforcing: "selinux-enforcing",
    Hostname: "hostname",
    TimeSyncOn: "time-sync-on",
    Package: "package",
    Unheld: "unheld",
    Image: "image",
    RegistryLogins: "registry-logins",
    SystemTrust: "system-trust",
    Unit: "unit",
    DockerEngine: "docker-engine",
    Unmasked: "unmasked",
    Link: "link",
    AliasOff: "alias-off",
    AliasOn: "alias-on",
    KubeletFlag: "kubelet-flag",
    Firewall: "firewall",
    KubeadmInit: "kubeadm-init",
    BootstrapToken: "bootstrap-token",
    EtcdListens: "etcd-listens",
    UploadedCerts: "uploaded-certs",
    KubeadmJoin: "kubeadm-join",
    KubeadmReset: "kubeadm-reset",
    Object: "object",
    NodeMeta: "node-meta",
    Announced: "announced",
    Spread: "spread",
}

impl Action {
    /// What the goal is about, for one line: a path, a unit's name, an object.
    pub fn subject(&self) -> String {
        match self {
            Action::File(a) => a.path.clone(),
            Action::Block(a) => a.path.clone(),
            Action::Removed(a) => a.subject(),
            Action::Module(a) => a.name.clone(),
            Action::Sysctl(a) => a.key.clone(),
            Action::SwapOff(_) | Action::SwapOn(_) => "swap".into(),
            Action::SelinuxPermissive(_) | Action::SelinuxEnforcing(_) => "SELinux".into(),
            Action::Hostname(_) => "host name".into(),
            Action::TimeSyncOn(_) => "time synchronisation".into(),
            Action::Package(a) => a.names.join(" "),
            Action::Unheld(a) => a.names.join(" "),
            Action::Image(a) => a.reference.clone(),
            Action::RegistryLogins(_) => registry::LOGINS.into(),
            Action::SystemTrust(a) => a.name.clone(),
            Action::Unit(a) => a.name.clone(),
            Action::DockerEngine(_) => "docker".into(),
            Action::Unmasked(a) => a.unit.clone(),
            Action::Link(a) => a.name.clone(),
            Action::AliasOff(a) => a.subject(),
            Action::AliasOn(a) => a.subject(),
            Action::KubeletFlag(a) => format!("--{}", a.name),
            Action::Firewall(a) => a.tool_name().into(),
            Action::KubeadmInit(_) => "kubeadm init".into(),
            Action::BootstrapToken(_) => "bootstrap token".into(),
            Action::EtcdListens(_) => "etcd".into(),
            Action::UploadedCerts(_) => "control planes' certificates".into(),
            Action::KubeadmJoin(_) => "kubeadm join".into(),
            Action::KubeadmReset(_) => "kubeadm reset".into(),
            Action::Object(a) => a.subject(),
            Action::NodeMeta(a) => format!("node {}", a.node),
            Action::Announced(a) => format!("node {}", a.node),
            Action::Spread(a) => format!("{}/{}", a.namespace, a.deployment),
        }
    }

    /// Files that performing it needs on the host.
    pub fn artifacts(&self) -> Vec<&Artifact> {
        match self {
            Action::File(File {
                state: file::FileState::Present { content: Content::Artifact(a), .. },
                ..
            }) => vec![a],
            Action::Package(p) => p.artifacts.iter().collect(),
            Action::Image(i) => i.artifact.iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// A reference to a value that exists only when a step runs. Text of an action carries its
/// [`Input::marker`]; the agent puts the value in just before it performs the action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// A field that another step's observation yields.
    Output {
        /// The step's id.
        step: String,
        /// The field's name.
        field: String,
    },
    /// A secret made on the operator's side.
    Secret {
        /// Its name.
        name: String,
    },
}

impl Input {
    /// What stands in an action's text for the value.
    pub fn marker(&self) -> String {
        match self {
            Input::Output { step, field } => format!("@output({step}.{field})@"),
            Input::Secret { name } => format!("@secret({name})@"),
        }
    }
}
