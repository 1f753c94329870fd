//! etcd beside the API server: where it listens.

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind};

/// Where etcd listens, one URL each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdUrls {
    /// For API servers.
    pub client: String,
    /// For other members.
    pub peer: String,
}

impl EtcdUrls {
    /// etcd's argument for [`EtcdUrls::client`].
    pub const CLIENT: &'static str = "listen-client-urls";
    /// etcd's argument for [`EtcdUrls::peer`].
    pub const PEER: &'static str = "listen-peer-urls";
}

/// The etcd of a cluster's first control plane listens there, and members that join later are told the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdListens {
    /// Where.
    pub urls: EtcdUrls,
    /// Seconds that etcd and the API may take to come back.
    pub timeout_s: u64,
}

/// Where etcd listens and is told to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdSeen {
    /// What its static pod's manifest says; `None`: there is none, so that `kubeadm init` writes what is asked for.
    pub manifest: Option<EtcdUrls>,
    /// What the ConfigMap `kubeadm-config` says, which joins read.
    pub configured: Option<EtcdUrls>,
    /// What the etcd that runs was started with; `None`: none runs.
    pub running: Option<EtcdUrls>,
}

impl EtcdListens {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &EtcdSeen) -> Option<Change> {
        let manifest = seen.manifest.as_ref()?;
        let places = [
            ("the manifest of etcd", Some(manifest)),
            ("the ConfigMap kubeadm-config", seen.configured.as_ref()),
            ("the etcd that runs", seen.running.as_ref()),
        ];
        let mut details = Vec::new();
        for (place, urls) in places {
            let Some(urls) = urls else {
                details.push(format!("{place}: nothing yet"));
                continue;
            };
            let pairs = [(&urls.client, &self.urls.client), (&urls.peer, &self.urls.peer)];
            let changed = pairs.iter().filter(|(old, new)| old != new);
            details.extend(changed.map(|(old, new)| format!("{place}: {old} becomes {new}")));
        }
        (!details.is_empty()).then(|| {
            Change::new(ChangeKind::Update, "have etcd listen where other control planes reach it")
                .with_details(details)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(address: &str) -> EtcdUrls {
        EtcdUrls {
            client: format!("https://{address}:2379"),
            peer: format!("https://{address}:2380"),
        }
    }

    #[test]
    fn what_init_will_write_and_what_is_so_already_is_no_change() {
        let goal = EtcdListens { urls: urls("0.0.0.0"), timeout_s: 1 };
        assert_eq!(goal.diff(&EtcdSeen::default()), None);
        let all = |urls: Option<EtcdUrls>| EtcdSeen {
            manifest: urls.clone(),
            configured: urls.clone(),
            running: urls,
        };
        assert_eq!(goal.diff(&all(Some(urls("0.0.0.0")))), None);
        let change = goal.diff(&all(Some(urls("127.0.0.1")))).expect("a change");
        assert_eq!(change.details.len(), 6, "{change:?}");
        let killed_before_the_restart =
            EtcdSeen { running: Some(urls("127.0.0.1")), ..all(Some(urls("0.0.0.0"))) };
        let change = goal.diff(&killed_before_the_restart).expect("a change");
        assert_eq!(change.details.len(), 2, "{change:?}");
    }
}
