//! What forbids a plan, or should be known before it is applied: small checks of facts against the
//! inventory. Each returns findings; none changes anything.

use std::collections::BTreeMap;

use super::phase::prepare::open_ports;
use super::planner::View;
use crate::action::firewall;
use crate::bundle::ArtifactKind;
use crate::facts::{CgroupVersion, ClusterState, Facts, FirewallTool};
use crate::finding::Finding;
use crate::inventory::{Backend, Firewall, Host, NetworkMode, Recorded, RuntimeSource};
use crate::network::subnets::collisions;

/// kubeadm's own demands on a control plane (cmd/kubeadm/app/constants: ControlPlaneNumCPU, ControlPlaneMem).
const CONTROL_PLANE_CORES: u32 = 2;
const CONTROL_PLANE_MEMORY_BYTES: u64 = 1700 << 20;
/// Clocks that differ by more make certificates "not yet valid".
const CLOCK_OFFSET_ERROR_MS: i64 = 60_000;
/// etcd and lease times begin to suffer.
const CLOCK_OFFSET_WARNING_MS: i64 = 2_000;
/// Images, binaries and a first day's logs.
const DISK_FREE_BYTES: u64 = 4 << 30;

pub(super) fn findings(view: &View) -> Vec<Finding> {
    let mut findings = Vec::new();
    for host in &view.inventory.hosts {
        let Some(facts) = view.facts.get(&host.name) else { continue };
        for check in PER_HOST {
            findings.extend(check(view, host, facts));
        }
    }
    findings.extend(uniqueness(view));
    if let Some(recorded) = view.inputs.recorded {
        findings.extend(recorded.refusals(&Recorded::of(view.inventory, view.inputs.addresses)));
    }
    findings
}

type Check = fn(&View, &Host, &Facts) -> Vec<Finding>;

/// Every check of one host.
const PER_HOST: [Check; 14] = [
    distribution,
    bundle_contents,
    rehearsal_only_in_labs,
    encryption,
    subnets,
    firewalls,
    foreign_cluster,
    other_cluster,
    private_address,
    other_binaries,
    ports_in_use,
    resources,
    clock,
    cgroups,
];

fn distribution(_: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if matches!(facts.os.id.as_str(), "debian" | "ubuntu") && facts.os.systemd > 0 {
        return Vec::new();
    }
    vec![Finding::error(
        "distribution-unsupported",
        &host.name,
        format!("runs {} (systemd {})", facts.os.pretty_name, facts.os.systemd),
        "use Debian 11 to 13 or Ubuntu 20.04 or later; other distributions come with later versions of kubewan",
    )]
}

fn bundle_contents(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let bundle = view.inputs.bundle;
    let arch = &facts.kernel.arch;
    let mut missing: Vec<String> = ["kubeadm", "kubelet", "kubectl"]
        .iter()
        .filter(|name| bundle.binary(name, arch).is_none())
        .map(|name| format!("binary {name} for {arch}"))
        .collect();
    let pause = view.inventory.pause_image();
    if !bundle.of(ArtifactKind::Image, arch).any(|image| image.name == pause) {
        missing.push(format!(
            "image {pause} for {arch}, which kubeadm {} expects",
            view.inventory.kubernetes.version
        ));
    }
    for image in ["kube-proxy", "coredns", "flannel", "flannel-cni-plugin"] {
        // A rehearsal runs no pods, so its bundle carries no images for them.
        if bundle.image(image, arch).is_none() && !bundle.rehearsal {
            missing.push(format!("image {image} for {arch}"));
        }
    }
    let distribution = facts.os.distribution();
    if view.inventory.runtime.source == RuntimeSource::Bundle
        && bundle.packages(&distribution, arch).next().is_none()
    {
        missing.push(format!("packages for {distribution} ({arch})"));
    }
    let mut findings = Vec::new();
    if !missing.is_empty() {
        findings.push(Finding::error(
            "bundle-incomplete",
            &host.name,
            format!("the bundle has no {}", missing.join(", no ")),
            "use a bundle made for this architecture and distribution; `kubewan bundle check DIR` says what one holds",
        ));
    }
    findings.extend(flannel_version(view, host, arch));
    findings
}

