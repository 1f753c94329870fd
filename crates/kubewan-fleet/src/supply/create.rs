//! `bundle create`: everything a cluster needs, downloaded into a folder. Interrupted, it goes on where it was: what is
//! there and right is not fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kubewan_core::bundle::{Artifact, ArtifactKind, Bundle, FORMAT};
use kubewan_core::inventory::Inventory;
use kubewan_core::supply::{self, Holds, Part};

use super::fetch::{self, FetchError};
use super::{published, registry, unpack};
use crate::bundle::{MANIFEST, sha256_of};
use crate::program::go_arch;

/// Folder for what is under way; gone when the bundle is whole.
const PARTS: &str = ".parts";

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
    let sha256 = published(download, wanted.cache)?;
    let progress = |bytes| tell(Step::Bytes(bytes));
    tell(Step::Begun(&format!("{} {} for {arch}", download.file(), download.version)));
    match &download.holds {
        Holds::Program(part) => {
            let path = place(part, arch);
            fetch::checked(&download.url, &wanted.folder.join(&path), &sha256, "", &progress)?;
            Ok(vec![artifact(wanted, part, &download.version, arch, path)?])
        }
        Holds::Archive(members) => {
            let parts = wanted.folder.join(PARTS);
            let archive = parts.join(format!("{sha256}.tar.gz"));
            fetch::checked(&download.url, &archive, &sha256, "", &progress)?;
            let unpacked = parts.join(&sha256);
            unpack(download, &archive, members.keys(), &unpacked)?;
            let mut artifacts = Vec::new();
            for (member, part) in members {
                let path = place(part, arch);
                let to = wanted.folder.join(&path);
                copy(&unpacked.join(member), &to).map_err(|error| local(&to, &error))?;
                artifacts.push(artifact(wanted, part, &download.version, arch, path)?);
            }
            Ok(artifacts)
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
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

fn artifact(
    wanted: &Wanted,
    part: &Part,
    version: &str,
    arch: &str,
    path: String,
) -> Result<Artifact, FetchError> {
    let whole = wanted.folder.join(&path);
    let failed = |error: io::Error| local(&whole, &error);
    Ok(Artifact {
        kind: part.kind,
        name: part.name.clone(),
        version: version.into(),
        arch: arch.into(),
        distribution: None,
        size: fs::metadata(&whole).map_err(failed)?.len(),
        sha256: sha256_of(&whole).map_err(failed)?,
        path,
        url: None,
    })
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
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let url = kubeadm.display().to_string();
        return Err(FetchError::new(&url, format!("it names no images: {said}")));
    }
    names.extend(supply::images(inventory, true));
    Ok(names.into_iter().collect())
}

/// A kubeadm that this machine can run.
fn own_kubeadm(wanted: &Wanted, tell: &dyn Fn(Step)) -> Result<PathBuf, FetchError> {
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    let arch = go_arch(&machine);
    let path = if wanted.archs.contains(arch) {
        wanted.folder.join(format!("bin/{arch}/kubeadm"))
    } else {
        let all = supply::kubernetes(wanted.inventory, arch);
        let download = all.iter().find(|download| download.file() == "kubeadm");
        let download = download.expect("kubeadm is one of Kubernetes' programs");
        let sha256 = published(download, wanted.cache)?;
        let path = wanted.folder.join(PARTS).join("kubeadm");
        tell(Step::Begun("kubeadm for this machine, which knows the images"));
        fetch::checked(&download.url, &path, &sha256, "", &|bytes| tell(Step::Bytes(bytes)))?;
        path
    };
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(|error| local(&path, &error))?;
    Ok(path)
}

/// An image's archive. One that is there was whole when it got its name.
fn image(
    wanted: &Wanted,
    name: &str,
    arch: &str,
    tell: &dyn Fn(Step),
) -> Result<Artifact, FetchError> {
    let (repository, tag) = name.rsplit_once(':').unwrap_or((name, ""));
    let last = repository.rsplit('/').next().unwrap_or(repository);
    let path = format!("images/{arch}/{last}-{tag}.tar");
    let archive = wanted.folder.join(&path);
    tell(Step::Begun(&format!("{name} for {arch}")));
    if !archive.exists() {
        let parts = wanted.folder.join(PARTS);
        let mirrors: &BTreeMap<String, String> = &wanted.inventory.mirrors.images;
        registry::pull(name, arch, mirrors, &parts, &archive, &|bytes| tell(Step::Bytes(bytes)))?;
    }
    let part = Part { kind: ArtifactKind::Image, name: name.into() };
    artifact(wanted, &part, tag.trim_start_matches('v'), arch, path)
}

/// Writes `bundle.yaml`, and removes what was needed on the way. JSON is YAML.
fn describe(folder: &Path, bundle: &Bundle) -> io::Result<()> {
    let parts = folder.join(PARTS);
    if parts.exists() {
        fs::remove_dir_all(parts)?;
    }
    let text = serde_json::to_string_pretty(bundle).map_err(io::Error::other)?;
    let building = folder.join(format!("{MANIFEST}.part"));
    fs::write(&building, text + "\n")?;
    fs::rename(building, folder.join(MANIFEST))
}
