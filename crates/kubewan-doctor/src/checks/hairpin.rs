//! A control plane that does not reach its own public address.

use super::{API, Check};
use crate::case::{Case, HostCase, has_all, has_any};
use crate::diagnosis::{Diagnosis, goal};

pub(super) const CHECK: Check = Check {
    code: "hairpin",
    means: "a control plane does not reach its own public address: its provider's NAT does not turn packets round",
    looks_at: "a connection from the host to its own address; time-outs towards 6443 beside an etcd that serves",
    explains: &["node-not-ready"],
    explains_everywhere: API,
    run: |case| {
        case.present().filter_map(|host| living(case, host).or_else(|| pasted(host))).collect()
    },
};

fn said(host: &HostCase) -> Diagnosis {
    Diagnosis::error("hairpin", host.who(), "etcd and the API server run, and still `kubeadm init` and the kubelet time out towards 6443")
        .cause("the host asks its own public address, and the provider's NAT does not send such packets back to it (no hairpin)")
        .remedy("put the public address on an interface of the host as a /32: then its packets don't leave it at all. `kubewan up` does so before `init`")
        .fix(&[goal("file", "kubewan-address"), goal("link", ""), goal("unit", "kubewan")])
}

fn living(case: &Case, host: &HostCase) -> Option<Diagnosis> {
    let facts = host.facts.as_ref().filter(|_| host.has_control_plane())?;
    let address = host.address.filter(|address| facts.interface_with(*address).is_none())?;
    let Some(Err(reason)) = &host.own_api else { return None };
    // Where the API has another address, nobody needs this one.
    if !case.node_may_be_ill(host) {
        return None;
    }
    // Refused is no hairpin that is missing: something came back.
    if host.control_plane_lacks(6443) || reason.contains("refused") {
        return None;
    }
    let tried = host.quote(&format!("connect to {address}:6443"), reason);
    Some(said(host).seen([tried, host.quote("addresses", format!("{address} is on no interface"))]))
}

/// Both logs together: an etcd that serves, and nobody who answers on 6443.
fn pasted(host: &HostCase) -> Option<Diagnosis> {
    if !host.is_pasted() {
        return None;
    }
    let serves = host.said(&[], |line| {
        has_any(line, &["ready to serve client requests", "serving client traffic securely"])
    })?;
    let stopped = host.said(&[], |line| {
        has_any(line, &["received signal; shutting down", "cannot assign requested address"])
    });
    let timeout = host.said(&[], |line| {
        line.contains(":6443")
            && has_any(
                line,
                &[
                    "i/o timeout",
                    "context deadline exceeded",
                    "Client.Timeout exceeded",
                    "TLS handshake timeout",
                ],
            )
            && !has_all(line, &["connection refused"])
    })?;
    stopped.is_none().then(|| said(host).seen([timeout, serves]))
}
