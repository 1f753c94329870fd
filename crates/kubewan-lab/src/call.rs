//! Runs other programs: arguments as a list, never through a shell, and errors that speak.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::LabError;

/// One program call, with what it is for.
pub(crate) struct Call {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    input: Vec<u8>,
    attempted: String,
    next: String,
}

impl Call {
    /// `attempted` reads as a sentence's start: "make the namespace kwl-h1".
    pub(crate) fn new(program: impl AsRef<OsStr>, attempted: impl Into<String>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Vec::new(),
            attempted: attempted.into(),
            next: "see what it said; `kubewan lab down` removes whatever was made".into(),
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        let added = arguments.into_iter().map(|a| a.as_ref().to_owned());
        self.arguments.extend(added);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// What the user should do if it fails.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// Runs it and gives its standard output; anything but success is an error.
    pub(crate) fn run(self) -> Result<String, LabError> {
        let output = match self.output() {
            Ok(output) => output,
            Err(error) => return Err(self.failed(error.to_string())),
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let said = [stderr.trim(), stdout.trim()]
            .into_iter()
            .find(|said| !said.is_empty())
            .map_or_else(|| output.status.to_string(), last_lines);
        Err(self.failed(said))
    }

    /// Runs it where failing is one of the expected answers.
    pub(crate) fn succeeds(self) -> bool {
        self.output().is_ok_and(|output| output.status.success())
    }

    fn output(&self) -> std::io::Result<std::process::Output> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ended without reading its input says why by itself.
            let _ = stdin.write_all(&self.input);
        }
        child.wait_with_output()
    }

    fn failed(self, came_back: String) -> LabError {
        let mut program = self.program.to_string_lossy().into_owned();
        for argument in &self.arguments {
            program.push(' ');
            program.push_str(&argument.to_string_lossy());
        }
        LabError::Program { attempted: self.attempted, program, came_back, next: self.next }
    }
}

/// Where programs are looked for: a user's `su` to root may leave the system's folders out.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

/// The end of a long output: the reason stands there, and a screen is short.
fn last_lines(text: &str) -> String {
    const LINES_MAX: usize = 20;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_tried_and_what_came_back() {
        let error = Call::new("ls", "list a folder")
            .arg("/nonexistent-for-sure")
            .next("make it")
            .run()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("list a folder: `ls /nonexistent-for-sure` said: "));
        assert!(error.contains("No such file"));
        assert!(error.ends_with("next: make it"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Call::new("kubewan-no-such-program", "call it").run().unwrap_err();
        assert!(error.to_string().contains("kubewan-no-such-program"));
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(Call::new("cat", "echo").input("hello").run().unwrap(), "hello");
    }
}
