//! What a cluster takes from elsewhere than a bundle: published checksums and keys are read here, and archives unpacked,
//! so that a plan knows every file by its content; hosts download the large ones themselves.

pub mod create;
pub mod fetch;
pub mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use kubewan_core::bundle::{Artifact, Bundle, FORMAT};
use kubewan_core::facts::Facts;
use kubewan_core::finding::Finding;
use kubewan_core::inventory::Inventory;
use kubewan_core::supply::{self, Download, Holds, Part};

use crate::bundle::{BundleDir, sha256_of};
use fetch::FetchError;

/// A key that was fetched is taken for that long. Its owner makes it valid for longer from time to time.
const KEY_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a cluster is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supply {
    /// Files, here or by URL.
    pub bundle: BundleDir,
    /// Keys of package repositories, by the URL they came from.
    pub keys: BTreeMap<String, String>,
}

impl Supply {
    /// A bundle, and this beside it.
    pub fn beside(self, mut bundle: BundleDir) -> Supply {
        for mut artifact in self.bundle.bundle.artifacts {
            artifact.path = self.bundle.root.join(&artifact.path).display().to_string();
            bundle.bundle.artifacts.push(artifact);
        }
        Supply { bundle, keys: self.keys }
    }
}

/// The folder for what was read and downloaded, beside that of bundles.
pub fn cache() -> PathBuf {
    crate::bundle::cache().with_file_name("downloads")
}

/// The same for people and JSON. `what`: what it was needed for.
fn finding(error: &FetchError) -> Finding {
    Finding::error(
        "download-failed",
        "",
        format!("can't download {error}"),
        "see whether this machine reaches that server; `mirrors` of the inventory names others, and a bundle needs none",
    )
    .for_cluster()
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
    let archs: BTreeSet<&str> = facts.values().map(|facts| facts.kernel.arch.as_str()).collect();
    let (mut artifacts, mut errors) = (Vec::new(), Vec::new());
    for arch in archs {
        for download in supply::downloads(inventory, arch) {
            match files_of(&download, arch, cache, tell) {
                Ok(files) => artifacts.extend(files),
                Err(error) => errors.push(error),
            }
        }
    }
    let mut keys = BTreeMap::new();
    let repositories = facts.values().flat_map(|facts| supply::repositories(inventory, &facts.os));
    let urls: BTreeSet<String> = repositories.map(|repository| repository.key_url).collect();
    for url in urls {
        match key(&url, cache) {
            Ok(text) => drop(keys.insert(url, text)),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors.iter().map(finding).collect());
    }
    let bundle = Bundle {
        format: FORMAT,
        kubernetes: inventory.kubernetes.version.clone(),
        rehearsal: false,
        provenance: String::new(),
        artifacts,
    };
    Ok(Supply { bundle: BundleDir { root: cache.to_owned(), bundle }, keys })
}

/// The files in a download. A program by itself is left to the hosts; an archive is fetched and unpacked here, since its
/// publisher gives no checksums of what is in it.
fn files_of(
    download: &Download,
    arch: &str,
    cache: &Path,
    tell: &dyn Fn(&str),
) -> Result<Vec<Artifact>, FetchError> {
    let sha256 = published(download, cache)?;
    match &download.holds {
        Holds::Program(part) => {
            let path = format!("bin/{arch}/{}", part.name);
            let url = Some(download.url.clone());
            Ok(vec![artifact(part, download, arch, path, 0, sha256, url)])
        }
        Holds::Archive(members) => {
            let folder = format!("files/{sha256}");
            let archive = cache.join(format!("{folder}.tar.gz"));
            if !archive.exists() {
                tell(&format!("downloads {}", download.file()));
            }
            fetch::checked(&download.url, &archive, &sha256, "", &|_| ())?;
            unpack(download, &archive, members.keys(), &cache.join(&folder))?;
            let file = |(member, part): (&String, &Part)| {
                let path = format!("{folder}/{member}");
                let failed = |error: io::Error| FetchError::new(&download.url, error.to_string());
                let whole = cache.join(&path);
                let size = fs::metadata(&whole).map_err(failed)?.len();
                let sha256 = sha256_of(&whole).map_err(failed)?;
                Ok(artifact(part, download, arch, path, size, sha256, None))
            };
            members.iter().map(file).collect()
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
        path,
        size,
        sha256,
        url,
    }
}

/// What the publisher says a file's SHA-256 is. Releases do not change, so it is asked once.
fn published(download: &Download, cache: &Path) -> Result<String, FetchError> {
    let kept = cache.join("sums").join(kubewan_core::sha256_hex(download.url.as_bytes()));
    if let Ok(text) = fs::read_to_string(&kept)
        && let Some(sha256) = supply::published(&text, download.file())
    {
        return Ok(sha256);
    }
    let text = fetch::text(&download.sums)?;
    let sha256 = supply::published(&text, download.file()).ok_or_else(|| {
        FetchError::new(&download.sums, format!("there is no SHA-256 of {} in it", download.file()))
    })?;
    keep(&kept, &format!("{sha256}  {}\n", download.file()))
        .map_err(|error| FetchError::new(&download.sums, error.to_string()))?;
    Ok(sha256)
}

/// A repository's key. An older one serves where its server does not answer.
fn key(url: &str, cache: &Path) -> Result<String, FetchError> {
    let kept = cache.join("keys").join(kubewan_core::sha256_hex(url.as_bytes()));
    let old = fs::read_to_string(&kept).ok().filter(|text| is_key(text));
    let written = fs::metadata(&kept).and_then(|metadata| metadata.modified()).ok();
    let age = written.and_then(|at| SystemTime::now().duration_since(at).ok());
    if let Some(old) = &old
        && age.is_some_and(|age| age < KEY_AGE)
    {
        return Ok(old.clone());
    }
    match fetch::text(url) {
        Ok(text) if is_key(&text) => {
            keep(&kept, &text).map_err(|error| FetchError::new(url, error.to_string()))?;
            Ok(text)
        }
        Ok(_) => Err(FetchError::new(url, "it is no PGP public key in ASCII armour")),
        Err(error) => old.ok_or(error),
    }
}

/// RFC 9580 §6.2.
fn is_key(text: &str) -> bool {
    text.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----")
}

fn keep(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(file.path(), text)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Unpacks some members of an archive into a folder, which gets its name once all are there.
fn unpack<'a>(
    download: &Download,
    archive: &Path,
    members: impl Iterator<Item = &'a String>,
    folder: &Path,
) -> Result<(), FetchError> {
    if folder.exists() {
        return Ok(());
    }
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
