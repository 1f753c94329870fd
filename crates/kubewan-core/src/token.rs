//! Bootstrap tokens: their form, the Secret that holds one, and what is shown of those that a cluster has. The half before
//! the dot names a token and is no secret; who has both halves may join.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pin;

/// The namespace of their Secrets.
pub const NAMESPACE: &str = "kube-system";

/// The group that kubeadm's RBAC rules are for (`NodeBootstrapTokenAuthGroup`,
/// cmd/kubeadm/app/constants/constants.go).
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// Type and prefix of the names of their Secrets (staging/src/k8s.io/cluster-bootstrap/token/api/types.go).
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const SECRET_PREFIX: &str = "bootstrap-token-";

/// `[a-z0-9]{6}.[a-z0-9]{16}`
#[derive(Clone, Copy)]
pub struct Token<'a> {
    id: &'a str,
    secret: &'a str,
}

/// How a host that joins finds the cluster and knows it for the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// By a file that holds the authority ([`crate::render::kubeadm::discovery`]).
    ByFile,
    /// By cluster-info, which anyone may read and which is signed with the token, and the authority's pin.
    ByToken,
}

fn is_plain(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// Fails where the text is none; the error does not hold the text, which may be another secret.
    pub fn parse(text: &'a str) -> Result<Token<'a>, String> {
        match text.split_once('.') {
            Some((id, secret)) if is_plain(id, 6) && is_plain(secret, 16) => {
                Ok(Token { id, secret })
            }
            _ => Err("the bootstrap token has not the form of one; this is a bug".into()),
        }
    }

    /// The public half.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// Its Secret, as kubeadm writes it (`encodeTokenSecretData`, cmd/kubeadm/app/apis/bootstraptoken/v1/utils.go), but that
    /// nobody signs cluster-info with one whose joins know the authority already.
    pub fn manifest(&self, expiration: &str, description: &str, discovery: Discovery) -> Value {
        let data = |text: &str| Value::String(STANDARD.encode(text));
        let mut secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": secret_name(self.id), "namespace": NAMESPACE },
            "type": SECRET_TYPE,
            "data": {
                "token-id": data(self.id),
                "token-secret": data(self.secret),
                "expiration": data(expiration),
                "usage-bootstrap-authentication": data("true"),
                "auth-extra-groups": data(GROUP),
                "description": data(description),
            },
        });
        if discovery == Discovery::ByToken {
            secret["data"]["usage-bootstrap-signing"] = data("true");
        }
        secret
    }
}

/// The public half of what may be a whole token or that half alone.
///
/// # Errors
/// Fails where it is neither; the error does not hold the text.
pub fn id_of(text: &str) -> Result<&str, String> {
    if is_plain(text, 6) {
        return Ok(text);
    }
    Token::parse(text).map(|token| token.id).map_err(|_| {
        "that is no token's name: six of a-z and 0-9, as the first column of `kubewan token list`"
            .to_owned()
    })
}

/// Name of the Secret of a token.
pub fn secret_name(id: &str) -> String {
    format!("{SECRET_PREFIX}{id}")
}

/// The key of cluster-info's signature by a token
/// (`JWSSignatureKeyPrefix`, staging/src/k8s.io/cluster-bootstrap/token/api/types.go).
pub fn signature_key(id: &str) -> String {
    format!("jws-kubeconfig-{id}")
}

fn field(secret: &Value, name: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][name].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// Whether a Secret holds just this token, and it has not expired; `now` in the form of [`rfc3339`].
pub fn is_good(secret: &Value, token: Token<'_>, now: &str) -> bool {
    field(secret, "token-secret").as_deref() == Some(token.secret)
        && field(secret, "usage-bootstrap-authentication").as_deref() == Some("true")
        // The same form and the same zone, so that the order of texts is that of times.
        && field(secret, "expiration").is_none_or(|end| end.as_str() > now)
}

