//! How the system's `ssh` is called. `~/.ssh/config`, agents, jump hosts and known_hosts are the operator's and
//! already work, so nothing here reads them: what the inventory says is added on the command line, and host keys are
//! verified always. New ones are accepted into a file of our own only ([`crate::trust`]).

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use kubewan_core::inventory::Host;
use tempfile::NamedTempFile;

use crate::askpass::Admitted;
use crate::trace::Trace;

/// Seconds until a host that does not answer is given up.
const CONNECT_TIMEOUT_S: u32 = 15;

/// A link is dead after so many unanswered keepalives …
const ALIVE_COUNT: u32 = 4;

/// … sent so many seconds apart: 20 s in all, long enough for a route that changes, short enough to reconnect.
const ALIVE_INTERVAL_S: u32 = 5;

/// A running `ssh` and, where the host's key is pinned, the file that says so.
#[derive(Debug)]
pub struct SshChild {
    /// The process, all three streams piped.
    pub child: Child,
    _pin: Option<NamedTempFile>,
}

/// What is not the same for every connection.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// The inventory's folder, from which relative key paths are taken.
    pub base: &'a Path,
    /// The host's key, where one is pinned.
    pub pin: Option<&'a str>,
    /// Nothing may be asked.
    pub batch: bool,
    /// Who follows.
    pub trace: &'a Trace,
}

/// Whether what the operator runs on a host has a terminal there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarTerminal {
    /// As ssh has it: a login has one, a command has none.
    AsSsh,
    /// A command has one too, so that it can ask and fill the screen.
    Always,
}

/// What `ssh` is given as destination.
pub fn destination(host: &Host) -> &str {
    host.ssh.host.as_deref().unwrap_or(&host.address)
}

/// Name under which a pinned key is looked up: no address, so that nothing else in any file can match it.
pub fn pin_alias(host: &Host) -> String {
    format!("kubewan-{}", host.name)
}

/// Options of every connection, whose ever it is.
pub fn common_options() -> Vec<String> {
    let mut args: Vec<String> = vec!["-T".into(), "-x".into(), "-a".into()];
    let mut option = |text: String| args.extend(["-o".to_owned(), text]);
    option(format!("ConnectTimeout={CONNECT_TIMEOUT_S}"));
    option(format!("ServerAliveInterval={ALIVE_INTERVAL_S}"));
    option(format!("ServerAliveCountMax={ALIVE_COUNT}"));
    // Not over a connection that the operator shares: its keepalives are its own, mostly none, and when it is dead every new
    // connection would go to it again (ssh_config(5): `ControlMaster=no` still uses a socket that is there).
    option("ControlMaster=no".into());
    option("ControlPath=none".into());
    option("ClearAllForwardings=yes".into());
    option("RemoteCommand=none".into());
    option("PermitLocalCommand=no".into());
    // Below that level ssh does not say that no algorithm fits, or that a link timed out.
    option("LogLevel=INFO".into());
    args
}

/// Options that make `file` all that `ssh` knows of host keys, and the host's name in it our own.
pub fn own_known_hosts(host: &Host, file: &Path) -> Vec<String> {
    let options = [
        format!("UserKnownHostsFile={}", quoted(file)),
        "GlobalKnownHostsFile=/dev/null".into(),
        format!("HostKeyAlias={}", pin_alias(host)),
        "UpdateHostKeys=no".into(),
        "VerifyHostKeyDNS=no".into(),
        "CheckHostIP=no".into(),
        "NoHostAuthenticationForLocalhost=no".into(),
        // A connection that ssh shares was verified against another file.
        "ControlPath=none".into(),
    ];
    options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect()
}

