//! The plan as a value: what a fresh cluster's plan holds, and that a host which reached its goals is left alone.

mod adopt;
mod control_planes;
mod distributions;
mod docker;
mod mirrors;
mod registries;
mod taken_out;
mod versions;

use std::collections::BTreeMap;

use super::*;
use crate::action::alias::{AliasOnSeen, AliasSeen};
use crate::action::cluster::{AnnouncedSeen, NodeSeen, ObjectSeen, SpreadSeen};
use crate::action::docker::DockerEngineSeen;
use crate::action::etcd::EtcdSeen;
use crate::action::file::{BlockSeen, FileSeen, FileState, RemovedSeen};
use crate::action::firewall::FirewallSeen;
use crate::action::kubeadm::{CertsSeen, InitSeen, JoinSeen, ResetSeen, TokenSeen};
use crate::action::package::{ImageSeen, PackageSeen};
use crate::action::registry::{LOGINS_MODE, LoginSeen, LoginsSeen, TrustSeen};
use crate::action::system::{
    HostnameSeen, ModuleSeen, SelinuxSeen, SwapOnSeen, SwapSeen, SysctlSeen, TimeSyncSeen,
};
use crate::action::unit::{KubeletFlagSeen, LinkSeen, UnitSeen, UnmaskedSeen};
use crate::facts::{CloudInit, ClusterState, Facts, InterfaceAddress};
use crate::inventory::{Inventory, Recorded};
use crate::render::unit::UNMANAGED_UNIT;
use crate::samples;

/// What an agent sees on an untouched host.
pub fn untouched(action: &Action) -> Observed {
    match action {
        Action::File(_) => Observed::File(FileSeen::default()),
        Action::Block(_) => {
            Observed::Block(BlockSeen { text: Some("127.0.0.1 localhost\n".into()) })
        }
        Action::Removed(_) => Observed::Removed(RemovedSeen { exists: true, volumes: Vec::new() }),
        Action::Module(_) => Observed::Module(ModuleSeen::default()),
        Action::Sysctl(_) => {
            Observed::Sysctl(SysctlSeen { value: Some("0".into()), ..SysctlSeen::default() })
        }
        Action::SwapOff(_) => {
            Observed::SwapOff(SwapSeen { active: vec!["/dev/vdb".into()], ..SwapSeen::default() })
        }
        Action::SelinuxPermissive(_) => Observed::SelinuxPermissive(selinux(true)),
        Action::SelinuxEnforcing(_) => Observed::SelinuxEnforcing(selinux(false)),
        Action::SwapOn(swap) => Observed::SwapOn(SwapOnSeen { idle: swap.areas.clone() }),
        Action::Hostname(_) => Observed::Hostname(HostnameSeen::default()),
        Action::TimeSyncOn(_) => Observed::TimeSyncOn(TimeSyncSeen::default()),
        Action::Package(package) => Observed::Package(PackageSeen {
            installed: package.names.iter().map(|name| (name.clone(), None)).collect(),
            held: Vec::new(),
        }),
        Action::Unheld(package) => {
            Observed::Unheld(PackageSeen { installed: Vec::new(), held: package.names.clone() })
        }
        Action::Image(_) => Observed::Image(ImageSeen::default()),
        Action::RegistryLogins(_) => Observed::RegistryLogins(LoginsSeen::default()),
        Action::SystemTrust(_) => Observed::SystemTrust(TrustSeen::default()),
        Action::Unit(_) => Observed::Unit(UnitSeen::default()),
        Action::DockerEngine(_) => Observed::DockerEngine(DockerEngineSeen::default()),
        Action::Unmasked(_) => Observed::Unmasked(UnmaskedSeen { masked: true }),
        Action::Link(_) => Observed::Link(LinkSeen::default()),
        Action::AliasOff(_) => Observed::AliasOff(AliasSeen { there: Some(Default::default()) }),
        Action::AliasOn(_) => Observed::AliasOn(AliasOnSeen { card: true, there: false }),
        Action::KubeletFlag(_) => Observed::KubeletFlag(KubeletFlagSeen::default()),
        Action::Firewall(_) => Observed::Firewall(FirewallSeen {
            active: true,
            enabled: true,
            ..FirewallSeen::default()
        }),
        Action::KubeadmInit(_) => Observed::KubeadmInit(InitSeen::default()),
        Action::BootstrapToken(_) => Observed::BootstrapToken(TokenSeen::default()),
        Action::EtcdListens(_) => Observed::EtcdListens(EtcdSeen::default()),
        Action::UploadedCerts(_) => Observed::UploadedCerts(CertsSeen::default()),
        Action::KubeadmJoin(_) => Observed::KubeadmJoin(JoinSeen::default()),
        Action::KubeadmReset(_) => Observed::KubeadmReset(ResetSeen::default()),
        Action::Object(_) => Observed::Object(ObjectSeen::default()),
        Action::NodeMeta(_) => Observed::NodeMeta(NodeSeen::default()),
        Action::Announced(_) => Observed::Announced(AnnouncedSeen::default()),
        Action::Spread(_) => Observed::Spread(SpreadSeen::default()),
    }
}

