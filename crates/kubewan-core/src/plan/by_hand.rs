//! What a person does on a host that kubewan can't reach, for it to become a worker: the goals that the planner has for
//! such a host, as one script for its shell. Nothing is decided here but how a goal is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ipnet::Ipv4Net;

use super::planner::{self, Inputs};
use super::{Phase, Step};
use crate::action::file::FileState;
use crate::action::{
    Action, Artifact, Block, Content, File, Input, KubeadmJoin, NodeMeta, Package,
};
use crate::facts::{
    CloudInit, ClusterState, Facts, InterfaceAddress, KubernetesFacts, OwnFacts, Selinux,
};
use crate::inventory::Inventory;
use crate::network::ports::{Source, ports};
use crate::render::containerd::CERTS_D;
use crate::shell::quoted;

/// Functions that the script's steps call.
const FUNCTIONS: &str = include_str!("by_hand.sh");

/// The host, and what is known of it and of the cluster.
#[derive(Debug)]
pub struct ByHand<'a> {
    /// The cluster, with the host as one more worker ([`Inventory::with_worker`]).
    pub inventory: &'a Inventory,
    /// The host's name in it.
    pub name: &'a str,
    /// A host that this one is like: its name, and what it said.
    pub like: (&'a str, &'a Facts),
    /// As for a plan; the addresses hold the host's.
    pub inputs: &'a Inputs<'a>,
    /// The cluster's authority: PEM in base64.
    pub ca: &'a str,
    /// When the token ends, as `2026-01-02T03:04:05Z`.
    pub expires: &'a str,
}

/// The script, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text; [`Script::token`] stands where the token goes.
    pub text: String,
    /// The marker of the token.
    pub token: String,
    /// Files that have to lie beside it.
    pub files: Vec<Artifact>,
    /// Goals that nobody has written down for a shell: what they are about.
    pub unwritten: Vec<String>,
}

/// Writes the script.
pub fn script(of: &ByHand) -> Script {
    // Where the address is only the host knows: the goals for either case, of which it takes those that fit.
    let behind_nat = steps(of, false);
    let on_a_card = steps(of, true);
    let is_common = |step: &Step| on_a_card.iter().any(|other| other.id == step.id);
    let mut script = Script {
        text: head(of),
        token: String::new(),
        files: files(&behind_nat),
        unwritten: Vec::new(),
    };
    let address = of.inputs.addresses.get(of.name).map(ToString::to_string).unwrap_or_default();
    let mut phase = None;
    let mut conditional = false;
    for step in &behind_nat {
        if conditional && is_common(step) {
            script.text += "fi\n";
            conditional = false;
        }
        if phase != Some(step.phase) {
            phase = Some(step.phase);
            let _ = writeln!(script.text, "\nsay {}", quoted(title(step.phase)));
        }
        if !conditional && !is_common(step) {
            let _ = writeln!(script.text, "\nif ! on_a_card {address}; then");
            conditional = true;
        }
        match command(step, of) {
            Some(command) => {
                let _ = write!(script.text, "\n# {}\n{command}", step.why);
            }
            None => script.unwritten.push(format!("{}: {}", step.action.kind(), why_not(step))),
        }
        if let Action::KubeadmJoin(join) = &step.action {
            let token = join.inputs.iter().find(|input| matches!(input, Input::Secret { .. }));
            script.token = token.map(Input::marker).unwrap_or_default();
        }
    }
    if conditional {
        script.text += "fi\n";
    }
    let _ = writeln!(
        script.text,
        "\nsay {}",
        quoted(&format!("{} is a node of {}", of.name, of.inventory.name))
    );
    script
}

fn title(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "preparing the host",
        Phase::Join => "joining the cluster",
        Phase::Nodes => "marking the node",
        phase => phase.title(),
    }
}

/// The goals for the host, of what is done on it.
fn steps(of: &ByHand, on_a_card: bool) -> Vec<Step> {
    let (like, facts) = of.like;
    let mut own = alike(facts);
    if let (true, Some(address)) = (on_a_card, of.inputs.addresses.get(of.name)) {
        let interface = facts.nic().map_or("eth0", |nic| nic.name.as_str()).to_owned();
        own.addresses = vec![InterfaceAddress { interface, address: Ipv4Net::from(*address) }];
    }
    let all = BTreeMap::from([(like.to_owned(), facts.clone()), (of.name.to_owned(), own)]);
    let planned = planner::steps(of.inventory, &all, of.inputs);
    let is_its = |step: &Step| match &step.action {
        Action::NodeMeta(meta) => meta.node == of.name,
        _ => step.host == of.name,
    };
    planned.steps.into_iter().filter(is_its).collect()
}

