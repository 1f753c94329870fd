//! Links that are cut, runs and batches that are killed, two runs at once, hosts that can't be had: the next `up`
//! finishes, and nothing is left behind that should not be.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::looks::{LOGINS, differences};
use crate::support::running::{Running, UP};
use crate::support::{KUBECTL, Kubernetes, Stage, golden};

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn kubewan_is_killed_behind_a_cut_link_during_init_and_again_during_a_join() {
    for kubernetes in Kubernetes::told() {
        let began = Instant::now();
        let stage = Stage::hosts_only(kubernetes);
        let mut run = Running::start(&stage, &UP);
        run.until_started("kubeadm-init");
        stage.lab.cut("master01").unwrap();
        run.kill();
        stage.lab.heal("master01").unwrap();
        let mut run = Running::start(&stage, &UP);
        run.until_started("kubeadm-join");
        run.kill();
        finishes(&stage);
        assert_eq!(inits(&stage), 1, "the next run waits for init instead of beginning another");
        if kubernetes == Kubernetes::Bundle {
            stage.kubewan(&["smoke"]).expect_code(0);
        }
        eprintln!("{kubernetes:?}: {:?}", began.elapsed());
    }
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn the_same_run_goes_on_when_the_link_is_back() {
    let stage = Stage::hosts_only(Kubernetes::told()[0]);
    // Too short to be noticed, and long enough to be: 20 s without an answer.
    let mut run = Running::start(&stage, &UP);
    run.until_started("package");
    stage.lab.cut("node01").unwrap();
    thread::sleep(Duration::from_secs(4));
    stage.lab.heal("node01").unwrap();
    run.until_started("kubeadm-init");
    stage.lab.cut("master01").unwrap();
    run.until("the link is lost", |event| event["event"] == "link" && event["up"] == false);
    thread::sleep(Duration::from_secs(5));
    stage.lab.heal("master01").unwrap();
    let ended = run.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let done = ended.events.last().unwrap();
    assert!(done["event"] == "run-done" && done["error"].is_null(), "{done}");
    at_rest(&stage);
    assert_eq!(inits(&stage), 1);
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn a_batch_killed_during_init_is_taken_up_by_the_next_run() {
    let stage = Stage::hosts_only(Kubernetes::Rehearsal);
    let mut run = Running::start(&stage, &UP);
    run.until_started("kubeadm-init");
    // The kubelet goes on, and brings up an API that does not know the admin yet.
    stage.on(
        "master01",
        "until systemctl -q is-active kubelet && [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ] && \
         [ -e /var/lib/kubelet/config.yaml ]; do sleep 0.1; done; \
         systemctl kill -s KILL kubewan-batch.service; \
         for try in $(seq 240); do curl -sk https://127.0.0.1:6443/livez && exit; sleep 1; done; false",
    );
    let ended = run.end();
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("error[batch-cut-off]: master01:"), "{}", ended.stderr);
    finishes(&stage);
    assert_eq!(inits(&stage), 2);
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn of_two_runs_at_once_one_gives_way() {
    let stage = Stage::hosts_only(Kubernetes::Rehearsal);
    let mut first = Running::start(&stage, &UP);
    let begun = first.until("the run's name", |event| event["event"] == "run-started");
    first.until_started("package");
    let second = Running::start(&stage, &UP);
    let (first, second) = (first.end(), second.end());
    let codes = (first.code, second.code);
    eprintln!("exit codes {codes:?}");
    let run = begun["run"].as_str().unwrap();
    // Refused is who has changed nothing; else it has failed.
    for ended in [&first, &second].into_iter().filter(|ended| ended.code == 3) {
        assert_eq!(ended.events.last().expect("its end")["changed"], 0, "{}", ended.stderr);
    }
    match codes {
        // It waited for the first one's batch, and another one came after it.
        (0, 1 | 3) => assert!(second.names_busy(run), "{}", second.stderr),
        // The second one had a host in between two batches of the first.
        (1 | 3, 0 | 1 | 3) => {
            let other = second.events.iter().find(|e| e["event"] == "run-started");
            let other = other.and_then(|event| event["run"].as_str()).unwrap_or_default();
            assert!(first.names_busy(other), "{}", first.stderr);
        }
        _ => panic!("{codes:?}\n{}\n{}", first.stderr, second.stderr),
    }
    finishes(&stage);
    assert_eq!(inits(&stage), 1);
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn hosts_that_cannot_be_had_leave_all_others_untouched() {
    let stage = Stage::hosts_only(Kubernetes::Rehearsal);
    let hosts = stage.lab.info().unwrap().hosts;
    let inventory = std::fs::read_to_string(stage.inventory()).unwrap();
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let look = || names.iter().map(|name| stage.lab.observe_host(name).unwrap());
    let before: Vec<_> = look().collect();
    let other = other_key(&stage);
    let cases = [
        ("lab-no-answer", "", ""),
        ("lab-wrong-key", "key: \"id_ed25519\"", "key: other"),
        ("lab-changed-host-key", hosts[1].host_key.as_str(), other.as_str()),
    ];
    for (name, from, to) in cases {
        if from.is_empty() {
            stage.lab.cut("node01").unwrap();
        }
        // In node01's part only, as the first host has the same key.
        let at = inventory.find("- name: node01").unwrap();
        let edited = format!("{}{}", &inventory[..at], inventory[at..].replacen(from, to, 1));
        std::fs::write(stage.inventory(), edited).unwrap();
        let said = stage.kubewan(&["up", "--yes"]);
        let mut text = format!("exit {}\n{}", said.code, said.stderr);
        for host in &hosts {
            text = text.replace(&host.address.to_string(), &format!("ADDRESS-OF-{}", host.name));
        }
        golden(name, &text);
        said.expect_code(4);
        stage.lab.heal("node01").unwrap();
    }
    let after: Vec<_> = look().collect();
    let found = differences(names, &before, &after, LOGINS);
    assert!(found.is_empty(), "{found}");
    std::fs::write(stage.inventory(), inventory).unwrap();
}

/// Makes a key pair `other` beside the inventory, and answers its public half.
fn other_key(stage: &Stage) -> String {
    let path = stage.claim.lab_dir().join("other");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.expect("ssh-keygen").success());
    std::fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
}

/// The next run ends well, and then nothing is left to do, nor to be seen by others.
fn finishes(stage: &Stage) {
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    at_rest(stage);
}

fn at_rest(stage: &Stage) {
    stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    let all = format!("{KUBECTL} get nodes --no-headers");
    stage.await_on(
        "master01",
        &format!("[ $({all} | grep -c ' Ready ') = 3 ] || {{ {all}; false; }}"),
    );
    for host in ["master01", "node01", "node02"] {
        no_secrets(stage, host);
    }
}

/// How often `kubeadm init` was begun on the first host.
fn inits(stage: &Stage) -> usize {
    let journal = stage.on("master01", "cat /var/lib/kubewan/journal.jsonl");
    let lines = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let step =
        |entry: Value| entry.pointer("/begun/step").or(entry.get("step")).map(Value::to_string);
    lines.filter_map(step).filter(|step| step.contains("kubeadm-init")).count()
}

/// No orders in the spool, no token in any file of ours or in the system's log, and nobody else may read them. What
/// kubectl caches of the API's kinds, below a closed folder, has kubectl's modes; events are named after a node and a
/// time, which has a token's form.
fn no_secrets(stage: &Stage, host: &str) {
    let token = "(^|[^a-z0-9.])[a-z0-9]{6}\\.[a-z0-9]{16}([^a-z0-9]|$)";
    let event = "node0[0-9]\\.[0-9a-f]{16}";
    let found = stage.on(
        host,
        &format!(
            "cd /var/lib/kubewan; find . -name orders.json; \
             find . -path ./kubectl-cache -prune -o -perm /077 -print; \
             (grep -roE '{token}' runs journal.jsonl blobs; journalctl -q --no-pager -o cat | grep -oE '{token}') | \
             grep -vE '{event}'; true"
        ),
    );
    assert_eq!(found, "", "left on {host}");
    // A look that finds nothing anywhere shows nothing.
    assert_ne!(stage.on(host, "ls /var/lib/kubewan/runs/*/*/events.jsonl"), "");
    let planted = format!("echo 'token abcdef.0123456789abcdef' | grep -cE '{token}'");
    assert_eq!(stage.on(host, &planted).trim(), "1");
}
