//! A healthy cluster that somebody made with kubeadm and flannel's manifest, taken into kubewan's care: real Kubernetes only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kubewan_core::inventory::{self, Backend, Inventory};
use kubewan_core::render::flannel;
use serde_json::{Value, json};

use crate::by_hand::{DROP_IN, address, operators_ssh, refuse_batch};
use crate::support::running::{Running, UP};
use crate::support::{HOSTS, KUBECTL, Kubernetes, Said, Stage, lab_name, run_with};

/// A ConfigMap of the operator's own.
const KEPT: &str = "kept";

/// A setting of kubewan's that this host lacks, so that something differs on it.
const LACKING: (&str, &str) = ("node01", "/etc/sysctl.d/99-zz-kubewan.conf");

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn a_cluster_made_by_hand_is_adopted() {
    if !Kubernetes::told().contains(&Kubernetes::Bundle) {
        eprintln!("stand-ins keep no certificates worth keeping: told with real Kubernetes only");
        return;
    }
    let stage = Stage::hosts_only(Kubernetes::Bundle);
    hosts_are_prepared(&stage);
    let settings = read(&stage.inventory());
    control_plane_is_made(&stage, &settings);
    etcds_manifest_is_edited(&stage);
    workers_join(&stage);
    flannel_is_applied(&stage, &settings);
    ready(&stage);
    stage.kubectl(&format!("create configmap {KEPT} --from-literal=word=kept"));
    let (authority, before) = (sums(&stage), pods(&stage));

    let desk = Desk::new(&stage);
    a_key_that_is_gone_is_named(&stage, &desk);
    let mine = desk.adopts(&stage);
    what_differs_is_refused(&stage, &desk, &mine);
    let plan = desk.run(&["plan", "-o", "json", "-f", &mine]);
    eprintln!("{}", plan.stderr);
    let edited =
        "warning[adopt-etcd-listens]: master01: etcd listens on https://127.0.0.1:2380 by an edit";
    assert!(plan.stderr.contains(edited), "no `{edited}`:\n{}", plan.stderr);
    let plan: Value = serde_json::from_str(&plan.expect_code(0).stdout).expect("a plan in JSON");
    assert_eq!(changes(&plan), differs(&stage));
    assert_eq!(sums(&stage), authority, "a plan changed something");

    let whole = || {
        assert_eq!(sums(&stage), authority, "authorities or certificates are other ones");
        let after = pods(&stage);
        for (pod, as_it_was) in &before {
            assert_eq!(after.get(pod), Some(as_it_was), "{pod} was started anew");
        }
        let word = stage.kubectl(&format!("get configmap {KEPT} -o jsonpath={{.data.word}}"));
        assert_eq!(word, "kept");
    };
    runs_are_cut_off(&stage, &desk, &mine, &whole);
    desk.run(&["up", "--yes", "-f", &mine]).expect_code(0);
    desk.run(&["plan", "--detailed-exitcode", "-f", &mine]).expect_code(0);
    whole();
    assert!(before.len() >= 7, "{before:?}");
    for (pod, (id, restarts)) in &before {
        eprintln!("{pod}: {id}, started again {restarts} times, as before");
    }

    let again = desk.folder_file(&stage, "again.yaml");
    let refused = desk.run(&["adopt", "-f", &again, "--hosts", &desk.hosts]);
    assert!(refused.expect_code(3).stderr.contains("error[adopt-kept]"), "{}", refused.stderr);
    let refused = desk.run(&["reset", "--confirm", &lab_name(), "-f", &mine]);
    assert!(refused.expect_code(3).stderr.contains("error[adopted-cluster]"), "{}", refused.stderr);
    desk.run(&["plan", "--detailed-exitcode", "-f", &mine]).expect_code(0);
}

/// The key that signs etcd's certificates, put away: `adopt` says which and writes nothing.
fn a_key_that_is_gone_is_named(stage: &Stage, desk: &Desk) {
    let (key, away) = ("/etc/kubernetes/pki/etcd/ca.key", "/root/ca.key");
    stage.on("master01", &format!("mv {key} {away}"));
    let none = desk.folder_file(stage, "none.yaml");
    let refused = desk.run(&["adopt", "-f", &none, "--hosts", &desk.hosts]);
    let words =
        format!("error[adopt-authority]: {}: {key} is gone: etcd's", address(stage, "master01"));
    assert!(refused.expect_code(3).stderr.contains(&words), "no `{words}`:\n{}", refused.stderr);
    assert!(!Path::new(&none).exists(), "an inventory was written");
    stage.on("master01", &format!("mv {away} {key}"));
}

