//! Colour, and how much fits on a line. Text carries its styles as escape sequences, which [`super::screen`] takes out
//! where there is to be no colour.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};
use kubewan_core::event::Outcome;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::catalogue::localized;

/// What failed.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What may become bad, and what changes.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What is well, and what is new.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What goes.
pub const GONE: Style = AnsiColor::Red.on_default();
/// What to do next, and what is run.
pub const NEXT: Style = AnsiColor::Cyan.on_default();
/// What something is about.
pub const HEAD: Style = Style::new().bold();
/// What is beside the point.
pub const FAINT: Style = Style::new().dimmed();

/// The text in this style.
pub fn styled(style: Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

/// The text without styles.
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// The text without what a terminal would obey, but for colours: hosts' words are in it, and a host may say anything.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let obeyed = |sign: char| sign.is_control() && sign != '\n' && sign != '\t';
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(obeyed) {
        clean += &rest[..at];
        let from = &rest[at..];
        let length = colour(from).unwrap_or_else(|| from.chars().next().map_or(0, char::len_utf8));
        if colour(from).is_some() {
            clean += &from[..length];
        }
        rest = &from[length..];
    }
    Cow::Owned(clean + rest)
}

/// The length of the sequence that chooses a colour or a weight (ECMA-48, 8.3.117, SGR) which the text begins with.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|sign: char| !sign.is_ascii_digit() && sign != ';')?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

/// Columns that the text takes on a terminal, whatever its styles.
pub fn width(text: &str) -> usize {
    plain(text).width()
}

/// The style of a proof's outcome.
pub fn of_outcome(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Passed => GOOD,
        Outcome::Failed => BAD,
        Outcome::NotShown => WARN,
    }
}

/// Colours the text of an error or a finding by how its lines begin: what it is, where, and what to do next.
pub fn diagnostic(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(diagnostic_line).collect();
    lines.join("\n")
}

/// What stands before a remedy.
const HELP: &str = "= help:";

