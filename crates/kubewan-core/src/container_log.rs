//! Lines of containers' logs, as runtimes keep them below /var/log/pods. containerd writes the CRI's format, one line of
//! `TIME STREAM F MESSAGE`; what Docker has there are links to the files of its driver `json-file`, with one object a line:
//! `{"log":"MESSAGE\n","stream":"stderr","time":"TIME"}` (`JSONLog` in daemon/logger/jsonfilelog/jsonlog of moby/moby).

use std::borrow::Cow;

use serde::Deserialize;

/// A line of Docker's. Labels (`attrs`) may stand in it too.
#[derive(Deserialize)]
struct DockersLine {
    log: String,
    stream: Stream,
    time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stream {
    Stdout,
    Stderr,
}

/// The text with Docker's lines in the CRI's format, all others as they are: line for line, so that numbers of lines stay.
pub fn in_cri_format(text: &str) -> Cow<'_, str> {
    let read: Vec<Option<String>> = text.lines().map(of_docker).collect();
    if read.iter().all(Option::is_none) {
        return text.into();
    }
    let mut all = String::with_capacity(text.len());
    for (line, read) in text.lines().zip(&read) {
        all.push_str(read.as_deref().unwrap_or(line));
        all.push('\n');
    }
    all.into()
}

/// What the container said, without the runtime's own stamp (the CRI's log format).
pub fn message(line: &str) -> &str {
    let mut words = line.splitn(4, ' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(time), Some("stdout" | "stderr"), Some("F" | "P"), Some(message))
            if time.contains('T') =>
        {
            message
        }
        _ => line,
    }
}

fn of_docker(line: &str) -> Option<String> {
    // Its encoder begins with this key.
    if !line.starts_with("{\"log\":") {
        return None;
    }
    let DockersLine { log, stream, time } = serde_json::from_str(line).ok()?;
    // A word that is no time would make another line of it.
    let is_time = |c: char| c.is_ascii_digit() || "-:.TZ+".contains(c);
    if !time.contains('T') || !time.chars().all(is_time) {
        return None;
    }
    let stream = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    // What has no end is the beginning of a line that was too long: Docker cuts at 16 KiB.
    let (message, part) = match log.strip_suffix('\n') {
        Some(message) => (message, "F"),
        None => (log.as_str(), "P"),
    };
    // One line stays one.
    let message = message.replace(['\n', '\r'], " ");
    Some(format!("{time} {stream} {part} {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker kept what kube-apiserver 1.17 wrote, and etcd 3.5 in a host behind 1:1 NAT.
    const DOCKERS: &str = concat!(
        r#"{"log":"I0324 03:42:44.573965       1 httplog.go:90] POST /apis/apps/v1/namespaces/default/deployments: (13.177203ms) 201 [kubectl/v1.17.4 (linux/amd64) kubernetes/8d8aa39 192.0.2.2:42876]\n","stream":"stderr","time":"2020-03-24T03:42:44.574561651Z"}"#,
        "\n",
        r#"{"log":"{\"level\":\"fatal\",\"ts\":\"2026-11-26T09:00:00.123Z\",\"caller\":\"etcdmain/etcd.go:204\",\"msg\":\"discovery failed\",\"error\":\"listen tcp 198.51.100.10:2380: bind: cannot assign requested address\",\"stacktrace\":\"main.main\\n\\t/go/src/go.etcd.io/etcd/release/etcd/server/main.go:32\"}\n","stream":"stderr","time":"2026-11-26T09:00:00.124031651Z"}"#,
        "\n",
    );

    #[test]
    fn dockers_lines_become_the_cri_s() {
        let read = in_cri_format(DOCKERS);
        let lines: Vec<&str> = read.lines().collect();
        assert_eq!(
            lines[0],
            "2020-03-24T03:42:44.574561651Z stderr F I0324 03:42:44.573965       1 httplog.go:90] POST /apis/apps/v1/namespaces/default/deployments: (13.177203ms) 201 [kubectl/v1.17.4 (linux/amd64) kubernetes/8d8aa39 192.0.2.2:42876]"
        );
        let etcd: serde_json::Value = serde_json::from_str(message(lines[1])).expect("its own");
        assert_eq!(etcd["level"], "fatal");
        assert_eq!(lines.len(), 2);
        assert_eq!(in_cri_format(&read), read);
    }

    #[test]
    fn one_line_stays_one() {
        let odd = concat!(
            "{\"log\":\"{\\\"a\n",
            "{\"log\":\"a\\nb\\r\\u2028c\",\"stream\":\"stdout\",\"time\":\"2026-11-26T09:00:00Z\",\"attrs\":{\"a\":\"b\"}}\n",
            "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-26T09:00:00Z\\nb\"}\n",
            "{\"log\":\"a\\n\",\"stream\":\"other\",\"time\":\"2026-11-26T09:00:00Z\"}\n\n",
            "2026-11-26T09:00:00Z stderr F a\r\n",
        );
        let read = in_cri_format(odd);
        let (before, after): (Vec<&str>, Vec<&str>) =
            (odd.lines().collect(), read.lines().collect());
        assert_eq!(after[1], "2026-11-26T09:00:00Z stdout P a b \u{2028}c");
        assert_eq!(after.len(), before.len());
        let rest =
            |lines: &[&str]| lines.iter().skip(2).map(|l| (*l).to_owned()).collect::<Vec<_>>();
        assert_eq!(rest(&after), rest(&before));
    }

    #[test]
    fn stamps_are_taken_off() {
        assert_eq!(message("2026-11-26T09:00:00.1Z stderr F {\"level\":1}"), "{\"level\":1}");
        for own in ["Nov 26 09:00:00 a kubelet[1]: F x", "plain line of three words"] {
            assert_eq!(message(own), own);
        }
    }
}
