//! Running the tests and adding up their counts.

use crate::run::{cargo, watch};

/// A set of tests: a name and cargo's arguments.
pub type Set = (&'static str, &'static [&'static str]);

/// Everything that needs neither root nor a lab.
pub const UNIT: Set = ("unit", &["test", "--workspace", "--locked", "--no-fail-fast"]);
/// The lab and all stories in it: real sshd, systemd, containerd and etcd, and real Kubernetes where a bundle of it is
/// there. Without those whose names begin with `long_`, which are told when they are asked for by name. Of the whole workspace, as the unit tests are: another choice of packages is another choice of features, and
/// everything would be built again.
pub const LAB: Set = (
    "lab",
    &[
        "test",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--test",
        "lab",
        "--",
        "--ignored",
        "--test-threads=1",
        "--nocapture",
    ],
);

/// What the names of stories begin with that are too long for every run.
const LONG: &str = "::long_";

/// Counts of a test runner.
#[derive(Default)]
struct Counts {
    passed: u32,
    failed: u32,
    ignored: u32,
}

/// Runs the sets and ends with one line of counts. All sets are run even if one fails. `names` choose among the tests,
/// as the test runner takes them.
pub fn run(sets: &[Set], names: &[String]) -> Result<(), String> {
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    for (name, arguments) in sets {
        let mut command = cargo();
        command.args(*arguments);
        if names.is_empty() && *name == LAB.0 {
            command.args(["--skip", LONG]);
        }
        if !names.is_empty() && !arguments.contains(&"--") {
            command.arg("--");
        }
        if let Err(error) = watch(command.args(names), |line| counts.add(line)) {
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