/// What a diagnostic begins with.
fn severities() -> [(Cow<'static, str>, Style); 2] {
    [(localized("error"), BAD), (localized("warning"), WARN.bold())]
}

fn diagnostic_line(line: &str) -> String {
    for (word, style) in severities() {
        let is_head = |rest: &str| rest.starts_with(':') || rest.starts_with('[');
        if let Some((head, rest)) = line.split_once(": ")
            && let Some(after) = head.strip_prefix(&*word)
            && is_head(&format!("{after}:"))
        {
            return format!("{}: {rest}", styled(style, head));
        }
    }
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    match text.split_once(' ') {
        Some(("=", _)) => match text.strip_prefix(&*localized(HELP)) {
            Some(help) => format!("{indent}{}{help}", styled(NEXT, &localized(HELP))),
            None => line.to_owned(),
        },
        Some(("|", marker)) if marker.trim_start().starts_with('^') => {
            format!("{indent}| {}", styled(BAD, marker))
        }
        Some(("-->", place)) => format!("{indent}{} {place}", styled(FAINT, "-->")),
        _ => line.to_owned(),
    }
}

/// A diagnostic whose lines are broken at blanks to so many columns. What stands between backticks is to be copied, and
/// lines of files are shown as they are: neither is broken.
pub fn wrapped_diagnostic(text: &str, columns: usize) -> String {
    let lines = text.lines().map(|line| {
        let indent = match line.trim_start() {
            rest if rest.starts_with(&*localized(HELP)) => {
                line.len() - rest.len() + localized(HELP).width() + 1
            }
            rest if severities().iter().any(|(word, _)| rest.starts_with(&**word)) => 4,
            _ => return line.to_owned(),
        };
        wrapped(line, columns, indent)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line broken at blanks to so many columns, with all lines but the first indented.
pub fn wrapped(line: &str, columns: usize, indent: usize) -> String {
    // Blanks between backticks are no places to break at.
    let mut quoted = false;
    let words = line.split(|c: char| {
        quoted ^= c == '`';
        c == ' ' && !quoted
    });
    let (mut text, mut used) = (String::new(), 0);
    for (index, word) in words.enumerate() {
        for (part, atom) in atoms(word).into_iter().enumerate() {
            let blank = index > 0 && part == 0;
            let needed = atom.width() + usize::from(blank);
            if used + needed > columns && used > indent {
                text += &format!("\n{}{atom}", " ".repeat(indent));
                used = indent + atom.width();
                continue;
            }
            if blank {
                text.push(' ');
            }
            text += atom;
            used += needed;
        }
    }
    text
}

/// What a word can be broken into: beside Chinese characters, which have no blanks between them, but never so that a line
/// begins with a full stop or ends with an opening bracket.
fn atoms(word: &str) -> Vec<&str> {
    const NEVER_FIRST: &str = "，。；：、？！）”》…";
    const NEVER_LAST: &str = "（“《";
    let (mut atoms, mut begin, mut quoted) = (Vec::new(), 0, false);
    let mut before: Option<char> = None;
    for (at, sign) in word.char_indices() {
        let is_wide = |sign: char| sign.width() == Some(2);
        let breaks = before.is_some_and(|before| {
            (is_wide(before) || is_wide(sign))
                && !NEVER_FIRST.contains(sign)
                && !NEVER_LAST.contains(before)
                && !quoted
        });
        if breaks {
            atoms.push(&word[begin..at]);
            begin = at;
        }
        quoted ^= sign == '`';
        before = Some(sign);
    }
    atoms.push(&word[begin..]);
    atoms
}

/// The text, cut at its end to so many columns. What would move the cursor becomes a blank.
pub fn fit(text: &str, columns: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.width() <= columns {
        return clean;
    }
    let mut cut = taken(clean.chars(), columns.saturating_sub(1));
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// The text, cut in its middle to so many columns: names of hosts differ at their ends.
pub fn fit_middle(text: &str, columns: usize) -> String {
    if text.width() <= columns || columns < 3 {
        return fit(text, columns);
    }
    let end = (columns - 1) / 2;
    let tail: String = taken(text.chars().rev(), end).chars().rev().collect();
    let head = taken(text.chars(), columns - 1 - tail.width());
    format!("{head}…{tail}")
}

/// The first characters, as many as fit.
fn taken(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// The text with blanks up to so many columns.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_gives_the_terminal_no_orders() {
        let said = "\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07\u{9b}1A a\rb\tc\n\x1b[1;31";
        assert_eq!(harmless(said), "\x1b[31mred\x1b[0m [2J]0;title1A ab\tc\n[1;31");
        assert!(matches!(harmless("plain ✓ 中文\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_texts_are_cut_where_they_say_least() {
        assert_eq!(fit("install packages", 16), "install packages");
        assert_eq!(fit("install packages", 10), "install p…");
        assert_eq!(fit("tab\tand\u{1b}[2J", 20), "tab and [2J");
        assert_eq!(fit("x", 0), "");
        assert_eq!(fit_middle("frankfurt-worker-17", 12), "frankf…er-17");
        assert_eq!(fit_middle("node01", 12), "node01");
        // A wide character is never cut in two.
        assert_eq!(fit("节点节点", 6), "节点…");
        assert_eq!(width(&fit_middle("节点一节点二十", 8)), 7);
    }

    #[test]
    fn long_lines_are_broken_at_blanks_and_commands_stay_whole() {
        let text = "error[x]: node01: a message that is long\n 1 | a line of a file that is long, and stays\n  = help: run \
                    `ssh-keygen -R node01.example` and then go on";
        assert_eq!(
            wrapped_diagnostic(text, 24),
            "error[x]: node01: a\n    message that is long\n 1 | a line of a file that is long, and stays\n  = help: run\n          \
             `ssh-keygen -R node01.example`\n          and then go on"
        );
        assert_eq!(wrapped_diagnostic(text, 200), text);
        assert_eq!(wrapped("      # one two", 11, 8), "      # one\n        two");
        assert_eq!(wrapped("节点 节点", 6, 0), "节点\n节点");
        assert_eq!(
            wrapped("  检查主机，再运行 `kubewan up`。", 10, 2),
            "  检查主\n  机，再运\n  行\n  `kubewan up`。"
        );
    }

    #[test]
    fn styles_take_no_room() {
        let text = styled(BAD, "FAILED");
        assert_eq!((width(&text), plain(&text).as_str()), (6, "FAILED"));
        assert_eq!(plain(&padded(&text, 8)), "FAILED  ");
        assert_eq!(styled(BAD, ""), "");
    }

    #[test]
    fn a_diagnostic_keeps_its_text() {
        let text = "error[unknown-key]: no key `x`\n --> cluster.yaml:1:1\n  |\n 1 | x: 1\n  | ^\n  = help: write `name`\n\
                    warnings: 3\nerror: x: y";
        let coloured = diagnostic(text);
        assert_eq!(plain(&coloured), text);
        for styled in [
            styled(BAD, "error[unknown-key]"),
            styled(BAD, "^"),
            styled(NEXT, "= help:"),
            styled(BAD, "error"),
        ] {
            assert!(coloured.contains(&styled), "{coloured:?}");
        }
        assert!(coloured.contains("\nwarnings: 3\n"), "{coloured:?}");
    }
}
