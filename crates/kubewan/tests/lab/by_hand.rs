//! What people have begun by hand, or have to do by hand: an inventory from what is there, an init that got stuck as the usual
//! recipe's does, and a worker on a host that kubewan can't reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::doctor::control_plane;
use crate::support::{ETCD_LOG, Kubernetes, Said, Stage, lab_name, run, run_with};

/// The host that the inventory does not have, and that kubewan never logs in to.
const GUEST: &str = "node02";

/// Where an administrator's settings of the transient unit would lie (systemd.unit(5)).
pub const DROP_IN: &str = "/etc/systemd/system/kubewan-batch.service.d";

/// Where ifupdown would have the recipe's alias from. In the lab nothing reads it.
const STANZA: &str = "/etc/network/interfaces.d/alias";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn what_was_begun_by_hand_is_finished_and_a_worker_joins_by_hand() {
    for kubernetes in Kubernetes::told() {
        let stage = Stage::hosts_only(kubernetes);
        an_inventory_is_written(&stage);
        a_wide_alias_is_mended(&stage);
        without_the_guest(&stage);
        // Only a real etcd fails at an address that is on no interface.
        if kubernetes == Kubernetes::Bundle {
            a_stuck_init_is_finished(&stage);
        } else {
            stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
        }
        tokens_are_made_and_end(&stage);
        a_worker_joins_by_hand(&stage);
    }
}

pub fn address(stage: &Stage, host: &str) -> String {
    let info = stage.lab.info().expect("the lab's facts");
    info.hosts.iter().find(|found| found.name == host).expect("a host").address.to_string()
}

/// An `ssh` that has the lab's key and hosts in its own configuration, as an operator has it; answers the folder that it is
/// in.
pub fn operators_ssh(stage: &Stage) -> PathBuf {
    let folder = stage.claim.lab_dir();
    let (bin, config, known) = (folder.join("bin"), folder.join("config"), folder.join("known"));
    let info = stage.lab.info().expect("the lab's facts");
    let lines = info.hosts.iter().map(|host| match host.ssh_port {
        22 => format!("{} {}\n", host.address, host.host_key),
        port => format!("[{}]:{port} {}\n", host.address, host.host_key),
    });
    fs::write(&known, lines.collect::<String>()).expect("known_hosts");
    let node01 = &info.hosts[1];
    let text = format!(
        "Host second\n  HostName {}\n  User {}\n  Port {}\nHost *\n  UserKnownHostsFile {}\n  \
         GlobalKnownHostsFile /dev/null\n  IdentityFile {}\n  IdentitiesOnly yes\n",
        node01.address,
        node01.ssh_user,
        node01.ssh_port,
        known.display(),
        folder.join("id_ed25519").display()
    );
    fs::write(&config, text).expect("a file");
    fs::create_dir(&bin).expect("a folder");
    let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", config.display());
    fs::write(bin.join("ssh"), script).expect("a file");
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).expect("its mode");
    bin
}

/// `kubewan init` writes an inventory that plans: with the lab's own settings in place of the release that it names.
fn an_inventory_is_written(stage: &Stage) {
    let bin = operators_ssh(stage);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let file = stage.claim.lab_dir().join("mine.yaml");
    let name = file.display().to_string();
    let [first, third] = ["master01", GUEST].map(|host| address(stage, host));
    let cluster = lab_name();
    let user = |index: usize| stage.lab.info().expect("facts").hosts[index].ssh_user.clone();
    let hosts = format!("{}@{first},second,{}@{third}", user(0), user(2));
    let arguments = ["init", "-f", &name, "--hosts", &hosts, "--name", &cluster];
    let said = run_with(&arguments, &[("PATH", &path)]);
    said.expect_code(0);
    let text = fs::read_to_string(&file).expect("it was written");
    eprintln!("{text}");
    let must = [
        format!("name: {cluster}\n"),
        "  - name: master01\n".to_owned(),
        "roles: [control-plane, worker]\n".to_owned(),
        "      host: second\n".to_owned(),
        "behind NAT".to_owned(),
        format!("address: {third}\n"),
    ];
    for words in must {
        assert!(text.contains(&words), "no `{words}` in:\n{text}");
    }
    let again = run_with(&arguments, &[("PATH", &path)]);
    again.expect_code(3);
    assert_eq!(fs::read_to_string(&file).expect("it is there"), text, "it was written over");

    // Hosts of the lab have no Internet and share a machine: the settings for that come from the lab.
    let labs = fs::read_to_string(stage.inventory()).expect("the inventory");
    let (settings, _) = labs.split_once("\nhosts:\n").expect("hosts");
    let (_, hosts) = text.split_once("\nhosts:\n").expect("hosts");
    fs::write(&file, format!("{settings}\nhosts:\n{hosts}")).expect("a file");
    let plan = run_with(&["plan", "--detailed-exitcode", "-f", &name], &[("PATH", &path)]);
    plan.expect_code(2);
    assert!(plan.stdout.contains("make the control plane with kubeadm init"), "{}", plan.stdout);
}

