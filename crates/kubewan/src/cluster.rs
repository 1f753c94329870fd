//! What commands about a cluster begin with: connected hosts, their facts, and a plan.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_agent::mirrors::ask_all;
use kubewan_agent::probe;
use kubewan_core::facts::{ClusterState, Facts};
use kubewan_core::finding::{Finding, Severity};
use kubewan_core::inventory::adopt::{self, Living};
use kubewan_core::inventory::{Host, Inventory, Recorded};
use kubewan_core::mirror::{Ask, Chosen, Record};
use kubewan_core::plan::phase::network::RECORD;
use kubewan_core::plan::{self, Inputs, Plan};
use kubewan_fleet::bundle::BundleDir;
use kubewan_fleet::dial::SshDial;
use kubewan_fleet::fleet::{Emit, Fleet, Member, Output};
use kubewan_fleet::nodes::{self, Node};
use kubewan_fleet::supply::Supply;
use kubewan_fleet::survey::{self, Survey};
use kubewan_fleet::{mirrors, reach, resolve, smoke};
use serde_json::Value;

use crate::exit_code::Code;
use crate::failure::Failure;
use crate::living;
use crate::report;
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
    /// Which mirrors were chosen; `None` before [`Cluster::supply`].
    pub chosen: Option<Chosen>,
    /// The nodes as this run saw them last; `None` where it has not asked, or has changed something since.
    pub nodes: Option<Vec<Node>>,
    /// The namespace of a proof that was broken off was there when the record was read.
    pub smoke_is_left: bool,
}

/// Nodes that are asked for with the record, so that the answer stays far below what an agent keeps of it. Of a larger
/// cluster they are asked for when they are needed.
const NODES: usize = 50;

/// The cluster's admin, on a control plane.
const ADMIN_CONF: &str = "/etc/kubernetes/admin.conf";

/// How long an API that should be there is asked again: that of a control plane that was just booted.
const SILENT: Duration = Duration::from_secs(90);

/// Connects to all these hosts, or to none.
pub fn connect<'a>(
    dial: &'a SshDial,
    hosts: &'a [Host],
    emit: &Emit,
) -> Result<Fleet<'a>, Failure> {
    let _busy = report::busy(format!("connecting to {}", report::counted(hosts.len(), "host")));
    Fleet::connect_all(dial, hosts, emit).map_err(|errors| Failure::unreachable(&errors))
}

