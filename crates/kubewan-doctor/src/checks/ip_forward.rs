//! A host that does not forward packets.

use super::Check;
use crate::diagnosis::{Diagnosis, goal};

const SETTING: &str = "net.ipv4.ip_forward";

pub(super) const CHECK: Check = Check {
    code: "no-ip-forward",
    means: "the host does not forward packets, so that its pods reach nothing outside it",
    looks_at: "net.ipv4.ip_forward, kubeadm's check `FileContent…ip_forward`",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let value = host
                .evidence
                .sysctls
                .get(SETTING)
                .filter(|value| value.as_deref() != Some("1") && host.has_cluster());
            let quote = match value {
                Some(value) => host.quote(
                    &format!("sysctl {SETTING}"),
                    value.as_deref().unwrap_or("there is none"),
                ),
                None if host.is_pasted() => {
                    host.said(&[], |line| line.contains("ip_forward contents are not set to 1"))?
                }
                None => return None,
            };
            Some(
                Diagnosis::error("no-ip-forward", host.who(), "pods of this node reach nothing outside it")
                    .cause("net.ipv4.ip_forward is off: another file of /etc/sysctl.d, or a firewall's script, has switched it off")
                    .seen([quote])
                    .remedy("`sysctl -w net.ipv4.ip_forward=1`; `grep -r ip_forward /etc/sysctl.conf /etc/sysctl.d` shows who sets it")
                    .fix(&[goal("file", "/etc/sysctl.d/"), goal("sysctl", SETTING)]),
            )
        };
        case.present().filter_map(of).collect()
    },
};
