//! `kubewan status`: how hosts and nodes are, and what is not right. It goes on without hosts that can't be reached.

use std::collections::BTreeMap;

use kubewan_core::facts::{ClusterState, Facts, RuntimeFacts};
use kubewan_core::finding::{Finding, Severity};
use kubewan_core::inventory::{Host, Inventory, Role};
use kubewan_fleet::fleet::Fleet;
use kubewan_fleet::nodes::{self, Node};
use kubewan_fleet::resolve;
use kubewan_fleet::survey::{self, Survey};
use serde::Serialize;

use crate::args::{Output, StatusArgs, WideOutput};
use crate::cluster::Cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, json, progress::Progress, table};
use crate::site::Site;

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// The version that the inventory asks for.
    pub kubernetes: String,
    /// Hosts in the operator's order.
    pub hosts: Vec<HostStatus>,
    /// What is not right.
    pub findings: Vec<Finding>,
}

/// One host and its node.
#[derive(Debug, Default, Serialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Its public address, as the inventory has it.
    pub address: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its agent answers.
    pub reachable: bool,
    /// Its node exists and is ready.
    pub ready: bool,
    /// Why its node is not ready; `None` where it is, or there is none.
    pub reason: Option<String>,
    /// Its kubelet's version.
    pub version: Option<String>,
    /// Its node's address.
    pub internal_ip: Option<String>,
    /// Its distribution.
    pub os: Option<String>,
    /// Its kernel.
    pub kernel: Option<String>,
    /// Its container runtime.
    pub runtime: Option<String>,
    /// The interface that carries the public address.
    pub address_on: Option<String>,
    /// How far its clock is ahead of the operator's, milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Addresses of its pods.
    pub pod_cidr: Option<String>,
}

/// The runtime that the inventory names, with its version.
fn runtime(facts: &RuntimeFacts, is_docker: bool) -> Option<String> {
    if is_docker {
        let version = facts.docker.engine.as_ref()?.version.as_ref()?;
        return Some(format!("docker {version}"));
    }
    facts.containerd.as_ref().map(|version| format!("containerd {version}"))
}

impl HostStatus {
    /// The node's state in a word or two.
    pub fn state(&self) -> &'static str {
        match (self.reachable, self.version.is_some(), self.ready) {
            (false, ..) => "unreachable",
            (true, false, _) => "no node",
            (true, true, true) => "Ready",
            (true, true, false) => "NotReady",
        }
    }
}

/// Shows the status.
pub fn run(args: &StatusArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let dial = site.dial();
    let hosts = &site.inventory.hosts;
    let (mut fleet, errors) = {
        let progress = Progress::new(Output::Table, hosts);
        let _busy = report::busy(format!("connecting to {}", report::counted(hosts.len(), "host")));
        Fleet::connect(&dial, hosts, &|event| progress.hear(&event))
    };
    let mut status = {
        let _busy = report::busy("looking at the hosts and the cluster");
        Status::look(&site.inventory, &mut fleet)
    };
    status.findings.splice(0..0, errors.iter().map(Finding::from));
    match args.output {
        WideOutput::Json => json::document(&status),
        wide => report::data(&table::status(&status, wide == WideOutput::Wide)),
    }
    if args.output != WideOutput::Json {
        report::findings(&status.findings);
    }
    let wrong = status.findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(match (errors.is_empty(), wrong) {
        (false, _) => Code::Unreachable,
        (true, true) => Code::Failed,
        (true, false) => Code::Done,
    })
}

impl Status {
    /// The status of a cluster whose hosts are all connected, from what was seen of them and of their nodes last.
    pub fn of(cluster: &mut Cluster) -> Status {
        let (inventory, survey) = (&cluster.site.inventory, &cluster.survey);
        let mut findings = Vec::new();
        let nodes = cluster
            .nodes
            .take()
            .or_else(|| nodes_of(inventory, &mut cluster.fleet, &survey.facts, &mut findings));
        Status::from_survey(inventory, nodes, survey, findings)
    }

