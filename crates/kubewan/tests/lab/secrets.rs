//! Nothing secret is on show: a whole `up` is traced on both sides, and then everything that it left is searched for the
//! secrets that it handled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Kubernetes, Stage};

const HOSTS: [&str; 3] = ["master01", "node01", "node02"];

/// Where secrets belong, all of it readable by root alone. An entry that nothing needs fails the story.
const PLACES: &[Place] = &[
    place(
        "master01",
        "/etc/kubernetes/pki/",
        "keys that kubeadm makes and the control plane reads",
    ),
    place("master01", "/etc/kubernetes/admin.conf", "the admin's key: kubeadm writes it"),
    place("master01", "/etc/kubernetes/super-admin.conf", "as the admin's"),
    place("master01", "/etc/kubernetes/controller-manager.conf", "its own key"),
    place("master01", "/etc/kubernetes/scheduler.conf", "its own key"),
    place("master01", "/var/lib/etcd/member/", "the cluster's store holds its secrets"),
    place(
        "every host",
        "/var/lib/kubelet/pki/",
        "the kubelet's own key, as it gets it when it joins",
    ),
    place("operator", "lab/id_ed25519", "the operator's own key, which the lab made"),
];

/// Where the stand-in leaves the key that kubeadm has given the first kubelet: kubeadm's phase `kubelet-finalize` puts the
/// name of the kubelet's own file there.
const REHEARSED: Place = place(
    "master01",
    "/etc/kubernetes/kubelet.conf",
    "the kubelet's key, as kubeadm init makes it",
);

/// Where some secrets may be.
#[derive(Clone, Copy, Debug)]
struct Place {
    side: &'static str,
    /// A file, or with a slash at its end a folder.
    path: &'static str,
    #[expect(dead_code, reason = "for the reader, and for whoever sees it fail")]
    why: &'static str,
}

const fn place(side: &'static str, path: &'static str, why: &'static str) -> Place {
    Place { side, path, why }
}

impl Place {
    fn covers(&self, hit: &Hit) -> bool {
        let side = self.side == hit.side || self.side == "every host" && hit.side != "operator";
        let folder = self.path.ends_with('/') && hit.path.starts_with(self.path);
        side && (folder || hit.path == self.path)
    }
}

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    side: String,
    /// In the side's own words: a path on a host, one below the operator's folders, or what a program said.
    path: String,
    secret: String,
    /// Permission bits of a file.
    mode: Option<u32>,
}

/// A word that is put where no secret may be, to show that the search finds it.
const PLANTED: &str = "planted-4f1d9c-canary";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn no_secret_is_left_where_someone_could_read_it() {
    let kubernetes = Kubernetes::told()[0];
    let stage = Stage::hosts_only(kubernetes);
    let (private, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let traces = Traces::attach(&stage, private.path());
    let mut said = BTreeMap::new();
    let temporary = stage.claim.dir().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut run = |name: &str, arguments: &[&str]| {
        let output = operator(&stage, &temporary, private.path(), name, arguments);
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&text));
        said.insert(name.to_owned(), text);
    };
    run("plan", &["plan", "-o", "json"]);
    let tokens = Tokens::watch(&stage);
    run("up", &["up", "--yes", "--no-smoke", "-o", "json"]);
    let tokens = tokens.all();
    run("plan-again", &["plan", "-o", "json"]);
    run("status", &["status", "-o", "json"]);

    let secrets = Secrets::of(&stage, &tokens);
    a_search_finds_what_is_planted(&stage, &temporary, private.path());
    traces.end();
    traces.saw_what_matters();
    for host in HOSTS {
        let spools = "find /var/lib/kubewan -name orders.json -o -name '*.part'";
        assert_eq!(stage.on(host, spools), "", "left on {host}");
    }

    let needles = secrets.needles(aside.path());
    let mut hits = BTreeSet::new();
    for host in HOSTS {
        hits.extend(on_host(&stage, host, &needles, aside.path()));
    }
    hits.extend(needles.below("operator", stage.claim.dir(), ""));
    for (name, text) in &said {
        fs::write(private.path().join(format!("said-{name}")), text).unwrap();
    }
    hits.extend(needles.below("said and traced", private.path(), ""));
    assert!(hits.iter().all(|hit| secrets.names.contains_key(&hit.secret)), "{hits:?}");

    let (planted, real): (BTreeSet<Hit>, BTreeSet<Hit>) =
        hits.into_iter().partition(|hit| secrets.names[&hit.secret] == "planted");
    shows_itself(&planted);
    let rehearsed = (kubernetes == Kubernetes::Rehearsal).then_some(REHEARSED);
    let places: Vec<Place> = PLACES.iter().copied().chain(rehearsed).collect();
    judge(&real, &secrets, &places);
    tokens_end(&stage);
    the_kubeconfig_is_its_owners(&stage, aside.path());
}

