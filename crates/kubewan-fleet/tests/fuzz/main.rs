//! Readers of what comes to the operator's side, fed with what they do not expect: a test for each entry of
//! `kubewan_fleet::fuzz`.

#[path = "../../../kubewan-core/tests/fuzz/mutate.rs"]
mod mutate;
#[macro_use]
#[path = "../../../kubewan-core/tests/fuzz/support.rs"]
mod support;

// Name, inputs in every run, what the corpus is made of.
targets! {
    kubewan_fleet::fuzz:
    ssh: 40_000, ["src/failure.rs", "src/bootstrap.rs", "src/resolve.rs"], vec![];
    cluster: 40_000, ["src/nodes.rs", "src/smoke/pod.rs"], vec![];
    dns: 60_000, ["src/smoke/dns.rs"], vec![dns_answer()];
    registries: 30_000, ["src/supply/registry.rs"], vec![manifest()];
    elf: 60_000, [], vec![elf_header(62), elf_header(183)];
}

/// Two records behind a question, the second an address.
fn dns_answer() -> Vec<u8> {
    let head = b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\0\x05smoke\x07example\0\0\x01\0\x01";
    let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x1e\0\x03\x01x\0";
    let address = b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x60\x01\x02";
    [&head[..], alias, address].concat()
}

/// An image of one layer.
fn manifest() -> Vec<u8> {
    let (config, layer) = ("a1".repeat(32), "b2".repeat(32));
    format!(
        r#"{{"config":{{"digest":"sha256:{config}"}},"layers":[{{"digest":"sha256:{layer}"}}]}}"#
    )
    .into()
}

/// One header of a segment behind the file's.
fn elf_header(machine: u8) -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (elf[18], elf[32], elf[54], elf[56]) = (machine, 64, 56, 1);
    elf
}
