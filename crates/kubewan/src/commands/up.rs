//! `kubewan up`: shows the plan, asks, applies it, and proves the result.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use kubewan_core::event::{Event, Outcome, Proof};
use kubewan_core::plan::Plan;
use kubewan_core::render::kubeadm::API_PORT;
use kubewan_fleet::executor::{self, Run};
use kubewan_fleet::fleet::Emit;
use kubewan_fleet::passing::Giver;
use kubewan_fleet::supply::Supply;
use kubewan_fleet::{proofs, smoke};

use crate::args::{Output, UpArgs};
use crate::cluster::Cluster;
use crate::commands::status::Status;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::progress::{self, Progress};
use crate::report::{self, Verbosity, plan_view, table, verbosity};
use crate::site::Site;

/// Makes the cluster be as the inventory says.
pub fn run(args: &UpArgs) -> Result<Code, Failure> {
    let changed = AtomicUsize::new(0);
    let result = attempt(args, &changed);
    let changed = changed.into_inner();
    let result = result.map_err(|failure| failure.after(changed));
    progress::end(args.output, changed, &result);
    result
}

fn attempt(args: &UpArgs, changed: &AtomicUsize) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let bundle = site.bundle()?;
    // Before anybody is connected to; they are read again when they are used.
    site.registries()?;
    let dial = site.dial();
    let hosts = &site.inventory.hosts;
    let mut cluster = {
        let progress = Progress::new(args.output, hosts);
        Cluster::open(&site, &dial, &|event| progress.hear(&event))?
    };
    let supply = cluster.supply(bundle)?;
    let plan = cluster.plan(&supply)?;
    let show = args.output == Output::Table;
    report::rehearsal(show && plan.rehearsal, || {
        // Who has said yes already and wants to read little reads no plan.
        if show && (verbosity() > Verbosity::Quiet || !args.yes) {
            report::data(&plan_view::text(&plan));
        }
        if plan.is_refused() {
            return Err(Failure::findings(Code::Refused, plan.findings));
        }
        report::findings(&plan.findings);
        if !plan.is_empty() && !args.yes {
            confirm(args.output)?;
        }
        let progress = Progress::for_plan(args.output, hosts, &plan);
        let emit = |event: Event| progress.hear(&event);
        carry_out(&mut cluster, &supply, &plan, changed, &emit)?;
        let changed = changed.load(Ordering::Relaxed);
        let proven = prove(args, &mut cluster, &supply, changed, &emit)?;
        drop(progress);
        if show {
            let status = Status::of(&mut cluster);
            report::data(&table::status(&status, false));
        }
        Ok(if proven { Code::Done } else { Code::Unproven })
    })
}

/// Only the whole word counts: what follows changes servers.
fn confirm(output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return Err(Failure::new(
            Code::Unconfirmed,
            "`-o json` shows no plan to say yes to, so nothing was changed",
            "look at `kubewan plan -o json`, then use `--yes`",
        ));
    }
    match report::ask("Apply this plan? Only 'yes' is accepted:").as_deref() {
        Some("yes") => Ok(()),
        Some(_) => Err(Failure::text(Code::Unconfirmed, "Nothing was changed.")),
        None => Err(Failure::new(
            Code::Unconfirmed,
            "there is no terminal to ask on, so nothing was changed",
            "look at the plan, then use `--yes`",
        )),
    }
}

fn carry_out(
    cluster: &mut Cluster,
    supply: &Supply,
    plan: &Plan,
    changed: &AtomicUsize,
    emit: &Emit,
) -> Result<(), Failure> {
    let name = executor::run_name();
    let (cluster_name, rehearsal) = (plan.cluster.clone(), plan.rehearsal);
    emit(Event::RunStarted { run: name.clone(), cluster: cluster_name, rehearsal });
    let (sources, undoes) = (supply.bundle.sources(), BTreeMap::new());
    let first = cluster.site.inventory.first_control_plane().name.clone();
    let giver = cluster.addresses.get(&first).map(|address| Giver {
        host: first.clone(),
        address: *address,
        // Every host has to reach it there, and before `kubeadm init` nobody listens.
        port: API_PORT,
    });
    let run = Run {
        name: &name,
        plan,
        sources: &sources,
        undoes: &undoes,
        giver: giver.as_ref(),
        emit,
        changed,
    };
    executor::apply(&mut cluster.fleet, &run).map_err(|errors| Failure::on_hosts(&errors))
}

/// Shows that the cluster works and that nothing is left to do; answers whether all of it was so.
fn prove(
    args: &UpArgs,
    cluster: &mut Cluster,
    supply: &Supply,
    changed: usize,
    emit: &Emit,
) -> Result<bool, Failure> {
    let inventory = &cluster.site.inventory;
    let addresses = cluster.addresses.clone();
    let busy = report::busy("waiting for the nodes to be ready");
    let mut known = cluster.nodes.take().filter(|_| changed == 0);
    let mut proofs =
        proofs::readiness(cluster.control_plane(), inventory, &addresses, &mut known, emit)?;
    cluster.nodes = known;
    drop(busy);
    if changed > 0 {
        cluster.look_again(emit)?;
        let rest = cluster.plan(supply)?;
        let proof = at_rest(&rest);
        emit(Event::Proof(proof.clone()));
        proofs.push(proof);
    }
    let failed = |proof: &Proof| proof.outcome == Outcome::Failed;
    let smokes = changed > 0 && !args.no_smoke && !proofs.iter().any(failed);
    if cluster.smoke_is_left && !smokes {
        let _busy = report::busy("removing what a proof has left that was broken off");
        smoke::remove(cluster.control_plane())?;
    }
    // Pods on nodes that are not ready would only say it again, three minutes later.
    if smokes {
        let test = smoke::Test {
            inventory,
            addresses: &addresses,
            archs: &cluster.archs(),
            programs: &cluster.dial.programs,
            rehearsal: supply.bundle.bundle.rehearsal,
            emit,
        };
        let _busy = report::busy("proving that pods on all nodes reach each other");
        proofs.extend(smoke::run(&mut cluster.fleet, &test).map_err(|e| Failure::on_hosts(&e))?);
        // It takes a while.
        cluster.nodes = None;
    }
    Ok(!proofs.iter().any(failed))
}

/// After a run that succeeded, the plan is empty.
fn at_rest(plan: &Plan) -> Proof {
    let left: Vec<&str> = plan.changes().map(|planned| planned.step.id.as_str()).collect();
    let outcome = if left.is_empty() { Outcome::Passed } else { Outcome::Failed };
    let detail = match left.len() {
        0 => "the plan is empty".into(),
        _ => format!("still to do: {}", left.join(", ")),
    };
    Proof { check: "at-rest".into(), subject: plan.cluster.clone(), outcome, detail }
}
