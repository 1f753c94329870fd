//! A run of the program, followed by its events while it goes on.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Stage, program};

/// Arguments of an `up` that asks nothing and tells its events.
pub const UP: [&str; 5] = ["up", "--yes", "--no-smoke", "-o", "json"];

/// Nothing in these stories takes longer until its next event.
const PATIENCE: Duration = Duration::from_secs(600);

/// A run of the program that is under way.
pub struct Running {
    child: Child,
    events: Receiver<Value>,
    seen: Vec<Value>,
    stderr: thread::JoinHandle<String>,
}

/// How such a run ended.
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// Everything it said on standard output.
    pub events: Vec<Value>,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Whether it gave way to the run of that name.
    pub fn names_busy(&self, run: &str) -> bool {
        !run.is_empty() && self.stderr.contains("error[host-busy]") && self.stderr.contains(run)
    }
}

impl Running {
    /// Starts the program on the stage's inventory.
    pub fn start(stage: &Stage, arguments: &[&str]) -> Running {
        Running::start_with(arguments, &stage.inventory(), &[])
    }

    /// Starts the program on another inventory, with some variables of its environment.
    pub fn start_with(
        arguments: &[&str],
        inventory: &str,
        environment: &[(&str, &str)],
    ) -> Running {
        eprintln!("$ kubewan {} -f {inventory} &", arguments.join(" "));
        let mut child = program()
            .args(arguments)
            .args(["-f", inventory])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (tell, events) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        let mut errors = child.stderr.take().expect("a pipe");
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = errors.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Running { child, events, seen: Vec::new(), stderr }
    }

    /// Reads on until such an event comes; the story fails where it does not.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let why = match self.events.recv_timeout(PATIENCE) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if wanted(&event) {
                        return event;
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => "it did not come",
                Err(RecvTimeoutError::Disconnected) => "the run ended before",
            };
            let _ = self.child.kill();
            panic!("{what}: {why}; the last events:\n{}", self.last_events());
        }
    }

    /// Until the first step of that kind begins somewhere.
    pub fn until_started(&mut self, kind: &str) -> Value {
        self.until(&format!("{kind} starts"), |event| begins(event, kind))
    }

    /// The same, of a run that may end before: then nothing.
    pub fn until_started_or_end(&mut self, kind: &str) -> Option<Value> {
        loop {
            let event = self.after(1)?;
            if begins(&event, kind) {
                return Some(event);
            }
        }
    }

    /// Reads on for so long, or until the step that began with this event ends. Whether it does.
    pub fn ends_within(&mut self, begun: &Value, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if ends(&event, begun) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    /// Reads on until so many events have come, of all that are no upload's progress. Answers the last one, or nothing
    /// where the run ends before.
    pub fn after(&mut self, count: usize) -> Option<Value> {
        let mut left = count;
        let mut last = None;
        while left > 0 {
            let event = match self.events.recv_timeout(PATIENCE) {
                Ok(event) => event,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("no event came any more; the last ones:\n{}", self.last_events());
                }
            };
            self.seen.push(event.clone());
            if event["event"] != "upload" {
                left -= 1;
                last = Some(event);
            }
        }
        last
    }

    fn last_events(&self) -> String {
        let last = self.seen.iter().rev().filter(|event| event["event"] != "upload").take(20);
        last.map(|event| format!("{event}\n")).collect()
    }

    /// Ends it in the middle (SIGKILL).
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), None, "it had ended before:\n{}", self.last_events());
    }

    /// Ends it in the middle, or finds it ended.
    pub fn kill_if_running(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        while let Ok(event) = self.events.recv_timeout(PATIENCE) {
            self.seen.push(event);
        }
        let _ = self.child.kill();
        let code = self.child.wait().expect("it ends").code().unwrap_or(-1);
        Ended { code, events: self.seen, stderr: self.stderr.join().expect("no panic") }
    }
}

/// Whether the step ends that began with that event, well or not.
pub fn ends(event: &Value, begun: &Value) -> bool {
    let same = |key: &str| event[key] == begun[key];
    let state = event["state"].as_str().unwrap_or_default();
    event["event"] == "step" && same("host") && same("step") && matches!(state, "done" | "failed")
}

/// Whether a step of that kind begins.
pub fn begins(event: &Value, kind: &str) -> bool {
    let step = event["step"].as_str().and_then(|id| id.split_once('/'));
    event["event"] == "step"
        && event["state"] == "started"
        && step.is_some_and(|(_, goal)| goal.split(':').next() == Some(kind))
}
