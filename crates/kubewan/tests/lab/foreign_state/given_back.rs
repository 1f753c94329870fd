//! What of others is between a cluster's things when it is given back: mounts, network namespaces, a unit file, an fstab that
//! somebody edited after a run was cut off; and a reset that finds another run at work.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::running::{Running, UP};
use crate::support::{PATIENCE, Stage, lab_name};

/// A folder of somebody's, and where it is mounted: in folders that a reset removes, or that kubeadm empties.
const MOUNTS: [(&str, &str, &str); 4] = [
    ("master01", "/srv/backup", "/var/lib/etcd/backup"),
    ("master01", "/srv/keys", "/etc/kubernetes/pki/company"),
    ("master01", "/srv/plugins", "/var/lib/kubelet/plugins/company"),
    ("node01", "/srv/ledger", "/var/lib/kubelet/company"),
];

/// A kubelet's unit of somebody's.
const UNIT: &str = "[Unit]\nDescription=mine, from a tutorial\n[Service]\nExecStart=/bin/true\n";

const UNIT_PATH: &str = "/etc/systemd/system/kubelet.service";

/// In front of systemctl: once swap is out of fstab, it does not come back from a reload.
const STUCK: &str = r#"#!/bin/sh
case $1 in daemon-reload) grep -q '^#.*/swapfile' /etc/fstab && touch /run/reloads && sleep 120 ;; esac
exec /usr/bin/systemctl "$@"
"#;

/// A run is killed between its change of fstab and its end, and somebody edits that file before anybody comes back. The reset
/// that was begun meanwhile has waited, and changed nothing.
pub fn a_run_is_cut_off_and_a_reset_waits_for_it(stage: &Stage) {
    stage.on("node02", "echo '/swapfile none swap sw 0 0' >> /etc/fstab");
    let put =
        ["sh", "-c", "cat > /usr/local/sbin/systemctl && chmod 755 /usr/local/sbin/systemctl"];
    assert!(stage.lab.exec("node02", &put, STUCK.as_bytes()).unwrap().status.success());
    let mut up = Running::start(stage, &UP);
    up.until_started("swap-off");
    stage.await_on("node02", "test -e /run/reloads");
    // So that nothing ends there, however long the others take.
    stage.on("node02", "systemctl kill -s STOP kubewan-batch.service");
    let journals = ["master01", "node01"].map(|host| {
        // Their part of the phase ends by itself.
        quiet(stage, host);
        stage.on(host, "cat /var/lib/kubewan/journal.jsonl")
    });

    let name = lab_name();
    let mut reset = Running::start(stage, &["reset", "--confirm", &name, "-o", "json"]);
    reset.until("it waits", |event| event["event"] == "waiting" && event["host"] == "node02");
    for (host, journal) in ["master01", "node01"].iter().zip(&journals) {
        assert_eq!(stage.on(host, "cat /var/lib/kubewan/journal.jsonl"), *journal, "{host}");
    }
    stage.on(
        "node02",
        "rm /usr/local/sbin/systemctl && echo 'tmpfs /mnt tmpfs noauto 0 0' >> /etc/fstab",
    );
    stage.on("node02", "systemctl kill -s KILL kubewan-batch.service");
    let (up, reset) = (up.end(), reset.end());
    assert_eq!(up.code, 1, "{}", up.stderr);
    let started = up.events.iter().find(|event| event["event"] == "run-started").expect("its name");
    let waits = |event: &serde_json::Value| {
        event["event"] == "waiting" && event["host"] == "node02" && event["run"] == started["run"]
    };
    assert!(reset.events.iter().any(waits), "it does not say whom it waits for");
    assert!(up.stderr.contains("error[batch-cut-off]: node02:"), "{}", up.stderr);
    assert_eq!(reset.code, 0, "{}", reset.stderr);
    let stays = "warning[edited-since]: node02: /etc/fstab was edited after kubewan wrote it";
    assert!(reset.stderr.contains(stays), "no `{stays}`:\n{}", reset.stderr);
    let fstab = stage.on("node02", "cat /etc/fstab");
    assert!(
        fstab.ends_with("/swapfile none swap sw 0 0\ntmpfs /mnt tmpfs noauto 0 0\n"),
        "{fstab}"
    );
    for host in ["master01", "node01", "node02"] {
        stage.on(host, "test ! -e /var/lib/kubewan");
    }
}

/// In front of systemctl for dpkg, whose path apt sets (`DPkg::Path`): containerd's package is half configured as long as it stands.
const UNCONFIGURED: &str = r#"#!/bin/sh
case $* in *start*containerd*) touch /run/starts && sleep 120 ;; esac
exec /usr/bin/systemctl "$@"
"#;

/// A run is killed while dpkg configures what it has unpacked: one reset gives all of it back.
pub fn a_run_is_cut_off_in_the_middle_of_dpkg(stage: &Stage) {
    let host = "node02";
    let put = ["sh", "-c", "cat > /usr/sbin/systemctl && chmod 755 /usr/sbin/systemctl"];
    assert!(stage.lab.exec(host, &put, UNCONFIGURED.as_bytes()).unwrap().status.success());
    let up = Running::start(stage, &UP);
    stage.on(host, "timeout 400 sh -c 'until [ -e /run/starts ]; do sleep 0.1; done'");
    up.kill();
    stage.on(host, "systemctl kill -s KILL kubewan-batch.service");
    ["master01", "node01", host].iter().for_each(|host| quiet(stage, host));
    stage.on(host, "rm /usr/sbin/systemctl /run/starts");
    let states =
        stage.on(host, "dpkg-query -W -f '${Status} ${Package}\\n' | grep -v ' installed '");
    assert!(states.contains("containerd"), "containerd is configured: {states}");
    stage.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    stage.on(host, "test ! -e /var/lib/kubewan && ! dpkg -s containerd && ! ls -A /var/lib/containerd | grep .");
}