/// Every hit is in its place and closed to others; every place is needed; and every kind of secret was found where it is
/// known to be, or the search is blind to it.
fn judge(hits: &BTreeSet<Hit>, secrets: &Secrets, places: &[Place]) {
    let mut wrong = Vec::new();
    let mut used = vec![false; places.len()];
    for hit in hits {
        let kind = &secrets.names[&hit.secret];
        let place = places.iter().position(|place| place.covers(hit));
        match (place, hit.mode) {
            (Some(at), Some(mode)) if mode & 0o077 == 0 => used[at] = true,
            (Some(_), mode) => {
                let mode = format!("{:04o}", mode.unwrap_or_default());
                wrong.push(format!("{} {}: {kind}, mode {mode}", hit.side, hit.path));
            }
            (None, _) => wrong.push(format!("{} {}: {kind}", hit.side, hit.path)),
        }
    }
    wrong.sort();
    wrong.dedup();
    for (place, used) in places.iter().zip(used) {
        if !used {
            wrong.push(format!(
                "nothing secret is in {} {}: remove it from the list",
                place.side, place.path
            ));
        }
    }
    let plain = |kind: &String| kind.trim_end_matches(" in base64").to_owned();
    let found: BTreeSet<String> =
        hits.iter().map(|hit| plain(&secrets.names[&hit.secret])).collect();
    // A token that has ended may be gone from the store.
    let stay = secrets.names.values().map(plain).filter(|kind| kind.contains("key"));
    let unseen: BTreeSet<String> = stay.filter(|kind| !found.contains(kind)).collect();
    assert!(unseen.is_empty(), "the search does not even see where they belong: {unseen:?}");
    assert!(wrong.is_empty(), "secrets on show:\n{}", wrong.join("\n"));
    eprintln!("{} secrets, {} hits, all in their places", secrets.names.len(), hits.len());
}

/// Puts a word on the command line, into the environment and onto the disks of both sides.
fn a_search_finds_what_is_planted(stage: &Stage, temporary: &Path, private: &Path) {
    stage.on(
        "node01",
        &format!("systemd-run -q --wait -p Environment=A={PLANTED}-env true {PLANTED}-argv"),
    );
    stage.on(
        "node01",
        &format!("echo {PLANTED}-disk > /var/lib/planted; echo {PLANTED}-run > /run/planted"),
    );
    stage.on("node01", &format!("logger {PLANTED}-log; journalctl --sync"));
    fs::write(temporary.join("planted"), format!("{PLANTED}-disk")).unwrap();
    let mut traced = strace(&private.join("trace-operator-planted"));
    let status =
        traced.args(["true", &format!("{PLANTED}-argv")]).env("A", format!("{PLANTED}-env"));
    assert!(status.status().expect("strace").success());
}

fn shows_itself(planted: &BTreeSet<Hit>) {
    let seen: Vec<(&str, &str)> =
        planted.iter().map(|hit| (hit.side.as_str(), hit.path.as_str())).collect();
    for (side, path) in [
        ("node01", "/var/lib/planted"),
        ("node01", "/run/planted"),
        ("node01", "the journal"),
        ("operator", "tmp/planted"),
        ("said and traced", "trace-node01"),
        ("said and traced", "trace-operator-planted"),
    ] {
        assert!(seen.contains(&(side, path)), "not found in {side} {path}: {seen:?}");
    }
}

