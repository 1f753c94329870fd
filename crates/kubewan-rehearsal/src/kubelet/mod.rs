//! The kubelet's stand-in: static pods through the real container runtime, and the node's status.

mod flannel;
mod node;
mod pods;

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::api::serve::{self, Reply};
use crate::client::{Failure, Kube};
use crate::cri::Runtime;
use crate::value::{self, Res, at, text};
use crate::{VERSION, net, pki, strict};

/// What the kubelet was told.
#[derive(Debug)]
pub struct Settings {
    flags: BTreeMap<String, String>,
    /// KubeletConfiguration.
    pub config: Value,
    /// The node's name.
    pub name: String,
}

impl Settings {
    fn parse(args: &[String]) -> Res<BTreeMap<String, String>> {
        let mut flags = BTreeMap::new();
        let mut args = args.iter().peekable();
        while let Some(arg) = args.next() {
            let name = arg.trim_start_matches('-');
            if name == arg {
                return Err(format!("unknown command {arg}"));
            }
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let value = args.next_if(|a| !a.starts_with('-'));
                    (name, value.cloned().unwrap_or("true".into()))
                }
            };
            if !strict::rows(include_str!("../../fields/kubelet-flags.txt")).any(|f| f == name) {
                return Err(format!("failed to parse kubelet flag: unknown flag: --{name}"));
            }
            flags.insert(name.to_owned(), value);
        }
        Ok(flags)
    }

    fn load(args: &[String]) -> Res<Settings> {
        let flags = Self::parse(args)?;
        let mut config = json!({});
        if let Some(path) = flags.get("config") {
            let fail = |e: String| {
                format!(
                    "failed to load kubelet config file, path: {path}, error: failed to load Kubelet config file {path}, error {e}"
                )
            };
            let content = pki::read(Path::new(path)).map_err(|e| {
                fail(format!("failed to read kubelet config file {path:?}, error: {e}"))
            })?;
            config = value::from_yaml(&content).map_err(fail)?;
            strict::check(text(&config, "apiVersion"), "KubeletConfiguration", &config)
                .map_err(fail)?;
        }
        let name = flags
            .get("hostname-override")
            .cloned()
            .unwrap_or_else(|| net::hostname().to_lowercase());
        Ok(Settings { flags, config, name })
    }

    /// A flag's value: the last one given counts.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.get(name).map(String::as_str)
    }

    fn runtime(&self) -> Res<Runtime> {
        let endpoint = self
            .flag("container-runtime-endpoint")
            .unwrap_or(text(&self.config, "containerRuntimeEndpoint"));
        match endpoint {
            "" => Err("the container runtime endpoint address was not specified or empty, use --container-runtime-endpoint to set".into()),
            path if path.starts_with('/') => Ok(Runtime::new(&format!("unix://{path}"))),
            endpoint => Ok(Runtime::new(endpoint)),
        }
    }
}

/// A line of the kubelet's log.
pub fn log(level: char, text: &str) {
    eprintln!("{level}{} kubelet.go] {text}", crate::clock());
}

