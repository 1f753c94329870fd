//! Effects on one host. The agent is the same static binary as the operator's, pushed to a host and started
//! over SSH as `kubewan agent serve <nonce>`: it answers requests on its standard streams ([`serve`]), reads
//! facts ([`facts`]), observes goals and performs actions ([`act`]). Batches of actions run detached, in a
//! transient unit ([`batch`]), and leave a write-ahead [`journal`].
//!
//! Synchronous, no shell, no output that is parsed in another language than C's.

pub mod act;
pub mod batch;
pub mod command;
pub mod disk;
pub mod facts;
pub mod journal;
pub mod redact;

pub use act::Host;

/// Runs `kubewan agent <args>` and returns the exit code.
///
/// `serve <nonce>` speaks the protocol on the standard streams; `perform <folder>` works off a batch and is
/// what the transient unit runs.
pub fn main(args: &[String]) -> i32 {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        _ => {
            eprintln!("usage: kubewan agent serve NONCE | perform FOLDER");
            64
        }
    }
}