/// What the inventory says of the login, and the destination.
pub fn login(host: &Host, base: &Path) -> Vec<String> {
    let mut args = Vec::new();
    if let Some(key) = &host.ssh.key {
        args.extend(["-o".into(), "IdentitiesOnly=yes".into(), "-i".into(), expand(key, base)]);
    }
    if let Some(user) = &host.ssh.user {
        args.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = host.ssh.port {
        args.extend(["-p".to_owned(), port.to_string()]);
    }
    args.extend(["--".to_owned(), destination(host).to_owned()]);
    args
}

/// The arguments for `ssh`, without the program's name; `pin_file` holds the pinned key.
pub fn arguments(
    host: &Host,
    manner: &Manner,
    pin_file: Option<&Path>,
    remote: &str,
) -> Vec<String> {
    let mut args = common_options();
    let mut option = |text: &str| args.extend(["-o".to_owned(), text.to_owned()]);
    if manner.batch {
        option("BatchMode=yes");
    }
    option(&format!("NumberOfPasswordPrompts={}", crate::askpass::TRIES));
    args.extend(verified_login(host, manner, pin_file));
    args.push(remote.to_owned());
    args
}

/// The host's key is the pinned one, or else in the operator's files; the login, and the destination.
fn verified_login(host: &Host, manner: &Manner, pin_file: Option<&Path>) -> Vec<String> {
    let mut args = vec!["-o".to_owned(), "StrictHostKeyChecking=yes".to_owned()];
    if let (Some(file), Some(key)) = (pin_file, manner.pin) {
        args.extend(own_known_hosts(host, file));
        if let Some(algorithms) = algorithms_of(key) {
            args.extend(["-o".to_owned(), format!("HostKeyAlgorithms={algorithms}")]);
        }
    }
    args.extend(login(host, manner.base));
    args
}

/// The operator himself logs in, or runs a command: all streams are his, and what has to be asked `ssh` asks him.
///
/// # Errors
/// As [`start`].
pub fn by_hand(
    host: &Host,
    manner: &Manner,
    terminal: FarTerminal,
    command: &[String],
) -> io::Result<ExitStatus> {
    let pin = manner.pin.map(|key| pin_file(host, key)).transpose()?;
    let mut ssh = Command::new("ssh");
    if terminal == FarTerminal::Always {
        // Else ssh says below each answer that the connection is closed.
        ssh.args(["-t", "-o", "LogLevel=ERROR"]);
    }
    ssh.args(verified_login(host, manner, pin.as_ref().map(NamedTempFile::path)));
    ssh.args(command);
    manner.trace.calls(&host.name, &ssh, command.len());
    ssh.status()
}

/// Starts `ssh` with this remote command.
///
/// # Errors
/// Fails where there is no `ssh`, or the file for the pinned key can't be written.
pub fn start(
    host: &Host,
    manner: &Manner,
    admitted: Option<&Admitted>,
    remote: &str,
) -> io::Result<SshChild> {
    let pin = manner.pin.map(|key| pin_file(host, key)).transpose()?;
    let args = arguments(host, manner, pin.as_ref().map(NamedTempFile::path), remote);
    let mut ssh = command(admitted);
    ssh.args(args);
    manner.trace.calls(&host.name, &ssh, 1);
    let child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok(SshChild { child, _pin: pin })
}

/// `ssh`, that asks us what it asks.
pub fn command(admitted: Option<&Admitted>) -> Command {
    let mut command = Command::new("ssh");
    if let Some(admitted) = admitted {
        command.envs(admitted.environment.iter().map(|(name, value)| (name, value)));
    }
    command
}

/// A known_hosts file of our own with the one key; tempfile makes it 0600 under a name nobody can guess.
fn pin_file(host: &Host, key: &str) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("kubewan-known-host-").tempfile()?;
    writeln!(file, "{} {}", pin_alias(host), key.trim())?;
    file.flush()?;
    Ok(file)
}

/// Signature algorithms that the pinned key can serve. Without it a host with several keys may offer another
/// one, which ssh then reports as changed.
fn algorithms_of(key: &str) -> Option<&str> {
    match key.split_whitespace().next()? {
        "ssh-rsa" => Some("rsa-sha2-512,rsa-sha2-256"),
        kind => Some(kind),
    }
}

