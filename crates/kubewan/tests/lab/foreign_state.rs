//! What is someone else's is refused or shown, and nothing of it is overwritten: another cluster, ports that are taken,
//! containers and settings in containerd, files of kubewan's that someone edited since.

mod given_back;

use std::path::PathBuf;

use kubewan_core::bundle::{self, Artifact, ArtifactKind, Bundle};
use kubewan_lab::{Allow, HostSnapshot};

use crate::support::looks::{LOGINS, allow, differences, looks};
use crate::support::{self, HOSTS, Kubernetes, Said, Stage, lab_name};

const UP: [&str; 3] = ["up", "--yes", "--no-smoke"];

/// An administrator's containerd: a mirror, and a registry with a password.
const CONFIG: &str = r#"version = 2
# By hand, for the shop.
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://mirror.example.org"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."registry.example.org".auth]
  username = "shop"
  password = "open-sesame"
[plugins."io.containerd.grpc.v1.cri".registry.headers]
  X-Shop-Token = ["open-sesame"]
"#;

const CONFIG_PATH: &str = "/etc/containerd/config.toml";

const SYSCTLS: &str = "/etc/sysctl.d/99-zz-kubewan.conf";

/// Files of somebody's in folders that a worker's kubeadm and kubelet fill, and where a control plane's etcd would lie.
const THEIRS: [&str; 6] = [
    "/var/lib/etcd/default/db",
    "/var/lib/kubelet/company.conf",
    // kubeadm writes over it.
    "/var/lib/kubelet/config.yaml",
    // Deeper than folders are looked through.
    "/var/lib/kubelet/a/b/c/d/e/f/g/h/data",
    "/etc/kubernetes/audit.yaml",
    "/etc/kubernetes/pki/company.crt",
];

/// The first process of the shop's container.
const SHOP: &str = "cat /run/containerd/io.containerd.runtime.v2.task/moby/shop/init.pid";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn what_is_someone_elses_is_refused_or_shown_and_nothing_is_overwritten() {
    let stage = Stage::hosts_only(Kubernetes::Rehearsal);
    ports_are_taken(&stage, "master01");
    a_shop_runs(&stage, "node01");
    another_cluster_was_here(&stage, "node02");
    let shop = stage.on("node01", SHOP);

    let before = looks(&stage);
    let refused = stage.kubewan(&UP);
    golden(&stage, "foreign-state", &told(&refused));
    refused.expect_code(3);
    assert!(!refused.stdout.contains("open-sesame"), "{}", refused.stdout);
    untouched(&before, &looks(&stage), "a refused run");

    // What can be lived with is accepted, the rest is mended by hand.
    stage.on("master01", "systemctl stop someone-6443 someone-10250");
    stage.on("node02", "rm -r /etc/kubernetes /var/lib/etcd/member");
    accept(&stage, "[foreign-containers, foreign-containerd-config]");
    for path in THEIRS {
        stage.on("node01", &format!("mkdir -p $(dirname {path}) && echo theirs > {path}"));
    }
    given_back::a_run_is_cut_off_and_a_reset_waits_for_it(&stage);
    given_back::a_run_is_cut_off_in_the_middle_of_dpkg(&stage);
    given_back::a_firewall_that_shuts_us_out_goes_off_again(&stage);
    given_back::a_unit_is_there(&stage, "node02");
    kubeadm_refuses_as_strictly_again(&stage, "master01");
    somebody_makes_a_cluster_meanwhile(&stage, "master01");
    let accepted = stage.kubewan(&UP);
    accepted.expect_code(0);
    assert!(!(accepted.stdout + &accepted.stderr).contains("open-sesame"));
    assert_eq!(stage.on("node01", SHOP), shop, "the shop was closed");
    stage.on("node01", &format!("test -d /proc/{}", shop.trim()));
    stage.on("node01", &format!("grep -q '^# Written by kubewan' {CONFIG_PATH}"));
    assert_eq!(kept(&stage, "node01", "open-sesame"), CONFIG);

    edits_are_shown_and_kept(&stage);
    no_second_cluster_is_made(&stage);

    // An edit that stands is nobody's to take away, nor what was put beside kubewan's files.
    stage.on("node02", &format!("echo '# mine again' >> {SYSCTLS}"));
    stage.on("node02", "echo mine > /opt/cni/bin/mine");
    given_back::somebody_mounts_and_lives_between(&stage);
    let reset = stage.kubewan(&["reset", "--confirm", &lab_name()]);
    golden(&stage, "foreign-state-reset", &told(&reset));
    reset.expect_code(0);
    for stays in [
        "warning[folder-stays]: node02: /opt/cni/bin came with kubewan",
        "warning[setting-stays]: node01: net.ipv4.ip_forward was 0 before kubewan came, and stays 1",
    ] {
        assert!(reset.stderr.contains(stays), "no `{stays}`:\n{}", reset.stderr);
    }
    stage.on("node02", &format!("grep -q '# mine again' {SYSCTLS} && cat /opt/cni/bin/mine"));
    for path in THEIRS {
        assert_eq!(stage.on("node01", &format!("cat {path}")), "theirs\n", "{path}");
    }
    stage.on(
        "node01",
        "[ ! -e /etc/kubernetes/kubelet.conf ] && [ ! -e /etc/kubernetes/pki/ca.crt ]",
    );
    assert_eq!(stage.on("node01", &format!("cat {CONFIG_PATH}")), CONFIG);
    assert_eq!(stage.on("node01", SHOP), shop, "the shop was closed");
    stage.on("node01", &format!("test -d /proc/{}", shop.trim()));
    given_back::what_was_theirs_is_theirs(&stage);
}

