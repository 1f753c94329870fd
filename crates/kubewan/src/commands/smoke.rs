//! `kubewan smoke`: proves the cluster.

use kubewan_core::event::{Event, Outcome, Proof};
use kubewan_fleet::{nodes, smoke};
use serde::Serialize;

use crate::args::{Output, SmokeArgs};
use crate::cluster::Cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, json, progress::Progress};
use crate::site::Site;

#[derive(Serialize)]
struct Smoke {
    rehearsal: bool,
    proofs: Vec<Proof>,
}

/// Runs the proof.
pub fn run(args: &SmokeArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let dial = site.dial();
    // One document answers; what happens on the way is for people.
    let progress = Progress::new(Output::Table, &site.inventory.hosts);
    let emit = |event: Event| progress.hear(&event);
    let mut cluster = Cluster::open(&site, &dial, &emit)?;
    if !cluster.stands() {
        let next = "`kubewan up` makes it";
        return Err(Failure::new(Code::Refused, "there is no cluster yet", next));
    }
    let rehearsal = nodes::is_rehearsal(cluster.control_plane())?;
    let test = smoke::Test {
        inventory: &site.inventory,
        addresses: &cluster.addresses,
        archs: &cluster.archs(),
        programs: &dial.programs,
        rehearsal,
        emit: &emit,
    };
    let busy = report::busy("proving that pods on all nodes reach each other");
    let proofs =
        report::rehearsal(rehearsal && args.output == Output::Table, || match &args.image {
            Some(image) => smoke::run_image(&mut cluster.fleet, &test, image),
            None => smoke::run(&mut cluster.fleet, &test),
        })
        .map_err(|errors| Failure::on_hosts(&errors))?;
    drop(busy);
    let count = |outcome| proofs.iter().filter(|proof| proof.outcome == outcome).count();
    let failed = count(Outcome::Failed);
    match args.output {
        Output::Json => json::document(&Smoke { rehearsal, proofs }),
        Output::Table => {
            let (passed, not_shown) = (count(Outcome::Passed), count(Outcome::NotShown));
            report::say(&format!("{passed} passed, {failed} failed, {not_shown} not shown\n"));
        }
    }
    Ok(if failed == 0 { Code::Done } else { Code::Unproven })
}
