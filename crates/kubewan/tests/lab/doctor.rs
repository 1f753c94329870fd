//! The doctor on real hosts: nothing is found in a cluster that is well; what is broken by hand is found, by its code and
//! host and nothing else; `--fix` or the remedy by hand ends it. Then what `support` packs.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Kubernetes, Said, Stage, run};

/// How long a cluster has to be as it was.
const PATIENCE: Duration = Duration::from_secs(120);

/// What must be in no bundle.
const CANARY: &str = "canary-7d1f";

/// Made by `openssl ca -enddate 20250101000000Z`.
const EXPIRED: &str = include_str!("doctor/expired.crt");

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
        what_up_mends(&stage, kubernetes);
        told("what up mends");
        what_is_mended_by_hand(&stage, kubernetes);
        told("what is mended by hand");
        if kubernetes == Kubernetes::Bundle {
            etcd_on_an_address_that_is_on_no_interface(&stage);
            told("etcd on an address on no interface");
        }
        a_host_that_is_away(&stage);
        the_api_is_back(&stage);
        the_bundle_holds_no_secrets(&stage);
        told("support");
    }
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// Host and code of all that is found.
fn found(stage: &Stage) -> BTreeSet<String> {
    codes(&stage.kubewan(&["doctor", "-o", "json"]))
}

fn codes(said: &Said) -> BTreeSet<String> {
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

/// Waits until exactly that is found.
fn settles(stage: &Stage, expected: &BTreeSet<String>) {
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
    let said = stage.kubewan(&["doctor"]);
    said.expect_code(0);
    assert!(said.stdout.starts_with("Nothing is wrong: "), "{}", said.stdout);
    assert_eq!(stage.planned(), Vec::<String>::new());
}

/// Six faults on three hosts, one `--fix`.
fn what_up_mends(stage: &Stage, kubernetes: Kubernetes) {
    stage.on("node01", "systemctl stop containerd.service");
    stage.on("node02", "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.ipv4.ip_forward=0");
    stage.on(
        "node02",
        "systemctl stop kubelet && ip link delete kubewan0 && systemctl start kubelet",
    );
    let mut expected = set(&[
        "node01 runtime-down",
        "node02 no-br-netfilter",
        "node02 no-ip-forward",
        "node02 node-ip-nowhere",
    ]);
    if kubernetes == Kubernetes::Bundle {
        stage.on(
            "master01",
            "sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' /etc/containerd/config.toml",
        );
        let annotation = "flannel.alpha.coreos.com/public-ip=10.0.4.7";
        stage.kubectl(&format!("annotate node node01 --overwrite {annotation}"));
        expected.extend(set(&["master01 cgroup-driver", "node01 flannel-address"]));
    }
    settles(stage, &expected);
    stage.kubewan(&["doctor", "--fix"]).expect_code(5);
    let fixed = stage.kubewan(&["doctor", "--fix", "--yes", "-o", "json"]);
    let left = codes(&fixed);
    let answer: Value = serde_json::from_str(&fixed.stdout).expect("JSON");
    assert!(answer["fixed"].as_array().is_some_and(|ids| ids.len() >= 4), "{answer}");
    assert!(
        left.is_subset(&set(&["node01 node-not-ready", "node02 node-not-ready"])),
        "left: {left:?}"
    );
    settles(stage, &none());
    assert_eq!(stage.planned(), Vec::<String>::new(), "and nothing is left for `up`");
}

/// Faults that no step of `up` is against, or that a remedy ends by itself.
fn what_is_mended_by_hand(stage: &Stage, kubernetes: Kubernetes) {
    stage.on("node02", "mkdir -p /var/lib/etcd && mount -t tmpfs -o size=1m tmpfs /var/lib/etcd");
    stage.on("node01", "systemctl stop kubelet.service");
    stage.on("master01", &format!("cat > /etc/kubernetes/pki/old.crt <<'END'\n{EXPIRED}END"));
    let mut expected =
        set(&["node02 disk-full", "node01 kubelet-down", "master01 certificate-expired"]);
    if kubernetes == Kubernetes::Bundle {
        // Nobody signs while the controller manager is away.
        stage.on("master01", "mv /etc/kubernetes/manifests/kube-controller-manager.yaml /root/");
        gone(stage, "kube-controller");
        stage.on("master01", "kubeadm token create --ttl 10m");
        expected.insert("cluster token-unsigned".into());
    }
    settles(stage, &expected);
    if kubernetes == Kubernetes::Bundle {
        stage.on("master01", "mv /root/kube-controller-manager.yaml /etc/kubernetes/manifests/");
    }
    // The folder stays: services with mounts of their own may hold it.
    stage.on("node02", "umount /var/lib/etcd");
    stage.on("node01", "systemctl start kubelet.service");
    stage.on("master01", "rm /etc/kubernetes/pki/old.crt");
    settles(stage, &none());
}

fn gone(stage: &Stage, process: &str) {
    let until = Instant::now() + PATIENCE;
    while stage.on("master01", &format!("pgrep -c {process} || true")).trim() != "0" {
        assert!(Instant::now() < until, "{process} stays");
        sleep(Duration::from_millis(500));
    }
}

/// The recipe's main trouble, and its own cure for it.
fn etcd_on_an_address_that_is_on_no_interface(stage: &Stage) {
    let manifest = "/etc/kubernetes/manifests/etcd.yaml";
    stage.on("master01", &format!("cp {manifest} /root/etcd.yaml"));
    let listen = "s#--listen-peer-urls=.*#--listen-peer-urls=https://203.0.113.77:2380#";
    stage.on(
        "master01",
        &format!("sed '{listen}' /root/etcd.yaml > /root/new && mv /root/new {manifest}"),
    );
    settles(stage, &set(&["master01 etcd-cannot-bind"]));
    // The manifest alone tells it at once; etcd itself once it was started anew.
    let until = Instant::now() + PATIENCE;
    let logs = "cat /var/log/pods/kube-system_etcd-*/etcd/*.log 2>/dev/null || true";
    while !stage.on("master01", logs).contains("cannot assign requested address") {
        assert!(Instant::now() < until, "etcd is not started with its new manifest");
        sleep(Duration::from_secs(1));
    }
    let said = stage.kubewan(&["doctor"]);
    said.expect_code(1);
    for words in [
        "bind: cannot assign requested address",
        "= explains: ",
        "listen-peer-urls=https://127.0.0.1:2380",
    ] {
        assert!(said.stdout.contains(words), "no `{words}` in:\n{}", said.stdout);
    }
    // What a person would send: the same answer without a host.
    let log = stage.on("master01", "cat /var/log/pods/kube-system_etcd-*/etcd/*.log | tail -n 200");
    let file = stage.claim.lab_dir().join("etcd.log");
    std::fs::write(&file, log).unwrap();
    let offline = run(&["doctor", "-o", "json", "--log", &file.to_string_lossy()]);
    offline.expect_code(1);
    assert_eq!(codes(&offline), set(&["cluster etcd-cannot-bind"]));
    stage.on("master01", &format!("mv /root/etcd.yaml {manifest}"));
    settles(stage, &none());
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
    let said = stage.kubewan(&["doctor", "-o", "json"]);
    said.expect_code(4);
    assert_eq!(codes(&said), set(&["node02 host-unreachable"]));
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