/// Runs the kubelet's stand-in.
pub fn main(args: &[String]) -> Res<()> {
    if args.iter().any(|a| a.starts_with("--version")) {
        println!("Kubernetes {VERSION}");
        return Ok(());
    }
    let settings = Settings::load(args)?;
    if let Some(trouble) = host_in_the_way(&settings) {
        return Err(format!("failed to run Kubelet: {trouble}"));
    }
    let runtime = settings.runtime()?;
    let version = runtime.version().map_err(|e| format!("failed to run Kubelet: {e}"))?;
    log('I', &format!("\"Container runtime initialized\" containerRuntime=\"{version}\""));
    health_port(&settings)?;
    let api = bootstrap(&settings)?;
    kubelet_port(&settings)?;
    let mut pods = pods::Pods::new(runtime.clone());
    let mut node = node::Node::new(&settings, runtime, version);
    let folder = text(&settings.config, "staticPodPath").to_owned();
    let mut beat = 0u64;
    loop {
        pods.sync(Path::new(&folder), &settings);
        if let Some(api) = &api {
            // A node that is not ready yet is looked at more often, so that it is soon.
            let due = beat.is_multiple_of(if node.settled { 10 } else { 2 });
            let done = if due { node.update(api, &settings) } else { Ok(()) };
            done.unwrap_or_else(|e| {
                log('E', &format!("\"Error updating node status, will retry\" err=\"{e}\""))
            });
            if beat.is_multiple_of(5) {
                let done =
                    pods.mirror(api, &settings).and_then(|()| flannel::sync(api, &settings.name));
                done.unwrap_or_else(|e| log('E', &format!("\"Failed to sync pods\" err=\"{e}\"")));
            }
        }
        beat += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// What the real one refuses to start with: swap, cgroup v1 unless it is asked for, labels of others.
fn host_in_the_way(settings: &Settings) -> Option<String> {
    let off = |name: &str| at(&settings.config, name) == &Value::Bool(false);
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if !off("failSwapOn")
        && settings.flag("fail-swap-on") != Some("false")
        && swaps.lines().count() > 1
    {
        return Some(format!(
            "running with swap on is not supported, please disable swap or set --fail-swap-on flag to false: \
             /proc/swaps contained: {:?}",
            swaps.lines().collect::<Vec<_>>()
        ));
    }
    if !off("failCgroupV1")
        && settings.flag("fail-cgroupv1") != Some("false")
        && !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
    {
        return Some(
            "kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be \
             removed in a future release"
                .into(),
        );
    }
    // pkg/kubelet/apis/well_known_labels.go: a kubelet may set few labels of these domains.
    const OWN: [&str; 8] = [
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "beta.kubernetes.io/os",
    ];
    let foreign = |key: &&str| {
        let domain = key.split('/').next().unwrap_or_default();
        let kubernetes = ["kubernetes.io", "k8s.io"]
            .iter()
            .any(|d| domain == *d || domain.ends_with(&format!(".{d}")));
        let free = ["kubelet.kubernetes.io", "node.kubernetes.io"]
            .iter()
            .any(|d| domain == *d || domain.ends_with(&format!(".{d}")));
        key.contains('/') && kubernetes && !free && !OWN.contains(key)
    };
    let labels = settings.flag("node-labels").unwrap_or_default();
    let foreign: Vec<&str> =
        labels.split(',').filter_map(|l| l.split('=').next()).filter(foreign).collect();
    (!foreign.is_empty()).then(|| {
        format!(
            "unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [{}]\n--node-labels in the \
             'kubernetes.io' namespace must begin with an allowed prefix (kubelet.kubernetes.io, node.kubernetes.io) \
             or be in the specifically allowed set",
            foreign.join(" ")
        )
    })
}

/// `http://127.0.0.1:10248/healthz`.
fn health_port(settings: &Settings) -> Res<()> {
    let address = match text(&settings.config, "healthzBindAddress") {
        "" => "127.0.0.1",
        address => address,
    };
    let port = at(&settings.config, "healthzPort").as_u64().unwrap_or(10248) as u16;
    if port == 0 {
        return Ok(());
    }
    let listener = TcpListener::bind((address, port))
        .map_err(|e| format!("Failed to start healthz server: {e}"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let mut stream = BufReader::new(stream);
            if net::read_head(&mut stream).is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                let _ = stream.get_mut().write_all(answer);
            }
        }
    });
    Ok(())
}

/// Port 10250: there, and closed to everyone.
fn kubelet_port(settings: &Settings) -> Res<()> {
    let address = match text(&settings.config, "address") {
        "" => "::",
        address => address,
    };
    let port = at(&settings.config, "port").as_u64().unwrap_or(10250) as u16;
    let listener = TcpListener::bind((address, port))
        .or_else(|e| if address == "::" { TcpListener::bind(("0.0.0.0", port)) } else { Err(e) })
        .map_err(|e| format!("listen tcp {address}:{port}: {e}"))?;
    let config = serve::own_tls(&settings.name)?;
    std::thread::spawn(move || {
        serve::serve(&listener, &config, |_| {
            Reply::Full(401, "text/plain", b"Unauthorized".to_vec())
        })
    });
    Ok(())
}

