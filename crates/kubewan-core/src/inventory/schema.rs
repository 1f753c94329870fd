//! The inventory's JSON Schema, made from its types: `kubewan schema`, docs/schema/cluster.schema.json, and
//! what [`super::shape`] checks a file against.

use serde_json::{Value, json};

use super::Inventory;

/// The JSON Schema (draft 2020-12) of `cluster.yaml`.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Inventory).to_value();
    without_null(&mut schema);
    if let Value::Object(root) = &mut schema {
        root.insert("title".into(), json!("kubewan inventory (cluster.yaml)"));
    }
    schema
}

/// Takes `null` out of everything optional: a key without a value is an error, so that a line emptied by
/// mistake is not taken for a default.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Array(kinds)) = object.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [kind] = kinds.as_slice() {
                    let kind = kind.clone();
                    object.insert("type".into(), kind);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice != &json!({ "type": "null" }));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            if object.get("default") == Some(&Value::Null) {
                object.remove("default");
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}