/// flannel before 0.28 takes the announced address as the outer source of VXLAN too (0.27.4 to 0.27.x), or
/// ignores the overwrite's subtleties: see docs/how-it-works.md.
fn flannel_version(view: &View, host: &Host, arch: &str) -> Option<Finding> {
    let image = view.inputs.bundle.image("flannel", arch)?;
    let version: Vec<u32> = image
        .version
        .trim_start_matches('v')
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect();
    (version.as_slice() < [0, 28].as_slice()).then(|| {
        Finding::error(
            "flannel-too-old",
            &host.name,
            format!("the bundle's flannel is {}", image.version),
            "use a bundle with flannel 0.28 or later",
        )
    })
}

fn rehearsal_only_in_labs(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if !view.inputs.bundle.rehearsal || facts.own.rehearsal_allowed {
        return Vec::new();
    }
    vec![Finding::error(
        "rehearsal-outside-lab",
        &host.name,
        "the bundle holds stand-ins, and this host is none of a kubewan lab",
        "set `kubernetes.bundle` to a bundle with real Kubernetes",
    )]
}

fn encryption(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let kernel = &facts.kernel;
    match view.inventory.network.backend {
        Backend::Wireguard if !kernel.wireguard => vec![Finding::error(
            "no-wireguard",
            &host.name,
            format!(
                "kernel {} has no WireGuard, so pod traffic can't be encrypted",
                kernel.release
            ),
            "use a kernel from 5.6 on, or accept that anyone on the path reads pod traffic: `network: { backend: vxlan }`",
        )],
        Backend::Vxlan if !kernel.vxlan => vec![Finding::error(
            "no-vxlan",
            &host.name,
            format!("kernel {} has no VXLAN", kernel.release),
            "use a kernel with CONFIG_VXLAN",
        )],
        Backend::Vxlan => vec![
            Finding::warning(
                "plaintext-pod-traffic",
                &host.name,
                "pod traffic crosses the Internet in plaintext (network.backend: vxlan)",
                "use `network: { backend: wireguard }` where every kernel has WireGuard",
            )
            .for_cluster(),
        ]
        .into_iter()
        .filter(|_| view.inventory.hosts[0].name == host.name)
        .collect(),
        Backend::Wireguard => Vec::new(),
    }
}

fn subnets(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    collisions(view.inventory, &host.name, facts)
}

fn firewalls(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let policy = view.inventory.firewall_of(host);
    facts
        .firewalls
        .iter()
        .filter(|firewall| firewall.active)
        .filter_map(|firewall| {
            let own_tool = matches!(firewall.tool, FirewallTool::Ufw | FirewallTool::Firewalld);
            match policy {
                Some(Firewall::Off) => None,
                Some(Firewall::Open) if own_tool => None,
                Some(Firewall::Keep) => Some(Finding::warning(
                    "host-firewall-kept",
                    &host.name,
                    format!("a firewall is active ({:?}) and is left alone", firewall.tool),
                    "make sure that the ports of `kubewan ports` are open",
                )),
                _ => Some(Finding::error(
                    "host-firewall-active",
                    &host.name,
                    format!("a firewall is active ({:?}) and the inventory does not say what to do with it", firewall.tool),
                    firewall_commands(view, host, firewall.tool),
                )),
            }
        })
        .collect()
}