/// `up` ends with that code, and says these words.
fn is_refused(stage: &Stage, code: i32, words: &str) {
    let refused = stage.kubewan(&UP);
    refused.expect_code(code);
    assert!(refused.stderr.contains(words), "no `{words}` in:\n{}", refused.stderr);
}

/// Somebody has a database where a control plane's would be: kubeadm refuses, and again when it is asked once more, for the
/// first time did nothing.
fn kubeadm_refuses_as_strictly_again(stage: &Stage, host: &str) {
    stage.on(host, "mkdir -p /var/lib/etcd/default && echo theirs > /var/lib/etcd/default/db");
    for _ in 0..2 {
        is_refused(stage, 1, "DirAvailable--var-lib-etcd");
    }
    stage.on(host, "grep -q theirs /var/lib/etcd/default/db && rm -r /var/lib/etcd/default");
}

/// Somebody's kubeadm runs when ours has its turn: what it makes is no less a foreign cluster afterwards.
fn somebody_makes_a_cluster_meanwhile(stage: &Stage, host: &str) {
    stage.on(
        host,
        "cp \"$(command -v sleep)\" /root/kubeadm && systemd-run -q --unit someone-kubeadm /root/kubeadm 600",
    );
    is_refused(stage, 1, "another kubeadm (process ");
    stage.on(
        host,
        "systemctl stop someone-kubeadm && rm /root/kubeadm && mkdir -p /etc/kubernetes && echo theirs > /etc/kubernetes/admin.conf",
    );
    is_refused(stage, 3, "foreign-cluster");
    stage.on(host, "grep -q theirs /etc/kubernetes/admin.conf && rm -r /etc/kubernetes");
}

