//! Running the tests and adding up their counts.

use std::sync::{Mutex, PoisonError};

use crate::run::{cargo, watch};
use crate::stories;

/// A set of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Everything that needs neither root nor a lab.
    Unit,
    /// The lab and all stories in it: real sshd, systemd, containerd and etcd, and real Kubernetes where a bundle of it is there.
    Lab,
}

const UNIT_ARGUMENTS: [&str; 4] = ["test", "--workspace", "--locked", "--no-fail-fast"];

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
    let counts = Mutex::new(Counts::default());
    let count = |line: &str| counts.lock().unwrap_or_else(PoisonError::into_inner).add(line);
    let mut failures = Vec::new();
    for set in sets {
        let said = match set {
            Set::Unit => {
                let separator = (!names.is_empty()).then_some("--");
                watch(cargo().args(UNIT_ARGUMENTS).args(separator).args(names), count)
                    .map_err(|error| format!("unit: {error}"))
            }
            Set::Lab => stories::tell(names, &count).map_err(|failed| format!("lab: {failed}")),
        };
        failures.extend(said.err());
    }
    let counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
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
