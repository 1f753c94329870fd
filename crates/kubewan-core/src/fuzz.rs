//! What must hold for the readers of bytes that kubewan did not write, whatever the bytes are: one function a reader.
//! It panics where the reader breaks its contract. `tests/fuzz` calls them with seeded inputs, `fuzz/` with libFuzzer's;
//! nothing in the product does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::Ipv4Addr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::action::file::BlockSeen;
use crate::action::{Action, Block, diff};
use crate::bundle::{self, ArtifactKind, Bundle};
use crate::facts::{ChronyFolder, Facts, taken};
use crate::finding::Severity;
use crate::frame;
use crate::inventory::adopt::{self, Answers};
use crate::inventory::draft::{Draft, DraftHost};
use crate::inventory::{self, Inventory, InventoryErrors, Recorded};
use crate::journal::Entry;
use crate::mirror::answer::{self, Reply};
use crate::mirror::{self, Ask, What};
use crate::plan::{self, Inputs, reset};
use crate::protocol::{FRAME_MAX, Orders, Request, Response};
use crate::registry::{self, certificate, legacy};
use crate::render::docker::{self, Daemon};
use crate::versions::Version;
use crate::{download, render, supply};

/// What publishers say of their files, and what curl says of a download.
pub fn publishers(bytes: &[u8]) {
    let said = String::from_utf8_lossy(bytes);
    let file = said.split_whitespace().nth(1).unwrap_or("kubeadm").to_owned();
    for file in ["kubeadm", file.as_str()] {
        if let Some(sha256) = supply::published(&said, file) {
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            assert!(sha256.len() == 64 && sha256.bytes().all(hex), "{sha256:?}");
            assert!(said.to_ascii_lowercase().contains(&sha256), "it is not there");
        }
    }
    let mut download = download::Download::default();
    let code = i32::from(bytes.first().copied().unwrap_or(1).max(1));
    let ends = (0..10_000)
        .any(|_| matches!(download.after(code, &said, false), download::Next::GiveUp(_)));
    assert!(ends, "a download that brings nothing is never given up");
}

/// What mirrors answer, the record of which was chosen, and what a host's own files say of it.
pub fn mirrors(bytes: &[u8]) {
    let said = String::from_utf8_lossy(bytes);
    let ask = |what: &What| Ask::new(what.clone(), "https://r/", "x:1");
    let file = said.split_whitespace().nth(1).unwrap_or("kubeadm").to_owned();
    let whats = [
        What::Registry,
        What::Manifest,
        What::Sum(file),
        What::Index,
        What::Signature,
        What::Key,
        What::File,
    ];
    if let Some(reply) = Reply::read(&said) {
        assert!(said.ends_with(&reply.body), "a body that nobody sent");
        for what in &whats {
            match answer::judge(&ask(what), &reply) {
                Ok(served) => {
                    assert!(reply.status == 200 || *what == What::Registry, "{}", reply.status);
                    let digest = served.digest.unwrap_or_default();
                    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
                    let is_one = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
                    assert!(digest.is_empty() || is_one, "{digest:?}");
                }
                Err(what) => assert!(!what.said.contains(char::is_control), "{:?}", what.said),
            }
        }
        if let Some(url) = reply.token_url("https://r/") {
            assert!(url.starts_with("https://"), "a token in the clear: {url}");
            assert!(!url.contains(char::is_control), "{url:?}");
        }
    }
    if let Some(token) = answer::token(&said) {
        assert!(!token.is_empty() && !token.contains(['"', '\n', '\\']), "{token:?}");
    }
    if let Some(record) = mirror::Record::read(&said)
        && let Some(text) = record.text().filter(|text| text.len() <= mirror::RECORD_MAX)
    {
        assert_eq!(mirror::Record::read(&text), Some(record), "{text} does not read the same");
    }
    if let Some(image) = taken::image_in(&said) {
        assert!(!image.is_empty() && said.contains(&image), "{image:?}");
    }
    drop(taken::server_in(&said));
    if let Some(folder) = ChronyFolder::of_config(&said) {
        let path = folder.path();
        assert!(path.starts_with("/etc/") && !path.contains(".."), "{path:?}");
        assert!(!path.contains(char::is_whitespace) && said.contains(path), "{path:?}");
    }
}

