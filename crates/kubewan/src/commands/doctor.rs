//! `kubewan doctor`: what is wrong, why, and what to do. It goes on without hosts that can't be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::event::Event;
use kubewan_core::evidence::ClusterAnswers;
use kubewan_core::finding::{Finding, Severity};
use kubewan_core::inventory::Host;
use kubewan_core::plan::Plan;
use kubewan_doctor::cluster::Cluster as Answered;
use kubewan_doctor::diagnosis::asks_the_api;
use kubewan_doctor::{Case, Diagnosis, HostCase, diagnose};
use kubewan_fleet::dial::SshDial;
use kubewan_fleet::executor::{self, Run};
use kubewan_fleet::fleet::Fleet;
use kubewan_fleet::supply::Supply;
use kubewan_fleet::{evidence, resolve, survey};
use serde::Serialize;

use crate::args::{DoctorArgs, Output};
use crate::cluster::Cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, doctor_view, json, plan_view, progress::Progress};
use crate::site::Site;

/// Bytes of a text that is read: the end of a longer one.
const TEXT_MAX: u64 = 16 << 20;

/// How long what was mended has to show it.
const SETTLING: Duration = Duration::from_secs(60);

/// The whole answer.
#[derive(Debug, Serialize)]
struct Answer {
    /// The cluster's name; left out for a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    /// What is wrong, after `--fix` too.
    findings: Vec<Diagnosis>,
    /// Ids of the steps that `--fix` did.
    fixed: Vec<String>,
}

/// All that was seen of a cluster.
pub struct Examination {
    /// The evidence.
    pub case: Case,
    /// What kubectl said.
    pub answers: ClusterAnswers,
    /// What is wrong.
    pub found: Vec<Diagnosis>,
}

/// Looks, and says what is wrong.
pub fn run(args: &DoctorArgs) -> Result<Code, Failure> {
    if let Some(path) = &args.log {
        return read_text(path, args.output);
    }
    let site = Site::read(&args.file.file)?;
    let dial = site.dial();
    let mut examination = Examination::of(&site, &dial)?;
    let mut fixed = Vec::new();
    if args.fix && examination.found.iter().any(|found| !found.fix.is_empty()) {
        if args.output == Output::Table {
            report::data(&doctor_view::text(&examination.found, true));
        }
        fixed = fix(args, &site, &dial, &examination)?;
        examination = after_fix(&site, &dial, &examination.found, !fixed.is_empty())?;
    }
    let Examination { case, found, .. } = examination;
    let code = match found.iter().any(|found| found.severity == Severity::Error) {
        _ if case.hosts.iter().any(|host| host.unreachable.is_some()) => Code::Unreachable,
        true => Code::Failed,
        false => Code::Done,
    };
    match args.output {
        Output::Json => {
            json::document(&Answer { cluster: Some(site.inventory.name), findings: found, fixed });
        }
        Output::Table => {
            report::data(&doctor_view::text(&found, true));
            report::data(&doctor_view::summary(&found, case.present().count()));
        }
    }
    Ok(code)
}

fn read_text(path: &Path, output: Output) -> Result<Code, Failure> {
    let name = if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
    let bytes = text_of(path).map_err(|error| {
        let next = "name a file that you can read, or `-` for standard input";
        Failure::new(Code::Refused, format!("can't read {name}: {error}"), next)
    })?;
    let found = diagnose(&Case::pasted(&name, &String::from_utf8_lossy(&bytes)));
    let code = match found.iter().any(|found| found.severity == Severity::Error) {
        true => Code::Failed,
        false => Code::Done,
    };
    match output {
        Output::Json => {
            json::document(&Answer { cluster: None, findings: found, fixed: Vec::new() })
        }
        Output::Table => {
            report::data(&doctor_view::text(&found, false));
            report::data(&doctor_view::summary_of_text(&found, &name));
        }
    }
    Ok(code)
}

/// The end of a file, or of standard input.
fn text_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(TEXT_MAX).read_to_end(&mut bytes)?;
    } else {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(length.saturating_sub(TEXT_MAX)))?;
        file.take(TEXT_MAX).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

impl Examination {
    /// Looks at all hosts that can be reached, and at the cluster.
    pub fn of(site: &Site, dial: &SshDial) -> Result<Examination, Failure> {
        let inventory = &site.inventory;
        let hosts = &inventory.hosts;
        // One at a time: a name that does not resolve hides no other host's address.
        let mut addresses = BTreeMap::new();
        for host in hosts {
            addresses.extend(resolve::addresses(std::slice::from_ref(host)).unwrap_or_default());
        }
        let (mut fleet, errors) = {
            let progress = Progress::new(Output::Table, hosts);
            let _busy =
                report::busy(format!("connecting to {}", report::counted(hosts.len(), "host")));
            Fleet::connect(dial, hosts, &|event| progress.hear(&event))
        };
        let gathered = {
            let _busy = report::busy("reading logs, units and certificates");
            evidence::gather(&mut fleet, inventory, &addresses)
        };
        let unreachable: Vec<Finding> = errors
            .iter()
            .map(Finding::from)
            .chain(gathered.errors.iter().map(|error| error.finding()))
            .collect();
        let mut seen = gathered.hosts;
        let case_of = |host: &Host| {
            let mut case = HostCase::new(inventory, host, addresses.get(&host.name).copied());
            if let Some(seen) = seen.remove(&host.name) {
                case.facts = Some(seen.facts);
                case.evidence = seen.evidence;
                case.clock_offset_ms = seen.clock_offset_ms;
                case.own_api = seen.own_api;
            } else {
                let said = unreachable.iter().find(|f| f.host.as_ref() == Some(&host.name));
                let said = said.map(|f| (f.code.clone(), f.message.clone()));
                case.unreachable = Some(said.unwrap_or_default());
            }
            case
        };
        let case = Case {
            hosts: hosts.iter().map(case_of).collect(),
            cluster: gathered.answers.as_ref().map(Answered::read),
            now_unix: survey::unix_ms() / 1000,
        };
        let found = diagnose(&case);
        Ok(Examination { case, answers: gathered.answers.unwrap_or_default(), found })
    }
}

