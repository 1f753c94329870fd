//! Reading and writing YAML, JSON values, durations and times.

use serde_json::{Map, Value};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// Errors are the words that the real program would print.
pub type Res<T> = Result<T, String>;

static NULL: Value = Value::Null;

/// Parses one YAML (or JSON) document.
pub fn from_yaml(text: &str) -> Res<Value> {
    serde_saphyr::from_str(text).map_err(|e| format!("error converting YAML to JSON: yaml: {e}"))
}

/// The documents of a YAML stream, the empty ones left out.
pub fn split_documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let empty = |d: &String| {
        d.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#') || l == "...")
    };
    documents.retain(|d| !empty(d));
    documents
}

/// Writes a value as YAML, keys in order, as Kubernetes does.
pub fn to_yaml(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    serde_saphyr::to_string(&value).unwrap_or_default()
}

/// The value at a dotted path, or null.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |v, key| v.get(key).unwrap_or(&NULL))
}

/// The string at a dotted path, or "".
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The list at a dotted path, or an empty one.
pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The strings of the list at a dotted path.
pub fn strings(value: &Value, path: &str) -> Vec<String> {
    list(value, path).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Sets the value at a dotted path, making the objects on the way.
pub fn set(value: &mut Value, path: &str, new: Value) {
    let mut here = value;
    for key in path.split('.') {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        here = here.as_object_mut().expect("just made").entry(key).or_insert(Value::Null);
    }
    *here = new;
}

/// Sets the value at a dotted path where there is none, or an empty string.
pub fn default(value: &mut Value, path: &str, new: impl Into<Value>) {
    let old = at(value, path);
    if old.is_null() || old.as_str() == Some("") {
        set(value, path, new.into());
    }
}

/// A duration as Go writes it: `4m0s`, `1h30m`, `500ms`.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    let (mut rest, mut total) = (text, 0.0);
    if rest == "0" {
        return Some(std::time::Duration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| n + digits);
        let scale = match &rest[digits..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += rest[..digits].parse::<f64>().ok()? * scale;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| std::time::Duration::from_secs_f64(total))
}

/// A duration as Go prints it.
pub fn show_duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{}ms", duration.as_micros() as f64 / 1e3),
        (0, 0, _) if duration.subsec_millis() > 0 => {
            format!("{}s", duration.as_millis() as f64 / 1e3)
        }
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// Now, as Kubernetes writes times.
pub fn now() -> String {
    show_time(OffsetDateTime::now_utc())
}

/// A time to the second, in RFC 3339.
pub fn show_time(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}

/// Reads a time in RFC 3339.
pub fn time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// A time from now.
pub fn in_future(duration: std::time::Duration) -> String {
    show_time(OffsetDateTime::now_utc() + Duration::seconds(duration.as_secs() as i64))
}

/// Random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let rng = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&rng, &mut bytes).expect("the kernel's random source");
    bytes
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A random UUID.
pub fn uuid() -> String {
    let h = hex(&random::<16>());
    format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("4m0s").map(|d| d.as_secs()), Some(240));
        assert_eq!(duration("1h30m").map(|d| d.as_secs()), Some(5400));
        assert_eq!(duration("500ms").map(|d| d.as_millis()), Some(500));
        assert_eq!(duration("4"), None);
        assert_eq!(show_duration(std::time::Duration::from_secs(240)), "4m0s");
    }

    #[test]
    fn documents_are_split_and_empty_ones_dropped() {
        let documents = split_documents("# only a comment\n---\na: 1\n---\n\n---\nb: 2\n");
        assert_eq!(documents, ["a: 1\n", "b: 2\n"]);
    }

    #[test]
    fn paths() {
        let mut v = from_yaml("a: {b: 1, c: ''}").unwrap();
        default(&mut v, "a.b", 2);
        default(&mut v, "a.c", "x");
        set(&mut v, "d.e", true.into());
        assert_eq!(v, serde_json::json!({"a": {"b": 1, "c": "x"}, "d": {"e": true}}));
    }
}
