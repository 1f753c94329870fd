//! What a containerd's configuration says beyond what containerd does anyway: the settings that are lost where
//! another file takes its place. Nothing is guessed from comments or from who wrote it: settings are compared one by one
//! with what containerd prints as its defaults, and with the few that every guide to Kubernetes has people edit.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::render::containerd::CERTS_D;
use crate::secret;

/// What `containerd config default` prints, oldest first, and the files that packages lay: Debian's and Docker's.
const KNOWN: [&str; 6] = [
    include_str!("containerd/default-1.4.toml"),
    include_str!("containerd/default-1.6.toml"),
    include_str!("containerd/default-1.7.toml"),
    include_str!("containerd/default-2.1.toml"),
    include_str!("containerd/debian.toml"),
    include_str!("containerd/docker.toml"),
];

/// Names of the plugin that Docker's package switches off, and everyone who wants Kubernetes on again.
const CRI: [&str; 2] = ["cri", "io.containerd.grpc.v1.cri"];

/// Characters of a value that are shown.
const SHOWN_MAX: usize = 80;

/// Settings by their path, tables taken apart. An array is one setting.
type Leaves = BTreeMap<Vec<String>, Value>;

/// Settings of `there` that `ours` has not, as lines for people. `defaults` is what the containerd that is there prints, and
/// `carried` are settings that go elsewhere.
///
/// # Errors
/// Says why `there` can't be read.
pub(super) fn lost(
    there: &str,
    defaults: Option<&str>,
    ours: &str,
    carried: &[Vec<String>],
) -> Result<Vec<String>, String> {
    let leaves_of = |text: &str| text.parse::<Table>().map(leaves);
    let there = leaves_of(there).map_err(|error| error.message().to_owned())?;
    let known: Vec<Leaves> =
        KNOWN.into_iter().chain(defaults).filter_map(|text| leaves_of(text).ok()).collect();
    let ours = leaves_of(ours).unwrap_or_default();
    let stays = |path: &Vec<String>, value: &Value| {
        let mut defaults = known.iter().filter_map(|known| known.get(path)).peekable();
        is_usual(path, value)
            || carried.contains(path)
            || ours.get(path) == Some(value)
            || (defaults.peek().is_none() && says_nothing(value))
            || defaults.any(|default| default == value)
    };
    let lost = there.iter().filter(|(path, value)| !stays(path, value));
    Ok(lost.map(|(path, value)| line(path, value)).collect())
}

fn leaves(table: Table) -> Leaves {
    let (mut leaves, mut tables) = (Leaves::new(), vec![(Vec::new(), table)]);
    while let Some((path, table)) = tables.pop() {
        for (key, value) in table {
            let path = [path.as_slice(), &[key]].concat();
            match value {
                Value::Table(table) => tables.push((path, table)),
                value => {
                    leaves.insert(path, value);
                }
            }
        }
    }
    leaves
}

/// What kubewan's file says in its own way, and what guides have people edit: the pause image, the cgroup driver, the
/// CRI plugin switched on, the version of the format. A platform is the host's own.
fn is_usual(path: &[String], value: &Value) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["version"] | [.., "sandbox_image" | "systemd_cgroup"] => true,
        [.., "pinned_images", "sandbox"] | [.., "runc", "options", "SystemdCgroup"] => true,
        ["disabled_plugins"] => texts(value).is_some_and(|all| all.iter().all(|p| CRI.contains(p))),
        [.., "platforms"] => {
            texts(value).is_some_and(|all| all.iter().all(|p| p.starts_with("linux/")))
        }
        [.., "unpack_config"] => true,
        // The folder that containerd is pointed to where there is anything in it.
        [.., "registry", "config_path"] => value.as_str() == Some(CERTS_D),
        _ => false,
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// A later containerd may print settings that are not known here; most are empty.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty() || text == "0s",
        Value::Integer(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::Boolean(is) => !is,
        Value::Array(items) => items.is_empty(),
        Value::Datetime(_) | Value::Table(_) => false,
    }
}

fn line(path: &[String], value: &Value) -> String {
    let plain = |key: &String| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let keys: Vec<String> = path
        .iter()
        .map(|key| if plain(key) { key.clone() } else { Value::from(key.as_str()).to_string() })
        .collect();
    let text = value.to_string();
    let text = if is_secret(path, &text) { "(hidden)".into() } else { text };
    let short: String = text.chars().take(SHOWN_MAX).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    format!("{} = {short}{cut}", keys.join("."))
}

/// By its name, or an address with a password in it.
fn is_secret(path: &[String], text: &str) -> bool {
    path.iter().any(|key| secret::may_be_in(key)) || secret::is_in_address(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str =
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/opt/cni/bin\"\n";

    #[test]
    fn what_containerd_prints_and_packages_lay_loses_nothing() {
        for known in KNOWN {
            assert_eq!(lost(known, None, OURS, &[]), Ok(vec![]), "{known}");
        }
        assert_eq!(lost("", None, OURS, &[]), Ok(vec![]));
    }

    #[test]
    fn what_every_guide_has_people_edit_loses_nothing() {
        for known in &KNOWN[..4] {
            let edited = known
                .replace("SystemdCgroup = false", "SystemdCgroup = true")
                .replace("registry.k8s.io/pause", "registry.aliyuncs.com/google_containers/pause")
                .replace("k8s.gcr.io/pause", "registry.aliyuncs.com/google_containers/pause")
                .replace("linux/amd64", "linux/arm64/v8");
            assert_ne!(&edited, known);
            assert_eq!(lost(&edited, None, OURS, &[]), Ok(vec![]));
        }
        let enabled = "#disabled_plugins = [\"cri\"]\ndisabled_plugins = []\n";
        assert_eq!(lost(enabled, None, OURS, &[]), Ok(vec![]));
    }

    #[test]
    fn settings_of_ones_own_are_named_and_secrets_hidden() {
        let there = r#"
root = "/data/containerd"
disabled_plugins = ["cri", "btrfs"]
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
endpoint = ["https://mirror.example.org", "https://me:hunter2@mirror.example.org"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example.org".auth]
username = "me"
password = "hunter2"
[plugins."io.containerd.grpc.v1.cri".registry.configs."r.example.org".tls]
ca_file = "/data/cert/harbor.crt"
"#;
        let lines = lost(there, None, OURS, &[]).unwrap();
        insta::assert_snapshot!(lines.join("\n"));
        assert!(!lines.concat().contains("hunter2"));
    }

    #[test]
    fn what_ours_says_too_is_not_lost() {
        let there = "root = \"/data/containerd\"\n";
        assert_eq!(lost(there, None, there, &[]), Ok(vec![]));
        // The host's own defaults count, and of settings that nobody knows, those that say something.
        let later = "[plugins.\"io.containerd.new\"]\nempty = \"\"\nspeed = 3\n";
        let line = "plugins.\"io.containerd.new\".speed = 3".to_owned();
        assert_eq!(lost(later, None, OURS, &[]), Ok(vec![line]));
        assert_eq!(lost(later, Some(later), OURS, &[]), Ok(vec![]));
    }

    #[test]
    fn what_is_no_toml_is_an_error() {
        assert!(lost("root = \"/data\nx", None, OURS, &[]).is_err());
    }
}
