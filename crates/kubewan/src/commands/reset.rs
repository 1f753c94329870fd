//! `kubewan reset`: gives the hosts back as they were, from their journals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;

use kubewan_core::action::firewall::FirewallState;
use kubewan_core::action::{Action, Extent, Observed, Removed};
use kubewan_core::event::Event;
use kubewan_core::facts::{ClusterState, KubernetesFacts};
use kubewan_core::finding::Finding;
use kubewan_core::journal;
use kubewan_core::plan::{Phase, Plan, Step, reset, several_clusters};
use kubewan_fleet::executor::{self, Run};
use kubewan_fleet::survey;
use kubewan_fleet::upload::Sources;

use crate::args::{Output, ResetArgs};
use crate::cluster::Cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::progress::{self, Progress};
use crate::report::{self, Verbosity, plan_view, verbosity};
use crate::site::Site;

/// Takes everything back.
pub fn run(args: &ResetArgs) -> Result<Code, Failure> {
    let changed = AtomicUsize::new(0);
    let result = attempt(args, &changed);
    let changed = changed.into_inner();
    let result = result.map_err(|failure| failure.after(changed));
    progress::end(args.output, changed, &result);
    result
}

fn attempt(args: &ResetArgs, changed: &AtomicUsize) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let dial = site.dial();
    let hosts = &site.inventory.hosts;
    let mut cluster = {
        let progress = Progress::new(args.output, hosts);
        Cluster::open(&site, &dial, &|event| progress.hear(&event))?
    };
    refuse_adopted(&cluster)?;
    let (plan, undoes) = {
        let _busy = report::busy("reading the hosts' journals");
        plan(&mut cluster)?
    };
    let show = args.output == Output::Table;
    // Who has said yes already and wants to read little reads no plan.
    if show && (verbosity() > Verbosity::Quiet || args.confirm.is_none()) {
        report::data(&plan_view::text(&plan));
    }
    if plan.is_refused() {
        return Err(Failure::findings(Code::Refused, plan.findings));
    }
    report::findings(&plan.findings);
    if !undoes.is_empty() {
        confirm(args, &plan)?;
    }
    let progress = Progress::for_plan(args.output, hosts, &plan);
    let emit = |event: Event| progress.hear(&event);
    let name = executor::run_name();
    emit(Event::RunStarted { run: name.clone(), cluster: plan.cluster.clone(), rehearsal: false });
    let sources = Sources::new();
    let run = Run {
        name: &name,
        plan: &plan,
        sources: &sources,
        undoes: &undoes,
        giver: None,
        emit: &emit,
        changed,
    };
    executor::apply(&mut cluster.fleet, &run).map_err(|errors| Failure::on_hosts(&errors))?;
    drop(progress);
    come_in_anew(&mut cluster, &plan)?;
    let stay = folders_that_stay(&mut cluster, &plan)?;
    report::findings(&stay);
    farewell(&mut cluster)?;
    if show {
        let all_is_back = plan.findings.is_empty() && stay.is_empty();
        let but = if all_is_back { "" } else { ", but for what is named above" };
        report::note(&format!("The hosts are as they were{but}."));
    }
    Ok(Code::Done)
}

/// A cluster that somebody else made is not kubewan's to end, and without what kubewan did it would break.
fn refuse_adopted(cluster: &Cluster) -> Result<(), Failure> {
    let is_adopted = |facts: &KubernetesFacts| {
        facts.adopted
            || (cluster.site.inventory.adopt.is_some() && facts.state != ClusterState::None)
    };
    let hosts = cluster.survey.facts.iter().filter(|(_, facts)| is_adopted(&facts.kubernetes));
    let findings: Vec<Finding> = hosts
        .map(|(host, _)| {
            Finding::error(
                "adopted-cluster",
                host,
                "its cluster was made with kubeadm by hand and adopted: kubewan never saw the host without it",
                "if nobody needs the cluster: `kubeadm reset` on every host, then `kubewan reset` takes back what kubewan \
                 itself changed",
            )
        })
        .collect();
    if findings.is_empty() { Ok(()) } else { Err(Failure::findings(Code::Refused, findings)) }
}

/// The way back of all hosts as one plan, and which journal entries its steps take back.
fn plan(cluster: &mut Cluster) -> Result<(Plan, BTreeMap<String, Vec<u64>>), Failure> {
    let name = &cluster.site.inventory.name;
    let mut way = reset::Reset::default();
    for (host, entries) in cluster.fleet.each(|member| member.journal()) {
        let entries = entries?;
        if let Some(other) = journal::cluster(&entries).filter(|other| other != name) {
            let said = format!("{host} belongs to the cluster {other}, not to {name}");
            return Err(Failure::new(Code::Refused, said, "use that cluster's inventory"));
        }
        let back = reset::steps(&host, &entries);
        way.steps.extend(back.steps);
        way.undoes.extend(back.undoes);
        way.left.extend(back.left);
        way.findings.extend(back.findings);
    }
    let seen = survey::observe(&mut cluster.fleet, &way.steps)
        .map_err(|errors| Failure::on_hosts(&errors))?;
    reset::spare_foreign_edits(&mut way, &seen);
    way.findings.extend(reset::settings_that_stay(&way, &seen));
    way.findings.extend(reset::others(&way, &seen, &cluster.survey.facts));
    way.findings.extend(several_clusters(&cluster.survey.facts));
    let plan = Plan::new(name, false, way.steps, &seen, way.findings)?;
    Ok((plan, way.undoes))
}

