//! Ends of the logs that a node's parts write: journals of units, and files of containers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kubewan_core::container_log::in_cri_format;
use kubewan_core::evidence::{Component, LOG_BYTES, LOG_LINES, LOGS, Log, RECENT_S};
use kubewan_core::redact::redact;

use super::tail;
use crate::command::Program;

/// Units whose journals are read.
const JOURNALS: [(&str, Component); 4] = [
    ("kubelet.service", Component::Kubelet),
    ("containerd.service", Component::Containerd),
    ("docker.service", Component::Docker),
    ("cri-docker.service", Component::Docker),
];

/// Lines of a journal that has nothing new.
const LAST_WORDS: usize = 60;

/// Files of one container that are read, newest first: one that is restarted all the time says why in the one before.
const FILES: usize = 2;

/// All of them.
pub(super) fn logs() -> Vec<Log> {
    let mut logs: Vec<Log> = JOURNALS.iter().filter_map(|(unit, by)| journal(unit, *by)).collect();
    logs.extend(of_containers(Path::new("/var/log/pods"), SystemTime::now()));
    logs.truncate(LOGS);
    logs
}

fn journal(unit: &str, component: Component) -> Option<Log> {
    let read = |since: Option<String>, lines: usize| {
        let program = Program::new("journalctl")
            .args(["--quiet", "--no-pager", "--output=short-iso", "--reverse", "--unit", unit])
            .arg(format!("--lines={lines}"))
            .args(since)
            .timeout(Duration::from_secs(20));
        // Newest first: of a time's lines journalctl takes the first ones otherwise, and a kubelet in trouble writes ten a second.
        let newest_first = program.output().map(|output| output.stdout).unwrap_or_default();
        let lines: Vec<&str> = newest_first.lines().rev().collect();
        lines.join("\n")
    };
    let text = read(Some(format!("--since=-{RECENT_S}s")), LOG_LINES);
    let recent = !text.trim().is_empty();
    let text = if recent { text } else { read(None, LAST_WORDS) };
    if text.trim().is_empty() {
        return None;
    }
    let name = unit.trim_end_matches(".service");
    Some(Log { component, source: format!("journal of {name}"), text: bounded(&text), recent })
}

/// `NAMESPACE_POD_UID/CONTAINER/N.log`, as the kubelet names them.
pub(crate) fn of_containers(pods: &Path, now: SystemTime) -> Vec<Log> {
    let mut files: BTreeMap<Component, Vec<(SystemTime, PathBuf)>> = BTreeMap::new();
    for container in below(pods).into_iter().flat_map(|pod| below(&pod)) {
        let name = container.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(component) = name.as_deref().and_then(Component::of_container) else { continue };
        for file in below(&container) {
            let Ok(metadata) = fs::metadata(&file) else { continue };
            if metadata.is_file() && file.extension().is_some_and(|end| end == "log") {
                let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.entry(component).or_default().push((written, file));
            }
        }
    }
    let mut logs = Vec::new();
    for (component, mut files) in files {
        files.sort_by(|a, b| b.cmp(a));
        for (written, path) in files.into_iter().take(FILES) {
            let Some(text) = tail(&path, LOG_BYTES) else { continue };
            let age = now.duration_since(written).unwrap_or_default();
            logs.push(Log {
                component,
                source: path.to_string_lossy().into_owned(),
                text: bounded(&in_cri_format(&text)),
                recent: age.as_secs() <= RECENT_S,
            });
        }
    }
    logs
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The last lines, whole ones, without tokens and keys.
pub(crate) fn bounded(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    let from = text.len().saturating_sub(LOG_BYTES);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let lines: Vec<&str> = text[from..].lines().collect();
    // The first line was cut.
    let first = if from > 0 { 1 } else { 0 };
    let first = lines.len().saturating_sub(LOG_LINES).max(first.min(lines.len()));
    redact(&lines[first..].join("\n"), &BTreeMap::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_files_of_known_containers_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let etcd = folder.path().join("kube-system_etcd-master01_1/etcd");
        fs::create_dir_all(&etcd).unwrap();
        fs::create_dir_all(folder.path().join("default_app_2/app")).unwrap();
        fs::write(folder.path().join("default_app_2/app/0.log"), "mine").unwrap();
        let now = SystemTime::now();
        for (number, age) in [(0, 5000), (1, 900), (2, 0)] {
            let file = fs::File::create(etcd.join(format!("{number}.log"))).unwrap();
            std::io::Write::write_all(
                &mut &file,
                format!("{number} abcdef.0123456789abcdef\n").as_bytes(),
            )
            .unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
        }
        let logs = of_containers(folder.path(), now);
        let told: Vec<(&str, bool)> =
            logs.iter().map(|log| (log.text.as_str(), log.recent)).collect();
        assert_eq!(told, [("2 [hidden]", true), ("1 [hidden]", false)]);
    }

    /// Docker's are links to its own files.
    #[test]
    fn dockers_lines_are_read_as_all_others() {
        let folder = tempfile::tempdir().unwrap();
        let etcd = folder.path().join("pods/kube-system_etcd-master01_1/etcd");
        fs::create_dir_all(&etcd).unwrap();
        let line = r#"{"log":"{\"level\":\"fatal\",\"msg\":\"abcdef.0123456789abcdef\"}\n","stream":"stderr","time":"2026-11-26T09:00:00.1Z"}"#;
        let file = folder.path().join("1-json.log");
        fs::write(&file, format!("{line}\n")).unwrap();
        std::os::unix::fs::symlink(&file, etcd.join("0.log")).unwrap();
        let logs = of_containers(&folder.path().join("pods"), SystemTime::now());
        let text = r#"2026-11-26T09:00:00.1Z stderr F {"level":"fatal","msg":"[hidden]"}"#;
        assert_eq!(logs.iter().map(|log| log.text.as_str()).collect::<Vec<_>>(), [text]);
    }

    #[test]
    fn a_long_log_is_its_end() {
        let text = "ä line that is cut\n".repeat(10_000);
        let kept = bounded(&text);
        assert!(kept.len() <= LOG_BYTES && kept.lines().count() <= LOG_LINES);
        assert!(kept.lines().all(|line| line == "ä line that is cut"));
        assert_eq!(bounded("a\nb"), "a\nb");
    }
}
