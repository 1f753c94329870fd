//! kubeadm's preflight checks, really made, in its words (cmd/kubeadm/app/preflight/checks.go).

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::config::Config;
use crate::cri::Runtime;
use crate::value::{Res, at, strings, text};
use crate::{VERSION, manifests, net};

/// What the checks found.
#[derive(Debug, Default)]
pub struct Report {
    warnings: Vec<(String, String)>,
    errors: Vec<(String, String)>,
}

impl Report {
    fn error(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.errors.push((name.into(), text.into()));
    }

    fn warning(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.warnings.push((name.into(), text.into()));
    }

    /// Prints what was found; errors of checks that are set aside are only warnings.
    pub fn conclude(self, ignored: &BTreeSet<String>) -> Res<()> {
        let set_aside =
            |name: &str| ignored.contains("all") || ignored.contains(&name.to_lowercase());
        let (warned, fatal): (Vec<_>, Vec<_>) =
            self.errors.into_iter().partition(|(name, _)| set_aside(name));
        for (name, text) in self.warnings.iter().chain(&warned) {
            eprintln!("\t[WARNING {name}]: {text}");
        }
        if fatal.is_empty() {
            return Ok(());
        }
        eprintln!("[preflight] Some fatal errors occurred:");
        for (name, text) in fatal {
            eprintln!("\t[ERROR {name}]: {text}");
        }
        eprintln!(
            "[preflight] If you know what you are doing, you can make a check non-fatal with \
             `--ignore-preflight-errors=...`"
        );
        Err("preflight checks failed".into())
    }
}

/// The checks to set aside, from the flag and from the configuration.
pub fn ignored(flag: &[String], config: &Value) -> BTreeSet<String> {
    let configured = strings(config, "nodeRegistration.ignorePreflightErrors");
    flag.iter()
        .chain(&configured)
        .flat_map(|f| f.split(','))
        .map(|f| f.trim().to_lowercase())
        .collect()
}

/// Whether a program is in `$PATH`.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn port(report: &mut Report, port: u64) {
    // Go listens on the IPv6 wildcard, which takes IPv4 too.
    let port = u16::try_from(port).unwrap_or_default();
    if TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))).is_err()
        || TcpListener::bind(("0.0.0.0", port)).is_err()
    {
        report.error(format!("Port-{port}"), format!("Port {port} is in use"));
    }
}

fn absent(report: &mut Report, root: &Path, file: &str) {
    if root.join(file.trim_start_matches('/')).exists() {
        report.error(
            format!("FileAvailable-{}", file.replace('/', "-")),
            format!("{file} already exists"),
        );
    }
}

fn empty(report: &mut Report, root: &Path, folder: &str) {
    let filled = std::fs::read_dir(root.join(folder.trim_start_matches('/')))
        .is_ok_and(|mut d| d.next().is_some());
    if filled {
        report.error(
            format!("DirAvailable-{}", folder.replace('/', "-")),
            format!("{folder} is not empty"),
        );
    }
}

fn forwarding(report: &mut Report, root: &Path, address: &str) {
    let file = match address.parse() {
        Ok(IpAddr::V4(_)) => "/proc/sys/net/ipv4/ip_forward",
        Ok(IpAddr::V6(_)) => "/proc/sys/net/ipv6/conf/default/forwarding",
        Err(_) => return,
    };
    let name = format!("FileContent-{}", file.replace('/', "-"));
    match std::fs::read_to_string(root.join(&file[1..])) {
        Err(_) => report.error(name, format!("{file} does not exist")),
        Ok(content) if !content.starts_with('1') => {
            report.error(name, format!("{file} contents are not set to 1"))
        }
        Ok(_) => {}
    }
}

fn systemctl(args: &[&str]) -> bool {
    Command::new("systemctl").args(args).output().is_ok_and(|o| o.status.success())
}

/// Whether the container runtime answers, and is recent enough.
fn runtime(report: &mut Report, config: &Value) {
    let runtime = Runtime::new(text(config, "nodeRegistration.criSocket"));
    if let Err(error) = runtime.version() {
        report.error("CRI", format!("could not connect to the container runtime: {error}"));
        report.error(
            "ContainerRuntimeVersion",
            format!("could not connect to the container runtime: {error}"),
        );
    } else {
        if !runtime.tells_cgroup_driver() {
            report.warning(
                "ContainerRuntimeVersion",
                "You must update your container runtime to a version that supports the CRI method RuntimeConfig. \
                 Falling back to using cgroupDriver from kubelet config will be removed in 1.37. For more \
                 information, see https://git.k8s.io/enhancements/keps/sig-node/4033-group-driver-detection-over-cri",
            );
        }
        for condition in runtime.conditions().unwrap_or_default() {
            if condition.kind == "RuntimeReady" && !condition.holds {
                report.error(
                    "CRI",
                    format!("container runtime is not running: {}", condition.message),
                );
            }
        }
    }
}

