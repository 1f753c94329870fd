//! The table's own soundness, and what it answers.

use super::*;

fn of(minor: u32) -> &'static Release {
    Release::of_minor(minor).expect("known")
}

#[test]
fn reads_three_numbers_and_nothing_else() {
    assert_eq!("1.36.2".parse(), Ok(Version { major: 1, minor: 36, patch: 2 }));
    for text in ["", "1", "1.36", "1.36.2.1", "v1.36.2", "1.36.x", "1.036.2", "1.36.-2", "1..2"] {
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
    let first = release("1.22.0").expect("known");
    assert_eq!((first.pause, first.dockershim, first.packages), ("3.5", true, false));
    for text in ["1.21.14", "1.37.0", "2.36.0", "0.36.0"] {
        assert_eq!(release(text), None, "{text}");
    }
}

#[test]
fn knows_where_control_planes_join_safely() {
    let safe = |text: &str| text.parse::<Version>().expect("a version").joins_control_planes();
    assert_eq!(["1.29.10", "1.30.6", "1.31.2", "1.31.14", "1.32.0", "1.36.2"].map(safe), [true; 6]);
    assert_eq!(["1.23.6", "1.28.15", "1.29.9", "1.30.5", "1.31.1"].map(safe), [false; 5]);
    assert_eq!(Version::that_join_control_planes(), "1.29.10, 1.30.6, 1.31.2, 1.32 or later");
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
    let kernels = [(3, 2), (3, 10), (4, 15), (4, 19), (5, 4), (5, 8), (5, 15), (6, 0), (7, 1)];
    let fits = |minor: u32| kernels.map(|kernel| of(minor).kernels.fit(kernel));
    assert_eq!(fits(31), [TooOld, Fits, Fits, Fits, Fits, Fits, Fits, Fits, Fits]);
    assert_eq!(fits(33), [TooOld, TooOld, TooOld, Fits, Fits, Fits, Fits, Fits, Fits]);
    assert_eq!(fits(36), [TooOld, TooOld, TooOld, TooOld, Fits, Outside, Fits, Fits, Fits]);
    assert_eq!(of(36).kernels.to_string(), "5.4, 5.10, 5.15, 6.0 or later");
}

#[test]
fn the_table_has_no_holes() {
    assert_eq!(RELEASES.first().map(|release| release.minor), Some(22));
    assert_eq!(RELEASES.last().map(|release| release.minor), Some(36));
    assert!(RELEASES.windows(2).all(|pair| pair[0].minor + 1 == pair[1].minor));
}

/// `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let parts: Vec<Option<u32>> = text.split('-').map(|part| part.parse().ok()).collect();
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let within = |part: Option<u32>, last| part.is_some_and(|n| (1..=last).contains(&n));
    lengths == [4, 2, 2] && parts[0].is_some() && within(parts[1], 12) && within(parts[2], 31)
}

#[test]
fn each_row_is_sound() {
    assert!(is_date(AS_OF));
    for release in RELEASES {
        let minor = release.minor;
        assert!(is_date(release.end_of_life), "1.{minor}");
        for tags in [release.etcd, release.coredns] {
            assert_eq!(tags.first().map(|(from, _)| *from), Some(0), "1.{minor}");
            assert!(tags.windows(2).all(|pair| pair[0].0 < pair[1].0), "1.{minor}");
            assert!(tags.iter().all(|(from, _)| *from <= release.last_patch), "1.{minor}");
        }
        assert!(series(release.pause).is_some(), "1.{minor}");
        let etcd = |(_, tag): &(u32, &str)| tag.ends_with("-0") && series(tag).is_some();
        assert!(release.etcd.iter().all(etcd), "1.{minor}");
        let coredns = |(_, tag): &(u32, &str)| tag.strip_prefix('v').and_then(series).is_some();
        assert!(release.coredns.iter().all(coredns), "1.{minor}");
        assert!(release.registry_from <= release.last_patch, "1.{minor}");
        assert!(release.safe_joins_from.is_none_or(|from| from <= release.last_patch), "1.{minor}");
        // crictl of the same minor release, as its makers advise.
        if let Some(version) = release.needed_crictl() {
            assert_eq!(series(version), Some((1, minor)));
            // Older ones speak the CRI's v1alpha2 alone, which containerd 2 does not.
            let speaks_v1 = series(version) >= Some((1, 24));
            assert!(speaks_v1 || release.containerd.below.is_some(), "1.{minor}");
        }
        let Kernels { oldest, any_from, between } = release.kernels;
        assert!(oldest <= any_from && between.iter().all(|k| (oldest..any_from).contains(k)));
        assert!(release.containerd.below.is_none_or(|below| release.containerd.oldest < below));
        assert!((2..=3).contains(&(minor - release.oldest_kubelet)), "1.{minor}");
        assert!(release.role_labels.contains(&"node-role.kubernetes.io/control-plane"));
        assert!(!release.role_taints.is_empty(), "1.{minor}");
    }
}

