//! Files, marked blocks in files, and paths that are to be gone.

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind};
use crate::secret;

/// A file that has a content, a mode and an owner, a symbolic link, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// What is there.
    pub state: FileState,
}

/// What is to be at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// A regular file.
    Present {
        /// Its bytes.
        content: Content,
        /// Permission bits, as 0o644.
        mode: u32,
        /// `uid:gid`; root, unless it is someone's file that is put back.
        #[serde(default, skip_serializing_if = "is_root")]
        owner: (u32, u32),
    },
    /// A symbolic link that is put back.
    Link {
        /// What it leads to.
        target: String,
    },
    /// Nothing.
    Absent,
}

const ROOT: (u32, u32) = (0, 0);

fn is_root(owner: &(u32, u32)) -> bool {
    *owner == ROOT
}

/// Where a file's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// This text.
    Text(String),
    /// A file that is brought to the host or downloaded there.
    Artifact(Artifact),
    /// A blob that the host's journal kept, by SHA-256.
    Blob(String),
}

/// A file that is brought to the host or downloaded there, by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Artifact {
    /// Lower-case hex.
    pub sha256: String,
    /// Bytes; 0 where it is not known before it is downloaded.
    pub size: u64,
    /// Its file name, for people.
    pub name: String,
    /// Where the host downloads it; `None`: the operator's machine sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Artifact {
    /// Lines of details.
    pub fn describe(&self) -> Vec<String> {
        let size = match self.size {
            0 => String::new(),
            size => format!("{size} bytes, "),
        };
        let line = format!("{}, {size}sha256 {}", self.name, self.sha256);
        let from = self.url.as_ref().map(|url| format!("from {url}"));
        [line].into_iter().chain(from).collect()
    }
}

/// What is at a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSeen {
    /// SHA-256 of its bytes; `None` where there is no file.
    pub sha256: Option<String>,
    /// Permission bits.
    pub mode: u32,
    /// `uid:gid`.
    pub owner: (u32, u32),
    /// Its text, if it is UTF-8 and not larger than 256 KiB.
    pub text: Option<String>,
    /// Something else than a regular file is there: `directory`, `symlink to …`.
    pub other: Option<String>,
}

impl File {
    /// A text file.
    pub fn text(path: impl Into<String>, mode: u32, text: impl Into<String>) -> Self {
        File {
            path: path.into(),
            state: FileState::Present { content: Content::Text(text.into()), mode, owner: ROOT },
        }
    }

    /// A program.
    pub fn program(path: impl Into<String>, artifact: Artifact) -> Self {
        File {
            path: path.into(),
            state: FileState::Present {
                content: Content::Artifact(artifact),
                mode: 0o755,
                owner: ROOT,
            },
        }
    }

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &FileSeen) -> Option<Change> {
        let basis = seen.basis();
        let (content, mode, owner) = match &self.state {
            FileState::Absent if seen.sha256.is_none() && seen.other.is_none() => return None,
            FileState::Absent => {
                return Some(
                    Change::new(ChangeKind::Delete, format!("remove {}", self.path))
                        .from_basis(basis),
                );
            }
            FileState::Link { target } if seen.link() == Some(target) => return None,
            FileState::Link { target } => {
                let summary = format!("link {} to {target}", self.path);
                return Some(Change::new(ChangeKind::Update, summary).from_basis(basis));
            }
            FileState::Present { content, mode, owner } => (content, *mode, *owner),
        };
        let wanted = content.sha256();
        let same_bytes = seen.sha256.as_deref() == Some(&wanted);
        if same_bytes && seen.mode == mode && seen.owner == owner {
            return None;
        }
        let mut details = Vec::new();
        if let Some(other) = &seen.other {
            details.push(format!("replaces a {other}"));
        }
        if seen.sha256.is_some() && seen.mode != mode {
            details.push(format!("mode {:04o} -> {mode:04o}", seen.mode));
        }
        if seen.sha256.is_some() && seen.owner != owner {
            let (was, is) = (seen.owner, owner);
            details.push(format!("owner {}:{} -> {}:{}", was.0, was.1, is.0, is.1));
        }
        if !same_bytes {
            details.extend(content.describe(seen));
        }
        let (kind, verb) = match seen.sha256 {
            Some(_) => (ChangeKind::Update, "change"),
            None => (ChangeKind::Create, "write"),
        };
        Some(
            Change::new(kind, format!("{verb} {} (mode {mode:04o})", self.path))
                .with_details(details)
                .from_basis(basis),
        )
    }
}

impl FileSeen {
    /// Where a symbolic link leads that is there.
    pub fn link(&self) -> Option<&str> {
        self.other.as_deref()?.strip_prefix("symlink to ")
    }

