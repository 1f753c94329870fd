//! A cluster that somebody made by hand, and that kubewan takes over.

use super::*;
use crate::action::KubeadmInit;
use crate::finding::Finding;
use crate::inventory::Adopt;
use crate::inventory::adopt::Living;

const CA: &str = "sha256:4e14769ea08e56e388c3a0f386708ff395b7075fd154b1b212b6d0973588759b";

fn inventory() -> Inventory {
    let mut inventory = samples::inventory(2);
    inventory.adopt = Some(Adopt { ca: CA.into(), endpoint: "198.51.100.10:6443".into() });
    inventory
}

/// Facts of hosts with that authority, made by hand.
fn by_hand(inventory: &Inventory, ca: &str) -> BTreeMap<String, Facts> {
    let mut facts = samples::all_facts(inventory);
    for of in facts.values_mut().map(|facts| &mut facts.kubernetes) {
        of.state = ClusterState::Foreign;
        of.ca_hash = Some(ca.into());
    }
    facts
}

fn errors(plan: &Plan) -> Vec<(String, Option<String>)> {
    let errors = plan.findings.iter().filter(|f| f.severity == crate::finding::Severity::Error);
    errors.map(|finding| (finding.code.clone(), finding.host.clone())).collect()
}

#[test]
fn what_is_right_stays_and_the_mark_is_laid_first() {
    let inventory = inventory();
    let facts = by_hand(&inventory, CA);
    let see = |action: &Action| match action {
        Action::File(file) if file.path == KubeadmInit::ADOPTED => untouched(action),
        action => reached(action),
    };
    let plan = planned_on(&inventory, &facts, see, |_, _| {});
    assert_eq!(errors(&plan), []);
    let changed: Vec<&str> = plan.changes().map(|p| p.step.id.as_str()).collect();
    let mark = |host: &str| format!("{host}/file:{}", KubeadmInit::ADOPTED);
    assert_eq!(changed, [mark("master01"), mark("node01")]);
    assert_eq!(plan.steps[0].step.id, mark("master01"));
    // What joins later is told where the cluster is found.
    let join = plan.steps.iter().find_map(|p| match &p.step.action {
        Action::KubeadmJoin(join) => Some(join),
        _ => None,
    });
    let join = join.expect("a join");
    assert!(join.discovery.contains("server: https://198.51.100.10:6443"), "{}", join.discovery);
    assert_eq!(join.adopts, CA);
}

#[test]
fn a_new_host_of_it_gets_no_mark() {
    let inventory = inventory();
    let mut facts = by_hand(&inventory, CA);
    facts.get_mut("node01").expect("a host").kubernetes = Default::default();
    let plan = planned_on(&inventory, &facts, untouched, |_, _| {});
    let marks = plan.steps.iter().filter(|p| p.step.action.subject() == KubeadmInit::ADOPTED);
    assert_eq!(marks.map(|p| p.step.host.as_str()).collect::<Vec<_>>(), ["master01"]);
}

#[test]
fn another_cluster_is_refused_as_ever() {
    let mut inventory = inventory();
    let other = by_hand(&inventory, "sha256:00");
    let refused = |inventory: &Inventory, facts: &BTreeMap<String, Facts>| {
        errors(&planned_on(inventory, facts, untouched, |_, _| {}))
    };
    let on = |code: &str, host: &str| (code.to_owned(), Some(host.to_owned()));
    let both = [on("foreign-cluster", "master01"), on("foreign-cluster", "node01")];
    assert_eq!(refused(&inventory, &other), both);
    let none = samples::all_facts(&inventory);
    assert_eq!(refused(&inventory, &none), [on("nothing-to-adopt", "master01")]);
    let mut ours = by_hand(&inventory, CA);
    inventory.adopt = None;
    assert_eq!(refused(&inventory, &ours), both);
    // Once it was taken over, the mark has to stay.
    for of in ours.values_mut().map(|facts| &mut facts.kubernetes) {
        (of.state, of.adopted) = (ClusterState::Done, true);
    }
    let changed = [on("adopt-changed", "master01"), on("adopt-changed", "node01")];
    assert_eq!(refused(&inventory, &ours), changed);
    inventory.adopt = Some(Adopt { ca: CA.replace('4', "5"), endpoint: "a:6443".into() });
    assert_eq!(refused(&inventory, &ours), both);
}

/// What a first plan says against the cluster, each with its severity and the first words of its reason.
fn said(inventory: &Inventory, facts: &BTreeMap<String, Facts>, living: &Living) -> Vec<String> {
    let (addresses, bundle) = (samples::addresses(inventory), samples::bundle());
    let recorded = living.recorded(inventory);
    let inputs = Inputs {
        recorded: Some(&recorded),
        living: Some(living),
        ..Inputs::new(&addresses, &bundle)
    };
    let findings = steps(inventory, facts, &inputs).findings.into_iter();
    let ours = findings
        .filter(|finding| finding.code.starts_with("adopt-") || finding.code.ends_with("-changed"));
    ours.map(|finding| {
        let host = finding.host.unwrap_or_default();
        format!(
            "{:?} {} {host}: {}\n    {}",
            finding.severity, finding.code, finding.message, finding.remedy
        )
    })
    .collect()
}

