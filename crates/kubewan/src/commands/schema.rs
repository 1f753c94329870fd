//! `kubewan schema`: the JSON schema of `cluster.yaml`.

use kubewan_core::inventory;

use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;

/// Prints the schema.
pub fn run() -> Result<Code, Failure> {
    let text = serde_json::to_string_pretty(&inventory::schema())
        .map_err(|error| Failure::new(Code::Failed, error, "this is a fault of kubewan"))?;
    report::data(&(text + "\n"));
    Ok(Code::Done)
}
