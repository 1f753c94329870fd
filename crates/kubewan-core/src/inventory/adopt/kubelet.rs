//! How the kubelet of a host was set up by hand: by its configuration files and its arguments.

use serde_json::Value;

use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::Inventory;
use crate::versions::series;

/// kubeadm's place for it (cmd/kubeadm/app/constants/constants.go).
const CONFIG: &str = "/var/lib/kubelet/config.yaml";
/// Sockets of containerd, of cri-dockerd, and of the kubelet's own Docker up to 1.23.
const SOCKETS: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/var/run/containerd/containerd.sock",
    "/run/cri-dockerd.sock",
    "/var/run/cri-dockerd.sock",
    "/run/dockershim.sock",
    "/var/run/dockershim.sock",
];
/// What makes control groups where nothing is said (`SetDefaults_KubeletConfiguration`,
/// pkg/kubelet/apis/config/v1beta1/defaults.go).
const UNSAID: &str = "cgroupfs";

/// A setting as the kubelet reads it: an argument goes before all files, a later file before an earlier one.
fn setting(facts: &Facts, key: &str, argument: &str) -> Option<String> {
    let kubernetes = &facts.kubernetes;
    if let Some(value) = argument_of(&kubernetes.kubelet_args, argument) {
        return Some(value);
    }
    let files = kubernetes.kubelet_config.iter().rev();
    let mut said = files.filter_map(|file| {
        let read: Value = serde_saphyr::from_str(&file.text).ok()?;
        read.get(key)?.as_str().filter(|value| !value.is_empty()).map(str::to_owned)
    });
    said.next()
}

/// The last value of an argument, which wins.
fn argument_of(args: &[String], name: &str) -> Option<String> {
    let rest = |arg: &String| {
        arg.strip_prefix("--").and_then(|arg| arg.strip_prefix(name)).map(str::to_owned)
    };
    let mut found = None;
    for (at, arg) in args.iter().enumerate() {
        match rest(arg).as_deref() {
            Some("") => found = args.get(at + 1).cloned(),
            Some(value) => found = value.strip_prefix('=').map(str::to_owned).or(found),
            None => {}
        }
    }
    found
}

/// What the kubelet makes control groups with, now; `None` where it has no configuration that was seen.
///
/// From Kubernetes 1.31 on it asks the runtime, and containerd answers from 2.0 on; what its own files say is not looked at
/// then (`getCgroupDriverFromCRI`, cmd/kubelet/app/server.go).
pub fn cgroup_driver(inventory: &Inventory, facts: &Facts) -> Option<String> {
    if facts.kubernetes.kubelet_config.is_empty() {
        return None;
    }
    let told = setting(facts, "cgroupDriver", "cgroup-driver").unwrap_or_else(|| UNSAID.into());
    let runtime = &facts.runtime;
    let answers =
        runtime.containerd.as_deref().and_then(series).is_some_and(|version| version >= (2, 0));
    let asks = inventory.release().asks_cgroup_driver && !inventory.is_docker() && answers;
    let systemd = runtime.containerd_config.as_deref().map(containerd_has_systemd);
    match systemd.filter(|_| asks) {
        Some(true) => Some("systemd".into()),
        Some(false) => Some("cgroupfs".into()),
        None => Some(told),
    }
}

/// Whether any runtime of containerd's configuration makes control groups with systemd.
fn containerd_has_systemd(config: &str) -> bool {
    let lines = config.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.map(|line| line.replace([' ', '\t'], "")).any(|line| line == "SystemdCgroup=true")
}

