//! Faults that steps of `up` are against: all at once, then one `--fix`.

use std::fs;

use serde_json::Value;

use super::{codes, none, set, settles};
use crate::support::{Kubernetes, Stage};

const CONTAINERD: &str = "/etc/containerd/config.toml";

/// Ten faults on three hosts.
pub fn several_faults_and_one_fix(stage: &Stage, kubernetes: Kubernetes) {
    let real = kubernetes == Kubernetes::Bundle;
    let mut expected = set(&[
        "node02 no-br-netfilter",
        "node02 no-ip-forward",
        "node02 node-ip-nowhere",
        "node02 firewall-on-again",
    ]);
    if real {
        expected.extend(of_the_runtime(stage));
    } else {
        stage.on("node01", "systemctl stop containerd.service");
        expected.extend(set(&["node01 runtime-down"]));
    }
    stage.on("node02", "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.ipv4.ip_forward=0");
    stage.on(
        "node02",
        "systemctl stop kubelet && ip link delete kubewan0 && systemctl start kubelet",
    );
    stage.on("node02", "ufw allow 22/tcp && ufw --force enable");
    settles(stage, &expected);

    // The remedy of a firewall that nobody spoke of.
    let plain = fs::read_to_string(stage.inventory()).expect("the inventory");
    fs::write(stage.inventory(), format!("firewall: off\n{plain}")).expect("the inventory");
    // Late, as each look at such a host waits for a server of names.
    stage.on("node01", "sed -i '/[[:space:]]node01$/d' /etc/hosts");
    expected.extend(set(&["node01 hostname-unresolved"]));
    settles(stage, &expected);
    stage.kubewan(&["doctor", "--fix"]).expect_code(5);
    let fixed = stage.kubewan(&["doctor", "--fix", "--yes", "-o", "json"]);
    let left = codes(&fixed);
    let answer: Value = serde_json::from_str(&fixed.stdout).expect("JSON");
    eprintln!("  fixed: {}", answer["fixed"]);
    assert!(answer["fixed"].as_array().is_some_and(|ids| ids.len() >= 6), "{answer}");
    assert!(left.iter().all(|found| found.ends_with(" node-not-ready")), "left: {left:?}");
    settles(stage, &none());
    fs::write(stage.inventory(), plain).expect("the inventory");
    assert_eq!(stage.planned(), Vec::<String>::new(), "and nothing is left for `up`");
}

/// With containerd 2, and pods that need a sandbox.
fn of_the_runtime(stage: &Stage) -> std::collections::BTreeSet<String> {
    // What Docker's package of containerd does.
    let off = "/^disabled_plugins/d; 1i disabled_plugins = [\"io.containerd.grpc.v1.cri\"]";
    stage.on("node01", &format!("sed -i '{off}' {CONTAINERD} && systemctl restart containerd"));
    let annotation = "flannel.alpha.coreos.com/public-ip=10.0.4.7";
    stage.kubectl(&format!("annotate node node01 --overwrite {annotation}"));
    // An image that is nowhere, and a pod that is made anew.
    let elsewhere = "s#^sandbox = .*#sandbox = \"registry.k8s.io/pause:0.0\"#";
    stage.on(
        "node02",
        &format!(
            "sed -i '{elsewhere}' {CONTAINERD} && grep -q pause:0.0 {CONTAINERD} && systemctl restart containerd"
        ),
    );
    super::delete_pods(stage, "kube-system", "k8s-app=kube-proxy", "node02");
    stage.on(
        "master01",
        &format!(
            "sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' {CONTAINERD} && systemctl stop containerd.service"
        ),
    );
    set(&[
        "master01 runtime-down",
        "master01 cgroup-driver",
        "node01 runtime-pair",
        "node01 flannel-address",
        "node02 pause-image",
    ])
}
