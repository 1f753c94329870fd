//! Why a connection to a host could not be made, read from what `ssh` and `sudo` say, and what to do next.

use kubewan_core::finding::Finding;
use kubewan_core::inventory::Host;

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
    /// No known_hosts file knows the host.
    UnknownHostKey,
    /// The host shows another key than known_hosts has.
    ChangedHostKey {
        /// `FILE:LINE` of the recorded key.
        recorded: Option<String>,
    },
    /// The host has not the key that the inventory pins.
    OtherThanPinned,
    /// No key of ours is accepted.
    Denied,
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
    /// sudo is missing or does not let the user become root.
    NoSudo,
    /// There is no program for the host's system.
    NoProgram,
    /// The agent could not be stored on the host.
    NotStored,
    /// The agent could not be started.
    NotStarted,
    /// There is no `ssh` on the operator's machine.
    NoSsh,
    /// Something else.
    Other,
}

/// Reads the obstacle out of what was said on standard error.
pub fn classify(said: &str, pinned: bool) -> Obstacle {
    let has = |text: &str| said.contains(text);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") || has("no matching host key type found") {
        if pinned {
            return Obstacle::OtherThanPinned;
        }
        return Obstacle::ChangedHostKey { recorded: recorded_at(said) };
    }
    if has("host key is known for") || has("Host key verification failed") {
        return Obstacle::UnknownHostKey;
    }
    const TABLE: [(&str, Obstacle); 22] = [
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
        ("sudo: a password is required", Obstacle::SudoPassword),
        ("sudo: a terminal is required", Obstacle::SudoPassword),
        ("you must have a tty", Obstacle::SudoPassword),
        ("is not in the sudoers file", Obstacle::NoSudo),
        ("is not allowed to execute", Obstacle::NoSudo),
        ("sudo: not found", Obstacle::NoSudo),
        ("sudo: command not found", Obstacle::NoSudo),
        ("no new privileges", Obstacle::NoSudo),
        ("Connection closed by", Obstacle::Dropped),
        ("Connection reset by", Obstacle::Dropped),
        ("kex_exchange_identification", Obstacle::Dropped),
    ];
    TABLE.into_iter().find(|(text, _)| has(text)).map_or(Obstacle::Other, |(_, obstacle)| obstacle)
}

/// `FILE:LINE` of `Offending ED25519 key in FILE:LINE`.
fn recorded_at(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.starts_with("Offending "))?;
    Some(line.split_once(" key in ")?.1.trim().to_owned())
}

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
        ConnectError { host, target, obstacle, said: said.trim().to_owned() }
    }

    /// What was attempted and what came back.
    pub fn message(&self) -> String {
        let target = &self.target.shown;
        let said = self.last_words();
        match &self.obstacle {
            Obstacle::UnknownHostKey => {
                format!("can't log in to {target}: its host key is not in known_hosts")
            }
            Obstacle::ChangedHostKey { recorded: Some(recorded) } => {
                format!("can't log in to {target}: it shows another host key than {recorded} has")
            }
            Obstacle::ChangedHostKey { recorded: None } => {
                format!("can't log in to {target}: it shows another host key than known_hosts has")
            }
            Obstacle::OtherThanPinned => {
                format!("can't log in to {target}: it has not the host key that ssh.hostKey pins")
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
        let Target { login, keyscan, known_as, .. } = self.target.as_ref();
        match &self.obstacle {
            Obstacle::UnknownHostKey => format!(
                "compare the fingerprint that `ssh-keyscan {keyscan} 2>/dev/null | ssh-keygen -lf -` prints with the one \
                 your provider's console shows (on the host: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then \
                 log in once with `ssh` and accept it, or put the key into `ssh.hostKey` of the inventory"
            ),
            Obstacle::ChangedHostKey { .. } => format!(
                "if the server was installed anew, compare fingerprints (`ssh-keyscan {keyscan} 2>/dev/null | \
                 ssh-keygen -lf -`) with the provider's console and forget the old key with `ssh-keygen -R {known_as}`; if it was \
                 not, someone may be between you and it"
            ),
            Obstacle::OtherThanPinned => format!(
                "compare `ssh-keyscan {keyscan}` with `ssh.hostKey` of the inventory and with the provider's console; \
                 change the inventory only if the server was installed anew"
            ),
            Obstacle::Denied => {
                format!("make `ssh {login}` work without a password: add your public key to its authorized_keys, or name \
                         the right `ssh.user` and `ssh.key` in the inventory")
            }
            Obstacle::BadKeyFile => "name a readable private key of mode 0600 in `ssh.key`".into(),
            Obstacle::Refused => "is that the port of its SSH server (`ssh.port`), and does sshd run there?".into(),
            Obstacle::Silent => {
                "is the address right, is the host up, and does the provider's firewall let you in?".into()
            }
            Obstacle::Dropped => {
                "the SSH server closed the connection: too many at once (MaxStartups) or a ban (fail2ban)? Try again".into()
            }
            Obstacle::NoSuchName => "correct `address` or `ssh.host` of the inventory".into(),
            Obstacle::SudoPassword | Obstacle::NoSudo => format!(
                "log in as root, or let the user become root without a password: on {}, \
                 `echo \"$USER ALL=(ALL) NOPASSWD:ALL\" | sudo tee /etc/sudoers.d/kubewan`",
                self.host
            ),
            Obstacle::NoProgram => {
                "build kubewan for that architecture and put it there under that name".into()
            }
            Obstacle::NotStored => "/var/lib/kubewan must be writable, with room for the agent; sha256sum, gzip and head must be there".into(),
            Obstacle::NotStarted => {
                "/var/lib must not be mounted noexec; try the program there by hand".into()
            }
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

    /// Stable name of the obstacle.
    pub fn code(&self) -> &'static str {
        match self.obstacle {
            Obstacle::UnknownHostKey => "ssh-host-key-unknown",
            Obstacle::ChangedHostKey { .. } => "ssh-host-key-changed",
            Obstacle::OtherThanPinned => "ssh-host-key-not-pinned",
            Obstacle::Denied => "ssh-denied",
            Obstacle::BadKeyFile => "ssh-key-file",
            Obstacle::Refused => "ssh-refused",
            Obstacle::Silent => "ssh-no-answer",
            Obstacle::Dropped => "ssh-dropped",
            Obstacle::NoSuchName => "ssh-no-such-name",
            Obstacle::SudoPassword => "sudo-password",
            Obstacle::NoSudo => "sudo-missing",
            Obstacle::NoProgram => "agent-missing",
            Obstacle::NotStored => "agent-not-stored",
            Obstacle::NotStarted => "agent-not-started",
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
        assert_eq!(classify(no_such_key, true), Obstacle::OtherThanPinned);
        let recorded = Some("/root/.ssh/known_hosts:3".to_owned());
        assert_eq!(classify(changed, false), Obstacle::ChangedHostKey { recorded });
        assert_eq!(classify(changed, true), Obstacle::OtherThanPinned);
        let cases = [
            (
                "No ED25519 host key is known for 198.51.100.10 and you have requested strict checking.\n\
                 Host key verification failed.",
                Obstacle::UnknownHostKey,
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
