//! Why kubeadm failed. It says only that something did not come up in time; the cause stands in the logs of
//! what did not.

use std::fs;
use std::path::{Path, PathBuf};

use kubewan_core::container_log::{in_cri_format, message};

use super::super::kubelet::{cut, last_lines};

/// Where the kubelet keeps logs of pods.
const POD_LOGS: &str = "/var/log/pods";

/// Bytes of a log's end that are looked at.
const TAIL: usize = 64 << 10;

/// Last words of etcd, the API server and the kubelet, and what they mean.
pub(super) fn evidence() -> String {
    let mut text = String::new();
    let etcd = pod_log("etcd").map(|log| complaints(&log, is_etcd_complaint)).unwrap_or_default();
    let api =
        pod_log("kube-apiserver").map(|log| complaints(&log, is_klog_error)).unwrap_or_default();
    for (name, lines) in [("etcd", &etcd), ("kube-apiserver", &api)] {
        for line in lines {
            text.push_str(&format!("\n  {name}: {}", cut(line, 400)));
        }
    }
    text.push_str(&last_lines(5));
    if let Some(meaning) = meaning(&text) {
        text.push_str("\n  ");
        text.push_str(meaning);
    }
    text
}

/// etcd's last complaint, where it has one.
pub(super) fn said_by_etcd() -> Option<String> {
    let lines = complaints(&pod_log("etcd")?, is_etcd_complaint);
    // A fatal one carries its stack, which says nothing to whoever reads a plan.
    lines.last().map(|line| cut(line.split(",\"stacktrace\"").next().unwrap_or(line), 400))
}

pub(crate) fn meaning(text: &str) -> Option<&'static str> {
    let says = |words: &str| text.contains(words);
    if says("cannot assign requested address") {
        Some(
            "etcd or the API server was told to listen on an address that is on no interface of this host; \
             `kubewan plan` shows the step that puts it there",
        )
    } else if says("address already in use") {
        Some(
            "another program holds a port that the control plane needs; `ss -lntp` on the host names it",
        )
    } else if says("no space left on device") {
        Some("the disk is full")
    } else {
        None
    }
}

/// The end of the newest log of a static pod's container.
fn pod_log(component: &str) -> Option<String> {
    let prefix = format!("kube-system_{component}-");
    let mut logs: Vec<PathBuf> = Vec::new();
    for pod in fs::read_dir(POD_LOGS).ok()?.flatten() {
        if pod.file_name().to_string_lossy().starts_with(&prefix) {
            let container = pod.path().join(component);
            logs.extend(fs::read_dir(container).into_iter().flatten().flatten().map(|e| e.path()));
        }
    }
    let age = |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified()).ok();
    logs.sort_by_key(age);
    tail(logs.last()?)
}

fn tail(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let from = bytes.len().saturating_sub(TAIL);
    Some(String::from_utf8_lossy(&bytes[from..]).into_owned())
}

/// The last lines that complain, without what the runtime puts around them.
pub(crate) fn complaints(log: &str, complains: fn(&str) -> bool) -> Vec<String> {
    let log = in_cri_format(log);
    let lines: Vec<&str> = log.lines().map(message).filter(|line| complains(line)).collect();
    lines[lines.len().saturating_sub(2)..].iter().map(|line| (*line).to_owned()).collect()
}

pub(crate) fn is_etcd_complaint(line: &str) -> bool {
    ["\"level\":\"fatal\"", "\"level\":\"error\"", "\"level\":\"panic\""]
        .iter()
        .any(|l| line.contains(l))
        || line.contains("cannot assign requested address")
}

/// klog's severity is its first letter; `Error:` comes from the command line.
pub(crate) fn is_klog_error(line: &str) -> bool {
    let severe = line.starts_with(['E', 'F'])
        && line.get(1..5).is_some_and(|date| date.bytes().all(|b| b.is_ascii_digit()));
    severe || line.starts_with("Error:") || line.starts_with("panic:")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As etcd 3.5 wrote it in a host behind 1:1 NAT.
    const ETCD: &str = r#"2026-01-01T00:00:00.1Z stderr F {"level":"info","msg":"starting an etcd server"}
2026-01-01T00:00:00.2Z stderr F {"level":"fatal","msg":"discovery failed","error":"listen tcp 198.51.100.10:2380: bind: cannot assign requested address"}
"#;

    #[test]
    fn finds_etcd_s_own_line() {
        let found = complaints(ETCD, is_etcd_complaint);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("{\"level\":\"fatal\"") && found[0].contains(":2380: bind"));
        assert!(meaning(&found[0]).unwrap().contains("no interface of this host"));
    }

    #[test]
    fn finds_it_in_dockers_log() {
        let line = r#"{"log":"{\"level\":\"fatal\",\"msg\":\"discovery failed\",\"error\":\"listen tcp 198.51.100.10:2380: bind: cannot assign requested address\"}\n","stream":"stderr","time":"2026-01-01T00:00:00.2Z"}"#;
        assert_eq!(complaints(line, is_etcd_complaint), complaints(ETCD, is_etcd_complaint));
        let error = r#"{"log":"E1123 17:00:00.1 1 main.go:1] \"x\"\n","stream":"stderr","time":"2026-11-23T17:00:00.1Z"}"#;
        assert_eq!(complaints(error, is_klog_error), ["E1123 17:00:00.1 1 main.go:1] \"x\""]);
    }

    #[test]
    fn finds_klog_errors() {
        assert!(is_klog_error("E1123 17:00:00.1 1 main.go:1] \"x\""));
        assert!(is_klog_error("Error: unknown flag: --x"));
        assert!(!is_klog_error("I1123 17:00:00.1 1 main.go:1] x") && !is_klog_error("Exit"));
    }
}
