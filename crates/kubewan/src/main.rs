//! kubewan: builds and keeps one Kubernetes cluster on servers that share nothing but the public Internet.
//!
//! Read on in [`args`] (what can be typed), [`commands`] (what each command does, one file each), [`cluster`] (what
//! several of them begin with) and [`report`] (all that is printed).

mod args;
mod cluster;
mod commands;
mod exit_code;
mod failure;
mod report;
mod site;

use std::process::ExitCode;

use args::Args;
use clap::Parser;
use exit_code::Code;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let Some(code) = commands::hidden(&words) {
        return ExitCode::from(code);
    }
    let args = match Args::try_parse_from(&words) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let code = if error.use_stderr() { Code::Usage } else { Code::Done };
            let _ = error.print();
            return code.into();
        }
    };
    let one_document = args.command.answers_one_document();
    match commands::run(args.command) {
        Ok(code) => code.into(),
        Err(failure) => {
            if one_document {
                report::json::document(&failure);
            }
            report::failure(&failure);
            failure.code.into()
        }
    }
}
