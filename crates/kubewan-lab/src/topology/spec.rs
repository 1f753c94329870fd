//! What a lab is asked to be: the content of a topology file, and the usual lab as such a content.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

use super::path::{Latency, Loss};
use super::{Path, Ports, Subnet};
use crate::image::{Distribution, NetworkStack};

/// Private networks, cloud by cloud. The first and the third are the same on purpose: unrelated
/// clouds choose alike, and nothing that kubewan does may mistake one for the other. None lies in
/// Kubernetes' usual pod and service subnets.
const PRIVATE_HOSTS: [(Ipv4Addr, u8); super::HOSTS_MAX] = [
    (Ipv4Addr::new(10, 0, 4, 7), 24),
    (Ipv4Addr::new(172, 21, 3, 4), 20),
    (Ipv4Addr::new(10, 0, 4, 7), 24),
    (Ipv4Addr::new(192, 168, 7, 20), 24),
    (Ipv4Addr::new(10, 1, 9, 12), 22),
    (Ipv4Addr::new(172, 21, 3, 4), 20),
    (Ipv4Addr::new(10, 0, 4, 7), 24),
    (Ipv4Addr::new(192, 168, 7, 21), 24),
];

/// Where the sshd of the usual lab's second host listens.
const ADMIN_SSH_PORT: NonZeroU16 = port(2222);

/// A lab, as a topology file describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// The clouds.
    pub clouds: Vec<CloudSpec>,
    /// Ways between two of them that are not plain.
    #[serde(default)]
    pub paths: Vec<PathSpec>,
    /// What makes them slow and lossy.
    #[serde(default)]
    pub impairment: Impairment,
}

/// What is to make ways slow and lossy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impairment {
    /// netem where the kernel has it, else the forwarder.
    #[default]
    Auto,
    /// The kernel's netem.
    Netem,
    /// The lab's own program, as on kernels without netem.
    Forwarder,
}

/// A provider's network, or a home.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CloudSpec {
    /// Its name, at most eight letters and digits.
    pub name: Spanned<String>,
    /// Its private network, which may be another cloud's too.
    #[serde(default)]
    pub subnet: Option<Spanned<String>>,
    /// How its hosts get out and are reached.
    #[serde(default)]
    pub nat: Nat,
    /// Whether a host reaches itself by its own public address.
    #[serde(default)]
    pub hairpin: Option<Spanned<bool>>,
    /// Whether packets with a source that isn't the host's are dropped.
    #[serde(default = "yes")]
    pub spoof_filter: bool,
    /// What the provider lets in from the Internet; everything where nothing is said.
    #[serde(default)]
    pub ports: Option<Spanned<Vec<Ports>>>,
    /// The hosts in it.
    pub hosts: Vec<HostSpec>,
}

/// How a cloud's hosts get out and are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// One public address for each host, which is on no network card.
    #[default]
    OneToOne,
    /// One public address for all hosts: a port is the same for every peer, and lets in whom the
    /// host has sent to (RFC 4787: endpoint-independent mapping, address and port-dependent filtering).
    PortRestricted,
    /// One public address for all hosts: each connection has another port, which lets in only its own
    /// peer (RFC 4787: address and port-dependent mapping).
    Symmetric,
    /// None: the public address is on the network card.
    None,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HostSpec {
    /// Its name.
    pub name: Spanned<String>,
    /// Its address in the cloud's subnet.
    #[serde(default)]
    pub address: Option<Spanned<Ipv4Addr>>,
    /// Who logs in: root, or `admin`, who has `sudo -n`.
    #[serde(default)]
    pub user: User,
    /// Where its sshd listens.
    #[serde(default = "ssh_port")]
    pub ssh_port: NonZeroU16,
    /// Ports that a NAT with one address for all hands on to this host.
    #[serde(default)]
    pub forward: Vec<Spanned<Ports>>,
    /// Its system; the lab's where nothing is said.
    #[serde(default)]
    pub distribution: Option<Distribution>,
    /// What configures its network card.
    #[serde(default)]
    pub network: NetworkStack,
}

/// Who logs in over SSH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// root.
    #[default]
    Root,
    /// A user with `sudo -n`; root can't log in.
    Admin,
}

/// A way between two clouds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PathSpec {
    /// The two ends: names of clouds, or `operator`.
    pub between: Spanned<[String; 2]>,
    /// One way, as `80ms`.
    #[serde(default)]
    pub latency: Latency,
    /// In each direction, as `2%`.
    #[serde(default)]
    pub loss: Loss,
    /// The largest packet, in bytes.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// Whether larger packets vanish without a word.
    #[serde(default)]
    pub black_hole: bool,
}

impl PathSpec {
    /// The way itself.
    pub fn path(&self) -> Path {
        let Self { latency, loss, mtu, black_hole, .. } = *self;
        Path { latency, loss, mtu, black_hole }
    }
}

impl Spec {
    /// The usual lab: so many clouds behind 1:1 NAT with one host in each, of which the second hairpins,
    /// has root's login closed and its sshd moved.
    pub fn usual(hosts: usize) -> Self {
        let clouds = (0..hosts.min(super::HOSTS_MAX)).map(usual_cloud).collect();
        Self { clouds, paths: Vec::new(), impairment: Impairment::default() }
    }

    /// Gives every host that names no distribution this one.
    pub fn on(mut self, distribution: Distribution) -> Self {
        for host in self.clouds.iter_mut().flat_map(|cloud| &mut cloud.hosts) {
            host.distribution.get_or_insert(distribution);
        }
        self
    }
}

impl User {
    /// Its name on the host.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Admin => crate::seed::SUDO_USER,
        }
    }
}

fn usual_cloud(index: usize) -> CloudSpec {
    let (address, prefix) = PRIVATE_HOSTS[index];
    let second = index == 1;
    let name = if index == 0 { "master01".into() } else { format!("node{index:02}") };
    let letter = char::from(b'A' + u8::try_from(index).unwrap_or(0));
    CloudSpec {
        name: unwritten(letter.to_string()),
        subnet: Some(unwritten(Subnet::new(address, prefix).network().to_string())),
        nat: Nat::OneToOne,
        hairpin: Some(unwritten(index % 3 == 1)),
        spoof_filter: true,
        ports: None,
        hosts: vec![HostSpec {
            name: unwritten(name),
            address: Some(unwritten(address)),
            user: if second { User::Admin } else { User::Root },
            ssh_port: if second { ADMIN_SSH_PORT } else { ssh_port() },
            forward: Vec::new(),
            distribution: None,
            network: NetworkStack::default(),
        }],
    }
}

/// A value that stands in no file.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(value, Location::UNKNOWN, Location::UNKNOWN)
}

fn yes() -> bool {
    true
}

const fn port(number: u16) -> NonZeroU16 {
    match NonZeroU16::new(number) {
        Some(port) => port,
        None => NonZeroU16::MIN,
    }
}

fn ssh_port() -> NonZeroU16 {
    port(22)
}
