//! The list of hosts: names, addresses, roles, labels, taints, and how to log in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;

use super::accept;
use super::error::{Code, Report, Span, quoted};
use super::host_key;
use super::names::{self, Address};
use super::subnets::Subnets;
use super::tree::Node;
use super::validate::not_empty;
use crate::versions::{RELEASES, Release, Version, arguments};

/// Checks every host by itself, then what must differ between hosts, then the roles of all.
pub(super) fn check(report: &mut Report<'_>, root: &Node, subnets: &Subnets) {
    let Some(entry) = root.entry("hosts") else { return };
    let hosts = entry.value.items();
    if matches!(&entry.value.value, super::tree::Value::List(items) if items.is_empty()) {
        let help = "a cluster has at least one host, with the role control-plane";
        report.push(Code::NoHosts, entry.value.span, "hosts", "`hosts` is empty".into(), help);
        return;
    }
    let release = release(root);
    let mut seen = Seen::default();
    for (index, host) in hosts.iter().enumerate() {
        let path = format!("hosts[{index}]");
        name(report, host, &path, &mut seen);
        address(report, host, &path, subnets, &mut seen);
        private_address(report, host, &path, subnets);
        if let Some(ssh) = host.get("ssh") {
            login(report, ssh, &format!("{path}.ssh"), &mut seen);
        }
        labels(report, host, &path);
        taints(report, host, &path, release);
        kubelet_args(report, host, &path, release);
        accept::check(report, host, &format!("{path}.accept"));
    }
    let version = root.get("kubernetes").and_then(|node| node.get("version")).and_then(Node::text);
    roles(report, hosts, entry.key_span, version);
}

/// What the version that is asked for needs; `None` where it is none that is known, which is an error of its own.
fn release(root: &Node) -> Option<&'static Release> {
    let text = root.get("kubernetes")?.get("version")?.text()?;
    text.parse().ok().and_then(Version::release)
}

/// What must be unique, with the line it was first given on.
#[derive(Default)]
struct Seen {
    names: BTreeMap<String, usize>,
    addresses: BTreeMap<String, usize>,
    host_keys: BTreeMap<String, usize>,
}

/// The line on which a value was given before.
fn before(seen: &mut BTreeMap<String, usize>, value: String, at: Span) -> Option<usize> {
    match seen.entry(value) {
        Entry::Occupied(first) => Some(*first.get()),
        Entry::Vacant(vacant) => {
            vacant.insert(at.line);
            None
        }
    }
}

/// A node's name is a DNS-1123 subdomain (kubeadm's `validation.go`, `nodeRegistration.name`) and, as the value of
/// the label kubernetes.io/hostname, at most 63 characters.
fn name(report: &mut Report<'_>, host: &Node, path: &str, seen: &mut Seen) {
    let Some(node) = host.get("name") else { return };
    let Some(text) = node.text() else { return };
    let path = format!("{path}.name");
    let length = text.len();
    let too_long = || Err(format!("it has {length} characters, 63 are allowed"));
    let checked = if length > 63 { too_long() } else { names::dns_subdomain(text) };
    if let Err(reason) = checked {
        let message = format!("a host cannot be named {}: {reason}", quoted(text));
        let help = "a DNS name in lower case: a-z, 0-9, `-` and `.`, as node01";
        report.push(Code::BadName, node.span, &path, message, help);
    }
    if let Some(line) = before(&mut seen.names, text.to_owned(), node.span) {
        let message =
            format!("a second host is named {}, the first is on line {line}", quoted(text));
        report.push(
            Code::DuplicateHost,
            node.span,
            &path,
            message,
            "a host's name is its node's name: give each its own",
        );
    }
}

fn address(report: &mut Report<'_>, host: &Node, path: &str, subnets: &Subnets, seen: &mut Seen) {
    let Some(node) = host.get("address") else { return };
    let Some(text) = node.text() else { return };
    let path = format!("{path}.address");
    let key = match names::address(text) {
        Ok(Address::Ip(ip)) => {
            usable(report, ip, node.span, &path, subnets);
            ip.to_string()
        }
        Ok(Address::Name(name)) => name,
        Err((reason, help)) => {
            let message = format!("{} is not an address: {reason}", quoted(text));
            report.push(Code::BadAddress, node.span, &path, message, &help);
            return;
        }
    };
    if let Some(line) = before(&mut seen.addresses, key, node.span) {
        let message = format!("{} is the address of the host on line {line} as well", quoted(text));
        let help = "in `network.mode: public` nodes are known by their public addresses, so each needs its own; \
                    several hosts behind one address need a network mode that comes later";
        report.push(Code::DuplicateAddress, node.span, &path, message, help);
    }
}

