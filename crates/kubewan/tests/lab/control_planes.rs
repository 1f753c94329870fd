//! From one control plane to three: refused where etcd would answer everyone or its members could not be told, then
//! joined one after another, mended, and given back. With stand-ins it can't be told: they join no control planes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kubewan_lab::leftovers;
use serde_json::Value;

use crate::support::looks::{AFTER_RESET, differences, looks};
use crate::support::running::{Running, UP};
use crate::support::{HOSTS, KUBECTL, Kubernetes, PATIENCE, Said, Stage, lab_name};

/// Servers with a firewall that lets in nothing but SSH, and the lab's own inventory.
fn servers() -> Option<(Stage, String)> {
    if !Kubernetes::told().contains(&Kubernetes::Bundle) {
        eprintln!("not told: stand-ins join no further control planes");
        return None;
    }
    let stage = Stage::hosts_only(Kubernetes::Bundle);
    let whole = std::fs::read_to_string(stage.inventory()).expect("the inventory");
    for (host, ssh) in HOSTS.iter().zip([22, 2222, 22]) {
        stage.on(host, &format!("ufw allow {ssh}/tcp && ufw --force enable"));
    }
    Some((stage, whole))
}

/// Also with kube-proxy's other mode: NodePorts answer on the address that NAT delivers to. A host is lost in the middle
/// of its join, between the two moments in which etcd makes it a member.
#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn three_at_once_and_one_is_lost_while_it_joins() {
    let Some((stage, whole)) = servers() else { return };
    let before = looks(&stage);
    let nftables =
        three(&whole).replacen("  kubeProxy:\n", "  kubeProxy:\n    mode: nftables\n", 1);
    write(&stage, &nftables);
    let mut run = Running::start(&stage, &UP);
    run.until("a new member", |event| {
        let line = event["line"].as_str().unwrap_or_default();
        event["host"] == "node01" && line.contains("Announced new etcd member")
    });
    stage.on("node01", "systemctl kill -s KILL kubewan-batch.service");
    assert_eq!(run.end().code, 1);

    shown(&stage, stage.kubewan(&["up", "--yes"]).expect_code(0));
    let rules = stage.on("node02", "nft list tables");
    assert!(rules.contains("table ip kube-proxy"), "kube-proxy is in another mode: {rules}");
    at_rest(&stage, "after three at once");
    etcd_has_three_healthy_members(&stage);
    no_key_is_left(&stage);
    give_back(&stage, &before);
    drop(stage);
    assert_eq!(leftovers(Some(&lab_name())), Vec::<String>::new(), "the lab left something behind");
}

#[test]
#[ignore = "needs root and a lab, and ten minutes: cargo xtask lab long"]
fn long_from_one_control_plane_to_three() {
    let Some((stage, whole)) = servers() else { return };
    let before = looks(&stage);

    write(&stage, &one(&whole));
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    assert_eq!(etcd_listens(&stage), ["127.0.0.1:2379", "127.0.0.1:2380"]);

    write(&stage, &three(&whole));
    what_forbids_it_is_said_before_anything_is_changed(&stage);
    shown(&stage, stage.kubewan(&["up", "--yes"]).expect_code(0));
    at_rest(&stage, "after the second up");
    assert_eq!(etcd_listens(&stage), ["*:2379", "*:2380"]);
    etcd_has_three_healthy_members(&stage);
    no_key_is_left(&stage);
    peers_only(&stage);

    a_rule_that_lets_everyone_in_is_seen(&stage);

    another_api_server_answers(&stage);
    parts_of_a_joined_control_plane_are_mended(&stage);
    give_back(&stage, &before);
    drop(stage);
    assert_eq!(leftovers(Some(&lab_name())), Vec::<String>::new(), "the lab left something behind");
}

fn write(stage: &Stage, text: &str) {
    std::fs::write(stage.inventory(), text).expect("the inventory can be written");
}

/// The first host alone. Its firewall is opened for the cluster's hosts.
fn one(whole: &str) -> String {
    let end = whole.find("  # cloud B").expect("a second cloud");
    format!("firewall: open\n{}", &whole[..end])
}

/// All hosts as control planes.
fn three(whole: &str) -> String {
    assert_eq!(whole.matches("roles: [worker]").count(), 2, "{whole}");
    let whole = whole.replace("roles: [worker]", "roles: [control-plane, worker]");
    format!("firewall: open\n{whole}")
}

