//! Registries of one's own, and what a containerd of before kubewan was told of registries.

use super::*;
use std::collections::BTreeSet;

use crate::action::file::FileState;
use crate::action::{Content, File};
use crate::inventory::Registry;
use crate::inventory::{RuntimeKind, RuntimeSource};
use crate::registry::Files;
use crate::registry::certificate::Certificate;
use crate::render::docker::DAEMON_JSON;
use crate::secret::Secret;

const PASSWORD: &str = "open-Sesame-4711";

fn inventory() -> Inventory {
    let mut inventory = samples::inventory(2);
    inventory.registries = vec![
        Registry {
            address: "r.example:5000".into(),
            ca_file: Some("ca.pem".into()),
            trust_in_system: true,
            username: Some("puller".into()),
            password_file: Some("password".into()),
            ..Registry::default()
        },
        Registry { address: "s.example".into(), skip_verify: true, ..Registry::default() },
    ];
    inventory
}

fn files() -> BTreeMap<String, Files> {
    let certificate = |n: u8| Certificate {
        pem: format!("-----BEGIN CERTIFICATE-----\n{n}\n-----END CERTIFICATE-----\n"),
        not_before_s: 0,
        not_after_s: 1,
    };
    let files = Files {
        authorities: vec![certificate(1), certificate(2)],
        password: Some(Secret::new(PASSWORD.into())),
    };
    BTreeMap::from([("r.example:5000".into(), files), ("s.example".into(), Files::default())])
}

fn planned(inventory: &Inventory, change: impl Fn(&mut Facts)) -> planner::Planned {
    let mut facts = samples::all_facts(inventory);
    facts.values_mut().for_each(change);
    let addresses = samples::addresses(inventory);
    let (bundle, keys) = samples::supply(inventory);
    let registries = files();
    let inputs =
        Inputs { keys: &keys, registries: &registries, ..Inputs::new(&addresses, &bundle) };
    steps(inventory, &facts, &inputs)
}

fn plan(planned: planner::Planned, see: fn(&Action) -> Observed) -> Plan {
    let seen = planned.steps.iter().map(|step| (step.id.clone(), Ok(see(&step.action)))).collect();
    Plan::new("home", false, planned.steps, &seen, planned.findings).expect("all observed")
}

fn of_registries(plan: &Plan) -> String {
    let about = ["certs.d", "registry-logins", "system-trust", "package:ca-certificates"];
    let mine = plan.changes().filter(|p| p.step.host == "node01");
    let mine = mine.filter(|p| about.iter().any(|word| p.step.id.contains(word)));
    mine.map(|p| {
        let change = p.change.as_ref().expect("a change");
        format!("{}\n  {}\n  {}\n", p.step.id, p.step.why, change.details.join("\n  "))
    })
    .collect()
}

#[test]
fn docker_finds_authorities_in_its_own_folder_and_the_rest_in_its_configuration() {
    let mut inventory = inventory();
    inventory.runtime.kind = RuntimeKind::Docker;
    inventory.runtime.source = RuntimeSource::Distribution;
    let hub = ["https://hub.example".to_owned()];
    inventory.registries.push(Registry {
        address: "docker.io".into(),
        mirrors: hub.to_vec(),
        ..Registry::default()
    });
    let first = planned(&inventory, |_| {});
    assert!(first.findings.iter().all(|f| f.severity != Severity::Error), "{:?}", first.findings);
    let id = format!("node01/file:{DAEMON_JSON}");
    let daemon = |planned: &planner::Planned| {
        let step = planned.steps.iter().find(|step| step.id == id).expect("its step");
        let Action::File(File { state: FileState::Present { content, .. }, .. }) = &step.action
        else {
            panic!("{step:?}")
        };
        let Content::Text(text) = content else { panic!("{content:?}") };
        serde_json::from_str::<serde_json::Value>(text).expect("JSON")
    };
    let told = daemon(&first);
    assert_eq!(told["insecure-registries"], serde_json::json!(["s.example"]));
    assert_eq!(told["registry-mirrors"], serde_json::json!(hub));
    insta::assert_snapshot!(of_registries(&plan(first, untouched)));
    assert!(plan(planned(&inventory, |_| {}), reached).is_empty());

    // Out of the inventory, and out of where Docker looks; what somebody else has there stays.
    inventory.registries.clear();
    let ours = "/etc/docker/certs.d/r.example:5000/ca.crt";
    let later = planned(&inventory, |facts| {
        facts.own.left.insert(ours.into(), ["ours".to_owned()].into());
        facts.own.left.insert("/etc/containerd/certs.d/old/hosts.toml".into(), BTreeSet::new());
    });
    let gone: Vec<&str> = later
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::File(File { path, state: FileState::Absent }) if step.host == "node01" => {
                Some(path.as_str())
            }
            _ => None,
        })
        .collect();
    assert_eq!(gone, ["/etc/containerd/certs.d/old/hosts.toml", ours]);
}

