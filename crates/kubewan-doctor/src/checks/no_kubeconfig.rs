//! kubectl without a kubeconfig: it asks its own machine, on a port where no API server is.

use super::Check;
use crate::case::has_all;
use crate::diagnosis::Diagnosis;

pub(super) const CHECK: Check = Check {
    code: "no-kubeconfig",
    means: "kubectl is told of no cluster, and asks localhost:8080",
    looks_at: "`The connection to the server localhost:8080 was refused`, in a text that was pasted",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let pasted = case.present().filter(|host| host.is_pasted());
        let of = |host: &crate::HostCase| {
            let quote = host.said(&[], is_said)?;
            Some(
                Diagnosis::error("no-kubeconfig", host.who(), "kubectl reaches no API server")
                    .cause("it has no kubeconfig, and without one it asks localhost:8080; the cluster may be well")
                    .seen([quote])
                    .remedy(
                        "on the control plane: `export KUBECONFIG=/etc/kubernetes/admin.conf`, or for good `mkdir -p ~/.kube && sudo cp \
                         /etc/kubernetes/admin.conf ~/.kube/config && sudo chown $(id -u):$(id -g) ~/.kube/config`. With kubewan, on your \
                         own machine: `kubewan kubeconfig --merge`",
                    ),
            )
        };
        pasted.filter_map(of).collect()
    },
};

/// kubectl's default (`getDefaultServer` in k8s.io/client-go/tools/clientcmd/client_config.go).
pub(super) fn is_said(line: &str) -> bool {
    has_all(line, &["The connection to the server", "was refused"])
        && ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"].iter().any(|at| line.contains(at))
}
