//! What must hold for every inventory: nothing panics, what is written can be read again, and types, schema and
//! reader know the same keys.

use std::net::Ipv4Addr;

use kubewan_core::inventory::{self, Code, Inventory};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Short, so that every mutation hits something.
const SEEDS: [&str; 8] = [
    "name: a\nkubernetes:\n version: 1.36.2\nhosts:\n- {name: a, address: a, roles: [control-plane]}",
    "name: home\nhosts:\n- address: 10.0.0.1\n",
    "x: &k { a: 1 }\nname: *k\n",
    "network:\n  podSubnet: 10.0.0.0/8\n",
    "hosts: [{ ssh: { port: 22 } }]",
    "kubernetes: {kubelet: {a: .5, b: ~}}",
    "name: |\n  \"a\"\n  'b'\n",
    "? a\n: - b\n  - !!c d\n",
];

/// xorshift64* (Vigna 2016): small, and the same everywhere.
struct Random(u64);

impl Random {
    /// One stream for each seed, whatever the number of threads (the constant is splitmix64's).
    fn seeded(seed: u64) -> Self {
        Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

/// What a mutation puts in: YAML's own characters and pieces that mean something here.
const PIECES: [&str; 24] = [
    ":", " ", "\n", "-", "{", "}", "[", "]", "&k ", "*k", "!", "\"", "'", "#", "|\n", "~", "\t",
    "0", "/33", "é", "\u{202e}", "\0", "---\n", ": ",
];

fn mutated(random: &mut Random) -> Vec<u8> {
    let mut bytes = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(4) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
            2 => bytes.truncate(at.max(1)),
            _ => {
                let copied = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                drop(bytes.splice(to..to, copied));
            }
        }
    }
    bytes
}

/// Reads and prints; whoever panics fails the test.
fn survives(bytes: &[u8]) -> bool {
    match inventory::parse_bytes("cluster.yaml", bytes) {
        Ok(_) => true,
        Err(errors) => {
            assert!(!errors.errors.is_empty(), "refused without a reason: {bytes:?}");
            // Printing costs as much as reading: not for all of the many.
            if bytes.len().is_multiple_of(8) {
                assert!(errors.to_string().ends_with("nothing was touched"));
            }
            false
        }
    }
}

#[test]
fn a_hundred_thousand_mutations_are_read_without_panic() {
    const MUTATIONS: usize = 100_000;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let good: usize = std::thread::scope(|scope| {
        let run = |thread: usize| {
            let survived = |at: &usize| survives(&mutated(&mut Random::seeded(*at as u64)));
            (thread..MUTATIONS).step_by(threads).filter(survived).count()
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().map(|one| one.join().expect("no panic")).sum()
    });
    assert!(good > MUTATIONS / 500, "the mutations break everything: {good} are still good");
}

fn label() -> impl Strategy<Value = String> {
    "[a-z]([-a-z0-9]{0,20}[a-z0-9])?"
}

/// Text that YAML readers are tempted to take for something else.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,20}",
        "[a-zé主]{1,12}",
        prop::sample::select(vec![
            "no", "yes", "null", "~", "1e3", "0644", "12:30:45", "- a", "*x", "# c", "true"
        ])
        .prop_map(str::to_owned),
    ]
}

