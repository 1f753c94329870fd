//! `fuzz`: the tests that feed readers with mutated inputs, for longer and with other seeds than in every test run.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::run::{cargo, show};

/// How long each entry is fed, unless said otherwise.
const SECONDS: u64 = 60;

/// Runs one entry, or all of them side by side.
pub fn run(words: &[String]) -> Result<(), String> {
    let (entry, seconds) = parse(words)?;
    // Other inputs than last time. A failure names its seed, and its input is kept.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let wish = format!("seconds={seconds} from={}", now << 24);
    let mut command = cargo();
    // Of the whole workspace, as all tests are: another choice of packages would build everything again.
    command.env("KUBEWAN_FUZZ", wish).args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.args(["--test", "fuzz", "--", "--nocapture"]);
    if let Some(entry) = entry {
        command.args(["--exact", entry]);
    }
    show(&mut command)
}

/// `[ENTRY] [--seconds N]`
fn parse(words: &[String]) -> Result<(Option<&str>, u64), String> {
    let (mut entry, mut seconds) = (None, SECONDS);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--seconds" => {
                let number = words.next().and_then(|number| number.parse().ok());
                seconds = number.ok_or("fuzz: --seconds takes a number")?;
            }
            _ if word.starts_with('-') || entry.is_some() => {
                return Err("usage: cargo xtask fuzz [ENTRY] [--seconds N]".into());
            }
            _ => entry = Some(word),
        }
    }
    Ok((entry, seconds))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::run::split;

    #[test]
    fn words_are_understood() {
        let of = |text| parse(&split(text)).map(|(entry, s)| (entry.map(str::to_owned), s));
        assert_eq!(of(""), Ok((None, 60)));
        assert_eq!(of("bundle --seconds 5"), Ok((Some("bundle".into()), 5)));
        assert!(of("--seconds").is_err() && of("a b").is_err() && of("--minutes 1").is_err());
    }
}
