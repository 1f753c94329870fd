//! What people are told, in Chinese. The English text of the sources is the key, as in gettext: texts are made in every room
//! and stay where they are; what is to be printed is compared with the catalogue's templates, and the Chinese one is filled
//! with what stood in the places of the English one. What no template fits is told as it is: it is someone else's.
//!
//! The catalogue is `zh/*.po`, which translators' tools read. Its tests read the sources and name, with file and line, every
//! text that it does not have.

mod po;
mod template;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::language::Language;
use po::Message;
use template::{Entry, Part, TAILS, is_closed, is_name, parts, values, words};

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

/// Names of places that hold what another program or a server said. What stands there is told as it is, unless a text of ours fits
/// that fits nothing else: an error inside an error.
const OTHERS: [&str; 10] =
    ["came_back", "e", "error", "evidence", "last", "lines", "output", "said", "tail", "words"];

/// One with fewer fits everything, and is not used.
const LETTERS_LEAST: usize = 2;

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

/// What a lab's errors say before what to do, in both languages.
const NEXT: (&str, &str) = ("next:", "下一步：");

/// A text of kubewan's in the language that people are told things in.
pub fn localized(text: &str) -> Cow<'_, str> {
    told_by(text, Voice::Ours)
}

/// The same of a line that is kubewan's or another program's, as what an agent's step says while it works.
pub fn localized_line(text: &str) -> Cow<'_, str> {
    told_by(text, Voice::Others)
}

/// A text that is told where it is made: a template of the catalogue's, with what stands in its places. No other template can be taken
/// for it, however few words it has.
pub fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let told = |parts: &[Part], tell: &dyn Fn(&str) -> String| -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Place(name) => {
                let value = values.iter().find(|(place, _)| place == name);
                tell(value.map_or("", |(_, value)| value))
            }
        };
        parts.iter().map(part).collect()
    };
    match (Language::now(), chinese().made.get(template)) {
        (Language::Chinese, Some(parts)) => {
            told(parts, &|value| chinese().told(value, Voice::Mixed))
        }
        _ => told(&parts(template), &str::to_owned),
    }
}

fn told_by(text: &str, voice: Voice) -> Cow<'_, str> {
    match Language::now() {
        Language::English => Cow::Borrowed(text),
        Language::Chinese => Cow::Owned(chinese().told(text, voice)),
    }
}

/// Whose words a text has: how much a template has to have of its own to fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Voice {
    /// kubewan's.
    Ours,
    /// kubewan's, or a value of any kind: what stands in a place of a text of ours.
    Mixed,
    /// Another program's or a server's, unless it is plainly ours.
    Others,
}

impl Voice {
    /// Of what stands in a place.
    fn within(self, place: &str) -> Voice {
        match self {
            Voice::Others => Voice::Others,
            _ if OTHERS.contains(&place) => Voice::Others,
            Voice::Ours | Voice::Mixed => Voice::Mixed,
        }
    }
}

fn chinese() -> &'static Catalogue {
    static CHINESE: OnceLock<Catalogue> = OnceLock::new();
    CHINESE.get_or_init(|| Catalogue::new(FILES.iter().flat_map(|(_, text)| po::messages(text))))
}

struct Catalogue {
    exact: HashMap<String, String>,
    /// By the English ones: templates that are filled where they are made.
    made: HashMap<String, Vec<Part>>,
    /// Those with places, the longest first.
    templates: Vec<Entry>,
    known: Mutex<HashMap<(String, Voice), String>>,
}

impl Catalogue {
    fn new(messages: impl Iterator<Item = Message>) -> Catalogue {
        let (mut exact, mut made, mut templates) = (HashMap::new(), HashMap::new(), Vec::new());
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
            made.insert(message.english.clone(), parts(&message.chinese));
            // What begins with the word that is told by itself is looked up behind it.
            for (word, told) in [("error: ", "错误: "), ("warning: ", "警告: ")] {
                let rests =
                    (message.english.strip_prefix(word), message.chinese.strip_prefix(told));
                if let (Some(english), Some(chinese)) = rests {
                    add(english, chinese);
                }
            }
            // Reports print long messages line by line.
            let lines = message.english.lines().zip(message.chinese.lines());
            if message.english.contains('\n')
                && message.english.lines().count() == message.chinese.lines().count()
            {
                let worded = |line: &str| line.contains(|c: char| c.is_ascii_alphabetic());
                lines.filter(|(line, _)| worded(line)).for_each(|(english, chinese)| {
                    add(english.trim(), chinese.trim());
                    // A lab's errors end with what to do, which stands behind `= help:` then.
                    if let (Some(english), Some(chinese)) =
                        (english.strip_prefix(NEXT.0), chinese.strip_prefix(NEXT.1))
                    {
                        add(english.trim(), chinese);
                    }
                });
            }
        }
        // Of two with the same words the one that has more between its places.
        templates.sort_by_key(|entry| std::cmp::Reverse((entry.letters, entry.own)));
        Catalogue { exact, made, templates, known: Mutex::default() }
    }

    /// A text of one or more lines.
    fn told(&self, text: &str, voice: Voice) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (text.to_owned(), voice);
        if let Some(told) = known.get(&key) {
            return told.clone();
        }
        let told = Reading { catalogue: self, found: RefCell::default() }.lines(text, 0, voice);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, told.clone());
        told
    }
}

