//! Questions on the operator's terminal: which new host keys are right, and passwords, typed without echo.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use kubewan_core::secret::Secret;
use kubewan_fleet::operator::{NewKey, Operator};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use super::catalogue::localized;
use super::{Verbosity, ask, log, screen, table, told};

/// The terminal that a run was started on.
pub struct Terminal;

impl Terminal {
    /// The operator, where he can be asked: both ends of the talk are a terminal.
    pub fn operator() -> Option<Arc<dyn Operator>> {
        let there = io::stdin().is_terminal() && io::stderr().is_terminal() && open().is_ok();
        there.then(|| Arc::new(Terminal) as Arc<dyn Operator>)
    }
}

impl Operator for Terminal {
    fn secret(&self, question: &str) -> Option<Secret> {
        log("asked", question);
        screen::aside(|| {
            let mut terminal = open().ok()?;
            let typed = {
                // Before the question is there: what is typed once it is read is an answer.
                let _unseen = Unseen::new(&terminal).ok()?;
                write!(&terminal, "{}", localized(question)).ok()?;
                read(&mut &terminal)
            };
            let _ = writeln!(terminal);
            typed.ok()?
        })
    }

    fn trusts(&self, keys: &[NewKey], files: &[PathBuf]) -> bool {
        told(Verbosity::Quiet, "asked", &question(keys));
        let them =
            if keys.len() == 1 { "this key".into() } else { format!("these {} keys", keys.len()) };
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let files = files.join(" and ");
        let asked = ask(&format!("Trust {them} and add to {files}? Only 'yes' is accepted:"));
        asked.as_deref() == Some("yes")
    }

    fn tell(&self, text: &str) {
        told(Verbosity::Quiet, "asked", text);
    }
}

fn question(keys: &[NewKey]) -> String {
    let row = |key: &NewKey| {
        vec![key.name.clone(), key.address.clone(), key.kind.into(), key.fingerprint.clone()]
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    format!(
        "New to this machine; only their fingerprints tell whether they are your servers:\n{}\
         Compare with what your provider's console shows, or on the host:\n  \
         for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done",
        table::text(&["HOST", "ADDRESS", "KEY", "FINGERPRINT"], &rows)
    )
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// While it lives, what is typed is not shown, and keys that end programs are read as any other: a program that they
/// ended would leave the terminal like that.
struct Unseen<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Unseen<'a> {
    fn new(terminal: &'a File) -> io::Result<Unseen<'a>> {
        let before = tcgetattr(terminal)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        unseen.special_codes[SpecialCodeIndex::VMIN] = 1;
        unseen.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before the question is no answer to it.
        tcsetattr(terminal, OptionalActions::Flush, &unseen)?;
        Ok(Unseen { terminal, before })
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Reads a line as a terminal would; `None` where it is broken off (Ctrl-C, Ctrl-D, Ctrl-\, or an end).
fn read(terminal: &mut impl Read) -> io::Result<Option<Secret>> {
    // Never grown, so that no copy is left behind.
    let mut typed = Vec::with_capacity(4096);
    let mut byte = [0];
    let whole = loop {
        if terminal.read(&mut byte)? == 0 {
            break false;
        }
        match byte[0] {
            b'\r' | b'\n' => break true,
            3 | 4 | 28 => break false,
            8 | 127 => {
                // The whole of a character.
                while typed.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
            }
            // Ctrl-U
            21 => typed.clear(),
            byte if typed.len() < typed.capacity() => typed.push(byte),
            _ => {}
        }
    };
    let secret = Secret::new(match String::from_utf8(typed) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    });
    Ok(whole.then_some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> Option<String> {
        read(&mut &*keys).unwrap().map(|secret| secret.reveal().to_owned())
    }

    #[test]
    fn keys_are_read_as_a_terminal_does() {
        assert_eq!(typed(b"secret\n").unwrap(), "secret");
        assert_eq!(typed(b"x\x15sec\xc3\xa4\x7fr\x08ret\r").unwrap(), "secret");
        assert_eq!(typed(b"\n").unwrap(), "");
        for broken_off in [&b"sec\x03"[..], b"\x04", b"sec\x1c", b"sec", b""] {
            assert_eq!(typed(broken_off), None);
        }
    }

    #[test]
    fn all_new_keys_are_shown_at_once() {
        let key = |name: &str, address: &str| NewKey {
            name: name.into(),
            address: address.into(),
            kind: "ED25519",
            fingerprint: "SHA256:aKIC+4oqGfF1tv3H13Tfo1Als/WUohgLlRwP7x0uPlw".into(),
        };
        let text = question(&[
            key("master01", "198.51.100.10"),
            key("node01", "admin@198.51.100.20 port 2222"),
        ]);
        assert!(
            text.contains(
                "node01    admin@198.51.100.20 port 2222  ED25519  SHA256:aKIC+4oqGfF1tv3H13Tfo1Als/WUohgLlRwP7x0uPlw\n"
            ),
            "{text}"
        );
    }
}
