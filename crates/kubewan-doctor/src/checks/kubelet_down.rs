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

/// The kubelet's words (`pkg/kubelet/apis/config/validation`) and kubeadm's (system-validators, `cgroup_validator_linux.go`) from
/// 1.35 on.
fn is_of_cgroup_v1(line: &str) -> bool {
    line.contains("configured to not run on a host using cgroup v1")
        || has_all(line, &["[ERROR SystemVerification]", "cgroups v1 support"])
}

fn of(host: &HostCase) -> Option<Diagnosis> {
    let cgroup_v1 = host.says_now(&[Component::Kubelet], is_of_cgroup_v1);
    let last = cgroup_v1.clone().or_else(|| host.said(&[Component::Kubelet], is_last_words));
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
        None => (cgroup_v1.clone().or_else(|| host.said(&[], is_said))?, false),
    };
    let last = last.filter(|last| *last != state);
    let diagnosis = Diagnosis::error("kubelet-down", host.who(), "the node goes NotReady, and nothing on it is started or ended")
        .cause(match &last {
            _ if cgroup_v1.is_some() => "the host uses cgroup v1, which the kubelet refuses from 1.35 on",
            Some(_) => "the kubelet ends as soon as it is started; its last words say why",
            None => "the kubelet does not run: it was stopped, or its last words say why it does not stay",
        })
        .seen([state].into_iter().chain(last))
        .remedy(match cgroup_v1 {
            Some(_) => "boot with cgroup v2: add `systemd.unified_cgroup_hierarchy=1` to GRUB_CMDLINE_LINUX in /etc/default/grub, `update-grub` (`grub2-mkconfig -o /boot/grub2/grub.cfg` with dnf), then reboot. Until then \
                        `kubernetes: { kubelet: { failCgroupV1: false } }` in the inventory, and `kubewan up`",
            None => "`systemctl start kubelet`; where it does not stay: `journalctl -u kubelet -n 50` and the words before its end",
        });
    Some(if fix {
        diagnosis.fix(&[goal("kubelet-flag", ""), goal("unit", "kubelet.service")])
    } else {
        diagnosis
    })
}
