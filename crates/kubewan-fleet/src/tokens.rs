//! Bootstrap tokens of a living cluster: made, listed, deleted, through a control plane's own kubectl. A token goes there by
//! standard input, and nothing here says more of one than its public half.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kubewan_core::secret::Secret;
use kubewan_core::token::{self, Discovery, Listed, Token, rfc3339};
use serde_json::Value;

use crate::error::HostError;
use crate::fleet::{Member, Output};
use crate::random;

/// Where the cluster says to whoever joins what it is.
const CLUSTER_INFO: [&str; 6] =
    ["get", "configmap", "-n", "kube-public", "cluster-info", "--ignore-not-found"];

/// How long a signer that works may take.
const SIGNS: Duration = Duration::from_secs(30);

/// Seconds for one question.
const ASKS_S: u64 = 30;

/// A token that was made.
#[derive(Debug)]
pub struct Made {
    /// The token itself.
    pub token: Secret,
    /// When it ends, as `2026-01-02T03:04:05Z`.
    pub expires: String,
    /// The pin of the cluster's authority (`sha256:…`), which whoever joins compares with what it is shown.
    pub ca_hash: String,
    /// That authority: PEM in base64.
    pub ca: String,
}

/// What was asked of the API and did not come about: what, and what came back.
pub type Refused = String;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn answer(attempted: &str, output: Output) -> Result<String, Refused> {
    match output.code {
        0 => Ok(output.stdout),
        _ => Err(format!("{attempted}: {}", output.stderr.trim())),
    }
}

fn json(attempted: &str, output: Output) -> Result<Value, Refused> {
    let text = answer(attempted, output)?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text)
        .map_err(|error| format!("{attempted}: kubectl printed no JSON: {error}"))
}

fn cluster_info(member: &mut Member) -> Result<Result<Value, Refused>, HostError> {
    let get: Vec<&str> = CLUSTER_INFO.into_iter().chain(["-o", "json"]).collect();
    Ok(json("reading cluster-info", member.kubectl(&get, None, ASKS_S)?))
}

/// The pin of the cluster's authority.
///
/// # Errors
/// Fails where the host can't be asked; the answer itself where the API refuses.
pub fn ca_hash(member: &mut Member) -> Result<Result<String, Refused>, HostError> {
    Ok(cluster_info(member)?.and_then(|info| token::ca_hash(&info)))
}

/// The cluster's tokens.
///
/// # Errors
/// As [`ca_hash`].
pub fn list(member: &mut Member) -> Result<Result<Vec<Listed>, Refused>, HostError> {
    let get = ["get", "secrets", "-n", token::NAMESPACE, "-o", "json"];
    let only = ["--field-selector", "type=bootstrap.kubernetes.io/token"];
    let get: Vec<&str> = get.into_iter().chain(only).collect();
    let secrets = match json("listing the tokens", member.kubectl(&get, None, ASKS_S)?) {
        Ok(secrets) => secrets,
        Err(refused) => return Ok(Err(refused)),
    };
    let info = cluster_info(member)?;
    Ok(info.map(|info| token::listed(&secrets, &info, &rfc3339(now()))))
}

/// Takes a token away; whether there was one.
///
/// # Errors
/// As [`ca_hash`].
pub fn delete(member: &mut Member, id: &str) -> Result<Result<bool, Refused>, HostError> {
    let name = token::secret_name(id);
    let delete = ["delete", "secret", "-n", token::NAMESPACE, &name, "--ignore-not-found"];
    let said = answer(&format!("deleting the token {id}"), member.kubectl(&delete, None, ASKS_S)?);
    Ok(said.map(|said| !said.trim().is_empty()))
}

/// Makes a token that lives so many seconds. Where hosts find the cluster by it, waits until cluster-info is signed with it:
/// before that nobody can join.
///
/// # Errors
/// As [`ca_hash`].
pub fn create(
    member: &mut Member,
    ttl_s: u64,
    description: &str,
    discovery: Discovery,
) -> Result<Result<Made, Refused>, HostError> {
    let secret = random::bootstrap_token();
    let token = Token::parse(secret.reveal()).expect("it was just made");
    let expires = rfc3339(now() + ttl_s);
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=kubewan"];
    let apply: Vec<&str> = apply.into_iter().chain(["--validate=false", "-f", "-"]).collect();
    let manifest = token.manifest(&expires, description, discovery).to_string();
    let stored = answer("storing the token", member.kubectl(&apply, Some(manifest), ASKS_S)?);
    if let Err(refused) = stored {
        return Ok(Err(refused));
    }
    let is_ready = |info: &Value| {
        let is_signed = info["data"].get(token::signature_key(token.id())).is_some();
        discovery == Discovery::ByFile || is_signed
    };
    let until = Instant::now() + SIGNS;
    loop {
        match cluster_info(member)? {
            Ok(info) if is_ready(&info) => {
                let made = |ca_hash, ca| Made { token: secret.clone(), expires, ca_hash, ca };
                let known =
                    token::ca_hash(&info).and_then(|hash| Ok((hash, token::authority(&info)?)));
                return Ok(known.map(|(ca_hash, ca)| made(ca_hash, ca)));
            }
            _ if Instant::now() < until => thread::sleep(Duration::from_millis(500)),
            Err(refused) => return Ok(Err(refused)),
            Ok(_) => {
                // Nobody could join with it.
                let _ = delete(member, token.id())?;
                return Ok(Err(format!(
                    "kube-controller-manager did not sign cluster-info with the new token within {} s, so it was taken \
                     away again",
                    SIGNS.as_secs()
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_refuses_is_said_whole() {
        let output = |code, stdout: &str, stderr: &str| Output {
            code,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        assert_eq!(json("x", output(0, " \n", "")), Ok(Value::Null));
        assert_eq!(json("asking", output(1, "", "refused\n")), Err("asking: refused".into()));
        assert!(json("asking", output(0, "{", "")).is_err());
    }
}
