//! Machines: a host's processes, from systemd on, in namespaces of their own (systemd-nspawn).

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::call::{Call, search_path};
use crate::error::OnPath;
use crate::kernel::CgroupLayout;
use crate::layer::Layer;
use crate::process::{Detached, recorded};
use crate::topology::Host;
use crate::{LabError, cgroup, namespace};

/// The names of all labs' machines begin with this, wherever systemd-nspawn leaves them.
pub(crate) const NAME_PREFIX: &str = "kubewan-lab-";

/// What the names of a lab's machines begin with.
pub(crate) fn prefix(lab: &str) -> String {
    format!("{NAME_PREFIX}{lab}-")
}
/// The file that says, inside a host, that it is a lab's. It comes from outside, so nothing on a
/// real server can look like it by accident.
pub(crate) const MARKER: &str = "/run/kubewan-lab-host";

const INIT: &str = include_str!("init.sh");
/// What a kernel without swap shows.
const NO_SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

/// How long a host may take to boot. Six seconds are usual; a busy machine may stall for minutes.
const BOOT_SECONDS_MAX: u64 = 300;
/// How long the launcher may take to note its process.
const NOTED_MAX: Duration = Duration::from_secs(60);
/// How long a host may take to shut down before it is ended.
const STOP_SECONDS_MAX: u64 = 30;
/// How long the kernel may take to be done with an ended machine.
const END_SECONDS_MAX: u64 = 120;

/// One host's machine, running or not.
pub(crate) struct Machine<'a> {
    /// The lab's name.
    pub(crate) lab: &'a str,
    pub(crate) host: &'a Host,
    /// Where the lab keeps what belongs to this host.
    pub(crate) folder: PathBuf,
    pub(crate) layer: Layer,
    pub(crate) product_uuid: PathBuf,
    pub(crate) cgroups: &'a CgroupLayout,
}

