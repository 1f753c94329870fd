//! Why a connection to a host could not be made, read from what `ssh` and `sudo` say, and what to do next.

use kubewan_core::finding::Finding;
use kubewan_core::inventory::Host;
use kubewan_core::inventory::host_key::HostKey;

use crate::ssh;

/// A connection that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host}: {}", self.message())]
pub struct ConnectError {
    /// The host's name.
    pub host: String,
    /// How it was addressed.
    pub target: Box<Target>,
    /// What was in the way.
    pub obstacle: Obstacle,
    /// The last words of ssh, sudo or the remote shell.
    pub said: String,
}

/// How a host is addressed, in the words of several commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// For people: `USER@NAME port PORT`.
    shown: String,
    /// Arguments for ssh, `-p PORT USER@NAME`.
    login: String,
    /// Arguments for ssh-keyscan, `-p PORT NAME`.
    keyscan: String,
    /// Its name in known_hosts.
    known_as: String,
}

/// What was in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No known_hosts file knows the host, or the jump host before it.
    UnknownHostKey(Option<Box<Found>>),
    /// The operator does not trust a new host's key.
    NotTrusted,
    /// A new host's key could not be kept.
    NotKept(String),
    /// known_hosts says that the host's key was withdrawn.
    RevokedHostKey {
        /// The host as ssh names it: it may be a jump host on the way.
        whose: Option<String>,
    },
    /// The host shows another key than known_hosts has.
    ChangedHostKey {
        /// `FILE:LINE` of the recorded key.
        recorded: Option<String>,
        /// The host as ssh names it: it may be a jump host on the way.
        whose: Option<String>,
    },
    /// The host has not the key that the inventory pins, but these.
    OtherThanPinned(Vec<Found>),
    /// No key of ours is accepted.
    Denied,
    /// What was typed is not the password.
    WrongPassword,
    /// The operator broke off where he was asked for a password.
    BrokeOff,
    /// The private key can't be used.
    BadKeyFile,
    /// Nothing listens on the port.
    Refused,
    /// Nothing answers.
    Silent,
    /// The connection was closed before anyone logged in.
    Dropped,
    /// The name has no address.
    NoSuchName,
    /// sudo asks for a password.
    SudoPassword,
    /// What was typed is not the password that sudo wants.
    SudoWrongPassword,
    /// sudo wants a terminal.
    SudoTerminal,
    /// sudo is missing or does not let the user become root.
    NoSudo,
    /// There is no program for the host's system.
    NoProgram,
    /// The agent could not be stored on the host.
    NotStored,
    /// Nothing can be executed where the agent is stored.
    NoExec,
    /// The agent could not be started.
    NotStarted,
    /// The login's shell did not run what it was given.
    Shell,
    /// There is no `ssh` on the operator's machine.
    NoSsh,
    /// Something else.
    Other,
}

/// A host key that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The jump host whose key it is; `None`: the host's own.
    pub jump: Option<String>,
    /// Its kind and fingerprint, as `ED25519 SHA256:…`.
    pub shown: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

impl Found {
    /// What is shown of a key.
    pub fn of(key: &HostKey, jump: Option<&str>) -> Found {
        let fingerprint = key.fingerprint();
        let shown = format!("{} {fingerprint}", key.kind());
        Found { jump: jump.map(str::to_owned), shown, fingerprint }
    }

    /// The key that ssh asks about, of another machine on the way.
    pub fn in_prompt(prompt: &str) -> Option<Found> {
        let (_, rest) = prompt.split_once("host '")?;
        let jump = rest.split(['\'', ' ']).next()?.to_owned();
        let (before, after) = rest.split_once(" key fingerprint is ")?;
        let kind = before.split_whitespace().next_back()?;
        let fingerprint = after.split_whitespace().next()?.trim_end_matches('.').to_owned();
        Some(Found { jump: Some(jump), shown: format!("{kind} {fingerprint}"), fingerprint })
    }
}

