//! A host that does not know its own name.

use super::Check;
use crate::case::has_any;
use crate::diagnosis::{Diagnosis, goal};

/// kubeadm's check `Hostname` (cmd/kubeadm/app/preflight/checks.go, `HostnameCheck`).
const WORDS: [&str; 2] = ["WARNING Hostname]: hostname", "could not be reached"];

pub(super) const CHECK: Check = Check {
    code: "hostname-unresolved",
    means: "a host's own name does not resolve on it",
    looks_at: "the name service switch, kubeadm's warning `Hostname`",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let quote = match &host.facts {
                Some(facts) if !facts.hostname_resolves => {
                    Some(host.quote("getent hosts", format!("{}: nothing", facts.hostname)))
                }
                Some(_) => None,
                None => host.said(&[], |line| {
                    WORDS.iter().all(|word| line.contains(word))
                        || (line.contains("[WARNING Hostname]")
                            && has_any(line, &["no such host", "lookup "]))
                }),
            }?;
            Some(
                Diagnosis::warning("hostname-unresolved", host.who(), "kubeadm warns, `sudo` waits, and some pods look the name up in vain")
                    .cause("the host's own name is in no /etc/hosts and in no DNS that it asks")
                    .seen([quote])
                    .remedy("a line `127.0.1.1 NAME` in /etc/hosts; where cloud-init rewrites that file, in its template too")
                    .fix(&[goal("block", "/etc/hosts")]),
            )
        };
        case.present().filter_map(of).collect()
    },
};