fn private_address(report: &mut Report<'_>, host: &Node, path: &str, subnets: &Subnets) {
    let Some(node) = host.get("privateAddress") else { return };
    let Some(text) = node.text() else { return };
    let path = format!("{path}.privateAddress");
    match text.parse::<Ipv4Addr>() {
        Ok(ip) => usable(report, ip, node.span, &path, subnets),
        Err(_) => {
            let message = format!("{} is not an IPv4 address", quoted(text));
            let help = "the address on the host's own network card, as 192.168.1.10";
            report.push(Code::BadAddress, node.span, &path, message, help);
        }
    }
}

fn usable(report: &mut Report<'_>, ip: Ipv4Addr, at: Span, path: &str, subnets: &Subnets) {
    if let Some(reason) = names::unusable(ip) {
        let message = format!("no other host can reach `{ip}`: it is {reason}");
        let help = "the address by which the other hosts reach this one";
        report.push(Code::UnusableAddress, at, path, message, help);
    } else if let Some((name, subnet)) = subnets.holding(ip) {
        let message = format!("`{ip}` lies inside `{name}` {subnet}");
        let help = format!("give `{name}` a range that no host uses");
        report.push(Code::SubnetOverlap, at, path, message, &help);
    }
}

/// What ssh gets on its command line must not look like an option (as in CVE-2017-1000117) or hold blanks.
fn login(report: &mut Report<'_>, ssh: &Node, path: &str, seen: &mut Seen) {
    for key in ["host", "user", "key"] {
        let Some(node) = ssh.get(key) else { continue };
        let Some(text) = node.text() else { continue };
        let path = format!("{path}.{key}");
        not_empty(report, ssh, key, &path);
        let blank = key != "key" && text.contains(' ');
        if text.starts_with('-') || blank {
            let what = if blank { "holds a blank" } else { "starts with `-`" };
            let message = format!("{} cannot be given to ssh: it {what}", quoted(text));
            report.push(Code::BadSsh, node.span, &path, message, "");
        }
    }
    let Some(node) = ssh.get("hostKey") else { return };
    let Some(text) = node.text() else { return };
    let path = format!("{path}.hostKey");
    match host_key::parse(text) {
        Err(reason) => {
            let message =
                format!("`{path}` is neither an SSH public key nor its fingerprint: {reason}");
            let help = "what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows on the server, as SHA256:…, or that \
                        file's line, as \"ssh-ed25519 AAAA…\"";
            report.push(Code::BadSsh, node.span, &path, message, help);
        }
        Ok(key) => {
            if let Some(line) = before(&mut seen.host_keys, key.fingerprint(), node.span) {
                let message = format!("the host key of the host on line {line} is given again");
                let help = "every server has its own; servers cloned with their keys need new ones: \
                            `rm /etc/ssh/ssh_host_*; ssh-keygen -A`";
                report.push(Code::DuplicateHostKey, node.span, &path, message, help);
            }
        }
    }
}

/// Labels that the kubelet or kubewan set, with what to write instead.
const OWN_LABELS: &[(&str, &str)] = &[
    ("kubernetes.io/hostname", "the kubelet sets it to the host's `name`"),
    ("kubernetes.io/os", "the kubelet sets it"),
    ("kubernetes.io/arch", "the kubelet sets it"),
    ("node-role.kubernetes.io/control-plane", "it follows from `roles`"),
];

