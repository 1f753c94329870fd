//! `bundle packages`: what hosts without a mirror of their distribution need of it, by this machine's own apt. apt knows
//! where packages are had and checks them by the distribution's keys; it is told that nothing is installed, so that nothing is
//! left out because this machine happens to have it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kubewan_core::bundle::{Artifact, ArtifactKind, Bundle};
use kubewan_core::facts::Os;
use kubewan_core::packages::TOOLS;

use super::create::{Step, copy, describe};
use super::locked;
use crate::bundle::{self, BundleDir, BundleError, sha256_of};

/// The runtime's package; runc comes with it.
const RUNTIME: &str = "containerd";

/// Packages were not added to a bundle.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The bundle is none.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// This machine's packages are no Debian packages.
    #[error(
        "this machine has no dpkg: packages come by apt of a machine with the hosts' distribution"
    )]
    NoDpkg,
    /// A program did not do what it was asked for.
    #[error("`{command}`: {said}")]
    Program {
        /// What was run.
        command: String,
        /// What came back.
        said: String,
    },
    /// A file of this machine.
    #[error("{}: {error}", path.display())]
    Local {
        /// Which.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
}

/// What a bundle has of a distribution now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// As `debian-12`.
    pub distribution: String,
    /// Go's name, as `amd64`.
    pub arch: String,
    /// Packages.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// This machine's apt, with folders of its own: nothing of the system's changes, and no root is needed.
struct Apt {
    work: PathBuf,
}

/// Puts the packages of this machine's distribution and architecture into a bundle, in place of those that it had of them.
/// `cache` is a folder for what is needed on the way; interrupted, what came is not downloaded again.
///
/// # Errors
/// Fails where the folder is no bundle, this machine has no apt, or apt could not get them. The bundle is then as it was.
pub fn add(folder: &Path, cache: &Path, tell: &dyn Fn(Step)) -> Result<Added, PackagesError> {
    let _lock =
        locked(cache, &|what| tell(Step::Begun(what))).map_err(|error| local(cache, error))?;
    let BundleDir { bundle, .. } = bundle::load(folder)?;
    let os = Os::of_release(&fs::read_to_string("/etc/os-release").unwrap_or_default());
    let arch = program("dpkg", &["--print-architecture"]).map_err(|_| PackagesError::NoDpkg)?;
    let arch = arch.trim().to_owned();
    let distribution = os.distribution();
    let apt = Apt::new(cache.join("apt").join(format!("{distribution}-{arch}")))?;
    tell(Step::Begun("what the distribution's mirror has"));
    apt.get("lists", &["update"])?;
    tell(Step::Begun(&format!("packages of {distribution} for {arch}")));
    let found = apt.download()?;
    let place = format!("packages/{distribution}/{arch}");
    let mut artifacts = Vec::new();
    for deb in &found {
        artifacts.push(artifact(deb, folder, &place, &distribution, &arch)?);
    }
    // What the old description names stays as it was until all of the new lies beside it.
    for artifact in &artifacts {
        let to = folder.join(&artifact.path);
        fs::rename(coming(&to), &to).map_err(|error| local(&to, error))?;
    }
    let added = Added {
        count: artifacts.len(),
        bytes: artifacts.iter().map(|artifact| artifact.size).sum(),
        distribution,
        arch,
    };
    let (bundle, gone) = with(bundle, artifacts, &added.distribution, &added.arch);
    describe(folder, &bundle).map_err(|error| local(folder, error))?;
    // Not before: what is described has to be there.
    for path in gone {
        let path = folder.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(local(&path, error));
            }
            _ => {}
        }
    }
    Ok(added)
}

fn local(path: &Path, error: io::Error) -> PackagesError {
    PackagesError::Local { path: path.to_owned(), error }
}

/// A bundle with these packages in place of those that it had of the distribution and architecture for every runtime, and the
/// paths of files that nothing names any more.
fn with(
    mut bundle: Bundle,
    packages: Vec<Artifact>,
    distribution: &str,
    arch: &str,
) -> (Bundle, Vec<String>) {
    let is_old = |artifact: &Artifact| {
        artifact.kind == ArtifactKind::Package
            && artifact.runtime.is_none()
            && artifact.arch == arch
            && artifact.distribution.as_deref() == Some(distribution)
    };
    let (old, kept): (Vec<Artifact>, Vec<Artifact>) =
        bundle.artifacts.into_iter().partition(is_old);
    bundle.artifacts = kept;
    bundle.artifacts.extend(packages);
    let named: BTreeSet<&str> = bundle.artifacts.iter().map(|a| a.path.as_str()).collect();
    let gone = old.into_iter().map(|a| a.path).filter(|path| !named.contains(path.as_str()));
    let gone = gone.collect();
    let said = format!(
        "packages of {distribution} for {arch} by apt, which checked them by the distribution's keys"
    );
    if !bundle.provenance.contains(&said) {
        let before = bundle.provenance.trim_end();
        bundle.provenance = if before.is_empty() { said } else { format!("{before}; {said}") };
    }
    (bundle, gone)
}

impl Apt {
    fn new(work: PathBuf) -> Result<Apt, PackagesError> {
        for folder in ["lists/partial", "archives/partial", "none/partial", "cache"] {
            let path = work.join(folder);
            fs::create_dir_all(&path).map_err(|error| local(&path, error))?;
        }
        Ok(Apt { work })
    }

