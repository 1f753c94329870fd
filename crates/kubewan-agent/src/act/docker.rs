//! Docker's daemon, and the images in its store.

use std::path::Path;
use std::time::Duration;

use kubewan_core::action::DockerEngine;
use kubewan_core::action::Image;
use kubewan_core::action::docker::DockerEngineSeen;
use kubewan_core::action::package::ImageSeen;
use serde_json::Value;

use super::kubeadm::rules;
use super::unit::{self, restart};
use super::{Host, Performing};
use crate::command::{Program, exists};

const UNIT: &str = "docker.service";

/// Docker's images are asked for and containers listed in seconds, also on a busy host.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// `docker` with the daemon of this host, whatever a user's context or environment says.
pub(crate) fn docker(args: &[&str]) -> Program {
    let host = ["--host", "unix:///var/run/docker.sock"];
    Program::new("docker").args(host).args(args.iter().copied()).timeout(ANSWER_MAX)
}

/// What the daemon says of itself.
///
/// # Errors
/// Fails where it does not answer.
pub(crate) fn engine() -> Result<DockerEngineSeen, String> {
    parse_info(&docker(&["info", "--format", "{{json .}}"]).stdout()?)
}

/// `docker info --format '{{json .}}'`; without a daemon the client answers with errors in it, and may end well all the same.
pub(crate) fn parse_info(json: &str) -> Result<DockerEngineSeen, String> {
    let info: Value = serde_json::from_str(json)
        .map_err(|e| format!("`docker info` answered something else than JSON: {e}"))?;
    let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
    let version = text("ServerVersion");
    if version.is_empty() {
        let said = info["ServerErrors"][0].as_str().unwrap_or("it names no version of a server");
        return Err(format!("`docker info` has no answer of the daemon: {said}"));
    }
    Ok(DockerEngineSeen {
        version: Some(version),
        cgroup_driver: text("CgroupDriver"),
        storage_driver: text("Driver"),
    })
}

/// Looks what the daemon says of itself; one that does not run says nothing.
///
/// # Errors
/// Fails where a running daemon does not answer.
pub fn observe_docker_engine(
    _goal: &DockerEngine,
    host: &Host,
) -> Result<DockerEngineSeen, String> {
    if !exists("docker") || host.unit(UNIT)?.get("ActiveState") != "active" {
        return Ok(DockerEngineSeen::default());
    }
    engine()
}

/// Starts the daemon again, so that it reads its configuration.
///
/// # Errors
/// Says what goes before the configuration, where it still does.
pub fn perform_docker_engine(
    goal: &DockerEngine,
    _seen: &DockerEngineSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    restart(UNIT, cx)?;
    let now = engine()?;
    match goal.diff(&now) {
        None => Ok(()),
        Some(change) => Err(format!(
            "Docker was started again, and does not do what its configuration says ({}): an argument in its unit goes before \
             it; see `systemctl cat {UNIT}` and `docker info` on this host{}",
            change.details.join(", "),
            unit::journal_tail(UNIT)
        )),
    }
}

/// The bridge of Docker's own network, which it leaves behind.
const BRIDGE: &str = "docker0";

/// A namespace that Docker holds by a mount, and does not let go of where it is stopped in the middle.
const NAMESPACE: &str = "/run/docker/netns/default";

/// Takes away what a Docker that is gone has left in the kernel: its bridge, a mount, and its packet filter rules.
///
/// # Errors
/// Says what could not be removed.
pub(super) fn remove_network() -> Result<(), String> {
    if Path::new("/sys/class/net").join(BRIDGE).exists() {
        Program::new("ip").args(["link", "delete", BRIDGE]).stdout()?;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if super::file::is_mount(&mounts, NAMESPACE) {
        Program::new("umount").arg(NAMESPACE).stdout()?;
    }
    rules::remove_dockers()
}

/// Looks which images are there, with one question.
///
/// # Errors
/// Fails where a running daemon does not answer.
pub(super) fn observe_images(goals: &[&Image], host: &Host) -> Result<Vec<ImageSeen>, String> {
    let runs = exists("docker") && host.unit(UNIT)?.get("ActiveState") == "active";
    let listed = match runs {
        true => docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).stdout()?,
        false => String::new(),
    };
    Ok(goals.iter().map(|goal| ImageSeen { present: has(&listed, &goal.reference) }).collect())
}

/// Docker leaves its own registry's name out (`FamiliarName` in github.com/distribution/reference).
pub(crate) fn has(listed: &str, reference: &str) -> bool {
    let familiar = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let familiar = familiar.strip_prefix("library/").unwrap_or(familiar);
    listed.lines().any(|line| line.trim() == familiar)
}

/// The images that `docker load` says it has loaded: with a name, or by their id alone.
pub(crate) fn loaded(said: &str) -> Vec<&str> {
    let prefixes = ["Loaded image: ", "Loaded image ID: "];
    said.lines()
        .filter_map(|line| prefixes.iter().find_map(|prefix| line.trim().strip_prefix(prefix)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_daemon_says_of_itself() {
        let said = r#"{"ServerVersion":"20.10.24+dfsg1","Driver":"overlay2","CgroupDriver":"systemd","CgroupVersion":"1"}"#;
        let seen = parse_info(said).unwrap();
        assert_eq!(seen.version.as_deref(), Some("20.10.24+dfsg1"));
        assert_eq!(
            (seen.cgroup_driver.as_str(), seen.storage_driver.as_str()),
            ("systemd", "overlay2")
        );
        let none = r#"{"ServerVersion":"","ServerErrors":["Cannot connect to the Docker daemon"]}"#;
        assert!(parse_info(none).unwrap_err().ends_with("Cannot connect to the Docker daemon"));
        assert!(parse_info("").is_err() && parse_info("[]").is_err());
    }

    #[test]
    fn images_are_known_by_the_names_that_docker_gives_them() {
        let listed =
            "registry.k8s.io/pause:3.10.2\nnginx:1.27\nrancher/mirrored:v1\n<none>:<none>\n";
        for there in [
            "registry.k8s.io/pause:3.10.2",
            "docker.io/library/nginx:1.27",
            "docker.io/rancher/mirrored:v1",
        ] {
            assert!(has(listed, there), "{there}");
        }
        assert!(!has(listed, "registry.k8s.io/pause:3.10") && !has("", "x:1"));
    }

    #[test]
    fn reads_what_was_loaded() {
        let said = "1cb555415fd3: Loading layer\nLoaded image: registry.k8s.io/pause:3.10.2\nLoaded image ID: sha256:ab\n";
        assert_eq!(loaded(said), ["registry.k8s.io/pause:3.10.2", "sha256:ab"]);
    }
}
