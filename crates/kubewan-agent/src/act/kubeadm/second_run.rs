//! Running kubeadm again where it was killed half-way: what it does over its own remains, and what has to be
//! out of its way. Read in cmd/kubeadm/app at v1.36:
//!
//! - Certificates, keys and kubeconfigs that are there and whole are kept (`runCertPhase`, `runCAPhase` in
//!   cmd/phases/init/certs.go; `createKubeConfigFileIfNotExists` in phases/kubeconfig/kubeconfig.go). It does
//!   not look whether their names and addresses are those of the configuration.
//! - Files are written without a rename, the key before its certificate (`WriteCertAndKey` in
//!   util/pkiutil/pki_helpers.go): a kill between them leaves a key alone, which a second run refuses to load;
//!   `sa.key` alone is taken as good and `sa.pub` never made (`CreateServiceAccountKeyAndPublicKeyFiles`).
//! - etcd's data directory is only created, manifests and the kubelet's files are written over
//!   (`runEtcdPhaseLocal`, `WriteStaticPodToDisk`, `runKubeletStart`); equal manifests do not restart pods.
//! - The kubelet is stopped and started (`runKubeletStart`), which also ends its back-off for pods that crashed.
//! - All that goes to the API is create-or-update (`EnsureAdminClusterRoleBinding`, `UpdateOrCreateTokens`,
//!   `CreateBootstrapConfigMapIfNotExists`, the addons); a token without a given value is a new one each time.
//!
//! So only preflight stands in the way, with the checks that find kubeadm's own remains.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::config::Config;
use super::parts::{AUTHORITIES, CERTIFICATES, KUBECONFIGS, PKI};
use super::{CA, pin, remove_file};

/// Checks that find what an earlier init left here, and nothing else (preflight/checks.go, `InitNodeChecks`).
pub(super) fn init_checks(config: Config<'_>) -> Vec<String> {
    let manifests = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"]
        .map(|name| format!("FileAvailable--etc-kubernetes-manifests-{name}.yaml"));
    let ports = [config.bind_port(), 10259, 10257, 10250, 2379, 2380];
    manifests
        .into_iter()
        .chain(["DirAvailable--var-lib-etcd".to_owned()])
        .chain(ports.map(|port| format!("Port-{port}")))
        .collect()
}

/// The same for a join (`JoinNodeChecks`), which as a control plane makes an init's checks too (`runPreflight` in
/// cmd/phases/join/preflight.go).
pub(super) fn join_checks(config: Config<'_>, control_plane: bool) -> Vec<String> {
    let own = [
        "FileAvailable--etc-kubernetes-kubelet.conf",
        "FileAvailable--etc-kubernetes-bootstrap-kubelet.conf",
        "FileAvailable--etc-kubernetes-pki-ca.crt",
        "DirAvailable--etc-kubernetes-manifests",
        "Port-10250",
    ];
    let mut checks: Vec<String> = own.map(str::to_owned).to_vec();
    if control_plane {
        let more = init_checks(config).into_iter().filter(|check| !own.contains(&check.as_str()));
        checks.extend(more);
    }
    checks
}

/// Takes what a killed init left half-written out of the next one's way, and what was made for another
/// configuration. Returns what was removed.
///
/// Only for an init that has not ended: nobody but this host holds anything that these keys signed; or for a control
/// plane's join that has not: it gets the authorities once more.
pub(super) fn clear_remains(changed: bool) -> Result<Vec<String>, String> {
    clear_in(Path::new("/"), changed)
}

