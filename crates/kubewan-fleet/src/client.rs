//! One SSH connection to one host, with the agent at its other end.
//!
//! The product runs one thread per host and is not async: a cluster has a few dozen hosts at most, each with one `ssh`
//! child, and a thread that waits costs nothing there. Every wait has a limit. A reader thread turns what the host
//! sends into messages on a channel, a writer thread keeps a peer that stopped reading from blocking us, and what takes
//! too long is ended by killing `ssh`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kubewan_core::frame;
use kubewan_core::inventory::Host;
use kubewan_core::protocol::{BatchEvent, Request, Response};

use crate::askpass::{Admitted, Door, Refused};
use crate::bootstrap::{self, Said, Sudo};
use crate::failure::{ConnectError, Found, Obstacle, classify};
use crate::program::Program;
use crate::random;
use crate::ssh::{self, Manner, SshChild};
use crate::trace::{Talk, Trace};

/// Until a login has led to our script: ssh's own time-outs come first.
const LOGIN: Duration = Duration::from_secs(60);

/// For sending the agent: 10 MB at 20 kB/s.
const PUSH: Duration = Duration::from_secs(600);

/// Most bytes before our first line, and in one line.
const NOISE_MAX: u64 = 1 << 20;

/// What is said of a shell that goes on beyond that.
const ENDLESS: &str = "it prints without end";

/// How long the last words on standard error are waited for once `ssh` has ended: what holds it open may live on.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The last words on standard error that are kept.
const STDERR_KEPT: usize = 16 << 10;

/// An agent that answers requests. The executor's tests have one of their own.
pub trait Agent: Send {
    /// Sends a request without waiting, so that several can be on their way.
    ///
    /// # Errors
    /// Fails where the link is gone.
    fn send(&mut self, request: &Request, payload: Option<Vec<u8>>) -> Result<(), LinkLost>;

