//! A runtime whose cgroup driver is not the kubelet's: the pods of the control plane are ended again and again.

use kubewan_core::evidence::Component;
use kubewan_core::facts::Facts;
use kubewan_core::render::docker::DAEMON_JSON;
use kubewan_core::versions::{Release, series};

use super::{API, Check};
use crate::case::{Case, HostCase, has_all, has_any};
use crate::diagnosis::{Diagnosis, Quote, goal};

pub(super) const CHECK: Check = Check {
    code: "cgroup-driver",
    means: "the runtime's cgroup driver is not the kubelet's, so etcd and the rest of the control plane are stopped and started all the time",
    looks_at: "`SystemdCgroup` in containerd's configuration, `docker info`, the kubelet's `cgroupDriver`, etcd's `received signal; shutting down`",
    explains: NODE_AND_API,
    explains_everywhere: API,
    run: |case| {
        case.present()
            .filter_map(|host| if host.is_pasted() { pasted(host) } else { living(case, host) })
            .collect()
    },
};

const NODE_AND_API: &[&str] =
    &["node-not-ready", "kubelet-down", "no-cni", "init-timeout", "api-refused", "hairpin"];

/// etcd says so where it was told to end; one that fails by itself says why.
fn is_stop(line: &str) -> bool {
    has_all(line, &["received signal; shutting down", "terminated"])
}

/// How often the host went down: everything on it is told to end then, etcd too. logind writes two lines each time
/// (`bus_manager_log_shutdown` and the message to all users, src/login/logind-dbus.c of systemd).
fn shutdowns(host: &HostCase) -> usize {
    let count = |words: &[&str]| host.lines().filter(|line| has_any(line, words)).count();
    let begun = count(&["System is rebooting", "System is powering down"]);
    begun.max(count(&["The system will reboot now", "The system will power off now"]))
}

/// The kubelet with dockershim, up to 1.23 (cmd/kubelet, `misconfiguration: …`).
fn is_refusal(line: &str) -> bool {
    has_all(line, &["kubelet cgroup driver", "is different from", "cgroup driver"])
}

fn said(host: &HostCase, quotes: impl IntoIterator<Item = Quote>, cause: String) -> Diagnosis {
    Diagnosis::error("cgroup-driver", host.who(), "etcd and the other pods of the control plane are stopped and started all the time, and the API on 6443 with them")
        .cause(cause)
        .seen(quotes)
        .remedy(
            "`SystemdCgroup = true` below [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options] in \
             /etc/containerd/config.toml, then `systemctl restart containerd` (with Docker: \
             `\"exec-opts\": [\"native.cgroupdriver=systemd\"]` in daemon.json)",
        )
        .fix(&[goal("file", "/etc/containerd/config.toml"), goal("unit", "containerd.service")])
}

/// The same where Docker runs the pods.
fn said_of_docker(
    host: &HostCase,
    quotes: impl IntoIterator<Item = Quote>,
    cause: String,
) -> Diagnosis {
    said(host, quotes, cause)
        .remedy(
            "`\"exec-opts\": [\"native.cgroupdriver=systemd\"]` in /etc/docker/daemon.json, and no other driver among the arguments in \
             Docker's unit; then `systemctl restart docker` and `systemctl restart kubelet`. `docker info` shows which one is in force",
        )
        .fix(&[goal("file", DAEMON_JSON), goal("unit", "docker.service"), goal("docker-engine", "")])
}

/// Docker's configuration, its arguments or `docker info` name cgroupfs.
fn is_dockers(line: &str) -> bool {
    line.contains("native.cgroupdriver=cgroupfs") || line.trim() == "Cgroup Driver: cgroupfs"
}

fn pasted(host: &HostCase) -> Option<Diagnosis> {
    // One for each time that the host went down is as it should be.
    let stops = host.lines().filter(|line| is_stop(line)).count();
    let stop = host.said(&[], is_stop).filter(|_| stops > shutdowns(host));
    let refusal = host.said(&[], is_refusal);
    let refuses = refusal.is_some();
    let by_docker =
        refusal.as_ref().is_some_and(|quote| quote.text.contains("docker cgroup driver"));
    let stop = refusal.or(stop);
    let cgroupfs =
        host.said(&[], |line| line.trim() == "SystemdCgroup = false" || is_dockers(line));
    let systemd = host.said(&[], |line| line.trim() == "SystemdCgroup = true");
    let cause = match (refuses || cgroupfs.is_some(), &stop, systemd.is_some()) {
        (false, None, _) => return None,
        (true, ..) => "the runtime puts containers into cgroupfs, and the kubelet, by its default, into systemd's cgroups".to_owned(),
        (false, Some(_), true) => "etcd did not fail, it was told to end: so it is where the runtime's cgroup driver is not the kubelet's. \
             The configuration here says SystemdCgroup = true: containerd has to be restarted for it"
            .to_owned(),
        (false, Some(_), false) => "etcd did not fail, it was told to end: so it is where the runtime's cgroup driver (cgroupfs unless \
             told otherwise) is not the kubelet's (systemd)"
            .to_owned(),
    };
    let is_set = cgroupfs.is_none() && systemd.is_some();
    let by_docker = by_docker || cgroupfs.as_ref().is_some_and(|quote| is_dockers(&quote.text));
    let quotes = stop.into_iter().chain(cgroupfs);
    if by_docker {
        return Some(said_of_docker(host, quotes, cause));
    }
    let diagnosis = said(host, quotes, cause);
    Some(if is_set {
        diagnosis.remedy("`systemctl restart containerd`, then `systemctl restart kubelet`")
    } else {
        diagnosis
    })
}

