//! `kubewan support`: what is packed, without secrets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use kubewan_core::evidence::ClusterAnswers;
use kubewan_core::redact::{self, MASK};
use serde::Serialize;
use serde_json::Value;

use crate::case::Case;
use crate::diagnosis::Diagnosis;

/// What kubectl keeps of an object as it was applied: all that is in the object, once more and as one text.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedFile {
    /// Its path in the bundle.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// All that is packed, redacted, with a list of it as the first file.
pub fn files(
    version: &str,
    case: &Case,
    answers: &ClusterAnswers,
    found: &[Diagnosis],
    hide_addresses: bool,
) -> Vec<PackedFile> {
    let mut addresses = Addresses::default();
    let mut files = Vec::new();
    let mut add = |path: String, text: String| {
        // Documents were redacted text by text: by lines, a secret in one would take its form away.
        let is_document = path.ends_with(".json") && serde_json::from_str::<Value>(&text).is_ok();
        let text = if is_document { text } else { redact::thoroughly(&text) };
        let text = if hide_addresses { addresses.hidden(&text) } else { text };
        files.push(PackedFile { path, text });
    };
    add("findings.json".into(), json(&found));
    for (number, host) in case.hosts.iter().enumerate() {
        let Some(name) = &host.name else { continue };
        // A path in a tar archive has less than a hundred letters.
        let name = format!("{:02}-{}", number + 1, plain(name));
        if let Some((code, said)) = &host.unreachable {
            add(format!("hosts/{name}/unreachable.txt"), format!("{code}\n{said}\n"));
            continue;
        }
        add(format!("hosts/{name}/facts.json"), json(&host.facts));
        let mut evidence = host.evidence.clone();
        for (number, log) in evidence.logs.drain(..).enumerate() {
            add(
                format!("hosts/{name}/logs/{:02}-{}.log", number + 1, plain(&log.source)),
                log.text,
            );
        }
        add(format!("hosts/{name}/evidence.json"), json(&evidence));
    }
    let texts = [
        ("nodes.json", &answers.nodes),
        ("cluster-info.json", &answers.cluster_info),
        ("api-silent.txt", &answers.silent),
    ];
    for (path, text) in texts {
        if let Some(text) = text {
            add(format!("cluster/{path}"), readable(text));
        }
    }
    for (number, pods) in answers.pods.iter().enumerate() {
        add(format!("cluster/pods-{}.json", number + 1), readable(pods));
    }
    files.insert(
        0,
        PackedFile { path: "README.txt".into(), text: contents(version, &files, hide_addresses) },
    );
    files
}

/// What is in a bundle, and what is not.
fn contents(version: &str, files: &[PackedFile], hide_addresses: bool) -> String {
    let addresses = match hide_addresses {
        true => "Addresses are replaced by address-1, address-2, …",
        false => "Addresses and host names are in it: `--hide-addresses` leaves addresses out.",
    };
    let mut text = format!(
        "kubewan support, kubewan {version}\n\nFacts, ends of logs, dates of certificates and what the API says of nodes and pods of Kubernetes' own.\n\
         Left out: private keys, tokens, passwords, Secrets, and all objects of yours. {addresses}\nLook at it before you pass it on.\n\n"
    );
    for file in files {
        text += &format!("{:>9}  {}\n", file.text.len(), file.path);
    }
    text
}

fn json(value: &impl Serialize) -> String {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    hide_in(&mut value);
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

/// JSON with its secrets hidden, or the text where it is none.
fn readable(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |value| json(&value))
}

