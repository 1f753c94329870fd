//! Answers for programs; docs/reference.md describes them. Every document carries `format`.

use serde::Serialize;

use super::Verbosity;

/// Format of the documents.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Document<'a, T: Serialize> {
    format: u32,
    #[serde(flatten)]
    content: &'a T,
}

/// Prints one document.
pub fn document(content: &impl Serialize) {
    let document = Document { format: FORMAT, content };
    match serde_json::to_string_pretty(&document) {
        Ok(text) => super::data(&(text + "\n")),
        Err(error) => {
            super::told(Verbosity::Quiet, "error", &format!("error: can't write JSON: {error}"))
        }
    }
}

/// Prints one line of a stream.
pub fn line(content: &impl Serialize) {
    match serde_json::to_string(content) {
        Ok(text) => super::data(&(text + "\n")),
        Err(error) => {
            super::told(Verbosity::Quiet, "error", &format!("error: can't write JSON: {error}"))
        }
    }
}