    fn look(inventory: &Inventory, fleet: &mut Fleet) -> Status {
        let mut findings = Vec::new();
        let mut survey = Survey::default();
        for (host, seen) in fleet.each(survey::look) {
            match seen {
                Ok((facts, offset)) => {
                    survey.clock_offsets_ms.insert(host.clone(), offset);
                    survey.facts.insert(host, facts);
                }
                Err(error) => findings.push(error.finding()),
            }
        }
        let nodes = nodes_of(inventory, fleet, &survey.facts, &mut findings);
        Status::from_survey(inventory, nodes, &survey, findings)
    }

    fn from_survey(
        inventory: &Inventory,
        nodes: Option<Vec<Node>>,
        survey: &Survey,
        mut findings: Vec<Finding>,
    ) -> Status {
        let hosts = inventory.hosts.iter().map(|host| {
            if let (Some(nodes), true) = (&nodes, survey.facts.contains_key(&host.name)) {
                findings.extend(fault(host, nodes));
                findings.extend(nodes::shortage(&host.name, nodes));
            }
            let node = nodes.iter().flatten().find(|node| node.name == host.name);
            HostStatus::new(host, survey, node, inventory.is_docker())
        });
        let hosts = hosts.collect();
        for (host, facts) in &survey.facts {
            if let Some(run) = &facts.own.running {
                let message = format!("the run {run} is at work there");
                let remedy = "`kubewan up` waits for it and goes on";
                findings.push(Finding::warning("host-busy", host, message, remedy));
            }
        }
        let kubernetes = inventory.kubernetes.version.clone();
        Status { cluster: inventory.name.clone(), kubernetes, hosts, findings }
    }
}

/// The nodes, by the first control plane that answers; `None` where there is no cluster yet.
fn nodes_of(
    inventory: &Inventory,
    fleet: &mut Fleet,
    facts: &BTreeMap<String, Facts>,
    findings: &mut Vec<Finding>,
) -> Option<Vec<Node>> {
    let made = |host: &&Host| {
        facts.get(&host.name).is_some_and(|f| f.kubernetes.state == ClusterState::Done)
    };
    let control_planes: Vec<&Host> = inventory.control_planes().filter(made).collect();
    if control_planes.is_empty() && facts.contains_key(&inventory.first_control_plane().name) {
        let finding =
            Finding::warning("no-cluster", "", "there is no cluster yet", "`kubewan up` makes it");
        findings.push(finding.for_cluster());
    }
    let remedy = "read the API server's log on that host: `sudo sh -c 'tail /var/log/pods/kube-system_kube-apiserver-*/*/*.log'`";
    for host in control_planes {
        let said = match nodes::list(fleet.member(&host.name)?) {
            Ok(Ok(nodes)) => return Some(nodes),
            Ok(Err(said)) => said,
            Err(error) => error.to_string(),
        };
        let message = format!("the API does not answer: {said}");
        findings.push(Finding::error("api-silent", &host.name, message, remedy));
    }
    None
}

fn fault(host: &Host, nodes: &[Node]) -> Option<Finding> {
    let addresses = resolve::addresses(std::slice::from_ref(host)).ok()?;
    nodes::fault(&host.name, &addresses[&host.name].to_string(), nodes)
}

impl HostStatus {
    fn new(host: &Host, survey: &Survey, node: Option<&Node>, is_docker: bool) -> Self {
        let seen = survey.facts.get(&host.name);
        let role = |role: &Role| match role {
            Role::ControlPlane => "control-plane".to_owned(),
            Role::Worker => "worker".to_owned(),
        };
        let mut status = HostStatus {
            name: host.name.clone(),
            address: host.address.clone(),
            roles: host.roles.iter().map(role).collect(),
            reachable: seen.is_some(),
            ..HostStatus::default()
        };
        if let Some(facts) = seen {
            let address = host.address.parse().ok();
            status.os = Some(facts.os.pretty_name.clone());
            status.kernel = Some(facts.kernel.release.clone());
            status.address_on =
                address.and_then(|address| facts.interface_with(address)).map(str::to_owned);
            status.clock_offset_ms = survey.clock_offsets_ms.get(&host.name).copied();
            status.runtime = runtime(&facts.runtime, is_docker);
        }
        if let Some(node) = node {
            status.ready = node.ready;
            status.reason = (!node.ready).then(|| node.reason.clone());
            status.version = Some(node.version.clone());
            status.internal_ip = node.internal_ip.clone();
            status.pod_cidr = node.pod_cidr.clone();
        }
        status
    }
}
