//! A bundle for rehearsals: kubewan's stand-ins for kubeadm, kubelet and the control plane, and around them the
//! distribution's real containerd, etcd and kubectl. Made from package mirrors alone, for machines that can get
//! no Kubernetes release.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kubewan_core::bundle::{Artifact, ArtifactKind, Bundle, FORMAT};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::call::Call;
use crate::error::OnPath;
use crate::folder::INVENTORY;
use crate::image::{self, Distribution};
use crate::state::State;
use crate::{LabError, LabEvent, layer};

/// Kubernetes' version that the stand-ins claim.
pub const KUBERNETES: &str = "1.36.2";
/// What kubeadm of that version names its images (cmd/kubeadm/app/constants/constants.go of v1.36.2).
const ETCD_IMAGE: &str = "registry.k8s.io/etcd:3.6.8-0";
const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10.2";
/// Programs of the control plane that the stand-ins' binary takes the place of.
const COMPONENTS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// What a bare Debian lacks for Kubernetes.
const PACKAGES: [&str; 6] = ["containerd", "runc", "conntrack", "iptables", "ethtool", "socat"];
/// CNI plugins that a cluster needs at least.
const CNI_PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];
/// Debian's release with a recent etcd and kubectl, which need nothing newer of the system than Debian 12 has.
const LATER_SUITE: &str = "trixie";
/// Raised whenever what is downloaded changes.
const RECIPE: u32 = 1;

/// The distribution whose image the programs are fetched in; its packages are in every bundle.
const BASE: Distribution = Distribution::Debian12;

/// Makes the bundle for this build of kubewan, or finds it made, and returns its folder.
///
/// `program` is the kubewan binary whose stand-ins are used, `distributions` those whose packages the hosts need.
///
/// # Errors
/// Fails where packages can't be downloaded, or files not be written.
pub fn rehearsal_bundle(
    distributions: &[Distribution],
    program: &Path,
    events: &mut dyn FnMut(LabEvent),
) -> Result<PathBuf, LabError> {
    let hash = file_sha256(program)?;
    let cache = image::cache();
    let wanted: BTreeSet<Distribution> = distributions.iter().copied().chain([BASE]).collect();
    let build = format!("rehearsal-{}-{RECIPE}", &hash[..16]);
    let others = wanted.iter().filter(|distribution| **distribution != BASE);
    let name = others.fold(build.clone(), |name, other| format!("{name}-{}", other.name()));
    let bundle = cache.join(name);
    if is_there(&bundle) {
        return Ok(bundle);
    }
    fs::create_dir_all(&cache).on("make the folder", &cache)?;
    // Two labs may want one bundle: the second waits for the first one's.
    let lock = fs::File::open(&cache).on("open", &cache)?;
    lock.lock().on("lock", &cache)?;
    if is_there(&bundle) {
        return Ok(bundle);
    }
    let parts = wanted
        .into_iter()
        .map(|distribution| Ok((distribution, parts(distribution, &cache, events)?)))
        .collect::<Result<BTreeMap<_, _>, LabError>>()?;
    for folder in unused(&cache, &build, &inventories())? {
        layer::remove_tree(&folder)?;
    }
    let building = cache.join(".building-rehearsal");
    layer::remove_tree(&building)?;
    assemble(program, &parts, &building)?;
    fs::rename(&building, &bundle).on("put into place", &building)?;
    Ok(bundle)
}

/// Packages and programs from the mirrors; kept between builds of kubewan.
fn parts(
    distribution: Distribution,
    cache: &Path,
    events: &mut dyn FnMut(LabEvent),
) -> Result<PathBuf, LabError> {
    let folder = cache.join(format!("rehearsal-parts-{}-{RECIPE}", distribution.name()));
    if folder.exists() {
        return Ok(folder);
    }
    image::make_image(distribution.into(), events)?;
    events(LabEvent::DownloadingParts { folder: folder.clone() });
    let building = cache.join(".building-rehearsal-parts");
    layer::remove_tree(&building)?;
    let made = download(distribution, &building);
    layer::unmount_below(&building)?;
    made?;
    let ready = building.join("parts");
    fs::rename(&ready, &folder).on("put into place", &ready)?;
    layer::remove_tree(&building)?;
    Ok(folder)
}

/// Whether a bundle is whole, which is noted as its last use.
fn is_there(bundle: &Path) -> bool {
    let note = fs::File::options().append(true).open(bundle.join("bundle.yaml"));
    let whole = note.is_ok();
    let _ = note.and_then(|file| file.set_modified(SystemTime::now()));
    whole
}

/// The inventories of this machine's labs, which name their bundles.
fn inventories() -> Vec<String> {
    let labs = State::all();
    labs.iter().filter_map(|lab| fs::read_to_string(lab.dir.join(INVENTORY)).ok()).collect()
}

