//! Machines that are copies of each other.

use std::collections::BTreeMap;

use super::Check;
use crate::diagnosis::Diagnosis;

pub(super) const CHECK: Check = Check {
    code: "identity-twice",
    means: "two hosts have one machine-id or product_uuid: copies of one machine",
    looks_at: "/etc/machine-id, /sys/class/dmi/id/product_uuid",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let mut found = Vec::new();
        for kind in ["machine-id", "product_uuid"] {
            let mut first: BTreeMap<&str, &str> = BTreeMap::new();
            for host in case.present() {
                let (Some(facts), Some(name)) = (&host.facts, host.who()) else { continue };
                let id = match kind {
                    "machine-id" => facts.machine_id.as_str(),
                    _ => facts.product_uuid.as_str(),
                };
                // Boards of one maker may all have the same placeholder; machine-ids tell them apart.
                if id.is_empty()
                    || id.bytes().all(|b| matches!(b, b'0' | b'f' | b'-'))
                    || id.starts_with("03000200-0400")
                {
                    continue;
                }
                let Some(other) = first.insert(id, name) else { continue };
                let remedy = match kind {
                    "machine-id" => {
                        "`rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup`, then reboot"
                    }
                    _ => "have the provider give it its own UUID, or make it from the image anew",
                };
                // Containers that providers sell as servers have their machine's UUID, and live with it.
                let diagnosis = match kind {
                    "machine-id" => Diagnosis::error(
                        "identity-twice",
                        Some(name),
                        "nodes replace each other, or get one address",
                    ),
                    _ => Diagnosis::warning(
                        "identity-twice",
                        Some(name),
                        "kubeadm wants it to be different; what goes by it takes two nodes for one",
                    ),
                };
                found.push(
                    diagnosis
                        .cause(format!(
                            "it has the {kind} of {other}: the two are copies of one machine"
                        ))
                        .seen([host.quote(kind, id)])
                        .remedy(remedy)
                        .of(kind),
                );
            }
        }
        found
    },
};
