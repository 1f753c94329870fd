//! Inputs: what the corpus is made of, and its mutations.

use std::path::{Path, PathBuf};

/// Inputs over this are cut, unless the corpus itself has them.
const LONGEST: usize = 16 << 10;

/// splitmix64 (Steele et al. 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number under `bound`; 0 where that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn piece(&mut self) -> &'static [u8] {
        PIECES[self.below(PIECES.len())]
    }
}

/// What nests.
const OPENINGS: [&[u8]; 6] = [b"[", b"{\"a\":", b"(", b"- ", b"\"", b"{"];

/// Numbers at which types end, and texts that are nearly numbers.
const NUMBERS: [&str; 26] = [
    "0",
    "1",
    "-1",
    "00",
    "7",
    "10",
    "32",
    "33",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "99999",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1e400",
    "0.1",
];

/// Values of JSON and YAML.
const VALUES: [&str; 14] = [
    "null",
    "~",
    "true",
    "{}",
    "[]",
    "\"\"",
    "[{}]",
    "{\"\":{}}",
    "-0",
    "1.5",
    "\"\\u0000\"",
    "\"é\"",
    "[[[]]]",
    "\"0\"",
];

/// Characters of more than one byte, those that are none, white space of all kinds, and what opens and closes.
const PIECES: [&[u8]; 40] = [
    b"\n",
    b"\r\n",
    b"\r",
    b"\t",
    b" ",
    b"  ",
    b"\0",
    b"\x1b[2J",
    b"\x7f",
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\xc3\xa9",
    b"\xe2\x82\xac",
    b"\xf0\x9f\x98\x80",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\xc2\xa0",
    b"\xe2\x80\xa8",
    b"\xc4\xb0",
    b":",
    b"=",
    b",",
    b"/",
    b"-",
    b"--",
    b".",
    b"#",
    b"\"",
    b"'",
    b"\\",
    b"\\040",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\n\n",
    b"%",
];

/// What inputs are made of.
#[derive(Default)]
pub struct Corpus {
    /// Whole inputs.
    pub inputs: Vec<Vec<u8>>,
    /// Short texts that mean something to the reader.
    pub tokens: Vec<Vec<u8>>,
}

impl Corpus {
    /// Adds a file, or all of a folder: literals of Rust, fenced blocks of Markdown, anything else whole.
    pub fn add(&mut self, path: &Path) {
        if path.is_dir() {
            return files(path).iter().for_each(|file| self.add(file));
        }
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => {
                for literal in literals(&text()) {
                    if literal.len() > 3 {
                        self.inputs.push(literal.clone());
                    }
                    if literal.len() <= 24 {
                        self.tokens.push(literal);
                    }
                }
            }
            Some("md") => {
                let text = text();
                let fenced = text.split("```").skip(1).step_by(2);
                let blocks = fenced.filter_map(|block| block.split_once('\n'));
                self.inputs.extend(blocks.map(|(_, block)| block.as_bytes().to_vec()));
            }
            _ => self.inputs.push(bytes),
        }
        self.tokens.sort();
        self.tokens.dedup();
    }

    /// The input of a seed.
    pub fn mutated(&self, seed: u64) -> Vec<u8> {
        let mut random = Random(seed.wrapping_mul(0xd134_2543_de82_ef95));
        let mut bytes = match random.below(64) {
            0 => Vec::new(),
            1 => (0..random.below(200)).map(|_| random.next() as u8).collect(),
            _ => self.one(&mut random).clone(),
        };
        // Mostly few: what is broken in many places is refused at the first.
        let count = 1 + random.below(3) * random.below(4);
        for _ in 0..count {
            self.mutate(&mut bytes, &mut random);
            bytes.truncate(LONGEST);
        }
        bytes
    }

    /// One to begin with, often the longest of some: short literals are many and say little.
    fn one(&self, random: &mut Random) -> &Vec<u8> {
        let mut one = random.of(&self.inputs);
        for _ in 1..*random.of(&[1, 4, 16]) {
            let other = random.of(&self.inputs);
            if other.len() > one.len() && other.len() < LONGEST / 4 {
                one = other;
            }
        }
        one
    }

    fn mutate(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(24)).min(bytes.len());
        let put = |bytes: &mut Vec<u8>, from: usize, to: usize, new: &[u8]| {
            bytes.splice(from..to, new.iter().copied());
        };
        match random.below(20) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(..at)),
            5 | 6 => put(bytes, at, at, random.piece()),
            7 => put(bytes, at, end, random.piece()),
            8 | 9 if !self.tokens.is_empty() => {
                let token = random.of(&self.tokens);
                let to = if random.below(2) == 0 { at } else { end };
                put(bytes, at, to, token);
            }
            10 | 11 => {
                // A number where a number is.
                let is = |byte: u8| byte.is_ascii_digit();
                let (from, to) = run(bytes, next(bytes, at, is), is);
                put(bytes, from, to, random.of(&NUMBERS).as_bytes());
            }
            12 => {
                // A word in the place of another.
                let is = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                let (from, to) = run(bytes, next(bytes, at, is), is);
                let other = random.below(bytes.len());
                let (begin, finish) = run(bytes, next(bytes, other, is), is);
                let new = bytes[begin..finish].to_vec();
                put(bytes, from, to, &new);
            }
            13 => {
                // The value behind a colon or an equals sign: another one, or another place's.
                let (from, to) = value(bytes, at);
                let (begin, finish) = value(bytes, random.below(bytes.len()));
                let other = bytes[begin..finish].to_vec();
                let new = if random.below(2) == 0 { random.of(&VALUES).as_bytes() } else { &other };
                put(bytes, from, to, new);
            }
            14 | 15 => self.lines(bytes, random),
            16 => {
                let copied = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                put(bytes, to, to, &copied);
            }
            17 => {
                // The head of this and the tail of another.
                let other = random.of(&self.inputs);
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            18 => {
                let count = *random.of(&[2, 9, 40, 200, 1000]);
                let piece = random.piece();
                put(bytes, at, at, &piece.repeat(count));
            }
            _ => {
                let opening = *random.of(&OPENINGS);
                let count = *random.of(&[2, 100, 130, 600]);
                put(bytes, at, at, &opening.repeat(count));
            }
        }
    }

    /// A line is taken out, doubled, or put elsewhere; or one of another input is put in.
    fn lines(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(bytes.len());
        let (from, to) = run(bytes, at, |byte| byte != b'\n');
        let to = (to + 1).min(bytes.len());
        let mut line = bytes[from..to].to_vec();
        match random.below(4) {
            0 => drop(bytes.drain(from..to)),
            1 => drop(bytes.splice(from..from, line)),
            2 => {
                bytes.drain(from..to);
                let target = random.below(bytes.len());
                let (start, _) = run(bytes, target, |byte| byte != b'\n');
                bytes.splice(start..start, line);
            }
            _ => {
                let other = random.of(&self.inputs);
                let target = random.below(other.len());
                let (begin, end) = run(other, target, |byte| byte != b'\n');
                line = other[begin..end].to_vec();
                line.push(b'\n');
                bytes.splice(from..from, line);
            }
        }
    }
}

