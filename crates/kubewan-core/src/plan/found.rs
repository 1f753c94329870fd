//! What was found on hosts that no inventory names yet: which becomes the first control plane, and what is worth a comment.

use std::net::Ipv4Addr;

use super::lint::machine::{CONTROL_PLANE_CORES, CONTROL_PLANE_MEMORY_MIB};
use crate::facts::{ClusterState, Facts};

const MIB: u64 = 1 << 20;
const GIB: f64 = (1_u64 << 30) as f64;

/// Which of several hosts becomes the first control plane, and why: one that kubeadm takes for one, of these the one with the
/// most memory, then the most cores; of equal ones the first. `None` where there are no hosts.
pub fn first_control_plane(hosts: &[&Facts]) -> Option<(usize, String)> {
    let rank = |facts: &Facts| {
        let lives = facts.kubernetes.state != ClusterState::None;
        // What the kernel keeps for itself differs a little between equal machines.
        (lives, is_enough(facts), facts.memory_bytes / (256 * MIB), facts.cores)
    };
    let best = hosts.iter().map(|facts| rank(facts)).max()?;
    let at = hosts.iter().position(|facts| rank(facts) == best)?;
    let facts = hosts[at];
    let size = format!("{} and {}", cores(facts), memory(facts));
    let why = if best.0 {
        "a Kubernetes is there already".to_owned()
    } else if !is_enough(facts) {
        format!(
            "no host has the {CONTROL_PLANE_CORES} cores and {CONTROL_PLANE_MEMORY_MIB} MiB that kubeadm asks for; this \
             one comes closest with {size}"
        )
    } else if hosts.len() == 1 {
        format!("it is the only host; {size} are enough")
    } else if hosts.iter().all(|other| rank(other) == best) {
        format!("all have {size}, which is enough, and it was named first")
    } else {
        format!("with {size} it has the most of all that are large enough")
    };
    Some((at, why))
}

fn is_enough(facts: &Facts) -> bool {
    facts.cores >= CONTROL_PLANE_CORES && facts.memory_bytes >= CONTROL_PLANE_MEMORY_MIB * MIB
}

fn cores(facts: &Facts) -> String {
    if facts.cores == 1 { "1 core".into() } else { format!("{} cores", facts.cores) }
}

fn memory(facts: &Facts) -> String {
    format!("{:.1} GiB of memory", facts.memory_bytes as f64 / GIB)
}

/// A host's system and size in a few words.
pub fn brief(facts: &Facts) -> String {
    let memory = facts.memory_bytes as f64 / GIB;
    format!("{}, {}, {memory:.1} GiB", facts.os.distribution(), cores(facts))
}

/// What there is to say of a host: its system, its size, and where its public address is.
pub fn described(facts: &Facts, address: Option<Ipv4Addr>) -> Vec<String> {
    let system = match facts.os.pretty_name.as_str() {
        "" => facts.os.distribution(),
        name => name.to_owned(),
    };
    let mut said = vec![format!(
        "{system}, {}, kernel {}; {}, {}, {:.0} GiB free below /var/lib",
        facts.kernel.arch,
        facts.kernel.release,
        cores(facts),
        memory(facts),
        facts.disk_free_bytes as f64 / GIB
    )];
    let Some(address) = address else { return said };
    let nic = facts.nic().map_or("the network card", |nic| nic.name.as_str());
    said.push(match (facts.interface_with(address), facts.nic_address()) {
        (Some(interface), _) => format!("{address} is on its {interface}"),
        (None, Some(private)) => format!(
            "behind NAT: on its {nic} is {private}; kubewan puts {address} on an interface of its own"
        ),
        (None, None) => format!("{address} is on none of its interfaces; kubewan puts it on one of its own"),
    });
    if address.is_private() {
        said.push(format!(
            "{address} is a private address: write the one that the other hosts reach it by"
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn sized(cores: u32, mib: u64) -> Facts {
        Facts { cores, memory_bytes: mib * MIB, ..samples::facts(0) }
    }

    #[test]
    fn the_first_control_plane_is_one_that_kubeadm_takes() {
        let chosen = |hosts: &[Facts]| {
            let hosts: Vec<&Facts> = hosts.iter().collect();
            first_control_plane(&hosts).unwrap()
        };
        let (at, why) = chosen(&[sized(1, 8000), sized(2, 2000), sized(2, 4000)]);
        assert_eq!(
            (at, why.as_str()),
            (2, "with 2 cores and 3.9 GiB of memory it has the most of all that are large enough")
        );
        let (at, why) = chosen(&[sized(2, 2010), sized(2, 2020)]);
        assert!(at == 0 && why.contains("named first"), "{why}");
        let (at, why) = chosen(&[sized(1, 500), sized(1, 900)]);
        assert!(at == 1 && why.contains("kubeadm asks for"), "{why}");
        let mut living = sized(2, 2000);
        living.kubernetes.state = ClusterState::Done;
        let (at, why) = chosen(&[sized(8, 16000), living]);
        assert!(at == 1 && why.contains("already"), "{why}");
        assert_eq!(first_control_plane(&[]), None);
    }

    #[test]
    fn a_host_behind_nat_is_told_from_one_that_is_not() {
        let mut facts = samples::facts(0);
        let public = Ipv4Addr::new(198, 51, 100, 10);
        let said = described(&facts, Some(public)).join("\n");
        assert!(said.contains("behind NAT: on its eth0 is 10.0.4.7"), "{said}");
        facts.addresses[0].address = ipnet::Ipv4Net::new_assert(public, 24);
        let said = described(&facts, Some(public)).join("\n");
        assert!(said.contains("198.51.100.10 is on its eth0"), "{said}");
        let said = described(&facts, Some(Ipv4Addr::new(10, 0, 4, 7))).join("\n");
        assert!(said.contains("is a private address"), "{said}");
    }
}
