//! Certificates that have ended, or soon do.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{Case, has_all};
use crate::date::utc;
use crate::diagnosis::Diagnosis;

/// What kubeadm makes (cmd/kubeadm/app/phases/certs/certlist.go), and the kubelet asks the cluster for. Others beside them are
/// nobody's; the kubelet's own `kubelet.crt` ends after a year, is looked at by nobody, and is not made anew
/// (`GenerateSelfSignedCertKey`, util/cert/cert.go of client-go).
const KUBEADMS: [&str; 16] = [
    "/pki/ca.crt",
    "/pki/apiserver.crt",
    "/pki/apiserver-kubelet-client.crt",
    "/pki/apiserver-etcd-client.crt",
    "/pki/front-proxy-ca.crt",
    "/pki/front-proxy-client.crt",
    "/pki/etcd/ca.crt",
    "/pki/etcd/server.crt",
    "/pki/etcd/peer.crt",
    "/pki/etcd/healthcheck-client.crt",
    "/kubernetes/admin.conf",
    "/kubernetes/super-admin.conf",
    "/kubernetes/controller-manager.conf",
    "/kubernetes/scheduler.conf",
    "/kubernetes/kubelet.conf",
    "/pki/kubelet-client-current.pem",
];

/// Days before the end from which on it is told: kubeadm's certificates live for a year.
const SOON_DAYS: i64 = 30;

pub(super) const CHECK: Check = Check {
    code: "certificate-expired",
    means: "a certificate of Kubernetes' has ended",
    looks_at: "the certificates below /etc/kubernetes and /var/lib/kubelet/pki, `certificate has expired` in logs",
    explains: &["api-refused", "node-not-ready", "kubelet-down", "init-timeout", "api-certificate"],
    explains_everywhere: &["node-not-ready"],
    run: |case| {
        let mut found = ended(case, true);
        // Which of the two clocks is wrong where it is not valid *yet*, the check of clocks tells.
        let late = |line: &str| {
            has_all(line, &["certificate has expired or is not yet valid", " is after "])
        };
        for host in case.present().filter(|host| host.is_pasted()) {
            let Some(quote) = host.said(&Component::ALL, late) else { continue };
            found.push(
                Diagnosis::error(
                    "certificate-expired",
                    None,
                    "programs of the cluster refuse each other",
                )
                .cause("a certificate has ended; kubeadm's live for a year")
                .seen([quote])
                .remedy(RENEW),
            );
        }
        found
    },
};

pub(super) const SOON: Check = Check {
    code: "certificate-ends-soon",
    means: "a certificate of Kubernetes' ends within 30 days",
    looks_at: "the same certificates",
    explains: &[],
    explains_everywhere: &[],
    run: |case| ended(case, false),
};

const RENEW: &str = "on every control plane: `kubeadm certs check-expiration`, `kubeadm certs renew all`, then start the control plane's \
                     pods again (move /etc/kubernetes/manifests/*.yaml away for 20 s); a kubelet's own: \
                     `rm /var/lib/kubelet/pki/kubelet-client*` and join it again";

/// One diagnosis for a host's certificates of one kind: they mostly end on one day.
fn ended(case: &Case, already: bool) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    for host in case.present() {
        let is = |end: i64| match already {
            true => end <= case.now_unix,
            false => end > case.now_unix && end - case.now_unix < SOON_DAYS * 86_400,
        };
        let quotes: Vec<_> = host
            .evidence
            .certificates
            .iter()
            .filter(|certificate| KUBEADMS.iter().any(|end| certificate.path.ends_with(end)))
            .filter(|certificate| is(certificate.not_after))
            .map(|c| {
                host.quote(
                    &c.path,
                    format!("{} (signed by {}) ends {}", c.subject, c.issuer, utc(c.not_after)),
                )
            })
            .collect();
        if quotes.is_empty() {
            continue;
        }
        let count = quotes.len();
        let (code, diagnosis) = match already {
            true => (
                "certificate-expired",
                Diagnosis::error(
                    "certificate-expired",
                    host.who(),
                    "programs of the cluster refuse each other: x509, Unauthorized",
                ),
            ),
            false => (
                "certificate-ends-soon",
                Diagnosis::warning("certificate-ends-soon", host.who(), "nothing yet"),
            ),
        };
        let ends = if already { "have ended" } else { "end within 30 days" };
        found.push(
            diagnosis
                .cause(format!("certificates {ends}: {count} of them; kubeadm's live for a year and are renewed by an upgrade only"))
                .seen(quotes.into_iter().take(8))
                .remedy(RENEW)
                .of(code),
        );
    }
    found
}