#[test]
fn every_host_gets_authorities_logins_and_what_containerd_asks() {
    let inventory = inventory();
    let planned = planned(&inventory, |_| {});
    assert_eq!(planned.secrets["@secret(registry-login r.example:5000)@"].reveal(), PASSWORD);
    let plan = plan(planned, untouched);
    insta::assert_snapshot!(of_registries(&plan));
    let config = plan.steps.iter().find(|p| p.step.id == "node01/file:/etc/containerd/config.toml");
    let order: Vec<&str> = plan.steps.iter().map(|p| p.step.id.as_str()).collect();
    let place = |id: &str| order.iter().position(|other| *other == id).expect(id);
    assert!(
        place("node01/registry-logins:/var/lib/kubelet/config.json")
            < place(&config.expect("a step").step.id)
    );
    let codes: Vec<&str> = plan.findings.iter().map(|f| f.code.as_str()).collect();
    assert!(codes.contains(&"registry-unverified"), "{codes:?}");
    let shown = serde_json::to_string(&plan).expect("JSON");
    assert!(!shown.contains(PASSWORD) && !format!("{plan:?}").contains(PASSWORD));
}

#[test]
fn a_host_that_has_them_is_left_alone_and_a_new_login_restarts_the_kubelet() {
    let inventory = inventory();
    let done = |facts: &mut Facts| facts.kubernetes.state = ClusterState::Done;
    let at_rest = plan(planned(&inventory, done), reached);
    let left: Vec<&str> = at_rest.changes().map(|p| p.step.id.as_str()).collect();
    assert!(left.is_empty(), "{left:?}");
    let without = |action: &Action| match action {
        Action::RegistryLogins(_) => untouched(action),
        other => reached(other),
    };
    let changed = plan(planned(&inventory, done), without);
    let ids: Vec<&str> =
        changed.changes().filter(|p| p.step.host == "node01").map(|p| p.step.id.as_str()).collect();
    assert_eq!(
        ids,
        ["node01/registry-logins:/var/lib/kubelet/config.json", "node01/unit:kubelet.service"]
    );
}

/// The recipe's, with a login.
const OLD: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri".registry.configs."192.0.2.7".tls]
ca_file = "/data/cert/harbor.crt"
[plugins."io.containerd.grpc.v1.cri".registry.configs."192.0.2.7".auth]
username = "puller"
password = "open-Sesame-4711"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
endpoint = ["https://pqbap4ya.mirror.aliyuncs.com"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."k8s.gcr.io"]
endpoint = ["https://registry.aliyuncs.com/k8sxio"]
"#;

#[test]
fn older_settings_of_registries_are_carried_over_and_named() {
    let inventory = samples::inventory(2);
    let old = |facts: &mut Facts| facts.runtime.containerd_config = Some(OLD.into());
    let planned = planned(&inventory, old);
    assert_eq!(planned.secrets.len(), 2, "one for each host");
    let plan = plan(planned, untouched);
    insta::assert_snapshot!(of_registries(&plan));
    assert!(!plan.is_refused(), "{:?}", plan.findings);
    let carried: Vec<&str> = plan
        .findings
        .iter()
        .filter(|f| f.code == "registry-settings-carried")
        .map(|f| f.message.as_str())
        .collect();
    assert_eq!(carried.len(), 2);
    insta::assert_snapshot!(carried[0]);
    let config = plan.steps.iter().find(|p| p.step.id == "node01/file:/etc/containerd/config.toml");
    let details = config.and_then(|p| p.change.as_ref()).expect("a change").details.join("\n");
    assert!(details.contains("config_path = \"/etc/containerd/certs.d\""), "{details}");
    let shown = serde_json::to_string(&plan).expect("JSON");
    assert!(!shown.contains(PASSWORD), "{shown}");
}

#[test]
fn what_was_carried_over_stays_in_force_and_is_not_carried_again() {
    let inventory = samples::inventory(1);
    let ours = |facts: &mut Facts| {
        facts.runtime.registry_folders = true;
        let left = ["x".to_owned()].into();
        facts.own.left.insert("/etc/containerd/config.toml".into(), left);
        facts.runtime.containerd_config = Some(OLD.into());
    };
    let planned = planned(&inventory, ours);
    assert!(planned.secrets.is_empty());
    let config = planned.steps.iter().find(|s| s.id.ends_with("/etc/containerd/config.toml"));
    assert!(format!("{:?}", config.expect("a step").action).contains("config_path"));
}

#[test]
fn the_users_own_settings_in_the_old_way_are_refused_beside_a_folder() {
    let mut inventory = inventory();
    let old = serde_json::json!({ "io.containerd.grpc.v1.cri": { "registry": { "mirrors": {} } } });
    inventory.runtime.containerd.insert("plugins".into(), old);
    let plan = plan(planned(&inventory, |_| {}), untouched);
    assert!(plan.findings.iter().any(|f| f.code == "registry-settings-clash"));
    inventory.registries.clear();
    let alone = planned(&inventory, |_| {});
    assert!(!alone.findings.iter().any(|f| f.code == "registry-settings-clash"));
}

#[test]
fn kubeadms_images_are_not_behind_a_login() {
    let mut inventory = inventory();
    inventory.kubernetes.image_repository = "r.example:5000/k8s".into();
    let codes = |inventory: &Inventory| -> Vec<String> {
        planned(inventory, |_| {}).findings.into_iter().map(|f| f.code).collect()
    };
    assert!(!codes(&inventory).contains(&"image-repository-login".to_owned()));
    inventory.kubernetes.source = Some(crate::inventory::KubernetesSource::Release);
    assert!(codes(&inventory).contains(&"image-repository-login".to_owned()));
}
