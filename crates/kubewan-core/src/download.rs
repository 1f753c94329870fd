//! How a file is downloaded with curl, on a host or here: in slices, each of which goes on where the last one stopped, so
//! that whoever waits hears how far it is and a dead server is told from a slow one. Pure: it says what curl is called
//! with and what its end means; running it is its caller's.

/// Seconds of one slice.
const SLICE_S: u64 = 15;
/// Seconds for a whole file where the server can't go on in the middle of one.
const WHOLE_S: u64 = 3600;
/// Slices that may bring nothing before a download is given up.
const STALLS: u32 = 4;
/// Failures after which a download is given up; in between a pause that doubles.
const TRIES: u32 = 4;

/// curl's exit codes (curl(1), EXIT CODES).
const HTTP_ERROR: i32 = 22;
const TIMED_OUT: i32 = 28;
const NO_RANGES: i32 = 33;
/// A malformed URL, a protocol that is not allowed, a certificate that is not trusted: no second try helps.
const FINAL: [i32; 4] = [1, 3, 60, 77];

/// A download that is under way.
#[derive(Clone, Debug, Default)]
pub struct Download {
    failures: u32,
    stalls: u32,
    whole: bool,
}

/// What to do after a run of curl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The file is there: check it.
    Check,
    /// Run curl again.
    Again {
        /// Remove what is there of the file before.
        fresh: bool,
        /// Seconds to wait before.
        pause_s: u64,
    },
    /// What is wrong, in curl's words.
    GiveUp(String),
}

impl Download {
    /// Arguments of the next run of curl; its exit code and errors go to [`Download::after`].
    pub fn args(&self, url: &str, into: &str) -> Vec<String> {
        let mut args = common(url);
        if self.whole {
            let whole = WHOLE_S.to_string();
            // A minute without a byte is a dead server.
            let stalls = ["--speed-limit", "1", "--speed-time", "60"];
            args.extend(
                ["--max-time", whole.as_str()].iter().chain(&stalls).map(ToString::to_string),
            );
        } else {
            let slice = SLICE_S.to_string();
            args.extend(["--max-time", slice.as_str(), "--continue-at", "-"].map(str::to_owned));
        }
        args.extend(["--output".into(), into.into()]);
        args
    }

    /// Seconds after which a run of curl should be over.
    pub fn patience_s(&self) -> u64 {
        30 + if self.whole { WHOLE_S } else { SLICE_S }
    }

    /// What a run's end means. `grew`: the file has more bytes than before it.
    pub fn after(&mut self, code: i32, stderr: &str, grew: bool) -> Next {
        if grew {
            (self.stalls, self.failures) = (0, 0);
        }
        match code {
            0 => return Next::Check,
            TIMED_OUT if grew && !self.whole => return Next::Again { fresh: false, pause_s: 0 },
            TIMED_OUT => {
                self.stalls += 1;
                if self.stalls < STALLS && !self.whole {
                    return Next::Again { fresh: false, pause_s: 0 };
                }
                return Next::GiveUp(said(stderr));
            }
            NO_RANGES if !self.whole => {
                self.whole = true;
                return Next::Again { fresh: true, pause_s: 0 };
            }
            _ => {}
        }
        // What is there is no beginning of what the server has.
        let status =
            |status: &str| code == HTTP_ERROR && stderr.contains(&format!("error: {status}"));
        let beyond = status("416");
        // Not those that a later try may mend: RFC 9110 §15.5.9, RFC 6585 §4.
        let refused = status("4") && !beyond && !status("408") && !status("429");
        self.failures += 1;
        // Else a server that has no ranges at all would be asked for them for ever.
        self.whole |= beyond;
        if FINAL.contains(&code) || refused || self.failures >= TRIES {
            return Next::GiveUp(said(stderr));
        }
        Next::Again { fresh: beyond, pause_s: 1 << self.failures }
    }
}

/// Arguments that print a small file, as a checksum or a key.
pub fn text_args(url: &str) -> Vec<String> {
    let mut args = common(url);
    args.extend(["--max-time", "60", "--retry", "2", "--max-filesize", "1M"].map(str::to_owned));
    args
}

/// Seconds after which a server that is only asked counts as silent: a handshake around the world takes one.
const ASKED_CONNECT_S: &str = "5";
/// Seconds for one whole answer.
const ASKED_S: &str = "10";
/// Bytes of an answer: a registry's manifest has 4 MiB at most (OCI distribution specification, "Pushing Manifests").
const ASKED_BYTES: &str = "4194304";

