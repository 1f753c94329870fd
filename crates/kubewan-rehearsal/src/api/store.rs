//! Objects in a real etcd, through its JSON gateway: a dead etcd is a dead API.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::net::Client;
use crate::value::{Res, set, text};

/// Where objects are kept. A resource version is etcd's revision of the last change.
#[derive(Debug)]
pub enum Store {
    /// A real etcd.
    Etcd(Client),
    /// For tests of what stands above.
    #[cfg(test)]
    Memory(std::sync::Mutex<(u64, Kept)>),
}

#[cfg(test)]
type Kept = std::collections::BTreeMap<String, (u64, String)>;

type Entry = (String, u64, String);

impl Store {
    fn post(client: &Client, path: &str, body: &Value) -> Res<Value> {
        let answer =
            client.request("POST", path, "application/json", body.to_string().as_bytes())?;
        let value: Value =
            serde_json::from_slice(&answer.body).map_err(|e| format!("etcdserver: {e}"))?;
        match answer.status {
            200 => Ok(value),
            _ => Err(format!("etcdserver: {}", text(&value, "message"))),
        }
    }

    fn range(&self, key: &str, end: Option<String>) -> Res<(Vec<Entry>, u64)> {
        match self {
            Store::Etcd(client) => {
                let mut body = json!({"key": STANDARD.encode(key)});
                if let Some(end) = end {
                    body["range_end"] = STANDARD.encode(end).into();
                }
                let answer = Self::post(client, "/v3/kv/range", &body)?;
                let number =
                    |v: &Value| v.as_str().and_then(|s| s.parse().ok()).unwrap_or_default();
                let decode = |v: &Value| {
                    let bytes = STANDARD.decode(v.as_str().unwrap_or_default()).unwrap_or_default();
                    String::from_utf8(bytes).unwrap_or_default()
                };
                let entry = |kv: &Value| {
                    (decode(&kv["key"]), number(&kv["mod_revision"]), decode(&kv["value"]))
                };
                let entries = answer["kvs"].as_array().map(|a| a.iter().map(entry).collect());
                Ok((entries.unwrap_or_default(), number(&answer["header"]["revision"])))
            }
            #[cfg(test)]
            Store::Memory(memory) => {
                let memory = memory.lock().unwrap();
                let end = end.unwrap_or(format!("{key}\0"));
                let range = memory.1.range(key.to_owned()..end);
                Ok((range.map(|(k, (r, v))| (k.clone(), *r, v.clone())).collect(), memory.0))
            }
        }
    }

    fn read(entry: Entry) -> Res<Value> {
        let mut value: Value =
            serde_json::from_str(&entry.2).map_err(|e| format!("{}: {e}", entry.0))?;
        set(&mut value, "metadata.resourceVersion", entry.1.to_string().into());
        Ok(value)
    }

    /// One object.
    pub fn get(&self, key: &str) -> Res<Option<Value>> {
        self.range(key, None)?.0.into_iter().next().map(Self::read).transpose()
    }

    /// All objects under a prefix that ends in `/`, and the store's revision.
    pub fn list(&self, prefix: &str) -> Res<(Vec<Value>, u64)> {
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let (entries, revision) = self.range(prefix, Some(end))?;
        let all: Res<Vec<Value>> = entries.into_iter().map(Self::read).collect();
        Ok((all?, revision))
    }

    /// Writes an object if its revision still is `expected` (0: it must not exist). `None`: it is not.
    pub fn write(&self, key: &str, value: &Value, expected: u64) -> Res<Option<Value>> {
        let mut value = value.clone();
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        let content = value.to_string();
        let revision = match self {
            Store::Etcd(client) => {
                let key = STANDARD.encode(key);
                let compare = json!({"key": key, "target": "MOD", "result": "EQUAL", "modRevision": expected.to_string()});
                let put = json!({"requestPut": {"key": key, "value": STANDARD.encode(content)}});
                let answer = Self::post(
                    client,
                    "/v3/kv/txn",
                    &json!({"compare": [compare], "success": [put]}),
                )?;
                if answer["succeeded"] != true {
                    return Ok(None);
                }
                answer["header"]["revision"].as_str().unwrap_or("0").to_owned()
            }
            #[cfg(test)]
            Store::Memory(memory) => {
                let mut memory = memory.lock().unwrap();
                if memory.1.get(key).map_or(0, |e| e.0) != expected {
                    return Ok(None);
                }
                memory.0 += 1;
                let revision = memory.0;
                memory.1.insert(key.to_owned(), (revision, content));
                revision.to_string()
            }
        };
        set(&mut value, "metadata.resourceVersion", revision.into());
        Ok(Some(value))
    }

    /// Removes an object.
    pub fn delete(&self, key: &str) -> Res<()> {
        match self {
            Store::Etcd(client) => {
                Self::post(client, "/v3/kv/deleterange", &json!({"key": STANDARD.encode(key)}))
                    .map(drop)
            }
            #[cfg(test)]
            Store::Memory(memory) => {
                let mut memory = memory.lock().unwrap();
                memory.0 += 1;
                memory.1.remove(key);
                Ok(())
            }
        }
    }
}
