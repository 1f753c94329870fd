//! An inventory that kubewan writes: what was found on hosts, as `cluster.yaml` with comments for whoever reads and edits it.
//! Names, logins and what hosts say of themselves are others' words: whatever they are, the text reads back as it was meant.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::adopt::Living;
use super::recorded::word;
use super::{Network, Role, RuntimeKind, RuntimeSource, Ssh, Taint};

/// Columns of a comment.
const WIDTH: usize = 100;

/// A `cluster.yaml` before it is text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The cluster's name.
    pub name: String,
    /// Kubernetes' version.
    pub version: String,
    /// The cluster that it describes, where one is there already.
    pub living: Option<Living>,
    /// Comments on all of it: each a paragraph.
    pub head: Vec<String>,
    /// Comments before the hosts.
    pub notes: Vec<String>,
    /// The hosts.
    pub hosts: Vec<DraftHost>,
}

/// A host of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftHost {
    /// Its name.
    pub name: String,
    /// The address that the world reaches it by.
    pub address: String,
    /// What of the login is not in the operator's own configuration of ssh.
    pub ssh: Ssh,
    /// What it does.
    pub roles: Vec<Role>,
    /// Labels of its node.
    pub labels: BTreeMap<String, String>,
    /// Taints of its node.
    pub taints: Vec<Taint>,
    /// Comments: each a paragraph.
    pub comments: Vec<String>,
}

impl Draft {
    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for paragraph in &self.head {
            comment(&mut text, "", paragraph);
        }
        let _ = writeln!(
            text,
            "name: {}\nkubernetes:\n  version: {}",
            scalar(&self.name),
            quoted(&self.version)
        );
        if let Some(living) = &self.living {
            living.text(&mut text);
        }
        text.push('\n');
        for paragraph in &self.notes {
            comment(&mut text, "", paragraph);
        }
        text += "hosts:\n";
        for host in &self.hosts {
            for paragraph in &host.comments {
                comment(&mut text, "  ", paragraph);
            }
            host.write(&mut text);
        }
        text
    }
}

impl Living {
    /// What a cluster that is there has otherwise than a new one would.
    fn text(&self, text: &mut String) {
        let mut line = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        line(format!("  source: {}", word(&self.source)));
        if let Some(repository) = &self.image_repository {
            line(format!("  imageRepository: {}", scalar(repository)));
        }
        let (kind, source) = (self.runtime.kind, self.runtime.source);
        if kind != RuntimeKind::default() || source != RuntimeSource::default() {
            line(format!("runtime:\n  kind: {}\n  source: {}", word(&kind), word(&source)));
        }
        let Network { backend, pod_subnet, service_subnet, dns_domain, .. } = &self.network;
        line(format!("network:\n  backend: {}", word(backend)));
        line(format!("  podSubnet: {pod_subnet}\n  serviceSubnet: {service_subnet}"));
        line(format!("  dnsDomain: {}", scalar(dns_domain)));
        line("# The cluster that is taken over: its authority's pin, and what its certificates are good for.".into());
        line(format!(
            "adopt:\n  ca: {}\n  endpoint: {}",
            self.adopt.ca,
            quoted(&self.adopt.endpoint)
        ));
    }
}

impl DraftHost {
    fn write(&self, text: &mut String) {
        let roles: Vec<&str> = self
            .roles
            .iter()
            .map(|role| match role {
                Role::ControlPlane => "control-plane",
                Role::Worker => "worker",
            })
            .collect();
        let _ = writeln!(
            text,
            "  - name: {}\n    address: {}\n    roles: [{}]",
            scalar(&self.name),
            scalar(&self.address),
            roles.join(", ")
        );
        let ssh = &self.ssh;
        let entries = [
            ("host", ssh.host.as_deref().map(scalar)),
            ("user", ssh.user.as_deref().map(scalar)),
            ("port", ssh.port.map(|port| port.to_string())),
            ("key", ssh.key.as_deref().map(scalar)),
            ("hostKey", ssh.host_key.as_deref().map(scalar)),
        ];
        let entries: Vec<String> = entries
            .into_iter()
            .filter_map(|(key, value)| Some(format!("      {key}: {}\n", value?)))
            .collect();
        if !entries.is_empty() {
            let _ = write!(text, "    ssh:\n{}", entries.concat());
        }
        if !self.labels.is_empty() {
            text.push_str("    labels:\n");
        }
        for (key, value) in &self.labels {
            let _ = writeln!(text, "      {}: {}", quoted(key), quoted(value));
        }
        if !self.taints.is_empty() {
            text.push_str("    taints:\n");
        }
        for taint in &self.taints {
            let value = taint.value.as_deref().map(|value| format!(", value: {}", quoted(value)));
            let (key, effect) = (quoted(&taint.key), word(&taint.effect));
            let _ = writeln!(
                text,
                "      - {{ key: {key}{}, effect: {effect} }}",
                value.unwrap_or_default()
            );
        }
    }
}

/// A paragraph as comment lines. No character of it can end a comment.
fn comment(text: &mut String, indent: &str, paragraph: &str) {
    let clean: String = paragraph.chars().map(|c| if breaks(c) { ' ' } else { c }).collect();
    let mut line = String::new();
    for word in clean.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{indent}# {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if !line.is_empty() {
        let _ = writeln!(text, "{indent}# {line}");
    }
}