/// Arguments that ask a server once and print its answer with its head; one that is no success too. `head`: the head alone.
pub fn ask_args(url: &str, head: bool) -> Vec<String> {
    let mut args = common(url);
    args.retain(|arg| arg != "--fail");
    if let Some(at) = args.iter().position(|arg| arg == "--connect-timeout") {
        args[at + 1] = ASKED_CONNECT_S.into();
    }
    let bounds = ["--max-time", ASKED_S, "--max-filesize", ASKED_BYTES, "--max-redirs", "5"];
    args.extend(bounds.map(str::to_owned));
    args.push(if head { "--head" } else { "--include" }.into());
    args
}

fn common(url: &str) -> Vec<String> {
    // What begins encrypted stays so wherever it is sent on to.
    let protocols = if url.starts_with("http://") { "=http,https" } else { "=https" };
    let args = [
        "--silent",
        "--show-error",
        "--fail",
        "--location",
        "--globoff",
        "--connect-timeout",
        "20",
        "--proto",
        protocols,
        "--url",
        url,
    ];
    args.map(str::to_owned).to_vec()
}

/// The last of curl's lines that says what went wrong: below that of a certificate come more, on what can be done.
pub fn said(stderr: &str) -> String {
    let mut lines = stderr.lines().rev().filter(|line| !line.trim().is_empty());
    let last = lines.clone().next();
    let line = lines.find(|line| line.starts_with("curl: (")).or(last);
    line.unwrap_or("curl did not say why").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Next = Next::Again { fresh: false, pause_s: 0 };

    #[test]
    fn a_slow_server_is_waited_for_and_a_dead_one_is_not() {
        let mut slow = Download::default();
        for _ in 0..100 {
            assert_eq!(slow.after(28, "curl: (28) Operation timed out", true), AGAIN);
        }
        assert_eq!(slow.after(0, "", true), Next::Check);
        let mut dead = Download::default();
        let ends: Vec<Next> = (0..4).map(|_| dead.after(28, "curl: (28) late", false)).collect();
        assert_eq!(ends[..3], [AGAIN, AGAIN, AGAIN]);
        assert_eq!(ends[3], Next::GiveUp("curl: (28) late".into()));
    }

    #[test]
    fn what_no_second_try_mends_is_given_up_at_once() {
        for (code, words) in [
            (22, "curl: (22) The requested URL returned error: 404"),
            (60, "curl: (60) SSL certificate problem: self-signed certificate"),
        ] {
            let next = Download::default().after(code, words, false);
            assert_eq!(next, Next::GiveUp(words.into()));
        }
        let mut busy = Download::default();
        let words = "curl: (22) The requested URL returned error: 503";
        let pauses: Vec<Next> = (0..4).map(|_| busy.after(22, words, false)).collect();
        let again = |pause_s| Next::Again { fresh: false, pause_s };
        assert_eq!(pauses[..3], [again(2), again(4), again(8)]);
        assert_eq!(pauses[3], Next::GiveUp(words.into()));
    }

    #[test]
    fn a_server_without_ranges_gives_the_whole_file() {
        let mut download = Download::default();
        assert!(download.args("https://x/y", "/f").contains(&"--continue-at".to_owned()));
        assert_eq!(
            download.after(33, "curl: (33) no ranges", false),
            Next::Again { fresh: true, pause_s: 0 }
        );
        assert!(!download.args("https://x/y", "/f").contains(&"--continue-at".to_owned()));
        assert_eq!(download.after(0, "", true), Next::Check);
    }

    #[test]
    fn bytes_that_are_no_beginning_are_thrown_away() {
        let words = "curl: (22) The requested URL returned error: 416";
        let mut download = Download::default();
        assert_eq!(download.after(22, words, false), Next::Again { fresh: true, pause_s: 2 });
        assert!(!download.args("https://x/y", "/f").contains(&"--continue-at".to_owned()));
        let busy = "curl: (22) The requested URL returned error: 429";
        let next = Download::default().after(22, busy, false);
        assert_eq!(next, Next::Again { fresh: false, pause_s: 2 });
    }

    #[test]
    fn who_is_only_asked_has_little_time() {
        let args = ask_args("https://x/v2/", false).join(" ");
        assert!(args.contains("--connect-timeout 5") && args.contains("--max-time 10"), "{args}");
        assert!(!args.contains("--fail") && args.contains("--include"), "{args}");
        assert!(ask_args("https://x", true).contains(&"--head".to_owned()));
    }

    #[test]
    fn https_stays_https() {
        assert!(text_args("https://x").contains(&"=https".to_owned()));
        assert!(text_args("http://x").contains(&"=http,https".to_owned()));
    }
}
