//! Host keys before the first connection: which hosts are new, what their keys are, whether the operator knows them.
//!
//! `ssh` itself looks at the keys, with the operator's configuration, so that aliases, ports and jump hosts mean what they
//! mean for him: it is told to accept what is new into a file of our own that stands before his, and logs in nowhere. What
//! lies in that file afterwards is new. Keys of jump hosts are looked at before anything is sent through them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use kubewan_core::inventory::Host;
use kubewan_core::inventory::host_key::{self, HostKey};

use crate::askpass::{Askpass, Door};
use crate::failure::{ConnectError, Found, Obstacle, classify};
use crate::fleet::some_at_once;
use crate::operator::{Keyring, NewKey};
use crate::ssh;
use crate::trace::Trace;

/// Jump hosts behind one another that are looked at.
const JUMPS_MAX: usize = 8;

/// What `ssh -G` says of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The login name.
    pub user: String,
    /// The name or address that it connects to.
    pub hostname: String,
    /// The port.
    pub port: String,
    alias: Option<String>,
    files: Vec<PathBuf>,
    global_files: Vec<PathBuf>,
    hashes: bool,
    has_command: bool,
    jumps: Vec<String>,
}

/// Reads what `ssh -G` prints.
pub fn resolved(output: &str) -> Resolved {
    let mut seen = Resolved::default();
    for line in output.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let some = || Some(value.to_owned()).filter(|value| !value.is_empty() && value != "none");
        match key {
            "user" => seen.user = value.into(),
            "hostname" => seen.hostname = value.into(),
            "port" => seen.port = value.into(),
            "hostkeyalias" => seen.alias = some(),
            "userknownhostsfile" => seen.files = paths(value),
            "globalknownhostsfile" => seen.global_files = paths(value),
            "hashknownhosts" => seen.hashes = value == "yes",
            "knownhostscommand" => seen.has_command = some().is_some(),
            "proxyjump" => {
                seen.jumps =
                    some().map_or(vec![], |jumps| jumps.split(',').map(str::to_owned).collect());
            }
            _ => {}
        }
    }
    seen
}

/// Paths of one line of `ssh -G`, which puts a space between them and no quotes around those that have one: a word that begins
/// no path goes on with the one before (`dump_cfg_strarray_oneline` in OpenSSH's readconf.c).
fn paths(value: &str) -> Vec<PathBuf> {
    let mut paths: Vec<String> = Vec::new();
    for word in value.split(' ').filter(|word| *word != "none") {
        match paths.last_mut() {
            Some(path) if !word.starts_with(['/', '~']) => *path += &format!(" {word}"),
            _ => paths.push(word.to_owned()),
        }
    }
    paths.retain(|path| !path.is_empty());
    paths.into_iter().map(PathBuf::from).collect()
}

impl Resolved {
    /// `USER@NAME` as ssh's prompts have it.
    pub fn login(&self) -> String {
        format!("{}@{}", self.user, self.alias.as_ref().unwrap_or(&self.hostname))
    }

    /// Its name in known_hosts.
    fn known_as(&self) -> String {
        match (&self.alias, self.port.as_str()) {
            (Some(alias), _) => alias.clone(),
            (None, "22" | "") => self.hostname.clone(),
            (None, port) => format!("[{}]:{port}", self.hostname),
        }
    }

    /// Whether some file has a key of it: the connection will show whether it is the right one. Marked lines, of
    /// authorities and of revoked keys, may be about all hosts.
    fn is_known(&self) -> bool {
        let has = |file: &PathBuf| {
            let mut find = Command::new("ssh-keygen");
            let found = found_by(find.args(["-F", &self.known_as(), "-f"]).arg(file));
            let lines = found.map(|output| output.stdout).unwrap_or_default();
            lines
                .split(|byte| *byte == b'\n')
                .any(|line| !matches!(line.first(), None | Some(b'#' | b'@')))
        };
        self.has_command
            || self.files.iter().chain(&self.global_files).filter(|file| file.exists()).any(has)
    }
}

fn found_by(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stderr(Stdio::null()).output()
}

