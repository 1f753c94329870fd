//! Running the tests and adding up their counts.

use crate::run::{cargo, watch};

/// A set of tests: a name and cargo's arguments.
pub type Set = (&'static str, &'static [&'static str]);

/// Everything that needs neither root nor a lab.
pub const UNIT: Set = ("unit", &["test", "--workspace", "--locked", "--no-fail-fast"]);
/// Stories in the lab that every change has to pass, in minutes: real sshd, systemd, containerd and etcd.
pub const LAB: Set = (
    "lab",
    &[
        "test",
        "--locked",
        "-p",
        "kubewan-lab",
        "-p",
        "kubewan",
        "--no-fail-fast",
        "--test",
        "lab",
        "--",
        "--ignored",
        "--test-threads=1",
        "--nocapture",
        "a_lab_from_up_to_down",
        "a_forged_source",
        "hosts_that_cannot_be_had",
        "a_run_killed_behind_a_cut_link",
    ],
);
/// All stories, real Kubernetes too where a bundle is there: half an hour.
pub const STORIES: Set = (
    "stories",
    &[
        "test",
        "--locked",
        "-p",
        "kubewan-lab",
        "-p",
        "kubewan",
        "--no-fail-fast",
        "--test",
        "lab",
        "--",
        "--ignored",
        "--test-threads=1",
        "--nocapture",
    ],
);

/// Counts of a test runner.
#[derive(Default)]
struct Counts {
    passed: u32,
    failed: u32,
    ignored: u32,
}

/// Runs the sets and ends with one line of counts. All sets are run even if one fails.
pub fn run(sets: &[Set]) -> Result<(), String> {
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    for (name, arguments) in sets {
        let mut command = cargo();
        if let Err(error) = watch(command.args(*arguments), |line| counts.add(line)) {
            failures.push(format!("{name}: {error}"));
        }
    }
    // Tests that one set leaves out are the other set's.
    let skipped = if sets.len() > 1 { 0 } else { counts.ignored };
    println!("total: {} passed, {} failed, {skipped} skipped", counts.passed, counts.failed);
    if counts.passed == 0 {
        failures.push("no test was run".into());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

impl Counts {
    /// `test result: ok. 5 passed; 0 failed; 1 ignored; …`
    fn add(&mut self, line: &str) {
        let Some(rest) = line.trim_start().strip_prefix("test result: ") else { return };
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_add_up() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 5 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        counts
            .add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        counts.add("test some::test ... ok");
        assert_eq!((counts.passed, counts.failed, counts.ignored), (6, 3, 2));
    }
}
