//! Where the etcd beside the API server listens: changed in the ConfigMap that joins read and in the static pod's
//! manifest, after which the kubelet starts it anew.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kubewan_core::action::EtcdListens;
use kubewan_core::action::etcd::{EtcdSeen, EtcdUrls};
use serde_json::Value;

use super::super::cluster::{Answer, admin, ask, change, tolerate, wait_for};
use super::super::{Host, Performing};
use super::failure;
use crate::disk::{Access, write_atomic};

/// The static pod's manifest. kubeadm writes it 0600 (`WriteStaticPodToDisk`, cmd/kubeadm/app/util/staticpod/utils.go).
pub(super) const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// Looks where etcd listens and is told to.
///
/// # Errors
/// Fails where the API does not answer although it should.
pub fn observe_etcd_listens(goal: &EtcdListens, host: &Host) -> Result<EtcdSeen, String> {
    let Ok(manifest) = fs::read_to_string(MANIFEST) else { return Ok(EtcdSeen::default()) };
    let configured = configuration(host)?.and_then(|map| {
        let text = map["data"]["ClusterConfiguration"].as_str()?;
        let url = |name| configured_argument(text, name).unwrap_or_default();
        Some(EtcdUrls { client: url(EtcdUrls::CLIENT), peer: url(EtcdUrls::PEER) })
    });
    let running = running();
    // One that is about to end may still be there beside its successor.
    let other = running.iter().find(|urls| **urls != goal.urls);
    Ok(EtcdSeen {
        manifest: Some(urls_of(manifest.lines().filter_map(|line| line.trim().strip_prefix("- ")))),
        configured,
        running: other.or(running.first()).cloned(),
    })
}

/// kubeadm's record of the cluster's configuration; `None` where there is none yet.
fn configuration(host: &Host) -> Result<Option<Value>, String> {
    let get = ["get", "configmap", "-n", "kube-system", "kubeadm-config", "-o", "json"];
    let program = admin(host).args(get).arg("--ignore-not-found");
    match ask(host, &program).map_err(|e| format!("can't look at kubeadm-config: {e}"))? {
        Answer::Object(map) => Ok(Some(map)),
        Answer::Nothing | Answer::NoApi => Ok(None),
    }
}

/// URLs among arguments as `--listen-client-urls=…`.
fn urls_of<'a>(arguments: impl Iterator<Item = &'a str>) -> EtcdUrls {
    let mut urls = EtcdUrls::default();
    for argument in arguments {
        match argument.strip_prefix("--").and_then(|argument| argument.split_once('=')) {
            Some((EtcdUrls::CLIENT, url)) => urls.client = url.to_owned(),
            Some((EtcdUrls::PEER, url)) => urls.peer = url.to_owned(),
            _ => {}
        }
    }
    urls
}

/// What each etcd of a pod that runs here was started with.
fn running() -> Vec<EtcdUrls> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let read = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
        let mut words = command.split('\0');
        let is_etcd =
            words.next().is_some_and(|program| program.rsplit('/').next() == Some("etcd"));
        // One that is no pod's is not the cluster's.
        if is_etcd && String::from_utf8_lossy(&read("cgroup")).contains("kubepods") {
            found.push(urls_of(words));
        }
    }
    found
}

