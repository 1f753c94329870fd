//! Several mirrors of one registry: a dead one, one that lies about a digest, Debian's docker-registry as a cache of the right
//! one, and that one itself. The third is chosen and kept; when it dies, the next host that needs it makes the choice anew, and
//! so does a pull that failed.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::registries::server::{program, serve};
use crate::sources::server::Server;
use crate::sources::tree::{Tree, sh};
use crate::support::{Kubernetes, Said, Stage, run_with, the_way_to_a_site};

/// Where the servers are.
const SITE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
/// The cache.
const CACHE: &str = "http://192.0.2.200:5000";
/// What it is a cache of.
const SPARE: &str = "http://192.0.2.200";

const RECORD: &str = "/var/lib/kubewan/mirrors.json";
const HOSTS_TOML: &str = "/etc/containerd/certs.d/registry.k8s.io/hosts.toml";

/// Debian's docker-registry, which pulls through.
struct Cache(Child);

impl Cache {
    fn start(program: &Path, namespace: &Path, dir: &Path) -> Cache {
        fs::create_dir_all(dir).unwrap();
        let config = dir.join("cache.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {}/store }}\n\
             http: {{ addr: \"{SITE}:5000\", secret: lab }}\nproxy: {{ remoteurl: \"{SPARE}\" }}\n",
            dir.display()
        );
        fs::write(&config, text).unwrap();
        let cache = Cache(serve(program, namespace, &config));
        let answers =
            format!("nsenter --net={} curl -sf -o /dev/null {CACHE}/v2/", namespace.display());
        for _ in 0..1200 {
            if Command::new("sh").args(["-c", &answers]).status().unwrap().success() {
                return cache;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "docker-registry does not answer: {}",
            fs::read_to_string(dir.join("cache.log")).unwrap()
        );
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Scene {
    stage: Stage,
    tree: Tree,
    /// The inventory as the lab wrote it, with other sources.
    text: String,
    namespace: PathBuf,
    program: PathBuf,
    _server: Server,
    _way: File,
}

impl Scene {
    fn set() -> Option<Scene> {
        if Kubernetes::told() != [Kubernetes::Bundle] {
            eprintln!("no real Kubernetes that could be served: not shown");
            return None;
        }
        let program = program()?;
        let way = the_way_to_a_site();
        let stage = Stage::hosts(Kubernetes::Bundle, 2);
        let plain = fs::read_to_string(stage.inventory()).unwrap();
        let value = |key: &str| {
            let line = plain.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap();
            line.trim().trim_matches('"').to_owned()
        };
        let (version, bundle) = (value("version:"), PathBuf::from(value("bundle:")));
        let dir = stage.claim.lab_dir().with_file_name("servers");
        fs::create_dir_all(&dir).unwrap();
        let tree = Tree::make(&bundle, &dir, &version);
        sh(&tree.root, "mkdir liar && ln -s ../v2 liar/v2");
        let namespace = stage.lab.add_site(SITE).unwrap();
        let server = Server::start(&namespace, SITE, &tree.root);
        for host in ["master01", "node01"] {
            let line = format!(
                "curl -sf {SPARE}/debian/key.asc -o /etc/apt/trusted.gpg.d/provider.asc && \
                 rm -f /etc/apt/sources.list.d/* && echo 'deb {SPARE}/debian ./' > /etc/apt/sources.list"
            );
            stage.on(host, &line);
        }
        let line = |line: &str| match line.trim() {
            bundle if bundle.starts_with("bundle:") => "  source: release".to_owned(),
            "source: bundle" => "  source: release".to_owned(),
            _ => line.to_owned(),
        };
        let text: Vec<String> = plain.lines().map(line).collect();
        let text = format!(
            "mirrors:\n  kubernetes: {SPARE}/dl\n  github: {SPARE}/github\n  images:\n    ghcr.io: {SPARE}\n    registry.k8s.io: @\n{}\n",
            text.join("\n")
        );
        Some(Scene { stage, tree, text, namespace, program, _server: server, _way: way })
    }

    fn cache(&self) -> Cache {
        let dir = self.tree.root.with_file_name("registry");
        Cache::start(&self.program, &self.namespace, &dir)
    }

    /// Asks for a cluster of so many hosts with these mirrors of registry.k8s.io.
    fn ask_for(&self, hosts: usize, mirrors: &str) {
        let text = self.text.replacen('@', mirrors, 1);
        let begins = |line: &&str| line.trim_start().starts_with("- ") && line.contains("name:");
        let first = text.lines().position(|line| line == "hosts:").unwrap() + 1;
        let lines: Vec<&str> = text.lines().collect();
        let starts: Vec<usize> =
            (first..lines.len()).filter(|at| begins(&lines[*at])).chain([lines.len()]).collect();
        fs::write(self.stage.inventory(), lines[..starts[hosts]].join("\n") + "\n").unwrap();
    }

    fn kubewan(&self, arguments: &[&str]) -> Said {
        let cache = self.tree.root.with_file_name("cache");
        let inventory = self.stage.inventory();
        let mut all = arguments.to_vec();
        all.extend(["-f", &inventory]);
        run_with(&all, &[("XDG_CACHE_HOME", &cache.to_string_lossy())])
    }

    fn is_at_rest(&self) {
        let plan = self.kubewan(&["plan", "--detailed-exitcode"]);
        plan.expect_code(0);
        assert!(
            !plan.stderr.contains("mirror-chosen") && !plan.stderr.contains("mirror-unus"),
            "{}",
            plan.stderr
        );
    }

    /// What a plan says of mirrors: its findings, by code, and the record that it would write on a host.
    fn plan(&self, host: &str) -> (Vec<(String, String)>, Value) {
        let said = self.kubewan(&["plan", "-o", "json"]);
        said.expect_code(0);
        let plan: Value = serde_json::from_str(&said.stdout).expect("a plan in JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let findings = plan["findings"].as_array().unwrap().iter();
        let findings = findings.map(|f| (text(&f["code"]), text(&f["message"])));
        let findings = findings
            .filter(|(code, _)| code.starts_with("mirror-") && code != "mirror-unencrypted");
        let id = format!("{host}/file:{RECORD}");
        let step = plan["steps"].as_array().unwrap().iter().find(|step| step["id"] == id.as_str());
        let step = step.unwrap_or_else(|| panic!("no step {id}"));
        let record = text(&step["action"]["file"]["state"]["present"]["content"]["text"]);
        (findings.collect(), serde_json::from_str(&record).expect("a record in JSON"))
    }

    fn changes_nothing_but(&self, ids: &[&str]) {
        let said = self.kubewan(&["plan", "-o", "json"]);
        let plan: Value = serde_json::from_str(&said.stdout).expect("a plan in JSON");
        let steps = plan["steps"].as_array().unwrap().iter();
        let changed = steps.filter(|step| !step["change"].is_null());
        let changed: Vec<&str> = changed.map(|step| step["id"].as_str().unwrap()).collect();
        assert_eq!(changed, ids);
    }

    /// All hosts pull from there, and remember it.
    fn have(&self, hosts: &[&str], server: &str) {
        for host in hosts {
            let toml = self.stage.on(host, &format!("cat {HOSTS_TOML}"));
            assert!(toml.contains(&format!("server = \"{server}\"\n")), "{host}: {toml}");
            let record = self.stage.on(host, &format!("cat {RECORD}"));
            assert!(record.contains(&format!("\"server\": \"{server}\"")), "{host}: {record}");
            let mode = self.stage.on(host, &format!("stat -c %a {RECORD}"));
            assert_eq!(mode, "600\n");
        }
    }
}

fn of(record: &Value) -> &Value {
    &record["mirrors"]["mirrors.images: registry.k8s.io"]
}

fn has(findings: &[(String, String)], code: &str, words: &[&str]) -> bool {
    findings.iter().any(|(c, message)| c == code && words.iter().all(|word| message.contains(word)))
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn the_first_mirror_that_serves_is_chosen_kept_and_replaced_when_it_fails() {
    let Some(scene) = Scene::set() else { return };
    let cache = scene.cache();
    let several = format!("[\"{SPARE}:81\", {SPARE}/liar, \"{CACHE}\", {SPARE}]");

    // One that is named alone is never replaced: it is refused, and nothing is changed.
    scene.ask_for(1, &format!("\"{SPARE}:81\""));
    let refused = scene.kubewan(&["up", "--yes"]);
    refused.expect_code(3);
    let flat = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in
        ["error[mirror-unusable]", "`mirrors.images: registry.k8s.io`", ":81", "asked by master01"]
    {
        assert!(flat.contains(word), "no `{word}` in:\n{}", refused.stderr);
    }
    scene.stage.on("master01", "test ! -e /etc/containerd && test ! -e /usr/local/bin/kubeadm");
    scene.ask_for(1, &format!("{SPARE}/liar"));
    let refused = scene.kubewan(&["up", "--yes"]);
    refused.expect_code(3);
    assert!(refused.stderr.contains("error[mirror-other-digest]"), "{}", refused.stderr);

    // Of several the third is chosen, and both before it are named.
    scene.ask_for(1, &several);
    let (findings, record) = scene.plan("master01");
    assert!(has(&findings, "mirror-unusable", &[":81 is passed over"]), "{findings:?}");
    assert!(
        has(&findings, "mirror-other-digest", &["/liar is passed over", "0000"]),
        "{findings:?}"
    );
    assert_eq!(of(&record)["server"], CACHE);
    let why = of(&record)["why"].as_str().unwrap();
    let begins = why.starts_with("the first of 4 that serves what is asked (");
    assert!(begins && why.contains("kube-apiserver:") && why.contains("etcd:"), "{why}");
    eprintln!("  {why}");
    let up = scene.kubewan(&["up", "--yes", "--no-smoke"]);
    up.expect_code(0);
    scene.have(&["master01"], CACHE);
    scene.is_at_rest();

    // It dies, and nobody needs it: the plan stays empty.
    drop(cache);
    scene.is_at_rest();

    // A record that a newer kubewan wrote says nothing to this one: what the node uses stays, though others come before it.
    let kept = scene.stage.on("master01", &format!("cat {RECORD}"));
    scene.stage.on("master01", &format!("printf '{{\"format\": 2}}' > {RECORD}"));
    let (findings, record) = scene.plan("master01");
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(of(&record)["server"], CACHE);
    assert!(of(&record)["why"].as_str().unwrap().starts_with("the cluster stands with it"));
    scene.changes_nothing_but(&[&format!("master01/file:{RECORD}")]);
    scene.stage.on("master01", &format!("cat > {RECORD} <<'END'\n{kept}END"));
    scene.is_at_rest();

    // A new host needs it.
    scene.ask_for(2, &several);
    let (findings, record) = scene.plan("node01");
    let words = [CACHE, "was chosen before and fails now", "node01", SPARE];
    assert!(has(&findings, "mirror-chosen-again", &words), "{findings:?}");
    eprintln!("  {findings:?}");
    assert_eq!(of(&record)["server"], SPARE);
    let up = scene.kubewan(&["up", "--yes"]);
    up.expect_code(0);
    scene.have(&["master01", "node01"], SPARE);
    scene.is_at_rest();

    // A pull fails in a run; the next plan says which, and chooses again.
    let pause =
        scene.stage.on("node01", "ctr -n k8s.io images ls -q | grep '^registry.k8s.io/pause:'");
    scene.stage.on("node01", &format!("ctr -n k8s.io images rm {pause}"));
    let manifests = scene.tree.root.join("v2/pause");
    fs::rename(&manifests, manifests.with_extension("away")).unwrap();
    let up = scene.kubewan(&["up", "--yes", "--no-smoke"]);
    up.expect_code(1);
    assert!(up.stderr.contains("can't pull registry.k8s.io/pause"), "{}", up.stderr);
    let _cache = scene.cache();
    let (findings, record) = scene.plan("node01");
    let words = ["fails now", "404", "in the last run node01/image:registry.k8s.io/pause"];
    assert!(has(&findings, "mirror-chosen-again", &words), "{findings:?}");
    assert_eq!(of(&record)["server"], CACHE);
    scene.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    scene.have(&["master01", "node01"], CACHE);
    scene.is_at_rest();
}
