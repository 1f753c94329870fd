//! All that is printed. Data goes to standard output, everything else to standard error.

pub mod downloads;
pub mod json;
pub mod lab;
pub mod plan_view;
pub mod progress;
pub mod table;
pub mod terminal;

use std::fs::{File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use kubewan_core::finding::{Finding, Severity};

use crate::failure::Failure;

/// First and last line wherever stand-ins are used.
pub const REHEARSAL: &str =
    "REHEARSAL: stand-ins take the place of Kubernetes; this is not a cluster.";

/// Prints a command's data. A reader that has gone away (`| head`) is no error.
pub fn data(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
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
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A rehearsal has been announced, and its last line is still to come.
static REHEARSING: AtomicBool = AtomicBool::new(false);

/// Does something between two lines that say that it is a rehearsal, where it is. One command of a kind inside another
/// (`lab up` and `up`) says it once.
pub fn rehearsal<T>(rehearsal: bool, work: impl FnOnce() -> T) -> T {
    if !rehearsal || REHEARSING.swap(true, Ordering::Relaxed) {
        return work();
    }
    data(&format!("{REHEARSAL}\n"));
    let result = work();
    data(&format!("{REHEARSAL}\n"));
    REHEARSING.store(false, Ordering::Relaxed);
    result
}

/// Prints why a command failed.
pub fn failure(failure: &Failure) {
    if let Some(text) = &failure.text {
        note(text.trim_end());
    }
    findings(&failure.findings);
}

/// Prints findings, errors last: they are what is read first, from the bottom up.
pub fn findings(findings: &[Finding]) {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for finding in sorted {
        note(&finding_text(finding));
    }
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
    let mut err = io::stderr().lock();
    let _ = write!(err, "{question} ").and_then(|()| err.flush());
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(answer.trim().to_owned())
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
}
