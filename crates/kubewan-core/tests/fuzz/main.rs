//! Readers of foreign bytes, fed with what they do not expect: a test for each entry of `kubewan_core::fuzz`.

#![allow(
    clippy::disallowed_methods,
    reason = "the harness has a clock and an environment; the entries have none"
)]

#[macro_use]
mod support;
mod mutate;
#[allow(dead_code, reason = "the agent's entries need others")]
mod samples;

// Name, inputs in every run, what the corpus is made of. What takes long gets less: reading an inventory twice and
// printing its errors takes a hundred times as long as reading a version.
targets! {
    kubewan_core::fuzz:
    inventory: 20_000, ["tests/bad", "../../README.md", "../../docs/reference.md", "src/inventory/shape.rs"],
        samples::inventories();
    bundle: 15_000, ["../../docs/bundle.md", "src/bundle.rs"], samples::bundles();
    facts: 10_000, ["src/facts.rs"], samples::facts();
    frame: 100_000, ["src/frame.rs"], samples::frames();
    protocol: 40_000, ["src/protocol.rs"], samples::messages();
    way_back_of_journal: 20_000, ["src/journal.rs", "src/plan/reset/tests.rs"], samples::journals();
    record: 30_000, ["src/inventory/recorded.rs"], samples::records();
    living: 20_000, ["src/inventory/adopt_tests.rs"], samples::living();
    version: 100_000, ["src/versions/mod.rs"], vec![b"1.36.2".to_vec(), b"v1.27.0".to_vec()];
    registry_files: 20_000, ["src/registry/registry-example.pem", "src/registry/legacy.rs", "src/registry/certificate.rs"],
        vec![];
    publishers: 20_000, ["src/supply.rs", "src/download.rs"], vec![];
    daemon_json: 40_000, ["src/render/docker.rs", "../../docs/reference.md"], samples::daemons();
    block: 60_000, ["src/action/file.rs"], samples::hosts_files();
}
