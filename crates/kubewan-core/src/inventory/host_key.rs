//! A server's SSH host key, as `ssh.hostKey` pins it: whole, or by its fingerprint.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// What `ssh.hostKey` pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKey {
    /// A whole key.
    Key {
        /// Its algorithm, as `ssh-ed25519`.
        algorithm: String,
        /// The key in base64.
        base64: String,
    },
    /// A key's fingerprint, as `SHA256:` and 43 characters.
    Fingerprint(String),
}

/// What a fingerprint begins with.
const SHA256: &str = "SHA256:";

/// Public key algorithms of OpenSSH with what their base64 form starts with: the length and name of the
/// algorithm again (RFC 4253 §6.6).
const KEY_ALGORITHMS: &[(&str, &str)] = &[
    ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAI"),
    ("ecdsa-sha2-nistp256", "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABB"),
    ("ecdsa-sha2-nistp384", "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABh"),
    ("ecdsa-sha2-nistp521", "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACF"),
    ("ssh-rsa", "AAAAB3NzaC1yc2EAAAA"),
];

/// Reads what `ssh.hostKey` says.
///
/// # Errors
/// Says why it is neither a public key nor a fingerprint.
pub fn parse(text: &str) -> Result<HostKey, String> {
    let text = text.trim();
    if text.starts_with(SHA256) {
        return fingerprint(text);
    }
    if text.starts_with("MD5:") {
        return Err("it is an MD5 fingerprint, which proves nothing; SHA256 is needed".into());
    }
    public_key(text)
}

fn fingerprint(text: &str) -> Result<HostKey, String> {
    let digest = text[SHA256.len()..].trim_end_matches('=');
    match STANDARD_NO_PAD.decode(digest) {
        Ok(bytes) if bytes.len() == 32 => Ok(HostKey::Fingerprint(format!("{SHA256}{digest}"))),
        Ok(bytes) => Err(format!("after SHA256: stand {} bytes, not 32", bytes.len())),
        Err(_) => Err("what stands after SHA256: is not the 43 characters of a fingerprint".into()),
    }
}

/// The algorithm and key of an SSH public key, without its comment.
fn public_key(text: &str) -> Result<HostKey, String> {
    if text.contains("PRIVATE KEY") {
        return Err("it is a private key".into());
    }
    let mut words = text.split_ascii_whitespace();
    let (algorithm, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Some((_, start)) = KEY_ALGORITHMS.iter().find(|(name, _)| *name == algorithm) else {
        let names: Vec<&str> = KEY_ALGORITHMS.iter().map(|(name, _)| *name).collect();
        return Err(format!("it does not start with SHA256: or one of {}", names.join(", ")));
    };
    let long_enough = algorithm != "ssh-ed25519" || key.len() == 68;
    if !key.starts_with(start) || !long_enough || STANDARD.decode(key).is_err() {
        return Err(format!("its second word is not a whole {algorithm} key"));
    }
    Ok(HostKey::Key { algorithm: algorithm.into(), base64: key.into() })
}

impl HostKey {
    /// The key's fingerprint, as OpenSSH shows it.
    pub fn fingerprint(&self) -> String {
        match self {
            HostKey::Fingerprint(fingerprint) => fingerprint.clone(),
            HostKey::Key { base64, .. } => {
                let digest = Sha256::digest(STANDARD.decode(base64).unwrap_or_default());
                format!("{SHA256}{}", STANDARD_NO_PAD.encode(digest))
            }
        }
    }

    /// The kind of a whole key, as OpenSSH calls it where it shows fingerprints.
    pub fn kind(&self) -> &'static str {
        match self {
            HostKey::Fingerprint(_) => "",
            HostKey::Key { algorithm, .. } => match algorithm.as_str() {
                "ssh-ed25519" => "ED25519",
                "ssh-rsa" => "RSA",
                _ => "ECDSA",
            },
        }
    }

    /// A whole key as it stands in files, without a comment.
    pub fn line(&self) -> Option<String> {
        match self {
            HostKey::Fingerprint(_) => None,
            HostKey::Key { algorithm, base64 } => Some(format!("{algorithm} {base64}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `ssh-keygen -t ed25519`, its fingerprint by `ssh-keygen -l`.
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK92JOWylG1hndlAwQf167Tyu4iQZ4LYe/XXH+m4yspS root@host";
    const FINGERPRINT: &str = "SHA256:aKIC+4oqGfF1tv3H13Tfo1Als/WUohgLlRwP7x0uPlw";

    #[test]
    fn fingerprints_are_openssh_s() {
        let key = parse(KEY).unwrap();
        assert_eq!(key.fingerprint(), FINGERPRINT);
        assert_eq!(key.kind(), "ED25519");
        assert_eq!(key.line().unwrap(), KEY.strip_suffix(" root@host").unwrap());
        assert_eq!(parse(FINGERPRINT).unwrap().fingerprint(), FINGERPRINT);
        assert_eq!(parse(&format!("{FINGERPRINT}=")).unwrap().fingerprint(), FINGERPRINT);
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        for text in ["SHA256:", "SHA256:abc", "MD5:16:27:ac:a5", "SHA1:abc", "ssh-dss AAAA", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
        let cut = &FINGERPRINT[..FINGERPRINT.len() - 1];
        assert!(parse(cut).is_err());
        let longer = format!("{FINGERPRINT}A");
        assert!(parse(&longer).is_err());
    }
}
