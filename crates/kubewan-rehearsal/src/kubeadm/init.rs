//! `kubeadm init` and its phases.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Line, cluster};
use crate::client::{Failure, Kube};
use crate::config::{Config, local_endpoint, timeout};
use crate::net::{Client, Identity};
use crate::value::{Res, at, set, show_duration, text};
use crate::{manifests, pki, preflight};

/// What the phases share.
pub struct Init<'a> {
    /// "/", but for tests.
    pub root: &'a Path,
    /// The whole configuration.
    pub config: Config,
    /// The command line.
    pub line: &'a Line,
    api: Option<Kube>,
}

type Phase = for<'a, 'b> fn(&'a mut Init<'b>, &'a [&'a str]) -> Res<()>;

/// The phases in kubeadm's order (cmd/kubeadm/app/cmd/init.go).
const PHASES: [(&str, Phase); 14] = [
    ("preflight", |i, _| i.preflight()),
    ("certs", |i, only| pki::certificates(i.root, &i.config, sub(only))),
    ("kubeconfig", |i, only| pki::kubeconfigs(i.root, &i.config, sub(only))),
    ("etcd", |i, _| i.etcd()),
    ("control-plane", |i, only| i.control_plane(sub(only))),
    ("kubelet-start", |i, _| i.kubelet_start()),
    ("wait-control-plane", |i, _| i.wait()),
    ("upload-config", |i, only| cluster::upload_config(i, sub(only))),
    ("upload-certs", |i, _| cluster::upload_certs(i)),
    ("mark-control-plane", |i, _| cluster::mark(i)),
    ("bootstrap-token", |i, _| cluster::bootstrap_token(i)),
    ("kubelet-finalize", |_, _| Ok(())),
    ("addon", |i, only| cluster::addons(i, sub(only))),
    ("show-join-command", |i, _| cluster::show_join_command(i)),
];

fn sub<'a>(words: &[&'a str]) -> Option<&'a str> {
    words.first().copied().filter(|w| *w != "all")
}

/// Runs all phases.
pub fn run(root: &Path, line: &Line) -> Res<()> {
    let mut init = Init { root, config: line.init_config()?, line, api: None };
    println!(
        "[init] Using Kubernetes version: {}",
        text(&init.config.cluster, "kubernetesVersion")
    );
    let mut skipped = line.all("skip-phases");
    if skipped.is_empty() {
        skipped = crate::value::strings(&init.config.init, "skipPhases");
    }
    for (part, skip) in [("proxy", "addon/kube-proxy"), ("dns", "addon/coredns")] {
        if skipped.iter().any(|s| s == skip || s == "addon") {
            set(&mut init.config.cluster, &format!("{part}.disabled"), true.into());
        }
    }
    for (name, phase) in PHASES {
        if !skipped.iter().any(|s| s == name) {
            phase(&mut init, &[]).map_err(|e| format!("error execution phase {name}: {e}"))?;
        }
    }
    Ok(())
}

/// Runs one phase.
pub fn phase(root: &Path, line: &Line, words: &[&str]) -> Res<()> {
    let (name, rest) = words.split_first().ok_or("[rehearsal] which phase?")?;
    let Some((_, phase)) = PHASES.iter().find(|(n, _)| n == name) else {
        return Err(format!("unknown command {name:?} for \"kubeadm init phase\""));
    };
    let mut init = Init { root, config: line.init_config()?, line, api: None };
    phase(&mut init, rest).map_err(|e| format!("error execution phase {}: {e}", words.join("/")))
}

/// Calls something again until it succeeds or time is up.
pub fn retry<T>(limit: Duration, every: Duration, mut what: impl FnMut() -> Res<T>) -> Res<T> {
    let end = Instant::now() + limit;
    loop {
        match what() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() + every >= end => return Err(error),
            Err(_) => std::thread::sleep(every),
        }
    }
}

/// Stops or starts the kubelet through systemd.
pub fn kubelet_service(verb: &str) {
    let run = |args: &[&str]| Command::new("systemctl").args(args).output();
    if verb != "stop" {
        let _ = run(&["daemon-reload"]);
    }
    if !run(&[verb, "kubelet"]).is_ok_and(|o| o.status.success()) && verb != "stop" {
        crate::warn(&format!(
            "[kubelet-start] WARNING: unable to {verb} the kubelet service: [systemctl]"
        ));
        crate::warn("[kubelet-start] Please ensure kubelet is reloaded and running manually");
    }
}