fn selinux(enforcing: bool) -> SelinuxSeen {
    SelinuxSeen { enforcing, configured_enforcing: enforcing, disabled: false }
}

/// What an agent sees once the goal is reached.
fn reached(action: &Action) -> Observed {
    match action {
        Action::File(file) => match &file.state {
            FileState::Present { content, mode, owner } => Observed::File(FileSeen {
                sha256: Some(content.sha256()),
                mode: *mode,
                owner: *owner,
                ..FileSeen::default()
            }),
            FileState::Link { target } => Observed::File(FileSeen {
                other: Some(format!("symlink to {target}")),
                ..FileSeen::default()
            }),
            FileState::Absent => Observed::File(FileSeen::default()),
        },
        Action::Block(block) => {
            Observed::Block(BlockSeen { text: Some(block.render("127.0.0.1 localhost\n")) })
        }
        Action::Module(_) => Observed::Module(ModuleSeen { present: true }),
        Action::Sysctl(s) => {
            Observed::Sysctl(SysctlSeen { value: Some(s.value.clone()), ..SysctlSeen::default() })
        }
        Action::SwapOff(_) => Observed::SwapOff(SwapSeen::default()),
        Action::SelinuxPermissive(_) => Observed::SelinuxPermissive(SelinuxSeen::default()),
        Action::TimeSyncOn(_) => Observed::TimeSyncOn(TimeSyncSeen {
            active: Some("chrony.service".into()),
            installed: None,
        }),
        Action::Package(package) => Observed::Package(PackageSeen {
            installed: package
                .names
                .iter()
                .map(|name| {
                    let version =
                        package.versions.get(name).map(|version| format!("{version}-1.1"));
                    (name.clone(), version.or(Some("1".into())))
                })
                .collect(),
            held: package.held.clone(),
        }),
        Action::Image(_) => Observed::Image(ImageSeen { present: true }),
        Action::RegistryLogins(goal) => Observed::RegistryLogins(LoginsSeen {
            exists: true,
            mode: LOGINS_MODE,
            owner: (0, 0),
            logins: vec![LoginSeen::Same; goal.logins.len()],
            gone: Vec::new(),
        }),
        Action::SystemTrust(goal) => Observed::SystemTrust(TrustSeen {
            sha256: goal.certificate.as_ref().map(|pem| crate::sha256_hex(pem.as_bytes())),
            trusted: goal.certificate.is_some(),
        }),
        Action::Unit(_) => Observed::Unit(UnitSeen {
            loaded: true,
            enabled: "enabled".into(),
            active: "active".into(),
            stale: Vec::new(),
        }),
        Action::DockerEngine(goal) => Observed::DockerEngine(DockerEngineSeen {
            version: Some("20.10.24".into()),
            cgroup_driver: goal.cgroup_driver.clone(),
            storage_driver: goal.storage_driver.clone().unwrap_or_default(),
        }),
        Action::Link(link) => Observed::Link(LinkSeen {
            exists: true,
            up: true,
            addresses: vec![format!("{}/32", link.address)],
        }),
        Action::KubeletFlag(flag) => Observed::KubeletFlag(KubeletFlagSeen {
            configured: true,
            in_flags_file: Some(flag.value.clone()),
            elsewhere: Vec::new(),
            running: Some(flag.value.clone()),
            kubelet_runs: true,
        }),
        Action::KubeadmInit(_) => Observed::KubeadmInit(InitSeen {
            ended: true,
            ca: Some("LS0=".into()),
            ..InitSeen::default()
        }),
        Action::EtcdListens(etcd) => {
            let urls = Some(etcd.urls.clone());
            let (manifest, configured, running) = (urls.clone(), urls.clone(), urls);
            Observed::EtcdListens(EtcdSeen { manifest, configured, running })
        }
        Action::KubeadmJoin(_) => {
            Observed::KubeadmJoin(JoinSeen { ended: true, ..JoinSeen::default() })
        }
        Action::Object(object) => {
            Observed::Object(ObjectSeen { live: Some(object.manifest.clone()) })
        }
        Action::NodeMeta(node) => Observed::NodeMeta(NodeSeen {
            exists: true,
            labels: node.labels.clone(),
            annotations: node.annotations.clone(),
            taints: node.taints.clone(),
        }),
        Action::Announced(a) => {
            Observed::Announced(AnnouncedSeen { address: Some(a.address.to_string()) })
        }
        Action::Spread(_) => Observed::Spread(SpreadSeen {
            pods: vec![("a".into(), "master01".into()), ("b".into(), "node01".into())],
            unscheduled: false,
        }),
        other => untouched(other),
    }
}