/// The first of a scan's lines: the host's names and its key.
pub fn scanned(text: &str) -> Option<HostKey> {
    text.lines().find_map(|line| {
        let (_, key) = line.split_once(' ')?;
        host_key::parse(key).ok().filter(|key| matches!(key, HostKey::Key { .. }))
    })
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Jump {
    /// `[USER@]NAME[:PORT]`
    spec: String,
    /// The jump hosts before it.
    before: Vec<String>,
}

impl Jump {
    fn destination(&self) -> Vec<String> {
        let jumps = match self.before.is_empty() {
            true => vec![],
            false => vec!["-J".to_owned(), self.before.join(",")],
        };
        let uri = match self.spec.starts_with("ssh://") {
            true => self.spec.clone(),
            false => format!("ssh://{}", self.spec),
        };
        jumps.into_iter().chain(["--".into(), uri]).collect()
    }
}

/// What a look at a host key came to.
#[derive(Clone, Debug)]
enum Seen {
    /// It is the one that is known.
    Known,
    /// No file knows the host: its lines for known_hosts, and the key.
    New(String, HostKey),
    /// It can't be had.
    Failed(String),
}

/// The looks before a run.
pub struct Looks<'a> {
    /// The inventory's folder.
    pub base: &'a Path,
    /// The socket for questions.
    pub askpass: Option<&'a Askpass>,
    /// Whom to ask.
    pub keyring: &'a Arc<Keyring>,
    /// Where keys are kept that the inventory pins by their fingerprints.
    pub pins: &'a Mutex<BTreeMap<String, String>>,
    /// Hosts that fail keep the others from being asked about.
    pub all: bool,
    /// Who follows.
    pub trace: &'a Trace,
}

