//! Which hosts an inventory is written of: typed, given, or chosen among those of ssh's own configuration.

use std::path::Path;

use kubewan_core::inventory::{Host, Ssh};
use kubewan_fleet::ssh_config;

use super::can_ask;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, table};

/// A host as it was named, and what ssh makes of the name.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The address that the world reaches it by.
    pub address: String,
    /// How to log in.
    pub ssh: Ssh,
}

impl Target {
    /// What ssh is given.
    pub fn destination(&self) -> &str {
        self.ssh.host.as_deref().unwrap_or(&self.address)
    }

    /// A host to connect to, named as it was typed.
    pub fn host(&self) -> Host {
        Host { ssh: self.ssh.clone(), ..Host::worker(self.destination(), &self.address) }
    }
}

/// The hosts that are meant.
pub fn choose(
    hosts: &[String],
    from_ssh_config: bool,
    key: Option<&str>,
) -> Result<Vec<Target>, Failure> {
    let words = match (hosts.is_empty(), from_ssh_config) {
        (false, _) => hosts.to_vec(),
        (true, true) => from_configuration()?,
        (true, false) => ask()?,
    };
    let mut targets: Vec<Target> = Vec::new();
    for word in &words {
        let target = understood(word, key)?;
        let same = |other: &Target| {
            other.address == target.address || other.destination() == target.destination()
        };
        if targets.iter().any(same) {
            let said = format!("`{word}` was named before");
            return Err(Failure::new(Code::Refused, said, "name every host once"));
        }
        targets.push(target);
    }
    match targets.is_empty() {
        true => Err(Failure::text(Code::Unconfirmed, "No host was named, so nothing was written.")),
        false => Ok(targets),
    }
}

fn nobody_to_ask() -> Failure {
    let said = "there is no terminal to ask on, so nothing was written";
    Failure::new(Code::Unconfirmed, said, "name the hosts: `--hosts ADDRESS,ADDRESS`")
}

/// Asks for one host after another.
fn ask() -> Result<Vec<String>, Failure> {
    if !can_ask() {
        return Err(nobody_to_ask());
    }
    report::note(
        "The servers of the cluster, one a line; an empty line ends. An address or a\n\
         name of ~/.ssh/config; a login and a port where they are not ssh's own, as\n\
         admin@198.51.100.20:2222.",
    );
    let mut words = Vec::new();
    loop {
        let answer = report::ask(&format!("Host {}:", words.len() + 1));
        match answer.filter(|answer| !answer.is_empty()) {
            // Several on one line are several.
            Some(answer) => {
                words.extend(answer.split([',', ' ']).filter(|w| !w.is_empty()).map(str::to_owned));
            }
            None => return Ok(words),
        }
    }
}

/// Shows the hosts of ssh's configuration, and asks which are meant.
fn from_configuration() -> Result<Vec<String>, Failure> {
    let file = Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".ssh/config");
    let names = ssh_config::hosts(&file);
    if names.is_empty() {
        let said = format!("{} names no hosts", file.display());
        return Err(Failure::new(Code::Refused, said, "name them: `--hosts ADDRESS,ADDRESS`"));
    }
    let rows: Vec<Vec<String>> = names
        .iter()
        .zip(1..)
        .map(|(name, number): (&String, usize)| {
            let meaning = ssh_config::meaning(name).unwrap_or_default();
            vec![number.to_string(), name.clone(), meaning.hostname, meaning.user, meaning.port]
        })
        .collect();
    report::note(table::text(&["", "NAME", "ADDRESS", "LOGIN", "PORT"], &rows).trim_end());
    let answer =
        report::ask("Which of them, by number (1,3 or 2-4) or `all`:").ok_or_else(nobody_to_ask)?;
    let chosen = numbers(&answer, names.len()).map_err(|said| {
        Failure::new(Code::Refused, said, "numbers of the list, as 1,3 or 2-4, or `all`")
    })?;
    Ok(chosen.into_iter().map(|number| names[number - 1].clone()).collect())
}