/// Where a firewall was switched on again, it may let nobody in any more whom it let in before: the connections that we have say
/// nothing of that. As long as no new one comes, the host switches it off again by itself.
fn come_in_anew(cluster: &mut Cluster, plan: &Plan) -> Result<(), Failure> {
    let is_on_again = |planned: &&kubewan_core::plan::PlannedStep| match &planned.step.action {
        Action::Firewall(goal) => {
            planned.change.is_some()
                && matches!(goal.state, FirewallState::Restored { active: true, .. })
        }
        _ => false,
    };
    let hosts = plan.steps.iter().filter(is_on_again).map(|planned| planned.step.host.clone());
    let hosts: BTreeSet<String> = hosts.collect();
    if hosts.is_empty() {
        return Ok(());
    }
    let _busy = report::busy("trying whether the firewalls that are on again let this machine in");
    let came = cluster.fleet.each_of(&hosts, |member| member.come_in_anew());
    let findings: Vec<Finding> = came
        .into_iter()
        .filter_map(|(host, came)| {
            let said = came.err()?.finding().message;
            Some(Finding::error(
                "firewall-shuts-out",
                &host,
                format!(
                    "the firewall that was on before kubewan came is on again, and lets no new connection of this machine in: {said}; the \
                     host switches it off by itself within ten minutes"
                ),
                "then log in, let SSH in by the firewall's own tool (`ufw allow PORT/tcp`), switch it on, and run `kubewan reset` again: \
                 all else is back as it was",
            ))
        })
        .collect();
    if findings.is_empty() { Ok(()) } else { Err(Failure::findings(Code::Failed, findings)) }
}

/// Folders that kubewan made and that are not empty when all of its own is gone: somebody put something into them.
fn folders_that_stay(cluster: &mut Cluster, plan: &Plan) -> Result<Vec<Finding>, Failure> {
    let looks = plan.steps.iter().filter_map(|planned| match &planned.step.action {
        Action::Removed(goal) if goal.extent == Extent::IfEmpty => {
            let look = Removed { path: goal.path.clone(), extent: Extent::Contents };
            let host = &planned.step.host;
            Some(Step::new(Phase::Reset, host, Action::Removed(look), planned.step.why.clone()))
        }
        _ => None,
    });
    let looks: Vec<Step> = looks.collect();
    let seen =
        survey::observe(&mut cluster.fleet, &looks).map_err(|errors| Failure::on_hosts(&errors))?;
    let is_full = |step: &&Step| match seen.get(&step.id) {
        Some(Ok(Observed::Removed(now))) => now.exists,
        _ => false,
    };
    let finding = |step: &Step| {
        Finding::warning(
            "folder-stays",
            &step.host,
            format!(
                "{} came with kubewan, and holds something that did not",
                // The look's own subject is what lies in it.
                step.action.subject().trim_end_matches("/*")
            ),
            "look into it and remove what nobody needs",
        )
    };
    Ok(looks.iter().filter(is_full).map(finding).collect())
}

/// The name, typed, is what no finger does by habit.
fn confirm(args: &ResetArgs, plan: &Plan) -> Result<(), Failure> {
    let name = &plan.cluster;
    let question = format!(
        "This ends the cluster and removes what is in it. Type its name, {name}, to go on:"
    );
    let typed = match &args.confirm {
        Some(typed) => Some(typed.clone()),
        None => report::ask(&question),
    };
    match typed {
        Some(typed) if typed == *name => Ok(()),
        Some(typed) => {
            let said = format!("`{typed}` is not the cluster's name; nothing was changed");
            Err(Failure::new(Code::Unconfirmed, said, format!("type `{name}`")))
        }
        None => Err(Failure::new(
            Code::Unconfirmed,
            "there is no terminal to ask on, so nothing was changed",
            format!("look at what is there with `kubewan status`, then use `--confirm {name}`"),
        )),
    }
}

/// Removes what kubewan itself keeps on the hosts, the journals last.
fn farewell(cluster: &mut Cluster) -> Result<(), Failure> {
    let results = cluster.fleet.each(|member| member.farewell());
    let errors: Vec<_> = results.into_values().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(Failure::on_hosts(&errors)) }
}
