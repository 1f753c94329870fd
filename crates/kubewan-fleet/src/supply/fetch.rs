//! Downloads on this machine, with curl.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use kubewan_core::download::{Download, Next, said, text_args};

/// Something could not be downloaded, or is not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {said}")]
pub struct FetchError {
    /// What was asked for.
    pub url: String,
    /// What came back.
    pub said: String,
}

impl FetchError {
    /// That a URL did not give what was asked for.
    pub fn new(url: &str, said: impl Into<String>) -> FetchError {
        FetchError { url: url.into(), said: said.into() }
    }
}

/// What a run of curl left.
pub(super) struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs curl. `config` holds what has no place among arguments, which everyone on this machine can read.
pub(super) fn curl(args: &[String], config: &str) -> io::Result<Ran> {
    let mut command = Command::new("curl");
    command.env("LC_ALL", "C").args(args);
    if !config.is_empty() {
        command.args(["--config", "-"]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // curl that reads none has ended, and says why.
        let _ = stdin.write_all(config.as_bytes());
    }
    let output = child.wait_with_output()?;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn not_started(url: &str, error: &io::Error) -> FetchError {
    let said = match error.kind() {
        io::ErrorKind::NotFound => "curl is needed on this machine, and is not there".to_owned(),
        _ => format!("curl could not be started: {error}"),
    };
    FetchError::new(url, said)
}

/// A small text.
///
/// # Errors
/// Fails where it can't be had, or is no text.
pub fn text(url: &str) -> Result<String, FetchError> {
    let ran = curl(&text_args(url), "").map_err(|error| not_started(url, &error))?;
    if ran.code != 0 {
        return Err(FetchError::new(url, said(&ran.stderr)));
    }
    String::from_utf8(ran.stdout).map_err(|_| FetchError::new(url, "it is no text"))
}

/// Fills a file, going on where an earlier download of it stopped; `progress` hears how many bytes are there.
/// `config` is curl's, for what has no place among arguments.
///
/// # Errors
/// Fails where it can't be had; what came stays, for the next try.
pub fn file(
    url: &str,
    into: &Path,
    config: &str,
    progress: &dyn Fn(u64),
) -> Result<(), FetchError> {
    let length = || fs::metadata(into).map_or(0, |metadata| metadata.len());
    let path = into.to_string_lossy().into_owned();
    let mut download = Download::default();
    loop {
        let before = length();
        let ran = curl(&download.args(url, &path), config).map_err(|e| not_started(url, &e))?;
        let now = length();
        progress(now);
        match download.after(ran.code, &ran.stderr, now > before) {
            Next::Check => return Ok(()),
            Next::GiveUp(said) => return Err(FetchError::new(url, said)),
            Next::Again { fresh, pause_s } => {
                if fresh {
                    let _ = fs::remove_file(into);
                }
                thread::sleep(Duration::from_secs(pause_s));
            }
        }
    }
}

/// Downloads a file of which the SHA-256 is known, unless it is there. It gets its name once it is whole and right.
///
/// # Errors
/// Fails where it can't be had, or is another than was asked for: it is deleted then.
pub fn checked(
    url: &str,
    into: &Path,
    sha256: &str,
    config: &str,
    progress: &dyn Fn(u64),
) -> Result<(), FetchError> {
    let failed = |error: io::Error| FetchError::new(url, format!("{}: {error}", into.display()));
    if into.exists() && crate::bundle::sha256_of(into).map_err(failed)? == sha256 {
        return Ok(());
    }
    if let Some(folder) = into.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut part = into.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    file(url, part, config, progress)?;
    let found = crate::bundle::sha256_of(part).map_err(failed)?;
    if found != sha256 {
        fs::remove_file(part).map_err(failed)?;
        let said = format!(
            "it is not what its publisher offers: its sha256 is {found}, and {sha256} was published; it was deleted"
        );
        return Err(FetchError::new(url, said));
    }
    fs::rename(part, into).map_err(failed)
}