/// `1,3 5-6` of so many, each once, in the order in which they were named.
fn numbers(answer: &str, count: usize) -> Result<Vec<usize>, String> {
    if answer.trim() == "all" {
        return Ok((1..=count).collect());
    }
    let mut chosen = Vec::new();
    for word in answer.split([',', ' ']).filter(|word| !word.is_empty()) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let number =
            |text: &str| text.trim().parse::<usize>().ok().filter(|n| (1..=count).contains(n));
        let range = number(first).zip(number(last)).filter(|(first, last)| first <= last);
        let (first, last) = range.ok_or_else(|| format!("`{word}` is none of 1 to {count}"))?;
        chosen.extend((first..=last).filter(|number| !chosen.contains(number)).collect::<Vec<_>>());
    }
    Ok(chosen)
}

/// A host as it was typed, and what ssh makes of it.
fn understood(word: &str, key: Option<&str>) -> Result<Target, Failure> {
    let (ssh, destination) = parts(word);
    let refused = |said: String| {
        let next =
            "an address or a name of ~/.ssh/config, as 198.51.100.20 or admin@198.51.100.20:2222";
        Failure::new(Code::Refused, format!("`{word}`: {said}"), next)
    };
    if destination.is_empty() || destination.starts_with('-') {
        return Err(refused("no host is named".into()));
    }
    let meaning = ssh_config::meaning(&destination).map_err(refused)?;
    Ok(target(ssh, destination, &meaning.hostname, key))
}

/// A name that ssh's configuration gives an address is kept as ssh's destination.
fn target(mut ssh: Ssh, destination: String, hostname: &str, key: Option<&str>) -> Target {
    ssh.key = key.map(str::to_owned);
    let is_alias = hostname != destination;
    ssh.host = is_alias.then(|| destination.clone());
    Target { address: if is_alias { hostname.to_owned() } else { destination }, ssh }
}

/// `[LOGIN@]HOST[:PORT]`
fn parts(word: &str) -> (Ssh, String) {
    let (user, rest) = match word.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, word),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (rest, None),
        },
        _ => (rest, None),
    };
    (Ssh { user, port, ..Ssh::default() }, host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_typed_as_ssh_users_type_them() {
        let said = |word: &str| {
            let (ssh, host) = parts(word);
            (ssh.user, host, ssh.port)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(said("198.51.100.10"), (None, "198.51.100.10".into(), None));
        assert_eq!(said("admin@vps:2222"), (some("admin"), "vps".into(), Some(2222)));
        assert_eq!(said("a@b@vps"), (some("a@b"), "vps".into(), None));
        assert_eq!(said("2001:db8::1"), (None, "2001:db8::1".into(), None));
        assert_eq!(said("vps:ssh"), (None, "vps:ssh".into(), None));
    }

    #[test]
    fn an_alias_stays_what_ssh_is_given() {
        let alias = target(Ssh::default(), "vps".into(), "198.51.100.10", Some("id"));
        assert_eq!((alias.address.as_str(), alias.destination()), ("198.51.100.10", "vps"));
        assert_eq!(alias.ssh.key.as_deref(), Some("id"));
        let plain = target(Ssh::default(), "198.51.100.10".into(), "198.51.100.10", None);
        assert_eq!((plain.ssh.host.clone(), plain.destination()), (None, "198.51.100.10"));
    }

    #[test]
    fn hosts_are_chosen_by_their_numbers() {
        assert_eq!(numbers("3, 1-2 2", 3), Ok(vec![3, 1, 2]));
        assert_eq!(numbers("all", 2), Ok(vec![1, 2]));
        assert_eq!(numbers("", 2), Ok(vec![]));
        for wrong in ["0", "3", "2-1", "x", "1-", "-1"] {
            assert!(numbers(wrong, 2).is_err(), "{wrong}");
        }
    }
}
