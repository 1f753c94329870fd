//! Mirrors: which of several servers a cluster takes things from. Each host that will take them asks (`kubewan-agent`'s
//! `mirrors`), since a host behind another firewall sees another Internet; here is said what is asked ([`ask`]), what an answer
//! means ([`answer`]) and what is chosen ([`choice`]).
//!
//! A choice is made once, for the whole cluster, and written down with its reason on every host ([`Record`]). It is asked about
//! again by hosts that are new or whose last run failed, and made anew where it fails them, so that a plan stays empty.

pub mod answer;
pub mod ask;
pub mod choice;
mod in_use;
#[cfg(test)]
mod tests;
pub mod trust;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::facts::{ClusterState, Facts};
use crate::inventory::{Inventory, Servers};

pub use ask::{Ask, What, first_round, second_round, slots};
pub use choice::{Chosen, choose};
pub use trust::Trust;

/// Where each host has the record.
pub const RECORD: &str = "/var/lib/kubewan/mirrors.json";

/// Most bytes of a record that are read.
pub const RECORD_MAX: usize = 64 << 10;

/// Who asks where it is no host.
pub const HERE: &str = "this machine";

/// A key of the inventory that names servers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `kubernetes.imageRepository`.
    ImageRepository,
    /// `mirrors.kubernetes`.
    Kubernetes,
    /// `mirrors.packages`.
    Packages,
    /// `mirrors.docker`.
    Docker,
    /// `mirrors.github`.
    Github,
    /// A registry in `mirrors.images`.
    Images(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::ImageRepository => f.write_str("kubernetes.imageRepository"),
            Key::Kubernetes => f.write_str("mirrors.kubernetes"),
            Key::Packages => f.write_str("mirrors.packages"),
            Key::Docker => f.write_str("mirrors.docker"),
            Key::Github => f.write_str("mirrors.github"),
            Key::Images(registry) => write!(f, "mirrors.images: {registry}"),
        }
    }
}

impl Key {
    /// All keys that an inventory has a value for, defaults too.
    fn all(inventory: &Inventory) -> Vec<Key> {
        let images = inventory.mirrors.images.keys().cloned().map(Key::Images);
        [Key::ImageRepository, Key::Kubernetes, Key::Packages, Key::Docker, Key::Github]
            .into_iter()
            .chain(images)
            .collect()
    }

    fn of<'a>(&self, inventory: &'a Inventory) -> Option<&'a Servers> {
        let mirrors = &inventory.mirrors;
        Some(match self {
            Key::ImageRepository => &inventory.kubernetes.image_repository,
            Key::Kubernetes => &mirrors.kubernetes,
            Key::Packages => &mirrors.packages,
            Key::Docker => &mirrors.docker,
            Key::Github => &mirrors.github,
            Key::Images(registry) => mirrors.images.get(registry)?,
        })
    }

    fn set(&self, inventory: &mut Inventory, server: &str) {
        let mirrors = &mut inventory.mirrors;
        let place = match self {
            Key::ImageRepository => &mut inventory.kubernetes.image_repository,
            Key::Kubernetes => &mut mirrors.kubernetes,
            Key::Packages => &mut mirrors.packages,
            Key::Docker => &mut mirrors.docker,
            Key::Github => &mut mirrors.github,
            Key::Images(registry) => match mirrors.images.get_mut(registry) {
                Some(place) => place,
                None => return,
            },
        };
        *place = server.into();
    }
}

/// What was chosen for keys that name several servers, as each host keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this record.
    format: u32,
    /// By the key in the inventory.
    pub mirrors: BTreeMap<String, Recorded>,
}

/// One choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The server.
    pub server: String,
    /// Why it.
    pub why: String,
    /// The digests of what it served then, by name. Another server has to serve the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, String>,
}

impl Record {
    /// The version of the record that this kubewan writes.
    const FORMAT: u32 = 1;

    /// One in which nothing was chosen.
    pub const fn none() -> Record {
        Record { format: Record::FORMAT, mirrors: BTreeMap::new() }
    }

    /// A record as a host keeps it. What can't be read is none: then the choice is made again.
    pub fn read(text: &str) -> Option<Record> {
        let fits = text.len() <= RECORD_MAX;
        let record: Record = serde_json::from_str(text).ok().filter(|_| fits)?;
        (record.format == Record::FORMAT).then_some(record)
    }

    /// Its text on a host; `None` where nothing was chosen.
    pub fn text(&self) -> Option<String> {
        let text = serde_json::to_string_pretty(self).expect("texts are JSON");
        (!self.mirrors.is_empty()).then_some(text + "\n")
    }
}

/// Why a server is the choice that no record tells of.
const IN_USE: &str = "the cluster stands with it, and no record told of another choice";

/// What was chosen before, as the first host says that has a record, in the inventory's order with the first control plane before
/// all. For a key that it lacks counts what the nodes use.
pub fn recorded(inventory: &Inventory, facts: &BTreeMap<String, Facts>) -> Record {
    let first = inventory.first_control_plane();
    let others = inventory.hosts.iter().filter(|host| host.name != first.name);
    let hosts = std::iter::once(first).chain(others);
    let hosts: Vec<&Facts> = hosts.filter_map(|host| facts.get(&host.name)).collect();
    let read = |facts: &&Facts| Record::read(facts.own.mirrors.as_deref()?);
    let mut record = hosts.iter().find_map(read).unwrap_or_else(Record::none);
    let nodes = || hosts.iter().filter(|facts| facts.kubernetes.state == ClusterState::Done);
    for key in Key::all(inventory) {
        let Some(servers) = key.of(inventory).filter(|servers| servers.are_several()) else {
            continue;
        };
        let server = nodes().find_map(|facts| in_use::server(&key, servers, facts));
        if let Some(server) = server.filter(|_| !record.mirrors.contains_key(&key.to_string())) {
            let recorded = Recorded { server, why: IN_USE.into(), digests: BTreeMap::new() };
            record.mirrors.insert(key.to_string(), recorded);
        }
    }
    record
}

/// The inventory with one server for each key: what was chosen before, else the first. Nobody is asked.
pub fn settled(inventory: &Inventory, record: &Record) -> Inventory {
    let mut settled = inventory.clone();
    for key in Key::all(inventory) {
        let Some(servers) = key.of(inventory) else { continue };
        let before = record.mirrors.get(&key.to_string()).map(|one| &one.server);
        let before = before.filter(|server| servers.candidates().contains(server));
        let server = before.map_or(&**servers, String::as_str);
        key.set(&mut settled, server);
    }
    settled
}
