//! From inventory and facts to goals: which steps there are on which host, and what forbids them. The list of
//! phases is the whole procedure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Step, lint, phase};
use crate::bundle::Bundle;
use crate::facts::{ClusterState, Facts};
use crate::finding::Finding;
use crate::inventory::adopt::Living;
use crate::inventory::{Host, Inventory, Recorded};
use crate::mirror::Record;
use crate::network::reach::Measured;
use crate::registry::Registries;
use crate::secret::Secret;

/// What planning needs beside the inventory and the hosts' facts.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The public address of every host, by name: the inventory's, or what its DNS name resolved to.
    pub addresses: &'a BTreeMap<String, Ipv4Addr>,
    /// Binaries, images and packages: a bundle's, or what [`crate::supply`] names, by URL.
    pub bundle: &'a Bundle,
    /// Keys of package repositories, ASCII-armoured, by the URL they came from.
    pub keys: &'a BTreeMap<String, String>,
    /// How far each host's clock is ahead of the operator's, milliseconds.
    pub clock_offsets_ms: &'a BTreeMap<String, i64>,
    /// Names of the nodes that the living cluster has, as far as it was asked.
    pub nodes: &'a BTreeSet<String>,
    /// What the living cluster was built from; `None` where there is none yet.
    pub recorded: Option<&'a Recorded>,
    /// The cluster that is to be taken over, as its API tells; `None` where there is none, or it was taken over before.
    pub living: Option<&'a Living>,
    /// What became of the ways between hosts that were tried.
    pub measured: &'a [Measured],
    /// Authorities and passwords of the inventory's registries, by their address.
    pub registries: &'a Registries,
    /// What was chosen of several mirrors, for hosts to remember.
    pub mirrors: &'a Record,
    /// What there is to be said of mirrors.
    pub mirror_findings: &'a [Finding],
}

/// No clock was asked.
static NO_CLOCKS: BTreeMap<String, i64> = BTreeMap::new();
/// No cluster has nodes.
static NO_NODES: BTreeSet<String> = BTreeSet::new();
/// No repository is needed.
static NO_KEYS: BTreeMap<String, String> = BTreeMap::new();
/// Nothing was chosen.
static NO_MIRRORS: Record = Record::none();
/// No registry needs more than its address.
static NO_REGISTRIES: Registries = Registries::new();

impl<'a> Inputs<'a> {
    /// Inputs of a cluster that is not there yet, before anything was measured; what is known besides is set in its field.
    pub fn new(addresses: &'a BTreeMap<String, Ipv4Addr>, bundle: &'a Bundle) -> Self {
        Inputs {
            addresses,
            bundle,
            keys: &NO_KEYS,
            clock_offsets_ms: &NO_CLOCKS,
            nodes: &NO_NODES,
            recorded: None,
            living: None,
            measured: &[],
            registries: &NO_REGISTRIES,
            mirrors: &NO_MIRRORS,
            mirror_findings: &[],
        }
    }
}

/// Goals and findings.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// Goals in the order of work.
    pub steps: Vec<Step>,
    /// What is not right.
    pub findings: Vec<Finding>,
    /// Secrets of the operator's and of hosts that steps carry on, by marker.
    pub secrets: BTreeMap<String, Secret>,
}

/// Everything a phase may look at.
pub(super) struct View<'a> {
    pub inventory: &'a Inventory,
    pub facts: &'a BTreeMap<String, Facts>,
    pub inputs: &'a Inputs<'a>,
}

impl<'a> View<'a> {
    /// The host's public address.
    pub fn address(&self, host: &Host) -> Ipv4Addr {
        self.inputs.addresses.get(&host.name).copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Where a host finds the API, in the order in which it tries: the first control plane, itself where it is
    /// another one, the others.
    ///
    /// Not itself first: a control plane that joins would ask its own API server, which takes connections before it
    /// has an etcd to answer from, and kubeadm would wait for it instead of for the first.
    pub fn api_addresses(&self, host: &Host) -> Vec<Ipv4Addr> {
        let first = self.inventory.first_control_plane();
        let mut control_planes: Vec<&Host> = self.inventory.control_planes().collect();
        control_planes.sort_by_key(|each| (each.name != first.name, each.name != host.name));
        control_planes.into_iter().map(|each| self.address(each)).collect()
    }

    /// Hosts that join, in the operator's order.
    pub fn joining(&self) -> impl Iterator<Item = &'a Host> {
        let first = &self.inventory.first_control_plane().name;
        self.inventory.hosts.iter().filter(move |host| &host.name != first)
    }
}

/// Facts in which hosts of the cluster that is taken over count as whole.
pub fn adopted<'a>(
    inventory: &Inventory,
    facts: &'a BTreeMap<String, Facts>,
) -> Cow<'a, BTreeMap<String, Facts>> {
    let Some(adopt) = &inventory.adopt else { return Cow::Borrowed(facts) };
    let mut facts = facts.clone();
    for of in facts.values_mut().map(|facts| &mut facts.kubernetes) {
        if of.state == ClusterState::Foreign
            && of.stuck_init.is_none()
            && of.ca_hash.as_deref() == Some(&adopt.ca)
        {
            (of.state, of.adopted) = (ClusterState::Done, true);
        }
    }
    Cow::Owned(facts)
}

/// The goals for every host.
///
/// `facts` holds every host of the inventory. Findings with [`crate::finding::Severity::Error`] forbid to
/// apply the plan; the goals are given all the same, so that it can be shown.
pub fn steps(inventory: &Inventory, facts: &BTreeMap<String, Facts>, inputs: &Inputs) -> Planned {
    let facts = &adopted(inventory, facts);
    let view = View { inventory, facts, inputs };
    let each = |phase: fn(&View, &Host, &Facts) -> Vec<Step>| -> Vec<Step> {
        inventory
            .hosts
            .iter()
            .filter_map(|host| Some((host, facts.get(&host.name)?)))
            .flat_map(|(host, facts)| phase(&view, host, facts))
            .collect()
    };
    let steps = [
        each(phase::prepare::steps),
        each(phase::runtime::steps),
        each(phase::binaries::steps),
        phase::control_plane::steps(&view),
        phase::network::steps(&view),
        phase::join::control_planes(&view),
        phase::join::workers(&view),
        phase::nodes::steps(&view),
        phase::settle::steps(&view),
    ]
    .concat();
    Planned { steps, findings: lint::findings(&view), secrets: phase::registries::secrets(&view) }
}
