//! The form of an inventory: which keys a mapping takes and what kind of value each. Taken from the JSON
//! Schema, so that the keys a file may use, the schema and the types are one thing.

use std::sync::LazyLock;

use serde_json::Value as Json;

use super::error::{Code, Report, Span, quoted};
use super::suggest::{nearest, translated};
use super::tree::{Node, Value};

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A mapping with these keys.
    Object(Vec<Field>),
    /// A mapping from any text to one shape.
    Map(Box<Shape>),
    /// Text on one line, or a list of such.
    TextOrList,
    /// A list of one shape.
    List(Box<Shape>),
    /// One of these words.
    Choice(Vec<String>),
    /// A whole number between two bounds.
    Integer { least: i64, most: i64 },
    /// `true` or `false`.
    Switch,
    /// Text on one line.
    Text,
    /// A mapping handed on as it is.
    Settings,
}

/// A key that a mapping takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub required: bool,
    /// First sentence of its description.
    pub about: String,
    pub shape: Shape,
}

/// The shape of a whole inventory.
pub(super) static INVENTORY: LazyLock<Shape> = LazyLock::new(|| {
    let schema = super::schema();
    Shape::of(&schema, &schema)
});

impl Shape {
    fn of(root: &Json, schema: &Json) -> Shape {
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
            return Shape::of(root, &root["$defs"][name]);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let words = choices.iter().filter_map(|choice| choice["const"].as_str());
            return Shape::Choice(words.map(str::to_owned).collect());
        }
        if let Some(words) = schema["enum"].as_array() {
            return Shape::Choice(
                words.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
            );
        }
        match schema["type"].as_str() {
            Some("string") => Shape::Text,
            Some("boolean") => Shape::Switch,
            Some("integer") => Shape::Integer {
                least: schema["minimum"].as_i64().unwrap_or(i64::MIN),
                most: schema["maximum"].as_i64().unwrap_or(i64::MAX),
            },
            Some("array") => Shape::List(Box::new(Shape::of(root, &schema["items"]))),
            _ if schema["properties"].is_object() => Shape::Object(fields(root, schema)),
            _ if schema["anyOf"][0]["type"] == "string" => Shape::TextOrList,
            _ if schema["additionalProperties"]["type"] == "string"
                || schema["additionalProperties"]["anyOf"].is_array() =>
            {
                Shape::Map(Box::new(Shape::of(root, &schema["additionalProperties"])))
            }
            _ => Shape::Settings,
        }
    }

    /// What it takes, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Shape::Object(_) | Shape::Map(_) | Shape::Settings => "a mapping",
            Shape::List(_) => "a list",
            Shape::TextOrList => "a string or a list",
            Shape::Choice(_) | Shape::Text => "a string",
            Shape::Integer { .. } => "a whole number",
            Shape::Switch => "true or false",
        }
    }
}

fn fields(root: &Json, schema: &Json) -> Vec<Field> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| Field {
            name: name.clone(),
            required: required.contains(&name.as_str()),
            about: first_sentence(property["description"].as_str().unwrap_or_default()),
            shape: Shape::of(root, property),
        })
        .collect()
}

fn first_sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    text.split_once(". ").map_or(text.as_str(), |(first, _)| first).trim_end_matches('.').to_owned()
}

