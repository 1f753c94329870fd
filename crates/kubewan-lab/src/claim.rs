//! Labs that belong to one process, as those of tests and benchmarks do. One that is killed leaves its lab behind, and
//! the next one must neither stumble over it nor remove a lab that a user works with.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::OnPath;
use crate::lab::Lab;
use crate::state::State;
use crate::{LabError, layer};

/// How folders of claimed labs begin.
const PREFIX: &str = "kubewan-claim-";

/// A folder for labs that end with this value: dropping it removes the labs in it, and the folder.
#[derive(Debug)]
pub struct Claim {
    dir: PathBuf,
    /// Locked as long as the process lives; the kernel frees it, however the process ends (flock(2)).
    _lock: File,
}

impl Claim {
    /// Makes the folder, and removes labs that ended processes had claimed, where they are still there.
    ///
    /// # Errors
    /// Fails where the folder can't be made or such a lab can't be removed.
    pub fn new() -> Result<Claim, LabError> {
        // Two that begin at once must not remove the same lab.
        let all = std::env::temp_dir().join(format!("{PREFIX}lock"));
        let one_at_a_time = File::create(&all).on("make", &all)?;
        one_at_a_time.lock().on("lock", &all)?;
        for state in State::all().iter().filter(|state| is_orphan(&state.dir)) {
            Lab::down(state.name(), &mut |_| {})?;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{PREFIX}{}-{}", std::process::id(), since.as_nanos());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).on("make the folder", &dir)?;
        let lock = File::open(&dir).on("open", &dir)?;
        lock.lock().on("lock", &dir)?;
        Ok(Claim { dir, _lock: lock })
    }

    /// The folder, for the lab's own and whatever else goes with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder for the usual lab's files; those of others go beside it.
    pub fn lab_dir(&self) -> PathBuf {
        self.dir.join("lab")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for state in State::all().iter().filter(|state| state.dir.starts_with(&self.dir)) {
            if let Err(error) = Lab::down(state.name(), &mut |_| {}) {
                eprintln!("lab down: {error}");
            }
        }
        let _ = layer::remove_tree(&self.dir);
    }
}

/// Whether a lab's folder was claimed by a process that has ended.
fn is_orphan(lab_dir: &Path) -> bool {
    let Some(claimed) = lab_dir.parent() else { return false };
    let name = claimed.file_name().unwrap_or_default().to_string_lossy();
    if claimed.parent() != Some(&std::env::temp_dir()) || !name.starts_with(PREFIX) {
        return false;
    }
    match File::open(claimed) {
        Ok(folder) => folder.try_lock().is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_any_more_is_an_orphan() {
        let held = std::env::temp_dir().join(format!("{PREFIX}test-{}", std::process::id()));
        fs::create_dir(&held).unwrap();
        let lock = File::open(&held).unwrap();
        lock.lock().unwrap();
        assert!(!is_orphan(&held.join("lab")));
        drop(lock);
        assert!(is_orphan(&held.join("lab")));
        fs::remove_dir(&held).unwrap();
        assert!(is_orphan(&held.join("lab")), "its folder was cleaned away");
        assert!(!is_orphan(&std::env::temp_dir().join("mine/lab")));
        assert!(!is_orphan(Path::new("/root").join(format!("{PREFIX}1/lab")).as_path()));
        assert!(!is_orphan(Path::new("/")));
    }
}
