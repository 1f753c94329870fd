//! Tests of the server end, on streams in memory.

use super::*;

fn frames(requests: &[Request]) -> Vec<u8> {
    let mut wire = Vec::new();
    for request in requests {
        frame::write(&mut wire, &serde_json::to_vec(request).unwrap()).unwrap();
    }
    wire
}

fn talk(host: &Host, wire: Vec<u8>) -> (Result<(), String>, Vec<Response>) {
    let mut out = Vec::new();
    let result = serve("n-1", host, std::io::Cursor::new(wire), &mut out);
    let mut rest = out.strip_prefix(b"kubewan-agent n-1\n").unwrap();
    let mut responses = Vec::new();
    while let Some(bytes) = frame::read(&mut rest).unwrap() {
        responses.push(serde_json::from_slice(&bytes).unwrap());
    }
    (result, responses)
}

#[test]
fn answers_in_order_and_ends_with_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let goal = Action::File(kubewan_core::action::File::text("/nonexistent/x", 0o644, "x"));
    let sha256 = kubewan_core::sha256_hex(b"hello");
    let mut wire = frames(&[
        Request::Observe { goals: vec![goal], values: Default::default() },
        Request::Journal { from: 0 },
        Request::Upload { sha256: sha256.clone(), offset: 0, last: true },
    ]);
    frame::write(&mut wire, &zstd::bulk::compress(b"hello", 1).unwrap()).unwrap();
    frame::write(&mut wire, b"{\"unheard-of\":1}").unwrap();
    wire.extend(frames(&[Request::Offset { sha256 }]));
    let (result, responses) = talk(&host, wire);
    assert_eq!(result, Ok(()));
    let absent = Observed::File(kubewan_core::action::file::FileSeen::default());
    assert_eq!(responses[0], Response::Observed(vec![Ok(absent)]));
    assert_eq!(responses[1], Response::Journal { entries: vec![], whole: 0 });
    assert_eq!(responses[2], Response::Stored { bytes: 5, complete: true });
    assert!(matches!(&responses[3], Response::Failed(e) if e.contains("can't read the request")));
    assert_eq!(responses[4], Response::Stored { bytes: 5, complete: true });
}

#[test]
fn an_oversize_frame_ends_the_connection() {
    let host = Host::at("/nonexistent");
    let (result, responses) = talk(&host, vec![0xff; 16]);
    assert!(result.unwrap_err().contains("not a frame of kubewan's"));
    assert_eq!(responses, []);
}

#[test]
fn reads_only_what_is_listed() {
    assert!(is_readable("/etc/kubernetes/admin.conf"));
    assert!(is_readable("/var/log/pods/kube-system_etcd/etcd/0.log"));
    assert!(!is_readable("/etc/kubernetes/admin.conf.bak"));
    assert!(read_file("/etc/passwd").unwrap_err().contains("not among"));
    assert!(
        read_file("/var/log/pods/../../../etc/passwd").is_ok_and(|t| t.is_none())
            || read_file("/var/log/pods/../../../etc/passwd").is_err()
    );
    assert_eq!(read_file("/var/log/pods/none"), Ok(None));
}

#[test]
fn what_is_left_to_take_back_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    assert_eq!(left_to_take_back(&host), Ok(None));
    let path = dir.path().join("x");
    let goal =
        Action::File(kubewan_core::action::File::text(path.to_str().unwrap(), 0o644, "ours"));
    let mut journal = journal::Journal::open(&host, "home").unwrap();
    let before = act::observe(&goal, &host).unwrap();
    let number = journal.begin("r", "s", &goal, before, 1).unwrap();
    std::fs::write(&path, "ours").unwrap();
    journal.end(number, act::observe(&goal, &host).unwrap(), vec![]).unwrap();
    assert_eq!(left_to_take_back(&host), Ok(Some(format!("file {}", path.display()))));
    // Someone else's by now.
    std::fs::write(&path, "theirs").unwrap();
    assert_eq!(left_to_take_back(&host), Ok(None));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(left_to_take_back(&host), Ok(None));
}

#[test]
fn a_journal_larger_than_a_frame_comes_in_parts() {
    let entry = |number| Entry::Undone { number };
    let long: Vec<Entry> = (0..500_000).map(entry).collect();
    let (mut read, mut parts) = (Vec::new(), 0);
    while read.len() < long.len() {
        let part = journal_part(long.clone(), read.len());
        assert!(serde_json::to_vec(&part).unwrap().len() < FRAME_MAX);
        let Response::Journal { entries, whole } = part else { panic!("{part:?}") };
        assert!(whole == long.len() && !entries.is_empty());
        read.extend(entries);
        parts += 1;
    }
    assert_eq!(read, long);
    assert!(parts > 1, "all of it fits into one answer: this shows nothing");
    assert_eq!(journal_part(long, 500_000), Response::Journal { entries: vec![], whole: 500_000 });
}
