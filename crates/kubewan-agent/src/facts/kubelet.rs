//! The kubelet's arguments: those it runs with, and every file that feeds them.

use std::fs;
use std::path::PathBuf;

use kubewan_core::facts::TextFile;

use super::systemd::Unit;

/// What kubeadm writes (`WriteKubeletDynamicEnvFile` in cmd/kubeadm/app/phases/kubelet/flags.go).
pub const FLAGS_FILE: &str = "/var/lib/kubelet/kubeadm-flags.env";

/// Files for an administrator's own arguments: Debian's and Red Hat's place
/// (`10-kubeadm.conf` in kubernetes/release).
const EXTRA_FILES: &[&str] = &["/etc/default/kubelet", "/etc/sysconfig/kubelet"];

/// Arguments of the running kubelet, without the program's name.
pub fn running_args(kubelet: &Unit) -> Vec<String> {
    let Some(pid) = kubelet.main_pid() else { return Vec::new() };
    split_cmdline(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())
}

pub(crate) fn split_cmdline(bytes: &[u8]) -> Vec<String> {
    let words = bytes.split(|b| *b == 0).filter(|word| !word.is_empty()).skip(1);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Every file that feeds kubelet arguments and is there: what kubeadm wrote, the administrator's, the unit
/// with its drop-ins and the environment files they name.
pub fn arg_files(kubelet: &Unit) -> Vec<TextFile> {
    let mut paths: Vec<String> = vec![FLAGS_FILE.to_owned()];
    paths.extend(EXTRA_FILES.iter().map(|path| (*path).to_owned()));
    paths.extend(kubelet.files());
    let mut files: Vec<TextFile> = Vec::new();
    for path in paths {
        if files.iter().any(|file| file.path == path) {
            continue;
        }
        if let Ok(text) = fs::read_to_string(&path) {
            files.push(TextFile { path, text });
        }
    }
    files
}

/// kubeadm's place for the kubelet's configuration (cmd/kubeadm/app/constants/constants.go).
const CONFIG_FILE: &str = "/var/lib/kubelet/config.yaml";

/// The files of its configuration that a kubelet with these arguments reads, in its order: `--config`, then the `.conf` files below
/// `--config-dir` by their paths (`mergeKubeletConfigurations`, cmd/kubelet/app/server.go).
pub fn config_files(args: &[String]) -> Vec<TextFile> {
    let first = flag_value(args, "config").unwrap_or_else(|| CONFIG_FILE.into());
    let mut drop_ins: Vec<String> = Vec::new();
    let mut folders: Vec<PathBuf> =
        flag_value(args, "config-dir").into_iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match path.is_dir() {
                true if !path.is_symlink() => folders.push(path),
                false if path.extension().is_some_and(|end| end == "conf") => {
                    drop_ins.push(path.to_string_lossy().into_owned());
                }
                _ => {}
            }
        }
    }
    drop_ins.sort();
    let read = |path: String| {
        let text = fs::read_to_string(&path).ok()?;
        Some(TextFile { path, text })
    };
    [first].into_iter().chain(drop_ins).filter_map(read).collect()
}

/// The value that arguments give to a flag; the last one wins, as in Go's flag sets.
pub fn flag_value<S: AsRef<str>>(args: &[S], name: &str) -> Option<String> {
    let mut found = None;
    let mut args = args.iter().map(AsRef::as_ref).peekable();
    while let Some(arg) = args.next() {
        let Some(rest) = arg.strip_prefix("--").and_then(|arg| arg.strip_prefix(name)) else {
            continue;
        };
        if let Some(value) = rest.strip_prefix('=') {
            found = Some(value.to_owned());
        } else if rest.is_empty() {
            // A boolean flag alone says true; any other one takes the next word.
            let next = args.peek().filter(|next| !next.starts_with('-'));
            found = Some(next.map_or_else(|| "true".to_owned(), |next| (*next).to_owned()));
        }
    }
    found
}

