//! Bootstrap tokens, made on the operator's side and put into the cluster here: by standard input, never as
//! an argument.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubewan_core::action::kubeadm::TokenSeen;
use kubewan_core::action::{BootstrapToken, Observed};
use kubewan_core::token::{Token, is_good, rfc3339, secret_name, signature_key};
use rustix::process::{Pid, Signal, kill_process};

use super::super::cluster::{Answer, admin, ask, change, tolerate, wait_for};
use super::super::{Host, Performing};

/// What the token's Secret says of it.
const DESCRIPTION: &str = "made by kubewan for nodes that join";

/// How long a signer that works may take.
const SIGNS: Duration = Duration::from_secs(30);

/// Between two looks: every host that joins waits for it, and asks again only every five seconds itself.
const EVERY: Duration = Duration::from_millis(500);

/// How long one may take that was started again: its lease has to run out first.
const SIGNS_AGAIN: Duration = Duration::from_secs(120);

/// Looks whether the token can be used. While a plan is made its value is not known, and then it can't.
///
/// # Errors
/// Fails where the API does not answer although it should.
pub fn observe_bootstrap_token(goal: &BootstrapToken, host: &Host) -> Result<TokenSeen, String> {
    let Some(token) = host.value(&goal.token) else { return Ok(TokenSeen { usable: false }) };
    let token = Token::parse(token)?;
    let usable = is_stored(token, host)? && is_signed(token, host)?;
    Ok(TokenSeen { usable })
}

fn is_stored(token: Token<'_>, host: &Host) -> Result<bool, String> {
    let name = secret_name(token.id());
    let get = ["get", "secret", "-n", "kube-system", &name, "-o", "json", "--ignore-not-found"];
    match ask(host, &admin(host).args(get)).map_err(|e| format!("can't look at {name}: {e}"))? {
        Answer::Object(secret) => Ok(is_good(&secret, token, &rfc3339(now()))),
        Answer::Nothing | Answer::NoApi => Ok(false),
    }
}

fn is_signed(token: Token<'_>, host: &Host) -> Result<bool, String> {
    let get = ["get", "configmap", "-n", "kube-public", "cluster-info", "-o", "json"];
    let program = admin(host).args(get).arg("--ignore-not-found");
    let answer = ask(host, &program).map_err(|e| format!("can't look at cluster-info: {e}"))?;
    let signature = signature_key(token.id());
    Ok(answer.object().is_some_and(|info| info["data"].get(signature).is_some()))
}

/// Puts the token into the cluster and waits until cluster-info is signed with it.
///
/// # Errors
/// What the API answered, or that nothing signs.
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
        .stdin(token.manifest(&rfc3339(now() + goal.ttl_s), DESCRIPTION).to_string());
    change(&program, cx).map_err(|e| format!("can't store the bootstrap token: {e}"))?;
    let host = cx.host;
    let mut look = || tolerate(is_signed(token, host).map(|signed| signed.then_some(())));
    if wait_for(SIGNS, EVERY, &mut look)?.is_some() {
        cx.after = Some(Observed::BootstrapToken(TokenSeen { usable: true }));
        return Ok(());
    }
    // Seen when the host's address went and came back: the signer lives in kube-controller-manager, and its
    // watches were dead without its knowing.
    (cx.progress)(
        "cluster-info is not signed with the token; starting kube-controller-manager again",
    );
    let stopped = stop_controller_manager();
    if wait_for(SIGNS_AGAIN, Duration::from_secs(1), &mut look)?.is_some() {
        return Ok(());
    }
    Err(format!(
        "nothing signed cluster-info with the new bootstrap token, {}. Look at \
         `kubectl -n kube-system logs -l component=kube-controller-manager`",
        if stopped == 0 {
            "and no kube-controller-manager runs on this host"
        } else {
            "even after kube-controller-manager was started again"
        }
    ))
}

/// Ends kube-controller-manager, which the kubelet then starts again. Returns how many there were.
fn stop_controller_manager() -> usize {
    let mut stopped = 0;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let pid = name.to_str().and_then(|n| n.parse().ok()).and_then(Pid::from_raw);
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let program = command.split(|b| *b == 0).next().unwrap_or_default();
        let cgroup = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        // One that is no pod's is not ours to end.
        if program.ends_with(b"kube-controller-manager")
            && cgroup.contains("kubepods")
            && pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok())
        {
            stopped += 1;
        }
    }
    stopped
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
