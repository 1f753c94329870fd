//! Address, firewall, swap, names, kernel, time: the host before Kubernetes.

use super::taken_out::{self, TIMESYNCD_FILE};
use std::path::Path;

use crate::action::file::FileState;
use crate::action::{
    Action, AliasOff, Block, File, FirewallGoal, FirewallState, Hostname, KubeadmInit, Link,
    Module, SelinuxPermissive, SwapOff, Sysctl, TimeSyncOn, Unit,
};
use crate::facts::{ChronyFolder, Facts, FirewallTool, InterfaceAddress, Selinux};
use crate::inventory::{Acceptance, Firewall, Host, HostnamePolicy, TimeSync};
use crate::mirror::RECORD;
use crate::network::alias::{WideAlias, wide};
use crate::network::ports::openings;
use crate::packages;
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::{names as render_names, unit};

pub(in crate::plan) fn steps(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    [
        stuck(view, host, facts).into_iter().collect(),
        adopted(view, host, facts).into_iter().collect(),
        time(view, host, facts),
        mirrors(view, host, facts).into_iter().collect(),
        address(view, host, facts),
        firewall(view, host, facts),
        swap(view, host),
        selinux(host, facts),
        names(view, host, facts),
        kernel(host),
    ]
    .concat()
}

fn step(host: &Host, action: Action, why: impl Into<String>) -> Step {
    Step::new(Phase::Prepare, &host.name, action, why)
}

/// Before the address is there: with it the stuck etcd comes up, and looks as if it had lived.
fn stuck(view: &View, host: &Host, facts: &Facts) -> Option<Step> {
    let is_first = host.name == view.inventory.first_control_plane().name;
    let stuck = facts.kubernetes.stuck_init.as_ref().filter(|_| is_first)?;
    let text = format!(
        "kubeadm init was begun here by hand and got stuck; kubewan finishes it, with this authority:\n{}\n",
        stuck.ca_hash
    );
    let action = Action::File(File::text(KubeadmInit::STUCK, 0o600, text));
    Some(step(
        host,
        action,
        "what is finished below is known for what it is, also by a run that comes after one cut short",
    ))
}

/// What a host is part of that its journal does not tell of.
fn adopted(view: &View, host: &Host, facts: &Facts) -> Option<Step> {
    let adopt = view.inventory.adopt.as_ref().filter(|_| facts.kubernetes.adopted)?;
    let text = format!(
        "This host's cluster was made with kubeadm by hand. kubewan has taken it over, by this authority:\n{}\n",
        adopt.ca
    );
    let action = Action::File(File::text(KubeadmInit::ADOPTED, 0o600, text));
    let why =
        "the inventory says `adopt`: what kubeadm did here stands, and nothing of it is done again";
    Some(step(host, action, why))
}

/// First of all: whether a unit is older than its files is told by the clock.
fn time(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let servers = &view.inventory.time_servers;
    let keeps = view.inventory.time_of(host) == TimeSync::Keep;
    let file = time_file(servers, facts).filter(|_| !servers.is_empty() && !keeps);
    let gone = taken_out::time_files(facts, file.as_ref().map(|(path, _)| path.as_str()));
    let why_gone = "the inventory's `timeServers` do not ask for it any more";
    let mut steps: Vec<Step> =
        gone.iter().map(|path| step(host, taken_out::absent(path), why_gone)).collect();
    if keeps {
        return steps;
    }
    let on = step(
        host,
        Action::TimeSyncOn(TimeSyncOn {}),
        "certificates, tokens and etcd's leases need clocks that agree",
    );
    // Of a file that goes its folder tells when, and where that goes too, the one above.
    let above = |path: &str| -> Vec<String> {
        Path::new(path).ancestors().take(3).map(|at| at.display().to_string()).collect()
    };
    let mut restart_on: Vec<String> = gone.into_iter().flat_map(above).collect();
    if let Some((path, text)) = file {
        let why = "the time servers that the inventory names, beside those that the host has";
        steps.push(step(host, Action::File(File::text(path.clone(), 0o644, text)), why));
        restart_on.push(path);
    }
    steps.push(on);
    if !restart_on.is_empty() {
        let name = time_service(facts).to_owned();
        let goal = Unit { name, enabled: true, active: Some(true), restart_on, node: None };
        steps.push(step(host, Action::Unit(goal), "it reads its servers when it starts"));
    }
    steps
}

/// The time service that a host has, or gets.
pub(in crate::plan) fn time_service(facts: &Facts) -> &str {
    let there = facts.time_sync.active.as_deref().or(facts.time_sync.installed.as_deref());
    let comes = match packages::manager(&facts.os).is_rpm() {
        true => "chronyd.service",
        false => "systemd-timesyncd.service",
    };
    there.unwrap_or(comes)
}