/// What `init` and `join` both check.
fn common(report: &mut Report, root: &Path, config: &Value) {
    runtime(report, config);
    if std::fs::read_to_string(root.join("proc/swaps")).is_ok_and(|s| s.lines().count() > 1) {
        report.warning(
            "Swap",
            "swap is supported for cgroup v2 only. The kubelet must be properly configured to use swap. Please refer \
             to https://kubernetes.io/docs/concepts/architecture/nodes/#swap-memory, or disable swap on the node",
        );
    }
    for program in ["losetup", "mount", "cp"] {
        if in_path(program).is_none() {
            report.error(
                format!("FileExisting-{program}"),
                format!("{program} not found in system path"),
            );
        }
    }
    // Of the system's verification only what the lab's machines differ in.
    if !root.join("sys/fs/cgroup/cgroup.controllers").exists() {
        report.error(
            "SystemVerification",
            "cgroups v1 support is deprecated and will be removed in a future release. Please migrate to cgroups \
             v2. To explicitly enable cgroups v1 support for kubelet v1.35 or newer, you must set the kubelet \
             configuration option 'FailCgroupV1' to 'false'. You must also explicitly skip this validation. For \
             more information, see https://git.k8s.io/enhancements/keps/sig-node/5573-remove-cgroup-v1",
        );
    }
    let name = text(config, "nodeRegistration.name");
    if name != net::hostname() && net::resolve(name).is_err() {
        report.warning("Hostname", format!("hostname \"{name}\" could not be reached"));
        report.warning("Hostname", format!("hostname \"{name}\": lookup {name}: no such host"));
    }
    match in_path("kubelet").map(|p| Command::new(p).arg("--version").output()) {
        Some(Ok(output)) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout).trim().replace("Kubernetes ", "");
            if version != VERSION {
                report.warning("KubeletVersion", format!("kubelet is {version}, kubeadm is {VERSION}"));
            }
        }
        _ => report.error(
            "KubeletVersion",
            "couldn't get kubelet version: cannot execute 'kubelet --version': executable file not found in $PATH",
        ),
    }
    if !systemctl(&["cat", "kubelet"]) {
        report.warning("Service-kubelet", "kubelet service does not exist");
    } else if !systemctl(&["is-enabled", "kubelet"]) {
        report.warning(
            "Service-kubelet",
            "kubelet service is not enabled, please run 'systemctl enable kubelet.service'",
        );
    }
    port(report, 10250);
}

/// What `init` checks.
pub fn init(root: &Path, config: &Config) -> Report {
    let Config { init, cluster, .. } = config;
    let mut report = Report::default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors < 2 {
        report.error(
            "NumCPU",
            format!("the number of available CPUs {processors} is less than the required 2"),
        );
    }
    let info = rustix::system::sysinfo();
    let memory = info.totalram * u64::from(info.mem_unit) / 1024 / 1024;
    if memory < 1700 {
        report
            .error("Mem", format!("the system RAM ({memory} MB) is less than the minimum 1700 MB"));
    }
    let bind = at(init, "localAPIEndpoint.bindPort").as_u64().unwrap_or(6443);
    if systemctl(&["is-active", "firewalld"]) {
        report.warning(
            "Firewalld",
            format!(
                "firewalld is active, please ensure ports [{bind} 10250] are open or your cluster may not function correctly"
            ),
        );
    }
    for number in [bind, 10259, 10257] {
        port(&mut report, number);
    }
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"] {
        absent(&mut report, root, &format!("/etc/kubernetes/manifests/{name}.yaml"));
    }
    common(&mut report, root, init);
    forwarding(&mut report, root, text(init, "localAPIEndpoint.advertiseAddress"));
    port(&mut report, 2379);
    port(&mut report, 2380);
    empty(&mut report, root, text(cluster, "etcd.local.dataDir"));
    report
}

/// Finds or pulls the images; the warning of a pause image that differs is the runtime's own affair here.
pub fn pull(config: &Config) -> Report {
    let mut report = Report::default();
    let runtime = Runtime::new(text(&config.init, "nodeRegistration.criSocket"));
    // Nothing runs from the addons' images, so a rehearsal does without.
    let run = |image: &String| !["kube-proxy", "coredns"].iter().any(|n| image.contains(n));
    for image in manifests::images(&config.cluster).into_iter().filter(run) {
        match runtime.has_image(&image) {
            Ok(true) => {}
            _ => {
                if let Err(error) = runtime.pull(&image) {
                    report.error("ImagePull", format!("failed to pull image {image}: {error}"));
                }
            }
        }
    }
    report
}

/// What `join` checks.
pub fn join(root: &Path, config: &Value) -> Report {
    let mut report = Report::default();
    absent(&mut report, root, "/etc/kubernetes/kubelet.conf");
    absent(&mut report, root, "/etc/kubernetes/bootstrap-kubelet.conf");
    common(&mut report, root, config);
    absent(&mut report, root, text(config, "caCertPath"));
    if let Ok((host, _)) = net::split(text(config, "discovery.bootstrapToken.apiServerEndpoint")) {
        forwarding(&mut report, root, &host);
    }
    report
}