fn healthy(address: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.contains(" 200 ") { Ok(()) } else { Err(io::Error::other("status code: 500")) }
}

/// Waits for the kubelet's health port.
pub fn wait_for_kubelet(kubelet: &Value, limit: Duration) -> Res<()> {
    let address = format!("{}:{}", text(kubelet, "healthzBindAddress"), at(kubelet, "healthzPort"));
    let url = format!("http://{address}/healthz");
    let most = show_duration(limit);
    println!("[kubelet-check] Waiting for a healthy kubelet at {url}. This can take up to {most}");
    let start = Instant::now();
    let go = |e: io::Error| match e.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => e.to_string(),
    };
    let result = retry(limit, Duration::from_millis(500), || healthy(&address).map_err(go));
    let word = if result.is_ok() { "healthy" } else { "not healthy" };
    println!("[kubelet-check] The kubelet is {word} after {}", show_duration(start.elapsed()));
    result.map_err(|error| {
        println!("{}", KUBELET_HELP);
        format!(
            "failed while waiting for the kubelet to start: The HTTP call equal to 'curl -sSL {url}' returned \
             error: Get {url:?}: dial tcp {address}: {error}\n"
        )
    })
}

/// cmd/kubeadm/app/util/apiclient/wait.go
const KUBELET_HELP: &str = "
Unfortunately, an error has occurred, likely caused by:
\t- The kubelet is not running
\t- The kubelet is unhealthy due to a misconfiguration of the node in some way (required cgroups disabled)

If you are on a systemd-powered system, you can try to troubleshoot the error with the following commands:
\t- 'systemctl status kubelet'
\t- 'journalctl -xeu kubelet'
";
const CONTROL_PLANE_HELP: &str = "
A control plane component may have crashed or exited when started by the container runtime.
To troubleshoot, list all containers using your preferred container runtimes CLI.
Here is one example how you may list all running Kubernetes containers by using crictl:
\t- 'crictl --runtime-endpoint @Socket@ ps -a | grep kube | grep -v pause'
\tOnce you have found the failing container, you can inspect its logs with:
\t- 'crictl --runtime-endpoint @Socket@ logs CONTAINERID'
";

