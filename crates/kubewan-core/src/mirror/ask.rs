//! What is asked of mirrors, and who asks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::choice::{Answers, Verdict, right_digests, verdict};
use super::trust::{Trust, authority};
use super::{HERE, Key, Record};
use crate::facts::{ClusterState, Facts};
use crate::inventory::{
    Host, Inventory, KubernetesSource, Mirrors, RuntimeKind, RuntimeSource, Servers,
};
use crate::supply::{self, Holds, Repository, Sums};
use crate::versions::{REGISTRY, Version};

/// One question to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Of what kind.
    pub what: What,
    /// The whole URL.
    pub url: String,
    /// What is asked for, for people and as the name of its digest: `pause:3.10.2`.
    pub of: String,
    /// How far the server is trusted.
    #[serde(default, skip_serializing_if = "Trust::is_usual")]
    pub trust: Trust,
    /// What does as well where the server has not that: all of these together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<Ask>,
}

impl Ask {
    /// A question to a server that is trusted as every other is.
    pub fn new(what: What, url: impl Into<String>, of: impl Into<String>) -> Ask {
        let (url, of) = (url.into(), of.into());
        Ask { what, url, of, trust: Trust::default(), instead: Vec::new() }
    }

    fn trusting(mut self, inventory: &Inventory, facts: &Facts) -> Ask {
        self.trust = Trust::of(inventory, facts, &self.url);
        self
    }
}

/// Of what kind a question is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Whether a registry answers (OCI distribution specification, "Endpoints": end-1).
    Registry,
    /// An image's manifest (end-3).
    Manifest,
    /// A publisher's text with the SHA-256 of a file of that name.
    Sum(String),
    /// The index of a repository of packages: `InRelease`, `Release` or `repomd.xml`.
    Index,
    /// The signature of such an index that has none in itself: `Release.gpg`.
    Signature,
    /// A repository's key.
    Key,
    /// Whether a file is there.
    File,
}

/// A key that names servers, as far as this cluster takes something from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The key.
    pub key: Key,
    /// The servers in the order in which they are tried.
    pub candidates: Vec<String>,
    /// A run takes something from it. Else it is there for what runs in the cluster later.
    pub needed: bool,
    /// Some host is still to become a node. A cluster that is whole is looked after also while its servers are away.
    pub pressing: bool,
    /// It stands in the living cluster's objects and stays.
    pub stays: bool,
}

/// The keys of an inventory that name other servers than the publishers', and that this cluster has to do with.
pub fn slots(inventory: &Inventory, facts: &BTreeMap<String, Facts>, before: &Record) -> Vec<Slot> {
    let first = &inventory.first_control_plane().name;
    let stands = facts.get(first).is_some_and(|f| f.kubernetes.state == ClusterState::Done);
    let pressing = facts.values().any(|f| f.kubernetes.state != ClusterState::Done);
    let publishers = Mirrors::default();
    let default = |key: &Key| match key {
        Key::ImageRepository => REGISTRY.to_owned(),
        Key::Kubernetes => publishers.kubernetes.to_string(),
        Key::Packages => publishers.packages.to_string(),
        Key::Docker => publishers.docker.to_string(),
        Key::Github => publishers.github.to_string(),
        Key::Images(_) => String::new(),
    };
    let slot = |key: Key| {
        let servers = key.of(inventory)?;
        let is_own = servers.candidates() == [default(&key)];
        if is_own || !is_used(inventory, &key, facts) {
            return None;
        }
        let needed = match &key {
            Key::Images(registry) => {
                let host = inventory.first_control_plane();
                wanted_images(inventory, host).iter().any(|name| in_registry(name, registry))
            }
            _ => true,
        };
        let stays = key == Key::ImageRepository && stands;
        let candidates = match stays {
            true => vec![kept(servers, before.mirrors.get(&key.to_string()).map(|r| &*r.server))],
            false => servers.candidates().to_vec(),
        };
        Some(Slot { key, candidates, needed, pressing, stays })
    };
    Key::all(inventory).into_iter().filter_map(slot).collect()
}

fn kept(servers: &Servers, before: Option<&str>) -> String {
    let before = before.filter(|before| servers.candidates().iter().any(|c| c == *before));
    before.unwrap_or(servers).to_owned()
}

