//! `bundle create`: everything a cluster needs, downloaded into a folder. Interrupted, it goes on where it was: what is
//! there and right is not fetched again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use kubewan_core::bundle::{self, Artifact, ArtifactKind, Bundle, FORMAT};
use kubewan_core::inventory::Inventory;
use kubewan_core::supply::{self, Part};

use super::fetch::{self, FetchError};
use super::{files_of, locked, published, registry};
use crate::bundle::{MANIFEST, sha256_of};
use crate::program::go_arch;

/// Folder of the cache for parts of images, which are large and of no use once the bundle is whole. Not in the bundle's own:
/// that may lie on a disk without hard links.
const PARTS: &str = "parts";

/// What is wanted.
pub struct Wanted<'a> {
    /// The version, the mirrors and the images' repository.
    pub inventory: &'a Inventory,
    /// Go's names of the architectures.
    pub archs: &'a BTreeSet<String>,
    /// The bundle's folder.
    pub folder: &'a Path,
    /// Where published checksums are remembered.
    pub cache: &'a Path,
}

/// How far it is.
pub enum Step<'a> {
    /// Something is begun: its name.
    Begun(&'a str),
    /// Bytes of it that are there.
    Bytes(u64),
}

/// Fills the folder, and describes it last: without its description it is no bundle.
///
/// # Errors
/// Fails with the first thing that could not be had; what came before stays for the next try.
pub fn create(wanted: &Wanted, tell: &dyn Fn(Step)) -> Result<Bundle, FetchError> {
    let _lock = locked(wanted.cache, &|what| tell(Step::Begun(what)))
        .map_err(|error| local(wanted.cache, &error))?;
    // What is described must not change. The bundle that is there stays one where nothing of it was replaced: it may be all that a
    // site without servers has.
    let described = wanted.folder.join(MANIFEST);
    let before = fs::read(&described).ok();
    if before.is_some() {
        fs::remove_file(&described).map_err(|error| local(&described, &error))?;
    }
    let began = SystemTime::now();
    let made = filled(wanted, tell);
    if let (Err(_), Some(text)) = (&made, before)
        && is_as_it_was(wanted.folder, &text, began)
    {
        fs::write(&described, text).map_err(|error| local(&described, &error))?;
    }
    made
}

/// Whether every file that a bundle's description names is there since before.
fn is_as_it_was(folder: &Path, text: &[u8], before: SystemTime) -> bool {
    let Ok(bundle) = bundle::parse(&String::from_utf8_lossy(text)) else { return false };
    bundle.artifacts.iter().all(|artifact| {
        let metadata = fs::metadata(folder.join(&artifact.path));
        let is_old = |at: io::Result<SystemTime>| at.is_ok_and(|at| at < before);
        metadata.is_ok_and(|file| file.len() == artifact.size && is_old(file.modified()))
    })
}

fn filled(wanted: &Wanted, tell: &dyn Fn(Step)) -> Result<Bundle, FetchError> {
    let mut artifacts = Vec::new();
    for arch in wanted.archs {
        let kubernetes = supply::kubernetes(wanted.inventory, arch);
        let runtime = supply::runtime(wanted.inventory, arch);
        for download in kubernetes.iter().chain(&runtime) {
            artifacts.extend(files(wanted, download, arch, tell)?);
        }
    }
    let names = images(wanted, tell)?;
    for arch in wanted.archs {
        for name in &names {
            artifacts.push(image(wanted, name, arch, tell)?);
        }
    }
    let bundle = Bundle {
        format: FORMAT,
        kubernetes: wanted.inventory.kubernetes.version.clone(),
        rehearsal: false,
        provenance: provenance(wanted.inventory),
        artifacts,
    };
    describe(wanted.folder, &bundle).map_err(|error| local(wanted.folder, &error))?;
    let _ = fs::remove_dir_all(wanted.cache.join(PARTS));
    Ok(bundle)
}

fn local(path: &Path, error: &io::Error) -> FetchError {
    FetchError::new(&path.display().to_string(), error.to_string())
}

fn provenance(inventory: &Inventory) -> String {
    let mirrors = &inventory.mirrors;
    let images: Vec<String> =
        mirrors.images.iter().map(|(name, url)| format!("{name} from {url}")).collect();
    let images = if images.is_empty() { "their registries".into() } else { images.join(", ") };
    format!(
        "Kubernetes' programs from {}, CNI plugins, containerd and runc from {}, images of {} and flannel's from {images}; \
         files by the checksums that were published with them, images by their tags",
        mirrors.kubernetes, mirrors.github, inventory.kubernetes.image_repository
    )
}

/// The programs of one download, at their places in the bundle.
fn files(
    wanted: &Wanted,
    download: &supply::Download,
    arch: &str,
    tell: &dyn Fn(Step),
) -> Result<Vec<Artifact>, FetchError> {
    let progress = |bytes| tell(Step::Bytes(bytes));
    tell(Step::Begun(&format!("{} {} for {arch}", download.file(), download.version)));
    let found = files_of(download, arch, wanted.cache, &|_| (), &progress)?;
    let place = |mut artifact: Artifact| {
        let part = Part { kind: artifact.kind, name: artifact.name.clone() };
        let path = place(&part, arch);
        let to = wanted.folder.join(&path);
        match artifact.url.take() {
            Some(url) => fetch::checked(&url, &to, &artifact.sha256, "", &progress)?,
            None => copy(&wanted.cache.join(&artifact.path), &to, &artifact.sha256)
                .map_err(|error| local(&to, &error))?,
        }
        artifact.size = fs::metadata(&to).map_err(|error| local(&to, &error))?.len();
        artifact.path = path;
        Ok(artifact)
    };
    found.into_iter().map(place).collect()
}

