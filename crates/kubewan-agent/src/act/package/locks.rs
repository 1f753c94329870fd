//! Locks of package managers: one installs at a time, and a first boot's upgrades may be under way.

use std::path::Path;
use std::time::{Duration, Instant};

use kubewan_core::packages::PackageManager;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::super::{Performing, rpm};

/// How long another program may hold the package lock. A first boot's upgrades take minutes.
const LOCK_MAX: Duration = Duration::from_secs(600);

/// Locks of dpkg and apt, as they take them.
const LOCKS: &[&str] =
    &["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/cache/apt/archives/lock"];

/// Waits until nobody else installs packages.
///
/// # Errors
/// Says who holds a lock for too long.
pub(super) fn wait_for_locks(
    manager: PackageManager,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let begun = Instant::now();
    let mut told: Option<Instant> = None;
    while let Some(pid) = installing(manager) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let holder = format!("{} (pid {pid})", name.trim());
        if begun.elapsed() > LOCK_MAX {
            return Err(format!(
                "the package lock is held by {holder} for more than {} minutes; see what it does there \
                 (`ps -fp {pid}`), then run kubewan again",
                LOCK_MAX.as_secs() / 60
            ));
        }
        if told.is_none_or(|at| at.elapsed() > Duration::from_secs(15)) {
            told = Some(Instant::now());
            (cx.progress)(&format!("waits for the package lock, held by {holder}"));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// The process that installs packages now.
fn installing(manager: PackageManager) -> Option<i32> {
    let locks: &[&str] = if manager.is_rpm() { &rpm::LOCKS } else { LOCKS };
    let locked = locks.iter().find_map(|path| lock_holder(Path::new(path)));
    let named = || rpm::PID_FILES.iter().find_map(|path| running(Path::new(path)));
    locked.or_else(|| manager.is_rpm().then(named).flatten())
}

/// The process that a file names, if there is one of that number.
fn running(path: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
}

/// The process that holds a lock on a file.
pub(super) fn lock_holder(path: &Path) -> Option<i32> {
    let file = std::fs::File::open(path).ok()?;
    let wanted = Flock::from(FlockType::WriteLock);
    let held = fcntl_getlk(&file, &wanted).ok()??;
    Some(held.pid.map_or(0, |pid| pid.as_raw_nonzero().get()))
}
