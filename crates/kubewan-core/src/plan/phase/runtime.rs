//! containerd and the images. Docker in its place is [`super::docker`].

use super::registries;
use crate::action::{Action, Artifact, File, Image, ImageStore, Package, Unit};
use crate::bundle::{self, ArtifactKind};
use crate::facts::{ClusterState, Facts};
use crate::inventory::{Host, Inventory, KubernetesSource, RuntimeSource};
use crate::mirror::trust;
use crate::packages::{self, PackageManager, TOOLS};
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::containerd::{self, Containerd};
use crate::render::unit;
use crate::supply::{self, CRI_DOCKERD, Repository};

/// containerd's configuration.
pub(in crate::plan) const CONFIG: &str = "/etc/containerd/config.toml";
/// containerd's unit, where no package brings one.
pub(in crate::plan) const UNIT: &str = "/etc/systemd/system/containerd.service";

/// What a host downloads with.
const DOWNLOADERS: [&str; 2] = ["ca-certificates", "curl"];
/// Images that only a control plane runs.
const CONTROL_PLANE_IMAGES: [&str; 4] =
    ["/kube-apiserver", "/kube-controller-manager", "/kube-scheduler", "/etcd"];

pub(in crate::plan) fn steps(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let (settings, mut daemon) = match view.inventory.is_docker() {
        true => (Vec::new(), super::docker::steps(view, host, facts)),
        false => (sources_of_images(view, host, facts), containerd(view, host, facts)),
    };
    // They come into a daemon that runs.
    daemon.extend(images(view, host, facts));
    if in_turn(facts) {
        for step in &mut daemon {
            step.phase = Phase::RuntimeInTurn;
        }
    }
    [settings, daemon].concat()
}

/// Whether the host is a node that runs pods. Such hosts are worked on one after another, so that a runtime that does not come
/// back, by a setting or a version that it does not take there, stops the run at the first of them.
pub(super) fn in_turn(facts: &Facts) -> bool {
    facts.kubernetes.state == ClusterState::Done
}

/// Where containerd pulls images from, which it reads at every pull: nothing starts again for it.
fn sources_of_images(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let mut steps = registries::steps(view, host, facts);
    for (registry, url) in &view.inventory.mirrors.images {
        let path = format!("{}/{registry}/hosts.toml", containerd::CERTS_D);
        let own = trust::entry(view.inventory, url);
        let text = containerd::hosts_toml(url, own);
        let action = Action::File(File::text(path, 0o644, text));
        let why = format!("images of {registry} are pulled from {url}");
        steps.push(Step::new(Phase::Runtime, &host.name, action, &why));
    }
    steps
}

fn containerd(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let step = |action, why: &str| Step::new(Phase::Runtime, &host.name, action, why);
    // The file comes before the package, which then starts containerd once, with the right settings.
    let mut steps = vec![step(
        Action::File(File::text(CONFIG, 0o644, config(view, facts))),
        "kubelet and containerd must use one cgroup driver, and the pause image that kubeadm expects",
    )];
    steps.extend(programs(view, host, facts));
    let mut restart_on: Vec<String> = vec![CONFIG.into()];
    if runtime_files(view, facts).next().is_some() {
        restart_on.extend([UNIT.to_owned(), format!("{}/containerd", supply::FILES_BIN)]);
    }
    steps.push(step(
        Action::Unit(Unit {
            name: "containerd.service".into(),
            enabled: true,
            active: Some(true),
            restart_on,
            node: None,
        }),
        "the kubelet speaks to it",
    ));
    steps
}

