//! YAML text as a tree in which every key and value knows its place. Types come later
//! ([`super::shape`]): here only what YAML itself says, so that one reading finds all errors.
//!
//! Scalars follow the core schema of YAML 1.2.2 (§10.3.2): `no` is text, `1.10` is a number.

use std::collections::BTreeMap;

use serde_json::Number;
use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, StrInput};

use super::error::{Code, Report, Span, quoted};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub span: Span,
    pub value: Value,
}

/// What YAML says a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// With the number as it was written, for messages.
    Number(Number, String),
    /// A number that JSON cannot carry or that YAML versions read differently.
    Unrepresentable(String),
    Text(String),
    /// Something that has been reported and is checked no further.
    Reported,
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    /// The value of a mapping's key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A mapping's key with its value.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a mapping; of anything else none.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; of anything else none.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Its text, where it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        self.value == Value::Bool(true)
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null | Value::Reported => "an empty value",
            Value::Bool(_) => "a boolean",
            Value::Number(..) | Value::Unrepresentable(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// As JSON. Numbers that JSON cannot carry have been reported before and become null.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null | Value::Reported | Value::Unrepresentable(_) => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number, _) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
            ),
        }
    }
}

/// How deep mappings and lists may nest. The deepest setting of Kubernetes needs ten.
const DEEPEST: usize = 64;

/// How many nodes aliases may add. An inventory of a hundred hosts that share their settings adds a few
/// hundred; the bomb that this stops adds billions.
const MOST_ALIASED: usize = 10_000;

/// Reads one YAML document. `None`: the report says why, or that the file says nothing.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Option<Node> {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { source: text, parser, report, anchors: BTreeMap::new(), aliased: 0 };
    reader.document().ok()
}

/// The report holds a reason to read no further.
struct Stop;

struct Reader<'a, 'r, 's> {
    source: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    report: &'r mut Report<'s>,
    /// Finished anchors with their number of nodes.
    anchors: BTreeMap<usize, (Node, usize)>,
    aliased: usize,
}

impl<'a> Reader<'a, '_, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd => return self.says_nothing(),
                event => {
                    let node = self.node(event, span)?.0;
                    self.end_of_stream()?;
                    if node.value == Value::Null {
                        return self.says_nothing();
                    }
                    return Ok(node);
                }
            }
        }
    }

    fn says_nothing(&mut self) -> Result<Node, Stop> {
        let at = Span { line: 1, column: 1, width: 1 };
        let help = "a cluster needs `name`, `kubernetes.version` and `hosts`; \
                    `kubewan schema` describes every key";
        self.report.push(Code::EmptyFile, at, "", "the inventory is empty".into(), help);
        Err(Stop)
    }

    fn end_of_stream(&mut self) -> Result<(), Stop> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(..) => {
                    let at = self.place(span);
                    let message = "a second YAML document starts here".to_owned();
                    let help = "one file describes one cluster: give each its own file";
                    self.report.push(Code::SeveralDocuments, at, "", message, help);
                    return Err(Stop);
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, granit_parser::Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let mark = error.marker();
                let at = Span { line: mark.line(), column: mark.col() + 1, width: 1 };
                let message = match error.kind() {
                    granit_parser::ErrorKind::RecursionLimitExceeded => {
                        format!("mappings and lists nest deeper than {DEEPEST}")
                    }
                    _ => format!("not YAML: {}", error.info()),
                };
                self.report.push(Code::Syntax, at, "", message, syntax_help(error.kind()));
                Err(Stop)
            }
            None => Err(Stop),
        }
    }

    /// The node that starts with this event, and how many nodes it holds.
    fn node(&mut self, event: Event<'a>, span: granit_parser::Span) -> Result<(Node, usize), Stop> {
        let at = self.place(span);
        if let Some(tag) = event.tag() {
            let message = format!("the tag {} is not read", quoted(&tag.original()));
            let help = "leave the tag out; put text between quotes";
            let tag_at = span.tag_span().map_or(at, |tag| self.place(tag));
            self.report.push(Code::Tag, tag_at, "", message, help);
        }
        let anchor = event.anchor_id();
        let (node, size) = match event {
            Event::Scalar(text, style, ..) => (scalar(&text, style, at), 1),
            Event::SequenceStart(..) => self.list(at)?,
            Event::MappingStart(..) => self.map(at)?,
            Event::Alias(id) => return self.alias(id, at),
            _ => {
                let message = "no anchor of this name stands before this alias".to_owned();
                let help = "an alias `*name` repeats what an earlier `&name` marks; \
                            put text that starts with `*` between quotes";
                self.report.push(Code::UnknownAlias, at, "", message, help);
                (Node { span: at, value: Value::Reported }, 1)
            }
        };
        if let Some(id) = anchor {
            self.anchors.insert(id, (node.clone(), size));
        }
        Ok((node, size))
    }

    fn alias(&mut self, id: usize, at: Span) -> Result<(Node, usize), Stop> {
        let Some((node, size)) = self.anchors.get(&id) else {
            let message = "this alias stands inside its own anchor".to_owned();
            self.report.push(Code::UnknownAlias, at, "", message, "");
            return Err(Stop);
        };
        self.aliased += size;
        if self.aliased > MOST_ALIASED {
            let message = format!("aliases grow the inventory by more than {MOST_ALIASED} values");
            let help = "write the values out, or share smaller parts";
            self.report.push(Code::AliasBomb, at, "", message, help);
            return Err(Stop);
        }
        Ok((node.clone(), *size))
    }

    fn list(&mut self, span: Span) -> Result<(Node, usize), Stop> {
        let mut items = Vec::new();
        let mut size = 1;
        loop {
            let (event, at) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok((Node { span, value: Value::List(items) }, size));
            }
            let (item, nodes) = self.node(event, at)?;
            size += nodes;
            items.push(item);
        }
    }

    fn map(&mut self, span: Span) -> Result<(Node, usize), Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut size = 1;
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((Node { span, value: Value::Map(entries) }, size));
            }
            let (key, key_nodes) = self.node(event, at)?;
            let (event, at) = self.next()?;
            let (value, nodes) = self.node(event, at)?;
            size += key_nodes + nodes;
            let Some(name) = self.key(&key) else { continue };
            match seen.get(&name) {
                Some(line) => {
                    let message = format!("{} is given twice, first on line {line}", quoted(&name));
                    let help = "YAML readers keep one of the two without a word: remove one";
                    self.report.push(Code::DuplicateKey, key.span, &name, message, help);
                }
                None => {
                    seen.insert(name.clone(), key.span.line);
                    entries.push(Entry { key: name, key_span: key.span, value });
                }
            }
        }
    }

    /// A mapping's key as text.
    fn key(&mut self, key: &Node) -> Option<String> {
        match &key.value {
            Value::Text(text) => return Some(text.clone()),
            Value::Reported => {}
            Value::Null => {
                let message = "a key is missing before the colon".to_owned();
                self.report.push(Code::WrongType, key.span, "", message, "");
            }
            Value::Number(_, raw) | Value::Unrepresentable(raw) => {
                let message = format!("a key must be a string, {} is a number", quoted(raw));
                let help = format!("put it between quotes: \"{raw}\"");
                self.report.push(Code::WrongType, key.span, "", message, &help);
            }
            Value::Bool(value) => {
                let message = format!("a key must be a string, `{value}` is a boolean");
                let help = format!("put it between quotes: \"{value}\"");
                self.report.push(Code::WrongType, key.span, "", message, &help);
            }
            Value::List(_) | Value::Map(_) => {
                let message = format!("a key must be a string, this is {}", key.kind());
                let help = "put text that starts with `{` or `[` between quotes";
                self.report.push(Code::WrongType, key.span, "", message, help);
            }
        }
        None
    }

    /// Where a node stands; the width ends with its first line.
    fn place(&self, span: granit_parser::Span) -> Span {
        let width = span
            .slice(self.source)
            .map_or(0, |text| text.lines().next().unwrap_or_default().trim_end().chars().count());
        Span { line: span.start.line(), column: span.start.col() + 1, width }
    }
}

