//! The operator at his terminal, and what he has said in this run: passwords and passphrases, in memory only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use kubewan_core::secret::Secret;

/// An operator who can be asked. Asked by one thread at a time.
pub trait Operator: Send + Sync {
    /// A secret, typed without echo; `None` where he breaks off.
    fn secret(&self, question: &str) -> Option<Secret>;

    /// Whether these host keys, seen for the first time, are to be trusted and kept in these files.
    fn trusts(&self, keys: &[NewKey], files: &[PathBuf]) -> bool;

    /// Tells him something that he has to do.
    fn tell(&self, text: &str);
}

/// A host key that no known_hosts file knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The host, or the jump host on the way to others.
    pub name: String,
    /// How it is addressed.
    pub address: String,
    /// The key's kind, as `ED25519`.
    pub kind: &'static str,
    /// The key's fingerprint, as `SHA256:…`.
    pub fingerprint: String,
}

/// What a secret opens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The login at a host, by the host's name.
    Login(String),
    /// The login at a jump host, by `USER@NAME`.
    Jump(String),
    /// A private key, by what ssh calls it.
    Key(String),
    /// sudo on a host, by the host's name.
    Sudo(String),
}

/// What the operator has typed. Whoever asks waits until others have their answer.
#[derive(Default)]
pub struct Keyring {
    operator: Option<Arc<dyn Operator>>,
    known: Mutex<Known>,
    asking: Mutex<()>,
}

#[derive(Default)]
struct Known {
    secrets: BTreeMap<Subject, Secret>,
    /// The last password of a login or of sudo, and the host it was for.
    last: Option<(String, Secret)>,
    broke_off: bool,
}

impl Keyring {
    /// A keyring with nothing in it.
    pub fn new(operator: Option<Arc<dyn Operator>>) -> Self {
        Keyring { operator, ..Keyring::default() }
    }

    /// The operator, where there is a terminal to ask on.
    pub fn operator(&self) -> Option<&dyn Operator> {
        self.operator.as_deref()
    }

    /// What was typed for it.
    pub fn get(&self, subject: &Subject) -> Option<Secret> {
        self.known().secrets.get(subject).cloned()
    }

    /// Whether something was typed that may open this host's login.
    pub fn may_open(&self, host: &str) -> bool {
        let known = self.known();
        known.secrets.keys().any(|subject| match subject {
            Subject::Login(name) => name == host,
            Subject::Key(_) => true,
            Subject::Jump(_) | Subject::Sudo(_) => false,
        })
    }

    /// What was typed for it was wrong.
    pub fn forget(&self, subject: &Subject) {
        self.known().secrets.remove(subject);
    }

    /// Keeps what opens it.
    pub fn keep(&self, subject: Subject, secret: Secret) {
        self.known().secrets.insert(subject, secret);
    }

    /// Whether the operator has broken off: nothing more is asked then.
    pub fn broke_off(&self) -> bool {
        self.known().broke_off
    }

    /// Asks for a secret that only serves once.
    pub fn ask_once(&self, question: &str) -> Option<Secret> {
        let _turn = self.turn();
        self.typed(question)
    }

    /// Asks for a secret and keeps it. Somebody else's answer to the same question, given while this one waited for its
    /// turn, is taken where `again` is not set.
    pub fn ask(&self, subject: &Subject, question: &str, again: bool) -> Option<Secret> {
        let _turn = self.turn();
        if let Some(secret) = self.get(subject).filter(|_| !again) {
            return Some(secret);
        }
        let host = match subject {
            Subject::Login(host) | Subject::Sudo(host) => Some(host),
            Subject::Jump(_) | Subject::Key(_) => None,
        };
        let last = self.known().last.clone().filter(|(name, _)| !again && host != Some(name));
        let hint = match (&last, host) {
            (Some((name, _)), Some(_)) => format!(" (Enter: as for {name})"),
            _ => String::new(),
        };
        let mut secret = self.typed(&format!("{question}{hint}: "))?;
        if let (true, true, Some((_, last))) = (secret.reveal().is_empty(), host.is_some(), last) {
            secret = last;
        }
        if let Some(host) = host {
            self.known().last = Some((host.clone(), secret.clone()));
        }
        self.keep(subject.clone(), secret.clone());
        Some(secret)
    }

    fn typed(&self, question: &str) -> Option<Secret> {
        if self.broke_off() {
            return None;
        }
        let secret = self.operator.as_ref()?.secret(question);
        if secret.is_none() {
            self.known().broke_off = true;
        }
        secret
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.asking.lock().expect("no question panics")
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no thread panics here")
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(…)")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Types these words, one for each question, and breaks off after them.
    pub(crate) struct Typist {
        pub(crate) words: Mutex<Vec<&'static str>>,
        pub(crate) asked: Mutex<Vec<String>>,
    }

    impl Typist {
        pub(crate) fn new(words: &[&'static str]) -> Arc<Typist> {
            let words = words.iter().rev().copied().collect();
            Arc::new(Typist { words: Mutex::new(words), asked: Mutex::default() })
        }
    }

    impl Operator for Typist {
        fn secret(&self, question: &str) -> Option<Secret> {
            self.asked.lock().unwrap().push(question.into());
            self.words.lock().unwrap().pop().map(|word| Secret::new(word.into()))
        }

        fn trusts(&self, _: &[NewKey], _: &[PathBuf]) -> bool {
            true
        }

        fn tell(&self, _: &str) {}
    }

    #[test]
    fn an_empty_answer_stands_for_the_last_hosts_password() {
        let typist = Typist::new(&["first", "", "other", ""]);
        let keyring = Keyring::new(Some(typist.clone()));
        let login = |host: &str| Subject::Login(host.into());
        let ask = |subject: &Subject, again| {
            keyring.ask(subject, "password", again).map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(ask(&login("a"), false).unwrap(), "first");
        assert_eq!(ask(&login("b"), false).unwrap(), "first");
        // It was wrong: what is right for another host is not offered again.
        assert_eq!(ask(&login("b"), true).unwrap(), "other");
        // Of a key an empty passphrase is an answer of its own.
        assert_eq!(ask(&Subject::Key("k".into()), false).unwrap(), "");
        assert_eq!(ask(&login("a"), false).unwrap(), "first", "it is known");
        let asked = typist.asked.lock().unwrap().clone();
        assert_eq!(
            asked,
            ["password: ", "password (Enter: as for a): ", "password: ", "password: "]
        );
    }

    #[test]
    fn who_breaks_off_is_asked_nothing_more() {
        let typist = Typist::new(&[]);
        let keyring = Keyring::new(Some(typist.clone()));
        assert!(keyring.ask(&Subject::Sudo("a".into()), "password", false).is_none());
        assert!(keyring.ask_once("code: ").is_none());
        assert!(keyring.broke_off());
        assert_eq!(typist.asked.lock().unwrap().len(), 1);
    }

    #[test]
    fn without_a_terminal_nothing_is_asked() {
        let keyring = Keyring::new(None);
        assert!(keyring.ask_once("code: ").is_none());
        assert!(!keyring.may_open("a"));
    }
}
