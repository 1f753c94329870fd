//! Mirrors and what follows from them: the record on every host, the pause image everywhere, time servers.

use super::*;
use crate::facts::ChronyFolder;
use crate::inventory::{KubernetesSource, RuntimeKind, RuntimeSource};
use crate::mirror::{RECORD, Record, Recorded};

fn planned(inventory: &Inventory, record: &Record, change: impl Fn(&mut Facts)) -> Vec<Step> {
    let mut facts = samples::all_facts(inventory);
    facts.values_mut().for_each(change);
    let addresses = samples::addresses(inventory);
    let (bundle, keys) = samples::supply(inventory);
    let inputs = Inputs { keys: &keys, mirrors: record, ..Inputs::new(&addresses, &bundle) };
    steps(inventory, &facts, &inputs).steps
}

fn record() -> Record {
    let mut record = Record::none();
    let (server, why) = ("https://m.example".to_owned(), "the first of 2".to_owned());
    let chosen = Recorded { server, why, digests: BTreeMap::new() };
    record.mirrors.insert("mirrors.images: ghcr.io".into(), chosen);
    record
}

#[test]
fn every_host_remembers_what_was_chosen_and_forgets_what_no_longer_counts() {
    let inventory = samples::inventory(2);
    let of = |record: &Record, kept: Option<&str>| -> Vec<Step> {
        let change = |facts: &mut Facts| facts.own.mirrors = kept.map(str::to_owned);
        let mut steps = planned(&inventory, record, change);
        steps.retain(|step| step.id.ends_with(RECORD));
        steps
    };
    let written = of(&record(), None);
    assert_eq!(written.len(), 2);
    let text = serde_json::to_string(&written[1].action).unwrap();
    assert!(text.contains("https://m.example") && text.contains("the first of 2"), "{text}");
    assert!(written.iter().all(|step| step.phase == Phase::Prepare));
    assert_eq!(of(&Record::none(), None), []);
    let gone = of(&Record::none(), Some("{}"));
    assert!(serde_json::to_string(&gone[0].action).unwrap().contains("absent"));
}

/// kubeadm's, containerd's in both forms, and cri-dockerd's.
#[test]
fn the_pause_image_follows_the_repository_everywhere() {
    let repository = "registry.aliyuncs.com/google_containers";
    for (version, kind, containerd) in [
        ("1.36.2", RuntimeKind::Containerd, "1.6.20"),
        ("1.36.2", RuntimeKind::Containerd, "2.1.4"),
        ("1.36.2", RuntimeKind::Docker, ""),
        ("1.23.6", RuntimeKind::Docker, ""),
    ] {
        let mut inventory = samples::inventory(1);
        inventory.kubernetes.version = version.into();
        inventory.kubernetes.source = Some(KubernetesSource::Release);
        inventory.kubernetes.image_repository = repository.into();
        inventory.runtime.kind = kind;
        inventory.runtime.source = RuntimeSource::Distribution;
        let steps = planned(&inventory, &Record::none(), |facts| {
            facts.runtime.containerd = (!containerd.is_empty()).then(|| containerd.into());
        });
        let texts: Vec<String> =
            steps.iter().map(|step| serde_json::to_string(&step.action).unwrap()).collect();
        let pause = inventory.pause_image();
        let named: Vec<&String> = texts.iter().filter(|text| text.contains("/pause:")).collect();
        for text in &named {
            let all = text.matches("/pause:").count();
            assert_eq!(text.matches(&pause).count(), all, "{version} {kind:?}: {text}");
        }
        let has = |word: &str| named.iter().any(|text| text.contains(word));
        assert!(has("\"image\""), "it is pulled beforehand: {named:?}");
        match (kind, version) {
            (RuntimeKind::Containerd, _) => assert!(has("/etc/containerd/config.toml")),
            (RuntimeKind::Docker, "1.36.2") => assert!(has("cri-docker.service")),
            // dockershim's kubelet is told by kubeadm, which knows the repository.
            _ => {}
        }
        let kubeadm = texts.iter().find(|text| text.contains("ClusterConfiguration")).unwrap();
        assert!(kubeadm.contains(&format!("imageRepository: {repository}")), "{kubeadm}");
    }
}

#[test]
fn time_servers_go_to_the_service_that_a_host_has() {
    let mut inventory = samples::inventory(1);
    inventory.time_servers = vec!["ntp.aliyun.com".into(), "192.0.2.1".into()];
    let of = |active: Option<&'static str>| -> Vec<String> {
        let steps = planned(&inventory, &Record::none(), |facts| {
            facts.time_sync.active = active.map(str::to_owned);
            facts.time_sync.installed = None;
            let folder = "/etc/chrony/sources.d".to_owned();
            facts.time_sync.chrony_folder = Some(ChronyFolder::Sources(folder));
        });
        let about = ["chrony", "timesyncd"];
        let mine = steps.iter().filter(|step| about.iter().any(|word| step.id.contains(word)));
        mine.map(|step| serde_json::to_string(&step.action).unwrap()).collect()
    };
    insta::assert_snapshot!(
        [of(None), of(Some("chrony.service")), of(Some("systemd-timesyncd.service"))]
            .map(|list| list.join("\n"))
            .join("\n\n")
    );
    assert_eq!(of(Some("ntpsec.service")), [] as [String; 0]);
    // Enterprise Linux' chrony reads none, unless somebody has told it to.
    let chronyd = |folder: Option<ChronyFolder>| {
        let steps = planned(&inventory, &Record::none(), |facts| {
            facts.time_sync.active = Some("chronyd.service".into());
            facts.time_sync.chrony_folder.clone_from(&folder);
        });
        steps.into_iter().find(|step| step.id.contains("file:/etc/chrony"))
    };
    assert_eq!(chronyd(None), None);
    let told = chronyd(Some(ChronyFolder::Config("/etc/chrony.d".into()))).unwrap();
    assert!(told.id.ends_with("file:/etc/chrony.d/kubewan.conf"), "{}", told.id);
    let text = serde_json::to_string(&told.action).unwrap();
    assert!(text.contains("server ntp.aliyun.com iburst\\nserver 192.0.2.1 iburst"), "{text}");
    inventory.time = crate::inventory::TimeSync::Keep;
    assert_eq!(
        planned(&inventory, &Record::none(), |_| ())
            .iter()
            .filter(|s| s.id.contains("timesyncd"))
            .count(),
        0
    );
}
