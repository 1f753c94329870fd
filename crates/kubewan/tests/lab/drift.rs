//! The lab must not drift into being easy: what fails on rented servers fails in it, for the same reason. Nothing of
//! the product runs here after the hosts are made; kubeadm is run by hand, as the tutorials do it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kubewan_core::bundle::{self, ArtifactKind, Bundle};
use kubewan_lab::LabHost;

use crate::support::{ETCD_LOG, Kubernetes, Stage};

/// In a cloud without hairpin.
const HOST: &str = "master01";

/// An address on nobody's interface, of a documentation range that the lab does not use.
const FORGED: &str = "203.0.113.9";

/// etcd's settings of those who know why the tutorials fail.
const LOCAL_ETCD: &str = "\
etcd:
  local:
    extraArgs:
    - { name: listen-client-urls, value: \"https://127.0.0.1:2379\" }
    - { name: listen-peer-urls, value: \"https://127.0.0.1:2380\" }
";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn kubeadm_by_hand_fails_and_succeeds_as_on_rented_servers() {
    for kubernetes in Kubernetes::told() {
        let stage = Stage::hosts(kubernetes, 1);
        let hand = Hand::prepare(&stage);
        let began = std::time::Instant::now();
        let told = |what: &str| eprintln!("{kubernetes:?}: {what}: {:?}", began.elapsed());
        an_address_on_no_interface_stops_etcd(&hand);
        told("address on no interface");
        hand.reset();
        without_hairpin_a_local_etcd_is_not_enough(&hand);
        told("local etcd, no hairpin");
        hand.reset();
        an_address_on_an_interface_is_enough(&hand);
        told("address on an interface");
        a_cluster_that_runs_is_someone_elses(&hand);
        told("someone else's cluster");
    }
}

fn an_address_on_no_interface_stops_etcd(hand: &Hand) {
    let (code, said) = hand.init("", 30);
    assert_ne!(code, 0, "init succeeded with an address that the host has not: {said}");
    let bind =
        format!("listen tcp {}:2380: bind: cannot assign requested address", hand.host.address);
    // kubeadm may have given up before the first etcd was started; the kubelet has not.
    hand.stage.await_words(HOST, ETCD_LOG, &bind);
}

fn without_hairpin_a_local_etcd_is_not_enough(hand: &Hand) {
    let (code, said) = hand.init(LOCAL_ETCD, 40);
    assert_ne!(code, 0, "init succeeded without hairpin and without the address: {said}");
    let endpoint = format!("https://{}:6443", hand.host.address);
    assert!(said.contains(&endpoint), "init failed, but not on {endpoint}: {said}");
    // All of it works but the road to its own address.
    let local = "kubectl --kubeconfig /etc/kubernetes/super-admin.conf --server https://127.0.0.1:6443 \
                 --tls-server-name kubernetes get --raw /livez";
    hand.stage.await_words(HOST, local, "ok");
    let log = hand.stage.on(HOST, ETCD_LOG);
    assert!(!log.is_empty(), "etcd never ran: {said}");
    assert!(!log.contains("bind: cannot assign"), "etcd could not listen:\n{log}");
    let own = format!("curl -sk --max-time 3 {endpoint}/livez; echo $?");
    // 28: curl's code for a time-out.
    assert_eq!(hand.stage.on(HOST, &own).trim(), "28", "the host reaches its own public address");
}

fn an_address_on_an_interface_is_enough(hand: &Hand) {
    // A bridge: not every kernel has dummies.
    let address = hand.host.address;
    hand.stage.on(
        HOST,
        &format!(
            "ip link add hand0 type bridge && ip address add {address}/32 dev hand0 && ip link set hand0 up"
        ),
    );
    let (code, said) = hand.init("", 300);
    assert_eq!(code, 0, "stock configuration, the address on an interface: {said}");
    let nodes = hand.stage.kubectl("get nodes -o name");
    assert_eq!(nodes.trim(), format!("node/{HOST}"));
}

/// What was made by hand is refused as it runs, and goes on as it was.
fn a_cluster_that_runs_is_someone_elses(hand: &Hand) {
    let look = || {
        let files = "find /etc/kubernetes /var/lib/kubelet/pki /var/lib/kubelet/config.yaml /etc/containerd \
                     -type f -exec sha256sum {} + | sort; systemctl show -p MainPID kubelet containerd";
        let identity = hand.stage.kubectl("get namespace kube-system -o jsonpath={.metadata.uid}");
        hand.stage.on(HOST, files) + &identity
    };
    let before = look();
    let refused = hand.stage.kubewan(&["up", "--yes"]);
    refused.expect_code(3);
    let named = format!("error[foreign-cluster]: {HOST}:");
    assert!(refused.stderr.contains(&named), "no `{named}` in:\n{}", refused.stderr);
    assert_eq!(look(), before, "a refused run changed it");
    // No journal, no runs, and its API was not asked: there is the agent.
    assert_eq!(hand.stage.on(HOST, "ls /var/lib/kubewan").trim(), "agent");
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn a_forged_source_is_dropped_and_counted_by_its_cloud_alone() {
    let stage = Stage::hosts(Kubernetes::Rehearsal, 3);
    let hosts = stage.lab.info().unwrap().hosts;
    for liar in &hosts {
        let other = hosts.iter().find(|host| host.name != liar.name).unwrap();
        let before = stage.lab.spoof_counters().unwrap();
        // An honest packet raises nothing.
        send_one(&stage, liar, other, &liar.private.address.to_string());
        assert_eq!(stage.lab.spoof_counters().unwrap(), before);
        stage.on(&liar.name, &format!("ip address add {FORGED}/32 dev lo"));
        send_one(&stage, liar, other, FORGED);
        let mut expected: BTreeMap<String, u64> = before;
        *expected.get_mut(&liar.name).unwrap() += 1;
        assert_eq!(stage.lab.spoof_counters().unwrap(), expected, "{}", liar.name);
    }
}

/// One UDP packet with that source.
fn send_one(stage: &Stage, from: &LabHost, to: &LabHost, source: &str) {
    let line = format!(
        "set -e; via=$(ip -4 route show default | head -1 | cut -d' ' -f2-5); \
         ip route replace {to}/32 $via src {source}; \
         bash -c 'echo kubewan > /dev/udp/{to}/9'; ip route del {to}/32",
        to = to.address
    );
    stage.on(&from.name, &line);
}

/// A host that was prepared by hand.
struct Hand<'a> {
    stage: &'a Stage,
    host: LabHost,
    version: String,
}

impl<'a> Hand<'a> {
    /// Brings everything that kubeadm wants to the host.
    fn prepare(stage: &'a Stage) -> Hand<'a> {
        let host = stage.lab.info().unwrap().hosts.remove(0);
        assert_eq!(host.name, HOST);
        let root = bundle_of(stage);
        let text = std::fs::read_to_string(root.join("bundle.yaml")).expect("a bundle.yaml");
        let bundle = bundle::parse(&text).expect("a bundle");
        let hand = Hand { stage, host, version: bundle.kubernetes.clone() };
        hand.runtime(&root, &bundle);
        for artifact in &bundle.artifacts {
            let path = match artifact.kind {
                ArtifactKind::Binary => format!("/usr/local/bin/{}", artifact.name),
                ArtifactKind::CniPlugin => format!("/opt/cni/bin/{}", artifact.name),
                _ => continue,
            };
            hand.put(&root.join(&artifact.path), &path);
        }
        hand.images(&root, &bundle);
        hand.write("/etc/systemd/system/kubelet.service", KUBELET_UNIT);
        stage.on(
            HOST,
            "systemctl daemon-reload && systemctl enable kubelet && \
             sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1",
        );
        hand
    }

    fn runtime(&self, root: &std::path::Path, bundle: &Bundle) {
        let pause = bundle.artifacts.iter().find(|a| a.name.contains("/pause:")).expect("a pause");
        let mut debs: Vec<String> = Vec::new();
        for package in bundle.artifacts.iter().filter(|a| a.kind == ArtifactKind::Package) {
            let path = format!("/root/debs/{}.deb", package.name);
            self.put(&root.join(&package.path), &path);
            debs.push(path);
        }
        let is_v2 = |a: &bundle::Artifact| a.name == "containerd" && a.version.starts_with('2');
        let config = if bundle.artifacts.iter().any(is_v2) { CONTAINERD_2 } else { CONTAINERD_1 };
        self.write("/etc/containerd/config.toml", &config.replace("PAUSE", &pause.name));
        self.stage.on(HOST, &format!("dpkg -i --force-confold {} 2>&1", debs.join(" ")));
        self.stage.on(HOST, "systemctl is-active containerd");
    }

    fn images(&self, root: &std::path::Path, bundle: &Bundle) {
        let images = bundle.artifacts.iter().filter(|a| a.kind == ArtifactKind::Image);
        for image in images.filter(|image| !image.name.contains("flannel")) {
            let bytes = std::fs::read(root.join(&image.path)).expect("an image");
            let import = ["ctr", "-n", "k8s.io", "images", "import", "-"];
            let output = self.stage.lab.exec(HOST, &import, &bytes).unwrap();
            assert!(output.status.success(), "{}: {output:?}", image.name);
        }
    }

    fn put(&self, from: &std::path::Path, to: &str) {
        let bytes = std::fs::read(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        self.bytes(to, &bytes);
    }

    fn write(&self, to: &str, text: &str) {
        self.bytes(to, text.as_bytes());
    }

    fn bytes(&self, to: &str, bytes: &[u8]) {
        let line = format!("mkdir -p \"$(dirname {to})\" && cat > {to} && chmod 755 {to}");
        let output = self.stage.lab.exec(HOST, &["sh", "-c", &line], bytes).unwrap();
        assert!(output.status.success(), "{to}: {output:?}");
    }

    /// Runs `kubeadm init` with the public address and waits so many seconds for the API; answers its code and words.
    fn init(&self, etcd: &str, seconds: u32) -> (i32, String) {
        let config = INIT
            .replace("ADDRESS", &self.host.address.to_string())
            .replace("VERSION", &self.version)
            .replace("ETCD\n", etcd)
            .replace("LIMIT", &format!("{seconds}s"));
        self.write("/root/kubeadm.yaml", &config);
        let line = "kubeadm init --config /root/kubeadm.yaml 2>&1";
        let output = self.stage.lab.exec(HOST, &["sh", "-c", line], &[]).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    /// Takes back what `init` did; without the API's and etcd's advice, for which kubeadm would wait.
    fn reset(&self) {
        self.stage.on(
            HOST,
            "rm -f /etc/kubernetes/admin.conf; \
             kubeadm reset --force --cri-socket=unix:///run/containerd/containerd.sock \
             --skip-phases=remove-etcd-member 2>&1 && rm -rf /var/lib/etcd/* /var/log/pods/*",
        );
    }
}

/// The bundle that the lab's inventory names.
fn bundle_of(stage: &Stage) -> PathBuf {
    let text = std::fs::read_to_string(stage.inventory()).expect("an inventory");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("bundle: ")).expect("bundle:");
    serde_json::from_str(line).expect("a quoted path")
}

/// For containerd 1.x.
const CONTAINERD_1: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "PAUSE"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
"#;

/// For containerd 2.x.
const CONTAINERD_2: &str = r#"version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "PAUSE"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = true
"#;

const KUBELET_UNIT: &str = "\
[Unit]
After=containerd.service
[Service]
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
";

/// As in the tutorials, and what any kubelet needs in a lab.
const INIT: &str = "\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: { advertiseAddress: ADDRESS }
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  ignorePreflightErrors: [SystemVerification]
timeouts: { kubernetesAPICall: LIMIT, controlPlaneComponentHealthCheck: LIMIT }
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: vVERSION
networking: { podSubnet: 10.244.0.0/16 }
ETCD
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failCgroupV1: false
oomScoreAdj: 0
";
