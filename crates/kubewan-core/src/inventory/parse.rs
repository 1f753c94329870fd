//! From the text of `cluster.yaml` to a checked [`Inventory`], or to everything that is wrong with it.
//!
//! Text → tree with places ([`super::tree`]) → its form ([`super::shape`]) → its meaning
//! ([`super::validate`]) → what its profile says besides ([`super::profile`]) → the types. Every stage notes all it finds, so that one run shows all errors.

use super::error::{Code, InventoryErrors, Report, Span};
use super::tree::Node;
use super::{Inventory, profile, shape, tree, validate};

/// The largest inventory that is read. A thousand hosts with labels take a third of it.
const MOST_BYTES: usize = 1 << 20;

const WHOLE_FILE: Span = Span { line: 1, column: 1, width: 1 };

/// Reads an inventory as it came from the disk. `file_name` is only for messages.
pub fn parse_bytes(file_name: &str, bytes: &[u8]) -> Result<Inventory, InventoryErrors> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(file_name, text),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            let start = before.rsplit('\n').next().unwrap_or_default();
            let at = Span { line, column: start.chars().count() + 1, width: 1 };
            let text = String::from_utf8_lossy(bytes);
            let mut report = Report::new(&text);
            let message = "the inventory is not UTF-8 from here on".to_owned();
            report.push(Code::NotUtf8, at, "", message, "save the file as UTF-8");
            Err(report.finish(file_name))
        }
    }
}

/// Reads an inventory. `file_name` is only for messages.
pub fn parse(file_name: &str, text: &str) -> Result<Inventory, InventoryErrors> {
    if text.len() > MOST_BYTES {
        let mut report = Report::new("");
        let message = format!("the inventory has {} bytes, {MOST_BYTES} are allowed", text.len());
        report.push(Code::TooLarge, WHOLE_FILE, "", message, "is this the right file?");
        return Err(report.finish(file_name));
    }
    let mut report = Report::new(text);
    let inventory = read(text, &mut report);
    match inventory {
        Some(inventory) if report.is_empty() => Ok(inventory),
        _ => Err(report.finish(file_name)),
    }
}

fn read(text: &str, report: &mut Report<'_>) -> Option<Inventory> {
    let root = tree::read(text, report)?;
    shape::check(report, &shape::INVENTORY, &root, "", root.span);
    validate::check(report, &root);
    if !report.is_empty() {
        return None;
    }
    typed(&root, report)
}

/// The types' own reading. What they refuse has been reported before; should the two ever differ, this says so
/// instead of going on.
fn typed(root: &Node, report: &mut Report<'_>) -> Option<Inventory> {
    let mut json = root.to_json();
    profile::fill_in(&mut json);
    match serde_json::from_value(json) {
        Ok(inventory) => Some(inventory),
        Err(error) => {
            report.push(Code::BadValue, root.span, "", error.to_string(), "");
            None
        }
    }
}