fn is_used(inventory: &Inventory, key: &Key, facts: &BTreeMap<String, Facts>) -> bool {
    match key {
        Key::ImageRepository => inventory.source() != KubernetesSource::Bundle,
        Key::Kubernetes => inventory.source() == KubernetesSource::Release,
        Key::Packages => inventory.source() == KubernetesSource::Packages,
        Key::Docker => inventory.runtime.source == RuntimeSource::Docker,
        Key::Github => {
            facts.values().any(|facts| !of_github(inventory, &facts.kernel.arch).is_empty())
        }
        // Docker asks mirrors of its own registry alone, and flannel's images are named by theirs.
        Key::Images(registry) => {
            !inventory.is_docker()
                || registry == "docker.io"
                || supply::FLANNEL.0.starts_with(&format!("{registry}/"))
        }
    }
}

/// Questions that are asked first, by who asks: everybody asks where nothing was chosen yet and some host is about to take something,
/// and about a choice the hosts that are.
pub fn first_round(
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
    slots: &[Slot],
    before: &Record,
) -> BTreeMap<String, Vec<Ask>> {
    let mut asks: BTreeMap<String, Vec<Ask>> = BTreeMap::new();
    for slot in slots {
        let before = before.mirrors.get(&slot.key.to_string());
        let before = before.filter(|one| slot.candidates.contains(&one.server));
        let chosen = before.map(|one| &one.server);
        let candidates = chosen.map_or(slot.candidates.as_slice(), std::slice::from_ref);
        let anybody = facts.values().any(takes_something);
        let takes = |f: &Facts| (chosen.is_none() && anybody) || takes_something(f);
        // A choice has its digests with it, but where it is only known from what the nodes use.
        let with_publisher = before.is_none_or(|one| slot.needed && one.digests.is_empty());
        by_all(inventory, facts, slot, candidates, with_publisher, &takes, &mut asks);
    }
    asks
}

/// Questions that follow from the answers to the first: where a choice fails, everybody asks all servers.
pub fn second_round(
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
    slots: &[Slot],
    before: &Record,
    answers: &Answers,
) -> BTreeMap<String, Vec<Ask>> {
    let mut asks = BTreeMap::new();
    for slot in slots.iter().filter(|slot| slot.candidates.len() > 1) {
        let Some(chosen) = before.mirrors.get(&slot.key.to_string()) else { continue };
        let all = questions(inventory, facts, slot);
        let known = &chosen.digests;
        let right = match known.is_empty() {
            true => right_digests(slot, &all, answers, known),
            false => known.clone(),
        };
        if matches!(verdict(&all, &chosen.server, answers, &right), Verdict::Unfit(_)) {
            let everyone = |_: &Facts| true;
            by_all(inventory, facts, slot, &slot.candidates, true, &everyone, &mut asks);
        }
    }
    asks
}

/// A host that is to become a node, or whose last run failed where it took something from elsewhere.
fn takes_something(facts: &Facts) -> bool {
    facts.kubernetes.state != ClusterState::Done || !facts.own.unended.is_empty()
}

/// Adds what hosts of a kind ask of some servers; where one asks, so does the operator's machine, and the publisher's own
/// server is asked for its digests.
fn by_all(
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
    slot: &Slot,
    candidates: &[String],
    with_publisher: bool,
    takes: &dyn Fn(&Facts) -> bool,
    asks: &mut BTreeMap<String, Vec<Ask>>,
) {
    if !facts.values().any(takes) {
        return;
    }
    let known: Vec<(&Host, &Facts)> =
        inventory.hosts.iter().filter_map(|host| Some((host, facts.get(&host.name)?))).collect();
    let publisher = publisher(slot).filter(|_| with_publisher);
    let servers = candidates.iter().chain(publisher.as_ref().filter(|p| !candidates.contains(p)));
    for server in servers {
        for (host, facts) in known.iter().filter(|(_, facts)| takes(facts)) {
            let list = asks.entry(host.name.clone()).or_default();
            add(list, of_host(inventory, &slot.key, server, host, facts));
        }
        let list = asks.entry(HERE.to_owned()).or_default();
        for (_, facts) in &known {
            add(list, of_operator(inventory, &slot.key, server, facts));
        }
    }
    asks.retain(|_, list| !list.is_empty());
}

fn add(list: &mut Vec<Ask>, more: Vec<Ask>) {
    for ask in more {
        if !list.contains(&ask) {
            list.push(ask);
        }
    }
}