/// What kubectl prints of a cluster that somebody made: `{"nodes", "configMaps", "daemonSets"}`.
pub fn living(bytes: &[u8]) {
    let Ok(said) = serde_json::from_slice::<Value>(bytes) else { return };
    let answers = Answers {
        nodes: said["nodes"].clone(),
        config_maps: said["configMaps"].clone(),
        daemon_sets: said["daemonSets"].clone(),
    };
    let mut facts = Facts::default();
    facts.kubernetes.ca_hash = Some(format!("sha256:{}", "0".repeat(64)));
    facts.kubernetes.manifests = vec!["etcd.yaml".into(), "kube-apiserver.yaml".into()];
    facts.kubernetes.api_server = Some("https://198.51.100.10:6443".into());
    let host = adopt::Seen { name: "one", address: "198.51.100.10", facts: &facts };
    match adopt::living(&[host], 0, &answers) {
        Ok(living) => {
            let hosts = vec![DraftHost { address: "198.51.100.10".into(), ..DraftHost::default() }];
            let mut draft = Draft { name: "home".into(), hosts, ..Draft::default() };
            living.write(&mut draft);
            if let Ok(read) = inventory::parse("f", &draft.text()) {
                assert_eq!(
                    read.adopt.as_ref(),
                    Some(&living.adopt),
                    "what is written reads otherwise"
                );
                assert_eq!(read.network, living.network, "what is written reads otherwise");
                let mut said = inventory::compare_with_living(&living.recorded(&read), &read);
                said.retain(|finding| finding.severity == Severity::Error);
                assert_eq!(said, [], "what was written just now is refused");
            }
        }
        Err(refusals) => assert!(!refusals.is_empty(), "refused without a reason"),
    }
}

/// Files that registries need, and what older configurations of containerd say of registries.
pub fn registry_files(bytes: &[u8]) {
    let now_s = 1_780_000_000;
    match certificate::authorities(bytes, now_s) {
        Ok(found) => {
            assert!(!found.is_empty(), "no authority");
            let text: String = found.iter().map(|one| one.pem.as_str()).collect();
            let again = certificate::authorities(text.as_bytes(), now_s);
            assert_eq!(again.as_ref(), Ok(&found), "what is written does not read the same");
        }
        Err(said) => assert!(!said.contains(char::is_control), "{said:?}"),
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(password) = registry::password(&text) {
        assert!(text.starts_with(password.reveal()), "another password");
    }
    let legacy = legacy::read(&text);
    for (name, hosts) in &legacy.hosts {
        let text = render::registry::legacy_hosts_toml(name, hosts);
        assert!(text.parse::<toml::Table>().is_ok(), "no TOML: {text}");
        assert!(!name.contains('/'), "{name} is no folder's name");
    }
}

/// `cluster.yaml`: a checked inventory that can be planned for and written again, or errors that each have their place.
pub fn inventory(bytes: &[u8]) {
    let read = inventory::parse_bytes("cluster.yaml", bytes);
    assert_eq!(read, inventory::parse_bytes("cluster.yaml", bytes), "two readings differ");
    match read {
        Ok(inventory) => accepted(&inventory),
        Err(errors) => refused(bytes, &errors),
    }
}

fn accepted(inventory: &Inventory) {
    let names: BTreeSet<&str> = inventory.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names.len(), inventory.hosts.len(), "hosts of one name");
    let text = serde_json::to_string(inventory).expect("an inventory is JSON");
    // A key in a flow mapping ends within 1024 characters (YAML 1.2.2, §7.4.2); of those that programs of others take
    // the length is theirs.
    if longest_key(&serde_json::to_value(inventory).expect("an inventory is JSON")) < 1000 {
        let again = inventory::parse("cluster.yaml", &text);
        assert_eq!(again.as_ref(), Ok(inventory), "{text} does not read the same");
    }
    let record = Recorded::of(inventory, &BTreeMap::new());
    assert_eq!(record.refusals(&record), [], "an unchanged inventory is refused");
    planned(inventory, &Facts::default());
}

/// As it is written, with its escapes.
fn longest_key(value: &Value) -> usize {
    match value {
        Value::Object(map) => {
            let of = |(key, value): (&String, &Value)| {
                longest_key(value).max(Value::from(key.as_str()).to_string().len())
            };
            map.iter().map(of).max().unwrap_or_default()
        }
        Value::Array(items) => items.iter().map(longest_key).max().unwrap_or_default(),
        _ => 0,
    }
}

fn refused(bytes: &[u8], errors: &InventoryErrors) {
    assert!(!errors.errors.is_empty(), "refused without a reason");
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<&str> = text.lines().collect();
    for error in &errors.errors {
        assert!((1..=lines.len().max(1)).contains(&error.line), "{error:?}: no such line");
        let room = error.source_line.chars().count() + 1;
        assert!((1..=room).contains(&error.column), "{error:?}: no such column");
        if error.code != inventory::Code::TooLarge {
            let line = lines.get(error.line - 1).copied().unwrap_or_default();
            assert_eq!(error.source_line, line, "{error:?}: another line");
        }
    }
    assert!(errors.errors.is_sorted_by_key(|error| error.line), "not in the order of lines");
    let shown = errors.to_string();
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(steers), "steers the terminal: {shown:?}");
}