impl<'a> Cluster<'a> {
    /// Connects to all hosts and looks at them.
    pub fn open(site: &'a Site, dial: &'a SshDial, emit: &Emit) -> Result<Cluster<'a>, Failure> {
        let addresses = resolve::addresses(&site.inventory.hosts)
            .map_err(|findings| Failure::findings(Code::Refused, findings))?;
        let mut fleet = connect(dial, &site.inventory.hosts, emit)?;
        let survey = look(&mut fleet, &site.inventory, emit)?;
        Ok(Cluster {
            site,
            addresses,
            dial,
            fleet,
            survey,
            chosen: None,
            nodes: None,
            smoke_is_left: false,
        })
    }

    /// Looks at all hosts once more.
    pub fn look_again(&mut self, emit: &Emit) -> Result<(), Failure> {
        self.survey = look(&mut self.fleet, &self.site.inventory, emit)?;
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

    /// The host that can ask the cluster: the first control plane, else another one, else any node, that has the admin's rights.
    /// Not the first alone: the inventory may name another as the first than the one that the cluster began with.
    fn with_admins_rights(&mut self) -> Result<Option<String>, Failure> {
        let inventory = &self.site.inventory;
        let first = &inventory.first_control_plane().name;
        let mut hosts: Vec<_> = inventory.hosts.iter().collect();
        hosts.sort_by_key(|host| (host.name != *first, !host.is_control_plane()));
        for host in hosts {
            let state = self.survey.facts.get(&host.name).map(|facts| facts.kubernetes.state);
            if state == Some(ClusterState::Done)
                && self.member(&host.name).read(ADMIN_CONF)?.is_some()
            {
                return Ok(Some(host.name.clone()));
            }
        }
        Ok(None)
    }

    fn member(&mut self, name: &str) -> &mut Member<'a> {
        self.fleet.member(name).expect("open() connects all hosts or fails")
    }

    /// What the living cluster was built from, as it says itself by one of its hosts; `None` where nothing was recorded yet. The
    /// nodes are asked for with it, as a kubectl needs longer to start than to answer.
    fn read_record(&mut self, host: &str) -> Result<Option<Recorded>, Failure> {
        let (namespace, name) = RECORD;
        let hosts = Some(&self.site.inventory.hosts).filter(|hosts| hosts.len() <= NODES);
        let nodes = hosts.into_iter().flatten().map(|host| format!("node/{}", host.name));
        let others = [format!("configmap/{name}"), format!("namespace/{}", smoke::NAMESPACE)];
        let names: Vec<String> = nodes.chain(others).collect();
        let get = ["get", "-n", namespace, "-o", "json", "--ignore-not-found"];
        let get: Vec<&str> = get.into_iter().chain(names.iter().map(String::as_str)).collect();
        let until = Instant::now() + SILENT;
        let mut output = self.member(host).kubectl(&get, None, 30)?;
        while output.code != 0 && Instant::now() < until {
            thread::sleep(Duration::from_secs(2));
            output = self.member(host).kubectl(&get, None, 30)?;
        }
        if output.code == 0 && hosts.is_some() {
            self.nodes = nodes::among(&output.stdout).ok();
        }
        self.smoke_is_left = has_namespace(&output.stdout, smoke::NAMESPACE);
        recorded(&output).map_err(|(said, remedy)| {
            let finding = Finding::error("record-unreadable", host, said, remedy);
            Failure::findings(Code::Refused, vec![finding])
        })
    }

    /// What the hosts take, from mirrors that were asked before: those that nobody can rely on are refused, before anything is
    /// changed.
    pub fn supply(&mut self, bundle: Option<BundleDir>) -> Result<Supply, Failure> {
        let busy = report::busy("asking the servers that things come from");
        let (inventory, facts) = (&self.site.inventory, &self.survey.facts);
        let registries = self.site.registries()?;
        let here = |asks: &[Ask]| ask_all(asks, &BTreeMap::new());
        let chosen = mirrors::choose(&mut self.fleet, inventory, facts, &registries, &here)
            .map_err(|errors| Failure::on_hosts(&errors))?;
        drop(busy);
        if chosen.findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(Failure::findings(Code::Refused, chosen.findings));
        }
        let supply = self.site.supply(&chosen.inventory, bundle, facts)?;
        self.chosen = Some(chosen);
        Ok(supply)
    }

    /// What has to be done for the cluster to be as the inventory says.
    pub fn plan(&mut self, supply: &Supply) -> Result<Plan, Failure> {
        let busy = report::busy("reading what the cluster was built from");
        let recorded = match self.with_admins_rights()? {
            Some(host) => self.read_record(&host)?,
            None if self.stands() => return self.plan_of_admins_rights(supply),
            None => None,
        };
        let living = if recorded.is_none() { self.read_living()? } else { None };
        let (living, refused) = match living {
            Some(Ok(living)) => (Some(living), Vec::new()),
            Some(Err(refused)) => (None, refused),
            None => (None, Vec::new()),
        };
        drop(busy);
        self.plan_of(supply, Told { recorded, living, refused }, &|_| true)
    }

    /// The same of a cluster that can't be asked, since nobody has the admin's rights any more: they come back, and nothing else is
    /// changed before the cluster has said what it was built from.
    fn plan_of_admins_rights(&mut self, supply: &Supply) -> Result<Plan, Failure> {
        let first = self.site.inventory.first_control_plane().name.clone();
        let init = format!("{first}/kubeadm-init:");
        let mut plan =
            self.plan_of(supply, Told::default(), &|id| id.starts_with(init.as_str()))?;
        plan.findings.push(Finding::warning(
            "record-unread",
            &first,
            format!(
                "there is no {ADMIN_CONF}, so that the cluster can't be asked what it was built from: this run brings it back, and \
                 changes nothing else"
            ),
            "run the same command again afterwards",
        ));
        Ok(plan)
    }

    /// The same of a cluster whose API is silent, so that it can't say what it was built from: only steps with ids that are
    /// wanted, none of which may ask the API.
    pub fn plan_without_api(
        &mut self,
        supply: &Supply,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Plan, Failure> {
        self.plan_of(supply, Told::default(), wanted)
    }

    fn plan_of(
        &mut self,
        supply: &Supply,
        told: Told,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Plan, Failure> {
        let bundle = &supply.bundle.bundle;
        let chosen = self.chosen.as_ref();
        let inventory = chosen.map_or(&self.site.inventory, |chosen| &chosen.inventory);
        let Told { recorded, living, refused } = told;
        let recorded =
            recorded.or_else(|| living.as_ref().map(|living| living.recorded(inventory)));
        let nothing = Record::none();
        let busy = report::busy("trying the ways between the hosts");
        let measured = reach::measure(
            &mut self.fleet,
            inventory,
            &self.addresses,
            &self.survey.facts,
            &probe::all,
        )
        .map_err(|errors| Failure::on_hosts(&errors))?;
        drop(busy);
        let nodes = self.nodes.iter().flatten().map(|node| node.name.clone()).collect();
        let inputs = Inputs {
            addresses: &self.addresses,
            nodes: &nodes,
            bundle,
            keys: &supply.keys,
            clock_offsets_ms: &self.survey.clock_offsets_ms,
            recorded: recorded.as_ref(),
            living: living.as_ref(),
            measured: &measured,
            registries: &supply.registries,
            mirrors: chosen.map_or(&nothing, |chosen| &chosen.record),
            mirror_findings: chosen.map_or(&[] as &[Finding], |chosen| &chosen.findings),
        };
        let mut planned = plan::steps(inventory, &self.survey.facts, &inputs);
        planned.steps.retain(|step| wanted(&step.id));
        let busy = report::busy(format!("comparing {} goals", planned.steps.len()));
        let seen = survey::observe_with(&mut self.fleet, &planned.steps, &planned.secrets)
            .map_err(|errors| Failure::on_hosts(&errors))?;
        drop(busy);
        let (steps, left) = plan::but_what_stays(&self.survey.facts, planned.steps, &seen);
        planned.findings.extend(refused);
        planned.findings.extend(self.smoke_is_left.then(smoke_left));
        planned.findings.extend(left);
        planned.findings.extend(plan::against(&steps, &seen));
        planned.findings.extend(plan::edited(&self.survey.facts, &steps, &seen));
        planned.findings.extend(plan::lacking(&self.survey.facts, &steps, &seen));
        let findings = planned.findings;
        let mut plan = Plan::new(&inventory.name, bundle.rehearsal, steps, &seen, findings)?;
        plan.secrets = planned.secrets;
        Ok(plan)
    }

    /// The cluster that somebody made by hand, as its API tells, where the inventory takes it over and nothing was recorded of it
    /// yet; or why it can't be taken over. `None` for every other one.
    fn read_living(&mut self) -> Result<Option<Result<Living, Vec<Finding>>>, Failure> {
        let inventory = &self.site.inventory;
        let first = &inventory.first_control_plane().name;
        let is_adopted =
            |name: &String| self.survey.facts.get(name).is_some_and(|of| of.kubernetes.adopted);
        if inventory.adopt.is_none() || !is_adopted(first) {
            return Ok(None);
        }
        // Without the admin's rights nothing can be asked; that they are gone is said of the control plane.
        if self.control_plane().read(ADMIN_CONF)?.is_none() {
            return Ok(None);
        }
        let answers = living::answers(self.control_plane())?;
        // Hosts that are new join it: they are no part of it yet.
        let hosts = inventory.hosts.iter().filter_map(|host| {
            let facts = self.survey.facts.get(&host.name).filter(|of| of.kubernetes.adopted)?;
            let address = self.addresses.get(&host.name)?.to_string();
            Some((host.name.as_str(), address, facts))
        });
        let hosts: Vec<(&str, String, &Facts)> = hosts.collect();
        let seen = hosts.iter().map(|(name, address, facts)| adopt::Seen { name, address, facts });
        let seen: Vec<adopt::Seen> = seen.collect();
        let first = seen.iter().position(|host| host.name == first).unwrap_or_default();
        Ok(Some(adopt::living(&seen, first, &answers)))
    }

    /// Go's name of each host's architecture.
    pub fn archs(&self) -> BTreeMap<String, String> {
        let arch = |(host, facts): (&String, &Facts)| (host.clone(), facts.kernel.arch.clone());
        self.survey.facts.iter().map(arch).collect()
    }
}

/// Looks at all hosts.
fn look(fleet: &mut Fleet, inventory: &Inventory, emit: &Emit) -> Result<Survey, Failure> {
    let _busy = report::busy("looking at the hosts");
    let mut survey = survey::survey(fleet, emit).map_err(|errors| Failure::on_hosts(&errors))?;
    survey.facts = plan::adopted(inventory, &survey.facts).into_owned();
    Ok(survey)
}

/// Whether kubectl's answer has a namespace.
fn has_namespace(text: &str, name: &str) -> bool {
    let Ok(answer) = serde_json::from_str::<Value>(text) else { return false };
    let items = answer["items"].as_array().map_or(std::slice::from_ref(&answer), Vec::as_slice);
    items.iter().any(|item| item["kind"] == "Namespace" && item["metadata"]["name"] == name)
}

/// What a proof that was broken off has left is open to everyone.
fn smoke_left() -> Finding {
    Finding::warning(
        "smoke-left",
        "",
        format!(
            "the namespace {} is still there, of a proof that was broken off or is at work now: its Service answers everyone on a port of \
             every node",
            smoke::NAMESPACE
        ),
        "`kubewan up` removes it",
    )
    .for_cluster()
}

/// The record in kubectl's answer; `None` where the cluster has none, as one that was made to its first half only.
/// Else what is wrong, and the remedy: a cluster that can't say what it was built from is not built upon.
fn recorded(output: &Output) -> Result<Option<Recorded>, (String, &'static str)> {
    if output.code != 0 {
        let said = output.stderr.trim();
        let message = format!("the control plane's API does not say what the cluster is: {said}");
        return Err((
            message,
            "wait a moment and run the same command again; `kubewan status` shows how the cluster is; else reboot this host",
        ));
    }
    if output.stdout.trim().is_empty() {
        return Ok(None);
    }
    let read = || {
        let answer: Value = serde_json::from_str(&output.stdout).ok()?;
        // One object alone is not wrapped into a list.
        let items = answer["items"].as_array().map_or(std::slice::from_ref(&answer), Vec::as_slice);
        let Some(record) = items.iter().find(|item| item["kind"] == "ConfigMap") else {
            return Some(None);
        };
        let text = record.pointer("/data/cluster.json")?.as_str()?;
        serde_json::from_str(text).ok().map(Some)
    };
    let (namespace, name) = RECORD;
    match read() {
        Some(recorded) => Ok(recorded),
        None => Err((
            format!(
                "the cluster's record, ConfigMap {namespace}/{name}, makes no sense to this kubewan"
            ),
            "use the kubewan that built the cluster, or a later one; a record that someone edited can be deleted with kubectl: it is made anew from the inventory",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, stdout: &str, stderr: &str) -> Output {
        Output { code, stdout: stdout.into(), stderr: stderr.into() }
    }

    #[test]
    fn what_a_broken_off_proof_left_is_seen() {
        let left = r#"{"kind":"List","items":[{"kind":"Node","metadata":{"name":"kubewan-smoke"}},{"kind":"Namespace","metadata":{"name":"kubewan-smoke"}}]}"#;
        assert!(has_namespace(left, "kubewan-smoke"));
        let alone = r#"{"kind":"Namespace","metadata":{"name":"kubewan-smoke"}}"#;
        assert!(has_namespace(alone, "kubewan-smoke"));
        for none in ["", r#"{"kind":"Node","metadata":{"name":"kubewan-smoke"}}"#, "{}"] {
            assert!(!has_namespace(none, "kubewan-smoke"), "{none}");
        }
    }

    #[test]
    fn only_a_cluster_that_answers_can_have_no_record() {
        assert_eq!(recorded(&said(0, "", "")), Ok(None));
        let refused = "The connection to the server api.home.kubewan:6443 was refused";
        let (message, _) = recorded(&said(1, "", refused)).unwrap_err();
        assert!(message.ends_with(refused), "{message}");
        assert!(recorded(&said(-1, "", "it did not end within 30 s")).is_err());
        let nodes = r#"{"kind":"List","items":[{"kind":"Node","metadata":{"name":"master01"}}]}"#;
        assert_eq!(recorded(&said(0, nodes, "")), Ok(None));
        for unreadable in [
            r#"{"kind":"ConfigMap","data":{"cluster.json":"{}"}}"#,
            r#"{"kind":"List","items":[{"kind":"Node"},{"kind":"ConfigMap","data":{}}]}"#,
            r#"{"kind":"Li"#,
        ] {
            assert!(recorded(&said(0, unreadable, "")).is_err(), "{unreadable}");
        }
    }
}

/// What a cluster says of itself when a plan for it is made.
#[derive(Default)]
struct Told {
    /// What kubewan recorded of it.
    recorded: Option<Recorded>,
    /// Where nothing was: what somebody made by hand.
    living: Option<Living>,
    /// Why that can't be taken over.
    refused: Vec<Finding>,
}