/// The value that a unit or environment file gives to a flag.
pub fn flag_in_text(text: &str, name: &str) -> Option<String> {
    let mut found = None;
    let mut words: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let all = line.split(SEPARATORS).filter(|word| !word.is_empty() && *word != "\\");
        words.extend(all.map(|word| &word[assigned(word)..]));
        // The next line is another variable's, unless this one goes on there.
        if !line.trim_end().ends_with('\\') {
            found = flag_value(&words, name).or(found);
            words.clear();
        }
    }
    flag_value(&words, name).or(found)
}

/// Where the flag begins in `KUBELET_EXTRA_ARGS=--node-ip=…` without quotes. In a flag it would be a part of its value.
fn assigned(word: &str) -> usize {
    if word.starts_with('-') { 0 } else { word.find("=--").map_or(0, |at| at + 1) }
}

/// What stands between the words of these files.
const SEPARATORS: [char; 5] = [' ', '\t', '"', '\'', '\r'];

/// The text without a flag, wherever it sets it.
pub fn without_flag(text: &str, name: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| {
            if line.trim_start().starts_with(['#', ';']) {
                line.to_owned()
            } else {
                line_without(line, name)
            }
        })
        .collect()
}

fn line_without(line: &str, name: &str) -> String {
    let flag = format!("--{name}");
    let mut line = line.to_owned();
    let mut from = 0;
    while let Some(at) = line[from..].find(&flag).map(|at| at + from) {
        let after = &line[at + flag.len()..];
        let word = line[..at].rfind(SEPARATORS).map_or(0, |before| before + 1);
        let starts = at == word || at == word + assigned(&line[word..]);
        let ends = |text: &str| {
            text.find(|c: char| SEPARATORS.contains(&c) || c == '\n').unwrap_or(text.len())
        };
        let length = if after.starts_with('=') {
            flag.len() + ends(after)
        } else if after.starts_with([' ', '\t']) {
            // `--node-ip 10.0.0.1`
            let space = after.len() - after.trim_start_matches([' ', '\t']).len();
            let value = &after[space..];
            let takes = !value.starts_with(['-', '"', '\'', '\\', '\r', '\n']);
            flag.len() + if takes { space + ends(value) } else { 0 }
        } else if after.is_empty() || after.starts_with(['"', '\'', '\r', '\n']) {
            flag.len()
        } else {
            from = at + flag.len();
            continue;
        };
        if !starts {
            from = at + flag.len();
            continue;
        }
        let mut end = at + length;
        // One of the two spaces around it goes too.
        let mut begin = at;
        if line[end..].starts_with(' ') {
            end += 1;
        } else if line[..at].ends_with(' ') {
            begin -= 1;
        }
        line.replace_range(begin..end, "");
        from = begin;
    }
    line
}

