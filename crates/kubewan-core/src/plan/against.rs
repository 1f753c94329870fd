//! Rules of somebody's firewall that say otherwise of what the cluster needs. One of kubewan's would take their place: so they are
//! named, and nothing is changed before their owner has.

use std::collections::BTreeMap;

use super::Step;
use crate::action::{Action, Observed};
use crate::finding::Finding;

/// A finding for every such rule.
pub fn against(steps: &[Step], seen: &BTreeMap<String, Result<Observed, String>>) -> Vec<Finding> {
    let rules = steps.iter().filter_map(|step| match (&step.action, seen.get(&step.id)) {
        (Action::Firewall(_), Some(Ok(Observed::Firewall(now)))) => {
            Some(now.against.iter().map(|rule| finding(&step.host, rule)))
        }
        _ => None,
    });
    rules.flatten().collect()
}

fn finding(host: &str, rule: &str) -> Finding {
    Finding::error(
        "firewall-rule-against",
        host,
        format!(
            "somebody's own rule in ufw, `{rule}`, is about a port that the cluster needs: it is left as it is"
        ),
        format!(
            "where nobody needs it, take it away (`ufw delete {rule}`); or say `firewall: keep` for this host, and see to it that what \
             `kubewan ports` lists is let in"
        ),
    )
}
