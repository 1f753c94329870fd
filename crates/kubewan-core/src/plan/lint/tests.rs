//! Findings on recorded facts: one golden that shows every check of a host with its severity, reason and remedy.

mod docker;
mod hosts;
mod sources;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::json;

use self::hosts::{alias, alias_in_a_file, crowded_alias, stuck};
use super::*;
use crate::action::file::FileState;
use crate::action::{Action, Content, File, KubeadmInit};
use crate::facts::{
    CgroupVersion, ClusterState, Container, DockerFacts, Listener, Route, SwapSource,
};
use crate::finding::Severity;
use crate::inventory::adopt::{Adopt, Living};
use crate::inventory::{Acceptance, Backend, HostnamePolicy, Inventory};
use crate::network::reach::{self, Missed};
use crate::plan::planner::Inputs;
use crate::plan::{Step, steps};
use crate::samples;
use crate::versions::{CONTAINERD_2_FROM, Containerds, KubeadmApi, RELEASES, Release};

/// Three hosts as the operator described and the agents saw them.
struct Cluster {
    inventory: Inventory,
    facts: BTreeMap<String, Facts>,
    clocks: BTreeMap<String, i64>,
    measured: Vec<reach::Measured>,
    living: Option<Living>,
    /// Names of nodes that the API has.
    nodes: BTreeSet<String>,
}

impl Cluster {
    fn new() -> Cluster {
        let inventory = samples::inventory(3);
        let facts = samples::all_facts(&inventory);
        Cluster {
            facts,
            inventory,
            clocks: BTreeMap::new(),
            measured: Vec::new(),
            living: None,
            nodes: BTreeSet::new(),
        }
    }

    fn master(&mut self) -> &mut Facts {
        self.facts.get_mut("master01").expect("the first host")
    }

    fn node(&mut self) -> &mut Facts {
        self.facts.get_mut("node01").expect("the second host")
    }

    fn clock(&mut self, host: &str, offset_ms: i64) {
        self.clocks.insert(host.into(), offset_ms);
    }

    /// One of the API's ways is closed.
    fn close_the_api(&mut self) {
        let mut ways = reach::ways(&self.inventory).into_iter();
        let way = ways.find(|way| way.port == 6443 && way.must).expect("a way to the API");
        self.measured = vec![(way, Err(Missed::Closed("no answer within 3 s".into())))];
    }

    /// A container that may not see packets in front of its firewall.
    fn overhear_nothing(&mut self) {
        let missed = Missed::Untried("Operation not permitted (os error 1)".into());
        let to_it = reach::ways(&self.inventory).into_iter().filter(|way| way.to == "master01");
        self.measured = to_it.map(|way| (way, Err(missed.clone()))).collect();
    }

    /// Docker has a container here, and somebody with `ctr`.
    fn run_others(&mut self) {
        let container = |namespace: &str, id: &str, program: &str| Container {
            namespace: namespace.into(),
            id: id.into(),
            program: program.into(),
        };
        let docker = "3f2a9c11d0aa5c7e3f2a9c11d0aa5c7e3f2a9c11d0aa5c7e3f2a9c11d0aa5c7e";
        self.node().runtime.others =
            vec![container("default", "web", ""), container("moby", docker, "nginx")];
    }

    /// What kubewan would write on a host.
    fn containerd_config(&self, host: &str) -> String {
        let step = self.step(|step| step.id == format!("{host}/file:/etc/containerd/config.toml"));
        match step.expect("its step").action {
            Action::File(File {
                state: FileState::Present { content: Content::Text(text), .. },
                ..
            }) => text,
            other => unreachable!("not a text: {other:?}"),
        }
    }

    /// What kubewan would write for the second host's Docker.
    fn daemon_json(&mut self) -> String {
        self.docker();
        let step = self.step(|step| step.id == "node01/file:/etc/docker/daemon.json");
        match step.expect("its step").action {
            Action::File(File {
                state: FileState::Present { content: Content::Text(text), .. },
                ..
            }) => text,
            other => unreachable!("not a text: {other:?}"),
        }
    }

    /// The second host's Docker, which is to run the containers.
    fn docker(&mut self) -> &mut DockerFacts {
        self.inventory.runtime.kind = crate::inventory::RuntimeKind::Docker;
        let docker = &mut self.node().runtime.docker;
        docker.installed = true;
        docker
    }

