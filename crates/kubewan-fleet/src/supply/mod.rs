//! What a cluster takes from elsewhere than a bundle: published checksums and keys are read here, and archives unpacked,
//! so that a plan knows every file by its content; hosts download the large ones themselves.

pub mod create;
pub mod fetch;
pub mod packages;
pub mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use kubewan_core::bundle::{Artifact, ArtifactKind, Bundle, FORMAT};
use kubewan_core::facts::Facts;
use kubewan_core::finding::Finding;
use kubewan_core::inventory::Inventory;
use kubewan_core::registry::Registries;
use kubewan_core::supply::{self, Download, Holds, Part, Sums};

use rustix::fs::FlockOperation;

use crate::bundle::{BundleDir, sha256_of};
use fetch::FetchError;

/// How long a checksum or a key is not asked for again.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// What a cluster is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    /// Files, here or by URL.
    pub bundle: BundleDir,
    /// Keys of package repositories, by the URL they came from.
    pub keys: BTreeMap<String, String>,
    /// What the files of the inventory's registries hold.
    pub registries: Registries,
}

impl Supply {
    /// A bundle, and this beside it: of a program that both have, this one.
    pub fn beside(self, mut bundle: BundleDir) -> Supply {
        let own: BTreeSet<(ArtifactKind, String, String)> =
            self.bundle.bundle.artifacts.iter().map(identity).collect();
        bundle.bundle.artifacts.retain(|artifact| !own.contains(&identity(artifact)));
        for mut artifact in self.bundle.bundle.artifacts {
            artifact.path = self.bundle.root.join(&artifact.path).display().to_string();
            bundle.bundle.artifacts.push(artifact);
        }
        Supply { bundle, ..self }
    }
}

/// What only one file of a cluster can be.
fn identity(artifact: &Artifact) -> (ArtifactKind, String, String) {
    (artifact.kind, artifact.name.clone(), artifact.arch.clone())
}

/// The folder for what was read and downloaded, beside that of bundles.
pub fn cache() -> PathBuf {
    crate::bundle::cache().with_file_name("downloads")
}

/// The same for people and JSON.
fn finding(error: &FetchError) -> Finding {
    Finding::error(
        "download-failed",
        "",
        format!("can't download {error}"),
        "see whether this machine reaches that server; `mirrors` of the inventory names others, and a bundle needs none",
    )
    .for_cluster()
}

/// Nobody else downloads into the folder until this is dropped: two would spoil each other's half-done files. `tell` hears where
/// somebody is waited for.
fn locked(cache: &Path, tell: &dyn Fn(&str)) -> io::Result<File> {
    fs::create_dir_all(cache)?;
    let lock = File::create(cache.join("lock"))?;
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        tell(&format!(
            "waits for another kubewan on this machine, which downloads into {}",
            cache.display()
        ));
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    }
    Ok(lock)
}

/// Finds out what the hosts of a cluster need, where no bundle brings it. What was found out once is remembered.
/// `tell` hears what is being downloaded, where that takes time.
///
/// # Errors
/// Fails with everything that could not be had.
pub fn resolve(
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
    cache: &Path,
    tell: &dyn Fn(&str),
) -> Result<Supply, Vec<Finding>> {
    if !supply::is_looked_up(inventory) {
        let bundle = of(inventory, cache, Vec::new());
        return Ok(Supply { bundle, keys: BTreeMap::new(), registries: Registries::new() });
    }
    let _lock = locked(cache, tell).map_err(|error| {
        vec![finding(&FetchError::new(&cache.display().to_string(), error.to_string()))]
    })?;
    let archs: BTreeSet<&str> = facts.values().map(|facts| facts.kernel.arch.as_str()).collect();
    let (mut artifacts, mut errors) = (Vec::new(), Vec::new());
    for arch in archs {
        for download in supply::downloads(inventory, arch) {
            match files_of(&download, arch, cache, tell, &|_| ()) {
                Ok(files) => artifacts.extend(files),
                Err(error) => errors.push(error),
            }
        }
    }
    let mut keys = BTreeMap::new();
    let repositories = facts.values().flat_map(|facts| supply::repositories(inventory, &facts.os));
    let urls: BTreeSet<String> = repositories.filter_map(|repository| repository.key_url).collect();
    for url in urls {
        match key(&url, cache) {
            Ok(text) => drop(keys.insert(url, text)),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors.iter().map(finding).collect());
    }
    Ok(Supply { bundle: of(inventory, cache, artifacts), keys, registries: Registries::new() })
}