/// A host of the same distribution and architecture that has nothing yet, and all that may have to be met.
fn alike(facts: &Facts) -> Facts {
    let mut own = facts.clone();
    own.addresses = Vec::new();
    own.runtime.containerd_config = None;
    own.runtime.unit_files = Vec::new();
    own.firewalls = Vec::new();
    own.cloud_init = Some(CloudInit::default());
    own.network_manager = true;
    own.selinux = Some(Selinux::Enforcing);
    own.kubernetes = KubernetesFacts { state: ClusterState::None, ..KubernetesFacts::default() };
    own.own = OwnFacts::default();
    own
}

/// Files that come along: those that nobody downloads.
fn files(steps: &[Step]) -> Vec<Artifact> {
    let all = steps.iter().flat_map(|step| step.action.artifacts());
    let brought: BTreeSet<&Artifact> = all.filter(|artifact| artifact.url.is_none()).collect();
    let mut brought: Vec<Artifact> = brought.into_iter().cloned().collect();
    brought.sort_by(|a, b| a.name.cmp(&b.name));
    brought
}

fn head(of: &ByHand) -> String {
    let ByHand { inventory, name, like: (like, facts), .. } = of;
    let cluster = &inventory.name;
    let address = of.inputs.addresses.get(*name).map(ToString::to_string).unwrap_or_default();
    let mut text = format!(
        "#!/bin/sh\n\
         # Makes the host {address} the worker {name} of the cluster {cluster}: run it there as root.\n\
         # It holds a bootstrap token that is good until {}: keep it to yourself, and delete it afterwards.\n\
         # It does what `kubewan up` would do on a host like {like} ({}, {}), and may be run again.\n#\n\
         # Ports that have to be let in, at the provider and by the host's own firewall:\n",
        of.expires,
        facts.os.distribution(),
        facts.kernel.arch,
    );
    for port in ports(inventory) {
        let here = port.host == *name;
        let from: Vec<String> = port
            .from
            .iter()
            .filter(|source| here || **source == Source::Host((*name).to_owned()))
            .filter(|source| **source != Source::Operator)
            .map(|source| whom(source, of))
            .collect();
        if !from.is_empty() && !port.why.starts_with("SSH") {
            let _ = writeln!(
                text,
                "#   {} on {}, from {}",
                port.notation(),
                port.host,
                from.join(", ")
            );
        }
    }
    let _ = write!(
        text,
        "#\n# Undone by: kubeadm reset, and `kubewan kubectl delete node {name}` on your side.\nset -eu\numask 022\n\
         distribution={}\narch={}\nauthority={}\ncerts_d={CERTS_D}\n\n{FUNCTIONS}",
        quoted(&facts.os.distribution()),
        quoted(&facts.kernel.arch),
        quoted(of.ca),
    );
    text
}

fn whom(source: &Source, of: &ByHand) -> String {
    match source {
        Source::Host(name) => {
            of.inputs.addresses.get(name).map_or(name.clone(), |a| format!("{a} ({name})"))
        }
        Source::Anyone => "anyone who uses Services".into(),
        Source::Operator => "you".into(),
    }
}

/// What a goal without words of the shell is about.
fn why_not(step: &Step) -> &str {
    match &step.action {
        Action::RegistryLogins(_) => {
            "`registries` has a login, and its password would stand in the script"
        }
        _ => &step.why,
    }
}

