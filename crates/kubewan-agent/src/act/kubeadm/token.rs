//! Bootstrap tokens, made on the operator's side and put into the cluster here: by standard input, never as
//! an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubewan_core::action::kubeadm::TokenSeen;
use kubewan_core::action::{BootstrapToken, Observed};
use kubewan_core::token::{Discovery, Token, is_good, rfc3339, secret_name};

use super::super::cluster::{Answer, admin, ask, change, tolerate, wait_for};
use super::super::{Host, Performing};

/// What the token's Secret says of it.
const DESCRIPTION: &str = "made by kubewan for nodes that join";

/// How long kube-controller-manager may take from its start until it signs; seen: five to ten seconds after `kubeadm init`.
const AT_WORK: Duration = Duration::from_secs(60);

/// Between two looks: every host that joins waits for it.
const EVERY: Duration = Duration::from_millis(500);

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
    let name = secret_name(token.id());
    let get = ["get", "secret", "-n", "kube-system", &name, "-o", "json", "--ignore-not-found"];
    match ask(host, &admin(host).args(get)).map_err(|e| format!("can't look at {name}: {e}"))? {
        Answer::Object(secret) => Ok(is_good(&secret, token, &rfc3339(now()))),
        Answer::Nothing | Answer::NoApi => Ok(false),
    }
}

/// Puts the token into the cluster, and waits until kube-controller-manager is at work.
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
    let program = admin(cx.host).args(apply).args(["--validate=false", "-f", "-"]).stdin(
        token.manifest(&rfc3339(now() + goal.ttl_s), DESCRIPTION, Discovery::ByFile).to_string(),
    );
    change(&program, cx).map_err(|e| format!("can't store the bootstrap token: {e}"))?;
    // Where it takes longer, the joins have a patience of their own.
    wait_for(AT_WORK, EVERY, || tolerate(is_at_work(cx.host)))?;
    cx.after = Some(Observed::BootstrapToken(TokenSeen { usable: true }));
    Ok(())
}

/// Whether kube-controller-manager has begun its work: what it publishes in every namespace is there (`RootCACertConfigMapName`
/// in pkg/controller/certificates/rootcacertpublisher), and it starts its controllers all at once. A kubelet whose certificate
/// nobody signs yet asks for everything else as nobody in particular, is refused, and asks again at longer and longer
/// intervals (`buildKubeletClientConfig` in cmd/kubelet/app/server.go); when its node is there at last, it does not know the
/// Services, and the first pods fail to start (`services have not yet been read at least once`) and wait for their next round.
fn is_at_work(host: &Host) -> Result<Option<()>, String> {
    let get = ["get", "configmap", "-n", "kube-system", "kube-root-ca.crt", "-o", "json"];
    let answer = ask(host, &admin(host).args(get).arg("--ignore-not-found"))?;
    Ok(answer.object().is_some().then_some(()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