/// The recipe's virtual NIC: `eth0:1` with a /24. Without its route: where the lab's ranges have the operator for a neighbour,
/// the host would be lost, and the story with it.
fn a_wide_alias_is_mended(stage: &Stage) {
    let own = address(stage, GUEST);
    let show = "ip -oneline -4 address show dev eth0";
    let before = stage.on(GUEST, show);
    let add = format!(
        "ip address add {own}/24 brd + dev eth0 label eth0:1 noprefixroute valid_lft 86400 preferred_lft 80000"
    );
    stage.on(GUEST, &add);
    let stanza = format!(
        "mkdir -p /etc/network/interfaces.d && printf 'auto eth0:1\\niface eth0:1 inet static\\naddress {own}\\nnetmask 255.255.255.0\\n' \
         > {STANZA}"
    );
    stage.on(GUEST, &stanza);
    let alias = stage.on(GUEST, show);
    let plan = stage.kubewan(&["plan"]);
    plan.expect_code(0);
    let must = [
        format!("warning[public-address-mask]: {GUEST}: eth0 has {own}/24 beside "),
        format!(
            "warning[public-address-returns]: {GUEST}: {STANZA} line 4 (`netmask 255.255.255.0`) brings {own}/24 back"
        ),
    ];
    for words in must {
        assert!(plan.stderr.contains(&words), "no `{words}` in:\n{}", plan.stderr);
    }
    let step = format!("take {own}/24 off eth0 (eth0:1)");
    assert!(plan.stdout.contains(&step), "{}", plan.stdout);

    // The remedy that a person would type works as well.
    stage.on(
        GUEST,
        &format!("ip address add {own}/32 dev eth0 && ip address del {own}/24 dev eth0"),
    );
    let plan = stage.kubewan(&["plan"]);
    assert!(!plan.expect_code(0).stderr.contains("public-address-mask"), "{}", plan.stderr);
    stage.on(GUEST, &format!("ip address del {own}/32 dev eth0 && {add}"));

    // As far as the runtime: the host's address is mended before.
    refuse_batch(stage, GUEST, "runtime");
    let cut_off = stage.kubewan(&["up", "--yes", "--no-smoke"]);
    assert_ne!(cut_off.code, 0, "the batch was not refused");
    stage.on(GUEST, &format!("rm -r {DROP_IN} && systemctl daemon-reload"));
    assert_eq!(without_lifetimes(&stage.on(GUEST, show)), without_lifetimes(&before));
    let ours = stage.on(GUEST, "ip -oneline -4 address show dev kubewan0");
    assert!(ours.contains(&format!("inet {own}/32 ")), "{ours}");
    let plan = stage.kubewan(&["plan"]);
    let said = &plan.expect_code(0).stderr;
    assert!(
        !said.contains("public-address-mask") && said.contains("public-address-returns"),
        "{said}"
    );
    assert!(!plan.stdout.contains(&step), "{}", plan.stdout);

    stage.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    let back = stage.on(GUEST, show);
    assert_eq!(
        without_lifetimes(&back),
        without_lifetimes(&alias),
        "the alias came back otherwise"
    );
    let left = |text: &str| -> u32 {
        let line = text.lines().find(|line| line.contains(&format!("{own}/24"))).expect("its line");
        let (_, rest) = line.split_once("valid_lft ").expect("a lifetime");
        rest.split("sec").next().and_then(|seconds| seconds.parse().ok()).expect("seconds")
    };
    assert!(left(&alias).abs_diff(left(&back)) < 600, "{alias}{back}");
    stage.on(GUEST, &format!("ip address del {own}/24 dev eth0 && rm {STANZA} && ! ip link show kubewan0 2> /dev/null"));
}

/// Addresses without the seconds that they have left.
fn without_lifetimes(text: &str) -> String {
    text.lines().map(|line| line.split('\\').next().unwrap_or_default().to_owned() + "\n").collect()
}

/// Has systemd refuse a host's batch of a phase.
pub fn refuse_batch(stage: &Stage, host: &str, phase: &str) {
    let refuse = format!(
        "mkdir {DROP_IN} && printf '[Service]\\nExecCondition=sh -c \"! ls -d /var/lib/kubewan/runs/*/{phase}\"\\n' \
         > {DROP_IN}/story.conf && systemctl daemon-reload"
    );
    stage.on(host, &refuse);
}