fn syntax_help(kind: &granit_parser::ErrorKind) -> &'static str {
    use granit_parser::ErrorKind as Kind;
    match kind {
        Kind::MappingValueNotAllowed => {
            "a value that holds `: ` goes between quotes; keys of one mapping start in one column"
        }
        Kind::UnclosedQuotedScalar => "the quote that opens here, or before, is never closed",
        Kind::TabInIndentation => "indent with spaces",
        kind if kind.to_string().contains("did not find expected ','") => {
            "a `{` or `[` before this place is not closed, or a comma is missing"
        }
        kind if kind.to_string().contains("tab") => "indent with spaces",
        _ => "",
    }
}

fn scalar(text: &str, style: ScalarStyle, span: Span) -> Node {
    // The parser gives a value that is not there as `~` without width.
    let absent = span.width == 0 && style == ScalarStyle::Plain;
    let value = match style {
        _ if absent => Value::Null,
        ScalarStyle::Plain => plain(text),
        _ => Value::Text(text.to_owned()),
    };
    Node { span, value }
}

/// What a plain scalar is: YAML 1.2.2 §10.3.2, "Core Schema tag resolution".
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Unrepresentable(text.to_owned()),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Unrepresentable(text.to_owned());
    }
    let radix = |prefix: &str, radix: u32| {
        let digits = text.strip_prefix(prefix)?;
        let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        all.then(|| u64::from_str_radix(digits, radix).ok().map(Number::from))
    };
    if let Some(number) = radix("0o", 8).or_else(|| radix("0x", 16)) {
        return number_or_not(number, text);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Value::Text(text.to_owned());
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        // `0644` is octal in YAML 1.1, which Kubernetes' own readers use, and decimal in YAML 1.2.
        let octal = unsigned.len() > 1 && unsigned.starts_with('0');
        let integer = || {
            let text = text.strip_prefix('+').unwrap_or(text);
            text.parse::<u64>().map(Number::from).or_else(|_| text.parse::<i64>().map(Number::from))
        };
        return number_or_not(if octal { None } else { integer().ok() }, text);
    }
    if is_float(unsigned) {
        return number_or_not(text.parse().ok().and_then(Number::from_f64), text);
    }
    Value::Text(text.to_owned())
}

fn number_or_not(number: Option<Number>, text: &str) -> Value {
    match number {
        Some(number) => Value::Number(number, text.to_owned()),
        None => Value::Unrepresentable(text.to_owned()),
    }
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_is_one = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_is_one
        && digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
}