/// The authority that the ConfigMap kube-public/cluster-info holds: its certificate in PEM, in base64.
///
/// # Errors
/// Says what it lacks.
pub fn authority(info: &Value) -> Result<String, String> {
    let none = |what: &str| format!("ConfigMap kube-public/cluster-info {what}");
    let text = info.pointer("/data/kubeconfig").and_then(Value::as_str);
    let text = text.ok_or_else(|| none("is not there, or has no kubeconfig"))?;
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix("certificate-authority-data:"));
    let encoded = line.ok_or_else(|| none("names no authority"))?.trim().trim_matches('"');
    pin_of(encoded).map(|_| encoded.to_owned()).ok_or_else(|| none("holds no certificate"))
}

/// The pin (`sha256:…`) of that authority.
///
/// # Errors
/// As [`authority`].
pub fn ca_hash(info: &Value) -> Result<String, String> {
    authority(info).map(|encoded| pin_of(&encoded).unwrap_or_default())
}

fn pin_of(encoded: &str) -> Option<String> {
    let pem = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    pin::of_pem(&pem)
}

/// What is shown of a token: nothing that joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The public half.
    pub id: String,
    /// When it ends, as `2026-01-02T03:04:05Z`; `None` for one that does not.
    pub expires: Option<String>,
    /// Its time has passed; the cluster removes it soon.
    pub expired: bool,
    /// A host can find and trust the cluster with it: cluster-info is signed.
    pub signed: bool,
    /// What it may be used for: `authentication`, `signing`.
    pub usages: Vec<String>,
    /// The group that joins with it belong to.
    pub groups: String,
    /// What its maker wrote.
    pub description: String,
}

/// The tokens in an answer to `get secrets`, and which of them cluster-info is signed with; those that end first come first.
pub fn listed(secrets: &Value, cluster_info: &Value, now: &str) -> Vec<Listed> {
    let items = secrets["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |secret: &Value| -> Option<Listed> {
        let is_token = secret["type"] == SECRET_TYPE;
        let id = field(secret, "token-id").filter(|id| is_token && is_plain(id, 6))?;
        let usage = |name: &&str| {
            field(secret, &format!("usage-bootstrap-{name}")).as_deref() == Some("true")
        };
        let expires = field(secret, "expiration");
        Some(Listed {
            expired: expires.as_deref().is_some_and(|end| end <= now),
            signed: cluster_info["data"].get(signature_key(&id)).is_some(),
            usages: ["authentication", "signing"]
                .iter()
                .filter(|name| usage(name))
                .map(|name| (*name).to_owned())
                .collect(),
            groups: field(secret, "auth-extra-groups").unwrap_or_default(),
            description: field(secret, "description").unwrap_or_default(),
            id,
            expires,
        })
    };
    let mut found: Vec<Listed> = items.iter().filter_map(of).collect();
    found.sort_by(|a, b| {
        (a.expires.is_none(), &a.expires, &a.id).cmp(&(b.expires.is_none(), &b.expires, &b.id))
    });
    found
}

/// Seconds of a duration as `24h`, `1h30m`, `90s` or `7d`.
///
/// # Errors
/// Says what is wrong with it. None that lasts for ever: a token that is forgotten would let anyone join who finds it.
pub fn lifetime(text: &str) -> Result<u64, String> {
    let wrong =
        || "a time as 30m, 24h, 1h30m or 7d, of a minute at least and a year at most".to_owned();
    let (mut seconds, mut digits) = (0_u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            _ => return Err(wrong()),
        };
        let number: u64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        let part = number.checked_mul(unit).ok_or_else(wrong)?;
        seconds = seconds.checked_add(part).ok_or_else(wrong)?;
    }
    let fits = digits.is_empty() && (60..=365 * 86400).contains(&seconds);
    if fits { Ok(seconds) } else { Err(wrong()) }
}