/// Somebody turns screws on two hosts: the plan says so and changes nothing, the run puts them back and keeps them.
fn edits_are_shown_and_kept(stage: &Stage) {
    stage.on("node02", &format!("echo 'net.core.somaxconn = 4096' >> {SYSCTLS}"));
    let debug = r#"printf '[debug]\nlevel = "debug"\n'"#;
    stage.on("node01", &format!("{debug} >> {CONFIG_PATH}"));
    let edited = stage.on("node01", &format!("cat {CONFIG_PATH}"));
    let before = looks(stage);
    let plan = stage.kubewan(&["plan", "--detailed-exitcode"]);
    golden(stage, "foreign-state-edited", &told(&plan));
    plan.expect_code(2);
    for line in ["-net.core.somaxconn = 4096", "-level = \"debug\""] {
        assert!(plan.stdout.contains(line), "no `{line}` in:\n{}", plan.stdout);
    }
    untouched(&before, &looks(stage), "a plan");
    stage.kubewan(&UP).expect_code(0);
    stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    assert_eq!(kept(stage, "node01", "level = \"debug\""), edited);
    assert!(kept(stage, "node02", "somaxconn").ends_with("net.core.somaxconn = 4096\n"));
}

/// A worker of the living cluster, written as its first control plane; and one that trusts another cluster's authority: both are
/// refused, by `reset` too.
fn no_second_cluster_is_made(stage: &Stage) {
    let plain = std::fs::read_to_string(stage.inventory()).expect("the inventory");
    let (head, hosts) = plain.split_once("  - name: ").expect("hosts");
    let mut hosts: Vec<String> = hosts.split("  - name: ").map(str::to_owned).collect();
    let (control_plane, worker) = ("roles: [control-plane, worker]", "roles: [worker]");
    hosts[0] = hosts[0].replace(control_plane, worker);
    hosts[1] = hosts[1].replace(worker, control_plane);
    let swapped = format!("{head}  - name: {}", hosts.join("  - name: "));
    assert_ne!(swapped, plain);
    std::fs::write(stage.inventory(), swapped).expect("the inventory");
    is_refused(stage, 3, "first-control-plane-changed");
    std::fs::write(stage.inventory(), plain).expect("the inventory");

    // Any other authority's will do.
    let other = stage.on("master01", "cat /etc/kubernetes/pki/etcd/ca.crt");
    let own = stage.on("node01", "cat /etc/kubernetes/pki/ca.crt");
    let trusts = |text: &str| {
        let put = ["sh", "-c", "cat > /etc/kubernetes/pki/ca.crt"];
        assert!(stage.lab.exec("node01", &put, text.as_bytes()).unwrap().status.success());
    };
    trusts(&other);
    is_refused(stage, 3, "error[other-cluster]: node01: this host is a node of another cluster");
    let reset = stage.kubewan(&["reset", "--confirm", &lab_name()]);
    let words = "error[other-cluster]: these hosts are nodes of different clusters";
    assert!(reset.expect_code(3).stderr.contains(words), "no `{words}`:\n{}", reset.stderr);
    trusts(&own);
}

/// What the host's journal keeps with these words.
fn kept(stage: &Stage, host: &str, words: &str) -> String {
    stage.on(host, &format!("cat $(grep -rlF '{words}' /var/lib/kubewan/blobs)"))
}

fn ports_are_taken(stage: &Stage, host: &str) {
    for port in [6443, 10250] {
        stage.on(
            host,
            &format!(
                "systemd-run -q --unit someone-{port} perl -MIO::Socket::INET -e \
                 'push @ARGV, IO::Socket::INET->new(LocalPort => {port}, Listen => 5) or die; sleep' && \
                 for try in $(seq 600); do ss -Hltn 'sport = :{port}' | grep -q . && exit; sleep 0.1; done; false"
            ),
        );
    }
}