    /// Waits for the answer to the oldest request without one, telling events that come before it.
    ///
    /// # Errors
    /// Fails where the link is gone or nothing at all came within `patience`.
    fn receive(
        &mut self,
        patience: Duration,
        events: &mut dyn FnMut(BatchEvent),
    ) -> Result<Response, LinkLost>;

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Agent::send`] and [`Agent::receive`].
    fn call(&mut self, request: &Request, patience: Duration) -> Result<Response, LinkLost> {
        self.send(request, None)?;
        self.receive(patience, &mut |_| ())
    }
}

/// The connection ended, or the agent stopped answering.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection was lost: {0}")]
pub struct LinkLost(pub String);

/// A connection that was just made.
pub struct Dialed {
    /// The agent at its end.
    pub agent: Box<dyn Agent>,
    /// It had to be sent first.
    pub pushed: bool,
}

/// A host that let us in. Nothing was changed there, and nothing is if this is dropped.
pub trait Login: Send {
    /// Starts the host's agent, which is sent first where the host has it not.
    ///
    /// # Errors
    /// Fails with what was in the way.
    fn start(self: Box<Self>) -> Result<Dialed, ConnectError>;
}

/// Makes connections.
pub trait Dial: Sync {
    /// Logs in to a host and becomes root there; changes nothing.
    ///
    /// # Errors
    /// Fails with what was in the way.
    fn log_in<'a>(&'a self, host: &'a Host) -> Result<Box<dyn Login + 'a>, ConnectError>;

    /// Looks at the host keys of all hosts before the first login, and has the operator asked once for all that are new.
    /// Where `all` are needed, nothing is asked once one of them can't be had. Answers which can't be had, and why.
    fn trust(&self, _hosts: &[Host], _all: bool) -> Vec<ConnectError> {
        Vec::new()
    }

    /// The same as [`Dial::log_in`], with the operator asked for passwords; `None` where there is nobody to ask.
    fn log_in_asking<'a>(
        &'a self,
        _host: &'a Host,
    ) -> Option<Result<Box<dyn Login + 'a>, ConnectError>> {
        None
    }

    /// Connects to a host and starts its agent.
    ///
    /// # Errors
    /// Fails with what was in the way.
    fn dial(&self, host: &Host) -> Result<Dialed, ConnectError> {
        self.log_in(host)?.start()
    }
}

/// What the reader thread passes on.
enum Incoming {
    Said(Said),
    /// sudo asks for the password.
    Sudo,
    Frame(Vec<u8>),
    Ended(String),
}

/// A connection through `ssh`.
pub struct Connection {
    ssh: SshChild,
    outgoing: Sender<Vec<u8>>,
    incoming: Receiver<Incoming>,
    stderr: Arc<Mutex<String>>,
    hears: JoinHandle<()>,
    /// How standard output ended: in the words of something else than our script, or of the one who read it.
    noise: String,
    host: String,
    trace: Trace,
    /// What was said on standard error was told.
    told: bool,
    /// What was asked for and is not answered yet, and when; `None` for what nobody is told of.
    asked: VecDeque<Option<(String, Instant)>>,
    /// Its questions are answered while it lasts.
    _admitted: Option<Admitted>,
}

impl Connection {
    pub(crate) fn open(
        host: &Host,
        manner: &Manner,
        admitted: Option<Admitted>,
        sudo: Sudo,
    ) -> Result<Self, ConnectError> {
        let nonce = random::nonce();
        let remote = bootstrap::remote_command(&nonce, sudo);
        let mut ssh = ssh::start(host, manner, admitted.as_ref(), &remote)
            .map_err(|error| ConnectError::new(host, Obstacle::NoSsh, &error.to_string()))?;
        let (stdin, stdout, stderr) = streams(&mut ssh);
        let (tell, incoming) = channel();
        let tell_sudo = tell.clone();
        let prompt = bootstrap::sudo_prompt(&nonce);
        thread::spawn(move || read_all(stdout, &nonce, &tell));
        let (outgoing, to_write) = channel();
        thread::spawn(move || write_all(stdin, &to_write));
        let words = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&words);
        let hears = thread::spawn(move || keep_last_words(stderr, &heard, &prompt, &tell_sudo));
        Ok(Connection {
            ssh,
            outgoing,
            incoming,
            stderr: words,
            hears,
            noise: String::new(),
            host: host.name.clone(),
            trace: manner.trace.clone(),
            told: false,
            asked: VecDeque::new(),
            _admitted: admitted,
        })
    }

    /// Waits until the script runs as root there; answers the host's system and machine.
    pub(crate) fn greeting(
        &mut self,
        host: &Host,
        door: &Door,
    ) -> Result<(String, String), ConnectError> {
        let mut since = Instant::now();
        loop {
            match self.incoming.recv_timeout(Duration::from_millis(200)) {
                Ok(Incoming::Said(Said::Host { system, machine })) => return Ok((system, machine)),
                Ok(Incoming::Sudo) => {
                    let Some(password) = door.sudo() else { break };
                    since = Instant::now();
                    self.write(format!("{}\n", password.reveal()).into_bytes());
                }
                Ok(Incoming::Ended(said)) => {
                    self.noise = said;
                    break;
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    // The operator may take his time.
                    let (waits, answered) = door.waits();
                    since = since.max(answered.unwrap_or(since));
                    if !waits && since.elapsed() > LOGIN {
                        self.noise = format!("nothing came within {} s", LOGIN.as_secs());
                        let _ = self.ssh.child.kill();
                        break;
                    }
                }
            }
        }
        Err(self.obstacle(host, door))
    }

    /// Why there was no greeting.
    fn obstacle(&mut self, host: &Host, door: &Door) -> ConnectError {
        let (said, code) = self.end();
        let talk = door.talk();
        let seen = classify(&said, host.ssh.host_key.is_some());
        if let Some(Refused::Secret(what)) = talk.refused {
            let said = format!("ssh asks: {what}");
            return ConnectError::new(host, Obstacle::Denied, &said);
        }
        let obstacle = match (talk.refused, seen) {
            (Some(Refused::BrokeOff), _) => Obstacle::BrokeOff,
            (Some(Refused::HostKey(prompt)), _) => {
                Obstacle::UnknownHostKey(Found::in_prompt(&prompt).map(Box::new))
            }
            (_, Obstacle::SudoWrongPassword) | (Some(Refused::Wrong), Obstacle::SudoPassword) => {
                Obstacle::SudoWrongPassword
            }
            (Some(Refused::Wrong), _) => Obstacle::WrongPassword,
            (_, Obstacle::Denied) if talk.typed => Obstacle::WrongPassword,
            // Not ssh's own code: it was the other side that ended, or we.
            (_, Obstacle::Other) if code != Some(255) || said.starts_with(ENDLESS) => {
                Obstacle::Shell
            }
            (_, seen) => seen,
        };
        if matches!(obstacle, Obstacle::WrongPassword | Obstacle::SudoWrongPassword) {
            door.forget();
        }
        ConnectError::new(host, obstacle, &said)
    }

    /// The rest of the talk that [`bootstrap`] describes; answers whether the agent had to be sent.
    pub(crate) fn start_agent(
        &mut self,
        host: &Host,
        program: &Program,
    ) -> Result<bool, ConnectError> {
        self.write(format!("{}\n", program.sha256).into_bytes());
        let mut pushed = false;
        let mut said = self.hear(LOGIN);
        if said == Some(Said::Need) {
            pushed = true;
            let gzip = program.gzip();
            self.write(format!("{}\n", gzip.len()).into_bytes());
            self.write(gzip.to_vec());
            said = self.hear(PUSH);
        } else if said == Some(Said::Have) {
            said = self.hear(LOGIN);
        }
        match said {
            Some(Said::Agent) => Ok(pushed),
            other => {
                let obstacle = match other {
                    Some(Said::Bad) => Obstacle::NotStored,
                    Some(Said::NoExec) => Obstacle::NoExec,
                    _ => Obstacle::NotStarted,
                };
                let (said, _) = self.end();
                Err(ConnectError::new(host, obstacle, &said))
            }
        }
    }

    /// The next line of ours; `None` where the connection ends before it, or it does not come in time.
    fn hear(&mut self, patience: Duration) -> Option<Said> {
        match self.incoming.recv_timeout(patience) {
            Ok(Incoming::Said(said)) => Some(said),
            Ok(Incoming::Ended(said)) => {
                self.noise = said;
                None
            }
            _ => None,
        }
    }

    fn write(&self, bytes: Vec<u8>) {
        // A writer that is gone has met a closed pipe; the reader then tells why.
        let _ = self.outgoing.send(bytes);
    }

    /// Ends `ssh` and answers what it said, and its exit code where it ended by itself.
    fn end(&mut self) -> (String, Option<i32>) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && matches!(self.ssh.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.ssh.child.kill();
        let status = self.ssh.child.wait();
        // The thread that keeps the words may be a moment behind the process' end, on a busy machine a long one.
        let deadline = Instant::now() + LAST_WORDS;
        while Instant::now() < deadline && !self.hears.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        let said = self.stderr.lock().map(|words| words.trim().to_owned()).unwrap_or_default();
        self.told = true;
        self.trace.says(&self.host, if said.is_empty() { &self.noise } else { &said });
        let code = status.as_ref().ok().and_then(std::process::ExitStatus::code);
        let said = match status {
            Ok(status) if said.is_empty() && self.noise.is_empty() => {
                format!("ssh ended with {status} and said nothing")
            }
            _ if said.is_empty() => self.noise.clone(),
            _ => said,
        };
        (said, code)
    }
}

impl Agent for Connection {
    fn send(&mut self, request: &Request, payload: Option<Vec<u8>>) -> Result<(), LinkLost> {
        let json = serde_json::to_vec(request).map_err(|error| LinkLost(error.to_string()))?;
        let mut bytes = Vec::with_capacity(json.len() + 8);
        for part in std::iter::once(&json).chain(&payload) {
            frame::write(&mut bytes, part).map_err(|error| LinkLost(error.to_string()))?;
        }
        self.write(bytes);
        let what = request.summary();
        if let Some(what) = &what {
            self.trace.tell(&self.host, || Talk::Asks { what: what.clone() });
        }
        self.asked.push_back(what.map(|what| (what, Instant::now())));
        Ok(())
    }

    fn receive(
        &mut self,
        patience: Duration,
        events: &mut dyn FnMut(BatchEvent),
    ) -> Result<Response, LinkLost> {
        loop {
            let frame = match self.incoming.recv_timeout(patience) {
                Ok(Incoming::Frame(frame)) => frame,
                Ok(Incoming::Said(_) | Incoming::Sudo) => continue,
                Ok(Incoming::Ended(why)) => {
                    self.noise = why;
                    return Err(LinkLost(self.end().0));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.ssh.child.kill();
                    let seconds = patience.as_secs();
                    return Err(LinkLost(format!("the agent did not answer for {seconds} s")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(LinkLost("it had ended before".into()));
                }
            };
            match serde_json::from_slice(&frame) {
                Ok(Response::Event(event)) => events(event),
                Ok(response) => {
                    if let Some((what, since)) = self.asked.pop_front().flatten() {
                        let took = since.elapsed();
                        self.trace.tell(&self.host, || Talk::Answers { what, took });
                    }
                    return Ok(response);
                }
                Err(error) => return Err(LinkLost(format!("not an answer of the agent: {error}"))),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.ssh.child.kill();
        let _ = self.ssh.child.wait();
        if let (false, Ok(words)) = (self.told, self.stderr.lock()) {
            self.trace.says(&self.host, &words);
        }
    }
}

fn streams(ssh: &mut SshChild) -> (ChildStdin, ChildStdout, ChildStderr) {
    let child = &mut ssh.child;
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
        unreachable!("ssh::start pipes all three streams");
    };
    (stdin, stdout, stderr)
}

/// Lines until the agent runs, frames after that.
fn read_all(stdout: ChildStdout, nonce: &str, tell: &Sender<Incoming>) {
    let mut stdout = BufReader::with_capacity(64 << 10, stdout);
    let why = match read_lines(&mut stdout, nonce, tell) {
        Ok(None) => loop {
            match frame::read(&mut stdout) {
                Ok(Some(frame)) => {
                    if tell.send(Incoming::Frame(frame)).is_err() {
                        return;
                    }
                }
                Ok(None) => break "the agent ended".to_owned(),
                Err(error) => break error.to_string(),
            }
        },
        Ok(Some(noise)) => noise,
        Err(error) => error.to_string(),
    };
    let _ = tell.send(Incoming::Ended(why));
}

/// Passes our lines on until the agent has said its own. Where they end before that, answers the last that was not ours;
/// where they don't end, that they don't.
fn read_lines(
    stdout: &mut impl BufRead,
    nonce: &str,
    tell: &Sender<Incoming>,
) -> std::io::Result<Option<String>> {
    let mut left = NOISE_MAX;
    let mut noise = String::new();
    loop {
        let mut line = Vec::new();
        let bytes = stdout.by_ref().take(left).read_until(b'\n', &mut line)?;
        if bytes == 0 {
            let endless = left == 0;
            return Ok(Some(if endless { format!("{ENDLESS}: {noise}") } else { noise }));
        }
        left -= bytes as u64;
        let line = String::from_utf8_lossy(&line);
        let Some(said) = bootstrap::understand(&line, nonce) else {
            if line.ends_with('\n') || noise.is_empty() {
                noise = line.trim().chars().take(200).collect();
            }
            continue;
        };
        let agent = said == Said::Agent;
        if tell.send(Incoming::Said(said)).is_err() || agent {
            return Ok(None);
        }
    }
}

fn write_all(mut stdin: ChildStdin, to_write: &Receiver<Vec<u8>>) {
    while let Ok(mut bytes) = to_write.recv() {
        let written = stdin.write_all(&bytes).and_then(|()| stdin.flush());
        // It may have been a password.
        bytes.fill(0);
        std::hint::black_box(&bytes);
        if written.is_err() {
            return;
        }
    }
}

/// Keeps what is said, and tells when it is sudo's question.
fn keep_last_words(
    mut stderr: impl Read,
    words: &Mutex<String>,
    prompt: &str,
    tell: &Sender<Incoming>,
) {
    let mut buffer = [0; 4096];
    while let Ok(bytes @ 1..) = stderr.read(&mut buffer) {
        let Ok(mut words) = words.lock() else { return };
        words.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
        while let Some(at) = words.find(prompt) {
            words.replace_range(at..at + prompt.len(), "");
            let _ = tell.send(Incoming::Sudo);
        }
        if words.len() > STDERR_KEPT {
            let mut start = words.len() - STDERR_KEPT;
            while !words.is_char_boundary(start) {
                start += 1;
            }
            words.drain(..start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_chatters_is_heard_through() {
        let mut bytes =
            b"\xff\xfe Last login: today\nMOTD ... kubewan-host 0a Linux x86_64\n".to_vec();
        bytes.extend(b"kubewan-have 0a\nkubewan-agent 0a\n");
        frame::write(&mut bytes, b"frame").unwrap();
        let (tell, told) = channel();
        let mut stream = bytes.as_slice();
        assert_eq!(read_lines(&mut stream, "0a", &tell).unwrap(), None);
        let said: Vec<Said> = told
            .try_iter()
            .map(|incoming| match incoming {
                Incoming::Said(said) => said,
                _ => panic!("only lines come before frames"),
            })
            .collect();
        let host = Said::Host { system: "Linux".into(), machine: "x86_64".into() };
        assert_eq!(said, [host, Said::Have, Said::Agent]);
        assert_eq!(frame::read(&mut stream).unwrap().unwrap(), b"frame");
    }

    #[test]
    fn sudos_question_is_heard_whatever_stands_around_it() {
        let (tell, told) = channel();
        let words = Mutex::new(String::new());
        let text = "We trust you have received the usual lecture.\n\nkubewan-sudo 0aSorry, try again.\nkubewan-sudo 0a";
        // One byte at a time.
        let bytes = text.as_bytes().chunks(1);
        let mut slow = bytes.fold(Box::new(std::io::empty()) as Box<dyn Read>, |before, byte| {
            Box::new(before.chain(byte))
        });
        keep_last_words(&mut slow, &words, "kubewan-sudo 0a", &tell);
        assert_eq!(told.try_iter().count(), 2);
        assert!(words.lock().unwrap().ends_with("lecture.\n\nSorry, try again.\n"));
    }

    #[test]
    fn endless_noise_is_given_up() {
        let noise = vec![b'x'; NOISE_MAX as usize * 2];
        let (tell, _told) = channel();
        let said = read_lines(&mut noise.as_slice(), "0a", &tell).unwrap().unwrap();
        assert!(said.starts_with("it prints without end: xxx"), "{said}");
    }
}
