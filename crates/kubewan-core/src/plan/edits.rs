//! Files that kubewan wrote and someone edited since, and units of someone's that stand in its path. A plan shows the
//! difference and says so beside it: `up` writes its own text, and what it takes the place of is kept.

use std::collections::BTreeMap;

use super::Step;
use crate::action::{Action, Observed};
use crate::facts::Facts;
use crate::finding::Finding;
use crate::journal::kept_as;

/// An administrator's folder of units, which goes before packages' (systemd.unit(5), "Unit File Load Path").
pub const SYSTEMD: &str = "/etc/systemd/system/";

/// A finding for every edited file that a plan would change, and for every unit file of someone's.
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
        let (own, sha256) = (&facts.get(&step.host)?.own, now.sha256.as_ref()?);
        let Some(left) = own.left.get(&file.path) else {
            let changes = file.path.starts_with(SYSTEMD) && file.diff(now).is_some();
            return changes.then(|| foreign_unit(&step.host, &file.path, sha256));
        };
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

/// A unit file in kubewan's path that it did not write.
fn foreign_unit(host: &str, path: &str, sha256: &str) -> Finding {
    let kept = kept_as(sha256);
    Finding::warning(
        "foreign-unit",
        host,
        format!(
            "{path} is there, and kubewan did not write it: `up` writes its own text, as the plan shows, and keeps this one \
             as {kept}; `reset` puts it back"
        ),
        "nothing where it came with an earlier attempt; else move what it is for into a drop-in beside it",
    )
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

    #[test]
    fn a_unit_of_someones_is_named() {
        let path = "/etc/systemd/system/kubelet.service";
        let goal = Action::File(File::text(path, 0o644, "new"));
        let steps = [Step::new(Phase::Prepare, "h", goal, "because")];
        let codes = |text: &str, facts: Facts| -> Vec<String> {
            let sha256 = Some(crate::sha256_hex(text.as_bytes()));
            let seen = FileSeen { sha256, mode: 0o644, ..FileSeen::default() };
            let seen = BTreeMap::from([(steps[0].id.clone(), Ok(Observed::File(seen)))]);
            let found = edited(&BTreeMap::from([("h".to_owned(), facts)]), &steps, &seen);
            found.into_iter().map(|finding| finding.code).collect()
        };
        assert_eq!(codes("theirs", Facts::default()), ["foreign-unit"]);
        assert!(codes("new", Facts::default()).is_empty());
        let mut ours = Facts::default();
        ours.own.left.insert(path.into(), [crate::sha256_hex(b"old")].into());
        assert!(codes("old", ours.clone()).is_empty());
        assert_eq!(codes("theirs", ours), ["edited-since"]);
    }
}
