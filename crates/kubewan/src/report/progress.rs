//! A run as it goes: lines on a terminal that change, plain lines elsewhere, JSON where asked for. Of few hosts every step
//! stays as a line; of a crowd every phase, and what went wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kubewan_core::event::{Event, Outcome, Proof, StepNews};
use kubewan_core::inventory::Host;
use kubewan_core::plan::{Phase, Plan};

use super::board::{Board, Ended, FEW, clock};
use super::catalogue::{localized, localized_line};
use super::style::{BAD, FAINT, HEAD, fit, fit_middle, of_outcome, padded, plain, styled, width};
use super::{Verbosity, counted, json, log, screen, shown, verbosity};
use crate::args::Output;
use crate::exit_code::Code;
use crate::failure::Failure;

/// Uploads smaller than that are not worth a line.
const UPLOAD_WORTH: u64 = 4 << 20;

/// Between two plain lines about uploads to one host.
const UPLOAD_PAUSE: Duration = Duration::from_secs(10);

/// The column of hosts' names.
const NAME_MIN: usize = 12;
const NAME_MAX: usize = 24;

/// Listens to a run and shows it.
pub struct Progress {
    output: Output,
    crowd: bool,
    names: usize,
    /// Words for a plan's steps, by their ids.
    labels: BTreeMap<String, String>,
    /// How many steps a host has in a phase.
    totals: BTreeMap<(&'static str, String), usize>,
    board: Arc<Board>,
    shown: Option<screen::Shown>,
    state: Mutex<State>,
    began: Instant,
}

#[derive(Default)]
struct State {
    /// When a plain line last told of an upload, by host.
    uploads: BTreeMap<String, Instant>,
    /// What is told once for many of its kind.
    many: Option<Many>,
}

/// Events of a kind, of a crowd: one line tells of all of them, once something else happens.
#[derive(Debug, PartialEq, Eq)]
enum Many {
    /// Hosts that an agent was sent to.
    Agents(usize),
    /// Proofs of a check that passed.
    Passed(String, usize),
}

impl Progress {
    /// A listener for this form of answer, and for these hosts.
    pub fn new(output: Output, hosts: &[Host]) -> Self {
        let began = Instant::now();
        let board = Arc::new(Board::new(began));
        let shows = output == Output::Table && verbosity() > Verbosity::Quiet;
        let names = hosts.iter().map(|host| width(&host.name)).max().unwrap_or(0);
        Progress {
            output,
            crowd: hosts.len() > FEW,
            names: names.clamp(NAME_MIN, NAME_MAX),
            labels: BTreeMap::new(),
            totals: BTreeMap::new(),
            shown: shows.then(|| screen::show(board.clone())),
            board,
            state: Mutex::default(),
            began,
        }
    }

    /// The same, with words for a plan's steps.
    pub fn for_plan(output: Output, hosts: &[Host], plan: &Plan) -> Self {
        let mut progress = Progress::new(output, hosts);
        for planned in &plan.steps {
            let Some(change) = &planned.change else { continue };
            let step = &planned.step;
            progress.labels.insert(step.id.clone(), change.summary.clone());
            *progress.totals.entry((step.phase.name(), step.host.clone())).or_default() += 1;
        }
        progress
    }

    /// Hears an event.
    pub fn hear(&self, event: &Event) {
        if !matches!(event, Event::Upload { bytes, total, .. } if bytes < total) {
            log("event", &serde_json::to_string(event).unwrap_or_default());
        }
        if self.output == Output::Json {
            return json::line(event);
        }
        self.settle(event);
        match event {
            Event::RunStarted { .. } | Event::RunDone { .. } | Event::PhaseDone { .. } => {}
            Event::Connected { host, pushed_agent } => self.connected(host, *pushed_agent),
            Event::Waiting { host, run } => {
                let text = format!("waits for the run {run}, which is at work there");
                self.say(Verbosity::Usual, host, &text);
            }
            Event::PhaseStarted { phase, hosts } => self.phase(phase, hosts),
            Event::Upload { host, name, bytes, total, from } => {
                self.upload(host, name, *bytes, *total, from.as_deref());
            }
            Event::Step { host, news } => self.step(host, news),
            Event::Link { host, up, reason } => {
                self.board.link(host, *up);
                let text = match up {
                    true => "link is back".to_owned(),
                    false => format!("link lost: {reason}"),
                };
                self.say(Verbosity::Usual, host, &text);
            }
            Event::Proof(proof) => self.proof(proof),
        }
        if matches!(event, Event::PhaseDone { .. }) {
            self.phase_ended();
        }
    }

