//! What `ssh` asks, answered by this program instead of by the terminal: `ssh` starts it as its askpass program
//! (`SSH_ASKPASS`), and that one asks the run it belongs to over a socket which only the same user can reach. So no
//! secret is in an argument, in an environment or in a file, and two questions never meet on the terminal.
//!
//! A question that is not to be answered ends the `ssh` that asks it: given no answer it would send an empty
//! password, up to three times, and servers count those.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use kubewan_core::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::operator::{Keyring, Subject};
use crate::random;

/// The variable that makes this program an askpass: the socket and the word that tells whose question it is.
pub const VARIABLE: &str = "KUBEWAN_ASKPASS";

/// How often one password may be typed.
pub const TRIES: u32 = 3;

/// Longest question.
const QUESTION_MAX: u64 = 64 << 10;

/// What the askpass program sends to the run.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    word: String,
    prompt: String,
    /// `SSH_ASKPASS_PROMPT`: `confirm` for a yes or no, `none` for what is only told.
    hint: String,
}

/// What the run answers.
enum Answer {
    Secret(Secret),
    /// The `ssh` that asks is to end.
    End,
    /// No, and go on.
    No,
    /// There is nothing to answer.
    Told,
}

/// What a prompt asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Whether a host key is right.
    HostKey,
    /// A private key's passphrase or PIN.
    Key(String),
    /// A login's password, with `USER@NAME`.
    Password(String),
    /// Something else that a server asks, with `USER@NAME` where that is said.
    Other(Option<String>, String),
}

/// Reads a prompt of OpenSSH's.
pub fn understand(prompt: &str) -> Asked {
    let text = prompt.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let text = text.trim_end_matches(':');
    if prompt.contains("(yes/no") {
        return Asked::HostKey;
    }
    if let Some(key) = text.strip_prefix("Enter passphrase for key ") {
        return Asked::Key(plain(key.trim_matches('\'')));
    }
    if text.starts_with("Enter PIN for ") {
        return Asked::Key(plain(text));
    }
    if let Some(who) = text.strip_suffix("'s password")
        && !who.contains(char::is_whitespace)
    {
        return Asked::Password(plain(who));
    }
    // Keyboard-interactive: the parenthesis is ssh's, what follows is the server's.
    if let Some((who, asked)) = text.strip_prefix('(').and_then(|rest| rest.split_once(") "))
        && who.contains('@')
    {
        let asked = plain(asked.trim());
        return match asked.as_str() {
            "Password" | "password" => Asked::Password(plain(who)),
            _ => Asked::Other(Some(plain(who)), asked),
        };
    }
    Asked::Other(None, plain(text))
}

/// The text without what a terminal would obey.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect::<String>().trim().to_owned()
}

/// One `ssh`, and who may be asked for it.
pub struct Door {
    word: String,
    host: String,
    /// `USER@NAME` as people know it.
    shown: String,
    /// `USER@NAME` as ssh's prompts have it.
    login: Option<String>,
    may_ask: bool,
    keyring: Arc<Keyring>,
    talk: Mutex<Talk>,
}

/// What was asked so far.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// How often each secret was asked for.
    asked: BTreeMap<Subject, u32>,
    /// Questions that wait for their answer.
    waiting: u32,
    /// When the last one got it.
    answered: Option<Instant>,
    /// Something was typed for it.
    pub typed: bool,
    /// A question that was not answered.
    pub refused: Option<Refused>,
}

/// A question that was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was about a host key, of another machine on the way.
    HostKey(String),
    /// Nobody may be asked now; what was asked for.
    Secret(String),
    /// It was asked too often.
    Wrong,
    /// The operator broke off.
    BrokeOff,
}

impl Door {
    /// A door to a host.
    pub fn new(
        host: &str,
        shown: &str,
        login: Option<String>,
        may_ask: bool,
        keyring: &Arc<Keyring>,
    ) -> Arc<Door> {
        Arc::new(Door {
            word: random::nonce(),
            host: host.into(),
            shown: shown.into(),
            login,
            may_ask: may_ask && keyring.operator().is_some(),
            keyring: Arc::clone(keyring),
            talk: Mutex::default(),
        })
    }

    /// What was asked so far.
    pub fn talk(&self) -> Talk {
        self.lock().clone()
    }

    /// Whether an answer is awaited, and when the last one came.
    pub fn waits(&self) -> (bool, Option<Instant>) {
        let talk = self.lock();
        (talk.waiting > 0, talk.answered)
    }

