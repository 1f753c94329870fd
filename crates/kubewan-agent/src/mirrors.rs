//! Asking servers that this host is to take things from, by its own curl. What is asked and what answers mean says
//! `kubewan_core::mirror`.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::download::{ask_args, said};
use kubewan_core::mirror::answer::{Answer, Fault, MANIFESTS, Reply, Unserved, judge, token};
use kubewan_core::mirror::{Ask, What};

use crate::command::{Program, exists};

/// Questions in one request.
pub const ASKS_MAX: usize = 256;

/// Questions that are under way at a time.
const AT_ONCE: usize = 16;

/// After this nothing more is asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a curl takes by its own bounds.
const CURL_MAX: Duration = Duration::from_secs(15);

/// Asks all, some at a time, in about a minute at most; answers come in the questions' order.
pub fn ask_all(asks: &[Ask]) -> Vec<Answer> {
    if !exists("curl") {
        let nothing = Unserved::new(Fault::Unasked, "there is no curl yet to ask with");
        return vec![Err(nothing); asks.len()];
    }
    let end = Instant::now() + PATIENCE;
    let late = Err(Unserved::new(Fault::Unasked, "there was no time left to ask"));
    let answers = Mutex::new(vec![late; asks.len()]);
    let next = Mutex::new(asks.iter().enumerate());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(asks.len()) {
            scope.spawn(|| {
                while Instant::now() < end {
                    let Ok(Some((place, ask))) = next.lock().map(|mut next| next.next()) else {
                        return;
                    };
                    let answer = one(ask);
                    if let Ok(mut answers) = answers.lock() {
                        answers[place] = answer;
                    }
                }
            });
        }
    });
    answers.into_inner().unwrap_or_default()
}

fn one(ask: &Ask) -> Answer {
    let reply = curl(ask, &ask.url, None)?;
    // Registries that serve everyone give everyone a token (distribution's docs/spec/auth/token.md).
    let wanted = matches!(ask.what, What::Manifest).then(|| reply.token_url(&ask.url)).flatten();
    let Some(token_url) = wanted else { return judge(ask, &reply) };
    let given = curl(ask, &token_url, None)?;
    match token(&given.body) {
        Some(token) => judge(ask, &curl(ask, &ask.url, Some(&token))?),
        None => judge(ask, &reply),
    }
}

fn curl(ask: &Ask, url: &str, token: Option<&str>) -> Result<Reply, Unserved> {
    let silent = |said: String| Unserved::new(Fault::Silent, said);
    let is_head = ask.what == What::File;
    let mut program = Program::new("curl").args(ask_args(url, is_head)).timeout(CURL_MAX);
    if ask.what == What::Manifest {
        program = program.args(["--header", &format!("Accept: {}", MANIFESTS.join(", "))]);
    }
    if let Some(token) = token {
        // Arguments everyone on this host can read.
        let config = format!("header = \"Authorization: Bearer {token}\"\n");
        program = program.args(["--config", "-"]).stdin(config);
    }
    let output = program.output().map_err(silent)?;
    if output.code != 0 {
        return Err(silent(said(&output.stderr)));
    }
    Reply::read(&output.stdout).ok_or_else(|| silent("what answers does not speak HTTP".into()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// A registry on loopback that gives everyone a token; it lies about the digest of `lie`.
    fn registry() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let own = url.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines: Vec<String> = BufReader::new(&stream)
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|l| !l.is_empty())
                    .collect();
                let path = lines[0].split(' ').nth(1).unwrap().to_owned();
                let let_in = lines.iter().any(|line| line == "Authorization: Bearer sesame");
                let manifest = r#"{"schemaVersion":2,"layers":[]}"#;
                let digest = match path.contains("lie") {
                    true => "0".repeat(64),
                    false => kubewan_core::sha256_hex(manifest.as_bytes()),
                };
                let (head, body) = match (path.split('?').next().unwrap(), let_in) {
                    ("/token", _) => ("200 OK".to_owned(), r#"{"token":"sesame"}"#),
                    ("/v2/none/manifests/1", true) => ("404 Not Found".to_owned(), ""),
                    (_, true) => {
                        (format!("200 OK\r\nDocker-Content-Digest: sha256:{digest}"), manifest)
                    }
                    (_, false) => (
                        format!(
                            "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{own}/token\",service=\"s\""
                        ),
                        "",
                    ),
                };
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(text.as_bytes());
            }
        });
        url
    }

    #[test]
    fn registries_are_asked_as_everyone_may() {
        if !exists("curl") {
            return;
        }
        let url = registry();
        let ask =
            |what: What, path: &str| Ask { what, url: format!("{url}{path}"), of: path.into() };
        let manifest = |name: &str| ask(What::Manifest, &format!("/v2/{name}/manifests/1"));
        let dead =
            Ask { what: What::Registry, url: "http://127.0.0.1:9/v2/".into(), of: "dead".into() };
        let asks = [
            ask(What::Registry, "/v2/"),
            manifest("pause"),
            manifest("none"),
            manifest("lie"),
            dead,
        ];
        let answers = ask_all(&asks);
        let faults: Vec<Option<Fault>> =
            answers.iter().map(|answer| answer.as_ref().err().map(|e| e.fault)).collect();
        assert_eq!(
            faults,
            [None, None, Some(Fault::Lacking), Some(Fault::OtherDigest), Some(Fault::Silent)],
            "{answers:?}"
        );
        let digest = answers[1].as_ref().unwrap().digest.clone().unwrap();
        assert!(digest.starts_with("sha256:"), "{digest}");
    }
}
