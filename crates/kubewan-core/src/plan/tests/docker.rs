//! Docker in containerd's place: what is done on a host that has none, and on one where someone uses it.

use super::*;
use crate::action::{Content, File};
use crate::facts::ConfigFile;
use crate::inventory::{KubernetesSource, RuntimeKind, RuntimeSource};
use crate::render::docker::DAEMON_JSON;

fn inventory(version: &str, kubernetes: KubernetesSource, runtime: RuntimeSource) -> Inventory {
    let mut inventory = samples::inventory(2);
    inventory.kubernetes.version = version.into();
    inventory.kubernetes.source = Some(kubernetes);
    inventory.runtime.kind = RuntimeKind::Docker;
    inventory.runtime.source = runtime;
    inventory
}

/// The runtime's steps on a worker, with the kubelet's unit.
#[test]
fn a_fresh_hosts_plan_with_docker() {
    let mut text = String::new();
    for (version, kubernetes, runtime) in [
        ("1.36.2", KubernetesSource::Bundle, RuntimeSource::Bundle),
        ("1.36.2", KubernetesSource::Packages, RuntimeSource::Docker),
        ("1.24.17", KubernetesSource::Release, RuntimeSource::Distribution),
        ("1.23.6", KubernetesSource::Release, RuntimeSource::Distribution),
    ] {
        let inventory = inventory(version, kubernetes, runtime);
        let plan = planned(&inventory, ClusterState::None, untouched);
        text += &format!("## {version}, Kubernetes {kubernetes:?}, Docker {runtime:?}\n");
        let of_node = |p: &&PlannedStep| {
            p.step.host == "node01"
                && (p.step.phase == Phase::Runtime || p.step.id.contains("kubelet.service"))
        };
        for planned in plan.changes().filter(of_node) {
            let change = planned.change.as_ref().expect("changes() has changes");
            text += &format!("{}: {}\n", planned.step.phase.name(), change.summary);
            let telling = change.details.iter().filter(|_| change.details.len() < 60);
            text.extend(telling.map(|line| format!("    {line}\n")));
        }
        // What is not asked about is never seen as held.
        for planned in &plan.steps {
            if let Action::Package(package) = &planned.step.action {
                let asked = |held: &String| package.names.contains(held);
                assert!(package.held.iter().all(asked), "{runtime:?}: {package:?}");
            }
        }
        let errors: Vec<_> =
            plan.findings.iter().filter(|f| f.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let rest = planned(&inventory, ClusterState::Done, reached);
        let left: Vec<&Change> = rest.changes().filter_map(|p| p.change.as_ref()).collect();
        assert!(rest.is_empty(), "{version}, {runtime:?}: {left:?}");
    }
    insta::assert_snapshot!(text);
}

/// What Docker reads is merged into what someone wrote there, with its mode, and at rest once it says everything.
#[test]
fn someones_configuration_of_docker_stays() {
    let inventory = inventory("1.36.2", KubernetesSource::Bundle, RuntimeSource::Bundle);
    let mut facts = samples::all_facts(&inventory);
    let (addresses, (bundle, keys)) = (samples::addresses(&inventory), samples::supply(&inventory));
    let inputs = Inputs { keys: &keys, ..Inputs::new(&addresses, &bundle) };
    let there = "{\n  \"data-root\": \"/data/docker\"\n}\n";
    let goal = |facts: &BTreeMap<String, Facts>| {
        let steps = steps(&inventory, facts, &inputs).steps;
        let id = format!("node01/file:{DAEMON_JSON}");
        let step = steps.into_iter().find(|step| step.id == id).expect("its step");
        match step.action {
            Action::File(File { state: FileState::Present { content, mode, owner }, .. }) => {
                (content, mode, owner)
            }
            other => unreachable!("{other:?}"),
        }
    };
    let config = |text: &str| {
        Some(ConfigFile { text: text.into(), mode: 0o600, owner: (0, 4), unread: None })
    };
    facts.get_mut("node01").expect("a host").runtime.docker.config = config(there);
    let (content, mode, owner) = goal(&facts);
    let Content::Text(text) = content else { unreachable!("a text") };
    assert_eq!((mode, owner), (0o600, (0, 4)));
    insta::assert_snapshot!(text);
    facts.get_mut("node01").expect("a host").runtime.docker.config = config(&text);
    assert_eq!(goal(&facts).0, Content::Text(text));
}

/// What nobody can read is not touched, and stops the run.
#[test]
fn a_configuration_that_is_no_json_is_left_alone() {
    let inventory = inventory("1.36.2", KubernetesSource::Bundle, RuntimeSource::Bundle);
    let mut facts = samples::all_facts(&inventory);
    let text = "{ \"debug\": true \"log-driver\": \"json-file\" }".into();
    let config = Some(ConfigFile { text, mode: 0o644, ..ConfigFile::default() });
    facts.get_mut("node01").expect("a host").runtime.docker.config = config;
    let (addresses, bundle) = (samples::addresses(&inventory), samples::bundle());
    let planned = steps(&inventory, &facts, &Inputs::new(&addresses, &bundle));
    let touches = |step: &Step| step.id == format!("node01/file:{DAEMON_JSON}");
    assert!(!planned.steps.iter().any(touches));
    assert!(planned.findings.iter().any(|f| f.code == "docker-config-invalid"));
}