impl Init<'_> {
    fn preflight(&self) -> Res<()> {
        println!("[preflight] Running pre-flight checks");
        let ignored =
            preflight::ignored(&self.line.all("ignore-preflight-errors"), &self.config.init);
        preflight::init(self.root, &self.config).conclude(&ignored)?;
        println!("[preflight] Pulling images required for setting up a Kubernetes cluster");
        println!(
            "[preflight] This might take a minute or two, depending on the speed of your internet connection"
        );
        println!(
            "[preflight] You can also perform this action beforehand using 'kubeadm config images pull'"
        );
        preflight::pull(&self.config).conclude(&ignored)
    }

    fn etcd(&self) -> Res<()> {
        let data = self
            .root
            .join(text(&self.config.cluster, "etcd.local.dataDir").trim_start_matches('/'));
        let mut folder = std::fs::DirBuilder::new();
        folder
            .recursive(true)
            .mode(0o700)
            .create(&data)
            .map_err(|e| format!("{}: {e}", data.display()))?;
        println!(
            "[etcd] Creating static Pod manifest for local etcd in \"/etc/kubernetes/manifests\""
        );
        manifests::write_static_pod(self.root, &self.config, "etcd")
    }

    fn control_plane(&self, only: Option<&str>) -> Res<()> {
        println!("[control-plane] Using manifest folder \"/etc/kubernetes/manifests\"");
        for (name, short) in [
            ("kube-apiserver", "apiserver"),
            ("kube-controller-manager", "controller-manager"),
            ("kube-scheduler", "scheduler"),
        ] {
            if only.is_none_or(|o| o == short) {
                println!("[control-plane] Creating static Pod manifest for {name:?}");
                manifests::write_static_pod(self.root, &self.config, name)?;
            }
        }
        Ok(())
    }

    fn kubelet_start(&self) -> Res<()> {
        kubelet_service("stop");
        manifests::write_kubelet(self.root, &self.config.init, &self.config.kubelet, false)?;
        println!("[kubelet-start] Starting the kubelet");
        kubelet_service("restart");
        Ok(())
    }

    /// The API as the administrator, whose right to it is made first: at this host's own address, as kubeadm does.
    pub fn api(&mut self) -> Res<Kube> {
        if let Some(api) = &self.api {
            return Ok(api.clone());
        }
        let server = local_endpoint(&self.config.init);
        let file = |name: &str| self.root.join("etc/kubernetes").join(name);
        let admin = Kube::from_file(&file("admin.conf"), Some(&server))?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "kubeadm:cluster-admins"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "kubeadm:cluster-admins"}],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings?timeout=10s";
        let limit = timeout(&self.config.init, "kubernetesAPICall");
        let bound = retry(limit, Duration::from_millis(500), || {
            match admin.call("POST", path, "application/json", Some(&binding)) {
                Ok(_) | Err(Failure::Refused(409, _)) => Ok(true),
                Err(Failure::Refused(403, _)) => Ok(false),
                Err(other) => Err(other.text()),
            }
        });
        let fail = |e| format!("could not bootstrap the admin user in file admin.conf: {e}");
        let bound = bound.map_err(|e| fail(format!("unable to create ClusterRoleBinding: {e}")))?;
        if !bound {
            let path = file("super-admin.conf");
            if !path.exists() {
                return Err(fail(
                    "the ClusterRoleBinding for the kubeadm:cluster-admins Group is missing but there is no \
                     super-admin.conf to create it"
                        .into(),
                ));
            }
            let admins = Kube::from_file(&path, Some(&server))?;
            admins
                .ensure("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding)
                .map_err(fail)?;
        }
        self.api = Some(admin.clone());
        Ok(admin)
    }

    fn wait(&mut self) -> Res<()> {
        let api = self.api().map_err(|e| format!("cannot obtain client without bootstrap: {e}"))?;
        println!(
            "[wait-control-plane] Waiting for the kubelet to boot up the control plane as static Pods from directory \
             \"/etc/kubernetes/manifests\""
        );
        wait_for_kubelet(&self.config.kubelet, timeout(&self.config.init, "kubeletHealthCheck"))?;
        let limit = timeout(&self.config.init, "controlPlaneComponentHealthCheck");
        println!(
            "[control-plane-check] Waiting for healthy control plane components. This can take up to {}",
            show_duration(limit)
        );
        let components = [
            ("kube-apiserver", local_endpoint(&self.config.init), "livez"),
            ("kube-controller-manager", "https://127.0.0.1:10257".to_owned(), "healthz"),
            ("kube-scheduler", "https://127.0.0.1:10259".to_owned(), "livez"),
        ];
        for (name, server, path) in &components {
            println!("[control-plane-check] Checking {name} at {server}/{path}");
        }
        let start = Instant::now();
        for (name, server, path) in components {
            let check = || {
                if name == "kube-apiserver" {
                    return match api.call("GET", "/livez", "application/json", None) {
                        Ok(_) => Ok(()),
                        Err(error) => Err(error.text()),
                    };
                }
                let client = Client::new(&server, &Identity::default(), Duration::from_secs(5))?;
                let answer = client.request("GET", &format!("/{path}"), "text/plain", &[])?;
                if answer.status == 200 {
                    Ok(())
                } else {
                    Err(format!("with status: {}", answer.status))
                }
            };
            let left = limit.saturating_sub(start.elapsed());
            let result = retry(left, Duration::from_millis(500), check);
            let word = if result.is_ok() { "healthy" } else { "not healthy" };
            println!(
                "[control-plane-check] {name} is {word} after {}",
                show_duration(start.elapsed())
            );
            result.map_err(|error| {
                let socket = text(&self.config.init, "nodeRegistration.criSocket");
                println!("{}", CONTROL_PLANE_HELP.replace("@Socket@", socket));
                format!(
                    "failed while waiting for the control plane to start: {name} check failed at {server}/{path}: {error}"
                )
            })?;
        }
        Ok(())
    }
}
