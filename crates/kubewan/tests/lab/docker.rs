//! Docker as the runtime: a real cluster on the distribution's Docker and cri-dockerd, on hosts where someone had set Docker up
//! already. What they wrote survives, what they wrote wrongly is named, and the way back gives it back to the byte.

use std::path::PathBuf;

use kubewan_core::bundle::{self, ArtifactKind};
use kubewan_core::inventory::RuntimeKind;
use kubewan_lab::{Claim, Lab};

use crate::doctor;
use crate::support::looks::{AFTER_RESET, LOGINS, allow, differences, look, looks};
use crate::support::running::{Running, UP};
use crate::support::{HOSTS, Stage, lab_name, run};

const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// Somebody's own: a registry of theirs, and fewer logs.
const OWN: &str = "{\n    \"insecure-registries\": [\"192.0.2.9:5000\"],\n    \"log-opts\": {\"max-file\": \"3\"}\n}\n";

/// The usual recipe's, with its own slips: comments, a comma that is missing, and a scheme where a host belongs.
const RECIPE: &str = r#"{
  "exec-opts": ["native.cgroupdriver=systemd"],
  "log-opts": {
    "max-size": "100m"
  },
  "log-driver": "json-file",
  "storage-driver": "overlay2",
  "insecure-registries": [ "https://192.0.2.9:5000" ] # private
  "registry-mirrors": ["https://192.0.2.9:5001"] # faster
}
"#;

/// The doctor's word on that scheme; nothing else is to be said of the cluster.
const SLIP: &[&str] = &["node02 daemon-json-invalid"];

/// What Docker's package leaves behind that is purged.
const DOCKERS: &[kubewan_lab::Allow<'static>] = &[
    allow("file /etc/group*", "a package's group stays when it is purged (Debian policy 9.2)"),
    allow("file /etc/gshadow*", "the same group"),
    allow("file /etc/apparmor.d**", "profiles' folders of Docker's package"),
    allow("unit docker.s*", "a mark without a unit until the next boot"),
];

/// What a look needs on a host.
const AGENTS: &[kubewan_lab::Allow<'static>] = &[
    allow("file /var/lib/kubewan", "the agent's folder, which a reset removes"),
    allow("file /var/lib/kubewan/agent**", "the agent, which a reset removes"),
];

/// A lab's root lacks capabilities and may not raise its own standing with the out-of-memory killer. containerd gives
/// containers what it has itself; Docker 20.10 gives privileged ones all that the kernel knows, and has no setting for either.
const RUNC: &str = r#"#!/bin/sh
before=
for word; do
  [ "$before" = --bundle ] && sed -i -E 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/; s/"CAP_SYS_(MODULE|RESOURCE|TIME)",//g; s/,"CAP_SYS_(MODULE|RESOURCE|TIME)"//g' "$word/config.json"
  before=$word
done
exec /usr/sbin/runc "$@"
"#;

#[test]
#[ignore = "needs root, a lab and a bundle with Docker: KUBEWAN_DOCKER_BUNDLE, or the one in the cache"]
fn long_docker_runs_a_cluster_and_is_given_back() {
    let Some(bundle) = bundle_with_docker() else {
        eprintln!("no bundle with Docker in the cache: not shown");
        return;
    };
    let stage = stage(&bundle);
    put(&stage, "node01", DAEMON_JSON, OWN, "640");
    put(&stage, "node02", DAEMON_JSON, RECIPE, "644");
    let slips = looks(&stage);

    let refused = stage.kubewan(&["up", "--yes"]);
    refused.expect_code(3);
    for words in [
        "error[docker-config-invalid]: node02:",
        "line 8, column 55: a comment, which JSON has not",
        "line 8, column 53: a comma is missing behind `]`",
    ] {
        assert!(refused.stderr.contains(words), "no `{words}` in:\n{}", refused.stderr);
    }
    let allowed = [LOGINS, AGENTS].concat();
    let untouched = differences(HOSTS, &slips, &looks(&stage), &allowed);
    assert_eq!(untouched, "", "a refused run");

    // The slips mended by hand; a scheme Docker takes off itself.
    let mended = RECIPE.replace("] # private", "],").replace(" # faster", "");
    put(&stage, "node02", DAEMON_JSON, &mended, "644");
    let before = looks(&stage);
    let up = stage.kubewan(&["up", "--yes"]);
    eprintln!("{}{}", up.stderr, up.stdout);
    up.expect_code(0);
    shown(&up.stderr);
    stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    in_force(&stage);
    doctor::settles(&stage, &doctor::set(SLIP));
    // Their file said all of it: to the byte.
    assert_eq!(stage.on("node02", &format!("cat {DAEMON_JSON}")), mended);

    daemons_start_again_in_turn(&stage);
    someone_changes_the_driver(&stage);
    reset(&stage, &before, &mended);
}

