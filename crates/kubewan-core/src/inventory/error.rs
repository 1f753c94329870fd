//! What is wrong with an inventory: every error with its code, place, the line itself and what to write
//! instead. [`InventoryErrors`] prints as the command line shows it.

use std::fmt;

use serde::Serialize;

/// Everything that is wrong with one inventory, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InventoryErrors {
    /// The file as the user named it.
    pub file: String,
    /// At least one.
    pub errors: Vec<InventoryError>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryError {
    /// Which rule is broken.
    pub code: Code,
    /// Where in the inventory, as `hosts[1].address`; empty: the file as a whole.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// The line itself; empty where the file has none.
    pub source_line: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A place in the inventory's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters on that line.
    pub width: usize,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Which rule an inventory breaks. The names are stable: scripts may match them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// Every code, in the order of the reference.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// Its stable name.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// The file says nothing.
    EmptyFile => "empty-file",
    /// The file is larger than an inventory can be.
    TooLarge => "too-large",
    /// The file is not UTF-8.
    NotUtf8 => "not-utf8",
    /// The file is not YAML.
    Syntax => "syntax",
    /// The file holds more than one YAML document.
    SeveralDocuments => "several-documents",
    /// A YAML tag; kubewan reads none.
    Tag => "tag",
    /// An alias without an anchor before it, or inside its own anchor.
    UnknownAlias => "unknown-alias",
    /// Aliases that grow the file beyond all use.
    AliasBomb => "alias-bomb",
    /// A key given twice in one mapping.
    DuplicateKey => "duplicate-key",
    /// A key that kubewan does not know.
    UnknownKey => "unknown-key",
    /// A key that must be given.
    MissingKey => "missing-key",
    /// A value of another kind than the key takes.
    WrongType => "wrong-type",
    /// A value that is none of those that the key takes.
    UnknownValue => "unknown-value",
    /// A number beyond what the key takes.
    OutOfRange => "out-of-range",
    /// A value that cannot be handed on: not a number, a number too large, a null in TOML.
    Unrepresentable => "unrepresentable",
    /// A name that DNS does not allow.
    BadName => "bad-name",
    /// Neither an IPv4 address nor a DNS name.
    BadAddress => "bad-address",
    /// An address that no other host can reach.
    UnusableAddress => "unusable-address",
    /// Something that ssh cannot be given.
    BadSsh => "bad-ssh",
    /// A value that is not of the form its key needs.
    BadValue => "bad-value",
    /// A version that is not MAJOR.MINOR.PATCH.
    BadVersion => "bad-version",
    /// A version that kubewan does not know.
    UnknownVersion => "unknown-version",
    /// A subnet that is none, or does not start at its own boundary.
    BadSubnet => "bad-subnet",
    /// A subnet too small or too large for its use.
    SubnetSize => "subnet-size",
    /// Subnets or addresses that overlap.
    SubnetOverlap => "subnet-overlap",
    /// Two hosts of one name.
    DuplicateHost => "duplicate-host",
    /// Two hosts of one address.
    DuplicateAddress => "duplicate-address",
    /// Two hosts with one SSH host key.
    DuplicateHostKey => "duplicate-host-key",
    /// No hosts.
    NoHosts => "no-hosts",
    /// A host without a role.
    NoRoles => "no-roles",
    /// A role, label, taint or acceptance given twice.
    Duplicate => "duplicate",
    /// No host has the role control-plane.
    NoControlPlane => "no-control-plane",
    /// An even number of control planes: etcd's voters.
    EtcdVoters => "etcd-voters",
    /// More control planes than etcd has use for.
    TooManyControlPlanes => "too-many-control-planes",
    /// A version whose kubeadm takes further control planes in as voters at once, or not a second time.
    OldForControlPlanes => "old-for-control-planes",
    /// A label that Kubernetes does not allow.
    BadLabel => "bad-label",
    /// A taint that Kubernetes does not allow.
    BadTaint => "bad-taint",
    /// A setting that kubewan decides itself.
    ReservedSetting => "reserved-setting",
    /// An argument that this version's kubelet does not know.
    UnknownArgument => "unknown-argument",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How many errors are printed before the rest is only counted.
const MOST_PRINTED: usize = 100;

impl fmt::Display for InventoryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in self.errors.iter().take(MOST_PRINTED) {
            error.print(f, &self.file)?;
        }
        let count = self.errors.len();
        let errors = if count == 1 { "error" } else { "errors" };
        let hidden = count.saturating_sub(MOST_PRINTED);
        let rest = if hidden > 0 { format!(" ({hidden} not shown)") } else { String::new() };
        write!(f, "{}: {count} {errors}{rest}; nothing was touched", self.file)
    }
}

