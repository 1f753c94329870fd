//! An etcd that is to listen on an address which the host does not have: behind NAT, the public one.

use kubewan_core::evidence::Component;

use super::{API, Check};
use crate::case::{HostCase, addresses, has_all, has_any};
use crate::diagnosis::{Diagnosis, Quote, goal};

/// What comes of it: kubeadm has given up, or nobody answers.
const FAILED: [&str; 4] = [
    "Initial timeout of",
    "timed out waiting for the condition",
    "context deadline exceeded",
    "6443: connect: connection refused",
];

const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

pub(super) const CHECK: Check = Check {
    code: "etcd-cannot-bind",
    means: "etcd is to listen on an address that is on no interface of the host: behind NAT the public address is on none",
    looks_at: "etcd's `bind: cannot assign requested address`, its manifest beside the host's addresses",
    explains: &["hairpin", "node-ip-nowhere"],
    explains_everywhere: API,
    run: |case| case.present().filter_map(of).collect(),
};

fn is_bind(line: &str) -> bool {
    line.contains("cannot assign requested address") && has_any(line, &[":2379", ":2380", "etcd"])
}

/// `- --listen-peer-urls=https://198.51.100.10:2380`
fn is_listen(line: &str) -> bool {
    has_any(line, &["--listen-peer-urls=", "--listen-client-urls="])
}

fn is_of_the_world(line: &str) -> bool {
    addresses(line).any(|a| !a.is_loopback() && !a.is_unspecified() && !a.is_private())
}

/// kubeadm's configuration or arguments, from which etcd's would be made: it listens on what the API server advertises
/// (cmd/kubeadm/app/phases/etcd/local.go) unless it is told otherwise.
fn advertised(host: &HostCase) -> Option<Quote> {
    let told = host.said(&[], |line| line.contains("listen-peer-urls")).is_some();
    let names = ["advertiseAddress:", "--apiserver-advertise-address"];
    host.said(&[], |line| has_any(line, &names) && is_of_the_world(line)).filter(|_| !told)
}

fn of(host: &HostCase) -> Option<Diagnosis> {
    let said =
        host.said_lately(&[Component::Etcd], is_bind).filter(|_| host.control_plane_lacks(2379));
    let nowhere = match &host.facts {
        Some(facts) if host.control_plane_lacks(2379) => {
            let manifest = host.file(MANIFEST).unwrap_or_default();
            let foreign = |line: &&str| {
                is_listen(line)
                    && addresses(line).any(|a| {
                        !a.is_loopback() && !a.is_unspecified() && facts.interface_with(a).is_none()
                    })
            };
            manifest
                .lines()
                .find(foreign)
                .map(|line| Quote::new(MANIFEST, line.trim().trim_start_matches("- ")))
        }
        Some(_) => None,
        None => said.as_ref().and_then(|_| {
            host.said(&[], |line| {
                is_listen(line) && !has_all(line, &["listen-peer-urls=https://127.0.0.1"])
            })
        }),
    };
    // A manifest that was pasted alone tells what etcd is told, not what the host has.
    let manifest_alone = match (&said, &nowhere, host.is_pasted()) {
        (None, None, true) => host
            .said(&[], |line| line.contains("--listen-peer-urls=") && is_of_the_world(line))
            .or_else(|| advertised(host)),
        _ => None,
    };
    let remedy = "behind NAT: `--listen-client-urls=https://127.0.0.1:2379` and `--listen-peer-urls=https://127.0.0.1:2380` in \
                  /etc/kubernetes/manifests/etcd.yaml, and in kubeadm's configuration (`etcd.local.extraArgs`), or an upgrade brings it back; \
                  no `kubeadm reset`. With several control planes: on 0.0.0.0, behind a firewall. kubewan tells etcd so before `init` begins";
    if let Some(quote) = manifest_alone {
        // What came of it stands in the same text.
        let failed = host.said(&[], |line| has_any(line, &FAILED)).is_some();
        let say = if failed { Diagnosis::error } else { Diagnosis::warning };
        return Some(
            say("etcd-cannot-bind", None, "`kubeadm init` waits in vain for the control plane, where the host is behind NAT")
                .cause("etcd is to listen on a public address, which is on no interface of a server behind NAT")
                .seen([quote])
                .remedy(remedy),
        );
    }
    if said.is_none() && nowhere.is_none() {
        return None;
    }
    Some(
        Diagnosis::error("etcd-cannot-bind", host.who(), "etcd ends at once, so the API never answers on 6443, and `kubeadm init` times out")
            .cause("etcd is to listen on an address that is on no interface of the host: behind NAT the public address is the provider's")
            .seen(said.into_iter().chain(nowhere))
            .remedy(remedy)
            .fix(&[goal("file", "kubewan-address"), goal("link", ""), goal("unit", "kubewan"), goal("etcd-listens", ""), goal("kubeadm-init", "")]),
    )
}