/// What the inventory or a node has otherwise than the cluster: each is refused by the first plan, and by `up`, and nothing is
/// changed.
fn what_differs_is_refused(stage: &Stage, desk: &Desk, mine: &str) {
    let refuses = |inventory: &str, words: &[&str]| {
        for command in [&["plan"][..], &["up", "--yes"]] {
            let said = desk.run(&[command, &["-f", inventory]].concat());
            for words in words {
                assert!(
                    said.expect_code(3).stderr.contains(words),
                    "no `{words}`:\n{}",
                    said.stderr
                );
            }
        }
    };
    let text = fs::read_to_string(mine).expect("the inventory");
    let edited = desk.folder_file(stage, "edited.yaml");
    let network = "network:\n  mode: public\n";
    let other = format!("{network}  podSubnet: 10.245.0.0/16\n  dnsDomain: other.local\n");
    assert!(text.contains(network), "{text}");
    fs::write(&edited, text.replace(network, &other)).expect("a file");
    refuses(&edited, &["error[pod-subnet-changed]", "error[dns-domain-changed]"]);

    let annotation = |value: &str| {
        let key = flannel::OVERWRITE_ANNOTATION;
        stage.kubectl(&format!("annotate --overwrite node node02 {key}={value}"));
    };
    annotation("203.0.113.9");
    refuses(mine, &["error[adopt-announced]: node02: somebody has flannel announce 203.0.113.9"]);
    let node = stage.kubectl("get node node02 -o yaml");
    assert!(node.contains(&format!("{}: 203.0.113.9", flannel::OVERWRITE_ANNOTATION)), "{node}");
    annotation(&address(stage, "node02"));

    // From 2.0 on containerd tells the kubelet, which does not read its own file for that.
    let version = stage.on("node01", "containerd --version");
    let is_told = version.split_whitespace().nth(2).is_some_and(|word| {
        word.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok())
            >= Some(2)
    });
    let (path, ours, theirs) = match is_told {
        true => ("/etc/containerd/config.toml", "SystemdCgroup = true", "SystemdCgroup = false"),
        false => {
            ("/var/lib/kubelet/config.yaml", "cgroupDriver: systemd", "cgroupDriver: cgroupfs")
        }
    };
    let edit = |from: &str, to: &str| {
        stage.on("node01", &format!("grep -q '{from}' {path} && sed -i 's/{from}/{to}/' {path}"))
    };
    edit(ours, theirs);
    refuses(
        mine,
        &["error[adopt-cgroup-driver]: node01: its kubelet makes control groups with cgroupfs"],
    );
    edit(theirs, ours);
    if is_told {
        // Its file is younger than it now, which a plan would have it start again for. Containers go on.
        stage.on("node01", "systemctl restart containerd");
    }

    stage.on("master01", "mv /etc/kubernetes/scheduler.conf /root/");
    refuses(
        mine,
        &["error[adopt-lacks]: master01: the adopted cluster lacks /etc/kubernetes/scheduler.conf"],
    );
    stage.on("master01", "mv /root/scheduler.conf /etc/kubernetes/");
    for host in HOSTS {
        stage.on(host, "test ! -e /var/lib/kubewan/adopted");
    }
}

/// kubewan and its agent, killed at three points of an `up`: before the mark is on all hosts, while nodes are marked, and while
/// flannel's pods are made anew. Nothing is lost, no reset is to be had, and the next run goes on.
fn runs_are_cut_off(stage: &Stage, desk: &Desk, mine: &str, whole: &impl Fn()) {
    let kills =
        [("node01", "/file:"), ("master01", "/node-meta:"), ("master01", "/object:DaemonSet")];
    for (host, goal) in kills {
        let mut run = Running::start_with(&UP, mine, &[("PATH", &desk.path)]);
        run.until(goal, |event| {
            let step = event["step"].as_str().unwrap_or_default();
            event["state"] == "started" && step.starts_with(host) && step.contains(goal)
        });
        run.kill_if_running();
        for host in HOSTS {
            stage.on(
                host,
                "systemctl kill -s KILL kubewan-batch.service 2> /dev/null; pkill -KILL -f '^/var/lib/kubewan/'; true",
            );
        }
        let refused = desk.run(&["reset", "--confirm", &lab_name(), "-f", mine]);
        let said = &refused.expect_code(3).stderr;
        assert!(said.contains("error[adopted-cluster]"), "{said}");
        whole();
        desk.run(&["plan", "-f", mine]).expect_code(0);
    }
}

