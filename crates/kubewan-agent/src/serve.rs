//! The protocol's server end: reads requests from one stream, answers on the other, until the first ends.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use kubewan_core::action::{Action, Observed, diff};
use kubewan_core::frame;
use kubewan_core::journal::Entry;
use kubewan_core::plan::reset;
use kubewan_core::protocol::{self, BatchEnd, FRAME_MAX, JOURNAL_PART, Request, Response};

use crate::act::{self, Host};
use crate::listen::{self, Listening};
use crate::passing::{self, Giving};
use crate::relay::{self, Taken, UnitState};
use crate::{artifacts, journal, mirrors, probe};

/// Bytes that [`Request::Read`] answers at most: the end of a longer file.
const READ_MAX: u64 = 4 << 20;

/// What [`Request::Read`] may read: paths, and folders with all below them.
const READABLE: &[&str] = &["/etc/kubernetes/admin.conf", "/var/log/pods/"];

/// Serves until the operator's side closes its stream.
///
/// # Errors
/// Fails where the streams break or carry no frames.
pub fn serve(
    nonce: &str,
    host: &Host,
    stdin: impl Read + Send + 'static,
    stdout: impl Write,
) -> Result<(), String> {
    // A thread of its own reads, so that a long wait notices when the other side goes.
    let (sender, frames) = sync_channel(1);
    std::thread::spawn(move || {
        let mut stdin = stdin;
        loop {
            let frame = frame::read(&mut stdin);
            let over = !matches!(frame, Ok(Some(_)));
            if sender.send(frame).is_err() || over {
                return;
            }
        }
    });
    // Whoever greets us came in by a new connection: what would have been taken back had nobody come stays.
    act::undo::disarm()?;
    let mut connection =
        Connection { host, frames, next: None, stdout, listening: None, giving: None };
    connection
        .stdout
        .write_all(protocol::hello(nonce).as_bytes())
        .and_then(|()| connection.stdout.flush())
        .map_err(|e| format!("can't greet: {e}"))?;
    while let Some(bytes) = connection.read()? {
        let answer = match serde_json::from_slice(&bytes) {
            Ok(request) => {
                let farewell = matches!(request, Request::Farewell);
                let answer = connection.answer(request)?;
                if farewell && answer == Response::Gone {
                    return connection.write(&answer);
                }
                answer
            }
            Err(e) => Response::Failed(format!("the agent can't read the request: {e}")),
        };
        connection.write(&answer)?;
    }
    Ok(())
}

type Frame = std::io::Result<Option<Vec<u8>>>;

struct Connection<'a, W> {
    host: &'a Host,
    frames: Receiver<Frame>,
    /// A frame that came while something else was under way.
    next: Option<Frame>,
    stdout: W,
    /// Ports that answer for the moment.
    listening: Option<Listening>,
    /// Artifacts for other hosts.
    giving: Option<Giving>,
}

