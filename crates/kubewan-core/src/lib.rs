//! The pure half of kubewan: what the operator wrote ([`inventory`]), what hosts said ([`facts`]), what has
//! to happen and why ([`plan`]). No clock, no randomness, no file, no socket, no process, no async: whoever
//! calls passes those in. `cargo xtask check` holds that wall.
//!
//! The flow: `cluster.yaml` → [`inventory::parse`] → [`plan::steps`] (goals for every host, from the
//! inventory and [`facts`]) → the agents observe those goals → [`plan::Plan::new`] (goals and their
//! [`action::diff`]) → the executor in kubewan-fleet, which makes no choices.

pub mod action;
pub mod api;
pub mod bundle;
pub mod container_log;
pub mod download;
pub mod event;
pub mod evidence;
pub mod facts;
pub mod finding;
pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod inventory;
pub mod journal;
pub mod mirror;
pub mod network;
pub mod packages;
pub mod pin;
pub mod plan;
pub mod protocol;
pub mod redact;
pub mod registry;
pub mod render;
#[cfg(test)]
mod samples;
pub mod secret;
pub mod shell;
pub mod supply;
pub mod token;
pub mod versions;

use sha2::{Digest, Sha256};

/// SHA-256 of some bytes, lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
