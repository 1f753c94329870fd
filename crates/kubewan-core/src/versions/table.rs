//! The data. Each row is the one before it with what changed: what a row does not name is as it was.
//!
//! Sources, by column. Paths without a repository are kubernetes/kubernetes'.
//!
//! | column | source |
//! |---|---|
//! | `pause`, `etcd`, `coredns` | what `kubeadm config images list` printed for every patch release, as recorded in kubernetes/minikube, pkg/minikube/constants/constants_kubeadm_images.go at eb25dbc7 (2026-08-23; it has no gaps up to `last_patch`); `PauseVersion`, `DefaultEtcdVersion` and `CoreDNSVersion` in cmd/kubeadm/app/constants/constants.go at v1.36.2, and `PauseVersion` there at v1.31.14 to v1.35.6, say the same |
//! | `end_of_life` | kubernetes/website, data/releases/eol.yaml up to 1.32; kubernetes.io/releases/1.33/ to 1.36/, read in 2026 |
//! | `kubeadm_api` | `validateSupportedVersion` in cmd/kubeadm/app/util/config/common.go: v1beta3 from 1.22, v1beta4 from 1.31 |
//! | `registry_from` | #113388, #113393 and #113395, backports of #109938 (1.25): the releases of December 2022, 1.22.17 (note in eol.yaml), 1.23.15 (its change log) and 1.24.9 (by its date: kubermatic/kubeone#2459) |
//! | `packages` | kubernetes.io, blog of 2023-08-15, "pkgs.k8s.io": 1.24 and later; Google's own repositories went away on 2024-03-04 |
//! | `former_packages` | the same repositories were frozen on 2023-09-13 (kubernetes.io, blog of 2023-08-31, "Kubernetes Legacy Package Repositories Will Be Frozen On September 13, 2023"); patch releases up to that day by kubernetes/website, content/en/releases/patch-releases.md and data/releases/eol.yaml |
//! | `cri` | #106501 (v1 first, from 1.23), #110618 (v1 alone, from 1.26) |
//! | `containerd` | oldest: the first that speaks the CRI's v1 by default, which is all that kubelets speak from 1.26 on (kubernetes.io, blog of 2022-12-09), and the oldest that kubewan's settings are made for. End: containerd 2.0 has no v1alpha2 (containerd/containerd, RELEASES.md, "Kubernetes Support"); crictl 1.23, by which kubeadm 1.23 looks at it, speaks nothing else (kubernetes-sigs/cri-tools at v1.23.0, cmd/crictl/util.go) |
//! | `dockershim` | #97252: removed in 1.24 |
//! | `docker` | `latestValidatedDockerVersion` in validators/docker_validator.go of k8s.io/system-validators v1.5.0 (1.22) and v1.6.0 (1.23), as kubeadm says it: "Latest validated version: 20.10" |
//! | `extends_websockets` | `ExtendWebSocketsToKubelet` in pkg/features/kube_features.go at v1.36.2 (beta, on); `BaseURL` in cmd/server.go of Mirantis/cri-dockerd at v0.3.24 and v0.4.3. Seen: `kubectl exec` ends with "server gave HTTP response to HTTPS client" |
//! | `crictl` | kubernetes/kubeadm#3064: a warning in 1.31 (#124685), unasked from 1.32 on (#126596). Versions: the newest of the same minor release (kubernetes-sigs/cri-tools, tags; README, "Compatibility matrix") |
//! | `kernels` | k8s.io/system-validators in `go.mod`: v1.8.0 or older up to 1.31 (#114060, #134097), v1.9.1 and v1.9.2 in 1.32 and 1.33 (#134090, #134086), v1.10.1 and v1.10.2 in 1.34 (#131919, #134087), v1.12.1 from 1.35 on (#134744) |
//! | `cgroup_v1` | KEP-4569 (1.31: maintenance mode), KEP-5573 and #134298 (1.35); `isCgroupsV1DisabledInKubelet` in validators/cgroup_validator_linux.go of k8s.io/system-validators v1.12.1 |
//! | `asks_cgroup_driver` | `KubeletCgroupDriverFromCRI` in pkg/features/kube_features.go at v1.36.2 (KEP-4033): beta and on from 1.31, locked from 1.34 on |
//! | `role_labels`, `role_taints` | KEP-2067; #107533 (1.24: label `master` gone, both taints), kubernetes/website#33834 (1.25: taint `master` gone) |
//! | `localhost_node_ports` | change log of 1.26 |
//! | `super_admin` | kubernetes/kubeadm#2414: 1.29 |
//! | `kubelet_config_of_minor` | KEP-2915: the gate `UnversionedKubeletConfigMap` is on from 1.24 on (#108027) |
//! | `safe_joins_from` | learners are the default from 1.29 on (`EtcdLearnerMode` in cmd/kubeadm/app/features/features.go); an address that is a member's already is seen since #127491, picked to 1.29, 1.30 and 1.31 (#127621, #127620, #127619) for the patches of 22 October 2024 |
//! | `etcd_join` | the gate `ControlPlaneKubeletLocalMode`, on from 1.33 on (kubernetes/enhancements#4471); `--help` does not tell, since the first patches of 1.33 and 1.34 hide the phase that they need (kubernetes/kubeadm#3262) |
//! | `oldest_kubelet` | kubernetes.io, "Version Skew Policy": three minor releases back from 1.28 on, two before |

