//! An etcd that refuses another member, because its packets come from another address than its own.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::has_any;
use crate::diagnosis::Diagnosis;

/// server/embed/config_logging.go of etcd; 3.4 says `rejected connection` alone.
const WORDS: [&str; 2] = ["rejected connection on peer endpoint", "\"rejected connection\""];

pub(super) const CHECK: Check = Check {
    code: "etcd-peer-rejected",
    means: "etcd refuses another member for the address that its packets come from",
    looks_at: "etcd's `rejected connection on peer endpoint` with `does not match`",
    explains: &[],
    explains_everywhere: &["api-refused", "init-timeout"],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let quote = host.says_now(&[Component::Etcd], |line| {
                has_any(line, &WORDS)
                    && has_any(
                        line,
                        // What else is refused there may be anyone of the Internet who tries the port.
                        &["does not match any of", "doesn't contain any IP SANs"],
                    )
            })?;
            Some(
                Diagnosis::error("etcd-peer-rejected", host.who(), "a control plane can't join, or etcd has no leader")
                    .cause(
                        "the packets of another member come from an address that is not in its certificate: a NAT gateway, or a second \
                         way out of its network, puts another one in its place",
                    )
                    .seen([quote])
                    .remedy(
                        "have that member's packets leave with its own public address (1:1 NAT, the gateway's rule), or put the other address \
                         into its peer certificate: `etcd.local.peerCertSANs`. `kubewan plan` measures it before a join: `other-source-address`",
                    ),
            )
        };
        case.present().filter_map(of).collect()
    },
};
