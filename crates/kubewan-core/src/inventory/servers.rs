//! A server, or several of which one is chosen.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One server, or several in the order in which they are tried: the first that serves what is asked is taken
/// ([`crate::mirror`]). It reads as the first of them, which is the chosen one as soon as there is a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers(Vec<String>);

impl Servers {
    /// Several; `None` where there is none.
    pub fn of(all: Vec<String>) -> Option<Servers> {
        (!all.is_empty()).then_some(Servers(all))
    }

    /// All of them, in their order.
    pub fn candidates(&self) -> &[String] {
        &self.0
    }

    /// More than one.
    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }
}

impl Deref for Servers {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.first().map(String::as_str).unwrap_or_default()
    }
}

impl From<String> for Servers {
    fn from(one: String) -> Servers {
        Servers(vec![one])
    }
}

impl From<&str> for Servers {
    fn from(one: &str) -> Servers {
        Servers(vec![one.into()])
    }
}

impl PartialEq<&str> for Servers {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Servers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Servers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Servers, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(String),
            Several(Vec<String>),
        }
        let all = match Written::deserialize(deserializer)? {
            Written::One(one) => vec![one],
            Written::Several(several) => several,
        };
        Servers::of(all).ok_or_else(|| serde::de::Error::custom("at least one is needed"))
    }
}

impl JsonSchema for Servers {
    fn schema_name() -> Cow<'static, str> {
        "Servers".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_written_as_one_and_several_as_a_list() {
        let one: Servers = serde_json::from_str("\"https://a.example\"").unwrap();
        assert_eq!((&*one, one.are_several()), ("https://a.example", false));
        assert_eq!(serde_json::to_string(&one).unwrap(), "\"https://a.example\"");
        let several: Servers = serde_json::from_str("[\"https://a\", \"https://b\"]").unwrap();
        assert_eq!((&*several, several.candidates().len()), ("https://a", 2));
        assert_eq!(serde_json::to_string(&several).unwrap(), "[\"https://a\",\"https://b\"]");
        assert!(serde_json::from_str::<Servers>("[]").is_err());
    }
}
