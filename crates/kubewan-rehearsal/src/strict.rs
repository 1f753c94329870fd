//! What fields the configuration kinds have, and kubeadm's words for what they haven't.

use std::collections::HashMap;

use serde_json::Value;

use crate::value::Res;

/// Group and version of an API, its kind, and the table in which its fields are listed.
const TABLES: [(&str, &str); 4] = [
    ("kubeadm.k8s.io/v1beta3", include_str!("../fields/kubeadm-v1beta3.txt")),
    ("kubeadm.k8s.io/v1beta4", include_str!("../fields/kubeadm-v1beta4.txt")),
    ("kubelet.config.k8s.io/v1beta1", include_str!("../fields/kubelet-v1beta1.txt")),
    ("kubeproxy.config.k8s.io/v1alpha1", include_str!("../fields/kube-proxy-v1alpha1.txt")),
];

/// The words of a data table: comments and empty lines left out.
pub fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|l| !l.starts_with('#') && !l.is_empty())
}

type Fields = HashMap<&'static str, Vec<(&'static str, &'static str)>>;

fn fields(api_version: &str) -> Option<Fields> {
    let (_, table) = TABLES.iter().find(|(name, _)| *name == api_version)?;
    let mut fields = Fields::new();
    let mut current = "";
    for row in rows(table) {
        match row.strip_prefix("  ").and_then(|field| field.split_once(' ')) {
            Some(field) => fields.entry(current).or_default().push(field),
            None => current = row,
        }
    }
    Some(fields)
}

/// A document's group, version and kind, as Go prints it with `%#v`.
pub fn show_gvk(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    format!("schema.GroupVersionKind{{Group:{group:?}, Version:{version:?}, Kind:{kind:?}}}")
}

/// Whether such a kind is known at all.
pub fn known(api_version: &str, kind: &str) -> bool {
    fields(api_version).is_some_and(|f| f.contains_key(kind))
}

/// Checks every field's name and type.
///
/// kubeadm only warns of unknown fields in `init` and `join`, and refuses them in `config validate`; the stand-in
/// refuses them always, in the same words. Values of a wrong type are refused by the real one too.
pub fn check(api_version: &str, kind: &str, value: &Value) -> Res<()> {
    let Some(fields) = fields(api_version).filter(|f| f.contains_key(kind)) else {
        return Err(format!("unknown configuration {}", show_gvk(api_version, kind)));
    };
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let gvk = show_gvk(api_version, kind);
    let fail = |why: String| format!("error unmarshaling configuration {gvk}: {why}");
    let mut walk = Walk { fields, version, unknown: Vec::new() };
    walk.object(kind, value, "").map_err(fail)?;
    if walk.unknown.is_empty() {
        return Ok(());
    }
    let unknown: Vec<String> =
        walk.unknown.iter().map(|u| format!("unknown field {u:?}")).collect();
    Err(fail(format!("strict decoding error: {}", unknown.join(", "))))
}

/// Go's words for a duration that is none.
fn bad_duration(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let unit = end.map(|n| {
        text[n..].split(|c: char| c.is_ascii_digit() || c == '.').next().unwrap_or_default()
    });
    match (end, unit) {
        (Some(0), _) => format!("time: invalid duration {text:?}"),
        (None, _) if !text.is_empty() => format!("time: missing unit in duration {text:?}"),
        (Some(_), Some(unit)) => format!("time: unknown unit {unit:?} in duration {text:?}"),
        _ => format!("time: invalid duration {text:?}"),
    }
}

struct Walk<'a> {
    fields: Fields,
    version: &'a str,
    unknown: Vec<String>,
}

