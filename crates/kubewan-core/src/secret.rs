//! Secrets that pass through the program: no `Display`, no `Serialize`, and a `Debug` that hides them.

use std::fmt;

use crate::redact;

/// A value that must not be shown. It leaves the program only by [`Secret::reveal`], which is called
/// where the spool of a host is written.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: String) -> Self {
        Secret(value)
    }

    /// The value itself. Call it only where it goes into a 0600 file or a process' standard input.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What is given up does not stay in memory.
impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Else the compiler sees that nobody reads them.
        std::hint::black_box(&bytes);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Names of settings that carry secrets end so. `auth` of a registry is its password in base64; headers and environments
/// carry tokens.
const NAMES: [&str; 6] = ["password", "token", "auth", "secret", "headers", "env"];

/// Whether a text has an address with a login in it: `https://me:password@host/`.
pub fn is_in_address(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        rest.split(['/', '"', '\'']).next().is_some_and(|authority| authority.contains('@'))
    })
}

/// Whether a setting of that name, in someone's file, may carry what nobody else is to see.
pub fn may_be_in(name: &str) -> bool {
    let is_one = NAMES.iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    is_one || redact::is_name(name)
}
