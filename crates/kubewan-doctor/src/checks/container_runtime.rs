//! A container runtime that does not run.

use kubewan_core::evidence::Component;
use kubewan_core::facts::Facts;
use kubewan_core::render::docker::DAEMON_JSON;

use super::{Check, NODE};
use crate::case::{Case, HostCase, has_all, has_any};
use crate::diagnosis::{Diagnosis, Goal, Quote, goal};

pub(super) const CHECK: Check = Check {
    code: "runtime-down",
    means: "the container runtime does not run, so that the kubelet can't start anything",
    looks_at: "containerd.service, docker.service, cri-docker.service, the kubelet's words about the runtime's socket",
    explains: NODE,
    explains_everywhere: &["api-refused"],
    run: |case| case.present().filter_map(|host| of(case, host)).collect(),
};

/// A unit that has to run, and what is done where it does not.
struct Part {
    unit: &'static str,
    /// What names it in the kubelet's words.
    names: &'static [&'static str],
    cause: &'static str,
    remedy: &'static str,
    fix: &'static [Goal],
}

const CONTAINERD: Part = Part {
    unit: "containerd.service",
    names: &["containerd.sock", "crio.sock", "[ERROR CRI]"],
    cause: "containerd (or Docker) does not run: it was stopped, or it ends as soon as it is started",
    remedy: "`systemctl start containerd`; where it does not stay: `journalctl -u containerd -n 50` names the line of its configuration",
    fix: &[
        goal("file", "/etc/containerd/"),
        goal("unit", "containerd.service"),
        goal("unit", "kubelet.service"),
    ],
};

const DOCKER: Part = Part {
    unit: "docker.service",
    names: &["dockershim.sock", "docker.sock", "Cannot connect to the Docker daemon"],
    cause: "Docker does not run: it was stopped, or it ends as soon as it is started",
    remedy: "`systemctl start docker`; where it does not stay: `journalctl -u docker -n 50` names the line of its configuration",
    fix: &[
        goal("file", DAEMON_JSON),
        goal("unit", "docker.service"),
        goal("docker-engine", ""),
        goal("unit", "kubelet.service"),
    ],
};

const CRI_DOCKERD: Part = Part {
    unit: "cri-docker.service",
    names: &["cri-dockerd.sock"],
    cause: "cri-dockerd, by which the kubelet speaks to Docker, does not run: it was stopped, or it ends as soon as it is started",
    remedy: "`systemctl start cri-docker.socket cri-docker.service`; where it does not stay: `journalctl -u cri-docker -n 50` says why",
    fix: &[goal("file", "cri-docker"), goal("unit", "cri-docker"), goal("unit", "kubelet.service")],
};

/// The socket of some runtime that nobody answers on.
fn is_about_socket(line: &str) -> bool {
    let socket = has_any(
        line,
        &["containerd.sock", "dockershim.sock", "cri-dockerd.sock", "crio.sock", "docker.sock"],
    );
    let dead =
        has_any(line, &["connect: connection refused", "connect: no such file or directory"]);
    (socket && dead)
        || has_all(line, &["Cannot connect to the Docker daemon"])
        || has_all(line, &["[ERROR CRI]", "container runtime is not running"])
            && !line.contains("unknown service")
}

/// Of a host whose pods Docker runs: Docker, what it runs containers by, and what stands between it and the kubelet.
fn dockers(case: &Case, host: &HostCase, facts: &Facts) -> Option<&'static Part> {
    if host.unit(DOCKER.unit).is_some_and(|unit| unit.active != "active") {
        return Some(&DOCKER);
    }
    // Older ones bring a containerd of their own, which they start themselves.
    if facts.runtime.containerd.is_some() && !facts.runtime.containerd_active {
        return Some(&CONTAINERD);
    }
    let down = !host.has_dockershim() && cri_dockerd_is_down(case, host);
    down.then_some(&CRI_DOCKERD)
}

fn cri_dockerd_is_down(case: &Case, host: &HostCase) -> bool {
    match host.unit(CRI_DOCKERD.unit).filter(|unit| unit.load != "not-found") {
        Some(unit) if unit.active == "active" => false,
        // systemd starts it as soon as the kubelet asks.
        Some(unit) if unit.active == "inactive" => {
            host.unit("cri-docker.socket").is_none_or(|socket| socket.active != "active")
        }
        Some(_) => true,
        // Whoever set it up may have called it otherwise.
        None => {
            let is_silent = |line: &str| has_any(line, CRI_DOCKERD.names) && is_about_socket(line);
            case.node_may_be_ill(host) && host.says_now(&[Component::Kubelet], is_silent).is_some()
        }
    }
}

/// What a text that was pasted is about.
fn told(said: &Quote) -> &'static Part {
    let is_about = |part: &&&Part| has_any(&said.text, part.names);
    [&CRI_DOCKERD, &DOCKER].iter().find(is_about).unwrap_or(&&CONTAINERD)
}

fn of(case: &Case, host: &HostCase) -> Option<Diagnosis> {
    let said = host.said(&[Component::Kubelet], is_about_socket);
    let (part, state) = match &host.facts {
        // A host without a cluster may be before its first `up`.
        Some(_) if !host.has_cluster() => return None,
        Some(facts) => {
            let part = match case.uses_docker(host) {
                true => dockers(case, host, facts)?,
                false if facts.runtime.containerd_active => return None,
                false => &CONTAINERD,
            };
            let text = host.unit(part.unit).map_or("not active".into(), |u| {
                format!("{} ({}), result {}, load {}", u.active, u.sub, u.result, u.load)
            });
            (part, Some(host.quote(&format!("systemctl show {}", part.unit), text)))
        }
        None => (told(said.as_ref()?), None),
    };
    let said = said.filter(|said| host.is_pasted() || has_any(&said.text, part.names));
    // One that was stopped said nothing of it.
    let failed = host.unit(part.unit).is_some_and(|unit| unit.result != "success");
    let by = if part.unit == CONTAINERD.unit { Component::Containerd } else { Component::Docker };
    let last = host.said(&[by], |line| {
        failed
            && has_any(line, &["level=error", "level=fatal", "Failed to start", "failed to load"])
    });
    // Its package lays containerd for Docker: no step of kubewan's does.
    let fix = if case.uses_docker(host) && part.unit == CONTAINERD.unit { &[] } else { part.fix };
    Some(
        Diagnosis::error(
            "runtime-down",
            host.who(),
            "no container starts, and the node goes NotReady",
        )
        .cause(part.cause)
        .seen(state.into_iter().chain(said).chain(last))
        .remedy(part.remedy)
        .fix(fix),
    )
}
