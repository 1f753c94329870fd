//! What the lab remembers of itself, so that `down` finds everything even after a half-made `up`
//! or a restart of this machine.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::OnPath;
use crate::sysctl::Sysctls;
use crate::topology::Topology;
use crate::{LabError, layer};

/// Where the lab keeps everything but what the user looks at. One place, as there is one lab at
/// a time, so that `down` needs no argument.
pub(crate) const STORAGE: &str = "/var/lib/kubewan-lab";

/// Raised when [`State`] changes its shape.
const FORMAT: u32 = 1;

/// Written before the first effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    /// Whether `up` came to its end.
    pub(crate) complete: bool,
    /// This machine's boot: with another one, all processes, mounts and namespaces are gone.
    boot: String,
    /// The user's folder.
    pub(crate) dir: PathBuf,
    /// Whether the lab made that folder.
    pub(crate) made_dir: bool,
    /// Files in it that the lab wrote, and the sum of those that a user may have edited.
    pub(crate) written: Vec<Written>,
    pub(crate) image: PathBuf,
    pub(crate) topology: Topology,
    pub(crate) sysctls: Sysctls,
}

/// A file in the user's folder that goes with the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) name: String,
    /// Where set, the file is kept when it has become another since.
    pub(crate) sha256: Option<String>,
}

impl State {
    pub(crate) fn new(dir: PathBuf, image: PathBuf, topology: Topology, sysctls: Sysctls) -> Self {
        let boot = boot();
        Self {
            format: FORMAT,
            complete: false,
            boot,
            made_dir: !dir.exists(),
            dir,
            written: Vec::new(),
            image,
            topology,
            sysctls,
        }
    }

    /// The state of the lab that is there, or nothing.
    pub(crate) fn load() -> Result<Option<Self>, LabError> {
        let path = file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).on("read", &path),
        };
        match serde_json::from_str::<Self>(&text) {
            Ok(state) if state.format == FORMAT => Ok(Some(state)),
            _ => Err(LabError::AlreadyUp {
                found: format!("{} is of another version of kubewan", path.display()),
                next: "`kubewan lab down`, then try again".into(),
            }),
        }
    }

    /// Writes it so that a reader sees the old or the new one whole.
    pub(crate) fn save(&self) -> Result<(), LabError> {
        let path = file();
        let unfinished = path.with_extension("new");
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        fs::write(&unfinished, text).on("write", &unfinished)?;
        fs::rename(&unfinished, &path).on("write", &path)
    }

    /// Whether this machine has been restarted since.
    pub(crate) fn is_of_earlier_boot(&self) -> bool {
        self.boot != boot()
    }
}

/// What belongs to one host.
pub(crate) fn host_folder(host: &str) -> PathBuf {
    Path::new(STORAGE).join("hosts").join(host)
}

/// Keeps other kubewan commands from changing the lab at the same time, until it is dropped.
pub(crate) fn lock() -> Result<File, LabError> {
    const SECONDS_MAX: u64 = 60;
    let storage = Path::new(STORAGE);
    fs::create_dir_all(storage).on("make the folder", storage)?;
    let mut folder = File::open(storage).on("open", storage)?;
    let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX);
    loop {
        match folder.try_lock() {
            Ok(()) if is_still_at(&folder, storage) => return Ok(folder),
            // Whoever held the lock has removed the lab, and with it the folder.
            Ok(()) => {
                fs::create_dir_all(storage).on("make the folder", storage)?;
                folder = File::open(storage).on("open", storage)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).on("lock", storage),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(LabError::TimedOut {
                    awaited: "another `kubewan lab` command on this machine".into(),
                    seconds: SECONDS_MAX,
                    came_back: format!("{} is still locked", storage.display()),
                    next: "wait until it is done, or end it".into(),
                });
            }
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(100)),
        }
    }
}

/// Removes everything from the storage but its own folder.
pub(crate) fn clear_storage() -> Result<(), LabError> {
    let storage = Path::new(STORAGE);
    layer::unmount_below(storage)?;
    for entry in fs::read_dir(storage).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            layer::remove_tree(&path)?;
        } else {
            fs::remove_file(&path).on("remove", &path)?;
        }
    }
    Ok(())
}

/// Removes the cleared storage; the lock on it ends with its holder.
pub(crate) fn remove_storage() -> Result<(), LabError> {
    let storage = Path::new(STORAGE);
    fs::remove_dir(storage).on("remove", storage)
}

fn is_still_at(folder: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((folder.metadata(), path.metadata()), (Ok(a), Ok(b)) if same(&a, &b))
}

fn file() -> PathBuf {
    Path::new(STORAGE).join("state.json")
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
