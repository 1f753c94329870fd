//! Help and errors of the command line, in the language that people are told things in. clap writes them in English, each
//! text on one line of its own; what stands in those lines is told in Chinese, and broken where the terminal ends.

use std::io::Write;

use clap::Command;
use clap::error::{Error, ErrorKind};

use super::catalogue::localized;
use super::language::Language;
use super::{screen, style};

/// Longer lines are hard to follow from one end to the other; the same as `max_term_width` of the command.
const COLUMNS_MAX: usize = 100;

/// Prose of an example's line begins there or further in; before it stand commands and options.
const PROSE_INDENT: usize = 6;

/// The command, ready for [`print`].
pub fn in_language(command: Command) -> Command {
    match Language::now() {
        Language::English => command,
        // Without an end of the line: a text that clap has broken could not be looked up.
        Language::Chinese => command.term_width(0),
    }
}

/// Prints help, the version, or what is wrong with a command line.
pub fn print(error: &Error) {
    if Language::now() == Language::English {
        let _ = error.print();
        return;
    }
    let columns = screen::size().columns.min(COLUMNS_MAX);
    // A command without the one that has to follow: clap answers with help, on standard error.
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help {
        let text = told(&error.render().to_string(), columns);
        return screen::print(text.trim_end());
    }
    if error.use_stderr() {
        let text = error.render().to_string();
        let told = with_told_values(&localized(text.trim_end()));
        return screen::print(style::diagnostic(&told).as_str());
    }
    let text = told(&error.render().ansi().to_string(), columns);
    let mut out = anstream::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// An error's line of what an option takes, told as help tells it.
fn with_told_values(text: &str) -> String {
    let told = text.lines().map(|line| match line.trim_start() {
        note if note.starts_with("[possible values: ") => {
            format!("{}{}", &line[..line.len() - note.len()], localized(note))
        }
        _ => line.to_owned(),
    });
    told.collect::<Vec<_>>().join("\n")
}

/// A line of help, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// Command, option or blanks: as it is in every language.
    head: String,
    /// What is told.
    text: String,
    /// `[default: …]` and the like.
    notes: Vec<String>,
}

/// Rendered help in Chinese.
fn told(rendered: &str, columns: usize) -> String {
    let mut told = String::new();
    for line in lines(rendered) {
        let mut text = localized(&line.text).into_owned();
        for note in &line.notes {
            let note = localized(note);
            text += if text.is_empty() { "" } else { " " };
            text += &note;
        }
        let indent = style::width(&line.head);
        let whole = format!("{}{text}", line.head);
        // Lines with colours are short: headings, and the way a command is called.
        told += &match whole.contains('\x1b') && indent == 0 {
            true => whole,
            false => wrapped(&line.head, &text, columns),
        };
        told.push('\n');
    }
    told
}

fn wrapped(head: &str, text: &str, columns: usize) -> String {
    let indent = style::width(head);
    let blank = " ".repeat(indent);
    let body = style::wrapped(&format!("{blank}{text}"), columns.max(indent + 20), indent);
    format!("{head}{}", &body[indent.min(body.len())..])
}

/// The lines of rendered help; those of a paragraph are one.
fn lines(rendered: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut in_paragraph = false;
    for line in rendered.lines() {
        let is_prose = !line.is_empty() && !line.starts_with([' ', '\x1b']);
        match lines.last_mut().filter(|_| is_prose && in_paragraph) {
            Some(paragraph) => {
                paragraph.text.push(' ');
                paragraph.text += line.trim_end();
            }
            None => lines.push(taken_apart(line)),
        }
        in_paragraph = is_prose;
    }
    lines
}

fn taken_apart(line: &str) -> Line {
    let line = line.trim_end();
    let plain = style::plain(line);
    let words = plain.trim_start();
    let indent = plain.len() - words.len();
    let (head, text) = if indent == 0 || indent >= PROSE_INDENT && !words.starts_with('-') {
        (" ".repeat(indent), line.trim_start())
    } else if let Some(rest) = words.strip_prefix("- ") {
        // A value that is possible, and what it means.
        let (name, text) = rest.split_once(": ").unwrap_or((rest, ""));
        let text = text.trim_start();
        (format!("{}- {name}: ", " ".repeat(indent)), &line[line.len() - text.len()..])
    } else {
        match line.trim_start().rfind("  ") {
            Some(at) => {
                let at = line.len() - line.trim_start().len() + at + 2;
                (line[..at].to_owned(), &line[at..])
            }
            None => (line.to_owned(), ""),
        }
    };
    let (text, notes) = without_notes(text);
    Line { head, text: text.to_owned(), notes }
}

/// What clap adds to a text; where the text itself has such a note, it is the text's.
fn without_notes(mut text: &str) -> (&str, Vec<String>) {
    let mut notes = Vec::new();
    while let Some(at) = text.rfind('[').filter(|_| text.ends_with(']')) {
        let note = &text[at..];
        let is_claps = ["[default: ", "[possible values: "].iter().any(|n| note.starts_with(n));
        if !is_claps || note.contains("kube") && !note.contains(".yaml") {
            break;
        }
        notes.insert(0, note.to_owned());
        text = text[..at].trim_end();
    }
    (text, notes)
}

#[cfg(test)]
#[path = "help_tests.rs"]
pub mod tests;
