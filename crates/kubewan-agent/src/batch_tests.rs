//! Tests of a batch at work, in this process and a temporary folder.

use std::collections::BTreeMap;

use kubewan_core::action::{File, Input};

use super::*;

struct World {
    dir: tempfile::TempDir,
    host: Host,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path().join("state"));
        crate::disk::make_private_dir(host.root()).unwrap();
        World { dir, host }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, text: &str) -> OrderedStep {
        let action = Action::File(File::text(self.path(name), 0o644, text));
        let seen = act::observe(&action, &self.host).unwrap();
        let shown = diff(&action, &seen).unwrap();
        OrderedStep { id: format!("h/file:{name}"), action, shown }
    }

    fn orders(&self, run: &str, steps: Vec<OrderedStep>) -> Orders {
        Orders {
            run: run.into(),
            cluster: "home".into(),
            batch: "prepare".into(),
            steps,
            values: BTreeMap::new(),
            timeout_s: 60,
            undoes: BTreeMap::new(),
        }
    }

    /// Performs and returns the news.
    fn perform(&self, orders: &Orders) -> Vec<BatchNews> {
        let dir = self.host.runs().join(&orders.run).join(&orders.batch);
        crate::disk::make_private_dir(&dir).unwrap();
        let log = Mutex::new(Log::open(&dir).unwrap());
        perform(orders, self.host.clone(), &log);
        let events = parse_events(&std::fs::read(dir.join(EVENTS)).unwrap());
        events.into_iter().map(|event| event.what).collect()
    }

    fn begun(&self) -> Vec<Begun> {
        let entries = journal::read(&self.host).unwrap();
        journal::standing(&entries).into_iter().map(|(begun, _)| begun.clone()).collect()
    }
}

fn done(step: &str, changed: bool) -> BatchNews {
    BatchNews::Done { step: step.into(), changed, outputs: BTreeMap::new() }
}

fn error_of(news: &[BatchNews]) -> &str {
    match news.last() {
        Some(BatchNews::Failed { error, .. }) => error,
        other => panic!("no failure: {other:?}"),
    }
}

#[test]
fn changes_once_and_keeps_what_was_there() {
    let world = World::new();
    std::fs::write(world.path("a"), "first").unwrap();
    let orders = world.orders("r1", vec![world.file("a", "ours"), world.file("sub/b", "new")]);
    let started = |step: &str| BatchNews::Started { step: step.into() };
    assert_eq!(
        world.perform(&orders),
        [
            started("h/file:a"),
            done("h/file:a", true),
            started("h/file:sub/b"),
            done("h/file:sub/b", true),
            BatchNews::Finished
        ]
    );
    let Observed::File(before) = &world.begun()[0].before else { panic!() };
    assert_eq!(before.text, None);
    let blob = world.host.blob(before.sha256.as_ref().unwrap());
    assert_eq!(std::fs::read_to_string(blob).unwrap(), "first");
    let along = journal::read(&world.host).unwrap().into_iter().find_map(|entry| match entry {
        Entry::Ended { number: 2, along, .. } => Some(along),
        _ => None,
    });
    assert_eq!(along, Some(vec![format!("dir:{}", world.path("sub"))]));

    let orders = world.orders("r2", vec![world.file("a", "ours"), world.file("sub/b", "new")]);
    assert_eq!(
        world.perform(&orders),
        [done("h/file:a", false), done("h/file:sub/b", false), BatchNews::Finished]
    );
    assert_eq!(world.begun().len(), 2);
}

