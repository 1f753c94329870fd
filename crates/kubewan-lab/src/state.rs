//! What the lab remembers of itself, so that `down` finds everything even after a half-made `up`
//! or a restart of this machine.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::OnPath;
use crate::kernel::CgroupLayout;
use crate::layer::Layer;
use crate::machine::Machine;
use crate::netem::Holder;
use crate::seed::Identity;
use crate::sysctl::Sysctls;
use crate::topology::{Host, Topology, is_lab_name};
use crate::{LabError, layer};

/// Where labs keep everything but what the user looks at: each has a folder of its own, called after it.
pub(crate) const STORAGE: &str = "/var/lib/kubewan-lab";

/// Raised when [`State`] changes its shape.
const FORMAT: u32 = 2;

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
    /// The images' folders by their names.
    pub(crate) images: BTreeMap<String, PathBuf>,
    pub(crate) topology: Topology,
    /// First values of this machine's settings, as they stood before the first of the labs side by side.
    pub(crate) sysctls: Sysctls,
    /// The program that holds packets back, and its arguments.
    pub(crate) forwarder: Vec<String>,
    /// What holds packets back: that program, or the kernel's netem. The same for all ways, as long as the lab is there.
    #[serde(default)]
    pub(crate) holder: Holder,
}

/// A file in the user's folder that goes with the lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) name: String,
    /// Where set, the file is kept when it has become another since.
    pub(crate) sha256: Option<String>,
}

impl State {
    pub(crate) fn new(dir: PathBuf, topology: Topology, sysctls: Sysctls) -> Self {
        Self {
            format: FORMAT,
            complete: false,
            boot: boot(),
            made_dir: !dir.exists(),
            dir,
            written: Vec::new(),
            images: BTreeMap::new(),
            topology,
            sysctls,
            forwarder: Vec::new(),
            holder: Holder::default(),
        }
    }

    /// The lab's name.
    pub(crate) fn name(&self) -> &str {
        &self.topology.lab
    }

    /// The state of the lab that is there, or nothing.
    pub(crate) fn load(lab: &str) -> Result<Option<Self>, LabError> {
        let path = file(lab);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).on("read", &path),
        };
        match serde_json::from_str::<Self>(&text) {
            Ok(state) if state.format == FORMAT => Ok(Some(state)),
            _ => Err(LabError::AlreadyUp {
                found: format!("{} is of another version of kubewan", path.display()),
                next: format!("`kubewan lab down {lab}`, then try again"),
            }),
        }
    }

    /// All labs that are there, and can be read.
    pub(crate) fn all() -> Vec<Self> {
        names().iter().filter_map(|lab| Self::load(lab).ok().flatten()).collect()
    }

    /// Writes it so that a reader sees the old or the new one whole.
    pub(crate) fn save(&self) -> Result<(), LabError> {
        let path = file(self.name());
        let unfinished = path.with_extension("new");
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        fs::write(&unfinished, text).on("write", &unfinished)?;
        fs::rename(&unfinished, &path).on("write", &path)
    }

    /// A host's machine.
    pub(crate) fn machine<'a>(&'a self, host: &'a Host, cgroups: &'a CgroupLayout) -> Machine<'a> {
        let folder = host_folder(self.name(), &host.name);
        let image = self.images.get(&host.image.name()).cloned().unwrap_or_default();
        Machine {
            lab: self.name(),
            host,
            layer: Layer::new(folder.clone(), image),
            product_uuid: Identity::at(folder.join("identity")).product_uuid(),
            cgroups,
            folder,
        }
    }

    /// Whether this machine has been restarted since.
    pub(crate) fn is_of_earlier_boot(&self) -> bool {
        self.boot != boot()
    }
}

/// The names of the labs that have a folder.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(STORAGE).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| is_lab_name(name));
    names.sort();
    names
}

/// What belongs to one lab.
pub(crate) fn folder(lab: &str) -> PathBuf {
    Path::new(STORAGE).join(lab)
}

/// What belongs to one host.
pub(crate) fn host_folder(lab: &str, host: &str) -> PathBuf {
    folder(lab).join("hosts").join(host)
}

/// What belongs to the ways that are not plain.
pub(crate) fn paths_folder(lab: &str) -> PathBuf {
    folder(lab).join("paths")
}

/// What belongs to the way between two clouds.
pub(crate) fn path_folder(lab: &str, way: &str) -> PathBuf {
    paths_folder(lab).join(way)
}

/// Keeps other kubewan commands from changing this lab at the same time, until it is dropped.
pub(crate) fn lock(lab: &str) -> Result<File, LabError> {
    lock_folder(&folder(lab))
}

/// Whether another command holds [`lock`].
pub(crate) fn is_locked(lab: &str) -> bool {
    File::open(folder(lab))
        .is_ok_and(|folder| matches!(folder.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Keeps other labs from choosing addresses at the same time, until it is dropped. Held for moments.
pub(crate) fn lock_all() -> Result<File, LabError> {
    lock_folder(Path::new(STORAGE))
}

fn lock_folder(storage: &Path) -> Result<File, LabError> {
    const SECONDS_MAX: u64 = 60;
    let open = || {
        fs::create_dir_all(storage).on("make the folder", storage)?;
        File::open(storage).on("open", storage)
    };
    let mut folder = open()?;
    let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX);
    loop {
        match folder.try_lock() {
            Ok(()) if is_still_at(&folder, storage) => return Ok(folder),
            // Whoever held the lock has removed the lab, and with it the folder.
            Ok(()) => folder = open()?,
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

/// Removes everything from a lab's storage but its own folder.
pub(crate) fn clear_storage(lab: &str) -> Result<(), LabError> {
    let storage = folder(lab);
    layer::unmount_below(&storage)?;
    for entry in fs::read_dir(&storage).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            layer::remove_tree(&path)?;
        } else {
            fs::remove_file(&path).on("remove", &path)?;
        }
    }
    Ok(())
}

/// Removes a lab's cleared storage; the lock on it ends with its holder.
pub(crate) fn remove_storage(lab: &str) -> Result<(), LabError> {
    let storage = folder(lab);
    fs::remove_dir(&storage).on("remove", &storage)?;
    // Stays while another lab is in it.
    let _ = fs::remove_dir(STORAGE);
    Ok(())
}

fn is_still_at(folder: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((folder.metadata(), path.metadata()), (Ok(a), Ok(b)) if same(&a, &b))
}

fn file(lab: &str) -> PathBuf {
    folder(lab).join("state.json")
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