impl Walk<'_> {
    fn object(&mut self, kind: &str, value: &Value, path: &str) -> Res<()> {
        let Value::Object(map) = value else {
            return Ok(());
        };
        if let Some(token) =
            map.get("token").and_then(Value::as_str).filter(|_| kind == "BootstrapToken")
        {
            crate::token::parse(token)?;
        }
        for (key, inner) in map {
            let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let kinds = self.fields.get(kind).and_then(|f| f.iter().find(|(name, _)| name == key));
            match kinds {
                Some(&(_, kind_of)) => self.value(kind, kind_of, inner, &here)?,
                None => self.unknown.push(here),
            }
        }
        Ok(())
    }

    fn value(&mut self, parent: &str, kind: &str, value: &Value, path: &str) -> Res<()> {
        if let Some(inner) = kind.strip_prefix("[]") {
            match value {
                Value::Array(items) => {
                    for (n, item) in items.iter().enumerate() {
                        self.value(parent, inner, item, &format!("{path}[{n}]"))?;
                    }
                    return Ok(());
                }
                other => return self.fits(other.is_null(), parent, kind, other, path),
            }
        }
        if let Some(inner) = kind.strip_prefix("map ") {
            match value {
                Value::Object(map) => {
                    for (key, item) in map {
                        self.value(parent, inner, item, &format!("{path}.{key}"))?;
                    }
                    return Ok(());
                }
                other => return self.fits(other.is_null(), parent, kind, other, path),
            }
        }
        let fits = match kind {
            "any" => true,
            "string" => value.is_string(),
            "bool" => value.is_boolean(),
            "int" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "duration" => {
                if let Some(bad) = value.as_str().filter(|s| crate::value::duration(s).is_none()) {
                    return Err(bad_duration(bad));
                }
                value.is_string()
            }
            _ => {
                self.object(kind, value, path)?;
                value.is_object()
            }
        };
        self.fits(fits || value.is_null(), parent, kind, value, path)
    }

    fn fits(&self, fits: bool, parent: &str, kind: &str, value: &Value, path: &str) -> Res<()> {
        let found = match value {
            _ if fits => return Ok(()),
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            _ => "object",
        };
        let go = match kind {
            "string" | "bool" => kind.to_owned(),
            "[]string" => kind.to_owned(),
            "int" => "int32".to_owned(),
            "duration" => "string".to_owned(),
            "map string" | "map bool" => format!("map[string]{}", &kind[4..]),
            _ => match kind.strip_prefix("[]") {
                Some(inner) => format!("[]{}.{inner}", self.version),
                None => format!("{}.{kind}", self.version),
            },
        };
        Err(format!(
            "json: cannot unmarshal {found} into Go struct field {parent}.{path} of type {go}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::from_yaml;

    fn error(text: &str) -> String {
        let v = from_yaml(text).unwrap();
        let api = v["apiVersion"].as_str().unwrap();
        check(api, v["kind"].as_str().unwrap(), &v).err().unwrap_or_default()
    }

    #[test]
    fn unknown_fields_in_the_real_words() {
        assert_eq!(
            error(
                "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 10.1.0.0/16, mtu: 1}\nfoo: 1"
            ),
            "error unmarshaling configuration schema.GroupVersionKind{Group:\"kubeadm.k8s.io\", \
             Version:\"v1beta4\", Kind:\"ClusterConfiguration\"}: strict decoding error: \
             unknown field \"networking.mtu\", unknown field \"foo\""
        );
        assert!(
            error("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupsV1: false")
                .contains("unknown field \"failCgroupsV1\"")
        );
        assert_eq!(
            error(
                "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {min: 0}"
            ),
            ""
        );
    }

    #[test]
    fn the_shape_of_arguments_differs_between_versions() {
        let map = "kind: InitConfiguration\nnodeRegistration: {kubeletExtraArgs: {node-ip: 198.51.100.10}}";
        let list = "kind: InitConfiguration\nnodeRegistration: {kubeletExtraArgs: [{name: node-ip, value: 198.51.100.10}]}";
        assert_eq!(
            error(&format!("apiVersion: kubeadm.k8s.io/v1beta4\n{map}")),
            "error unmarshaling configuration schema.GroupVersionKind{Group:\"kubeadm.k8s.io\", \
             Version:\"v1beta4\", Kind:\"InitConfiguration\"}: json: cannot unmarshal object into Go struct field \
             NodeRegistrationOptions.nodeRegistration.kubeletExtraArgs of type []v1beta4.Arg"
        );
        assert_eq!(error(&format!("apiVersion: kubeadm.k8s.io/v1beta3\n{map}")), "");
        assert_eq!(error(&format!("apiVersion: kubeadm.k8s.io/v1beta4\n{list}")), "");
        assert!(
            error(&format!("apiVersion: kubeadm.k8s.io/v1beta3\n{list}"))
                .contains("map[string]string")
        );
        assert!(error("apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\ntimeouts: {discovery: 5}").contains("number"));
    }
}
