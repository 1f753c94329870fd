//! Readers of logs and of kubectl's answers, fed with what they do not expect: a test for each entry of `kubewan_doctor::fuzz`.

#![allow(
    clippy::disallowed_methods,
    reason = "the harness has a clock and an environment; the entries have none"
)]

#[macro_use]
#[path = "../../../kubewan-core/tests/fuzz/support.rs"]
mod support;
#[path = "../../../kubewan-core/tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../../../kubewan-core/tests/fuzz/samples.rs"]
#[allow(dead_code, reason = "the core's entries need others")]
mod samples;

targets! {
    kubewan_doctor::fuzz:
    log: 6_000, ["tests/pasted", "src/checks"], vec![];
    answers: 20_000, ["src/cluster.rs"], samples::nodes();
    redacted: 15_000, ["src/support.rs", "../kubewan-core/src/redact", "tests/pasted"], vec![];
}
