//! `kubewan adopt`: an inventory of a cluster that somebody made with kubeadm by hand. It asks and looks, and changes nothing.

use kubewan_core::facts::Facts;
use kubewan_core::finding::Finding;
use kubewan_core::inventory::Host;
use kubewan_core::inventory::adopt::{self, Answers};
use kubewan_core::inventory::draft::{Draft, DraftHost};
use kubewan_core::plan::found::described;
use kubewan_fleet::fleet::Member;
use serde_json::Value;

use crate::args::AdoptArgs;
use crate::drafting::targets::{self, Target};
use crate::drafting::{
    Seen, announce, dial_for, findings, grouped, looked_at, read_back, there_already,
};
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;

/// Seconds that kubectl may take for one answer.
const ANSWER_S: u64 = 30;

/// Writes the inventory.
pub fn run(args: &AdoptArgs) -> Result<Code, Failure> {
    // Before anybody is asked anything.
    if args.file.exists() {
        return Err(there_already(&args.file));
    }
    let targets = targets::choose(&args.hosts, args.from_ssh_config, args.key.as_deref())?;
    let hosts: Vec<Host> = targets.iter().map(Target::host).collect();
    let dial = dial_for(&args.file);
    let (mut fleet, survey) = looked_at(&dial, &hosts)?;
    let facts: Vec<&Facts> = hosts.iter().map(|host| &survey.facts[&host.name]).collect();
    let seen: Vec<adopt::Seen> = hosts
        .iter()
        .zip(&facts)
        .map(|(host, facts)| adopt::Seen { name: &host.name, address: &host.address, facts })
        .collect();
    let refused = |findings: Vec<Finding>| Failure::findings(Code::Refused, findings);
    let first = adopt::control_plane(&seen).map_err(refused)?;
    let member = fleet.member(&hosts[first].name).expect("it was connected to");
    let answers = answers(member)?;
    let living = adopt::living(&seen, first, &answers).map_err(refused)?;

    let name = args.name.clone().or_else(|| living.name.clone()).unwrap_or_else(|| "home".into());
    let mut draft = Draft { name, ..Draft::default() };
    draft.hosts = targets.iter().map(drafted).collect();
    living.write(&mut draft);
    for (host, facts) in draft.hosts.iter_mut().zip(&facts) {
        host.comments = described(facts, host.address.parse().ok());
    }
    let inventory = read_back(&args.file, &draft)?;
    let named: Vec<String> = draft.hosts.iter().map(|host| host.name.clone()).collect();
    let seen =
        Seen { hosts: &hosts, named: &named, facts: &facts, clocks: &survey.clock_offsets_ms };
    let findings = grouped(findings(&inventory, &mut fleet, &seen)?);
    announce(&args.file, "adopt", &mut draft, &facts, findings)?;
    Ok(Code::Done)
}

fn drafted(target: &Target) -> DraftHost {
    DraftHost { address: target.address.clone(), ssh: target.ssh.clone(), ..DraftHost::default() }
}

/// What the cluster says of itself, asked by its own kubectl on its control plane.
fn answers(member: &mut Member) -> Result<Answers, Failure> {
    let _busy = report::busy("asking the cluster's API");
    let host = member.host.name.clone();
    let mut ask = |args: &[&str]| -> Result<Value, Failure> {
        let output = member.kubectl(args, None, ANSWER_S)?;
        let refused = |said: &str| {
            let message =
                format!("the cluster's API does not answer `kubectl {}`: {said}", args.join(" "));
            let remedy = "what is healthy is taken over: see to it that kubectl works there with /etc/kubernetes/admin.conf";
            let finding = Finding::error("adopt-no-api", &host, message, remedy);
            Failure::findings(Code::Refused, vec![finding])
        };
        if output.code != 0 {
            return Err(refused(output.stderr.trim()));
        }
        if output.stdout.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&output.stdout).map_err(|error| refused(&error.to_string()))
    };
    let nodes = ask(&["get", "nodes", "-o", "json"])?;
    let maps = |namespace: &'static str, names: &[&'static str]| -> Vec<&'static str> {
        let get = ["get", "-o", "json", "--ignore-not-found", "-n", namespace, "configmaps"];
        [&get[..], names].concat()
    };
    let of_kubeadm = ask(&maps("kube-system", &["kubeadm-config", "kubewan"]))?;
    let of_flannel = ask(&maps("kube-flannel", &["kube-flannel-cfg"]))?;
    let daemon_sets = ask(&["get", "daemonsets", "-A", "-o", "json"])?;
    Ok(Answers { nodes, config_maps: Answers::together(&of_kubeadm, &of_flannel), daemon_sets })
}
