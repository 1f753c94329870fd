//! The lab and the program, as the stories use them.

pub mod looks;
pub mod running;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kubewan_core::api::is_transient;
use kubewan_lab::{Claim, Lab};
use serde_json::Value;

/// How long a machine that stalls may take for what a quiet one does in seconds.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The lab's hosts, the control plane first.
pub const HOSTS: [&str; 3] = ["master01", "node01", "node02"];

/// What a story's lab and its cluster are called: stories that are told side by side have one each, which
/// `KUBEWAN_STORY_LAB` names.
pub fn lab_name() -> String {
    std::env::var("KUBEWAN_STORY_LAB").unwrap_or_else(|_| "lab".into())
}

/// Which Kubernetes a story is told with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubernetes {
    /// Stand-ins.
    Rehearsal,
    /// The newest bundle in the cache.
    Bundle,
}

impl Kubernetes {
    /// What the stories of kubewan's main promises are told with: real Kubernetes where a bundle of it lies in the
    /// cache, else stand-ins. `KUBEWAN_STORIES` chooses otherwise: `rehearsal`, `bundle` or `both`.
    pub fn told() -> Vec<Kubernetes> {
        let chosen = std::env::var("KUBEWAN_STORIES").unwrap_or_default();
        match chosen.as_str() {
            "rehearsal" => vec![Kubernetes::Rehearsal],
            "bundle" => vec![Kubernetes::Bundle],
            "both" => vec![Kubernetes::Rehearsal, Kubernetes::Bundle],
            "" if has_bundle() => vec![Kubernetes::Bundle],
            "" => {
                eprintln!("no bundle in the cache: real Kubernetes is not shown");
                vec![Kubernetes::Rehearsal]
            }
            other => panic!("KUBEWAN_STORIES={other}: rehearsal, bundle or both"),
        }
    }

    /// The value of `--kubernetes`.
    pub fn flag(self) -> &'static str {
        match self {
            Kubernetes::Rehearsal => "rehearsal",
            Kubernetes::Bundle => "bundle",
        }
    }
}

fn ids(plan: &Value, which: impl Fn(&Value) -> bool) -> Vec<String> {
    let steps = plan["steps"].as_array().expect("steps");
    let id = |step: &Value| step["id"].as_str().expect("an id").to_owned();
    steps.iter().filter(|step| which(step)).map(id).collect()
}

fn has_bundle() -> bool {
    let bundles = cache().join("kubewan/bundles");
    std::fs::read_dir(bundles).is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.path().join("bundle.yaml").exists()))
    })
}

/// The operator's cache.
pub fn cache() -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_default()
}

