//! What commands about a cluster begin with: connected hosts, their facts, and a plan.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use kubewan_core::bundle::Bundle;
use kubewan_core::facts::{ClusterState, Facts};
use kubewan_core::inventory::Recorded;
use kubewan_core::plan::phase::network::RECORD;
use kubewan_core::plan::{self, Inputs, Plan};
use kubewan_fleet::client::SshDial;
use kubewan_fleet::fleet::{Emit, Fleet, Member};
use kubewan_fleet::resolve;
use kubewan_fleet::survey::{self, Survey};

use crate::exit_code::Code;
use crate::failure::Failure;
use crate::site::Site;

/// A cluster's hosts, all connected.
pub struct Cluster<'a> {
    /// What the operator wrote.
    pub site: &'a Site,
    /// Public addresses by host.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// How they are connected to, and the agents they get.
    pub dial: &'a SshDial,
    /// The hosts.
    pub fleet: Fleet<'a>,
    /// What they say.
    pub survey: Survey,
    recorded: Option<Recorded>,
}

impl<'a> Cluster<'a> {
    /// Connects to all hosts and looks at them.
    pub fn open(site: &'a Site, dial: &'a SshDial, emit: &Emit) -> Result<Cluster<'a>, Failure> {
        let addresses = resolve::addresses(&site.inventory.hosts)
            .map_err(|findings| Failure::findings(Code::Refused, findings))?;
        let mut fleet = Fleet::connect_all(dial, &site.inventory.hosts, emit)
            .map_err(|errors| Failure::unreachable(&errors))?;
        let survey =
            survey::survey(&mut fleet, emit).map_err(|errors| Failure::on_hosts(&errors))?;
        let mut cluster = Cluster { site, addresses, dial, fleet, survey, recorded: None };
        cluster.recorded = cluster.read_record()?;
        Ok(cluster)
    }

    /// Looks at all hosts once more.
    pub fn look_again(&mut self, emit: &Emit) -> Result<(), Failure> {
        self.survey =
            survey::survey(&mut self.fleet, emit).map_err(|errors| Failure::on_hosts(&errors))?;
        self.recorded = self.read_record()?;
        Ok(())
    }

    /// The host that has the cluster's own kubectl.
    pub fn control_plane(&mut self) -> &mut Member<'a> {
        let name = &self.site.inventory.first_control_plane().name;
        self.fleet.member(name).expect("open() connects all hosts or fails")
    }

    /// Whether a control plane was made on the first of them.
    pub fn stands(&self) -> bool {
        let first = &self.site.inventory.first_control_plane().name;
        self.survey
            .facts
            .get(first)
            .is_some_and(|facts| facts.kubernetes.state == ClusterState::Done)
    }

    /// What the living cluster was built from, as it says itself.
    fn read_record(&mut self) -> Result<Option<Recorded>, Failure> {
        if !self.stands() {
            return Ok(None);
        }
        let (namespace, name) = RECORD;
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let output = self.control_plane().kubectl(&["get", "--raw", &path], None, 30)?;
        let recorded = serde_json::from_str::<serde_json::Value>(&output.stdout).ok();
        // A cluster that does not answer, or was made to its first half only, has no record; the plan says more.
        Ok(recorded.and_then(|object| {
            serde_json::from_str(object.pointer("/data/cluster.json")?.as_str()?).ok()
        }))
    }

    /// What has to be done for the cluster to be as the inventory says.
    pub fn plan(&mut self, bundle: &Bundle) -> Result<Plan, Failure> {
        let inventory = &self.site.inventory;
        let inputs = Inputs {
            addresses: &self.addresses,
            bundle,
            clock_offsets_ms: &self.survey.clock_offsets_ms,
            recorded: self.recorded.as_ref(),
        };
        let planned = plan::steps(inventory, &self.survey.facts, &inputs);
        let seen = survey::observe(&mut self.fleet, &planned.steps)
            .map_err(|errors| Failure::on_hosts(&errors))?;
        Ok(Plan::new(&inventory.name, bundle.rehearsal, planned.steps, &seen, planned.findings)?)
    }

    /// Go's name of each host's architecture.
    pub fn archs(&self) -> BTreeMap<String, String> {
        let arch = |(host, facts): (&String, &Facts)| (host.clone(), facts.kernel.arch.clone());
        self.survey.facts.iter().map(arch).collect()
    }
}
