//! An API whose certificate is not of the authority that someone knows: the cluster was made anew, or its authority changed.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::has_any;
use crate::diagnosis::Diagnosis;

pub(super) const CHECK: Check = Check {
    code: "api-certificate",
    means: "the API's certificate and what its clients know of it don't fit: another authority, or an address that is not in it",
    looks_at: "`x509: certificate signed by unknown authority` or `certificate is valid for …` where the API is asked",
    explains: &["node-not-ready", "init-timeout"],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let by = [
                Component::Kubelet,
                Component::KubeProxy,
                Component::Flannel,
                Component::ControllerManager,
                Component::Scheduler,
            ];
            let quote = host
                .says_now(&by, is_said)
                .filter(|_| host.is_pasted() || case.node_may_be_ill(host))?;
            let (cause, remedy) = match quote.text.contains("certificate is valid for") {
                true => (
                    "the API is asked by an address or a name that is not in its certificate",
                    "put it into `apiServer.certSANs` of kubeadm's configuration, delete apiserver.crt and apiserver.key, and \
                     `kubeadm init phase certs apiserver --config …`; always with the whole configuration",
                ),
                false => (
                    "the cluster was made anew, or its authority changed, and this client still knows the former one",
                    "a node: `kubeadm reset` there, and join it again (`kubewan up` does); kubectl: take \
                     /etc/kubernetes/admin.conf again (`kubewan kubeconfig --merge`)",
                ),
            };
            Some(
                Diagnosis::error(
                    "api-certificate",
                    host.who(),
                    "clients refuse the API's certificate",
                )
                .cause(cause)
                .seen([quote])
                .remedy(remedy),
            )
        };
        case.present().filter_map(of).collect()
    },
};

fn is_said(line: &str) -> bool {
    let words =
        ["x509: certificate signed by unknown authority", "x509: certificate is valid for "];
    let api = [
        ":6443",
        ":7443",
        "kube-apiserver",
        "Unable to connect to the server",
        "verify candidate authority certificate \"kubernetes\"",
    ];
    has_any(line, &words) && has_any(line, &api) && !line.contains("/v2/")
}