/// Reads the obstacle out of what was said on standard error.
pub fn classify(said: &str, pinned: bool) -> Obstacle {
    let has = |text: &str| said.contains(text);
    if has("REVOKED HOST KEY DETECTED") || has("is marked as revoked") {
        return Obstacle::RevokedHostKey { whose: host_key_for(said) };
    }
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") || has("no matching host key type found") {
        if pinned {
            return Obstacle::OtherThanPinned(vec![]);
        }
        return Obstacle::ChangedHostKey { recorded: recorded_at(said), whose: host_key_for(said) };
    }
    if has("host key is known for") || has("Host key verification failed") {
        return Obstacle::UnknownHostKey(None);
    }
    const TABLE: [(&str, Obstacle); 26] = [
        ("UNPROTECTED PRIVATE KEY FILE", Obstacle::BadKeyFile),
        ("not accessible: No such file", Obstacle::BadKeyFile),
        ("Load key", Obstacle::BadKeyFile),
        ("Permission denied (", Obstacle::Denied),
        ("Too many authentication failures", Obstacle::Denied),
        ("No supported authentication methods", Obstacle::Denied),
        ("Connection refused", Obstacle::Refused),
        ("Could not resolve hostname", Obstacle::NoSuchName),
        ("timed out", Obstacle::Silent),
        ("No route to host", Obstacle::Silent),
        ("Network is unreachable", Obstacle::Silent),
        ("incorrect password attempt", Obstacle::SudoWrongPassword),
        ("sudo: no password was provided", Obstacle::SudoWrongPassword),
        ("sudo: a password is required", Obstacle::SudoPassword),
        ("sudo: a terminal is required", Obstacle::SudoPassword),
        ("you must have a tty", Obstacle::SudoTerminal),
        ("may not run sudo", Obstacle::NoSudo),
        ("is not in the sudoers file", Obstacle::NoSudo),
        ("is not allowed to execute", Obstacle::NoSudo),
        ("sudo: not found", Obstacle::NoSudo),
        ("sudo: command not found", Obstacle::NoSudo),
        ("no new privileges", Obstacle::NoSudo),
        ("must be setuid root", Obstacle::NoSudo),
        ("Connection closed by", Obstacle::Dropped),
        ("Connection reset by", Obstacle::Dropped),
        ("kex_exchange_identification", Obstacle::Dropped),
    ];
    TABLE.into_iter().find(|(text, _)| has(text)).map_or(Obstacle::Other, |(_, obstacle)| obstacle)
}