/// All questions about a key, by the server that they are put to: what an answer is looked up by.
pub(super) fn questions(
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
    slot: &Slot,
) -> BTreeMap<String, Vec<Ask>> {
    let mut all: BTreeMap<String, Vec<Ask>> = BTreeMap::new();
    for server in slot.candidates.iter().cloned().chain(publisher(slot)) {
        let list = all.entry(server.clone()).or_default();
        for host in &inventory.hosts {
            let Some(facts) = facts.get(&host.name) else { continue };
            add(list, of_host(inventory, &slot.key, &server, host, facts));
            add(list, of_operator(inventory, &slot.key, &server, facts));
        }
    }
    all
}

/// The server whose digests are the right ones. A registry that is named as its own mirror is spoken to in that way alone:
/// `http://`, or by another port.
pub(super) fn publisher(slot: &Slot) -> Option<String> {
    match &slot.key {
        Key::Images(registry) => {
            let is_itself = slot.candidates.iter().any(|server| authority(server) == registry);
            let server = server_of(registry);
            (!is_itself || slot.candidates.contains(&server)).then_some(server)
        }
        Key::Kubernetes => Some(Mirrors::default().kubernetes.to_string()),
        _ => None,
    }
}

fn server_of(registry: &str) -> String {
    match registry {
        "docker.io" => "https://registry-1.docker.io".into(),
        other => format!("https://{other}"),
    }
}

/// The images that a host pulls, by the names that their publishers gave them.
fn wanted_images(inventory: &Inventory, host: &Host) -> Vec<String> {
    if inventory.source() == KubernetesSource::Bundle {
        return Vec::new();
    }
    let mut plain = inventory.clone();
    plain.runtime.kind = RuntimeKind::Containerd;
    let mut images = supply::images(&plain, host.is_control_plane());
    // Of a later patch release than the table knows, kubeadm may ask for others.
    let (release, repository) = (inventory.release(), &inventory.kubernetes.image_repository);
    let version = inventory.kubernetes.version.parse::<Version>().ok();
    let patch = version.map(|version| version.patch).filter(|patch| *patch <= release.last_patch);
    if let Some(patch) = patch.filter(|_| host.is_control_plane()) {
        images.push(release.etcd_image(patch, repository));
        images.push(release.coredns_image(patch, repository));
    }
    images
}

fn in_registry(name: &str, registry: &str) -> bool {
    name.strip_prefix(registry).is_some_and(|rest| rest.starts_with('/'))
}

/// What one host asks of one server.
fn of_host(inventory: &Inventory, key: &Key, server: &str, host: &Host, facts: &Facts) -> Vec<Ask> {
    let mut with = inventory.clone();
    key.set(&mut with, server);
    let (os, arch) = (&facts.os, &facts.kernel.arch);
    match key {
        Key::ImageRepository => {
            let names = wanted_images(&with, host);
            let names = names.iter().filter(|name| in_registry(name, server));
            let asks = names.filter_map(|name| manifest_of_repository(inventory, name));
            asks.map(|ask| ask.trusting(inventory, facts)).collect()
        }
        Key::Images(registry) => {
            let ns = (server_of(registry) != server && !inventory.is_docker()).then_some(registry);
            let names = wanted_images(&with, host);
            let names = names.iter().filter(|name| in_registry(name, registry));
            let asks: Vec<Ask> =
                names.filter_map(|name| manifest(server, name, ns.map(String::as_str))).collect();
            let asks = if asks.is_empty() { vec![alive(server)] } else { asks };
            asks.into_iter().map(|ask| ask.trusting(inventory, facts)).collect()
        }
        Key::Kubernetes => sum_of_kubeadm(&with, arch).into_iter().collect(),
        Key::Packages => {
            let repository = supply::kubernetes_repository(&with, os);
            repository.iter().map(|repository| index(repository, arch)).collect()
        }
        Key::Docker => {
            let repository = supply::docker_repository(&with, os);
            repository.iter().map(|repository| index(repository, arch)).collect()
        }
        Key::Github => of_github(&with, arch)
            .into_iter()
            // Archives are unpacked on the operator's machine.
            .filter(|download| matches!(download.holds, Holds::Program(_)))
            .map(|download| file(&download))
            .collect(),
    }
}

