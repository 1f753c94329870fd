//! Docker where it runs the containers: what someone has set up there, and what runs in it.

use super::foreign::named;
use crate::facts::{Container, Facts};
use crate::finding::Finding;
use crate::inventory::{Host, KubernetesSource, RuntimeSource};
use crate::packages;
use crate::plan::phase::docker::{MIRRORED, bundled, daemon_json, has_other_storage};
use crate::plan::planner::View;
use crate::render::docker::{CGROUP_DRIVER, DAEMON_JSON, LOG_DRIVER, STORAGE_DRIVER, setting};
use crate::supply;
use crate::versions::series;

/// Arguments of the daemon that its configuration says too: it does not start where both do (docs.docker.com, "Troubleshooting
/// the Docker daemon").
const ARGUMENTS: [(&str, &str); 6] = [
    ("exec-opt", "exec-opts"),
    ("log-driver", "log-driver"),
    ("log-opt", "log-opts"),
    ("storage-driver", "storage-driver"),
    ("registry-mirror", "registry-mirrors"),
    ("insecure-registry", "insecure-registries"),
];

/// Everything about Docker; nothing where the runtime is another.
pub(super) fn docker(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if !view.inventory.is_docker() {
        return Vec::new();
    }
    let all = [
        configuration(view, host, facts),
        containers(view, host, facts),
        package(view, host, facts),
        arguments(view, host, facts),
        storage(host, facts),
        logs(view, host, facts),
        version(view, host, facts),
        too_new(view, host, facts),
        bundle(view, host, facts),
    ];
    all.into_iter().flatten().collect()
}

/// A `daemon.json` that is none: nothing is merged into what nobody can read.
fn configuration(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let slips = daemon_json(view, facts).err()?;
    Some(Finding::error(
        "docker-config-invalid",
        &host.name,
        format!("{DAEMON_JSON} can't be read, by Docker neither: {slips}; it is left as it is"),
        format!(
            "mend it (`python3 -m json.tool {DAEMON_JSON}` says whether it is JSON), or move it away"
        ),
    ))
}

/// Containers of others, where Docker would start again, or change what it makes control groups with.
fn containers(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let docker = &facts.runtime.docker;
    let running = named(docker.others.iter().map(container).collect());
    let driver = &docker.engine.as_ref()?.cgroup_driver;
    let text = daemon_json(view, facts).ok()?;
    let same = docker.config.as_ref().is_some_and(|config| config.text == text);
    let restarts = !same || docker.stale || driver != CGROUP_DRIVER;
    if let Some(said) = docker.others_unknown.as_ref().filter(|_| restarts) {
        return Some(Finding::error(
            "foreign-containers",
            &host.name,
            format!(
                "Docker does not say which containers run in it ({said}), and kubewan would start it again under them"
            ),
            "see why `docker ps` fails on this host",
        ));
    }
    if docker.others.is_empty() {
        return None;
    }
    if driver != CGROUP_DRIVER {
        return Some(Finding::error(
            "docker-cgroup-driver",
            &host.name,
            format!(
                "Docker makes control groups with {driver}, which the kubelet must not do beside systemd; with \
                 {CGROUP_DRIVER} it starts again, and with it containers that are not Kubernetes': {running}"
            ),
            "stop them, or move them to another host",
        ));
    }
    restarts.then(|| {
        let message = match same {
            false => format!(
                "containers that are not Kubernetes' run in this host's Docker: {running}; kubewan changes its \
                 configuration and starts it again under them"
            ),
            true => format!(
                "containers that are not Kubernetes' run in this host's Docker: {running}; {DAEMON_JSON} was changed after \
                 Docker started, and kubewan starts it again under them, so that it is in force"
            ),
        };
        Finding::error(
            "foreign-containers",
            &host.name,
            message,
            "stop them, or move them to another host",
        )
    })
}

/// `web (nginx:1.27)`
fn container(of: &Container) -> String {
    format!("{} ({})", of.id, of.program)
}

