//! What a containerd's configuration says of registries in the way before `config_path`: `registry.mirrors`,
//! `registry.configs` and `registry.auths`. Beside `config_path` the CRI plugin does not start with the first two
//! (`ValidatePluginConfig`, pkg/cri/config/config.go of containerd 1.7, internal/cri/config/config.go of 2.x), and 2.x is to
//! give them up; so they are carried over into what has taken their place.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use toml::{Table, Value};

use crate::secret::Secret;

/// The plugin that has them: in version 1 of the format, in 2, and in 3.
const PLUGINS: [&str; 3] = ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"];

/// The name under which mirrors of all registries stand.
const ALL: &str = "*";

/// What is carried over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Legacy {
    /// By the registry's name; `_default` for all that have none of their own.
    pub hosts: BTreeMap<String, Hosts>,
    /// Logins by registry.
    pub logins: BTreeMap<String, (String, Secret)>,
    /// The settings that it was read from, by their path.
    pub carried: Vec<Vec<String>>,
}

/// Servers of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// URLs that are asked before the registry itself, in their order.
    pub mirrors: Vec<(String, Tls)>,
    /// How the registry itself is spoken to.
    pub server: Tls,
}

/// How a server is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// A file of the host with authorities.
    pub ca: Option<String>,
    /// Files of the host with a certificate and its key.
    pub client: Option<(String, String)>,
    /// Whatever certificate it shows is taken.
    pub skip_verify: bool,
}

/// What a configuration says in the old way; nothing where it says nothing, or can't be read.
pub fn read(config: &str) -> Legacy {
    let Ok(config) = config.parse::<Table>() else { return Legacy::default() };
    let mut legacy = Legacy::default();
    for plugin in PLUGINS {
        let registry = config.get("plugins").and_then(|plugins| plugins.get(plugin));
        let Some(registry) = registry.and_then(|plugin| plugin.get("registry")) else { continue };
        legacy.take(registry, plugin);
    }
    legacy
}

impl Legacy {
    /// Nothing has to be carried over.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.logins.is_empty()
    }

    fn take(&mut self, registry: &Value, plugin: &str) {
        let table = |key: &str| registry.get(key).and_then(Value::as_table);
        let configs = table("configs");
        let path = |parts: &[&str]| -> Vec<String> {
            ["plugins", plugin, "registry"].iter().chain(parts).map(|p| (*p).to_owned()).collect()
        };
        let tls_of = |server: &str| configs.and_then(|c| c.get(server)?.get("tls"));
        let mut endpoints = Vec::new();
        for (name, mirror) in table("mirrors").into_iter().flatten() {
            let Some(urls) = endpoints_of(mirror).filter(|_| is_name(name)) else { continue };
            let mirrors = urls.iter().map(|url| {
                let tls = tls_of(host_of(url)).and_then(tls).unwrap_or_default();
                (as_written(url), tls)
            });
            let mirrors = mirrors.collect();
            let server = tls_of(name).and_then(tls).unwrap_or_default();
            endpoints.extend(urls.iter().map(|url| host_of(url).to_owned()));
            let key = if name == ALL { "_default" } else { name };
            self.hosts.insert(key.to_owned(), Hosts { mirrors, server });
            self.carried.push(path(&["mirrors", name, "endpoint"]));
        }
        // The kubelet gives logins by the name in the image, so one of a mirror alone would go nowhere.
        let named: BTreeSet<String> = self.hosts.keys().cloned().collect();
        let of_mirror = |name: &String| endpoints.contains(name) && !named.contains(name);
        for (name, config) in configs.into_iter().flatten().filter(|(name, _)| is_name(name)) {
            if let Some(server) = config.get("tls").and_then(tls) {
                self.hosts.entry(name.clone()).or_default().server = server;
                for key in config.get("tls").and_then(Value::as_table).into_iter().flatten() {
                    self.carried.push(path(&["configs", name, "tls", key.0]));
                }
            }
            if let Some(login) = config.get("auth").filter(|_| !of_mirror(name)).and_then(login) {
                self.logins.insert(name.clone(), login);
                for key in config.get("auth").and_then(Value::as_table).into_iter().flatten() {
                    self.carried.push(path(&["configs", name, "auth", key.0]));
                }
            }
        }
        for (url, auth) in table("auths").into_iter().flatten() {
            let name = host_of(url).to_owned();
            let goes = is_name(&name) && !of_mirror(&name);
            if let Some(login) = login(auth).filter(|_| goes) {
                self.logins.insert(name, login);
                for key in auth.as_table().into_iter().flatten() {
                    self.carried.push(path(&["auths", url, key.0]));
                }
            }
        }
    }
}