/// What `docker info` says is in force; while Docker is silent, what its configuration says. Without either, its default is
/// cgroupfs on version 1 of control groups, and systemd on version 2 (`getCD` and `UsingSystemd` in daemon/daemon_unix.go of moby/moby).
fn by_docker(host: &HostCase, facts: &Facts) -> Option<Diagnosis> {
    let kubelet = host.file("/var/lib/kubelet/config.yaml")?;
    let wants_systemd = kubelet.lines().any(|line| line.trim() == "cgroupDriver: systemd");
    let docker = &facts.runtime.docker;
    let line = host.file(DAEMON_JSON).and_then(|text| text.lines().find(|line| is_dockers(line)));
    let engine = docker.engine.as_ref().filter(|engine| engine.version.is_some());
    let info = match engine {
        Some(engine) if engine.cgroup_driver == "systemd" => return None,
        Some(engine) => {
            Some(host.quote("docker info", format!("Cgroup Driver: {}", engine.cgroup_driver)))
        }
        None if line.is_none() => return None,
        None => None,
    };
    let setting = line.map(|line| host.quote(DAEMON_JSON, line));
    let arg = docker.args.iter().find(|arg| is_dockers(arg));
    let arg = arg.map(|arg| host.quote("dockerd", arg));
    let stop = host.said(&[Component::Etcd], is_stop);
    let quotes = info.into_iter().chain(setting).chain(arg).chain(stop);
    let cause = "Docker puts containers into cgroupfs, and the kubelet into systemd's cgroups";
    wants_systemd.then(|| said_of_docker(host, quotes, cause.into()))
}

fn living(case: &Case, host: &HostCase) -> Option<Diagnosis> {
    let facts = host.facts.as_ref().filter(|_| host.has_cluster())?;
    if case.uses_docker(host) {
        return by_docker(host, facts);
    }
    let kubelet = host.file("/var/lib/kubelet/config.yaml")?;
    let wants_systemd = kubelet.lines().any(|line| line.trim() == "cgroupDriver: systemd");
    let containerd = series(facts.runtime.containerd.as_deref()?)?;
    let config = facts.runtime.containerd_config.as_deref().unwrap_or_default();
    let line = config.lines().map(str::trim).find(|line| line.starts_with("SystemdCgroup"));
    if !wants_systemd || line.is_some_and(|line| line.ends_with("true")) {
        return None;
    }
    let setting = host.quote(
        "/etc/containerd/config.toml",
        line.unwrap_or("no SystemdCgroup: false is the default"),
    );
    let kubelet = host.quote("/var/lib/kubelet/config.yaml", "cgroupDriver: systemd");
    let stop = host.said(&[Component::Etcd], is_stop);
    let quotes = [setting, kubelet].into_iter().chain(stop);
    // containerd answers from 2.0 on.
    let kubelet = facts.kubernetes.kubelet.as_deref().and_then(series);
    let asks = containerd >= (2, 0) && kubelet.is_some_and(|(_, minor)| asks_the_runtime(minor));
    let cause = "containerd puts containers into cgroupfs, beside systemd, which takes all cgroups for its own";
    let diagnosis = said(host, quotes, cause.into());
    Some(match asks {
        false => diagnosis,
        true => Diagnosis {
            severity: kubewan_core::finding::Severity::Warning,
            symptom: "containers are not in systemd's cgroups: a reload of systemd may take their limits off".into(),
            ..diagnosis
        },
    })
}

/// Of one that is newer than the table nothing else is known than of its last row.
fn asks_the_runtime(minor: u32) -> bool {
    Release::of_minor(minor).is_none_or(|release| release.asks_cgroup_driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_told_from_a_failure() {
        assert!(is_stop(
            r#"{"caller":"osutil/interrupt_unix.go:64","msg":"received signal; shutting down","signal":"terminated"}"#
        ));
        assert!(!is_stop(r#"{"level":"fatal","msg":"discovery failed"}"#));
        assert!(is_refusal(
            "misconfiguration: kubelet cgroup driver: \"systemd\" is different from docker cgroup driver: \"cgroupfs\""
        ));
    }
}