impl std::error::Error for InventoryErrors {}

impl InventoryError {
    fn print(&self, f: &mut fmt::Formatter<'_>, file: &str) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len() + 1);
        writeln!(f, "error[{}]: {}", self.code, self.message)?;
        writeln!(f, "{gutter}--> {file}:{}:{}", self.line, self.column)?;
        if !self.source_line.is_empty() {
            let (line, start) = excerpt(&self.source_line, self.column);
            let room = line.chars().count().saturating_sub(start).max(1);
            let marker = "^".repeat(self.width.clamp(1, room));
            writeln!(f, "{gutter} |")?;
            writeln!(f, " {number} | {line}")?;
            writeln!(f, "{gutter} | {}{marker}", " ".repeat(start))?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "{gutter} = help: {help}")?;
        }
        writeln!(f)
    }
}

/// The part of a line around a column that fits a terminal, and how many characters stand before the
/// column in it. Control characters are replaced: the file may not steer the terminal.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const BEFORE: usize = 60;
    const MOST: usize = 120;
    let at = column.saturating_sub(1);
    let length = line.chars().count();
    let first = if length > MOST { at.saturating_sub(BEFORE) } else { 0 };
    let mut shown: String = line.chars().skip(first).take(MOST).map(printable).collect();
    let mut start = at - first;
    if first > 0 {
        shown.insert_str(0, "… ");
        start += 2;
    }
    if length > first + MOST {
        shown.push_str(" …");
    }
    (shown, start)
}

/// A character that a terminal shows in one cell and does not obey.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        // Control characters, and those that reorder or hide text (Unicode UAX #9).
        c if c.is_control() => '\u{fffd}',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{feff}' => '\u{fffd}',
        c => c,
    }
}

/// The user's text inside a message: one line, short, between back quotes.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text.chars().take(MOST).map(printable).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Collects errors while a file is read.
pub(super) struct Report<'a> {
    lines: Vec<&'a str>,
    errors: Vec<(Span, InventoryError)>,
}

impl<'a> Report<'a> {
    pub fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Report { lines: text.lines().collect(), errors: Vec::new() }
    }

    /// Notes an error. No help: `""`.
    pub fn push(&mut self, code: Code, at: Span, path: &str, message: String, help: &str) {
        let line = at.line.clamp(1, self.lines.len().max(1));
        let source_line = self.lines.get(line - 1).copied().unwrap_or_default().to_owned();
        let column = at.column.clamp(1, source_line.chars().count() + 1);
        // Keys and values of the file stand in all of these.
        let plain = |text: &str| text.chars().map(printable).collect::<String>();
        let error = InventoryError {
            code,
            path: plain(path),
            line,
            column,
            width: at.width.max(1),
            source_line,
            message: plain(&message),
            help: (!help.is_empty()).then(|| plain(help)),
        };
        self.errors.push((at, error));
    }

    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// All errors by line and column; those of one place in the order they were found.
    pub fn finish(mut self, file: &str) -> InventoryErrors {
        self.errors.sort_by_key(|(span, _)| (span.line, span.column));
        InventoryErrors {
            file: file.to_owned(),
            errors: self.errors.into_iter().map(|(_, error)| error).collect(),
        }
    }
}