/// What an operator would type to open the ports.
fn firewall_commands(view: &View, host: &Host, tool: FirewallTool) -> String {
    let ports = open_ports(view, host);
    let pods = view.inventory.network.pod_subnet;
    let commands: Vec<String> = match tool {
        FirewallTool::Ufw => ports
            .iter()
            .map(|port| format!("ufw {}", firewall::ufw_rule(port)))
            .chain([format!("ufw allow from {pods}"), format!("ufw route allow from {pods}")])
            .collect(),
        FirewallTool::Firewalld => ports
            .iter()
            .map(|port| match firewall::firewalld_rule(port) {
                (option, value) if port.from.is_some() => {
                    format!("firewall-cmd --permanent --{option}='{value}'")
                }
                (option, value) => format!("firewall-cmd --permanent --{option}={value}"),
            })
            .chain([
                format!("firewall-cmd --permanent --zone=trusted --add-source={pods}"),
                "firewall-cmd --reload".to_owned(),
            ])
            .collect(),
        FirewallTool::IptablesPersistent => ports
            .iter()
            .map(|port| {
                let (range, protocol) = port.port.split_once('/').unwrap_or((&port.port, "tcp"));
                let from = port.from.map(|from| format!("-s {from} ")).unwrap_or_default();
                let range = range.replace('-', ":");
                format!("iptables -I INPUT {from}-p {protocol} --dport {range} -j ACCEPT")
            })
            .chain([
                format!("iptables -I FORWARD -s {pods} -j ACCEPT"),
                "netfilter-persistent save".to_owned(),
            ])
            .collect(),
        FirewallTool::Nftables => ports
            .iter()
            .map(|port| {
                let (range, protocol) = port.port.split_once('/').unwrap_or((&port.port, "tcp"));
                let from = port.from.map(|from| format!("ip saddr {from} ")).unwrap_or_default();
                format!(
                    "add to the input chain of /etc/nftables.conf: {from}{protocol} dport {range} accept"
                )
            })
            .collect(),
    };
    let choices = match tool {
        FirewallTool::Ufw | FirewallTool::Firewalld => {
            "`firewall: open` (kubewan runs these) or `firewall: off`"
        }
        _ => "`firewall: keep` (after you ran these) or `firewall: off`",
    };
    format!("say {choices} in the inventory; by hand it would be:\n{}", commands.join("\n"))
}

fn foreign_cluster(_: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if facts.kubernetes.state != ClusterState::Foreign {
        return Vec::new();
    }
    let server = facts.kubernetes.api_server.as_deref().unwrap_or("an unknown API server");
    vec![Finding::error(
        "foreign-cluster",
        &host.name,
        format!("a Kubernetes that kubewan did not make is here (its API server: {server})"),
        "if nobody needs it: `kubeadm reset`, then run kubewan again",
    )]
}

fn other_cluster(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let name = &view.inventory.name;
    let Some(other) = facts.own.cluster.as_ref().filter(|other| *other != name) else {
        return Vec::new();
    };
    vec![Finding::error(
        "other-cluster",
        &host.name,
        format!("belongs to the cluster {other}, not to {name}"),
        format!("give it back first: `kubewan reset` with the inventory of {other}"),
    )]
}

fn private_address(view: &View, host: &Host, _: &Facts) -> Vec<Finding> {
    let (NetworkMode::Public, Some(address)) = (view.inventory.network.mode, host.private_address)
    else {
        return Vec::new();
    };
    vec![Finding::warning(
        "private-address-unused",
        &host.name,
        format!("`privateAddress: {address}` has no effect in network.mode public yet"),
        "leave it out; nodes find each other by their public addresses",
    )]
}

fn other_binaries(_: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let others = &facts.kubernetes.other_binaries;
    if others.is_empty() {
        return Vec::new();
    }
    vec![Finding::warning(
        "other-kubernetes-programs",
        &host.name,
        format!("{} would be found beside kubewan's in /usr/local/bin", others.join(", ")),
        "remove the packages that brought them, so that everyone uses one version",
    )]
}

fn ports_in_use(_: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if facts.kubernetes.state != ClusterState::None {
        return Vec::new();
    }
    let mut wanted = vec![10250];
    if host.is_control_plane() {
        wanted.extend([6443, 2379, 2380, 10257, 10259]);
    }
    facts
        .listeners
        .iter()
        .filter(|listener| listener.protocol == "tcp" && wanted.contains(&listener.port))
        .map(|listener| {
            let who =
                if listener.process.is_empty() { "another program" } else { &listener.process };
            Finding::error(
                "port-in-use",
                &host.name,
                format!("port {} is taken by {who}, Kubernetes needs it", listener.port),
                format!("stop {who}, or give it another port"),
            )
        })
        .collect()
}