/// A file of time servers in a folder that the host's time service reads beside its own file (timesyncd.conf(5); what the host's
/// chrony.conf itself says that it reads); `None` where it has no such folder.
pub(in crate::plan) fn time_file(servers: &[String], facts: &Facts) -> Option<(String, String)> {
    match time_service(facts) {
        "systemd-timesyncd.service" => Some((
            TIMESYNCD_FILE.into(),
            format!("# Written by kubewan.\n[Time]\nNTP={}\n", servers.join(" ")),
        )),
        "chrony.service" | "chronyd.service" => {
            let folder: &ChronyFolder = facts.time_sync.chrony_folder.as_ref()?;
            let lines = servers.iter().map(|name| format!("server {name} iburst\n"));
            Some((folder.file(), lines.collect()))
        }
        _ => None,
    }
}

/// Which mirrors were chosen: a run from another machine has to know, and choose the same.
fn mirrors(view: &View, host: &Host, facts: &Facts) -> Option<Step> {
    let file = match view.inputs.mirrors.text() {
        Some(text) => File::text(RECORD, 0o600, text),
        None if facts.own.mirrors.is_some() => {
            File { path: RECORD.into(), state: FileState::Absent }
        }
        None => return None,
    };
    let why = "the mirrors that were chosen, and why: they are kept until one of them fails";
    Some(step(host, Action::File(file), why))
}

/// The public address on an interface of ours, unless a NIC carries it. The kubelet takes no `--node-ip` that
/// is on no interface (pkg/kubelet/kubelet_node_status.go, validateNodeIP), and a host whose cloud does not
/// hairpin reaches its own public address only here.
fn address(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let address = view.address(host);
    let aliases: Vec<WideAlias> =
        wide(address, facts).into_iter().filter(|alias| alias.is_alone).collect();
    let carries = |on: &InterfaceAddress| {
        let is_alias = aliases.iter().any(|alias| alias.on == on);
        on.address.addr() == address && on.interface != unit::LINK && !is_alias
    };
    let off = aliases.iter().map(|alias| alias_off(host, alias));
    if facts.addresses.iter().any(carries) {
        return off.collect();
    }
    let kind = if facts.kernel.dummy { "dummy" } else { "bridge" };
    let path = format!("/etc/systemd/system/{}", unit::ADDRESS_UNIT);
    let why = format!(
        "{address} is on no network card of {}: the kubelet and the host itself need it on an interface",
        host.name
    );
    let mut steps = unmanaged(host, facts);
    steps.extend([
        step(
            host,
            Action::File(File::text(path.clone(), 0o644, unit::address_unit(address, kind))),
            why.clone(),
        ),
        step(
            host,
            Action::Unit(Unit {
                name: unit::ADDRESS_UNIT.into(),
                enabled: true,
                active: Some(true),
                restart_on: vec![path],
                node: None,
            }),
            "the address has to be there after a reboot too",
        ),
        step(
            host,
            Action::Link(Link {
                name: unit::LINK.into(),
                address,
                unit: unit::ADDRESS_UNIT.into(),
            }),
            why,
        ),
    ]);
    steps.extend(off);
    steps
}

/// After the address is where it stays, so that connections with it go on.
fn alias_off(host: &Host, alias: &WideAlias) -> Step {
    let InterfaceAddress { interface, address } = alias.on;
    let action = Action::AliasOff(AliasOff { interface: interface.clone(), address: *address });
    let why = format!(
        "with that mask {} looks for all of {} on its own wire, where it is not",
        host.name,
        address.trunc()
    );
    step(host, action, why)
}

/// What network stacks read of our interfaces, and the unit that has running ones read it, also when a file was
/// taken away meanwhile or a stack came later. It is a unit of its own, since the interface's would take the address
/// off for a moment.
fn unmanaged(host: &Host, facts: &Facts) -> Vec<Step> {
    let mut files = vec![(
        "/etc/systemd/network/10-kubewan.network",
        unit::networkd_unmanaged(),
        "systemd-networkd must not take the address off our interface",
    )];
    if facts.network_manager {
        files.push((
            "/etc/NetworkManager/conf.d/99-kubewan.conf",
            unit::network_manager_unmanaged(),
            "`nmcli networking off` takes addresses off every interface that NetworkManager holds for its own",
        ));
    }
    let path = format!("/etc/systemd/system/{}", unit::UNMANAGED_UNIT);
    let mut restart_on: Vec<String> = files.iter().map(|(path, ..)| (*path).to_owned()).collect();
    restart_on.push(path.clone());
    let file = |(path, text, why): (&str, String, &str)| {
        step(host, Action::File(File::text(path, 0o644, text)), why)
    };
    let mut steps: Vec<Step> = files.into_iter().map(file).collect();
    let why = "a running network stack reads such files only when it is told to";
    let text = unit::unmanaged_unit();
    steps.push(step(host, Action::File(File::text(path, 0o644, text)), why));
    let name = unit::UNMANAGED_UNIT.into();
    let goal = Unit { name, enabled: true, active: Some(true), restart_on, node: None };
    steps.push(step(host, Action::Unit(goal), why));
    steps
}