#[test]
fn what_of_theirs_would_be_overwritten_or_cease_to_fit_is_said() {
    let inventory = inventory();
    let facts = by_hand(&inventory, CA);
    let usual = samples::living(&inventory);
    assert_eq!(said(&inventory, &facts, &usual), [""; 0]);
    let mut text = String::new();
    let mut tell =
        |title: &str, said: Vec<String>| text += &format!("## {title}\n{}\n", said.join("\n"));

    let mut told = usual.clone();
    told.nodes[1].overwrite = Some("203.0.113.9".into());
    tell("somebody's address", said(&inventory, &facts, &told));
    let mut accepted = inventory.clone();
    accepted.hosts[1].accept = Some(vec![crate::inventory::Acceptance::AdoptAnnounced]);
    tell("accepted", said(&accepted, &facts, &told));
    let mut chosen = usual.clone();
    chosen.nodes[1].announced = Some("10.0.4.7".into());
    tell("flannel's own choice", said(&inventory, &facts, &chosen));
    // Somebody has said the right one, and flannel was not started since: a step does that.
    chosen.nodes[1].overwrite = Some(chosen.nodes[1].address.clone());
    assert_eq!(said(&inventory, &facts, &chosen), [""; 0]);

    let mut groups = facts.clone();
    let kubelet = &mut groups.get_mut("node01").expect("a host").kubernetes;
    kubelet.kubelet_config = vec![crate::facts::TextFile {
        path: "/var/lib/kubelet/config.yaml".into(),
        text: "kind: KubeletConfiguration\ncgroupDriver: cgroupfs\n".into(),
    }];
    tell("another cgroup driver", said(&inventory, &groups, &usual));
    groups.get_mut("node01").expect("a host").kubernetes.kubelet_config[0].text =
        "cgroupDriver: systemd\n".into();
    assert_eq!(said(&inventory, &groups, &usual), [""; 0]);

    // As usual recipes end: the manifest edited by hand, and nothing said to kubeadm.
    let mut by_edit = facts.clone();
    let listens = |facts: &mut BTreeMap<String, Facts>, url: &str| {
        facts.get_mut("master01").expect("a host").kubernetes.etcd_listens = Some(url.into());
    };
    listens(&mut by_edit, "https://127.0.0.1:2380");
    tell("etcd's manifest edited", said(&inventory, &by_edit, &usual));
    let mut told = usual.clone();
    told.etcd_listens = Some("https://127.0.0.1:2380".into());
    assert_eq!(said(&inventory, &by_edit, &told), [""; 0]);
    listens(&mut by_edit, "https://198.51.100.10:2380");
    assert_eq!(said(&inventory, &by_edit, &usual), [""; 0], "as kubeadm writes it");

    let mut edited = inventory.clone();
    edited.network.pod_subnet = "10.245.0.0/16".parse().expect("a range");
    tell("an edited subnet", said(&edited, &facts, &usual));
    insta::assert_snapshot!(text);
}

#[test]
fn what_an_adopted_cluster_lacks_is_named_with_what_makes_it() {
    let inventory = inventory();
    let facts = adopted(&inventory, &by_hand(&inventory, CA)).into_owned();
    let (addresses, bundle) = (samples::addresses(&inventory), samples::bundle());
    let steps = steps(&inventory, &facts, &Inputs::new(&addresses, &bundle)).steps;
    let lacks = |damage: &dyn Fn(&Step, &mut Observed)| -> Vec<Finding> {
        let see = |step: &Step| {
            let mut observed = reached(&step.action);
            damage(step, &mut observed);
            (step.id.clone(), Ok(observed))
        };
        lacking(&facts, &steps, &steps.iter().map(see).collect())
    };
    assert_eq!(lacks(&|_, _| ()), []);
    let mut text = String::new();
    let mut tell = |title: &str, findings: Vec<Finding>| {
        text += &format!("## {title}\n");
        for finding in findings {
            let host = finding.host.unwrap_or_default();
            text +=
                &format!("{} {host}: {}\n    {}\n", finding.code, finding.message, finding.remedy);
        }
    };
    let init = |missing: &'static [&str], gone: &'static [&str]| {
        move |_: &Step, seen: &mut Observed| {
            if let Observed::KubeadmInit(seen) = seen {
                seen.missing = missing.iter().map(|part| (*part).into()).collect();
                seen.gone = gone.iter().map(|part| (*part).into()).collect();
            }
        }
    };
    tell(
        "a kubeconfig and an object",
        lacks(&init(
            &["kubeconfig/scheduler", "addon/coredns"],
            &["/etc/kubernetes/scheduler.conf", "Service kube-system/kube-dns"],
        )),
    );
    tell("an authority's key", lacks(&init(&["certs/all"], &["/etc/kubernetes/pki/etcd/ca.key"])));
    let join = |part: &'static str| {
        move |_: &Step, seen: &mut Observed| {
            if let Observed::KubeadmJoin(seen) = seen {
                seen.missing = vec![part.into()];
            }
        }
    };
    tell("a kubelet's credentials", lacks(&join("kubelet.conf")));
    tell("a node", lacks(&join("node")));
    insta::assert_snapshot!(text);
}