    /// Tells of many things of a kind, once another comes.
    fn settle(&self, next: &Event) {
        let Ok(mut state) = self.state.lock() else { return };
        let goes_on = match (&state.many, next) {
            (Some(Many::Agents(_)), Event::Connected { .. }) => true,
            (Some(Many::Passed(check, _)), Event::Proof(proof)) => *check == proof.check,
            _ => false,
        };
        let many = if goes_on { None } else { state.many.take() };
        drop(state);
        if let Some(many) = many {
            self.line(&many.text());
        }
    }

    fn count(&self, event: Many) {
        let Ok(mut state) = self.state.lock() else { return };
        match (&mut state.many, event) {
            (Some(Many::Agents(count) | Many::Passed(_, count)), _) => *count += 1,
            (many, event) => *many = Some(event),
        }
    }

    fn connected(&self, host: &str, pushed_agent: bool) {
        match (pushed_agent, self.crowd && verbosity() < Verbosity::Verbose) {
            (true, true) => self.count(Many::Agents(1)),
            (true, false) => self.say(Verbosity::Usual, host, "agent sent"),
            (false, _) => self.say(Verbosity::Verbose, host, "connected"),
        }
    }

    fn phase(&self, name: &str, hosts: &[String]) {
        let phase = Phase::ALL.iter().find(|phase| phase.name() == name);
        let title = &*localized(phase.map_or(name, |phase| phase.title()));
        let key = phase.map_or("", |phase| phase.name());
        let total = |host: &String| self.totals.get(&(key, host.clone())).copied().unwrap_or(0);
        // One that failed before has no end of its own.
        self.board.end();
        self.board.begin(title, hosts.iter().map(|host| (host.clone(), total(host))));
        let who = match self.crowd && hosts.len() > FEW {
            true => counted(hosts.len(), "host"),
            false => hosts.join(", "),
        };
        self.line(&format!("{} ({who})", styled(HEAD, &format!("── {title}"))));
    }

    fn phase_ended(&self) {
        let Some(Ended { title, hosts, steps, took, last }) = self.board.end() else { return };
        let level = if self.crowd { Verbosity::Usual } else { Verbosity::Verbose };
        let latest = last.map_or(String::new(), |host| format!(", {host} last"));
        let took = clock(took);
        let text = match hosts {
            1 => format!("{title}: {} in {took}", counted(steps, "step")),
            _ => format!("{title}: {} on {hosts} hosts in {took}{latest}", counted(steps, "step")),
        };
        stays(level, &format!("{} {}", styled(FAINT, &self.time()), localized(&text)));
    }

    fn step(&self, host: &str, news: &StepNews) {
        let (_, short) = news.step.split_once('/').unwrap_or(("", &news.step));
        let label = self.labels.get(&news.step).map_or(short, String::as_str);
        let line = news.line.as_deref().unwrap_or_default();
        match news.state.as_str() {
            "started" => self.board.doing(host, &localized(label), ""),
            "progress" => self.board.doing(host, &localized(label), &localized_line(line)),
            "failed" => {
                self.board.failed(host);
                let text = styled(BAD, &format!("FAILED {label}"));
                self.say(Verbosity::Quiet, host, &text);
            }
            _ => {
                let took = self.board.done(host).unwrap_or_default();
                // What another step of the batch has brought along is no news.
                let (changed, note) = match news.changed {
                    Some(false) => (false, "right already, "),
                    _ => (true, ""),
                };
                let level = match changed && !self.crowd {
                    true => Verbosity::Usual,
                    false => Verbosity::Verbose,
                };
                let took = match verbosity() >= Verbosity::Verbose {
                    true => format!(" ({note}{:.1} s)", took.as_secs_f64()),
                    false => String::new(),
                };
                self.say(level, host, &format!("{label}{took}"));
            }
        }
    }

