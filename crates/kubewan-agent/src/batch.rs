//! A batch at work: the steps of one phase on this host, in order, inside the transient unit. Each step looks
//! again before it acts, writes ahead to the journal, acts, and looks again.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubewan_core::action::{Action, Change, Observed, diff};
use kubewan_core::journal::{Begun, Entry};
use kubewan_core::plan::{Phase, outputs_of, reset};
use kubewan_core::protocol::{BatchEvent, BatchNews, OrderedStep, Orders};
use kubewan_core::redact::redact;
use serde_json::Value;

use crate::act::{self, Host, Performing};
use crate::journal::{self, Journal};

/// Orders of a batch in its folder; gone as soon as they are read, for they hold secrets.
pub const ORDERS: &str = "orders.json";

/// The batch's log in its folder, a [`BatchEvent`] a line.
pub const EVENTS: &str = "events.jsonl";

/// Longest line of progress, in characters.
const LINE_MAX: usize = 400;

/// Works off the batch whose orders are in a folder, under its time bound; returns the exit code.
pub fn main(dir: &Path, host: Host) -> i32 {
    let (orders, log) = match take_orders(dir).and_then(|o| Log::open(dir).map(|log| (o, log))) {
        Ok(both) => both,
        Err(error) => {
            eprintln!("kubewan agent: {error}");
            return 1;
        }
    };
    let log = Arc::new(Mutex::new(log));
    let over = watch(&orders, Arc::clone(&log));
    perform(&orders, host, &log);
    drop(over);
    // A step that failed has said so in the log; the unit itself did its work.
    0
}

/// Reads the orders and removes them.
fn take_orders(dir: &Path) -> Result<Orders, String> {
    let path = dir.join(ORDERS);
    let failed = |e: String| format!("can't read the orders {}: {e}", path.display());
    let text = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
    std::fs::remove_file(&path).map_err(|e| failed(e.to_string()))?;
    serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))
}

/// Ends the process when the batch's time is over. systemd before 229 has no RuntimeMaxSec, and later ones
/// would not say which step it was; when the main process goes, systemd ends the rest of its cgroup.
fn watch(orders: &Orders, log: Arc<Mutex<Log>>) -> Sender<()> {
    let (sender, receiver) = channel::<()>();
    let seconds = orders.timeout_s;
    std::thread::spawn(move || {
        if receiver.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
            let mut log = lock(&log);
            let step = log.step.clone();
            let error = format!(
                "the batch did not end within {seconds} s and was stopped here; run kubewan again, it goes on \
                 from this step"
            );
            let _ = log.write(BatchNews::Failed { step, error });
            std::process::exit(1);
        }
    });
    sender
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works off orders and writes the log.
pub fn perform(orders: &Orders, host: Host, log: &Mutex<Log>) {
    let begun = SystemTime::now();
    let host = host.with_values(orders.values.clone());
    let first = orders.steps.first().map(|step| step.id.clone()).unwrap_or_default();
    let news = match Journal::open(&host, &orders.cluster) {
        Err(error) => BatchNews::Failed { step: first, error },
        Ok(mut journal) => {
            let standing = journal::standing(journal.entries());
            let cut_off = standing.into_iter().filter(|(_, ended)| !ended);
            act::file::remove_parts(cut_off.map(|(begun, _)| (&begun.action, &begun.before)));
            journal.reset = orders.batch == Phase::Reset.name() || !orders.undoes.is_empty();
            let mut batch = Batch { orders, host: &host, journal, log, ahead: BTreeMap::new() };
            match orders.steps.iter().enumerate().try_for_each(|(place, step)| {
                batch.look_ahead(&orders.steps[place..]);
                batch.step(step).map_err(|error| (step.id.clone(), error))
            }) {
                Ok(()) => {
                    remove_artifacts(&host, begun);
                    // What was downloaded meanwhile nobody has sent.
                    let all = orders.steps.iter().flat_map(|step| step.action.artifacts());
                    for artifact in all.filter(|artifact| artifact.url.is_some()) {
                        let _ = std::fs::remove_file(host.artifact(&artifact.sha256));
                    }
                    BatchNews::Finished
                }
                Err((step, error)) => {
                    BatchNews::Failed { step, error: redact(&error, &orders.values) }
                }
            }
        }
    };
    if let Err(error) = lock(log).write(news) {
        // Then the relaying side finds the unit gone and the log without an end.
        eprintln!("kubewan agent: {error}");
    }
}