#[test]
fn a_change_by_someone_else_stops_the_batch() {
    let world = World::new();
    let orders = world.orders("r1", vec![world.file("a", "ours")]);
    std::fs::write(world.path("a"), "theirs").unwrap();
    let news = world.perform(&orders);
    assert!(error_of(&news).contains("someone changed"), "{news:?}");
    assert_eq!(std::fs::read_to_string(world.path("a")).unwrap(), "theirs");

    // Right when it was shown, and damaged before its turn.
    std::fs::write(world.path("a"), "ours").unwrap();
    let orders = world.orders("r2", vec![world.file("a", "ours")]);
    std::fs::write(world.path("a"), "theirs").unwrap();
    assert!(error_of(&world.perform(&orders)).contains("was right when the plan was shown"));

    // Right already, whoever did it.
    let orders = world.orders("r3", vec![world.file("b", "ours")]);
    crate::disk::write_atomic(
        Path::new(&world.path("b")),
        &mut "ours".as_bytes(),
        crate::disk::Access::root(0o644),
        &|_| Ok(()),
    )
    .unwrap();
    assert_eq!(world.perform(&orders), [done("h/file:b", false), BatchNews::Finished]);
}

#[test]
fn an_earlier_step_of_the_same_run_is_no_one_else() {
    let world = World::new();
    let mut second = world.file("a", "two");
    second.id = "h/file:a2".into();
    let orders = world.orders("r1", vec![world.file("a", "one"), second]);
    assert_eq!(world.perform(&orders).last(), Some(&BatchNews::Finished));
    assert_eq!(std::fs::read_to_string(world.path("a")).unwrap(), "two");
}

#[test]
fn values_are_put_in_and_never_told() {
    let world = World::new();
    let secret = Input::Secret { name: "key".into() }.marker();
    let mut orders = world.orders("r1", vec![world.file("a", &format!("key: \"{secret}\"\n"))]);
    orders.steps[0].shown = None;
    let news = world.perform(&orders);
    assert!(error_of(&news).contains("@secret(key)@ is not known"), "{news:?}");
    orders.values.insert(secret.clone(), "hunter2\\\"\nhunter3".into());
    orders.run = "r2".into();
    // The goal with its value is another than the one without, but the file is as it was: absent.
    orders.steps[0].shown = Some(Change::new(kubewan_core::action::ChangeKind::Create, "x"));
    assert_eq!(world.perform(&orders).last(), Some(&BatchNews::Finished));
    let text = std::fs::read_to_string(world.path("a")).unwrap();
    assert_eq!(text, "key: \"hunter2\\\"\nhunter3\"\n");
    let journal = std::fs::read_to_string(world.host.journal_path()).unwrap();
    assert!(journal.contains("@secret(key)@") && !journal.contains("hunter"), "{journal}");
    // A failure that quotes it is masked.
    std::fs::create_dir(world.path("hunter2-folder")).unwrap();
    let mut orders = world.orders("r3", vec![world.file("hunter2-folder", "x")]);
    orders.values.insert(secret, "hunter2".into());
    let news = world.perform(&orders);
    assert!(error_of(&news).contains("[hidden]-folder is a folder"), "{news:?}");
}

#[test]
fn an_interrupted_step_is_ended_by_the_next_run() {
    let world = World::new();
    let step = world.file("sub/a", "ours");
    // Killed after the file was written and before the journal said so.
    let mut journal = Journal::open(&world.host, "home").unwrap();
    let before = act::observe(&step.action, &world.host).unwrap();
    journal.begin("r1", &step.id, &step.action, before, 1).unwrap();
    let values = BTreeMap::new();
    let mut progress = |_: &str| {};
    let mut cx = Performing::new(&world.host, &values, &mut progress);
    let seen = act::observe(&step.action, &world.host).unwrap();
    act::perform(&step.action, &seen, &mut cx).unwrap();
    drop(journal);

    let orders = world.orders("r2", vec![world.file("sub/a", "ours")]);
    assert_eq!(world.perform(&orders), [done("h/file:sub/a", false), BatchNews::Finished]);
    let entries = journal::read(&world.host).unwrap();
    let Some(Entry::Ended { number: 1, along, .. }) = entries.last() else { panic!("{entries:?}") };
    assert_eq!(along, &[format!("dir:{}", world.path("sub"))]);
    assert!(!world.host.along_path().exists());
}

