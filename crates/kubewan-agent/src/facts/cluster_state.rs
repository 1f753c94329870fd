//! How far a cluster has got on this host: traces on disk, and whether our journal knows where they come
//! from.

use std::fs;
use std::path::Path;

use kubewan_core::action::{Action, KubeadmInit, Observed};
use kubewan_core::facts::ClusterState;
use kubewan_core::journal::Entry;
use kubewan_core::pin;

use crate::act::Host;
use crate::{disk, journal};

/// Mark that kubeadm has ended well. The journal says the same, but only after the step was verified, and
/// verifying has to know.
const MARKS: [(&str, Kind); 2] =
    [("kubeadm-init.done", Kind::Init), ("kubeadm-join.done", Kind::Join)];

/// What kubeadm, the kubelet and etcd leave behind.
const EVIDENCE: &[&str] = &[
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/manifests/kube-controller-manager.yaml",
    "/etc/kubernetes/manifests/kube-scheduler.yaml",
    "/etc/kubernetes/manifests/etcd.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/var/lib/etcd/member",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Init,
    Join,
}

/// What our journal knows of kubeadm's work here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// `kubeadm init` was begun and not taken back.
    pub init_begun: bool,
    /// It ended well.
    pub init_ended: bool,
    /// Configurations that it was begun with, oldest first.
    pub init_configs: Vec<String>,
    /// `kubeadm join` was begun and not taken back.
    pub join_begun: bool,
    /// It ended well.
    pub join_ended: bool,
    /// Neither is of ours: the cluster was made by hand and taken over.
    pub adopted: bool,
}

/// Reads the journal and the marks.
///
/// # Errors
/// Fails where the journal can't be read.
pub fn ownership(host: &Host) -> Result<Ownership, String> {
    let mut owned = from_journal(&journal::read(host)?);
    for (name, kind) in MARKS {
        let marked = host.root().join(name).exists();
        match kind {
            Kind::Init => owned.init_ended |= owned.init_begun && marked,
            Kind::Join => owned.join_ended |= owned.join_begun && marked,
        }
    }
    if let Ok(mark) = fs::read_to_string(KubeadmInit::ADOPTED) {
        // Nothing that kubeadm did here is kubewan's, whatever a run has tried since and whoever signs the certificates now.
        owned = Ownership { adopted: !evidence().is_empty(), ..Ownership::default() };
        owned.adopt(mark.lines().last().unwrap_or_default());
    }
    owned.adopt(host.adopts());
    Ok(owned)
}

/// The pin of the authority that this host has.
pub fn ca_hash() -> Option<String> {
    pin::of_pem(&fs::read_to_string("/etc/kubernetes/pki/ca.crt").ok()?)
}

pub(crate) fn from_journal(entries: &[Entry]) -> Ownership {
    let mut owned = Ownership::default();
    for (begun, ended) in journal::standing(entries) {
        match &begun.action {
            Action::KubeadmInit(init) => {
                // What somebody had begun by hand had another configuration.
                if matches!(&begun.before, Observed::KubeadmInit(before) if before.stuck) {
                    owned.init_configs.push(String::new());
                }
                owned.init_begun = true;
                owned.init_ended |= ended;
                owned.init_configs.push(init.config.clone());
            }
            Action::KubeadmJoin(_) => {
                owned.join_begun = true;
                owned.join_ended |= ended;
            }
            _ => {}
        }
    }
    owned
}

impl Ownership {
    /// Notes that kubeadm ended well.
    ///
    /// # Errors
    /// Fails where the mark can't be written.
    pub fn mark_init(host: &Host) -> Result<(), String> {
        write_mark(host, MARKS[0].0)
    }

    /// As [`Ownership::mark_init`], for a join.
    ///
    /// # Errors
    /// Fails where the mark can't be written.
    pub fn mark_join(host: &Host) -> Result<(), String> {
        write_mark(host, MARKS[1].0)
    }