/// What was uploaded before the batch began is installed, imported or copied now, or was left by a run that was cut off
/// after it had used it; and it is large. Another run, which waits for this one's end, may be uploading already.
fn remove_artifacts(host: &Host, begun: SystemTime) {
    let entries = std::fs::read_dir(host.artifact("")).into_iter().flatten().flatten();
    for entry in entries {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        if written.is_ok_and(|written| written < begun) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

struct Batch<'a> {
    orders: &'a Orders,
    host: &'a Host,
    journal: Journal,
    log: &'a Mutex<Log>,
    /// What was seen of steps to come, by their ids.
    ahead: BTreeMap<String, Observed>,
}

impl Batch<'_> {
    /// Looks at the steps that begin here and that one question to the API tells of together; no step changes what
    /// another of them is about.
    fn look_ahead(&mut self, steps: &[OrderedStep]) {
        let is_asked =
            |step: &&OrderedStep| matches!(step.action, Action::Object(_) | Action::NodeMeta(_));
        let together: Vec<&OrderedStep> = steps.iter().take_while(is_asked).collect();
        if together.len() < 2 || self.ahead.contains_key(&together[0].id) {
            return;
        }
        let actions = together.iter().map(|step| with_values(&step.action, self.orders));
        let Ok(actions) = actions.collect::<Result<Vec<Action>, String>>() else { return };
        // What can't be seen together each step looks at itself, and says why it can't.
        let seen = act::observe_all(&actions, self.host).into_iter();
        let ids = together.iter().map(|step| step.id.clone());
        self.ahead = ids.zip(seen).filter_map(|(id, seen)| Some((id, seen.ok()?))).collect();
    }

    fn step(&mut self, step: &OrderedStep) -> Result<(), String> {
        lock(self.log).step.clone_from(&step.id);
        let action = with_values(&step.action, self.orders)?;
        let before = match self.ahead.remove(&step.id) {
            Some(seen) => seen,
            None => act::observe(&action, self.host)?,
        };
        let change = diff(&action, &before).map_err(|e| e.to_string())?;
        let changed = change.is_some();
        let after = match change {
            None => {
                self.close_interrupted(&action, &before)?;
                before
            }
            Some(change) => {
                self.refuse_foreign_change(step, &change)?;
                self.change(step, &action, before)?
            }
        };
        for number in self.orders.undoes.get(&step.id).into_iter().flatten() {
            self.journal.undo(*number)?;
        }
        let outputs =
            outputs_of(&after).into_iter().map(|(field, value)| (field.into(), value)).collect();
        self.say(BatchNews::Done { step: step.id.clone(), changed, outputs })
    }

    /// Writes ahead, performs, verifies.
    fn change(
        &mut self,
        step: &OrderedStep,
        action: &Action,
        before: Observed,
    ) -> Result<Observed, String> {
        self.say(BatchNews::Started { step: step.id.clone() })?;
        let interrupted = self.interrupted(action);
        let along = self.along_of(&interrupted);
        let kept = self.keep_contents(action, &before)?;
        let number = self.journal.begin(
            &self.orders.run,
            &step.id,
            &step.action,
            before.clone(),
            unix_ms() / 1000,
        )?;
        let (log, values) = (self.log, &self.orders.values);
        let mut progress = |line: &str| {
            let line: String = redact(line, values).chars().take(LINE_MAX).collect();
            let news = BatchNews::Progress { step: step.id.clone(), line };
            // A line of progress that can't be written is no reason to stop half-way.
            let _ = lock(log).write(news);
        };
        let mut cx = Performing::new(self.host, values, &mut progress);
        cx.record(along.into_iter().chain(kept))?;
        if let Err(error) = act::perform(action, &before, &mut cx) {
            if cx.refused {
                self.journal.undo(number)?;
            }
            return Err(error);
        }
        let along = std::mem::take(&mut cx.along);
        let after = match cx.after {
            Some(after) => after,
            None => has_ended(act::observe(action, self.host)?),
        };
        if let Some(left) = diff(action, &after).map_err(|e| e.to_string())? {
            let details: String =
                left.details.iter().take(8).map(|line| format!("\n  {line}")).collect();
            return Err(format!(
                "{} {} was performed, and is still not as it has to be: {}{details}",
                action.kind(),
                action.subject(),
                left.summary
            ));
        }
        self.journal.end(number, after.clone(), along)?;
        let _ = std::fs::remove_file(self.host.along_path());
        // What a reset does is not to be taken back in its turn.
        if self.journal.reset {
            self.journal.undo(number)?;
        }
        Ok(after)
    }

    /// The plan showed a change of one state, and the host has another: someone else is at work here.
    fn refuse_foreign_change(&self, step: &OrderedStep, change: &Change) -> Result<(), String> {
        let Some(basis) = &change.basis else { return Ok(()) };
        let expected = match &step.shown {
            Some(shown) if shown.basis.is_none() || shown.basis.as_ref() == Some(basis) => {
                return Ok(());
            }
            Some(_) => "had another content or mode when the plan was shown",
            None => "was right when the plan was shown",
        };
        let touched = self.journal.entries().iter().any(|entry| match entry {
            Entry::Begun(begun) if begun.run == self.orders.run => may_touch(begun, &step.action),
            _ => false,
        });
        if touched {
            return Ok(());
        }
        Err(format!(
            "someone changed {} on this host meanwhile: it {expected}. Nothing was overwritten; run kubewan \
             again to see the plan for the state it has now",
            step.action.subject()
        ))
    }

    /// Actions on the same subject that a killed batch began and did not end, if nothing was begun later.
    fn interrupted(&self, action: &Action) -> Vec<u64> {
        let same =
            |other: &Action| other.kind() == action.kind() && other.subject() == action.subject();
        journal::standing(self.journal.entries())
            .into_iter()
            .filter(|(begun, ended)| !ended && same(&begun.action))
            .map(|(begun, _)| begun.number)
            .collect()
    }

    /// A killed batch may have reached the goal and not come to say so.
    fn close_interrupted(&mut self, action: &Action, seen: &Observed) -> Result<(), String> {
        let numbers = self.interrupted(action);
        let Some((last, others)) = numbers.split_last() else { return Ok(()) };
        for number in others {
            self.journal.end(*number, seen.clone(), Vec::new())?;
        }
        let along = self.along_of(&numbers);
        self.journal.end(*last, seen.clone(), along)
    }

    /// What entries of the journal added to the host.
    fn along_of(&self, numbers: &[u64]) -> Vec<String> {
        let entries = self.journal.entries();
        let lines = numbers.iter().flat_map(|number| journal::along(entries, *number));
        lines.map(str::to_owned).collect()
    }

    /// Keeps the contents of files that an action changes, and says where, for those whose goal is no file.
    fn keep_contents(&self, action: &Action, before: &Observed) -> Result<Vec<String>, String> {
        let mut along = Vec::new();
        match action {
            Action::File(file) => {
                self.keep(&file.path)?;
            }
            Action::Block(block) => {
                self.keep(&block.path)?;
            }
            _ => {
                // What we wrote there ourselves holds a password of before, which is nobody's to keep; others' logins stay in it.
                let logins = |action: &Action| matches!(action, Action::RegistryLogins(_));
                let mut standing = journal::standing(self.journal.entries()).into_iter();
                if logins(action) && standing.any(|(begun, ended)| ended && logins(&begun.action)) {
                    return Ok(along);
                }
                for path in act::files_rewritten(action, before) {
                    let Ok(m) = std::fs::metadata(path) else { continue };
                    if let Some(sha256) = self.keep(path)? {
                        let (mode, uid, gid) = (m.mode() & 0o7777, m.uid(), m.gid());
                        along.push(format!("kept:{mode:o},{uid},{gid}:{sha256}:{path}"));
                    }
                }
            }
        }
        Ok(along)
    }

    fn keep(&self, path: &str) -> Result<Option<String>, String> {
        // Of a big file, what we left there ourselves is not kept: a gigabyte of old kubelets is no help to anyone.
        let big = std::fs::metadata(path).is_ok_and(|m| m.len() > 1 << 20);
        let ours = || {
            let left = reset::left(self.journal.entries());
            let now = crate::disk::sha256_of(Path::new(path)).ok();
            left.get(path).zip(now).is_some_and(|(left, now)| left.contains(&now))
        };
        if big && ours() { Ok(None) } else { act::file::keep_first(path, self.host) }
    }

    fn say(&self, news: BatchNews) -> Result<(), String> {
        lock(self.log).write(news)
    }
}