fn resources(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let ignored = |name: &str| {
        view.inventory
            .kubernetes
            .kubeadm
            .ignore_preflight_errors
            .iter()
            .any(|i| i == name || i == "all")
    };
    let mut findings = Vec::new();
    if host.is_control_plane() && facts.cores < CONTROL_PLANE_CORES && !ignored("NumCPU") {
        findings.push(Finding::error(
            "too-few-cores",
            &host.name,
            format!("{} core; kubeadm asks for {CONTROL_PLANE_CORES} on a control plane", facts.cores),
            "take a larger server, or accept it: `kubernetes: { kubeadm: { ignorePreflightErrors: [NumCPU] } }`",
        ));
    }
    if host.is_control_plane() && facts.memory_bytes < CONTROL_PLANE_MEMORY_BYTES && !ignored("Mem")
    {
        findings.push(Finding::error(
            "too-little-memory",
            &host.name,
            format!("{} MiB of memory; kubeadm asks for 1700 on a control plane", facts.memory_bytes >> 20),
            "take a larger server, or accept it: `kubernetes: { kubeadm: { ignorePreflightErrors: [Mem] } }`",
        ));
    }
    if facts.kubernetes.state == ClusterState::None && facts.disk_free_bytes < DISK_FREE_BYTES {
        findings.push(Finding::error(
            "disk-full",
            &host.name,
            format!(
                "{} MiB free below /var/lib; images and programs need 4096",
                facts.disk_free_bytes >> 20
            ),
            "free some space, or mount a larger disk at /var/lib",
        ));
    }
    findings
}

fn clock(view: &View, host: &Host, _: &Facts) -> Vec<Finding> {
    let offset = view.inputs.clock_offsets_ms.get(&host.name).copied().unwrap_or_default();
    let message = format!("its clock is {offset} ms off the operator's");
    let remedy = "let a time service run and step the clock, as `timedatectl set-ntp true`";
    match offset.abs() {
        CLOCK_OFFSET_ERROR_MS.. => vec![Finding::error("clock-off", &host.name, message, remedy)],
        CLOCK_OFFSET_WARNING_MS.. => {
            vec![Finding::warning("clock-off", &host.name, message, remedy)]
        }
        _ => Vec::new(),
    }
}

/// The kubelet refuses cgroup v1 from 1.35 on unless `failCgroupV1` is false (KEP-5573).
fn cgroups(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let kubernetes = &view.inventory.kubernetes;
    let minor = view.inventory.release().minor;
    let accepted = kubernetes.kubelet.get("failCgroupV1") == Some(&serde_json::Value::Bool(false));
    if facts.cgroup == CgroupVersion::V2 || minor < 35 || accepted {
        return Vec::new();
    }
    vec![Finding::error(
        "cgroup-v1",
        &host.name,
        format!("uses cgroup v1, which the kubelet of {} refuses", kubernetes.version),
        "boot with `systemd.unified_cgroup_hierarchy=1`, or accept it for now: `kubernetes: { kubelet: { failCgroupV1: false }, kubeadm: { ignorePreflightErrors: [SystemVerification] } }`",
    )]
}

/// machine-id and product_uuid tell nodes apart (kubernetes.io, "Installing kubeadm").
fn uniqueness(view: &View) -> Vec<Finding> {
    let mut findings = Vec::new();
    type Field = fn(&Facts) -> &str;
    let fields: [(&str, Field, &str); 2] = [
        (
            "machine-id",
            |f| &f.machine_id,
            "give each host its own: `rm /etc/machine-id && systemd-machine-id-setup`",
        ),
        (
            "product_uuid",
            |f| &f.product_uuid,
            "have the provider give each machine its own UUID; two clones of one image share it",
        ),
    ];
    for (name, field, remedy) in fields {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for host in &view.inventory.hosts {
            let Some(value) = view.facts.get(&host.name).map(field).filter(|v| !v.is_empty())
            else {
                continue;
            };
            if let Some(first) = seen.insert(value, &host.name) {
                let message = format!("has the same {name} as {first} ({value})");
                findings.push(Finding::error("identity-not-unique", &host.name, message, remedy));
            }
        }
    }
    findings
}
