//! Secrets in texts, masked. [`redact`] is for what goes from a host to its operator: events, errors, logs, of which every word may be
//! needed. [`thoroughly`] is for what goes on to others.

mod thorough;

use std::collections::BTreeMap;

pub use thorough::{is_name, thoroughly};

/// What stands for a secret.
pub const MASK: &str = "[hidden]";

/// Masks a line: the given values, bootstrap tokens, and certificate keys.
pub fn redact(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for value in values.values() {
        // Very short values are no secrets, and masking them would eat the text.
        for part in value.lines().filter(|part| part.len() >= 6) {
            if text.contains(part) {
                text = text.replace(part, MASK);
            }
        }
    }
    text.split('\n').map(redact_line).collect::<Vec<_>>().join("\n")
}

/// Masks what looks like a bootstrap token or a certificate key in one line.
fn redact_line(line: &str) -> String {
    let names_key = {
        let lower = line.to_ascii_lowercase();
        ["certificate-key", "certificatekey", "certificate key"].iter().any(|w| lower.contains(w))
            || is_certificate_key(line.trim())
    };
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if is_bootstrap_token(word.trim_matches('.')) || (names_key && is_certificate_key(word)) {
            out.push_str(MASK);
        } else {
            out.push_str(word);
        }
        let gap = after.find(is_part).unwrap_or(after.len());
        out.push_str(&after[..gap]);
        rest = &after[gap..];
    }
    out
}

/// `[a-z0-9]{6}\.[a-z0-9]{16}`, as kubeadm makes them.
fn is_bootstrap_token(word: &str) -> bool {
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    matches!(word.split_once('.'), Some((id, secret))
        if id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret))
}

/// 32 bytes in hex. SHA-256 sums look the same, so it counts only where the line speaks of one.
fn is_certificate_key(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        redact(text, &BTreeMap::from([("@secret(key)@".into(), "hunter2-hunter2".into())]))
    }

    #[test]
    fn masks_tokens_keys_and_values() {
        assert_eq!(
            masked("kubeadm join api:6443 --token abcdef.0123456789abcdef --x hunter2-hunter2."),
            "kubeadm join api:6443 --token [hidden] --x [hidden]."
        );
        let key = "ab".repeat(32);
        assert_eq!(masked(&format!("--certificate-key {key}")), "--certificate-key [hidden]");
        assert_eq!(
            masked(&format!("Using certificate key:\n{key}")).lines().nth(1),
            Some("[hidden]")
        );
    }

    #[test]
    fn leaves_the_rest() {
        let hash = "ab".repeat(32);
        for text in [
            format!("artifact {hash} is damaged"),
            "kube-system.coredns 10.96.0.10 abcdef.01234".into(),
            "größer … → ok".into(),
        ] {
            assert_eq!(masked(&text), text);
        }
    }
}