impl Looks<'_> {
    /// Looks at the keys of all hosts, and asks once for all that are new; what is trusted stands in the operator's
    /// known_hosts afterwards. Answers which hosts can't be had, and why.
    pub fn trust(&self, hosts: &[Host]) -> Vec<ConnectError> {
        let seen = some_at_once(hosts.iter(), |host| self.resolve(&ssh::login(host, self.base)));
        let paths: Vec<Vec<Jump>> =
            seen.iter().map(|seen| self.way(seen.as_ref(), &[], JUMPS_MAX)).collect();
        let mut errors = BTreeMap::new();
        for depth in 0..paths.iter().map(Vec::len).max().unwrap_or(0) {
            self.trust_jumps(hosts, &paths, depth, &mut errors);
        }
        self.trust_hosts(hosts, &seen, &mut errors);
        hosts.iter().filter_map(|host| errors.remove(&host.name)).collect()
    }

    /// What ssh makes of a destination; `None` where it does not say.
    pub fn resolve(&self, destination: &[String]) -> Option<Resolved> {
        let mut command = ssh::command(None);
        let output = found_by(command.arg("-G").args(destination)).ok()?;
        let seen = resolved(&String::from_utf8_lossy(&output.stdout));
        (output.status.success() && !seen.hostname.is_empty()).then_some(seen)
    }

    /// The jump hosts on the way, from here on.
    fn way(&self, seen: Option<&Resolved>, before: &[String], left: usize) -> Vec<Jump> {
        let jumps = seen.map(|seen| seen.jumps.as_slice()).unwrap_or_default();
        // `-J` names the ways of all but the first itself.
        if jumps == before || left == 0 {
            return vec![];
        }
        let mut way = vec![];
        for (index, spec) in jumps.iter().enumerate() {
            let jump = Jump { spec: spec.clone(), before: jumps[..index].to_vec() };
            if index == 0 {
                let first = self.resolve(&jump.destination());
                way.extend(self.way(first.as_ref(), &[], left - 1));
            }
            way.push(jump);
        }
        way.truncate(JUMPS_MAX);
        way
    }

    fn trust_jumps(
        &self,
        hosts: &[Host],
        paths: &[Vec<Jump>],
        depth: usize,
        errors: &mut BTreeMap<String, ConnectError>,
    ) {
        let jumps: BTreeSet<&Jump> = paths.iter().filter_map(|path| path.get(depth)).collect();
        let looked = some_at_once(jumps.into_iter(), |jump| {
            let seen = self.resolve(&jump.destination())?;
            if seen.is_known() {
                return None;
            }
            let files = beside(&seen);
            let door = Door::new(&jump.spec, &jump.spec, None, true, self.keyring);
            match self.scan(&jump.spec, &files, &door, &[], jump.destination()) {
                Seen::New(lines, key) => Some((jump, seen, lines, key)),
                // Its own connection tells it better.
                _ => None,
            }
        });
        let new: Vec<_> = looked.into_iter().flatten().collect();
        let keys = new.iter().map(|(jump, seen, _, key)| {
            let address = if seen.port == "22" { seen.hostname.clone() } else { seen.known_as() };
            (NewKey::of(&format!("jump host {}", jump.spec), &address, key), lines_of(seen))
        });
        let trusted = self.ask(keys.collect());
        for (jump, seen, lines, key) in &new {
            let result = match trusted {
                Some(true) => keep(seen, lines).map_err(Obstacle::NotKept),
                Some(false) => Err(Obstacle::NotTrusted),
                None => {
                    Err(Obstacle::UnknownHostKey(Some(Box::new(Found::of(key, Some(&jump.spec))))))
                }
            };
            let Err(obstacle) = result else { continue };
            for (host, _) in hosts.iter().zip(paths).filter(|(_, p)| p.get(depth) == Some(jump)) {
                let error = ConnectError::new(host, obstacle.clone(), "");
                errors.entry(host.name.clone()).or_insert(error);
            }
        }
    }

    fn trust_hosts(
        &self,
        hosts: &[Host],
        resolved: &[Option<Resolved>],
        errors: &mut BTreeMap<String, ConnectError>,
    ) {
        let pinned =
            |host: &Host| host.ssh.host_key.as_deref().and_then(|text| host_key::parse(text).ok());
        let left: Vec<(&Host, &Resolved, Option<HostKey>)> = hosts
            .iter()
            .zip(resolved)
            .filter(|(host, _)| !errors.contains_key(&host.name))
            .filter_map(|(host, seen)| Some((host, seen.as_ref()?, pinned(host))))
            .collect();
        let is_new = |(_, seen, pin): &(&Host, &Resolved, Option<HostKey>)| match pin {
            Some(HostKey::Key { .. }) => false,
            Some(HostKey::Fingerprint(_)) => true,
            None => !seen.is_known(),
        };
        let new = some_at_once(left.iter(), is_new);
        // Where somebody is to be asked, what is wrong elsewhere is told before.
        let asks = left.iter().zip(&new).any(|((_, _, pin), new)| *new && pin.is_none());
        let looked = left.iter().zip(new).filter(|(_, new)| *new || asks);
        let looked: Vec<_> = looked.map(|(left, _)| left).collect();
        let looks = some_at_once(looked.iter(), |(host, seen, pin)| match pin {
            Some(pin) => self.look_at_pinned(host, pin),
            None => {
                let door = self.door(host, Some(seen));
                let login = ssh::login(host, self.base);
                match self.scan(&host.name, &beside(seen), &door, &[], login) {
                    Seen::Failed(said) => {
                        let obstacle = classify(&said, false);
                        Err(ConnectError::new(host, obstacle, &said))
                    }
                    seen => Ok(seen),
                }
            }
        });
        let mut new = Vec::new();
        for ((host, seen, _), look) in looked.into_iter().zip(looks) {
            match look {
                Ok(Seen::New(lines, key)) => new.push((host, seen, lines, key)),
                Ok(_) => {}
                Err(error) => drop(errors.insert(host.name.clone(), error)),
            }
        }
        let keys = new.iter().map(|(host, seen, _, key)| {
            (NewKey::of(&host.name, &ConnectError::address(host), key), lines_of(seen))
        });
        let hopeless = self.all && !errors.is_empty();
        let trusted = if hopeless { None } else { self.ask(keys.collect()) };
        for (host, seen, lines, key) in new {
            let result = match trusted {
                Some(true) => keep(seen, &lines).map_err(Obstacle::NotKept),
                Some(false) => Err(Obstacle::NotTrusted),
                None => Err(Obstacle::UnknownHostKey(Some(Box::new(Found::of(&key, None))))),
            };
            if let Err(obstacle) = result {
                errors.insert(host.name.clone(), ConnectError::new(host, obstacle, ""));
            }
        }
    }

    /// The pinned key, as the host shows it.
    fn look_at_pinned(&self, host: &Host, pin: &HostKey) -> Result<Seen, ConnectError> {
        if matches!(pin, HostKey::Key { .. }) {
            return Ok(Seen::Known);
        }
        let mut shown = Vec::new();
        // A server has several keys, and shows the kind that is asked for.
        for kinds in [None, Some("ssh-ed25519"), Some(ECDSA), Some("rsa-sha2-512,rsa-sha2-256")] {
            let options: Vec<String> = kinds
                .iter()
                .flat_map(|kinds| ["-o".to_owned(), format!("HostKeyAlgorithms={kinds}")])
                .collect();
            let door = self.door(host, None);
            let (files, login) = (Files::Own(host), ssh::login(host, self.base));
            match self.scan(&host.name, &files, &door, &options, login) {
                Seen::New(_, key) if key.fingerprint() == pin.fingerprint() => {
                    let line = key.line().unwrap_or_default();
                    self.pins
                        .lock()
                        .expect("no thread panics here")
                        .insert(host.name.clone(), line);
                    return Ok(Seen::Known);
                }
                Seen::New(_, key) if shown.contains(&key) => {}
                Seen::New(_, key) => shown.push(key),
                Seen::Failed(said) if shown.is_empty() => {
                    return Err(ConnectError::new(host, classify(&said, true), &said));
                }
                // It has no key of that kind.
                Seen::Known | Seen::Failed(_) => {}
            }
        }
        let found = shown.iter().map(|key| Found::of(key, None)).collect();
        Err(ConnectError::new(host, Obstacle::OtherThanPinned(found), ""))
    }

    /// The door of a host's own connections.
    pub fn door(&self, host: &Host, seen: Option<&Resolved>) -> Arc<Door> {
        let shown = ConnectError::address(host);
        Door::new(&host.name, &shown, seen.map(Resolved::login), true, self.keyring)
    }

    /// Has ssh look at a host's key; it logs in nowhere.
    fn scan(
        &self,
        name: &str,
        files: &Files,
        door: &Arc<Door>,
        options: &[String],
        destination: Vec<String>,
    ) -> Seen {
        let attempt = || -> io::Result<Seen> {
            let new = tempfile::Builder::new().prefix("kubewan-new-host-").tempfile()?;
            let admitted = self.askpass.map(|askpass| askpass.admit(door));
            let mut command = ssh::command(admitted.as_ref());
            command
                .args(ssh::common_options())
                .args(["-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"])
                .args(["-o", "PubkeyAuthentication=no", "-o", "HashKnownHosts=no"])
                .args(["-o", "StrictHostKeyChecking=accept-new"])
                .args(options)
                .args(files.options(new.path()))
                .args(destination)
                .arg("true")
                .stdin(Stdio::null());
            self.trace.calls(name, &command, 0);
            let output = command.output()?;
            let mut lines = String::new();
            new.reopen()?.read_to_string(&mut lines)?;
            if let Some(key) = scanned(&lines) {
                return Ok(Seen::New(lines, key));
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let known = output.status.success() || classify(&said, false) == Obstacle::Denied;
            if !known {
                self.trace.says(name, &said);
            }
            Ok(if known { Seen::Known } else { Seen::Failed(said) })
        };
        attempt().unwrap_or_else(|error| Seen::Failed(error.to_string()))
    }

    /// Shows the keys and asks; `None` where there is nobody to ask, or nothing.
    fn ask(&self, keys: Vec<(NewKey, Option<PathBuf>)>) -> Option<bool> {
        let (keys, files): (Vec<NewKey>, Vec<Option<PathBuf>>) = keys.into_iter().unzip();
        if keys.is_empty() {
            return None;
        }
        let files: BTreeSet<PathBuf> = files.into_iter().flatten().collect();
        let files: Vec<PathBuf> = files.into_iter().collect();
        Some(self.keyring.operator()?.trusts(&keys, &files))
    }
}