/// Changes both, and waits until etcd and the API are back.
///
/// # Errors
/// What could not be changed, or etcd's last words where it does not come back.
pub fn perform_etcd_listens(
    goal: &EtcdListens,
    seen: &EtcdSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    // First what is asked of the API, which is away for a moment then.
    if seen.configured.as_ref() != Some(&goal.urls) {
        configure(goal, cx)?;
    }
    if seen.manifest.as_ref() != Some(&goal.urls) {
        let text =
            fs::read_to_string(MANIFEST).map_err(|e| format!("can't read {MANIFEST}: {e}"))?;
        let text = with_flag(&text, EtcdUrls::CLIENT, &goal.urls.client)
            .and_then(|text| with_flag(&text, EtcdUrls::PEER, &goal.urls.peer))
            .map_err(|name| format!("{MANIFEST} has no --{name}; is it kubeadm's?"))?;
        let access = Access::root(0o600);
        write_atomic(Path::new(MANIFEST), &mut text.as_bytes(), access, &|_| Ok(()))?;
    }
    (cx.progress)("waiting for the kubelet to start etcd anew");
    let until = Instant::now() + Duration::from_secs(goal.timeout_s);
    let left = || until.saturating_duration_since(Instant::now());
    let is_new = || {
        let running = running();
        !running.is_empty() && running.iter().all(|urls| *urls == goal.urls)
    };
    let started = wait_for(left(), Duration::from_secs(1), || Ok(is_new().then_some(())))?;
    let words = match started {
        None => "no etcd runs with the new settings",
        Some(()) if answers(cx.host, left())? => return Ok(()),
        Some(()) => "the API does not answer from it",
    };
    Err(format!(
        "etcd did not come back within {} s after it was told to listen on {}: {words}{}",
        goal.timeout_s,
        goal.urls.peer,
        failure::evidence()
    ))
}

/// Waits until the API reads from etcd as before. `/readyz` does not tell: the API server's clients of etcd back off each
/// by itself, and requests went on to time out for half a minute after it had said `ok`.
fn answers(host: &Host, patience: Duration) -> Result<bool, String> {
    /// So many answers one after another.
    const STEADY: u32 = 5;
    let mut steady = 0;
    let answered = wait_for(patience, Duration::from_secs(1), || {
        let answer = tolerate(configuration(host))?;
        steady = if answer.is_some() { steady + 1 } else { 0 };
        Ok((steady == STEADY).then_some(()))
    })?;
    Ok(answered.is_some())
}

fn configure(goal: &EtcdListens, cx: &mut Performing<'_>) -> Result<(), String> {
    let mut map = configuration(cx.host)?
        .ok_or("can't change kubeadm-config in kube-system: there is no such ConfigMap")?;
    let text = map["data"]["ClusterConfiguration"].as_str().unwrap_or_default();
    let text = with_configured_argument(text, EtcdUrls::CLIENT, &goal.urls.client)
        .and_then(|text| with_configured_argument(&text, EtcdUrls::PEER, &goal.urls.peer))
        .map_err(|name| {
            format!("kubeadm-config in kube-system has no `{name}` under etcd.local.extraArgs; someone edited it")
        })?;
    map["data"]["ClusterConfiguration"] = text.into();
    // With the version that was read: one that changed meanwhile is refused by the API.
    let replace = admin(cx.host).args(["replace", "-f", "-"]).stdin(map.to_string());
    change(&replace, cx).map_err(|e| format!("can't change kubeadm-config in kube-system: {e}"))?;
    Ok(())
}

/// A manifest with another value of a flag; the flag's name where it has none.
fn with_flag<'a>(manifest: &str, name: &'a str, value: &str) -> Result<String, &'a str> {
    let start = format!("- --{name}=");
    let change = |line: &str| {
        let at = line.find(&start).filter(|at| line[..*at].trim().is_empty())?;
        Some(format!("{}{start}{value}", &line[..at]))
    };
    with_lines(manifest, change).ok_or(name)
}

/// The text with lines changed; `None` where none is.
fn with_lines(text: &str, mut change: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut changed = false;
    let lines = text.lines().map(|line| match change(line) {
        Some(new) => {
            changed = true;
            new + "\n"
        }
        None => format!("{line}\n"),
    });
    let new: String = lines.collect();
    changed.then_some(new)
}

/// Whether a line of a ClusterConfiguration is the value of an argument of etcd's. Written as kubeadm writes it: `- name:`
/// and `value:` in v1beta4, `name: value` in v1beta3.
struct Arguments<'a> {
    name: &'a str,
    in_etcd: bool,
    named: bool,
}

