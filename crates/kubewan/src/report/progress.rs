//! A run as it goes: lines on a terminal that change, plain lines elsewhere, JSON where asked for.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kubewan_core::event::{Event, Outcome, Proof, StepNews};
use kubewan_core::plan::{Phase, Plan};

use super::{json, note};
use crate::args::Output;
use crate::exit_code::Code;
use crate::failure::Failure;

/// Uploads smaller than that are not worth a line.
const UPLOAD_WORTH: u64 = 4 << 20;

/// Between two plain lines about uploads to one host.
const UPLOAD_PAUSE: Duration = Duration::from_secs(10);

/// Listens to a run and shows it.
pub struct Progress {
    output: Output,
    labels: BTreeMap<String, String>,
    screen: Option<MultiProgress>,
    state: Mutex<State>,
    began: Instant,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<String, ProgressBar>,
    /// When a plain line last told of an upload, by host.
    uploads: BTreeMap<String, Instant>,
}

impl Progress {
    /// A listener for this form of answer.
    pub fn new(output: Output) -> Self {
        let terminal = output == Output::Table && std::io::stderr().is_terminal();
        Progress {
            output,
            labels: BTreeMap::new(),
            screen: terminal.then(MultiProgress::new),
            state: Mutex::default(),
            began: Instant::now(),
        }
    }

    /// The same, with words for a plan's steps.
    pub fn for_plan(output: Output, plan: &Plan) -> Self {
        let label = |planned: &kubewan_core::plan::PlannedStep| {
            let change = planned.change.as_ref()?;
            Some((planned.step.id.clone(), change.summary.clone()))
        };
        let labels = plan.steps.iter().filter_map(label).collect();
        Progress { labels, ..Progress::new(output) }
    }

    /// The end of a run, or of what was to become one: the last line of a stream says how it ended.
    pub fn end(&self, changed: usize, result: &Result<Code, Failure>) {
        let error = match result {
            Ok(Code::Unproven) => Some("a proof failed".into()),
            Ok(_) => None,
            Err(failure) => Some(failure.summary()),
        };
        self.hear(&Event::RunDone { changed, error });
    }

    /// Hears an event.
    pub fn hear(&self, event: &Event) {
        if self.output == Output::Json {
            return json::line(event);
        }
        match event {
            Event::RunStarted { .. } | Event::PhaseDone { .. } | Event::RunDone { .. } => {}
            Event::Connected { host, pushed_agent: true } => self.say(host, "agent sent"),
            Event::Connected { .. } => {}
            Event::PhaseStarted { phase, hosts } => {
                let title = Phase::ALL.iter().find(|p| p.name() == phase).map_or("", |p| p.title());
                self.line(&format!("── {title} ({})", hosts.join(", ")));
            }
            Event::Upload { host, name, bytes, total } => self.upload(host, name, *bytes, *total),
            Event::Step { host, news } => self.step(host, news),
            Event::Link { host, up: false, reason } => {
                self.say(host, &format!("link lost: {reason}"))
            }
            Event::Link { host, .. } => self.say(host, "link is back"),
            Event::Proof(proof) => self.line(&proof_text(proof)),
        }
    }

    fn step(&self, host: &str, news: &StepNews) {
        let (_, short) = news.step.split_once('/').unwrap_or(("", &news.step));
        let label = self.labels.get(&news.step).map_or(short, String::as_str);
        let line = news.line.as_deref().unwrap_or_default();
        match news.state.as_str() {
            "started" => self.now(host, label),
            "progress" => self.now(host, &format!("{label}: {line}")),
            "failed" => {
                self.clear(host);
                self.say(host, &format!("FAILED {label}"));
            }
            _ => {
                self.clear(host);
                // What another step of the batch has brought along is no news.
                if news.changed != Some(false) {
                    self.say(host, label);
                }
            }
        }
    }

    fn upload(&self, host: &str, name: &str, bytes: u64, total: u64) {
        let percent = (bytes * 100).checked_div(total).unwrap_or(100);
        let mebi = |bytes: u64| bytes.div_ceil(1 << 20);
        if bytes == total {
            self.clear(host);
            self.state.lock().map(|mut state| state.uploads.remove(host)).ok();
            if total >= UPLOAD_WORTH {
                self.say(host, &format!("sent {name} ({} MiB)", mebi(total)));
            }
            return;
        }
        let text = format!("sending {name}: {percent} % of {} MiB", mebi(total));
        if self.screen.is_some() {
            return self.now(host, &text);
        }
        let Ok(mut state) = self.state.lock() else { return };
        let told = state.uploads.entry(host.to_owned()).or_insert_with(Instant::now);
        if told.elapsed() > UPLOAD_PAUSE {
            *told = Instant::now();
            self.say(host, &text);
        }
    }

    /// What a host is doing now.
    fn now(&self, host: &str, text: &str) {
        let Some(screen) = &self.screen else { return };
        let Ok(mut state) = self.state.lock() else { return };
        let bar = state.lines.entry(host.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix:<12} {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = screen.add(ProgressBar::new_spinner().with_style(style));
            bar.set_prefix(host.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        bar.set_message(text.to_owned());
    }

    fn clear(&self, host: &str) {
        if let Ok(mut state) = self.state.lock()
            && let Some(bar) = state.lines.remove(host)
        {
            bar.finish_and_clear();
        }
    }

    /// A line about a host that stays.
    fn say(&self, host: &str, text: &str) {
        let seconds = self.began.elapsed().as_secs();
        self.line(&format!("{:>3}:{:02} {host:<12} {text}", seconds / 60, seconds % 60));
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.screen {
            Some(screen) => {
                let _ = screen.println(text);
            }
            None => note(text),
        }
    }
}

/// A proof as one line.
pub fn proof_text(proof: &Proof) -> String {
    let word = match proof.outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::NotShown => "not shown",
    };
    let Proof { check, subject, detail, .. } = proof;
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    format!("{word:<9} {check}  {subject}{detail}")
}