#[test]
fn undone_steps_are_written_off() {
    let world = World::new();
    world.perform(&world.orders("r1", vec![world.file("a", "ours")]));
    let state = kubewan_core::action::file::FileState::Absent;
    let action = Action::File(File { path: world.path("a"), state });
    let seen = act::observe(&action, &world.host).unwrap();
    let shown = diff(&action, &seen).unwrap();
    let mut orders =
        world.orders("reset", vec![OrderedStep { id: "h/file:a".into(), action, shown }]);
    orders.undoes.insert("h/file:a".into(), vec![1]);
    assert_eq!(world.perform(&orders).last(), Some(&BatchNews::Finished));
    assert_eq!(world.begun(), []);
}

#[test]
fn what_a_killed_step_had_added_is_in_its_reset() {
    let world = World::new();
    let step = world.file("sub/a", "ours");
    let mut journal = Journal::open(&world.host, "home").unwrap();
    let before = act::observe(&step.action, &world.host).unwrap();
    journal.begin("r1", &step.id, &step.action, before.clone(), 1).unwrap();
    let values = BTreeMap::new();
    let mut progress = |_: &str| {};
    let mut cx = Performing::new(&world.host, &values, &mut progress);
    act::perform(&step.action, &before, &mut cx).unwrap();
    drop(journal);
    let folder = world.path("sub");
    let ids = |host: &Host| {
        let back = kubewan_core::plan::reset::steps("h", &journal::read(host).unwrap());
        back.steps.into_iter().map(|step| step.id).collect::<Vec<_>>()
    };
    let expected = [format!("h/file:{folder}/a"), format!("h/removed:{folder} if empty")];
    assert_eq!(ids(&world.host), expected);
    // It is in the journal before another step notes its own.
    world.perform(&world.orders("r2", vec![world.file("other/b", "ours")]));
    assert_eq!(ids(&world.host)[1..3], expected);
}

#[test]
fn what_a_reset_does_is_not_taken_back() {
    let world = World::new();
    std::fs::write(world.path("a"), "first").unwrap();
    world.perform(&world.orders("r1", vec![world.file("a", "ours")]));
    // Cut short: begun by a reset, and not ended.
    let mut journal = Journal::open(&world.host, "home").unwrap();
    journal.reset = true;
    let step = world.file("b", "theirs");
    let before = act::observe(&step.action, &world.host).unwrap();
    journal.begin("r2", &step.id, &step.action, before, 1).unwrap();
    let back = kubewan_core::plan::reset::steps("h", journal.entries());
    assert_eq!(back.steps.len(), 1);
}

#[test]
fn orders_are_gone_when_they_are_read() {
    let world = World::new();
    let orders = world.orders("r1", vec![world.file("a", "ours")]);
    let dir = world.host.runs().join("r1/prepare");
    crate::disk::make_private_dir(&dir).unwrap();
    std::fs::write(dir.join(ORDERS), serde_json::to_vec(&orders).unwrap()).unwrap();
    assert_eq!(main(&dir, world.host.clone()), 0);
    assert!(!dir.join(ORDERS).exists());
    assert_eq!(std::fs::read_to_string(world.path("a")).unwrap(), "ours");
}

#[test]
fn uploads_of_runs_that_were_cut_off_go_with_the_next_batch() {
    let world = World::new();
    crate::disk::make_private_dir(&world.host.artifact("")).unwrap();
    let write = |name: &str| {
        let path = world.host.artifact(name);
        std::fs::write(&path, "an archive").unwrap();
        path
    };
    let (left, uploading) = (write("left"), write("uploading"));
    let soon = SystemTime::now() + Duration::from_secs(60);
    std::fs::File::open(&uploading).unwrap().set_modified(soon).unwrap();
    let news = world.perform(&world.orders("r", vec![world.file("a", "text")]));
    assert!(matches!(news.last(), Some(BatchNews::Finished)), "{news:?}");
    assert!(!left.exists() && uploading.exists());
}
