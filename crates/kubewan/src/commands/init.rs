//! `kubewan init`: asks for addresses, logs in, looks, and writes a commented inventory. It changes nothing on a host, and
//! never a file that is there.

use kubewan_core::facts::Facts;
use kubewan_core::inventory::draft::{Draft, DraftHost, host_name};
use kubewan_core::inventory::{Host, Role};
use kubewan_core::plan::found::{described, first_control_plane};
use kubewan_core::versions::RELEASES;

use crate::args::InitArgs;
use crate::drafting::targets::{self, Target};
use crate::drafting::{
    Seen, announce, dial_for, findings, grouped, looked_at, read_back, there_already,
};
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;

/// A name that says nothing, as the README has it.
const NAME: &str = "home";

/// Writes the inventory.
pub fn run(args: &InitArgs) -> Result<Code, Failure> {
    // Before anybody is asked anything.
    if args.file.exists() {
        return Err(there_already(&args.file));
    }
    let targets = targets::choose(&args.hosts, args.from_ssh_config, args.key.as_deref())?;
    let name = cluster_name(args)?;
    let hosts: Vec<Host> = targets.iter().map(Target::host).collect();
    let dial = dial_for(&args.file);
    let (mut fleet, survey) = looked_at(&dial, &hosts)?;
    let facts: Vec<&Facts> = hosts.iter().map(|host| &survey.facts[&host.name]).collect();
    let mut draft = Draft { name, version: version(args), ..Draft::default() };
    let named = names(&targets, &facts);
    let (first, why) = first_control_plane(&facts).expect("there is at least one host");
    for ((target, name), facts) in targets.iter().zip(&named).zip(&facts) {
        draft.hosts.push(DraftHost {
            name: name.clone(),
            address: target.address.clone(),
            ssh: target.ssh.clone(),
            roles: vec![Role::Worker],
            comments: described(facts, target.address.parse().ok()),
            ..DraftHost::default()
        });
    }
    draft.hosts[first].roles.insert(0, Role::ControlPlane);
    draft.hosts[first].comments.push(format!("the control plane: {why}"));
    let inventory = read_back(&args.file, &draft)?;
    let seen = Seen {
        hosts: &hosts,
        named: &named,
        facts: &facts,
        clocks: &survey.clock_offsets_ms,
        living: None,
    };
    let findings = grouped(findings(&inventory, &mut fleet, &seen)?);
    announce(&args.file, "init", &mut draft, &facts, findings)?;
    Ok(Code::Done)
}

/// The newest release that is known, with its newest patch, unless another is asked for.
fn version(args: &InitArgs) -> String {
    let newest = || {
        let release = RELEASES.last().expect("the table has rows");
        format!("1.{}.{}", release.minor, release.last_patch)
    };
    args.kubernetes.clone().unwrap_or_else(newest)
}

fn cluster_name(args: &InitArgs) -> Result<String, Failure> {
    let asks = args.name.is_none() && args.hosts.is_empty();
    let asked = if asks { report::ask(&format!("The cluster's name [{NAME}]:")) } else { None };
    let name = args.name.clone().or(asked.filter(|name| !name.is_empty()));
    Ok(name.unwrap_or_else(|| NAME.into()))
}

/// A name for each host, no two alike: what it calls itself, what it was called by, or a number.
fn names(targets: &[Target], facts: &[&Facts]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for (target, facts) in targets.iter().zip(facts) {
        let said = host_name(&[&facts.hostname, target.destination(), &target.address]);
        let said = said.filter(|name| !taken.contains(name));
        let numbered = || {
            let mut free = (1..).map(|number| format!("node{number:02}"));
            free.find(|name| !taken.contains(name)).unwrap_or_default()
        };
        let name = said.unwrap_or_else(numbered);
        taken.push(name);
    }
    taken
}
