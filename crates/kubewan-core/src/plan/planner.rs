//! placeholder
use super::Step;
/// Inputs.
pub struct Inputs {}
/// Steps.
pub fn steps() -> Vec<Step> {
    Vec::new()
}
