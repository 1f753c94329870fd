//! A terminal with the program on it, and an operator who waits for a question and types the answer.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// A program on a terminal of its own.
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<String>>,
    /// How far the operator has read.
    read: usize,
}

impl Terminal {
    /// Starts a program there.
    pub fn start(program: &Command) -> Terminal {
        let words: Vec<_> = program.get_args().map(|word| word.to_string_lossy()).collect();
        eprintln!("$ kubewan {}  # on a terminal", words.join(" "));
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&screen).expect("a terminal");
        unlockpt(&screen).expect("a terminal");
        let name = ptsname(&screen, Vec::new()).expect("its name").into_string().expect("its name");
        let open = || {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(true).custom_flags(rustix::fs::OFlags::NOCTTY.bits() as i32);
            options.open(&name).expect("the other end")
        };
        // It makes the terminal the program's own, so that it can be opened as /dev/tty.
        let mut child = Command::new("setsid");
        child.args(["--ctty", "--wait"]);
        // A job in a shell's background ignores Ctrl-C, and hands that on (POSIX, 2.11); who sits at a terminal is in front.
        child.args(["env", "--default-signal=INT"]);
        child.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            child.env(name, value.unwrap_or_default());
        }
        if let Some(folder) = program.get_current_dir() {
            child.current_dir(folder);
        }
        let child = child.stdin(open()).stdout(open()).stderr(open()).spawn().expect("setsid");
        let mut screen = File::from(screen);
        let keyboard = screen.try_clone().expect("a file");
        let shown = Arc::new(Mutex::new(String::new()));
        let screened = Arc::clone(&shown);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails once the last program on the terminal is gone.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                screened.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Terminal { child, keyboard, shown, read: 0 }
    }

    /// Waits for these words; answers what is shown up to their end, from where the last ones ended.
    pub fn await_words(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown();
            if let Some(at) = shown[self.read..].find(words) {
                let end = self.read + at + words.len();
                let seen = shown[self.read..end].to_owned();
                self.read = end;
                return seen;
            }
            let ended = self.child.try_wait().expect("a child").is_some();
            if ended || Instant::now() > deadline {
                sleep(Duration::from_millis(100));
                let why = if ended { "the program ended" } else { "they did not come" };
                if ended && self.shown().len() > shown.len() {
                    continue;
                }
                let _ = self.child.kill();
                panic!("waiting for `{words}`: {why}:\n{shown}");
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.type_keys(&format!("{line}\n"));
    }

    /// Types keys as they are.
    pub fn type_keys(&mut self, keys: &str) {
        // The question is there a moment before the terminal is set to hear the answer.
        sleep(Duration::from_millis(300));
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// What is shown, all of it.
    pub fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits for the end; answers the exit code and all that was shown.
    pub fn end(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                panic!("it does not end:\n{}", self.shown());
            }
            sleep(Duration::from_millis(20));
        };
        sleep(Duration::from_millis(200));
        (code, self.shown().replace("\r\n", "\n"))
    }
}

/// Looks at the arguments and environments of all processes of this machine, the lab's hosts' among them, until it is
/// dropped.
pub struct Watch {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often processes were looked at.
    pub looks: u64,
    /// Those with one of the words in their arguments or environment.
    pub with_word: Vec<String>,
    /// Names of programs that were seen.
    pub programs: std::collections::BTreeSet<String>,
}

impl Watch {
    /// Looks for these words.
    pub fn begin(words: &[&str]) -> Watch {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            while !ended.load(Ordering::Relaxed) {
                look(&words, &mut seen);
                sleep(Duration::from_millis(10));
            }
            seen
        });
        Watch { ends, thread: Some(thread) }
    }

    /// Ends the looking.
    pub fn end(mut self) -> Seen {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("no panic")
    }
}

fn look(words: &[Vec<u8>], seen: &mut Seen) {
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) || name == own {
            continue;
        }
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        seen.looks += 1;
        let program = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
        let program = String::from_utf8_lossy(program).into_owned();
        seen.programs.insert(program.rsplit('/').next().unwrap_or_default().to_owned());
        for text in [&arguments, &environment] {
            if words.iter().any(|word| text.windows(word.len()).any(|part| part == word)) {
                seen.with_word.push(format!("{name} {program}"));
            }
        }
    }
}
