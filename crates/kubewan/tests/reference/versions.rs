//! The tables of docs/reference.md about versions, from the one in the core.

use kubewan_core::supply;
use kubewan_core::versions::arguments::ARGUMENTS;
use kubewan_core::versions::{CgroupV1, Cri, Crictl, KubeadmApi, RELEASES, Release, Tags};

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = format!("|{}", "---|".repeat(head.len()));
    [line(&head), rule]
        .into_iter()
        .chain(rows.map(|row| line(&row)))
        .fold(String::new(), |text, line| text + &line + "\n")
}

fn of_each(head: &[&str], cells: fn(&Release) -> Vec<String>) -> String {
    let row = |release: &Release| [vec![format!("1.{}", release.minor)], cells(release)].concat();
    table(head, RELEASES.iter().map(row))
}

/// `3.5.1-0; .14: 3.5.5-0`.
fn tags(tags: Tags) -> String {
    let since = |(from, tag): &(u32, &str)| match from {
        0 => (*tag).to_owned(),
        from => format!(".{from}: {tag}"),
    };
    tags.iter().map(since).collect::<Vec<_>>().join("; ")
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn quoted(names: &[&str]) -> String {
    let last = |name: &&str| format!("`{}`", name.rsplit('/').next().unwrap_or(name));
    names.iter().map(last).collect::<Vec<_>>().join(", ")
}

pub fn images() -> String {
    let head = [
        "Kubernetes",
        "ends",
        "known to",
        "kubeadm's API",
        "pause",
        "etcd",
        "CoreDNS",
        "kubeadm's own registry",
    ];
    of_each(&head, |release| {
        let registry = match release.registry_from {
            0 => release.registry(0).to_owned(),
            from => format!("{}; .{from}: {}", release.registry(0), release.registry(from)),
        };
        let api = match release.kubeadm_api {
            KubeadmApi::V1Beta3 => "v1beta3",
            KubeadmApi::V1Beta4 => "v1beta4",
        };
        vec![
            release.end_of_life.into(),
            format!(".{}", release.last_patch),
            api.into(),
            release.pause.into(),
            tags(release.etcd),
            tags(release.coredns),
            registry,
        ]
    })
}

pub fn hosts() -> String {
    let head = [
        "Kubernetes",
        "packages",
        "CRI",
        "containerd",
        "`release` takes",
        "crictl",
        "kernels",
        "cgroup v1",
        "oldest kubelet",
    ];
    of_each(&head, |release| {
        let cri = match release.cri {
            Cri::V1Alpha2 => "v1alpha2",
            Cri::Both => "v1, v1alpha2",
            Cri::V1 => "v1",
        };
        let (oldest, newer) = (release.containerd.oldest, release.containerd.below);
        let below = newer.map_or(String::new(), |(a, b)| format!(", below {a}.{b}"));
        let crictl = match release.crictl {
            Crictl::Needed(version) => version,
            Crictl::Wished => "a warning without",
            Crictl::Unasked => "not asked for",
        };
        let cgroup_v1 = match release.cgroup_v1 {
            CgroupV1::Works => "works",
            CgroupV1::Kept => "works; a warning",
            CgroupV1::Refused => "refused; `accept`",
        };
        vec![
            yes(release.packages),
            cri.into(),
            format!("{}.{}{below}", oldest.0, oldest.1),
            supply::containerd(release).into(),
            crictl.into(),
            release.kernels.to_string(),
            cgroup_v1.into(),
            format!("1.{}", release.oldest_kubelet),
        ]
    })
}

pub fn marks() -> String {
    let head = [
        "Kubernetes",
        "labels of a control plane",
        "its taints",
        "dockershim",
        "super-admin.conf",
        "several control planes",
        "phase that joins etcd",
        "`localhostNodePorts`",
    ];
    of_each(&head, |release| {
        vec![
            quoted(release.role_labels),
            quoted(release.role_taints),
            match release.docker {
                Some((major, minor)) => format!("yes; Docker to {major}.{minor}"),
                None => yes(release.dockershim),
            },
            yes(release.super_admin),
            match release.safe_joins_from {
                None => "refused".into(),
                Some(0) => "yes".into(),
                Some(patch) => format!("from .{patch}"),
            },
            if release.etcd_join { "`etcd-join`" } else { "`control-plane-join/etcd`" }.into(),
            yes(release.localhost_node_ports),
        ]
    })
}

pub fn arguments() -> String {
    let minor = |minor: Option<u32>| minor.map_or(String::new(), |minor| format!("1.{minor}"));
    let rows = ARGUMENTS.iter().map(|argument| {
        vec![
            format!("`--{}`", argument.name),
            minor(argument.came),
            minor(argument.gone),
            argument.instead.into(),
        ]
    });
    table(&["the kubelet's", "came with", "went with", "instead"], rows)
}