/// Files as a bundle describes them.
fn of(inventory: &Inventory, cache: &Path, artifacts: Vec<Artifact>) -> BundleDir {
    let bundle = Bundle {
        format: FORMAT,
        kubernetes: inventory.kubernetes.version.clone(),
        rehearsal: false,
        provenance: String::new(),
        artifacts,
    };
    BundleDir { root: cache.to_owned(), bundle }
}

/// The files in a download. A program by itself is left to the hosts; an archive is fetched and unpacked here, since its
/// publisher gives no checksums of what is in it.
fn files_of(
    download: &Download,
    arch: &str,
    cache: &Path,
    tell: &dyn Fn(&str),
    progress: &dyn Fn(u64),
) -> Result<Vec<Artifact>, FetchError> {
    let sha256 = published(download, cache)?;
    match &download.holds {
        Holds::Program(part) => {
            let path = format!("bin/{arch}/{}", part.name);
            let url = Some(download.url.clone());
            Ok(vec![artifact(part, download, arch, path, 0, sha256, url)])
        }
        Holds::Archive(members) => {
            let archive = cache.join(format!("files/{sha256}.tar.gz"));
            if !archive.exists() {
                tell(&format!("downloads {}", download.file()));
            }
            fetch::checked(&download.url, &archive, &sha256, "", progress)?;
            let folder = format!("files/{sha256}");
            let sums = unpacked(download, &archive, members.keys(), &cache.join(&folder))?;
            let file = |(member, part): (&String, &Part)| {
                let (size, sha256) = sums[member].clone();
                artifact(part, download, arch, format!("{folder}/{member}"), size, sha256, None)
            };
            Ok(members.iter().map(file).collect())
        }
    }
}

fn artifact(
    part: &Part,
    download: &Download,
    arch: &str,
    path: String,
    size: u64,
    sha256: String,
    url: Option<String>,
) -> Artifact {
    Artifact {
        kind: part.kind,
        name: part.name.clone(),
        version: download.version.clone(),
        arch: arch.into(),
        distribution: None,
        runtime: None,
        path,
        size,
        sha256,
        url,
    }
}

/// What the publisher says a file's SHA-256 is.
fn published(download: &Download, cache: &Path) -> Result<String, FetchError> {
    let url = match &download.sums {
        Sums::Known(sha256) => return Ok((*sha256).to_owned()),
        Sums::At(url) => url,
    };
    let of = |text: &str| supply::published(text, download.file());
    let what = format!("there is no SHA-256 of {} in it", download.file());
    let text = remembered(url, &cache.join("sums"), &|text| of(text).is_some(), &what)?;
    Ok(of(&text).expect("remembered() gives what passes"))
}

/// A repository's key.
fn key(url: &str, cache: &Path) -> Result<String, FetchError> {
    remembered(url, &cache.join("keys"), &is_key, "it is no PGP public key in ASCII armour")
}

/// A text of a publisher's: asked for again after an hour, since a mirror may have been half-way through an update, and the
/// one that is remembered where no better one is to be had.
fn remembered(
    url: &str,
    folder: &Path,
    fits: &dyn Fn(&str) -> bool,
    else_said: &str,
) -> Result<String, FetchError> {
    let kept = folder.join(kubewan_core::sha256_hex(url.as_bytes()));
    let old = fs::read_to_string(&kept).ok().filter(|text| fits(text));
    let written = fs::metadata(&kept).and_then(|metadata| metadata.modified()).ok();
    let age = written.and_then(|at| SystemTime::now().duration_since(at).ok());
    if let Some(old) = &old
        && age.is_some_and(|age| age < REMEMBERED)
    {
        return Ok(old.clone());
    }
    let asked = fetch::text(url).and_then(|text| match fits(&text) {
        true => Ok(text),
        false => Err(FetchError::new(url, else_said)),
    });
    match asked {
        Ok(text) => {
            keep(&kept, &text).map_err(|error| FetchError::new(url, error.to_string()))?;
            Ok(text)
        }
        Err(error) => old.ok_or(error),
    }
}

