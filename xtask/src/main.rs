//! The project's own chores: `cargo xtask test` runs everything, `cargo xtask check` what needs no root.

mod bench;
mod check;
mod fuzz;
mod kill_sweep;
mod requirements;
mod run;
mod stories;
mod suite;

use std::process::ExitCode;

use suite::Set;

const USAGE: &str = "usage: cargo xtask <task> [name of a test]…

  test    install what the tests need, then check, unit tests, and the lab (root)
  check   formatting, lints, purity of the core, licences, banned crates, rules of the tree
  unit    unit, golden and property tests only
  fuzz    readers of foreign bytes, for a minute each: `fuzz [ENTRY] [--seconds N]`
  bench   a plan for a thousand hosts, and runs in the lab beside what can't be saved (root); `--pairs N`,
          `--only plan|no-op|up`
  kill-sweep
          stops runs in the lab at 60 points, runs them again and compares: over an hour (root);
          `--points N`, `--inside N` (within kubeadm's part), `--chain N` (stops in one life of the hosts), `--seed N`,
          `--kubernetes rehearsal|bundle`, `--then up|reset`
  lab     the lab's stories only, two side by side, with real Kubernetes where a bundle of it is there (root, 20 minutes);
          `lab long` tells the long ones, which are told by name only

`unit` and `lab` take names, or parts of names, of the tests to run.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let task = words.next().unwrap_or_default();
    let names: Vec<String> = words.collect();
    let result = match task.as_str() {
        "test" => requirements::install()
            .and_then(|()| check::all())
            .and_then(|()| suite::run(&[Set::Unit, Set::Lab], &[])),
        "check" => check::all(),
        "fuzz" => fuzz::run(&names),
        "bench" => requirements::install().and_then(|()| bench::run(&names)),
        "kill-sweep" => requirements::install().and_then(|()| kill_sweep::run(&names)),
        "unit" => suite::run(&[Set::Unit], &names),
        "lab" => requirements::install().and_then(|()| suite::run(&[Set::Lab], &names)),
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
