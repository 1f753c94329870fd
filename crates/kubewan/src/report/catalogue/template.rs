//! Templates: what a format string has of its own, and what stands in its places in a text.

use super::Voice;

/// A template that begins with a place and has fewer letters of its own than that fits what it was not made for, unless its
/// values are single words or texts of ours.
const LETTERS_FEW: usize = 8;

/// The same of one that begins with a word.
const LETTERS_ANCHORED: usize = 4;

/// Words and letters of its own that a template has which fits no value that may be another's.
const MIXED: (usize, usize) = (2, 10);

/// The same of one that fits nothing that another program says.
const SURE: (usize, usize) = (3, 10);

/// A place with this name holds a number, or a time: `1 h 2 min`.
pub(super) const COUNT: &str = "count";

/// Units of time.
const UNITS: [&str; 4] = ["d", "h", "min", "s"];

/// What a text begins with that goes on with another one.
pub(super) const TAILS: [char; 4] = [' ', ',', ';', ':'];

/// Part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// A place for a value, with its name; those without one are counted.
    Place(String),
}

/// The parts of a format string. What has blanks between its braces is no place: `{ source: release }`.
pub(super) fn parts(template: &str) -> Vec<Part> {
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
pub(super) fn values<'t>(parts: &[Part], text: &'t str) -> Option<Vec<&'t str>> {
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
pub(super) struct Entry {
    /// The English template.
    pub(super) made: Vec<Part>,
    /// The Chinese one.
    pub(super) told: Vec<Part>,
    /// Letters of the English one that are not in its places.
    pub(super) letters: usize,
    /// Bytes of it that are not.
    pub(super) own: usize,
    /// Words of it that are not.
    pub(super) words: usize,
    /// The longest text between its places.
    pub(super) longest: String,
}

impl Entry {
    pub(super) fn new(english: &str, chinese: &str) -> Entry {
        let made = parts(english);
        let own = made.iter().map(|part| match part {
            Part::Text(text) => text.chars().filter(char::is_ascii_alphabetic).count(),
            Part::Place(_) => 0,
        });
        let all = made.iter().filter_map(Part::own).map(str::len).sum();
        let words = made.iter().filter_map(Part::own).map(words).sum();
        let longest = made.iter().filter_map(Part::own).max_by_key(|own| own.len());
        let longest = longest.unwrap_or_default().to_owned();
        Entry { letters: own.sum(), own: all, words, longest, told: parts(chinese), made }
    }

    pub(super) fn begins(&self) -> &str {
        self.made.first().and_then(Part::own).unwrap_or_default()
    }

    /// Begins in the middle of a sentence, as `, not ready`.
    pub(super) fn is_tail(&self) -> bool {
        self.begins().starts_with(TAILS)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.made.iter().filter_map(|part| match part {
            Part::Place(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// There are numbers where it counts.
    pub(super) fn counts(&self, found: &[&str]) -> bool {
        let is_number = |text: &str| {
            let mut words = text.split(' ');
            words.all(|w| UNITS.contains(&w) || w.bytes().all(|b| b.is_ascii_digit()))
        };
        self.places().zip(found).all(|(name, value)| name != COUNT || is_number(value))
    }

    /// Fits only what it was made for, whatever stands in its places.
    pub(super) fn is_sure(&self, voice: Voice) -> bool {
        let has = |(words, letters): (usize, usize)| self.words >= words && self.letters >= letters;
        let counts = || self.places().any(|name| name == COUNT);
        let is_anchored = self.begins().starts_with(|c: char| c.is_ascii_alphabetic());
        let few = if is_anchored { LETTERS_ANCHORED } else { LETTERS_FEW };
        match voice {
            Voice::Ours => self.letters >= few || counts(),
            Voice::Mixed => has(MIXED) || counts(),
            // Our errors begin so, and programs put their names before theirs.
            Voice::Others => has(SURE) || self.begins().starts_with("can't "),
        }
    }
}

/// Words of a text.
pub(super) fn words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.contains(|c: char| c.is_ascii_alphabetic())).count()
}

/// Something's name, a number or a path, and no word of a language.
pub(super) fn is_name(value: &str) -> bool {
    !value.contains(' ') && value.contains(|c: char| !c.is_ascii_alphabetic() && c != '\'')
        || value.is_empty()
}

impl Part {
    pub(super) fn text(&self) -> &str {
        match self {
            Part::Text(text) | Part::Place(text) => text,
        }
    }

    /// What it has of its own.
    pub(super) fn own(&self) -> Option<&str> {
        match self {
            Part::Text(text) => Some(text),
            Part::Place(_) => None,
        }
    }
}

/// Whether each bracket in it has its other one.
pub(super) fn is_closed(value: &str) -> bool {
    let mut open = 0_usize;
    let closes = value.chars().all(|sign| match sign {
        '(' => {
            open += 1;
            true
        }
        ')' if open == 0 => false,
        ')' => {
            open -= 1;
            true
        }
        _ => true,
    });
    closes && open == 0
}