    fn planned(&self) -> crate::plan::planner::Planned {
        let (addresses, bundle) = (samples::addresses(&self.inventory), samples::bundle());
        let inputs = Inputs {
            clock_offsets_ms: &self.clocks,
            measured: &self.measured,
            living: self.living.as_ref(),
            nodes: &self.nodes,
            ..Inputs::new(&addresses, &bundle)
        };
        steps(&self.inventory, &self.facts, &inputs)
    }

    fn step(&self, is: impl Fn(&Step) -> bool) -> Option<Step> {
        self.planned().steps.into_iter().find(is)
    }
}

/// What a change brings up beside what the sample says anyway.
fn findings_with(change: impl FnOnce(&mut Cluster)) -> Vec<Finding> {
    let mut cluster = Cluster::new();
    change(&mut cluster);
    let mut usual = Cluster::new();
    usual.inventory.kubernetes.version = cluster.inventory.kubernetes.version.clone();
    let usual = usual.planned().findings;
    cluster.planned().findings.into_iter().filter(|finding| !usual.contains(finding)).collect()
}

fn shown(title: &str, findings: &[Finding]) -> String {
    let mut text = format!("## {title}\n");
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let host = finding.host.as_deref().unwrap_or("the cluster");
        let _ = writeln!(
            text,
            "{severity}[{}] {host}: {}\n  remedy: {}",
            finding.code, finding.message, finding.remedy
        );
    }
    if findings.is_empty() {
        text.push_str("nothing\n");
    }
    text
}

type Case = (&'static str, fn(&mut Cluster));

fn several_control_planes(cluster: &mut Cluster) {
    let roles = cluster.inventory.hosts[0].roles.clone();
    cluster.inventory.hosts.iter_mut().for_each(|host| host.roles.clone_from(&roles));
}

fn all_cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(docker::CASES).chain(sources::CASES)
}

