//! A host that can't be asked.

use super::Check;
use crate::diagnosis::Diagnosis;

pub(super) const CHECK: Check = Check {
    code: "host-unreachable",
    means: "a host can't be logged in to, so nothing is known of it",
    looks_at: "the login by SSH",
    explains: &["node-not-ready"],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let (code, said) = host.unreachable.as_ref()?;
            Some(
                Diagnosis::error("host-unreachable", host.who(), "the host can't be asked")
                    .cause(format!("`{code}`: nothing of what is below was looked at on it"))
                    .seen([host.quote("ssh", said)])
                    .remedy("`kubewan status` says more about the login; a provider's console shows whether it runs"),
            )
        };
        case.hosts.iter().filter_map(of).collect()
    },
};
