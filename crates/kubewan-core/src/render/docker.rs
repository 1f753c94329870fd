//! Docker's `daemon.json`: what a host has there already, and in it what Kubernetes needs. Nothing of the operator's is
//! taken out but another cgroup driver.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::merge;
use crate::inventory::Settings;
use crate::secret;

/// Docker's configuration.
pub const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// The storage driver that Kubernetes' guides take, and Docker itself where a kernel has overlay file systems.
pub const STORAGE_DRIVER: &str = "overlay2";
/// The cgroup driver that the kubelet uses too.
pub const CGROUP_DRIVER: &str = "systemd";
/// How large a container's log grows before Docker begins another one, where nobody says otherwise: Docker's own default is
/// without end (docs.docker.com, "JSON File logging driver"), and a full disk ends a node.
const LOG_SIZE: &str = "100m";
/// The only log driver that the kubelet reads (`createContainerLogSymlink` in core/container_create.go of
/// Mirantis/cri-dockerd, and dockershim's of that name before).
pub const LOG_DRIVER: &str = "json-file";

const CGROUP_OPTION: &str = "native.cgroupdriver=";
/// Key of the servers that answer for docker.io.
pub const MIRRORS: &str = "registry-mirrors";
/// Key of the registries whose certificates nobody checks.
pub const INSECURE: &str = "insecure-registries";
/// Lists that are added to, not replaced: who wrote one of them still needs it.
const ADDED_TO: [&str; 2] = [MIRRORS, INSECURE];
/// Slips that are looked for in one file.
const SLIPS_MAX: usize = 16;
/// Characters of a line that are shown.
const SHOWN_MAX: usize = 100;

/// What decides the file beside what stands there.
#[derive(Clone, Debug)]
pub struct Daemon<'a> {
    /// Servers that answer for docker.io.
    pub mirrors: Vec<String>,
    /// Registries whose certificates nobody is to check.
    pub insecure: Vec<String>,
    /// The storage driver, where nobody says one; `None`: Docker's images lie with another one already.
    pub storage_driver: Option<&'a str>,
    /// The inventory's own settings.
    pub extra: &'a Settings,
    /// What kubewan has added to lists before, by their keys: what of it is no longer wanted goes.
    pub added: &'a BTreeMap<String, BTreeSet<String>>,
}

/// A `daemon.json` that nothing can be merged into: what is wrong in it, a line for each slip.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Unreadable(pub Vec<String>);

/// The whole file: what is there, to the byte where it says everything already.
///
/// # Errors
/// Says at which line and column `there` is no JSON object, or what in it Docker would not read either.
pub fn merged(there: Option<&str>, of: &Daemon) -> Result<String, Unreadable> {
    let text = there.unwrap_or_default();
    let old = read(text)?;
    let mut new = old.clone();
    let lists: Vec<(&str, Vec<Value>)> =
        ADDED_TO.iter().map(|key| (*key, list(&old, key))).collect();
    merge(&mut new, of.extra);
    for (key, old) in lists {
        let ours = if key == MIRRORS { &of.mirrors } else { &of.insecure };
        let was_empty = old.is_empty();
        let named = list(of.extra, key).into_iter().chain(ours.iter().map(|one| json!(one)));
        let wanted: Vec<Value> = union(named);
        let is_ours = |one: &Value| {
            of.added.get(key).zip(one.as_str()).is_some_and(|(ours, one)| ours.contains(one))
        };
        let stays = old.into_iter().filter(|one| wanted.contains(one) || !is_ours(one));
        let all = union(stays.chain(wanted.clone()));
        match all.is_empty() {
            // An empty list of someone's stays as it is.
            true if was_empty => None,
            true => new.remove(key),
            false => new.insert(key.into(), Value::Array(all)),
        };
    }
    exec_opts(&mut new);
    logs(&mut new);
    if let Some(driver) = of.storage_driver {
        new.entry("storage-driver").or_insert_with(|| json!(driver));
    }
    if new == old && there.is_some() {
        return Ok(text.to_owned());
    }
    let text = serde_json::to_string_pretty(&new)
        .unwrap_or_else(|e| unreachable!("a JSON map is written: {e}"));
    Ok(text + "\n")
}

