//! How far a registry is trusted: a mirror is asked in the way that containerd or Docker will speak to it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::inventory::{Inventory, Registry};
use crate::render::docker;

/// How far a server is trusted beyond what every server is. No login belongs to it: neither runtime has one for an
/// `imageRepository` or for another registry's mirror (`image-repository-login`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Those who have signed this registry's certificate are believed too: by the inventory, or by a folder of Docker's on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities_of: Option<String>,
    /// Whatever certificate it shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_verify: bool,
    /// In the clear where it does not speak TLS, as Docker does with an insecure registry (docs.docker.com, "Test an insecure
    /// registry").
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub or_plain: bool,
}

impl Trust {
    /// As every server is trusted.
    pub fn is_usual(&self) -> bool {
        *self == Trust::default()
    }

    /// How a host's runtime trusts the server of a URL.
    pub(super) fn of(inventory: &Inventory, facts: &Facts, url: &str) -> Trust {
        let registry = entry(inventory, url);
        let skips = registry.is_some_and(|registry| registry.skip_verify);
        let insecure = inventory.is_docker() && (skips || is_insecure(inventory, facts, url));
        Trust {
            authorities_of: match registry {
                Some(registry) => registry.ca_file.as_ref().map(|_| registry.address.clone()),
                None => inventory.is_docker().then(|| authority(url).to_owned()),
            },
            skip_verify: skips || insecure,
            or_plain: insecure,
        }
    }
}

/// The inventory's registry that a URL leads to.
pub fn entry<'a>(inventory: &'a Inventory, url: &str) -> Option<&'a Registry> {
    let server = authority(url);
    inventory.registries.iter().find(|registry| registry.address == server)
}

/// `HOST[:PORT]` of a URL.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Whether Docker takes a registry for an insecure one: by name, or by a network that its address is in; this host's own
/// always are (`insecure-registries` in docs.docker.com, "dockerd").
fn is_insecure(inventory: &Inventory, facts: &Facts, url: &str) -> bool {
    let server = authority(url);
    let there = facts.runtime.docker.config.as_ref().map(|config| config.text.as_str());
    let ours = inventory.runtime.docker.get(docker::INSECURE).and_then(|list| list.as_array());
    let ours = ours.into_iter().flatten().filter_map(|one| Some(one.as_str()?.to_owned()));
    let mut all = docker::texts(there.unwrap_or_default(), docker::INSECURE);
    all.extend(ours.chain(["127.0.0.0/8".to_owned()]));
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let address: Option<IpAddr> = host.parse().ok();
    all.iter().any(|one| {
        let network = one.parse::<IpNet>().ok();
        one == server || network.zip(address).is_some_and(|(net, address)| net.contains(&address))
    })
}
