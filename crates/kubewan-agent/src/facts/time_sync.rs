//! Time synchronisation.

use std::time::Duration;

use kubewan_core::facts::{ChronyFolder, TimeSyncFacts};

use super::systemd::{Unit, Units};
use crate::act::system::TIME_SERVICES;
use crate::command::Program;

/// chrony's own file, in the families of distributions.
const CHRONY: [&str; 2] = ["/etc/chrony/chrony.conf", "/etc/chrony.conf"];

/// Which time service runs and which could.
pub fn time_sync(units: &Units) -> TimeSyncFacts {
    let first = |test: &dyn Fn(&Unit) -> bool| {
        TIME_SERVICES.iter().find(|name| test(&units.get(name))).map(|name| (*name).to_owned())
    };
    TimeSyncFacts {
        active: first(&Unit::active),
        installed: first(&|unit| unit.loaded() && !unit.masked()),
        synchronised: synchronised(),
        chrony_folder: CHRONY
            .iter()
            .find_map(|path| ChronyFolder::of_config(&std::fs::read_to_string(path).ok()?)),
    }
}

/// What adjtimex(2) says, through systemd: this program has no unsafe code to call it itself.
fn synchronised() -> bool {
    let timedatectl = |args: &[&str]| {
        let program = Program::new("timedatectl").args(args.iter().copied());
        program.timeout(Duration::from_secs(5)).stdout()
    };
    match timedatectl(&["show", "-p", "NTPSynchronized", "--value"]) {
        Ok(said) => said.trim() == "yes",
        // `show` came with systemd 239.
        Err(_) => timedatectl(&["status"]).is_ok_and(|said| says_synchronised(&said)),
    }
}

/// `NTP synchronized: yes` of older systemd, `System clock synchronized: yes` of newer.
pub(crate) fn says_synchronised(status: &str) -> bool {
    status.lines().any(|line| {
        line.split_once(": ").is_some_and(|(key, value)| {
            key.trim().ends_with(" synchronized") && value.trim() == "yes"
        })
    })
}
