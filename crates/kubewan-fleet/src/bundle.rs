//! Bundles on the operator's machine: where they lie, and whether their files are what `bundle.yaml` says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use kubewan_core::bundle::{self, Artifact, Bundle};
use kubewan_core::finding::Finding;
use kubewan_core::inventory::Kubernetes;
use sha2::{Digest, Sha256};

use crate::upload::{Source, Sources};

/// Name of the file that describes a bundle.
pub(crate) const MANIFEST: &str = "bundle.yaml";

/// Go's names of the architectures that Kubernetes is released for and that a kubewan can be built for.
pub const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Most bytes of a `bundle.yaml`; a full one for two architectures has 40 kB.
const MANIFEST_MAX: u64 = 4 << 20;

/// A bundle on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleDir {
    /// Its folder.
    pub root: PathBuf,
    /// Its description.
    pub bundle: Bundle,
}

/// A bundle that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// There is none for the version.
    #[error("there is no bundle with Kubernetes {version} in {}", looked_in.display())]
    NotFound {
        /// The version that the inventory asks for.
        version: String,
        /// Where it was looked for.
        looked_in: PathBuf,
    },
    /// The folder has no readable description.
    #[error("can't read {}: {said}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What came back.
        said: String,
    },
    /// The description is wrong.
    #[error("{}: {said}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        said: String,
    },
    /// It holds another version.
    #[error("{} holds Kubernetes {found}, and the inventory asks for {wanted}", path.display())]
    OtherVersion {
        /// The bundle.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The inventory's.
        wanted: String,
    },
    /// Files of it are missing, or have another size than it says.
    #[error("{}: {}", path.display(), problems.join("; "))]
    Damaged {
        /// The bundle.
        path: PathBuf,
        /// What is wrong, one text a file.
        problems: Vec<String>,
    },
}

impl BundleError {
    /// The same for people and JSON.
    pub fn finding(&self) -> Finding {
        let (code, remedy) = match self {
            BundleError::NotFound { .. } => (
                "bundle-not-found",
                "make one with `kubewan bundle create`, name one with `kubernetes.bundle`, or use `source: release`",
            ),
            BundleError::Unreadable { .. } => (
                "bundle-unreadable",
                "`kubernetes.bundle` is a folder with a bundle.yaml, see docs/bundle.md",
            ),
            BundleError::Invalid { .. } => ("bundle-invalid", "see docs/bundle.md for its form"),
            BundleError::OtherVersion { .. } => {
                ("bundle-other-version", "set `kubernetes.version` to it, or use another bundle")
            }
            BundleError::Damaged { .. } => (
                "bundle-damaged",
                "copy or make it anew; `kubewan bundle check DIR` reads all of its files",
            ),
        };
        Finding::error(code, "", self.to_string(), remedy).for_cluster()
    }
}

/// The folder where bundles are found by version.
pub fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"));
    cache.join("kubewan/bundles")
}

/// The bundle that an inventory asks for. `base` is the inventory's folder.
///
/// # Errors
/// Fails where there is none, or it can't be used.
pub fn find(wanted: &Kubernetes, base: &Path, cache: &Path) -> Result<BundleDir, BundleError> {
    if let Some(path) = &wanted.bundle {
        let found = load(&base.join(path))?;
        if found.bundle.kubernetes != wanted.version {
            return Err(BundleError::OtherVersion {
                path: found.root,
                found: found.bundle.kubernetes,
                wanted: wanted.version.clone(),
            });
        }
        return Ok(found);
    }
    cached(cache).into_iter().find(|found| found.bundle.kubernetes == wanted.version).ok_or_else(
        || BundleError::NotFound { version: wanted.version.clone(), looked_in: cache.to_owned() },
    )
}

/// The cached bundle with the newest Kubernetes.
pub fn newest(cache: &Path) -> Option<BundleDir> {
    let version = |found: &BundleDir| -> Vec<u32> {
        found.bundle.kubernetes.split('.').filter_map(|part| part.parse().ok()).collect()
    };
    cached(cache).into_iter().max_by_key(version)
}

/// All cached bundles that can be read. A rehearsal is none of them: it never takes Kubernetes' place unasked.
fn cached(cache: &Path) -> Vec<BundleDir> {
    let mut folders: Vec<PathBuf> = fs::read_dir(cache)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    folders.sort();
    folders
        .iter()
        .filter(|folder| folder.join(MANIFEST).is_file())
        .filter_map(|folder| load(folder).ok())
        .filter(|found| !found.bundle.rehearsal)
        .collect()
}

/// Reads a folder's `bundle.yaml`.
///
/// # Errors
/// Fails where there is none, or it is wrong.
pub fn load(root: &Path) -> Result<BundleDir, BundleError> {
    let path = root.join(MANIFEST);
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(MANIFEST_MAX).read_to_string(&mut text))
        .map_err(|error| BundleError::Unreadable { path: path.clone(), said: error.to_string() })?;
    let bundle = bundle::parse(&text).map_err(|said| BundleError::Invalid { path, said })?;
    Ok(BundleDir { root: root.to_owned(), bundle })
}

/// SHA-256 of a file, lower-case hex.
pub(crate) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(kubewan_core::hex(&hash.finalize())),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

impl BundleDir {
    /// Where the bytes of its artifacts come from that this machine sends.
    pub fn sources(&self) -> Sources {
        self.bundle
            .artifacts
            .iter()
            .filter(|a| a.url.is_none())
            .map(|a| (a.sha256.clone(), Source::File(self.root.join(&a.path))))
            .collect()
    }

