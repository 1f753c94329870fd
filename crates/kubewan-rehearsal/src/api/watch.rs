//! Objects watched: their state, then what changes in it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::rest::Api;
use super::serve::{Reply, Request, Sink};
use super::target::Target;
use crate::value::text;

impl Api {
    /// Sends the state, then what changes in it, looking twice a second.
    pub fn watch(self: Arc<Self>, request: &Request, target: Target) -> Reply {
        let seconds = request.parameter("timeoutSeconds").parse().unwrap_or(300);
        let since: u64 = request.parameter("resourceVersion").parse().unwrap_or(0);
        let initial = request.parameter("sendInitialEvents") == "true";
        let request = Request {
            query: request.query.clone(),
            headers: request.headers.clone(),
            ..Request::default()
        };
        Reply::Stream(Box::new(move |sink| {
            let end = Instant::now() + Duration::from_secs(seconds);
            let mut seen: BTreeMap<String, (u64, Value)> = BTreeMap::new();
            let mut first = true;
            while Instant::now() < end {
                let Ok((objects, revision)) = self.selected(&request, &target) else {
                    return Ok(());
                };
                let mut now = BTreeMap::new();
                for object in objects {
                    let version = text(&object, "metadata.resourceVersion").parse().unwrap_or(0);
                    let key = format!(
                        "{}/{}",
                        text(&object, "metadata.namespace"),
                        text(&object, "metadata.name")
                    );
                    let before = seen.get(&key).map(|s| s.0);
                    let quiet = first && !initial && since > 0 && version <= since;
                    if before != Some(version) && !quiet {
                        let word = if before.is_some() || (first && since > 0) {
                            "MODIFIED"
                        } else {
                            "ADDED"
                        };
                        event(sink, &request, &target, word, &object)?;
                    }
                    now.insert(key, (version, object));
                }
                for (key, (_, object)) in &seen {
                    if !now.contains_key(key) {
                        event(sink, &request, &target, "DELETED", object)?;
                    }
                }
                if first && initial {
                    let metadata = json!({"resourceVersion": revision.to_string(),
                        "annotations": {"k8s.io/initial-events-end": "true"}});
                    let object = json!({"kind": target.resource.kind, "apiVersion": target.resource.group_version,
                        "metadata": metadata});
                    sink(
                        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).as_bytes(),
                    )?;
                }
                (seen, first) = (now, false);
                std::thread::sleep(Duration::from_millis(500));
            }
            Ok(())
        }))
    }
}

fn event(
    sink: Sink<'_>,
    request: &Request,
    target: &Target,
    word: &str,
    object: &Value,
) -> io::Result<()> {
    let revision = text(object, "metadata.resourceVersion");
    let table = Api::shown(request, target, std::slice::from_ref(object), revision);
    let object = table.unwrap_or_else(|| object.clone());
    sink(format!("{}\n", json!({"type": word, "object": object})).as_bytes())
}