impl<W: Write> Connection<'_, W> {
    fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        let frame = match self.next.take() {
            Some(frame) => frame,
            None => self.frames.recv().unwrap_or(Ok(None)),
        };
        frame.map_err(|e| format!("can't read from the operator's side: {e}"))
    }

    fn write(&mut self, response: &Response) -> Result<(), String> {
        let mut bytes =
            serde_json::to_vec(response).map_err(|e| format!("can't write the answer: {e}"))?;
        if bytes.len() > FRAME_MAX {
            let failed = Response::Failed(format!(
                "the answer has {} bytes, more than fit into a frame; ask for less",
                bytes.len()
            ));
            bytes = serde_json::to_vec(&failed).map_err(|e| e.to_string())?;
        }
        frame::write(&mut self.stdout, &bytes).map_err(|e| format!("can't write: {e}"))
    }

    /// Answers a request; fails only where the connection does.
    fn answer(&mut self, request: Request) -> Result<Response, String> {
        let host = self.host;
        let answer = match request {
            Request::Gather => crate::facts::gather(host).map(|f| Response::Facts(Box::new(f))),
            Request::Evidence => Ok(Response::Evidence(Box::new(crate::evidence::evidence()))),
            Request::Observe { goals, values } => {
                let host = host.clone().with_values(values);
                Ok(Response::Observed(act::observe_all(&goals, &host)))
            }
            Request::Offset { sha256 } => artifacts::offset(host, &sha256),
            Request::Upload { sha256, offset, last } => {
                let bytes = self.read()?.ok_or("the upload broke off")?;
                artifacts::upload(host, &sha256, offset, last, &bytes)
            }
            Request::Run { orders } => match relay::take(host, &orders) {
                Ok(Taken::Follow(dir)) => return self.follow(&dir, 1),
                Ok(Taken::Busy(run)) => Ok(Response::Ran(BatchEnd::Busy { run })),
                Err(error) => Err(kubewan_core::redact::redact(&error, &orders.values)),
            },
            Request::Attach { run, from } => match relay::find(host, &run) {
                Ok(dir) => return self.follow(&dir, from),
                Err(error) => Err(error),
            },
            Request::Journal { from } => {
                journal::read(host).map(|entries| journal_part(entries, from))
            }
            Request::Kubectl { args, stdin, timeout_s } => {
                Ok(kubectl(host, &args, stdin.as_deref(), timeout_s))
            }
            Request::Read { path } => read_file(&path).map(Response::Text),
            Request::Listen { tcp, udp, overheard, knocked, word } => {
                // What was there goes first: the same ports may be asked for again.
                let before = self.listening.take();
                let heard = before.map(|l| l.heard.lock().map(|h| h.clone()).unwrap_or_default());
                let listening = listen::on(&tcp, &udp, overheard, &knocked, &word);
                let answer = Response::Listening {
                    tcp: listening.tcp.clone(),
                    udp: listening.udp.clone(),
                    deaf: listening.deaf.clone(),
                    heard: heard.unwrap_or_default(),
                };
                let none = tcp.is_empty() && udp.is_empty() && knocked.is_empty();
                let nothing = none && overheard.is_none();
                self.listening = Some(listening).filter(|_| !nothing);
                Ok(answer)
            }
            Request::Probe { targets, timeout_ms } => {
                if targets.len() > probe::TARGETS_MAX {
                    Err(format!("{} targets are too many for one request", targets.len()))
                } else {
                    let timeout = Duration::from_millis(timeout_ms.clamp(1, 120_000));
                    Ok(Response::Probed(probe::all(&targets, timeout)))
                }
            }
            Request::Ask { asks, .. } if asks.len() > mirrors::ASKS_MAX => {
                Err(format!("{} questions are too many for one request", asks.len()))
            }
            Request::Ask { asks, authorities } => {
                Ok(Response::Asked(mirrors::ask_all(&asks, &authorities)))
            }
            Request::Give { port, word } => {
                let is_it = |giving: &Giving| {
                    Some(giving.port) == port && giving.word == word && giving.goes_on()
                };
                if !self.giving.as_ref().is_some_and(is_it) {
                    // What was there goes first: it may have the port.
                    drop(self.giving.take());
                    self.giving = port.and_then(|port| passing::give(host, port, &word));
                }
                Ok(Response::Giving(self.giving.is_some()))
            }
            Request::Take { address, port, word, sha256, size, most } => {
                let from = SocketAddr::from((address, port));
                passing::take(host, from, &word, (&sha256, size), most)
            }
            Request::Farewell => farewell(host).map(|()| Response::Gone),
        };
        Ok(answer.unwrap_or_else(Response::Failed))
    }

    fn follow(&mut self, dir: &Path, from: u64) -> Result<Response, String> {
        // The closures share the connection: one writes, the other looks for its end.
        let cell = std::cell::RefCell::new(self);
        let mut broken = None;
        let end = {
            let mut send = |event| {
                let sent = cell.borrow_mut().write(&Response::Event(event));
                broken = broken.take().or(sent.clone().err());
                sent
            };
            let mut listening = || cell.borrow_mut().is_open();
            relay::follow(dir, from, &mut send, &mut listening, &mut relay::unit_state)
        };
        match (end, broken) {
            (_, Some(broken)) => Err(broken),
            (Ok(end), None) => Ok(Response::Ran(end)),
            (Err(error), None) => Ok(Response::Failed(error)),
        }
    }

    fn is_open(&mut self) -> bool {
        if self.next.is_none() {
            self.next = match self.frames.try_recv() {
                Ok(frame) => Some(frame),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Ok(None)),
            };
        }
        !matches!(self.next, Some(Ok(None) | Err(_)))
    }
}

