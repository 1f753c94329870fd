//! Arguments of the running kubelet: in the file that kubeadm writes, in no other, and in the process.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::action::KubeletFlag;
use kubewan_core::action::unit::KubeletFlagSeen;

use super::{Host, Performing};
use crate::command::Program;
use crate::disk::{Access, write_atomic};
use crate::facts::kubelet::{
    FLAGS_FILE, arg_files, flag_in_text, flag_value, running_args, with_flag, without_flag,
};
use crate::facts::systemd::Unit;

/// The kubelet's unit.
pub(super) const UNIT: &str = "kubelet.service";

/// How long a kubelet that was restarted has to stay up to count as running.
const SETTLES: Duration = Duration::from_secs(3);

/// Looks where an argument is set.
///
/// # Errors
/// Fails where systemd does not answer; files that can't be read set nothing.
pub fn observe_kubelet_flag(goal: &KubeletFlag, host: &Host) -> Result<KubeletFlagSeen, String> {
    let unit = host.unit(UNIT)?;
    let mut seen = KubeletFlagSeen {
        kubelet_runs: unit.active(),
        running: flag_value(&running_args(&unit), &goal.name),
        ..KubeletFlagSeen::default()
    };
    for file in arg_files(&unit) {
        let value = flag_in_text(&file.text, &goal.name);
        if file.path == FLAGS_FILE {
            seen.configured = true;
            seen.in_flags_file = value;
        } else if let Some(value) = value {
            seen.elsewhere.push((file.path, value));
        }
    }
    Ok(seen)
}

/// Sets the argument, takes contradicting ones out, and restarts the kubelet where it runs.
///
/// # Errors
/// Says which file could not be written, or what the kubelet said when it did not come up.
pub fn perform_kubelet_flag(
    goal: &KubeletFlag,
    seen: &KubeletFlagSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    for (path, _) in seen.elsewhere.iter().filter(|(_, value)| *value != goal.value) {
        (cx.progress)(&format!("taking --{} out of {path}", goal.name));
        edit(Path::new(path), Some(cx), |text| without_flag(text, &goal.name))?;
    }
    if seen.configured && seen.in_flags_file.as_deref() != Some(&goal.value) {
        // kubeadm's own file goes with kubeadm's work; nothing of the host's is in it.
        edit(Path::new(FLAGS_FILE), None, |text| with_flag(text, &goal.name, &goal.value))?;
    }
    if seen.configured && seen.kubelet_runs {
        (cx.progress)("restarting the kubelet");
        restart()?;
    }
    Ok(())
}

/// Rewrites a text file. The first content of those that are not kubeadm's was kept before ([`super::files_rewritten`]), and
/// what is left there is noted.
fn edit(
    path: &Path,
    noted: Option<&mut Performing<'_>>,
    change: impl Fn(&str) -> String,
) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("can't change {}: {e}", path.display());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        Err(e) => return Err(failed(e)),
    };
    let access = match fs::metadata(path) {
        Ok(m) => Access { mode: m.permissions().mode() & 0o7777, uid: m.uid(), gid: m.gid() },
        Err(e) if e.kind() == ErrorKind::NotFound => Access::root(0o644),
        Err(e) => return Err(failed(e)),
    };
    let new = change(&text);
    if new == text {
        return Ok(());
    }
    if let Some(cx) = noted {
        cx.record_left(&path.to_string_lossy(), &new)?;
    }
    write_atomic(path, &mut new.as_bytes(), access, &|_| Ok(())).map(drop)
}

/// Restarts the kubelet and waits until it stays up.
pub(super) fn restart() -> Result<(), String> {
    // A kubelet that waited for kubeadm has restarted every 10 s and may be over systemd's start limit.
    let _ = Program::new("systemctl").args(["reset-failed", UNIT]).output();
    // A run that was cut off may have changed its unit and not come to say so.
    Program::new("systemctl").arg("daemon-reload").stdout()?;
    Program::new("systemctl").args(["restart", UNIT]).stdout()?;
    let until = Instant::now() + SETTLES;
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(250));
        if !Unit::load(UNIT).active() {
            return Err(format!("the kubelet did not stay up:{}", last_lines(10)));
        }
    }
    Ok(())
}

/// The kubelet's last lines, for errors.
pub(super) fn last_lines(count: u32) -> String {
    let count = count.to_string();
    let read = ["-u", UNIT, "--no-pager", "-o", "cat", "-n", &count];
    let said = Program::new("journalctl").args(read).stdout().unwrap_or_else(|e| e);
    said.lines().map(|line| format!("\n  kubelet: {}", cut(line, 300))).collect()
}

/// A line up to a number of characters.
pub(super) fn cut(line: &str, most: usize) -> String {
    line.trim_end().chars().take(most).collect()
}
