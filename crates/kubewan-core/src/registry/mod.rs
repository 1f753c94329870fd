//! Private registries: what is read for them on the operator's machine, and what a host's containerd was told of registries
//! before kubewan came.

pub mod certificate;
pub mod legacy;

use std::collections::BTreeMap;

use crate::secret::Secret;
use certificate::Certificate;

/// What the files of the inventory's registries hold, by the registries' addresses.
pub type Registries = BTreeMap<String, Files>;

/// What the files of one registry hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The certificates of `caFile`, in their order.
    pub authorities: Vec<Certificate>,
    /// The password of `passwordFile`.
    pub password: Option<Secret>,
}

impl Files {
    /// The authorities as one file in PEM; `None` where there are none.
    pub fn ca(&self) -> Option<String> {
        let pem: String = self.authorities.iter().map(|one| one.pem.as_str()).collect();
        (!pem.is_empty()).then_some(pem)
    }
}

/// Longest password that is taken, bytes: a robot's token is one of some hundreds.
const PASSWORD_MAX: usize = 8 << 10;

/// The password that a file holds: its one line, without the line's end.
///
/// # Errors
/// Says what is wrong with the text, without quoting it.
pub fn password(text: &str) -> Result<Secret, String> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err("it is empty".into());
    }
    if line.len() > PASSWORD_MAX {
        return Err(format!("it has {} bytes, which is no password", line.len()));
    }
    if line.chars().any(char::is_control) {
        return Err("it has more than one line, or control characters".into());
    }
    Ok(Secret::new(line.into()))
}

/// What failed pulls say, and what to do then: in the words of Go's TLS, of containerd's resolver and of curl.
const SAID: [(&[&str], &str); 7] = [
    (
        &["certificate signed by unknown authority", "SSL certificate problem"],
        "nobody that this host knows has signed its certificate: name who has in `caFile` of that registry",
    ),
    (&["certificate has expired"], "its certificate has expired: the registry needs a new one"),
    (
        &["x509:"],
        "its certificate is for other names or uses: the registry needs one with the name that images have",
    ),
    (
        &["server gave HTTP response to HTTPS client"],
        "it speaks without TLS: say so by `mirrors: { images: { REGISTRY: \"http://REGISTRY\" } }` and take it out of `registries`",
    ),
    (
        &[
            "401",
            "403",
            "unauthorized",
            "authorization failed",
            "no basic auth",
            "authentication required",
            "insufficient_scope",
        ],
        "it asks for a login that it takes: `username` and `passwordFile` of that registry",
    ),
    (&["not found", "manifest unknown"], "it has no such image: name one that it has in `probe`"),
    (&["no such host", "Could not resolve"], "its name does not resolve on this host"),
];

/// What to do about a registry of whom a pull said that; `None` where it may be better next time.
pub fn remedy(said: &str, registry: &str) -> Option<String> {
    let known = SAID.iter().find(|(words, _)| words.iter().any(|word| said.contains(word)));
    known.map(|(_, remedy)| remedy.replace("REGISTRY", registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pull_says_has_its_remedy() {
        // containerd 1.6 and 2.x through the kubelet's event, and curl 7.88.
        let unknown = "failed to pull and unpack image \"r:5000/a:1\": failed to resolve reference \"r:5000/a:1\": failed to do \
                       request: Head \"https://r:5000/v2/a/manifests/1\": x509: certificate signed by unknown authority";
        let login = "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized";
        let basic = "unexpected status code [manifests 1]: 401 Unauthorized";
        let curl = "curl: (60) SSL certificate problem: self-signed certificate";
        let names = "x509: certificate is valid for other.example, not r";
        for (said, word) in [
            (unknown, "`caFile`"),
            (curl, "`caFile`"),
            (names, "other names"),
            (login, "`passwordFile`"),
            (basic, "`passwordFile`"),
            ("r:5000/a:1: not found", "`probe`"),
            ("http: server gave HTTP response to HTTPS client", "http://r:5000"),
        ] {
            let remedy = remedy(said, "r:5000").unwrap();
            assert!(remedy.contains(word), "{said}: {remedy}");
        }
        assert_eq!(remedy("dial tcp 192.0.2.1:5000: i/o timeout", "r:5000"), None);
    }

    #[test]
    fn a_password_is_one_line() {
        for text in ["open sesame", "open sesame\n", "open sesame\r\n"] {
            assert_eq!(password(text).unwrap().reveal(), "open sesame", "{text:?}");
        }
        for text in ["", "\n", "a\nb\n", "a\tb", &"x".repeat(10_000)] {
            let said = password(text).unwrap_err();
            assert!(!said.contains("xx"), "{said}");
        }
    }
}
