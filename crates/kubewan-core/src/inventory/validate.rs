//! What an inventory means: names, versions, subnets, roles, and which settings are kubewan's own. Works on the
//! tree, so that a file with a misspelled key still shows every other error. Values of the
//! wrong kind are passed over here: [`super::shape`] has reported them.

use super::error::{Code, Report, quoted};
use super::names;
use super::tree::Node;
use super::{accept, hosts, registries, reserved, subnets};
use crate::versions::{RELEASES, Version};

/// Notes everything that contradicts itself, Kubernetes or this release of kubewan.
pub(super) fn check(report: &mut Report<'_>, root: &Node) {
    cluster_name(report, root);
    if let Some(kubernetes) = root.get("kubernetes") {
        version(report, kubernetes);
        image_repository(report, kubernetes);
        not_empty(report, kubernetes, "bundle", "kubernetes.bundle");
        bundle_for_nothing(report, root, kubernetes);
    }
    if let Some(mirrors) = root.get("mirrors") {
        mirror_urls(report, mirrors);
    }
    if let Some(runtime) = root.get("runtime") {
        docker(report, runtime);
    }
    if let Some(node) = root.get("network").and_then(|network| network.get("dnsDomain"))
        && let Some(domain) = node.text()
        && let Err(reason) = names::dns_subdomain(domain)
    {
        let message = format!("`network.dnsDomain` cannot be {}: {reason}", quoted(domain));
        let help = "a DNS domain in lower case, as cluster.local";
        report.push(Code::BadName, node.span, "network.dnsDomain", message, help);
    }
    if let Some(adopt) = root.get("adopt") {
        adopted(report, adopt);
    }
    registries::check(report, root);
    reserved::check(report, root);
    accept::check(report, root, "accept");
    let subnets = subnets::check(report, root);
    hosts::check(report, root, &subnets);
}

/// The name becomes part of the API's host name.
fn cluster_name(report: &mut Report<'_>, root: &Node) {
    let Some(node) = root.get("name") else { return };
    let Some(name) = node.text() else { return };
    if let Err(reason) = names::dns_label(name) {
        let message = format!("`name` cannot be {}: {reason}", quoted(name));
        let help = "a DNS label: 1 to 63 of a-z, 0-9 and `-`, as home";
        report.push(Code::BadName, node.span, "name", message, help);
    }
}

/// The mark of a cluster that is taken over.
fn adopted(report: &mut Report<'_>, adopt: &Node) {
    if let Some(node) = adopt.get("ca")
        && let Some(text) = node.text()
        && !is_pin(text)
    {
        let message = format!("`adopt.ca` cannot be {}", quoted(text));
        let help = "the pin of the cluster's authority: sha256: and 64 digits of 0-9 and a-f, as `kubewan adopt` writes it";
        report.push(Code::BadValue, node.span, "adopt.ca", message, help);
    }
    if let Some(node) = adopt.get("endpoint")
        && let Some(text) = node.text()
    {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let is_host = host.parse::<std::net::Ipv4Addr>().is_ok()
            || names::dns_subdomain(&host.to_ascii_lowercase()).is_ok();
        if !is_host || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            let message = format!("`adopt.endpoint` cannot be {}", quoted(text));
            let help = "an address or a DNS name and a port, as 198.51.100.10:6443";
            report.push(Code::BadValue, node.span, "adopt.endpoint", message, help);
        }
    }
}

fn is_pin(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|sum| sum.len() == 64 && sum.chars().all(hex))
}

fn version(report: &mut Report<'_>, kubernetes: &Node) {
    let Some(node) = kubernetes.get("version") else { return };
    let Some(text) = node.text() else { return };
    let path = "kubernetes.version";
    let Ok(version) = text.parse::<Version>() else {
        let message = format!("{} is not a version of Kubernetes", quoted(text));
        let plain = text.strip_prefix('v').filter(|plain| plain.parse::<Version>().is_ok());
        let help = match plain {
            Some(plain) => format!("write it without `v`: \"{plain}\""),
            None => "MAJOR.MINOR.PATCH, as \"1.36.2\"".to_owned(),
        };
        report.push(Code::BadVersion, node.span, path, message, &help);
        return;
    };
    if version.release().is_none() {
        let message = format!("this kubewan does not know Kubernetes {version}");
        let minors = RELEASES.first().zip(RELEASES.last());
        let help = minors.map_or(String::new(), |(first, last)| {
            format!("it knows 1.{} to 1.{}", first.minor, last.minor)
        });
        report.push(Code::UnknownVersion, node.span, path, message, &help);
    }
}

