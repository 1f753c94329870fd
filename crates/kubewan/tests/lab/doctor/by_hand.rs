//! Faults that no step of `up` is against, or that a remedy ends by itself: made, found, and ended as the remedy says.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{PATIENCE, delete_pods, found_in, none, set, settles};
use crate::support::{HOSTS, KUBECTL, Kubernetes, Stage};

/// Made by `openssl ca -enddate 20250101000000Z`.
const EXPIRED: &str = include_str!("expired.crt");

const FRONT_PROXY: &str = "/etc/kubernetes/pki/front-proxy-client.crt";

const KUBELET: &str = "/var/lib/kubelet/config.yaml";

const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// The usual recipe's, with its own slips.
const RECIPE: &str = r#"{
  "exec-opts": ["native.cgroupdriver=systemd"],
  "insecure-registries": [ "https://192.0.2.9:5000" ] # private
  "registry-mirrors": ["https://192.0.2.9:5001"] # faster
}
"#;

/// As the remedy says: commas, no remarks, no scheme.
const MENDED: &str = r#"{
  "exec-opts": ["native.cgroupdriver=systemd"],
  "insecure-registries": ["192.0.2.9:5000"],
  "registry-mirrors": ["https://192.0.2.9:5001"]
}
"#;

/// Two of kubeadm's certificates once more, by the cluster's own authorities: one that has ended, one that soon does.
const SIGN: &str = r#"set -e; cd "$(mktemp -d)"; pki=/etc/kubernetes/pki
printf '%s\n' '[ca]' default_ca=x '[x]' database=index.txt serial=serial new_certs_dir=. default_md=sha256 policy=p \
  unique_subject=no '[p]' organizationName=optional commonName=supplied '[e]' extendedKeyUsage=clientAuth \
  keyUsage=critical,digitalSignature,keyEncipherment > ca.cnf
: > index.txt; echo 04D2 > serial
again() {
  openssl req -new -key $pki/$1.key -subj "$3" -out r.csr
  openssl ca -batch -notext -config ca.cnf -extensions e -cert $pki/$2.crt -keyfile $pki/$2.key $4 -in r.csr -out $pki/$1.crt
}
again apiserver-kubelet-client ca /O=kubeadm:cluster-admins/CN=kube-apiserver-kubelet-client \
  '-startdate 20240101000000Z -enddate 20250101000000Z' 2>&1
again front-proxy-client front-proxy-ca /CN=front-proxy-client '-days 20' 2>&1
"#;

/// A member of etcd whose packets come from another address than its certificate has: for minutes.
const STRANGER: &str = r#"set -e; mkdir -p /root/stranger; cd /root/stranger; pki=/etc/kubernetes/pki/etcd
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=stranger -keyout s.key -out s.csr 2>/dev/null
printf '%s\n' subjectAltName=DNS:stranger,IP:203.0.113.9 extendedKeyUsage=clientAuth,serverAuth > ext
openssl x509 -req -in s.csr -CA $pki/ca.crt -CAkey $pki/ca.key -set_serial 77 -days 1 -extfile ext -out s.crt 2>/dev/null
systemd-run --quiet --collect --unit=stranger --working-directory=/root/stranger sh -c 'for n in $(seq 200); do
  timeout 5 openssl s_client -connect 127.0.0.1:2380 -cert s.crt -key s.key < /dev/null; sleep 3; done' 2>&1
"#;

/// The authority of another cluster, in a kubelet's configuration.
const OTHER_CLUSTER: &str = r#"set -e; cd "$(mktemp -d)"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=kubernetes -days 9 -keyout k -out c 2>/dev/null
sed -i "s#certificate-authority-data: .*#certificate-authority-data: $(base64 -w0 c)#" /etc/kubernetes/kubelet.conf
systemctl restart kubelet
"#;

/// A join by a token that has ended, for which nobody waits five minutes.
const LATE: &str = r#"printf '%s\n' 'apiVersion: kubeadm.k8s.io/v1beta4' 'kind: JoinConfiguration' 'timeouts: { discovery: 6s }' \
  "discovery: { bootstrapToken: { token: $1, apiServerEndpoint: '$2', unsafeSkipCAVerification: true } }" > /root/late.yaml
