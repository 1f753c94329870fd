//! Batches seen from the operator's side: starting one in a transient unit, and relaying its event log. The
//! unit's name is the host's lock; the batch goes on whatever becomes of who watches it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use kubewan_core::protocol::{BatchEnd, BatchEvent, BatchNews, Orders};

use crate::act::Host;
use crate::act::unit::journal_tail;
use crate::batch::{EVENTS, ORDERS, parse_events};
use crate::command::{Program, exists};
use crate::disk::{self, Access};
use crate::facts::os;
use crate::facts::systemd::Units;

/// The transient unit.
pub const UNIT: &str = "kubewan-batch.service";

/// Folders of runs that are kept.
const RUNS_KEPT: usize = 20;

/// Between two looks at the log.
const POLL: Duration = Duration::from_millis(30);

/// Between two looks at the unit.
const LOOK: Duration = Duration::from_secs(1);

/// How long a batch may take from its last word to its end.
const GOING_MAX: Duration = Duration::from_secs(20);

/// What the unit is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// It works on this run's batch.
    Runs {
        /// The run.
        run: String,
        /// The batch.
        batch: String,
    },
    /// It does not run; in systemd's words.
    Rests {
        /// Why it ended, as far as systemd knows.
        reason: String,
    },
}

/// What the unit is at now.
///
/// # Errors
/// Fails where systemd does not answer.
pub fn unit_state() -> Result<UnitState, String> {
    Units::read(&[UNIT]).map(|units| state_in(&units))
}

/// What the unit is at where systemd was asked about it with others.
pub fn state_in(units: &Units) -> UnitState {
    let unit = units.get(UNIT);
    let get = |key: &str| unit.get(key);
    state_of(get("LoadState"), get("ActiveState"), get("Result"), get("Description"))
}

pub(crate) fn state_of(load: &str, active: &str, result: &str, description: &str) -> UnitState {
    if matches!(active, "active" | "activating" | "deactivating" | "reloading") {
        let mut words = description.strip_prefix("kubewan run ").unwrap_or_default().split(' ');
        let run = words.next().unwrap_or_default().to_owned();
        let batch = words.nth(1).unwrap_or_default().to_owned();
        return UnitState::Runs { run, batch };
    }
    let reason = match (load, result) {
        ("not-found", _) => {
            format!("{UNIT} is gone: the host was restarted, or someone stopped it")
        }
        (_, "oom-kill") => format!("{UNIT} was killed because the host ran out of memory"),
        (_, "timeout") => format!("{UNIT} was stopped at its time bound"),
        (_, result) => format!("{UNIT} ended without a word ({active}, {result})"),
    };
    UnitState::Rests { reason }
}

fn description(run: &str, batch: &str) -> String {
    format!("kubewan run {run} batch {batch}")
}

/// How an order was taken.
pub enum Taken {
    /// Tail the log in this folder.
    Follow(PathBuf),
    /// Another batch has the host.
    Busy(String),
}

/// Starts a batch, or finds the one that was started by an earlier connection.
///
/// # Errors
/// What could not be done.
pub fn take(host: &Host, orders: &Orders) -> Result<Taken, String> {
    let dir = folder(host, &orders.run, &orders.batch)?;
    if has_ended(&dir) {
        return Ok(Taken::Follow(dir));
    }
    // Until the unit runs, another connection must neither start one nor tidy up.
    let _lock = lock(host)?;
    if let UnitState::Runs { run, batch } = settled_unit_state(host)? {
        let same = run == orders.run && batch == orders.batch;
        return Ok(if same { Taken::Follow(dir) } else { Taken::Busy(run) });
    }
    remove_stale_spools(host);
    prune(host, &orders.run);
    disk::make_private_dir(&dir)?;
    let bytes = serde_json::to_vec(orders).map_err(|e| format!("can't write the orders: {e}"))?;
    let spool = dir.join(ORDERS);
    disk::write_atomic(&spool, &mut bytes.as_slice(), Access::root(0o600), &|_| Ok(()))?;
    let started = start(host, orders, &dir);
    if started.is_err() {
        let _ = std::fs::remove_file(&spool);
        // Two may have come at once: systemd lets one have the name.
        if let Ok(UnitState::Runs { run, .. }) = unit_state() {
            return Ok(Taken::Busy(run));
        }
    }
    started.map(|()| Taken::Follow(dir))
}

