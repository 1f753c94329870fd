//! Bootstrap tokens: their form, their secrets, and the signatures of `cluster-info`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::value::{self, Res, at, default, strings, text};

/// The pattern that kubeadm names in its errors.
pub const PATTERN: &str = "\\A([a-z0-9]{6})\\.([a-z0-9]{16})\\z";

/// Id and secret of a token.
pub fn parse(token: &str) -> Res<(&str, &str)> {
    let fits = |s: &str, n| {
        s.len() == n && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    match token.split_once('.') {
        Some((id, secret)) if fits(id, 6) && fits(secret, 16) => Ok((id, secret)),
        _ => Err(format!("the bootstrap token {token:?} was not of the form {PATTERN:?}")),
    }
}

/// A new random token.
pub fn generate() -> String {
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let text: String =
        value::random::<22>().iter().map(|b| letters[usize::from(*b) % 36] as char).collect();
    format!("{}.{}", &text[..6], &text[6..])
}

/// Fills what an entry of `bootstrapTokens` leaves open.
pub fn defaults(token: &mut Value) {
    default(token, "token", generate());
    if at(token, "expires").is_null() {
        default(token, "ttl", "24h0m0s");
    }
    default(token, "usages", json!(["signing", "authentication"]));
    default(token, "groups", json!(["system:bootstrappers:kubeadm:default-node-token"]));
}

/// The secret that stands for a token.
pub fn secret(token: &Value) -> Res<Value> {
    let (id, secret) = parse(text(token, "token"))?;
    let mut data = Map::new();
    let mut put =
        |key: &str, value: &str| data.insert(key.to_owned(), STANDARD.encode(value).into());
    put("token-id", id);
    put("token-secret", secret);
    if !text(token, "description").is_empty() {
        put("description", text(token, "description"));
    }
    if !text(token, "expires").is_empty() {
        put("expiration", text(token, "expires"));
    } else if let Some(ttl) = value::duration(text(token, "ttl")).filter(|d| !d.is_zero()) {
        put("expiration", &value::in_future(ttl));
    }
    for usage in strings(token, "usages") {
        put(&format!("usage-bootstrap-{usage}"), "true");
    }
    put("auth-extra-groups", &strings(token, "groups").join(","));
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": data,
    }))
}

/// A key of a secret, decoded.
pub fn data(secret: &Value, key: &str) -> String {
    let encoded = secret["data"][key].as_str().unwrap_or_default();
    STANDARD.decode(encoded).ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default()
}

/// Whether a token's secret is past its time.
pub fn expired(secret: &Value) -> bool {
    let expiration = data(secret, "expiration");
    !expiration.is_empty()
        && value::time(&expiration).is_none_or(|t| t <= time::OffsetDateTime::now_utc())
}

/// The detached signature of `cluster-info` (k8s.io/cluster-bootstrap/token/jws).
pub fn sign(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{id}\"}}"));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let signature = ring::hmac::sign(&key, signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Ok(("abcdef", "0123456789abcdef")));
        for bad in
            ["", "abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123", "abcde.0123456789abcdef0"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&generate()).is_ok());
    }

    // k8s.io/cluster-bootstrap/token/jws/jws_test.go: TestComputeDetachedSig
    #[test]
    fn signatures_are_kubernetes_own() {
        let content = "Hello from the other side. I must have called a thousand times.";
        assert_eq!(
            sign(content, "joshua", "my voice is my passcode"),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }

    #[test]
    fn tokens_expire() {
        let mut token = json!({"token": "abcdef.0123456789abcdef", "ttl": "1h0m0s"});
        defaults(&mut token);
        assert!(!expired(&secret(&token).unwrap()));
        token["expires"] = "2020-01-01T00:00:00Z".into();
        assert!(expired(&secret(&token).unwrap()));
    }
}
