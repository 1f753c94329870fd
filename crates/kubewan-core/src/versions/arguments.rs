//! The kubelet's arguments that came and went. One that a kubelet does not know keeps it from starting.

/// An argument that not every release's kubelet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name, without dashes.
    pub name: &'static str,
    /// The first minor release that has it. `None`: all in the table had it until it went.
    pub came: Option<u32>,
    /// The first minor release that has it no more.
    pub gone: Option<u32>,
    /// What to write instead.
    pub instead: &'static str,
}

const BY_CONTAINERD: &str =
    "the container runtime cares for it: its settings are `runtime.containerd`";

const TO_THE_JOURNAL: &str =
    "take it out: the kubelet writes to standard error, which is in the journal";

/// Those that are known.
///
/// Sources: kubernetes/kubernetes#106907 (1.24, with dockershim), #107094 and kubernetes.io, blog of 2023-03-17, "Upcoming
/// changes in Kubernetes v1.27" (`container-runtime`), #133779 (`pod-infra-container-image`, 1.35), #126031
/// (`fail-cgroupv1`, 1.31), #112120 (klog's arguments, 1.26), and the end of dynamic kubelet configuration in 1.24 (kubernetes.io, blog
/// of 2022-05-03).
pub const ARGUMENTS: &[Argument] = &[
    gone("network-plugin", 24, BY_CONTAINERD),
    gone("network-plugin-mtu", 24, "`network.mtu`"),
    gone("cni-bin-dir", 24, BY_CONTAINERD),
    gone("cni-conf-dir", 24, BY_CONTAINERD),
    gone("cni-cache-dir", 24, BY_CONTAINERD),
    gone("docker-endpoint", 24, "take it out: the kubelet speaks to containerd"),
    gone("image-pull-progress-deadline", 24, BY_CONTAINERD),
    gone("experimental-dockershim-root-directory", 24, "take it out: dockershim is gone with it"),
    gone("container-runtime", 27, "take it out: every runtime is a remote one since"),
    gone("pod-infra-container-image", 35, BY_CONTAINERD),
    gone("dynamic-config-dir", 24, "`kubernetes.kubelet`"),
    gone("logtostderr", 26, TO_THE_JOURNAL),
    gone("alsologtostderr", 26, TO_THE_JOURNAL),
    gone("stderrthreshold", 26, TO_THE_JOURNAL),
    gone("log-dir", 26, TO_THE_JOURNAL),
    gone("log-file", 26, TO_THE_JOURNAL),
    gone("log-file-max-size", 26, TO_THE_JOURNAL),
    gone("log-backtrace-at", 26, TO_THE_JOURNAL),
    gone("add-dir-header", 26, TO_THE_JOURNAL),
    gone("one-output", 26, TO_THE_JOURNAL),
    gone("skip-headers", 26, TO_THE_JOURNAL),
    gone("skip-log-headers", 26, TO_THE_JOURNAL),
    Argument {
        name: "fail-cgroupv1",
        came: Some(31),
        gone: None,
        instead: "take it out: this kubelet starts on cgroup v1",
    },
];

const fn gone(name: &'static str, minor: u32, instead: &'static str) -> Argument {
    Argument { name, came: None, gone: Some(minor), instead }
}

/// The argument of that name, where a minor release's kubelet has it not yet or no more.
pub fn unknown(name: &str, minor: u32) -> Option<&'static Argument> {
    ARGUMENTS.iter().find(|argument| argument.name == name).filter(|argument| {
        argument.came.is_some_and(|came| minor < came)
            || argument.gone.is_some_and(|gone| minor >= gone)
    })
}