const ECDSA: &str = "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521";

/// Which known_hosts files a look reads, after the one that takes what is new.
enum Files<'a> {
    /// The operator's.
    Operators(Vec<PathBuf>),
    /// None, since the inventory pins the host's key.
    Own(&'a Host),
}

fn beside(seen: &Resolved) -> Files<'static> {
    Files::Operators(seen.files.clone())
}

impl Files<'_> {
    fn options(&self, new: &Path) -> Vec<String> {
        match self {
            Files::Own(host) => ssh::own_known_hosts(host, new),
            Files::Operators(files) => {
                let all = std::iter::once(new).chain(files.iter().map(PathBuf::as_path));
                let all: Vec<String> = all.map(ssh::quoted).collect();
                let files = format!("UserKnownHostsFile={}", all.join(" "));
                let options = [&files, "UpdateHostKeys=no", "CheckHostIP=no", "ControlPath=none"];
                options.into_iter().flat_map(|o| ["-o".to_owned(), o.to_owned()]).collect()
            }
        }
    }
}

impl NewKey {
    fn of(name: &str, address: &str, key: &HostKey) -> NewKey {
        let (kind, fingerprint) = (key.kind(), key.fingerprint());
        NewKey { name: name.into(), address: address.into(), kind, fingerprint }
    }
}

/// The file that keeps what is trusted: the one that ssh itself would write to.
fn lines_of(seen: &Resolved) -> Option<PathBuf> {
    seen.files.first().cloned()
}

