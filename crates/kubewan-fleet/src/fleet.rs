//! The hosts of one run, each with a connection to its agent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::action::{Action, Observed};
use kubewan_core::api;
use kubewan_core::event::Event;
use kubewan_core::facts::Facts;
use kubewan_core::inventory::Host;
use kubewan_core::journal::Entry;
use kubewan_core::mirror::Ask;
use kubewan_core::mirror::answer::Answer;
use kubewan_core::protocol::{BatchEvent, FRAME_MAX, Request, Response};

use crate::client::{Agent, Dial, LinkLost, Login};
use crate::error::HostError;
use crate::failure::ConnectError;

/// Hears what happens. It is called from many threads.
pub type Emit<'a> = dyn Fn(Event) + Sync + 'a;

/// Logins at a time: a jump host's sshd drops connections beyond ten that are not logged in yet (`MaxStartups`).
const LOGINS: usize = 8;

/// How long a lost link is tried again.
const RECONNECT: Duration = Duration::from_secs(300);

/// Connections in a row that may be lost before they bring anything new: what breaks each of them breaks the next.
const IN_VAIN: u32 = 5;

/// Pauses between two tries, first and longest.
const PAUSE: Duration = if cfg!(test) { Duration::from_millis(1) } else { Duration::from_secs(1) };
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// For requests that only read.
const READ: Duration = Duration::from_secs(300);

/// Times that kubectl is run while the API says that it had no time: each try waits as long as the API lets it, a minute.
const KUBECTL_TRIES: u32 = 3;

/// What a command on a host answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit code; -1 when it was stopped.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A host and the connection to its agent.
pub struct Member<'a> {
    /// The host.
    pub host: Host,
    dial: &'a dyn Dial,
    agent: Box<dyn Agent>,
}

/// The connected hosts, by name.
pub struct Fleet<'a> {
    members: BTreeMap<String, Member<'a>>,
}

impl<'a> Fleet<'a> {
    /// Connects to all hosts or to none: agents are sent only once every host has let us in, so that a host that is
    /// missing leaves the others untouched.
    ///
    /// # Errors
    /// Fails with what was in the way on each host that can't be had.
    pub fn connect_all(
        dial: &'a dyn Dial,
        hosts: &[Host],
        emit: &Emit,
    ) -> Result<Fleet<'a>, Vec<ConnectError>> {
        let errors = dial.trust(hosts, true);
        if !errors.is_empty() {
            return Err(errors);
        }
        let (logins, errors) = log_in(dial, hosts.iter(), true);
        if !errors.is_empty() {
            return Err(errors);
        }
        match start(dial, logins, emit) {
            (fleet, errors) if errors.is_empty() => Ok(fleet),
            (_, errors) => Err(errors),
        }
    }

    /// Connects to the hosts that can be had; answers them and why the others can't.
    pub fn connect(
        dial: &'a dyn Dial,
        hosts: &[Host],
        emit: &Emit,
    ) -> (Fleet<'a>, Vec<ConnectError>) {
        let mut errors = dial.trust(hosts, false);
        let failed: BTreeSet<String> = errors.iter().map(|error| error.host.clone()).collect();
        let left = hosts.iter().filter(|host| !failed.contains(&host.name));
        let (logins, others) = log_in(dial, left, false);
        errors.extend(others);
        let (fleet, others) = start(dial, logins, emit);
        errors.extend(others);
        // In the operator's order, whatever was in the way.
        let place = |name: &str| hosts.iter().position(|host| host.name == name);
        errors.sort_by_key(|error| place(&error.host));
        (fleet, errors)
    }

    /// Names of the connected hosts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// One host.
    pub fn member(&mut self, name: &str) -> Option<&mut Member<'a>> {
        self.members.get_mut(name)
    }

    /// Does something on all hosts at the same time.
    pub fn each<T: Send>(
        &mut self,
        work: impl Fn(&mut Member<'a>) -> T + Sync,
    ) -> BTreeMap<String, T> {
        self.on(None, work)
    }

    /// Does something on some hosts at the same time.
    pub fn each_of<T: Send>(
        &mut self,
        names: &BTreeSet<String>,
        work: impl Fn(&mut Member<'a>) -> T + Sync,
    ) -> BTreeMap<String, T> {
        self.on(Some(names), work)
    }

    fn on<T: Send>(
        &mut self,
        names: Option<&BTreeSet<String>>,
        work: impl Fn(&mut Member<'a>) -> T + Sync,
    ) -> BTreeMap<String, T> {
        let work = &work;
        thread::scope(|scope| {
            let threads: Vec<_> = self
                .members
                .iter_mut()
                .filter(|(name, _)| names.is_none_or(|names| names.contains(*name)))
                .map(|(name, member)| (name.clone(), scope.spawn(move || work(member))))
                .collect();
            threads
                .into_iter()
                .map(|(name, thread)| (name, thread.join().expect("a host's work does not panic")))
                .collect()
        })
    }
}

type LoggedIn<'h> = Vec<(&'h Host, Box<dyn Login + 'h>)>;

/// Logs in to hosts; nothing is changed there. Where a password is needed, the operator is asked for one host after
/// another, once all others have let us in: a server waits two minutes for a password, and not for its turn. Answers in the
/// operator's order.
fn log_in<'h>(
    dial: &'h dyn Dial,
    hosts: impl Iterator<Item = &'h Host>,
    all: bool,
) -> (LoggedIn<'h>, Vec<ConnectError>) {
    let hosts: Vec<&Host> = hosts.collect();
    let results = some_at_once(hosts.iter(), |host| dial.log_in(host));
    let may_go_on = |result: &Result<_, ConnectError>| {
        result.as_ref().err().is_none_or(ConnectError::may_be_answered)
    };
    // Nobody is asked for anything where it would not help: all are needed, and one can't be had.
    let asks = !all || results.iter().all(may_go_on);
    let mut in_vain = false;
    let mut logins = Vec::new();
    let mut errors = Vec::new();
    for (host, result) in hosts.into_iter().zip(results) {
        let result = match result {
            Err(error) if asks && error.may_be_answered() => {
                if in_vain && all {
                    continue;
                }
                let answered = dial.log_in_asking(host);
                in_vain |= matches!(answered, Some(Err(_)));
                answered.unwrap_or(Err(error))
            }
            result => result,
        };
        match result {
            Ok(login) => logins.push((host, login)),
            Err(error) => errors.push(error),
        }
    }
    (logins, errors)
}

/// Starts the agents.
fn start<'a>(dial: &'a dyn Dial, logins: LoggedIn, emit: &Emit) -> (Fleet<'a>, Vec<ConnectError>) {
    let results = some_at_once(logins.into_iter(), |(host, login)| {
        let dialed = login.start()?;
        emit(Event::Connected { host: host.name.clone(), pushed_agent: dialed.pushed });
        Ok(Member { host: host.clone(), dial, agent: dialed.agent })
    });
    let mut fleet = Fleet { members: BTreeMap::new() };
    let mut errors = Vec::new();
    for result in results {
        match result {
            Ok(member) => drop(fleet.members.insert(member.host.name.clone(), member)),
            Err(error) => errors.push(error),
        }
    }
    (fleet, errors)
}

