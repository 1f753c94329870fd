//! Label and field selectors.

use serde_json::Value;

use crate::value::{at, text};

fn label(object: &Value, term: &str) -> bool {
    let labels = &object["metadata"]["labels"];
    let get = |key: &str| labels.get(key.trim()).and_then(Value::as_str);
    let within = |values: &str, found: Option<&str>| {
        let values = values.trim().trim_matches(['(', ')']);
        found.is_some_and(|f| values.split(',').any(|v| v.trim() == f))
    };
    if let Some((key, values)) = term.split_once(" notin ") {
        return !within(values, get(key));
    }
    if let Some((key, values)) = term.split_once(" in ") {
        return within(values, get(key));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return get(key) != Some(value.trim());
    }
    if let Some((key, value)) = term.split_once('=') {
        return get(key) == Some(value.trim_start_matches('=').trim());
    }
    match term.strip_prefix('!') {
        Some(key) => get(key).is_none(),
        None => get(term).is_some(),
    }
}

/// Whether an object's labels fit a selector.
pub fn labels(object: &Value, selector: &str) -> bool {
    let mut depth = 0;
    let comma = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    };
    let terms: Vec<&str> = selector.split(comma).collect();
    terms.iter().map(|t| t.trim()).filter(|t| !t.is_empty()).all(|t| label(object, t))
}

/// Whether an object's fields fit a selector.
pub fn fields(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|t| !t.is_empty()).all(|term| match term.split_once("!=") {
        Some((path, value)) => text(object, path) != value,
        None => {
            let (path, value) = term.split_once('=').unwrap_or((term, ""));
            let found = at(object, path).as_str().unwrap_or_default();
            found == value.trim_start_matches('=')
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors() {
        let o = json!({"metadata": {"name": "x", "labels": {"a": "1", "b/c": "2"}}, "spec": {"nodeName": "n"}});
        for yes in ["", "a", "a=1", "a==1", "a!=2", "!z", "a in (1,2),b/c=2", "a notin (3, 4)"] {
            assert!(labels(&o, yes), "{yes}");
        }
        for no in ["z", "a=2", "!a", "a in (2,3)", "a=1,z=1"] {
            assert!(!labels(&o, no), "{no}");
        }
        assert!(fields(&o, "metadata.name=x,spec.nodeName=n"));
        assert!(!fields(&o, "metadata.name!=x"));
        assert!(fields(&o, "spec.other="));
    }
}