/// The name in `Host key for NAME has changed` and `The ED25519 host key for NAME is marked as revoked`.
fn host_key_for(said: &str) -> Option<String> {
    let line = |line: &&str| line.contains(" has changed and") || line.contains(" is marked as");
    let (_, rest) = said.lines().find(line)?.split_once("ost key for ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// `FILE:LINE` of `Offending ED25519 key in FILE:LINE`.
fn recorded_at(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.starts_with("Offending "))?;
    Some(line.split_once(" key in ")?.1.trim().to_owned())
}

/// Where the right fingerprint is to be had, whatever the key's kind.
const CONSOLE: &str = "your provider's console shows (on the host: `for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf \
     $key; done`)";

impl Target {
    fn of(host: &Host) -> Self {
        let destination = ssh::destination(host);
        let user = host.ssh.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let (port, option, known_as) = match host.ssh.port {
            Some(port) if port != 22 => (
                format!(" port {port}"),
                format!("-p {port} "),
                format!("'[{destination}]:{port}'"),
            ),
            _ => (String::new(), String::new(), destination.to_owned()),
        };
        Target {
            shown: format!("{user}{destination}{port}"),
            login: format!("{option}{user}{destination}"),
            keyscan: format!("{option}{destination}"),
            known_as,
        }
    }
}

impl ConnectError {
    /// An error about this host.
    pub fn new(host: &Host, obstacle: Obstacle, said: &str) -> Self {
        let (host, target) = (host.name.clone(), Box::new(Target::of(host)));
        // What a server says must not move the operator's cursor.
        let said: String =
            said.chars().filter(|c| *c == '\n' || !c.is_control()).collect::<String>();
        ConnectError { host, target, obstacle, said: said.trim().to_owned() }
    }

    /// How a host is addressed, for people.
    pub fn address(host: &Host) -> String {
        Target::of(host).shown
    }

    /// What was attempted and what came back.
    pub fn message(&self) -> String {
        let target = &self.target.shown;
        let said = self.last_words();
        match &self.obstacle {
            Obstacle::UnknownHostKey(None) => {
                format!("can't log in to {target}: its host key is not in known_hosts")
            }
            Obstacle::UnknownHostKey(Some(found)) => {
                let whose = match &found.jump {
                    Some(jump) => format!("the host key of the jump host {jump}"),
                    None => "its host key".into(),
                };
                let shown = &found.shown;
                format!("can't log in to {target}: {whose} is not in known_hosts: {shown}")
            }
            Obstacle::NotTrusted => {
                format!("did not log in to {target}: its host key was not trusted")
            }
            Obstacle::NotKept(said) => format!("can't keep the host key of {target}: {said}"),
            Obstacle::RevokedHostKey { whose } => format!(
                "can't log in to {target}: {} shows a host key that known_hosts marks as revoked",
                self.whose(whose)
            ),
            Obstacle::ChangedHostKey { recorded, whose } => {
                let recorded = recorded.as_deref().unwrap_or("known_hosts");
                let whose = self.whose(whose);
                format!(
                    "can't log in to {target}: {whose} shows another host key than {recorded} has"
                )
            }
            Obstacle::OtherThanPinned(found) => {
                let shown: Vec<&str> = found.iter().map(|found| found.shown.as_str()).collect();
                let but = if shown.is_empty() { "" } else { ", but " };
                format!(
                    "can't log in to {target}: it has not the host key that ssh.hostKey pins{but}{}",
                    shown.join(" and ")
                )
            }
            Obstacle::WrongPassword => {
                format!("can't log in to {target}: that is not the password")
            }
            Obstacle::BrokeOff => format!("did not log in to {target}: no password was typed"),
            Obstacle::SudoWrongPassword => {
                format!("logged in to {target}, but that is not the password that sudo wants")
            }
            Obstacle::SudoTerminal => {
                format!("logged in to {target}, but sudo runs on a terminal only (requiretty)")
            }
            Obstacle::NoExec => format!(
                "can't start the agent on {target}: nothing can be executed below /var/lib/kubewan (noexec)"
            ),
            Obstacle::Shell => {
                format!(
                    "logged in to {target}, but its shell did not run what it was given: {said}"
                )
            }
            Obstacle::SudoPassword => {
                format!("logged in to {target}, but sudo asks for a password")
            }
            Obstacle::NoSudo => format!("logged in to {target}, but can't become root: {said}"),
            Obstacle::NoProgram => format!("no agent for {target}: {said}"),
            Obstacle::NotStored => format!("can't store the agent on {target}: {said}"),
            Obstacle::NotStarted => format!("can't start the agent on {target}: {said}"),
            Obstacle::NoSsh => format!("can't run `ssh` for {target}: {said}"),
            _ => format!("can't log in to {target}: {said}"),
        }
    }

    /// What to do next.
    pub fn remedy(&self) -> String {
        const SUDOERS: &str =
            "`echo \"$USER ALL=(ALL) NOPASSWD:ALL\" | sudo tee /etc/sudoers.d/kubewan`";
        let Target { shown, login, keyscan, known_as } = self.target.as_ref();
        let host = &self.host;
        match &self.obstacle {
            Obstacle::UnknownHostKey(None) => format!(
                "compare the fingerprint that `ssh-keyscan {keyscan} 2>/dev/null | ssh-keygen -lf -` prints with the one \
                 that {CONSOLE}, then log in once with `ssh` and accept it, or pin it in the inventory: `ssh: {{ hostKey: \
                 \"SHA256:…\" }}`"
            ),
            Obstacle::UnknownHostKey(Some(found)) => match found.as_ref() {
                Found { jump: Some(jump), .. } => format!(
                    "compare it with the one that {CONSOLE}; then run this in a terminal, where kubewan asks for it, or log \
                     in to it once: `ssh {jump}`"
                ),
                Found { fingerprint, .. } => format!(
                    "compare it with the one that {CONSOLE}; then pin it in the inventory, `ssh: {{ hostKey: \
                     \"{fingerprint}\" }}`, or run this in a terminal, where kubewan asks once for all hosts"
                ),
            },
            Obstacle::NotTrusted => {
                "nothing was changed; once the fingerprint is found right, run the same command again".into()
            }
            Obstacle::NotKept(_) => format!(
                "make that file writable, or pin the key in the inventory: `ssh: {{ hostKey: \"SHA256:…\" }}` of {}",
                self.host
            ),
            Obstacle::RevokedHostKey { .. } => format!(
                "someone who has that key can pose as the server: make new ones there (`rm /etc/ssh/ssh_host_*; ssh-keygen -A; \
                 systemctl restart ssh`), then log in to {known_as} by its new key; the line that begins with `@revoked` stays"
            ),
            Obstacle::ChangedHostKey { .. } => format!(
                "if the server was installed anew, compare fingerprints (`ssh-keyscan {keyscan} 2>/dev/null | \
                 ssh-keygen -lf -`) with the provider's console and forget the old key with `ssh-keygen -R {known_as}`; if it was \
                 not, someone may be between you and it"
            ),
            Obstacle::OtherThanPinned(found) if !found.is_empty() => format!(
                "compare with `ssh.hostKey` of the inventory and with what {CONSOLE}; change the inventory only if the server \
                 was installed anew"
            ),
            Obstacle::OtherThanPinned(_) => format!(
                "compare `ssh-keyscan {keyscan}` with `ssh.hostKey` of the inventory and with the provider's console; \
                 change the inventory only if the server was installed anew"
            ),
            Obstacle::Denied => {
                let asks = match self.takes_password() {
                    true => ", or run this in a terminal, where kubewan asks for the password",
                    false => "",
                };
                format!(
                    "make `ssh {login}` work without a password: add your public key to its authorized_keys (`ssh-copy-id \
                     {login}`), or name the right `ssh.user` and `ssh.key` in the inventory{asks}"
                )
            }
            Obstacle::WrongPassword => format!(
                "try `ssh {login}` by hand; after too many tries some servers let nobody in for a while (fail2ban)"
            ),
            Obstacle::BrokeOff => "run the same command again".into(),
            Obstacle::BadKeyFile => "name a readable private key of mode 0600 in `ssh.key`".into(),
            Obstacle::Refused => "check that this is the port of its SSH server (`ssh.port`), and that sshd runs there".into(),
            Obstacle::Silent => {
                "check the address, that the host is up, and that the provider's firewall lets you in (`kubewan ports` names the ports)".into()
            }
            Obstacle::Dropped => {
                "try again in a while: the SSH server closes connections when there are too many at once (MaxStartups), or bans (fail2ban)".into()
            }
            Obstacle::NoSuchName => "correct `address` or `ssh.host` of the inventory".into(),
            Obstacle::SudoPassword => format!(
                "run this in a terminal, where kubewan asks for it; or log in as root; or let the user become root without a \
                 password: on {host}, {SUDOERS}"
            ),
            Obstacle::SudoWrongPassword => format!(
                "it is the password of the login, not of root; or let the user become root without one: on {host}, {SUDOERS}"
            ),
            Obstacle::SudoTerminal => format!(
                "log in as root; or take `requiretty` back for the user: on {host}, `echo \"Defaults:$USER !requiretty\" | \
                 sudo tee /etc/sudoers.d/kubewan-tty`"
            ),
            Obstacle::NoSudo => format!(
                "log in as root (`ssh: {{ user: root }}`); or, as root on {host}, install sudo and let the user become root: \
                 `echo \"{} ALL=(ALL) NOPASSWD:ALL\" > /etc/sudoers.d/kubewan`",
                // Where the inventory does not say, ssh's configuration does.
                shown.split_once('@').map_or("USER", |(user, _)| user)
            ),
            Obstacle::NoProgram => {
                "build kubewan for that architecture and put it there under that name".into()
            }
            Obstacle::NotStored if self.said.contains("No space left") => {
                "free some space below /var/lib (`df -h /var/lib; df -i /var/lib`), and run the same command again".into()
            }
            Obstacle::NotStored if self.said.contains("Read-only file system") => {
                "/var/lib must be writable: was it mounted read-only, or made so after an error of the disk (`dmesg`)?".into()
            }
            Obstacle::NotStored => "/var/lib/kubewan must be writable, with room for the agent; sha256sum, gzip and head must be there".into(),
            Obstacle::NoExec => format!(
                "on {host}, `mount -o remount,exec /var` (or the mount point that `findmnt -T /var/lib` names), and take `noexec` \
                 out of /etc/fstab: packages could not be installed either, since dpkg runs their scripts from there"
            ),
            Obstacle::NotStarted => {
                "/var/lib must not be mounted noexec; try the program there by hand".into()
            }
            Obstacle::Shell => format!(
                "`ssh {login} true` must end with 0: let the shell's start-up files (as ~/.bashrc) end, replace \
                 or delay only shells that people use (`case $- in *i*) … ;; esac`), or give the user an ordinary shell (`chsh`)"
            ),
            Obstacle::NoSsh => "install OpenSSH's client".into(),
            Obstacle::Other => format!("try `ssh {login}` by hand"),
        }
    }

    /// Whether trying again after a lost link can help.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.obstacle,
            Obstacle::Refused
                | Obstacle::Silent
                | Obstacle::Dropped
                | Obstacle::NoSuchName
                | Obstacle::NotStored
                | Obstacle::NotStarted
                | Obstacle::Other
        )
    }

    /// The machine that showed a key, where it is not the host by the name that is asked for.
    fn whose<'a>(&self, whose: &'a Option<String>) -> &'a str {
        let own = |name: &&str| {
            let bare = name.trim_start_matches('[').split("]:").next();
            self.target.keyscan.split_whitespace().next_back() == bare
        };
        whose.as_deref().filter(|name| !own(name)).unwrap_or("it")
    }

    /// Whether the operator's answer may take it out of the way.
    pub fn may_be_answered(&self) -> bool {
        matches!(self.obstacle, Obstacle::Denied | Obstacle::SudoPassword | Obstacle::BadKeyFile)
    }

    /// Whether the server takes a password, as ssh lists what it would take.
    fn takes_password(&self) -> bool {
        ["password", "keyboard-interactive", "passphrase", "asks:"]
            .iter()
            .any(|way| self.said.contains(way))
    }

    /// Stable name of the obstacle.
    pub fn code(&self) -> &'static str {
        match self.obstacle {
            Obstacle::UnknownHostKey(_) => "ssh-host-key-unknown",
            Obstacle::NotTrusted => "ssh-host-key-not-trusted",
            Obstacle::NotKept(_) => "ssh-host-key-not-kept",
            Obstacle::RevokedHostKey { .. } => "ssh-host-key-revoked",
            Obstacle::ChangedHostKey { .. } => "ssh-host-key-changed",
            Obstacle::OtherThanPinned(_) => "ssh-host-key-not-pinned",
            Obstacle::Denied => "ssh-denied",
            Obstacle::WrongPassword => "ssh-wrong-password",
            Obstacle::BrokeOff => "ssh-broke-off",
            Obstacle::BadKeyFile => "ssh-key-file",
            Obstacle::Refused => "ssh-refused",
            Obstacle::Silent => "ssh-no-answer",
            Obstacle::Dropped => "ssh-dropped",
            Obstacle::NoSuchName => "ssh-no-such-name",
            Obstacle::SudoPassword => "sudo-password",
            Obstacle::SudoWrongPassword => "sudo-wrong-password",
            Obstacle::SudoTerminal => "sudo-terminal",
            Obstacle::NoSudo => "sudo-missing",
            Obstacle::NoProgram => "agent-missing",
            Obstacle::NotStored => "agent-not-stored",
            Obstacle::NoExec => "agent-noexec",
            Obstacle::NotStarted => "agent-not-started",
            Obstacle::Shell => "ssh-shell",
            Obstacle::NoSsh => "ssh-missing",
            Obstacle::Other => "ssh-failed",
        }
    }

    /// The line that says most: the last that is not empty.
    fn last_words(&self) -> &str {
        let line = self.said.lines().rev().map(str::trim).find(|line| !line.is_empty());
        line.unwrap_or("it said nothing")
    }
}