#[test]
fn a_runtime_that_no_package_brought_gets_none_beside_it() {
    let mut inventory = inventory();
    inventory.runtime.source = crate::inventory::RuntimeSource::Distribution;
    let mut facts = adopted(&inventory, &by_hand(&inventory, CA)).into_owned();
    facts.get_mut("node01").expect("a host").runtime.containerd = Some("1.7.24".into());
    let (addresses, bundle) = (samples::addresses(&inventory), samples::bundle());
    let steps = steps(&inventory, &facts, &Inputs::new(&addresses, &bundle)).steps;
    let see = |step: &Step| {
        let observed = match &step.action {
            Action::Package(_) => untouched(&step.action),
            action => reached(action),
        };
        (step.id.clone(), Ok(observed))
    };
    let found = lacking(&facts, &steps, &steps.iter().map(see).collect());
    let found: Vec<(&str, Option<&str>)> =
        found.iter().map(|finding| (finding.code.as_str(), finding.host.as_deref())).collect();
    // On the first host no containerd runs: nobody's pods are there.
    assert_eq!(found, [("adopt-runtime", Some("node01"))]);
}

/// A containerd that does not come back, by a setting or a version, takes one node along and no other; what it reads at each
/// pull needs no turn.
#[test]
fn containerds_nodes_are_worked_on_in_turn() {
    let mut inventory = inventory();
    inventory.mirrors.images.insert("docker.io".into(), "https://m.example".into());
    let phases = |plan: &Plan, subject: &str| {
        let steps = plan.steps.iter().filter(|p| p.step.action.subject() == subject);
        let phases: Vec<(String, Phase)> =
            steps.map(|p| (p.step.host.clone(), p.step.phase)).collect();
        assert!(!phases.is_empty(), "{subject}");
        phases
    };
    let all_in = |plan: &Plan, subject: &str, phase: Phase| {
        let phases = phases(plan, subject);
        assert!(phases.iter().all(|(_, its)| *its == phase), "{subject}: {phases:?}");
    };
    let config = crate::plan::phase::runtime::CONFIG;
    let hosts_toml = "/etc/containerd/certs.d/docker.io/hosts.toml";
    let living = planned_on(&inventory, &by_hand(&inventory, CA), reached, |_, _| {});
    for subject in [config, "containerd.service"] {
        all_in(&living, subject, Phase::RuntimeInTurn);
    }
    all_in(&living, hosts_toml, Phase::Runtime);
    let fresh = planned(&inventory, ClusterState::None, untouched);
    for subject in [config, "containerd.service", hosts_toml] {
        all_in(&fresh, subject, Phase::Runtime);
    }
}

/// Docker takes its containers along when it starts again: of running nodes one at a time, and each is waited for.
#[test]
fn dockers_nodes_are_worked_on_in_turn() {
    let mut inventory = inventory();
    inventory.runtime.kind = crate::inventory::RuntimeKind::Docker;
    let facts = by_hand(&inventory, CA);
    let see = |action: &Action| match action {
        Action::File(file) if file.path == crate::render::docker::DAEMON_JSON => untouched(action),
        action => reached(action),
    };
    let plan = planned_on(&inventory, &facts, see, |_, _| {});
    for host in ["master01", "node01"] {
        let steps = plan.changes().filter(|p| p.step.host == host);
        let restart = steps.filter(|p| p.step.action.subject() == "docker.service");
        let restart: Vec<&PlannedStep> = restart.collect();
        assert_eq!(restart.len(), 1, "{host}");
        assert_eq!(restart[0].step.phase, Phase::RuntimeInTurn);
        let Action::Unit(unit) = &restart[0].step.action else { unreachable!("a unit") };
        assert_eq!(unit.node.as_deref(), Some(host));
    }
    assert!(Phase::RuntimeInTurn.is_one_by_one() && !Phase::Runtime.is_one_by_one());
    let fresh = planned(&inventory, ClusterState::None, untouched);
    assert!(fresh.steps.iter().all(|p| p.step.phase != Phase::RuntimeInTurn));
}