/// containerd's programs, and what is needed beside them.
fn programs(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let step = |action, why: &str| Step::new(Phase::Runtime, &host.name, action, why);
    let mut steps = before_packages(view, host, facts);
    if let Some(package) = package(view, facts) {
        let why = match (package.held.is_empty(), package.repository.is_empty()) {
            (false, _) => {
                "Kubernetes needs a container runtime; held, so that no upgrade restarts it"
            }
            (true, false) => {
                "Kubernetes needs a container runtime; its repository's file keeps upgrades off it"
            }
            (true, true) => "kubeadm and pods' networks need them",
        };
        steps.push(step(Action::Package(package), why));
    }
    let files: Vec<_> = runtime_files(view, facts).collect();
    if !files.is_empty() {
        for program in files {
            let path = format!("{}/{}", supply::FILES_BIN, program.name);
            let why = format!("{} {}", program.name, program.version);
            steps.push(step(Action::File(File::program(path, artifact(program))), &why));
        }
        steps.push(step(
            Action::File(File::text(UNIT, 0o644, unit::containerd_unit())),
            "systemd keeps containerd running",
        ));
    }
    steps
}

/// What a host downloads with, and Docker's repository where packages come from there.
pub(super) fn before_packages(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let mut steps = Vec::new();
    if supply::downloads_by_hosts(view.inventory) {
        let names = DOWNLOADERS.map(|name| packages::manager(&facts.os).package(name)).to_vec();
        let package = Action::Package(Package { names, ..Package::default() });
        let why = "the host downloads over HTTPS";
        steps.push(Step::new(Phase::Runtime, &host.name, package, why));
    }
    if view.inventory.runtime.source == RuntimeSource::Docker
        && let Some(docker) = supply::docker_repository(view.inventory, &facts.os)
    {
        steps.extend(repository(view, host, Phase::Runtime, &docker));
    }
    steps
}

/// A repository of someone else than the distribution, and the key that signs it.
pub(in crate::plan) fn repository(
    view: &View,
    host: &Host,
    phase: Phase,
    of: &Repository,
) -> Vec<Step> {
    let step = |path: &str, text: String, why: &str| {
        Step::new(phase, &host.name, Action::File(File::text(path, 0o644, text)), why)
    };
    let key = of.key_url.iter().map(|url| {
        let key = view.inputs.keys.get(url).cloned().unwrap_or_default();
        let why = format!("no package is taken that this key did not sign; from {url}");
        step(&of.key_path, key, &why)
    });
    let list = step(&of.list_path, of.list.clone(), "where the packages come from");
    key.chain([list]).collect()
}

/// The repository whose file holds packages, for yum and dnf.
pub(in crate::plan) fn excluding(manager: PackageManager, of: Option<Repository>) -> String {
    of.filter(|_| manager.is_rpm()).map(|repository| repository.id).unwrap_or_default()
}

/// containerd's programs that come as files: from releases, or from a bundle that has no packages for the host.
fn runtime_files<'a>(
    view: &'a View,
    facts: &'a Facts,
) -> impl Iterator<Item = &'a bundle::Artifact> {
    let (bundle, arch) = (view.inputs.bundle, facts.kernel.arch.as_str());
    let as_files = match view.inventory.runtime.source {
        RuntimeSource::Release => true,
        RuntimeSource::Bundle => bundle.packages(&facts.os.distribution(), arch).next().is_none(),
        RuntimeSource::Distribution | RuntimeSource::Docker => false,
    };
    let of_containerd = bundle.of(ArtifactKind::Runtime, arch).filter(|p| p.name != CRI_DOCKERD);
    of_containerd.filter(move |_| as_files)
}

fn images(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let step = |action, why: &str| Step::new(Phase::Runtime, &host.name, action, why);
    let store = store(view.inventory);
    if view.inventory.source() != KubernetesSource::Bundle {
        return supply::images(view.inventory, host.is_control_plane())
            .into_iter()
            .map(|reference| {
                let image = Image { reference, artifact: None, store };
                step(
                    Action::Image(image),
                    "pulled before it is needed, so that nothing waits for it",
                )
            })
            .collect();
    }
    let of_host = view.inputs.bundle.of(ArtifactKind::Image, &facts.kernel.arch);
    of_host
        .filter(|image| runs_on(host, image))
        .map(|image| {
            let reference = image.name.clone();
            let image = Image { reference, artifact: Some(artifact(image)), store };
            step(Action::Image(image), "from the bundle: no registry is needed")
        })
        .collect()
}

/// Whose store the kubelet's images lie in.
pub fn store(inventory: &Inventory) -> ImageStore {
    if inventory.is_docker() { ImageStore::Docker } else { ImageStore::Containerd }
}