fn settings() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000_i32..1000).prop_map(|n| Value::from(f64::from(n) / 8.0)),
        any_text().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("x[a-zA-Z. ]{0,8}y", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn host(index: usize) -> impl Strategy<Value = Value> {
    let ssh = (prop::option::of(label()), prop::option::of(1_u16..));
    let parts =
        (ssh, prop::option::of("[a-z]{1,8}"), any::<bool>(), prop::option::of("[ -,.-~]{1,12}"));
    parts.prop_map(move |((user, port), disk, worker, key)| {
        let roles = match (index, worker) {
            (0, true) => json!(["control-plane", "worker"]),
            (0, false) => json!(["control-plane"]),
            _ => json!(["worker"]),
        };
        let address = Ipv4Addr::new(198, 51, 100, index as u8 + 1).to_string();
        let ssh = json!({ "user": user, "port": port, "key": key });
        let labels = disk.map_or(json!({}), |disk| json!({ "example.org/disk": disk }));
        json!({ "name": format!("host{index}"), "address": address, "ssh": ssh, "roles": roles, "labels": labels })
    })
}

fn good_inventory() -> impl Strategy<Value = Inventory> {
    let hosts = (1_usize..5).prop_flat_map(|count| (0..count).map(host).collect::<Vec<_>>());
    let settings = prop::collection::btree_map("x[a-zA-Z]{0,8}", settings(), 0..4);
    (label(), settings, hosts, 22_u32..=36).prop_map(|(name, settings, hosts, minor)| {
        let settings: Map<String, Value> = settings.into_iter().collect();
        let inventory = json!({
            "name": name,
            "kubernetes": { "version": format!("1.{minor}.3"), "kubelet": settings },
            "hosts": hosts,
        });
        serde_json::from_value(inventory).expect("the sample has the types' form")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }

    #[test]
    fn arbitrary_text_is_read_without_panic(text in "\\PC{0,80}(\n\\PC{0,80}){0,6}") {
        survives(text.as_bytes());
    }

    #[test]
    fn what_is_written_as_yaml_reads_the_same(wanted in good_inventory()) {
        let text = serde_saphyr::to_string(&wanted).expect("YAML");
        match inventory::parse("cluster.yaml", &text) {
            Ok(read) => prop_assert_eq!(read, wanted),
            Err(errors) => prop_assert!(false, "{errors}\n{text}"),
        }
    }

    #[test]
    fn what_is_written_as_json_reads_the_same(wanted in good_inventory()) {
        let text = serde_json::to_string_pretty(&wanted).expect("JSON");
        match inventory::parse("cluster.yaml", &text) {
            Ok(read) => prop_assert_eq!(read, wanted),
            Err(errors) => prop_assert!(false, "{errors}\n{text}"),
        }
    }
}

/// A value for every key of the schema. Keys with rules of their own are given here; the rest follows from
/// the schema's types.
fn sample(root: &Value, schema: &Value, key: &str) -> Value {
    let known = match key {
        "name" => Some(json!("home")),
        "version" => Some(json!("1.36.2")),
        "ca" => Some(json!(format!("sha256:{}", "0a".repeat(32)))),
        "endpoint" => Some(json!("198.51.100.10:6443")),
        "roles" => Some(json!(["control-plane"])),
        "address" => Some(json!("198.51.100.10")),
        "privateAddress" => Some(json!("192.168.1.10")),
        "imageRepository" => Some(json!("registry.example.org/k8s")),
        "podSubnet" => Some(json!("172.20.0.0/16")),
        "serviceSubnet" => Some(json!("172.24.0.0/16")),
        // All that the sample's profile would add.
        "images" => Some(json!({
            "docker.io": "https://mirror.example.org/hub",
            "ghcr.io": "https://mirror.example.org/ghcr",
            "quay.io": "https://mirror.example.org/quay",
            "registry.k8s.io": "https://mirror.example.org:5000/k8s",
        })),
        "mirrors" if schema["type"] == "array" => Some(json!(["https://mirror.example.org/"])),
        "probe" => Some(json!("library/nginx:1.27")),
        // `caFile` is there too.
        "skipVerify" => Some(json!(false)),
        // Settings of the runtime that is not the last one's would do nothing.
        "containerd" => Some(json!({})),
        "docker" if schema["type"] != "string" => Some(json!({ "some": "text" })),
        "packages" | "docker" | "github" => Some(json!("https://mirror.example.org/")),
        "kubernetes" if schema["type"] == "string" => Some(json!("http://192.0.2.9:8080")),
        "hostKey" => {
            Some(json!(format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}", "x".repeat(43))))
        }
        _ => None,
    };
    if let Some(value) = known {
        return value;
    }
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return sample(root, &root["$defs"][name], key);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.last().map_or(Value::Null, |choice| choice["const"].clone());
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.last().cloned().unwrap_or_default();
    }
    if let Some(properties) = schema["properties"].as_object() {
        let entries =
            properties.iter().map(|(key, schema)| (key.clone(), sample(root, schema, key)));
        return Value::Object(entries.collect());
    }
    match schema["type"].as_str() {
        Some("string") => json!("some"),
        Some("integer") => schema["maximum"].clone(),
        Some("boolean") => json!(true),
        Some("array") => json!([sample(root, &schema["items"], "")]),
        Some("object") => json!({ "some": "text" }),
        other => panic!("the schema of `{key}` has the unknown type {other:?}"),
    }
}

/// JSON pointers of all mappings that have keys of their own in the schema.
fn mappings(root: &Value, schema: &Value, pointer: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        return mappings(root, &root["$defs"][name], pointer, found);
    }
    if schema["type"] == "array" {
        return mappings(root, &schema["items"], &format!("{pointer}/0"), found);
    }
    if let Some(properties) = schema["properties"].as_object() {
        assert_eq!(schema["additionalProperties"], json!(false), "{pointer} takes anything");
        found.push(pointer.to_owned());
        for (key, schema) in properties {
            mappings(root, schema, &format!("{pointer}/{key}"), found);
        }
    }
}

#[test]
fn every_key_of_the_schema_is_read_and_kept() {
    let schema = inventory::schema();
    let full = sample(&schema, &schema, "");
    let text = serde_json::to_string_pretty(&full).expect("JSON");
    let read = inventory::parse("cluster.yaml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(serde_json::to_value(read).expect("JSON"), full);
}

#[test]
fn no_other_key_is_read_at_any_level() {
    let schema = inventory::schema();
    let full = sample(&schema, &schema, "");
    let mut pointers = Vec::new();
    mappings(&schema, &schema, "", &mut pointers);
    assert!(pointers.len() >= 8, "{pointers:?}");
    for pointer in pointers {
        let mut other = full.clone();
        let mapping = other.pointer_mut(&pointer).and_then(Value::as_object_mut).expect(&pointer);
        mapping.insert("zzzzzz".into(), json!("x"));
        let text = other.to_string();
        let errors = inventory::parse("cluster.yaml", &text).expect_err(&pointer);
        let codes: Vec<Code> = errors.errors.iter().map(|error| error.code).collect();
        assert_eq!(codes, [Code::UnknownKey], "{pointer}: {errors}");
    }
}
