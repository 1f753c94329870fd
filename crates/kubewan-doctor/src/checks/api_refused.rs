//! An API server on which nobody answers.

use kubewan_core::evidence::Component;

use super::{Check, no_kubeconfig};
use crate::case::{Case, HostCase, has_all};
use crate::diagnosis::{Diagnosis, Quote};

pub(super) const CHECK: Check = Check {
    code: "api-refused",
    means: "nobody answers on 6443 of a control plane",
    looks_at: "listening sockets, `dial tcp …:6443: connect: connection refused`, the last words of kube-apiserver and etcd, their rows in `crictl ps -a`",
    explains: &["node-not-ready", "init-timeout"],
    explains_everywhere: &["node-not-ready"],
    run: |case| case.present().filter_map(|host| of(case, host)).collect(),
};

fn is_said(line: &str) -> bool {
    has_all(line, &[":6443", "connection refused"])
        || has_all(line, &["The connection to the server", "was refused"])
            && !no_kubeconfig::is_said(line)
}

/// A row of `crictl ps -a` in which etcd or the API server is Exited, where no other row has it Running: image, age, state
/// and name stand in columns (`outputContainers` in cmd/crictl/container.go of kubernetes-sigs/cri-tools).
fn exited(host: &HostCase) -> Option<Quote> {
    ["etcd", "kube-apiserver"].into_iter().find_map(|name| {
        let is_row = |line: &str, state: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.windows(2).any(|pair| pair == [state, name])
        };
        let runs = host.lines().any(|line| is_row(line, "Running"));
        host.said(&[], |line| is_row(line, "Exited")).filter(|_| !runs)
    })
}

/// kubeadm's `bindPort` may be another.
fn listens_elsewhere(host: &HostCase) -> bool {
    let listeners = host.facts.iter().flat_map(|facts| &facts.listeners);
    { listeners }.any(|listener| listener.process == "kube-apiserver")
}

fn of(case: &Case, host: &HostCase) -> Option<Diagnosis> {
    let said = host.said(&[Component::Kubelet], is_said);
    let exited = exited(host).filter(|_| host.is_pasted());
    let quote = if host.is_pasted() {
        said.or_else(|| exited.clone())?
    } else if host.control_plane_lacks(6443) && !listens_elsewhere(host) {
        host.quote("listening sockets", "none on 6443")
    } else {
        let silent = case.cluster.as_ref().and_then(|cluster| cluster.silent.as_ref());
        let silent = silent.filter(|_| {
            // One whose manifests are all gone runs nothing, and still has to be told.
            let mut all = case.present().filter(|h| h.is_control_plane && h.has_cluster());
            let first = case.present().find(|h| h.has_control_plane()).or_else(|| all.next());
            first.is_some_and(|first| first.name == host.name)
        })?;
        host.quote("kubectl", silent)
    };
    // What etcd and the API server said last is where it goes on.
    let fatal = |by: Component| {
        host.said(&[by], |line| {
            !host.is_pasted()
                && (has_all(line, &["\"level\":\"fatal\""])
                    || line.starts_with("F1")
                    || line.starts_with("F0")
                    || line.contains("Error: "))
        })
    };
    let last = fatal(Component::Etcd).or_else(|| fatal(Component::ApiServer));
    let last = last.or(exited).filter(|last| *last != quote);
    Some(
        Diagnosis::error("api-refused", host.who(), "kubectl and all kubelets get `connection refused` from 6443")
            .cause("the API server does not run; mostly because etcd does not. That log tells why, and this one does not")
            .seen([quote].into_iter().chain(last))
            .remedy(
                "`crictl ps -a`: which container is Exited? Then its log: `sudo sh -c 'tail -n 50 /var/log/pods/kube-system_etcd-*/etcd/*.log'`, and \
                 kube-apiserver's. `kubewan doctor --log FILE` reads them",
            ),
    )
}
