//! Asking servers that this host is to take things from, by its own curl. What is asked and what answers mean says
//! `kubewan_core::mirror`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::download::{ask_args, said};
use kubewan_core::mirror::answer::{
    Answer, Fault, MANIFESTS, Reply, Served, Unserved, judge, token,
};
use kubewan_core::mirror::{Ask, What};
use kubewan_core::render::registry::DOCKER_CERTS_D;
use tempfile::NamedTempFile;

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

/// Asks all, some at a time, in about a minute at most; answers come in the questions' order. `authorities`: certificates of those who
/// have signed registries' own, in PEM, by the registries.
pub fn ask_all(asks: &[Ask], authorities: &BTreeMap<String, String>) -> Vec<Answer> {
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
                    let answer = one(ask, authorities);
                    if let Ok(mut answers) = answers.lock() {
                        answers[place] = answer;
                    }
                }
            });
        }
    });
    answers.into_inner().unwrap_or_default()
}

fn one(ask: &Ask, authorities: &BTreeMap<String, String>) -> Answer {
    let answer = asked(ask, authorities);
    let lacks = matches!(&answer, Err(unserved) if unserved.fault == Fault::Lacking);
    if !lacks || ask.instead.is_empty() {
        return answer;
    }
    for other in &ask.instead {
        // Which of them is missing says more than that the first is.
        asked(other, authorities).map_err(|unserved| {
            let said = format!("{}: {}", other.of, unserved.said);
            Unserved::new(unserved.fault, said)
        })?;
    }
    Ok(Served::default())
}

fn asked(ask: &Ask, authorities: &BTreeMap<String, String>) -> Answer {
    let trusted = trusted(ask, authorities);
    let in_its_way = Asking { ask, authorities: trusted.as_ref().map(NamedTempFile::path) };
    let answer = in_its_way.answer(&ask.url);
    let plain = ask.url.strip_prefix("https://").filter(|_| ask.trust.or_plain);
    match (plain, &answer) {
        (Some(rest), Err(unserved)) if unserved.fault == Fault::Silent => {
            in_its_way.answer(&format!("http://{rest}"))
        }
        _ => answer,
    }
}

/// Stores of certificates that every program of a host trusts, in the families of distributions.
const STORES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// A file of those who may have signed a server's certificate: curl takes it in place of its own, and the runtimes add to theirs.
fn trusted(ask: &Ask, authorities: &BTreeMap<String, String>) -> Option<NamedTempFile> {
    let registry = ask.trust.authorities_of.as_ref()?;
    let pem = match authorities.get(registry) {
        Some(pem) => pem.clone(),
        None => dockers(Path::new(DOCKER_CERTS_D), registry)?,
    };
    let store = STORES.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let mut file = NamedTempFile::new().ok()?;
    file.write_all(format!("{pem}\n{store}").as_bytes()).ok()?;
    Some(file)
}

/// What Docker's folder has for a registry (docs.docker.com, "Verify repository client with certificates").
fn dockers(folder: &Path, registry: &str) -> Option<String> {
    let entries = fs::read_dir(folder.join(registry)).ok()?.flatten();
    let all = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "crt"));
    let pem: String = all.filter_map(|path| fs::read_to_string(path).ok()).collect();
    (!pem.is_empty()).then_some(pem)
}

/// A question, and the file of those who may have signed its server's certificate, beside those that this host trusts.
struct Asking<'a> {
    ask: &'a Ask,
    authorities: Option<&'a Path>,
}

