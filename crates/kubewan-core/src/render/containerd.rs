//! containerd's `config.toml`.

use serde_json::{Value, json};

use super::{merge, object, registry};
use crate::inventory::{Registry, Settings};

/// Name of the CRI plugin in configuration version 2 (containerd 1.x, and understood by 2.x).
const CRI_V2: &str = "io.containerd.grpc.v1.cri";
/// Names of its two halves in configuration version 3 (containerd 2.x).
const RUNTIME_V3: &str = "io.containerd.cri.v1.runtime";
const IMAGES_V3: &str = "io.containerd.cri.v1.images";

/// Folder with a folder for each registry that has a mirror (containerd's docs/hosts.md).
pub const CERTS_D: &str = "/etc/containerd/certs.d";

/// How the file begins.
pub const HEADER: &str = "# Written by kubewan";

/// What decides the file.
#[derive(Clone, Debug)]
pub struct Containerd<'a> {
    /// containerd's version where it is known, as `2.1.4`.
    pub version: Option<&'a str>,
    /// The pause image that kubeadm expects.
    pub pause: &'a str,
    /// Registries have mirrors, which [`CERTS_D`] tells of.
    pub mirrored: bool,
    /// The user's own settings.
    pub extra: &'a Settings,
}

/// The whole file. systemd's cgroup driver because the kubelet uses it too: two drivers on one host is what
/// makes etcd restart for ever (kubernetes.io, "Configuring a cgroup driver").
pub fn config(of: &Containerd) -> String {
    let v3 = match of.extra.get("version").and_then(Value::as_u64) {
        Some(version) => version >= 3,
        // Settings for the plugin's old name only make sense in a file of the old version.
        None if mentions(of.extra, CRI_V2) => false,
        None => of.version.and_then(major).is_some_and(|major| major >= 2),
    };
    let runc = json!({
        "runtime_type": "io.containerd.runc.v2",
        "options": { "SystemdCgroup": true },
    });
    let cni = json!({ "bin_dir": "/opt/cni/bin", "conf_dir": "/etc/cni/net.d" });
    let cni_v3 = json!({ "bin_dirs": ["/opt/cni/bin"], "conf_dir": "/etc/cni/net.d" });
    let base = if v3 {
        json!({
            "version": 3,
            "disabled_plugins": [],
            "plugins": {
                RUNTIME_V3: { "cni": cni_v3, "containerd": { "runtimes": { "runc": runc } } },
                IMAGES_V3: { "pinned_images": { "sandbox": of.pause } },
            },
        })
    } else {
        json!({
            "version": 2,
            "disabled_plugins": [],
            "plugins": {
                CRI_V2: {
                    "sandbox_image": of.pause,
                    "cni": cni,
                    "containerd": { "runtimes": { "runc": runc } },
                },
            },
        })
    };
    let mut config = object(base);
    if of.mirrored {
        let plugin = if v3 { IMAGES_V3 } else { CRI_V2 };
        let registry = json!({ "plugins": { plugin: { "registry": { "config_path": CERTS_D } } } });
        merge(&mut config, &object(registry));
    }
    merge(&mut config, of.extra);
    let text =
        toml::to_string(&config).unwrap_or_else(|e| unreachable!("JSON maps are TOML tables: {e}"));
    format!("{HEADER}; settings of your own go into the inventory's runtime.containerd.\n{text}")
}

/// `hosts.toml` of a registry whose images come from elsewhere. What `server` names is asked last, and it is the mirror too: the
/// registry itself is what can't be reached (containerd's docs/hosts.md, "server"). `own`: the mirror is a registry of the
/// inventory's, and is trusted as that one.
pub fn hosts_toml(mirror: &str, own: Option<&Registry>) -> String {
    let mirror = mirror.trim_end_matches('/');
    let tls = own.map(registry::trust).unwrap_or_default();
    format!(
        "{HEADER}.\nserver = \"{mirror}\"\n{tls}\n[host.\"{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\n{tls}"
    )
}

fn mentions(extra: &Settings, plugin: &str) -> bool {
    extra.get("plugins").and_then(|plugins| plugins.get(plugin)).is_some()
}

/// Major version; distributions write `1.6.20~ds1-1`.
fn major(version: &str) -> Option<u32> {
    version.split(['.', '~', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_choose_the_format() {
        let none = Settings::new();
        let of = |version, mirrored| {
            config(&Containerd {
                version: Some(version),
                pause: "r/pause:3.10",
                mirrored,
                extra: &none,
            })
        };
        insta::assert_snapshot!(of("1.6.20~ds1-1", false));
        insta::assert_snapshot!(of("2.1.4", false));
        assert!(of("1.6.20", true).contains("[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"));
        assert!(of("2.1.4", true).contains("[plugins.\"io.containerd.cri.v1.images\".registry]\n"));
        insta::assert_snapshot!(hosts_toml("https://mirror.example/", None));
        let own = Registry {
            address: "r.example:5000".into(),
            ca_file: Some("ca.pem".into()),
            ..Registry::default()
        };
        insta::assert_snapshot!(hosts_toml("https://r.example:5000", Some(&own)));
    }

    #[test]
    fn the_users_settings_are_merged_and_choose_the_old_format() {
        let extra = object(json!({ "plugins": { CRI_V2: { "restrict_oom_score_adj": true } } }));
        let text = config(&Containerd {
            version: Some("2.1.4"),
            pause: "r/pause:3.10",
            mirrored: false,
            extra: &extra,
        });
        assert!(text.contains("version = 2"), "{text}");
        assert!(text.contains("restrict_oom_score_adj = true"), "{text}");
        assert!(text.contains("SystemdCgroup = true"), "{text}");
    }
}