/// What the operator's machine asks of one server: checksums, keys and archives are its to fetch.
fn of_operator(inventory: &Inventory, key: &Key, server: &str, facts: &Facts) -> Vec<Ask> {
    let mut with = inventory.clone();
    key.set(&mut with, server);
    let (os, arch) = (&facts.os, &facts.kernel.arch);
    let key_of = |repository: Option<Repository>| {
        let url = repository.and_then(|repository| repository.key_url);
        url.map(|url| Ask::new(What::Key, url, "the repository's key"))
    };
    match key {
        Key::ImageRepository | Key::Images(_) => Vec::new(),
        Key::Kubernetes => sum_of_kubeadm(&with, arch).into_iter().collect(),
        Key::Packages => key_of(supply::kubernetes_repository(&with, os)).into_iter().collect(),
        Key::Docker => key_of(supply::docker_repository(&with, os)).into_iter().collect(),
        Key::Github => of_github(&with, arch).iter().map(file).collect(),
    }
}

/// Downloads that come from the server of releases.
fn of_github(inventory: &Inventory, arch: &str) -> Vec<supply::Download> {
    let server = inventory.mirrors.github.trim_end_matches('/');
    let mut all = supply::downloads(inventory, arch);
    all.retain(|download| download.url.starts_with(server));
    all
}

fn sum_of_kubeadm(inventory: &Inventory, arch: &str) -> Option<Ask> {
    let all = supply::kubernetes(inventory, arch);
    let kubeadm = all.into_iter().find(|download| download.file() == "kubeadm")?;
    let of = format!("kubeadm {} for {arch}", kubeadm.version);
    match kubeadm.sums {
        Sums::At(url) => Some(Ask::new(What::Sum("kubeadm".into()), url, of)),
        Sums::Known(_) => None,
    }
}

fn file(download: &supply::Download) -> Ask {
    // runc's file has the same name in every version.
    let of = format!("{} {}", download.file(), download.version);
    match &download.sums {
        Sums::At(url) => Ask::new(What::Sum(download.file().to_owned()), url, of),
        Sums::Known(_) => Ask::new(What::File, &download.url, of),
    }
}

fn alive(server: &str) -> Ask {
    Ask::new(What::Registry, format!("{}/", registry_base(server)), "a registry")
}

/// As containerd finds it (docs/hosts.md there): a path that is no registry's own gets `/v2`.
fn registry_base(server: &str) -> String {
    let server = server.trim_end_matches('/');
    if server.ends_with("/v2") { server.to_owned() } else { format!("{server}/v2") }
}

fn manifest(server: &str, name: &str, ns: Option<&str>) -> Option<Ask> {
    let (name, tag) = name.rsplit_once(':')?;
    let (_, repository) = name.split_once('/')?;
    // containerd tells mirrors which registry is meant (the same).
    let query = ns.map_or(String::new(), |ns| format!("?ns={ns}"));
    let url = format!("{}/{repository}/manifests/{tag}{query}", registry_base(server));
    let short = repository.rsplit('/').next().unwrap_or(repository);
    Some(Ask::new(What::Manifest, url, format!("{short}:{tag}")))
}

/// Of a repository by its name: at its registry, or at the first mirror of that. `None` for a registry of one's own that asks for a
/// login, which the plan refuses, or has mirrors, which containerd tries at each pull.
fn manifest_of_repository(inventory: &Inventory, name: &str) -> Option<Ask> {
    let (registry, _) = name.split_once('/')?;
    let own = inventory.registries.iter().find(|own| own.address == registry);
    if own.is_some_and(|own| own.username.is_some() || !own.mirrors.is_empty()) {
        return None;
    }
    match inventory.mirrors.images.get(registry) {
        Some(mirror) => manifest(mirror, name, Some(registry)),
        None => manifest(&server_of(registry), name, None),
    }
}

fn index(repository: &Repository, arch: &str) -> Ask {
    let uri = repository.uri.replace(
        "$basearch",
        match arch {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        },
    );
    let ask = |what: What, index: &str| Ask::new(what, format!("{uri}/{index}"), index);
    let mut asked = ask(What::Index, &repository.index);
    // apt tries `InRelease`, then `Release` with its signature beside it (apt-secure(8); DebianRepository/Format in Debian's wiki).
    if let Some(folder) = repository.index.strip_suffix("InRelease") {
        let release = format!("{folder}Release");
        asked.instead.push(ask(What::Index, &release));
        if repository.key_url.is_some() {
            asked.instead.push(ask(What::Signature, &format!("{release}.gpg")));
        }
    }
    asked
}