/// A goal in words of the shell; `None` for kinds that have none.
fn command(step: &Step, of: &ByHand) -> Option<String> {
    Some(match &step.action {
        Action::File(file) => of_file(file)?,
        Action::Block(block) => of_block(block),
        Action::Module(module) => format!("module {}\n", quoted(&module.name)),
        Action::Sysctl(sysctl) => {
            format!("setting {} {}\n", quoted(&sysctl.key), quoted(&sysctl.value))
        }
        Action::SwapOff(_) => "swap_off\n".into(),
        Action::SelinuxPermissive(_) => "selinux_permissive\n".into(),
        Action::Hostname(hostname) => {
            format!("hostnamectl set-hostname {}\n", quoted(&hostname.name))
        }
        Action::TimeSyncOn(_) => "time_on\n".into(),
        Action::Package(package) if is_apts(of) => of_package(package)?,
        Action::Image(image) => match &image.artifact {
            Some(artifact) => {
                format!("image {} {}\n", quoted(&image.reference), came(artifact))
            }
            None => format!("pulled {}\n", quoted(&image.reference)),
        },
        Action::Unit(unit) => {
            let started = if unit.active == Some(true) { " started" } else { "" };
            format!("unit {}{started}\n", quoted(&unit.name))
        }
        Action::Link(link) => {
            format!("has_address {} {} {}\n", quoted(&link.name), link.address, quoted(&link.unit))
        }
        Action::KubeletFlag(flag) => {
            format!("no_other_argument {} {}\n", quoted(&flag.name), quoted(&flag.value))
        }
        Action::KubeadmJoin(join) => of_join(join, of),
        Action::NodeMeta(meta) => of_node(meta),
        _ => return None,
    })
}

fn is_apts(of: &ByHand) -> bool {
    matches!(of.like.1.os.id.as_str(), "debian" | "ubuntu")
}

fn of_file(file: &File) -> Option<String> {
    let path = quoted(&file.path);
    let command = match &file.state {
        FileState::Present { content: Content::Text(text), mode, .. } => {
            format!("put {mode:o} {path} {}", here_document(text))
        }
        FileState::Present { content: Content::Artifact(artifact), mode, .. } => {
            let url = quoted(artifact.url.as_deref().unwrap_or_default());
            format!("bring {mode:o} {path} {} {url}\n", came(artifact))
        }
        FileState::Present { content: Content::Blob(_), .. } => return None,
        FileState::Link { target } => format!("ln -sfn {} {path}\n", quoted(target)),
        FileState::Absent => format!("rm -f {path}\n"),
    };
    // What tells a program that is not there what to do.
    let whose =
        ["/etc/cloud", "/etc/NetworkManager"].into_iter().find(|of| file.path.starts_with(of));
    Some(match whose {
        Some(folder) => format!("if [ -d {folder} ]; then\n{command}fi\n"),
        None => command,
    })
}

/// A text as standard input of what stands before it.
fn here_document(text: &str) -> String {
    let mut end = "END-OF-FILE".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('-');
    }
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("<< '{end}'\n{text}{newline}{end}\n")
}

/// The file's name beside the script, and its sum.
fn came(artifact: &Artifact) -> String {
    format!("{} {}", quoted(&artifact.name), artifact.sha256)
}

fn of_block(block: &Block) -> String {
    let lines: String = block.lines.iter().map(|line| format!("{line}\n")).collect();
    let text = format!("{}\n{lines}{}\n", Block::BEGIN, Block::END);
    format!("block {} {}", quoted(&block.path), here_document(&text))
}

fn of_package(package: &Package) -> Option<String> {
    if package.absent {
        return None;
    }
    let words = |names: &[String]| -> String {
        names.iter().map(|name| format!(" {}", quoted(name))).collect()
    };
    let mut text = String::new();
    if package.artifacts.is_empty() {
        let names: Vec<String> = package
            .names
            .iter()
            .map(|name| match package.versions.get(name) {
                Some(version) => format!("{name}={version}-*"),
                None => name.clone(),
            })
            .collect();
        text += &format!("packages{}\n", words(&names));
    } else {
        for artifact in &package.artifacts {
            text += &format!("came {}\n", came(artifact));
        }
        let names: Vec<String> = package.artifacts.iter().map(|a| a.name.clone()).collect();
        text += &format!("package_files{}\n", words(&names));
    }
    if !package.held.is_empty() {
        text += &format!("apt-mark hold{} > /dev/null\n", words(&package.held));
    }
    Some(text)
}

/// Where the script keeps what kubeadm finds the cluster by, while kubeadm runs.
const DISCOVERY: &str = "/run/kubewan-join.conf";

