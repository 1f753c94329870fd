//! Patches: merge, strategic merge, JSON patch and server-side apply, as far as a lab needs them.

use serde_json::{Map, Value};

use crate::value::{Res, text};

/// Fields whose lists are merged entry by entry, and the entry's key (`patchMergeKey` of the API types).
const KEYED: [(&str, &str); 13] = [
    ("addresses", "type"),
    ("conditions", "type"),
    ("containers", "name"),
    ("containerStatuses", "name"),
    ("env", "name"),
    ("ephemeralContainers", "name"),
    ("hostAliases", "ip"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("secrets", "name"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

/// RFC 7386; with `lists`, lists of the table above are merged by their keys.
pub fn merge(old: &mut Value, patch: &Value, lists: bool) {
    let Value::Object(patch) = patch else {
        *old = patch.clone();
        return;
    };
    if !old.is_object() {
        *old = Value::Object(Map::new());
    }
    let replace = lists && patch.get("$patch").is_some_and(|p| p == "replace");
    let Some(map) = old.as_object_mut() else { return };
    if replace {
        map.clear();
    }
    for (name, new) in patch {
        if lists && name.starts_with('$') {
            continue;
        }
        let key = KEYED.iter().find(|(field, _)| field == name).map(|(_, key)| *key);
        match (new, key) {
            (Value::Null, _) => {
                map.remove(name);
            }
            (Value::Array(entries), Some(key)) if lists => {
                merge_list(
                    map.entry(name).or_insert_with(|| Value::Array(Vec::new())),
                    entries,
                    key,
                );
            }
            _ => merge(map.entry(name).or_insert(Value::Null), new, lists),
        }
    }
}

fn merge_list(old: &mut Value, entries: &[Value], key: &str) {
    if !old.is_array() {
        *old = Value::Array(Vec::new());
    }
    let Some(list) = old.as_array_mut() else { return };
    for entry in entries {
        let found = list.iter().position(|o| o.get(key).is_some() && o.get(key) == entry.get(key));
        let deleted = text(entry, "$patch") == "delete";
        match found {
            Some(n) if deleted => {
                list.remove(n);
            }
            Some(n) => merge(&mut list[n], entry, true),
            None if deleted => {}
            None => {
                let mut fresh = Value::Null;
                merge(&mut fresh, entry, true);
                list.push(fresh);
            }
        }
    }
}

/// Removes what `before` set and `after` no longer does: an applied field that is no longer applied.
pub fn prune(value: &mut Value, before: &Value, after: &Value) {
    let (Some(map), Some(before)) = (value.as_object_mut(), before.as_object()) else { return };
    for (name, old) in before {
        match after.get(name) {
            None => {
                map.remove(name);
            }
            Some(new) => {
                if let Some(inner) = map.get_mut(name) {
                    prune(inner, old, new);
                }
            }
        }
    }
}

/// RFC 6902 without `move` and `copy`.
pub fn json_patch(value: &mut Value, patch: &Value) -> Res<()> {
    for step in patch.as_array().ok_or("a JSON patch is a list")? {
        let path = text(step, "path");
        let (parent, last) = path.rsplit_once('/').ok_or_else(|| format!("bad path {path:?}"))?;
        let last = last.replace("~1", "/").replace("~0", "~");
        let gone =
            || format!("the server rejected our request due to an error in our request: no {path}");
        let parent = value.pointer_mut(parent).ok_or_else(gone)?;
        let new = step.get("value").cloned().unwrap_or(Value::Null);
        match (text(step, "op"), parent) {
            ("add" | "replace", Value::Object(map)) => {
                map.insert(last, new);
            }
            ("remove", Value::Object(map)) => {
                map.remove(&last).ok_or_else(gone)?;
            }
            ("test", parent) => {
                let found =
                    parent.pointer(&format!("/{}", last.replace('~', "~0").replace('/', "~1")));
                if found != Some(&new) {
                    return Err(format!("testing value {path} failed"));
                }
            }
            ("add", Value::Array(list)) if last == "-" => list.push(new),
            (op, Value::Array(list)) => {
                let n: usize = last.parse().map_err(|_| gone())?;
                match op {
                    "add" if n <= list.len() => list.insert(n, new),
                    "replace" if n < list.len() => list[n] = new,
                    "remove" if n < list.len() => drop(list.remove(n)),
                    _ => return Err(gone()),
                }
            }
            (op, _) => return Err(format!("unknown operation {op:?}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merges() {
        let mut v = json!({"a": {"b": 1, "c": 2}, "l": [1], "conditions": [{"type": "Ready", "status": "False"}]});
        merge(&mut v, &json!({"a": {"b": null, "d": 3}, "l": [2]}), false);
        assert_eq!(v["a"], json!({"c": 2, "d": 3}));
        assert_eq!(v["l"], json!([2]));
        let patch = json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Disk"}], "$setElementOrder/conditions": []});
        merge(&mut v, &patch, true);
        assert_eq!(v["conditions"], json!([{"type": "Ready", "status": "True"}, {"type": "Disk"}]));
        merge(&mut v, &json!({"conditions": [{"type": "Disk", "$patch": "delete"}]}), true);
        assert_eq!(v["conditions"], json!([{"type": "Ready", "status": "True"}]));
    }

    #[test]
    fn what_is_no_longer_applied_goes() {
        let mut v = json!({"data": {"mine": "1", "theirs": "2"}, "metadata": {"name": "x"}});
        prune(&mut v, &json!({"data": {"mine": "1"}}), &json!({"data": {}}));
        assert_eq!(v["data"], json!({"theirs": "2"}));
    }

    #[test]
    fn json_patches() {
        let mut v = json!({"metadata": {"labels": {"a/b": "1"}}, "l": [1, 2]});
        let patch = json!([
            {"op": "remove", "path": "/metadata/labels/a~1b"},
            {"op": "add", "path": "/l/-", "value": 3},
            {"op": "replace", "path": "/l/0", "value": 0},
        ]);
        json_patch(&mut v, &patch).unwrap();
        assert_eq!(v, json!({"metadata": {"labels": {}}, "l": [0, 2, 3]}));
        assert!(json_patch(&mut v, &json!([{"op": "remove", "path": "/x/y"}])).is_err());
    }
}
