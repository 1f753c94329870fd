//! Effects on one host. The agent is the same static binary as the operator's, pushed to a host and started
//! over SSH as `kubewan agent serve <nonce>`: it answers requests on its standard streams ([`serve`]), reads
//! facts ([`facts`]), observes goals and performs actions ([`act`]). Batches of actions run detached, in a
//! transient unit ([`batch`]) whose log is relayed ([`relay`]), and leave a write-ahead [`journal`].
//!
//! Synchronous, no shell, no output that is parsed in another language than C's.

pub mod serve;

pub mod act;
pub mod artifacts;
pub mod batch;
pub mod command;
pub mod disk;
pub mod evidence;
pub mod facts;
#[doc(hidden)]
pub mod fuzz;
pub mod journal;
pub mod listen;
pub mod mirrors;
pub mod overhear;
pub mod passing;
pub mod probe;
pub mod relay;
pub mod seen;

use std::path::Path;

use rustix::fs::Mode;

pub use act::Host;

/// Runs `kubewan agent <args>` and returns the exit code.
///
/// `serve <nonce>` speaks the protocol on the standard streams; `perform <folder>` works off a batch and is
/// what the transient unit runs.
pub fn main(args: &[String]) -> i32 {
    // Programs that are run here make files with what the login shell's mask would be; ours say their mode.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", nonce] => {
            match serve::serve(nonce, &Host::new(), std::io::stdin(), std::io::stdout()) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("kubewan agent: {error}");
                    1
                }
            }
        }
        ["perform", dir] => batch::main(Path::new(dir), Host::new()),
        _ => {
            eprintln!("usage: kubewan agent serve NONCE | perform FOLDER");
            64
        }
    }
}