fn planned(inventory: &Inventory, state: ClusterState, see: fn(&Action) -> Observed) -> Plan {
    planned_with(inventory, state, see, |_, _| {})
}

fn planned_with(
    inventory: &Inventory,
    state: ClusterState,
    see: fn(&Action) -> Observed,
    damage: impl Fn(&Step, &mut Observed),
) -> Plan {
    let mut facts = samples::all_facts(inventory);
    facts.values_mut().for_each(|f| f.kubernetes.state = state);
    planned_on(inventory, &facts, see, damage)
}

fn planned_on(
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
    see: fn(&Action) -> Observed,
    damage: impl Fn(&Step, &mut Observed),
) -> Plan {
    let addresses = samples::addresses(inventory);
    let (bundle, keys) = samples::supply(inventory);
    let inputs = Inputs { keys: &keys, ..Inputs::new(&addresses, &bundle) };
    let planned = steps(inventory, facts, &inputs);
    let seen = planned
        .steps
        .iter()
        .map(|step| {
            let mut observed = see(&step.action);
            damage(step, &mut observed);
            (step.id.clone(), Ok(observed))
        })
        .collect();
    Plan::new(&inventory.name, false, planned.steps, &seen, planned.findings).expect("all observed")
}

#[test]
fn a_fresh_clusters_plan() {
    let plan = planned(&samples::inventory(3), ClusterState::None, untouched);
    let lines: Vec<String> = plan
        .changes()
        .filter(|p| p.step.host != "node02")
        .map(|p| {
            let change = p.change.as_ref().expect("changes() has changes");
            format!(
                "{:<13} {:<8} {:?} {}",
                p.step.phase.name(),
                p.step.host,
                change.kind,
                change.summary
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(!plan.is_refused(), "{:?}", plan.findings);
}

/// The same cluster from elsewhere than a bundle: what is different on a host.
#[test]
fn a_fresh_clusters_plan_from_each_source() {
    use crate::inventory::{KubernetesSource, RuntimeSource};
    let mut text = String::new();
    for (kubernetes, runtime) in [
        (KubernetesSource::Release, RuntimeSource::Distribution),
        (KubernetesSource::Release, RuntimeSource::Release),
        (KubernetesSource::Packages, RuntimeSource::Docker),
        (KubernetesSource::Bundle, RuntimeSource::Release),
    ] {
        let mut inventory = samples::inventory(2);
        inventory.kubernetes.source = Some(kubernetes);
        inventory.runtime.source = runtime;
        inventory.mirrors.images =
            BTreeMap::from([("ghcr.io".into(), "https://ghcr.mirror.example/".into())]);
        text += &format!("## Kubernetes {kubernetes:?}, runtime {runtime:?}\n");
        let plan = planned(&inventory, ClusterState::None, untouched);
        let of_node = |p: &&PlannedStep| {
            p.step.host == "node01" && [Phase::Runtime, Phase::Binaries].contains(&p.step.phase)
        };
        for planned in plan.changes().filter(of_node) {
            let change = planned.change.as_ref().expect("changes() has changes");
            text += &format!("{}: {}\n", planned.step.phase.name(), change.summary);
            let telling = change.details.iter().filter(|_| change.details.len() < 12);
            text.extend(telling.map(|line| format!("    {line}\n")));
        }
        assert!(!plan.is_refused(), "{:?}", plan.findings);
        let rest = planned(&inventory, ClusterState::Done, reached);
        let left: Vec<&Change> = rest.changes().filter_map(|p| p.change.as_ref()).collect();
        assert!(rest.is_empty(), "{kubernetes:?}, {runtime:?}: {left:?}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn ids_are_unique_and_phases_in_order() {
    let plan = planned(&samples::inventory(3), ClusterState::None, untouched);
    let mut ids: Vec<&str> = plan.steps.iter().map(|p| p.step.id.as_str()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
    assert!(plan.steps.is_sorted_by_key(|p| p.step.phase));
}

#[test]
fn rest_a_host_that_reached_its_goals_has_an_empty_plan() {
    let several = [3, 5].map(samples::control_planes);
    for inventory in (1..=4).map(samples::inventory).chain(several) {
        let plan = planned(&inventory, ClusterState::Done, reached);
        let changes: Vec<&Change> = plan.changes().filter_map(|p| p.change.as_ref()).collect();
        assert!(plan.is_empty(), "{} hosts: {changes:?}", inventory.hosts.len());
    }
}

#[test]
fn damage_to_one_thing_plans_just_that_step() {
    for inventory in [samples::inventory(3), samples::control_planes(3)] {
        damage_plans_just_that_step(&inventory);
    }
}

fn damage_plans_just_that_step(inventory: &Inventory) {
    let all = planned(inventory, ClusterState::Done, reached);
    for target in &all.steps {
        // Made for joins only, and settled by itself when nothing joins.
        if matches!(target.step.action, Action::BootstrapToken(_) | Action::UploadedCerts(_)) {
            continue;
        }
        let plan = planned_with(inventory, ClusterState::Done, reached, |step, seen| {
            if step.id == target.step.id {
                *seen = untouched(&step.action);
            }
        });
        let changed: Vec<&Step> = plan.changes().map(|p| &p.step).collect();
        let follows = |step: &Step| {
            step.host == target.step.host
                && matches!(&step.action, Action::Unit(u) if u.restart_on.contains(&target.step.action.subject()))
        };
        // An etcd without a manifest is init's to make.
        if matches!(target.step.action, Action::EtcdListens(_)) {
            continue;
        }
        let token = |step: &Step| {
            matches!(step.action, Action::BootstrapToken(_) | Action::UploadedCerts(_))
        };
        let joins = matches!(target.step.action, Action::KubeadmJoin(_));
        if matches!(target.step.action, Action::KubeletFlag(_)) {
            continue; // Before kubeadm has run nothing contradicts it: no damage.
        }
        assert!(
            changed.iter().any(|s| s.id == target.step.id),
            "{} is not planned",
            target.step.id
        );
        let strays: Vec<&&Step> = changed
            .iter()
            .filter(|s| s.id != target.step.id && !follows(s) && !(joins && token(s)))
            .collect();
        assert!(strays.is_empty(), "{}: {strays:?}", target.step.id);
    }
}

#[test]
fn what_the_living_cluster_can_not_follow_is_refused() {
    let inventory = samples::inventory(3);
    let recorded = Recorded::of(&inventory, &samples::addresses(&inventory));
    let mut changed = inventory.clone();
    changed.hosts.pop();
    changed.network.pod_subnet = "10.99.0.0/16".parse().expect("a subnet");
    let (addresses, bundle) = (samples::addresses(&changed), samples::bundle());
    let facts = samples::all_facts(&changed);
    let inputs = Inputs { recorded: Some(&recorded), ..Inputs::new(&addresses, &bundle) };
    let codes: Vec<String> = steps(&changed, &facts, &inputs)
        .findings
        .into_iter()
        .filter(|f| f.severity == Severity::Error)
        .map(|f| f.code)
        .collect();
    assert_eq!(codes, ["pod-subnet-changed", "host-removed"]);
}

/// The goals where the first host has other facts than usual.
fn steps_where(inventory: &Inventory, change: impl FnOnce(&mut Facts)) -> Vec<Step> {
    let mut facts = samples::all_facts(inventory);
    change(facts.get_mut("master01").expect("the first host"));
    let (addresses, bundle) = (samples::addresses(inventory), samples::bundle());
    let inputs = Inputs::new(&addresses, &bundle);
    steps(inventory, &facts, &inputs).steps
}

#[test]
fn a_public_address_on_a_nic_needs_no_interface_of_ours() {
    let steps = steps_where(&samples::inventory(1), |facts| {
        facts.addresses[0].address = "198.51.100.10/24".parse().expect("an address");
    });
    assert!(!steps.iter().any(|s| matches!(s.action, Action::Link(_))));
}

/// The order is what keeps connections alive.
#[test]
fn an_alias_with_a_wrong_mask_goes_once_the_address_is_elsewhere() {
    let with = |addresses: &[(&str, &str)]| {
        let steps = steps_where(&samples::inventory(1), |facts| {
            facts.addresses.extend(addresses.iter().map(|(interface, address)| InterfaceAddress {
                interface: (*interface).into(),
                address: address.parse().expect("an address"),
            }));
        });
        let is_about = |step: &&Step| matches!(step.action, Action::Link(_) | Action::AliasOff(_));
        steps.iter().filter(is_about).map(|step| step.id.clone()).collect::<Vec<_>>()
    };
    let alias = ("eth0", "198.51.100.10/24");
    let (link, off) = ("master01/link:kubewan0", "master01/alias-off:eth0 198.51.100.10/24");
    assert_eq!(with(&[alias]), [link, off]);
    // A boot brought it back.
    assert_eq!(with(&[alias, ("kubewan0", "198.51.100.10/32")]), [link, off]);
    // Somebody has given it a mask of its own beside.
    assert_eq!(with(&[alias, ("eth0", "198.51.100.10/32")]), [off]);
    assert_eq!(with(&[("kubewan0", "198.51.100.10/32")]), [link]);
    // The kernel might take others away with it.
    assert!(with(&[alias, ("eth0", "198.51.100.99/24")]).is_empty());
}

#[test]
fn network_manager_is_told_where_it_is_installed() {
    let path = "/etc/NetworkManager/conf.d/99-kubewan.conf";
    let told = |installed: bool| {
        let steps = steps_where(&samples::inventory(1), |facts| facts.network_manager = installed);
        let position =
            |wanted: &dyn Fn(&Action) -> bool| steps.iter().position(|s| wanted(&s.action));
        let file = position(&|action| matches!(action, Action::File(file) if file.path == path));
        let units = steps.iter().filter_map(|step| match &step.action {
            Action::Unit(unit) if unit.restart_on.iter().any(|on| on == path) => Some(&unit.name),
            _ => None,
        });
        // A unit has a running one read it, and none that our interface goes with.
        assert!(units.clone().all(|name| name == UNMANAGED_UNIT));
        let reload = |a: &Action| matches!(a, Action::Unit(unit) if unit.name == UNMANAGED_UNIT);
        let read = units.count();
        file.map(|file| read == 1 && file < position(&reload).expect("the unit"))
    };
    assert_eq!((told(true), told(false)), (Some(true), None));
}

#[test]
fn names_outlive_a_cloud_init_that_listens_to_user_data_only() {
    let template = "/etc/cloud/templates/hosts.debian.tmpl";
    let steps = steps_where(&samples::inventory(2), |facts| {
        let cloud_init =
            CloudInit { hosts_template: Some(template.into()), ..CloudInit::default() };
        facts.cloud_init = Some(cloud_init);
    });
    let lines = |path: &str| {
        steps.iter().find_map(|step| match &step.action {
            Action::Block(block) if block.path == path => Some(&block.lines),
            _ => None,
        })
    };
    assert!(lines(template).is_some());
    assert_eq!(lines(template), lines("/etc/hosts"));
}

/// Codes of what stands against an inventory, in order.
fn codes(
    inventory: &Inventory,
    recorded: Option<&Recorded>,
    know: impl Fn(&mut Facts),
) -> Vec<String> {
    let mut facts = samples::all_facts(inventory);
    facts.values_mut().for_each(know);
    let (addresses, bundle) = (samples::addresses(inventory), samples::bundle());
    let clock_offsets_ms = &BTreeMap::new();
    let inputs = Inputs { clock_offsets_ms, recorded, ..Inputs::new(&addresses, &bundle) };
    steps(inventory, &facts, &inputs).findings.into_iter().map(|f| f.code).collect()
}

#[test]
fn a_host_of_another_cluster_is_refused_before_it_is_touched() {
    let inventory = samples::inventory(1);
    let before = codes(&inventory, None, |_| ());
    assert_eq!(codes(&inventory, None, |f| f.own.cluster = Some(inventory.name.clone())), before);
    let after = codes(&inventory, None, |f| f.own.cluster = Some("other".into()));
    assert_eq!(
        after.iter().filter(|code| !before.contains(code)).collect::<Vec<_>>(),
        ["other-cluster"]
    );
}

#[test]
fn what_has_no_effect_is_said_again_each_time() {
    let built = samples::inventory(1);
    let recorded = Recorded::of(&built, &samples::addresses(&built));
    let mut inventory = built.clone();
    inventory.kubernetes.kubelet.insert("maxPods".into(), 50.into());
    inventory.hosts[0].private_address = Some([10, 0, 4, 7].into());
    let before = codes(&built, Some(&recorded), |_| ());
    let mut after = codes(&inventory, Some(&recorded), |_| ());
    after.retain(|code| !before.contains(code));
    assert_eq!(after, ["private-address-unused", "settings-changed"]);
    let record = |inventory: &Inventory| {
        let (addresses, bundle) = (samples::addresses(inventory), samples::bundle());
        let facts = samples::all_facts(inventory);
        let clock_offsets_ms = &BTreeMap::new();
        let recorded = Some(&recorded);
        let inputs = Inputs { clock_offsets_ms, recorded, ..Inputs::new(&addresses, &bundle) };
        let goals = steps(inventory, &facts, &inputs).steps.into_iter().map(|step| step.action);
        goals
            .filter_map(|goal| {
                if let Action::Object(object) = goal { Some(object.manifest) } else { None }
            })
            .find(|manifest| manifest["metadata"]["name"] == "kubewan")
    };
    assert_eq!(record(&inventory), record(&built));
}
