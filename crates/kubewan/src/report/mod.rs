//! All that is printed. Data goes to standard output, everything else to standard error, and all of it but data to the log
//! file, where there is one.

pub mod board;
pub mod catalogue;
pub mod doctor_view;
pub mod downloads;
pub mod help;
pub mod json;
pub mod lab;
pub mod language;
mod log;
pub mod plan_view;
pub mod progress;
pub mod screen;
pub mod style;
pub mod table;
pub mod terminal;

use std::fs::{File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use kubewan_core::finding::{Finding, Severity};
use kubewan_fleet::trace::{Talk, Trace};

use crate::exit_code::Code;
use crate::failure::Failure;
use catalogue::localized;
use screen::{Live, Size};

/// First and last line wherever stand-ins are used.
pub const REHEARSAL: &str =
    "REHEARSAL: stand-ins take the place of Kubernetes; this is not a cluster.";

/// How much is told. docs/reference.md says what each level shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors and the result.
    Quiet,
    /// What changes, as it changes.
    #[default]
    Usual,
    /// Also what is right already, `ssh`'s command lines, and how long things take.
    Verbose,
    /// Also what agents are asked.
    Talkative,
}

#[derive(Debug, Default)]
struct Manner {
    verbosity: Verbosity,
    log: Option<log::Log>,
}

static MANNER: OnceLock<Manner> = OnceLock::new();

fn manner() -> &'static Manner {
    MANNER.get_or_init(Manner::default)
}

/// Sets how much is told, and where everything is kept; once, before anything is printed.
///
/// # Errors
/// Fails where the log file can't be opened: nothing is begun without what was asked for.
pub fn set_up(verbosity: Verbosity, log_file: Option<&Path>) -> Result<(), Failure> {
    let open = |path: &Path| {
        log::Log::open(path).map_err(|error| {
            let said = format!("can't open the log file {}: {error}", path.display());
            Failure::new(Code::Refused, said, "name a file that you can write to")
        })
    };
    let log = log_file.map(open).transpose()?;
    let _ = MANNER.set(Manner { verbosity, log });
    Ok(())
}

/// How much is told.
pub fn verbosity() -> Verbosity {
    manner().verbosity
}

/// Writes to the log file, where there is one.
pub fn log(kind: &str, text: &str) {
    if let Some(log) = &manner().log {
        log.write(kind, text);
    }
}

/// Prints a command's data.
pub fn data(text: &str) {
    screen::data(text);
}

/// Prints a command's data where that is a text for people.
pub fn say(text: &str) {
    data(&localized(text));
}

/// Prints what nobody else is to read. Where standard output is a file, that becomes its owner's alone first: a shell
/// makes `> FILE` readable for all.
///
/// # Errors
/// Fails where the file can't be closed to others; then nothing is printed.
pub fn secret_data(text: &str) -> io::Result<()> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    data(text);
    Ok(())
}

/// Prints a note for people.
pub fn note(text: &str) {
    told(Verbosity::Usual, "note", text);
}

/// Prints what only those want to read who asked for more.
pub fn detail(text: &str) {
    told(Verbosity::Verbose, "detail", text);
}

/// Prints what is told at this level and above.
pub fn told(level: Verbosity, kind: &str, text: &str) {
    log(kind, text);
    shown(level, &localized(text));
}

/// Prints what is told at this level and above, and keeps it in no log file: what it is about stands there already.
pub fn shown(level: Verbosity, text: &str) {
    if verbosity() >= level {
        screen::print(text);
    }
}

/// A talk with hosts that is told as far as was asked for, and kept in the log file whole.
pub fn trace() -> Trace {
    Trace::new(Arc::new(|host: &str, talk: &Talk| {
        let faint = |text: String| style::styled(style::FAINT, &text);
        match talk {
            Talk::Calls { line } => {
                told(Verbosity::Verbose, "ssh", &faint(format!("{host}: {line}")));
            }
            Talk::Asks { what } => {
                told(Verbosity::Talkative, "agent", &faint(format!("{host}: asked: {what}")));
            }
            Talk::Answers { what, took } => {
                let text = format!("{host}: answered after {:.1} s: {what}", took.as_secs_f64());
                told(Verbosity::Talkative, "agent", &faint(text));
            }
            Talk::Says { words } => {
                let lines = words.lines().filter(|line| !line.trim().is_empty());
                let lines: Vec<String> = lines.map(|line| format!("{host}: | {line}")).collect();
                told(Verbosity::Verbose, "said", &faint(lines.join("\n")));
            }
        }
    }))
}

/// A number of things, in words.
pub fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Something that takes a while, until it is dropped: shown on a terminal, and how long it took where that is told.
pub fn busy(what: impl Into<String>) -> Busy {
    let line = Arc::new(BusyLine { what: what.into(), began: Instant::now() });
    let shown = (verbosity() > Verbosity::Quiet).then(|| screen::show(line.clone()));
    Busy { line, shown }
}

/// See [`busy`].
#[must_use]
pub struct Busy {
    line: Arc<BusyLine>,
    shown: Option<screen::Shown>,
}

struct BusyLine {
    what: String,
    began: Instant,
}

