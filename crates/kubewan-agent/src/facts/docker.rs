//! Docker: how it is set up, what it says of itself, and what runs in it that is not Kubernetes'.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kubewan_core::action::file::FileState;
use kubewan_core::action::{Action, Content, Observed};
use kubewan_core::facts::{ConfigFile, Container, DockerFacts};
use kubewan_core::render::docker::DAEMON_JSON;

use super::kubelet::running_args;
use super::runtime::installed;
use super::systemd::Unit;
use crate::act::Host;
use crate::act::docker::{docker as program, engine};
use crate::act::unit::changed_since_start;
use crate::command::exists;
use crate::journal;

pub(super) const UNIT: &str = "docker.service";

/// Packages that bring a daemon.
const PACKAGES: [&str; 2] = ["docker.io", "docker-ce"];

/// Label by which the kubelet's side of Docker marks its containers (`containerTypeLabelKey` in core/docker_service.go of
/// Mirantis/cri-dockerd, and dockershim's before).
pub(crate) const KUBELETS: &str = "io.kubernetes.docker.type";

pub(super) fn docker(host: &Host, unit: &Unit) -> DockerFacts {
    let is_there = exists("dockerd") || unit.loaded();
    if !is_there {
        return DockerFacts { config: config(), added: added(host), ..DockerFacts::default() };
    }
    let engine = unit.active().then(|| engine().ok()).flatten();
    let (others, others_unknown) = match engine.as_ref().map(|_| others()) {
        None => (Vec::new(), None),
        Some(Ok(others)) => (others, None),
        Some(Err(said)) => (Vec::new(), Some(said)),
    };
    DockerFacts {
        installed: true,
        package: PACKAGES.iter().find(|name| installed(name)).map(|name| (*name).to_owned()),
        config: config(),
        args: running_args(unit),
        others,
        others_unknown,
        stale: changed_since_start(unit, DAEMON_JSON),
        engine,
        added: added(host),
    }
}

/// What kubewan has added to lists of Docker's configuration, from the journal: each time that it wrote the file, what it wrote
/// without what was there before.
fn added(host: &Host) -> BTreeMap<String, BTreeSet<String>> {
    let entries = journal::read(host).unwrap_or_default();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (begun, _) in journal::standing(&entries) {
        let (Action::File(file), Observed::File(before)) = (&begun.action, &begun.before) else {
            continue;
        };
        let FileState::Present { content: Content::Text(text), .. } = &file.state else { continue };
        if file.path != DAEMON_JSON || begun.reset {
            continue;
        }
        let blob = before.sha256.as_ref().map(|sha256| fs::read_to_string(host.blob(sha256)));
        // Whoever can't say what was there has added nothing.
        let Ok(before) = blob.unwrap_or_else(|| Ok(String::new())) else { continue };
        for (key, ours) in kubewan_core::render::docker::added(&before, text) {
            all.entry(key).or_default().extend(ours);
        }
    }
    all
}

fn config() -> Option<ConfigFile> {
    config_at(Path::new(DAEMON_JSON))
}

/// `None` only where nothing is there: what can't be read must not be taken for absent and written over.
fn config_at(path: &Path) -> Option<ConfigFile> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(e) => return Some(ConfigFile { unread: Some(e.to_string()), ..Default::default() }),
    };
    let (text, unread) = match fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => (text, None),
        Ok(Err(error)) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            (String::new(), Some(format!("line {line}: a byte that is not UTF-8")))
        }
        Err(error) => (String::new(), Some(error.to_string())),
    };
    let owner = (metadata.uid(), metadata.gid());
    Some(ConfigFile { text, mode: metadata.mode() & 0o7777, owner, unread })
}

/// Containers that run and are not the kubelet's.
///
/// # Errors
/// Fails where Docker does not say: then nobody knows of whose containers a restart would be.
fn others() -> Result<Vec<Container>, String> {
    let format = format!("{{{{.Names}}}}\t{{{{.Image}}}}\t{{{{.Label \"{KUBELETS}\"}}}}");
    Ok(parse(&program(&["ps", "--format", &format]).stdout()?))
}

/// Name, image and the kubelet's label, a line for each.
pub(crate) fn parse(text: &str) -> Vec<Container> {
    let mut found: Vec<Container> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let (name, image, kubelets) = (fields.next()?, fields.next()?, fields.next()?);
            kubelets.is_empty().then(|| Container {
                namespace: "moby".into(),
                id: name.into(),
                program: image.into(),
            })
        })
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_no_text_is_there_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        assert_eq!(config_at(&path), None);
        fs::write(&path, b"{\n  \"data-root\": \"/d\xe4ta\"\n}\n").unwrap();
        let said = config_at(&path).unwrap().unread;
        assert_eq!(said.as_deref(), Some("line 2: a byte that is not UTF-8"));
        fs::write(&path, "{}").unwrap();
        let config = config_at(&path).unwrap();
        assert_eq!((config.text.as_str(), config.unread), ("{}", None));
        assert!(config_at(dir.path()).unwrap().unread.is_some(), "a folder is no absent file");
    }

    #[test]
    fn the_kubelets_containers_are_told_apart() {
        let text = "web\tnginx:1.27\t\nk8s_etcd_etcd-a_kube-system_b_0\tsha256:ab\tcontainer\nk8s_POD_x\tpause\tpodsandbox\n";
        let found = parse(text);
        assert_eq!((found.len(), found[0].id.as_str()), (1, "web"));
        assert!(parse("").is_empty() && parse("x\n").is_empty());
    }
}
