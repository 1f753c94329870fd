//! kubewan: builds and keeps one Kubernetes cluster on servers that share nothing but the public Internet.
//!
//! Read on in [`args`] (what can be typed), [`commands`] (what each command does, one file each), [`cluster`] (what
//! several of them begin with) and [`report`] (all that is printed).

mod args;
mod cluster;
mod commands;
mod drafting;
mod exit_code;
mod failure;
mod living;
mod report;
mod site;

use std::process::ExitCode;

use args::{Args, ColorWhen, Lang};
use clap::{CommandFactory, FromArgMatches};
use exit_code::Code;
use failure::Failure;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let Some(code) = commands::hidden(&words) {
        return ExitCode::from(code);
    }
    let color = ColorWhen::typed(&words);
    Lang::language(Lang::typed(&words)).apply();
    let command = report::help::in_language(Args::command());
    let parsed = command.color(color.into()).try_get_matches_from(&words);
    let args = match parsed.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let code = if error.use_stderr() { Code::Usage } else { Code::Done };
            color.apply();
            report::help::print(&error);
            return code.into();
        }
    };
    args.telling.color.apply();
    Lang::language(args.telling.lang).apply();
    let one_document = args.command.answers_one_document();
    let code = match run(args) {
        Ok(code) => code,
        Err(failure) => {
            if one_document {
                report::json::document(&failure);
            }
            report::failure(&failure);
            failure.code
        }
    };
    report::log("end", &format!("exit {}", code as u8));
    code.into()
}

fn run(args: Args) -> Result<Code, Failure> {
    let telling = &args.telling;
    report::set_up(telling.verbosity(), telling.log_file().as_deref())?;
    let version = env!("CARGO_PKG_VERSION");
    report::log("begin", &format!("kubewan {version} {}", args.command.name()));
    commands::run(args.command)
}