/// The guest leaves the inventory.
fn without_the_guest(stage: &Stage) {
    let text = fs::read_to_string(stage.inventory()).expect("the inventory");
    let at = text.find(&format!("  - name: {GUEST}\n")).expect("the last host");
    fs::write(stage.inventory(), &text[..at]).expect("the inventory");
}

/// As the recipe has it, without its virtual NIC: the host is prepared, `kubeadm init` is run with the public address, etcd
/// can't bind it, and kubeadm gives up. One `up` finishes that.
fn a_stuck_init_is_finished(stage: &Stage) {
    prepared_by_somebody(stage);
    let own = address(stage, "master01");
    let config = by_hand(stage, &own);
    let output = stage
        .lab
        .exec(
            "master01",
            &[
                "sh",
                "-c",
                "cat > /root/init.yaml && kubeadm init --config /root/init.yaml --ignore-preflight-errors=all 2>&1",
            ],
            config.as_bytes(),
        )
        .expect("the host runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "kubeadm init did not get stuck:\n{said}");
    eprintln!(
        "kubeadm init by hand: {}",
        said.lines().rev().take(6).collect::<Vec<_>>().join(" | ")
    );
    // kubeadm may have given up before etcd was started; the kubelet has not.
    let log = stage.await_words("master01", ETCD_LOG, "cannot assign requested address");
    control_plane::of_a_stuck_init(stage, &said, &log);
    let authority = "sha256sum /etc/kubernetes/pki/ca.crt /etc/kubernetes/pki/ca.key \
        /etc/kubernetes/pki/etcd/ca.crt /etc/kubernetes/pki/sa.key";
    let before = stage.on("master01", authority);
    stage.on("master01", "test ! -e /var/lib/etcd/member");

    let plan = stage.kubewan(&["plan", "--detailed-exitcode"]);
    plan.expect_code(2);
    eprintln!("{}", plan.stderr);
    let must = [
        format!("its etcd is told to listen on https://{own}:2380"),
        "cannot assign requested address".to_owned(),
        "warning[stuck-init]: master01: ".to_owned(),
    ];
    for words in must {
        assert!(plan.stderr.contains(&words), "no `{words}` in:\n{}", plan.stderr);
    }
    let finishes = "finish the kubeadm init that somebody began here by hand";
    assert!(plan.stdout.contains(finishes), "{}", plan.stdout);
    assert_eq!(stage.on("master01", authority), before, "a plan changed something");

    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    assert_eq!(stage.on("master01", authority), before, "the authorities are other ones");
    let kept = stage.kubectl("-n kube-system get configmap kubeadm-config -o yaml");
    assert!(kept.contains("https://127.0.0.1:2380"), "{kept}");
    stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    crate::doctor::settles(stage, &crate::doctor::none());
}

/// A host on which somebody has installed everything, by a hand that left no journal: an `up` as far as the control plane's
/// first step, its journal gone, and no address but the NIC's.
fn prepared_by_somebody(stage: &Stage) {
    refuse_batch(stage, "master01", "control-plane");
    let cut_off = stage.kubewan(&["up", "--yes", "--no-smoke"]);
    assert_ne!(cut_off.code, 0, "the control plane's batch was not refused");
    stage.on(
        "master01",
        &format!(
            "rm -r {DROP_IN} && systemctl disable --now kubewan-address.service && \
             rm /etc/systemd/system/kubewan-address.service && systemctl daemon-reload && \
             rm -rf /var/lib/kubewan && ! ip link show kubewan0 2> /dev/null"
        ),
    );
}

/// The recipe's configuration, with what a lab's host needs, and less patience.
fn by_hand(stage: &Stage, own: &str) -> String {
    let labs = fs::read_to_string(stage.inventory()).expect("the inventory");
    let fails = if labs.contains("failCgroupV1") { "failCgroupV1: false\n" } else { "" };
    let score = if labs.contains("oomScoreAdj") { "oomScoreAdj: 0\n" } else { "" };
    format!(
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n\
         localAPIEndpoint: {{ advertiseAddress: {own}, bindPort: 6443 }}\n\
         nodeRegistration: {{ name: master01, criSocket: unix:///run/containerd/containerd.sock }}\n\
         timeouts: {{ controlPlaneComponentHealthCheck: 25s, kubeletHealthCheck: 240s, kubernetesAPICall: 10s }}\n\
         ---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.2\n\
         controlPlaneEndpoint: {own}:6443\n\
         networking: {{ podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12 }}\n\
         ---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: systemd\n{fails}{score}"
    )
}

/// The program, with everything that it keeps of a run in a file.
fn kept(stage: &Stage, arguments: &[&str], log: &Path) -> Said {
    let inventory = stage.inventory();
    let mut all = arguments.to_vec();
    let log = log.display().to_string();
    all.extend(["-f", &inventory, "-vv", "--log-file", &log]);
    run(&all)
}

/// Tokens go to standard output, and into nothing that stays.
fn tokens_are_made_and_end(stage: &Stage) {
    let log = stage.claim.dir().join("token.log");
    let pin = kept(stage, &["token", "ca-hash"], &log);
    let hash = stage.on(
        "master01",
        "openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum",
    );
    let hash = format!("sha256:{}", hash.split_whitespace().next().expect("a sum"));
    assert_eq!(pin.expect_code(0).stdout.trim(), hash);
    let made = kept(stage, &["token", "create", "--ttl", "20m"], &log);
    let token = made.expect_code(0).stdout.trim().to_owned();
    let (id, secret) = token.split_once('.').expect("a token");
    let command = kept(stage, &["token", "create", "--print-join-command"], &log);
    let command = command.expect_code(0).stdout.trim().to_owned();
    let begins = format!("kubeadm join api.{}.kubewan:6443 --token ", lab_name());
    assert!(command.starts_with(&begins), "{command}");
    assert!(command.ends_with(&format!(" --discovery-token-ca-cert-hash {hash}")), "{command}");
    let listed = kept(stage, &["token", "list"], &log);
    eprintln!("{}", listed.expect_code(0).stdout);
    let line = listed.stdout.lines().find(|line| line.starts_with(id)).expect("the token's line");
    assert!(line.contains("usable") && !listed.stdout.contains(secret), "{}", listed.stdout);
    let theirs =
        stage.on("master01", "kubeadm token list --kubeconfig /etc/kubernetes/admin.conf || true");
    assert!(theirs.is_empty() || theirs.contains(id), "{theirs}");
    kept(stage, &["token", "delete", id], &log).expect_code(0);
    kept(stage, &["token", "delete", id], &log).expect_code(3);
    let left = kept(stage, &["token", "list", "-o", "json"], &log);
    assert!(!left.expect_code(0).stdout.contains(id), "{}", left.stdout);
    let said = fs::read_to_string(&log).expect("the log") + &made.stderr + &listed.stderr;
    assert!(!said.contains(secret), "a token's secret half was kept or told");
}

/// A person takes what `join-command` made to the host, and runs it there.
fn a_worker_joins_by_hand(stage: &Stage) {
    let folder = stage.claim.dir().join("guest");
    let own = address(stage, GUEST);
    let log = stage.claim.dir().join("join.log");
    let dir = folder.display().to_string();
    let made = kept(stage, &["join-command", GUEST, "--address", &own, "--files", &dir], &log);
    let script = made.expect_code(0).stdout.clone();
    let token = script
        .lines()
        .find_map(|line| line.trim().strip_prefix("tlsBootstrapToken: "))
        .expect("a token");
    let (_, secret) = token.trim_matches('"').split_once('.').expect("a token");
    let told = fs::read_to_string(&log).expect("the log") + &made.stderr;
    assert!(!told.contains(secret), "a token's secret half was kept or told");
    fs::write(folder.join("join.sh"), &script).expect("a file");

    // Whatever way people have of bringing files to a host.
    let packed = Command::new("tar").args(["c", "-C", &dir, "."]).stdout(Stdio::piped()).output();
    let unpack = ["sh", "-c", "mkdir -p /root/guest && tar x -C /root/guest"];
    let unpacked = stage.lab.exec(GUEST, &unpack, &packed.expect("tar").stdout);
    assert!(unpacked.expect("the host runs").status.success());
    let began = Instant::now();
    for time in ["first", "second"] {
        let output = stage.lab.exec(GUEST, &["sh", "/root/guest/join.sh"], &[]).expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let shown: Vec<&str> =
            said.lines().filter(|line| line.starts_with("── ") || line.contains("error")).collect();
        eprintln!("{time} run on {GUEST}: {}\n{}", output.status, shown.join("\n"));
        assert!(output.status.success(), "{said}");
        assert!(!said.contains(secret), "{said}");
    }
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} {.status.addresses[0].address} \
        {.metadata.annotations.flannel\\.alpha\\.coreos\\.com/public-ip}";
    let until = Instant::now() + Duration::from_secs(240);
    loop {
        let seen = stage.kubectl(&format!("get node {GUEST} -o '{path}'"));
        if seen.trim() == format!("True {own} {own}") {
            break;
        }
        assert!(Instant::now() < until, "the guest is no ready node: {seen}");
        sleep(Duration::from_secs(2));
    }
    eprintln!(
        "{GUEST} is a ready node {:.0} s after the script began",
        began.elapsed().as_secs_f64()
    );
    stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    // But for the agent that looked at it first, nothing of kubewan's was there.
    stage.on(GUEST, "test ! -e /var/lib/kubewan/journal.jsonl");
}