/// Bundles of other builds that no lab's inventory names, the last used few aside: their binary is gone, and another
/// lab's command may be about to name one.
fn unused(cache: &Path, build: &str, inventories: &[String]) -> Result<Vec<PathBuf>, LabError> {
    const KEPT: usize = 2;
    let mut unused: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(cache).on("read", cache)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_bundle = name.starts_with("rehearsal-") && !name.starts_with("rehearsal-parts-");
        let named = inventories.iter().any(|inventory| inventory.contains(&*name));
        if is_bundle && !name.starts_with(build) && !named {
            let used = entry.path().join("bundle.yaml").metadata().and_then(|note| note.modified());
            unused.push((used.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
        }
    }
    unused.sort_by(|a, b| b.cmp(a));
    Ok(unused.into_iter().skip(KEPT).map(|(_, folder)| folder).collect())
}

/// Fetches packages and programs in a throw-away copy of the hosts' image, whose own package manager knows its
/// mirror. What is too old in that release (kubectl, etcd) comes from [`LATER_SUITE`].
fn download(choice: Distribution, building: &Path) -> Result<(), LabError> {
    let [root, upper, work, parts] =
        ["root", "upper", "work", "parts"].map(|name| building.join(name));
    for folder in [&root, &upper, &work, &parts] {
        fs::create_dir_all(folder).on("make the folder", folder)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        image::folder(choice.into()).display(),
        upper.display(),
        work.display()
    );
    Call::new("mount", "mount a copy of the hosts' image")
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(&root)
        .run()?;
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))
        .on("copy", &root.join("etc/resolv.conf"))?;
    apt(&root, &["update"])?;
    let mut arguments = vec!["install", "--download-only", "-y", "--no-install-recommends"];
    arguments.extend(PACKAGES);
    apt(&root, &arguments)?;
    copy_packages(&root.join("var/cache/apt/archives"), &parts.join("packages"))?;
    if choice != BASE {
        return Ok(());
    }
    unpack(&root, &["containernetworking-plugins"], &["usr/lib/cni"], &parts.join("cni"))?;
    later_suite(&root)?;
    unpack(
        &root,
        &["kubectl", "etcd-server"],
        &["usr/bin/kubectl", "usr/bin/etcd"],
        &parts.join("bin"),
    )?;
    libraries(&root, &parts.join("bin/etcd"), &parts.join("etcd-libraries"))
}

/// Turns the copy's package sources to [`LATER_SUITE`].
fn later_suite(root: &Path) -> Result<(), LabError> {
    let sources = root.join("etc/apt/sources.list");
    let text = fs::read_to_string(&sources).on("read", &sources)?;
    let mirror =
        text.split_whitespace().find(|word| word.contains("://")).unwrap_or_default().to_owned();
    fs::write(&sources, format!("deb {mirror} {LATER_SUITE} main\n")).on("write", &sources)?;
    apt(root, &["update"])
}

fn apt(root: &Path, arguments: &[&str]) -> Result<(), LabError> {
    Call::new("chroot", format!("fetch packages: apt-get {}", arguments.join(" ")))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg(root)
        .args(["apt-get", "-q", "-o", "APT::Sandbox::User=root"])
        .args(arguments)
        .next("check that this machine reaches its distribution's package mirror (`apt-get update`), then try again")
        .run()
        .map(drop)
}

fn copy_packages(from: &Path, to: &Path) -> Result<(), LabError> {
    fs::create_dir_all(to).on("make the folder", to)?;
    for entry in fs::read_dir(from).on("read", from)?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            fs::copy(entry.path(), to.join(entry.file_name())).on("copy", &entry.path())?;
        }
    }
    Ok(())
}

/// Downloads packages, unpacks them beside the system, and takes some of their files.
fn unpack(root: &Path, packages: &[&str], files: &[&str], to: &Path) -> Result<(), LabError> {
    fs::create_dir_all(to).on("make the folder", to)?;
    let scratch = root.join("unpacked");
    fs::create_dir_all(&scratch).on("make the folder", &scratch)?;
    let mut arguments = vec!["download"];
    arguments.extend(packages);
    apt(root, &arguments)?;
    for entry in fs::read_dir(root).on("read", root)?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            Call::new("dpkg-deb", "unpack a package")
                .arg("-x")
                .arg(entry.path())
                .arg(&scratch)
                .run()?;
            let name = entry.file_name();
            let version = name.to_string_lossy().split('_').nth(1).unwrap_or_default().to_owned();
            let record = to.join(format!(
                "{}.version",
                name.to_string_lossy().split('_').next().unwrap_or_default()
            ));
            fs::write(&record, version.replace("%3a", ":")).on("write", &record)?;
            fs::remove_file(entry.path()).on("remove", &entry.path())?;
        }
    }
    for file in files {
        Call::new("cp", "take a file of a package")
            .arg("-aL")
            .arg(scratch.join(file))
            .arg(to)
            .run()?;
    }
    Ok(())
}

