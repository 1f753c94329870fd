//! A node for which flannel announces another address than the one that others reach it by.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{HostCase, has_any};
use crate::diagnosis::{Diagnosis, goal};

pub(super) const CHECK: Check = Check {
    code: "flannel-address",
    means: "flannel announces another address for a node than its public one, so that no pod elsewhere reaches its pods",
    looks_at: "the annotation `flannel.alpha.coreos.com/public-ip`, flannel's words about its interface",
    explains: &["no-cni"],
    explains_everywhere: &[],
    run: |case| {
        case.present().filter_map(|host| announced(case, host).or_else(|| pasted(host))).collect()
    },
};

const SYMPTOM: &str =
    "pods of this node and pods of others don't reach each other; each node by itself works";

fn announced(case: &crate::Case, host: &HostCase) -> Option<Diagnosis> {
    let (node, own) = (case.node(host)?, host.address?);
    let announced =
        node.flannel_address.as_deref().filter(|announced| *announced != own.to_string())?;
    let remedy = format!(
        "`kubectl annotate node {node} --overwrite flannel.alpha.coreos.com/public-ip-overwrite={own}`, then delete its flannel pod: \
         flannel reads it when it starts",
        node = node.name
    );
    Some(
        Diagnosis::error("flannel-address", host.who(), SYMPTOM)
            .cause(format!("flannel tells the other nodes to send to {announced}, an address of the host's own network; the world reaches it by {own}"))
            .seen([host.quote(&format!("node {}", node.name), format!("flannel.alpha.coreos.com/public-ip: {announced}"))])
            .remedy(remedy)
            .fix(&[goal("node-meta", ""), goal("announced", "")]),
    )
}

/// pkg/ipmatch/match.go of flannel.
fn pasted(host: &HostCase) -> Option<Diagnosis> {
    let words = [
        "Failed to find any valid interface to use",
        "Could not find valid interface matching",
        "failed to get default interface",
    ];
    let quote = host
        .said(&[Component::Flannel], |line| has_any(line, &words))
        .filter(|_| host.is_pasted())?;
    Some(
        Diagnosis::error("flannel-address", None, "flannel's pod ends at once")
            .cause("flannel looks for an interface with an address that no interface has: `--public-ip` alone takes a public address for a local one")
            .seen([quote])
            .remedy("behind NAT give it both, `--iface=eth0 --public-ip=ADDRESS`, or leave both out and annotate the node with `flannel.alpha.coreos.com/public-ip-overwrite`"),
    )
}