/// Adds lines to the operator's known_hosts, hashed where he has his names hashed.
fn keep(seen: &Resolved, lines: &str) -> Result<(), String> {
    let Some(path) = lines_of(seen) else { return Err("ssh has no UserKnownHostsFile".into()) };
    let said = |error: io::Error| format!("{}: {error}", path.display());
    if path == Path::new("/dev/null") {
        return Err("its UserKnownHostsFile is /dev/null".into());
    }
    let lines = if seen.hashes { hashed(lines).map_err(said)? } else { lines.to_owned() };
    add(&path, &lines).map_err(said)
}

fn add(path: &Path, lines: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let cut = fs::read(path).is_ok_and(|text| !text.is_empty() && !text.ends_with(b"\n"));
    let text = format!("{}{}\n", if cut { "\n" } else { "" }, lines.trim_end());
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The lines with their names hashed, as `HashKnownHosts` has them.
fn hashed(lines: &str) -> io::Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("known_hosts");
    fs::write(&path, lines)?;
    let output = Command::new("ssh-keygen").args(["-H", "-f"]).arg(&path).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    fs::read_to_string(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK92JOWylG1hndlAwQf167Tyu4iQZ4LYe/XXH+m4yspS";

    #[test]
    fn what_ssh_makes_of_a_destination_is_read() {
        let output = "host far\nuser admin\nhostname 192.0.2.7\nport 2222\nhashknownhosts yes\n\
            globalknownhostsfile /etc/ssh/ssh_known_hosts\nuserknownhostsfile /h/known_hosts /h/known_hosts2\n\
            proxyjump me@bastion:2200,inner\n";
        let seen = resolved(output);
        assert_eq!(seen.login(), "admin@192.0.2.7");
        assert_eq!(seen.known_as(), "[192.0.2.7]:2222");
        assert_eq!(lines_of(&seen).unwrap(), Path::new("/h/known_hosts"));
        assert_eq!(seen.jumps, ["me@bastion:2200", "inner"]);
        assert!(seen.hashes && !seen.has_command);
        let seen = resolved("user u\nhostname h\nport 22\nhostkeyalias far\nproxyjump none\n");
        assert_eq!((seen.known_as().as_str(), seen.login().as_str()), ("far", "u@far"));
        assert!(seen.jumps.is_empty());
        assert_eq!(resolved("user\n\nport\n"), Resolved::default());
        let seen =
            resolved("userknownhostsfile /home/a b/known_hosts ~/x\nglobalknownhostsfile none\n");
        assert_eq!(seen.files, ["/home/a b/known_hosts", "~/x"].map(PathBuf::from));
        assert!(seen.global_files.is_empty());
    }

    #[test]
    fn jump_hosts_are_reached_through_those_before_them() {
        let jump = Jump { spec: "me@b:22".into(), before: vec!["a".into(), "c".into()] };
        assert_eq!(jump.destination(), ["-J", "a,c", "--", "ssh://me@b:22"]);
        let jump = Jump { spec: "ssh://b".into(), before: vec![] };
        assert_eq!(jump.destination(), ["--", "ssh://b"]);
    }

    #[test]
    fn a_scans_line_is_a_name_and_a_key() {
        assert_eq!(scanned(&format!("[192.0.2.7]:2222 {KEY}\n")).unwrap().line().unwrap(), KEY);
        assert_eq!(scanned(""), None);
        assert_eq!(scanned("name SHA256:aKIC+4oqGfF1tv3H13Tfo1Als/WUohgLlRwP7x0uPlw"), None);
    }

    #[test]
    fn what_is_trusted_is_added_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh/known_hosts");
        let mut seen = Resolved { files: vec![path.clone()], ..Resolved::default() };
        keep(&seen, &format!("a {KEY}\n")).unwrap();
        let mode = |path: &Path| {
            std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777
        };
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        // The operator's own last line may have no end.
        fs::write(&path, format!("a {KEY}")).unwrap();
        keep(&seen, &format!("b {KEY}\n")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("a {KEY}\nb {KEY}\n"));
        seen.files = vec!["/dev/null".into()];
        assert!(keep(&seen, "a").is_err());
    }

    #[test]
    fn names_are_hashed_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        let seen = Resolved {
            files: vec![path.clone()],
            hashes: true,
            hostname: "192.0.2.7".into(),
            port: "2222".into(),
            ..Resolved::default()
        };
        assert!(!seen.is_known());
        keep(&seen, &format!("[192.0.2.7]:2222 {KEY}\n")).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("192.0.2.7"));
        assert!(seen.is_known());
        fs::write(&path, format!("@cert-authority * {KEY}\n@revoked * {KEY}\n")).unwrap();
        assert!(!seen.is_known(), "that says nothing of this host's own key");
    }
}
