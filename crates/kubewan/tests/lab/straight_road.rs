//! The straight road, end to end: servers as one rents them, a cluster on them, its proof, damage and repair,
//! reboots, and the way back.

mod damage;
mod proofs;
mod reset;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kubewan_lab::leftovers;
use serde_json::Value;

use crate::support::looks::looks;
use crate::support::{HOSTS, KUBECTL, Kubernetes, Said, Stage, lab_name};

/// Somebody's earlier try, in a file that wins over kubeadm's.
const STALE_ARGUMENT: &str = "KUBELET_EXTRA_ARGS=--node-ip=10.0.4.7";

/// For a host that was booted to be a ready node again.
const BACK_AFTER_BOOT: Duration = Duration::from_secs(300);

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn the_straight_road_from_rented_servers_to_a_cluster_and_back() {
    for kubernetes in Kubernetes::told() {
        tell(kubernetes);
    }
}

/// A story's stage, and how long its parts took.
struct Road {
    stage: Stage,
    kubernetes: Kubernetes,
    took: Vec<(&'static str, Duration)>,
}

impl Road {
    /// Runs the program and remembers how long it took.
    fn timed(&mut self, part: &'static str, arguments: &[&str]) -> Said {
        let start = Instant::now();
        let said = self.stage.kubewan(arguments);
        self.took.push((part, start.elapsed()));
        said
    }

    /// The plan is empty.
    fn at_rest(&self, when: &str) {
        let said = self.stage.kubewan(&["plan", "--detailed-exitcode"]);
        assert_eq!(
            said.code, 0,
            "{when}, something is left to do:\n{}{}",
            said.stdout, said.stderr
        );
    }

