//! What takes a change back by itself, unless somebody comes in anew: a firewall that is switched on may leave the connection
//! alive over which it was asked for, and let no other one in (design: those changes that could lock the operator out).

use std::path::Path;
use std::time::Duration;

use crate::command::Program;

/// The unit, and its timer, that waits.
const UNIT: &str = "kubewan-undo";

/// How long it waits: the rest of a reset takes place meanwhile, which purges packages.
const WAITS: Duration = Duration::from_secs(600);

/// Has systemd run a command line in a while; one that waits already is put off.
///
/// # Errors
/// systemd's words. Nothing may be changed then.
pub fn arm(line: &str) -> Result<(), String> {
    disarm()?;
    let seconds = WAITS.as_secs();
    let armed = Program::new("systemd-run").args([
        "--quiet".to_owned(),
        "--collect".into(),
        format!("--unit={UNIT}"),
        format!("--on-active={seconds}s"),
        "--timer-property=AccuracySec=1s".into(),
        "--".into(),
        "/bin/sh".into(),
        "-c".into(),
        line.to_owned(),
    ]);
    armed.stdout().map(drop)
}

/// Somebody came in: nothing is taken back any more.
///
/// # Errors
/// systemd's words, where it does not end the timer.
pub fn disarm() -> Result<(), String> {
    // Where systemd keeps a transient unit (systemd.unit(5)); looking costs less than asking it, at every connection.
    let timer = format!("{UNIT}.timer");
    if !Path::new("/run/systemd/transient").join(&timer).exists() {
        return Ok(());
    }
    Program::new("systemctl").args(["stop", &timer]).stdout().map(drop)
}
