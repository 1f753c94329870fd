//! What forbids a plan, or should be known before it is applied: small checks of facts against the
//! inventory. Each returns findings; none changes anything.
//!
//! | file | checks |
//! |---|---|
//! | [`machine`] | cores, memory, disk, identity |
//! | [`system`] | distribution, kernel, control groups, swap, host name |
//! | [`clock`] | clocks |
//! | [`runtime`] | containerd |
//! | [`foreign`] | containers, settings and packages of others in containerd's place |
//! | [`docker`] | Docker: its configuration, what runs in it, its packages |
//! | [`containerd`] | what a configuration of containerd says beyond its defaults |
//! | [`registries`] | registries of one's own, and what an older configuration said of registries |
//! | [`bundle`] | contents and versions of the bundle, repositories and mirrors |
//! | [`network`] | encapsulation, subnets, addresses, what was measured on the ways between hosts |
//! | [`firewall`] | host firewalls, and an etcd that answers everyone |
//! | [`cluster`] | Kubernetes that is there already |
//! | [`one_cluster`] | that all hosts are nodes of the first control plane's cluster |
//! | [`adopted`] | a cluster that somebody made by hand, before it is taken over |
//! | [`versions`] | the version of Kubernetes itself |
//! | [`accept`] | what the operator accepts |

pub(in crate::plan) mod accept;
mod adopted;
mod bundle;
mod clock;
mod cluster;
mod containerd;
mod docker;
mod firewall;
mod foreign;
pub(in crate::plan) mod machine;
mod network;
pub(in crate::plan) mod one_cluster;
mod registries;
mod runtime;
mod system;
#[cfg(test)]
mod tests;
mod versions;

use super::planner::View;
use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Host, Recorded};
use crate::supply;

pub(super) fn findings(view: &View) -> Vec<Finding> {
    let mut findings = Vec::new();
    for host in &view.inventory.hosts {
        let Some(facts) = view.facts.get(&host.name) else { continue };
        let found = per_host(view, host, facts);
        findings.extend(found.into_iter().map(|finding| accept::judged(view, host, finding)));
    }
    let ways = network::ways(view).into_iter().map(|finding| {
        let host =
            view.inventory.hosts.iter().find(|host| Some(&host.name) == finding.host.as_ref());
        match host {
            Some(host) => accept::judged(view, host, finding),
            None => finding,
        }
    });
    findings.extend(ways);
    findings.extend(clock::clocks(view));
    findings.extend(supply::unencrypted(view.inventory));
    findings.extend(supply::unchecked(view.inventory));
    findings.extend(view.inputs.mirror_findings.iter().cloned());
    findings.extend(docker::mirrors(view));
    findings.extend(registries::images_behind_login(view));
    findings.extend(registries::unverified(view));
    findings.extend(versions::end_of_life(view));
    findings.extend(versions::former_registry(view));
    findings.extend(machine::identities(view));
    findings.extend(one_cluster::first_control_plane_lost(view));
    findings.extend(one_cluster::other_authority(view));
    findings.extend(cluster::nothing_to_adopt(view));
    findings.extend(cluster::adopts_several(view));
    if let Some(recorded) = view.inputs.recorded {
        findings.extend(recorded.refusals(&Recorded::of(view.inventory, view.inputs.addresses)));
    }
    findings
}

/// What every check of one host says, before anything is accepted.
fn per_host(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let one = [
        machine::cores(view, host, facts),
        machine::memory(view, host, facts),
        machine::disk(view, host, facts),
        machine::read_only(view, host, facts),
        system::distribution(view, host, facts),
        system::kernel(view, host, facts),
        system::cgroups(view, host, facts),
        system::hostname(view, host, facts),
        clock::servers(view, host, facts),
        runtime::containerd(view, host, facts),
        foreign::containers(view, host, facts),
        foreign::configuration(view, host, facts),
        foreign::package(view, host, facts),
        registries::carried_over(view, host, facts),
        registries::old_settings(view, host, facts),
        one_cluster::address_changed(view, host, facts),
        one_cluster::control_plane_lost(view, host, facts),
        adopted::announced(view, host, facts),
        adopted::cgroup_driver(view, host, facts),
        adopted::etcd_listens(view, host, facts),
    ];
    let several = [
        system::swap(view, host, facts),
        docker::docker(view, host, facts),
        bundle::bundle_contents(view, host, facts),
        bundle::repositories(view, host, facts),
        bundle::source_changed(view, host, facts),
        bundle::shadowed_units(view, host, facts),
        bundle::rehearsal_only_in_labs(view, host, facts),
        network::encryption(view, host, facts),
        network::subnets(view, host, facts),
        network::private_address(view, host, facts),
        network::wide_alias(view, host, facts),
        firewall::firewalls(view, host, facts),
        firewall::exposed_control_plane(view, host, facts),
        cluster::foreign_cluster(view, host, facts),
        cluster::other_cluster(view, host, facts),
        cluster::other_binaries(view, host, facts),
        cluster::ports_in_use(view, host, facts),
    ];
    one.into_iter().flatten().chain(several.into_iter().flatten()).collect()
}