const CASES: &[Case] = &[
    ("a control plane with 1 CPU", |c| c.master().cores = 1),
    ("the same, accepted for all", |c| {
        c.master().cores = 1;
        c.inventory.accept = vec![Acceptance::TooFewCores];
    }),
    ("the same, by kubeadm's own list", |c| {
        c.master().cores = 1;
        c.inventory.kubernetes.kubeadm.ignore_preflight_errors = vec!["NumCPU".into()];
    }),
    ("a worker with 1 CPU", |c| c.node().cores = 1),
    ("a control plane with 1 GiB", |c| c.master().memory_bytes = 985 << 20),
    ("the same, accepted for this host", |c| {
        c.master().memory_bytes = 985 << 20;
        c.inventory.hosts[0].accept = Some(vec![Acceptance::TooLittleMemory]);
    }),
    ("the same, accepted for all but this host", |c| {
        c.master().memory_bytes = 985 << 20;
        c.inventory.accept = vec![Acceptance::TooLittleMemory];
        c.inventory.hosts[0].accept = Some(Vec::new());
    }),
    ("workers with 1 GiB and with 512 MiB", |c| {
        c.node().memory_bytes = 985 << 20;
        c.facts.get_mut("node02").expect("the third host").memory_bytes = 478 << 20;
    }),
    ("a port that a provider closes", Cluster::close_the_api),
    ("the same, accepted for this host", |c| {
        c.close_the_api();
        c.inventory.hosts[0].accept = Some(vec![Acceptance::PortClosed]);
    }),
    ("ports that nobody could try", Cluster::overhear_nothing),
    ("three control planes without a firewall", several_control_planes),
    ("the same, accepted for all", |c| {
        several_control_planes(c);
        c.inventory.accept = vec![Acceptance::ControlPlaneExposed];
    }),
    ("little room", |c| c.node().disk_free_bytes = 900 << 20),
    ("/etc can't be written to", |c| c.node().read_only = vec!["/etc".into()]),
    ("a disk that the kernel made read-only", |c| {
        c.node().read_only = vec!["/etc".into(), "/opt".into()];
    }),
    ("a clock an hour off", |c| {
        c.clock("master01", 12);
        c.clock("node01", -3_605_000);
        c.clock("node02", -40);
    }),
    ("a clock some seconds off", |c| c.clock("node01", 5_400)),
    ("the operator's clock an hour off", |c| {
        for (host, offset) in
            [("master01", 3_600_500), ("node01", 3_600_020), ("node02", 3_601_100)]
        {
            c.clock(host, offset);
        }
    }),
    ("kernel 4.9 with 1.36", |c| {
        c.node().kernel.release = "4.9.0-19-amd64".into();
        c.node().cgroup = CgroupVersion::V1;
        c.inventory.hosts[1].accept = Some(vec![Acceptance::CgroupV1]);
    }),
    ("the same, accepted", |c| {
        c.node().kernel.release = "4.9.0-19-amd64".into();
        c.node().cgroup = CgroupVersion::V1;
        c.inventory.accept = vec![Acceptance::KernelTooOld, Acceptance::CgroupV1];
    }),
    ("kernel 4.9 with 1.33", |c| {
        c.inventory.kubernetes.version = "1.33.2".into();
        c.node().kernel.release = "4.9.0-19-amd64".into();
        c.node().cgroup = CgroupVersion::V1;
    }),
    ("kernel 4.19 and cgroup v2 with 1.33", |c| {
        c.inventory.kubernetes.version = "1.33.2".into();
        c.node().kernel.release = "4.19.0-27-amd64".into();
    }),
    ("a kernel outside what 1.36 is made for", |c| {
        c.node().kernel.release = "5.13.0-52-generic".into();
        c.node().os.id = "ubuntu".into();
        c.node().os.version_id = "20.04".into();
    }),
    ("kernel 5.4 with cgroup v2", |c| c.node().kernel.release = "5.4.0-216-generic".into()),
    ("cgroup v1 with 1.36", |c| c.node().cgroup = CgroupVersion::V1),
    ("the same, accepted", |c| {
        c.node().cgroup = CgroupVersion::V1;
        c.inventory.hosts[1].accept = Some(vec![Acceptance::CgroupV1]);
    }),
    ("the same, by the kubelet's setting", |c| {
        c.node().cgroup = CgroupVersion::V1;
        c.inventory.kubernetes.kubelet.insert("failCgroupV1".into(), false.into());
    }),
    ("the same, accepted and contradicted", |c| {
        c.node().cgroup = CgroupVersion::V1;
        c.inventory.accept = vec![Acceptance::CgroupV1];
        c.inventory.kubernetes.kubelet.insert("failCgroupV1".into(), true.into());
    }),
    ("cgroup v1 with 1.34", |c| {
        c.inventory.kubernetes.version = "1.34.2".into();
        c.node().cgroup = CgroupVersion::V1;
    }),
    ("swap that a unit of an administrator's brings back", |c| {
        c.node().swap_returns = vec![own_unit()]
    }),
    ("the same, accepted", |c| {
        c.node().swap_returns = vec![own_unit()];
        c.inventory.accept = vec![Acceptance::SwapReturns];
    }),
    ("the same, with a kubelet that takes swap", |c| {
        c.node().swap_returns = vec![own_unit()];
        c.inventory.kubernetes.kubelet.insert("failSwapOn".into(), false.into());
    }),
    ("swap that a script brings back", |c| {
        let line =
            SwapSource::Line { path: "/etc/rc.local".into(), text: "swapon /swapfile".into() };
        c.node().swap_returns = vec![line];
    }),
    ("swap that nothing explains", |c| {
        c.node().swaps = vec!["/dev/zram0".into()];
        c.node().swap_returns = vec![SwapSource::Area { name: "/dev/zram0".into() }];
    }),
    ("swap that is masked by the plan", |c| {
        c.node().swaps = vec!["/dev/zram0".into()];
        c.node().swap_configured = vec!["dev-zram0.swap".into()];
    }),
    ("duplicate product_uuid", |c| c.node().product_uuid = "uuid-0".into()),
    ("product_uuid of a board's maker", |c| {
        for host in ["master01", "node01"] {
            c.facts.get_mut(host).expect("a host").product_uuid =
                "03000200-0400-0500-0006-000700080009".into();
        }
    }),
    ("duplicate machine-id", |c| c.node().machine_id = "machine-0".into()),
    ("unresolvable hostname", |c| {
        c.node().hostname = "vps-4711".into();
        c.node().hostname_resolves = false;
    }),
    ("unresolvable hostname that becomes the node's", |c| {
        c.node().hostname = "vps-4711".into();
        c.node().hostname_resolves = false;
        c.inventory.hostname = HostnamePolicy::Set;
    }),
    ("containerd 1.7 of the host", |c| {
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Distribution;
        c.node().runtime.containerd = Some("1.7.24".into());
    }),
    ("containerd 1.4 of the distribution", |c| {
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Distribution;
        c.node().runtime.containerd_offered = Some("1.4.13".into());
    }),
    ("containerd 2 of the distribution", |c| {
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Distribution;
        c.node().runtime.containerd_offered = Some("2.1.4".into());
    }),
    ("pods over a route", |c| {
        let destination = "10.244.8.0/22".parse().expect("a subnet");
        c.node().routes.push(Route { destination, interface: "wg0".into() });
    }),
    ("Services over a resolver, and a route where one would go instead", |c| {
        c.node().resolvers = vec!["10.96.0.2".parse().expect("an address")];
        let destination = "10.250.0.0/16".parse().expect("a subnet");
        c.master().routes.push(Route { destination, interface: "eth1".into() });
    }),
    ("both subnets inside one route", |c| {
        let destination = "10.0.0.0/8".parse().expect("a subnet");
        c.node().routes.push(Route { destination, interface: "eth1".into() });
    }),
    ("a foreign cluster", |c| c.node().kubernetes.state = ClusterState::Foreign),
    ("a new host before the control plane of a living cluster", hosts::new_one_first),
    ("a control plane that was set up anew, and its nodes", |c| hosts::set_up_anew(c, "master01")),
    ("the same, and nodes that somebody gave back with kubeadm", hosts::all_given_back),
    ("a further control plane that was set up anew, and a worker", hosts::further_one_anew),
    ("a node of another cluster of the same name", |c| {
        hosts::lives(c);
        c.node().kubernetes.ca_hash = Some(format!("sha256:{}", "b".repeat(64)));
    }),
    ("a node whose address was changed, of a cluster that tells nothing", |c| {
        hosts::lives(c);
        c.node().kubernetes.kubelet_args = vec!["--node-ip=203.0.113.9".into()];
    }),
    ("an init that somebody got stuck in", |c| stuck(c, "master01")),
    ("one that was begun otherwise", |c| {
        stuck(c, "vps-4711");
        let stuck = c.master().kubernetes.stuck_init.as_mut().expect("it is stuck");
        stuck.service_subnet = Some("10.0.0.0/24".into());
    }),
    ("one on a host that joins", |c| {
        stuck(c, "master01");
        let kubernetes = std::mem::take(&mut c.master().kubernetes);
        c.node().kubernetes = kubernetes;
    }),
    ("an alias with the mask of a network that is not there", |c| alias(c.master(), 24)),
    ("the same without neighbours", |c| alias(c.master(), 30)),
    ("an alias with a mask of its own", |c| alias(c.master(), 32)),
    ("an alias that closes a way", |c| {
        alias(c.master(), 24);
        c.close_the_api();
    }),
    ("an alias beside another address of that range", |c| crowded_alias(c.master())),
    ("an alias that a file brings back", |c| alias_in_a_file(c.master())),
    ("a public network with its router", |c| {
        alias(c.master(), 24);
        let route = c.master().default_route.as_mut().expect("a route");
        route.gateway = Some(std::net::Ipv4Addr::new(198, 51, 100, 1));
    }),
    ("a port that someone has", |c| {
        let address = "0.0.0.0".parse().expect("an address");
        let process = "haproxy".to_owned();
        c.master().listeners =
            vec![Listener { protocol: "tcp".into(), address, port: 6443, process }];
    }),
    ("containers of others", Cluster::run_others),
    ("the same, accepted for this host", |c| {
        c.run_others();
        c.inventory.hosts[1].accept = Some(vec![Acceptance::ForeignContainers]);
    }),
    ("the same, where containerd stays as it is", |c| {
        c.run_others();
        let ours = c.containerd_config("node01");
        c.node().runtime.containerd_config = Some(ours);
    }),
    ("a configuration of containerd that its package laid", |c| {
        let text = include_str!("containerd/debian.toml");
        c.node().runtime.containerd_config = Some(text.into());
    }),
    ("a configuration of containerd that is someone's own", |c| {
        c.node().runtime.containerd_config = Some(OWN_CONFIG.into());
    }),
    ("the same, accepted", |c| {
        c.node().runtime.containerd_config = Some(OWN_CONFIG.into());
        c.inventory.accept = vec![Acceptance::ForeignContainerdConfig];
    }),
    ("the same, carried over in part", |c| {
        c.node().runtime.containerd_config = Some(OWN_CONFIG.into());
        c.inventory.runtime.containerd.insert("root".into(), "/data/containerd".into());
    }),
    ("the same, edited by someone after kubewan wrote it", |c| {
        c.node().runtime.containerd_config = Some(OWN_CONFIG.into());
        let path = "/etc/containerd/config.toml".to_owned();
        c.node().own.left.insert(path, ["what kubewan wrote".into()].into());
    }),
    ("a configuration of containerd that nobody can read", |c| {
        c.node().runtime.containerd_config = Some("root = \"/data\nstate =".into());
    }),
    ("another containerd, and Docker's is asked for", |c| {
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Docker;
        c.node().runtime.containerd = Some("2.1.9".into());
    }),
    ("a repository that the host has already", |c| {
        c.inventory.kubernetes.source = Some(crate::inventory::KubernetesSource::Packages);
        c.node().runtime.package_sources = vec![crate::facts::PackageSource {
            path: "/etc/apt/sources.list.d/kubernetes.list".into(),
            uri: "https://pkgs.k8s.io/core:/stable:/v1.36/deb".into(),
        }];
    }),
    ("other sources than those that the host was set up from", |c| {
        c.inventory.kubernetes.source = Some(crate::inventory::KubernetesSource::Packages);
        let units =
            ["/etc/systemd/system/kubelet.service", "/etc/systemd/system/containerd.service"];
        c.inventory.runtime.source = crate::inventory::RuntimeSource::Distribution;
        c.node().own.left = units.map(|unit| (unit.to_owned(), Default::default())).into();
    }),
    ("Docker's containerd", |c| c.node().runtime.containerd_io = true),
    ("a host with dnf", |c| c.node().os = samples::rpm_system("rocky", "9.6")),
    ("the same, accepted for all", |c| {
        c.node().os = samples::rpm_system("rocky", "9.6");
        c.inventory.accept = vec![Acceptance::DistributionExperimental];
    }),
    ("a cluster by hand, with an address for flannel that is not the node's", |c| {
        let ca = format!("sha256:{}", "0".repeat(64));
        for of in c.facts.values_mut().map(|facts| &mut facts.kubernetes) {
            (of.state, of.ca_hash) = (ClusterState::Foreign, Some(ca.clone()));
        }
        c.inventory.adopt = Some(Adopt { ca, endpoint: "198.51.100.10:6443".into() });
        let mut living = samples::living(&c.inventory);
        living.nodes[1].overwrite = Some("203.0.113.9".into());
        c.living = Some(living);
    }),
    ("a kernel without WireGuard, and encryption asked for", |c| {
        c.node().kernel.wireguard = false;
        c.inventory.network.backend = Backend::Wireguard;
    }),
    ("a kernel without VXLAN", |c| {
        c.node().kernel.vxlan = false;
        c.inventory.network.backend = Backend::Vxlan;
    }),
];

