//! What the doctor found, for people: what one notices, what shows it, why it is so, what to do.

use std::io::{self, IsTerminal};

use kubewan_core::finding::Severity;
use kubewan_doctor::{Diagnosis, checks::CHECKS};

use super::catalogue::{filled, localized};
use super::style::{FAINT, GOOD, HEAD, NEXT, styled, wrapped};
use super::{counted, screen, style};

/// Everything that was found; with `--fix` offered where hosts were looked at.
pub fn text(found: &[Diagnosis], living: bool) -> String {
    let columns = match io::stdout().is_terminal() {
        true => screen::size().columns,
        false => usize::MAX,
    };
    found.iter().map(|diagnosis| one(diagnosis, living, columns) + "\n").collect()
}

fn one(diagnosis: &Diagnosis, living: bool, columns: usize) -> String {
    let severity = localized(match diagnosis.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    });
    let host = diagnosis.host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
    let head = format!("{severity}[{}]: {host}{}", diagnosis.code, localized(&diagnosis.symptom));
    let mut text = style::diagnostic(&wrapped(&head, columns, 4)) + "\n";
    for quote in &diagnosis.evidence {
        let line = format!("  | {}: {}", localized(&quote.source), quote.text);
        text += &format!("{}\n", styled(FAINT, &line));
    }
    let mut titled = |style, word: &str, said: &str| {
        let (word, said) = (localized(word), localized(said));
        let indent = style::width(&word) + 6;
        let line = wrapped(&format!("  = {word}: {said}"), columns, indent);
        let rest = line.strip_prefix(&format!("  = {word}:")).unwrap_or(&line).to_owned();
        text += &format!("  {}{rest}\n", styled(style, &format!("= {word}:")));
    };
    titled(HEAD, "why", &diagnosis.cause);
    if !diagnosis.explains.is_empty() {
        titled(HEAD, "explains", &diagnosis.explains.join(", "));
    }
    titled(NEXT, "help", &diagnosis.remedy);
    if living && !diagnosis.fix.is_empty() {
        titled(GOOD, "fix", "`kubewan doctor --fix` does what `kubewan up` has for it");
    }
    text
}

/// The end, after hosts were looked at.
pub fn summary(found: &[Diagnosis], hosts: usize) -> String {
    let looked = format!("{} on {}", counted(CHECKS.len(), "check"), counted(hosts, "host"));
    match counts(found) {
        None => styled(HEAD, &localized(&format!("Nothing is wrong: {looked}."))) + "\n",
        Some(counts) => {
            let values = [("counts", &*counts), ("looked", &*looked)];
            styled(HEAD, &filled("{counts}; {looked}.", &values)) + "\n"
        }
    }
}

/// The end, after a text was read.
pub fn summary_of_text(found: &[Diagnosis], name: &str) -> String {
    match counts(found) {
        None => {
            let text = format!(
                "Nothing in {name} is known to be wrong: {}.\n",
                counted(CHECKS.len(), "check")
            );
            localized(&text).into_owned()
        }
        Some(counts) => {
            let values = [("counts", &*counts), ("name", name)];
            styled(HEAD, &filled("{counts} in {name}.", &values)) + "\n"
        }
    }
}

fn counts(found: &[Diagnosis]) -> Option<String> {
    let errors = found.iter().filter(|d| d.severity == Severity::Error).count();
    match (errors, found.len() - errors) {
        (0, 0) => None,
        (errors, 0) => Some(counted(errors, "error")),
        (0, warnings) => Some(counted(warnings, "warning")),
        (errors, warnings) => {
            Some(format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")))
        }
    }
}