fn clear_in(root: &Path, changed: bool) -> Result<Vec<String>, String> {
    let at = |path: String| root.join(path.trim_start_matches('/')).to_string_lossy().into_owned();
    let pair = |name: &str| [at(format!("{PKI}/{name}.crt")), at(format!("{PKI}/{name}.key"))];
    let torn = |files: &[String; 2]| {
        let there = files.iter().any(|file| Path::new(file).exists());
        there && !files.iter().all(|file| is_whole_pem(file))
    };
    // An authority that is made anew takes all that it signed with it.
    let authority = AUTHORITIES.iter().any(|name| torn(&pair(name)));
    let mut gone: Vec<String> = Vec::new();
    for name in CERTIFICATES {
        let files = pair(name);
        let signs = AUTHORITIES.contains(name);
        if torn(&files) || authority || (changed && !signs) {
            gone.extend(files);
        }
    }
    let service_accounts = [at(format!("{PKI}/sa.key")), at(format!("{PKI}/sa.pub"))];
    if torn(&service_accounts) {
        gone.extend(service_accounts);
    }
    for name in KUBECONFIGS {
        let path = at(format!("/etc/kubernetes/{name}.conf"));
        if authority || changed || (Path::new(&path).exists() && !is_whole_kubeconfig(&path)) {
            gone.push(path);
        }
    }
    gone.retain(|path| Path::new(path).exists());
    for path in &gone {
        remove_file(path)?;
    }
    if authority || changed {
        // The kubelet prefers the certificate that it got by itself (`kubelet-client-current.pem`).
        clear_kubelet_certificates(&root.join("var/lib/kubelet/pki"))?;
    }
    Ok(gone)
}

/// Which authority a host has that is to join.
#[derive(Debug, PartialEq, Eq)]
enum Authority {
    /// None, or the one that the join is to trust.
    Right,
    /// Another cluster's.
    Other,
    /// A file that holds no certificate: what wrote it was cut short.
    Torn,
}

fn authority(file: &Path, discovery: &str) -> Authority {
    let Ok(bytes) = fs::read(file) else { return Authority::Right };
    let pin = |pem: &[u8]| std::str::from_utf8(pem).ok().and_then(pin::of_pem);
    match pin(&bytes) {
        Some(own) if trusted(discovery).and_then(|pem| pin(&pem)).as_ref() == Some(&own) => {
            Authority::Right
        }
        Some(_) => Authority::Other,
        None => Authority::Torn,
    }
}

/// The authority that a kubeconfig names.
fn trusted(discovery: &str) -> Option<Vec<u8>> {
    let data = discovery.split_once("certificate-authority-data:")?.1.lines().next()?;
    STANDARD.decode(data.trim().trim_matches(['"', '\''])).ok()
}

/// Whether the authority that is here is another than the one that a join is to trust.
pub(super) fn has_other_cluster(discovery: &str) -> bool {
    authority(Path::new(CA), discovery) == Authority::Other
}

/// Takes the credentials of another cluster, or of no whole authority, out of a join's way: kubeadm keeps a ca.crt that is there
/// (`runKubeletStartJoinPhase` in cmd/phases/join/kubelet.go), and the kubelet its kubelet.conf.
pub(super) fn clear_other_cluster(discovery: &str) -> Result<bool, String> {
    if authority(Path::new(CA), discovery) == Authority::Right {
        return Ok(false);
    }
    for path in [CA, super::KUBELET_CONF, super::BOOTSTRAP_CONF] {
        remove_file(path)?;
    }
    clear_kubelet_certificates(Path::new("/var/lib/kubelet/pki"))?;
    Ok(true)
}

fn clear_kubelet_certificates(folder: &Path) -> Result<(), String> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("kubelet-client-") {
            remove_file(&entry.path().to_string_lossy())?;
        }
    }
    Ok(())
}

/// A PEM file that was written to its end.
pub(super) fn is_whole_pem(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| {
        let text = text.trim_end();
        text.contains("-----BEGIN ") && text.contains("-----END ") && text.ends_with("-----")
    })
}

