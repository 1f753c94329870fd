//! Whose signature the cluster's nodes trust, and whether what signs is there.

use super::{Seen, refusal};
use crate::facts::Facts;
use crate::finding::Finding;

/// Where kubeadm puts them.
const PKI: &str = "/etc/kubernetes/pki";

/// Keys of a control plane that something needs later than today, with what does not go on without each. kubeadm makes them
/// (cmd/kubeadm/app/phases/certs), and nobody else has them: a new one is another authority, which no node and no pod trusts.
const KEYS: [(&str, &str); 4] = [
    (
        "ca.key",
        "no node can join and no certificate be signed or renewed, the kubelets' own neither \
         (kube-controller-manager's --cluster-signing-key-file)",
    ),
    (
        "front-proxy-ca.key",
        "the certificate by which the API server passes requests on to extensions, as metrics-server, can't be renewed \
         and ends",
    ),
    (
        "etcd/ca.key",
        "etcd's certificates can't be renewed: when they end, nobody reaches the cluster's data",
    ),
    (
        "sa.key",
        "kube-controller-manager does not start again without it, and no pod gets a token (--service-account-private-key-file)",
    ),
];

/// One authority on all hosts, and what signs on the control plane: whatever joins or is renewed later is signed with it.
pub(super) fn authority(hosts: &[Seen], first: &Seen, refusals: &mut Vec<Finding>) {
    let kubernetes = &first.facts.kubernetes;
    let Some(ours) = &kubernetes.ca_hash else {
        let said = "its control plane has no /etc/kubernetes/pki/ca.crt that can be read: it has an authority elsewhere";
        let next = "kubewan keeps clusters whose authority kubeadm made";
        refusals.push(refusal("adopt-authority", said, next));
        return;
    };
    refusals.extend(keys_gone(first.name, first.facts));
    for host in hosts.iter().filter(|host| host.facts.kubernetes.ca_hash.as_ref() != Some(ours)) {
        let found = host.facts.kubernetes.ca_hash.as_deref().unwrap_or("none");
        refusals.push(Finding::error(
            "adopt-authority",
            host.name,
            format!("its authority is {found}, and the control plane's {ours}"),
            "name hosts of one cluster only; new ones come into the inventory once it is adopted",
        ));
    }
}

/// A finding for every key that is gone.
fn keys_gone<'a>(host: &'a str, facts: &'a Facts) -> impl Iterator<Item = Finding> + 'a {
    facts.kubernetes.keys_gone.iter().map(move |path| {
        let lost = KEYS.iter().find(|(name, _)| *path == format!("{PKI}/{name}"));
        let lost = lost.map_or("nobody can sign what it signed", |(_, lost)| lost);
        Finding::error(
            "adopt-authority",
            host,
            format!("{path} is gone: {lost}"),
            "put it back from a copy, 0600 and root's; where it is kept elsewhere on purpose, kubewan can't keep the cluster",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_says_what_is_lost_with_it() {
        let mut facts = Facts::default();
        for (name, _) in KEYS {
            facts.kubernetes.keys_gone.push(format!("{PKI}/{name}"));
        }
        let said: Vec<String> = keys_gone("cp", &facts).map(|finding| finding.message).collect();
        for ((name, lost), said) in KEYS.iter().zip(&said) {
            assert_eq!(*said, format!("{PKI}/{name} is gone: {lost}"));
        }
    }
}