/// In each text of a document: a secret in the middle of one must not take the document's form away.
fn hide_in(value: &mut Value) {
    match value {
        Value::String(text) => *text = redact::thoroughly(text),
        Value::Array(items) => {
            // A program's arguments: the name in one text, its value in the next.
            let mut names_secret = false;
            for item in items {
                let names = item.as_str().is_some_and(|text| {
                    text.strip_prefix('-')
                        .is_some_and(|name| redact::is_name(name.trim_start_matches('-')))
                });
                match item {
                    Value::String(text) if names_secret && !names => *text = MASK.into(),
                    item => hide_in(item),
                }
                names_secret = names;
            }
        }
        Value::Object(map) => {
            map.remove(LAST_APPLIED);
            let of_secret = map.get("name").and_then(Value::as_str).is_some_and(redact::is_name);
            // A container's environment: what is in it nobody needs who looks for what is wrong, and it is where programs of
            // somebody's have their keys, by names that nobody can know.
            if let Some(Value::Array(variables)) = map.get_mut("env") {
                for variable in variables.iter_mut().filter_map(|v| v.get_mut("value")) {
                    *variable = MASK.into();
                }
            }
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(text)
                        if redact::is_name(key) || (of_secret && key == "value") =>
                    {
                        *text = MASK.into();
                    }
                    value => hide_in(value),
                }
            }
        }
        _ => {}
    }
}

fn plain(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let name: String = text.chars().map(keep).collect();
    name.trim_matches('_').chars().rev().take(36).collect::<Vec<_>>().into_iter().rev().collect()
}

/// Addresses by what stands for them in one bundle.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    known: BTreeMap<String, usize>,
}

impl Addresses {
    /// A text with `address-N` in the place of every address but those of the host itself (127.0.0.0/8, ::1).
    pub fn hidden(&mut self, text: &str) -> String {
        let of_six = self.each(
            text,
            |c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'),
            |word| {
                // Shorter ones are halves of words, as `d::f`.
                let address: Ipv6Addr = (word.len() > 5).then_some(word)?.parse().ok()?;
                (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
            },
        );
        self.each(
            &of_six,
            |c| c.is_ascii_digit() || c == '.',
            |word| {
                let address: Ipv4Addr = word.parse().ok()?;
                (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
            },
        )
    }

    fn each(
        &mut self,
        text: &str,
        is_part: impl Fn(char) -> bool,
        address: impl Fn(&str) -> Option<String>,
    ) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let bare = word.trim_matches('.');
            match address(bare) {
                Some(address) => {
                    let next = self.known.len() + 1;
                    let number = *self.known.entry(address).or_insert(next);
                    let (before, behind) = word.split_once(bare).unwrap_or(("", ""));
                    out.push_str(&format!("{before}address-{number}{behind}"));
                }
                None => out.push_str(word),
            }
            let gap = after.find(&is_part).unwrap_or(after.len());
            out.push_str(&after[..gap]);
            rest = &after[gap..];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_differences() {
        let mut addresses = Addresses::default();
        let text =
            "198.51.100.10 asks 192.0.2.7:6443, 198.51.100.10. fe80::1 127.0.0.1 v1.36.2 10:20:30";
        assert_eq!(
            addresses.hidden(text),
            "address-2 asks address-3:6443, address-2. address-1 127.0.0.1 v1.36.2 10:20:30"
        );
        assert_eq!(addresses.hidden("192.0.2.7"), "address-3");
    }

    #[test]
    fn a_document_stays_one() {
        let found = json(&serde_json::json!({"text": "a\npassword: x\nb", "token": "y", "n": [1]}));
        let value: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(value["text"], "a\npassword: [hidden]\nb");
        assert_eq!(value["token"], MASK);
        let pod = serde_json::json!({
            "annotations": { LAST_APPLIED: "{\"env\":\"hunter2\"}" },
            "env": [{ "name": "REGISTRY_PASSWORD", "value": "hunter2" }, { "name": "MY_LICENCE", "value": "hunter2" }],
            "command": ["etcd", "--client-cert-auth=true", "--password", "hunter2", "--data-dir=/var/lib/etcd"],
            "secret": { "secretName": "x" },
        });
        let told = json(&pod);
        assert!(!told.contains("hunter2"), "{told}");
        let value: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(value["command"][1], "--client-cert-auth=true");
        assert_eq!(value["command"][4], "--data-dir=/var/lib/etcd");
        assert_eq!(value["env"][1]["name"], "MY_LICENCE");
    }
}
