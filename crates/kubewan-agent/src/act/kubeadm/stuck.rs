//! A `kubeadm init` that somebody ran by hand and that never ended: told apart from a cluster that lives or has lived, of
//! which nothing may be lost. Sure is it only where the kubelet still has the credentials that the init made for it, and etcd
//! never stored anything or the API answers and says that kubeadm's last steps are missing (`runUploadKubeadmConfig` in
//! cmd/phases/init/uploadconfig.go comes after the wait for the control plane).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use kubewan_core::action::KubeadmInit;
use kubewan_core::facts::StuckInit;
use kubewan_core::pin;

use super::super::Host;
use super::super::cluster::{wait_for, with_conf};
use super::parts::{AUTHORITIES, PKI};
use super::{failure, second_run};

/// Where kubeadm has etcd keep its data (`DefaultEtcdDataDir`, cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go).
const ETCD_DATA: &str = "/var/lib/etcd";

/// The kubelet's certificate as it renews it (`kubelet-client-current.pem` of the certificate store).
const ROTATED: &str = "kubelet-client-current.pem";

const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// Whose rights are asked with: until kubeadm has bound the admin's, from 1.29 on only the first one has any.
const ADMINS: [&str; 2] = ["/etc/kubernetes/super-admin.conf", "/etc/kubernetes/admin.conf"];

/// How long its static pods may take to end: half a minute of grace, and the kubelet's rounds.
const ENDS: Duration = Duration::from_secs(60);

/// How long one question may take.
const ASKS: Duration = Duration::from_secs(10);

/// The init that got stuck here; `None` where there is none, or where it can't be told from a cluster that has lived.
pub(crate) fn stuck_init(host: &Host) -> Option<StuckInit> {
    let root = Path::new("/");
    let stuck = begun_in(root)?;
    let was_known =
        || fs::read_to_string(KubeadmInit::STUCK).is_ok_and(|pin| pin.contains(&stuck.ca_hash));
    if root.join("var/lib/etcd/member").exists() && !was_known() && !never_ended(host) {
        return None;
    }
    Some(StuckInit { said: failure::said_by_etcd(), ..stuck })
}

/// Ends the static pods of what got stuck. With its address there it comes up by itself, and kubeadm would take its API server
/// for the one that it has just asked for, which the kubelet then starts anew under it. The kubelet ends pods whose manifests
/// are gone; where it does not run, nothing else starts them again, and kubeadm goes on over them.
pub(super) fn end_control_plane(api_port: u16) -> Result<(), String> {
    for part in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"] {
        super::remove_file(&format!("{MANIFESTS}/{part}.yaml"))?;
    }
    let answers = |port: &u16| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
    };
    // One that is about to start answers only later: twice in a row nobody does.
    let mut quiet = 0;
    wait_for(ENDS, Duration::from_secs(2), || {
        let is_quiet = ![api_port, 2379, 10257, 10259].iter().any(answers);
        quiet = if is_quiet { quiet + 1 } else { 0 };
        Ok((quiet == 2).then_some(()))
    })
    .map(drop)
}

/// What files say: an init that has made its authorities, with etcd on this host.
fn begun_in(root: &Path) -> Option<StuckInit> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    // Only an init makes the key; who joined has the certificate alone.
    let is_whole = |name: &&&str| {
        ["crt", "key"].iter().all(|end| {
            second_run::is_whole_pem(&at(&format!("{PKI}/{name}.{end}")).to_string_lossy())
        })
    };
    if AUTHORITIES.iter().filter(is_whole).count() != AUTHORITIES.len() {
        return None;
    }
    let manifest = |part: &str| {
        fs::read_to_string(at(&format!("{MANIFESTS}/{part}.yaml"))).unwrap_or_default()
    };
    let (etcd, api) = (manifest("etcd"), manifest("kube-apiserver"));
    let kubelet = fs::read_to_string(at(super::KUBELET_CONF)).unwrap_or_default();
    // An init ends with it (`runKubeletFinalizeCertRotation` in cmd/phases/init/kubeletfinalize.go), and a join has it from the
    // start. That etcd's data are not there then means that their disk is not.
    if kubelet.contains(ROTATED) {
        return None;
    }
    // An etcd elsewhere, or with its data elsewhere, may have anything.
    let servers = argument(&api, "etcd-servers");
    if servers.is_some_and(|servers| servers != "https://127.0.0.1:2379")
        || argument(&etcd, "data-dir").is_some_and(|dir| dir != ETCD_DATA)
        || argument(&etcd, "initial-cluster").is_some_and(|members| members.contains(','))
    {
        return None;
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let manager = manifest("kube-controller-manager");
    let ca = fs::read_to_string(at(super::CA)).ok()?;
    Some(StuckInit {
        ca_hash: pin::of_pem(&ca)?,
        node: node_of(&kubelet),
        etcd_listens: argument(&etcd, "listen-peer-urls").map(str::to_owned),
        advertises: owned(argument(&api, "advertise-address")),
        service_subnet: owned(argument(&api, "service-cluster-ip-range")),
        pod_subnet: owned(argument(&manager, "cluster-cidr")),
        said: None,
    })
}