/// The reading of one text, which asks for some of its parts several times.
struct Reading<'c> {
    catalogue: &'c Catalogue,
    found: RefCell<HashMap<(String, Voice), Option<String>>>,
}

impl Reading<'_> {
    fn lines(&self, text: &str, depth: usize, voice: Voice) -> String {
        // A diagnostic's lines are texts of their own.
        let is_diagnostic = ["error", "warning"].iter().any(|word| text.starts_with(word));
        if let Some(told) = (text.contains('\n') && !is_diagnostic)
            .then(|| self.whole(text, depth, voice))
            .flatten()
        {
            return told;
        }
        let mut after_blank = true;
        let lines = text.split('\n').map(|line| {
            // Below what is ours stands what programs said, and what to do; another diagnostic may follow behind a blank line.
            let begins = ["= ", "Usage: kubewan"];
            let begins = begins.iter().any(|begin| line.trim_start().starts_with(begin));
            let is_first = std::mem::replace(&mut after_blank, line.is_empty())
                && ["error", "warning"].iter().any(|word| line.starts_with(word));
            let is_ours = !is_diagnostic || is_first || begins;
            self.line(line, depth, if is_ours { voice } else { Voice::Others })
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// A line, with its indent, its mark, and the colours that parts of it have.
    fn line(&self, line: &str, depth: usize, voice: Voice) -> String {
        // No text of ours is as long; a log's line may be, and comparing takes longer with every byte.
        if line.len() > LINE_MAX {
            return line.to_owned();
        }
        if let Some((before, rest)) = line.split_once('\x1b')
            && let Some((code, after)) = rest.split_once('m')
        {
            let (before, after) = (self.line(before, depth, voice), self.line(after, depth, voice));
            return before + "\x1b" + code + "m" + &after;
        }
        let words = line.trim_start();
        let indent = &line[..line.len() - words.len()];
        let words = words.trim_end();
        let end = &line[indent.len() + words.len()..];
        if !indent.is_empty() || !end.is_empty() {
            // ` as a control plane` is a text by itself.
            let is_part = indent == " " || end == " ";
            let told = if is_part { self.whole(line, depth, voice) } else { None };
            return told
                .unwrap_or_else(|| format!("{indent}{}{end}", self.line(words, depth, voice)));
        }
        for mark in ["# ", "| "] {
            if let Some(rest) = line.strip_prefix(mark) {
                return format!("{mark}{}", self.line(rest, depth, voice));
            }
        }
        if voice != Voice::Ours {
            return self.phrase(line, depth, voice);
        }
        for head in ["= help:", "Usage:"] {
            if let Some(rest) = line.strip_prefix(head).and_then(|rest| rest.strip_prefix(' ')) {
                return format!("{} {}", self.word(head), self.phrase(rest, depth, voice));
            }
        }
        for word in ["error", "warning"] {
            if let Some(rest) = line.strip_prefix(word)
                && let Some((code, said)) = rest.split_once(": ")
                && (code.is_empty() || code.starts_with('[') && !code.contains(' '))
            {
                return format!("{}{code}: {}", self.word(word), self.phrase(said, depth, voice));
            }
        }
        self.phrase(line, depth, voice)
    }

    fn word<'w>(&'w self, word: &'w str) -> &'w str {
        self.catalogue.exact.get(word).map_or(word, String::as_str)
    }

    /// A text, or several that were put together.
    fn phrase(&self, text: &str, depth: usize, voice: Voice) -> String {
        if depth >= DEEPEST || !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return text.to_owned();
        }
        if let Some(told) = self.whole(text, depth, voice) {
            return told;
        }
        let put_together =
            self.joined(text, depth, voice).or_else(|| self.tailed(text, depth, voice));
        put_together.or_else(|| self.verb(text, voice)).unwrap_or_else(|| text.into())
    }

    /// A text as one template has it.
    fn whole(&self, text: &str, depth: usize, voice: Voice) -> Option<String> {
        if let Some(told) = self.catalogue.exact.get(text) {
            return (voice != Voice::Others || words(text) > 1).then(|| told.clone());
        }
        if depth >= DEEPEST {
            return None;
        }
        let key = (text.to_owned(), voice);
        if let Some(found) = self.found.borrow().get(&key) {
            return found.clone();
        }
        let templates = self.catalogue.templates.iter();
        let fitting = templates.filter(|entry| text.contains(&entry.longest));
        let mut fitting = fitting.filter_map(|entry| {
            let mut found = values(&entry.made, text)?;
            let fits = entry.counts(&found)
                && (entry.is_sure(voice) || found.iter().all(|v| self.is_value(v, depth, voice)));
            fits.then(|| {
                self.part(&entry.made, &mut found, depth);
                (entry, found)
            })
        });
        // A place takes more than was put there, where it can: the beginning of another text, or the end of one between brackets.
        let takes = |(entry, found): &(&Entry, Vec<&str>)| {
            let begins = entry.begins().is_empty()
                && found.first().is_some_and(|first| first.contains(": "));
            (!found.iter().all(|value| is_closed(value)), begins)
        };
        let first = fitting.next();
        let is_better = |next: &(&Entry, Vec<&str>)| {
            let than = first.as_ref().map_or((false, false), takes);
            takes(next) < than && next.0.is_sure(Voice::Mixed)
        };
        let is_open = first.as_ref().is_some_and(|first| takes(first) != (false, false));
        let better = if is_open { fitting.find(is_better) } else { None };
        let told = better.or(first).map(|(entry, found)| self.filled(entry, &found, depth, voice));
        self.found.borrow_mut().insert(key, told.clone());
        told
    }

    /// Whether that may stand in a place of a template that has few words of its own.
    fn is_value(&self, value: &str, depth: usize, voice: Voice) -> bool {
        let is_quoted = value.len() > 1 && value.starts_with('`') && value.ends_with('`');
        let is_one = match voice {
            Voice::Ours => !value.contains(' '),
            Voice::Mixed => is_name(value),
            Voice::Others => return false,
        };
        is_one || is_quoted || self.whole(value, depth + 1, Voice::Mixed).is_some()
    }

    /// Parts what stands in two places side by side, of which the first has it all: where a text of ours begins that goes on with
    /// another one.
    fn part(&self, made: &[Part], found: &mut [&str], depth: usize) {
        let places = made.iter().scan(0, |count, part| {
            let at = *count;
            *count += usize::from(part.own().is_none());
            Some((at, part.own().is_none()))
        });
        let places: Vec<(usize, bool)> = places.collect();
        for pair in places.windows(2) {
            let [(at, true), (_, true)] = pair else { continue };
            let value = found[*at];
            if self.whole(value, depth + 1, Voice::Mixed).is_some() {
                continue;
            }
            let begins = value.match_indices(TAILS).map(|(at, _)| at).filter(|at| *at > 0);
            let mut begins = begins.filter(|at| !is_quoted(&value[..*at]));
            if let Some(begin) = begins.find(|begin| self.is_tail(&value[*begin..])) {
                (found[*at], found[at + 1]) = value.split_at(begin);
            }
        }
    }

    /// Whether that is a text of ours that goes on with another one.
    fn is_tail(&self, text: &str) -> bool {
        let mut tails = self.catalogue.templates.iter().filter(|entry| entry.is_tail());
        self.catalogue.exact.contains_key(text)
            || tails.any(|entry| values(&entry.made, text).is_some())
    }

    fn filled(&self, entry: &Entry, found: &[&str], depth: usize, voice: Voice) -> String {
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
                        false => told += &self.lines(value, depth + 1, voice.within(name)),
                    }
                }
            }
        }
        told
    }

    /// Texts with a comma or the like between them, one of which is ours.
    fn joined(&self, text: &str, depth: usize, voice: Voice) -> Option<String> {
        for (joint, told) in JOINTS {
            for (at, _) in text.match_indices(joint).filter(|(at, _)| !is_quoted(&text[..*at])) {
                let (before, after) = (&text[..at], &text[at + joint.len()..]);
                let is = |text: &str, voice| self.whole(text, depth + 1, voice).is_some();
                let is_one_sure = is(before, Voice::Others) || is(after, Voice::Others);
                let is_ours = match voice {
                    Voice::Ours => is(before, voice) || is(after, voice),
                    Voice::Mixed => is(before, voice) && is(after, voice),
                    Voice::Others => false,
                };
                if is_one_sure || is_ours {
                    let (before, after) = (
                        self.phrase(before, depth + 1, voice),
                        self.phrase(after, depth + 1, voice),
                    );
                    return Some(before + told + &after);
                }
            }
        }
        None
    }

    /// A text with a tail: `…, not ready`.
    fn tailed(&self, text: &str, depth: usize, voice: Voice) -> Option<String> {
        if voice == Voice::Others {
            return None;
        }
        let tail = |at: usize| {
            let told = self.whole(&text[at..], depth + 1, voice)?;
            let before = self.phrase(&text[..at], depth + 1, voice);
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
    fn verb(&self, text: &str, voice: Voice) -> Option<String> {
        let (verb, what) = text.rsplit_once(' ')?;
        let fits = voice == Voice::Ours || voice == Voice::Mixed && is_name(what);
        let verb = self.catalogue.exact.get(verb).filter(|_| fits)?;
        Some(format!("{verb} {what}"))
    }
}

/// Whether what comes after this stands between backticks.
fn is_quoted(before: &str) -> bool {
    before.matches('`').count() % 2 == 1
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
