//! `kill-sweep`: runs stopped at many points, each followed by another; the lab's story of the same name, but long.

use crate::run::{cargo, show};

/// What may be said of a sweep, each with a value; `tests/lab/kill_sweep/points.rs` of the binary's crate reads them.
const WORDS: [&str; 6] = ["points", "inside", "chain", "seed", "kubernetes", "then"];

/// Every point in a life of its own, over the whole run and within `kubeadm init` and the joins.
const LONG: &str = "points=48 inside=6 chain=1";

/// Runs the sweep, built for speed: what is uploaded and hashed is then a tenth of a debug build's.
pub fn run(words: &[String]) -> Result<(), String> {
    let mut command = cargo();
    command.env("KILL_SWEEP", format!("{LONG} {}", parse(words)?));
    command.args(["test", "--release", "--workspace", "--locked", "--test", "lab", "--"]);
    show(command.args(["--ignored", "--nocapture", "kill_sweep::"]))
}

/// `--points 60 --then reset` as `points=60 then=reset`.
fn parse(words: &[String]) -> Result<String, String> {
    let usage = || {
        let all: Vec<String> = WORDS.iter().map(|word| format!("[--{word} …]")).collect();
        format!("usage: cargo xtask kill-sweep {}", all.join(" "))
    };
    let pairs = words.chunks(2).map(|pair| match pair {
        [name, value] => {
            let name = name.strip_prefix("--").filter(|name| WORDS.contains(name));
            Ok(format!("{}={value}", name.ok_or_else(usage)?))
        }
        _ => Err(usage()),
    });
    Ok(pairs.collect::<Result<Vec<_>, String>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::run::split;

    #[test]
    fn words_are_understood() {
        let of = |text| parse(&split(text));
        assert_eq!(of(""), Ok(String::new()));
        assert_eq!(of("--points 60 --then reset"), Ok("points=60 then=reset".into()));
        assert!(of("--points").is_err() && of("--hosts 3").is_err() && of("points 3").is_err());
    }
}
