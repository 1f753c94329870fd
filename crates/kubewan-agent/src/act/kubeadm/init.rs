//! The control plane on this host: made once, finished where it was cut short, mended where parts of it went.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubewan_core::action::KubeadmInit;
use kubewan_core::action::kubeadm::InitSeen;
use kubewan_core::api::is_transient;
use serde_json::Value;

use super::super::cluster::ADMIN_CONF;
use super::super::{Host, Performing};
use super::config::Config;
use super::parts::{
    AUTHORITIES, CERTIFICATES, PKI, Part, asked, missing_files, missing_in, missing_objects,
    wait_ready,
};
use super::{ConfigFile, failure, last_lines, second_run, set_aside, stuck};
use crate::facts::{Ownership, ownership};

/// Name of the configuration's file while kubeadm runs.
const CONFIG_FILE: &str = "kubeadm-init.yaml";

/// How long an API server may take that a host has just booted with.
const BOOT: Duration = Duration::from_secs(60);

/// How long one is waited for that may well be down.
const SHORT: Duration = Duration::from_secs(3);

/// How long static pods may take after their manifests were mended.
const MENDED: Duration = Duration::from_secs(240);

/// Looks how far the control plane is.
///
/// # Errors
/// Fails where the journal can't be read or the API gives an answer that makes no sense.
pub fn observe_kubeadm_init(goal: &KubeadmInit, host: &Host) -> Result<InitSeen, String> {
    let config = Config(&goal.config);
    let mut seen = observe_files(goal, host)?;
    // What is in the API matters only for a control plane that was whole once.
    if !seen.ended {
        return Ok(seen);
    }
    let patience = if seen.missing.is_empty() { BOOT } else { SHORT };
    seen.unreachable = if Path::new(ADMIN_CONF).exists() {
        wait_ready(host, patience)
    } else {
        Some(format!("there is no {ADMIN_CONF}"))
    };
    if seen.unreachable.is_none() {
        match missing_objects(host, config, &goal.node) {
            Ok(objects) => add(&mut seen, objects),
            Err(error) if is_transient(&error) => seen.unreachable = Some(error),
            Err(error) => return Err(format!("can't look at the control plane: {error}")),
        }
    }
    Ok(seen)
}

/// As [`observe_kubeadm_init`], but for what is in the API.
fn observe_files(goal: &KubeadmInit, host: &Host) -> Result<InitSeen, String> {
    let owned = ownership(host)?;
    let foreign = owned.foreign();
    let stuck = !foreign.is_empty() && stuck::stuck_init(host).is_some();
    let mut parts = missing_files(Config(&goal.config));
    // Careful people put it away, and only kubeadm needs it.
    parts.retain(|part| goal.adopts.is_empty() || part.phase != "kubeconfig/super-admin");
    let mut seen = InitSeen {
        begun: owned.init_begun,
        ended: owned.init_ended,
        stuck,
        foreign: if stuck { Vec::new() } else { foreign },
        ca: fs::read(super::CA).ok().map(|pem| STANDARD.encode(pem)),
        ..InitSeen::default()
    };
    add(&mut seen, parts);
    Ok(seen)
}

/// The objects that a look at this goal asks for, for a question that is put together with others'. `None` where the
/// look has to be one of its own: the control plane was never whole, or files of it are gone, so that its API may be too.
pub(in crate::act) fn asks(goal: &KubeadmInit, host: &Host) -> Option<Vec<Value>> {
    let seen = observe_files(goal, host).ok()?;
    let whole = seen.ended && seen.missing.is_empty() && Path::new(ADMIN_CONF).exists();
    whole.then(|| asked(&goal.node, Config(&goal.config)))
}

/// How far the control plane is whose API answered that question.
///
/// # Errors
/// Fails where the journal can't be read.
pub(in crate::act) fn observe_answered(
    goal: &KubeadmInit,
    found: &Value,
    host: &Host,
) -> Result<InitSeen, String> {
    let mut seen = observe_files(goal, host)?;
    add(&mut seen, missing_in(found, Config(&goal.config), &goal.node));
    Ok(seen)
}

/// Adds phases in kubeadm's order: those of files all come before those of objects, but for `kubelet-start`,
/// which is the last of the files and the first of the objects.
fn add(seen: &mut InitSeen, more: Vec<Part>) {
    for part in more {
        if !seen.missing.contains(&part.phase) {
            seen.missing.push(part.phase);
        }
        seen.gone.extend(part.gone);
    }
}

/// Makes, finishes or mends the control plane.
///
/// # Errors
/// kubeadm's last lines, with those of what did not come up.
pub fn perform_kubeadm_init(
    goal: &KubeadmInit,
    seen: &InitSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let first = !seen.begun && !seen.stuck;
    super::before_kubeadm(first, (&seen.foreign, "make a control plane"), true, cx)?;
    let file = ConfigFile::write(cx.host, CONFIG_FILE, &goal.config)?;
    cx.refused = false;
    if seen.ended {
        return mend(goal, seen, &file, cx);
    }
    let mut checks = Vec::new();
    if seen.begun || seen.stuck {
        // By hand it was made with another configuration, whatever that was.
        let changed = seen.stuck || changed_since(&ownership(cx.host)?, &goal.config);
        if changed {
            (cx.progress)("the configuration is another one than before: making certificates anew");
        }
        if seen.stuck {
            (cx.progress)("ending the control plane that got stuck: it came up with its address");
            stuck::end_control_plane(Config(&goal.config).bind_port())?;
        }
        for path in second_run::clear_remains(changed)? {
            (cx.progress)(&format!("removed {path}, left by the run that was cut short"));
        }
        checks = second_run::init_checks(Config(&goal.config));
        (cx.progress)("running kubeadm init again over what it left");
    }
    // The token it would print is one that nobody uses.
    let mut args =
        vec!["init".to_owned(), "--config".into(), file.path(), "--skip-token-print".into()];
    args.extend(set_aside(&goal.ignore_preflight_errors, &checks));
    let timeout = Duration::from_secs(goal.timeout_s);
    let failed = |why: String| {
        format!(
            "kubeadm init failed{why}{}\n  Nothing of it is lost: `kubewan up` goes on where it stopped",
            failure::evidence()
        )
    };
    let output = super::run(&args, timeout, cx).map_err(|e| failed(format!(": {e}")))?;
    if output.code != 0 {
        let why = format!(" with code {}:{}", output.code, last_lines(&output));
        // A refusal of preflight has no logs to look at, and nothing was begun: a next run has to look as strictly.
        if why.contains("[ERROR ") {
            cx.refused = first;
            return Err(format!("kubeadm init failed{why}"));
        }
        return Err(failed(why));
    }
    Ownership::mark_init(cx.host)
}