const OWN_CONFIG: &str = r#"version = 2
root = "/data/containerd"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/docker/certs.d"
"#;

fn own_unit() -> SwapSource {
    SwapSource::Unit {
        name: "swapfile.swap".into(),
        path: "/etc/systemd/system/swapfile.swap".into(),
    }
}

#[test]
fn every_check_speaks() {
    let mut text: Vec<String> =
        all_cases().map(|(title, change)| shown(title, &findings_with(*change))).collect();
    // No release from 1.37 on is known yet, but the rule is.
    let newest = RELEASES.last().expect("a release");
    let containerd = Containerds { oldest: (2, 0), below: None };
    let newer = Release { minor: CONTAINERD_2_FROM, containerd, ..*newest };
    assert_eq!(newer.kubeadm_api, KubeadmApi::V1Beta4);
    for version in ["1.7.24", "2.0.0"] {
        let found =
            runtime::judge(&newer, "node01", "the bundle's containerd", version, "a bundle");
        text.push(shown(&format!("containerd {version} with 1.37"), found.as_slice()));
    }
    insta::assert_snapshot!(text.join("\n"));
}

/// What is accepted can be met, and says how to accept it.
#[test]
fn every_acceptance_has_its_finding() {
    let found: Vec<Finding> = all_cases().flat_map(|(_, change)| findings_with(*change)).collect();
    for what in Acceptance::ALL {
        let how = format!("`accept: [{}]`", what.code());
        let is = |f: &&Finding| f.code == what.code() && f.remedy.contains(&how);
        assert!(found.iter().any(|f| is(&f)), "{what:?}");
    }
}