/// This machine's way to servers of the labs' Internet, which is one for all labs: a story with such a server has it for itself.
pub fn the_way_to_a_site() -> File {
    let path = std::env::temp_dir().join("kubewan-stories-site.lock");
    let file = File::create(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.lock().expect("a lock");
    file
}

/// A lab of this story's own, gone when the story ends, well or not.
pub struct Stage {
    /// The folder with the lab's own.
    pub claim: Claim,
    /// The lab behind it.
    pub lab: Lab,
}

impl Stage {
    /// Three clouds, servers only.
    pub fn hosts_only(kubernetes: Kubernetes) -> Stage {
        Stage::hosts(kubernetes, 3)
    }

    /// So many clouds, servers only.
    pub fn hosts(kubernetes: Kubernetes, count: u8) -> Stage {
        let claim = Claim::new().expect("a folder, and no lab that another story left");
        let path = claim.lab_dir();
        let made = run(&[
            "lab",
            "up",
            "--name",
            &lab_name(),
            "--hosts-only",
            "--hosts",
            &count.to_string(),
            "--kubernetes",
            kubernetes.flag(),
            "--dir",
            &path.to_string_lossy(),
        ]);
        made.expect_code(0);
        Stage { claim, lab: Lab::open(&lab_name()).expect("the lab that was just made") }
    }

    /// The inventory's path.
    pub fn inventory(&self) -> String {
        self.claim.lab_dir().join("cluster.yaml").to_string_lossy().into_owned()
    }

    /// Runs the program on the lab's inventory.
    pub fn kubewan(&self, arguments: &[&str]) -> Said {
        let inventory = self.inventory();
        let mut all = arguments.to_vec();
        all.extend(["-f", &inventory]);
        run(&all)
    }

    /// Ids of the steps that a plan would change.
    pub fn planned(&self) -> Vec<String> {
        ids(&self.plan(), |step| !step["change"].is_null())
    }

    /// Ids of all steps, also of those whose goals are reached.
    pub fn steps(&self) -> Vec<String> {
        ids(&self.plan(), |_| true)
    }

    fn plan(&self) -> Value {
        let said = self.kubewan(&["plan", "-o", "json"]);
        said.expect_code(0);
        serde_json::from_str(&said.stdout).expect("a plan in JSON")
    }

    /// Runs a shell line on a host, from outside its network; it must succeed.
    pub fn on(&self, host: &str, line: &str) -> String {
        expect_success(host, line, &self.try_on(host, line))
    }

    /// Runs a shell line on a host, from outside its network.
    pub fn try_on(&self, host: &str, line: &str) -> Output {
        self.lab.exec(host, &["sh", "-c", line], &[]).expect("the host runs")
    }

    /// Waits until a shell line succeeds on a host, and answers what it printed.
    pub fn await_on(&self, host: &str, line: &str) -> String {
        self.await_words(host, line, "")
    }

    /// Waits until a shell line succeeds on a host and prints these words, and answers all that it printed.
    pub fn await_words(&self, host: &str, line: &str, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let output = self.try_on(host, line);
            let is_late = Instant::now() >= until;
            if (output.status.success() && contains(&output.stdout, words)) || is_late {
                let said = expect_success(host, line, &output);
                assert!(said.contains(words), "{host}: `{line}` does not say `{words}`: {said}");
                return said;
            }
            sleep(Duration::from_secs(1));
        }
    }

    /// kubectl on the first control plane. What only reads is asked again for a while where the API did not get to an answer, as
    /// on a small machine that tells two stories at once, or while a component starts again.
    pub fn kubectl(&self, arguments: &str) -> String {
        let line = format!("{KUBECTL} {arguments}");
        let reads = arguments.split_whitespace().any(|word| word == "get");
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let output = self.try_on("master01", &line);
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() || !reads || !is_transient(&said) || Instant::now() >= until
            {
                return expect_success("master01", &line, &output);
            }
            eprintln!("`kubectl {arguments}` again: {said}");
            sleep(Duration::from_secs(2));
        }
    }
}

/// A host's own kubectl as root has it, which keeps nothing in root's home, where it would be taken for something that a cluster left.
pub const KUBECTL: &str =
    "kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir /run/kubectl-by-hand";

/// All that etcd wrote on a control plane, over all its starts.
pub const ETCD_LOG: &str = "cat /var/log/pods/kube-system_etcd-*/etcd/*.log 2>/dev/null";

fn contains(bytes: &[u8], words: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(words)
}

fn expect_success(host: &str, line: &str, output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{host}: `{line}` ended with {}: {stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// What the program said.
#[derive(Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    command: String,
}

impl Said {
    /// Fails the story unless the program ended so.
    pub fn expect_code(&self, code: i32) -> &Said {
        assert_eq!(
            self.code, code,
            "`{}` ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command, self.code, self.stdout, self.stderr
        );
        self
    }
}

/// The program, not yet started; it speaks English wherever the tests run.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kubewan"));
    program.env("LC_ALL", "C");
    program
}

/// Runs the program.
pub fn run(arguments: &[&str]) -> Said {
    run_with(arguments, &[])
}

/// Runs the program with some variables of its environment.
pub fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let command = format!("kubewan {}", arguments.join(" "));
    eprint!("$ {command}");
    let start = Instant::now();
    let Output { status, stdout, stderr } = program()
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the program starts");
    eprintln!("  # {:.1} s", start.elapsed().as_secs_f64());
    Said {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        command,
    }
}

/// Compares with a golden; `UPDATE_GOLDENS=1` writes it anew.
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, text).expect("the golden can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}", path.display());
}
