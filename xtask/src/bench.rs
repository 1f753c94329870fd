//! `bench`: what a run and a plan cost, in one go on this machine; docs/benchmarks.md keeps figures.

use crate::run::{cargo, show};

/// What is measured, as `--only` takes it.
const PARTS: [&str; 3] = ["plan", "no-op", "up"];

/// Runs the benchmarks, built for speed: the core's in memory, the others in the lab.
pub fn run(words: &[String]) -> Result<(), String> {
    let wish = parse(words)?;
    if wish.only.is_none_or(|only| only == "plan") {
        let mut plan = cargo();
        plan.args(["test", "--release", "--workspace", "--locked", "--lib", "--"]);
        show(plan.args(["--ignored", "--nocapture", "plan::bench::"]))?;
    }
    if wish.only == Some("plan") {
        return Ok(());
    }
    let mut lab = cargo();
    lab.env("BENCH_PAIRS", wish.pairs.to_string()).env("BENCH_ONLY", wish.only.unwrap_or(""));
    show(lab.args(["bench", "--workspace", "--locked", "--bench", "lab"]))
}

struct Wish<'a> {
    pairs: u32,
    only: Option<&'a str>,
}

/// `[--pairs N] [--only plan|no-op|up]`
fn parse(words: &[String]) -> Result<Wish<'_>, String> {
    let mut wish = Wish { pairs: 5, only: None };
    for pair in words.chunks(2) {
        match pair {
            [name, value] if name == "--pairs" => {
                let pairs = value.parse().ok().filter(|pairs| *pairs > 0);
                wish.pairs = pairs.ok_or("bench: --pairs takes a number above 0")?;
            }
            [name, value] if name == "--only" && PARTS.contains(&value.as_str()) => {
                wish.only = Some(value);
            }
            _ => return Err("usage: cargo xtask bench [--pairs N] [--only plan|no-op|up]".into()),
        }
    }
    Ok(wish)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::run::split;

    #[test]
    fn words_are_understood() {
        let of = |text| parse(&split(text)).map(|wish| (wish.pairs, wish.only.map(str::to_owned)));
        assert_eq!(of(""), Ok((5, None)));
        assert_eq!(of("--only up --pairs 7"), Ok((7, Some("up".into()))));
        assert!(of("--pairs 0").is_err() && of("--only all").is_err() && of("--pairs").is_err());
    }
}