use super::{CgroupV1, Containerds, Cri, Crictl, Kernels, KubeadmApi, Release};

/// The day that this table's sources are of: what ended before it has ended.
pub const AS_OF: &str = "2026-09-15";

/// From here on the kubelet takes the cgroup driver from the runtime alone, which containerd tells from 2.0 on
/// (containerd/containerd#8722). kubeadm 1.36 announces it for 1.37 (`ContainerRuntimeVersionCheck` in
/// cmd/kubeadm/app/preflight/checks.go); KEP-4033 has since spoken of 1.38, and kubewan keeps to the earlier one.
pub const CONTAINERD_2_FROM: u32 = 37;

/// `DefaultSysSpec` in validators/types_unix.go of k8s.io/system-validators up to v1.8.0; other kernels stop kubeadm.
const KERNELS_V1_8: Kernels = Kernels { oldest: (3, 10), any_from: (3, 10), between: &[] };
/// The same at v1.9.1 and v1.9.2; others stop kubeadm.
const KERNELS_V1_9: Kernels = Kernels { oldest: (4, 19), any_from: (4, 19), between: &[] };
/// The same from v1.10.1 to v1.12.1; kubeadm warns of others (kubernetes/system-validators#49).
const KERNELS_V1_10: Kernels =
    Kernels { oldest: (5, 4), any_from: (6, 0), between: &[(5, 4), (5, 10), (5, 15)] };

const MASTER: &str = "node-role.kubernetes.io/master";
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

const V1_22: Release = Release {
    minor: 22,
    last_patch: 17,
    end_of_life: "2022-12-08",
    kubeadm_api: KubeadmApi::V1Beta3,
    pause: "3.5",
    etcd: &[(0, "3.5.0-0"), (17, "3.5.6-0")],
    coredns: &[(0, "v1.8.4")],
    registry_from: 17,
    packages: false,
    former_packages: Some(17),
    cri: Cri::V1Alpha2,
    containerd: Containerds { oldest: (1, 6), below: Some((2, 0)) },
    dockershim: true,
    docker: Some((20, 10)),
    extends_websockets: false,
    crictl: Crictl::Needed("1.22.1"),
    kernels: KERNELS_V1_8,
    cgroup_v1: CgroupV1::Works,
    asks_cgroup_driver: false,
    role_labels: &[MASTER, CONTROL_PLANE],
    role_taints: &[MASTER],
    localhost_node_ports: false,
    super_admin: false,
    kubelet_config_of_minor: true,
    safe_joins_from: None,
    etcd_join: false,
    oldest_kubelet: 20,
};

const V1_23: Release = Release {
    minor: 23,
    end_of_life: "2023-02-28",
    pause: "3.6",
    etcd: &[(0, "3.5.1-0"), (14, "3.5.5-0"), (15, "3.5.6-0")],
    coredns: &[(0, "v1.8.6")],
    registry_from: 15,
    cri: Cri::Both,
    crictl: Crictl::Needed("1.23.0"),
    oldest_kubelet: 21,
    ..V1_22
};

const V1_24: Release = Release {
    minor: 24,
    end_of_life: "2023-07-28",
    pause: "3.7",
    etcd: &[(0, "3.5.3-0"), (8, "3.5.5-0"), (9, "3.5.6-0")],
    registry_from: 9,
    packages: true,
    dockershim: false,
    docker: None,
    // By the CRI alone: its makers tested it with 1.5 to 1.7.
    containerd: Containerds { below: None, ..V1_23.containerd },
    crictl: Crictl::Needed("1.24.2"),
    kubelet_config_of_minor: false,
    role_labels: &[CONTROL_PLANE],
    role_taints: &[MASTER, CONTROL_PLANE],
    oldest_kubelet: 22,
    ..V1_23
};

const V1_25: Release = Release {
    minor: 25,
    former_packages: Some(14),
    last_patch: 16,
    end_of_life: "2023-10-28",
    pause: "3.8",
    etcd: &[(0, "3.5.4-0"), (4, "3.5.5-0"), (5, "3.5.6-0"), (15, "3.5.9-0")],
    coredns: &[(0, "v1.9.3")],
    registry_from: 0,
    crictl: Crictl::Needed("1.25.0"),
    role_taints: &[CONTROL_PLANE],
    oldest_kubelet: 23,
    ..V1_24
};