/// Copies a file, unless it is there.
pub(super) fn copy(from: &Path, to: &Path, sha256: &str) -> io::Result<()> {
    if to.exists() && sha256_of(to)? == sha256 {
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
    fs::copy(from, to).map(drop)
}

/// Where a program lies in a bundle.
fn place(part: &Part, arch: &str) -> String {
    let folder = match part.kind {
        ArtifactKind::CniPlugin => "cni",
        ArtifactKind::Runtime => "runtime",
        ArtifactKind::Binary | ArtifactKind::Image | ArtifactKind::Package => "bin",
    };
    format!("{folder}/{arch}/{}", part.name)
}

/// The images of a cluster: kubeadm itself says which its control plane takes.
fn images(wanted: &Wanted, tell: &dyn Fn(Step)) -> Result<Vec<String>, FetchError> {
    let inventory = wanted.inventory;
    let kubeadm = own_kubeadm(wanted, tell)?;
    let version = format!("v{}", inventory.kubernetes.version);
    let output = Command::new(&kubeadm)
        .args(["config", "images", "list", "--kubernetes-version", &version])
        .args(["--image-repository", &inventory.kubernetes.image_repository])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| local(&kubeadm, &error))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: BTreeSet<String> = printed
        .lines()
        .map(str::trim)
        .filter(|line| registry::Reference::parse(line).is_some())
        .map(|name| supply::as_pulled(inventory, name))
        .collect();
    if names.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let url = kubeadm.display().to_string();
        return Err(FetchError::new(&url, format!("it names no images: {said}")));
    }
    names.extend(supply::images(inventory, true));
    Ok(names.into_iter().collect())
}

/// A kubeadm that this machine can run, in the cache: the bundle's folder may be one where nothing can be run.
fn own_kubeadm(wanted: &Wanted, tell: &dyn Fn(Step)) -> Result<PathBuf, FetchError> {
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    let all = supply::kubernetes(wanted.inventory, go_arch(&machine));
    let download = all.iter().find(|download| download.file() == "kubeadm");
    let download = download.expect("kubeadm is one of Kubernetes' programs");
    let sha256 = published(download, wanted.cache)?;
    let path = wanted.cache.join(PARTS).join("kubeadm");
    let bundled = wanted.folder.join(format!("bin/{}/kubeadm", go_arch(&machine)));
    if !bundled.exists() || copy(&bundled, &path, &sha256).is_err() {
        tell(Step::Begun("kubeadm for this machine, which knows the images"));
    }
    fetch::checked(&download.url, &path, &sha256, "", &|bytes| tell(Step::Bytes(bytes)))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(|error| local(&path, &error))?;
    Ok(path)
}

/// An image's archive. One that is there was whole when it got its name, which is the image's own.
fn image(
    wanted: &Wanted,
    name: &str,
    arch: &str,
    tell: &dyn Fn(Step),
) -> Result<Artifact, FetchError> {
    let path = format!("images/{arch}/{}.tar", name.replace(['/', ':'], "_"));
    let archive = wanted.folder.join(&path);
    tell(Step::Begun(&format!("{name} for {arch}")));
    if !archive.exists() {
        let parts = wanted.cache.join(PARTS);
        let mirrors = &wanted.inventory.mirrors.images;
        registry::pull(name, arch, mirrors, &parts, &archive, &|bytes| tell(Step::Bytes(bytes)))?;
    }
    let failed = |error: io::Error| local(&archive, &error);
    let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
    Ok(Artifact {
        kind: ArtifactKind::Image,
        name: name.into(),
        version: tag.trim_start_matches('v').into(),
        arch: arch.into(),
        distribution: None,
        runtime: None,
        size: fs::metadata(&archive).map_err(failed)?.len(),
        sha256: sha256_of(&archive).map_err(failed)?,
        path,
        url: None,
    })
}

/// Writes `bundle.yaml`. JSON is YAML.
pub(super) fn describe(folder: &Path, bundle: &Bundle) -> io::Result<()> {
    let text = serde_json::to_string_pretty(bundle).map_err(io::Error::other)?;
    let building = folder.join(format!("{MANIFEST}.part"));
    fs::write(&building, text + "\n")?;
    fs::rename(building, folder.join(MANIFEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bundle_of_which_nothing_was_replaced_is_described_again() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"format: 1\nkubernetes: \"1.36.2\"\nartifacts:\n  - { kind: binary, name: kubectl, version: \"1.36.2\", arch: amd64, path: kubectl, size: 3, sha256: 0000000000000000000000000000000000000000000000000000000000000000 }\n";
        let path = folder.path().join("kubectl");
        let hour = std::time::Duration::from_secs(3600);
        let later = SystemTime::now() + hour;
        assert!(!is_as_it_was(folder.path(), text, later), "the file is gone");
        fs::write(&path, "abc").unwrap();
        assert!(is_as_it_was(folder.path(), text, later));
        assert!(!is_as_it_was(folder.path(), text, later - hour - hour), "it was written since");
        fs::write(&path, "ab").unwrap();
        assert!(!is_as_it_was(folder.path(), text, later), "it is half written");
        assert!(!is_as_it_was(folder.path(), b"x", later));
    }
}