fn labels(report: &mut Report<'_>, host: &Node, path: &str) {
    let Some(labels) = host.get("labels") else { return };
    for entry in labels.entries() {
        let path = format!("{path}.labels.{}", entry.key);
        if let Err(reason) = names::qualified_name(&entry.key) {
            let message = format!("{} is not a label's name: {reason}", quoted(&entry.key));
            let help = "as example.org/disk or disk: letters, digits, `-`, `_` and `.`";
            report.push(Code::BadLabel, entry.key_span, &path, message, help);
        }
        if let Some(value) = entry.value.text()
            && let Err(reason) = names::label_value(value)
        {
            let message = format!("{} is not a label's value: {reason}", quoted(value));
            let help = "at most 63 letters, digits, `-`, `_` and `.`, or nothing";
            report.push(Code::BadLabel, entry.value.span, &path, message, help);
        }
        if let Some((_, instead)) = OWN_LABELS.iter().find(|(name, _)| *name == entry.key) {
            let message = format!("the label `{}` is not set by hand", entry.key);
            report.push(Code::ReservedSetting, entry.key_span, &path, message, instead);
        }
    }
}

/// The rules of `validateNodeTaints` in `k8s.io/kubernetes/pkg/apis/core/validation/validation.go`.
fn taints(report: &mut Report<'_>, host: &Node, path: &str, release: Option<&Release>) {
    let newest = RELEASES.last();
    let of_role = release.or(newest).map_or(&[][..], |release| release.role_taints);
    let Some(taints) = host.get("taints") else { return };
    let mut seen = Vec::new();
    for (index, taint) in taints.items().iter().enumerate() {
        let path = format!("{path}.taints[{index}]");
        if let Some(node) = taint.get("value")
            && let Some(value) = node.text()
            && let Err(reason) = names::label_value(value)
        {
            let message = format!("{} is not a taint's value: {reason}", quoted(value));
            report.push(Code::BadTaint, node.span, &format!("{path}.value"), message, "");
        }
        let Some(node) = taint.get("key") else { continue };
        let Some(key) = node.text() else { continue };
        let path = format!("{path}.key");
        if let Err(reason) = names::qualified_name(key) {
            let message = format!("{} is not a taint's key: {reason}", quoted(key));
            let help = "as example.org/dedicated: letters, digits, `-`, `_` and `.`";
            report.push(Code::BadTaint, node.span, &path, message, help);
        }
        if of_role.contains(&key) {
            let message = format!("the taint `{key}` is not set by hand");
            let help = "a control plane without the role worker has it";
            report.push(Code::ReservedSetting, node.span, &path, message, help);
        }
        let identity = (key, taint.get("effect").and_then(Node::text));
        if seen.contains(&identity) {
            let message = format!("{} has this effect already", quoted(key));
            let help = "one taint for each key and effect";
            report.push(Code::Duplicate, node.span, &path, message, help);
        }
        seen.push(identity);
    }
}

/// The kubelet's arguments that kubewan writes, with what to write instead.
const OWN_KUBELET_ARGS: &[(&str, &str)] = &[
    ("node-ip", "it is the host's `address`"),
    ("hostname-override", "it is the host's `name`"),
    ("config", "kubeadm sets it; settings go into `kubernetes.kubelet`"),
    ("kubeconfig", "kubeadm sets it"),
    ("bootstrap-kubeconfig", "kubeadm sets it"),
    ("cgroup-driver", "it is systemd, as the container runtime's"),
    ("container-runtime-endpoint", "it follows from `runtime.kind`"),
    ("pod-infra-container-image", "it follows from `kubernetes.version`"),
    ("node-labels", "use the host's `labels`"),
    ("register-with-taints", "use the host's `taints`"),
];

