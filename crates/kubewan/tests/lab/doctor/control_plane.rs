//! Faults that take the API away: found without it, and mended as far as that goes.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, codes, found, found_in, none, set, settles};
use crate::support::Stage;

/// Its cloud's NAT turns no packets round, and the address that spares it that is gone. `--fix` needs no API for it.
pub fn no_way_to_itself(stage: &Stage) {
    stage.on("master01", "systemctl stop kubelet && ip link delete kubewan0");
    settles(stage, &set(&["master01 kubelet-down", "master01 hairpin"]));
    let fixed = stage.kubewan(&["doctor", "--fix", "--yes", "-o", "json"]);
    let answer: Value = serde_json::from_str(&fixed.stdout).expect("JSON");
    eprintln!("  fixed: {}", answer["fixed"]);
    let ids = answer["fixed"].to_string();
    for id in ["master01/link:", "master01/unit:kubelet.service"] {
        assert!(ids.contains(id), "no {id} in {ids}");
    }
    let left = codes(&fixed);
    assert!(left.iter().all(|found| found.ends_with(" node-not-ready")), "left: {left:?}");
    settles(stage, &none());
    assert_eq!(stage.planned(), Vec::<String>::new());
}

/// What the doctor says of a `kubeadm init` that got stuck at an address on no interface: `said` by kubeadm, and in etcd's
/// log.
pub fn of_a_stuck_init(stage: &Stage, said: &str, log: &str) {
    assert_eq!(found_in(stage, said), set(&["cluster init-timeout"]), "{said}");
    let both = format!("{said}\n{log}");
    assert_eq!(found_in(stage, &both), set(&["cluster etcd-cannot-bind"]), "{both}");
    let living = found(stage);
    assert!(living.contains("master01 etcd-cannot-bind"), "{living:?}");
}

/// The recipe's main trouble, and its own cure for it.
pub fn etcd_on_an_address_that_is_on_no_interface(stage: &Stage) {
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
    assert_eq!(found_in(stage, &log), set(&["cluster etcd-cannot-bind"]));
    stage.on("master01", &format!("mv /root/etcd.yaml {manifest}"));
    settles(stage, &none());
}
