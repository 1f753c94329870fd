//! The talk with hosts, for whoever wants to follow it: which `ssh` is called, what agents are asked, what is said on
//! standard error. Nothing secret is told: what runs on a host may name some, and is left out.

use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A piece of the talk with one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Talk {
    /// `ssh` is called with this command line; `…` stands for what it runs there.
    Calls {
        /// The command line, as a shell reads it.
        line: String,
    },
    /// The host's agent is asked.
    Asks {
        /// What for.
        what: String,
    },
    /// The host's agent has answered.
    Answers {
        /// What it was asked for.
        what: String,
        /// How long that took.
        took: Duration,
    },
    /// Something was said on standard error: by ssh, sudo or a shell.
    Says {
        /// Its lines.
        words: String,
    },
}

/// Hears the talk, with the host's name. It is called from many threads.
pub type Listener = dyn Fn(&str, &Talk) + Send + Sync;

/// Where the talk is told, if anywhere.
#[derive(Clone, Default)]
pub struct Trace(Option<Arc<Listener>>);

impl Trace {
    /// Tells it to this listener.
    pub fn new(listener: Arc<Listener>) -> Trace {
        Trace(Some(listener))
    }

    /// Tells a piece.
    pub fn tell(&self, host: &str, talk: impl FnOnce() -> Talk) {
        if let Some(listener) = &self.0 {
            listener(host, &talk());
        }
    }

    /// Tells that `ssh` is called; `hidden` of its last arguments run on the host.
    pub fn calls(&self, host: &str, ssh: &Command, hidden: usize) {
        self.tell(host, || Talk::Calls { line: line(ssh, hidden) });
    }

    /// Tells what was said on standard error, if anything.
    pub fn says(&self, host: &str, words: &str) {
        // What a server says must not move the operator's cursor.
        let is_text = |c: &char| *c == '\n' || !c.is_control();
        let words: String = words.chars().filter(is_text).collect();
        if !words.trim().is_empty() {
            self.tell(host, || Talk::Says { words: words.trim().to_owned() });
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Trace(told)" } else { "Trace(not told)" })
    }
}

/// A command line without its last `hidden` arguments.
fn line(command: &Command, hidden: usize) -> String {
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    let shown = args.len().saturating_sub(hidden);
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in &args[..shown] {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@%+,".contains(c);
        match !arg.is_empty() && arg.chars().all(plain) {
            true => line += &format!(" {arg}"),
            false => line += &format!(" '{}'", arg.replace('\'', "'\\''")),
        }
    }
    if shown < args.len() { line + " …" } else { line }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_runs_on_a_host_is_not_told() {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-o",
            "UserKnownHostsFile=\"/a b\"",
            "--",
            "198.51.100.10",
            "kubectl",
            "--token=x",
        ]);
        assert_eq!(line(&ssh, 2), "ssh -o 'UserKnownHostsFile=\"/a b\"' -- 198.51.100.10 …");
        assert_eq!(line(&ssh, 9), "ssh …");
        assert_eq!(line(Command::new("ssh").args(["-G", "it's"]), 0), "ssh -G 'it'\\''s'");
    }

    #[test]
    fn only_words_are_told_and_only_to_who_listens() {
        Trace::default().says("node01", "nobody hears it");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        let trace = Trace::new(Arc::new(move |host: &str, talk: &Talk| {
            told.lock().unwrap().push((host.to_owned(), talk.clone()));
        }));
        trace.says("node01", " \r\n");
        trace.says("node01", "\u{1b}[2JWelcome\r\nto Debian\n");
        let words = "[2JWelcome\nto Debian".to_owned();
        assert_eq!(*heard.lock().unwrap(), [("node01".to_owned(), Talk::Says { words })]);
    }
}