/// A bundle with Docker for the lab's hosts.
pub fn bundle_with_docker() -> Option<PathBuf> {
    let named = std::env::var_os("KUBEWAN_DOCKER_BUNDLE").map(PathBuf::from);
    let root = match named {
        Some(root) => root,
        None => kubewan_fleet::bundle::newest(&kubewan_fleet::bundle::cache())?.root,
    };
    let text = std::fs::read_to_string(root.join("bundle.yaml")).ok()?;
    let bundle = bundle::parse(&text).expect("a bundle");
    let mut packages = bundle.packages_for(RuntimeKind::Docker, "debian-12", "amd64");
    let has = packages.any(|a| a.kind == ArtifactKind::Package && a.name == "docker.io");
    has.then_some(root)
}

/// Servers only, on which Docker runs pods, and an inventory that asks for it.
pub fn stage(bundle: &std::path::Path) -> Stage {
    let claim = Claim::new().expect("a folder, and no lab that another story left");
    let (dir, bundle) = (claim.lab_dir(), bundle.display().to_string());
    let made = run(&[
        "lab",
        "up",
        "--name",
        &lab_name(),
        "--hosts-only",
        "--bundle",
        &bundle,
        "--dir",
        &dir.to_string_lossy(),
    ]);
    made.expect_code(0);
    let stage = Stage { claim, lab: Lab::open(&lab_name()).expect("the lab that was just made") };
    let text = std::fs::read_to_string(stage.inventory()).expect("the inventory");
    let (head, rest) = text.split_once("runtime:\n").expect("the runtime");
    let (_, tail) = rest.split_once("\n\n").expect("what comes after it");
    let runtime = "runtime: { kind: docker, source: bundle }";
    std::fs::write(stage.inventory(), format!("{head}{runtime}\n\n{tail}")).expect("the inventory");
    for host in HOSTS {
        put(&stage, host, "/usr/local/sbin/runc", RUNC, "755");
    }
    stage
}

/// Lays a file on a host.
fn put(stage: &Stage, host: &str, path: &str, text: &str, mode: &str) {
    let line = format!("mkdir -p $(dirname {path}) && cat > {path} && chmod {mode} {path}");
    let output =
        stage.lab.exec(host, &["sh", "-c", &line], text.as_bytes()).expect("the host runs");
    assert!(output.status.success(), "{path} on {host}: {output:?}");
}

/// Everything that a cluster's proofs have to show, with none that failed.
fn shown(stderr: &str) {
    assert!(!stderr.lines().any(|line| line.starts_with("FAILED")), "{stderr}");
    let passed = |check: &str| {
        let is = |line: &&str| line.starts_with("passed") && line.contains(&format!(" {check} "));
        stderr.lines().filter(is).count()
    };
    for (check, times) in [
        ("node-ready", 3),
        ("host-to-host", 6),
        ("pod-on-node", 3),
        ("pod-to-pod", 6),
        ("service", 3),
        ("node-port", 3),
        ("dns", 3),
        ("dns-replicas", 1),
        ("logs", 3),
        ("exec", 3),
    ] {
        assert!(passed(check) >= times, "{check}:\n{stderr}");
    }
}

/// Docker runs the pods, with the drivers that Kubernetes wants, and what its users wrote.
fn in_force(stage: &Stage) {
    let versions = "get nodes -o 'jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}'";
    let versions = stage.kubectl(versions);
    assert_eq!(versions.matches("docker://").count(), HOSTS.len(), "{versions}");
    for host in HOSTS {
        let info = stage.on(host, "docker info --format '{{.CgroupDriver}} {{.Driver}}'");
        assert_eq!(info, "systemd overlay2\n", "{host}");
        let listens = stage.on(host, "ss -Hltnp");
        let open = |line: &&str| line.contains("cri-dockerd") && !line.contains("127.0.0.1:");
        assert_eq!(listens.lines().filter(open).count(), 0, "{host}: {listens}");
    }
    let merged = stage.on("node01", &format!("stat -c %a {DAEMON_JSON}; cat {DAEMON_JSON}"));
    for words in ["640\n", "192.0.2.9:5000", "\"max-file\": \"3\"", "native.cgroupdriver=systemd"] {
        assert!(merged.contains(words), "no `{words}` in:\n{merged}");
    }
}