/// RFC 9580 §6.2.
pub(crate) fn is_key(text: &str) -> bool {
    text.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----")
}

fn keep(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(file.path(), text)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Unpacks some members of an archive, and answers the size and SHA-256 of each. What was unpacked before is taken where it
/// is still what it was then.
fn unpacked<'a>(
    download: &Download,
    archive: &Path,
    members: impl Iterator<Item = &'a String> + Clone,
    folder: &Path,
) -> Result<BTreeMap<String, (u64, String)>, FetchError> {
    let failed = |error: io::Error| FetchError::new(&download.url, error.to_string());
    let measured = || -> io::Result<BTreeMap<String, (u64, String)>> {
        let measure = |member: &String| {
            let path = folder.join(member);
            Ok((member.clone(), (fs::metadata(&path)?.len(), sha256_of(&path)?)))
        };
        members.clone().map(measure).collect()
    };
    let list = folder.with_extension("sums");
    let text = |sums: &BTreeMap<String, (u64, String)>| -> String {
        sums.iter().map(|(member, (_, sha256))| format!("{sha256}  {member}\n")).collect()
    };
    if let (Ok(sums), Ok(then)) = (measured(), fs::read_to_string(&list))
        && text(&sums) == then
    {
        return Ok(sums);
    }
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    unpack(download, archive, members.clone(), folder)?;
    let sums = measured().map_err(failed)?;
    keep(&list, &text(&sums)).map_err(failed)?;
    Ok(sums)
}

/// Unpacks some members of an archive into a folder, which gets its name once all are there.
fn unpack<'a>(
    download: &Download,
    archive: &Path,
    members: impl Iterator<Item = &'a String>,
    folder: &Path,
) -> Result<(), FetchError> {
    let wrong = |said: String| FetchError::new(&download.url, said);
    let failed = |error: io::Error| wrong(error.to_string());
    let parent = folder.parent().unwrap_or(Path::new("."));
    let building =
        tempfile::Builder::new().prefix(".unpacking").tempdir_in(parent).map_err(failed)?;
    // Some archives have their members as `./bridge`, others as `bridge`.
    let names: Vec<String> = members.map(|name| format!("./{name}\n{name}\n")).collect();
    let list = building.path().join(".members");
    fs::write(&list, names.concat()).map_err(failed)?;
    let inner = building.path().join("files");
    fs::create_dir(&inner).map_err(failed)?;
    let output = Command::new("tar")
        .args(["--extract", "--gzip", "--no-same-owner", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(&inner)
        .arg("--files-from")
        .arg(&list)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| wrong(format!("tar could not be started: {error}")))?;
    // tar complains of each of two spellings that is not there; what counts is what came.
    let lacks = names.iter().filter_map(|two| two.lines().nth(1)).find(|name| {
        !fs::symlink_metadata(inner.join(name)).is_ok_and(|metadata| metadata.is_file())
    });
    if let Some(name) = lacks {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().next().unwrap_or_default().to_owned();
        return Err(wrong(format!("there is no {name} in it ({last})")));
    }
    fs::rename(&inner, folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_waits_for_another_download_says_so() {
        let cache = tempfile::tempdir().unwrap();
        let first = locked(cache.path(), &|_| panic!("there is nobody to wait for")).unwrap();
        let (said, hears) = channel();
        let path = cache.path().to_owned();
        let second = std::thread::spawn(move || {
            locked(&path, &|what| said.send(what.to_owned()).unwrap()).map(drop)
        });
        assert!(hears.recv().unwrap().starts_with("waits for another kubewan"));
        drop(first);
        second.join().unwrap().unwrap();
    }
}
