//! Readers of what hosts and programs say, fed with what they do not expect: a test for each entry of
//! `kubewan_agent::fuzz`.

#[macro_use]
#[path = "../../../kubewan-core/tests/fuzz/support.rs"]
mod support;
#[path = "../../../kubewan-core/tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../../../kubewan-core/tests/fuzz/samples.rs"]
#[allow(dead_code, reason = "the core's entries need others")]
mod samples;

// Name, inputs in every run, what the corpus is made of: mostly what unit tests have recorded of real programs.
targets! {
    kubewan_agent::fuzz:
    journal: 6_000, ["src/journal.rs"], samples::journals();
    events: 60_000, ["src/batch.rs"], samples::events();
    orders: 15_000, ["src/batch_tests.rs"], samples::messages();
    output: 20_000, ["../kubewan-core/src/redact.rs", "src/command.rs", "src/relay_tests.rs", "src/probe.rs"], vec![];
    packets: 60_000, ["src/overhear.rs", "src/listen.rs"], samples::datagrams();
    network: 50_000, ["src/facts/network.rs", "src/act/unit.rs", "src/act/firewall.rs"], vec![];
    sockets: 40_000, ["src/facts/sockets.rs"], vec![];
    units: 40_000, ["src/facts/systemd.rs", "src/act/unit.rs", "src/facts/memory.rs", "src/act/system.rs"], vec![];
    host_files: 40_000,
        ["src/facts/os.rs", "src/facts/memory.rs", "src/facts/names.rs", "src/facts/kernel.rs", "src/act/system.rs"],
        vec![];
    versions: 60_000,
        ["src/facts/os.rs", "src/relay_tests.rs", "src/facts/runtime.rs", "src/facts/kubernetes.rs"], vec![];
    kubelet_flags: 15_000, ["src/facts/kubelet.rs", "src/act/kubelet.rs"], vec![];
    firewalls: 40_000, ["src/act/firewall.rs", "src/facts/firewall.rs"], vec![];
    packet_filter: 40_000, ["src/act/kubeadm/rules.rs"], vec![];
    packages: 60_000, ["src/act/package.rs", "src/act/package_tests.rs", "src/act/rpm_tests.rs"], vec![];
    images: 60_000, ["src/act/image.rs"], vec![];
    mounts: 50_000, ["src/act/file_tests.rs", "src/act/kubeadm/traces.rs"], vec![];
    kubeadm_files: 40_000,
        ["src/act/kubeadm/config.rs", "src/act/kubeadm/failure.rs", "src/act/kubeadm/etcd.rs",
         "src/act/kubeadm/second_run.rs", "src/act/kubeadm/stuck.rs", "src/act/kubeadm/token.rs"], vec![];
    certificate: 50_000, ["../kubewan-core/src/testdata"], samples::certificates();
    evidence: 3_000, ["src/evidence/mod.rs", "src/evidence/logs.rs"], vec![];
    kubectl: 50_000, ["src/act/cluster/node.rs", "src/act/cluster/spread.rs", "src/act/kubeadm/parts.rs"],
        samples::nodes();
}