impl Live for BusyLine {
    fn lines(&self, room: Size, frame: usize) -> Vec<String> {
        let time = board::clock(self.began.elapsed());
        let what = style::fit(&localized(&self.what), room.columns.saturating_sub(time.len() + 4));
        let text =
            format!("{} {what}  {}", board::spinner(frame), style::styled(style::FAINT, &time));
        if style::width(&text) > room.columns { Vec::new() } else { vec![text] }
    }

    fn still(&self) -> Option<String> {
        Some(format!("{:>6} {}", board::clock(self.began.elapsed()), localized(&self.what)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        drop(self.shown.take());
        let took = self.line.began.elapsed().as_secs_f64();
        detail(&style::styled(style::FAINT, &format!("{}: {took:.1} s", self.line.what)));
    }
}

/// A rehearsal has been announced, and its last line is still to come.
static REHEARSING: AtomicBool = AtomicBool::new(false);

/// Does something between two lines that say that it is a rehearsal, where it is. One command of a kind inside another
/// (`lab up` and `up`) says it once.
pub fn rehearsal<T>(rehearsal: bool, work: impl FnOnce() -> T) -> T {
    if !rehearsal || REHEARSING.swap(true, Ordering::Relaxed) {
        return work();
    }
    let line = format!("{}\n", style::styled(style::WARN, &localized(REHEARSAL)));
    data(&line);
    let result = work();
    data(&line);
    REHEARSING.store(false, Ordering::Relaxed);
    result
}

/// Prints why a command failed.
pub fn failure(failure: &Failure) {
    if let Some(text) = &failure.text {
        let text = text.trim_end();
        diagnostic(Verbosity::Quiet, "error", text, &localized(text));
    }
    findings(&failure.findings);
}

/// Prints findings, errors last: they are what is read first, from the bottom up.
pub fn findings(findings: &[Finding]) {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for finding in sorted {
        let (level, kind) = match finding.severity {
            Severity::Error => (Verbosity::Quiet, "error"),
            Severity::Warning => (Verbosity::Usual, "warn"),
        };
        let told = Finding {
            message: localized(&finding.message).into_owned(),
            remedy: localized(&finding.remedy).into_owned(),
            ..finding.clone()
        };
        diagnostic(level, kind, &finding_text(finding), &localized(&finding_text(&told)));
    }
}

/// Prints an error or a finding, whose lines a terminal would break anywhere; as it goes into the log file, and as it is
/// told.
fn diagnostic(level: Verbosity, kind: &str, text: &str, told: &str) {
    log(kind, text);
    let text = match screen::is_terminal() {
        true => style::wrapped_diagnostic(told, screen::size().columns),
        false => told.to_owned(),
    };
    shown(level, &style::diagnostic(&text));
}

/// One finding as text.
pub fn finding_text(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let host = finding.host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
    let mut lines = finding.message.trim_end().lines();
    let mut text = format!("{severity}[{}]: {host}{}", finding.code, lines.next().unwrap_or(""));
    for line in lines {
        text += &format!("\n  | {line}");
    }
    if !finding.remedy.is_empty() {
        text += &format!("\n  = help: {}", finding.remedy);
    }
    text
}

/// Asks on the terminal; `None` where there is none to ask on.
pub fn ask(question: &str) -> Option<String> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let answer = screen::aside(|| {
        let mut err = anstream::stderr().lock();
        let _ = write!(err, "{} ", style::styled(style::HEAD, &localized(question)))
            .and_then(|()| err.flush());
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    })?;
    log("asked", &format!("{question} {answer}"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_and_what_to_do() {
        let finding =
            Finding::error("step-failed", "node01", "kubeadm join: exit 1\nlog line", "look");
        assert_eq!(
            finding_text(&finding),
            "error[step-failed]: node01: kubeadm join: exit 1\n  | log line\n  = help: look"
        );
    }

    #[test]
    fn findings_are_told_in_chinese() {
        let mask = "eth0 has 203.0.113.10/24 beside 10.0.4.10: it looks for all of 203.0.113.0/24 on its own wire, where \
                    that is not, and reaches no server there, such as node02";
        let found = [
            Finding::warning("public-address-mask", "node01", mask, "look"),
            Finding::error(
                "step-failed",
                "node01",
                "kubeadm init failed\nlog line",
                "try `ssh root@a` by hand",
            ),
        ];
        let failed = Failure::new(
            Code::Refused,
            "can't write x: No such file or directory (os error 2)",
            "name a folder that you can write to",
        );
        let lines = screen::captured::lines(|| {
            language::of_test::in_chinese(|| {
                findings(&found);
                failure(&failed);
            });
        });
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_line_of_what_is_going_on_fits() {
        let line =
            BusyLine { what: "trying the ways between 3 hosts".into(), began: Instant::now() };
        for columns in 0..100 {
            let lines = line.lines(Size { columns, rows: 2 }, 3);
            assert!(lines.iter().all(|line| style::width(line) <= columns), "{lines:?}");
        }
        let lines = line.lines(Size { columns: 79, rows: 2 }, 0);
        assert_eq!(style::plain(&lines[0]), "⠋ trying the ways between 3 hosts  0:00");
    }
}
