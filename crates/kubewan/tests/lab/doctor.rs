//! The doctor on real hosts: nothing is found in a cluster that is well; what is broken by hand is found, by its code and
//! host and nothing else; `--fix` or the remedy that it names ends it. Then what `support` packs. Which fault is made where
//! stands in docs/support.md, "The doctor".

mod by_hand;
mod by_up;
pub mod control_plane;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Kubernetes, Said, Stage, run};

/// How long a cluster has to be as it was: a node that says nothing counts as ready for 50 s, a line of a log as said now
/// for two minutes, and a container that failed several times waits for nearly three until its next start.
const PATIENCE: Duration = Duration::from_secs(420);

/// What must be in no bundle.
const CANARY: &str = "canary-7d1f";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn the_doctor_finds_what_was_broken_and_mends_what_it_can() {
    for kubernetes in Kubernetes::told() {
        let stage = Stage::hosts_only(kubernetes);
        let began = Instant::now();
        let told = |what: &str| eprintln!("{kubernetes:?}: {what}: {:.0?}", began.elapsed());
        assert_eq!(found(&stage), none(), "on hosts without a cluster");
        stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
        is_well(&stage);
        told("a healthy cluster");
        by_up::several_faults_and_one_fix(&stage, kubernetes);
        told("what up mends");
        by_hand::of_hosts(&stage, kubernetes);
        told("what is mended by hand on hosts");
        if kubernetes == Kubernetes::Bundle {
            by_hand::of_nodes(&stage);
            told("what is mended by hand of nodes");
            control_plane::no_way_to_itself(&stage);
            told("a control plane that does not reach itself");
            control_plane::etcd_on_an_address_that_is_on_no_interface(&stage);
            told("etcd on an address on no interface");
        }
        the_api_is_back(&stage);
        a_host_that_is_away(&stage);
        the_api_is_back(&stage);
        is_well(&stage);
        the_bundle_holds_no_secrets(&stage);
        told("support");
    }
}

pub fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

pub fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// Host and code of all that is found.
pub fn found(stage: &Stage) -> BTreeSet<String> {
    codes(&stage.kubewan(&["doctor", "-o", "json"]))
}

pub fn codes(said: &Said) -> BTreeSet<String> {
    let answer: Value = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", said.stdout, said.stderr));
    let findings = answer["findings"].as_array().expect("findings");
    for finding in findings {
        eprintln!("  {} {}: {}", finding["host"], finding["code"], finding["evidence"]);
        assert!(!finding["evidence"].as_array().expect("evidence").is_empty(), "{finding}");
    }
    let text = |value: &Value| value.as_str().unwrap_or("cluster").to_owned();
    findings.iter().map(|f| format!("{} {}", text(&f["host"]), text(&f["code"]))).collect()
}

/// What it says of a text.
pub fn found_in(stage: &Stage, text: &str) -> BTreeSet<String> {
    let file = stage.claim.lab_dir().join("pasted.log");
    std::fs::write(&file, text).unwrap();
    codes(&run(&["doctor", "-o", "json", "--log", &file.to_string_lossy()]))
}

/// Deletes a host's pods; their successors are not waited for.
fn delete_pods(stage: &Stage, namespace: &str, label: &str, host: &str) {
    let of = format!("-l {label} --field-selector spec.nodeName={host}");
    stage.kubectl(&format!("-n {namespace} delete pod {of} --wait=false"));
}

/// Waits until exactly that is found.
pub fn settles(stage: &Stage, expected: &BTreeSet<String>) {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = found(stage);
        if now == *expected {
            return;
        }
        assert!(Instant::now() < until, "found {now:?}, expected {expected:?}");
        sleep(Duration::from_secs(3));
    }
}

fn is_well(stage: &Stage) {
    settles(stage, &none());
    let said = stage.kubewan(&["doctor"]);
    said.expect_code(0);
    assert!(said.stdout.starts_with("Nothing is wrong: "), "{}", said.stdout);
    assert_eq!(stage.planned(), Vec::<String>::new());
}

