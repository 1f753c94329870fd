//! Bootstrap tokens, made on the operator's side and put into the cluster here: by standard input, never as
//! an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubewan_core::action::kubeadm::TokenSeen;
use kubewan_core::action::{BootstrapToken, Observed};
use serde_json::{Value, json};

use super::super::cluster::{Answer, admin, ask, change};
use super::super::{Host, Performing};

/// The group that kubeadm's RBAC rules are for (`NodeBootstrapTokenAuthGroup`,
/// cmd/kubeadm/app/constants/constants.go).
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// `[a-z0-9]{6}.[a-z0-9]{16}`
#[derive(Clone, Copy)]
pub(crate) struct Token<'a> {
    id: &'a str,
    secret: &'a str,
}

impl<'a> Token<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Token<'a>, String> {
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        match text.split_once('.') {
            Some((id, secret))
                if id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret) =>
            {
                Ok(Token { id, secret })
            }
            // The text itself may be a secret.
            _ => Err("the bootstrap token has not the form of one; this is a bug".into()),
        }
    }
}

/// Looks whether the token can be used. While a plan is made its value is not known, and then it can't.
///
/// # Errors
/// Fails where the API does not answer although it should.
pub fn observe_bootstrap_token(goal: &BootstrapToken, host: &Host) -> Result<TokenSeen, String> {
    let Some(token) = host.value(&goal.token) else { return Ok(TokenSeen { usable: false }) };
    let token = Token::parse(token)?;
    Ok(TokenSeen { usable: is_stored(token, host)? })
}

fn is_stored(token: Token<'_>, host: &Host) -> Result<bool, String> {
    let name = format!("bootstrap-token-{}", token.id);
    let get = ["get", "secret", "-n", "kube-system", &name, "-o", "json", "--ignore-not-found"];
    match ask(host, &admin(host).args(get)).map_err(|e| format!("can't look at {name}: {e}"))? {
        Answer::Object(secret) => Ok(is_good(&secret, token, &rfc3339(now()))),
        Answer::Nothing | Answer::NoApi => Ok(false),
    }
}

/// The right secret, not expired.
pub(crate) fn is_good(secret: &Value, token: Token<'_>, now: &str) -> bool {
    let field = |name: &str| {
        let bytes = STANDARD.decode(secret["data"][name].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    field("token-secret").as_deref() == Some(token.secret)
        && field("usage-bootstrap-authentication").as_deref() == Some("true")
        // The same form and the same zone, so that the order of texts is that of times.
        && field("expiration").is_none_or(|end| end.as_str() > now)
}

/// Puts the token into the cluster.
///
/// # Errors
/// What the API answered.
pub fn perform_bootstrap_token(
    goal: &BootstrapToken,
    _seen: &TokenSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let marker = goal.token.marker();
    let value = cx.values.get(&marker).cloned();
    let value = value.ok_or("the orders carry no value for the bootstrap token; this is a bug")?;
    let token = Token::parse(&value)?;
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=kubewan"];
    let program = admin(cx.host)
        .args(apply)
        .args(["--validate=false", "-f", "-"])
        .stdin(secret(token, &rfc3339(now() + goal.ttl_s)).to_string());
    change(&program, cx).map_err(|e| format!("can't store the bootstrap token: {e}"))?;
    cx.after = Some(Observed::BootstrapToken(TokenSeen { usable: true }));
    Ok(())
}

/// As kubeadm writes it (`encodeTokenSecretData`, cmd/kubeadm/app/apis/bootstraptoken/v1/utils.go), but that nobody signs
/// `cluster-info` with it: joins know the cluster's authority ([`kubewan_core::render::kubeadm::discovery`]).
fn secret(token: Token<'_>, expiration: &str) -> Value {
    let data = |text: &str| Value::String(STANDARD.encode(text));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": format!("bootstrap-token-{}", token.id), "namespace": "kube-system" },
        "type": "bootstrap.kubernetes.io/token",
        "data": {
            "token-id": data(token.id),
            "token-secret": data(token.secret),
            "expiration": data(expiration),
            "usage-bootstrap-authentication": data("true"),
            "auth-extra-groups": data(GROUP),
            "description": data("made by kubewan for nodes that join"),
        },
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-01-02T03:04:05Z` of seconds since 1970.
fn rfc3339(unix_s: u64) -> String {
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
        let stored = secret(token, "2026-01-01T00:30:00Z");
        assert!(is_good(&stored, token, "2026-01-01T00:29:59Z"));
        assert!(!is_good(&stored, token, "2026-01-01T00:30:00Z"));
        let other = Token::parse("abcdef.fedcba9876543210").unwrap();
        assert!(!is_good(&stored, other, "2026-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_token_is_not_shown() {
        let error = Token::parse("hunter2").err().unwrap();
        assert!(!error.contains("hunter2"));
        assert!(Token::parse("ABCDEF.0123456789abcdef").is_err());
    }
}
