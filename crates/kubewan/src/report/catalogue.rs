//! What people are told, in Chinese. The English text of the sources is the key, as in gettext: texts are made in every room
//! and stay where they are; what is to be printed is compared with the catalogue's templates, and the Chinese one is filled
//! with what stood in the places of the English one. What no template fits is told as it is: it is someone else's.
//!
//! The catalogue is `zh/*.po`, which translators' tools read. Its tests read the sources and name, with file and line, every
//! text that it does not have.

mod po;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::language::Language;
use po::Message;

/// The catalogue, by the rooms that make its texts.
const FILES: [(&str, &str); 8] = [
    ("agent.po", include_str!("zh/agent.po")),
    ("core.po", include_str!("zh/core.po")),
    ("doctor.po", include_str!("zh/doctor.po")),
    ("fleet.po", include_str!("zh/fleet.po")),
    ("help.po", include_str!("zh/help.po")),
    ("inventory.po", include_str!("zh/inventory.po")),
    ("lab.po", include_str!("zh/lab.po")),
    ("report.po", include_str!("zh/report.po")),
];

/// Bytes of a line that is looked at.
const LINE_MAX: usize = 2000;

/// Texts that hold texts that hold texts: an error inside an error inside an error.
const DEEPEST: usize = 6;

/// Lines that change are drawn ten times a second, mostly the same ones.
const REMEMBERED: usize = 2048;

/// A template that begins with a place and has fewer letters of its own than that fits what it was not made for, unless its
/// values are single words or texts of ours.
const LETTERS_FEW: usize = 8;

/// The same of one that begins with a word.
const LETTERS_ANCHORED: usize = 4;

/// One with fewer fits everything, and is not used.
const LETTERS_LEAST: usize = 2;

/// A place with this name holds a number, or a time: `1 h 2 min`.
const COUNT: &str = "count";

/// Units of time.
const UNITS: [&str; 4] = ["d", "h", "min", "s"];

/// Where a text that is made of several is taken apart, and what stands there in Chinese.
const JOINTS: [(&str, &str); 7] = [
    ("; ", "；"),
    (": ", ": "),
    (", no ", "、"),
    (", ", ", "),
    (" and ", " 和 "),
    (" (", " ("),
    (")", ")"),
];

/// What a text begins with that goes on with another one.
const TAILS: [char; 4] = [' ', ',', ';', ':'];

/// A text in the language that people are told things in.
pub fn localized(text: &str) -> Cow<'_, str> {
    match Language::now() {
        Language::English => Cow::Borrowed(text),
        Language::Chinese => Cow::Owned(chinese().told(text)),
    }
}

fn chinese() -> &'static Catalogue {
    static CHINESE: OnceLock<Catalogue> = OnceLock::new();
    CHINESE.get_or_init(|| Catalogue::new(FILES.iter().flat_map(|(_, text)| po::messages(text))))
}

/// Part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A place for a value, with its name; those without one are counted.
    Place(String),
}

