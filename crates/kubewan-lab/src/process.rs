//! Processes of a lab that outlive the command that starts them: each notes itself in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::LabError;
use crate::call::{Call, search_path};
use crate::error::OnPath;
use crate::kernel::CgroupLayout;

const LAUNCH: &str = include_str!("launch.sh");

/// What is started detached, and where that is noted.
pub(crate) struct Detached<'a> {
    /// A folder of its own: the note, the launcher and what it prints go there.
    pub(crate) folder: &'a Path,
    /// What it is called, as a unit where this machine's systemd owns the control groups.
    pub(crate) unit: String,
    pub(crate) cgroups: &'a CgroupLayout,
}

impl Detached<'_> {
    /// Starts a program and returns at once. `groups` are the control groups that it has to be in.
    pub(crate) fn start(
        &self,
        what: &str,
        groups: &[PathBuf],
        program: &[String],
    ) -> Result<(), LabError> {
        let launch = self.launcher()?;
        let _ = fs::remove_file(self.record());
        let log = self.log();
        let output = File::create(&log).on("make the log", &log)?;
        let errors = output.try_clone().on("make the log", &log)?;
        let mut command = match self.cgroups {
            CgroupLayout::V2Systemd(_) => self.systemd_run(),
            CgroupLayout::V1(_) | CgroupLayout::V2(_) => {
                let mut setsid = Command::new("setsid");
                setsid.arg("--fork");
                setsid
            }
        };
        command.arg("/bin/sh").arg(launch).arg(self.record()).args(groups).arg("--").args(program);
        let status = command
            .env("PATH", search_path())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .status()
            .map_err(|error| self.failed(what, program, &error.to_string()))?;
        if status.success() { Ok(()) } else { Err(self.failed(what, program, &status.to_string())) }
    }

    /// The script that joins control groups, written anew.
    pub(crate) fn launcher(&self) -> Result<PathBuf, LabError> {
        let path = self.folder.join("launch");
        fs::write(&path, LAUNCH).on("write", &path)?;
        Ok(path)
    }

    /// The process, if it is still the one that was started.
    pub(crate) fn process(&self) -> Option<Pid> {
        recorded(&self.record())
    }

    /// What it printed.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Where it is noted.
    pub(crate) fn record(&self) -> PathBuf {
        self.folder.join("process")
    }

    /// Ends it and waits until it is gone.
    pub(crate) fn end(&self) {
        if let Some(pid) = self.process() {
            let _ = kill_process(pid, Signal::KILL);
            self.gone_within(60);
        }
        self.stop_unit();
    }

    /// Waits until systemd has forgotten it, as it starts no second unit of a name. Nothing where it is no unit.
    pub(crate) fn stop_unit(&self) {
        if let CgroupLayout::V2Systemd(_) = self.cgroups {
            let attempt = format!("remove the unit {}", self.unit);
            let _ = Call::new("systemctl", attempt).args(["stop", &self.unit]).succeeds();
        }
    }

    /// Whether it is gone before so many seconds are over.
    pub(crate) fn gone_within(&self, seconds: u64) -> bool {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while self.process().is_some() {
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        true
    }

    fn systemd_run(&self) -> Command {
        let mut command = Command::new("systemd-run");
        let log = self.log();
        command.args(["--quiet", "--collect", "--service-type=exec"]);
        command.arg(format!("--unit={}", self.unit));
        for property in ["Delegate=yes", "KillMode=mixed", "TasksMax=infinity"] {
            command.arg(format!("--property={property}"));
        }
        command.arg(format!("--property=StandardOutput=append:{}", log.display()));
        command.arg(format!("--property=StandardError=append:{}", log.display()));
        command
    }

    fn failed(&self, what: &str, program: &[String], came_back: &str) -> LabError {
        let printed = fs::read_to_string(self.log()).unwrap_or_default();
        LabError::Program {
            attempted: format!("start {what}"),
            program: program.first().cloned().unwrap_or_default(),
            came_back: format!("{came_back} {}", printed.trim()),
            next: "see what it said; `kubewan lab down` removes whatever was made".into(),
        }
    }
}

/// The process that a file `PID START` notes, if it is still that one.
pub(crate) fn recorded(record: &Path) -> Option<Pid> {
    let record = fs::read_to_string(record).ok()?;
    let (pid, started) = record.trim().split_once(' ')?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let stat = Stat::parse(&stat)?;
    let ours = stat.started == started && stat.state != 'Z';
    Pid::from_raw(pid.parse().ok()?).filter(|_| ours)
}

/// What `/proc/PID/stat` says.
struct Stat<'a> {
    state: char,
    started: &'a str,
}

impl<'a> Stat<'a> {
    fn parse(stat: &'a str) -> Option<Self> {
        // The name in brackets may hold blanks and brackets; the third field follows the last one.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        Some(Self { state, started: fields.nth(18)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let line = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.started), ('S', "987654"));
        assert!(Stat::parse("").is_none());
        assert!(LAUNCH.starts_with("#!/bin/sh\n"));
    }
}
