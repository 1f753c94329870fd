//! What the operator may accept although kubewan would refuse it: the one table of such findings, and where an
//! inventory says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::error::{Code, Report, quoted};
use super::tree::Node;
use super::{Host, Inventory};

/// A setting by which the kubelet starts all the same: it is set to false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubeletSwitch {
    /// Field of the `KubeletConfiguration`.
    pub field: &'static str,
    /// The kubelet's argument, which goes before the field and is a host's own.
    pub argument: &'static str,
}

macro_rules! acceptances {
    ($($(#[doc = $doc:literal])+ $variant:ident => $code:literal, $preflight:expr, $kubelet:expr;)+) => {
        /// A finding that may be accepted, by its code.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum Acceptance { $($(#[doc = $doc])+ #[serde(rename = $code)] $variant,)+ }

        impl Acceptance {
            /// Everything that may be accepted, in the order of the reference.
            pub const ALL: &'static [Acceptance] = &[$(Acceptance::$variant,)+];

            /// The finding's code.
            pub fn code(self) -> &'static str {
                match self { $(Acceptance::$variant => $code,)+ }
            }

            /// What is lived with then, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Acceptance::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The check of kubeadm's that would stop at the same, by its name for `--ignore-preflight-errors`
            /// (`Name()` of the checks in cmd/kubeadm/app/preflight/checks.go).
            pub fn preflight(self) -> Option<&'static str> {
                match self { $(Acceptance::$variant => $preflight,)+ }
            }

            /// What the kubelet has to be told, or it would not start.
            pub fn kubelet(self) -> Option<KubeletSwitch> {
                match self { $(Acceptance::$variant => $kubelet,)+ }
            }
        }
    };
}

/// pkg/kubelet/apis/config/validation/validation_linux.go, and `fail-cgroupv1` in cmd/kubelet/app/options/options.go.
const CGROUP_V1: KubeletSwitch = KubeletSwitch { field: "failCgroupV1", argument: "fail-cgroupv1" };
/// pkg/kubelet/cm/container_manager_linux.go, and `fail-swap-on` in cmd/kubelet/app/options/options.go.
const SWAP: KubeletSwitch = KubeletSwitch { field: "failSwapOn", argument: "fail-swap-on" };

acceptances! {
    /// A control plane with one core: the API server, etcd and pods wait for each other.
    TooFewCores => "too-few-cores", Some("NumCPU"), None;
    /// A control plane with less than 1700 MiB: under load the kernel ends the API server or etcd.
    TooLittleMemory => "too-little-memory", Some("Mem"), None;
    /// Less room below /var/lib than kubewan asks for: images may not fit, and the kubelet evicts pods.
    DiskFull => "disk-full", None, None;
    /// A kernel older than any that this Kubernetes is made for.
    KernelTooOld => "kernel-too-old", Some("SystemVerification"), None;
    /// cgroup v1, which Kubernetes gives up in a later release.
    CgroupV1 => "cgroup-v1", Some("SystemVerification"), Some(CGROUP_V1);
    /// A port that hosts need from each other stays closed: what goes over it does not work, or the measurement erred.
    PortClosed => "port-closed", None, None;
    /// etcd and the kubelet of a control plane answer everyone who gets that far: TLS with client certificates is what guards them, and a provider's firewall, where there is one.
    ControlPlaneExposed => "control-plane-exposed", None, None;
    /// Swap stays as it is on the host, and its kubelet runs with it; pods don't swap.
    SwapReturns => "swap-returns", Some("Swap"), Some(SWAP);
    /// A distribution that nobody has tried kubewan on: it is said no more.
    DistributionExperimental => "distribution-experimental", None, None;
    /// Containers of others go on beside Kubernetes: their runtime is started again under them, with kubewan's settings.
    ForeignContainers => "foreign-containers", None, None;
    /// Docker makes control groups with systemd from now on, and starts again for it, with containers of others in it.
    DockerCgroupDriver => "docker-cgroup-driver", None, None;
    /// kubewan's file takes the place of someone's settings of containerd; the journal keeps them for `reset`.
    ForeignContainerdConfig => "foreign-containerd-config", None, None;
    /// flannel announces the node's address instead of what somebody told it, or it chose, on a cluster that is adopted.
    AdoptAnnounced => "adopt-announced", None, None;
}