/// A name becomes a folder's, and a key of the kubelet's.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:_[]".contains(c);
    name == ALL
        || (name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && name.chars().all(plain))
}

/// URLs of a mirror; `None` where something else stands there.
fn endpoints_of(mirror: &Value) -> Option<Vec<String>> {
    let list = mirror.as_table()?.get("endpoint")?.as_array()?;
    let urls =
        list.iter().map(|url| url.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
    let plain = |url: &String| {
        let scheme = url.starts_with("https://") || url.starts_with("http://");
        scheme && !url.contains(['@', '"', '\\', '?', '#']) && !url.chars().any(char::is_control)
    };
    urls.iter().all(plain).then_some(urls)
}

/// `HOST` or `HOST:PORT` of a URL.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// The URL in the way of hosts.toml, which puts `/v2` behind its path. The old way took a path as it was, so that one
/// without `/v2`, as guides have it, led nowhere: what was meant is the namespace of a registry, and there it is below `/v2`.
fn as_written(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    match path.trim_matches('/') {
        "" | "v2" => format!("{scheme}://{host}"),
        path if path.starts_with("v2/") => format!("{scheme}://{host}/{path}"),
        path => format!("{scheme}://{host}/v2/{path}"),
    }
}

/// `None` where it says nothing, or something that hosts.toml has no word for.
fn tls(value: &Value) -> Option<Tls> {
    let table = value.as_table()?;
    let path = |key: &str| match table.get(key) {
        None => Some(None),
        Some(Value::String(path)) if path.is_empty() => Some(None),
        // A path that TOML would need to escape is nobody's.
        Some(Value::String(path))
            if !path.chars().any(|c| c.is_control() || "\"\\".contains(c)) =>
        {
            Some(Some(path.clone()))
        }
        Some(_) => None,
    };
    let skip_verify = match table.get("insecure_skip_verify") {
        None => false,
        Some(Value::Boolean(skip)) => *skip,
        Some(_) => return None,
    };
    let client = match (path("cert_file")?, path("key_file")?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return None,
    };
    let known = ["ca_file", "cert_file", "key_file", "insecure_skip_verify"];
    let tls = Tls { ca: path("ca_file")?, client, skip_verify };
    (tls != Tls::default() && table.keys().all(|key| known.contains(&key.as_str()))).then_some(tls)
}

/// A user and a password, given so or as `auth`; `None` where it is a token, which the kubelet's file has no word for.
fn login(value: &Value) -> Option<(String, Secret)> {
    let table = value.as_table()?;
    let text = |key: &str| table.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if text("identitytoken").is_some() {
        return None;
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Some((user.into(), Secret::new(password.into())));
    }
    let decoded = String::from_utf8(STANDARD.decode(text("auth")?).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.into(), Secret::new(password.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recipe's own, with its placeholder filled in and a login beside it.
    const RECIPE: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = ""
  [plugins."io.containerd.grpc.v1.cri".registry.auths]
  [plugins."io.containerd.grpc.v1.cri".registry.configs]
    [plugins."io.containerd.grpc.v1.cri".registry.configs."192.0.2.7".tls]
      ca_file = "/data/cert/harbor.crt" # its path
    [plugins."io.containerd.grpc.v1.cri".registry.configs."192.0.2.7".auth]
      username = "puller"
      password = "hunter2"
  [plugins."io.containerd.grpc.v1.cri".registry.headers]
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors]
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
      endpoint = ["https://pqbap4ya.mirror.aliyuncs.com"]
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."k8s.gcr.io"]
      endpoint = ["https://registry.aliyuncs.com/k8sxio"]
"#;

    #[test]
    fn the_recipes_snippet_is_carried_over() {
        let legacy = read(RECIPE);
        let urls = |name: &str| -> Vec<&str> {
            legacy.hosts[name].mirrors.iter().map(|(url, _)| url.as_str()).collect()
        };
        assert_eq!(urls("docker.io"), ["https://pqbap4ya.mirror.aliyuncs.com"]);
        assert_eq!(urls("k8s.gcr.io"), ["https://registry.aliyuncs.com/v2/k8sxio"]);
        assert_eq!(legacy.hosts["192.0.2.7"].server.ca.as_deref(), Some("/data/cert/harbor.crt"));
        let (user, password) = &legacy.logins["192.0.2.7"];
        assert_eq!((user.as_str(), password.reveal()), ("puller", "hunter2"));
        let carried: Vec<String> = legacy.carried.iter().map(|path| path[3..].join(" ")).collect();
        let expected = [
            "mirrors docker.io endpoint",
            "mirrors k8s.gcr.io endpoint",
            "configs 192.0.2.7 tls ca_file",
            "configs 192.0.2.7 auth username",
            "configs 192.0.2.7 auth password",
        ];
        assert_eq!(carried.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
        assert!(expected.iter().all(|one| carried.iter().any(|c| c == one)), "{carried:?}");
        assert!(!format!("{legacy:?}").contains("hunter2"));
    }

    #[test]
    fn every_plugins_name_and_auths_are_read() {
        for plugin in PLUGINS {
            let text = format!(
                "[plugins.\"{plugin}\".registry.mirrors.\"*\"]\nendpoint = [\"http://192.0.2.9:5000\"]\n\
                 [plugins.\"{plugin}\".registry.auths.\"https://r.example\"]\nauth = \"bWU6b3BlbjpzZXNhbWU=\"\n"
            );
            let legacy = read(&text);
            assert_eq!(legacy.hosts["_default"].mirrors[0].0, "http://192.0.2.9:5000");
            assert_eq!(legacy.logins["r.example"].1.reveal(), "open:sesame");
        }
    }

    #[test]
    fn what_has_no_word_elsewhere_is_left_to_be_named() {
        for text in [
            "[plugins.cri.registry.mirrors.x]\nendpoint = [\"https://me:pw@m.example\"]",
            "[plugins.cri.registry.mirrors.x]\nendpoint = \"https://m.example\"",
            "[plugins.cri.registry.configs.x.auth]\nidentitytoken = \"abc\"",
            "[plugins.cri.registry.configs.x.tls]\ncert_file = \"/only/half\"",
            "[plugins.cri.registry.configs.x.tls]\nca_file = \"/a\"\nother = 1",
            "[plugins.cri.registry.mirrors.\"../../x\"]\nendpoint = [\"https://m.example\"]",
            "no toml [",
            "",
        ] {
            assert!(read(text).is_empty(), "{text}");
        }
        // A mirror's own login, which the kubelet would never give it.
        let mirrors = "[plugins.cri.registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m.example\"]\n\
                       [plugins.cri.registry.configs.\"m.example\".auth]\nusername = \"me\"\npassword = \"x\"\n";
        assert!(read(mirrors).logins.is_empty());
        // With a certificate of its own it is still a mirror.
        let tls = format!(
            "{mirrors}[plugins.cri.registry.configs.\"m.example\".tls]\nca_file = \"/a\"\n"
        );
        let legacy = read(&tls);
        assert_eq!(legacy.hosts["docker.io"].mirrors[0].1.ca.as_deref(), Some("/a"));
        assert!(legacy.logins.is_empty());
    }
}
