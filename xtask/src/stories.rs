//! Telling the stories of the lab: each in a process of its own, and those of the program in two lanes side by side, which have
//! a lab each. Most of a story is waiting: for boots, for leases, for Kubernetes' own rounds.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::{cargo, output};

/// What the labs of the lanes are called. Each lane has about one processor of a small machine.
const LANES: [&str; 2] = ["lab", "lab2"];

/// Names the lab of a lane to a story (`crates/kubewan/tests/lab/support`).
const LAB_OF: &str = "KUBEWAN_STORY_LAB";

/// What the names of stories begin with that are too long for every run.
const LONG: &str = "::long_";

/// Stories that take minutes: begun first, so that no lane ends with one of them while the other is at rest.
const FIRST: [&str; 7] = [
    "straight_road::",
    "sources::",
    "by_hand::",
    "adopt::",
    "doctor::",
    "kill_sweep::",
    "first_contact::",
];

/// Stories that count what is on this machine, and have it for themselves.
const ALONE: [&str; 1] = ["topologies::"];

/// The targets that hold the stories; of the whole workspace, as the unit tests are: another choice of packages is another
/// choice of features, and everything would be built again.
const BUILD: [&str; 6] = ["test", "--workspace", "--locked", "--no-run", "--test", "lab"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Story {
    executable: PathBuf,
    /// The crate's folder, which its tests run in.
    folder: PathBuf,
    name: String,
}

/// Tells the stories whose names contain one of `names`; without names, all but the long ones. Every line that they print goes
/// to `line`, a story's lines together.
///
/// # Errors
/// Fails where they can't be built, or with the names of those that failed.
pub fn tell(names: &[String], line: &(dyn Fn(&str) + Sync)) -> Result<(), String> {
    let mut stories = Vec::new();
    for (executable, folder) in executables()? {
        let listed = output(Command::new(&executable).args(["--list", "--ignored"]))?;
        stories.extend(chosen(&listed, names).map(|name| Story {
            executable: executable.clone(),
            folder: folder.clone(),
            name: name.to_owned(),
        }));
    }
    let logs = Path::new("target/stories");
    fs::create_dir_all(logs).map_err(|e| format!("can't make {}: {e}", logs.display()))?;
    let (alone, side_by_side): (Vec<Story>, Vec<Story>) = stories.into_iter().partition(is_alone);
    let mut failed = told(alone, &LANES[..1], logs, line);
    failed.extend(told(in_order(side_by_side), &LANES, logs, line));
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}

/// Builds what holds stories; answers the executables, each with its crate's folder.
fn executables() -> Result<Vec<(PathBuf, PathBuf)>, String> {
    let said = output(cargo().args(BUILD).arg("--message-format=json-render-diagnostics"))?;
    Ok(said.lines().filter_map(executable).collect())
}

/// The executable that a line of cargo's messages names, and its crate's folder (doc.rust-lang.org/cargo/reference/
/// external-tools.html, "Artifact Messages").
fn executable(line: &str) -> Option<(PathBuf, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let target = &message["target"];
    if target["kind"][0] != "test" || target["name"] != "lab" {
        return None;
    }
    let manifest = Path::new(message["manifest_path"].as_str()?);
    Some((message["executable"].as_str()?.into(), manifest.parent()?.to_owned()))
}

/// Of a list of tests, those that are asked for.
fn chosen<'a>(listed: &'a str, names: &'a [String]) -> impl Iterator<Item = &'a str> {
    let all = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    all.filter(move |name| match names {
        [] => !format!("::{name}").contains(LONG),
        names => names.iter().any(|wanted| name.contains(wanted.as_str())),
    })
}

fn is_alone(story: &Story) -> bool {
    !story.folder.ends_with("crates/kubewan") || ALONE.iter().any(|of| story.name.starts_with(of))
}

fn in_order(mut stories: Vec<Story>) -> Vec<Story> {
    let place = |story: &Story| FIRST.iter().position(|of| story.name.starts_with(of));
    stories.sort_by_key(|story| place(story).unwrap_or(FIRST.len()));
    stories
}

/// Tells stories, as many at a time as there are lanes; answers the names of those that failed.
fn told(
    stories: Vec<Story>,
    lanes: &[&str],
    logs: &Path,
    line: &(dyn Fn(&str) + Sync),
) -> Vec<String> {
    let queue = Mutex::new(VecDeque::from(stories));
    let failed = Mutex::new(Vec::new());
    // Nobody panics while it holds one of these.
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let printing = Mutex::new(());
    thread::scope(|scope| {
        for lane in lanes {
            scope.spawn(|| {
                while let Some(story) = next() {
                    let begun = Instant::now();
                    let (text, error) = one(&story, lane, logs);
                    let _guard = printing.lock().unwrap_or_else(PoisonError::into_inner);
                    say(&story, lane, begun.elapsed(), &text, line);
                    if let Some(error) = error {
                        println!("{}: {error}", story.name);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(story.name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn say(story: &Story, lane: &str, took: Duration, text: &str, line: &(dyn Fn(&str) + Sync)) {
    println!("==> {} in {lane}: {:.0} s", story.name, took.as_secs_f64());
    for text in text.lines() {
        println!("{text}");
        line(text);
    }
}

/// What a story prints, and why it failed. It writes to a file: what it leaves running would hold a pipe open.
fn one(story: &Story, lane: &str, logs: &Path) -> (String, Option<String>) {
    let log = logs.join(format!("{}.log", story.name.replace("::", ".")));
    let run = || -> std::io::Result<_> {
        let file = File::create(&log)?;
        Command::new(&story.executable)
            .args(["--ignored", "--exact", "--nocapture", &story.name])
            .current_dir(&story.folder)
            .env("CARGO_MANIFEST_DIR", &story.folder)
            .env(LAB_OF, lane)
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
    };
    let error = match run() {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        Err(error) => Some(format!("can't be run: {error}")),
    };
    let text = fs::read(&log).unwrap_or_default();
    (String::from_utf8_lossy(&text).into_owned(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_stories_are_told_by_name_only() {
        let listed =
            "sources::a: test\npassing::long_b: test\nlong_c: test\n\n3 tests, 0 benchmarks\n";
        let of = |names: &[&str]| -> Vec<String> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            chosen(listed, &names).map(str::to_owned).collect()
        };
        assert_eq!(of(&[]), ["sources::a"]);
        assert_eq!(of(&["long"]), ["passing::long_b", "long_c"]);
        assert_eq!(of(&["sources::", "_c"]), ["sources::a", "long_c"]);
    }

    #[test]
    fn an_executable_is_known_by_its_message() {
        let line = |kind: &str, name: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/crates/kubewan/Cargo.toml","target":{{"kind":["{kind}"],"name":"{name}"}},"executable":"/w/target/lab-1"}}"#
            )
        };
        let found = executable(&line("test", "lab"));
        assert_eq!(found, Some(("/w/target/lab-1".into(), "/w/crates/kubewan".into())));
        assert_eq!(executable(&line("bench", "lab")), None);
        assert_eq!(executable(&line("test", "cli")), None);
        assert_eq!(executable("warning: words"), None);
    }

    #[test]
    fn the_longest_go_first_and_what_counts_the_machine_goes_alone() {
        let story = |folder: &str, name: &str| Story {
            executable: "x".into(),
            folder: folder.into(),
            name: name.into(),
        };
        let [small, long, counts] = ["drift::a", "sources::b", "topologies::c"]
            .map(|name| story("/w/crates/kubewan", name));
        assert_eq!(in_order(vec![small.clone(), long.clone()]), [long.clone(), small.clone()]);
        assert!(is_alone(&counts) && !is_alone(&small) && !is_alone(&long));
        assert!(is_alone(&story("/w/crates/kubewan-lab", "a_lab_from_up_to_down")));
    }
}