/// What came does not go again, and what went does not come again.
#[test]
fn rows_follow_one_another() {
    for pair in RELEASES.windows(2) {
        let [older, newer] = pair else { unreachable!("windows of two") };
        let minor = newer.minor;
        assert!(older.end_of_life < newer.end_of_life, "1.{minor}");
        assert!(older.kubeadm_api <= newer.kubeadm_api, "1.{minor}");
        assert!(older.packages <= newer.packages, "1.{minor}");
        assert!(older.cri <= newer.cri, "1.{minor}");
        assert!(older.dockershim >= newer.dockershim, "1.{minor}");
        assert!(older.kernels.oldest <= newer.kernels.oldest, "1.{minor}");
        assert!(older.cgroup_v1 <= newer.cgroup_v1, "1.{minor}");
        assert!(older.localhost_node_ports <= newer.localhost_node_ports, "1.{minor}");
        assert!(older.kubelet_config_of_minor >= newer.kubelet_config_of_minor, "1.{minor}");
        assert!(older.super_admin <= newer.super_admin, "1.{minor}");
        assert!(older.etcd_join <= newer.etcd_join, "1.{minor}");
        assert!(older.safe_joins_from.is_none() || newer.safe_joins_from.is_some(), "1.{minor}");
        assert!(older.oldest_kubelet <= newer.oldest_kubelet, "1.{minor}");
        assert!(!(newer.needed_crictl().is_some() && older.needed_crictl().is_none()), "1.{minor}");
        assert!(older.is_ended() || !newer.is_ended(), "1.{minor}");
    }
}

/// As `kubeadm config images list` of each prints them.
#[test]
fn images_are_those_of_the_patch_release() {
    let all = |minor: u32, patch| {
        let repository = of(minor).registry(patch);
        [of(minor).etcd_image(patch, repository), of(minor).coredns_image(patch, repository)]
    };
    assert_eq!(all(23, 6), ["k8s.gcr.io/etcd:3.5.1-0", "k8s.gcr.io/coredns/coredns:v1.8.6"]);
    assert_eq!(
        all(23, 15),
        ["registry.k8s.io/etcd:3.5.6-0", "registry.k8s.io/coredns/coredns:v1.8.6"]
    );
    assert_eq!(all(30, 4)[1], "registry.k8s.io/coredns/coredns:v1.11.1");
    assert_eq!(all(30, 5)[1], "registry.k8s.io/coredns/coredns:v1.11.3");
    assert_eq!(
        all(36, 2),
        ["registry.k8s.io/etcd:3.6.8-0", "registry.k8s.io/coredns/coredns:v1.14.2"]
    );
    // Patch releases that are not known yet: as the last one that is.
    assert_eq!(of(36).etcd_image(99, "r"), "r/etcd:3.6.8-0");
    let mirror = "registry.aliyuncs.com/google_containers";
    assert_eq!(of(23).coredns_image(6, mirror), format!("{mirror}/coredns:v1.8.6"));
}

#[test]
fn kubeadm_is_told_where_coredns_lies_only_where_it_looks_elsewhere() {
    let told = |minor: u32, patch, repository| of(minor).coredns_repository(patch, repository);
    assert_eq!(told(23, 6, REGISTRY).as_deref(), Some("registry.k8s.io/coredns"));
    assert_eq!(told(23, 6, FORMER_REGISTRY), None);
    assert_eq!(told(23, 15, REGISTRY), None);
    assert_eq!(told(23, 15, FORMER_REGISTRY).as_deref(), Some("k8s.gcr.io/coredns"));
    assert_eq!(told(36, 2, REGISTRY), None);
    assert_eq!(told(23, 6, "registry.aliyuncs.com/google_containers"), None);
}

#[test]
fn knows_which_arguments_a_kubelet_has() {
    let has = |name: &str, minor: u32| arguments::unknown(name, minor).is_none();
    assert_eq!([23, 24].map(|minor| has("network-plugin", minor)), [true, false]);
    assert_eq!([26, 27].map(|minor| has("container-runtime", minor)), [true, false]);
    assert_eq!([34, 35].map(|minor| has("pod-infra-container-image", minor)), [true, false]);
    assert_eq!([30, 31].map(|minor| has("fail-cgroupv1", minor)), [false, true]);
    assert!(has("max-pods", 36));
    let mut names: Vec<&str> = arguments::ARGUMENTS.iter().map(|argument| argument.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}
