//! Hosts with yum and dnf: their plans, every file that is written for their package managers, and the way back.

use super::*;
use crate::action::{Content, FirewallState, Package};
use crate::facts::{CgroupVersion, FirewallFacts, FirewallTool, Os, PackageSource, Selinux};
use crate::inventory::{
    Firewall, GpgCheck, KubernetesSource, PackagesLayout, RuntimeKind, RuntimeSource,
};
use crate::journal::{Begun, Entry};
use crate::plan::reset;

/// What a family has beside its name: the kernel, and what else a plan goes by.
fn facts_of(os: &Os) -> Facts {
    let kernel = match (os.id.as_str(), os.version_id.as_str()) {
        ("centos", _) => "3.10.0-1160.el7.x86_64",
        ("amzn", "2") => "5.10.234-225.921.amzn2.x86_64",
        ("amzn", _) => "6.1.161-183.298.amzn2023.x86_64",
        ("openEuler", _) => "5.10.0-153.12.0.92.oe2203sp2.x86_64",
        ("anolis", "8.9") => "5.10.134-16.2.an8.x86_64",
        ("anolis", _) => "6.6.25-2.1.an23.x86_64",
        ("almalinux", _) => "6.12.0-55.9.1.el10_0.x86_64",
        (_, "8.10") => "4.18.0-553.el8_10.x86_64",
        _ => "5.14.0-570.17.1.el9_6.x86_64",
    };
    let mut facts = samples::facts(0);
    facts.os = os.clone();
    facts.kernel.release = kernel.into();
    let unified = os.systemd >= 250;
    facts.cgroup = if unified { CgroupVersion::V2 } else { CgroupVersion::V1 };
    facts.selinux = Some(Selinux::Enforcing);
    facts.network_manager = os.id != "amzn";
    facts.firewalls =
        vec![FirewallFacts { tool: FirewallTool::Firewalld, active: true, enabled: true }];
    facts
}

/// One host of a distribution.
fn cluster(os: &Os, version: &str) -> (Inventory, BTreeMap<String, Facts>) {
    let mut inventory = samples::inventory(1);
    inventory.kubernetes.version = version.into();
    inventory.kubernetes.source = Some(KubernetesSource::Packages);
    inventory.runtime.source = match crate::supply::docker_repository(&inventory, os) {
        Some(_) => RuntimeSource::Docker,
        None => RuntimeSource::Release,
    };
    inventory.firewall = Some(Firewall::Open);
    (inventory, BTreeMap::from([("master01".into(), facts_of(os))]))
}

/// Before anything was done.
fn fresh(os: &Os, version: &str) -> Plan {
    let (inventory, facts) = cluster(os, version);
    planned_on(&inventory, &facts, untouched, |_, _| {})
}

/// After everything was done.
fn at_rest(os: &Os, version: &str) -> Plan {
    let (inventory, facts) = cluster(os, version);
    rest_of(&inventory, facts)
}

fn rest_of(inventory: &Inventory, mut facts: BTreeMap<String, Facts>) -> Plan {
    facts.values_mut().for_each(|facts| facts.kubernetes.state = ClusterState::Done);
    planned_on(inventory, &facts, reached, |step, seen| {
        // `reached` knows no firewall.
        if let Action::Firewall(goal) = &step.action {
            let FirewallState::Open { ports, trusted } = &goal.state else { return };
            *seen = Observed::Firewall(FirewallSeen {
                active: true,
                enabled: true,
                open: ports.clone(),
                trusted: trusted.clone(),
                ..FirewallSeen::default()
            });
        }
    })
}

/// What differs from family to family: packages, their sources, SELinux, the firewall, findings.
fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for planned in plan.changes() {
        let change = planned.change.as_ref().expect("changes() has changes");
        let of_packages =
            |path: &str| ["/etc/apt", "/etc/pki", "/etc/yum"].iter().any(|at| path.starts_with(at));
        match &planned.step.action {
            Action::File(file) if of_packages(&file.path) => {
                text += &format!("{} ({})\n", file.path, planned.step.why);
                if let FileState::Present { content: Content::Text(content), .. } = &file.state {
                    text.extend(content.lines().map(|line| format!("    {line}\n")));
                }
            }
            Action::Package(package) => {
                text += &format!("{} ({})\n", change.summary, planned.step.why);
                text.extend(change.details.iter().map(|line| format!("    {line}\n")));
                if !package.repository.is_empty() {
                    text += &format!("    --disableexcludes={}\n", package.repository);
                }
            }
            Action::SelinuxPermissive(_) | Action::Firewall(_) => {
                text += &format!("{} ({})\n", change.summary, planned.step.why);
            }
            _ => {}
        }
    }
    for finding in plan.findings.iter().filter(|f| f.code != "plaintext-pod-traffic") {
        text += &format!(
            "{:?} {}: {}\n    {}\n",
            finding.severity, finding.code, finding.message, finding.remedy
        );
    }
    text
}