/// containerd, configured by hand, and a container in Docker's namespace.
fn a_shop_runs(stage: &Stage, host: &str) {
    let root = bundle_of(stage);
    let text = std::fs::read_to_string(root.join("bundle.yaml")).expect("a bundle.yaml");
    let bundle: Bundle = bundle::parse(&text).expect("a bundle");
    let put = |from: &Artifact, line: &str| {
        let bytes = std::fs::read(root.join(&from.path)).expect("a file of the bundle");
        let output = stage.lab.exec(host, &["sh", "-c", line], &bytes).unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    };
    let output = stage.lab.exec(
        host,
        &["sh", "-c", &format!("mkdir -p /etc/containerd /root/debs && cat > {CONFIG_PATH}")],
        CONFIG.as_bytes(),
    );
    assert!(output.unwrap().status.success());
    for package in bundle.artifacts.iter().filter(|a| a.kind == ArtifactKind::Package) {
        put(package, &format!("cat > /root/debs/{}.deb", package.name));
    }
    stage.on(host, "dpkg -i --force-confold /root/debs/*.deb 2>&1 && rm -r /root/debs");
    let pause = bundle.artifacts.iter().find(|a| a.name.contains("/pause:")).expect("a pause");
    put(pause, "ctr -n moby images import -");
    stage.on(host, &format!("ctr -n moby run -d {} shop", pause.name));
    // containerd writes down what it was told some moments later.
    stage.on(host, "sync; sleep 10; sync");
}

/// What `kubeadm reset` was not run for.
fn another_cluster_was_here(stage: &Stage, host: &str) {
    stage.on(
        host,
        "mkdir -p /etc/kubernetes/pki /etc/kubernetes/manifests /var/lib/etcd/member/wal && \
         echo theirs > /etc/kubernetes/pki/ca.crt && echo theirs > /etc/kubernetes/manifests/etcd.yaml && \
         printf 'clusters:\\n- cluster:\\n    server: https://203.0.113.7:6443\\n' > /etc/kubernetes/kubelet.conf",
    );
}

fn accept(stage: &Stage, codes: &str) {
    let inventory = std::fs::read_to_string(stage.inventory()).unwrap();
    let name = format!("name: {}\n", lab_name());
    let accepting = inventory.replacen(&name, &format!("{name}accept: {codes}\n"), 1);
    assert_ne!(accepting, inventory);
    std::fs::write(stage.inventory(), accepting).unwrap();
}

/// The bundle that the lab's inventory names.
fn bundle_of(stage: &Stage) -> PathBuf {
    let text = std::fs::read_to_string(stage.inventory()).expect("an inventory");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("bundle: ")).expect("bundle:");
    serde_json::from_str(line).expect("a quoted path")
}

/// Not a byte of any host differs, but for what a login leaves, the agent that looks, and what a living cluster writes.
fn untouched(before: &[HostSnapshot], after: &[HostSnapshot], after_what: &str) {
    let found = differences(HOSTS, before, after, &[LOGINS, &OURS_AND_LIVING].concat());
    assert!(found.is_empty(), "after {after_what}:\n{found}");
}

/// What a look needs on a host, and what a cluster does by itself.
const OURS_AND_LIVING: [Allow<'static>; 4] = [
    allow("file /var/lib/kubewan", "the agent's folder, which a reset removes"),
    allow("file /var/lib/kubewan/agent**", "the agent, which a reset removes"),
    allow("file /var/lib/etcd/member/**", "etcd stores what components tell the API"),
    allow("file /var/log/pods/**", "pods go on writing"),
];

/// All that was said but how the way was, and what the machine that the lab runs on is warned of: its control groups,
/// its kernel's modules, its packages.
fn told(said: &Said) -> String {
    let ours = |line: &str| {
        line.starts_with("error")
            || line.starts_with("warning[edited-since]")
            || line.starts_with("warning[foreign-")
    };
    let (mut shown, mut within) = (String::new(), false);
    for line in said.stderr.lines() {
        let more = line.starts_with("  = ") || line.starts_with("  | ");
        within = ours(line) || within && more;
        if within {
            shown += &format!("{line}\n");
        }
    }
    format!("exit {}\n{shown}", said.code)
}

/// A golden, of texts without what every lab and every run has of its own.
fn golden(stage: &Stage, name: &str, text: &(impl ToString + ?Sized)) {
    let mut text = text.to_string();
    for host in stage.lab.info().unwrap().hosts {
        text = text.replace(&host.address.to_string(), &format!("ADDRESS-OF-{}", host.name));
    }
    let mut parts = text.split("/blobs/");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |text, part| text + "/blobs/SHA256" + &part[64..]);
    support::golden(name, &text);
}