fn kubelet_args(report: &mut Report<'_>, host: &Node, path: &str, release: Option<&Release>) {
    let Some(args) = host.get("kubeletArgs") else { return };
    for entry in args.entries() {
        let path = format!("{path}.kubeletArgs.{}", entry.key);
        let bare = entry.key.trim_start_matches('-');
        if let Some((_, instead)) = OWN_KUBELET_ARGS.iter().find(|(name, _)| *name == bare) {
            let message = format!("kubewan sets the kubelet's `--{bare}` itself");
            report.push(Code::ReservedSetting, entry.key_span, &path, message, instead);
            continue;
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if bare != entry.key || bare.is_empty() || !bare.chars().all(allowed) {
            let message = format!("{} is not the name of an argument", quoted(&entry.key));
            let help = "the name without dashes before it and without value, as max-pods";
            report.push(Code::BadValue, entry.key_span, &path, message, help);
        }
        let minor = release.map(|release| release.minor);
        if let Some((minor, unknown)) = minor.zip(minor.and_then(|m| arguments::unknown(bare, m))) {
            let since = match unknown.gone.filter(|gone| minor >= *gone) {
                Some(gone) => format!("it went with 1.{gone}"),
                None => format!("it came with 1.{}", unknown.came.unwrap_or_default()),
            };
            let message =
                format!("the kubelet of 1.{minor} has no `--{bare}` and would not start: {since}");
            report.push(Code::UnknownArgument, entry.key_span, &path, message, unknown.instead);
        }
    }
}

fn roles(report: &mut Report<'_>, hosts: &[Node], hosts_at: Span, version: Option<&str>) {
    let mut control_planes = Vec::new();
    let mut all_known = true;
    for (index, host) in hosts.iter().enumerate() {
        let path = format!("hosts[{index}].roles");
        let Some(node) = host.get("roles") else {
            all_known = false;
            continue;
        };
        let mut seen = Vec::new();
        for role in node.items() {
            match role.text() {
                Some(text) if seen.contains(&text) => {
                    let message = format!("the role {} is given twice", quoted(text));
                    report.push(Code::Duplicate, role.span, &path, message, "remove one");
                }
                Some("control-plane") => control_planes.push((role.span, path.clone())),
                Some("worker") => {}
                _ => all_known = false,
            }
            seen.extend(role.text());
        }
        if matches!(&node.value, super::tree::Value::List(items) if items.is_empty()) {
            let message = format!("`{path}` is empty");
            let help = "control-plane, worker, or both";
            report.push(Code::NoRoles, node.span, &path, message, help);
        }
        all_known &= matches!(node.value, super::tree::Value::List(_));
    }
    if control_planes.is_empty() && all_known {
        let message = "no host has the role control-plane".to_owned();
        let help = "give it to the host that runs the API server: `roles: [control-plane, worker]`";
        report.push(Code::NoControlPlane, hosts_at, "hosts", message, help);
    }
    number_of_control_planes(report, &control_planes);
    old_for_control_planes(report, &control_planes, version);
}

/// etcd's own advice: "an etcd cluster probably should have no more than seven nodes" (etcd's FAQ, "What is maximum
/// cluster size?"): every write waits for more than half of them.
const CONTROL_PLANES_MAX: usize = 7;

/// Every control plane runs a voter of etcd, which needs more than half of its voters (etcd's FAQ, "Why an odd number
/// of cluster members?").
fn number_of_control_planes(report: &mut Report<'_>, control_planes: &[(Span, String)]) {
    let count = control_planes.len();
    let Some((at, path)) = control_planes.get(1..).and_then(|others| others.last()) else { return };
    if count.is_multiple_of(2) {
        let message = format!("{count} control planes make {count} etcd voters, an even number");
        let help = "one voter less survives as many failures: use one, three or five";
        report.push(Code::EtcdVoters, *at, path, message, help);
    } else if count > CONTROL_PLANES_MAX {
        let message = format!("{count} control planes are more than {CONTROL_PLANES_MAX}");
        let help = "every write waits for more than half of etcd's voters: use three or five, and make the others workers";
        report.push(Code::TooManyControlPlanes, *at, path, message, help);
    }
}

/// Before, a host that is lost while it joins leaves etcd without the half that it needs, or can't join again.
fn old_for_control_planes(
    report: &mut Report<'_>,
    control_planes: &[(Span, String)],
    version: Option<&str>,
) {
    let Some((at, path)) = control_planes.get(1..).and_then(|others| others.last()) else { return };
    let Some(version) = version.and_then(|text| text.parse::<Version>().ok()) else { return };
    // Of a version that kubewan does not know, that has been said.
    if version.release().is_none() || version.joins_control_planes() {
        return;
    }
    let message = format!("control planes of Kubernetes {version} can't join one another safely");
    let help = format!(
        "its kubeadm makes a host a voter of etcd before it is one: use {}, or one control plane",
        Version::that_join_control_planes()
    );
    report.push(Code::OldForControlPlanes, *at, path, message, &help);
}
