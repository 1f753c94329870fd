//! `registries:` registries of one's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::{Code, Report, quoted};
use super::tree::Node;
use super::validate::{is_registry, not_empty, url};

/// One registry. Passwords stand in files, so that the inventory can be shown and kept anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// `HOST` or `HOST:PORT`, as it stands in images' names.
    #[schemars(length(min = 1))]
    pub address: String,
    /// A file on this machine with the certificates, in PEM, of who signed the registry's own, or with that one itself; a
    /// relative path is taken from the inventory's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Take whatever certificate the registry shows: whoever is on the way can read the password and change images.
    #[serde(default)]
    pub skip_verify: bool,
    /// Every program of the hosts trusts what `caFile` has signed, by the operating system's store.
    #[serde(default)]
    pub trust_in_system: bool,
    /// Who the kubelets log in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file on this machine that holds the password, nobody else's to read; a relative path is taken from the inventory's
    /// folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// URLs of servers that are asked before it.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// An image in it that every node pulls to prove that it can, as `library/nginx:1.27`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

impl Registry {
    /// The whole name of the image that proves it.
    pub fn probe_image(&self) -> Option<String> {
        Some(format!("{}/{}", self.address, self.probe.as_ref()?))
    }
}

/// Notes what is wrong with registries.
pub(super) fn check(report: &mut Report<'_>, root: &Node) {
    let Some(list) = root.get("registries") else { return };
    let mirrored = root.get("mirrors").and_then(|mirrors| mirrors.get("images"));
    let mirrored: Vec<&str> =
        mirrored.map(Node::entries).unwrap_or_default().iter().map(|e| e.key.as_str()).collect();
    let mut known: Vec<String> = Vec::new();
    for (index, node) in list.items().iter().enumerate() {
        let path = format!("registries[{index}]");
        one(report, node, &path);
        let Some(address) = node.get("address") else { continue };
        let Some(text) = address.text() else { continue };
        let at = format!("{path}.address");
        if !is_registry(text) || text.chars().any(|c| c.is_ascii_uppercase()) {
            let message = format!("`{at}` cannot be {}", quoted(text));
            let help = "HOST or HOST:PORT, as images' names begin: registry.example.org:5000";
            report.push(Code::BadValue, address.span, &at, message, help);
        }
        if known.iter().any(|other| other == text) {
            let message = format!("{} is there twice", quoted(text));
            report.push(Code::Duplicate, address.span, &at, message, "make one entry of the two");
        }
        if mirrored.contains(&text) {
            let message = format!("{} is in `mirrors.images` too", quoted(text));
            let help = "name its mirrors here, in `mirrors`, and take it out there";
            report.push(Code::Duplicate, address.span, &at, message, help);
        }
        known.push(text.to_owned());
    }
}

/// What is wrong with one by itself.
fn one(report: &mut Report<'_>, node: &Node, path: &str) {
    for key in ["caFile", "username", "passwordFile", "probe"] {
        not_empty(report, node, key, &format!("{path}.{key}"));
    }
    let mirrors = node.get("mirrors").map(Node::items).unwrap_or_default();
    for (index, mirror) in mirrors.iter().enumerate() {
        url(report, mirror, &format!("{path}.mirrors[{index}]"));
    }
    let is = |key: &str| node.get(key).is_some_and(Node::is_true);
    let mut contradicts = |key: &str, message: String, help: &str| {
        let span = node.get(key).map_or(node.span, |node| node.span);
        report.push(Code::BadValue, span, &format!("{path}.{key}"), message, help);
    };
    for (one, other) in [("username", "passwordFile"), ("passwordFile", "username")] {
        if node.get(one).is_some() && node.get(other).is_none() {
            let message = format!("`{path}` has `{one}` and no `{other}`");
            contradicts(one, message, "a login needs both");
        }
    }
    if is("skipVerify") && node.get("caFile").is_some() {
        let message = format!("`{path}` has `caFile` and `skipVerify`");
        contradicts(
            "skipVerify",
            message,
            "with `caFile` nothing has to be skipped: take `skipVerify` out",
        );
    }
    if is("trustInSystem") && node.get("caFile").is_none() {
        let message = format!("`{path}` has `trustInSystem` and no `caFile`");
        contradicts("trustInSystem", message, "name the certificates in `caFile`");
    }
    let text = |key: &str| node.get(key).and_then(Node::text);
    if text("username").is_some_and(|user| user.contains(':')) {
        let message = format!("`{path}.username` holds a colon");
        contradicts(
            "username",
            message,
            "a registry would take what follows it for the password (RFC 7617 §2)",
        );
    }
    if let Some(probe) = text("probe").filter(|probe| !probe.is_empty() && !is_image(probe)) {
        let message = format!("`{path}.probe` cannot be {}", quoted(probe));
        contradicts(
            "probe",
            message,
            "an image's name without the registry and with a tag or digest, as library/nginx:1.27",
        );
    }
}

/// `path/name:tag` or `path/name@sha256:…` (github.com/distribution/reference/regexp.go).
fn is_image(text: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(lower)
            && part.ends_with(lower)
            && part.chars().all(|c| lower(c) || "._-".contains(c))
    };
    let path = |path: &str| path.split('/').all(part);
    if let Some((name, digest)) = text.split_once('@') {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        return path(name) && hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    text.rsplit_once(':').is_some_and(|(name, tag)| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        path(name)
            && tag.len() <= 128
            && tag.starts_with(word)
            && tag.chars().all(|c| word(c) || c == '.' || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_a_tag_or_a_digest_and_no_registry() {
        let digest = format!("a/b@sha256:{}", "0f".repeat(32));
        for right in ["nginx:1.27", "library/nginx:v1_2.3-x", digest.as_str()] {
            assert!(is_image(right), "{right}");
        }
        for wrong in [
            "nginx",
            "nginx:",
            ":1",
            "r.example:5000/nginx",
            "Nginx:1",
            "a//b:1",
            "a@sha256:00",
            "a b:1",
        ] {
            assert!(!is_image(wrong), "{wrong}");
        }
    }
}