/// The texts of a list in a file that may not be readable.
pub fn texts(text: &str, key: &str) -> Vec<String> {
    let all = read(text).map(|config| list(&config, key)).unwrap_or_default();
    all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// What of those lists a text has and the one before it had not, by their keys.
pub fn added(before: &str, after: &str) -> BTreeMap<String, BTreeSet<String>> {
    let of = |key: &str| {
        let old = texts(before, key);
        let new = texts(after, key).into_iter().filter(|one| !old.contains(one)).collect();
        (key.to_owned(), new)
    };
    let all = ADDED_TO.into_iter().map(of);
    all.filter(|(_, new): &(String, BTreeSet<String>)| !new.is_empty()).collect()
}

/// Text of a setting in a file that may not be readable.
pub fn setting(text: &str, key: &str) -> Option<String> {
    read(text).ok()?.get(key)?.as_str().map(str::to_owned)
}

/// systemd's cgroup driver in place of another one; other options stay.
fn exec_opts(config: &mut Map<String, Value>) {
    let mut options = list(config, "exec-opts");
    let is_driver = |option: &Value| {
        option.as_str().is_some_and(|option| option.trim().starts_with(CGROUP_OPTION))
    };
    let ours = json!(format!("{CGROUP_OPTION}{CGROUP_DRIVER}"));
    match options.iter().position(is_driver) {
        Some(at) => {
            options[at] = ours.clone();
            options.retain(|option| !is_driver(option) || *option == ours);
        }
        None => options.push(ours),
    }
    config.insert("exec-opts".into(), Value::Array(union(options.into_iter())));
}

/// json-file with an end to its files, where nobody says otherwise. What another driver's options mean only its user knows.
fn logs(config: &mut Map<String, Value>) {
    let driver = config.entry("log-driver").or_insert_with(|| json!(LOG_DRIVER));
    if driver != LOG_DRIVER {
        return;
    }
    let options = config.entry("log-opts").or_insert_with(|| json!({}));
    if let Some(options) = options.as_object_mut() {
        options.entry("max-size").or_insert_with(|| json!(LOG_SIZE));
    }
}

fn list(config: &Map<String, Value>, key: &str) -> Vec<Value> {
    config.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn union(items: impl Iterator<Item = Value>) -> Vec<Value> {
    items.fold(Vec::new(), |mut all, item| {
        if !all.contains(&item) {
            all.push(item);
        }
        all
    })
}

/// The object in a text; none in an empty one.
fn read(text: &str) -> Result<Map<String, Value>, Unreadable> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let config = match serde_json::from_str(text) {
        Ok(Value::Object(config)) => config,
        Ok(_) => return Err(Unreadable(vec!["it is JSON, and no object `{ … }`".into()])),
        Err(error) => return Err(Unreadable(slips(text, &error))),
    };
    let wrong =
        |key: &&str, is: fn(&Value) -> bool| config.get(*key).is_some_and(|value| !is(value));
    let texts =
        |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    let lists = ["exec-opts", ADDED_TO[0], ADDED_TO[1]].into_iter();
    let lists =
        lists.filter(|key| wrong(key, texts)).map(|key| format!("`{key}` is no list of texts"));
    let words = ["log-driver", "storage-driver"].into_iter();
    let words =
        words.filter(|key| wrong(key, Value::is_string)).map(|key| format!("`{key}` is no text"));
    let object = ["log-opts"].into_iter().filter(|key| wrong(key, Value::is_object));
    let object = object.map(|key| format!("`{key}` is no object"));
    let all: Vec<String> = lists.chain(words).chain(object).collect();
    if all.is_empty() { Ok(config) } else { Err(Unreadable(all)) }
}

/// Every slip, as far as one can be told behind another: a comma that is missing and a comment are passed over to find the
/// next.
fn slips(text: &str, first: &serde_json::Error) -> Vec<String> {
    let mut bytes = text.as_bytes().to_vec();
    let mut found = Vec::new();
    let (mut line, mut column, mut said) = place(first);
    while found.len() < SLIPS_MAX {
        // In what was passed over too: a comma may have taken the place of a line's end.
        let at = offset(&bytes, line, column);
        let lacks_comma = said.starts_with("expected `,` or");
        let before = bytes[..at].iter().rposition(|byte| !byte.is_ascii_whitespace());
        match (bytes.get(at), before) {
            (Some(b'#' | b'/'), _) => {
                found.push(slip(text, at, "a comment, which JSON has not"));
                let end =
                    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n);
                bytes[at..end].fill(b' ');
            }
            (Some(_), Some(before)) if lacks_comma && before + 1 < at => {
                let what = format!("a comma is missing behind `{}`", char::from(bytes[before]));
                found.push(slip(text, before, &what));
                bytes[before + 1] = b',';
            }
            _ => {
                found.push(slip(text, at, &said));
                break;
            }
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(_) => break,
            Err(error) => (line, column, said) = place(&error),
        }
    }
    found
}

