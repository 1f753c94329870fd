//! Inventories, good and bad, through the same door as the command line's.

use std::fs;
use std::path::{Path, PathBuf};

use kubewan_core::inventory::{self, Inventory, Role};

/// Set to write the goldens anew: `UPDATE_GOLDENS=1 cargo test -p kubewan-core --test inventory`.
const UPDATE: &str = "UPDATE_GOLDENS";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a text with a file, or writes the file.
fn golden(path: &Path, text: &str, regenerate: &str) {
    if std::env::var_os(UPDATE).is_some() {
        fs::write(path, text).expect("the golden can be written");
    }
    let wanted = fs::read_to_string(path).unwrap_or_default();
    assert!(wanted == text, "{} differs; {regenerate}. Now:\n{text}", path.display());
}

#[test]
fn every_bad_inventory_prints_its_golden() {
    let mut inputs: Vec<PathBuf> = fs::read_dir(here("tests/bad"))
        .expect("tests/bad")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 30, "only {} bad inventories", inputs.len());
    for input in inputs {
        let bytes = fs::read(&input).expect("readable");
        let errors = inventory::parse_bytes("cluster.yaml", &bytes).expect_err("it is bad");
        let regenerate = format!("set {UPDATE}=1 to write it anew");
        golden(&input.with_extension("txt"), &format!("{errors}\n"), &regenerate);
    }
}

#[test]
fn every_error_code_has_a_bad_inventory_and_every_error_a_place() {
    let mut seen = Vec::new();
    for entry in fs::read_dir(here("tests/bad")).expect("tests/bad") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let bytes = fs::read(&path).expect("readable");
            let errors = inventory::parse_bytes("cluster.yaml", &bytes).expect_err("it is bad");
            for error in errors.errors {
                assert!(error.line >= 1 && error.column >= 1, "{}: {error:?}", path.display());
                seen.push(error.code);
            }
        }
    }
    // One that is too large is no file to keep: see below.
    seen.push(inventory::Code::TooLarge);
    let unseen: Vec<_> = inventory::Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(unseen.is_empty(), "no test shows {unseen:?}");
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let text = "# a comment\n".repeat(100_000);
    let errors = inventory::parse("cluster.yaml", &text).expect_err("too large");
    insta::assert_snapshot!(errors.to_string(), @r"
    error[too-large]: the inventory has 1200000 bytes, 1048576 are allowed
      --> cluster.yaml:1:1
       = help: is this the right file?

    cluster.yaml: 1 error; nothing was touched
    ");
}

#[test]
fn the_schema_file_is_what_the_types_say() {
    let mut text = serde_json::to_string_pretty(&inventory::schema()).expect("a schema is JSON");
    text.push('\n');
    let regenerate = "run `cargo run -- schema > docs/schema/cluster.schema.json`";
    golden(&here("../../docs/schema/cluster.schema.json"), &text, regenerate);
}

const MINIMAL: &str = r#"# cluster.yaml: every key but these has a default that serves
name: home
kubernetes: { version: "1.36.2" }
hosts:
  - { name: master01, address: 198.51.100.10, roles: [control-plane, worker] }
  - { name: node01,   address: 198.51.100.20, roles: [worker], ssh: { user: admin, port: 2222 } }
  - { name: node02,   address: 192.0.2.30,    roles: [worker] }
"#;

#[test]
fn the_readmes_inventory_is_good_and_gets_defaults() {
    let inventory = inventory::parse("cluster.yaml", MINIMAL).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(inventory.first_control_plane().name, "master01");
    assert_eq!(inventory.hosts[1].ssh.port, Some(2222));
    assert_eq!(inventory.hosts[2].roles, [Role::Worker]);
    assert_eq!(inventory.network.pod_subnet.to_string(), "10.244.0.0/16");
    assert_eq!(inventory.network.service_subnet.to_string(), "10.96.0.0/12");
    assert_eq!(inventory.kubernetes.image_repository, "registry.k8s.io");
}

#[test]
fn settings_are_handed_on_as_they_were_written() {
    let text = format!(
        "{MINIMAL}network: {{ backend: vxlan }}\nruntime:\n  containerd: &tuned\n    oom_score: -999\n    \
         debug: {{ level: \"no\" }}\n"
    ).replace(
        "kubernetes: { version: \"1.36.2\" }",
        "kubernetes:\n  version: 1.36.2\n  kubelet: {maxPods: 250, failSwapOn: false, x: no, y: \"1\", z: 1.5, n: null}",
    );
    let inventory = inventory::parse("cluster.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    insta::assert_snapshot!(
        serde_json::to_string(&(inventory.kubernetes.kubelet, inventory.runtime.containerd)).expect("JSON"),
        @r#"[{"maxPods":250,"failSwapOn":false,"x":"no","y":"1","z":1.5,"n":null},{"oom_score":-999,"debug":{"level":"no"}}]"#
    );
}

#[test]
fn a_share_of_settings_by_alias_is_good() {
    let text = r#"
name: home
kubernetes: { version: "1.36.2" }
hosts:
  - { name: a, address: 192.0.2.1, roles: [control-plane, worker], ssh: &login { user: admin, port: 22 } }
  - { name: b, address: vps.example.org, roles: [worker], ssh: *login }
"#;
    let inventory: Inventory =
        inventory::parse("cluster.yaml", text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(inventory.hosts[0].ssh, inventory.hosts[1].ssh);
}

#[test]
fn errors_have_a_stable_json_shape() {
    let errors = inventory::parse("cluster.yaml", "name: home\nhsots: []\n").expect_err("bad");
    insta::assert_snapshot!(serde_json::to_string_pretty(&errors).expect("JSON"), @r#"
    {
      "file": "cluster.yaml",
      "errors": [
        {
          "code": "missing-key",
          "path": "",
          "line": 1,
          "column": 1,
          "width": 1,
          "sourceLine": "name: home",
          "message": "`kubernetes` is missing",
          "help": "`kubernetes`: Which Kubernetes, and from where"
        },
        {
          "code": "unknown-key",
          "path": "hsots",
          "line": 2,
          "column": 1,
          "width": 5,
          "sourceLine": "hsots: []",
          "message": "unknown key `hsots`",
          "help": "did you mean `hosts`?"
        }
      ]
    }
    "#);
}