/// The parts of a format string. What has blanks between its braces is no place: `{ source: release }`.
fn parts(template: &str) -> Vec<Part> {
    let (mut parts, mut text, mut count) = (Vec::new(), String::new(), 0);
    let mut rest = template;
    while let Some(sign) = rest.chars().next() {
        let place = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let is_place = |inside: &str| {
            let (name, form) = inside.split_once(':').unwrap_or((inside, ""));
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !form.contains([' ', '{', '`'])
        };
        if let Some(doubled) = ["{{", "}}"].iter().find(|doubled| rest.starts_with(**doubled)) {
            text.push_str(&doubled[..1]);
            rest = &rest[2..];
        } else if let Some((inside, after)) = place.filter(|(inside, _)| is_place(inside)) {
            let name = inside.split(':').next().unwrap_or_default();
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Place(match name.is_empty() {
                true => {
                    count += 1;
                    (count - 1).to_string()
                }
                false => name.to_owned(),
            }));
            rest = after;
        } else {
            text.push(sign);
            rest = &rest[sign.len_utf8()..];
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

/// What stands in a template's places, where a text fits it.
fn values<'t>(parts: &[Part], text: &'t str) -> Option<Vec<&'t str>> {
    match parts {
        [] => text.is_empty().then(Vec::new),
        [Part::Text(own), rest @ ..] => values(rest, text.strip_prefix(own.as_str())?),
        [Part::Place(_)] => Some(vec![text]),
        [Part::Place(_), Part::Text(own)] => Some(vec![text.strip_suffix(own.as_str())?]),
        [Part::Place(_), rest @ ..] => {
            // Of two places side by side the first one gets all: which of them has what is not told from outside.
            let next = rest.iter().position(|part| matches!(part, Part::Text(_)));
            let (beside, rest) = rest.split_at(next.unwrap_or(rest.len()));
            let with = |value, mut after: Vec<&'t str>| {
                after.splice(0..0, std::iter::repeat_n("", beside.len()));
                after.insert(0, value);
                after
            };
            let Some(Part::Text(own)) = rest.first() else { return Some(with(text, Vec::new())) };
            text.match_indices(own.as_str())
                .find_map(|(at, _)| Some(with(&text[..at], values(rest, &text[at..])?)))
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// The English template.
    made: Vec<Part>,
    /// The Chinese one.
    told: Vec<Part>,
    /// Letters of the English one that are not in its places.
    letters: usize,
    /// The longest text between its places.
    longest: String,
}

impl Entry {
    fn new(english: &str, chinese: &str) -> Entry {
        let made = parts(english);
        let own = made.iter().map(|part| match part {
            Part::Text(text) => text.chars().filter(char::is_ascii_alphabetic).count(),
            Part::Place(_) => 0,
        });
        let longest = made.iter().filter_map(Part::own).max_by_key(|own| own.len());
        let longest = longest.unwrap_or_default().to_owned();
        Entry { letters: own.sum(), longest, told: parts(chinese), made }
    }

    fn begins(&self) -> &str {
        self.made.first().and_then(Part::own).unwrap_or_default()
    }

    /// Begins in the middle of a sentence, as `, not ready`.
    fn is_tail(&self) -> bool {
        self.begins().starts_with(TAILS)
    }

    fn places(&self) -> impl Iterator<Item = &str> {
        self.made.iter().filter_map(|part| match part {
            Part::Place(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// There are numbers where it counts.
    fn counts(&self, found: &[&str]) -> bool {
        let is_number = |text: &str| {
            let mut words = text.split(' ');
            words.all(|w| UNITS.contains(&w) || w.bytes().all(|b| b.is_ascii_digit()))
        };
        self.places().zip(found).all(|(name, value)| name != COUNT || is_number(value))
    }

    /// Fits only what it was made for.
    fn is_sure(&self) -> bool {
        let is_anchored = self.begins().starts_with(|c: char| c.is_ascii_alphabetic());
        let few = if is_anchored { LETTERS_ANCHORED } else { LETTERS_FEW };
        self.letters >= few || self.places().any(|name| name == COUNT)
    }
}

struct Catalogue {
    exact: HashMap<String, String>,
    /// Those with places, the longest first.
    templates: Vec<Entry>,
    known: Mutex<HashMap<String, String>>,
}

impl Catalogue {
    fn new(messages: impl Iterator<Item = Message>) -> Catalogue {
        let (mut exact, mut templates) = (HashMap::new(), Vec::new());
        let mut add = |english: &str, chinese: &str| {
            let entry = Entry::new(english, chinese);
            match entry.made.as_slice() {
                [Part::Text(text)] => {
                    let told: String = entry.told.iter().map(Part::text).collect();
                    exact.entry(text.clone()).or_insert(told);
                }
                // What is nothing but places is nobody's.
                _ if entry.letters < LETTERS_LEAST => {}
                _ => templates.push(entry),
            }
        };
        for message in messages {
            add(&message.english, &message.chinese);
            // Reports print long messages line by line.
            let lines = message.english.lines().zip(message.chinese.lines());
            if message.english.contains('\n')
                && message.english.lines().count() == message.chinese.lines().count()
            {
                let worded = |line: &str| line.contains(|c: char| c.is_ascii_alphabetic());
                lines.filter(|(line, _)| worded(line)).for_each(|(english, chinese)| {
                    add(english.trim(), chinese.trim());
                });
            }
        }
        templates.sort_by_key(|entry| std::cmp::Reverse(entry.letters));
        Catalogue { exact, templates, known: Mutex::default() }
    }

    /// A text of one or more lines.
    fn told(&self, text: &str) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = known.get(text) {
            return told.clone();
        }
        let told = Reading { catalogue: self, found: RefCell::default() }.lines(text, 0);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(text.to_owned(), told.clone());
        told
    }
}

/// The reading of one text, which asks for some of its parts several times.
struct Reading<'c> {
    catalogue: &'c Catalogue,
    found: RefCell<HashMap<(String, bool), Option<String>>>,
}

impl Reading<'_> {
    fn lines(&self, text: &str, depth: usize) -> String {
        // A diagnostic's lines are texts of their own.
        let is_one =
            text.contains('\n') && !["error", "warning"].iter().any(|w| text.starts_with(w));
        if let Some(told) = is_one.then(|| self.whole(text, depth)).flatten() {
            return told;
        }
        let lines: Vec<String> = text.split('\n').map(|line| self.line(line, depth)).collect();
        lines.join("\n")
    }

    /// A line, with its indent, its mark, and the colours that parts of it have.
    fn line(&self, line: &str, depth: usize) -> String {
        // No text of ours is as long; a log's line may be, and comparing takes longer with every byte.
        if line.len() > LINE_MAX {
            return line.to_owned();
        }
        if let Some((before, rest)) = line.split_once('\x1b')
            && let Some((code, after)) = rest.split_once('m')
        {
            return self.line(before, depth) + "\x1b" + code + "m" + &self.line(after, depth);
        }
        let words = line.trim_start();
        let indent = &line[..line.len() - words.len()];
        let words = words.trim_end();
        let end = &line[indent.len() + words.len()..];
        if !indent.is_empty() || !end.is_empty() {
            // ` as a control plane` is a text by itself.
            let told = if indent == " " { self.whole(line, depth) } else { None };
            return told.unwrap_or_else(|| format!("{indent}{}{end}", self.line(words, depth)));
        }
        for mark in ["# ", "| "] {
            if let Some(rest) = line.strip_prefix(mark) {
                return format!("{mark}{}", self.line(rest, depth));
            }
        }
        for head in ["= help:", "Usage:"] {
            if let Some(rest) = line.strip_prefix(head).and_then(|rest| rest.strip_prefix(' ')) {
                return format!("{} {}", self.word(head), self.phrase(rest, depth));
            }
        }
        for word in ["error", "warning"] {
            if let Some(rest) = line.strip_prefix(word)
                && let Some((code, said)) = rest.split_once(": ")
                && (code.is_empty() || code.starts_with('[') && !code.contains(' '))
            {
                return format!("{}{code}: {}", self.word(word), self.phrase(said, depth));
            }
        }
        self.phrase(line, depth)
    }

    fn word<'w>(&'w self, word: &'w str) -> &'w str {
        self.catalogue.exact.get(word).map_or(word, String::as_str)
    }

    /// A text, or several that were put together.
    fn phrase(&self, text: &str, depth: usize) -> String {
        if depth >= DEEPEST || !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return text.to_owned();
        }
        if let Some(told) = self.whole(text, depth) {
            return told;
        }
        let put_together = self.joined(text, depth).or_else(|| self.tailed(text, depth));
        put_together.or_else(|| self.verb(text)).unwrap_or_else(|| text.into())
    }

    /// A text as one template has it.
    fn whole(&self, text: &str, depth: usize) -> Option<String> {
        self.by_template(text, depth, false)
    }

    /// The same; or only as one that fits nothing else.
    fn by_template(&self, text: &str, depth: usize, surely: bool) -> Option<String> {
        if let Some(told) = self.catalogue.exact.get(text) {
            return Some(told.clone());
        }
        if depth >= DEEPEST {
            return None;
        }
        let key = (text.to_owned(), surely);
        if let Some(found) = self.found.borrow().get(&key) {
            return found.clone();
        }
        let is_ours = |value: &&str| {
            let is_quoted = value.len() > 1 && value.starts_with('`') && value.ends_with('`');
            !value.contains(' ') || is_quoted || self.by_template(value, depth + 1, true).is_some()
        };
        let templates = self.catalogue.templates.iter();
        let fitting = templates.filter(|entry| text.contains(&entry.longest));
        let mut fitting = fitting.filter(|entry| !surely || entry.is_sure()).filter_map(|entry| {
            let found = values(&entry.made, text)?;
            let fits = entry.counts(&found) && (entry.is_sure() || found.iter().all(is_ours));
            fits.then_some((entry, found))
        });
        // A place that a template begins with takes the beginning of another one's text, where it can.
        let takes = |(entry, found): &(&Entry, Vec<&str>)| {
            entry.begins().is_empty() && found.first().is_some_and(|first| first.contains(": "))
        };
        let first = fitting.next();
        let better = match &first {
            Some(first) if takes(first) => fitting.find(|next| !takes(next)),
            _ => None,
        };
        let told = better.or(first).map(|(entry, found)| self.filled(entry, &found, depth));
        self.found.borrow_mut().insert(key, told.clone());
        told
    }

    fn filled(&self, entry: &Entry, found: &[&str], depth: usize) -> String {
        let found: HashMap<&str, &&str> = entry.places().zip(found).collect();
        let mut told = String::new();
        for part in &entry.told {
            match part {
                Part::Text(text) => told += text,
                Part::Place(name) => {
                    let value = found.get(name.as_str()).copied().copied().unwrap_or_default();
                    // Between backticks stands what one types, or what a program said.
                    match is_quoted(&told) {
                        true => told += value,
                        false => told += &self.lines(value, depth + 1),
                    }
                }
            }
        }
        told
    }

    /// Texts with a comma or the like between them, one of which is ours.
    fn joined(&self, text: &str, depth: usize) -> Option<String> {
        for (joint, told) in JOINTS {
            for (at, _) in text.match_indices(joint).filter(|(at, _)| !is_quoted(&text[..*at])) {
                let (before, after) = (&text[..at], &text[at + joint.len()..]);
                let is_ours = |text: &str| self.whole(text, depth + 1).is_some();
                if is_ours(before) || is_ours(after) {
                    let (before, after) =
                        (self.phrase(before, depth + 1), self.phrase(after, depth + 1));
                    return Some(before + told + &after);
                }
            }
        }
        None
    }

    /// A text with a tail: `…, not ready`.
    fn tailed(&self, text: &str, depth: usize) -> Option<String> {
        let tail = |at: usize| {
            let told = self.whole(&text[at..], depth + 1)?;
            let before = self.phrase(&text[..at], depth + 1);
            (before != text[..at]).then(|| before + &told)
        };
        let exact = self.catalogue.exact.keys().filter(|tail| tail.starts_with(TAILS));
        let exact = exact.filter(|tail| text.len() > tail.len() && text.ends_with(tail.as_str()));
        if let Some(longest) = exact.max_by_key(|tail| tail.len()) {
            return tail(text.len() - longest.len());
        }
        let mut tails = self.catalogue.templates.iter().filter(|entry| entry.is_tail());
        tails.find_map(|entry| {
            let (at, _) = text.match_indices(entry.begins()).find(|(at, _)| *at > 0)?;
            values(&entry.made, &text[at..])?;
            tail(at)
        })
    }

    /// What is done, and to what: `enable kubelet.service`.
    fn verb(&self, text: &str) -> Option<String> {
        let (verb, what) = text.rsplit_once(' ')?;
        Some(format!("{} {what}", self.catalogue.exact.get(verb)?))
    }
}

/// Whether what comes after this stands between backticks.
fn is_quoted(before: &str) -> bool {
    before.matches('`').count() % 2 == 1
}

impl Part {
    fn text(&self) -> &str {
        match self {
            Part::Text(text) | Part::Place(text) => text,
        }
    }

    /// What it has of its own.
    fn own(&self) -> Option<&str> {
        match self {
            Part::Text(text) => Some(text),
            Part::Place(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