/// What is no printable character of YAML, or may end a line there (YAML 1.1 and 1.2, "Character Set").
fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A text as people write it, quoted where YAML would take it for something else.
fn scalar(text: &str) -> String {
    let mut chars = text.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let is_plain = starts && chars.all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let read = serde_saphyr::from_str::<serde_json::Value>(text);
    let is_itself = read.is_ok_and(|value| value.as_str() == Some(text));
    // Which words are booleans depends on the reader: YAML 1.1 has more of them.
    let lower = text.to_ascii_lowercase();
    let is_word = matches!(
        lower.as_str(),
        "yes" | "no" | "on" | "off" | "y" | "n" | "null" | "true" | "false"
    );
    if is_plain && is_itself && !is_word { text.to_owned() } else { quoted(text) }
}

/// A double-quoted scalar of one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if breaks(c) => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A name for a host from what it calls itself, or what it was called by; `None` where neither makes a name of DNS.
pub fn host_name(said: &[&str]) -> Option<String> {
    said.iter().find_map(|text| {
        // Of a name with a domain the first part: that is what the host is called.
        let first = text.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = first.chars().map(fits).take(63).collect();
        let name = name.trim_matches('-').to_owned();
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        let is_none = name.is_empty() || matches!(name.as_str(), "localhost" | "ubuntu" | "debian");
        (!is_none && !is_address && super::names::dns_subdomain(&name).is_ok()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inventory;

    fn draft(host: DraftHost) -> Draft {
        Draft {
            name: "home".into(),
            version: "1.36.2".into(),
            hosts: vec![host],
            ..Draft::default()
        }
    }

    fn host() -> DraftHost {
        DraftHost {
            name: "node01".into(),
            address: "198.51.100.20".into(),
            roles: vec![Role::ControlPlane, Role::Worker],
            ..DraftHost::default()
        }
    }

    #[test]
    fn a_draft_is_an_inventory() {
        let ssh = Ssh {
            host: Some("vps".into()),
            user: Some("no".into()),
            port: Some(2222),
            key: Some("my keys/id".into()),
            host_key: None,
        };
        let first = DraftHost {
            ssh: ssh.clone(),
            comments: vec![format!("Debian\n- name: evil {}", "word ".repeat(40)), String::new()],
            ..host()
        };
        let mut draft = draft(first);
        draft.head = vec!["Written by kubewan init.".into()];
        draft.hosts.push(DraftHost {
            name: "1e3".into(),
            address: "192.0.2.30".into(),
            roles: vec![Role::Worker],
            ..DraftHost::default()
        });
        let text = draft.text();
        insta::assert_snapshot!(text);
        let inventory = inventory::parse("cluster.yaml", &text).unwrap();
        assert_eq!(inventory.hosts[0].ssh, ssh);
        assert_eq!(inventory.hosts[1].name, "1e3");
        assert_eq!(inventory.hosts.len(), 2);
    }

    proptest! {
        /// Whatever a login is called and a host says of itself, the file means what was found.
        #[test]
        fn whatever_hosts_say_reads_back(
            user in "[^-\\s@\\pC:/][^\\s@\\pC:/]{0,20}|[a-z][a-z0-9'\"#{}\\[\\]&*!|>%`,?]{0,12}|yes|null|0x1f|1e3|~",
            key in "[^\\s\\pC-][^\\pC]{0,30}",
            said in ".{0,200}",
            head in "\\PC{0,80}|[\\x00-\\x1f\\x7f-\\u{a0}\\u{2028}\\u{2029}\\u{feff}a-]{0,20}",
        ) {
            let ssh = Ssh { user: Some(user), key: Some(key), ..Ssh::default() };
            let mut plain = draft(DraftHost { ssh: ssh.clone(), ..host() });
            let expected = inventory::parse("plain", &plain.text());
            plain.hosts[0].comments = vec![said.clone()];
            plain.head = vec![head, said.clone()];
            plain.notes = vec![said];
            let text = plain.text();
            let found = inventory::parse("commented", &text);
            match (expected, found) {
                (Ok(expected), Ok(found)) => {
                    prop_assert_eq!(&found.hosts[0].ssh, &ssh);
                    prop_assert_eq!(found, expected);
                }
                // A login that ssh can't be given is refused for what it is, with and without comments.
                (Err(expected), Err(found)) => {
                    let words = |errors: &inventory::InventoryErrors| -> Vec<_> {
                        errors.errors.iter().map(|error| error.code).collect()
                    };
                    prop_assert_eq!(words(&expected), words(&found));
                    prop_assert!(words(&found).iter().all(|code| *code == inventory::Code::BadSsh), "{:?}", text);
                }
                (expected, found) => prop_assert!(false, "{:?} {:?}", expected.is_ok(), found.is_ok()),
            }
        }

        #[test]
        fn names_of_hosts_are_names(said in "\\PC{0,80}") {
            if let Some(name) = host_name(&[&said]) {
                prop_assert_eq!(super::super::names::dns_subdomain(&name), Ok(()));
            }
        }
    }

    #[test]
    fn a_host_is_called_as_it_calls_itself() {
        assert_eq!(host_name(&["VPS_4711.example.org"]).as_deref(), Some("vps-4711"));
        assert_eq!(host_name(&["localhost", "198.51.100.10"]), None);
        assert_eq!(host_name(&["debian", "alias"]).as_deref(), Some("alias"));
        assert_eq!(host_name(&["日本", ""]), None);
    }
}