/// Whether any run that did not end had another configuration: its certificates may have other names.
fn changed_since(owned: &Ownership, config: &str) -> bool {
    owned.init_configs.iter().any(|earlier| earlier != config)
}

/// Runs just the phases whose parts are gone.
fn mend(
    goal: &KubeadmInit,
    seen: &InitSeen,
    file: &ConfigFile,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    if seen.missing.iter().any(|phase| phase == "certs/all") {
        ready_certificates()?;
    }
    for phase in &seen.missing {
        run_phase(goal, phase, file, cx)?;
    }
    let waits = |phase: &String| {
        !phase.starts_with("addon/")
            && !phase.starts_with("upload-config/")
            && phase != "bootstrap-token"
    };
    if seen.missing.iter().any(waits) {
        (cx.progress)("waiting for the API server");
        if let Some(words) = wait_ready(cx.host, MENDED) {
            return Err(format!(
                "the control plane did not come back within {} s: {words}{}",
                MENDED.as_secs(),
                failure::evidence()
            ));
        }
    }
    // While files were missing, nobody could ask the API what it lacks.
    for part in missing_objects(cx.host, Config(&goal.config), &goal.node)? {
        run_phase(goal, &part.phase, file, cx)?;
    }
    Ok(())
}

fn run_phase(
    goal: &KubeadmInit,
    phase: &str,
    file: &ConfigFile,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let mut args = vec!["init".to_owned(), "phase".into()];
    args.extend(phase.split('/').map(str::to_owned));
    args.extend(["--config".to_owned(), file.path()]);
    if phase == "bootstrap-token" {
        args.push("--skip-token-print".into());
    }
    (cx.progress)(&format!("kubeadm init phase {}", phase.replace('/', " ")));
    let name = phase.replace('/', " ");
    let output = super::run(&args, Duration::from_secs(goal.timeout_s), cx)
        .map_err(|e| format!("kubeadm init phase {name} failed: {e}"))?;
    if output.code != 0 {
        return Err(format!(
            "kubeadm init phase {name} failed with code {}:{}",
            output.code,
            last_lines(&output)
        ));
    }
    Ok(())
}

/// Makes way for certificates that are to be signed again, and refuses where what signs them is gone: kubeadm
/// would make a new authority that no node trusts.
fn ready_certificates() -> Result<(), String> {
    for name in AUTHORITIES {
        for path in [format!("{PKI}/{name}.crt"), format!("{PKI}/{name}.key")] {
            if !second_run::is_whole_pem(&path) {
                return Err(format!(
                    "{path} is gone or damaged, and every node trusts what it signed: put it back from a copy, \
                     or make the cluster anew (`kubewan reset`, then `kubewan up`)"
                ));
            }
        }
    }
    let (private, public) = (format!("{PKI}/sa.key"), format!("{PKI}/sa.pub"));
    if !second_run::is_whole_pem(&private) || !second_run::is_whole_pem(&public) {
        return Err(format!(
            "{private} or {public} is gone, which sign every service account's token: put them back from a copy \
             (the public one comes from the other by `openssl pkey -in {private} -pubout -out {public}`)"
        ));
    }
    for name in CERTIFICATES.iter().filter(|name| !AUTHORITIES.contains(name)) {
        let files = [format!("{PKI}/{name}.crt"), format!("{PKI}/{name}.key")];
        if !files.iter().all(|file| second_run::is_whole_pem(file)) {
            files.iter().try_for_each(|file| super::remove_file(file))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_configuration_is_noticed_however_often_it_was_tried() {
        let owned = |configs: &[&str]| Ownership {
            init_configs: configs.iter().map(|c| (*c).to_owned()).collect(),
            ..Ownership::default()
        };
        assert!(!changed_since(&owned(&["a", "a"]), "a"));
        assert!(changed_since(&owned(&["b", "a", "a"]), "a"));
    }

    #[test]
    fn phases_come_once() {
        let part = |phase: &str, gone: &str| Part { phase: phase.into(), gone: vec![gone.into()] };
        let mut seen = InitSeen::default();
        add(&mut seen, vec![part("etcd/local", "etcd.yaml"), part("kubelet-start", "config.yaml")]);
        add(&mut seen, vec![part("kubelet-start", "Node n"), part("addon/coredns", "Service s")]);
        assert_eq!(seen.missing, ["etcd/local", "kubelet-start", "addon/coredns"]);
        assert_eq!(seen.gone, ["etcd.yaml", "config.yaml", "Node n", "Service s"]);
    }
}
