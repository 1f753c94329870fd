//! Tests of files, blocks and removed paths, in a temporary folder.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use kubewan_core::action::{Artifact, Observed};

use super::*;

/// Observes, performs, and observes again.
fn reach(host: &Host, goal: &kubewan_core::action::Action) -> Result<Vec<String>, String> {
    let seen = super::super::observe(goal, host)?;
    let values = BTreeMap::new();
    let mut progress = |_: &str| {};
    let mut cx = Performing::new(host, &values, &mut progress);
    super::super::perform(goal, &seen, &mut cx)?;
    let along = cx.along;
    let seen: Observed = super::super::observe(goal, host)?;
    assert_eq!(kubewan_core::action::diff(goal, &seen), Ok(None));
    Ok(along)
}

#[test]
fn writes_mends_and_removes_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let path = dir.path().join("etc/sub/x.conf");
    let text = path.to_str().unwrap();
    let goal = kubewan_core::action::Action::File(File::text(text, 0o640, "a\n"));
    let along = reach(&host, &goal).unwrap();
    assert_eq!(
        along,
        [
            format!("dir:{}", dir.path().join("etc").display()),
            format!("dir:{}", dir.path().join("etc/sub").display())
        ]
    );
    std::fs::write(&path, "damaged").unwrap();
    assert_eq!(reach(&host, &goal), Ok(vec![]));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(reach(&host, &goal), Ok(vec![]));

    // The folders that the journal calls ours go with their last file.
    let mut journal = journal::Journal::open(&host, "home").unwrap();
    let before = Observed::File(FileSeen::default());
    let number = journal.begin("r", "s", &goal, before.clone(), 1).unwrap();
    journal.end(number, before, along).unwrap();
    let absent = File { path: text.into(), state: FileState::Absent };
    reach(&host, &kubewan_core::action::Action::File(absent)).unwrap();
    assert!(!dir.path().join("etc").exists());
    assert!(dir.path().exists());
}

#[test]
fn an_artifact_is_checked_while_it_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let sha256 = kubewan_core::sha256_hex(b"program");
    let artifact = Artifact { sha256: sha256.clone(), size: 7, name: "kubelet".into(), url: None };
    let path = dir.path().join("kubelet");
    let goal = kubewan_core::action::Action::File(File::program(path.to_str().unwrap(), artifact));
    let error = reach(&host, &goal).unwrap_err();
    assert!(error.contains("can't read kubelet of the bundle"), "{error}");
    std::fs::create_dir_all(dir.path().join("state/artifacts")).unwrap();
    std::fs::write(host.artifact(&sha256), "damaged").unwrap();
    let error = reach(&host, &goal).unwrap_err();
    assert!(error.contains("uploaded anew"), "{error}");
    assert!(!path.exists());
    std::fs::write(host.artifact(&sha256), "program").unwrap();
    reach(&host, &goal).unwrap();
}

#[test]
fn a_block_keeps_the_rest_mode_and_link() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let (real, link) = (dir.path().join("real"), dir.path().join("hosts"));
    std::fs::write(&real, "127.0.0.1 localhost").unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o664)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let block = |lines: &[&str]| {
        kubewan_core::action::Action::Block(Block {
            path: link.to_str().unwrap().into(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        })
    };
    reach(&host, &block(&["192.0.2.1 api.kubewan"])).unwrap();
    let text = std::fs::read_to_string(&real).unwrap();
    assert!(text.starts_with("127.0.0.1 localhost\n# BEGIN kubewan"), "{text}");
    assert!(link.is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o664);
    reach(&host, &block(&[])).unwrap();
    assert_eq!(std::fs::read_to_string(&real).unwrap(), "127.0.0.1 localhost\n");
}

fn removed(path: &str, extent: Extent) -> kubewan_core::action::Action {
    kubewan_core::action::Action::Removed(Removed { path: path.into(), extent })
}

#[test]
fn puts_links_and_owners_back() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let path = dir.path().join("config");
    let text = path.to_str().unwrap();
    std::os::unix::fs::symlink("/nonexistent/theirs", &path).unwrap();
    let file = |state| kubewan_core::action::Action::File(File { path: text.into(), state });
    let Observed::File(before) = super::super::observe(&file(FileState::Absent), &host).unwrap()
    else {
        panic!()
    };
    assert_eq!(before.link(), Some("/nonexistent/theirs"));
    reach(&host, &kubewan_core::action::Action::File(File::text(text, 0o644, "ours"))).unwrap();
    reach(&host, &file(FileState::Link { target: "/nonexistent/theirs".into() })).unwrap();
    assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("/nonexistent/theirs"));

    let content = Content::Blob(journal::keep_blob(&host, b"theirs").unwrap());
    // Only root may give files away.
    let owner = if rustix::process::getuid().is_root() { (12, 34) } else { (0, 0) };
    let present = file(FileState::Present { content, mode: 0o640, owner });
    reach(&host, &present).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), owner);
}