fn what_forbids_it_is_said_before_anything_is_changed(stage: &Stage) {
    stage.on("node02", "ufw disable");
    let said = stage.kubewan(&["up", "--yes"]);
    assert!(errors(said.expect_code(3)) == ["control-plane-exposed node02"], "{}", said.stderr);
    stage.on("node02", "ufw --force enable");

    // As behind a NAT gateway. The firewalls of the others are not open yet, and still it is seen.
    let cloud = &format!("kwl-{}-cB", lab_name());
    let other = next_address(stage, "node01");
    let elsewhere = format!(
        "table ip elsewhere {{ chain out {{ type nat hook postrouting priority 90; \
         oifname wan ip saddr 172.21.3.4 snat to {other}; }}; }}"
    );
    in_cloud(cloud, &["nft", &elsewhere]);
    let said = stage.kubewan(&["up", "--yes"]);
    assert!(errors(said.expect_code(3)) == ["other-source-address node01"], "{}", said.stderr);
    assert!(said.stderr.contains(&format!("to master01, node02 from {other}")), "{}", said.stderr);
    in_cloud(cloud, &["nft", "delete table ip elsewhere"]);
    for host in ["node01", "node02"] {
        stage.on(host, "test ! -e /etc/containerd && test ! -e /var/lib/kubewan/journal.jsonl");
    }
    assert_eq!(etcd_listens(stage), ["127.0.0.1:2379", "127.0.0.1:2380"]);
}

/// The address after a host's own: another one of its provider's.
fn next_address(stage: &Stage, host: &str) -> String {
    let info = stage.lab.info().expect("the lab is there");
    let own = info.hosts.iter().find(|found| found.name == host).expect("a host").address;
    std::net::Ipv4Addr::from(u32::from(own) + 1).to_string()
}

fn in_cloud(namespace: &str, argv: &[&str]) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).args(argv);
    assert!(command.status().expect("ip starts").success(), "{argv:?} in {namespace}");
}

/// Codes and hosts of what was refused for.
fn errors(said: &Said) -> Vec<String> {
    let error = |line: &str| {
        let (code, rest) = line.strip_prefix("error[")?.split_once("]: ")?;
        Some(format!("{code} {}", rest.split(':').next()?))
    };
    said.stderr.lines().filter_map(error).collect()
}

/// The hosts' public addresses: a lab takes none of a network that this machine is in.
fn addresses(stage: &Stage) -> [Ipv4Addr; 3] {
    let hosts = stage.lab.info().expect("the lab is there").hosts;
    HOSTS.map(|name| hosts.iter().find(|host| host.name == name).expect("three hosts").address)
}

/// What only a whole cluster of three shows.
fn shown(stage: &Stage, up: &Said) {
    let [first, second, third] = addresses(stage);
    let passed: BTreeSet<&str> =
        up.stderr.lines().filter_map(|line| line.strip_prefix("passed")).map(str::trim).collect();
    let has = |words: &str| passed.iter().any(|line| line.contains(words));
    for words in [
        &format!("host-to-host  node01 -> node02 ({third}:2380)"),
        &format!("host-to-host  node02 -> master01 ({first}:2379)"),
        &format!("node-port  you -> master01 ({first}:"),
        &format!("node-port  you -> node01 ({second}:"),
        &format!("node-port  you -> node02 ({third}:"),
        &format!("at-rest  {}", lab_name()),
        &format!("closed-to-others  you -> node02 ({third}): neither etcd nor the kubelet"),
    ] {
        assert!(has(words), "not shown: {words}\n{}", up.stderr);
    }
}

fn at_rest(stage: &Stage, when: &str) {
    let said = stage.kubewan(&["plan", "--detailed-exitcode"]);
    assert_eq!(said.code, 0, "{when}, something is left to do:\n{}{}", said.stdout, said.stderr);
}

/// Where the first member listens, but for its metrics.
fn etcd_listens(stage: &Stage) -> Vec<String> {
    let listed = stage.on("master01", "ss -Hltn '( sport = :2379 or sport = :2380 )'");
    let mut found: Vec<String> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned))
        .collect();
    found.sort();
    found
}