    /// A host's public address.
    fn address(&self, host: &str) -> String {
        let info = self.stage.lab.info().expect("the lab's facts");
        let found = info.hosts.iter().find(|found| found.name == host).expect("a lab host");
        found.address.to_string()
    }
}

fn tell(kubernetes: Kubernetes) {
    let mut road = Road { stage: Stage::hosts_only(kubernetes), kubernetes, took: Vec::new() };
    there_is_no_way_out(&road.stage);
    rented(&road.stage);
    let before = looks(&road.stage);
    active_firewalls_are_refused(&road);
    let forged = forged_packets_are_counted(&road.stage);
    let listened = HOSTS.map(|host| listeners(&road.stage, host));

    let up = road.timed("up", &["up", "--yes"]);
    proofs::expect(&road, up.expect_code(0));
    let counters = road.stage.lab.spoof_counters().expect("counters");
    assert_eq!(counters, forged, "a packet with a foreign source address left a host");
    the_opened_firewall_filters(&road);
    nothing_else_is_open(&road, &listened);
    rest(&mut road);
    the_operators_own_tools(&road);

    damage::every_kind(&mut road);
    the_admins_rights_are_gone(&road);
    for host in ["node02", "master01"] {
        reboot(&road, host);
    }

    reset::there_and_back(&mut road, &before);
    let up = road.timed("up after reset", &["up", "--yes"]);
    proofs::expect(&road, up.expect_code(0));
    road.at_rest("after the second life's up");

    let Road { stage, took, .. } = road;
    drop(stage);
    assert_eq!(leftovers(Some(&lab_name())), Vec::<String>::new(), "the lab left something behind");
    let took: Vec<String> =
        took.iter().map(|(part, time)| format!("{part} {:.1} s", time.as_secs_f64())).collect();
    eprintln!("{kubernetes:?}: {}", took.join(", "));
}

/// Without them the cluster can't say what it was built from: they come back, and nothing else is changed before, not even what the
/// inventory may change.
fn the_admins_rights_are_gone(road: &Road) {
    let stage = &road.stage;
    let plain = std::fs::read_to_string(stage.inventory()).expect("the inventory");
    let labelled = format!("{}    labels: {{ trip: there }}\n", plain.trim_end().to_owned() + "\n");
    std::fs::write(stage.inventory(), labelled).expect("the inventory");
    stage.on("master01", "rm /etc/kubernetes/admin.conf");
    let plan = stage.kubewan(&["plan", "-o", "json"]);
    let warns = "warning[record-unread]: master01: there is no /etc/kubernetes/admin.conf";
    assert!(
        plan.stderr.contains(warns) || plan.stdout.contains("record-unread"),
        "{}",
        plan.stderr
    );
    let json: Value = serde_json::from_str(&plan.expect_code(0).stdout).expect("a plan in JSON");
    let steps = json["steps"].as_array().expect("steps");
    let changes = steps.iter().filter(|step| step["change"].is_object());
    let changes: Vec<&str> = changes.filter_map(|step| step["id"].as_str()).collect();
    assert_eq!(changes, ["master01/kubeadm-init:kubeadm init"]);
    std::fs::write(stage.inventory(), plain).expect("the inventory");
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    stage.on("master01", "test -s /etc/kubernetes/admin.conf");
    road.at_rest("once the admin's rights are back");
}

/// The clouds are an air gap: a host knows no name of the Internet, and the lab's Internet has no way to any other. What hosts
/// get, packages too, comes from the operator and from their peers.
fn there_is_no_way_out(stage: &Stage) {
    let internet = format!("kwl-{}-net", lab_name());
    let route = |address: &str| {
        let asked = ["netns", "exec", &internet, "ip", "-4", "route", "get", address];
        std::process::Command::new("ip").args(asked).output().expect("ip starts")
    };
    let info = stage.lab.info().expect("the lab's facts");
    assert!(route(&info.hosts[0].address.to_string()).status.success(), "it leads to its hosts");
    let out = route("8.8.8.8");
    assert!(!out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    let lacks =
        "! getent ahostsv4 registry.k8s.io && ! command -v conntrack && ! command -v containerd";
    for host in HOSTS {
        stage.on(host, lacks);
    }
}

/// A kernel with SELinux has its mode in this file, below a folder that only the kernel can make: the other folders
/// beside it are taken along to where it can be made.
const SELINUX: &str = "set -e; new=/run/sysfs; mkdir $new; mount -t tmpfs -o mode=755 sysfs $new; \
    for folder in /sys/fs/*; do \
      mkdir $new/${folder##*/}; mount --rbind $folder $new/${folder##*/}; \
    done; \
    mkdir -p $new/selinux /etc/selinux; echo 1 > $new/selinux/enforce; \
    printf '# at boot\\nSELINUX=enforcing\\nSELINUXTYPE=targeted\\n' > /etc/selinux/config; \
    mount --rbind $new /sys/fs; mount --make-rprivate $new; umount -R $new; rmdir $new";

/// chrony, which a host of the lab may run as long as it leaves the clock alone (`-x`).
const CHRONY: &str = "mkdir /etc/systemd/system/chrony.service.d && \
    printf '[Unit]\\nConditionCapability=\\n' > /etc/systemd/system/chrony.service.d/lab.conf && \
    echo 'DAEMON_OPTS=\"-x\"' > /etc/default/chrony && systemctl daemon-reload";

/// Servers rarely come bare: one was tried with Kubernetes before, one has a name of its provider's, a line for swap,
/// SELinux, and a time service that is off, two have firewalls, of which one has a tool that opens ports, and on one
/// cloud-init makes /etc/hosts anew at every boot, whatever files in /etc/cloud say.
fn rented(stage: &Stage) {
    stage.on("master01", &format!("echo {STALE_ARGUMENT} > /etc/default/kubelet"));
    stage.on("master01", "ufw allow 22/tcp && ufw --force enable");
    stage.on("node01", "echo vps-4711 > /etc/hostname && hostname vps-4711");
    stage.on("node01", "echo '/swapfile none swap sw 0 0' >> /etc/fstab");
    stage.on("node01", SELINUX);
    stage.on("node01", CHRONY);
    edit(stage, "- name: node01\n", "- name: node01\n    time: on\n");
    let firewall = "table inet provider { chain input { \
        type filter hook input priority filter; policy drop; \
        iif lo accept; ct state established,related accept; tcp dport { 22, 2222 } accept; \
        icmp type echo-request accept; }; }";
    stage.on("node02", &format!("echo '{firewall}' > /etc/nftables.conf"));
    stage.on("node02", "systemctl enable --now nftables.service");
    let cloud_init = "#!/bin/sh\n\
        sed \"s/[$]fqdn/$(hostname)/\" /etc/cloud/templates/hosts.debian.tmpl > /etc/hosts\n";
    stage.on("node02", &format!("printf '{cloud_init}' > /usr/bin/cloud-init"));
    stage.on(
        "node02",
        "chmod 755 /usr/bin/cloud-init && mkdir -p /etc/cloud/cloud.cfg.d /etc/cloud/templates && \
         (echo '127.0.1.1 $fqdn'; cat /etc/hosts) > /etc/cloud/templates/hosts.debian.tmpl && \
         printf '[Unit]\\nBefore=kubelet.service\\n[Service]\\nType=oneshot\\nExecStart=/usr/bin/cloud-init\\n\
         [Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/cloud-init.service && \
         systemctl enable --now cloud-init.service",
    );
    let name = format!("name: {}\n", lab_name());
    edit(stage, &name, &format!("{name}hostname: set\n"));
}

/// Replaces what stands exactly once in the inventory.
fn edit(stage: &Stage, old: &str, new: &str) {
    let path = stage.inventory();
    let text = std::fs::read_to_string(&path).expect("the inventory");
    assert_eq!(text.matches(old).count(), 1, "`{old}` in {text}");
    std::fs::write(&path, text.replacen(old, new, 1)).expect("the inventory can be written");
}

/// A firewall that the inventory says nothing about is refused with what one would type; then it is said.
fn active_firewalls_are_refused(road: &Road) {
    let said = road.stage.kubewan(&["up", "--yes"]);
    said.expect_code(3);
    let [master, node01] = ["master01", "node01"].map(|host| road.address(host));
    let must = [
        "error[host-firewall-active]: master01:".to_owned(),
        format!("ufw allow from {node01} to any port 10250 proto tcp\n"),
        "error[host-firewall-active]: node02:".to_owned(),
        "`firewall: off`".to_owned(),
        format!(": ip saddr {master} tcp dport 10250 accept\n"),
    ];
    for words in must {
        assert!(said.stderr.contains(&words), "no `{words}` in:\n{}", said.stderr);
    }
    edit(&road.stage, "- name: master01\n", "- name: master01\n    firewall: open\n");
    edit(&road.stage, "- name: node02\n", "- name: node02\n    firewall: off\n");
}

/// By the inventory alone: a shell on a host, the cluster's kubectl, and the operator's own kubeconfig.
fn the_operators_own_tools(road: &Road) {
    let file = road.stage.inventory();
    let login = crate::support::run(&["ssh", "-f", &file, "node01", "id", "-un;", "exit", "7"]);
    login.expect_code(7);
    assert_eq!(login.stdout, "admin\n");
    let odd = "jsonpath={range .items[*]}{.metadata.name}{\"it's $HOME\\n\"}{end}";
    let nodes = crate::support::run(&["kubectl", "-f", &file, "get", "nodes", "-o", odd]);
    nodes.expect_code(0);
    assert_eq!(nodes.stdout, HOSTS.map(|host| format!("{host}it's $HOME\n")).concat());
    crate::support::run(&["kubectl", "-f", &file, "get", "node", "nobody"]).expect_code(1);
    let unknown = crate::support::run(&["ssh", "-f", &file, "nobody"]);
    unknown.expect_code(3);
    assert!(unknown.stderr.contains("there are master01, node01, node02"), "{}", unknown.stderr);

    let mine = road.stage.claim.dir().join("kubeconfig");
    std::fs::write(&mine, "current-context: work\ncontexts: [{name: work}]\n").expect("a file");
    // A host that is away is no reason to be without it.
    road.stage.lab.cut("node02").expect("a cut");
    road.stage.kubewan(&["kubeconfig", &format!("--merge={}", mine.display())]).expect_code(0);
    road.stage.lab.heal("node02").expect("no cut");
    let text = std::fs::read_to_string(&mine).expect("the kubeconfig");
    let server = format!("server: https://{}:6443", road.address("master01"));
    for words in ["current-context: work", &format!("name: {}-admin", lab_name()), &server] {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
}

/// The firewall that was opened still filters: a port of the cluster's answers its peers, and nobody else.
fn the_opened_firewall_filters(road: &Road) {
    let knocks = |from: Option<&str>| {
        let address = road.address("master01");
        let knock = |seconds| format!("timeout {seconds} bash -c '< /dev/tcp/{address}/10250'");
        match from {
            Some(host) => road.stage.on(host, &format!("{} && echo yes || echo no", knock(60))),
            None => {
                let output = std::process::Command::new("sh").args(["-c", &knock(3)]).output();
                let answered = output.is_ok_and(|output| output.status.success());
                String::from(if answered { "yes" } else { "no" })
            }
        }
    };
    assert_eq!(knocks(Some("node01")).trim(), "yes", "a peer is not let in");
    assert_eq!(knocks(None), "no", "the operator is no peer");
}

/// A packet with another's source address is dropped by its own cloud and counted there, and nowhere else.
fn forged_packets_are_counted(stage: &Stage) -> BTreeMap<String, u64> {
    let read = || stage.lab.spoof_counters().expect("counters");
    let mut expected = read();
    for host in HOSTS {
        stage.on(
            host,
            "ip addr add 203.0.113.9/32 dev eth0 && \
             { ping -q -c 1 -W 1 -I 203.0.113.9 203.0.113.1 > /dev/null; \
             ip addr del 203.0.113.9/32 dev eth0; }",
        );
        *expected.get_mut(host).expect("a counter") += 1;
        assert_eq!(read(), expected, "after one forged packet from {host}");
    }
    expected
}

/// Ports that answer on other addresses than the host's own, as `6443/tcp`.
fn listeners(stage: &Stage, host: &str) -> BTreeSet<String> {
    let mut ports = BTreeSet::new();
    for (protocol, option) in [("tcp", "-Hltn"), ("udp", "-Hlun")] {
        let listed = stage.on(host, &format!("ss {option}"));
        for line in listed.lines() {
            let local = line.split_whitespace().nth(3).expect("a local address");
            let (address, port) = local.rsplit_once(':').expect("an address with a port");
            if !address.starts_with("127.") && !address.starts_with("[::1]") {
                ports.insert(format!("{port}/{protocol}"));
            }
        }
    }
    ports
}

/// What answers since the cluster is there is what `kubewan ports` lists.
fn nothing_else_is_open(road: &Road, before: &[BTreeSet<String>]) {
    let said = road.stage.kubewan(&["ports", "-o", "json"]);
    let ports: Value = serde_json::from_str(&said.expect_code(0).stdout).expect("ports in JSON");
    let listed = |host: &str| -> BTreeSet<String> {
        let ports = ports["ports"].as_array().expect("a list").iter();
        let name =
            |port: &Value| format!("{}/{}", port["first"], port["protocol"].as_str().unwrap());
        ports.filter(|port| port["host"] == host).map(name).collect()
    };
    for (host, before) in HOSTS.iter().zip(before) {
        let now = listeners(&road.stage, host);
        let added: Vec<&String> = now.difference(before).collect();
        assert!(
            added.iter().any(|port| *port == "10250/tcp"),
            "{host}: the look sees nothing: {now:?}"
        );
        let unlisted: Vec<_> = added.iter().filter(|port| !listed(host).contains(**port)).collect();
        assert!(unlisted.is_empty(), "{host} answers on {unlisted:?}, which `ports` does not list");
    }
}

/// There is nothing to do, and doing it changes nothing.
fn rest(road: &mut Road) {
    let plan = road.timed("plan", &["plan", "--detailed-exitcode"]);
    plan.expect_code(0);
    let again = road.timed("second up", &["up", "--yes", "-o", "json"]);
    again.expect_code(0);
    let last = again.stdout.lines().last().expect("a last event");
    let last: Value = serde_json::from_str(last).expect("an event in JSON");
    assert_eq!((&last["event"], &last["changed"]), (&"run-done".into(), &0.into()), "{last}");
}

/// A host that was switched off and on is a ready node under its public address, by its own units alone.
fn reboot(road: &Road, host: &str) {
    let asked = road.stage.on("master01", "date -u +%FT%TZ");
    road.stage.lab.reboot(host, &mut |_| {}).expect("a reboot");
    let start = Instant::now();
    let address = road.address(host);
    loop {
        let (ready, seen) = is_back(road, host, &address, asked.trim());
        if ready {
            break;
        }
        assert!(start.elapsed() < BACK_AFTER_BOOT, "{host} is not back: {seen}");
        std::thread::sleep(Duration::from_secs(2));
    }
    eprintln!("{host} is back after {:.0} s", start.elapsed().as_secs_f64());
    let link = road.stage.on(host, "ip -4 -o addr show dev kubewan0");
    assert!(link.contains(&format!(" {address}/32 ")), "{host}: {link}");
    road.at_rest(&format!("after a reboot of {host}"));
}

/// Whether the node is ready, with a heartbeat from after `since`: an API server goes on to call a node ready for
/// 40 s.
fn is_back(road: &Road, host: &str, address: &str, since: &str) -> (bool, String) {
    let said = road.stage.kubewan(&["status", "-o", "json"]);
    let status: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let hosts = status["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = hosts.iter().find(|found| found["name"] == host).cloned().unwrap_or_default();
    let ready = found["ready"] == true
        && found["internal_ip"] == address
        && found["address_on"] == "kubewan0";
    if !ready {
        return (false, format!("{found}\n{}", said.stderr));
    }
    let path = "{.status.conditions[?(@.type==\"Ready\")].lastHeartbeatTime}";
    // The API may be away again at this moment; then the next look tells.
    let ask = format!("{KUBECTL} --request-timeout=10s get node {host} -o 'jsonpath={path}'");
    let beat = road.stage.try_on("master01", &ask);
    let beat = String::from_utf8_lossy(&beat.stdout).into_owned();
    (beat.trim() > since, format!("the last heartbeat was at {beat}, the reboot at {since}"))
}