/// The libraries that a program is linked with, with their paths kept.
fn libraries(root: &Path, program: &Path, to: &Path) -> Result<(), LabError> {
    fs::create_dir_all(to).on("make the folder", to)?;
    let inside = root.join("usr/bin/kubewan-ldd-target");
    fs::copy(program, &inside).on("copy", program)?;
    let listed = Call::new("chroot", "list etcd's libraries")
        .arg(root)
        .args(["ldd", "/usr/bin/kubewan-ldd-target"])
        .run()
        .unwrap_or_default();
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = to.join(path.trim_start_matches('/'));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).on("make the folder", parent)?;
        }
        let source = root.join(path.trim_start_matches('/'));
        Call::new("cp", "take a library").arg("-aL").arg(&source).arg(&target).run()?;
    }
    Ok(())
}

/// Lays the bundle's folder out and describes it.
fn assemble(
    program: &Path,
    all: &BTreeMap<Distribution, PathBuf>,
    folder: &Path,
) -> Result<(), LabError> {
    let parts = &all[&BASE];
    let mut contents = Contents { folder: folder.to_owned(), artifacts: Vec::new() };
    for name in ["kubeadm", "kubelet"] {
        contents.add(
            ArtifactKind::Binary,
            name,
            KUBERNETES,
            &format!("bin/amd64/{name}"),
            program,
        )?;
    }
    let kubectl = version_of(&parts.join("bin/kubectl.version"));
    contents.add(
        ArtifactKind::Binary,
        "kubectl",
        &kubectl,
        "bin/amd64/kubectl",
        &parts.join("bin/kubectl"),
    )?;
    let plugins = version_of(&parts.join("cni/containernetworking-plugins.version"));
    for name in CNI_PLUGINS {
        let source = parts.join("cni/cni").join(name);
        contents.add(
            ArtifactKind::CniPlugin,
            name,
            &plugins,
            &format!("cni/amd64/{name}"),
            &source,
        )?;
    }
    for name in COMPONENTS {
        let files = [(program.to_owned(), format!("usr/local/bin/{name}"))];
        contents.image(
            &format!("registry.k8s.io/{name}:v{KUBERNETES}"),
            KUBERNETES,
            &files,
            None,
        )?;
    }
    contents.image(PAUSE_IMAGE, "3.10.2", &[(program.to_owned(), "pause".into())], None)?;
    let etcd = [(parts.join("bin/etcd"), "usr/local/bin/etcd".to_owned())];
    let version = version_of(&parts.join("bin/etcd-server.version"));
    contents.image(ETCD_IMAGE, &version, &etcd, Some(&parts.join("etcd-libraries")))?;
    for (distribution, parts) in all {
        let packages = parts.join("packages");
        let mut debs: Vec<PathBuf> =
            fs::read_dir(&packages).on("read", &packages)?.flatten().map(|e| e.path()).collect();
        debs.sort();
        for deb in debs {
            contents.package(*distribution, &deb)?;
        }
    }
    contents.finish()
}

fn version_of(record: &Path) -> String {
    fs::read_to_string(record).unwrap_or_default().trim().to_owned()
}

/// A bundle's folder while it is filled.
struct Contents {
    folder: PathBuf,
    artifacts: Vec<Artifact>,
}

impl Contents {
    fn add(
        &mut self,
        kind: ArtifactKind,
        name: &str,
        version: &str,
        path: &str,
        source: &Path,
    ) -> Result<(), LabError> {
        let target = self.place(path)?;
        fs::copy(source, &target).on("copy", source)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
            .on("set the mode of", &target)?;
        self.record(kind, name, version, None, path)
    }

    fn package(&mut self, choice: Distribution, deb: &Path) -> Result<(), LabError> {
        let file = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut fields = file.split('_');
        let name = fields.next().unwrap_or_default().to_owned();
        let version = fields.next().unwrap_or_default().replace("%3a", ":");
        let path = format!("packages/{}/amd64/{}", choice.name(), file.replace("%3a", "."));
        let target = self.place(&path)?;
        fs::copy(deb, &target).on("copy", deb)?;
        self.record(ArtifactKind::Package, &name, &version, Some(choice.name()), &path)
    }