/// The program on the operator's machine, traced with all that it starts.
fn operator(stage: &Stage, tmp: &Path, private: &Path, name: &str, arguments: &[&str]) -> Output {
    eprintln!("$ kubewan {}", arguments.join(" "));
    strace(&private.join(format!("trace-operator-{name}")))
        .arg(env!("CARGO_BIN_EXE_kubewan"))
        .args(arguments)
        .args(["-f", &stage.inventory()])
        .env("TMPDIR", tmp)
        .stdin(Stdio::null())
        .output()
        .expect("strace starts")
}

/// Whole command lines and environments of everything that starts.
fn strace(log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-v", "-s", "65536", "-e", "trace=execve,execveat", "-o"]).arg(log);
    command
}

/// A trace of everything that a host starts, from its first process and all others on.
struct Traces {
    running: Vec<(std::cell::RefCell<std::process::Child>, PathBuf)>,
}

impl Traces {
    fn attach(stage: &Stage, folder: &Path) -> Traces {
        let running = HOSTS.iter().map(|host| {
            let processes = processes(stage.lab.first_process(host).expect("it runs"));
            let log = folder.join(format!("trace-{host}"));
            let mut command = strace(&log);
            for process in &processes {
                command.args(["-p", process]);
            }
            let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("strace");
            for process in &processes {
                traced(process);
            }
            (std::cell::RefCell::new(child), log)
        });
        Traces { running: running.collect() }
    }

    /// Lets go of the hosts.
    fn end(&self) {
        for (child, log) in &self.running {
            let mut child = child.borrow_mut();
            assert!(child.try_wait().unwrap().is_none(), "{} ended by itself", log.display());
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
            child.wait().unwrap();
        }
    }

    /// A trace that has not seen what handles secrets says nothing.
    fn saw_what_matters(&self) {
        let log = |at: usize| fs::read_to_string(&self.running[at].1).expect("a trace");
        let [master, node] = [log(0), log(1)];
        for (trace, program, word) in [
            (&master, "/usr/local/bin/kubeadm\", [\"kubeadm\"", "\"init\""),
            (&master, "/usr/local/bin/kubectl\", [\"kubectl\"", "\"apply\""),
            (&node, "/usr/local/bin/kubeadm\", [\"kubeadm\"", "\"join\""),
            (&node, "/var/lib/kubewan/agent", "agent"),
            (&node, "/usr/local/bin/kubelet\", ", "--"),
        ] {
            let seen = trace.lines().any(|line| {
                line.contains("execve(\"") && line.contains(program) && line.contains(word)
            });
            assert!(seen, "the trace did not see `{program} {word}`");
        }
        eprintln!("{} and {} programs were seen to start", count(&master), count(&node));
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        for (child, _) in &self.running {
            let _ = child.borrow_mut().kill();
            let _ = child.borrow_mut().wait();
        }
    }
}

fn count(trace: &str) -> usize {
    trace.lines().filter(|line| line.contains("execve(\"")).count()
}

/// All processes of the host that has this first one.
fn processes(first: i32) -> Vec<String> {
    let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let host = space(&first.to_string());
    assert!(host.is_some(), "process {first} is gone");
    let names = fs::read_dir("/proc").unwrap().flatten();
    let pids = names.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()) && space(pid) == host).collect()
}

fn traced(process: &str) {
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { return };
        if status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")) {
            return;
        }
        assert!(Instant::now() < until, "process {process} is not traced");
        sleep(Duration::from_millis(20));
    }
}

/// Bootstrap tokens, read again and again while a run goes: kubeadm's own lives for a minute.
struct Tokens {
    stop: std::sync::mpsc::Sender<()>,
    reader: std::thread::JoinHandle<BTreeSet<String>>,
}

impl Tokens {
    fn watch(stage: &Stage) -> Tokens {
        let (stop, stopped) = std::sync::mpsc::channel();
        let first = stage.lab.first_process("master01").expect("it runs");
        let reader = std::thread::spawn(move || {
            let mut tokens = BTreeSet::new();
            while stopped.recv_timeout(Duration::from_secs(2)).is_err() {
                let secrets = Command::new("nsenter")
                    .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"])
                    .args(["--target", &first.to_string(), "--"])
                    .args(["/usr/local/bin/kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"])
                    .args(["--cache-dir", "/run/kubectl-by-hand", "get", "--raw"])
                    .arg("/api/v1/namespaces/kube-system/secrets")
                    .stderr(Stdio::null())
                    .output();
                let Ok(output) = secrets else { continue };
                let secrets = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
                tokens.extend(bootstrap_tokens(&secrets).into_iter().map(|token| token.0));
            }
            tokens
        });
        Tokens { stop, reader }
    }