    /// Fingerprint of this state.
    pub fn basis(&self) -> String {
        match (&self.sha256, &self.other) {
            (Some(sha256), _) => {
                format!("{sha256} {:o} {}:{}", self.mode, self.owner.0, self.owner.1)
            }
            (None, Some(other)) => other.clone(),
            (None, None) => "absent".into(),
        }
    }
}

impl Content {
    /// SHA-256 of the bytes, lower-case hex.
    pub fn sha256(&self) -> String {
        match self {
            Content::Text(text) => crate::sha256_hex(text.as_bytes()),
            Content::Artifact(artifact) => artifact.sha256.clone(),
            Content::Blob(sha256) => sha256.clone(),
        }
    }

    fn describe(&self, seen: &FileSeen) -> Vec<String> {
        match self {
            Content::Text(text) => unified_diff(seen.text.as_deref().unwrap_or_default(), text),
            Content::Artifact(artifact) => artifact.describe(),
            Content::Blob(sha256) => vec![format!("the first content, sha256 {sha256}")],
        }
    }
}

/// A marked block of lines in a file that others write to as well, as /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Absolute path.
    pub path: String,
    /// Lines between the markers; none: no block.
    pub lines: Vec<String>,
}

/// The file around a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSeen {
    /// The file's whole text; `None` where there is no file.
    pub text: Option<String>,
}

impl Block {
    /// First line of a block.
    pub const BEGIN: &'static str = "# BEGIN kubewan (this block is kubewan's)";
    /// Last line of a block.
    pub const END: &'static str = "# END kubewan";

    /// The file's text with the block as it should be: everything outside the markers is kept to the byte;
    /// a block that is new goes to the end, one that stands there several times stays where it is first.
    pub fn render(&self, text: &str) -> String {
        let block: String = if self.lines.is_empty() {
            String::new()
        } else {
            let lines: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
            format!("{}\n{lines}{}\n", Self::BEGIN, Self::END)
        };
        let others = Self::others(text);
        if let [before, after @ ..] = others.as_slice()
            && !after.is_empty()
        {
            return format!("{before}{block}{}", after.concat());
        }
        let gap =
            if text.is_empty() || text.ends_with('\n') || block.is_empty() { "" } else { "\n" };
        format!("{text}{gap}{block}")
    }

    /// What stands before, between and after our blocks. A first line whose last one someone took away begins no
    /// block, for nobody knows where it would have ended: only the line itself is ours, and so is a last line alone.
    fn others(text: &str) -> Vec<&str> {
        let (mut others, mut from, mut at) = (Vec::new(), 0, 0);
        let mut begun: Option<std::ops::Range<usize>> = None;
        for line in text.split_inclusive('\n') {
            let here = at..at + line.len();
            at = here.end;
            match line.trim_end() {
                Self::BEGIN => {
                    if let Some(torn) = begun.replace(here) {
                        others.push(&text[from..torn.start]);
                        from = torn.end;
                    }
                }
                Self::END => {
                    others.push(&text[from..begun.take().unwrap_or(here).start]);
                    from = at;
                }
                _ => {}
            }
        }
        if let Some(torn) = begun {
            others.push(&text[from..torn.start]);
            from = torn.end;
        }
        others.push(&text[from..]);
        others
    }

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &BlockSeen) -> Option<Change> {
        let old = seen.text.as_deref().unwrap_or_default();
        let new = self.render(old);
        (old != new).then(|| {
            let basis = crate::sha256_hex(old.as_bytes());
            let (kind, verb) = match (self.lines.is_empty(), Self::others(old).len() > 1) {
                (true, _) => (ChangeKind::Delete, "remove kubewan's block from"),
                (false, true) => (ChangeKind::Update, "change kubewan's block in"),
                (false, false) => (ChangeKind::Create, "add kubewan's block to"),
            };
            Change::new(kind, format!("{verb} {}", self.path))
                .with_details(unified_diff(old, &new))
                .from_basis(basis)
        })
    }
}

/// What is to be gone at a path. Used to take back what programs made on our behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Absolute path.
    pub path: String,
    /// How much of it.
    #[serde(default)]
    pub extent: Extent,
}

/// How much of a path is to be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// It, with all below it.
    #[default]
    Whole,
    /// All below it: the folder itself was there before us.
    Contents,
    /// It, if it is a folder without entries or a file without bytes.
    IfEmpty,
}

/// Whether something is at a path that has to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedSeen {
    /// Something is there.
    pub exists: bool,
    /// What of someone's would go with it, as far as that is known: the names of Docker's volumes in its folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
}

