//! `kubewan adopt`: an inventory of a cluster that somebody made with kubeadm by hand. It asks and looks, and changes nothing.

use kubewan_core::facts::Facts;
use kubewan_core::finding::Finding;
use kubewan_core::inventory::Host;
use kubewan_core::inventory::adopt;
use kubewan_core::inventory::draft::{Draft, DraftHost};
use kubewan_core::plan::found::described;

use crate::args::AdoptArgs;
use crate::drafting::targets::{self, Target};
use crate::drafting::{
    Seen, announce, dial_for, findings, grouped, looked_at, read_back, there_already,
};
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::living;

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
    let answers = living::answers(member)?;
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
    let seen = Seen {
        hosts: &hosts,
        named: &named,
        facts: &facts,
        clocks: &survey.clock_offsets_ms,
        living: Some(&living),
    };
    let findings = grouped(findings(&inventory, &mut fleet, &seen)?);
    announce(&args.file, "adopt", &mut draft, &facts, findings)?;
    Ok(Code::Done)
}

fn drafted(target: &Target) -> DraftHost {
    DraftHost { address: target.address.clone(), ssh: target.ssh.clone(), ..DraftHost::default() }
}