/// Notes everything in `node` that is not of this shape. `at` is where to point for what is not there.
pub(super) fn check(report: &mut Report<'_>, shape: &Shape, node: &Node, path: &str, at: Span) {
    match (shape, &node.value) {
        (Shape::Object(fields), Value::Map(_)) => object(report, fields, node, path, at),
        (Shape::Map(of), Value::Map(entries)) => {
            for entry in entries {
                let path = child(path, &entry.key);
                check(report, of, &entry.value, &path, entry.key_span);
            }
        }
        (Shape::TextOrList, Value::List(items)) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                check(report, &Shape::Text, item, &format!("{path}[{index}]"), item.span);
            }
        }
        (Shape::TextOrList, Value::Text(text)) => one_line(report, text, path, node.span),
        (Shape::List(item_shape), Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                check(report, item_shape, item, &format!("{path}[{index}]"), item.span);
            }
        }
        (Shape::Settings, Value::Map(_)) => settings(report, node, path),
        (Shape::Text, Value::Text(text)) => one_line(report, text, path, node.span),
        (Shape::Choice(words), Value::Text(text)) => choice(report, words, text, path, node.span),
        (Shape::Switch, Value::Bool(_)) | (_, Value::Reported) => {}
        (Shape::Integer { least, most }, Value::Number(number, raw)) => {
            let fits = number.as_i64().is_some_and(|number| (*least..=*most).contains(&number));
            if !fits {
                let message = format!("{} is {raw}", quoted(path));
                let help = format!("a whole number from {least} to {most} is needed");
                report.push(Code::OutOfRange, node.span, path, message, &help);
            }
        }
        _ => wrong_type(report, shape, node, path, at),
    }
}

/// The path of a mapping's key.
pub(super) fn child(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn object(report: &mut Report<'_>, fields: &[Field], node: &Node, path: &str, at: Span) {
    let mut meant = Vec::new();
    for entry in node.entries() {
        let path = child(path, &entry.key);
        match fields.iter().find(|field| field.name == entry.key) {
            Some(field) => check(report, &field.shape, &entry.value, &path, entry.key_span),
            None => meant.extend(unknown_key(report, fields, &entry.key, &path, entry.key_span)),
        }
    }
    for field in fields.iter().filter(|field| field.required) {
        if node.get(&field.name).is_none() && !meant.contains(&field.name.as_str()) {
            let whose = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
            let message = format!("`{}` is missing{whose}", field.name);
            let help = format!("`{}`: {}", field.name, field.about);
            report.push(Code::MissingKey, at, path, message, &help);
        }
    }
}

/// Returns the key that was meant, if one is near.
fn unknown_key<'a>(
    report: &mut Report<'_>,
    fields: &'a [Field],
    key: &str,
    path: &str,
    at: Span,
) -> Option<&'a str> {
    let names = || fields.iter().map(|field| field.name.as_str());
    let meant = nearest(key, names()).or_else(|| translated(key, names()));
    let help = if key == "<<" {
        "merge keys are not part of YAML 1.2: repeat a whole value with an alias, as `ssh: *login`"
            .to_owned()
    } else if let Some(name) = meant {
        format!("did you mean `{name}`?")
    } else if let Some(place) = elsewhere(&INVENTORY, "", key) {
        format!("did you mean `{place}`?")
    } else {
        format!("known here: {}", names().collect::<Vec<_>>().join(", "))
    };
    report.push(Code::UnknownKey, at, path, format!("unknown key {}", quoted(key)), &help);
    meant
}

/// The path of a key somewhere else in an inventory.
fn elsewhere(shape: &Shape, path: &str, key: &str) -> Option<String> {
    match shape {
        Shape::Object(fields) => {
            let here = fields.iter().find(|field| field.name == key);
            here.map(|field| child(path, &field.name)).or_else(|| {
                fields
                    .iter()
                    .find_map(|field| elsewhere(&field.shape, &child(path, &field.name), key))
            })
        }
        Shape::List(item) => elsewhere(item, &format!("{path}[]"), key),
        _ => None,
    }
}

fn choice(report: &mut Report<'_>, words: &[String], text: &str, path: &str, at: Span) {
    if words.iter().any(|word| word == text) {
        return;
    }
    let known = || words.iter().map(String::as_str);
    let allowed = known().collect::<Vec<_>>().join(", ");
    let meant = || nearest(text, known()).or_else(|| translated(text, known()));
    let help = match super::accept::never(text).filter(|_| path.contains("accept[")) {
        Some(reason) => format!("that is never accepted: {reason}"),
        None => match meant() {
            Some(word) => format!("did you mean `{word}`? Allowed: {allowed}"),
            None => format!("allowed: {allowed}"),
        },
    };
    let message = format!("`{path}` cannot be {}", quoted(text));
    report.push(Code::UnknownValue, at, path, message, &help);
}

