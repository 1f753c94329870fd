//! Time synchronisation.

use std::time::Duration;

use kubewan_core::facts::TimeSyncFacts;

use super::systemd::{Unit, Units};
use crate::act::system::TIME_SERVICES;
use crate::command::Program;

/// Which time service runs and which could.
pub fn time_sync(units: &Units) -> TimeSyncFacts {
    let first = |test: &dyn Fn(&Unit) -> bool| {
        TIME_SERVICES.iter().find(|name| test(&units.get(name))).map(|name| (*name).to_owned())
    };
    TimeSyncFacts {
        active: first(&Unit::active),
        installed: first(&|unit| unit.loaded() && !unit.masked()),
        synchronised: synchronised(),
    }
}

/// What adjtimex(2) says, through systemd: this program has no unsafe code to call it itself.
fn synchronised() -> bool {
    let show = ["show", "-p", "NTPSynchronized", "--value"];
    let timedatectl = Program::new("timedatectl").args(show).timeout(Duration::from_secs(5));
    timedatectl.stdout().is_ok_and(|said| said.trim() == "yes")
}