/// The newest Kubernetes that each is made for.
#[test]
fn every_family_with_rpm_has_its_plan() {
    let mut text = String::new();
    for os in samples::rpm_systems() {
        let version = match facts_of(&os).cgroup {
            CgroupVersion::V1 if os.id == "centos" => "1.28.15",
            CgroupVersion::V1 if os.id == "rocky" => "1.31.14",
            CgroupVersion::V1 => "1.34.9",
            CgroupVersion::V2 => "1.36.2",
        };
        let plan = fresh(&os, version);
        text += &format!("## {}, Kubernetes {version}\n{}\n", os.pretty_name, shown(&plan));
        let rest = at_rest(&os, version);
        assert!(rest.is_empty(), "{}: {:?}", os.pretty_name, rest.changes().next());
    }
    insta::assert_snapshot!(text);
}

/// The recipe's own hosts and version: CentOS 7.9, Aliyun's old repository, 1.23.6.
#[test]
fn the_recipes_hosts_are_planned_as_it_has_them() {
    let os = samples::rpm_system("centos", "7");
    let (mut inventory, facts) = cluster(&os, "1.23.6");
    inventory.mirrors.packages = "https://mirrors.aliyun.com/kubernetes".into();
    inventory.mirrors.packages_layout = PackagesLayout::Former;
    inventory.mirrors.docker = "https://mirrors.aliyun.com/docker-ce".into();
    inventory.runtime.source = RuntimeSource::Release;
    inventory.accept = vec![crate::inventory::Acceptance::DistributionExperimental];
    let plan = planned_on(&inventory, &facts, untouched, |_, _| {});
    insta::assert_snapshot!(shown(&plan));
    assert!(!plan.is_refused(), "{:?}", plan.findings);
}

/// The recipe to the letter: Docker on CentOS 7.9, from Aliyun, with the kubelet's own dockershim.
#[test]
fn the_recipes_hosts_are_planned_with_docker() {
    let os = samples::rpm_system("centos", "7");
    let (mut inventory, facts) = cluster(&os, "1.23.6");
    inventory.kubernetes.source = Some(KubernetesSource::Packages);
    inventory.mirrors.packages = "https://mirrors.aliyun.com/kubernetes".into();
    inventory.mirrors.packages_layout = PackagesLayout::Former;
    inventory.mirrors.docker = "https://mirrors.aliyun.com/docker-ce".into();
    inventory.runtime.kind = RuntimeKind::Docker;
    inventory.runtime.source = RuntimeSource::Docker;
    inventory.accept = vec![crate::inventory::Acceptance::DistributionExperimental];
    let plan = planned_on(&inventory, &facts, untouched, |_, _| {});
    assert!(!plan.is_refused(), "{:?}", plan.findings);
    insta::assert_snapshot!(shown(&plan));
    let rest = rest_of(&inventory, facts);
    assert!(rest.is_empty(), "{:?}", rest.changes().next());
}

/// Each family's Docker, or why it has none.
#[test]
fn every_family_with_rpm_has_dockers_own_or_is_told_what_would_do() {
    let mut text = String::new();
    for os in samples::rpm_systems() {
        for source in [RuntimeSource::Docker, RuntimeSource::Distribution] {
            let (mut inventory, facts) = cluster(&os, "1.28.15");
            inventory.runtime.kind = RuntimeKind::Docker;
            inventory.runtime.source = source;
            let plan = planned_on(&inventory, &facts, untouched, |_, _| {});
            text += &format!("## {}, {source:?}\n", os.pretty_name);
            for planned in plan.changes() {
                if let Action::Package(package) = &planned.step.action {
                    text += &format!("{} {}\n", package.names.join(" "), package.repository);
                }
            }
            let errors = plan.findings.iter().filter(|f| f.severity == Severity::Error);
            text.extend(errors.map(|f| format!("{}: {}\n    {}\n", f.code, f.message, f.remedy)));
        }
    }
    insta::assert_snapshot!(text);
}

