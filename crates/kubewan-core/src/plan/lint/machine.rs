//! The machine: processors, memory, disk, and what tells it from others.

use std::collections::BTreeMap;

use crate::facts::{ClusterState, Facts};
use crate::finding::Finding;
use crate::inventory::Host;
use crate::plan::planner::View;

/// kubeadm's own demands on a control plane (cmd/kubeadm/app/constants: ControlPlaneNumCPU, ControlPlaneMem).
pub(in crate::plan) const CONTROL_PLANE_CORES: u32 = 2;
pub(in crate::plan) const CONTROL_PLANE_MEMORY_MIB: u64 = 1700;
/// What a worker should have at least: the kubelet holds back 100 MiB (its default `evictionHard`), and it, the runtime,
/// flannel and kube-proxy take a few hundred before the first pod.
const WORKER_MEMORY_MIB: u64 = 900;
/// Images, binaries and a first day's logs.
const DISK_FREE_MIB: u64 = 4096;

/// kubeadm's NumCPU, for control planes. A fact of 0 was not read.
pub(super) fn cores(_: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let cores = facts.cores;
    if !host.is_control_plane() || cores == 0 || cores >= CONTROL_PLANE_CORES {
        return None;
    }
    let message = format!(
        "{cores} core; kubeadm asks for {CONTROL_PLANE_CORES} on a control plane, where the API server and etcd would \
         wait for every pod"
    );
    Some(Finding::error("too-few-cores", &host.name, message, "take a larger server"))
}

/// kubeadm's Mem, for control planes; others are warned of.
pub(super) fn memory(_: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let mib = facts.memory_bytes >> 20;
    if facts.memory_bytes == 0 {
        return None;
    }
    if host.is_control_plane() && mib < CONTROL_PLANE_MEMORY_MIB {
        let message = format!(
            "{mib} MiB of memory; kubeadm asks for {CONTROL_PLANE_MEMORY_MIB} on a control plane: with less, the kernel \
             ends the API server or etcd under load"
        );
        let remedy = "take a larger server, or make it a worker: `roles: [worker]`";
        return Some(Finding::error("too-little-memory", &host.name, message, remedy));
    }
    (mib < WORKER_MEMORY_MIB).then(|| {
        let message = format!(
            "{mib} MiB of memory: little is left for pods, and the kubelet evicts them when less than 100 MiB are free"
        );
        let remedy = "take a larger server, or give its pods small memory limits";
        Finding::warning("too-little-memory", &host.name, message, remedy)
    })
}

/// Room for what a run brings; a host that has it already is none of this check's business.
pub(super) fn disk(_: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let mib = facts.disk_free_bytes >> 20;
    (facts.kubernetes.state == ClusterState::None && mib < DISK_FREE_MIB).then(|| {
        Finding::error(
            "disk-full",
            &host.name,
            format!(
                "{mib} MiB free below /var/lib; images and programs need {DISK_FREE_MIB}, and the kubelet evicts pods \
                 from a full disk"
            ),
            "free some space, or mount a larger disk at /var/lib",
        )
    })
}

/// Every step that writes there would fail, the first of them in the middle of a run.
pub(super) fn read_only(_: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let folders = &facts.read_only;
    let first = folders.first()?;
    let (is, lies) = if folders.len() == 1 { ("is", "lies") } else { ("are", "lie") };
    let message = format!(
        "{} {is} to be written to, and {lies} on a file system that is mounted read-only",
        folders.join(", ")
    );
    let remedy = format!(
        "mount it writable: `mount -o remount,rw \"$(findmnt -n -o TARGET -T {first})\"`, and /etc/fstab for the next boot; \
         look at `dmesg` before: the kernel does so to a disk that fails"
    );
    Some(Finding::error("read-only", &host.name, message, remedy))
}

/// What makers write where each machine should have a UUID of its own (`kPlaceholderHardwareUUIDList` in
/// osquery/core/system.cpp of osquery/osquery, and all ones).
const PLACEHOLDER_UUIDS: [&str; 5] = [
    "00000000-0000-0000-0000-000000000000",
    "03000200-0400-0500-0006-000700080009",
    "03020100-0504-0706-0809-0a0b0c0d0e0f",
    "10000000-0000-8000-0040-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
];

/// machine-id and product_uuid tell nodes apart (kubernetes.io, "Installing kubeadm", "Verify the MAC address and
/// product_uuid are unique for every node").
pub(super) fn identities(view: &View) -> Vec<Finding> {
    let mut findings = Vec::new();
    same(
        view,
        |facts| &facts.machine_id,
        |host, first, id| {
            let message = format!(
                "has the machine-id of {first} ({id}): DHCP, the journal and pod networks take the two for one"
            );
            let remedy = "give it its own: `rm -f /etc/machine-id /var/lib/dbus/machine-id && systemd-machine-id-setup`, then reboot";
            findings.push(Finding::error("identity-not-unique", host, message, remedy));
        },
    );
    same(
        view,
        |facts| &facts.product_uuid,
        |host, first, uuid| {
            if PLACEHOLDER_UUIDS.contains(&uuid) {
                let message = format!(
                    "has the product_uuid of {first} ({uuid}), which their maker gives to every board; their machine-ids \
                 tell them apart"
                );
                let remedy = "nothing has to be done; who tells machines by `systemUUID` of their nodes can't tell these two";
                findings.push(Finding::warning("identity-not-unique", host, message, remedy));
            } else {
                let message = format!(
                    "has the product_uuid of {first} ({uuid}): clones of one machine, which Kubernetes takes for one"
                );
                let remedy = "have the provider give each machine its own UUID, or make it from the image anew, not from a \
                          copy of the other";
                findings.push(Finding::error("identity-not-unique", host, message, remedy));
            }
        },
    );
    findings
}

/// Calls for every host whose value an earlier one has, with the host, the earlier one and the value.
fn same(view: &View, value: fn(&Facts) -> &str, mut tell: impl FnMut(&str, &str, &str)) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for host in &view.inventory.hosts {
        let Some(value) = view.facts.get(&host.name).map(value).filter(|v| !v.is_empty()) else {
            continue;
        };
        match seen.get(value) {
            Some(first) => tell(&host.name, first, value),
            None => drop(seen.insert(value, &host.name)),
        }
    }
}
