//! A container runtime that does not run.

use kubewan_core::evidence::Component;

use super::{Check, NODE};
use crate::case::{HostCase, has_all, has_any};
use crate::diagnosis::{Diagnosis, goal};

pub(super) const CHECK: Check = Check {
    code: "runtime-down",
    means: "the container runtime does not run, so that the kubelet can't start anything",
    looks_at: "containerd.service, the kubelet's words about the runtime's socket",
    explains: NODE,
    explains_everywhere: &["api-refused"],
    run: |case| case.present().filter_map(of).collect(),
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

fn of(host: &HostCase) -> Option<Diagnosis> {
    let said = host.said(&[Component::Kubelet], is_about_socket);
    let mut name = "containerd.service";
    let docker_is_down =
        host.uses_docker() && host.unit("docker.service").is_some_and(|u| u.active != "active");
    let state = match &host.facts {
        // A host without a cluster may be before its first `up`.
        Some(facts)
            if !host.has_cluster() || (facts.runtime.containerd_active && !docker_is_down) =>
        {
            return None;
        }
        Some(facts) => {
            name = if facts.runtime.containerd_active { "docker.service" } else { name };
            let unit = host.unit(name);
            let text = unit.map_or("not active".into(), |u| {
                format!("{} ({}), result {}, load {}", u.active, u.sub, u.result, u.load)
            });
            Some(host.quote(&format!("systemctl show {name}"), text))
        }
        None if said.is_some() => None,
        None => return None,
    };
    // One that was stopped said nothing of it.
    let failed = host.unit("containerd.service").is_some_and(|unit| unit.result != "success");
    let last = host.said(&[Component::Containerd], |line| {
        failed
            && has_any(line, &["level=error", "level=fatal", "Failed to start", "failed to load"])
    });
    Some(
        Diagnosis::error("runtime-down", host.who(), "no container starts, and the node goes NotReady")
            .cause("containerd (or Docker) does not run: it was stopped, or it ends as soon as it is started")
            .seen(state.into_iter().chain(said).chain(last))
            .remedy("`systemctl start containerd`; where it does not stay: `journalctl -u containerd -n 50` names the line of its configuration")
            .fix(&[goal("file", "/etc/containerd/"), goal("unit", "containerd.service"), goal("unit", "docker.service"), goal("unit", "kubelet.service")]),
    )
}
