//! Where a host takes things from, as its own files say: what counts where no record tells what was chosen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::PackageSource;

/// Where a host takes things from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The image of the API server in its static pod's manifest: kubeadm names it by `imageRepository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server_image: Option<String>,
    /// By the name of a registry, the `server` of containerd's `hosts.toml`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registries: BTreeMap<String, String>,
    /// Package sources that kubewan wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<PackageSource>,
}

/// The image of the first container in a pod's manifest, as kubeadm writes it (`image: …` on a line of its own).
pub fn image_in(manifest: &str) -> Option<String> {
    let value = |line: &str| {
        let line = line.trim().trim_start_matches("- ");
        Some(line.strip_prefix("image:")?.trim().trim_matches(['"', '\'']).to_owned())
    };
    manifest.lines().find_map(value).filter(|image| !image.is_empty())
}

/// `server` of a `hosts.toml` (containerd's docs/hosts.md): it stands before the first table.
pub fn server_in(hosts_toml: &str) -> Option<String> {
    let table: toml::Table = hosts_toml.parse().ok()?;
    table.get("server")?.as_str().map(str::to_owned)
}

/// A folder that chrony reads beside its own file (chrony.conf(5)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChronyFolder {
    /// `sourcedir`: files with time sources, `*.sources`.
    Sources(String),
    /// `confdir`, or `include FOLDER/*.conf`: files with any directive, `*.conf`.
    Config(String),
}

impl ChronyFolder {
    /// The folder that a `chrony.conf` reads and that stays over a reboot: `sourcedir` rather than `confdir`; `None` where it reads none.
    pub fn of_config(text: &str) -> Option<ChronyFolder> {
        let kept = |folder: &str| folder.starts_with("/etc/") && !folder.contains("..");
        let folder = |line: &str| {
            let mut words = line.split_whitespace();
            // Directives are read whatever their case; a `confdir` may name several folders, the first of which goes before.
            let (directive, path) = (words.next()?.to_ascii_lowercase(), words.next()?);
            let path = path.trim_end_matches('/');
            match directive.as_str() {
                "sourcedir" => Some(ChronyFolder::Sources(path.into())),
                "confdir" => Some(ChronyFolder::Config(path.into())),
                "include" => Some(ChronyFolder::Config(path.strip_suffix("/*.conf")?.into())),
                _ => None,
            }
        };
        let folders = text.lines().filter_map(folder).filter(|folder| kept(folder.path()));
        folders.min_by_key(|folder| matches!(folder, ChronyFolder::Config(_)))
    }

    /// The folder.
    pub fn path(&self) -> &str {
        match self {
            ChronyFolder::Sources(path) | ChronyFolder::Config(path) => path,
        }
    }

    /// kubewan's file in it.
    pub fn file(&self) -> String {
        match self {
            ChronyFolder::Sources(path) => format!("{path}/kubewan.sources"),
            ChronyFolder::Config(path) => format!("{path}/kubewan.conf"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_say_is_read() {
        let manifest = "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    image: k8s.m.example/kube-apiserver:v1.36.2\n";
        assert_eq!(image_in(manifest).as_deref(), Some("k8s.m.example/kube-apiserver:v1.36.2"));
        assert_eq!(image_in("spec: {}\n"), None);
        let toml =
            "server = \"https://m.example\"\n\n[host.\"https://near.example\"]\nserver = \"no\"\n";
        assert_eq!(server_in(toml).as_deref(), Some("https://m.example"));
        assert_eq!(server_in("server = \"https://m"), None);
    }

    #[test]
    fn chrony_says_which_folder_it_reads() {
        let of = |text: &str| ChronyFolder::of_config(text).map(|folder| folder.file());
        // Debian 12's chrony 4.3, and Enterprise Linux 9's.
        let debian = "confdir /etc/chrony/conf.d\npool 2.debian.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\nsourcedir /etc/chrony/sources.d\n";
        assert_eq!(of(debian).as_deref(), Some("/etc/chrony/sources.d/kubewan.sources"));
        let el = "pool 2.centos.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\ndriftfile /var/lib/chrony/drift\n";
        assert_eq!(of(el), None);
        let with = |line: &str| of(&format!("server ntp.example\n{line}\n"));
        assert_eq!(with("confdir /etc/chrony.d").as_deref(), Some("/etc/chrony.d/kubewan.conf"));
        assert_eq!(
            with("include /etc/chrony.d/*.conf").as_deref(),
            Some("/etc/chrony.d/kubewan.conf")
        );
        for none in ["# sourcedir /etc/x", "!confdir /etc/x", "include /etc/own.conf", "sourcedir"]
        {
            assert_eq!(with(none), None, "{none}");
        }
    }
}
