//! An operator's own configuration of ssh, and the hosts as he has written them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubewan_core::inventory::host_key;
use kubewan_lab::{HostSnapshot, LabHost};

use crate::support::looks::{LOGINS, differences};
use crate::support::{Kubernetes, Stage, program};
use crate::terminal::Terminal;

/// The operator's side of a lab whose hosts nobody has seen yet.
pub struct Desk {
    pub stage: Stage,
    pub hosts: Vec<LabHost>,
    head: String,
}

/// How a run ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Fails the story unless it ended so.
    pub fn expect_code(&self, code: i32) -> &Ended {
        let Ended { stdout, stderr, .. } = self;
        assert_eq!(self.code, code, "--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }
}

impl Desk {
    /// Three clouds, servers only.
    pub fn new() -> Desk {
        let stage = Stage::hosts_only(Kubernetes::Rehearsal);
        let hosts = stage.lab.info().expect("the lab").hosts;
        let text = fs::read_to_string(stage.inventory()).expect("the inventory");
        let head = text[..text.find("\nhosts:\n").expect("hosts") + 8].to_owned();
        let desk = Desk { stage, hosts, head };
        // OpenSSH finds its files by the user database, so that only its command line can name others.
        let ssh = desk.folder().join("bin/ssh");
        fs::create_dir(desk.folder().join("bin")).expect("a folder");
        let config = desk.folder().join("config");
        let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", config.display());
        fs::write(&ssh, script).expect("a file");
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("its mode");
        desk.configure("");
        desk
    }

    /// The lab's folder.
    pub fn folder(&self) -> PathBuf {
        self.stage.claim.lab_dir()
    }

    /// The operator's known_hosts.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder().join("his_known_hosts")
    }

    /// Writes the operator's configuration of ssh: these lines, and for all hosts the lab's key.
    pub fn configure(&self, lines: &str) {
        let (folder, known) = (self.folder(), self.known_hosts());
        let text = format!(
            "{lines}\nHost *\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  IdentityFile {}\n  IdentitiesOnly yes\n",
            known.display(),
            folder.join("id_ed25519").display(),
        );
        fs::write(folder.join("config"), text).expect("a file");
    }

    /// Writes the inventory with these settings in the hosts' `ssh:`.
    pub fn inventory(&self, ssh: [&str; 3]) {
        let mut text = self.head.clone();
        for (index, (host, ssh)) in self.hosts.iter().zip(ssh).enumerate() {
            let roles = if index == 0 { "[control-plane, worker]" } else { "[worker]" };
            let (name, address) = (&host.name, host.address);
            text += &format!("  - name: {name}\n    address: {address}\n    roles: {roles}\n");
            text += &format!("    ssh: {{ {ssh} }}\n");
        }
        fs::write(self.stage.inventory(), text).expect("the inventory");
    }

    /// The operator has seen these hosts before, with their right keys.
    pub fn know(&self, names: &[&str]) {
        let of = |host: &&LabHost| names.contains(&host.name.as_str());
        let lines = self.hosts.iter().filter(of).map(|h| self.line(h, &h.host_key));
        fs::write(self.known_hosts(), lines.collect::<String>()).expect("known_hosts");
    }

    /// A line of known_hosts.
    pub fn line(&self, host: &LabHost, key: &str) -> String {
        match host.ssh_port {
            22 => format!("{} {key}\n", host.address),
            port => format!("[{}]:{port} {key}\n", host.address),
        }
    }

    /// Runs the program where there is no terminal.
    pub fn kubewan(&self, arguments: &[&str]) -> Ended {
        eprintln!("$ kubewan {}", arguments.join(" "));
        let output = self.command(arguments).output().expect("the program starts");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts the program on a terminal.
    pub fn terminal(&self, arguments: &[&str]) -> Terminal {
        Terminal::start(&self.command(arguments))
    }

    /// The program, not yet started; the inventory's name follows the command's, since other arguments may be another
    /// program's. The terminal can't move its cursor, so that what is shown is what was said.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        let path = std::env::var("PATH").unwrap_or_default();
        let (name, others) = arguments.split_first().expect("a command");
        command.args([name, "-f", &self.stage.inventory()]).args(others);
        command.env("PATH", format!("{}:{path}", self.folder().join("bin").display()));
        command.env("TERM", "dumb");
        command
    }

    /// What was said, without what every lab has of its own.
    pub fn said(&self, code: i32, text: &str) -> String {
        // Who else was sent an agent, and how long it was waited, is another matter.
        let waiting = |line: &str| {
            let (clock, _) = line.trim_start().split_once(' ').unwrap_or_default();
            clock.len() > 3 && clock.chars().all(|sign| sign.is_ascii_digit() || sign == ':')
        };
        let lines = text.lines().filter(|line| !line.ends_with("agent sent") && !waiting(line));
        let mut text = format!("exit {code}\n");
        lines.for_each(|line| text += &format!("{}\n", unpadded(line)));
        for host in &self.hosts {
            let (name, address) = (&host.name, host.address.to_string());
            text = text.replace(&address, &format!("ADDRESS-OF-{name}"));
            text = text.replace(&fingerprint(host), &format!("SHA256:FINGERPRINT-OF-{name}"));
        }
        let beside = Path::new(env!("CARGO_BIN_EXE_kubewan")).parent().expect("a folder");
        text.replace(&self.folder().display().to_string(), "LAB")
            .replace(&beside.display().to_string(), "BIN")
    }

    /// Looks at all hosts from outside.
    pub fn look(&self) -> Vec<HostSnapshot> {
        let look = |host: &LabHost| self.stage.lab.observe_host(&host.name).expect("the host runs");
        self.hosts.iter().map(look).collect()
    }

    /// Nothing has changed on any host since.
    pub fn unchanged_since(&self, before: &[HostSnapshot]) {
        let names = self.hosts.iter().map(|host| host.name.as_str());
        let found = differences(names, before, &self.look(), LOGINS);
        assert!(found.is_empty(), "{found}");
    }
}

/// A table's columns are as wide as the lab's addresses happen to be; a prompt's blank at its end is no column.
fn unpadded(line: &str) -> String {
    let text = line.trim_start();
    if !text.contains("  ") {
        return line.to_owned();
    }
    let columns: Vec<&str> = text.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    format!("{}{}", &line[..line.len() - text.len()], columns.join("  "))
}

/// A host's fingerprint, as OpenSSH shows it.
pub fn fingerprint(host: &LabHost) -> String {
    host_key::parse(&host.host_key).expect("a key").fingerprint()
}
