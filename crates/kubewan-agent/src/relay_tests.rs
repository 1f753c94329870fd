//! Tests of relaying, with a log in a temporary folder and a unit that is told what to say.

use std::collections::BTreeMap;
use std::io::Write;

use super::*;

fn event(seq: u64, what: BatchNews) -> String {
    format!("{}\n", serde_json::to_string(&BatchEvent { seq, unix_ms: 1, what }).unwrap())
}

fn started(seq: u64) -> String {
    event(seq, BatchNews::Started { step: "s".into() })
}

fn append(dir: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.append(true).create(true).open(dir.join(EVENTS)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn runs() -> Result<UnitState, String> {
    Ok(UnitState::Runs { run: "r".into(), batch: "b".into() })
}

#[test]
fn relays_from_a_number_and_waits_for_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), &started(1));
    let (half, rest) = (started(2), event(3, BatchNews::Finished));
    append(dir.path(), &half[..10]);
    let writer = {
        let (dir, text) = (dir.path().to_owned(), format!("{}{rest}", &half[10..]));
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            append(&dir, &text);
        })
    };
    let mut seen = Vec::new();
    let mut send = |event: BatchEvent| {
        seen.push(event.seq);
        Ok(())
    };
    let end = follow(dir.path(), 2, &mut send, &mut || true, &mut runs);
    writer.join().unwrap();
    assert_eq!(end, Ok(BatchEnd::Finished));
    assert_eq!(seen, [2, 3]);
}

#[test]
fn a_unit_that_is_gone_is_a_lost_batch_but_its_last_words_count() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), &started(1));
    let mut rests = || Ok(state_of("loaded", "failed", "oom-kill", ""));
    let end = follow(dir.path(), 1, &mut |_| Ok(()), &mut || true, &mut rests).unwrap();
    assert!(matches!(end, BatchEnd::Lost { reason } if reason.contains("out of memory")));

    // The end is written just before the unit goes.
    let path = dir.path().to_owned();
    let mut rests = || {
        append(&path, &event(2, BatchNews::Finished));
        Ok(state_of("not-found", "inactive", "success", UNIT))
    };
    let end = follow(dir.path(), 1, &mut |_| Ok(()), &mut || true, &mut rests);
    assert_eq!(end, Ok(BatchEnd::Finished));
}

#[test]
fn nobody_listens_and_the_batch_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), &started(1));
    assert!(follow(dir.path(), 1, &mut |_| Ok(()), &mut || false, &mut runs).is_err());
    let mut closed = |_| Err("closed".to_owned());
    assert_eq!(follow(dir.path(), 1, &mut closed, &mut || true, &mut runs), Err("closed".into()));
}

#[test]
fn reads_what_systemd_says() {
    let runs = UnitState::Runs { run: "r-1".into(), batch: "control-plane".into() };
    assert_eq!(state_of("loaded", "active", "success", &description("r-1", "control-plane")), runs);
}

#[test]
fn names_stay_in_their_folder() {
    let host = Host::at("/state");
    for name in ["..", "a/b", "", "a b", ".hidden"] {
        assert!(folder(&host, name, "x").is_err(), "{name}");
        assert!(folder(&host, "x", name).is_err(), "{name}");
    }
    assert_eq!(folder(&host, "r1", "join"), Ok(PathBuf::from("/state/runs/r1/join")));
}

#[test]
fn old_runs_and_stale_spools_go() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path());
    for run in 0..30 {
        let batch = host.runs().join(format!("r{run}")).join("prepare");
        disk::make_private_dir(&batch).unwrap();
        std::fs::write(batch.join(ORDERS), "{}").unwrap();
        let run = File::open(batch.parent().unwrap()).unwrap();
        let age = Duration::from_secs(1000);
        run.set_modified(SystemTime::now() - age).unwrap();
    }
    File::open(host.runs().join("r7")).unwrap().set_modified(SystemTime::now()).unwrap();
    remove_stale_spools(&host);
    prune(&host, "r30");
    assert_eq!(entries(&host.runs()).len(), RUNS_KEPT - 1);
    assert!(host.runs().join("r7/prepare").exists());
    assert!(!host.runs().join("r7/prepare").join(ORDERS).exists());
}

#[test]
fn the_last_batch_of_a_run_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path());
    assert_eq!(last_batch(&host, "r1"), Ok(None));
    for (batch, age) in [("prepare", 100), ("runtime", 10)] {
        let path = host.runs().join("r1").join(batch);
        disk::make_private_dir(&path).unwrap();
        append(&path, &started(1));
        let file = File::options().append(true).open(path.join(EVENTS)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    assert_eq!(last_batch(&host, "r1"), Ok(Some(host.runs().join("r1/runtime"))));
}

#[test]
fn orders_are_read_back_as_they_went() {
    let orders = Orders {
        run: "r".into(),
        cluster: "c".into(),
        batch: "b".into(),
        steps: vec![],
        values: BTreeMap::from([("@secret(x)@".into(), "y".into())]),
        timeout_s: 1,
        undoes: BTreeMap::new(),
    };
    let text = serde_json::to_vec(&orders).unwrap();
    assert_eq!(serde_json::from_slice::<Orders>(&text).unwrap(), orders);
}

#[test]
fn the_last_words_are_the_batchs_own() {
    let journal = "; its last lines:\n  Started kubewan-batch.service - kubewan run a batch x.\n  old\n  \
                   Started kubewan-batch.service - kubewan run b batch x.\n  thread panicked\n  \
                   kubewan-batch.service: Main process exited, code=dumped\n";
    assert_eq!(last_words(journal), "\n  thread panicked");
    assert_eq!(last_words("; see `journalctl`"), "");
}