/// kubeadm-flags.env with a flag set to a value; `KUBELET_KUBEADM_ARGS="…"`.
pub fn with_flag(text: &str, name: &str, value: &str) -> String {
    const VARIABLE: &str = "KUBELET_KUBEADM_ARGS=";
    let rest = without_flag(text, name);
    let mut others = String::new();
    let mut args = String::new();
    for line in rest.split_terminator('\n') {
        match line.strip_prefix(VARIABLE) {
            Some(value) => args = value.trim_matches(SEPARATORS).to_owned(),
            None => {
                others.push_str(line);
                others.push('\n');
            }
        }
    }
    let flag = format!("--{name}={value}");
    let args = if args.is_empty() { flag } else { format!("{args} {flag}") };
    format!("{others}{VARIABLE}\"{args}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &str = "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///run/containerd/containerd.sock --node-ip=198.51.100.10\"\n";

    #[test]
    fn reads_flags() {
        assert_eq!(flag_in_text(FLAGS, "node-ip").as_deref(), Some("198.51.100.10"));
        assert_eq!(
            flag_in_text("KUBELET_EXTRA_ARGS=--node-ip=10.0.0.1\n", "node-ip").as_deref(),
            Some("10.0.0.1")
        );
        let unit = "[Service]\n# --node-ip=1.1.1.1\nExecStart=/usr/bin/kubelet --node-ip 10.0.0.2 \\\n  --v=2\n";
        assert_eq!(flag_in_text(unit, "node-ip").as_deref(), Some("10.0.0.2"));
        assert_eq!(flag_in_text(unit, "node").as_deref(), None);
        let args =
            split_cmdline(b"/usr/bin/kubelet\0--node-ip=1.2.3.4\0--node-ip=5.6.7.8\0--fail\0");
        assert_eq!(flag_value(&args, "node-ip").as_deref(), Some("5.6.7.8"));
        assert_eq!(flag_value(&args, "fail").as_deref(), Some("true"));
    }

    #[test]
    fn takes_flags_out() {
        for (text, expected) in [
            ("KUBELET_EXTRA_ARGS=--node-ip=10.0.0.1\n", "KUBELET_EXTRA_ARGS=\n"),
            ("KUBELET_EXTRA_ARGS=\"--v=2 --node-ip=10.0.0.1\"\n", "KUBELET_EXTRA_ARGS=\"--v=2\"\n"),
            ("X=\"--node-ip 10.0.0.1 --v=2\"", "X=\"--v=2\""),
            ("X='--node-ip-extra=1 --node-ip=2'\n", "X='--node-ip-extra=1'\n"),
            ("# --node-ip=2\nX=--node-ip\n", "# --node-ip=2\nX=\n"),
            ("ExecStart=k --node-ip=1 \\\n  --v=2\n", "ExecStart=k \\\n  --v=2\n"),
            ("X=1\n", "X=1\n"),
        ] {
            assert_eq!(without_flag(text, "node-ip"), expected);
            assert_eq!(flag_in_text(&without_flag(text, "node-ip"), "node-ip"), None, "{text}");
        }
    }

    #[test]
    fn values_that_look_like_flags_are_values() {
        let text = "--a=--node-ip=1 KUBELET_EXTRA_ARGS=--b=--node-ip=2";
        assert_eq!(flag_in_text(text, "node-ip"), None);
        assert_eq!(flag_in_text(text, "a").as_deref(), Some("--node-ip=1"));
        assert_eq!(flag_in_text(text, "b").as_deref(), Some("--node-ip=2"));
        assert_eq!(without_flag(text, "node-ip"), text);
        assert_eq!(without_flag(text, "b"), "--a=--node-ip=1 KUBELET_EXTRA_ARGS=");
    }

    #[test]
    fn a_line_s_end_ends_a_flag() {
        let text = "X=\"--v=2 --node-ip\r\nY=--node-ip=1\r\nZ=z\r\n";
        let without = without_flag(text, "node-ip");
        assert_eq!(without, "X=\"--v=2\r\nY=\r\nZ=z\r\n");
        assert_eq!(flag_in_text(text, "node-ip").as_deref(), Some("1"));
        let bare = "X=\"--v --node-ip\"\nY=z\n";
        assert_eq!(flag_in_text(bare, "node-ip").as_deref(), Some("true"));
        let long = "X=\"--v \\\n  2\"\n";
        assert_eq!(flag_in_text(long, "v").as_deref(), Some("2"));
        let odd = with_flag("KUBELET_KUBEADM_ARGS=\"\t\"0\n", "node-ip", "2");
        assert_eq!(odd, "KUBELET_KUBEADM_ARGS=\"0 --node-ip=2\"\n");
        let with = with_flag(text, "node-ip", "2");
        assert_eq!(with_flag(&with, "node-ip", "2"), with);
    }

    #[test]
    fn sets_a_flag() {
        let set = with_flag(FLAGS, "node-ip", "198.51.100.11");
        assert_eq!(set, FLAGS.replace("100.10", "100.11"));
        assert_eq!(
            with_flag("", "node-ip", "1.2.3.4"),
            "KUBELET_KUBEADM_ARGS=\"--node-ip=1.2.3.4\"\n"
        );
        let twice = with_flag(&set, "v", "2");
        assert!(twice.ends_with("--node-ip=198.51.100.11 --v=2\"\n"), "{twice}");
    }
}
