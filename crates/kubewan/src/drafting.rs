//! From hosts that somebody named to an inventory that is written: logs in, looks, says what a plan would say, and shows all
//! of it. It changes nothing on a host, and never a file that is there. [`crate::commands`] `init` and `adopt` say what goes
//! into the draft.

pub mod targets;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use kubewan_agent::probe;
use kubewan_core::bundle::{Bundle, FORMAT};
use kubewan_core::facts::Facts;
use kubewan_core::finding::{Finding, Severity};
use kubewan_core::inventory::adopt::Living;
use kubewan_core::inventory::draft::{Draft, DraftHost};
use kubewan_core::inventory::{self, Host, Inventory};
use kubewan_core::network::ports::Source;
use kubewan_core::network::reach::Measured;
use kubewan_core::plan::found::brief;
use kubewan_core::plan::{Inputs, steps};
use kubewan_fleet::dial::SshDial;
use kubewan_fleet::fleet::Fleet;
use kubewan_fleet::survey::{self, Survey};
use kubewan_fleet::{reach, resolve};

use crate::args::Output;
use crate::cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, progress::Progress, table, terminal::Terminal};

/// ssh with the keys and files of the inventory's folder.
pub fn dial_for(file: &Path) -> SshDial {
    let base = file.parent().filter(|base| !base.as_os_str().is_empty());
    let dial = SshDial::new(base.unwrap_or(Path::new(".")).to_owned(), Terminal::operator());
    dial.traced(report::trace())
}

/// Logs in to the hosts and looks at them.
pub fn looked_at<'a>(dial: &'a SshDial, hosts: &'a [Host]) -> Result<(Fleet<'a>, Survey), Failure> {
    let progress = Progress::new(Output::Table, hosts);
    let mut fleet = cluster::connect(dial, hosts, &|event| progress.hear(&event))?;
    drop(progress);
    let _busy = report::busy("looking at the hosts");
    let survey = survey::survey(&mut fleet, &|_| ());
    let survey = survey.map_err(|errors| Failure::on_hosts(&errors))?;
    Ok((fleet, survey))
}

/// Writes the inventory with what was found, and shows both.
pub fn announce(
    file: &Path,
    command: &str,
    draft: &mut Draft,
    facts: &[&Facts],
    findings: Vec<(Finding, Vec<String>)>,
) -> Result<(), Failure> {
    comment(draft, command, &findings);
    read_back(file, draft)?;
    write(file, &draft.text())?;
    let rows = draft.hosts.iter().zip(facts).map(|(host, facts)| (host, brief(facts)));
    report::data(&table::drafted(rows));
    let findings: Vec<Finding> = findings.into_iter().map(|(finding, _)| finding).collect();
    tell(file, &findings);
    Ok(())
}

pub fn there_already(file: &Path) -> Failure {
    let said = format!("{} is there already, and is left as it is", file.display());
    Failure::new(
        Code::Refused,
        said,
        "name another file with `--file`, or `kubewan plan` with this one",
    )
}

/// What was written, as any inventory is read: what is wrong with what was typed shows before it is a file.
pub fn read_back(file: &Path, draft: &Draft) -> Result<Inventory, Failure> {
    let name = file.display().to_string();
    inventory::parse(&name, &draft.text()).map_err(|errors| {
        let said = format!("{errors}\nnothing was written");
        Failure::text(Code::Refused, said)
    })
}

/// What is known of the hosts, by the names under which they were connected to.
pub struct Seen<'a> {
    pub hosts: &'a [Host],
    pub named: &'a [String],
    pub facts: &'a [&'a Facts],
    pub clocks: &'a BTreeMap<String, i64>,
    /// The cluster that they are, where it is to be taken over.
    pub living: Option<&'a Living>,
}

impl Seen<'_> {
    fn renamed(&self, name: &str) -> String {
        let at = self.hosts.iter().position(|host| host.name == name);
        at.map_or_else(|| name.to_owned(), |at| self.named[at].clone())
    }

    fn source(&self, source: &Source) -> Source {
        match source {
            Source::Host(name) => Source::Host(self.renamed(name)),
            other => other.clone(),
        }
    }
}