/// A kubeconfig that was written to its end: its maps are sorted, so `users:` comes last.
fn is_whole_kubeconfig(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| {
        let context = text.lines().any(|line| line.starts_with("current-context: "));
        context && text.contains("\nusers:\n") && text.contains("client-") && text.ends_with('\n')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN X-----\nAA==\n-----END X-----\n";
    const CONF: &str = "apiVersion: v1\nclusters: []\ncurrent-context: a@b\nusers:\n- name: a\n  user:\n    client-key-data: x\n";

    struct Remains(tempfile::TempDir);

    impl Remains {
        fn whole() -> Remains {
            let remains = Remains(tempfile::tempdir().unwrap());
            for name in CERTIFICATES {
                remains.put(&format!("etc/kubernetes/pki/{name}.crt"), PEM);
                remains.put(&format!("etc/kubernetes/pki/{name}.key"), PEM);
            }
            for name in ["sa.key", "sa.pub"] {
                remains.put(&format!("etc/kubernetes/pki/{name}"), PEM);
            }
            for name in KUBECONFIGS {
                remains.put(&format!("etc/kubernetes/{name}.conf"), CONF);
            }
            remains.put("var/lib/kubelet/pki/kubelet-client-current.pem", PEM);
            remains
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn remove(&self, path: &str) {
            fs::remove_file(self.0.path().join(path)).unwrap();
        }

        fn clear(&self, changed: bool) -> Vec<String> {
            let root = self.0.path().to_string_lossy().into_owned() + "/etc/kubernetes/";
            let gone = clear_in(self.0.path(), changed).unwrap();
            gone.iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect()
        }
    }

    #[test]
    fn what_is_whole_stays() {
        assert_eq!(Remains::whole().clear(false), Vec::<String>::new());
        assert_eq!(Remains(tempfile::tempdir().unwrap()).clear(false), Vec::<String>::new());
    }

    #[test]
    fn halves_go_whole() {
        let remains = Remains::whole();
        remains.remove("etc/kubernetes/pki/apiserver.crt");
        remains.remove("etc/kubernetes/pki/sa.pub");
        remains.put("etc/kubernetes/scheduler.conf", &CONF[..40]);
        remains.put("etc/kubernetes/pki/etcd/peer.crt", "");
        assert_eq!(
            remains.clear(false),
            [
                "pki/apiserver.key",
                "pki/etcd/peer.crt",
                "pki/etcd/peer.key",
                "pki/sa.key",
                "scheduler.conf"
            ]
        );
    }

    #[test]
    fn a_torn_authority_takes_what_it_signed() {
        let remains = Remains::whole();
        remains.put("etc/kubernetes/pki/ca.crt", "-----BEGIN X");
        let gone = remains.clear(false);
        assert!(gone.contains(&"pki/apiserver.crt".into()) && gone.contains(&"admin.conf".into()));
        assert!(!gone.contains(&"pki/sa.key".into()));
        let current = remains.0.path().join("var/lib/kubelet/pki/kubelet-client-current.pem");
        assert!(!current.exists());
    }

    #[test]
    fn another_configuration_keeps_the_authorities() {
        let gone = Remains::whole().clear(true);
        assert!(gone.contains(&"pki/apiserver.crt".into()) && gone.contains(&"admin.conf".into()));
        assert!(!gone.contains(&"pki/ca.crt".into()) && !gone.contains(&"pki/etcd/ca.key".into()));
        assert!(!gone.contains(&"pki/sa.key".into()));
    }

    #[test]
    fn a_torn_authority_is_no_other_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        let (rsa, ec) =
            (include_bytes!("testdata/ca-rsa.crt"), include_bytes!("testdata/ca-ec.crt"));
        let discovery = format!(
            "clusters:\n  - cluster:\n      certificate-authority-data: \"{}\"\n      server: x\n",
            STANDARD.encode(rsa)
        );
        assert_eq!(authority(&file, &discovery), Authority::Right, "none is there");
        for torn in [&b""[..], b"-----BEGIN CERTIFICATE-----\nMIIB", b"\xff\xfe", PEM.as_bytes()] {
            fs::write(&file, torn).unwrap();
            assert_eq!(authority(&file, &discovery), Authority::Torn, "{torn:?}");
        }
        fs::write(&file, rsa).unwrap();
        assert_eq!(authority(&file, &discovery), Authority::Right);
        fs::write(&file, ec).unwrap();
        assert_eq!(authority(&file, &discovery), Authority::Other);
        assert_eq!(authority(&file, "clusters: []\n"), Authority::Other, "it names none");
    }

    #[test]
    fn names_only_checks_that_find_our_own_remains() {
        let checks = init_checks(Config("bindPort: 7443"));
        assert!(checks.contains(&"Port-7443".into()) && !checks.contains(&"Port-6443".into()));
        assert!(checks.contains(&"FileAvailable--etc-kubernetes-manifests-etcd.yaml".into()));
        assert_eq!(checks.len(), 11);
        let config = Config("bindPort: 7443");
        assert_eq!(join_checks(config, false).len(), 5);
        let joins = join_checks(config, true);
        assert!(checks.iter().all(|check| joins.contains(check)), "{joins:?}");
        assert_eq!(joins.iter().filter(|check| *check == "Port-10250").count(), 1);
    }
}