/// Lets one connection at a time start a batch; held until the file is closed.
pub(crate) fn lock(host: &Host) -> Result<File, String> {
    disk::make_private_dir(host.root())?;
    let path = host.root().join("lock");
    let failed = |e: std::io::Error| format!("can't lock {}: {e}", path.display());
    loop {
        let mut options = std::fs::OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        // A reset's farewell may have taken the file away while this one waited for it.
        if file.metadata().map_err(failed)?.nlink() > 0 {
            return Ok(file);
        }
        disk::make_private_dir(host.root())?;
    }
}

/// As [`unit_state`], but a batch that has said its last word is given time to go: the next phase's orders come
/// a moment after it.
///
/// # Errors
/// Fails where systemd does not answer.
pub fn settled_unit_state(host: &Host) -> Result<UnitState, String> {
    let begun = Instant::now();
    loop {
        let state = unit_state()?;
        let UnitState::Runs { run, batch } = &state else { return Ok(state) };
        let going = folder(host, run, batch).is_ok_and(|dir| has_ended(&dir));
        if !going || begun.elapsed() > GOING_MAX {
            return Ok(state);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Whether the batch of a folder has said its last word.
fn has_ended(dir: &Path) -> bool {
    let log = std::fs::read(dir.join(EVENTS)).unwrap_or_default();
    parse_events(&log).iter().any(|event| end_of(event).is_some())
}

/// Names of runs and batches become parts of paths.
fn folder(host: &Host, run: &str, batch: &str) -> Result<PathBuf, String> {
    for name in [run, batch] {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 80 || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(format!("`{name}` can't be the name of a run or a batch"));
        }
    }
    Ok(host.runs().join(run).join(batch))
}

/// Below /run: what must not outlive a batch.
const RUNTIME_DIRECTORY: &str = "kubewan-batch";

fn start(host: &Host, orders: &Orders, dir: &Path) -> Result<(), String> {
    let program =
        std::env::current_exe().map_err(|e| format!("can't find the agent's own program: {e}"))?;
    let program = program.to_string_lossy().into_owned();
    if Path::new("/sys/fs/selinux/enforce").exists() && exists("chcon") {
        // systemd may not start what has the context of data.
        let _ = Program::new("chcon").args(["-t", "bin_t", &program]).output();
    }
    // A unit that failed keeps its name until it is told to forget (older systemd has no --collect, and
    // with it a relay could not ask why the unit ended).
    let _ = Program::new("systemctl").args(["reset-failed", UNIT]).output();
    let mut run = Program::new("systemd-run")
        .arg(format!("--unit={UNIT}"))
        .arg(format!("--description={}", description(&orders.run, &orders.batch)));
    let systemd = os::systemd(host);
    if systemd >= 235 {
        // systemd.exec(5): made with the unit, and gone with it, however it ends.
        run = run.arg(format!("--property=RuntimeDirectory={RUNTIME_DIRECTORY}"));
        run = run.arg("--property=RuntimeDirectoryMode=0700");
    }
    if systemd >= 229 {
        // The batch ends itself in time and says so; this is for one that hangs.
        run = run.arg(format!("--property=RuntimeMaxSec={}", orders.timeout_s.saturating_add(30)));
    }
    run.arg("--")
        .args([program.as_str(), "agent", "perform", &dir.to_string_lossy()])
        .stdout()
        .map(drop)
        .map_err(|e| format!("can't start the batch as {UNIT}: {e}"))
}

/// Orders that no batch came to read. They hold secrets.
fn remove_stale_spools(host: &Host) {
    for run in entries(&host.runs()) {
        for batch in entries(&run) {
            let _ = std::fs::remove_file(batch.join(ORDERS));
        }
    }
    // Where systemd gives a batch no folder of its own (before 235), kubeadm's configuration lay here: a join's has a token.
    let is_kubeadms = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("kubeadm-") && name.ends_with(".yaml")
    };
    for path in entries(host.root()).into_iter().filter(is_kubeadms) {
        let _ = std::fs::remove_file(path);
    }
}

/// Removes the oldest runs' folders.
fn prune(host: &Host, current: &str) {
    let mut runs: Vec<(SystemTime, PathBuf)> = entries(&host.runs())
        .into_iter()
        .filter(|run| run.file_name().is_none_or(|name| name != current))
        .filter_map(|run| Some((std::fs::metadata(&run).ok()?.modified().ok()?, run)))
        .collect();
    runs.sort();
    let surplus = (runs.len() + 1).saturating_sub(RUNS_KEPT);
    for (_, run) in runs.into_iter().take(surplus) {
        let _ = std::fs::remove_dir_all(run);
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .map(|entries| entries.filter_map(|e| e.ok().map(|e| e.path())).collect())
        .unwrap_or_default()
}

/// The log of a run's batch: the one in progress, else the last one.
///
/// # Errors
/// Fails where this host knows nothing of that run.
pub fn find(host: &Host, run: &str) -> Result<PathBuf, String> {
    if let UnitState::Runs { run: now, batch } = unit_state()?
        && now == run
    {
        return folder(host, run, &batch);
    }
    last_batch(host, run)?.ok_or_else(|| format!("this host knows of no batch of the run {run}"))
}

fn last_batch(host: &Host, run: &str) -> Result<Option<PathBuf>, String> {
    let run = folder(host, run, "x")?.parent().map(Path::to_owned).unwrap_or_default();
    Ok(entries(&run)
        .into_iter()
        .filter_map(|dir| Some((std::fs::metadata(dir.join(EVENTS)).ok()?.modified().ok()?, dir)))
        .max()
        .map(|(_, dir)| dir))
}

/// Relays a log from a sequence number on until the batch has ended.
///
/// `send` takes an event and fails when nobody listens any more; `listening` says so while there is nothing
/// to send.
///
/// # Errors
/// Fails when nobody listens, and where systemd or the log can't be read.
pub fn follow(
    dir: &Path,
    from: u64,
    send: &mut dyn FnMut(BatchEvent) -> Result<(), String>,
    listening: &mut dyn FnMut() -> bool,
    unit: &mut dyn FnMut() -> Result<UnitState, String>,
) -> Result<BatchEnd, String> {
    let mut log = Tail { path: dir.join(EVENTS), read: 0, rest: Vec::new() };
    let mut looked = Instant::now();
    let mut gone = None;
    loop {
        let mut end = None;
        for event in log.next()? {
            end = end_of(&event);
            if event.seq >= from {
                send(event)?;
            }
        }
        if let Some(end) = end {
            return Ok(end);
        }
        // The unit had gone before the log was read to its end.
        if let Some(reason) = gone {
            let said = journal_tail(UNIT);
            let said = last_words(&said);
            return Ok(BatchEnd::Lost { reason: format!("{reason}{said}") });
        }
        if !listening() {
            return Err("the operator's side has gone".into());
        }
        std::thread::sleep(POLL);
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            if let UnitState::Rests { reason } = unit()? {
                gone = Some(reason);
            }
        }
    }
}

/// What the batch itself wrote, without what systemd says of it and of batches before it.
pub(crate) fn last_words(journal: &str) -> String {
    let own = journal.rsplit_once(&format!("Started {UNIT}")).map_or(journal, |(_, last)| last);
    own.lines()
        .skip(1)
        .filter(|line| !line.contains(UNIT))
        .map(|line| format!("\n{line}"))
        .collect()
}

fn end_of(event: &BatchEvent) -> Option<BatchEnd> {
    match &event.what {
        BatchNews::Finished => Some(BatchEnd::Finished),
        BatchNews::Failed { step, error } => {
            Some(BatchEnd::Failed { step: step.clone(), error: error.clone() })
        }
        _ => None,
    }
}

/// A log that grows.
struct Tail {
    path: PathBuf,
    read: u64,
    rest: Vec<u8>,
}

impl Tail {
    /// Events of whole lines that came since.
    fn next(&mut self) -> Result<Vec<BatchEvent>, String> {
        let failed = |e: std::io::Error| format!("can't read {}: {e}", self.path.display());
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // The unit has not come to open it yet.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
        let count = file.read_to_end(&mut self.rest).map_err(failed)?;
        self.read += count as u64;
        let whole = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        Ok(parse_events(&lines))
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