    /// Takes the marks away.
    ///
    /// # Errors
    /// Fails where a mark can't be removed.
    pub fn unmark(host: &Host) -> Result<(), String> {
        for (name, _) in MARKS {
            let path = host.root().join(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("can't remove {}: {e}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes for ended what somebody did by hand, where this host's cluster has this authority. `pin` may be empty.
    pub fn adopt(&mut self, pin: &str) {
        let api_server = "/etc/kubernetes/manifests/kube-apiserver.yaml";
        if !pin.is_empty() && ca_hash().as_deref() == Some(pin) {
            self.take_over(Path::new(api_server).exists());
        }
    }

    fn take_over(&mut self, is_control_plane: bool) {
        if self.init_begun || self.join_begun {
            return;
        }
        self.adopted = true;
        (self.init_begun, self.init_ended) = (is_control_plane, is_control_plane);
        (self.join_begun, self.join_ended) = (!is_control_plane, !is_control_plane);
    }

    /// How far a cluster has got here.
    pub fn state(&self) -> ClusterState {
        if self.init_ended || self.join_ended {
            ClusterState::Done
        } else if self.init_begun || self.join_begun {
            ClusterState::Begun
        } else if evidence().is_empty() {
            ClusterState::None
        } else {
            ClusterState::Foreign
        }
    }

    /// Traces of a cluster that no journal of ours knows.
    pub fn foreign(&self) -> Vec<String> {
        if self.init_begun || self.join_begun { Vec::new() } else { evidence() }
    }
}

fn write_mark(host: &Host, name: &str) -> Result<(), String> {
    disk::make_private_dir(host.root())?;
    let (path, access) = (host.root().join(name), disk::Access::root(0o600));
    disk::write_atomic(&path, &mut std::io::empty(), access, &|_| Ok(())).map(drop)
}

/// Traces of a cluster on this host, whoever left them.
pub fn evidence() -> Vec<String> {
    EVIDENCE.iter().filter(|path| Path::new(path).exists()).map(|path| (*path).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use kubewan_core::action::kubeadm::InitSeen;

    use kubewan_core::journal::Begun;

    use super::*;

    fn begun(number: u64) -> Entry {
        Entry::Begun(Box::new(Begun {
            number,
            run: "r".into(),
            step: "s".into(),
            action: Action::KubeadmInit(KubeadmInit {
                config: "c".into(),
                ignore_preflight_errors: vec![],
                node: "n".into(),
                endpoint: String::new(),
                timeout_s: 1,
                adopts: String::new(),
            }),
            before: Observed::KubeadmInit(InitSeen::default()),
            unix_s: 0,
            reset: false,
        }))
    }

    #[test]
    fn the_journal_owns_what_it_began_and_has_not_undone() {
        let ended = Entry::Ended {
            number: 1,
            after: Observed::KubeadmInit(InitSeen::default()),
            along: vec![],
        };
        let owned = from_journal(&[begun(1)]);
        assert!(owned.init_begun && !owned.init_ended && !owned.join_begun);
        assert_eq!((owned.state(), owned.foreign()), (ClusterState::Begun, vec![]));
        let owned = from_journal(&[begun(1), ended.clone()]);
        assert_eq!(owned.state(), ClusterState::Done);
        let owned = from_journal(&[begun(1), ended, Entry::Undone { number: 1 }]);
        assert!(!owned.init_begun && owned.init_configs.is_empty());
    }

    #[test]
    fn what_was_begun_by_hand_had_another_configuration() {
        let Entry::Begun(mut taken_over) = begun(1) else { unreachable!() };
        taken_over.before = Observed::KubeadmInit(InitSeen { stuck: true, ..InitSeen::default() });
        let owned = from_journal(&[Entry::Begun(taken_over)]);
        assert_eq!(owned.init_configs, ["", "c"]);
    }

    #[test]
    fn what_was_taken_over_counts_as_ended_unless_the_journal_knows_better() {
        let mut owned = Ownership::default();
        owned.adopt("");
        assert_eq!(owned, Ownership::default());
        owned.take_over(true);
        assert!(owned.adopted && owned.init_ended && !owned.join_begun);
        assert_eq!((owned.state(), owned.foreign()), (ClusterState::Done, vec![]));
        let mut worker = Ownership::default();
        worker.take_over(false);
        assert!(worker.join_ended && !worker.init_begun);
        let mut ours = from_journal(&[begun(1)]);
        ours.take_over(true);
        assert!(!ours.adopted && !ours.init_ended);
    }

    #[test]
    fn a_mark_ends_what_the_journal_began() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        Ownership::mark_init(&host).unwrap();
        assert!(!ownership(&host).unwrap().init_ended);
        let mut line = serde_json::to_vec(&begun(1)).unwrap();
        line.push(b'\n');
        fs::write(host.journal_path(), line).unwrap();
        assert!(ownership(&host).unwrap().init_ended);
        Ownership::unmark(&host).unwrap();
        assert!(!ownership(&host).unwrap().init_ended);
    }
}
