//! Running other programs: arguments as they are, the C locale, a fixed PATH, a time bound, output that is
//! kept up to a cap. Never a shell.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

/// Where programs are looked for, whatever environment the agent was started with.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes of each stream that are kept: the first half and the last half of what came.
const KEPT_MAX: usize = 4 << 20;

/// Time bound of a program that was given none.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// How long a program's pipes are waited for before it is asked whether it has ended.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Reads of a stream before the other one and the time are looked at again: more than a pipe ever holds
/// (pipe(7): 64 KiB, at most 1 MiB).
const READS: u32 = 80;

/// A program to run.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Option<Vec<u8>>,
    dir: Option<String>,
    timeout: Duration,
}

/// What a program left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 + signal where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Program {
    /// A program by name (looked for on [`PATH`]) or absolute path.
    pub fn new(name: impl Into<String>) -> Self {
        Program {
            name: name.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: None,
            dir: None,
            timeout: TIMEOUT,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Gives it a standard input; without one it reads nothing.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Starts it in a folder.
    pub fn dir(mut self, dir: impl Into<String>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Stops it, with all it started, after this time (60 s where not set).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it and returns what it left, whatever its exit code.
    ///
    /// # Errors
    /// Fails where it could not be started, or was stopped at its time bound.
    pub fn output(&self) -> Result<Output, String> {
        self.each_line(&mut |_| {})
    }

    /// Runs it and returns its standard output.
    ///
    /// # Errors
    /// As [`Program::output`], and where it exits with another code than 0.
    pub fn stdout(&self) -> Result<String, String> {
        self.checked(self.output()?).map(|output| output.stdout)
    }

    /// Runs it, passes every line of its output and errors on as it comes, and expects exit code 0.
    ///
    /// # Errors
    /// As [`Program::stdout`].
    pub fn stream(&self, line: &mut dyn FnMut(&str)) -> Result<Output, String> {
        self.checked(self.each_line(line)?)
    }

    /// Name and first arguments, for messages; options that carry data are cut.
    pub fn describe(&self) -> String {
        let mut text = self.name.rsplit('/').next().unwrap_or_default().to_owned();
        for arg in self.args.iter().take(6) {
            text.push(' ');
            text.extend(arg.chars().take(60));
        }
        if self.args.len() > 6 {
            text.push_str(" …");
        }
        text
    }

    /// An error that names program, exit code and last words, unless the code is 0.
    ///
    /// # Errors
    /// Where the code is not 0.
    pub fn checked(&self, output: Output) -> Result<Output, String> {
        if output.code == 0 {
            return Ok(output);
        }
        Err(format!("`{}` ended with code {}{}", self.describe(), output.code, output.last_words()))
    }

    /// Runs it, passes every line on as it comes, and returns what it left, whatever its exit code.
    ///
    /// # Errors
    /// As [`Program::output`].
    pub fn each_line(&self, line: &mut dyn FnMut(&str)) -> Result<Output, String> {
        let mut child = self.spawn()?;
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), self.stdin.clone()) {
            // A program that does not read its input to the end is its own affair.
            thread::spawn(move || pipe.write_all(&bytes).ok());
        }
        let mut pipes = [
            child.stdout.take().and_then(|pipe| Pipe::new(pipe.into())),
            child.stderr.take().and_then(|pipe| Pipe::new(pipe.into())),
        ];
        let mut kept = [Kept::default(), Kept::default()];
        let status = self.wait(&mut child, &mut pipes, &mut |stream, bytes| {
            kept[stream].push(bytes, line);
        });
        for stream in &mut kept {
            stream.flush(line);
        }
        let [stdout, stderr] = kept.map(Kept::text);
        let status = status.map_err(|error| {
            let left = Output { code: -1, stdout: stdout.clone(), stderr: stderr.clone() };
            format!("{error}{}", left.last_words())
        })?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(Output { code, stdout, stderr })
    }

    fn spawn(&self) -> Result<Child, String> {
        let mut command = Command::new(&self.name);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .env("LANG", "C")
            .env("HOME", "/root")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that a time-out reaches what it started.
            .process_group(0)
            .current_dir(self.dir.as_deref().unwrap_or("/"));
        command.spawn().map_err(|e| format!("can't start `{}`: {e}", self.describe()))
    }

    fn wait(
        &self,
        child: &mut Child,
        pipes: &mut [Option<Pipe>; 2],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + self.timeout;
        loop {
            await_any(pipes);
            // Asked before the pipes are read: what an ended program wrote is in them by now. A daemon that it left
            // behind may hold them open, and is not waited for.
            let ended = child
                .try_wait()
                .map_err(|e| format!("can't wait for `{}`: {e}", self.describe()))?;
            for (stream, pipe) in pipes.iter_mut().enumerate() {
                let open = pipe.as_mut().is_some_and(|pipe| pipe.read(|bytes| take(stream, bytes)));
                if !open {
                    *pipe = None;
                }
            }
            match ended {
                Some(status) => return Ok(status),
                None if Instant::now() > deadline => {
                    stop(child);
                    let seconds = self.timeout.as_secs();
                    return Err(format!(
                        "`{}` did not end within {seconds} s and was stopped",
                        self.describe()
                    ));
                }
                None => {}
            }
        }
    }
}