/// Findings that are never accepted, with what goes wrong or what to say instead.
const NEVER: &[(&str, &str)] = &[
    (
        "clock-off",
        "certificates and tokens of one host would not be valid on another: set the clock",
    ),
    ("identity-not-unique", "nodes would be taken for each other: give each host its own"),
    ("subnet-collision", "the host would lose what it reaches there: choose another subnet"),
    ("foreign-cluster", "kubewan would build over a cluster that it does not know"),
    ("other-cluster", "kubewan would build over another cluster of its own"),
    ("adopt-lacks", "kubeadm would make anew what the cluster's own configuration has otherwise"),
    ("adopt-cgroup-driver", "the cluster's pods would not start any more"),
    ("containerd-too-old", "the kubelet would not start with it"),
    ("containerd-too-new", "the kubelet would not start with it"),
    ("foreign-containerd-package", "both packages bring the same programs: one has to go"),
    ("foreign-docker-package", "both packages bring the same programs: one has to go"),
    ("docker-config-invalid", "Docker does not start with it either: mend it"),
    ("docker-arguments", "Docker would not start"),
    ("port-in-use", "Kubernetes could not listen there"),
    ("distribution-unsupported", "kubewan does not know how to install anything there"),
    ("distribution-too-old", "what Kubernetes needs is not to be had there"),
    (
        "other-source-address",
        "etcd would refuse the member: have its packets leave by its own address, or make the host a worker",
    ),
    ("host-firewall-active", "say `firewall: open`, `firewall: off` or `firewall: keep`"),
    ("no-wireguard", "say `network: { backend: vxlan }`"),
];

/// Why a finding is not among those that may be accepted.
pub(super) fn never(code: &str) -> Option<&'static str> {
    NEVER.iter().find(|(never, _)| *never == code).map(|(_, reason)| *reason)
}

impl Acceptance {
    /// The one of that code.
    pub fn of(code: &str) -> Option<Acceptance> {
        Acceptance::ALL.iter().copied().find(|acceptance| acceptance.code() == code)
    }

    /// kubeadm's own list has always counted for these: the named check looks at nothing else.
    fn is_kubeadms_own(self) -> bool {
        matches!(self, Acceptance::TooFewCores | Acceptance::TooLittleMemory)
    }
}

impl Inventory {
    /// Where the inventory accepts this on a host, for people; `None`: it does not.
    pub fn accepted(&self, host: &Host, what: Acceptance) -> Option<String> {
        if self.overruling(what).is_some() {
            return None;
        }
        let by_accept = match &host.accept {
            Some(own) => own.contains(&what).then(|| format!("`accept` of {}", host.name)),
            None => self.accept.contains(&what).then(|| "`accept`".to_owned()),
        };
        by_accept.or_else(|| self.accepted_elsewhere(host, what))
    }

    /// The operator's own setting by which an acceptance can't do what it says.
    pub fn overruling(&self, what: Acceptance) -> Option<String> {
        let field = what.kubelet()?.field;
        (self.kubernetes.kubelet.get(field) == Some(&Json::Bool(true)))
            .then(|| format!("`kubernetes.kubelet.{field}: true`"))
    }

