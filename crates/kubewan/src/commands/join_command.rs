//! `kubewan join-command`: all that a person does on a host that kubewan can't reach, for it to become a worker.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kubewan_core::action::Artifact;
use kubewan_core::facts::Facts;
use kubewan_core::inventory::Inventory;
use kubewan_core::mirror;
use kubewan_core::plan::Inputs;
use kubewan_core::plan::by_hand::{self, ByHand};
use kubewan_core::token::Discovery;
use kubewan_fleet::upload::{Source, Sources};
use kubewan_fleet::{resolve, survey, tokens};

use super::token::{connect, refused, secret};
use crate::args::{JoinCommandArgs, Output};
use crate::cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, progress::Progress};
use crate::site::Site;

/// What the Secret of the script's token says.
const DESCRIPTION: &str = "made by kubewan join-command";

/// Prints the script.
pub fn run(args: &JoinCommandArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let refuse = |said: String| Failure::new(Code::Refused, said, "nothing was made or changed");
    let inventory = site.inventory.with_worker(&args.name, &args.address).map_err(refuse)?;
    let addresses = resolve::addresses(&inventory.hosts)
        .map_err(|findings| Failure::findings(Code::Refused, findings))?;
    let bundle = site.bundle()?;
    let dial = site.dial();
    let (like, facts) = looked_at(args, &site, &dial)?;
    let said = BTreeMap::from([(like.clone(), facts.clone())]);
    // From the mirrors that the cluster's hosts were set up from.
    let record = mirror::recorded(&inventory, &said);
    let inventory = mirror::settled(&inventory, &record);
    let supply = site.supply(&inventory, bundle, &said)?;
    let sources = supply.bundle.sources();
    let inputs = Inputs {
        keys: &supply.keys,
        registries: &supply.registries,
        ..Inputs::new(&addresses, &supply.bundle.bundle)
    };
    let written = |ca: &str, expires: &str| {
        let (inventory, name): (&Inventory, &str) = (&inventory, &args.name);
        by_hand::script(&ByHand {
            inventory,
            name,
            like: (&like, &facts),
            inputs: &inputs,
            ca,
            expires,
        })
    };
    // Before there is a token that nobody uses.
    let draft = written("", "");
    if !draft.unwritten.is_empty() {
        let said = format!(
            "{} needs what kubewan has no commands for: {}",
            args.name,
            draft.unwritten.join("; ")
        );
        return Err(refuse(said));
    }
    match &args.files {
        Some(dir) => bring(dir, &draft.files, &sources)?,
        None => name_files(args, &draft.files),
    }
    let mut fleet = connect(&site, &dial)?;
    let first = &site.inventory.first_control_plane().name;
    let busy = report::busy("making a token");
    let member = fleet.member(first).expect("it was just connected to");
    let made = tokens::create(member, args.ttl, DESCRIPTION, Discovery::ByFile)?;
    drop(busy);
    let made = made.map_err(|said| refused(first, &said))?;
    let script = written(&made.ca, &made.expires);
    if supply.bundle.bundle.rehearsal {
        report::note(report::REHEARSAL);
    }
    secret(&script.text.replace(&script.token, made.token.reveal()))?;
    report::note(&format!(
        "The token in it is good until {}; `kubewan token list` and `delete` show and end it.",
        made.expires
    ));
    Ok(Code::Done)
}

/// The host that the other one is like, and what it says.
fn looked_at(
    args: &JoinCommandArgs,
    site: &Site,
    dial: &kubewan_fleet::dial::SshDial,
) -> Result<(String, Facts), Failure> {
    let inventory = &site.inventory;
    let host = match &args.like {
        None => inventory.first_control_plane(),
        Some(name) => inventory.host(name).ok_or_else(|| {
            let names: Vec<&str> = inventory.hosts.iter().map(|host| host.name.as_str()).collect();
            let said = format!("no host `{name}` in {}", args.file.file.display());
            Failure::new(Code::Refused, said, format!("there are {}", names.join(", ")))
        })?,
    };
    let alone = std::slice::from_ref(host);
    let progress = Progress::new(Output::Table, alone);
    let mut fleet = cluster::connect(dial, alone, &|event| progress.hear(&event))?;
    let (facts, _) = survey::look(fleet.member(&host.name).expect("it was just connected to"))?;
    Ok((host.name.clone(), facts))
}

/// Says which files have to come along.
fn name_files(args: &JoinCommandArgs, files: &[Artifact]) {
    if !files.is_empty() {
        report::note(&format!(
            "The host needs {} beside the script: `--files {}` puts them into a folder.",
            report::counted(files.len(), "file"),
            args.name
        ));
    }
}

/// Puts the files into a folder.
fn bring(dir: &Path, files: &[Artifact], sources: &Sources) -> Result<(), Failure> {
    let failed = |what: &Path, error: std::io::Error| {
        let said = format!("can't write {}: {error}", what.display());
        Failure::new(Code::Failed, said, "name a folder that you can write to, with room in it")
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let _busy = report::busy(format!("copying {}", report::counted(files.len(), "file")));
    for file in files {
        let to = dir.join(&file.name);
        let written = match sources.get(&file.sha256) {
            Some(Source::File(from)) => fs::copy(from, &to).map(drop),
            _ => Err(std::io::Error::other("this machine has no file with that content")),
        };
        written.map_err(|error| failed(&to, error))?;
    }
    Ok(())
}