fn wrong_type(report: &mut Report<'_>, shape: &Shape, node: &Node, path: &str, at: Span) {
    let wanted = shape.kind();
    let name = if path.is_empty() { "the inventory".to_owned() } else { quoted(path) };
    let (message, span) = match node.value {
        Value::Null if node.span.width == 0 => (format!("{name} has no value"), at),
        _ => (format!("{name} must be {wanted}, this is {}", node.kind()), node.span),
    };
    let help = match (shape, &node.value) {
        (_, Value::Null) if path.ends_with(']') => format!("give it {wanted}, or take it out"),
        (_, Value::Null) => format!("give it {wanted}, or take the key out"),
        (_, Value::Number(..)) if path == "kubernetes.version" => {
            "MAJOR.MINOR.PATCH, as \"1.36.2\"".to_owned()
        }
        (Shape::Text, Value::Number(_, raw) | Value::Unrepresentable(raw)) => {
            format!("put it between quotes: \"{raw}\"")
        }
        (Shape::Text, Value::Bool(value)) => format!("put it between quotes: \"{value}\""),
        (Shape::Choice(words), _) => format!("allowed: {}", words.join(", ")),
        (Shape::Switch, Value::Text(_)) => "write true or false, without quotes".to_owned(),
        (Shape::List(_), Value::Text(text)) => {
            format!("write it as a list: [{}]", quoted(text).replace('`', ""))
        }
        (Shape::Integer { .. }, Value::Text(text)) if text.parse::<i64>().is_ok() => {
            format!("write it without quotes: {text}")
        }
        (Shape::Object(fields), _) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!("its keys: {}", names.join(", "))
        }
        _ => String::new(),
    };
    report.push(Code::WrongType, span, path, message, &help);
}

fn one_line(report: &mut Report<'_>, text: &str, path: &str, at: Span) {
    if text.chars().any(char::is_control) {
        let message = format!("{} holds a line break or another control character", quoted(path));
        report.push(Code::BadValue, at, path, message, "write it on one line");
    }
}

/// Settings are handed on as they are, so they must be what JSON can carry.
fn settings(report: &mut Report<'_>, node: &Node, path: &str) {
    match &node.value {
        Value::Unrepresentable(raw) => {
            let message = format!("{} in {} has no certain value", quoted(raw), quoted(path));
            let help = "write a plain decimal number, or put text between quotes; \
                        a leading zero means octal to some readers";
            report.push(Code::Unrepresentable, node.span, path, message, help);
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                settings(report, item, &format!("{path}[{index}]"));
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                settings(report, &entry.value, &child(path, &entry.key));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths at which anything is accepted.
    fn open_places(shape: &Shape, path: &str, found: &mut Vec<String>) {
        match shape {
            Shape::Settings => found.push(path.to_owned()),
            Shape::List(item) => open_places(item, &format!("{path}[]"), found),
            Shape::Object(fields) => {
                for field in fields {
                    open_places(&field.shape, &child(path, &field.name), found);
                }
            }
            _ => {}
        }
    }

    /// A schema form that [`Shape::of`] does not know would let everything pass.
    #[test]
    fn only_settings_take_anything() {
        let mut found = Vec::new();
        open_places(&INVENTORY, "", &mut found);
        let settings = [
            "kubernetes.kubeadm.cluster",
            "kubernetes.kubeadm.init",
            "kubernetes.kubeadm.join",
            "kubernetes.kubelet",
            "kubernetes.kubeProxy",
            "runtime.containerd",
            "runtime.docker",
        ];
        assert_eq!(found, settings);
    }
}