    /// Forgets a password that was typed and did not help.
    pub fn forget(&self) {
        for subject in self.lock().asked.keys() {
            self.keyring.forget(subject);
        }
    }

    /// sudo asks for the password.
    pub fn sudo(&self) -> Option<Secret> {
        let (sudo, login) = (Subject::Sudo(self.host.clone()), Subject::Login(self.host.clone()));
        let first = !self.lock().asked.contains_key(&sudo);
        if first
            && self.keyring.get(&sudo).is_none()
            && let Some(password) = self.keyring.get(&login)
        {
            self.keyring.keep(sudo.clone(), password);
        }
        self.secret(&sudo, &format!("{}: password for sudo of {}", self.host, self.shown))
    }

    fn answer(&self, question: &Question) -> Answer {
        match question.hint.as_str() {
            "none" => {
                if let Some(operator) = self.keyring.operator() {
                    operator.tell(&format!("{}: {}", self.host, plain(&question.prompt)));
                }
                return Answer::Told;
            }
            "confirm" => return Answer::No,
            _ => {}
        }
        let host = &self.host;
        let secret = match understand(&question.prompt) {
            Asked::HostKey => {
                self.lock().refused = Some(Refused::HostKey(question.prompt.clone()));
                None
            }
            Asked::Key(key) => {
                let asks = format!("passphrase of the key {key}");
                self.secret(&Subject::Key(key), &asks)
            }
            Asked::Password(login) if self.login.as_ref() == Some(&login) => {
                let asks = format!("{host}: password of {}", self.shown);
                self.secret(&Subject::Login(host.clone()), &asks)
            }
            Asked::Password(login) => {
                let asks = format!("on the way to {host}: password of {login}");
                self.secret(&Subject::Jump(login), &asks)
            }
            Asked::Other(who, text) => {
                let who = who.filter(|who| self.login.as_ref() != Some(who));
                let asks = who.map_or(host.clone(), |who| format!("on the way to {host}: {who}"));
                self.once(&format!("{asks} asks: {text}: "))
            }
        };
        secret.map_or(Answer::End, Answer::Secret)
    }

    fn secret(&self, subject: &Subject, asks: &str) -> Option<Secret> {
        let count = {
            let mut talk = self.lock();
            let count = talk.asked.entry(subject.clone()).or_default();
            *count += 1;
            *count
        };
        if count == 1
            && let Some(secret) = self.keyring.get(subject)
        {
            return Some(secret);
        }
        if count > 1 {
            self.keyring.forget(subject);
        }
        if count > TRIES {
            self.lock().refused = Some(Refused::Wrong);
            return None;
        }
        let question =
            if count > 1 { format!("{asks}; that was wrong, again") } else { asks.to_owned() };
        self.asks(asks, |keyring| keyring.ask(subject, &question, count > 1))
    }

    fn once(&self, question: &str) -> Option<Secret> {
        self.asks(question, |keyring| keyring.ask_once(question))
    }

    fn asks(&self, what: &str, ask: impl FnOnce(&Keyring) -> Option<Secret>) -> Option<Secret> {
        if !self.may_ask {
            self.lock().refused = Some(Refused::Secret(what.into()));
            return None;
        }
        self.lock().waiting += 1;
        let secret = ask(&self.keyring);
        let mut talk = self.lock();
        talk.waiting -= 1;
        talk.answered = Some(Instant::now());
        match secret {
            Some(_) => talk.typed = true,
            None => talk.refused = Some(Refused::BrokeOff),
        }
        secret
    }

    fn lock(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().expect("no thread panics here")
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({})", self.host)
    }
}