/// Does something with each item, [`LOGINS`] at a time; answers in the items' order.
pub(crate) fn some_at_once<T: Send, R: Send>(
    items: impl ExactSizeIterator<Item = T> + Send,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let threads = LOGINS.min(items.len());
    let waiting = Mutex::new(items.enumerate());
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // Its own statement: a lock in the loop's head would be held for the work.
                    let next = waiting.lock().expect("no login panics").next();
                    let Some((place, item)) = next else { return };
                    let result = work(item);
                    results.lock().expect("no login panics").insert(place, result);
                }
            });
        }
    });
    results.into_inner().expect("no login panics").into_values().collect()
}

/// Links that one piece of work lost, since it last came further.
#[derive(Debug, Default)]
pub struct Losses {
    in_vain: u32,
    known: u64,
}

impl Losses {
    /// Notes that a link was lost when the work had come so far.
    pub fn note(&mut self, known: u64) {
        self.in_vain = if known > self.known { 1 } else { self.in_vain + 1 };
        self.known = known.max(self.known);
    }
}

impl Member<'_> {
    /// The agent, for talks that this module does not know.
    pub fn agent(&mut self) -> &mut dyn Agent {
        self.agent.as_mut()
    }

    /// Sends a request that only reads and waits for its answer; once more over a new connection if this one is lost.
    ///
    /// # Errors
    /// Fails where the host can't be reached any more or its agent refuses.
    pub fn call(&mut self, attempted: &str, request: &Request) -> Result<Response, HostError> {
        self.call_for(attempted, request, READ)
    }

    fn call_for(
        &mut self,
        attempted: &str,
        request: &Request,
        patience: Duration,
    ) -> Result<Response, HostError> {
        self.check_size(attempted, request)?;
        let response = match self.agent.call(request, patience) {
            Ok(response) => response,
            Err(_) => {
                self.agent = self.dial.dial(&self.host)?.agent;
                self.agent.call(request, patience).map_err(|lost| self.lost(attempted, lost))?
            }
        };
        match response {
            Response::Failed(said) => Err(self.refused(attempted, said)),
            response => Ok(response),
        }
    }

    /// Everything about the host.
    ///
    /// # Errors
    /// As [`Member::call`].
    pub fn facts(&mut self) -> Result<Facts, HostError> {
        let attempted = "reading the host's facts";
        match self.call(attempted, &Request::Gather)? {
            Response::Facts(facts) => Ok(*facts),
            _ => Err(self.other(attempted)),
        }
    }

    /// How far the host is from these goals, in their order. `values` are those of markers that goals are compared with.
    ///
    /// # Errors
    /// As [`Member::call`].
    pub fn observe(
        &mut self,
        goals: Vec<Action>,
        values: BTreeMap<String, String>,
    ) -> Result<Vec<Result<Observed, String>>, HostError> {
        let attempted = "looking at the host's state";
        let asked = goals.len();
        match self.call(attempted, &Request::Observe { goals, values })? {
            Response::Observed(seen) if seen.len() == asked => Ok(seen),
            _ => Err(self.other(attempted)),
        }
    }

    /// The host's journal.
    ///
    /// # Errors
    /// As [`Member::call`].
    pub fn journal(&mut self) -> Result<Vec<Entry>, HostError> {
        let attempted = "reading the host's journal";
        let mut journal = Vec::new();
        loop {
            match self.call(attempted, &Request::Journal { from: journal.len() })? {
                Response::Journal { entries, whole } => {
                    let is_last = entries.is_empty() || journal.len() + entries.len() >= whole;
                    journal.extend(entries);
                    if is_last {
                        return Ok(journal);
                    }
                }
                _ => return Err(self.other(attempted)),
            }
        }
    }

    /// The text of a small file; `None` where there is none.
    ///
    /// # Errors
    /// As [`Member::call`].
    pub fn read(&mut self, path: &str) -> Result<Option<String>, HostError> {
        let attempted = format!("reading {path}");
        match self.call(&attempted, &Request::Read { path: path.into() })? {
            Response::Text(text) => Ok(text),
            _ => Err(self.other(&attempted)),
        }
    }

    /// Runs the host's own kubectl as the cluster's admin, again where the API had no time.
    ///
    /// # Errors
    /// As [`Member::call`]; that kubectl itself fails is no error here.
    pub fn kubectl(
        &mut self,
        args: &[&str],
        stdin: Option<String>,
        timeout_s: u64,
    ) -> Result<Output, HostError> {
        let attempted = format!("kubectl {}", args.join(" "));
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let request = Request::Kubectl { args, stdin, timeout_s };
        let mut tries = 0;
        loop {
            tries += 1;
            match self.call_for(&attempted, &request, Duration::from_secs(timeout_s + 30))? {
                // Nothing that is asked of it by this way does harm when it is done twice.
                Response::Output { code, stderr, .. }
                    if code != 0 && tries < KUBECTL_TRIES && api::had_no_time(&stderr) => {}
                Response::Output { code, stdout, stderr } => {
                    return Ok(Output { code, stdout, stderr });
                }
                _ => return Err(self.other(&attempted)),
            }
        }
    }

    /// Connects from the host to other addresses.
    ///
    /// # Errors
    /// As [`Member::call`]; that an address does not answer is no error here.
    pub fn probe(
        &mut self,
        targets: Vec<String>,
        timeout_ms: u64,
    ) -> Result<Vec<Result<String, String>>, HostError> {
        let attempted = "connecting from the host to others";
        let asked = targets.len();
        match self.call(attempted, &Request::Probe { targets, timeout_ms })? {
            Response::Probed(answers) if answers.len() == asked => Ok(answers),
            _ => Err(self.other(attempted)),
        }
    }

    /// Has the host ask servers; answers come in the questions' order.
    ///
    /// # Errors
    /// As [`Member::call`]; a server that does not serve is no error here.
    pub fn ask(
        &mut self,
        asks: Vec<Ask>,
        authorities: &BTreeMap<String, String>,
    ) -> Result<Vec<Answer>, HostError> {
        let attempted = "asking mirrors";
        let asked = asks.len();
        // Longer than the agent asks at most.
        let patience = Duration::from_secs(120);
        let authorities = authorities.clone();
        match self.call_for(attempted, &Request::Ask { asks, authorities }, patience)? {
            Response::Asked(answers) if answers.len() == asked => Ok(answers),
            _ => Err(self.other(attempted)),
        }
    }

    /// Comes in by a connection of its own: the host takes back by itself what could keep the operator out unless somebody
    /// does (`act/undo.rs` of the agent).
    ///
    /// # Errors
    /// Fails where no new connection gets in.
    pub fn come_in_anew(&mut self) -> Result<(), HostError> {
        self.agent = self.dial.dial(&self.host)?.agent;
        Ok(())
    }

    /// Has the agent remove itself and all it kept.
    ///
    /// # Errors
    /// Fails where the agent says that it could not.
    pub fn farewell(&mut self) -> Result<(), HostError> {
        let attempted = "removing kubewan's own files";
        match self.call(attempted, &Request::Farewell)? {
            Response::Gone => Ok(()),
            _ => Err(self.other(attempted)),
        }
    }

    /// Waits until a batch that another connection started has ended, whatever its end.
    ///
    /// # Errors
    /// Fails where the host can't be reached any more, or the batch does not end within `patience`.
    pub fn wait_for(
        &mut self,
        run: &str,
        patience: Duration,
        emit: &Emit,
    ) -> Result<(), HostError> {
        let host = self.host.name.clone();
        let attempted = format!("waiting for what the run {run} left at work");
        emit(Event::Waiting { host: host.clone(), run: run.into() });
        let mut next = 1;
        let mut losses = Losses::default();
        loop {
            let request = Request::Attach { run: run.into(), from: next };
            let mut relay = |event: BatchEvent| {
                next = event.seq + 1;
                tell(&host, &event, emit);
            };
            let sent = self.agent.send(&request, None);
            match sent.and_then(|()| self.agent.receive(patience, &mut relay)) {
                // It may have ended just before we asked, and then the agent knows nothing of it.
                Ok(Response::Ran(_) | Response::Failed(_)) => return Ok(()),
                Ok(_) => return Err(self.other(&attempted)),
                Err(lost) => {
                    losses.note(next);
                    self.reconnect(&attempted, lost, &losses, emit)?;
                }
            }
        }
    }

    /// Makes a new connection in place of a lost one, trying for five minutes.
    ///
    /// # Errors
    /// Fails where the link does not come back, comes back to a host that refuses us, or was lost too often in vain.
    pub fn reconnect(
        &mut self,
        attempted: &str,
        lost: LinkLost,
        losses: &Losses,
        emit: &Emit,
    ) -> Result<(), HostError> {
        let host = self.host.name.clone();
        if losses.in_vain > IN_VAIN {
            let said = format!("{} ({IN_VAIN} new connections brought nothing new)", lost.0);
            return Err(self.lost(attempted, LinkLost(said)));
        }
        emit(Event::Link { host: host.clone(), up: false, reason: lost.to_string() });
        let deadline = Instant::now() + RECONNECT;
        let mut pause = PAUSE;
        loop {
            match self.dial.dial(&self.host) {
                Ok(dialed) => {
                    self.agent = dialed.agent;
                    emit(Event::Link { host, up: true, reason: "connected again".into() });
                    return Ok(());
                }
                Err(error) if !error.may_pass() => return Err(error.into()),
                Err(_) if Instant::now() + pause > deadline => {
                    return Err(self.lost(attempted, lost));
                }
                Err(_) => thread::sleep(pause),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// A request that fits into no frame would fail over every connection.
    ///
    /// # Errors
    /// Fails for such a request.
    pub fn check_size(&self, attempted: &str, request: &Request) -> Result<(), HostError> {
        let bytes = serde_json::to_vec(request).map_or(0, |json| json.len());
        if bytes <= FRAME_MAX {
            return Ok(());
        }
        let (host, attempted) = (self.host.name.clone(), attempted.to_owned());
        Err(HostError::TooLarge { host, attempted, bytes })
    }

    fn lost(&self, attempted: &str, lost: LinkLost) -> HostError {
        HostError::Lost { host: self.host.name.clone(), attempted: attempted.into(), lost }
    }

    /// The agent's refusal as an error.
    pub fn refused(&self, attempted: &str, said: String) -> HostError {
        HostError::Answer { host: self.host.name.clone(), attempted: attempted.into(), said }
    }

    /// An answer to another question than the one asked: a bug, not a user's error.
    pub fn other(&self, attempted: &str) -> HostError {
        self.refused(attempted, "the agent gave another answer than the one asked for".into())
    }
}

/// Passes a batch's news on.
pub fn tell(host: &str, event: &BatchEvent, emit: &Emit) {
    if let Some(news) = kubewan_core::event::StepNews::of(&event.what) {
        emit(Event::Step { host: host.into(), news });
    }
}