fn read(path: &str) -> Inventory {
    let text = fs::read_to_string(path).expect("the inventory");
    inventory::parse(path, &text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Hosts on which somebody has installed everything, by a hand that left no journal, with the public address on the network
/// card: an `up` as far as the control plane's first step, and what tells of kubewan gone.
fn hosts_are_prepared(stage: &Stage) {
    refuse_batch(stage, "master01", "control-plane");
    let cut_off = stage.kubewan(&["up", "--yes", "--no-smoke"]);
    assert_ne!(cut_off.code, 0, "the control plane's batch was not refused");
    for host in HOSTS {
        let own = address(stage, host);
        stage.on(
            host,
            &format!(
                "rm -rf {DROP_IN} && systemctl disable --now kubewan-address.service && \
                 rm /etc/systemd/system/kubewan-address.service && systemctl daemon-reload && \
                 rm -rf /var/lib/kubewan && ip address add {own}/32 dev eth0 label eth0:1"
            ),
        );
    }
    let (host, path) = LACKING;
    stage.on(host, &format!("rm {path}"));
}

/// kubeadm's documents, with what a lab's host needs.
fn control_plane_is_made(stage: &Stage, settings: &Inventory) {
    let own = address(stage, "master01");
    let with = |mut ours: Value, more: &inventory::Settings| {
        ours.as_object_mut().expect("a map").extend(more.clone());
        ours
    };
    let api = "kubeadm.k8s.io/v1beta4";
    let version = format!("v{}", settings.kubernetes.version);
    let documents = [
        json!({
            "apiVersion": api, "kind": "InitConfiguration",
            "localAPIEndpoint": { "advertiseAddress": own, "bindPort": 6443 },
            "nodeRegistration": registration("master01", &own),
        }),
        json!({
            "apiVersion": api, "kind": "ClusterConfiguration",
            "kubernetesVersion": version, "controlPlaneEndpoint": format!("{own}:6443"),
            "networking": { "podSubnet": "10.244.0.0/16", "serviceSubnet": "10.96.0.0/12" },
        }),
        with(
            json!({
                "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "cgroupDriver": "systemd",
            }),
            &settings.kubernetes.kubelet,
        ),
        with(
            json!({ "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration" }),
            &settings.kubernetes.kube_proxy,
        ),
    ];
    let text = documents.map(|document| document.to_string()).join("\n---\n");
    kubeadm(stage, "master01", "init", &text);
}

/// As the usual recipe ends: other members are listened to on the host itself, by a manifest that kubeadm knows nothing of.
fn etcds_manifest_is_edited(stage: &Stage) {
    let (own, manifest) = (address(stage, "master01"), "/etc/kubernetes/manifests/etcd.yaml");
    let argument = |address: &str| format!("--listen-peer-urls=https://{address}:2380");
    let (from, to) = (argument(&own), argument("127.0.0.1"));
    let edit = format!("grep -q -- {from} {manifest} && sed -i 's#{from}#{to}#' {manifest}");
    stage.on("master01", &edit);
    // The shell's own command line has these words too: only a process that is called etcd counts.
    let runs = format!(
        "for pid in $(pgrep -x etcd); do tr '\\0' '\\n' < /proc/$pid/cmdline; done | grep -qx -- {to} && \
         {KUBECTL} get --raw /readyz --request-timeout=5s"
    );
    stage.await_on("master01", &runs);
}

fn registration(name: &str, own: &str) -> Value {
    json!({
        "name": name,
        "criSocket": "unix:///run/containerd/containerd.sock",
        "kubeletExtraArgs": [{ "name": "node-ip", "value": own }],
    })
}

fn kubeadm(stage: &Stage, host: &str, word: &str, config: &str) {
    let line = format!(
        "cat > /root/{word}.yaml && kubeadm {word} --config /root/{word}.yaml --ignore-preflight-errors=all 2>&1"
    );
    fed(stage, host, &line, config);
}

/// Runs a shell line on a host with this on its standard input; it must succeed.
fn fed(stage: &Stage, host: &str, line: &str, input: &str) {
    let output = stage.lab.exec(host, &["sh", "-c", line], input.as_bytes()).expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{host}: `{line}`: {said}{errors}");
}

/// By the command that kubeadm prints.
fn workers_join(stage: &Stage) {
    let printed = stage.on("master01", "kubeadm token create --print-join-command");
    let words: Vec<&str> = printed.split_whitespace().collect();
    let after = |key: &str| {
        let at = words.iter().position(|word| *word == key).expect("kubeadm prints it");
        words[at + 1]
    };
    for host in &HOSTS[1..] {
        let config = json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration",
            "discovery": { "bootstrapToken": {
                "apiServerEndpoint": after("join"),
                "token": after("--token"),
                "caCertHashes": [after("--discovery-token-ca-cert-hash")],
            } },
            "nodeRegistration": registration(host, &address(stage, host)),
        });
        kubeadm(stage, host, "join", &config.to_string());
    }
}