/// What may not be, each with its finding.
#[test]
fn hosts_that_can_not_be_are_refused_with_what_would() {
    let mut text = String::new();
    let mut case = |title: &str, os: Os, change: fn(&mut Inventory, &mut Facts)| {
        let (mut inventory, mut facts) = cluster(&os, "1.28.2");
        change(&mut inventory, facts.get_mut("master01").expect("the host"));
        let plan = planned_on(&inventory, &facts, untouched, |_, _| {});
        let of =
            ["distribution", "packages", "foreign", "kernel", "cgroup", "source", "containerd"];
        let told =
            plan.findings.iter().filter(|f| of.iter().any(|begin| f.code.starts_with(begin)));
        text += &format!("## {title}\n");
        for finding in told.filter(|finding| finding.code != "distribution-experimental") {
            text += &format!(
                "{:?} {}: {}\n    {}\n",
                finding.severity, finding.code, finding.message, finding.remedy
            );
        }
    };
    let centos =
        |release: &str| Os { release: release.into(), ..samples::rpm_system("centos", "7") };
    let rocky = || samples::rpm_system("rocky", "9.6");
    case("CentOS 7.6", centos("7.6.1810"), |_, _| {});
    case("CentOS 7.9, Kubernetes 1.36", centos("7.9.2009"), |inventory, _| {
        inventory.kubernetes.version = "1.36.2".into();
    });
    case(
        "Fedora",
        Os { id: "fedora".into(), pretty_name: "Fedora Linux 43".into(), ..rocky() },
        |_, _| {},
    );
    case("Rocky's own containerd", rocky(), |inventory, _| {
        inventory.runtime.source = RuntimeSource::Distribution;
    });
    case(
        "openEuler's own containerd",
        samples::rpm_system("openEuler", "22.03"),
        |inventory, facts| {
            inventory.runtime.source = RuntimeSource::Distribution;
            facts.runtime.containerd_offered = Some("1.2.0".into());
        },
    );
    case("openEuler and Docker's", samples::rpm_system("openEuler", "22.03"), |inventory, _| {
        inventory.runtime.source = RuntimeSource::Docker;
    });
    case("the recipe's own kubernetes.repo", centos("7.9.2009"), |inventory, facts| {
        inventory.mirrors.packages = "https://mirrors.aliyun.com/kubernetes".into();
        inventory.mirrors.packages_layout = PackagesLayout::Former;
        facts.runtime.package_sources = vec![PackageSource {
            path: "/etc/yum.repos.d/kubernetes.repo".into(),
            uri: "https://mirrors.aliyun.com/kubernetes/yum/repos/kubernetes-el7-x86_64".into(),
        }];
    });
    case("Docker's own docker-ce.repo", rocky(), |_, facts| {
        facts.runtime.package_sources = vec![PackageSource {
            path: "/etc/yum.repos.d/docker-ce.repo".into(),
            uri: "https://download.docker.com/linux/centos/$releasever/$basearch/stable".into(),
        }];
    });
    case("the old layout, and a version that never was there", rocky(), |inventory, _| {
        inventory.kubernetes.version = "1.29.0".into();
        inventory.mirrors.packages_layout = PackagesLayout::Former;
    });
    case("other sources than at first", rocky(), |inventory, facts| {
        inventory.kubernetes.source = Some(KubernetesSource::Release);
        inventory.runtime.source = RuntimeSource::Release;
        let files =
            ["/etc/yum.repos.d/kubewan-kubernetes.repo", "/etc/yum.repos.d/kubewan-docker.repo"];
        facts.own.left = files.map(|file| (file.to_owned(), Default::default())).into();
    });
    case("keys that nobody asks for", rocky(), |inventory, _| {
        inventory.mirrors.gpg_check = GpgCheck::Off
    });
    insta::assert_snapshot!(text);
}

/// Packages, the repository's key that rpm took in, and the files go again.
#[test]
fn what_dnf_brought_goes_again() {
    let plan = fresh(&samples::rpm_system("rocky", "9.6"), "1.36.2");
    let mut journal = Vec::new();
    let mut number = 0;
    for planned in &plan.steps {
        let along: Vec<String> = match &planned.step.action {
            Action::Package(Package { names, .. }) => {
                let came = names.iter().map(|name| format!("package:{name}"));
                came.chain(["package:gpg-pubkey-2faa0d19-6b082c7f".into()]).collect()
            }
            Action::File(file) if file.path.starts_with("/etc/yum") => Vec::new(),
            Action::File(file) if file.path.starts_with("/etc/pki") => {
                vec!["dir:/etc/pki/rpm-gpg".into()]
            }
            _ => continue,
        };
        number += 1;
        let action = planned.step.action.clone();
        let (before, after) = (untouched(&action), reached(&action));
        journal.push(Entry::Begun(Box::new(Begun {
            number,
            run: "run".into(),
            step: planned.step.id.clone(),
            action,
            before,
            unix_s: 0,
            reset: false,
        })));
        journal.push(Entry::Ended { number, after, along });
    }
    let steps = reset::steps("master01", &journal).steps;
    let lines: Vec<String> = steps.into_iter().map(|step| step.id).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