/// The API as this node, its certificate asked for with the bootstrap token where there is none yet.
fn bootstrap(settings: &Settings) -> Res<Option<Kube>> {
    let Some(path) = settings.flag("kubeconfig").map(Path::new) else { return Ok(None) };
    if let Ok(api) = Kube::from_file(path, None) {
        return Ok(Some(api));
    }
    let fail =
        |e: String| format!("failed to run Kubelet: unable to load bootstrap kubeconfig: {e}");
    let from = settings.flag("bootstrap-kubeconfig").unwrap_or_default();
    let content = pki::read(Path::new(from)).map_err(|e| fail(e.replace("open ", "stat ")))?;
    let (server, identity) = pki::from_kubeconfig(&content).map_err(fail)?;
    let api = Kube::new(&server, &identity)?;
    log(
        'I',
        "\"Bootstrap\" Using bootstrap kubeconfig to generate TLS client cert, key and kubeconfig file",
    );
    let user = format!("system:node:{}", settings.name);
    let (csr, key) = pki::signing_request(&user, "system:nodes")?;
    let certificate = ask(&api, &csr)?;
    let folder = Path::new("/var/lib/kubelet/pki");
    // client-go's util/certificate/certificate_store.go: the time as 2006-01-02-15-04-05.
    let time = value::now().trim_end_matches('Z').replace([':', 'T'], "-");
    let dated = folder.join(format!("kubelet-client-{time}.pem"));
    pki::write(&dated, &format!("{certificate}{key}"), 0o600)?;
    let current = folder.join("kubelet-client-current.pem");
    let _ = std::fs::remove_file(&current);
    std::os::unix::fs::symlink(&dated, &current).map_err(|e| e.to_string())?;
    let mut kubeconfig = value::from_yaml(&pki::kubeconfig(
        &server,
        "default-cluster",
        "default-auth",
        &identity.ca.clone().unwrap_or_default(),
        &identity,
    ))?;
    let file = current.display().to_string();
    kubeconfig["users"][0]["user"] = json!({"client-certificate": file, "client-key": file});
    pki::write(path, &value::to_yaml(&kubeconfig), 0o600)?;
    Kube::from_file(path, None).map(Some)
}

/// Sends a certificate request and waits until it is signed.
fn ask(api: &Kube, csr: &str) -> Res<String> {
    let folder = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "node-csr-"},
        "spec": {"request": STANDARD.encode(csr), "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"]},
    });
    let fail = |e: Failure| {
        format!("failed to run Kubelet: cannot create certificate signing request: {}", e.text())
    };
    let made = api.call("POST", folder, "application/json", Some(&request)).map_err(fail)?;
    let path = format!("{folder}/{}", text(&made, "metadata.name"));
    for _ in 0..300 {
        let request = api.get(&path).ok().flatten().unwrap_or_default();
        let signed = text(&request, "status.certificate");
        if !signed.is_empty() {
            let pem = STANDARD.decode(signed).map_err(|e| e.to_string())?;
            return String::from_utf8(pem).map_err(|e| e.to_string());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Err("failed to run Kubelet: certificate signing request was not approved".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_flag_counts_and_unknown_ones_are_refused() {
        let args = |a: &[&str]| a.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let flags =
            Settings::parse(&args(&["--node-ip=10.0.0.1", "--v", "2", "--node-ip=10.0.0.2"]))
                .unwrap();
        assert_eq!(flags["node-ip"], "10.0.0.2");
        assert_eq!(flags["v"], "2");
        let error = Settings::parse(&args(&["--network-plugin=cni"])).unwrap_err();
        assert_eq!(error, "failed to parse kubelet flag: unknown flag: --network-plugin");
    }
}
