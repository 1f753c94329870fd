//! kubewan.
fn main() {}