impl<'a> Arguments<'a> {
    fn of(name: &'a str) -> Self {
        Arguments { name, in_etcd: false, named: false }
    }

    /// Where the line's value begins, if it is the argument's.
    fn value_at(&mut self, line: &str) -> Option<usize> {
        if !line.starts_with([' ', '-']) {
            self.in_etcd = line.trim_end() == "etcd:";
        }
        let words = line.trim_start().trim_start_matches("- ");
        let follows = std::mem::take(&mut self.named);
        self.named = words.strip_prefix("name: ").is_some_and(|name| name.trim() == self.name);
        let key = if follows { "value" } else { self.name };
        let value = words.strip_prefix(key)?.strip_prefix(": ")?;
        self.in_etcd.then_some(line.len() - value.len())
    }
}

/// The value of an argument of etcd's in a ClusterConfiguration.
pub(crate) fn configured_argument(text: &str, name: &str) -> Option<String> {
    let mut arguments = Arguments::of(name);
    let value = |line: &str| arguments.value_at(line).map(|at| line[at..].trim().to_owned());
    text.lines().find_map(value)
}

/// The same with another value; the argument's name where there is none.
fn with_configured_argument<'a>(text: &str, name: &'a str, value: &str) -> Result<String, &'a str> {
    let mut arguments = Arguments::of(name);
    let change = |line: &str| arguments.value_at(line).map(|at| format!("{}{value}", &line[..at]));
    with_lines(text, change).ok_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubeadm 1.36 stores it, but for parts left out.
    const V1BETA4: &str = "apiServer:
  certSANs:
  - api.home.kubewan
apiVersion: kubeadm.k8s.io/v1beta4
etcd:
  local:
    dataDir: /var/lib/etcd
    extraArgs:
    - name: listen-client-urls
      value: https://127.0.0.1:2379
    - name: listen-peer-urls
      value: https://127.0.0.1:2380
kind: ClusterConfiguration
";

    const V1BETA3: &str = "etcd:
  local:
    dataDir: /var/lib/etcd
    extraArgs:
      listen-client-urls: https://127.0.0.1:2379
      listen-peer-urls: https://127.0.0.1:2380
scheduler:
  extraArgs:
    listen-peer-urls: https://127.0.0.1:2380
";

    #[test]
    fn the_stored_configuration_changes_in_one_place() {
        for text in [V1BETA4, V1BETA3] {
            let peer = configured_argument(text, EtcdUrls::PEER);
            assert_eq!(peer.as_deref(), Some("https://127.0.0.1:2380"));
            let new = "https://0.0.0.0:2380";
            let changed = with_configured_argument(text, EtcdUrls::PEER, new).unwrap();
            assert_eq!(configured_argument(&changed, EtcdUrls::PEER).as_deref(), Some(new));
            let old = "https://127.0.0.1:2380";
            assert_eq!(changed, text.replacen(old, new, 1), "nothing else is another");
        }
        let none = with_configured_argument("etcd:\n  local: {}\n", EtcdUrls::CLIENT, "x");
        assert_eq!(none, Err(EtcdUrls::CLIENT));
    }

    #[test]
    fn the_manifest_changes_in_one_place() {
        let manifest = "    - etcd\n    - --listen-client-urls=https://127.0.0.1:2379\n    - --listen-peer-urls=https://127.0.0.1:2380\n    - --listen-metrics-urls=http://127.0.0.1:2381\n";
        let changed = with_flag(manifest, EtcdUrls::PEER, "https://0.0.0.0:2380").unwrap();
        assert_eq!(changed, manifest.replace("https://127.0.0.1:2380", "https://0.0.0.0:2380"));
        let flags = changed.lines().filter_map(|line| line.trim().strip_prefix("- "));
        assert_eq!(urls_of(flags).peer, "https://0.0.0.0:2380");
        assert_eq!(with_flag("- etcd\n", EtcdUrls::PEER, "x"), Err(EtcdUrls::PEER));
    }
}