/// The run's end of the socket.
#[derive(Debug)]
pub struct Askpass {
    socket: PathBuf,
    program: PathBuf,
    doors: Arc<Mutex<BTreeMap<String, Arc<Door>>>>,
    closed: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Askpass {
    /// Opens the socket, in a folder that only this user can enter.
    ///
    /// # Errors
    /// Fails where there is no room for it.
    pub fn open() -> io::Result<Askpass> {
        // A socket's path must be short, and what a killed run leaves goes with the operator's session.
        let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let places = session.into_iter().chain([std::env::temp_dir(), "/tmp".into()]);
        let opened =
            places.filter(|place| place.is_absolute()).find_map(|place| listen(&place).ok());
        let (folder, listener) = opened.ok_or(io::ErrorKind::NotFound)?;
        let doors: Arc<Mutex<BTreeMap<String, Arc<Door>>>> = Arc::default();
        let closed = Arc::new(AtomicBool::new(false));
        let (seen, ends) = (Arc::clone(&doors), Arc::clone(&closed));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                let doors = Arc::clone(&seen);
                thread::spawn(move || serve(stream, &doors));
            }
        });
        // What runs can be started again even after a new build has taken its place.
        let own = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
        let program = std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or(own);
        Ok(Askpass { socket: folder.path().join(SOCKET), program, doors, closed, _folder: folder })
    }

    /// Lets this door's questions in, until the answer is dropped.
    pub fn admit(&self, door: &Arc<Door>) -> Admitted {
        lock(&self.doors).insert(door.word.clone(), Arc::clone(door));
        Admitted {
            environment: [
                ("SSH_ASKPASS".into(), self.program.display().to_string()),
                ("SSH_ASKPASS_REQUIRE".into(), "force".into()),
                (VARIABLE.into(), format!("{} {}", door.word, self.socket.display())),
            ],
            word: door.word.clone(),
            doors: Arc::clone(&self.doors),
        }
    }
}

impl Drop for Askpass {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        // Wakes the thread that waits for questions.
        let _ = UnixStream::connect(&self.socket);
    }
}

/// A door whose questions are answered.
#[derive(Debug)]
pub struct Admitted {
    /// What `ssh` is started with.
    pub environment: [(String, String); 3],
    word: String,
    doors: Arc<Mutex<BTreeMap<String, Arc<Door>>>>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.doors).remove(&self.word);
    }
}

const SOCKET: &str = "ask";

fn listen(folder: &Path) -> io::Result<(tempfile::TempDir, UnixListener)> {
    let only_mine = Permissions::from_mode(0o700);
    let folder =
        tempfile::Builder::new().prefix("kubewan-").permissions(only_mine).tempdir_in(folder)?;
    let listener = UnixListener::bind(folder.path().join(SOCKET))?;
    Ok((folder, listener))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics here")
}

fn serve(mut stream: UnixStream, doors: &Mutex<BTreeMap<String, Arc<Door>>>) {
    let mut line = String::new();
    if BufReader::new((&stream).take(QUESTION_MAX)).read_line(&mut line).is_err() {
        return;
    }
    let Ok(question) = serde_json::from_str::<Question>(&line) else { return };
    let door = lock(doors).get(&question.word).cloned();
    match door.map_or(Answer::End, |door| door.answer(&question)) {
        Answer::Secret(secret) => {
            let _ =
                stream.write_all(b"+").and_then(|()| stream.write_all(secret.reveal().as_bytes()));
        }
        Answer::No => drop(stream.write_all(b"n")),
        Answer::End => drop(stream.write_all(b"-")),
        // Until ssh ends its askpass.
        Answer::Told => drop(stream.read(&mut [0])),
    }
}

/// This program as `ssh`'s askpass: passes the question on and prints the answer. Answers its exit code.
pub fn main(variable: &str, prompt: &str) -> u8 {
    match ask(variable, prompt) {
        Ok(Some(secret)) => {
            let mut out = io::stdout().lock();
            let written = out
                .write_all(secret.reveal().as_bytes())
                .and_then(|()| out.write_all(b"\n"))
                .and_then(|()| out.flush());
            u8::from(written.is_err())
        }
        Ok(None) => 1,
        Err(_) => {
            if let Some(ssh) = rustix::process::getppid() {
                let _ = rustix::process::kill_process(ssh, rustix::process::Signal::TERM);
            }
            1
        }
    }
}

fn ask(variable: &str, prompt: &str) -> io::Result<Option<Secret>> {
    let (word, socket) = variable.split_once(' ').ok_or(io::ErrorKind::InvalidInput)?;
    let hint = std::env::var("SSH_ASKPASS_PROMPT").unwrap_or_default();
    let question = Question { word: word.into(), prompt: prompt.into(), hint };
    let mut stream = UnixStream::connect(socket)?;
    writeln!(stream, "{}", serde_json::to_string(&question)?)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let secret = Secret::new(answer);
    match secret.reveal().split_at_checked(1) {
        Some(("+", typed)) => Ok(Some(Secret::new(typed.into()))),
        Some(("n", _)) => Ok(None),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

#[cfg(test)]
#[path = "askpass_tests.rs"]
mod tests;
