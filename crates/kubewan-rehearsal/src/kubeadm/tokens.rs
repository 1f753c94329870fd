//! `kubeadm token`.

use std::path::Path;

use serde_json::{Value, json};

use super::{Line, cluster};
use crate::client::{Failure, Kube};
use crate::value::{Res, set, text};
use crate::{pki, token};

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

fn kubeconfig(line: &Line) -> &str {
    line.flag("kubeconfig").unwrap_or("/etc/kubernetes/admin.conf")
}

fn api(line: &Line) -> Res<Kube> {
    Kube::from_file(Path::new(kubeconfig(line)), None)
        .map_err(|e| format!("failed to load admin kubeconfig: {e}"))
}

/// Makes a token.
pub fn create(line: &Line, given: Option<&str>) -> Res<()> {
    let mut made = json!({});
    if let Some(token) = given {
        set(&mut made, "token", token.into());
    }
    for (flag, path) in [("ttl", "ttl"), ("description", "description")] {
        if let Some(value) = line.flag(flag) {
            set(&mut made, path, value.into());
        }
    }
    for flag in ["usages", "groups"] {
        let values = line.all(flag);
        if !values.is_empty() {
            set(&mut made, flag, json!(values));
        }
    }
    token::defaults(&mut made);
    let secret = token::secret(&made)?;
    let api = api(line)?;
    match api.call("POST", SECRETS, "application/json", Some(&secret)) {
        Ok(_) => {}
        Err(Failure::Refused(409, _)) => {
            let (id, _) = token::parse(text(&made, "token"))?;
            return Err(format!("a token with id {id:?} already exists"));
        }
        Err(other) => return Err(other.text()),
    }
    if line.is_on("print-join-command") {
        let command =
            cluster::join_command(&pki::read(Path::new(kubeconfig(line)))?, text(&made, "token"))?;
        println!("{}", command.replace("\\\n", "").replace('\t', ""));
    } else {
        println!("{}", text(&made, "token"));
    }
    Ok(())
}

/// Lists the tokens.
pub fn list(line: &Line) -> Res<()> {
    println!(
        "{:<25}{:<12}{:<23}{:<25}{:<59}EXTRA GROUPS",
        "TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION"
    );
    for secret in
        api(line)?.list(&format!("{SECRETS}?fieldSelector=type=bootstrap.kubernetes.io/token"))?
    {
        let data = |key: &str| token::data(&secret, key);
        let full = format!("{}.{}", data("token-id"), data("token-secret"));
        let usage = |u: &&str| data(&format!("usage-bootstrap-{u}")) == "true";
        let usages: Vec<&str> = ["authentication", "signing"].into_iter().filter(usage).collect();
        let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
        let expires = data("expiration");
        println!(
            "{full:<25}{:<12}{:<23}{:<25}{:<59}{}",
            ttl(&expires),
            or(expires.clone(), "<never>"),
            usages.join(","),
            or(data("description"), "<none>"),
            or(data("auth-extra-groups"), "<none>")
        );
    }
    Ok(())
}

fn ttl(expires: &str) -> String {
    let Some(then) = crate::value::time(expires) else { return "<forever>".into() };
    let seconds = (then - time::OffsetDateTime::now_utc()).whole_seconds();
    match seconds {
        ..0 => "<invalid>".into(),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Deletes tokens, named whole or by id.
pub fn delete(line: &Line, tokens: &[&str]) -> Res<()> {
    let api = api(line)?;
    for given in tokens {
        let id = given.split('.').next().unwrap_or_default();
        if id.len() != 6 || (given.contains('.') && token::parse(given).is_err()) {
            return Err(format!(
                "given token didn't match pattern {:?} or {:?}",
                token::PATTERN,
                "\\A([a-z0-9]{6})\\z"
            ));
        }
        let gone: Result<Value, Failure> = api.call(
            "DELETE",
            &format!("{SECRETS}/bootstrap-token-{id}"),
            "application/json",
            None,
        );
        gone.map_err(|e| format!("failed to delete bootstrap token {id:?}: {}", e.text()))?;
        println!("bootstrap token {id:?} deleted");
    }
    Ok(())
}
