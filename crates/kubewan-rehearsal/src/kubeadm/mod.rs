//! kubeadm's stand-in: its commands and flags.

mod cluster;
mod init;
mod join;
mod reset;
mod tokens;

use std::path::Path;

use serde_json::{Value, json};

#[cfg(test)]
pub use join::check_pin;

use crate::config::{self, Config};
use crate::value::{Res, set};
use crate::{VERSION, manifests, pki, preflight};

/// Flags that take no value.
const SWITCHES: [&str; 9] = [
    "upload-certs",
    "skip-token-print",
    "force",
    "dry-run",
    "print-join-command",
    "cleanup-tmp-dir",
    "discovery-token-unsafe-skip-ca-verification",
    "help",
    "allow-experimental-api",
];
/// Flags that take one.
const VALUES: [&str; 24] = [
    "config",
    "ignore-preflight-errors",
    "skip-phases",
    "v",
    "cri-socket",
    "kubeconfig",
    "output",
    "ttl",
    "description",
    "usages",
    "groups",
    "certificate-key",
    "cert-dir",
    "kubernetes-version",
    "node-name",
    "apiserver-advertise-address",
    "apiserver-bind-port",
    "apiserver-cert-extra-sans",
    "control-plane-endpoint",
    "pod-network-cidr",
    "service-cidr",
    "image-repository",
    "token",
    "discovery-token-ca-cert-hash",
];

/// A command line: words, and flags with their values.
#[derive(Debug, Default)]
pub struct Line {
    /// Words that are no flags.
    pub words: Vec<String>,
    flags: Vec<(String, String)>,
}

impl Line {
    /// Reads the arguments.
    pub fn parse(args: &[String]) -> Res<Line> {
        let mut line = Line::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix('-').filter(|f| !f.is_empty()) else {
                line.words.push(arg.clone());
                continue;
            };
            let long = flag.trim_start_matches('-');
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let name = match name {
                "f" => "force",
                "o" => "output",
                "h" => "help",
                name => name,
            };
            let value = if SWITCHES.contains(&name) {
                value.unwrap_or("true".into())
            } else if VALUES.contains(&name) {
                let next =
                    || args.next().cloned().ok_or_else(|| format!("flag needs an argument: {arg}"));
                value.map_or_else(next, Ok)?
            } else {
                return Err(format!("unknown flag: --{name}"));
            };
            line.flags.push((name.to_owned(), value));
        }
        Ok(line)
    }

    /// The last value of a flag.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All values of a flag.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.flags.iter().filter(|(n, _)| n == name).flat_map(|(_, v)| v.split(','));
        values.map(str::to_owned).collect()
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.flag(name) == Some("true")
    }

    fn config_text(&self) -> Res<Option<String>> {
        let read = |path: &str| {
            pki::read(Path::new(path))
                .map_err(|e| format!("unable to read config from {path:?} : {e}"))
        };
        self.flag("config").map(read).transpose()
    }

    /// The configuration of `init`, from its file or from flags.
    pub fn init_config(&self) -> Res<Config> {
        if let Some(text) = self.config_text()? {
            return config::load_init(&text);
        }
        let mut init = json!({"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "InitConfiguration"});
        let mut cluster =
            json!({"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration"});
        let put = |value: &mut Value, flag: &str, path: &str| {
            if let Some(given) = self.flag(flag) {
                set(value, path, given.into());
            }
        };
        put(&mut init, "apiserver-advertise-address", "localAPIEndpoint.advertiseAddress");
        put(&mut init, "node-name", "nodeRegistration.name");
        put(&mut init, "cri-socket", "nodeRegistration.criSocket");
        put(&mut cluster, "pod-network-cidr", "networking.podSubnet");
        put(&mut cluster, "service-cidr", "networking.serviceSubnet");
        put(&mut cluster, "control-plane-endpoint", "controlPlaneEndpoint");
        put(&mut cluster, "kubernetes-version", "kubernetesVersion");
        put(&mut cluster, "image-repository", "imageRepository");
        let sans = self.all("apiserver-cert-extra-sans");
        if !sans.is_empty() {
            set(&mut cluster, "apiServer.certSANs", json!(sans));
        }
        if let Some(token) = self.flag("token") {
            set(&mut init, "bootstrapTokens", json!([{"token": token}]));
        }
        config::load_init(&format!("{init}\n---\n{cluster}\n"))
    }

    /// The configuration of `join`, from its file or from flags.
    pub fn join_config(&self) -> Res<Value> {
        if let Some(text) = self.config_text()? {
            return config::load_join(&text);
        }
        let endpoint = self.words.get(1).cloned().unwrap_or_default();
        let node = self.flag("node-name").unwrap_or_default();
        let join = json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration",
            "nodeRegistration": {"name": node},
            "discovery": {"bootstrapToken": {
                "token": self.flag("token").unwrap_or_default(), "apiServerEndpoint": endpoint,
                "caCertHashes": self.all("discovery-token-ca-cert-hash"),
                "unsafeSkipCAVerification": self.is_on("discovery-token-unsafe-skip-ca-verification"),
            }},
        });
        config::load_join(&join.to_string())
    }
}