impl Output {
    /// The last lines of standard error, else of standard output, as a tail for a message.
    pub fn last_words(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(8)..];
        if last.is_empty() { String::new() } else { format!(": {}", last.join("\n  ")) }
    }
}

/// Whether a program of that name is on [`PATH`].
pub fn exists(name: &str) -> bool {
    find(name).is_some()
}

/// The file that a program's name stands for on [`PATH`].
pub fn find(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

fn stop(child: &mut Child) {
    let Some(group) = Pid::from_raw(child.id().cast_signed()) else { return };
    let _ = kill_process_group(group, Signal::TERM);
    let until = Instant::now() + GRACE;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(20));
    }
    // Also when the leader has gone: others of the group may not have.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// The end of a program's standard stream that is read here, without waiting for what is not there yet.
struct Pipe(File);

impl Pipe {
    fn new(end: OwnedFd) -> Option<Pipe> {
        let flags = fcntl_getfl(&end).ok()?;
        fcntl_setfl(&end, flags | OFlags::NONBLOCK).ok()?;
        Some(Pipe(end.into()))
    }

    /// Reads what is there, and of an endless stream a part; whether more may come.
    fn read(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        let mut buffer = [0; 16 << 10];
        for _ in 0..READS {
            match self.0.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => take(&buffer[..count]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}

/// Waits a moment until one of the pipes has something to read.
fn await_any(pipes: &[Option<Pipe>; 2]) {
    let mut polled: Vec<PollFd<'_>> =
        pipes.iter().flatten().map(|pipe| PollFd::new(&pipe.0, PollFlags::IN)).collect();
    if polled.is_empty() || poll(&mut polled, Some(&WAIT)).is_err() {
        // Both are closed, and the program is about to end.
        thread::sleep(Duration::from_millis(2));
    }
}

/// A stream's bytes up to the cap, and its unfinished line.
#[derive(Default)]
pub(crate) struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    cut: bool,
    line: Vec<u8>,
}

impl Kept {
    pub(crate) fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        for part in bytes.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || part.ends_with(b"\r") || self.line.len() > 8 << 10 {
                self.flush(line);
            }
        }
        let room = (KEPT_MAX / 2).saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.tail.extend_from_slice(&bytes[room..]);
        if self.tail.len() > KEPT_MAX {
            self.cut = true;
            self.tail.drain(..self.tail.len() - KEPT_MAX / 2);
        }
    }

    pub(crate) fn flush(&mut self, line: &mut dyn FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.trim().is_empty() {
            line(text);
        }
        self.line.clear();
    }

    pub(crate) fn text(self) -> String {
        let mut bytes = self.head;
        if self.cut {
            bytes.extend_from_slice("\n[…]\n".as_bytes());
        }
        bytes.extend_from_slice(&self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_output_and_code() {
        let output = Program::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]).output();
        assert_eq!(output, Ok(Output { code: 3, stdout: "a\n".into(), stderr: "b\n".into() }));
    }

    #[test]
    fn says_program_code_and_last_words() {
        let error = Program::new("sh").args(["-c", "echo gone >&2; exit 3"]).stdout();
        assert_eq!(error, Err("`sh -c echo gone >&2; exit 3` ended with code 3: gone".into()));
    }

    #[test]
    fn stops_the_whole_group_in_time() {
        let begin = Instant::now();
        let program = Program::new("sh")
            .args(["-c", "echo waits; sleep 60 & sleep 60"])
            .timeout(Duration::from_secs(3));
        let error = program.output().unwrap_err();
        assert!(error.contains("did not end within 3 s and was stopped: waits"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(40));
    }

    #[test]
    fn a_daemon_that_holds_the_pipe_does_not_hold_us() {
        let begin = Instant::now();
        let output = Program::new("sh").args(["-c", "sleep 60 & echo done"]).stdout();
        assert_eq!(output, Ok("done\n".into()));
        assert!(begin.elapsed() < Duration::from_secs(40));
    }

    #[test]
    fn passes_lines_and_stdin() {
        let mut lines = Vec::new();
        let program = Program::new("sh").args(["-c", "cat; printf 'x\\ry'"]).stdin("one\ntwo\n");
        program.stream(&mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two", "x", "y"]);
    }

    #[test]
    fn a_reader_that_gets_no_processor_loses_nothing() {
        // More than once around, as it was a race: eight at a time, more than there are processors.
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        let output = Program::new("sh").args(["-c", "echo here"]).stdout();
                        assert_eq!(output, Ok("here\n".into()));
                    }
                });
            }
        });
    }

    #[test]
    fn an_endless_stream_is_stopped_in_time() {
        let begin = Instant::now();
        let error = Program::new("yes").timeout(Duration::from_millis(300)).stdout().unwrap_err();
        assert!(error.contains("did not end within 0 s and was stopped"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn caps_what_it_keeps() {
        let program = Program::new("head").args(["-c", "20000000", "/dev/zero"]);
        let output = program.output().unwrap();
        assert!(output.stdout.len() <= KEPT_MAX * 2, "{}", output.stdout.len());
    }
}
