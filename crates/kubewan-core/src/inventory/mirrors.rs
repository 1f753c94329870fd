//! `mirrors:` the servers that things come from: for each, one, or several of which one is chosen.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `mirrors:` servers that things are downloaded from. Each takes the place of the publisher's own, and has the same
/// folders below its URL. Of several the first that serves what is asked is taken, and kept while it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirrors {
    /// Kubernetes' release server: `/v1.36.2/bin/linux/amd64/kubeadm` and its `.sha256` lie below it.
    #[serde(default = "kubernetes_server")]
    pub kubernetes: Servers,
    /// The server of Kubernetes' package repositories: `/core:/stable:/v1.36/deb/` and `rpm/` lie below it, or `/v1.36/deb/` and
    /// `rpm/` where the URL ends in `/stable` itself.
    #[serde(default = "packages_server")]
    pub packages: Servers,
    /// Which folders lie below `packages`.
    #[serde(default)]
    pub packages_layout: PackagesLayout,
    /// Whether packages of Kubernetes' and Docker's repositories have to be signed by the repository's key.
    #[serde(default)]
    pub gpg_check: GpgCheck,
    /// The server of Docker's package repositories: `/linux/debian/` or `/linux/centos/` lies below it.
    #[serde(default = "docker_server")]
    pub docker: Servers,
    /// The server of the releases of the CNI plugins, containerd and runc: `/OWNER/NAME/releases/download/` lies below it.
    #[serde(default = "github_server")]
    pub github: Servers,
    /// By the name of a registry, as `registry.k8s.io`: the URL of another that is asked in its place.
    #[serde(default)]
    pub images: BTreeMap<String, Servers>,
}

/// Whether packages have to be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GpgCheck {
    /// By the repository's key.
    #[default]
    On,
    /// They are taken whoever made them.
    Off,
}

/// The folders of a server of Kubernetes' packages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PackagesLayout {
    /// Those of pkgs.k8s.io, for 1.24 and later: `core:/stable:/v1.36/rpm/`.
    #[default]
    Community,
    /// Those of Google's former servers, as below Aliyun's `/kubernetes`: `yum/repos/kubernetes-el7-x86_64/` and
    /// `apt/`, with everything up to September 2023.
    Former,
}

impl Mirrors {
    /// Whether packages of others than the distribution have to be signed by their repository's key.
    pub fn checks(&self) -> bool {
        self.gpg_check == GpgCheck::On
    }
}

impl Default for Mirrors {
    fn default() -> Self {
        Mirrors {
            kubernetes: kubernetes_server(),
            packages: packages_server(),
            packages_layout: PackagesLayout::default(),
            gpg_check: GpgCheck::default(),
            docker: docker_server(),
            github: github_server(),
            images: BTreeMap::new(),
        }
    }
}

/// kubernetes.io, "Download Kubernetes".
fn kubernetes_server() -> Servers {
    "https://dl.k8s.io".into()
}

/// kubernetes.io, "Installing kubeadm"; packages of 1.24 and later.
fn packages_server() -> Servers {
    "https://pkgs.k8s.io".into()
}

/// docs.docker.com, "Install Docker Engine on Debian".
fn docker_server() -> Servers {
    "https://download.docker.com".into()
}

fn github_server() -> Servers {
    "https://github.com".into()
}

/// One server, or several in the order in which they are tried: the first that serves what is asked is taken
/// ([`crate::mirror`]). It reads as the first of them, which is the chosen one as soon as there is a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers(Vec<String>);

impl Servers {
    /// Several; `None` where there is none.
    pub fn of(all: Vec<String>) -> Option<Servers> {
        (!all.is_empty()).then_some(Servers(all))
    }

    /// All of them, in their order.
    pub fn candidates(&self) -> &[String] {
        &self.0
    }

    /// More than one.
    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }
}

impl Deref for Servers {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.first().map(String::as_str).unwrap_or_default()
    }
}

impl From<String> for Servers {
    fn from(one: String) -> Servers {
        Servers(vec![one])
    }
}

impl From<&str> for Servers {
    fn from(one: &str) -> Servers {
        Servers(vec![one.into()])
    }
}

impl PartialEq<&str> for Servers {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Servers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Servers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Servers, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(String),
            Several(Vec<String>),
        }
        let all = match Written::deserialize(deserializer)? {
            Written::One(one) => vec![one],
            Written::Several(several) => several,
        };
        Servers::of(all).ok_or_else(|| serde::de::Error::custom("at least one is needed"))
    }
}

impl JsonSchema for Servers {
    fn schema_name() -> Cow<'static, str> {
        "Servers".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_written_as_one_and_several_as_a_list() {
        let one: Servers = serde_json::from_str("\"https://a.example\"").unwrap();
        assert_eq!((&*one, one.are_several()), ("https://a.example", false));
        assert_eq!(serde_json::to_string(&one).unwrap(), "\"https://a.example\"");
        let several: Servers = serde_json::from_str("[\"https://a\", \"https://b\"]").unwrap();
        assert_eq!((&*several, several.candidates().len()), ("https://a", 2));
        assert_eq!(serde_json::to_string(&several).unwrap(), "[\"https://a\",\"https://b\"]");
        assert!(serde_json::from_str::<Servers>("[]").is_err());
    }
}
