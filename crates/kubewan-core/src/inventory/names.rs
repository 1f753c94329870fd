//! Which names DNS and Kubernetes allow. The Kubernetes rules are those of
//! `k8s.io/apimachinery/pkg/util/validation/validation.go`; each function names its own there.

use std::net::Ipv4Addr;

use super::error::quoted;

/// Why a text is not a DNS-1123 label (`IsDNS1123Label`; RFC 1123 §2.1).
pub(super) fn dns_label(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() > 63 {
        return Err(format!("it has {} characters, 63 are allowed", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
        return Err(format!("it holds {}", quoted(&bad.to_string())));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("it starts or ends with `-`".into());
    }
    Ok(())
}

/// Why a text is not a DNS-1123 subdomain (`IsDNS1123Subdomain`).
pub(super) fn dns_subdomain(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err(format!("it has {} characters, 253 are allowed", text.len()));
    }
    for label in text.split('.') {
        dns_label(label).map_err(|reason| match label {
            _ if label == text => reason,
            "" => "two dots follow each other, or it starts or ends with one".to_owned(),
            _ => format!("in `{label}`: {reason}"),
        })?;
    }
    Ok(())
}

/// An address as others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// An IPv4 address.
    Ip(Ipv4Addr),
    /// A DNS name, in lower case.
    Name(String),
}

/// Reads an IPv4 address or a DNS name. The error is a reason and what to write instead.
pub(super) fn address(text: &str) -> Result<Address, (String, String)> {
    let example = "an IPv4 address or a DNS name, as 203.0.113.10 or vps.example.org".to_owned();
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Address::Ip(ip));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err((
            "it is an IPv6 address".into(),
            "IPv6 comes later: give its IPv4 address".into(),
        ));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        let reason = format!("it is a URL, {}", quoted(&format!("{scheme}://")));
        return Err((reason, "give the address alone".into()));
    }
    if text.contains('@') {
        return Err(("it holds a login name".into(), "the login name goes into `ssh.user`".into()));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !host.is_empty()
        && port.parse::<u16>().is_ok()
    {
        return Err(("it holds a port".into(), format!("the port goes into `ssh.port: {port}`")));
    }
    // RFC 1123 §2.1: the last label of a name is alphabetic, so that dotted numbers are addresses.
    let last = text.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        let reason = "it looks like an IPv4 address and is none".to_owned();
        return Err((reason, "four numbers from 0 to 255, without leading zeros".into()));
    }
    let name = text.to_ascii_lowercase();
    dns_subdomain(&name).map_err(|reason| (reason, example))?;
    Ok(Address::Name(name))
}

/// Why no other host can reach an address; the ranges are those of RFC 6890. Private addresses and
/// TEST-NET are allowed: laboratories and single networks use them.
pub(super) fn unusable(ip: Ipv4Addr) -> Option<&'static str> {
    let first = ip.octets()[0];
    match () {
        () if ip.is_unspecified() => Some("the unspecified address"),
        () if first == 0 => Some("in 0.0.0.0/8, \"this network\""),
        () if ip.is_loopback() => Some("a loopback address"),
        () if ip.is_link_local() => Some("a link-local address"),
        () if ip.is_multicast() => Some("a multicast address"),
        () if ip.is_broadcast() => Some("the broadcast address"),
        () if first >= 240 => Some("in 240.0.0.0/4, reserved"),
        () => None,
    }
}

/// Why a text is not a qualified name: `[prefix/]name` (`IsQualifiedName`).
pub(super) fn qualified_name(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            if name.contains('/') {
                return Err("it holds more than one `/`".into());
            }
            if prefix.is_empty() {
                return Err("nothing stands before its `/`".into());
            }
            dns_subdomain(prefix).map_err(|reason| format!("before its `/`: {reason}"))?;
            name
        }
        None => text,
    };
    if name.is_empty() {
        return Err("its name part is empty".into());
    }
    value_characters(name)
}

/// Why a text is not a label's value (`IsValidLabelValue`); an empty one is allowed.
pub(super) fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { value_characters(text) }
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`, at most 63 characters.
fn value_characters(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > 63 {
        return Err(format!("it has {} characters, 63 are allowed", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
        return Err(format!("it holds {}", quoted(&bad.to_string())));
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(text.chars().next()) || !edge(text.chars().next_back()) {
        return Err("it must start and end with a letter or digit".into());
    }
    Ok(())
}
