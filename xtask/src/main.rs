//! The project's own chores: `cargo xtask test` runs everything, `cargo xtask check` what needs no root.

mod check;
mod requirements;
mod run;
mod suite;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <task>

  test    install what the tests need, then check, unit tests, and the lab (root)
  check   formatting, lints, purity of the core, licences, banned crates, rules of the tree
  unit    unit, golden and property tests only
  lab     the lab's short stories only (root)
  stories all of the lab's stories, with real Kubernetes where a bundle is there (root, half an hour)";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let result = match task.as_str() {
        "test" => requirements::install()
            .and_then(|()| check::all())
            .and_then(|()| suite::run(&[suite::UNIT, suite::LAB])),
        "check" => check::all(),
        "unit" => suite::run(&[suite::UNIT]),
        "stories" => requirements::install().and_then(|()| suite::run(&[suite::STORIES])),
        "lab" => requirements::install().and_then(|()| suite::run(&[suite::LAB])),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