impl Machine<'_> {
    /// Starts it, detached from this process, and returns at once.
    pub(crate) fn start(&self) -> Result<(), LabError> {
        self.write_scripts()?;
        let groups = cgroup::make(self.cgroups, self.lab, &self.host.name)?;
        let mut program = vec!["systemd-nspawn".to_owned()];
        program.extend(self.nspawn_arguments());
        self.detached().start(&self.host.name, &groups, &program)
    }

    /// Waits until its systemd has started everything and its sshd answers: at the public address where the operator
    /// reaches that, else in the host.
    pub(crate) fn await_ready(&self, operator_reaches: bool) -> Result<(), LabError> {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(BOOT_SECONDS_MAX);
        let mut seen = "nothing yet".to_owned();
        while Instant::now() < deadline {
            match self.boot_state(operator_reaches) {
                Ok(()) => return Ok(()),
                Err(state) => seen = state,
            }
            if start.elapsed() > NOTED_MAX && self.process().is_none() {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        let log = self.console();
        let console = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = console.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        Err(LabError::TimedOut {
            awaited: format!("{} to boot and its sshd to answer", self.host.name),
            seconds: start.elapsed().as_secs(),
            came_back: format!("{seen}; its console ends with\n{tail}"),
            next: "see the console above; `kubewan lab down` removes the lab".into(),
        })
    }

    /// Asks it to shut down, and ends it when that takes too long.
    pub(crate) fn shut_down(&self) -> Result<(), LabError> {
        if let Some(pid) = self.process() {
            // systemd-nspawn turns this into the signal that tells a systemd to power off.
            let _ = kill_process(pid, Signal::TERM);
            if self.detached().gone_within(STOP_SECONDS_MAX) {
                return self.forget();
            }
        }
        self.end()
    }

    /// Ends it at once, as pulling the plug does.
    pub(crate) fn end(&self) -> Result<(), LabError> {
        if let Some(pid) = self.process() {
            // The first process takes all others of its namespace with it.
            if let Some(leader) = self.leader() {
                let _ = kill_process(leader, Signal::KILL);
            }
            if !self.detached().gone_within(2) {
                let _ = kill_process(pid, Signal::KILL);
            }
            if !self.detached().gone_within(END_SECONDS_MAX) {
                return Err(LabError::TimedOut {
                    awaited: format!("the processes of {} to end", self.host.name),
                    seconds: END_SECONDS_MAX,
                    came_back: format!("process {} is still there", pid.as_raw_nonzero()),
                    next: "run `kubewan lab down` again".into(),
                });
            }
        }
        self.forget()
    }

    /// The process of systemd-nspawn, if it is still the one that was started.
    pub(crate) fn process(&self) -> Option<Pid> {
        recorded(&self.detached().record())
    }

    fn detached(&self) -> Detached<'_> {
        Detached { folder: &self.folder, unit: self.unit(), cgroups: self.cgroups }
    }

    /// The machine's first process, as this machine numbers it.
    pub(crate) fn leader(&self) -> Option<Pid> {
        let parent = self.process()?.as_raw_nonzero().get();
        let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_number(name)).find_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            is_first_of(&status, parent).then(|| Pid::from_raw(pid.parse().ok()?))?
        })
    }

    /// A command that runs a program in the machine, in all its namespaces and control groups,
    /// and with no more rights than its own processes have.
    pub(crate) fn command(&self, argv: &[&str]) -> Result<Command, LabError> {
        let leader = self.leader().ok_or_else(|| LabError::NotRunning {
            host: self.host.name.clone(),
            detail: "its first process is gone".into(),
        })?;
        let pid = leader.as_raw_nonzero().get().unsigned_abs();
        let mut command = Command::new("/bin/sh");
        command.arg(self.folder.join("launch")).arg("-");
        command.args(cgroup::of_process(self.cgroups, pid)).args(["--", "nsenter", "--target"]);
        command.arg(pid.to_string());
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]);
        command.args(["--", "setpriv", "--bounding-set=-sys_time,-sys_module"]);
        command.args(["env", "-i", "HOME=/root", "USER=root", "LANG=C.UTF-8"]);
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        if let Ok(terminal) = std::env::var("TERM") {
            command.arg(format!("TERM={terminal}"));
        }
        command.args(argv).env("PATH", search_path());
        Ok(command)
    }

    /// What the host printed while booting.
    pub(crate) fn console(&self) -> PathBuf {
        self.detached().log()
    }

    fn boot_state(&self, operator_reaches: bool) -> Result<(), String> {
        if self.leader().is_none() {
            return Err("no first process".into());
        }
        let asked = self.command(&["systemctl", "is-system-running"]).map_err(|e| e.to_string())?;
        let state = output_of(asked);
        // A unit that failed is the host's affair, as on a rented server.
        if !matches!(state.as_str(), "running" | "degraded") {
            return Err(format!("systemd says `{state}`"));
        }
        let port = self.host.ssh_port;
        if operator_reaches {
            return answers_ssh(SocketAddr::from((self.host.public, port)));
        }
        let ask = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && head -c 4 <&3");
        let asked = self.command(&["timeout", "2", "bash", "-c", &ask]);
        match output_of(asked.map_err(|e| e.to_string())?).as_str() {
            "SSH-" => Ok(()),
            said => Err(format!("in the host, port {port} says `{said}`")),
        }
    }

    /// Removes what a machine that is gone leaves on this one.
    fn forget(&self) -> Result<(), LabError> {
        let _ = fs::remove_file(self.detached().record());
        self.detached().stop_unit();
        remove_nspawn_traces(&self.name());
        cgroup::remove_host(self.cgroups, self.lab, &self.host.name)
    }

    fn name(&self) -> String {
        format!("{}{}", prefix(self.lab), self.host.name)
    }

    fn unit(&self) -> String {
        format!("{}.service", self.name())
    }

    fn nspawn_arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--directory={}", self.layer.root().display()),
            format!("--machine={}", self.name()),
            format!("--hostname={}", self.host.name),
            format!("--network-namespace-path={}", namespace::path(&self.host.namespace).display()),
        ];
        arguments.extend(NSPAWN_OPTIONS.map(str::to_owned));
        for device in ["/dev/kmsg", "/dev/net/tun", "/dev/fuse"] {
            if Path::new(device).exists() {
                arguments.push(format!("--bind={device}"));
            }
        }
        // Where modules can be looked up, `modprobe` in a host sees that one is there already.
        if Path::new("/lib/modules").is_dir() {
            arguments.push("--bind-ro=/lib/modules".into());
        }
        for (folder, place) in self.layer.volumes() {
            arguments.push(format!("--bind={}:{place}", bindable(&folder)));
        }
        for (file, place) in [
            (self.folder.join("marker"), MARKER),
            (self.folder.join("init"), "/run/kubewan-lab/init"),
            (self.folder.join("swaps"), "/run/kubewan-lab/swaps"),
            (self.product_uuid.clone(), "/run/kubewan-lab/product_uuid"),
        ] {
            arguments.push(format!("--bind-ro={}:{place}", bindable(&file)));
        }
        arguments.extend(["/bin/sh".into(), "/run/kubewan-lab/init".into()]);
        arguments
    }

    fn write_scripts(&self) -> Result<(), LabError> {
        let marker = format!("{}\n", self.host.name);
        for (name, text) in [("init", INIT), ("swaps", NO_SWAPS), ("marker", &marker)] {
            let path = self.folder.join(name);
            fs::write(&path, text).on("write", &path)?;
        }
        Ok(())
    }
}