impl Asking<'_> {
    fn answer(&self, url: &str) -> Answer {
        let reply = self.curl(url, None)?;
        // Registries that serve everyone give everyone a token (distribution's docs/spec/auth/token.md).
        let is_manifest = matches!(self.ask.what, What::Manifest);
        let wanted = is_manifest.then(|| reply.token_url(url)).flatten();
        let Some(token_url) = wanted else { return judge(self.ask, &reply) };
        let given = self.curl(&token_url, None)?;
        match token(&given.body) {
            Some(token) => judge(self.ask, &self.curl(url, Some(&token))?),
            None => judge(self.ask, &reply),
        }
    }

    fn curl(&self, url: &str, token: Option<&str>) -> Result<Reply, Unserved> {
        let ask = self.ask;
        let silent = |said: String| Unserved::new(Fault::Silent, said);
        let is_head = ask.what == What::File;
        let mut program = Program::new("curl").args(ask_args(url, is_head)).timeout(CURL_MAX);
        if let Some(file) = self.authorities {
            program = program.args(["--cacert", &file.to_string_lossy()]);
        }
        if ask.trust.skip_verify {
            program = program.args(["--insecure"]);
        }
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
                // Who begins with TLS sends no lines, and waits.
                stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let lines: Vec<String> = BufReader::new(&stream)
                    .lines()
                    .map_while(Result::ok)
                    .take_while(|l| !l.is_empty())
                    .collect();
                let Some(first) = lines.first().and_then(|line| line.split(' ').nth(1)) else {
                    continue;
                };
                let path = first.to_owned();
                let let_in = lines.iter().any(|line| line == "Authorization: Bearer sesame");
                let manifest = r#"{"schemaVersion":2,"layers":[]}"#;
                let digest = match path.contains("lie") {
                    true => "0".repeat(64),
                    false => kubewan_core::sha256_hex(manifest.as_bytes()),
                };
                let (head, body) = match (path.split('?').next().unwrap(), let_in) {
                    ("/token", _) => ("200 OK".to_owned(), r#"{"token":"sesame"}"#),
                    ("/signed/Release" | "/unsigned/Release", _) => {
                        ("200 OK".to_owned(), "Origin: x\nSHA256:\n")
                    }
                    ("/signed/Release.gpg", _) => {
                        ("200 OK".to_owned(), "-----BEGIN PGP SIGNATURE-----\n")
                    }
                    (apt, _) if apt.contains("signed/") => ("404 Not Found".to_owned(), ""),
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
        let ask = |what: What, path: &str| Ask::new(what, format!("{url}{path}"), path);
        let manifest = |name: &str| ask(What::Manifest, &format!("/v2/{name}/manifests/1"));
        let dead = Ask::new(What::Registry, "http://127.0.0.1:9/v2/", "dead");
        let asks = [
            ask(What::Registry, "/v2/"),
            manifest("pause"),
            manifest("none"),
            manifest("lie"),
            dead,
        ];
        let answers = ask_all(&asks, &BTreeMap::new());
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

    #[test]
    fn what_does_as_well_is_asked_for_where_the_first_is_not_there() {
        if !exists("curl") {
            return;
        }
        let url = registry();
        let ask = |folder: &str| {
            let of =
                |what: What, file: &str| Ask::new(what, format!("{url}/{folder}/{file}"), file);
            let instead = vec![of(What::Index, "Release"), of(What::Signature, "Release.gpg")];
            Ask { instead, ..of(What::Index, "InRelease") }
        };
        let alone = Ask { instead: Vec::new(), ..ask("signed") };
        let answers = ask_all(&[ask("signed"), ask("unsigned"), alone], &BTreeMap::new());
        assert_eq!(answers[0], Ok(Served::default()));
        let said = |at: usize| answers[at].clone().unwrap_err().said;
        assert_eq!((said(1), said(2)), ("Release.gpg: HTTP 404".into(), "HTTP 404".into()));
    }

    #[test]
    fn an_insecure_registry_of_dockers_is_asked_in_the_clear_too() {
        if !exists("curl") {
            return;
        }
        let url = registry().replacen("http://", "https://", 1);
        let plain = Ask::new(What::Registry, format!("{url}/v2/"), "a registry");
        let mut insecure = plain.clone();
        insecure.trust.or_plain = true;
        let answers = ask_all(&[plain, insecure], &BTreeMap::new());
        assert_eq!(answers[0].as_ref().unwrap_err().fault, Fault::Silent, "{answers:?}");
        assert_eq!(answers[1], Ok(Served::default()));
    }

    /// As `openssl s_server` shows a certificate that nobody knows, where there is one.
    #[test]
    fn those_who_have_signed_a_registrys_certificate_are_believed() {
        if !exists("curl") || !exists("openssl") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name).display().to_string();
        let (key, pem) = (file("key"), file("pem"));
        let made = Program::new("openssl").args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=r",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            &key,
            "-out",
            &pem,
        ]);
        made.stdout().unwrap();
        fs::create_dir(dir.path().join("v2")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = std::process::Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-key", &key, "-cert", &pem])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("https://127.0.0.1:{port}/v2/");
        for _ in 0..1200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let unknown = Ask::new(What::Registry, &url, "a registry");
        let (mut known, mut any) = (unknown.clone(), unknown.clone());
        known.trust.authorities_of = Some("r".into());
        any.trust.skip_verify = true;
        let authorities = BTreeMap::from([("r".to_owned(), fs::read_to_string(&pem).unwrap())]);
        let answers: Vec<Answer> =
            [unknown, known, any].iter().map(|ask| one(ask, &authorities)).collect();
        server.kill().unwrap();
        server.wait().unwrap();
        let unserved = answers[0].as_ref().unwrap_err();
        assert!(unserved.said.contains("certificate"), "{answers:?}");
        assert_eq!(answers[1..], [Ok(Served::default()), Ok(Served::default())]);
    }

    #[test]
    fn dockers_folder_has_those_who_signed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("r.example:5000");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("ca.crt"), "one\n").unwrap();
        fs::write(folder.join("client.key"), "secret\n").unwrap();
        assert_eq!(dockers(dir.path(), "r.example:5000").as_deref(), Some("one\n"));
        assert_eq!(dockers(dir.path(), "s.example"), None);
    }
}
