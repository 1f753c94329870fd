//! Clocks that differ.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::has_all;
use crate::diagnosis::{Diagnosis, goal};

/// As `kubewan plan` has it.
const ERROR_MS: u64 = 60_000;

pub(super) const CHECK: Check = Check {
    code: "clock-skew",
    means: "a clock is wrong, so that certificates and tokens are not valid yet, or no longer",
    looks_at: "the host's clock beside this machine's, `certificate has expired or is not yet valid … is before`",
    explains: &["node-not-ready", "api-refused", "token-unsigned", "init-timeout"],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let off = host.clock_offset_ms;
            let is_off = off.unsigned_abs() >= ERROR_MS;
            // Which of the two clocks is wrong, the words don't tell.
            let early = |line: &str| {
                has_all(line, &["certificate has expired or is not yet valid", " is before "])
            };
            let said = host.said(&Component::ALL, early).filter(|_| is_off || host.is_pasted());
            if !is_off && said.is_none() {
                return None;
            }
            let seconds = off / 1000;
            let clock = host.quote("clock beside this machine's", format!("{seconds:+} s"));
            Some(
                Diagnosis::error("clock-skew", host.who(), "certificates are refused that were just made")
                    .cause("the clocks of two machines differ by more than certificates and tokens bear")
                    .seen(is_off.then_some(clock).into_iter().chain(said))
                    .remedy(
                        "`timedatectl set-ntp true`, or install chrony; `timedatectl` shows what the clock says. Where all hosts \
                         are off by the same, it is this machine's clock",
                    )
                    .fix(&[goal("time-sync-on", ""), goal("package", "timesyncd")]),
            )
        };
        case.present().filter_map(of).collect()
    },
};