/// What every host is started with.
///
/// There may be no systemd outside, so nothing is registered. A host gets what root on a server
/// has, but the clock and the modules, which are this machine's. The system calls are those that
/// container runtimes need and systemd-nspawn refuses by itself.
const NSPAWN_OPTIONS: [&str; 12] = [
    "--register=no",
    "--keep-unit",
    "--settings=no",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
    "--console=read-only",
    "--private-users=no",
    "--capability=all",
    "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE",
    "--system-call-filter=@keyring bpf @module perf_event_open",
    "--kill-signal=SIGRTMIN+3",
];

/// Where systemd-nspawn keeps a folder for each machine.
const NSPAWN_FOLDERS: [&str; 2] =
    ["/run/systemd/nspawn/propagate", "/run/systemd/nspawn/unix-export"];

/// Removes what systemd-nspawn leaves in `/run` for a machine that was ended.
fn remove_nspawn_traces(machine: &str) {
    for folder in NSPAWN_FOLDERS {
        let _ = fs::remove_dir_all(Path::new(folder).join(machine));
    }
}

/// Stops a lab's machines and forwarders by their names, where they are units of this machine's systemd; elsewhere
/// they end with their control groups.
pub(crate) fn stop_units(lab: &str, cgroups: &CgroupLayout) {
    if let CgroupLayout::V2Systemd(_) = cgroups {
        let units = format!("{}*.service", prefix(lab));
        let _ = Call::new("systemctl", "stop the lab's units").args(["stop", &units]).succeeds();
    }
}

/// The same for every machine that was ever this lab's.
pub(crate) fn remove_all_nspawn_traces(lab: &str) {
    for name in nspawn_traces(&prefix(lab)) {
        remove_nspawn_traces(&name);
    }
}

/// The machines whose names begin so that systemd-nspawn has left something of in `/run`.
pub(crate) fn nspawn_traces(prefix: &str) -> Vec<String> {
    let folders = NSPAWN_FOLDERS.iter().flat_map(fs::read_dir).flatten().flatten();
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// systemd-nspawn splits bind arguments at colons.
fn bindable(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:")
}

fn output_of(mut command: Command) -> String {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if !output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    }
}

fn answers_ssh(address: SocketAddr) -> Result<(), String> {
    let limit = Duration::from_secs(1);
    let greeting = TcpStream::connect_timeout(&address, limit).and_then(|mut stream| {
        stream.set_read_timeout(Some(limit))?;
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting)?;
        Ok(greeting)
    });
    match greeting {
        Ok(greeting) if &greeting == b"SSH-" => Ok(()),
        Ok(_) => Err(format!("{address} answers, but not as an sshd")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(format!("{address} accepts, but says nothing"))
        }
        Err(error) => Err(format!("{address}: {error}")),
    }
}

/// Whether `/proc/PID/status` is of the first process of a namespace that `parent` made.
fn is_first_of(status: &str, parent: i32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let numbers: Vec<&str> =
        field("NSpid:").map(|numbers| numbers.split_whitespace().collect()).unwrap_or_default();
    field("PPid:").is_some_and(|pid| pid.trim() == parent.to_string())
        && numbers.len() > 1
        && numbers.last() == Some(&"1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_first_in_its_own_namespace() {
        let status = "Name:\tsystemd\nPPid:\t77\nNSpid:\t91\t1\n";
        assert!(is_first_of(status, 77));
        assert!(!is_first_of(status, 78));
        assert!(!is_first_of("PPid:\t77\nNSpid:\t91\n", 77));
        assert!(!is_first_of("PPid:\t77\nNSpid:\t91\t2\n", 77));
    }

    #[test]
    fn what_nspawn_is_given_is_sound() {
        assert!(INIT.starts_with("#!/bin/sh\n"));
        assert_eq!(bindable(Path::new("/a:b")), "/a\\:b");
    }
}
