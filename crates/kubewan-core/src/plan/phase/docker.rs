//! Docker in containerd's place: its configuration, its packages, and from Kubernetes 1.24 on cri-dockerd between it and the
//! kubelet. containerd, which Docker runs containers by, is left as its package lays it.

use super::registries;
use super::runtime::{artifact, before_packages, excluding};
use crate::action::file::{Content, FileState};
use crate::action::{Action, DockerEngine, File, Package, Unit};
use crate::bundle::Artifact;
use crate::facts::Facts;
use crate::inventory::{Host, RuntimeKind, RuntimeSource};
use crate::packages::{self, TOOLS};
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::docker::{self, CGROUP_DRIVER, DAEMON_JSON, Daemon, STORAGE_DRIVER};
use crate::render::unit;
use crate::supply::{self, DOCKER_PACKAGES};

/// The daemon's unit.
pub(in crate::plan) const DOCKER_UNIT: &str = "docker.service";
const SERVICE: &str = "/etc/systemd/system/cri-docker.service";
const SOCKET: &str = "/etc/systemd/system/cri-docker.socket";

/// The distribution's packages of Docker; they are held.
const DISTRIBUTIONS: [&str; 3] = ["docker.io", "containerd", "runc"];

/// A registry that Docker takes mirrors of: the only one (docs.docker.com, "Registry as a pull through cache").
pub(in crate::plan) const MIRRORED: &str = "docker.io";

pub(in crate::plan) fn steps(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let step = |action, why: &str| Step::new(Phase::Runtime, &host.name, action, why);
    let mut steps = registries::steps(view, host, facts);
    // Before the package, which then starts Docker once, with the right settings. What can't be merged is a finding, and
    // nothing is done.
    if let Ok(text) = daemon_json(view, facts) {
        let (mode, owner) = match &facts.runtime.docker.config {
            Some(config) => (config.mode, config.owner),
            None => (0o644, (0, 0)),
        };
        let state = FileState::Present { content: Content::Text(text), mode, owner };
        steps.push(step(
            Action::File(File { path: DAEMON_JSON.into(), state }),
            "kubelet and Docker must use one cgroup driver, and logs must have an end; what stands there stays",
        ));
    }
    steps.extend(before_packages(view, host, facts));
    let names_docker =
        "Kubernetes runs its containers by Docker; held, so that no upgrade restarts it";
    steps.push(step(Action::Package(package(view, facts)), names_docker));
    steps.push(step(
        Action::Unit(Unit {
            name: DOCKER_UNIT.into(),
            enabled: true,
            active: Some(true),
            restart_on: vec![DAEMON_JSON.into()],
            node: super::runtime::in_turn(facts).then(|| host.name.clone()),
        }),
        "the containers run by it",
    ));
    let storage_driver =
        daemon_json(view, facts).ok().and_then(|text| docker::setting(&text, "storage-driver"));
    steps.push(step(
        Action::DockerEngine(DockerEngine { cgroup_driver: CGROUP_DRIVER.into(), storage_driver }),
        "an argument in Docker's unit would go before its configuration: what counts is what it says of itself",
    ));
    if view.inventory.uses_cri_dockerd() {
        steps.extend(cri_dockerd(view, host, facts));
    }
    steps
}

/// The text of Docker's configuration.
///
/// # Errors
/// Says what in the host's own nobody can read.
pub(in crate::plan) fn daemon_json(
    view: &View,
    facts: &Facts,
) -> Result<String, docker::Unreadable> {
    let config = facts.runtime.docker.config.as_ref();
    if let Some(why) = config.and_then(|config| config.unread.clone()) {
        return Err(docker::Unreadable(vec![why]));
    }
    let there = config.map(|config| config.text.as_str());
    let registries = &view.inventory.registries;
    let of_registry = registries.iter().filter(|registry| registry.address == MIRRORED);
    let mirrors = view.inventory.mirrors.images.get(MIRRORED).into_iter().map(ToString::to_string);
    let unverified = registries.iter().filter(|registry| registry.skip_verify);
    docker::merged(
        there,
        &Daemon {
            mirrors: mirrors.chain(of_registry.flat_map(|r| r.mirrors.clone())).collect(),
            insecure: unverified.map(|registry| registry.address.clone()).collect(),
            // One that is there may keep images with another, also while it does not run and can't say so.
            storage_driver: (!facts.runtime.docker.installed).then_some(STORAGE_DRIVER),
            extra: &view.inventory.runtime.docker,
            added: &facts.runtime.docker.added,
        },
    )
}