impl Removed {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &RemovedSeen) -> Option<Change> {
        seen.exists.then(|| {
            let summary = match self.extent {
                Extent::Whole => format!("remove {} and all below it", self.path),
                Extent::Contents => format!("empty {}", self.path),
                Extent::IfEmpty => format!("remove {}, which is empty", self.path),
            };
            Change::new(ChangeKind::Delete, summary)
        })
    }

    /// The path, told apart by the extent: a folder may have to be emptied, and later to go.
    pub fn subject(&self) -> String {
        match self.extent {
            Extent::Whole => self.path.clone(),
            Extent::Contents => format!("{}/*", self.path),
            Extent::IfEmpty => format!("{} if empty", self.path),
        }
    }
}

/// Lines of a unified diff without its header. Its lines may be someone's, and hold what nobody else is to see.
pub fn unified_diff(old: &str, new: &str) -> Vec<String> {
    similar::TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(2)
        .to_string()
        .lines()
        .map(masked)
        .collect()
}

/// Hides the value of a line that by its name carries a secret: `password = "…"`, `token: …`; or that has an address with a login.
fn masked(line: &str) -> String {
    let Some(at) = line.find(['=', ':']) else { return line.to_owned() };
    let name = line[..at].trim_end_matches([' ', '"', '\'', '\t']);
    // Several keys may stand on one line of JSON.
    let mut keys = line[at..].split([',', '{']).filter_map(|part| Some(part.split_once("\":")?.0));
    let hides =
        secret::may_be_in(name) || keys.any(secret::may_be_in) || secret::is_in_address(line);
    if hides { format!("{} (hidden)", &line[..=at]) } else { line.to_owned() }
}

/// A text as it may be shown: of a file with lines of someone's.
pub fn shown(text: &str) -> String {
    text.lines().map(|line| masked(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str =
        "# BEGIN kubewan (this block is kubewan's)\n198.51.100.10 a\n# END kubewan\n";

    fn rendered(text: &str) -> String {
        let goal = Block { path: "/etc/hosts".into(), lines: vec!["198.51.100.10 a".into()] };
        let written = goal.render(text);
        assert_eq!(goal.diff(&BlockSeen { text: Some(written.clone()) }), None);
        written
    }

    #[test]
    fn a_block_whose_end_is_gone_takes_nothing_with_it() {
        let none = Block { path: "/etc/hosts".into(), lines: Vec::new() };
        let (begin, end) = (Block::BEGIN, Block::END);
        for torn in [
            format!("localhost\n{begin}\ntheirs\n"),
            format!("localhost\n{begin}\n{BLOCK}theirs\n{end}\n"),
            format!("localhost\n{end}\ntheirs\n"),
        ] {
            let written = rendered(&torn);
            assert_eq!(written, format!("localhost\n{BLOCK}theirs\n"), "{torn}");
            assert_eq!(none.render(&written), "localhost\ntheirs\n", "{torn}");
        }
    }

    #[test]
    fn a_block_that_was_copied_comes_once() {
        assert_eq!(rendered(&format!("a\n{BLOCK}b\n{BLOCK}c\n")), format!("a\n{BLOCK}b\nc\n"));
    }

    #[test]
    fn secrets_of_others_are_not_shown_where_they_are_taken_out() {
        let old = "username = \"me\"\n  password = \"hunter2\"\nidentitytoken=hunter2\n\"auth\": \"hunter2\"\n";
        let lines = unified_diff(old, "ours\n");
        assert_eq!(
            lines[1..],
            [
                "-username = \"me\"",
                "-  password = (hidden)",
                "-identitytoken= (hidden)",
                "-\"auth\": (hidden)",
                "+ours"
            ]
        );
    }

    #[test]
    fn markers_are_whole_lines() {
        let text = format!("# not {}\nx\n{} either\n", Block::BEGIN, Block::END);
        assert_eq!(rendered(&text), format!("{text}{BLOCK}"));
    }

    #[test]
    fn someones_secrets_are_hidden_wherever_they_stand_in_a_line() {
        let one = "{\"log-opts\": {\"splunk-token\": \"s3same\"}, \"debug\": true}\n";
        let two = "{\n    \"https-proxy\": \"http://me:s3same@proxy.example:3128\",\n    \"password\": \"s3same\"\n}\n";
        for (old, new) in [(one, two), (two, one), ("", one), (two, &format!("{two}\n"))] {
            let told = unified_diff(old, new).join("\n");
            assert!(!told.contains("s3same") && told.contains("(hidden)"), "{told}");
        }
        assert!(!shown(&format!("{one}{two}")).contains("s3same"));
        let plain = "ExecStart=/usr/bin/a --x=y\n[plugins.\"io.containerd\"]\nserver = \"https://mirror.example\"\n";
        assert_eq!(shown(plain), plain);
    }
}
