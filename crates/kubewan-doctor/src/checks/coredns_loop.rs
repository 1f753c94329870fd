//! A CoreDNS that asks itself.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::has_all;
use crate::diagnosis::Diagnosis;

pub(super) const CHECK: Check = Check {
    code: "coredns-loop",
    means: "CoreDNS ends, because its questions come back to it: the host's resolv.conf names 127.0.0.53 or another local resolver",
    looks_at: "CoreDNS' `plugin/loop: Loop … detected`",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let mut found = Vec::new();
        for host in case.present() {
            let Some(quote) = host.said_lately(&[Component::CoreDns], |line| {
                has_all(line, &["plugin/loop: Loop", "detected"])
            }) else {
                continue;
            };
            // The log of a CoreDNS that was mended since lies beside that of the one that runs.
            let pods = case.cluster.iter().flat_map(|cluster| &cluster.pods);
            let mut of_dns = pods.filter(|pod| pod.name.contains("coredns"));
            if !host.is_pasted() && of_dns.all(|pod| pod.ready) {
                continue;
            }
            found.push(
                Diagnosis::error("coredns-loop", host.who(), "CoreDNS is in CrashLoopBackOff, and no name resolves in pods")
                    .cause("CoreDNS hands questions on to the servers of the host's resolv.conf, and there stands a local one (systemd-resolved's 127.0.0.53, dnsmasq): CoreDNS itself")
                    .seen([quote])
                    .remedy(
                        "`resolvConf: /run/systemd/resolve/resolv.conf` in the kubelet's configuration (kubewan: `kubernetes.kubelet`), or a server of the \
                         provider's in place of `forward . /etc/resolv.conf` in the ConfigMap kube-system/coredns; then delete CoreDNS' pods",
                    ),
            );
        }
        found
    },
};