    fn all(self) -> BTreeSet<String> {
        self.stop.send(()).expect("it reads");
        self.reader.join().expect("no panic")
    }
}

/// Tokens with the time of their end.
fn bootstrap_tokens(secrets: &Value) -> Vec<(String, String)> {
    let items = secrets["items"].as_array().into_iter().flatten();
    let tokens = items.filter(|secret| secret["type"] == "bootstrap.kubernetes.io/token");
    let token = |secret: &Value| {
        let field = |name: &str| decoded(secret["data"][name].as_str().unwrap_or_default());
        (format!("{}.{}", field("token-id"), field("token-secret")), field("expiration"))
    };
    tokens.map(token).collect()
}

/// What a secret looks like wherever it is, with a name for it.
struct Secrets {
    names: BTreeMap<String, String>,
}

impl Secrets {
    fn of(stage: &Stage, tokens: &BTreeSet<String>) -> Secrets {
        let mut names = BTreeMap::from([(PLANTED.to_owned(), "planted".to_owned())]);
        assert!(tokens.len() > 1, "kubeadm's own token and kubewan's: {tokens:?}");
        for token in tokens {
            let (_, secret) = token.split_once('.').expect("a token");
            names.insert(secret.into(), "a bootstrap token".into());
            names.insert(base64(secret.as_bytes()), "a bootstrap token in base64".into());
        }
        for host in HOSTS {
            let files = stage.on(
                host,
                "find /etc/kubernetes /var/lib/kubelet -name '*.key' -o -name '*.pem' -o -name '*.conf'",
            );
            for path in files.lines() {
                let text = stage.on(host, &format!("cat {path}"));
                let inline: Vec<String> =
                    inline_key(&text).map(|key| decoded(&key)).into_iter().collect();
                assert!(inline.iter().all(|key| key.contains("PRIVATE KEY")), "{host}:{path}");
                let keys = inline.into_iter().chain([text.clone()]);
                for key in keys.filter(|text| text.contains("PRIVATE KEY")) {
                    let name = format!("key of {host}:{path}");
                    names.extend(private_lines(&key).map(|line| (line, name.clone())));
                    // What stands before it in the file is a certificate, and no secret.
                    let encoded = base64(&key.as_bytes()[key.rfind("-----BEGIN").unwrap_or(0)..]);
                    names.insert(encoded[60..124].into(), format!("{name} in base64"));
                }
            }
        }
        let keys = names.values().filter(|name| name.contains("/pki/ca.key")).count();
        assert!(keys > 0, "no key of the cluster's was read: {names:?}");
        let own = fs::read_to_string(stage.claim.lab_dir().join("id_ed25519")).expect("the key");
        names.extend(private_lines(&own).map(|line| (line, "the operator's key".into())));
        Secrets { names }
    }

    fn needles(&self, aside: &Path) -> Needles {
        let file = aside.join("needles");
        let lines: Vec<&str> = self.names.keys().map(String::as_str).collect();
        fs::write(&file, lines.join("\n")).unwrap();
        Needles { file }
    }
}

/// The key of a kubeconfig, in whichever of YAML's forms it stands there.
fn inline_key(text: &str) -> Option<String> {
    let (_, after) = text.split_once("client-key-data:")?;
    let words = after.split_whitespace().map(|word| word.trim_matches(['"', '\'', ',']));
    let key = words.skip_while(|word| word.len() < 16).take_while(|word| !word.ends_with(':'));
    Some(
        key.filter(|word| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)))
            .collect(),
    )
}

/// One line of the private part of a key: what begins it, and in SSH's form its public half, tells nobody anything.
fn private_lines(pem: &str) -> impl Iterator<Item = String> {
    let begin = pem.find("PRIVATE KEY-----").map_or(0, |at| at + 16);
    let body: Vec<&str> = pem[begin..].lines().skip(1).take_while(|l| !l.contains("END")).collect();
    let line = body.get(body.len() / 2 + usize::from(body.len() > 4)).or(body.last()).copied();
    line.filter(|line| line.len() > 20).map(str::to_owned).into_iter()
}

