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

/// What tells curl of proxies.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// Where apt, dnf, yum, containerd and Docker are told of proxies.
const PROXY_FILES: [&str; 4] =
    ["/etc/apt/apt.conf", "/etc/yum.conf", "/etc/dnf/dnf.conf", "/etc/docker/daemon.json"];
const PROXY_FOLDERS: [&str; 3] = [
    "/etc/apt/apt.conf.d",
    "/etc/systemd/system/containerd.service.d",
    "/etc/systemd/system/docker.service.d",
];

/// The first of such files that has a proxy.
fn proxy_of_others() -> Option<String> {
    let in_folder = |folder: &&str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let files = PROXY_FILES.iter().map(std::path::PathBuf::from);
    let mut all = files.chain(PROXY_FOLDERS.iter().flat_map(in_folder));
    let found = all.find(|path| std::fs::read_to_string(path).is_ok_and(|text| has_proxy(&text)));
    found.map(|path| path.display().to_string())
}

/// Whether a configuration sets a proxy, in whichever of their forms.
fn has_proxy(text: &str) -> bool {
    let is_remark = |line: &str| line.starts_with(['#', ';']) || line.starts_with("//");
    let mut lines = text.lines().map(str::trim).filter(|line| !is_remark(line));
    lines.any(|line| {
        let line = line.to_ascii_lowercase();
        line.contains("proxy") && !line.contains("direct") && !line.contains("_none_")
    })
}

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
    // By the way that everything else of this process goes; curl itself knows them in small letters (curl(1), "ENVIRONMENT").
    for name in PROXIES {
        if let Some(value) =
            [name.to_owned(), name.to_uppercase()].iter().find_map(|n| std::env::var(n).ok())
        {
            program = program.env(name, &value);
        }
    }
    if let Some(token) = token {
        // Arguments everyone on this host can read.
        let config = format!("header = \"Authorization: Bearer {token}\"\n");
        program = program.args(["--config", "-"]).stdin(config);
    }
    let output = program.output().map_err(silent)?;
    if output.code != 0 {
        // apt, containerd or Docker may get through where this curl does not.
        let said = said(&output.stderr);
        return Err(match proxy_of_others() {
            Some(file) => {
                let said =
                    format!("{said}; programs of this host have a proxy of their own ({file})");
                Unserved::new(Fault::Unasked, said)
            }
            None => silent(said),
        });
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
    fn a_proxy_of_another_programs_is_seen() {
        for text in [
            "Acquire::http::Proxy \"http://proxy.example:3128\";\n",
            "[main]\nproxy=http://proxy.example:3128\n",
            "[Service]\nEnvironment=\"HTTPS_PROXY=http://proxy.example:3128\"\n",
        ] {
            assert!(has_proxy(text), "{text}");
        }
        for text in [
            "",
            "# proxy=x\n",
            "Acquire::http::Proxy::mirror.example \"DIRECT\";\n",
            "proxy=_none_\n",
        ] {
            assert!(!has_proxy(text), "{text}");
        }
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