/// A path as ssh is to read it: `~` is the operator's home, a relative path starts at the inventory's folder.
fn expand(path: &str, base: &Path) -> String {
    match path.strip_prefix("~/") {
        // ssh expands it itself, by the user database.
        Some(_) => path.to_owned(),
        None => base.join(path).display().to_string(),
    }
}

/// ssh splits the values of file options at blanks.
pub fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    if path.contains(' ') { format!("\"{path}\"") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubewan_core::inventory::{Role, Ssh};

    fn host(ssh: Ssh) -> Host {
        Host {
            name: "master01".into(),
            address: "198.51.100.10".into(),
            private_address: None,
            ssh,
            roles: vec![Role::ControlPlane],
            labels: Default::default(),
            taints: Vec::new(),
            accept: None,
            firewall: None,
            time: None,
            hostname: None,
            kubelet_args: Default::default(),
        }
    }

    const COMMON: &str = "-T -x -a -o ConnectTimeout=15 -o ServerAliveInterval=5 \
        -o ServerAliveCountMax=4 -o ControlMaster=no -o ControlPath=none -o ClearAllForwardings=yes \
        -o RemoteCommand=none -o PermitLocalCommand=no -o LogLevel=INFO";
    const OWN: &str = "-o NumberOfPasswordPrompts=3 -o StrictHostKeyChecking=yes";

    fn manner(pin: Option<&str>) -> Manner<'_> {
        static NOBODY: std::sync::LazyLock<Trace> = std::sync::LazyLock::new(Trace::default);
        Manner { base: Path::new("/c"), pin, batch: true, trace: &NOBODY }
    }

    #[test]
    fn nothing_set_leaves_all_to_the_operators_configuration() {
        let args = arguments(&host(Ssh::default()), &manner(None), None, "run");
        let expected = format!("{COMMON} -o BatchMode=yes {OWN} -- 198.51.100.10 run");
        assert_eq!(args.join(" "), expected);
        let asking = Manner { batch: false, ..manner(None) };
        let args = arguments(&host(Ssh::default()), &asking, None, "run");
        assert_eq!(args.join(" "), format!("{COMMON} {OWN} -- 198.51.100.10 run"));
    }

    #[test]
    fn what_is_set_wins() {
        let ssh = Ssh {
            host: Some("bastioned".into()),
            user: Some("ubuntu".into()),
            port: Some(2222),
            key: Some("keys/id".into()),
            host_key: None,
        };
        let args = arguments(&host(ssh), &manner(None), None, "run");
        let end = "-o IdentitiesOnly=yes -i /c/keys/id -l ubuntu -p 2222 -- bastioned run";
        assert_eq!(args.join(" "), format!("{COMMON} -o BatchMode=yes {OWN} {end}"));
    }

    #[test]
    fn a_pinned_key_is_the_only_one() {
        let ssh = Ssh { host_key: Some("ssh-ed25519 AAAA me@there".into()), ..Ssh::default() };
        let host = host(ssh);
        let key = host.ssh.host_key.as_deref();
        let args = arguments(&host, &manner(key), Some(Path::new("/tmp/pin")), "run").join(" ");
        for wanted in [
            "UserKnownHostsFile=/tmp/pin",
            "GlobalKnownHostsFile=/dev/null",
            "HostKeyAlias=kubewan-master01",
            "HostKeyAlgorithms=ssh-ed25519",
            "ControlPath=none",
        ] {
            assert!(args.contains(wanted), "{wanted} is not in {args}");
        }
        let file = pin_file(&host, host.ssh.host_key.as_deref().unwrap()).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, "kubewan-master01 ssh-ed25519 AAAA me@there\n");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &file.as_file().metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_rsa_key_asks_for_sha2_signatures() {
        assert_eq!(algorithms_of("ssh-rsa AAAA"), Some("rsa-sha2-512,rsa-sha2-256"));
        assert_eq!(algorithms_of(""), None);
    }
}