/// A firewall of somebody's is off while kubewan is there, and its rules change meanwhile: the reset that switches it on again is shut
/// out, says so, and the host lets everyone in again by itself.
pub fn a_firewall_that_shuts_us_out_goes_off_again(stage: &Stage) {
    let host = "node02";
    stage.on(host, "ufw allow 22/tcp && ufw --force enable");
    let plain = fs::read_to_string(stage.inventory()).expect("the inventory");
    fs::write(stage.inventory(), format!("firewall: off\n{plain}")).expect("the inventory");
    let mut up = Running::start(stage, &UP);
    up.until("its firewall goes off", |event| {
        event["step"] == "node02/firewall:ufw" && event["state"] == "done"
    });
    up.kill();
    ["master01", "node01", host].iter().for_each(|host| quiet(stage, host));

    stage.on(host, "ufw delete allow 22/tcp");
    let reset = stage.kubewan(&["reset", "--confirm", &lab_name()]);
    reset.expect_code(1);
    let words = format!("error[firewall-shuts-out]: {host}: the firewall that was on before");
    assert!(reset.stderr.contains(&words), "no `{words}`:\n{}", reset.stderr);
    stage.on(
        host,
        "ufw status | grep -q 'Status: active' && systemctl is-active kubewan-undo.timer",
    );
    // What its timer does, sooner.
    let off = "until ufw status | grep -q inactive; do sleep 0.2; done";
    stage.on(host, &format!("systemctl start kubewan-undo.service && timeout 120 sh -c '{off}'"));

    stage.on(host, "ufw allow 22/tcp && ufw --force enable");
    stage.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    let left =
        "test ! -e /var/lib/kubewan && ! systemctl is-active kubewan-undo.timer && ufw status";
    let status = stage.on(host, left);
    assert!(status.contains("Status: active") && status.contains("22/tcp"), "{status}");
    stage.on(host, "ufw --force disable && ufw delete allow 22/tcp");
    fs::write(stage.inventory(), plain).expect("the inventory");
}

/// Waits until no batch is at work on a host.
fn quiet(stage: &Stage, host: &str) {
    let until = Instant::now() + PATIENCE;
    let at_work = "systemctl is-active kubewan-batch.service || true";
    while stage.on(host, at_work).starts_with("active") {
        assert!(Instant::now() < until, "{host} is at work");
        sleep(Duration::from_millis(300));
    }
}

/// Somebody has a unit in kubewan's path: the plan names it.
pub fn a_unit_is_there(stage: &Stage, host: &str) {
    let put = ["sh", "-c", &format!("cat > {UNIT_PATH}")];
    assert!(stage.lab.exec(host, &put, UNIT.as_bytes()).unwrap().status.success());
    let plan = stage.kubewan(&["plan"]);
    plan.expect_code(0);
    let named = format!("warning[foreign-unit]: {host}: {UNIT_PATH} is there");
    assert!(plan.stderr.contains(&named), "no `{named}`:\n{}", plan.stderr);
}

/// Folders of somebody's are mounted between the cluster's files, one of them in use; a program lives in a network namespace that is
/// called as those of pods are, and one of a pod is left.
pub fn somebody_mounts_and_lives_between(stage: &Stage) {
    for (host, from, at) in MOUNTS {
        let line = format!(
            "mkdir -p {from} {at} && echo theirs > {from}/theirs && mount --bind {from} {at}"
        );
        stage.on(host, &line);
    }
    let lives = "systemd-run -q --unit ledger sh -c 'exec sleep infinity < /var/lib/kubelet/company/theirs' && \
                 ip netns add cni-theirs && ip netns add cni-of-a-pod && \
                 systemd-run -q --unit cafe ip netns exec cni-theirs sleep infinity && sleep 1 && \
                 systemctl is-active ledger cafe && mkdir -p /var/lib/kubelet/scratch && \
                 mount -t tmpfs tmpfs /var/lib/kubelet/scratch";
    stage.on("node01", lives);
    // Machines behind it live by what kubewan switched on.
    stage.on("node01", "ip link add company type bridge");
}

/// All of it after the reset.
pub fn what_was_theirs_is_theirs(stage: &Stage) {
    for (host, from, at) in MOUNTS {
        assert_eq!(stage.on(host, &format!("cat {from}/theirs")), "theirs\n", "{host}: {from}");
        stage.on(host, &format!("test ! -e {at} && ! grep ' {at} ' /proc/self/mounts"));
    }
    stage.on("node01", "systemctl is-active ledger cafe && test ! -e /var/lib/kubelet/scratch");
    for (host, forwards) in [("node01", "1\n"), ("node02", "0\n")] {
        assert_eq!(stage.on(host, "cat /proc/sys/net/ipv4/ip_forward"), forwards, "{host}");
    }
    assert_eq!(stage.on("node01", "ip netns list").trim(), "cni-theirs");
    stage.on("node01", "ip netns pids cni-theirs | grep -q .");
    assert_eq!(stage.on("node02", &format!("cat {UNIT_PATH}")), UNIT);
}
