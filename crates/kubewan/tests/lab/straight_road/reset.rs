//! The way back: the hosts are as they were, as seen from outside the product.

use std::collections::BTreeSet;

use kubewan_lab::{HostSnapshot, compare};

use super::Road;
use crate::support::looks::{AFTER_RESET, looks};
use crate::support::{HOSTS, lab_name};

/// Resets, and compares with how the hosts were.
pub fn there_and_back(road: &mut Road, before: &[HostSnapshot]) {
    let said = road.timed("reset", &["reset", "--confirm", &lab_name()]);
    eprintln!("{}{}", said.stderr, said.stdout);
    said.expect_code(0);
    let mut unused: BTreeSet<String> =
        AFTER_RESET.iter().map(|entry| entry.pattern.into()).collect();
    let mut differences = String::new();
    for ((host, before), after) in HOSTS.iter().zip(before).zip(looks(&road.stage)) {
        let report = compare(before, &after, AFTER_RESET);
        unused.retain(|pattern| report.unused.contains(pattern));
        for difference in &report.differences {
            differences += &format!("{host}: {difference}\n");
        }
    }
    assert!(
        differences.is_empty() && unused.is_empty(),
        "the hosts are not as they were:\n{differences}allowances that nothing needed: {unused:?}"
    );
}