const V1_26: Release = Release {
    minor: 26,
    former_packages: Some(9),
    last_patch: 15,
    end_of_life: "2024-02-28",
    pause: "3.9",
    etcd: &[(0, "3.5.6-0"), (10, "3.5.9-0"), (13, "3.5.10-0")],
    cri: Cri::V1,
    crictl: Crictl::Needed("1.26.1"),
    localhost_node_ports: true,
    oldest_kubelet: 24,
    ..V1_25
};

const V1_27: Release = Release {
    minor: 27,
    former_packages: Some(6),
    last_patch: 16,
    end_of_life: "2024-07-16",
    etcd: &[(0, "3.5.7-0"), (7, "3.5.9-0"), (10, "3.5.10-0"), (12, "3.5.12-0")],
    coredns: &[(0, "v1.10.1")],
    crictl: Crictl::Needed("1.27.1"),
    oldest_kubelet: 25,
    ..V1_26
};

const V1_28: Release = Release {
    minor: 28,
    former_packages: Some(2),
    last_patch: 15,
    end_of_life: "2024-10-22",
    etcd: &[(0, "3.5.9-0"), (6, "3.5.10-0"), (8, "3.5.12-0"), (14, "3.5.15-0")],
    crictl: Crictl::Needed("1.28.0"),
    ..V1_27
};

const V1_29: Release = Release {
    minor: 29,
    former_packages: None,
    end_of_life: "2025-02-28",
    etcd: &[(0, "3.5.10-0"), (3, "3.5.12-0"), (9, "3.5.15-0"), (11, "3.5.16-0")],
    coredns: &[(0, "v1.11.1")],
    crictl: Crictl::Needed("1.29.0"),
    super_admin: true,
    safe_joins_from: Some(10),
    oldest_kubelet: 26,
    ..V1_28
};

const V1_30: Release = Release {
    minor: 30,
    last_patch: 14,
    end_of_life: "2025-07-15",
    etcd: &[(0, "3.5.12-0"), (5, "3.5.15-0")],
    coredns: &[(0, "v1.11.1"), (5, "v1.11.3")],
    crictl: Crictl::Needed("1.30.1"),
    safe_joins_from: Some(6),
    oldest_kubelet: 27,
    ..V1_29
};

const V1_31: Release = Release {
    minor: 31,
    end_of_life: "2025-11-11",
    kubeadm_api: KubeadmApi::V1Beta4,
    pause: "3.10",
    etcd: &[(0, "3.5.15-0"), (14, "3.5.24-0")],
    coredns: &[(0, "v1.11.1"), (1, "v1.11.3")],
    crictl: Crictl::Wished,
    cgroup_v1: CgroupV1::Kept,
    asks_cgroup_driver: true,
    safe_joins_from: Some(2),
    oldest_kubelet: 28,
    ..V1_30
};

const V1_32: Release = Release {
    minor: 32,
    last_patch: 13,
    end_of_life: "2026-02-28",
    etcd: &[(0, "3.5.16-0"), (10, "3.5.24-0")],
    coredns: &[(0, "v1.11.3")],
    crictl: Crictl::Unasked,
    kernels: KERNELS_V1_9,
    safe_joins_from: Some(0),
    oldest_kubelet: 29,
    ..V1_31
};

const V1_33: Release = Release {
    minor: 33,
    end_of_life: "2026-06-28",
    etcd: &[(0, "3.5.21-0"), (6, "3.5.24-0")],
    coredns: &[(0, "v1.12.0")],
    etcd_join: true,
    oldest_kubelet: 30,
    ..V1_32
};

const V1_34: Release = Release {
    minor: 34,
    last_patch: 10,
    end_of_life: "2026-10-27",
    pause: "3.10.1",
    etcd: &[(0, "3.6.4-0"), (2, "3.6.5-0")],
    coredns: &[(0, "v1.12.1")],
    kernels: KERNELS_V1_10,
    oldest_kubelet: 31,
    ..V1_33
};

const V1_35: Release = Release {
    minor: 35,
    last_patch: 7,
    end_of_life: "2027-02-28",
    etcd: &[(0, "3.6.6-0")],
    coredns: &[(0, "v1.13.1")],
    cgroup_v1: CgroupV1::Refused,
    oldest_kubelet: 32,
    ..V1_34
};

const V1_36: Release = Release {
    minor: 36,
    last_patch: 3,
    end_of_life: "2027-06-28",
    extends_websockets: true,
    pause: "3.10.2",
    etcd: &[(0, "3.6.8-0")],
    coredns: &[(0, "v1.14.2")],
    oldest_kubelet: 33,
    ..V1_35
};

/// The minor releases of Kubernetes 1 that kubewan knows, oldest first.
pub const RELEASES: &[Release] = &[
    V1_22, V1_23, V1_24, V1_25, V1_26, V1_27, V1_28, V1_29, V1_30, V1_31, V1_32, V1_33, V1_34,
    V1_35, V1_36,
];