/// The kubelet may still be starting the API server anew that had no etcd.
fn the_api_is_back(stage: &Stage) {
    let until = Instant::now() + PATIENCE;
    let ready = "kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout=5s get --raw /readyz || true";
    let mut times = 0;
    while times < 5 {
        assert!(Instant::now() < until, "the API does not come back");
        times = if stage.on("master01", ready).trim() == "ok" { times + 1 } else { 0 };
        sleep(Duration::from_secs(1));
    }
}

fn a_host_that_is_away(stage: &Stage) {
    stage.on("node02", "systemctl stop ssh.socket ssh.service 2>/dev/null; true");
    settles(stage, &set(&["node02 host-unreachable"]));
    stage.kubewan(&["doctor", "-o", "json"]).expect_code(4);
    stage.on("node02", "systemctl start ssh.service");
    settles(stage, &none());
}

fn the_bundle_holds_no_secrets(stage: &Stage) {
    let token = "canary.0123456789abcdef";
    let plant = format!(
        "log=$(ls /var/log/pods/kube-system_kube-proxy-*/kube-proxy/*.log | tail -1); \
         printf '%s\\n' 'password={CANARY}' 'kubeadm join x --token {token}' '-----BEGIN RSA PRIVATE KEY-----' '{CANARY}' \
         '-----END RSA PRIVATE KEY-----' 'https://me:{CANARY}@proxy.example/' >> $log; \
         mkdir -p /etc/docker; printf '{{ \"a\": \"b\", \"password\": \"{CANARY}\" }}' > /etc/docker/daemon.json"
    );
    let planted = !stage
        .on("node01", "ls -d /var/log/pods/kube-system_kube-proxy-* 2>/dev/null || true")
        .is_empty();
    if planted {
        stage.on("node01", &plant);
    }
    let secrets = secrets(stage);
    for (options, hides) in [(&[][..], false), (&["--hide-addresses"][..], true)] {
        let path = stage.claim.lab_dir().join(format!("support-{hides}.tar.gz"));
        let name = path.to_string_lossy().into_owned();
        let mut words = vec!["support", name.as_str()];
        words.extend(options);
        let said = stage.kubewan(&words);
        said.expect_code(0);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = unpacked(&path);
        for member in ["findings.json", "hosts/01-master01/facts.json", "cluster/nodes.json"] {
            assert!(said.stdout.contains(member), "no {member} in the list:\n{}", said.stdout);
        }
        assert!(text.contains("\"kubelet_active\""), "it holds no facts");
        assert!(text.contains("kubelet.service"), "it holds no units");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "a secret is in {name}: {secret}");
        }
        let address = stage.lab.info().unwrap().hosts[0].address.to_string();
        assert_eq!(text.contains(&address), !hides, "{address}");
        // What is there is not written over.
        stage.kubewan(&words).expect_code(3);
    }
    if planted {
        stage.on("node01", "rm -r /etc/docker");
    }
}

/// What was planted, and a line of every key on the hosts.
fn secrets(stage: &Stage) -> Vec<String> {
    let mut secrets = vec![CANARY.to_owned(), "0123456789abcdef".to_owned()];
    for host in crate::support::HOSTS {
        let line = "find /etc/kubernetes /var/lib/kubelet/pki -name '*.key' -o -name '*.pem' | while read f; do \
                    sed -n '/PRIVATE KEY/{n;p;}' $f | grep -v -- ----- ; done; \
                    grep -rhoE 'client-key-data: .{80}' /etc/kubernetes | cut -c18-";
        secrets
            .extend(stage.on(host, &format!("{line}; true")).lines().map(|l| l.trim().to_owned()));
    }
    secrets.retain(|secret| secret.len() > 8);
    assert!(secrets.len() > 4, "no keys were found: {secrets:?}");
    secrets
}

fn unpacked(path: &Path) -> String {
    let output = Command::new("tar").arg("-xzOf").arg(path).output().expect("tar");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