/// Looks again: kubelets take some seconds to say that they are well.
fn after_fix(
    site: &Site,
    dial: &SshDial,
    before: &[Diagnosis],
    changed: bool,
) -> Result<Examination, Failure> {
    let until = Instant::now() + SETTLING;
    loop {
        let seen = Examination::of(site, dial)?;
        let fixable = |d: &Diagnosis| d.severity == Severity::Error && !d.fix.is_empty();
        let known = |d: &Diagnosis| fixable(d) && before.iter().any(fixable);
        if !changed || !seen.found.iter().any(known) || Instant::now() > until {
            return Ok(seen);
        }
        thread::sleep(Duration::from_secs(5));
    }
}

/// Carries out the steps of `kubewan up` that are against what was found; answers their ids. Where the API is silent, those
/// that don't need it, so that it comes back.
fn fix(
    args: &DoctorArgs,
    site: &Site,
    dial: &SshDial,
    examination: &Examination,
) -> Result<Vec<String>, Failure> {
    let found = &examination.found;
    let is_silent = examination.case.cluster.as_ref().is_some_and(|api| api.silent.is_some());
    let bundle = site.bundle()?;
    let mut cluster = {
        let progress = Progress::new(Output::Table, &site.inventory.hosts);
        Cluster::open(site, dial, &|event| progress.hear(&event))?
    };
    let supply = cluster.supply(bundle)?;
    let mut plan = if is_silent && cluster.stands() {
        report::note(
            "the API is silent: only what can be mended without it; once it answers, run `kubewan doctor` again",
        );
        cluster.plan_without_api(&supply, &|id| is_against(id, found) && !asks_the_api(id))?
    } else {
        cluster.plan(&supply)?
    };
    if plan.is_refused() {
        return Err(Failure::findings(Code::Refused, plan.findings));
    }
    plan.steps.retain(|planned| planned.change.is_some() && is_against(&planned.step.id, found));
    let ids: Vec<String> = plan.steps.iter().map(|planned| planned.step.id.clone()).collect();
    if ids.is_empty() {
        report::note(
            "`kubewan up` has no step against what was found: what is left is done by hand",
        );
        return Ok(ids);
    }
    if args.output == Output::Table {
        report::data(&plan_view::text(&plan));
    }
    if !args.yes && args.output == Output::Json {
        return Err(Failure::new(
            Code::Unconfirmed,
            "`-o json` shows no steps to say yes to, so nothing was changed",
            "look at `kubewan doctor --fix` without it, or use `--yes`",
        ));
    }
    if !args.yes {
        match report::ask("Apply these steps? Only 'yes' is accepted:").as_deref() {
            Some("yes") => {}
            Some(_) => return Err(Failure::text(Code::Unconfirmed, "Nothing was changed.")),
            None => {
                let said = "there is no terminal to ask on, so nothing was changed";
                return Err(Failure::new(
                    Code::Unconfirmed,
                    said,
                    "look at the steps, then use `--yes`",
                ));
            }
        }
    }
    carry_out(&mut cluster, &supply, &plan)?;
    Ok(ids)
}

fn is_against(id: &str, found: &[Diagnosis]) -> bool {
    found.iter().any(|d| d.fix.iter().any(|goal| goal.is_of(d.host.as_deref(), id)))
}

fn carry_out(cluster: &mut Cluster, supply: &Supply, plan: &Plan) -> Result<(), Failure> {
    let hosts: BTreeSet<&String> = plan.steps.iter().map(|planned| &planned.step.host).collect();
    report::detail(&format!("on {} of the hosts", hosts.len()));
    let progress = Progress::for_plan(Output::Table, &cluster.site.inventory.hosts, plan);
    let emit = |event: Event| progress.hear(&event);
    let (name, sources, undoes) = (executor::run_name(), supply.bundle.sources(), BTreeMap::new());
    let changed = AtomicUsize::new(0);
    let run = Run {
        name: &name,
        plan,
        sources: &sources,
        undoes: &undoes,
        giver: None,
        emit: &emit,
        changed: &changed,
    };
    executor::apply(&mut cluster.fleet, &run)
        .map_err(|errors| Failure::on_hosts(&errors).after(changed.load(Ordering::Relaxed)))
}