kubeadm join --config /root/late.yaml --ignore-preflight-errors=all 2>&1; rm /root/late.yaml"#;

fn put(stage: &Stage, host: &str, path: &str, text: &str) {
    stage.on(host, &format!("mkdir -p $(dirname {path}) && cat > {path} <<'E'\n{text}E"));
}

/// Files, disks and services of hosts.
pub fn of_hosts(stage: &Stage, kubernetes: Kubernetes) {
    let real = kubernetes == Kubernetes::Bundle;
    stage.on("node01", "systemctl stop kubelet.service");
    put(stage, "node01", DAEMON_JSON, RECIPE);
    let ids = HOSTS.map(|host| stage.on(host, "cat /etc/machine-id"));
    stage.on("node02", &format!("echo {} > /etc/machine-id", ids[1].trim()));
    let mut expected =
        set(&["node01 kubelet-down", "node01 daemon-json-invalid", "node02 identity-twice"]);
    if real {
        stage.on("master01", SIGN);
        let much = "s/nodefs.available: .*/nodefs.available: 99%/";
        stage.on("node02", &format!("cp {KUBELET} /root/kubelet.yaml && sed -i '{much}' {KUBELET} && grep -q 99% {KUBELET} && systemctl restart kubelet"));
        // Nobody signs while the controller manager is away.
        stage.on("master01", "mv /etc/kubernetes/manifests/kube-controller-manager.yaml /root/");
        gone(stage, "kube-controller");
        stage.on("master01", "kubeadm token create --ttl 10m");
        expected.extend(set(&[
            "master01 certificate-expired",
            "master01 certificate-ends-soon",
            "node02 disk-pressure",
            "cluster token-unsigned",
        ]));
    } else {
        stage.on("master01", &format!("test ! -e {FRONT_PROXY} || mv {FRONT_PROXY} /root/kept"));
        put(stage, "master01", FRONT_PROXY, EXPIRED);
        expected.extend(set(&["master01 certificate-expired"]));
    }
    settles(stage, &expected);

    stage.on("node01", "systemctl start kubelet.service");
    put(stage, "node01", DAEMON_JSON, MENDED);
    stage.on("node02", "rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup 2>&1 && test -s /etc/machine-id");
    if real {
        stage
            .on("node02", &format!("mv /root/kubelet.yaml {KUBELET} && systemctl restart kubelet"));
        certificates_are_renewed(stage);
    } else {
        stage.on(
            "master01",
            &format!("rm {FRONT_PROXY}; test ! -e /root/kept || mv /root/kept {FRONT_PROXY}"),
        );
    }
    settles(stage, &none());
    stage.on("node01", "rm -r /etc/docker");
    // Its journal is filed under its name.
    stage.on("node02", &format!("echo {} > /etc/machine-id", ids[2].trim()));
    // A kubelet that lacks room deletes images that no pod uses.
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    assert_eq!(stage.planned(), Vec::<String>::new());
}

/// The remedy to the letter: renewed, and the control plane's pods started anew. Without them nobody answers.
fn certificates_are_renewed(stage: &Stage) {
    stage.on("master01", "kubeadm certs check-expiration 2>&1 | grep -E 'front-proxy-client|apiserver-kubelet-client'; kubeadm certs renew all 2>&1");
    stage.on("master01", "mkdir /root/away && mv /etc/kubernetes/manifests/*.yaml /root/away/");
    gone(stage, "kube-apiserver");
    settles(stage, &set(&["master01 api-refused"]));
    stage.on("master01", "mv /root/away/*.yaml /root/kube-controller-manager.yaml /etc/kubernetes/manifests/ && rmdir /root/away");
}

fn gone(stage: &Stage, process: &str) {
    let until = Instant::now() + PATIENCE;
    while stage.on("master01", &format!("pgrep -c {process} || true")).trim() != "0" {
        assert!(Instant::now() < until, "{process} stays");
        sleep(Duration::from_millis(500));
    }
}

/// Changes a ConfigMap of Kubernetes' own.
fn edit(stage: &Stage, name: &str, sed: &str) {
    let kubectl = format!("{KUBECTL} -n kube-system");
    stage.on(
        "master01",
        &format!("{kubectl} get configmap {name} -o yaml | sed '{sed}' | {kubectl} replace -f -"),
    );
}