/// What a plan would say of the hosts, the ways between them tried.
pub fn findings(
    inventory: &Inventory,
    fleet: &mut Fleet,
    seen: &Seen,
) -> Result<Vec<Finding>, Failure> {
    let addresses = resolve::addresses(&inventory.hosts)
        .map_err(|findings| Failure::findings(Code::Refused, findings))?;
    let busy = report::busy("trying the ways between the hosts");
    let measured = measured(inventory, &addresses, fleet, seen)?;
    drop(busy);
    // Programs and images are found out by the plan.
    let bundle = Bundle {
        format: FORMAT,
        kubernetes: inventory.kubernetes.version.clone(),
        rehearsal: false,
        provenance: String::new(),
        artifacts: Vec::new(),
    };
    let clocks: BTreeMap<String, i64> =
        seen.clocks.iter().map(|(name, offset)| (seen.renamed(name), *offset)).collect();
    let inputs = Inputs {
        clock_offsets_ms: &clocks,
        living: seen.living,
        measured: &measured,
        ..Inputs::new(&addresses, &bundle)
    };
    let facts: BTreeMap<String, Facts> = seen
        .named
        .iter()
        .zip(seen.facts)
        .map(|(name, facts)| (name.clone(), (*facts).clone()))
        .collect();
    let mut findings = steps(inventory, &facts, &inputs).findings;
    findings.retain(|finding| !finding.code.starts_with("bundle-"));
    Ok(findings)
}

/// The ways between the hosts as the inventory has them, tried by those that are connected.
fn measured(
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
    fleet: &mut Fleet,
    seen: &Seen,
) -> Result<Vec<Measured>, Failure> {
    // The connections have the names that the hosts were typed by.
    let mut typed = inventory.clone();
    let mut typed_addresses = BTreeMap::new();
    let mut facts = BTreeMap::new();
    for ((host, known), of) in typed.hosts.iter_mut().zip(seen.hosts).zip(seen.facts) {
        typed_addresses.insert(known.name.clone(), addresses[&host.name]);
        facts.insert(known.name.clone(), (*of).clone());
        host.name.clone_from(&known.name);
    }
    let measured = reach::measure(fleet, &typed, &typed_addresses, &facts, &probe::all)
        .map_err(|errors| Failure::on_hosts(&errors))?;
    let renamed = measured.into_iter().map(|(mut way, result)| {
        way.from = seen.source(&way.from);
        way.to = seen.renamed(&way.to);
        (way, result)
    });
    Ok(renamed.collect())
}

/// Writes what was found beside what it is about.
fn comment(draft: &mut Draft, command: &str, findings: &[(Finding, Vec<String>)]) {
    draft.head = vec![format!(
        "Written by `kubewan {command}` from what it saw; yours to edit. `kubewan plan` shows what would be done, and changes \
         nothing. All keys: docs/reference.md, `kubewan schema`."
    )];
    for (finding, hosts) in findings {
        let text = paragraph(finding);
        let of = |host: &&mut DraftHost| *hosts == [host.name.clone()];
        match draft.hosts.iter_mut().find(of) {
            Some(host) => host.comments.push(text),
            None if hosts.len() > 1 => draft.notes.push(format!("{}: {text}", hosts.join(", "))),
            None => draft.notes.push(text),
        }
    }
}

/// What is so on several hosts is said once, with the names of all.
pub fn grouped(findings: Vec<Finding>) -> Vec<(Finding, Vec<String>)> {
    let mut said: Vec<(Finding, Vec<String>)> = Vec::new();
    for finding in findings {
        let host = finding.host.clone();
        let same = |(other, _): &&mut (Finding, Vec<String>)| {
            (&other.code, other.severity, &other.message, &other.remedy)
                == (&finding.code, finding.severity, &finding.message, &finding.remedy)
        };
        match said.iter_mut().find(same) {
            Some((other, hosts)) => {
                hosts.extend(host);
                other.host = Some(hosts.join(", "));
            }
            None => said.push((finding, host.into_iter().collect())),
        }
    }
    said
}

/// A finding as a paragraph; of a long remedy the first line.
fn paragraph(finding: &Finding) -> String {
    let kind = match finding.severity {
        Severity::Error => "to decide before `kubewan up`",
        Severity::Warning => "to know",
    };
    let message = finding.message.lines().next().unwrap_or_default();
    let remedy = finding.remedy.lines().next().unwrap_or_default().trim_end_matches(':');
    let mut letters = remedy.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase()).into_iter();
    let remedy: String = first.chain(letters).collect();
    format!("{kind} ({}): {message}. {remedy}", finding.code)
}

/// Only a file that is not there: whoever made one in the meantime keeps it.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(file);
    let written = made.and_then(|mut made| made.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there_already(file),
        _ => {
            let said = format!("can't write {}: {error}", file.display());
            Failure::new(Code::Refused, said, "name a file that you can write to with `--file`")
        }
    })
}

fn tell(file: &Path, findings: &[Finding]) {
    report::findings(findings);
    let file = file.display().to_string();
    let option = match file.as_str() {
        "cluster.yaml" => String::new(),
        file => format!(" -f {}", kubewan_core::shell::quoted(file)),
    };
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let next = match errors {
        0 => String::new(),
        count => format!(", once you have decided {}", report::counted(count, "thing")),
    };
    report::note(&format!("{file} is written. Next{next}: kubewan plan{option}"));
}

/// Whether there is somebody to ask.
fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