    /// An image archive as `docker save` writes it: one layer with some files.
    fn image(
        &mut self,
        reference: &str,
        version: &str,
        files: &[(PathBuf, String)],
        tree: Option<&Path>,
    ) -> Result<(), LabError> {
        let name = reference.rsplit('/').next().unwrap_or(reference).replace(':', "-");
        let scratch = self.folder.join(".image");
        let root = scratch.join("root");
        fs::create_dir_all(&root).on("make the folder", &root)?;
        if let Some(tree) = tree {
            Call::new("cp", "copy libraries into an image")
                .arg("-a")
                .arg(tree.join("."))
                .arg(&root)
                .run()?;
        }
        for (source, place) in files {
            let target = root.join(place);
            let parent = target.parent().unwrap_or(&root).to_owned();
            fs::create_dir_all(&parent).on("make the folder", &parent)?;
            fs::copy(source, &target).on("copy", source)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
                .on("set the mode of", &target)?;
        }
        let layer = scratch.join("layer.tar");
        Call::new("tar", "pack an image's layer")
            .arg("-C")
            .arg(&root)
            .args(["--owner=0", "--group=0", "--mtime=@0", "--sort=name", "-cf"])
            .arg(&layer)
            .arg(".")
            .run()?;
        let entrypoint = files.first().map(|(_, place)| format!("/{place}")).unwrap_or_default();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Entrypoint": [entrypoint] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", file_sha256(&layer)?)] },
        });
        let manifest =
            json!([{ "Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"] }]);
        for (file, value) in [("config.json", config), ("manifest.json", manifest)] {
            let path = scratch.join(file);
            fs::write(&path, value.to_string()).on("write", &path)?;
        }
        let path = format!("images/amd64/{name}.tar");
        let archive = self.place(&path)?;
        Call::new("tar", "pack an image")
            .arg("-C")
            .arg(&scratch)
            .arg("-cf")
            .arg(&archive)
            .args(["manifest.json", "config.json", "layer.tar"])
            .run()?;
        layer::remove_tree(&scratch)?;
        self.record(ArtifactKind::Image, reference, version, None, &path)
    }

    /// The absolute path, with its folder made.
    fn place(&self, path: &str) -> Result<PathBuf, LabError> {
        let target = self.folder.join(path);
        let parent = target.parent().unwrap_or(&self.folder).to_owned();
        fs::create_dir_all(&parent).on("make the folder", &parent)?;
        Ok(target)
    }

    fn record(
        &mut self,
        kind: ArtifactKind,
        name: &str,
        version: &str,
        distribution: Option<&str>,
        path: &str,
    ) -> Result<(), LabError> {
        let file = self.folder.join(path);
        let size = fs::metadata(&file).on("look at", &file)?.len();
        self.artifacts.push(Artifact {
            runtime: None,
            kind,
            name: name.into(),
            version: version.into(),
            arch: "amd64".into(),
            distribution: distribution.map(str::to_owned),
            path: path.into(),
            size,
            sha256: file_sha256(&file)?,
            url: None,
        });
        Ok(())
    }

    /// Writes `bundle.yaml`, last: a folder without it is no bundle. JSON is YAML.
    fn finish(self) -> Result<(), LabError> {
        let bundle = Bundle {
            format: FORMAT,
            kubernetes: KUBERNETES.into(),
            rehearsal: true,
            provenance: "REHEARSAL: kubeadm, kubelet and the control plane are kubewan's stand-ins, no Kubernetes. \
                         containerd, runc, etcd, kubectl and the CNI plugins are Debian's packages."
                .into(),
            artifacts: self.artifacts,
        };
        let path = self.folder.join("bundle.yaml");
        let text = serde_json::to_string_pretty(&bundle)
            .unwrap_or_else(|e| unreachable!("plain data: {e}"));
        fs::write(&path, text).on("write", &path)
    }
}

fn file_sha256(path: &Path) -> Result<String, LabError> {
    let mut file = fs::File::open(path).on("read", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer).on("read", path)?;
        if read == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bundle_in_use_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path();
        let names =
            ["rehearsal-a-1", "rehearsal-b-1", "rehearsal-c-1", "rehearsal-d-1", "rehearsal-e-1"];
        for (age, name) in (0_u64..).zip(names) {
            fs::create_dir(cache.join(name)).unwrap();
            let note = fs::File::create(cache.join(name).join("bundle.yaml")).unwrap();
            note.set_modified(SystemTime::now() - Duration::from_secs(3600 + age)).unwrap();
        }
        for other in ["rehearsal-parts-debian-12-1", "images", "rehearsal-new-1-debian-13"] {
            fs::create_dir(cache.join(other)).unwrap();
        }
        let inventory = format!("  bundle: \"{}\"\n", cache.join("rehearsal-d-1").display());
        let gone = unused(cache, "rehearsal-new-1", &[inventory]).unwrap();
        assert_eq!(gone, [cache.join("rehearsal-c-1"), cache.join("rehearsal-e-1")]);
        // A use makes it the last used.
        assert!(is_there(&cache.join("rehearsal-e-1")) && !is_there(&cache.join("images")));
        let gone = unused(cache, "rehearsal-new-1", &[]).unwrap();
        assert_eq!(gone, ["b", "c", "d"].map(|name| cache.join(format!("rehearsal-{name}-1"))));
    }
}