    /// Settings that say the same.
    fn accepted_elsewhere(&self, host: &Host, what: Acceptance) -> Option<String> {
        let ignored = &self.kubernetes.kubeadm.ignore_preflight_errors;
        // kubeadm compares without case (`setHasItemOrAll`, cmd/kubeadm/app/preflight/checks.go).
        let listed = |name: &str| {
            ignored.iter().any(|i| i.eq_ignore_ascii_case(name) || i.eq_ignore_ascii_case("all"))
        };
        if what.is_kubeadms_own() && what.preflight().is_some_and(listed) {
            return Some("`kubernetes.kubeadm.ignorePreflightErrors`".into());
        }
        let KubeletSwitch { field, argument } = what.kubelet()?;
        if self.kubernetes.kubelet.get(field) == Some(&Json::Bool(false)) {
            return Some(format!("`kubernetes.kubelet.{field}`"));
        }
        let own = host.kubelet_args.get(argument).is_some_and(|value| value == "false");
        own.then(|| format!("`kubeletArgs.{argument}` of {}", host.name))
    }
}

/// Notes what a list of acceptances names twice. What it may name its form says ([`super::shape`]).
pub(super) fn check(report: &mut Report<'_>, parent: &Node, path: &str) {
    let Some(list) = parent.get("accept") else { return };
    let mut seen = Vec::new();
    for (index, item) in list.items().iter().enumerate() {
        let Some(code) = item.text() else { continue };
        if seen.contains(&code) {
            let message = format!("{} is accepted already", quoted(code));
            report.push(
                Code::Duplicate,
                item.span,
                &format!("{path}[{index}]"),
                message,
                "remove one",
            );
        }
        seen.push(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_hosts_list_takes_the_place_of_the_clusters() {
        let mut inventory = samples::inventory(2);
        inventory.accept = vec![Acceptance::TooFewCores];
        inventory.hosts[1].accept = Some(vec![Acceptance::CgroupV1]);
        let accepted = |at: usize, what| inventory.accepted(&inventory.hosts[at], what);
        assert_eq!(accepted(0, Acceptance::TooFewCores).as_deref(), Some("`accept`"));
        assert_eq!(accepted(0, Acceptance::CgroupV1), None);
        assert_eq!(accepted(1, Acceptance::TooFewCores), None);
        assert_eq!(accepted(1, Acceptance::CgroupV1).as_deref(), Some("`accept` of node01"));
    }

    #[test]
    fn settings_that_say_the_same_count() {
        let accepted = |change: &dyn Fn(&mut Inventory), what| {
            let mut inventory = samples::inventory(1);
            change(&mut inventory);
            inventory.accepted(&inventory.hosts[0], what)
        };
        let ignore = |name: &'static str| {
            move |inventory: &mut Inventory| {
                inventory.kubernetes.kubeadm.ignore_preflight_errors.push(name.into());
            }
        };
        let by_kubeadm = Some("`kubernetes.kubeadm.ignorePreflightErrors`".to_owned());
        for name in ["NumCPU", "numcpu", "all"] {
            assert_eq!(accepted(&ignore(name), Acceptance::TooFewCores), by_kubeadm);
        }
        assert_eq!(accepted(&ignore("Mem"), Acceptance::TooLittleMemory), by_kubeadm);
        assert_eq!(accepted(&ignore("Mem"), Acceptance::TooFewCores), None);
        // It looks at much more than the kernel's age.
        assert_eq!(accepted(&ignore("SystemVerification"), Acceptance::KernelTooOld), None);
        assert_eq!(accepted(&ignore("SystemVerification"), Acceptance::CgroupV1), None);
        let set = |value: bool| {
            move |inventory: &mut Inventory| {
                inventory.accept = vec![Acceptance::CgroupV1];
                inventory.kubernetes.kubelet.insert("failCgroupV1".into(), value.into());
            }
        };
        assert_eq!(accepted(&set(false), Acceptance::CgroupV1).as_deref(), Some("`accept`"));
        assert_eq!(accepted(&set(true), Acceptance::CgroupV1), None);
    }

    #[test]
    fn nothing_is_both_accepted_and_never_accepted() {
        assert!(Acceptance::ALL.iter().all(|each| never(each.code()).is_none()));
        assert!(Acceptance::ALL.iter().all(|each| Acceptance::of(each.code()) == Some(*each)));
    }
}
