//! What must hold for the operator's side's readers of what comes from hosts and pods, whatever the bytes are. See
//! `kubewan_core::fuzz`.

use crate::askpass::{self, Asked};
use crate::failure::{Found, Obstacle, classify};
use crate::supply::{self, registry};
use crate::{bootstrap, nodes, program, resolve, smoke, trust};

/// What ssh and login shells say before the agent speaks.
pub fn ssh(bytes: &[u8]) {
    let said = String::from_utf8_lossy(bytes);
    for pinned in [false, true] {
        let changed = matches!(classify(&said, pinned), Obstacle::ChangedHostKey { .. });
        assert!(!(changed && pinned), "a pinned key is told of otherwise");
    }
    for line in said.lines() {
        let nonce = "00ff";
        assert!(line.contains(nonce) || bootstrap::understand(line, nonce).is_none());
        if let Some(said) = bootstrap::understand(&format!("{line}kubewan-agent {nonce}"), nonce) {
            // A banner without an end of line may stand before ours, one with our nonce is ours.
            assert!(said == bootstrap::Said::Agent || line.contains(nonce), "{line:?}: {said:?}");
        }
    }
    resolve::first_of(&said);
    trust::resolved(&said);
    if let Some(key) = trust::scanned(&said) {
        assert!(key.line().is_some() && key.fingerprint().starts_with("SHA256:"));
    }
    Found::in_prompt(&said);
    if let Asked::Password(text) | Asked::Key(text) | Asked::Other(_, text) =
        askpass::understand(&said)
    {
        assert!(!text.contains(char::is_control), "it would be shown: {text:?}");
    }
}

/// What kubectl and the smoke test's pods print.
pub fn cluster(bytes: &[u8]) {
    let said = String::from_utf8_lossy(bytes);
    if let Ok(nodes) = nodes::parse(&said) {
        nodes::fault("master01", "198.51.100.10", &nodes);
        nodes::shortage("master01", &nodes);
    }
    assert!(smoke::pod::answers(&said).len() <= said.lines().count());
}

/// What registries answer, and servers of keys.
pub fn registries(bytes: &[u8]) {
    let said = String::from_utf8_lossy(bytes);
    for line in said.lines() {
        if let Some(reference) = registry::Reference::parse(line) {
            let again =
                format!("{}/{}:{}", reference.registry, reference.repository, reference.tag);
            assert_eq!(again, line, "it does not read the same");
        }
    }
    if let Ok(digests) = registry::digests("image", bytes) {
        let hex =
            |digest: &String| digest["sha256:".len()..].bytes().all(|b| b.is_ascii_hexdigit());
        assert!(digests.len() > 1 && digests.iter().all(hex), "{digests:?}");
    }
    supply::is_key(&said);
}

/// Answers of a name server, and a pod's `resolv.conf`.
pub fn dns(bytes: &[u8]) {
    let id = u16::from_be_bytes([
        bytes.first().copied().unwrap_or(0),
        bytes.get(1).copied().unwrap_or(0),
    ]);
    if smoke::dns::answer(bytes, id).is_some() {
        assert!(bytes.len() >= 12 && bytes[2] & 0x80 != 0, "an answer without a header");
        assert_eq!(smoke::dns::answer(bytes, !id), None, "an answer to another question");
    }
    let text = String::from_utf8_lossy(bytes);
    smoke::dns::config(&text);
    smoke::dns::question(id, &text);
}

/// The headers of a program that would be sent to hosts.
pub fn elf(bytes: &[u8]) {
    let fit = ["amd64", "arm64"].map(|arch| program::fitness(bytes, arch));
    assert!(fit.iter().filter(|fit| fit.is_ok()).count() <= 1, "fits both");
    assert!(bytes.starts_with(b"\x7fELF") || fit.iter().all(Result::is_err));
}