/// Runs kubeadm's stand-in.
pub fn main(args: &[String]) -> Res<()> {
    let line = Line::parse(args)?;
    let root = Path::new("/");
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["version"] => version(&line),
        ["init"] => init::run(root, &line),
        ["init", "phase", phase @ ..] => init::phase(root, &line, phase),
        ["join"] | ["join", _] => join::run(root, &line),
        ["reset"] => reset::run(root, &line),
        ["token", "create"] => tokens::create(&line, None),
        ["token", "create", token] => tokens::create(&line, Some(token)),
        ["token", "list"] => tokens::list(&line),
        ["token", "generate"] => {
            println!("{}", crate::token::generate());
            Ok(())
        }
        ["token", "delete", tokens @ ..] if !tokens.is_empty() => tokens::delete(&line, tokens),
        ["config", "validate"] => validate(&line),
        ["config", "images", "list"] => {
            manifests::images(&line.init_config()?.cluster).iter().for_each(|i| println!("{i}"));
            Ok(())
        }
        ["config", "images", "pull"] => {
            preflight::pull(&line.init_config()?).conclude(&Default::default())
        }
        other => Err(format!("[rehearsal] `kubeadm {}` is not rehearsed", other.join(" "))),
    }
}

fn version(line: &Line) -> Res<()> {
    let (major, minor) =
        VERSION[1..].rsplit_once('.').and_then(|(v, _)| v.split_once('.')).unwrap_or_default();
    let version = json!({"clientVersion": {
        "major": major, "minor": minor, "gitVersion": VERSION, "gitCommit": "kubewan-rehearsal",
        "compiler": "rustc", "platform": format!("linux/{}", crate::architecture()),
    }});
    match line.flag("output") {
        Some("short") => println!("{VERSION}"),
        Some("json") => println!("{}", serde_json::to_string_pretty(&version).unwrap_or_default()),
        Some("yaml") => println!("{}", crate::value::to_yaml(&version)),
        Some(other) => return Err(format!("invalid output format: {other}")),
        None => println!(
            "kubeadm version: &version.Info{{Major:{major:?}, Minor:{minor:?}, GitVersion:{VERSION:?}}}"
        ),
    }
    Ok(())
}

fn validate(line: &Line) -> Res<()> {
    let text = line.config_text()?.ok_or("the --config flag is mandatory")?;
    for document in config::documents(&text)? {
        match document["kind"].as_str() {
            Some("InitConfiguration" | "ClusterConfiguration") => drop(config::load_init(&text)?),
            Some("JoinConfiguration") => drop(config::load_join(&text)?),
            _ => {}
        }
    }
    println!("ok");
    Ok(())
}