    fn upload(&self, host: &str, name: &str, bytes: u64, total: u64, from: Option<&str>) {
        let percent = (bytes * 100).checked_div(total).unwrap_or(100);
        let mebi = |bytes: u64| bytes.div_ceil(1 << 20);
        if bytes == total {
            self.state.lock().map(|mut state| state.uploads.remove(host)).ok();
            if total >= UPLOAD_WORTH {
                let level = if self.crowd { Verbosity::Verbose } else { Verbosity::Usual };
                let text = match from {
                    None => format!("sent {name} ({} MiB)", mebi(total)),
                    Some(from) => format!("took {name} from {from} ({} MiB)", mebi(total)),
                };
                self.say(level, host, &text);
            }
            return;
        }
        let note = format!("{percent} % of {} MiB", mebi(total));
        let what = match from {
            None => format!("send {name}"),
            Some(from) => format!("take {name} from {from}"),
        };
        self.board.doing(host, &localized(&what), &localized(&note));
        if self.crowd || screen::is_terminal() {
            return;
        }
        let Ok(mut state) = self.state.lock() else { return };
        let last = state.uploads.entry(host.to_owned()).or_insert_with(Instant::now);
        if last.elapsed() > UPLOAD_PAUSE {
            *last = Instant::now();
            drop(state);
            self.say(Verbosity::Usual, host, &format!("sending {name}: {note}"));
        }
    }

    fn proof(&self, proof: &Proof) {
        let passed = proof.outcome == Outcome::Passed;
        if passed && self.crowd && verbosity() < Verbosity::Verbose {
            return self.count(Many::Passed(proof.check.clone(), 1));
        }
        let failed = proof.outcome == Outcome::Failed;
        let level = if failed { Verbosity::Quiet } else { Verbosity::Usual };
        stays(level, &proof_text(proof));
    }

    fn time(&self) -> String {
        format!("{:>6}", clock(self.began.elapsed()))
    }

    /// A line about a host that stays.
    fn say(&self, level: Verbosity, host: &str, text: &str) {
        let (time, name) = (self.time(), padded(&fit_middle(host, self.names), self.names));
        stays(level, &format!("{} {name} {}", styled(FAINT, &time), localized(text)));
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        stays(Verbosity::Usual, &localized(text));
    }
}

/// A line that stays. A terminal would break it anywhere, so it is cut there; what failed is told whole.
fn stays(level: Verbosity, text: &str) {
    let room = screen::size().columns;
    match level > Verbosity::Quiet && screen::is_terminal() && width(text) > room {
        true => shown(level, &fit(&plain(text), room)),
        false => shown(level, text),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.shown.take());
        let many = self.state.lock().ok().and_then(|mut state| state.many.take());
        if let Some(many) = many {
            self.line(&many.text());
        }
    }
}

impl Many {
    fn text(&self) -> String {
        match self {
            Many::Agents(count) => format!("agent sent to {count} hosts"),
            Many::Passed(check, count) => {
                let word = styled(of_outcome(Outcome::Passed), &localized("passed"));
                let times = if *count == 1 { "once".into() } else { format!("{count} times") };
                format!("{} {check}  {}", padded(&word, 9), localized(&times))
            }
        }
    }
}

/// The end of a run, or of what was to become one: the last line of a stream says how it ended.
pub fn end(output: Output, changed: usize, result: &Result<Code, Failure>) {
    let error = match result {
        Ok(Code::Unproven) => Some("a proof failed".into()),
        Ok(_) => None,
        Err(failure) => Some(failure.summary()),
    };
    let event = Event::RunDone { changed, error };
    log("event", &serde_json::to_string(&event).unwrap_or_default());
    if output == Output::Json {
        json::line(&event);
    }
}

/// A proof as one line.
pub fn proof_text(proof: &Proof) -> String {
    let word = match proof.outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::NotShown => "not shown",
    };
    let word = &*localized(word);
    let Proof { check, subject, detail, .. } = proof;
    let detail = if detail.is_empty() { String::new() } else { format!(": {}", localized(detail)) };
    let word = padded(&styled(of_outcome(proof.outcome), word), 9);
    format!("{word} {check}  {subject}{detail}")
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