/// Entries from a place on, as many as surely fit into a frame; at least one, while there is one.
fn journal_part(entries: Vec<Entry>, from: usize) -> Response {
    let whole = entries.len();
    let mut bytes = 0;
    let fits = |entry: &Entry| {
        let first = bytes == 0;
        bytes += serde_json::to_vec(entry).map_or(0, |json| json.len());
        first || bytes <= JOURNAL_PART
    };
    Response::Journal { entries: entries.into_iter().skip(from).take_while(fits).collect(), whole }
}

fn kubectl(host: &Host, args: &[String], stdin: Option<&str>, timeout_s: u64) -> Response {
    let timeout = Duration::from_secs(timeout_s.clamp(1, 3600));
    match act::cluster::kubectl(host, args, stdin, timeout) {
        Ok(output) => {
            Response::Output { code: output.code, stdout: output.stdout, stderr: output.stderr }
        }
        Err(error) => Response::Output { code: -1, stdout: String::new(), stderr: error },
    }
}

fn read_file(path: &str) -> Result<Option<String>, String> {
    let failed = |e: std::io::Error| format!("can't read {path}: {e}");
    // Where links lead is what counts.
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    if !is_readable(&real.to_string_lossy()) {
        return Err(format!("{path} is not among the files that kubewan reads"));
    }
    let mut file = std::fs::File::open(&real).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{path} is no regular file"));
    }
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(READ_MAX))).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn is_readable(path: &str) -> bool {
    READABLE.iter().any(|allowed| match allowed.strip_suffix('/') {
        Some(_) => path.starts_with(allowed),
        None => path == *allowed,
    })
}

/// Forgets this host, if nothing of it is left to take back.
fn farewell(host: &Host) -> Result<(), String> {
    if !host.root().exists() {
        return Ok(());
    }
    // No other connection may start a batch between the look and the end: its journal would go with this.
    let _lock = relay::lock(host)?;
    if let UnitState::Runs { run, .. } = relay::settled_unit_state(host)? {
        return Err(format!(
            "a batch of the run {run} is in progress here; wait until it has ended"
        ));
    }
    if let Some(left) = left_to_take_back(host)? {
        return Err(format!(
            "{left} is not back as it was, so what kubewan knows of this host is kept; run `kubewan reset` again"
        ));
    }
    let entries = journal::read(host)?;
    act::file::remove_parts(entries.iter().filter_map(|entry| match entry {
        Entry::Begun(begun) => Some((&begun.action, &begun.before)),
        _ => None,
    }));
    match std::fs::remove_dir_all(host.root()) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(format!("can't remove {}: {e}", host.root().display()))
        }
        _ => Ok(()),
    }
}

/// The subject of an entry of the journal that a reset would still have to take back.
fn left_to_take_back(host: &Host) -> Result<Option<String>, String> {
    let entries = journal::read(host)?;
    let mut reset = reset::steps("this host", &entries);
    let mut seen: BTreeMap<String, Result<Observed, String>> = BTreeMap::new();
    let goals: Vec<Action> = reset.steps.iter().map(|step| step.action.clone()).collect();
    let ids = reset.steps.iter().map(|step| step.id.clone());
    seen.extend(ids.zip(act::observe_all(&goals, host)));
    reset::spare_foreign_edits(&mut reset, &seen);
    let is_left = |action: &Action, seen: Option<&Result<Observed, String>>| match seen {
        // Whether something needs it is another question at every moment.
        _ if matches!(action, Action::Sysctl(_)) => false,
        Some(Ok(seen)) => !matches!(diff(action, seen), Ok(None)),
        _ => true,
    };
    let left = reset.steps.iter().find(|step| is_left(&step.action, seen.get(&step.id)));
    Ok(left.map(|step| format!("{} {}", step.action.kind(), step.action.subject())))
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
