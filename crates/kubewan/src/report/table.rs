//! Tables, without lines: they can be read, cut and compared.

use std::borrow::Cow;

use kubewan_core::inventory::Role;
use kubewan_core::inventory::draft::DraftHost;
use kubewan_core::network::ports::{Port, Source};
use kubewan_core::token::Listed;

use super::catalogue::localized;
use super::style::{BAD, FAINT, GOOD, HEAD, padded, styled, width};
use crate::commands::status::{HostStatus, Status};

/// Spaces between two columns.
const GAP: usize = 2;

/// A table with a head, as text.
pub fn text(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| styled(HEAD, cell)).collect();
    let widest = |column: usize| {
        let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(widest).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &padded(cell, width + GAP);
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The nodes table.
pub fn status(status: &Status, wide: bool) -> String {
    let mut head = vec!["HOST", "ADDRESS", "ROLES", "NODE", "VERSION", "INTERNAL-IP"];
    if wide {
        head.extend(["OS", "KERNEL", "RUNTIME", "PUBLIC ADDRESS ON", "CLOCK", "POD CIDR"]);
    }
    let rows: Vec<Vec<String>> = status.hosts.iter().map(|host| row(host, wide)).collect();
    text(&head, &rows)
}

fn state(host: &HostStatus) -> String {
    let style = match host.state() {
        "Ready" => GOOD,
        "no node" => FAINT,
        _ => BAD,
    };
    styled(style, host.state())
}

fn row(host: &HostStatus, wide: bool) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let mut row = vec![
        host.name.clone(),
        host.address.clone(),
        host.roles.join(","),
        state(host),
        or_none(&host.version),
        or_none(&host.internal_ip),
    ];
    if wide {
        row.extend([
            or_none(&host.os),
            or_none(&host.kernel),
            or_none(&host.runtime),
            or_none(&host.address_on),
            host.clock_offset_ms.map_or("-".into(), |ms| format!("{ms:+} ms")),
            or_none(&host.pod_cidr),
        ]);
    }
    row
}

/// What must be reachable.
pub fn ports(ports: &[Port]) -> String {
    let rows: Vec<Vec<String>> = ports
        .iter()
        .map(|port| {
            let from: Vec<Cow<str>> = port.from.iter().map(source).collect();
            vec![
                port.host.clone(),
                port.notation(),
                from.join(", "),
                localized(&port.why).into_owned(),
            ]
        })
        .collect();
    text(&["HOST", "PORT", "FROM", "WHY"], &rows)
}

/// The hosts of an inventory that was written, each with what was seen of it.
pub fn drafted<'a>(hosts: impl Iterator<Item = (&'a DraftHost, String)>) -> String {
    let role = |role: &Role| match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    };
    let row = |(host, seen): (&DraftHost, String)| {
        let roles: Vec<&str> = host.roles.iter().map(role).collect();
        // Whoever set up the host has named its system.
        let seen = seen.chars().filter(|c| !c.is_control()).collect();
        vec![host.name.clone(), host.address.clone(), roles.join(","), seen]
    };
    let rows: Vec<Vec<String>> = hosts.map(row).collect();
    text(&["HOST", "ADDRESS", "ROLES", "SEEN"], &rows)
}

/// Bootstrap tokens, without their secret halves.
pub fn tokens(tokens: &[Listed]) -> String {
    let row = |token: &Listed| {
        // Whose joins know the authority by a file need no signature.
        let found = token.signed || !token.usages.iter().any(|usage| usage == "signing");
        let state = match (token.expired, found) {
            (true, _) => styled(FAINT, "expired"),
            (false, true) => styled(GOOD, "usable"),
            (false, false) => styled(BAD, "not signed"),
        };
        let expires = token.expires.clone().unwrap_or_else(|| "never".into());
        // Whoever made it wrote it.
        let description = token.description.chars().filter(|c| !c.is_control()).collect();
        vec![token.id.clone(), state, expires, token.usages.join(","), description]
    };
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    text(&["TOKEN", "STATE", "EXPIRES", "USAGES", "DESCRIPTION"], &rows)
}

fn source(source: &Source) -> Cow<'_, str> {
    match source {
        Source::Operator => localized("you"),
        Source::Anyone => localized("anyone"),
        Source::Host(name) => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::style::plain;
    use super::*;
    use kubewan_core::network::ports::Protocol;

    #[test]
    fn ports_are_one_line_each() {
        let port = Port {
            host: "master01".into(),
            protocol: Protocol::Tcp,
            first: 6443,
            last: 6443,
            from: vec![Source::Operator, Source::Host("node01".into())],
            why: "Kubernetes API".into(),
        };
        assert_eq!(
            plain(&ports(&[port])),
            "HOST      PORT      FROM         WHY\nmaster01  6443/tcp  you, node01  Kubernetes API\n"
        );
    }
}