/// flannel as its own manifest has it (Documentation/kube-flannel.yml), and the address that each node announces by hand.
fn flannel_is_applied(stage: &Stage, settings: &Inventory) {
    for host in HOSTS {
        let own = address(stage, host);
        stage.kubectl(&format!("annotate node {host} {}={own}", flannel::OVERWRITE_ANNOTATION));
    }
    let images = stage.on("master01", "ctr --namespace k8s.io images ls -q");
    let image = |name: &str| {
        let found = images.lines().find(|line| line.contains(&format!("/{name}:")));
        found.expect("an image of the bundle").to_owned()
    };
    let (image, plugin) = (image("flannel"), image("flannel-cni-plugin"));
    let mut objects = flannel::objects(settings, 1500, &image, &plugin);
    let kind = match settings.network.backend {
        Backend::Vxlan => "vxlan",
        Backend::Wireguard => "wireguard",
    };
    for object in &mut objects {
        if object["kind"] == "ConfigMap" {
            let conf = json!({ "Network": "10.244.0.0/16", "Backend": { "Type": kind } });
            object["data"]["net-conf.json"] = conf.to_string().into();
        }
        if object["kind"] == "DaemonSet" {
            let template = &mut object["spec"]["template"];
            template["metadata"]["annotations"] = Value::Null;
            template["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
            let container = &mut template["spec"]["containers"][0];
            container["args"] = json!(["--ip-masq", "--kube-subnet-mgr"]);
            container["livenessProbe"] = Value::Null;
            container["readinessProbe"] = Value::Null;
        }
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    fed(stage, "master01", &format!("{KUBECTL} apply -f -"), &list.to_string());
    // Something of the operator's own, on every worker.
    let pause = images.lines().find(|line| line.contains("/pause:")).expect("the pause image");
    stage.kubectl(&format!("create deployment mine --image={pause} --replicas=3"));
}

/// Waits until all nodes are ready, and all pods.
fn ready(stage: &Stage) {
    let until = Instant::now() + Duration::from_secs(300);
    loop {
        let nodes = stage.kubectl("get nodes --no-headers");
        let pods = stage.kubectl("get pods -A --no-headers");
        let is_ready = |line: &str| line.split_whitespace().nth(1) == Some("Ready");
        let runs = |line: &str| line.contains(" 1/1 ") || line.contains("   1/1   ");
        if nodes.lines().filter(|line| is_ready(line)).count() == 3 && pods.lines().all(runs) {
            eprintln!("{nodes}{pods}");
            return;
        }
        assert!(Instant::now() < until, "not ready:\n{nodes}{pods}");
        sleep(Duration::from_secs(2));
    }
}

/// Authorities, certificates, keys and kubeconfigs.
fn sums(stage: &Stage) -> String {
    stage.on(
        "master01",
        "find /etc/kubernetes -name '*.yaml' -o -type f -print | sort | xargs sha256sum",
    )
}

/// Every pod but flannel's, which gets other arguments, and CoreDNS', which are spread: its id, and how often its containers
/// started.
fn pods(stage: &Stage) -> BTreeMap<String, (String, u64)> {
    let list: Value =
        serde_json::from_str(&stage.kubectl("get pods -A -o json")).expect("a list in JSON");
    let pod = |pod: &Value| {
        let text = |pointer: &str| {
            pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let name = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        let restarts = pod.pointer("/status/containerStatuses/0/restartCount");
        // These two end by themselves where they could not renew their lease within ten seconds, as on a machine that stalls.
        let has_lease = ["/kube-controller-manager-", "/kube-scheduler-"];
        let restarts = restarts.filter(|_| !has_lease.iter().any(|part| name.contains(part)));
        let restarts = restarts.and_then(Value::as_u64).unwrap_or_default();
        (name, (text("/metadata/uid"), restarts))
    };
    let kept = |name: &str| !name.starts_with("kube-flannel/") && !name.contains("/coredns-");
    let all = list["items"].as_array().expect("items").iter().map(pod);
    all.filter(|(name, _)| kept(name)).collect()
}

fn changes(plan: &Value) -> Vec<String> {
    let steps = plan["steps"].as_array().expect("steps").iter();
    let changed = steps.filter(|step| !step["change"].is_null());
    changed.map(|step| step["id"].as_str().expect("an id").to_owned()).collect()
}

/// All that a hand has made otherwise than kubewan would.
fn differs(stage: &Stage) -> Vec<String> {
    let mut expected: Vec<String> = Vec::new();
    for host in HOSTS {
        expected.push(format!("{host}/file:/var/lib/kubewan/adopted"));
        if host == LACKING.0 {
            expected.push(format!("{host}/file:{}", LACKING.1));
        }
    }
    let first = |subject: &str| format!("master01/{subject}");
    expected.extend([
        first("object:ConfigMap kube-system/kubewan"),
        // Before flannel's objects, which leave nodes without the marks.
        first("node-meta:node master01"),
        first("node-meta:node node01"),
        first("node-meta:node node02"),
        first("object:ConfigMap kube-flannel/kube-flannel-cfg"),
        first("object:DaemonSet kube-flannel/kube-flannel-ds"),
    ]);
    let on = "get pods -n kube-system -l k8s-app=kube-dns -o 'jsonpath={.items[*].spec.nodeName}'";
    let nodes = stage.kubectl(on);
    let nodes: Vec<&str> = nodes.split_whitespace().collect();
    if nodes.windows(2).all(|pair| pair[0] == pair[1]) {
        expected.push(first("spread:kube-system/coredns"));
    }
    expected
}

/// The operator's own, with an ssh that knows the hosts.
struct Desk {
    path: String,
    hosts: String,
}

impl Desk {
    fn new(stage: &Stage) -> Desk {
        let bin = operators_ssh(stage);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let user = |index: usize| stage.lab.info().expect("facts").hosts[index].ssh_user.clone();
        let [first, third] = ["master01", "node02"].map(|host| address(stage, host));
        Desk { path, hosts: format!("{}@{first},second,{}@{third}", user(0), user(2)) }
    }

    fn run(&self, arguments: &[&str]) -> Said {
        run_with(arguments, &[("PATH", &self.path)])
    }

    fn folder_file(&self, stage: &Stage, name: &str) -> String {
        stage.claim.lab_dir().join(name).display().to_string()
    }

    /// What `adopt` writes is what was made; then an inventory of it with the lab's own settings, since its hosts have no
    /// Internet.
    fn adopts(&self, stage: &Stage) -> String {
        let mine = self.folder_file(stage, "mine.yaml");
        let said = self.run(&["adopt", "-f", &mine, "--name", &lab_name(), "--hosts", &self.hosts]);
        eprintln!("{}", said.expect_code(0).stderr);
        let text = fs::read_to_string(&mine).expect("it was written");
        eprintln!("{text}");
        let written = read(&mine);
        let settings = read(&stage.inventory());
        assert_eq!(written.kubernetes.version, settings.kubernetes.version);
        assert_eq!(written.network, settings.network);
        let adopt = written.adopt.as_ref().expect("the mark");
        let pin = stage.on(
            "master01",
            "openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum",
        );
        assert_eq!(adopt.ca, format!("sha256:{}", pin.split_whitespace().next().expect("a sum")));
        assert_eq!(adopt.endpoint, format!("{}:6443", address(stage, "master01")));
        let hosts: Vec<(&str, bool, bool)> = written
            .hosts
            .iter()
            .map(|host| (host.name.as_str(), host.is_control_plane(), host.is_worker()))
            .collect();
        assert_eq!(
            hosts,
            [("master01", true, false), ("node01", false, true), ("node02", false, true)]
        );

        let labs = fs::read_to_string(stage.inventory()).expect("the inventory");
        let (settings, _) = labs.split_once("\nhosts:\n").expect("hosts");
        let (_, hosts) = text.split_once("\nhosts:\n").expect("hosts");
        let mark = format!("adopt:\n  ca: {}\n  endpoint: \"{}\"\n", adopt.ca, adopt.endpoint);
        fs::write(&mine, format!("{settings}\n{mark}\nhosts:\n{hosts}")).expect("a file");
        mine
    }
}
