//! What the doctor knows of, one file for each thing that can be wrong.

mod api_certificate;
mod api_refused;
mod centos_too_old;
mod certificate_expired;
mod cgroup_driver;
mod clock_off;
mod conntrack_refused;
mod container_runtime;
mod coredns_loop;
mod daemon_json;
mod disk_full;
mod disk_pressure;
mod etcd_bind;
mod etcd_peer;
mod firewall_active;
mod flannel_address;
mod flannel_netfilter;
mod hairpin;
mod hostname_unresolved;
mod init_timeout;
mod ip_forward;
mod kubelet_down;
mod no_cni;
mod no_kubeconfig;
mod node_ip;
mod node_not_ready;
mod pause_image;
mod product_uuid;
mod registry_certificate;
mod runtime_pair;
mod swap_on;
mod token_unsigned;
mod udp_checksum;
mod unreachable;

use crate::case::Case;
use crate::diagnosis::Diagnosis;

/// One thing that can be wrong.
pub struct Check {
    /// Its stable name.
    pub code: &'static str,
    /// What is wrong then, in one sentence.
    pub means: &'static str,
    /// What it looks at.
    pub looks_at: &'static str,
    /// Codes of what else is noticed on the same host because of it.
    pub explains: &'static [&'static str],
    /// The same on any host.
    pub explains_everywhere: &'static [&'static str],
    /// Looks.
    pub run: fn(&Case) -> Vec<Diagnosis>,
}

/// What is noticed of a node whose kubelet or runtime does not work.
const NODE: &[&str] = &[
    "node-not-ready",
    "kubelet-down",
    "no-cni",
    "init-timeout",
    "pause-image",
    "api-certificate",
    "api-refused",
];

/// What is noticed everywhere of an API that is away.
const API: &[&str] = &["api-refused", "init-timeout", "node-not-ready", "no-cni"];

/// All of them: what is the cause of others first.
pub const CHECKS: [&Check; 35] = [
    &unreachable::CHECK,
    &centos_too_old::CHECK,
    &disk_full::CHECK,
    &clock_off::CHECK,
    &product_uuid::CHECK,
    &hostname_unresolved::CHECK,
    &swap_on::CHECK,
    &firewall_active::CHECK,
    &daemon_json::CHECK,
    &container_runtime::CHECK,
    &runtime_pair::CHECK,
    &cgroup_driver::CHECK,
    &pause_image::CHECK,
    &registry_certificate::CHECK,
    &certificate_expired::CHECK,
    &certificate_expired::SOON,
    &api_certificate::CHECK,
    &etcd_bind::CHECK,
    &etcd_peer::CHECK,
    &node_ip::CHECK,
    &hairpin::CHECK,
    &flannel_netfilter::CHECK,
    &ip_forward::CHECK,
    &flannel_address::CHECK,
    &udp_checksum::CHECK,
    &conntrack_refused::CHECK,
    &coredns_loop::CHECK,
    &token_unsigned::CHECK,
    &kubelet_down::CHECK,
    &no_cni::CHECK,
    &no_kubeconfig::CHECK,
    &disk_pressure::CHECK,
    &api_refused::CHECK,
    &init_timeout::CHECK,
    &node_not_ready::CHECK,
];