/// Docker keeps images here with another driver than kubewan would choose. With another one it would not see them any more.
pub(in crate::plan) fn has_other_storage(facts: &Facts) -> bool {
    let engine = facts.runtime.docker.engine.as_ref();
    engine.is_some_and(|engine| engine.version.is_some() && engine.storage_driver != STORAGE_DRIVER)
}

/// cri-dockerd with its units.
fn cri_dockerd(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let step = |action, why: &str| Step::new(Phase::Runtime, &host.name, action, why);
    let path = format!("{}/{}", supply::FILES_BIN, supply::CRI_DOCKERD);
    let mut steps = Vec::new();
    if let Some(program) = view.inputs.bundle.cri_dockerd(&facts.kernel.arch) {
        let why =
            format!("{} {}: the kubelet has no dockershim any more", program.name, program.version);
        steps.push(step(Action::File(File::program(&path, artifact(program))), &why));
    }
    let service = unit::cri_dockerd_unit(&view.inventory.pause_image());
    steps.push(step(
        Action::File(File::text(SERVICE, 0o644, service)),
        "systemd keeps it running, with the pause image that kubeadm expects",
    ));
    steps.push(step(
        Action::File(File::text(SOCKET, 0o644, unit::cri_dockerd_socket())),
        "the kubelet finds it there",
    ));
    let unit = |name: &str, restart_on| {
        Action::Unit(Unit {
            name: name.into(),
            enabled: true,
            active: Some(true),
            restart_on,
            node: None,
        })
    };
    let why = "the kubelet speaks to Docker through it";
    steps.push(step(unit(unit::CRI_DOCKERD_SOCKET_UNIT, vec![SOCKET.into()]), why));
    steps.push(step(unit("cri-docker.service", vec![SERVICE.into(), path]), why));
    steps
}

/// Docker's packages, and what is needed beside it.
fn package(view: &View, facts: &Facts) -> Package {
    let manager = packages::manager(&facts.os);
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let with_tools = |docker: &[&str]| -> Vec<String> {
        docker.iter().chain(&TOOLS).map(|name| manager.package(name)).collect()
    };
    // yum and dnf hold by the repository's file.
    let held = |names: &[&str]| if manager.is_rpm() { Vec::new() } else { owned(names) };
    match view.inventory.runtime.source {
        RuntimeSource::Docker => Package {
            names: with_tools(&DOCKER_PACKAGES),
            held: held(&DOCKER_PACKAGES),
            repository: excluding(manager, supply::docker_repository(view.inventory, &facts.os)),
            origin: format!("{} and the distribution", view.inventory.mirrors.docker),
            ..Package::default()
        },
        RuntimeSource::Bundle => {
            let packages = bundled(view, facts);
            Package {
                names: packages.iter().map(|package| package.name.clone()).collect(),
                artifacts: packages.iter().map(|package| artifact(package)).collect(),
                held: held(&DISTRIBUTIONS),
                ..Package::default()
            }
        }
        RuntimeSource::Distribution | RuntimeSource::Release => Package {
            names: with_tools(&DISTRIBUTIONS),
            held: held(&DISTRIBUTIONS),
            ..Package::default()
        },
    }
}

/// The bundle's packages for Docker.
pub(in crate::plan) fn bundled<'a>(view: &'a View, facts: &Facts) -> Vec<&'a Artifact> {
    let (distribution, arch) = (facts.os.distribution(), facts.kernel.arch.clone());
    let packages = view.inputs.bundle.packages_for(RuntimeKind::Docker, &distribution, &arch);
    packages.collect()
}