/// Where kubeadm, the kubelet and what runs in the pods that these start write.
const KUBEADMS: [&str; 5] =
    ["/etc/kubernetes/", "/var/lib/kubelet/", "/var/lib/etcd/", "/etc/cni/", "/opt/cni/"];

/// Whether an action may have changed the file that another is about.
fn may_touch(earlier: &Begun, now: &Action) -> bool {
    let (subject, path) = (earlier.action.subject(), now.subject());
    match &earlier.action {
        Action::File(_) | Action::Block(_) => subject == path,
        Action::Removed(r) => r.path == path || path.starts_with(&format!("{}/", r.path)),
        // A package's scripts may write many files; which, only they know. None writes these.
        Action::Package(_) => {
            !["/etc/hosts", "/etc/fstab", "/etc/resolv.conf"].contains(&path.as_str())
        }
        Action::KubeadmInit(_) | Action::KubeadmJoin(_) | Action::KubeadmReset(_) => {
            KUBEADMS.iter().any(|folder| path.starts_with(folder))
        }
        _ => act::files_rewritten(&earlier.action, &earlier.before).contains(&path.as_str()),
    }
}

/// kubeadm's goals are reached when the journal says that their run ended well. It is about to say so:
/// perform returned without an error.
fn has_ended(seen: Observed) -> Observed {
    match seen {
        Observed::KubeadmInit(mut seen) => {
            seen.ended = true;
            Observed::KubeadmInit(seen)
        }
        Observed::KubeadmJoin(mut seen) => {
            seen.ended = true;
            Observed::KubeadmJoin(seen)
        }
        other => other,
    }
}

