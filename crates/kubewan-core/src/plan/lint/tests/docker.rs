//! Docker in containerd's place.

use serde_json::json;

use super::Case;
use super::hosts::{engine, web};
use crate::action::docker::DockerEngineSeen;
use crate::facts::ConfigFile;
use crate::inventory::Acceptance;
use crate::samples;

pub(super) const CASES: &[Case] = &[
    ("Docker, whose configuration is no JSON", |c| {
        let docker = c.docker();
        let text = "{\n  \"log-driver\": \"json-file\"\n  \"debug\": true,\n}\n".into();
        docker.config = Some(ConfigFile { text, mode: 0o644, ..ConfigFile::default() });
    }),
    ("Docker with another cgroup driver, and nothing in it", |c| {
        c.docker().engine = Some(engine("cgroupfs", "overlay2"));
    }),
    ("Docker with another cgroup driver, and containers of others", |c| {
        let docker = c.docker();
        docker.engine = Some(engine("cgroupfs", "overlay2"));
        docker.others = vec![web()];
    }),
    ("the same, accepted", |c| {
        let docker = c.docker();
        docker.engine = Some(engine("cgroupfs", "overlay2"));
        docker.others = vec![web()];
        c.inventory.accept = vec![Acceptance::DockerCgroupDriver];
    }),
    ("Docker with systemd's, and containers of others", |c| {
        let docker = c.docker();
        docker.engine = Some(engine("systemd", "overlay2"));
        docker.others = vec![web()];
    }),
    ("the same, of one that is right and that Docker has not read yet", |c| {
        let ours = c.daemon_json();
        let docker = c.docker();
        docker.engine = Some(engine("systemd", "overlay2"));
        docker.others = vec![web()];
        docker.config = Some(ConfigFile { text: ours, mode: 0o644, ..ConfigFile::default() });
        docker.stale = true;
    }),
    ("the same, read", |c| {
        let ours = c.daemon_json();
        let docker = c.docker();
        docker.engine = Some(engine("systemd", "overlay2"));
        docker.others = vec![web()];
        docker.config = Some(ConfigFile { text: ours, mode: 0o644, ..ConfigFile::default() });
    }),
    ("Docker that does not say what runs in it", |c| {
        let docker = c.docker();
        docker.engine = Some(engine("systemd", "overlay2"));
        docker.others_unknown = Some("`docker ps` did not end in 60 s".into());
    }),
    ("Docker, whose configuration is no text", |c| {
        let unread = Some("line 2: a byte that is not UTF-8".into());
        c.docker().config = Some(ConfigFile { unread, ..ConfigFile::default() });
    }),
    ("Docker with another storage driver, log driver and an argument", |c| {
        let docker = c.docker();
        docker.engine = Some(engine("systemd", "btrfs"));
        docker.args =
            vec!["-H".into(), "fd://".into(), "--exec-opt=native.cgroupdriver=systemd".into()];
        let text = "{\"log-driver\": \"journald\"}".into();
        docker.config = Some(ConfigFile { text, mode: 0o600, ..ConfigFile::default() });
    }),
    ("Docker's own package, and the distribution's is asked for", |c| {
        c.docker().package = Some("docker-ce".into());
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Distribution;
    }),
    (
        "Docker that does not run and a containerd of Docker's, and the distribution's is asked for",
        |c| {
            c.docker().installed = false;
            c.node().runtime.containerd_io = true;
            c.inventory.runtime.source = crate::inventory::RuntimeSource::Distribution;
        },
    ),
    ("Docker on a host with dnf", |c| {
        c.docker();
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Docker;
        c.node().os = samples::rpm_system("rocky", "9.6");
    }),
    ("Docker and mirrors that it does not ask", |c| {
        c.docker();
        c.inventory.mirrors.images = [
            ("docker.io".to_owned(), "https://hub.example".into()),
            ("ghcr.io".into(), "https://g.example".into()),
        ]
        .into();
    }),
    ("Docker and a registry of one's own with a mirror", |c| {
        c.docker();
        let registry =
            json!({ "address": "registry.example.org", "mirrors": ["https://m.example.org"] });
        c.inventory.registries = vec![serde_json::from_value(registry).expect("a registry")];
    }),
    ("Docker from a bundle for another distribution", |c| {
        c.docker();
        c.node().os.version_id = "13".into();
    }),
    ("Docker's own package with a dockershim, on a host that has none", |c| {
        c.inventory.kubernetes.version = "1.23.17".into();
        c.node().runtime.containerd = None;
        c.docker().installed = false;
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Docker;
    }),
    ("the same, on Ubuntu 20.04", |c| {
        c.inventory.kubernetes.version = "1.23.17".into();
        let os = &mut c.node().os;
        (os.id, os.version_id) = ("ubuntu".into(), "20.04".into());
        c.docker().installed = false;
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Docker;
    }),
    ("Docker 29 with a dockershim", |c| {
        c.inventory.kubernetes.version = "1.23.17".into();
        let docker = c.docker();
        docker.package = Some("docker-ce".into());
        docker.engine = Some(DockerEngineSeen {
            version: Some("29.1.2".into()),
            ..engine("systemd", "overlay2")
        });
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Docker;
    }),
    ("the same, which takes older clients", |c| {
        c.inventory.kubernetes.version = "1.23.17".into();
        c.inventory.runtime.docker.insert("min-api-version".into(), "1.41".into());
        let docker = c.docker();
        docker.package = Some("docker-ce".into());
        docker.engine = Some(DockerEngineSeen {
            version: Some("29.1.2".into()),
            ..engine("systemd", "overlay2")
        });
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Docker;
    }),
];