/// The value of an argument in a static pod's manifest.
pub(crate) fn argument<'a>(manifest: &'a str, name: &str) -> Option<&'a str> {
    manifest.lines().find_map(|line| {
        let argument = line.trim().strip_prefix("- --")?;
        argument.strip_prefix(name)?.strip_prefix('=').map(|value| value.trim_matches(['"', '\'']))
    })
}

/// The node's name in its kubelet's kubeconfig.
pub(crate) fn node_of(kubeconfig: &str) -> Option<String> {
    let (_, rest) = kubeconfig.split_once("system:node:")?;
    let name: String = rest.chars().take_while(|c| !c.is_whitespace() && *c != '@').collect();
    (!name.is_empty()).then_some(name)
}

/// Whether the API of this host answers and knows nothing of what an init does last. It is asked on the host itself: that
/// the way over its public address is closed may be why the init got stuck.
fn never_ended(host: &Host) -> bool {
    let Some(conf) = ADMINS.into_iter().find(|conf| Path::new(conf).exists()) else { return false };
    let here = ["--server=https://127.0.0.1:6443", "--tls-server-name=kubernetes"];
    let get = ["get", "configmap", "-n", "kube-system", "kubeadm-config"];
    let program = with_conf(host, conf)
        .args(here)
        .arg("--request-timeout=5s")
        .args(get)
        .args(["-o", "name", "--ignore-not-found"])
        .timeout(ASKS);
    // Nothing was said and that is the answer; an API that refuses or is silent has not said so.
    program.stdout().is_ok_and(|said| said.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = include_str!("../../../../kubewan-core/src/testdata/ca-ec.crt");
    const PEM: &str = "-----BEGIN X-----\nAA==\n-----END X-----\n";
    const ETCD: &str = "spec:\n  containers:\n  - command:\n    - etcd\n    - --data-dir=/var/lib/etcd\n    \
        - --initial-cluster=master01=https://198.51.100.10:2380\n    \
        - --listen-peer-urls=https://198.51.100.10:2380\n";
    const API: &str = "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    \
        - --advertise-address=198.51.100.10\n    - --etcd-servers=https://127.0.0.1:2379\n    \
        - --service-cluster-ip-range=10.96.0.0/12\n";

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn begun() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in AUTHORITIES {
            put(root.path(), &format!("etc/kubernetes/pki/{name}.crt"), CA);
            put(root.path(), &format!("etc/kubernetes/pki/{name}.key"), PEM);
        }
        put(root.path(), "etc/kubernetes/manifests/etcd.yaml", ETCD);
        put(root.path(), "etc/kubernetes/manifests/kube-apiserver.yaml", API);
        let conf = "users:\n- name: system:node:master01\n";
        put(root.path(), "etc/kubernetes/kubelet.conf", conf);
        root
    }

    #[test]
    fn what_was_begun_is_read_from_its_files() {
        let found = begun_in(begun().path()).unwrap();
        assert!(found.ca_hash.starts_with("sha256:78d12163"), "{}", found.ca_hash);
        assert_eq!(found.node.as_deref(), Some("master01"));
        assert_eq!(found.etcd_listens.as_deref(), Some("https://198.51.100.10:2380"));
        assert_eq!(found.advertises.as_deref(), Some("198.51.100.10"));
        assert_eq!(found.service_subnet.as_deref(), Some("10.96.0.0/12"));
        assert_eq!(found.pod_subnet, None);
    }

    #[test]
    fn what_may_be_another_clusters_is_no_stuck_init() {
        let without = |path: &str| {
            let root = begun();
            fs::remove_file(root.path().join(path)).unwrap();
            begun_in(root.path())
        };
        assert_eq!(without("etc/kubernetes/pki/ca.key"), None, "a worker has none");
        assert_eq!(without("etc/kubernetes/pki/etcd/ca.crt"), None);
        assert!(without("etc/kubernetes/manifests/etcd.yaml").is_some(), "it came no further");
        for (path, text) in [
            ("etc/kubernetes/manifests/etcd.yaml", ETCD.replace("/var/lib/etcd", "/data/etcd")),
            (
                "etc/kubernetes/manifests/etcd.yaml",
                ETCD.replace("2380\n", "2380,b=https://x:2380\n"),
            ),
            (
                "etc/kubernetes/manifests/kube-apiserver.yaml",
                API.replace("127.0.0.1:2379", "etcd:2379"),
            ),
            (
                "etc/kubernetes/kubelet.conf",
                format!(
                    "- name: system:node:master01\n    client-certificate: /var/lib/kubelet/pki/{ROTATED}\n"
                ),
            ),
        ] {
            let root = begun();
            put(root.path(), path, &text);
            assert_eq!(begun_in(root.path()), None, "{path}");
        }
        assert_eq!(begun_in(tempfile::tempdir().unwrap().path()), None);
    }

    #[test]
    fn a_nodes_name_ends_where_its_context_begins() {
        assert_eq!(node_of("- name: system:node:a.b@kubernetes\n").as_deref(), Some("a.b"));
        assert_eq!(node_of("users: []\n"), None);
    }
}