/// The action with values in place of its markers. Only what is performed has them; the journal has markers.
pub(crate) fn with_values(action: &Action, orders: &Orders) -> Result<Action, String> {
    let mut value =
        serde_json::to_value(action).map_err(|e| format!("can't read the step: {e}"))?;
    if let Some(marker) = put_values(&mut value, orders) {
        return Err(format!(
            "the value {marker} is not known here; the step that yields it has not run"
        ));
    }
    serde_json::from_value(value).map_err(|e| format!("can't read the step: {e}"))
}

/// Puts values in place and returns a marker that has none.
fn put_values(value: &mut Value, orders: &Orders) -> Option<String> {
    match value {
        Value::String(text) => {
            for (marker, value) in &orders.values {
                if text.contains(marker.as_str()) {
                    *text = text.replace(marker.as_str(), value);
                }
            }
            leftover_marker(text)
        }
        Value::Array(items) => items.iter_mut().find_map(|item| put_values(item, orders)),
        Value::Object(fields) => fields.values_mut().find_map(|field| put_values(field, orders)),
        _ => None,
    }
}

fn leftover_marker(text: &str) -> Option<String> {
    ["@output(", "@secret("].iter().find_map(|start| {
        let at = text.find(start)?;
        let end = text[at..].find(")@")? + at + 2;
        (!text[at..end].contains('\n')).then(|| text[at..end].to_owned())
    })
}

/// A batch's log.
pub struct Log {
    file: std::fs::File,
    seq: u64,
    /// The step in progress.
    step: String,
}

impl Log {
    /// Opens the log in a batch's folder; a log that is there is gone on with.
    ///
    /// # Errors
    /// Fails where it can't be opened.
    pub fn open(dir: &Path) -> Result<Log, String> {
        let path = dir.join(EVENTS);
        let old = std::fs::read(&path).unwrap_or_default();
        let seq = parse_events(&old).iter().map(|event| event.seq).max().unwrap_or(0);
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| format!("can't open {}: {e}", path.display()))?;
        if !old.is_empty() && !old.ends_with(b"\n") {
            let _ = file.write_all(b"\n");
        }
        Ok(Log { file, seq, step: String::new() })
    }

    fn write(&mut self, what: BatchNews) -> Result<(), String> {
        self.seq = self.seq.saturating_add(1);
        let event = BatchEvent { seq: self.seq, unix_ms: unix_ms(), what };
        let mut line = serde_json::to_vec(&event).map_err(|e| format!("event log: {e}"))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| format!("can't write the event log: {e}"))
    }
}

/// Whole lines of a log; what a power cut tore is passed over.
pub fn parse_events(bytes: &[u8]) -> Vec<BatchEvent> {
    bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Milliseconds since 1970.
pub fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