/// Line, column and words of an error.
fn place(error: &serde_json::Error) -> (usize, usize, String) {
    let text = error.to_string();
    let said = text.rsplit_once(" at line ").map_or(text.as_str(), |(said, _)| said);
    (error.line(), error.column(), said.to_owned())
}

/// Where a line and column, both from 1, lie in a text; its end at most.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let lines = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    let start: usize = lines.map(<[u8]>::len).sum();
    (start + column.saturating_sub(1)).min(text.len())
}

/// A slip with its place, and the line it stands in, unless that may hold a secret.
fn slip(text: &str, at: usize, what: &str) -> String {
    let bytes = &text.as_bytes()[..at];
    let start = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&bytes[start..]).chars().count() + 1;
    let whole = String::from_utf8_lossy(&text.as_bytes()[start..]);
    let whole = whole.lines().next().unwrap_or_default().trim();
    let may_hide = whole.contains('@')
        || whole.split(['"', '\'', ':', '=']).any(|word| secret::may_be_in(word.trim()));
    let short: String = whole.chars().take(SHOWN_MAX).collect();
    let shown = if may_hide || short.is_empty() { String::new() } else { format!(" (`{short}`)") };
    format!("line {line}, column {column}: {what}{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::object;

    static NONE: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();

    fn daemon(extra: &Settings) -> Daemon<'_> {
        Daemon {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            storage_driver: Some(STORAGE_DRIVER),
            extra,
            added: &NONE,
        }
    }

    /// As the recipe has it, comments and all, without its missing comma.
    const RECIPE: &str = r#"{
  "exec-opts": ["native.cgroupdriver=systemd"],
  "log-opts": {
    "max-size": "100m"
  },
  "log-driver": "json-file",
  "storage-driver": "overlay2",
  "insecure-registries": [ "https://192.0.2.9:5000" ] # private
  "registry-mirrors": ["https://192.0.2.9:5001"] # faster
}
"#;

    #[test]
    fn the_recipes_own_slips_are_named_with_their_places() {
        let none = Settings::new();
        let slips = merged(Some(RECIPE), &daemon(&none)).unwrap_err();
        insta::assert_snapshot!(slips.0.join("\n"));
        let plain = RECIPE.replace(" # private", "").replace(" # faster", "");
        let slips = merged(Some(&plain), &daemon(&none)).unwrap_err();
        assert_eq!(slips.0.len(), 1, "{slips}");
        assert!(
            slips.0[0].starts_with("line 8, column 53: a comma is missing behind `]`"),
            "{slips}"
        );
        let whole = plain.replace("5000\" ]", "5000\" ],");
        assert_eq!(merged(Some(&whole), &daemon(&none)).as_deref(), Ok(whole.as_str()));
    }

    #[test]
    fn other_slips_are_told_in_the_readers_words() {
        let none = Settings::new();
        let slips = |text: &str| merged(Some(text), &daemon(&none)).unwrap_err().to_string();
        assert_eq!(slips("{\n  \"debug\": true,\n}\n"), "line 3, column 1: trailing comma (`}`)");
        assert_eq!(
            slips("{\"debug\": tru"),
            "line 1, column 13: EOF while parsing a value (`{\"debug\": tru`)"
        );
        assert_eq!(slips("[]"), "it is JSON, and no object `{ … }`");
        assert_eq!(
            slips("{\"exec-opts\": \"x\", \"log-opts\": []}"),
            "`exec-opts` is no list of texts; `log-opts` is no object"
        );
        let two = slips("{\n  \"log-driver\": \"json-file\"\n  \"debug\": true,\n}\n");
        assert!(two.contains("line 2, column 27: a comma"), "{two}");
        assert!(two.contains("line 4, column 1: trailing"), "{two}");
        let secret = slips("{\n  \"proxies\": \"http://me:hunter2@192.0.2.1\"\n  \"debug\": 1\n}");
        assert!(secret.contains("line 2") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn what_the_operator_wrote_stays() {
        let none = Settings::new();
        let there = r#"{"data-root": "/data/docker", "exec-opts": ["native.umask=normal", "native.cgroupdriver=cgroupfs"],
            "log-opts": {"max-file": "3"}, "insecure-registries": ["192.0.2.9:5000"]}"#;
        let text = merged(Some(there), &daemon(&none)).unwrap();
        insta::assert_snapshot!(text);
        assert_eq!(merged(Some(&text), &daemon(&none)).as_deref(), Ok(text.as_str()), "rest");
        let own =
            r#"{"log-driver": "journald", "log-opts": {"tag": "x"}, "storage-driver": "btrfs"}"#;
        let text = merged(Some(own), &daemon(&none)).unwrap();
        assert!(text.contains("btrfs") && !text.contains("max-size"), "{text}");
    }

    #[test]
    fn lists_of_registries_are_added_to() {
        let extra = object(json!({
            "insecure-registries": ["192.0.2.8:5000", "192.0.2.9:5000"],
            "log-opts": { "max-size": "10m" },
        }));
        let of = Daemon { mirrors: vec!["https://hub.mirror.example".into()], ..daemon(&extra) };
        let there = r#"{"insecure-registries": ["192.0.2.9:5000"], "registry-mirrors": ["https://a.example"]}"#;
        insta::assert_snapshot!(merged(Some(there), &of).unwrap());
        insta::assert_snapshot!(merged(None, &of).unwrap());
        let other = Daemon { storage_driver: None, ..daemon(&extra) };
        assert!(!merged(None, &other).unwrap().contains("storage-driver"));
    }

    /// One mirror takes the place of another that kubewan added; a third is the operator's, and so is one that both name.
    #[test]
    fn what_was_added_goes_when_it_is_no_longer_wanted() {
        let none = Settings::new();
        let there = r#"{"registry-mirrors": ["https://own.example"]}"#;
        let with = |mirror: &str| Daemon { mirrors: vec![mirror.into()], ..daemon(&none) };
        let first = merged(Some(there), &with("https://a.example")).unwrap();
        let ours = added(there, &first);
        assert_eq!(ours[MIRRORS].iter().collect::<Vec<_>>(), ["https://a.example"]);
        let again = |mirror: &str| {
            let of = Daemon { added: &ours, ..with(mirror) };
            texts(&merged(Some(&first), &of).unwrap(), MIRRORS)
        };
        assert_eq!(again("https://b.example"), ["https://own.example", "https://b.example"]);
        assert_eq!(again("https://a.example"), ["https://own.example", "https://a.example"]);
        assert_eq!(again("https://own.example"), ["https://own.example"]);
        // With none any more the list goes as it came.
        let alone = merged(None, &with("https://a.example")).unwrap();
        let ours = added("", &alone);
        let of = Daemon { added: &ours, ..daemon(&none) };
        assert!(!merged(Some(&alone), &of).unwrap().contains(MIRRORS));
        // Nobody takes away what was there before, whatever it says.
        let before = r#"{"registry-mirrors": [], "debug": true}"#;
        assert!(merged(Some(before), &of).unwrap().contains("\"registry-mirrors\": []"));
    }
}