/// The distribution's package and Docker's can't be beside each other.
fn package(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let wants_dockers = view.inventory.runtime.source == RuntimeSource::Docker;
    let manager = packages::manager(&facts.os);
    // What distributions with rpm call by that name is podman, or years older than any Kubernetes here.
    if manager.is_rpm() && !wants_dockers {
        let docker = supply::docker_repository(view.inventory, &facts.os)
            .map(|_| "take Docker's own: `runtime: { kind: docker, source: docker }`");
        return Some(Finding::error(
            "packages-unavailable",
            &host.name,
            format!("kubewan takes Docker only from Docker's own repository where a host has rpm, as {} does", facts.os.pretty_name),
            docker.unwrap_or("take containerd: leave `runtime.kind` out; Docker has no packages for this distribution"),
        ));
    }
    let Some(there) = facts.runtime.docker.package.as_deref() else {
        return containerd_package(host, facts, wants_dockers, manager.program());
    };
    if wants_dockers == (there == "docker-ce") {
        return None;
    }
    let instead = if wants_dockers { "distribution" } else { "docker" };
    let program = manager.program();
    Some(Finding::error(
        "foreign-docker-package",
        &host.name,
        format!("Docker is installed by the package {there}, and another one would take its place"),
        format!(
            "use it: `runtime: {{ kind: docker, source: {instead} }}`; or, if nobody needs it here, `{program} remove {there}`"
        ),
    ))
}

/// Docker is not there, and a containerd that its packages would take the place of.
fn containerd_package(
    host: &Host,
    facts: &Facts,
    wants_dockers: bool,
    program: &str,
) -> Option<Finding> {
    let runtime = &facts.runtime;
    let there = match wants_dockers {
        true if runtime.containerd.is_some() && !runtime.containerd_io => "containerd",
        false if runtime.containerd_io => "containerd.io",
        _ => return None,
    };
    let instead = if wants_dockers { "distribution" } else { "docker" };
    Some(Finding::error(
        "foreign-containerd-package",
        &host.name,
        format!(
            "the package {there} is installed, which the Docker that is asked for would take the place of"
        ),
        format!(
            "use the Docker that goes with it: `runtime: {{ kind: docker, source: {instead} }}`; or, if nobody needs it here, \
             `{program} remove {there}`"
        ),
    ))
}