fn etcd_has_three_healthy_members(stage: &Stage) {
    let pki = "/etc/kubernetes/pki/etcd";
    let etcdctl = |arguments: &str| {
        let line = format!(
            "{KUBECTL} -n kube-system exec etcd-master01 -- \
             etcdctl --endpoints=https://127.0.0.1:2379 \
             --cacert={pki}/ca.crt --cert={pki}/healthcheck-client.crt \
             --key={pki}/healthcheck-client.key -w json {arguments}"
        );
        // It fails where a member is not healthy, and tells of all of them.
        let output = stage.try_on("master01", &line);
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    let members = etcdctl("member list");
    let members = members["members"].as_array().expect("etcd tells its members");
    let mut names: Vec<&str> = members.iter().filter_map(|m| m["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, HOSTS);
    assert!(members.iter().all(|member| member["isLearner"] != true), "{members:?}");
    let until = Instant::now() + PATIENCE;
    loop {
        let health = etcdctl("--command-timeout=30s endpoint health --cluster");
        let healthy = health.as_array().into_iter().flatten().filter(|h| h["health"] == true);
        if healthy.count() == 3 {
            return;
        }
        assert!(Instant::now() < until, "{health}");
        sleep(Duration::from_secs(2));
    }
}

/// What decrypts the control planes' keys is in no file and no log, and no file of kubeadm's configuration is left.
fn no_key_is_left(stage: &Stage) {
    let search = "grep -rlsE 'certificateKey: .?[0-9a-f]{64}' /etc /run /root /tmp /var /home || true; \
                  journalctl --no-pager -o cat | grep -E 'certificate.?[Kk]ey.{0,4}[0-9a-f]{64}' || true; \
                  ls /run/*/kubeadm-*.yaml /var/lib/kubewan/kubeadm-*.yaml 2>/dev/null || true";
    for host in HOSTS {
        assert_eq!(stage.on(host, search), "", "{host} keeps a certificate key");
    }
}

/// etcd answers the other control planes, and not the operator's machine.
fn peers_only(stage: &Stage) {
    let addresses = addresses(stage);
    let knock =
        |address: Ipv4Addr, port: u16| format!("timeout 3 bash -c '< /dev/tcp/{address}/{port}'");
    for (host, address) in HOSTS.iter().zip(addresses) {
        for port in [2379, 2380, 10250] {
            let output = Command::new("sh").args(["-c", &knock(address, port)]).output();
            let answered = output.is_ok_and(|output| output.status.success());
            assert!(!answered, "{host} answers anyone on {port}");
        }
    }
    stage.await_on("node02", &knock(addresses[1], 2380));
}

/// The firewall is active and kubewan's rules are in it, and still etcd answers the world.
fn a_rule_that_lets_everyone_in_is_seen(stage: &Stage) {
    stage.on("node02", "ufw allow 2379:2380/tcp");
    let said = stage.kubewan(&["smoke"]);
    stage.on("node02", "ufw delete allow 2379:2380/tcp");
    let failed: Vec<&str> =
        said.stderr.lines().filter_map(|line| line.strip_prefix("FAILED")).collect();
    assert!(said.code == 6 && failed.len() == 1, "{}", said.stderr);
    assert!(failed[0].contains("you -> node02") && failed[0].contains("2379, 2380 answer"));
}

/// Without the first control plane's API server the others' answer, and the plan mends it.
fn another_api_server_answers(stage: &Stage) {
    stage.on("master01", "mv /etc/kubernetes/manifests/kube-apiserver.yaml /root/");
    let gone = "for i in $(seq 300); do ss -Hltn '( sport = :6443 )' | grep -q . || exit 0; sleep 1; done; exit 1";
    stage.on("master01", gone);
    for host in HOSTS {
        let nodes = stage.await_on(host, &format!("{KUBECTL} get nodes -o name"));
        assert_eq!(nodes.lines().count(), 3, "asked on {host}: {nodes}");
    }
    stage.kubewan(&["status"]).expect_code(0);
    stage.on("master01", "rm /root/kube-apiserver.yaml");
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
}

fn parts_of_a_joined_control_plane_are_mended(stage: &Stage) {
    stage.on(
        "node01",
        "cd /etc/kubernetes && rm manifests/kube-scheduler.yaml pki/apiserver.crt pki/apiserver.key \
         pki/sa.pub controller-manager.conf",
    );
    let planned = stage.planned();
    assert!(planned.contains(&"node01/kubeadm-join:kubeadm join".to_owned()), "{planned:?}");
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    // And the member of etcd itself, whose manifest is all that went.
    stage.on("node02", "rm /etc/kubernetes/manifests/etcd.yaml");
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    at_rest(stage, "after parts were mended");
    etcd_has_three_healthy_members(stage);
}

fn give_back(stage: &Stage, before: &[kubewan_lab::HostSnapshot]) {
    stage.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    let left = differences(HOSTS, before, &looks(stage), AFTER_RESET);
    assert!(left.is_empty(), "the hosts are not as they were:\n{left}");
}
