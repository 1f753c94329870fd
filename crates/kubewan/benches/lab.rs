//! `cargo xtask bench`: what a run costs beside what can't be saved, on the lab's hosts.
//!
//! Both sides of a pair are measured one after the other, in one run, so that a busy machine is busy for both; raw
//! figures are printed, and medians of ratios are what counts.

#[path = "lab/script.rs"]
mod script;
#[allow(dead_code, reason = "the stories use more of it")]
#[path = "../tests/lab/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kubewan_lab::LabEvent;

use support::running::{Running, UP};
use support::{HOSTS, Kubernetes, Stage};

fn main() {
    let pairs = std::env::var("BENCH_PAIRS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let kubernetes = *Kubernetes::told().last().expect("at least a rehearsal");
    println!("Kubernetes: {kubernetes:?}; {pairs} pairs");
    let stage = Stage::hosts_only(kubernetes);
    if only.is_empty() || only == "no-op" {
        bytes_sent(&stage);
        no_op(&stage, pairs);
    }
    if only.is_empty() || only == "up" {
        if kubernetes == Kubernetes::Bundle {
            up_over_script(&stage, pairs);
        } else {
            println!(
                "up over a bare script: not measured, as there is no bundle of real Kubernetes"
            );
        }
    }
}

/// What comes to each host's network card in a first `up`, and in one that changes nothing.
fn bytes_sent(stage: &Stage) {
    let received = || -> BTreeMap<&str, u64> {
        let read = |host: &&'static str| {
            let count = stage.on(host, "cat /sys/class/net/eth0/statistics/rx_bytes");
            (*host, count.trim().parse().expect("a number"))
        };
        HOSTS.iter().map(read).collect()
    };
    for what in ["a first up", "an up that changes nothing"] {
        let before = received();
        stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
        for (host, after) in received() {
            println!("received by {host} in {what}: {} bytes", after - before[host]);
        }
    }
}

/// An `up` that changes nothing over `ssh host true`, on all hosts side by side.
fn no_op(stage: &Stage, pairs: usize) {
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let ssh = timed(|| ssh_true(stage));
        let up = timed(|| {
            stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
        });
        let plan = timed(|| {
            stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
        });
        println!("ssh true {} up {} plan {}", seconds(ssh), seconds(up), seconds(plan));
        ratios.push(up.as_secs_f64() / ssh.as_secs_f64());
    }
    println!("no-op up over ssh true: median ratio {:.2} of {ratios:.2?}", median(&mut ratios));
}

fn ssh_true(stage: &Stage) {
    let start = |host: &&str| {
        let argv = stage.lab.ssh_command(host).expect("a host of the lab");
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).arg("true").stdin(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("ssh starts")
    };
    let running: Vec<_> = HOSTS.iter().map(start).collect();
    for mut child in running {
        assert!(child.wait().expect("ssh ends").success());
    }
}

/// On hosts where all is ready for kubeadm: `up` over the commands that it has to wait for, joins as `kubeadm init` prints them:
/// until all nodes are ready, and until pods reach each other, which `up` waits for too.
fn up_over_script(stage: &Stage, pairs: usize) {
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..pairs {
        prepare(stage);
        let bare = script::Script::of(stage).run(stage);
        prepare(stage);
        let up = timed(|| {
            stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
        });
        println!(
            "bare script until nodes are ready {}, until they are announced {}; up {}",
            seconds(bare.ready),
            seconds(bare.network),
            seconds(up)
        );
        for (ratios, bare) in ratios.iter_mut().zip([bare.ready, bare.network]) {
            ratios.push(up.as_secs_f64() / bare.as_secs_f64());
        }
    }
    for (ratios, until) in ratios.iter_mut().zip(["ready", "announced"]) {
        let median = median(ratios);
        println!(
            "up over a bare script until nodes are {until}: median ratio {median:.2} of {ratios:.2?}"
        );
    }
}

/// Where an administrator's settings of the transient unit would lie (systemd.unit(5)).
const DROP_IN: &str = "/etc/systemd/system/kubewan-batch.service.d";

/// Fresh hosts, taken as far as the control plane's first step. Systemd there refuses the batch of that phase, so that a run
/// ends where the phases before have ended, however fast it is.
fn prepare(stage: &Stage) {
    stage.lab.rewind(&[], &mut |_: LabEvent| {}).expect("a rewind");
    let refuse = format!(
        "mkdir {DROP_IN} && printf '[Service]\nExecCondition=sh -c \"! ls -d /var/lib/kubewan/runs/*/control-plane\"\n' \
         > {DROP_IN}/bench.conf && systemctl daemon-reload"
    );
    stage.on(HOSTS[0], &refuse);
    let run = Running::start(stage, &UP).end();
    assert_ne!(run.code, 0, "the control plane's batch was not refused");
    let phases = run.events.iter().filter(|event| event["event"] == "phase-done");
    let phases: Vec<&str> = phases.filter_map(|event| event["phase"].as_str()).collect();
    assert_eq!(phases, ["prepare", "runtime", "binaries"], "{}", run.stderr);
    let allow = format!(
        "rm -r {DROP_IN} /var/lib/kubewan/runs/*/control-plane && systemctl daemon-reload && [ ! -e /etc/kubernetes ]"
    );
    stage.on(HOSTS[0], &allow);
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}
