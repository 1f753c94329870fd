//! `kubewan completions`: what a shell needs to complete commands, options and values.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Args;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;

/// Prints the script for a shell.
pub fn run(shell: Shell) -> Result<Code, Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Args::command(), "kubewan", &mut script);
    report::data(&String::from_utf8_lossy(&script));
    Ok(Code::Done)
}