/// What is found where CoreDNS' newest pods are, once both have a node.
fn on_nodes_of_coredns(stage: &Stage) -> BTreeSet<String> {
    let path = "{range .items[*]}{.metadata.deletionTimestamp} {.spec.nodeName}{\"\\n\"}{end}";
    let get = format!("-n kube-system get pods -l k8s-app=kube-dns -o 'jsonpath={path}'");
    let until = Instant::now() + PATIENCE;
    loop {
        let pods = stage.kubectl(&get);
        let alive = pods.lines().filter_map(|line| line.strip_prefix(' '));
        let nodes: Vec<&str> = alive.filter(|node| !node.is_empty()).collect();
        if nodes.len() == 2 {
            return nodes.into_iter().map(|node| format!("{node} coredns-loop")).collect();
        }
        assert!(Instant::now() < until, "CoreDNS has no nodes: {pods}");
        sleep(Duration::from_secs(1));
    }
}

/// Pods and nodes of real Kubernetes.
pub fn of_nodes(stage: &Stage) {
    edit(stage, "kube-proxy", "s/maxPerCore: 0/maxPerCore: 777777/");
    edit(stage, "coredns", "s#forward . /etc/resolv.conf#forward . 127.0.0.1#");
    stage.on("node02", "mkdir -p /var/lib/etcd && mount -t tmpfs -o size=1m tmpfs /var/lib/etcd && ! dd if=/dev/zero of=/var/lib/etcd/fill bs=64k 2>&1");
    // Kubelets hear of a ConfigMap's change a little later than those who have made it.
    sleep(Duration::from_secs(15));
    delete_pods(stage, "kube-system", "k8s-app=kube-proxy", "master01");
    for host in HOSTS {
        delete_pods(stage, "kube-system", "k8s-app=kube-dns", host);
    }
    let mut expected = on_nodes_of_coredns(stage);
    expected.extend(set(&["master01 conntrack-refused", "node02 disk-full"]));
    settles(stage, &expected);

    stage.on("master01", STRANGER);
    // A kubelet that is there, and says nothing any more.
    stage.on("master01", "pkill -STOP -x kubelet");
    stage.on("node01", OTHER_CLUSTER);
    stage.on("node02", "mv /etc/cni/net.d/10-flannel.conflist /root/");
    expected.extend(set(&[
        "master01 etcd-peer-rejected",
        "master01 node-not-ready",
        "node01 api-certificate",
        "node02 no-cni",
    ]));
    settles(stage, &expected);

    stage.on("master01", "systemctl stop stranger.service 2>/dev/null; rm -r /root/stranger; systemctl restart kubelet");
    edit(stage, "kube-proxy", "s/maxPerCore: 777777/maxPerCore: 0/");
    edit(stage, "coredns", "s#forward . 127.0.0.1#forward . /etc/resolv.conf#");
    sleep(Duration::from_secs(15));
    delete_pods(stage, "kube-system", "k8s-app=kube-proxy", "master01");
    for host in HOSTS {
        delete_pods(stage, "kube-system", "k8s-app=kube-dns", host);
    }
    // The folder stays: services with mounts of their own may hold it.
    stage.on("node02", "umount /var/lib/etcd");
    delete_pods(stage, "kube-flannel", "app=flannel", "node02");
    stage.on(
        "node01",
        "kubeadm reset --force --cri-socket=unix:///run/containerd/containerd.sock 2>&1",
    );
    a_token_has_ended(stage);
    // It makes its own.
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    settles(stage, &none());
    assert_eq!(stage.planned(), Vec::<String>::new());
}

/// What kubeadm says of it, on a host that has to join.
fn a_token_has_ended(stage: &Stage) {
    let token = stage.on("master01", "kubeadm token create --ttl 1s");
    sleep(Duration::from_secs(4));
    let endpoint = format!("api.{}.kubewan:6443", crate::support::lab_name());
    let line = LATE.replace("$1", token.trim()).replace("$2", &endpoint);
    let said = stage.on("node01", &line);
    eprintln!("  {}", said.lines().last().unwrap_or_default());
    assert_eq!(found_in(stage, &said), set(&["cluster token-unsigned"]), "{said}");
}