#[test]
fn a_host_of_which_nothing_could_be_read_is_no_poor_one() {
    let unread = findings_with(|c| {
        let facts = c.master();
        (facts.cores, facts.memory_bytes, facts.kernel.release) = (0, 0, String::new());
    });
    assert_eq!(unread, []);
}

#[test]
fn kubeadm_and_the_kubelet_are_told_on_the_host_that_needs_it() {
    let mut cluster = Cluster::new();
    cluster.inventory.accept = Acceptance::ALL.to_vec();
    let told = |cluster: &Cluster, host: &str| {
        let step = cluster.step(|step| {
            step.host == host
                && matches!(step.action, Action::KubeadmInit(_) | Action::KubeadmJoin(_))
        });
        let flags: Vec<String> = cluster
            .planned()
            .steps
            .into_iter()
            .filter(|step| step.host == host)
            .filter_map(|step| match step.action {
                Action::KubeletFlag(flag) => Some(format!("{}={}", flag.name, flag.value)),
                _ => None,
            })
            .filter(|flag| !flag.starts_with("node-ip"))
            .collect();
        match step.expect("each is made or joins").action {
            Action::KubeadmInit(KubeadmInit { ignore_preflight_errors, config, .. }) => {
                (ignore_preflight_errors, config, flags)
            }
            Action::KubeadmJoin(join) => (join.ignore_preflight_errors, join.config, flags),
            _ => unreachable!("filtered"),
        }
    };
    // Nothing is wrong with the hosts: of swap nobody knows before the next boot.
    let (names, config, flags) = told(&cluster, "node01");
    assert_eq!(
        (names.as_slice(), flags.as_slice()),
        (["Swap".into()].as_slice(), ["fail-swap-on=false".into()].as_slice())
    );
    assert!(config.contains("- Swap") && !config.contains("SystemVerification"), "{config}");
    assert!(cluster.step(|step| matches!(step.action, Action::SwapOff(_))).is_none());

    cluster.inventory.accept = vec![Acceptance::CgroupV1, Acceptance::TooFewCores];
    cluster.node().cgroup = CgroupVersion::V1;
    cluster.master().cores = 1;
    let (names, config, flags) = told(&cluster, "node01");
    assert_eq!(
        (names.as_slice(), flags.as_slice()),
        (["SystemVerification".into()].as_slice(), ["fail-cgroupv1=false".into()].as_slice())
    );
    assert!(
        config.contains("fail-cgroupv1") && config.contains("- SystemVerification"),
        "{config}"
    );
    let (names, config, flags) = told(&cluster, "master01");
    assert_eq!((names.as_slice(), flags.as_slice()), (["NumCPU".into()].as_slice(), [].as_slice()));
    assert!(config.contains("- NumCPU") && !config.contains("fail-cgroupv1"), "{config}");
    assert!(told(&cluster, "node02").0.is_empty());
    assert!(cluster.step(|step| matches!(step.action, Action::SwapOff(_))).is_some());

    // The user's own word stands, and kubeadm would stop at the same: it is set aside.
    cluster.inventory.accept.clear();
    cluster.inventory.kubernetes.kubelet =
        json!({ "failCgroupV1": false }).as_object().cloned().expect("a map");
    let (names, config, flags) = told(&cluster, "node01");
    assert_eq!(
        (names.as_slice(), flags.as_slice()),
        (["SystemVerification".into()].as_slice(), [].as_slice())
    );
    assert!(!config.contains("fail-cgroupv1"), "{config}");
}
