//! Files that kubewan wrote and someone edited since. A plan shows the difference and says so beside it: `up` puts its
//! own text back, and what it takes the place of is kept.

use std::collections::BTreeMap;

use super::Step;
use crate::action::{Action, Observed};
use crate::facts::Facts;
use crate::finding::Finding;
use crate::journal::kept_as;

/// A finding for every edited file that a plan would change.
pub fn edited(
    facts: &BTreeMap<String, Facts>,
    steps: &[Step],
    seen: &BTreeMap<String, Result<Observed, String>>,
) -> Vec<Finding> {
    let finding = |step: &Step| {
        let (Action::File(file), Some(Ok(Observed::File(now)))) =
            (&step.action, seen.get(&step.id))
        else {
            return None;
        };
        let (left, sha256) =
            (facts.get(&step.host)?.own.left.get(&file.path)?, now.sha256.as_ref()?);
        let edited = !left.contains(sha256) && file.diff(now).is_some();
        edited.then(|| {
            let (path, kept) = (&file.path, kept_as(sha256));
            Finding::warning(
                "edited-since",
                &step.host,
                format!(
                    "{path} was edited after kubewan wrote it: `up` puts its own text back, as the plan shows, and keeps \
                     the edit as {kept}"
                ),
                "say in the inventory what the edit was for, so that it stays",
            )
        })
    };
    steps.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::File;
    use crate::action::file::FileSeen;
    use crate::plan::Phase;

    #[test]
    fn only_what_kubewan_did_not_leave_is_an_edit() {
        let sha = |text: &str| crate::sha256_hex(text.as_bytes());
        let goal = Action::File(File::text("/etc/x", 0o644, "new"));
        let steps = [Step::new(Phase::Prepare, "h", goal, "because")];
        let codes = |now: &str, left: &[&str]| {
            let mut facts = Facts::default();
            if !left.is_empty() {
                let left = left.iter().map(|text| sha(text)).collect();
                facts.own.left.insert("/etc/x".into(), left);
            }
            let seen = FileSeen { sha256: Some(sha(now)), mode: 0o644, ..FileSeen::default() };
            let seen = BTreeMap::from([(steps[0].id.clone(), Ok(Observed::File(seen)))]);
            edited(&BTreeMap::from([("h".to_owned(), facts)]), &steps, &seen).len()
        };
        // Someone's file that is not kubewan's yet, its own of an earlier inventory, its own of now.
        assert_eq!(codes("theirs", &[]), 0);
        assert_eq!(codes("old", &["old"]), 0);
        assert_eq!(codes("new", &["old"]), 0);
        assert_eq!(codes("theirs", &["old", "new"]), 1);
    }
}