/// What stands in Docker's unit and in its configuration keeps it from starting.
fn arguments(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let text = daemon_json(view, facts).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    let args = &facts.runtime.docker.args;
    let given = |name: &str| {
        args.iter().any(|arg| {
            let rest = arg.strip_prefix("--").and_then(|arg| arg.strip_prefix(name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    let both = ARGUMENTS.iter().filter(|(name, key)| config.get(key).is_some() && given(name));
    let both: Vec<String> = both.map(|(name, key)| format!("`--{name}` (`{key}`)")).collect();
    (!both.is_empty()).then(|| {
        Finding::error(
            "docker-arguments",
            &host.name,
            format!(
                "Docker is started with {}, which {DAEMON_JSON} is to say: it does not start where both do",
                both.join(", ")
            ),
            format!(
                "move it from Docker's unit (`systemctl cat docker.service`, /etc/default/docker) to {DAEMON_JSON}, then \
                 `systemctl daemon-reload && systemctl restart docker`"
            ),
        )
    })
}

fn storage(host: &Host, facts: &Facts) -> Option<Finding> {
    let driver = &facts.runtime.docker.engine.as_ref()?.storage_driver;
    has_other_storage(facts).then(|| {
        Finding::warning(
            "docker-storage-driver",
            &host.name,
            format!(
                "Docker keeps its images with {driver}, and not with {STORAGE_DRIVER}: it stays so, since with another \
                 driver it would not see them any more"
            ),
            format!("where nobody needs them, say `\"storage-driver\": \"{STORAGE_DRIVER}\"` in {DAEMON_JSON} yourself"),
        )
    })
}

/// The kubelet reads the logs of one driver.
fn logs(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let driver = setting(&daemon_json(view, facts).ok()?, "log-driver")?;
    (driver != LOG_DRIVER).then(|| {
        Finding::warning(
            "docker-log-driver",
            &host.name,
            format!("Docker's log driver is {driver}: `kubectl logs` shows nothing, since the kubelet reads only {LOG_DRIVER}"),
            format!("take `log-driver` and `log-opts` out of {DAEMON_JSON}"),
        )
    })
}

/// A Docker that a kubeadm with a dockershim was not tried with.
fn version(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let newest = view.inventory.release().docker?;
    let version = facts.runtime.docker.engine.as_ref()?.version.as_deref()?;
    (series(version)? > newest).then(|| {
        let (major, minor) = newest;
        Finding::warning(
            "docker-not-validated",
            &host.name,
            format!(
                "Docker is {version}, and kubeadm of {} was tried with {major}.{minor} at most: it warns of later ones",
                view.inventory.kubernetes.version
            ),
            "nothing where it works; else take a later Kubernetes, or containerd",
        )
    })
}

/// Docker 29 takes no client below version 1.44 of its API (docs.docker.com, release notes of Docker Engine 29), and a
/// dockershim's speaks 1.41 or older, whatever the daemon offers.
const WITHOUT_OLD_CLIENTS: u32 = 29;

/// A Docker that a dockershim can't speak to: the one that runs, or the one that its repository would bring.
fn too_new(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let (inventory, docker) = (view.inventory, &facts.runtime.docker);
    let text = daemon_json(view, facts).ok()?;
    if !inventory.release().dockershim || setting(&text, "min-api-version").is_some() {
        return None;
    }
    let running = docker.engine.as_ref().and_then(|engine| engine.version.as_deref());
    let which = match running {
        Some(version) if series(version)?.0 >= WITHOUT_OLD_CLIENTS => {
            format!("Docker is {version}")
        }
        // Where Docker's repository has ended, an older one stays.
        None if !docker.installed
            && inventory.runtime.source == RuntimeSource::Docker
            && supply::docker_containerd(&facts.os).starts_with('2') =>
        {
            format!("{} brings Docker {WITHOUT_OLD_CLIENTS} or later", inventory.mirrors.docker)
        }
        _ => return None,
    };
    Some(Finding::error(
        "docker-too-new",
        &host.name,
        format!(
            "{which}, which takes no client below version 1.44 of its API, and the dockershim in the kubelet of {} is one: \
             the node would not be made",
            inventory.kubernetes.version
        ),
        "take the distribution's: `runtime: { kind: docker, source: distribution }`; or Kubernetes 1.24 or later",
    ))
}

/// A bundle that has no Docker for the host.
fn bundle(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    if view.inventory.runtime.source != RuntimeSource::Bundle {
        return None;
    }
    let (distribution, arch) = (facts.os.distribution(), &facts.kernel.arch);
    let mut missing = Vec::new();
    if !bundled(view, facts).iter().any(|package| package.name == "docker.io") {
        missing.push(format!("package docker.io for {distribution} ({arch})"));
    }
    if view.inventory.uses_cri_dockerd() && view.inputs.bundle.cri_dockerd(arch).is_none() {
        missing.push(format!("cri-dockerd for {arch}"));
    }
    (!missing.is_empty()).then(|| {
        Finding::error(
            "bundle-incomplete",
            &host.name,
            format!("the bundle has no {}", missing.join(", no ")),
            "use a bundle with them, or take Docker from elsewhere: `runtime: { kind: docker, source: distribution }`",
        )
    })
}

/// Mirrors that Docker does not ask.
pub(super) fn mirrors(view: &View) -> Option<Finding> {
    let images = &view.inventory.mirrors.images;
    // flannel's images are named by that mirror.
    let (flannel, _) = supply::FLANNEL;
    let is_named = |name: &str| {
        view.inventory.source() != KubernetesSource::Bundle
            && flannel.starts_with(name)
            && !supply::as_named(view.inventory, supply::FLANNEL).starts_with(name)
    };
    let mut others: Vec<String> = images
        .keys()
        .filter(|name| *name != MIRRORED && !is_named(name))
        .map(|name| format!("`mirrors.images` {name}"))
        .collect();
    let with_mirrors = view.inventory.registries.iter().filter(|r| !r.mirrors.is_empty());
    let with_mirrors = with_mirrors.filter(|registry| registry.address != MIRRORED);
    others.extend(with_mirrors.map(|of| format!("`registries` {} with `mirrors`", of.address)));
    (view.inventory.is_docker() && !others.is_empty()).then(|| {
        let message = format!(
            "the inventory has {}, and Docker takes mirrors of {MIRRORED} alone: it asks the registries themselves",
            others.join(", ")
        );
        let remedy = "name the images by another registry (`kubernetes.imageRepository`), take a bundle, or containerd";
        Finding::warning("mirror-unused", "", message, remedy).for_cluster()
    })
}
