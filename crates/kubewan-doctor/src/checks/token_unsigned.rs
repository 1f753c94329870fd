//! A bootstrap token by which nobody can join: it has ended, or `cluster-info` is not signed by it.

use super::Check;
use crate::case::{Case, has_any};
use crate::date::stamp;
use crate::diagnosis::{Diagnosis, Quote};

pub(super) const CHECK: Check = Check {
    code: "token-unsigned",
    means: "a bootstrap token has ended, is forgotten, or `cluster-info` is not signed by it, so that nobody joins by it",
    looks_at: "the tokens and the ConfigMap kube-public/cluster-info, `could not find a JWS signature` of kubeadm",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let pasted = case.present().filter(|host| host.is_pasted());
        let pasted = pasted.filter_map(|host| host.said(&[], is_said)).map(of_text);
        unsigned(case).into_iter().chain(pasted).collect()
    },
};

/// cmd/kubeadm/app/discovery/token/token.go; the API server's words for a token that is none.
fn is_said(line: &str) -> bool {
    let words = [
        "could not find a JWS signature in the cluster-info ConfigMap",
        "token id \"",
        "failed to verify JWS signature of received cluster info object",
    ];
    has_any(line, &words[..1])
        || has_any(line, &words[2..])
        || (line.contains(words[1])
            && line.contains("is invalid for this cluster or it has expired"))
}

fn of_text(quote: Quote) -> Diagnosis {
    Diagnosis::error("token-unsigned", None, "`kubeadm join` waits for minutes and ends")
        .cause(
            "the token has ended (a token lives for 24 hours unless told otherwise) or was never of this cluster; where `kubeadm token list` still has \
             it, kube-controller-manager does not sign: it has lost the API",
        )
        .seen([quote])
        .remedy(
            "on the control plane: `kubeadm token list`, then `kubeadm token create --print-join-command`, which also prints the hash of the CA. Where the new \
             one is not signed within a minute: delete the pod kube-controller-manager, which is made anew. `kubewan up` makes its own for each join",
        )
}

fn unsigned(case: &Case) -> Option<Diagnosis> {
    let cluster = case.cluster.as_ref()?;
    let signed = cluster.signed.as_ref()?;
    // One that has ended is not to be signed any more.
    let lives = |end: &str| stamp(end).is_none_or(|end| end > case.now_unix);
    let mut tokens = cluster.tokens.iter().filter(|token| token.signs && lives(&token.end));
    let token = tokens.find(|token| !signed.contains(&token.id))?;
    let text = format!(
        "token {}…, which ends {}, is not among jws-kubeconfig-*",
        token.id,
        if token.end.is_empty() { "never" } else { token.end.as_str() }
    );
    Some(
        Diagnosis::error("token-unsigned", None, "no host can join: `kubeadm join` says that it could not find a JWS signature")
            .cause("kube-controller-manager, whose part it is, has not signed cluster-info by a token that is valid: it has lost the API, or hangs")
            .seen([Quote::new("kube-public/cluster-info", &text)])
            .remedy("delete the pod of kube-controller-manager, which is made anew: `kubectl -n kube-system delete pod -l component=kube-controller-manager`; within a minute the token is signed"),
    )
}