/// Plans for hosts that all say the same of themselves.
fn planned(inventory: &Inventory, facts: &Facts) {
    let address = |(host, n): (&inventory::Host, u32)| (host.name.clone(), Ipv4Addr::from(n));
    let bundle = Bundle {
        format: bundle::FORMAT,
        kubernetes: inventory.kubernetes.version.clone(),
        rehearsal: false,
        provenance: String::new(),
        artifacts: Vec::new(),
    };
    let addresses = inventory.hosts.iter().zip(0x0a00_0001..).map(address).collect();
    let inputs = Inputs::new(&addresses, &bundle);
    let facts = inventory.hosts.iter().map(|h| (h.name.clone(), facts.clone())).collect();
    let planned = plan::steps(inventory, &facts, &inputs);
    for step in &planned.steps {
        assert!(inventory.host(&step.host).is_some(), "a step for {}, which is no host", step.host);
    }
}

/// A host's facts as they come over the wire: whatever a host says, there is a plan or a finding.
pub fn facts(bytes: &[u8]) {
    let Some(facts) = same_again::<Facts>(bytes) else { return };
    let hosts = serde_json::json!([
        { "name": "a", "address": "198.51.100.10", "roles": ["control-plane"] },
        { "name": "b", "address": "198.51.100.20", "roles": ["worker"], "firewall": "open" },
    ]);
    let inventory = serde_json::json!({
        "name": "home", "kubernetes": { "version": "1.36.2" }, "hosts": hosts,
    });
    planned(&serde_json::from_value(inventory).expect("the sample has the types' form"), &facts);
}

/// A stream that gives what it has in small pieces, and is interrupted between them.
struct Trickle<'a> {
    rest: &'a [u8],
    interrupt: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = buffer.len().min(3);
        self.rest.read(&mut buffer[..count])
    }
}

/// A stream of frames: read frames are what was written, however the stream is cut into pieces; a frame that is cut
/// short, or a length over the limit, is an error.
pub fn frame(bytes: &[u8]) {
    let mut stream = bytes;
    let mut trickle = Trickle { rest: bytes, interrupt: false };
    loop {
        let begin = bytes.len() - stream.len();
        let read = frame::read(&mut stream);
        let slow = frame::read(&mut trickle);
        let kind = |e: &io::Error| e.kind();
        assert_eq!(
            read.as_ref().map_err(kind),
            slow.as_ref().map_err(kind),
            "a slow stream reads differently"
        );
        match read {
            Ok(Some(frame)) => {
                assert!(frame.len() <= FRAME_MAX);
                let mut written = Vec::new();
                frame::write(&mut written, &frame).expect("what was read can be written");
                let end = bytes.len() - stream.len();
                assert_eq!(written, bytes[begin..end], "written another way");
            }
            Ok(None) => return assert!(stream.is_empty(), "an end before the end"),
            Err(_) => break,
        }
    }
    let mut written = Vec::new();
    frame::write(&mut written, bytes).expect("short enough");
    let read = frame::read(&mut written.as_slice()).expect("a frame");
    assert_eq!(read.as_deref(), Some(bytes));
}

/// JSON that is read into a type is written and read again to the same.
fn same_again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_string(&value).expect("what was JSON is JSON");
    let again: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    // A decimal fraction may be off by its last digit after the first reading, but not more with each.
    let twice: T =
        serde_json::from_str(&serde_json::to_string(&again).expect("JSON")).expect("JSON");
    assert_eq!(again, twice, "{text} does not read the same");
    Some(value)
}

/// Both ends' messages: read or refused, written again to the same, and what agents see is compared with any goal.
pub fn protocol(bytes: &[u8]) {
    same_again::<Request>(bytes);
    if let Some(orders) = same_again::<Orders>(bytes) {
        orders.steps.iter().for_each(|step| drop((step.action.subject(), step.action.artifacts())));
    }
    match same_again::<Response>(bytes) {
        Some(Response::Journal { entries, .. }) => way_back(&entries),
        Some(Response::Facts(said)) => facts(&serde_json::to_vec(&said).expect("JSON")),
        _ => {}
    }
}

/// The journal's lines as they come over the wire: whatever they tell, there is a way back, and nothing is left of it
/// once it was gone.
pub fn way_back_of_journal(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let entries: Vec<Entry> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    way_back(&entries);
}

/// See [`way_back_of_journal`].
pub fn way_back(journal: &[Entry]) {
    for entry in journal {
        if let Entry::Begun(begun) = entry {
            let _ = diff(&begun.action, &begun.before);
        }
    }
    let mut reset = reset::steps("host", journal);
    let ids: BTreeSet<&str> = reset.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids.len(), reset.steps.len(), "steps with one id");
    assert!(reset.undoes.keys().all(|id| ids.contains(id.as_str())), "no such step");
    let begun = |wanted: &u64| {
        journal.iter().any(|entry| matches!(entry, Entry::Begun(b) if b.number == *wanted))
    };
    let undone = || reset.undoes.values().flatten();
    assert!(undone().all(begun), "takes back what was never begun");
    let done: Vec<Entry> = undone().map(|number| Entry::Undone { number: *number }).collect();
    let left = reset::steps("host", &[journal, &done].concat());
    assert_eq!(left.steps, [], "left when all was taken back");
    reset::spare_foreign_edits(&mut reset, &BTreeMap::new());
}

