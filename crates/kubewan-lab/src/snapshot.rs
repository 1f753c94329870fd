//! A host as seen from outside, and what differs between two looks at it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One look at a host: what it has that its image hasn't, and how it runs.
///
/// Every item is one line, `KIND NAME`, with one value: `file /etc/hosts`, `unit cron.service`,
/// `address eth0 10.0.4.7/24`, `nft ip filter`. A file that is byte for byte as in the image is no
/// item, however it came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSnapshot {
    /// The items by `KIND NAME`.
    pub items: BTreeMap<String, String>,
}

/// A difference that is expected, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow<'a> {
    /// What it covers, as `KIND NAME`: `*` stands for anything but a slash, `**` for anything.
    pub pattern: &'a str,
    /// Why the difference is right.
    pub reason: &'a str,
}

/// An item that two looks don't agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The item, as `KIND NAME`.
    pub item: String,
    /// Its value at the first look, if it was there.
    pub before: Option<String>,
    /// Its value at the second look, if it is there.
    pub after: Option<String>,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What differs and is covered by nothing.
    pub differences: Vec<Difference>,
    /// Patterns that covered nothing: a list that only grows stops saying anything.
    pub unused: Vec<String>,
}

impl Report {
    /// Nothing differs but what was expected to, and all of that did.
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.unused.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".into());
        write!(f, "{}: {} -> {}", self.item, value(&self.before), value(&self.after))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        for pattern in &self.unused {
            writeln!(f, "nothing needed the allowance `{pattern}`: remove it")?;
        }
        Ok(())
    }
}

/// Compares two looks at a host.
pub fn compare(before: &HostSnapshot, after: &HostSnapshot, allow: &[Allow<'_>]) -> Report {
    let mut used = vec![false; allow.len()];
    let mut differences = Vec::new();
    for difference in differing(before, after) {
        let mut allowed = false;
        for (index, entry) in allow.iter().enumerate() {
            if matches(entry.pattern, &difference.item) {
                used[index] = true;
                allowed = true;
            }
        }
        if !allowed {
            differences.push(difference);
        }
    }
    let unused = allow.iter().zip(used).filter(|(_, used)| !used);
    Report { differences, unused: unused.map(|(entry, _)| entry.pattern.into()).collect() }
}

fn differing(before: &HostSnapshot, after: &HostSnapshot) -> Vec<Difference> {
    let gone_or_changed = before.items.iter().map(|(item, value)| Difference {
        item: item.clone(),
        before: Some(value.clone()),
        after: after.items.get(item).cloned(),
    });
    let is_new = |item: &&String| !before.items.contains_key(*item);
    let new = after.items.keys().filter(is_new).map(|item| Difference {
        item: item.clone(),
        before: None,
        after: after.items.get(item).cloned(),
    });
    gone_or_changed.chain(new).filter(|found| found.before != found.after).collect()
}

/// Whether a pattern covers the whole of a name.
fn matches(pattern: &str, name: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        return suffixes(name).any(|suffix| matches(rest, suffix));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let end = name.find('/').unwrap_or(name.len());
        let skippable = |suffix: &&str| name.len() - suffix.len() <= end;
        return suffixes(name).take_while(skippable).any(|suffix| matches(rest, suffix));
    }
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some(wanted), Some(found)) if wanted == found => {
            matches(&pattern[wanted.len_utf8()..], &name[found.len_utf8()..])
        }
        _ => false,
    }
}

/// A name and everything that is left of it after each of its characters.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    name.char_indices().map(|(at, _)| &name[at..]).chain(std::iter::once(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(items: &[(&str, &str)]) -> HostSnapshot {
        let items = items.iter().map(|(item, value)| ((*item).into(), (*value).into()));
        HostSnapshot { items: items.collect() }
    }

    #[test]
    fn equal_looks_are_clean() {
        let look = snapshot(&[("file /etc/hosts", "a"), ("unit cron.service", "active")]);
        assert!(compare(&look, &look, &[]).is_clean());
    }

    #[test]
    fn added_removed_and_changed_are_told_apart() {
        let before = snapshot(&[("file /a", "1"), ("file /b", "1")]);
        let after = snapshot(&[("file /b", "2"), ("file /c", "1")]);
        let text = compare(&before, &after, &[]).to_string();
        assert_eq!(text, "file /a: 1 -> absent\nfile /b: 1 -> 2\nfile /c: absent -> 1\n");
    }

    #[test]
    fn an_allowance_covers_and_an_unused_one_fails() {
        let before = snapshot(&[]);
        let after = snapshot(&[("file /var/log/wtmp", "x")]);
        let log = Allow { pattern: "file /var/log/*", reason: "logins" };
        let other = Allow { pattern: "file /etc/**", reason: "none" };
        assert!(compare(&before, &after, &[log]).is_clean());
        let report = compare(&before, &after, &[log, other]);
        assert!(report.differences.is_empty());
        assert_eq!(report.unused, ["file /etc/**"]);
    }

    #[test]
    fn one_star_stays_in_its_folder() {
        assert!(matches("file /var/*/x", "file /var/log/x"));
        assert!(!matches("file /var/*", "file /var/log/x"));
        assert!(matches("file /var/**", "file /var/log/x"));
        assert!(matches("**/x", "file /var/log/x"));
        assert!(matches("unit *.mount", "unit a-b.mount"));
        assert!(!matches("unit", "unit a"));
        assert!(matches("file /é*", "file /éa"));
    }
}
