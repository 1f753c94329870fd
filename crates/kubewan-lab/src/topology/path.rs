//! The way between two clouds: how long it takes, what gets lost, how large packets may be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The operator's machine among the clouds, where paths are named.
pub const OPERATOR: &str = "operator";

/// What a usual link carries; the lab's own.
pub const MTU_MAX: u16 = 1500;
/// The least that every IPv4 network carries (RFC 791 asks hosts to take 576 bytes).
pub const MTU_MIN: u16 = 576;
/// The longest latency: a way over two satellites.
const LATENCY_MAX: Duration = Duration::from_secs(5);

/// A way between two clouds, both directions alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// How long a packet is on the way, in one direction: a ping takes twice as long.
    pub latency: Latency,
    /// How many packets get lost, in each direction.
    pub loss: Loss,
    /// The largest packet that fits, in bytes with its IP header; 1500 where nothing is said.
    pub mtu: Option<u16>,
    /// Larger packets vanish, and nobody says so. Else the sender is told (ICMP, "fragmentation needed").
    pub black_hole: bool,
}

impl Path {
    /// Whether the way is as the lab makes every one.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Whether packets have to be held or dropped.
    pub fn holds_packets(&self) -> bool {
        self.latency.0 > Duration::ZERO || self.loss.0 > 0
    }

    /// What is wrong with it.
    ///
    /// # Errors
    /// Says which value is beyond what a way can be.
    pub fn check(&self) -> Result<(), String> {
        if let Some(mtu) = self.mtu.filter(|mtu| !(MTU_MIN..=MTU_MAX).contains(mtu)) {
            return Err(format!("the MTU is {mtu}: {MTU_MIN} to {MTU_MAX} are possible"));
        }
        if self.black_hole && self.mtu.is_none() {
            return Err("a black hole needs an MTU above which packets vanish".into());
        }
        Ok(())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.latency.0 > Duration::ZERO {
            parts.push(format!("latency {}", self.latency));
        }
        if self.loss.0 > 0 {
            parts.push(format!("loss {}", self.loss));
        }
        if let Some(mtu) = self.mtu {
            let hole = if self.black_hole { ", larger packets vanish" } else { "" };
            parts.push(format!("MTU {mtu}{hole}"));
        }
        if parts.is_empty() { f.write_str("plain") } else { f.write_str(&parts.join(", ")) }
    }
}

/// A time in milliseconds or seconds: `80ms`, `0.5ms`, `1s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Latency(pub Duration);

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no latency: write it as `80ms`, up to {} s", LATENCY_MAX.as_secs())
        };
        let (number, unit_s) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(number), _) => (number, 1e-3),
            (None, Some(number)) => (number, 1.0),
            _ => return Err(wrong()),
        };
        let seconds = plain_number(number).ok_or_else(wrong)? * unit_s;
        let latency = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        if latency > LATENCY_MAX { Err(wrong()) } else { Ok(Self(latency)) }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_micros() as f64 / 1000.0)
    }
}

/// A share in millionths, written in percent: `2%`, `0.1%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Loss(pub u32);

impl Loss {
    /// All.
    pub const WHOLE: u32 = 1_000_000;
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no loss: write it as `2%`, up to 100%");
        let percent = text.strip_suffix('%').and_then(plain_number).ok_or_else(wrong)?;
        let millionths = (percent * 1e4).round();
        if millionths > f64::from(Self::WHOLE) { Err(wrong()) } else { Ok(Self(millionths as u32)) }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 1e4)
    }
}

/// Digits with at most one point: no sign, no exponent, no infinity.
fn plain_number(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| plain)
}

macro_rules! text_both_ways {
    ($($kind:ty),+) => {$(
        impl TryFrom<String> for $kind {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }
    )+};
}

text_both_ways!(Latency, Loss);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_are_read() {
        assert_eq!("80ms".parse::<Latency>().unwrap().0, Duration::from_millis(80));
        assert_eq!("0.5ms".parse::<Latency>().unwrap().to_string(), "0.5ms");
        assert_eq!("1.5s".parse::<Latency>().unwrap().to_string(), "1500ms");
        for text in ["80", "ms", "-1ms", "6s", "infs", "1e3ms", "80 ms", ""] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
        assert_eq!("2%".parse::<Loss>().unwrap(), Loss(20_000));
        assert_eq!("0.1%".parse::<Loss>().unwrap().to_string(), "0.1%");
        for text in ["2", "101%", "-1%", "%", "nan%"] {
            assert!(text.parse::<Loss>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_says_what_it_does() {
        let mut path = Path::default();
        assert!(path.is_plain() && !path.holds_packets());
        assert_eq!(path.to_string(), "plain");
        path = Path { latency: "80ms".parse().unwrap(), loss: Loss(20_000), ..path };
        path = Path { mtu: Some(1400), black_hole: true, ..path };
        assert_eq!(path.to_string(), "latency 80ms, loss 2%, MTU 1400, larger packets vanish");
        assert!(path.check().is_ok());
        assert!(Path { mtu: Some(100), ..path }.check().is_err());
        assert!(Path { mtu: None, ..path }.check().is_err());
    }
}