/// Firewalls the way the inventory says; where it says nothing, [`crate::plan::lint`] refuses.
fn firewall(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let Some(policy) = view.inventory.firewall_of(host) else { return Vec::new() };
    let network = &view.inventory.network;
    facts
        .firewalls
        .iter()
        .filter_map(|firewall| {
            let (state, why) = match (policy, firewall.tool) {
                (Firewall::Keep, _) => return None,
                (Firewall::Off, _) => (FirewallState::Off, "the inventory says `firewall: off`"),
                (Firewall::Open, FirewallTool::Ufw | FirewallTool::Firewalld) => (
                    FirewallState::Open {
                        ports: openings(view.inventory, view.inputs.addresses, host),
                        trusted: vec![
                            network.pod_subnet.to_string(),
                            network.service_subnet.to_string(),
                        ],
                    },
                    "the inventory says `firewall: open`; see `kubewan ports`",
                ),
                // These have no tool that adds a rule for good; lint names the rules.
                (Firewall::Open, _) => return None,
            };
            Some(step(host, Action::Firewall(FirewallGoal { tool: firewall.tool, state }), why))
        })
        .collect()
}

/// The host keeps its swap: the kubelet starts with it.
pub(in crate::plan) fn swap_is_left(view: &View, host: &Host) -> bool {
    view.inventory.accepted(host, Acceptance::SwapReturns).is_some()
}

fn swap(view: &View, host: &Host) -> Vec<Step> {
    if swap_is_left(view, host) {
        return Vec::new();
    }
    vec![step(
        host,
        Action::SwapOff(SwapOff {}),
        "the kubelet refuses to start with swap on (failSwapOn)",
    )]
}

fn selinux(host: &Host, facts: &Facts) -> Vec<Step> {
    match facts.selinux {
        None | Some(Selinux::Disabled) => Vec::new(),
        Some(_) => vec![step(
            host,
            Action::SelinuxPermissive(SelinuxPermissive {}),
            "pods must read the host's file system (kubernetes.io, \"Installing kubeadm\")",
        )],
    }
}

fn names(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let inventory = view.inventory;
    let rename = inventory.hostname_of(host) == HostnamePolicy::Set;
    let mut steps = Vec::new();
    if rename {
        steps.push(step(
            host,
            Action::Hostname(Hostname { name: host.name.clone() }),
            "the inventory says `hostname: set`",
        ));
    }
    let nodes: Vec<(&str, std::net::Ipv4Addr)> =
        inventory.hosts.iter().map(|h| (h.name.as_str(), view.address(h))).collect();
    let lines = render_names::hosts_block(&nodes, &inventory.api_name(), &view.api_addresses(host));
    if let Some(cloud_init) = &facts.cloud_init {
        let text = render_names::cloud_init(rename);
        steps.push(step(
            host,
            Action::File(File::text("/etc/cloud/cloud.cfg.d/99-kubewan.cfg", 0o644, text)),
            "cloud-init rewrites /etc/hosts at boot",
        ));
        if let Some(path) = &cloud_init.hosts_template {
            steps.push(step(
                host,
                Action::Block(Block { path: path.clone(), lines: lines.clone() }),
                "where the provider's user data has cloud-init write /etc/hosts all the same, it is made from this",
            ));
        }
    }
    steps.push(step(
        host,
        Action::Block(Block { path: "/etc/hosts".into(), lines }),
        "nodes and the API are found by names that need no DNS",
    ));
    steps
}

fn kernel(host: &Host) -> Vec<Step> {
    let mut steps = vec![
        step(
            host,
            Action::File(File::text(
                "/etc/modules-load.d/kubewan.conf",
                0o644,
                unit::modules_load(),
            )),
            "the modules are there after a reboot too",
        ),
        step(
            host,
            Action::File(File::text(unit::SYSCTL_CONF, 0o644, unit::sysctl_conf())),
            "the settings are there after a reboot too",
        ),
    ];
    for name in unit::MODULES {
        let why = match name {
            "overlay" => "containerd keeps images on overlay file systems",
            _ => {
                "bridged packets of pods have to pass kube-proxy's rules; flannel does not start without it"
            }
        };
        steps.push(step(host, Action::Module(Module { name: name.into() }), why));
    }
    for (key, value) in unit::SYSCTLS {
        let why = match key {
            "net.ipv4.ip_forward" => "the host routes the packets of its pods",
            _ => "bridged packets of pods have to pass kube-proxy's rules",
        };
        steps.push(step(
            host,
            Action::Sysctl(Sysctl { key: key.into(), value: value.into(), ..Sysctl::default() }),
            why,
        ));
    }
    steps
}