/// `2026-01-02T03:04:05Z` of seconds since 1970.
pub fn rfc3339(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86400, unix_s % 86400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_as_kubeadm_does() {
        // `date -u -d @N +%FT%TZ`
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_367_823, "2026-11-22T17:17:03Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix_s), text);
        }
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let token = Token::parse("abcdef.0123456789abcdef").unwrap();
        let stored = token.manifest("2026-01-01T00:30:00Z", "", Discovery::ByFile);
        assert!(is_good(&stored, token, "2026-01-01T00:29:59Z"));
        assert!(!is_good(&stored, token, "2026-01-01T00:30:00Z"));
        let other = Token::parse("abcdef.fedcba9876543210").unwrap();
        assert!(!is_good(&stored, other, "2026-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_token_is_not_shown() {
        for said in [
            Token::parse("hunter2").err(),
            id_of("hunter2").err(),
            id_of("ABCDEF.0123456789abcdef").err(),
        ] {
            assert!(!said.unwrap().contains("hunter2"));
        }
        assert!(Token::parse("ABCDEF.0123456789abcdef").is_err());
        assert_eq!(id_of("abcdef"), Ok("abcdef"));
        assert_eq!(id_of("abcdef.0123456789abcdef"), Ok("abcdef"));
    }

    #[test]
    fn what_is_listed_joins_nobody() {
        let token = |text: &str, end: &str| {
            Token::parse(text).unwrap().manifest(end, "made here", Discovery::ByToken)
        };
        let mut endless = token("zzzzzz.0123456789abcdef", "");
        endless["data"].as_object_mut().unwrap().remove("expiration");
        let later = token("bbbbbb.0123456789abcdef", "2026-01-02T00:00:00Z");
        let past = token("cccccc.0123456789abcdef", "2025-01-02T00:00:00Z");
        let other = json!({ "type": "Opaque", "data": { "token-id": STANDARD.encode("dddddd") } });
        let secrets = json!({ "items": [endless, later, other, past] });
        let info = json!({ "data": { "jws-kubeconfig-bbbbbb": "e30..x" } });
        let found = listed(&secrets, &info, "2026-01-01T00:00:00Z");
        let ids: Vec<(&str, bool, bool)> =
            found.iter().map(|t| (t.id.as_str(), t.expired, t.signed)).collect();
        assert_eq!(
            ids,
            [("cccccc", true, false), ("bbbbbb", false, true), ("zzzzzz", false, false)]
        );
        assert_eq!(found[1].usages, ["authentication", "signing"]);
        assert!(!serde_json::to_string(&found).unwrap().contains("0123456789abcdef"));
        assert_eq!(listed(&Value::Null, &Value::Null, ""), []);
    }

    #[test]
    fn the_authority_is_found_in_cluster_info() {
        let pem = include_str!("testdata/ca-ec.crt");
        let kubeconfig = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://api:6443\n",
            STANDARD.encode(pem)
        );
        assert_eq!(
            ca_hash(&json!({ "data": { "kubeconfig": kubeconfig } })).as_deref(),
            Ok("sha256:78d121635658157476d0e48b2813dea94fb1b770b1ddf0e984cf005c78731e0c")
        );
        for info in [
            Value::Null,
            json!({ "data": {} }),
            json!({ "data": { "kubeconfig": "clusters: []" } }),
            json!({ "data": { "kubeconfig": "certificate-authority-data: %%" } }),
        ] {
            assert!(ca_hash(&info).unwrap_err().contains("cluster-info"), "{info}");
        }
    }

    #[test]
    fn lifetimes_are_read_as_kubeadm_reads_them() {
        for (text, seconds) in [("24h", 86400), ("1h30m", 5400), ("90s", 90), ("7d", 604_800)] {
            assert_eq!(lifetime(text), Ok(seconds), "{text}");
        }
        for text in ["", "0", "0s", "24", "h", "1h30", "-1h", "1.5h", "24 h", "400d", "59s"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
        assert!(lifetime(&format!("{}d", u64::MAX)).is_err());
    }
}