/// A setting for all hosts, with pods on them: one daemon after another starts again, and the next one when the node's pods are back.
fn daemons_start_again_in_turn(stage: &Stage) {
    let text = std::fs::read_to_string(stage.inventory()).expect("the inventory");
    let more = "runtime: { kind: docker, source: bundle, docker: { max-concurrent-downloads: 2 } }";
    let text = text.replace("runtime: { kind: docker, source: bundle }", more);
    std::fs::write(stage.inventory(), text).expect("the inventory");
    let ended = Running::start(stage, &UP).end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let unit = |host: &str| format!("{host}/unit:docker.service");
    let at = |host: &str, state: &str| {
        let is =
            |event: &&serde_json::Value| event["step"] == unit(host) && event["state"] == state;
        ended.events.iter().position(|event| is(&event)).expect("its news")
    };
    for pair in HOSTS.windows(2) {
        assert!(at(pair[0], "done") < at(pair[1], "started"), "{pair:?}");
    }
    for host in HOSTS {
        let waits = format!("waiting until node {host} is ready again, and its pods");
        assert!(ended.events.iter().any(|event| event["line"] == waits), "{host}");
        stage.on(host, &format!("grep -q max-concurrent-downloads {DAEMON_JSON}"));
    }
    let pods = stage.kubectl("get pods -A --no-headers");
    assert!(pods.lines().all(|pod| pod.contains(" Running ")), "{pods}");
    stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
}

/// Somebody has Docker make control groups itself and starts it again: pods there can't be made any more. The doctor finds it, the
/// plan says it, the run mends it, and what else they wrote stays.
fn someone_changes_the_driver(stage: &Stage) {
    let sed = format!(
        "sed -i 's/native.cgroupdriver=systemd/native.cgroupdriver=cgroupfs/; s/\"max-file\": \"3\"/\"max-file\": \"5\"/' {DAEMON_JSON}"
    );
    stage.on("node01", &format!("{sed} && systemctl restart docker"));
    stage.on("node01", "docker info --format '{{.CgroupDriver}}' | grep -qx cgroupfs");
    let found = doctor::found(stage);
    assert!(found.contains("node01 cgroup-driver"), "{found:?}");
    let plan = stage.kubewan(&["plan", "--detailed-exitcode"]);
    plan.expect_code(2);
    for words in [
        "-    \"native.cgroupdriver=cgroupfs\"",
        "+    \"native.cgroupdriver=systemd\"",
        "`docker info`: cgroup driver cgroupfs -> systemd",
        "warning[edited-since]: node01:",
    ] {
        let told = plan.stdout.contains(words) || plan.stderr.contains(words);
        assert!(told, "no `{words}` in:\n{}{}", plan.stdout, plan.stderr);
    }
    let up = stage.kubewan(&["up", "--yes"]);
    eprintln!("{}{}", up.stderr, up.stdout);
    up.expect_code(0);
    shown(&up.stderr);
    in_force_again(stage);
    stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    doctor::settles(stage, &doctor::set(SLIP));
}

fn in_force_again(stage: &Stage) {
    stage.on("node01", "docker info --format '{{.CgroupDriver}}' | grep -qx systemd");
    stage.on("node01", &format!("grep -q '\"max-file\": \"5\"' {DAEMON_JSON}"));
    stage.on("node01", &format!("grep -q 192.0.2.9:5000 {DAEMON_JSON}"));
}

/// Everything is as it was, the files of Docker's users to the byte.
fn reset(stage: &Stage, before: &[kubewan_lab::HostSnapshot], mended: &str) {
    let said = stage.kubewan(&["reset", "--confirm", &lab_name()]);
    eprintln!("{}{}", said.stderr, said.stdout);
    said.expect_code(0);
    assert_eq!(
        stage.on("node01", &format!("stat -c %a {DAEMON_JSON}; cat {DAEMON_JSON}")),
        format!("640\n{OWN}")
    );
    assert_eq!(stage.on("node02", &format!("cat {DAEMON_JSON}")), mended);
    stage.on("master01", &format!("test ! -e {DAEMON_JSON} && test ! -e /etc/docker"));
    for host in HOSTS {
        let left = "iptables-save | grep -E 'DOCKER|docker0'; ip -o link | grep docker0; true";
        assert_eq!(stage.on(host, left), "", "{host}");
    }
    // The agent was there before: a run had been refused.
    let allowed = [AFTER_RESET, DOCKERS, AGENTS].concat();
    let after: Vec<_> = HOSTS.iter().map(|host| look(stage, host)).collect();
    assert_eq!(differences(HOSTS, before, &after, &allowed), "", "the hosts are not as they were");
}