/// The text of containerd's configuration.
pub(in crate::plan) fn config(view: &View, facts: &Facts) -> String {
    let version = containerd_version(view, facts);
    let pause = view.inventory.pause_image();
    containerd::config(&Containerd {
        version: version.as_deref(),
        pause: &pause,
        mirrored: registries::are_told_of(view, facts),
        extra: &view.inventory.runtime.containerd,
    })
}

/// Packages of the runtime, and of what it needs.
fn package(view: &View, facts: &Facts) -> Option<Package> {
    let manager = packages::manager(&facts.os);
    let with_tools = |runtime: &[&str]| -> Vec<String> {
        runtime.iter().chain(&TOOLS).map(|name| manager.package(name)).collect()
    };
    // Whose upgrade would restart or change a running cluster. yum and dnf hold by the file of a repository.
    let held = |names: &[&str]| -> Vec<String> {
        let names = names.iter().filter(|_| !manager.is_rpm());
        names.map(|name| (*name).to_owned()).collect()
    };
    let from = |runtime: &[&str]| Package {
        names: with_tools(runtime),
        held: held(runtime),
        ..Package::default()
    };
    Some(match view.inventory.runtime.source {
        RuntimeSource::Distribution => from(&["containerd", "runc"]),
        RuntimeSource::Docker => Package {
            origin: format!("{} and the distribution", view.inventory.mirrors.docker),
            repository: excluding(manager, supply::docker_repository(view.inventory, &facts.os)),
            ..from(&["containerd.io"])
        },
        RuntimeSource::Release => from(&[]),
        RuntimeSource::Bundle => {
            let distribution = facts.os.distribution();
            let packages: Vec<&bundle::Artifact> =
                view.inputs.bundle.packages(&distribution, &facts.kernel.arch).collect();
            if packages.is_empty() && runtime_files(view, facts).next().is_some() {
                return Some(from(&[]));
            }
            Package {
                names: packages.iter().map(|p| p.name.clone()).collect(),
                artifacts: packages.iter().map(|p| artifact(p)).collect(),
                held: held(&["containerd", "runc"]),
                ..Package::default()
            }
        }
    })
}

/// The containerd that the host will run: the bundle's, else the one that is there, else what its package manager has.
pub(in crate::plan) fn containerd_version(view: &View, facts: &Facts) -> Option<String> {
    let runtime = &facts.runtime;
    match view.inventory.runtime.source {
        RuntimeSource::Bundle | RuntimeSource::Release => {
            brought_version(view, facts).or(runtime.containerd.clone())
        }
        RuntimeSource::Distribution => {
            runtime.containerd.clone().or(runtime.containerd_offered.clone())
        }
        // What is offered there is known to the host only once the repository is.
        RuntimeSource::Docker => {
            runtime.containerd.clone().or(Some(supply::docker_containerd(&facts.os).into()))
        }
    }
}

fn brought_version(view: &View, facts: &Facts) -> Option<String> {
    let (distribution, arch) = (facts.os.distribution(), &facts.kernel.arch);
    let packages = view.inputs.bundle.packages(&distribution, arch);
    let files = runtime_files(view, facts);
    let bundled = packages.filter(|_| view.inventory.runtime.source == RuntimeSource::Bundle);
    let containerd = bundled.chain(files).find(|brought| brought.name == "containerd");
    containerd.map(|containerd| containerd.version.clone())
}

fn runs_on(host: &Host, image: &bundle::Artifact) -> bool {
    let repository =
        image.name.rsplit_once(':').map_or(image.name.as_str(), |(repository, _)| repository);
    host.is_control_plane() || !CONTROL_PLANE_IMAGES.iter().any(|end| repository.ends_with(end))
}

/// A bundle's file as a host gets it.
pub(in crate::plan) fn artifact(of: &bundle::Artifact) -> Artifact {
    let name = of.path.rsplit('/').next().unwrap_or(&of.path).to_owned();
    Artifact { sha256: of.sha256.clone(), size: of.size, name, url: of.url.clone() }
}
