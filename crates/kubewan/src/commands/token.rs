//! `kubewan token`: bootstrap tokens of the cluster. A token goes to standard output and nowhere else.

use kubewan_core::render::kubeadm;
use kubewan_core::token::{self, Discovery};
use kubewan_fleet::dial::SshDial;
use kubewan_fleet::fleet::{Fleet, Member};
use kubewan_fleet::tokens;
use serde::Serialize;

use crate::args::{Output, TokenCommand, TokenCreateArgs, TokenDeleteArgs, TokenListArgs};
use crate::cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, json, progress::Progress, table};
use crate::site::Site;

/// What the Secret of a token says that was made here.
const DESCRIPTION: &str = "made by kubewan token create";

#[derive(Serialize)]
struct Tokens {
    tokens: Vec<token::Listed>,
}

/// Does what was asked for.
pub fn run(command: &TokenCommand) -> Result<Code, Failure> {
    match command {
        TokenCommand::List(args) => list(args),
        TokenCommand::Create(args) => create(args),
        TokenCommand::Delete(args) => delete(args),
        TokenCommand::CaHash(args) => {
            let hash = on_first(&Site::read(&args.file.file)?, tokens::ca_hash)?;
            report::data(&format!("{hash}\n"));
            Ok(Code::Done)
        }
    }
}

fn list(args: &TokenListArgs) -> Result<Code, Failure> {
    let tokens = on_first(&Site::read(&args.file.file)?, tokens::list)?;
    match args.output {
        Output::Json => json::document(&Tokens { tokens }),
        Output::Table => report::data(&table::tokens(&tokens)),
    }
    Ok(Code::Done)
}

fn create(args: &TokenCreateArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let made = on_first(&site, |member| {
        tokens::create(member, args.ttl, DESCRIPTION, Discovery::ByToken)
    })?;
    let token = made.token.reveal();
    let endpoint = kubeadm::endpoint(&site.inventory);
    if args.print_join_command {
        let (name, first) = (site.inventory.api_name(), site.inventory.first_control_plane());
        // A cluster that somebody made has a name or an address of his own.
        let known = match site.inventory.adopt {
            Some(_) => String::new(),
            None => format!(", and to know {name} by its /etc/hosts: {} {name}", first.address),
        };
        report::note(&format!(
            "The host has to be prepared{known}. `kubewan join-command` prints all of it."
        ));
        // A host with Docker has containerd's socket too, and kubeadm wants to be told which.
        let socket = match site.inventory.is_docker() {
            true => format!(" --cri-socket {}", kubeadm::cri_socket(&site.inventory)),
            false => String::new(),
        };
        secret(&format!(
            "kubeadm join {endpoint} --token {token} --discovery-token-ca-cert-hash {}{socket}\n",
            made.ca_hash
        ))?;
    } else {
        secret(&format!("{token}\n"))?;
    }
    report::note(&format!("Good until {}.", made.expires));
    Ok(Code::Done)
}

/// Prints what holds a token.
pub fn secret(text: &str) -> Result<(), Failure> {
    report::secret_data(text).map_err(|error| {
        let said = format!(
            "it holds a token, and the file that it goes to can't be closed to others: {error}"
        );
        Failure::new(Code::Refused, said, "let it go to a file of your own")
    })
}

fn delete(args: &TokenDeleteArgs) -> Result<Code, Failure> {
    let ids: Result<Vec<&str>, String> = args.ids.iter().map(|id| token::id_of(id)).collect();
    let ids = ids.map_err(|said| {
        Failure::new(Code::Usage, said, "`kubewan token list` shows those that there are")
    })?;
    let site = Site::read(&args.file.file)?;
    let gone = on_first(&site, |member| {
        let mut gone = Vec::new();
        for id in &ids {
            match tokens::delete(member, id)? {
                Ok(was_there) => gone.push((*id, was_there)),
                Err(refused) => return Ok(Err(refused)),
            }
        }
        Ok(Ok(gone))
    })?;
    for (id, was_there) in &gone {
        report::note(&format!("{id}: {}", if *was_there { "deleted" } else { "there is none" }));
    }
    Ok(if gone.iter().all(|(_, was_there)| *was_there) { Code::Done } else { Code::Refused })
}

/// Asks the first control plane, by a connection of its own.
fn on_first<T>(
    site: &Site,
    ask: impl FnOnce(&mut Member) -> Result<Result<T, tokens::Refused>, kubewan_fleet::error::HostError>,
) -> Result<T, Failure> {
    let dial = site.dial();
    let mut fleet = connect(site, &dial)?;
    let name = &site.inventory.first_control_plane().name;
    let busy = report::busy("asking the API");
    let asked = ask(fleet.member(name).expect("it was just connected to"))?;
    drop(busy);
    asked.map_err(|said| refused(name, &said))
}

/// Connects to the first control plane alone.
pub fn connect<'a>(site: &'a Site, dial: &'a SshDial) -> Result<Fleet<'a>, Failure> {
    let alone = std::slice::from_ref(site.inventory.first_control_plane());
    let progress = Progress::new(Output::Table, alone);
    cluster::connect(dial, alone, &|event| progress.hear(&event))
}

/// What the API did not do.
pub fn refused(host: &str, said: &str) -> Failure {
    let next = "`kubewan status` shows how the cluster is, and `kubewan up` makes it or mends it";
    Failure::new(Code::Failed, format!("{host}: {said}"), next)
}