/// `host[:port][/path]` in lower case (the reference grammar of
/// `github.com/distribution/reference/regexp.go`, without tag and digest).
fn image_repository(report: &mut Report<'_>, kubernetes: &Node) {
    let Some(node) = kubernetes.get("imageRepository") else { return };
    let Some(text) = node.text() else { return };
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
    let (name, port) = host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
    let path_is_one = path.is_none_or(|path| {
        path.split('/').all(|part| !part.is_empty() && part.chars().all(allowed))
    });
    let port_is_one = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if names::dns_subdomain(&name.to_ascii_lowercase()).is_err() || !port_is_one || !path_is_one {
        let message = format!("`kubernetes.imageRepository` cannot be {}", quoted(text));
        let help = "a registry and path without scheme and tag, as registry.example.org:5000/k8s";
        report.push(Code::BadValue, node.span, "kubernetes.imageRepository", message, help);
    }
}

/// A bundle that is named and not used, or asked for and not named.
fn bundle_for_nothing(report: &mut Report<'_>, root: &Node, kubernetes: &Node) {
    let source = kubernetes.get("source").and_then(Node::text);
    let bundle = kubernetes.get("bundle");
    if let (Some(node), Some(source @ ("release" | "packages"))) = (bundle, source) {
        let message = format!("`kubernetes.bundle` is not used with `kubernetes.source: {source}`");
        let help = "take one of the two out";
        report.push(Code::BadValue, node.span, "kubernetes.bundle", message, help);
    }
    let runtime = root.get("runtime").and_then(|runtime| runtime.get("source"));
    let bundled = source == Some("bundle") || (source.is_none() && bundle.is_some());
    if let Some(node) = runtime.filter(|node| node.text() == Some("bundle") && !bundled) {
        let message = "`runtime.source: bundle` needs a bundle, and none is asked for".to_owned();
        let help = "say `kubernetes: { source: bundle }`, or name one with `kubernetes.bundle`";
        report.push(Code::BadValue, node.span, "runtime.source", message, help);
    }
}

/// URLs go into files of apt and containerd and to curl, so they hold nothing that has a meaning there.
fn mirror_urls(report: &mut Report<'_>, mirrors: &Node) {
    for key in ["kubernetes", "packages", "docker", "github"] {
        if let Some(node) = mirrors.get(key) {
            url(report, node, &format!("mirrors.{key}"));
        }
    }
    let images = mirrors.get("images").map(Node::entries).unwrap_or_default();
    for entry in images {
        let path = format!("mirrors.images.{}", entry.key);
        url(report, &entry.value, &path);
        if !is_registry(&entry.key) {
            let message = format!("{} is no registry's name", quoted(&entry.key));
            let help = "as images have it: registry.k8s.io, docker.io or registry.example.org:5000";
            report.push(Code::BadValue, entry.key_span, &path, message, help);
        }
    }
}

/// Notes what is no URL of a server.
pub(super) fn url(report: &mut Report<'_>, node: &Node, path: &str) {
    let Some(text) = node.text() else { return };
    let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.-_~:+%".contains(c);
    if !is_registry(host) || !text.chars().all(plain) {
        let message = format!("`{path}` cannot be {}", quoted(text));
        let help = "a URL without user and query, as https://mirror.example.org/kubernetes";
        report.push(Code::BadValue, node.span, path, message, help);
    }
}

/// Docker comes as packages: of its archives nobody publishes checksums. Settings of the runtime that is not taken would do
/// nothing.
fn docker(report: &mut Report<'_>, runtime: &Node) {
    let is_docker = runtime.get("kind").and_then(Node::text) == Some("docker");
    if let Some(source) = runtime.get("source").filter(|node| node.text() == Some("release"))
        && is_docker
    {
        let message =
            "`runtime.source: release` has no Docker: there are no checksums of its archives";
        let help = "say `distribution`, `docker` or `bundle`";
        report.push(Code::BadValue, source.span, "runtime.source", message.into(), help);
    }
    let (unused, kind) =
        if is_docker { ("containerd", "docker") } else { ("docker", "containerd") };
    if let Some(settings) = runtime.entry(unused)
        && !settings.value.entries().is_empty()
    {
        let path = format!("runtime.{unused}");
        let message = format!("`{path}` does nothing where the runtime is {kind}");
        let help = "take it out, or say the other `runtime.kind`";
        report.push(Code::BadValue, settings.key_span, &path, message, help);
    }
}

/// `host[:port]`.
pub(super) fn is_registry(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    names::dns_subdomain(&name.to_ascii_lowercase()).is_ok()
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Notes a key whose text is empty.
pub(super) fn not_empty(report: &mut Report<'_>, parent: &Node, key: &str, path: &str) {
    if let Some(node) = parent.get(key)
        && node.text() == Some("")
    {
        let message = format!("`{path}` is empty");
        report.push(
            Code::BadValue,
            node.span,
            path,
            message,
            "give it a value, or take the key out",
        );
    }
}