impl From<&ConnectError> for Finding {
    fn from(error: &ConnectError) -> Finding {
        Finding::error(error.code(), &error.host, error.message(), error.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_hosts_key_is_not_taken_for_the_hosts_own() {
        let host: Host = serde_json::from_value(serde_json::json!({
            "name": "node01", "address": "198.51.100.20", "roles": ["worker"], "ssh": { "port": 2222 }
        }))
        .unwrap();
        let message = |name: &str| {
            let said = format!("The ED25519 host key for {name} is marked as revoked.");
            ConnectError::new(&host, classify(&said, false), &said).message()
        };
        for own in ["198.51.100.20", "[198.51.100.20]:2222"] {
            assert!(message(own).contains(": it shows a host key"), "{}", message(own));
        }
        assert!(message("192.0.2.1").contains(": 192.0.2.1 shows a host key"));
    }

    #[test]
    fn the_key_that_ssh_asks_about_is_found() {
        let prompt = "The authenticity of host 'bastion (192.0.2.1)' can't be established.\n\
            ED25519 key fingerprint is SHA256:jw91HGO+docgLLeJr/KBUee/EHiHsPBBzFQs/s3vdGE.\n\
            This key is not known by any other names.\n\
            Are you sure you want to continue connecting (yes/no/[fingerprint])? ";
        let found = Found::in_prompt(prompt).unwrap();
        assert_eq!(found.jump.unwrap(), "bastion");
        assert_eq!(found.shown, "ED25519 SHA256:jw91HGO+docgLLeJr/KBUee/EHiHsPBBzFQs/s3vdGE");
        assert_eq!(Found::in_prompt("continue (yes/no)? "), None);
    }

    /// Said by OpenSSH 9.2p1 and sudo 1.9.13p3 (Debian 12), paths and names as they came.
    #[test]
    fn real_words_are_understood() {
        let changed = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n\
            @    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n\
            @@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n\
            IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\n\
            Someone could be eavesdropping on you right now (man-in-the-middle attack)!\n\
            It is also possible that a host key has just been changed.\n\
            The fingerprint for the ED25519 key sent by the remote host is\n\
            SHA256:jw91HGO+docgLLeJr/KBUee/EHiHsPBBzFQs/s3vdGE.\n\
            Please contact your system administrator.\n\
            Add correct host key in /root/.ssh/known_hosts to get rid of this message.\n\
            Offending ED25519 key in /root/.ssh/known_hosts:3\n\
            \x20 remove with:\n\
            \x20 ssh-keygen -f \"/root/.ssh/known_hosts\" -R \"198.51.100.10\"\n\
            Host key for 198.51.100.10 has changed and you have requested strict checking.\n\
            Host key verification failed.\n";
        let no_such_key = "Unable to negotiate with 198.51.100.10 port 22: no matching host key type found. \
            Their offer: ssh-ed25519";
        assert_eq!(classify(no_such_key, true), Obstacle::OtherThanPinned(vec![]));
        let recorded = Some("/root/.ssh/known_hosts:3".to_owned());
        let whose = Some("198.51.100.10".to_owned());
        assert_eq!(classify(changed, false), Obstacle::ChangedHostKey { recorded, whose });
        assert_eq!(classify(changed, true), Obstacle::OtherThanPinned(vec![]));
        let cases = [
            (
                "No ED25519 host key is known for 198.51.100.10 and you have requested strict checking.\n\
                 Host key verification failed.",
                Obstacle::UnknownHostKey(None),
            ),
            ("root@198.51.100.10: Permission denied (publickey,password).", Obstacle::Denied),
            (
                "Load key \"kg\": error in libcrypto\nroot@198.51.100.10: Permission denied (publickey,password).",
                Obstacle::BadKeyFile,
            ),
            (
                "Warning: Identity file nokey not accessible: No such file or directory.\n\
                 root@198.51.100.10: Permission denied (publickey,password).",
                Obstacle::BadKeyFile,
            ),
            ("ssh: connect to host 198.51.100.10 port 22: Connection refused", Obstacle::Refused),
            ("ssh: connect to host 198.51.100.99 port 22: Connection timed out", Obstacle::Silent),
            ("ssh: connect to host 198.51.100.99 port 22: No route to host", Obstacle::Silent),
            (
                "ssh: Could not resolve hostname nowhere.example: Name or service not known",
                Obstacle::NoSuchName,
            ),
            ("sudo: a password is required", Obstacle::SudoPassword),
            ("Sorry, try again.\nsudo: 3 incorrect password attempts", Obstacle::SudoWrongPassword),
            ("sudo: sorry, you must have a tty to run sudo", Obstacle::SudoTerminal),
            ("admin is not in the sudoers file.", Obstacle::NoSudo),
            (
                "@       WARNING: REVOKED HOST KEY DETECTED!               @\nThe ED25519 host key for 198.51.100.10 is \
                 marked as revoked.\nHost key verification failed.",
                Obstacle::RevokedHostKey { whose: Some("198.51.100.10".into()) },
            ),
            ("sh: 1: exec: sudo: not found", Obstacle::NoSudo),
            ("kex_exchange_identification: Connection closed by remote host", Obstacle::Dropped),
            (
                "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures",
                Obstacle::Denied,
            ),
            ("Bus error", Obstacle::Other),
        ];
        for (said, obstacle) in cases {
            assert_eq!(classify(said, false), obstacle, "{said}");
        }
    }
}