    /// Checks every file against its size and SHA-256; `done` hears the bytes of each file read. Answers what is
    /// wrong, one line a file.
    pub fn check(&self, done: &(dyn Fn(u64) + Sync)) -> Vec<String> {
        let waiting = Mutex::new(self.bundle.artifacts.iter());
        let problems = Mutex::new(Vec::new());
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().expect("no check panics").next();
                        let Some(artifact) = next else { return };
                        if let Err(problem) = self.check_one(artifact) {
                            let line = format!("{}: {problem}", artifact.path);
                            problems.lock().expect("no check panics").push(line);
                        }
                        done(artifact.size);
                    }
                });
            }
        });
        let mut problems = problems.into_inner().expect("no check panics");
        problems.extend(self.unlisted());
        problems.sort();
        problems
    }

    /// Whether every file that this machine sends is there and as long as `bundle.yaml` says: what a copy that was cut
    /// short lacks is seen before anything is changed. What the bytes are is checked as they are sent.
    ///
    /// # Errors
    /// [`BundleError::Damaged`] names the files.
    pub fn whole(self) -> Result<BundleDir, BundleError> {
        let sent = self.bundle.artifacts.iter().filter(|artifact| artifact.url.is_none());
        let problem = |artifact: &Artifact| {
            let said = self.sized(artifact).err()?;
            Some(format!("{}: {said}", artifact.path))
        };
        let problems: Vec<String> = sent.filter_map(problem).collect();
        if problems.is_empty() {
            return Ok(self);
        }
        Err(BundleError::Damaged { path: self.root, problems })
    }

    fn sized(&self, artifact: &Artifact) -> Result<(), String> {
        let metadata = fs::metadata(self.root.join(&artifact.path)).map_err(|e| e.to_string())?;
        let size = metadata.len();
        if !metadata.is_file() {
            return Err("is no file".into());
        }
        if size != artifact.size {
            return Err(format!("has {size} bytes, and bundle.yaml says {}", artifact.size));
        }
        Ok(())
    }

    fn check_one(&self, artifact: &Artifact) -> Result<(), String> {
        let said = |error: io::Error| error.to_string();
        let path = self.root.join(&artifact.path);
        self.sized(artifact)?;
        let sha256 = sha256_of(&path).map_err(said)?;
        if sha256 != artifact.sha256 {
            return Err(format!("has SHA-256 {sha256}, and bundle.yaml says {}", artifact.sha256));
        }
        Ok(())
    }

    /// Files that no artifact names: nothing travels unseen.
    fn unlisted(&self) -> Vec<String> {
        let listed: BTreeSet<&str> =
            self.bundle.artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
        let mut problems = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Ok(entries) => entries,
                Err(error) => {
                    problems.push(format!("{}: {error}", folder.display()));
                    continue;
                }
            };
            for entry in entries.flatten() {
                let path = folder.join(entry.file_name());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if path != Path::new(MANIFEST)
                    && !listed.contains(path.to_string_lossy().as_ref())
                {
                    problems.push(format!("{}: no artifact names it", path.display()));
                }
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, version: &str, rehearsal: bool) {
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/kubeadm"), "kubeadm").unwrap();
        let sha256 = kubewan_core::sha256_hex(b"kubeadm");
        let text = format!(
            "format: 1\nkubernetes: \"{version}\"\nrehearsal: {rehearsal}\nartifacts:\n  - {{ kind: binary, \
             name: kubeadm, version: \"{version}\", arch: amd64, path: bin/kubeadm, size: 7, sha256: {sha256} }}\n"
        );
        fs::write(root.join(MANIFEST), text).unwrap();
    }

    fn wanted(version: &str, bundle: Option<&str>) -> Kubernetes {
        let mut text = format!("{{\"version\": \"{version}\"");
        if let Some(bundle) = bundle {
            text += &format!(", \"bundle\": \"{bundle}\"");
        }
        serde_json::from_str(&(text + "}")).unwrap()
    }

    #[test]
    fn bundles_are_found_by_version_and_never_a_rehearsal_unasked() {
        let cache = tempfile::tempdir().unwrap();
        write(&cache.path().join("a"), "1.36.2", true);
        let error = find(&wanted("1.36.2", None), Path::new("/"), cache.path()).unwrap_err();
        assert!(matches!(error, BundleError::NotFound { .. }));
        write(&cache.path().join("b"), "1.36.2", false);
        let found = find(&wanted("1.36.2", None), Path::new("/"), cache.path()).unwrap();
        assert_eq!(found.root, cache.path().join("b"));
        let found = find(&wanted("1.36.2", Some("a")), cache.path(), Path::new("/none")).unwrap();
        assert!(found.bundle.rehearsal);
        let error = find(&wanted("1.36.3", Some("a")), cache.path(), Path::new("/")).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("holds Kubernetes 1.36.2, and the inventory asks for 1.36.3")
        );
    }

    #[test]
    fn a_check_finds_what_changed_and_what_is_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "1.36.2", false);
        let bundle = load(folder.path()).unwrap();
        assert_eq!(bundle.check(&|_| ()), Vec::<String>::new());
        fs::write(folder.path().join("bin/kubeadm"), "kubeadN").unwrap();
        fs::write(folder.path().join("bin/stowaway"), "").unwrap();
        let problems = bundle.check(&|_| ());
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("bin/kubeadm: has SHA-256 "), "{problems:?}");
        assert_eq!(problems[1], "bin/stowaway: no artifact names it");
        assert!(bundle.clone().whole().is_ok(), "as long as it says");
        fs::remove_file(folder.path().join("bin/kubeadm")).unwrap();
        assert!(bundle.check(&|_| ())[0].contains("No such file"));
    }
}