/// `bundle.yaml`: paths that stay in the bundle, whole hashes, nothing twice.
pub fn bundle(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = bundle::parse(text);
    assert_eq!(read, bundle::parse(text), "two readings differ");
    let bundle = match read {
        Ok(bundle) => bundle,
        Err(error) => return assert!(!error.is_empty(), "refused without a reason"),
    };
    assert_eq!(bundle.format, bundle::FORMAT);
    let mut paths = BTreeSet::new();
    for artifact in &bundle.artifacts {
        let path = std::path::Path::new(&artifact.path);
        let normal = |part| matches!(part, std::path::Component::Normal(_));
        assert!(path.components().all(normal), "`{}` leaves the bundle", artifact.path);
        assert!(!artifact.path.is_empty() && !artifact.path.contains('\0'), "{:?}", artifact.path);
        assert!(paths.insert(path), "`{}` twice", artifact.path);
        let hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        assert!(artifact.sha256.len() == 64 && artifact.sha256.bytes().all(hex));
        assert!(artifact.kind != ArtifactKind::Package || artifact.distribution.is_some());
    }
    for arch in bundle.architectures() {
        bundle.missing(arch);
        assert!(bundle.packages("debian-12", arch).all(|a| a.kind == ArtifactKind::Package));
    }
    let again = serde_json::to_string(&bundle).expect("a bundle is JSON");
    assert_eq!(bundle::parse(&again), Ok(bundle), "{again} does not read the same");
}

/// What a cluster's ConfigMap says that it was built from.
pub fn record(bytes: &[u8]) {
    let Some(record) = same_again::<Recorded>(bytes) else { return };
    assert_eq!(record.refusals(&record), [], "an unchanged cluster is refused");
}

/// A version is read from its own text only.
pub fn version(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.to_string(), text);
        version.release();
    }
}

/// A file that others write to as well, as `/etc/hosts`: our block comes once, goes again, and nothing else changes.
pub fn block(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = || "/etc/hosts".to_owned();
    let some = Block { path: path(), lines: vec!["198.51.100.10 api.home.kubewan".into()] };
    let none = Block { path: path(), lines: Vec::new() };
    let others = none.render(text);
    for goal in [&some, &none] {
        let written = goal.render(text);
        let seen = BlockSeen { text: Some(written.clone()) };
        assert_eq!(goal.diff(&seen), None, "written, and not as it should be: {written:?}");
        let rest = none.render(&written);
        // Where text has no end of line, the block gives it one.
        assert!(
            rest == others || rest == format!("{others}\n"),
            "{text:?} → {written:?} → {rest:?}"
        );
    }
    let kept = |line: &&str| !line.contains("kubewan");
    let of = |text: &str| text.lines().filter(kept).map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (of(text), of(&others));
    assert!(is_subsequence(&after, &before), "{text:?} → {others:?}: lines that nobody wrote");
    let whole = text.matches(Block::BEGIN).count() == 0;
    assert!(!whole || before == after, "{text:?} → {others:?}: lines of others are gone");
    drop(diff(&Action::Block(some), &crate::action::Observed::Block(BlockSeen { text: None })));
}

/// Docker's `daemon.json`: what Kubernetes needs is in what comes of it, nothing else goes, and then it is at rest; or each
/// slip is named with its place.
pub fn daemon_json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let none = inventory::Settings::new();
    let added = BTreeMap::new();
    let of = Daemon {
        mirrors: Vec::new(),
        insecure: Vec::new(),
        storage_driver: Some("overlay2"),
        extra: &none,
        added: &added,
    };
    let merged = match docker::merged(Some(text), &of) {
        Ok(merged) => merged,
        Err(slips) => return assert!(slips.0.iter().all(|slip| !slip.is_empty()), "{slips:?}"),
    };
    assert_eq!(docker::merged(Some(&merged), &of).as_ref(), Ok(&merged), "{text:?}: no rest");
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (old, new) = (read(text), read(&merged));
    assert!(new["exec-opts"].to_string().contains("native.cgroupdriver=systemd"), "{new}");
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    let kept = keys(&old).unwrap_or_default();
    assert!(kept.iter().all(|key| new.get(key).is_some()), "{old} lost something: {new}");
}

fn is_subsequence(part: &[String], whole: &[String]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|line| whole.any(|other| other == line))
}