/// A kubelet whose files or runtime are not where kubewan looks for them.
pub(super) fn elsewhere(host: &str, facts: &Facts) -> Option<Finding> {
    let args = &facts.kubernetes.kubelet_args;
    let other = |name: &str, usual: &str| {
        let value = argument_of(args, name)?;
        (value.trim_end_matches('/') != usual).then(|| format!("--{name}={value}"))
    };
    let endpoint = setting(facts, "containerRuntimeEndpoint", "container-runtime-endpoint");
    let socket = endpoint.filter(|endpoint| {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        !path.is_empty() && !SOCKETS.contains(&path)
    });
    let others = [
        other("config", CONFIG),
        other("root-dir", "/var/lib/kubelet"),
        other("kubeconfig", "/etc/kubernetes/kubelet.conf"),
        socket.map(|endpoint| format!("containerRuntimeEndpoint: {endpoint}")),
    ];
    let others: Vec<String> = others.into_iter().flatten().collect();
    (!others.is_empty()).then(|| {
        Finding::error(
            "adopt-elsewhere",
            host,
            format!("its kubelet has other places than kubeadm gives it: {}", others.join(", ")),
            "kubewan keeps clusters whose files lie where kubeadm puts them unasked",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::TextFile;
    use crate::samples;

    fn told(files: &[&str], args: &[&str]) -> Facts {
        let mut facts = Facts::default();
        let file = |text: &&str| TextFile { path: CONFIG.into(), text: (*text).into() };
        facts.kubernetes.kubelet_config = files.iter().map(file).collect();
        facts.kubernetes.kubelet_args = args.iter().map(|arg| (*arg).into()).collect();
        facts
    }

    #[test]
    fn the_driver_is_what_the_kubelet_reads_last() {
        let mut inventory = samples::inventory(1);
        inventory.kubernetes.version = "1.30.4".into();
        let driver = |files: &[&str], args: &[&str]| cgroup_driver(&inventory, &told(files, args));
        let (systemd, cgroupfs) = ("cgroupDriver: systemd\n", "cgroupDriver: cgroupfs\n");
        assert_eq!(driver(&[], &[]), None);
        assert_eq!(driver(&["kind: KubeletConfiguration\n"], &[]).as_deref(), Some("cgroupfs"));
        assert_eq!(driver(&[systemd], &[]).as_deref(), Some("systemd"));
        assert_eq!(driver(&[systemd, cgroupfs], &[]).as_deref(), Some("cgroupfs"));
        assert_eq!(driver(&[systemd, "a: b\n"], &[]).as_deref(), Some("systemd"));
        let told = driver(&[cgroupfs], &["--cgroup-driver", "systemd"]);
        assert_eq!(told.as_deref(), Some("systemd"));
        assert_eq!(driver(&[systemd], &["--cgroup-driver=cgroupfs"]).as_deref(), Some("cgroupfs"));
    }

    #[test]
    fn a_runtime_that_is_asked_goes_before_the_kubelets_own_files() {
        let mut inventory = samples::inventory(1);
        let mut facts = told(&["cgroupDriver: systemd\n"], &[]);
        facts.runtime.containerd_config = Some("  SystemdCgroup = false # no\n".into());
        facts.runtime.containerd = Some("1.7.24".into());
        let driver = |inventory: &Inventory, facts: &Facts| cgroup_driver(inventory, facts);
        assert_eq!(driver(&inventory, &facts).as_deref(), Some("systemd"));
        facts.runtime.containerd = Some("2.1.4".into());
        assert_eq!(driver(&inventory, &facts).as_deref(), Some("cgroupfs"));
        facts.runtime.containerd_config = Some("\tSystemdCgroup = true\n".into());
        assert_eq!(driver(&inventory, &facts).as_deref(), Some("systemd"));
        facts.kubernetes.kubelet_config[0].text = "cgroupDriver: cgroupfs\n".into();
        assert_eq!(driver(&inventory, &facts).as_deref(), Some("systemd"));
        inventory.kubernetes.version = "1.30.4".into();
        assert_eq!(driver(&inventory, &facts).as_deref(), Some("cgroupfs"));
    }

    #[test]
    fn other_places_are_named() {
        let said = |args: &[&str]| elsewhere("h", &told(&[], args)).map(|finding| finding.message);
        let usual = [
            "--config=/var/lib/kubelet/config.yaml",
            "--kubeconfig=/etc/kubernetes/kubelet.conf",
            "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
            "--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock",
        ];
        assert_eq!(said(&usual), None);
        let other =
            ["--root-dir", "/data/kubelet", "--container-runtime-endpoint=unix:///run/k3s.sock"];
        let message = said(&other).expect("a finding");
        let ends = "--root-dir=/data/kubelet, containerRuntimeEndpoint: unix:///run/k3s.sock";
        assert!(message.ends_with(ends), "{message}");
    }
}