    /// Runs apt-get (apt.conf(5)). `archives`: the folder for packages.
    fn get(&self, archives: &str, arguments: &[&str]) -> Result<String, PackagesError> {
        let at = |name: &str| self.work.join(name).display().to_string();
        let options = [
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Cache::archives={}", at(archives)),
            // Locks are the system's; the cache has one of its own.
            "Debug::NoLocking=true".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // A mirror that is away is an error, not a reason to take what it had the last time (apt 2.3 and later).
            "APT::Update::Error-Mode=any".to_owned(),
            "APT::Keep-Downloaded-Packages=true".to_owned(),
        ];
        let options = options.iter().flat_map(|option| ["-o", option.as_str()]);
        let all: Vec<&str> = ["--yes", "--quiet=2", "--no-install-recommends"]
            .into_iter()
            .chain(options)
            .chain(arguments.iter().copied())
            .collect();
        program("apt-get", &all)
    }

    /// Downloads what a system with no package at all would need for the runtime and the tools.
    fn download(&self) -> Result<Vec<PathBuf>, PackagesError> {
        let wanted: Vec<&str> = [RUNTIME].into_iter().chain(TOOLS).collect();
        // apt names only what is not there yet, so it is asked with a folder where nothing ever is.
        let named = self.get("none", &[&["install", "--print-uris"], &wanted[..]].concat())?;
        self.get("archives", &[&["install", "--download-only"], &wanted[..]].concat())?;
        Ok(files(&named, &self.work.join("archives")))
    }
}

/// The files that `--print-uris` names in `'URI' NAME SIZE HASH` (apt-get(8)): where apt puts what it downloads, or where those of a
/// `file:` source lie, which it does not copy.
fn files(printed: &str, archives: &Path) -> Vec<PathBuf> {
    let file = |line: &str| {
        let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let name = rest.split(' ').next()?;
        let plain = name.ends_with(".deb") && !name.contains('/');
        let here =
            uri.strip_prefix("file:").map(|path| format!("/{}", path.trim_start_matches('/')));
        plain.then(|| here.map_or_else(|| archives.join(name), PathBuf::from))
    };
    printed.lines().filter_map(file).collect()
}

/// Where a file lies until it takes its place.
fn coming(path: &Path) -> PathBuf {
    path.with_extension("deb.new")
}

/// A package beside its place in the bundle, described by itself.
fn artifact(
    deb: &Path,
    folder: &Path,
    place: &str,
    distribution: &str,
    arch: &str,
) -> Result<Artifact, PackagesError> {
    let of = deb.display().to_string();
    let field =
        |name: &str| program("dpkg-deb", &["--field", &of, name]).map(|s| s.trim().to_owned());
    let path = format!("{place}/{}", deb.file_name().unwrap_or_default().to_string_lossy());
    let to = folder.join(&path);
    let sha256 = sha256_of(deb).map_err(|error| local(deb, error))?;
    let new = coming(&to);
    copy(deb, &new, &sha256).map_err(|error| local(&new, error))?;
    Ok(Artifact {
        kind: ArtifactKind::Package,
        name: field("Package")?,
        version: field("Version")?,
        arch: arch.into(),
        distribution: Some(distribution.into()),
        runtime: None,
        size: fs::metadata(&new).map_err(|error| local(&new, error))?.len(),
        sha256,
        path,
        url: None,
    })
}

fn program(name: &str, arguments: &[&str]) -> Result<String, PackagesError> {
    let failed = |said: String| {
        let last = arguments.iter().rposition(|word| word.contains("::")).map_or(0, |at| at + 1);
        let command = format!("{name} {}", arguments[last..].join(" "));
        PackagesError::Program { command, said }
    };
    let output = Command::new(name)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("can't be run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty());
    Err(failed(said.collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_apt_names() {
        let printed = "'http://deb.debian.org/debian/pool/main/l/libx/libx1_1%3a2-3_amd64.deb' libx1_1%3a2-3_amd64.deb 1234 SHA256:00\n\
            'http://deb.debian.org/a.deb' ../a.deb 1 \n\
            'file:/srv/mirror/y_1_all.deb' y_1_all.deb 12 SHA256:00\n\
            Reading package lists...\n'broken\n";
        let found = files(printed, Path::new("/w"));
        assert_eq!(
            found,
            [Path::new("/w/libx1_1%3a2-3_amd64.deb"), Path::new("/srv/mirror/y_1_all.deb")]
        );
    }

    fn package(name: &str, path: &str, distribution: &str) -> Artifact {
        Artifact {
            kind: ArtifactKind::Package,
            name: name.into(),
            version: "1".into(),
            arch: "amd64".into(),
            distribution: Some(distribution.into()),
            runtime: None,
            size: 1,
            sha256: "0".repeat(64),
            path: path.into(),
            url: None,
        }
    }

    #[test]
    fn new_packages_take_the_place_of_the_distributions_old_ones_alone() {
        let bundle = Bundle {
            format: kubewan_core::bundle::FORMAT,
            kubernetes: "1.36.2".into(),
            rehearsal: false,
            provenance: "made by hand\n".into(),
            artifacts: vec![
                package("socat", "p/socat_1.deb", "debian-12"),
                package("ethtool", "p/ethtool_1.deb", "debian-12"),
                package("socat", "q/socat_1.deb", "debian-13"),
            ],
        };
        let new = || {
            vec![
                package("socat", "p/socat_2.deb", "debian-12"),
                package("ethtool", "p/ethtool_1.deb", "debian-12"),
            ]
        };
        let (first, gone) = with(bundle, new(), "debian-12", "amd64");
        assert_eq!(gone, ["p/socat_1.deb"]);
        let paths: Vec<&str> = first.artifacts.iter().map(|a| a.path.as_str()).collect();
        assert_eq!(paths, ["q/socat_1.deb", "p/socat_2.deb", "p/ethtool_1.deb"]);
        assert!(first.provenance.starts_with("made by hand; packages of debian-12"));
        let (second, gone) = with(first.clone(), new(), "debian-12", "amd64");
        assert_eq!((second, gone), (first, Vec::new()), "again, nothing changes");
    }
}