fn of_join(join: &KubeadmJoin, of: &ByHand) -> String {
    let mut discovery = join.discovery.clone();
    for input in &join.inputs {
        if let Input::Output { .. } = input {
            discovery = discovery.replace(&input.marker(), of.ca);
        }
    }
    let config = join.config.replace(KubeadmJoin::DISCOVERY_FILE, DISCOVERY);
    let checks = match join.ignore_preflight_errors.join(",") {
        names if names.is_empty() => String::new(),
        names => format!(" {}", quoted(&format!("--ignore-preflight-errors={names}"))),
    };
    let (discovery, config) = (here_document(&discovery), here_document(&config));
    format!("put 600 {DISCOVERY} {discovery}join {DISCOVERY}{checks} {config}")
}

/// What a kubelet may say of its own node; the rest is the operator's to say.
fn of_node(meta: &NodeMeta) -> String {
    let node = quoted(&meta.node);
    let is_free = |key: &str| {
        let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
        let is_of = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
        !is_of("kubernetes.io") && !is_of("k8s.io")
    };
    let pairs = |pairs: &BTreeMap<String, String>, free: bool| -> String {
        let of_kind = pairs.iter().filter(|(key, _)| is_free(key) == free);
        of_kind.map(|(key, value)| format!(" {}", quoted(&format!("{key}={value}")))).collect()
    };
    // The address before the label that flannel waits for. kubectl refuses either without a pair.
    let mut text = String::new();
    for (verb, pairs) in
        [("annotate", pairs(&meta.annotations, true)), ("label", pairs(&meta.labels, true))]
    {
        if !pairs.is_empty() {
            text += &format!("as_kubelet {verb} --overwrite node {node}{pairs}\n");
        }
    }
    let theirs = pairs(&meta.labels, false);
    if !theirs.is_empty() {
        let said = format!(
            "On your side: kubewan kubectl label node {node}{theirs}   (shown as its role; nothing depends on it)"
        );
        text += &format!("say {}\n", quoted(&said));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{KubernetesSource, Registry, RuntimeKind, RuntimeSource};
    use crate::registry::Files;
    use crate::registry::certificate::Certificate;
    use crate::samples;
    use crate::secret::Secret;

    const REGISTRY: &str = "registry.example:5000";
    const PASSWORD: &str = "open-Sesame-4711";

    fn written(inventory: &Inventory, hands: &dyn Fn(&mut Facts)) -> Script {
        let inventory = inventory.with_worker("node07", "192.0.2.70").unwrap();
        let addresses = samples::addresses(&inventory);
        let (bundle, keys) = samples::supply(&inventory);
        let certificate = Certificate {
            pem: "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n".into(),
            not_before_s: 0,
            not_after_s: 1,
        };
        let files =
            Files { authorities: vec![certificate], password: Some(Secret::new(PASSWORD.into())) };
        let registries = BTreeMap::from([(REGISTRY.to_owned(), files)]);
        let inputs =
            Inputs { keys: &keys, registries: &registries, ..Inputs::new(&addresses, &bundle) };
        let mut facts = samples::facts(0);
        hands(&mut facts);
        script(&ByHand {
            inventory: &inventory,
            name: "node07",
            like: ("master01", &facts),
            inputs: &inputs,
            ca: "Q0E=",
            expires: "2026-01-02T03:04:05Z",
        })
    }

    /// Without the functions, which are a file of their own.
    fn steps_of(script: &Script) -> String {
        let (head, rest) = script.text.split_once(FUNCTIONS).unwrap();
        format!("{head}[functions]\n{rest}\nfiles: {:?}\n", names(script))
    }

    fn names(script: &Script) -> Vec<&str> {
        script.files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn a_worker_by_hand_from_a_bundle() {
        let script = written(&samples::inventory(2), &|_| ());
        assert_eq!(script.unwritten, Vec::<String>::new());
        assert_eq!(script.text.matches(&script.token).count(), 1);
        assert!(!script.text.contains("@output("), "{}", script.text);
        insta::assert_snapshot!(steps_of(&script));
    }

    #[test]
    fn every_source_can_be_written_down() {
        for source in [KubernetesSource::Release, KubernetesSource::Packages] {
            for runtime in
                [RuntimeSource::Distribution, RuntimeSource::Docker, RuntimeSource::Release]
            {
                let mut inventory = samples::inventory(3);
                inventory.kubernetes.source = Some(source);
                inventory.runtime.source = runtime;
                let script = written(&inventory, &|_| ());
                assert_eq!(script.unwritten, Vec::<String>::new(), "{source:?} {runtime:?}");
                assert!(script.text.contains("kubeadm"), "{source:?} {runtime:?}");
            }
        }
        let mut inventory = samples::inventory(2);
        inventory.kubernetes.source = Some(KubernetesSource::Release);
        inventory.runtime.source = RuntimeSource::Distribution;
        insta::assert_snapshot!(steps_of(&written(&inventory, &|_| ())));
    }

    #[test]
    fn what_the_other_host_has_of_its_own_is_not_carried_over() {
        let plain = written(&samples::inventory(2), &|_| ());
        let lived_in = written(&samples::inventory(2), &|facts| {
            facts.kubernetes.state = ClusterState::Done;
            facts.own.cluster = Some("home".into());
            facts.hostname = "vps-4711".into();
            facts.swaps = vec!["/swapfile".into()];
            facts.addresses.push(InterfaceAddress {
                interface: "kubewan0".into(),
                address: Ipv4Net::new_assert([198, 51, 100, 10].into(), 32),
            });
        });
        assert_eq!(plain, lived_in);
    }

    /// What a script has no words for is said before there is a token, as docs/reference.md has it: hosts with yum or dnf
    /// wherever things come from, Docker, a registry's login, and an authority for every program.
    #[test]
    fn what_a_script_can_not_do_is_named() {
        let mut said = String::new();
        let mut says = |what: &str, inventory: &Inventory, facts: &dyn Fn(&mut Facts)| {
            let script = written(inventory, facts);
            assert!(!script.text.contains(PASSWORD), "{}", script.text);
            said += &format!("{what}\n");
            script.unwritten.iter().for_each(|line| said += &format!("  {line}\n"));
        };
        let with = |change: &dyn Fn(&mut Inventory)| {
            let mut inventory = samples::inventory(2);
            change(&mut inventory);
            inventory
        };
        says("nothing of it", &with(&|_| ()), &|_| ());
        says("Docker", &with(&|i| i.runtime.kind = RuntimeKind::Docker), &|_| ());
        let registry = || Registry { address: REGISTRY.into(), ..Registry::default() };
        let login = Registry {
            username: Some("puller".into()),
            password_file: Some("password".into()),
            ..registry()
        };
        says("a login", &with(&|i| i.registries = vec![login.clone()]), &|_| ());
        let trust =
            Registry { ca_file: Some("ca.pem".into()), trust_in_system: true, ..registry() };
        says("an authority", &with(&|i| i.registries = vec![trust.clone()]), &|_| ());
        for (id, version) in [("centos", "7"), ("rocky", "9.6")] {
            for (kubernetes, runtime) in [
                (KubernetesSource::Packages, RuntimeSource::Docker),
                (KubernetesSource::Release, RuntimeSource::Release),
            ] {
                let inventory = with(&|i| {
                    i.kubernetes.source = Some(kubernetes);
                    i.runtime.source = runtime;
                });
                says(&format!("{id} {version}, {kubernetes:?}"), &inventory, &|facts| {
                    facts.os = samples::rpm_system(id, version);
                });
            }
        }
        insta::assert_snapshot!(said);
    }

    #[test]
    fn swap_that_units_bring_is_masked() {
        let script = written(&samples::inventory(2), &|_| ()).text;
        for words in ["--type swap", "zramswap.service", "systemctl mask"] {
            assert!(script.contains(words), "no {words}");
        }
    }

    #[test]
    fn a_file_is_closed_by_a_line_that_it_does_not_have() {
        let text = here_document("a\nEND-OF-FILE\nb");
        assert_eq!(text, "<< 'END-OF-FILE-'\na\nEND-OF-FILE\nb\nEND-OF-FILE-\n");
    }

    #[test]
    fn a_kubelet_says_only_what_it_may() {
        let meta = NodeMeta {
            node: "node07".into(),
            labels: [("node-role.kubernetes.io/worker", ""), ("x.k8s.io/a", "b"), ("site", "home")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            annotations: BTreeMap::new(),
            taints: Vec::new(),
            untainted: Vec::new(),
        };
        let text = of_node(&meta);
        assert!(text.contains("label --overwrite node node07 'site=home'\n"), "{text}");
        assert!(!text.contains("annotate"), "nothing to annotate: {text}");
        assert!(text.contains("kubewan kubectl label node node07"), "{text}");
    }
}