#[test]
fn what_is_not_ours_in_a_folder_stays() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let folder = dir.path().join("folder");
    std::fs::create_dir_all(folder.join("theirs")).unwrap();
    let text = folder.to_str().unwrap();
    let if_empty = removed(text, Extent::IfEmpty);
    let seen = super::super::observe(&if_empty, &host).unwrap();
    assert_eq!(kubewan_core::action::diff(&if_empty, &seen), Ok(None));
    reach(&host, &removed(text, Extent::Contents)).unwrap();
    assert!(folder.exists());
    reach(&host, &if_empty).unwrap();
    assert!(!folder.exists());
    let file = dir.path().join("hosts");
    std::fs::write(&file, "").unwrap();
    reach(&host, &removed(file.to_str().unwrap(), Extent::IfEmpty)).unwrap();
    assert!(!file.exists());
}

#[test]
fn folders_are_noted_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(path("empty")).unwrap();
    std::fs::create_dir_all(path("full/x")).unwrap();
    let goal = kubewan_core::action::Action::File(File::text(path("made/x"), 0o644, "x"));
    let mut journal = journal::Journal::open(&host, "home").unwrap();
    let before = Observed::File(FileSeen::default());
    let number = journal.begin("r", "s", &goal, before.clone(), 1).unwrap();
    journal.end(number, before, reach(&host, &goal).unwrap()).unwrap();
    let values = BTreeMap::new();
    let mut progress = |_: &str| {};
    let mut cx = Performing::new(&host, &values, &mut progress);
    let paths = ["none", "empty", "full", "made"].map(path);
    record_trees(&paths.each_ref().map(String::as_str), &mut cx).unwrap();
    let words: Vec<&str> = cx.along.iter().filter_map(|l| Some(l.split_once(':')?.0)).collect();
    assert_eq!(words, ["tree", "contents", "foreign", "tree"]);
}

#[test]
fn removes_trees_and_refuses_systems() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    std::fs::write(tree.join("a/b/c"), "").unwrap();
    let removed = |path: &str| removed(path, Extent::Whole);
    reach(&host, &removed(tree.to_str().unwrap())).unwrap();
    for path in ["/", "/etc", "/var/lib", "/var/lib/", "var/x/y", "/var/lib/../lib", "/usr//bin"] {
        assert!(refuse_unsafe(path).is_err(), "{path}");
    }
    assert_eq!(refuse_unsafe("/var/lib/etcd"), Ok(()));
}

#[test]
fn finds_mounts_below_a_path() {
    let mountinfo = "\
22 1 0:20 / / rw,relatime - overlay overlay rw
36 22 0:33 / /var/lib/kubelet/pods/1/volumes/x rw shared:7 - tmpfs tmpfs rw
37 36 0:34 / /var/lib/kubelet/pods/1/volumes/x/in\\040ner rw shared:8 - tmpfs tmpfs rw
38 22 0:35 / /var/lib/kubelet2 rw shared:9 - tmpfs tmpfs rw
";
    assert_eq!(
        mounts_below(mountinfo, "/var/lib/kubelet"),
        ["/var/lib/kubelet/pods/1/volumes/x/in ner", "/var/lib/kubelet/pods/1/volumes/x"]
    );
    assert!(is_mount(mountinfo, "/var/lib/kubelet2/"));
    assert!(!is_mount(mountinfo, "/var/lib/kubelet"));
}

#[test]
fn what_is_left_in_a_file_of_somebodys_is_noted_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::at(dir.path().join("state"));
    let path = dir.path().join("fstab");
    std::fs::write(&path, "first").unwrap();
    let values = BTreeMap::new();
    let mut progress = |_: &str| {};
    let mut cx = Performing::new(&host, &values, &mut progress);
    rewrite_kept(&path, "ours", &mut cx).unwrap();
    let noted = std::fs::read_to_string(host.along_path()).unwrap();
    assert_eq!(noted, format!("left:{}:{}\n", kubewan_core::sha256_hex(b"ours"), path.display()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
}