/// The next value behind a colon or an equals sign.
fn value(bytes: &[u8], at: usize) -> (usize, usize) {
    let sign = bytes[at..].iter().position(|byte| matches!(byte, b':' | b'='));
    let from = sign.map_or(at, |sign| at + sign + 1);
    let stop = |byte: &u8| matches!(byte, b'\n' | b',' | b'}' | b']');
    (from, bytes[from..].iter().position(stop).map_or(bytes.len(), |behind| from + behind))
}

/// The next place of such a byte; the same place where there is none behind it.
fn next(bytes: &[u8], at: usize, is: impl Fn(u8) -> bool) -> usize {
    bytes[at..].iter().position(|byte| is(*byte)).map_or(at, |behind| at + behind)
}

/// The run of such bytes around a place; empty where it is none.
fn run(bytes: &[u8], at: usize, is: impl Fn(u8) -> bool) -> (usize, usize) {
    let at = at.min(bytes.len());
    let from = bytes[..at].iter().rposition(|byte| !is(*byte)).map_or(0, |before| before + 1);
    let to = bytes[at..].iter().position(|byte| !is(*byte)).map_or(bytes.len(), |after| at + after);
    (from, to)
}

/// Files of a folder and those below it, in the order of their names.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let each = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    paths.into_iter().flat_map(each).collect()
}

/// FNV-1a, for names of files.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The values of a Rust source's string literals. Comments are passed over line by line.
fn literals(source: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let before = &rest[..at];
        let after = &rest[at + 1..];
        match rest.as_bytes()[at] {
            b'/' if after.starts_with('/') => {
                rest = after.split_once('\n').map_or("", |(_, next)| next);
            }
            // `'"'` and `'\''` are no strings; a lifetime is nothing at all.
            b'\'' if after.starts_with("\\'") || after.starts_with("\"'") => rest = &after[2..],
            b'"' => {
                let hashes = before.len() - before.trim_end_matches('#').len();
                let raw = before[..before.len() - hashes].ends_with('r');
                let end = format!("\"{}", "#".repeat(hashes));
                let (value, next) = if raw {
                    let (value, next) = after.split_once(&end).unwrap_or((after, ""));
                    (value.as_bytes().to_vec(), next)
                } else {
                    unescaped(after)
                };
                found.push(value);
                rest = next;
            }
            _ => rest = after,
        }
    }
    found.retain(|literal| !literal.is_empty());
    found
}

/// A literal's value, and what comes behind its closing quote.
fn unescaped(text: &str) -> (Vec<u8>, &str) {
    let mut value = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().map_or(' ', |(_, c)| c) {
                'n' => value.push(b'\n'),
                'r' => value.push(b'\r'),
                't' => value.push(b'\t'),
                '0' => value.push(0),
                'x' => {
                    let hex: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                    value.extend(u8::from_str_radix(&hex, 16));
                }
                // The line goes on behind the next one's indentation.
                '\n' => {
                    let next = chars.as_str().trim_start();
                    let skipped = chars.as_str().len() - next.len();
                    let end = chars.offset() + skipped;
                    while chars.offset() < end && chars.next().is_some() {}
                }
                other => value.extend(other.to_string().bytes()),
            },
            other => value.extend(other.to_string().bytes()),
        }
    }
    (value, "")
}

/// The harness itself.
mod tests {
    use super::{Corpus, literals};

    #[test]
    fn literals_are_found() {
        let source = "a(\"x\\n\\\n   y\") // \"no\"\n 'q'; '\"'; r#\"raw \"z\"\"#; b\"\\x41\"";
        let found = literals(source);
        assert_eq!(found, [&b"x\ny"[..], b"raw \"z\"", b"A"]);
    }

    #[test]
    fn a_seed_is_its_input() {
        let inputs = vec![b"one: 1\ntwo: {}\n".to_vec(), b"three".to_vec()];
        let corpus = Corpus { inputs, tokens: vec![b"four".to_vec()] };
        let of = |seeds: std::ops::Range<u64>| seeds.map(|s| corpus.mutated(s)).collect::<Vec<_>>();
        assert_eq!(of(0..500), of(0..500));
        let mut different = of(0..500);
        different.sort();
        different.dedup();
        assert!(different.len() > 300, "{} of 500", different.len());
    }
}
