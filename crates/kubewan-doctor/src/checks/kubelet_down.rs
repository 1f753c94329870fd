//! A kubelet that does not run.

use kubewan_core::evidence::Component;

use super::{Check, NODE};
use crate::case::{HostCase, has_all, has_any};
use crate::diagnosis::{Diagnosis, Quote, goal};

pub(super) const CHECK: Check = Check {
    code: "kubelet-down",
    means: "the kubelet does not run, or ends as soon as it is started",
    looks_at: "kubelet.service and the last words of its journal, kubeadm's `[kubelet-check]`",
    explains: NODE,
    explains_everywhere: &[],
    run: |case| case.present().filter_map(of).collect(),
};

/// kubeadm's words from 1.22 to 1.36 where the kubelet's own health port does not answer (cmd/kubeadm/app/util/apiclient/wait.go).
fn is_said(line: &str) -> bool {
    let words = [
        "It seems like the kubelet isn't running or healthy",
        "[kubelet-check] The kubelet is not healthy after",
    ];
    has_any(line, &words) || has_all(line, &["10248/healthz", "connection refused"])
}

/// A kubelet's last words: klog's errors, and the usage that older ones print.
fn is_last_words(line: &str) -> bool {
    has_any(
        line,
        &[
            "command failed",
            "failed to run Kubelet",
            "Failed to run kubelet",
            "unknown flag",
            "failed to load kubelet config file",
            "failed to load Kubelet config file",
            "Failed to load kubelet",
        ],
    )
}

fn of(host: &HostCase) -> Option<Diagnosis> {
    let last = host.said(&[Component::Kubelet], is_last_words);
    let (state, fix): (Quote, bool) = match &host.facts {
        Some(facts) if facts.kubernetes.kubelet_active || !host.has_cluster() => return None,
        Some(_) => {
            let unit = host.unit("kubelet.service");
            let text = unit.map_or("not active".into(), |u| {
                format!(
                    "{} ({}), result {}, load {}, {} restarts",
                    u.active, u.sub, u.result, u.load, u.restarts
                )
            });
            (host.quote("systemctl show kubelet.service", text), true)
        }
        None => (host.said(&[], is_said)?, false),
    };
    let diagnosis = Diagnosis::error("kubelet-down", host.who(), "the node goes NotReady, and nothing on it is started or ended")
        .cause(match &last {
            Some(_) => "the kubelet ends as soon as it is started; its last words say why",
            None => "the kubelet does not run: it was stopped, or its last words say why it does not stay",
        })
        .seen([state].into_iter().chain(last))
        .remedy("`systemctl start kubelet`; where it does not stay: `journalctl -u kubelet -n 50` and the words before its end");
    Some(if fix {
        diagnosis.fix(&[goal("kubelet-flag", ""), goal("unit", "kubelet.service")])
    } else {
        diagnosis
    })
}