/// Texts that are looked for.
struct Needles {
    file: PathBuf,
}

impl Needles {
    /// Hits in all files below a folder, whose place on that side begins with `place`.
    fn below(&self, side: &str, folder: &Path, place: &str) -> Vec<Hit> {
        let output = Command::new("grep")
            .args(["-raoF", "--devices=skip", "--null", "-f"])
            .arg(&self.file)
            .arg(".")
            .current_dir(folder)
            .env("LC_ALL", "C")
            .stderr(Stdio::null())
            .output()
            .expect("grep starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let hit = |line: &str| {
            let (path, secret) = line.split_once('\0')?;
            let path = path.strip_prefix("./")?;
            let metadata = fs::symlink_metadata(folder.join(path)).ok();
            Some(Hit {
                side: side.into(),
                path: format!("{place}{path}"),
                secret: secret.into(),
                mode: metadata.map(|metadata| metadata.permissions().mode() & 0o7777),
            })
        };
        text.lines().filter_map(hit).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// A host's disk, what it has in memory in place of one, and its journal as a reader sees it.
fn on_host(stage: &Stage, host: &str, needles: &Needles, aside: &Path) -> Vec<Hit> {
    let first = stage.lab.first_process(host).expect("it runs");
    let disks = stage.lab.disks(host).expect("its disks").into_iter();
    let memory = ["/run", "/tmp", "/dev/shm"];
    let memory =
        memory.map(|place| (PathBuf::from(format!("/proc/{first}/root{place}")), place.to_owned()));
    let mut hits = Vec::new();
    for (folder, place) in disks.chain(memory) {
        hits.extend(needles.below(host, &folder, &format!("{place}/")));
    }
    let journal = aside.join(format!("journal-{host}"));
    fs::create_dir(&journal).unwrap();
    let text = stage.on(host, "journalctl -q --no-pager -o export --all");
    assert!(text.contains("kubewan-batch.service"), "the journal of {host} says nothing");
    fs::write(journal.join("text"), text).unwrap();
    let said = needles.below(host, &journal, "").into_iter();
    hits.extend(said.map(|hit| Hit { path: "the journal".into(), mode: None, ..hit }));
    hits
}

/// Every token ends within the half hour that is promised.
fn tokens_end(stage: &Stage) {
    let secrets = stage.kubectl("get --raw /api/v1/namespaces/kube-system/secrets");
    let tokens = bootstrap_tokens(&serde_json::from_str(&secrets).expect("secrets in JSON"));
    assert!(!tokens.is_empty(), "kubewan's own token is gone before its time");
    let latest = stage.on("master01", "date -u -d '+30 minutes' +%Y-%m-%dT%H:%M:%SZ");
    for (_, end) in tokens {
        assert!(end.len() == latest.trim().len() && end.as_str() <= latest.trim(), "{end}");
    }
}

/// On the host, and where an operator has it printed to.
fn the_kubeconfig_is_its_owners(stage: &Stage, private: &Path) {
    let modes = stage.on("master01", "stat -c '%a %U' /etc/kubernetes/admin.conf");
    assert_eq!(modes.trim(), "600 root");
    let path = private.join("kubeconfig");
    let file = fs::File::create(&path).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o644)).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_kubewan"))
        .args(["kubeconfig", "-f", &stage.inventory()])
        .stdout(file)
        .status();
    assert!(status.expect("it starts").success());
    assert!(fs::read_to_string(&path).unwrap().contains("client-key-data: "));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "what `> FILE` made readable for all");
}

fn base64(bytes: &[u8]) -> String {
    through("-w0", bytes)
}

fn decoded(text: &str) -> String {
    through("-d", text.as_bytes())
}

/// base64(1), as the tests carry no such code of their own.
fn through(option: &str, bytes: &[u8]) -> String {
    use std::io::Write;
    let mut child = Command::new("base64")
        .arg(option)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("base64 starts");
    child.stdin.take().expect("a pipe").write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
