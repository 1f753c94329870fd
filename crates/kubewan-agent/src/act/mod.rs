//! Goals on this host: [`observe`] looks, [`perform`] changes just what the diff of the core names. One file
//! per group of kinds, as in `kubewan_core::action`; parsers of other programs' output are functions of
//! their own, without effects.

pub mod alias;
pub mod cluster;
mod cri;
pub mod docker;
pub mod file;
pub mod firewall;
pub mod image;
pub mod kubeadm;
pub mod kubelet;
mod needed;
pub mod package;
mod pods;
pub mod registry;
pub(crate) mod rpm;
pub mod system;
pub mod undo;
pub mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use kubewan_core::action::registry::LOGINS;
use kubewan_core::action::{Action, Input, Observed};

use crate::facts::systemd::{Unit, Units, unit_files};
use crate::seen::Seen;

/// This host: where kubewan keeps its own things, and the values that the batch in progress brought.
///
/// Everything that is not kubewan's own lies at its usual absolute path.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    values: BTreeMap<String, String>,
    seen: Arc<Seen>,
    look: Option<Arc<Look>>,
    adopts: Arc<OnceLock<String>>,
}

/// What the goals of one look ask in common.
#[derive(Debug)]
struct Look {
    unit_names: Vec<String>,
    units: OnceLock<Result<Units, String>>,
}

impl Host {
    /// The host with its state in `/var/lib/kubewan`.
    pub fn new() -> Self {
        Host::at("/var/lib/kubewan")
    }

    /// A host that keeps its state elsewhere, for tests.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Host {
            seen: Arc::new(Seen::below(&root)),
            root,
            values: BTreeMap::new(),
            look: None,
            adopts: Arc::default(),
        }
    }

    /// This host during a look at some goals, whose units systemd is asked about once.
    fn looking(&self, goals: &[Action]) -> Host {
        goals.iter().for_each(|goal| self.hear(goal));
        let look = Look { unit_names: unit_names(goals), units: OnceLock::new() };
        Host { look: Some(Arc::new(look)), ..self.clone() }
    }

    /// Remembers which cluster a goal takes over: before a run has begun, nothing on this host tells of it.
    fn hear(&self, goal: &Action) {
        let pin = match goal {
            Action::KubeadmInit(init) => &init.adopts,
            Action::KubeadmJoin(join) => &join.adopts,
            _ => return,
        };
        if !pin.is_empty() {
            self.adopts.get_or_init(|| pin.clone());
        }
    }

    /// The pin of the cluster that goals take over; empty where they take over none.
    pub(crate) fn adopts(&self) -> &str {
        self.adopts.get().map(String::as_str).unwrap_or_default()
    }

    /// What is known of this host's files.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// A unit as systemd has it.
    pub(crate) fn unit(&self, name: &str) -> Result<Unit, String> {
        let look = self.look.as_ref().filter(|look| look.unit_names.iter().any(|n| n == name));
        if let Some(look) = look {
            let names = || look.unit_names.iter().map(String::as_str).collect::<Vec<_>>();
            let units = look.units.get_or_init(|| Units::read(&names())).as_ref();
            if let Some(unit) = units.map_err(Clone::clone)?.find(name) {
                return Ok(unit.clone());
            }
        }
        let units = Units::read(&[name])?;
        units.find(name).cloned().ok_or_else(|| format!("systemd says nothing of {name}"))
    }

    /// The same host with the values for markers that a batch brought; observations of secrets need them.
    pub fn with_values(mut self, values: BTreeMap<String, String>) -> Self {
        self.values = values;
        self
    }

    /// The value that stands for an input. `None` outside a batch, and where the orders lack it.
    pub fn value(&self, input: &Input) -> Option<&str> {
        self.values.get(&input.marker()).map(String::as_str)
    }

    /// Where kubewan's state is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The journal's file; read it with [`crate::journal::read`].
    pub fn journal_path(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    /// What the action in progress adds to the host; gone when it has ended. See [`Performing::record`].
    pub fn along_path(&self) -> PathBuf {
        self.root.join("along")
    }

    /// A content that the journal kept.
    pub fn blob(&self, sha256: &str) -> PathBuf {
        self.root.join("blobs").join(sha256)
    }

    /// A file that was uploaded or downloaded.
    pub fn artifact(&self, sha256: &str) -> PathBuf {
        self.root.join("artifacts").join(sha256)
    }

    /// Folders of runs: `runs/<run>/<batch>/`.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }
}

impl Default for Host {
    fn default() -> Self {
        Host::new()
    }
}

/// What performing an action has at hand.
pub struct Performing<'a> {
    /// The host.
    pub host: &'a Host,
    /// Values by marker. The action itself has them put in already, where its text carries markers.
    pub values: &'a BTreeMap<String, String>,
    /// Takes a line that tells how far a long step is. It is redacted before it leaves.
    pub progress: &'a mut dyn FnMut(&str),
    /// What the action adds to the host beyond its goal; the words are those of [`kubewan_core::journal`].
    pub along: Vec<String>,
    /// How the goal's subject is afterwards, where performing it told: what the API answered to a change is as good as what
    /// it would answer to one more question, and costs no kubectl.
    pub after: Option<Observed>,
    /// It failed before it changed anything: the journal is not to say that it was begun.
    pub refused: bool,
}

impl<'a> Performing<'a> {
    /// At the beginning of an action.
    pub fn new(
        host: &'a Host,
        values: &'a BTreeMap<String, String>,
        progress: &'a mut dyn FnMut(&str),
    ) -> Self {
        Performing { host, values, progress, along: Vec::new(), after: None, refused: false }
    }

    /// Notes what is about to be left in a file of somebody's that a reset puts back: even where the run is cut short right
    /// after it is written, a later edit is told from ours.
    ///
    /// # Errors
    /// As [`Performing::record`].
    pub fn record_left(&mut self, path: &str, text: &str) -> Result<(), String> {
        self.record([format!("left:{}:{path}", kubewan_core::sha256_hex(text.as_bytes()))])
    }

    /// Notes what is about to be added to the host, and brings it to disk *before* it is made: a batch that
    /// is killed in between must not forget it. Written into the journal when the action has ended.
    ///
    /// # Errors
    /// Fails where it can't be brought to disk; it must not be made then.
    pub fn record(&mut self, made: impl IntoIterator<Item = String>) -> Result<(), String> {
        let before = self.along.len();
        for line in made {
            if !self.along.contains(&line) {
                self.along.push(line);
            }
        }
        if self.along.len() == before {
            return Ok(());
        }
        self.write_along()
    }

    /// Forgets packages that were noted and did not come: who installs them himself afterwards has them for himself.
    ///
    /// # Errors
    /// As [`Performing::record`].
    pub fn forget_packages_but(&mut self, came: &BTreeSet<String>) -> Result<(), String> {
        let name = |line: &String| line.strip_prefix("package:").map(str::to_owned);
        self.along.retain(|line| name(line).is_none_or(|name| came.contains(&name)));
        self.write_along()
    }

    fn write_along(&self) -> Result<(), String> {
        crate::disk::make_private_dir(self.host.root())?;
        let text: String = self.along.iter().map(|line| format!("{line}\n")).collect();
        let path = self.host.along_path();
        let access = crate::disk::Access::root(0o600);
        crate::disk::write_atomic(&path, &mut text.as_bytes(), access, &|_| Ok(())).map(drop)
    }
}

/// Files that an action edits although its goal is no file; their first content is kept by the journal.
pub fn files_rewritten<'a>(action: &'a Action, before: &'a Observed) -> Vec<&'a str> {
    match (action, before) {
        (Action::SwapOff(_), Observed::SwapOff(seen)) if !seen.fstab.is_empty() => {
            vec![system::FSTAB]
        }
        (Action::SelinuxPermissive(_), Observed::SelinuxPermissive(seen))
            if seen.configured_enforcing =>
        {
            vec![system::SELINUX_CONFIG]
        }
        (Action::RegistryLogins(_), Observed::RegistryLogins(seen)) if seen.exists => vec![LOGINS],
        // What is there before its first run is somebody's, and kubeadm asks nobody.
        (Action::KubeadmInit(_), Observed::KubeadmInit(seen)) if !seen.begun && !seen.stuck => {
            kubeadm::OVERWRITTEN.to_vec()
        }
        (Action::KubeadmJoin(_), Observed::KubeadmJoin(seen)) if !seen.begun => {
            kubeadm::OVERWRITTEN.to_vec()
        }
        (Action::KubeletFlag(goal), Observed::KubeletFlag(seen)) => seen
            .elsewhere
            .iter()
            .filter(|(_, value)| *value != goal.value)
            .map(|(path, _)| path.as_str())
            .collect(),
        _ => Vec::new(),
    }
}

/// Files that an action writes, each beside its place first.
pub fn files_written(action: &Action, before: &Observed) -> Vec<PathBuf> {
    let subject = match action {
        Action::File(_) | Action::Block(_) => Some(action.subject().into()),
        Action::RegistryLogins(_) => Some(LOGINS.into()),
        Action::SystemTrust(goal) => Some(registry::trust_file(&goal.name)),
        _ => None,
    };
    let rewritten = files_rewritten(action, before).into_iter().map(PathBuf::from);
    subject.into_iter().chain(rewritten).collect()
}

/// Looks how far this host is from a goal.
///
/// # Errors
/// Says what could not be seen and why. A thing that is simply not there is no error.
pub fn observe(goal: &Action, host: &Host) -> Result<Observed, String> {
    host.hear(goal);
    Ok(match goal {
        Action::File(a) => Observed::File(file::observe_file(a, host)?),
        Action::Block(a) => Observed::Block(file::observe_block(a, host)?),
        Action::Removed(a) => Observed::Removed(file::observe_removed(a, host)?),
        Action::Module(a) => Observed::Module(system::observe_module(a, host)?),
        Action::Sysctl(a) => Observed::Sysctl(system::observe_sysctl(a, host)?),
        Action::SwapOff(a) => Observed::SwapOff(system::observe_swap_off(a, host)?),
        Action::SwapOn(a) => Observed::SwapOn(system::observe_swap_on(a, host)?),
        Action::SelinuxEnforcing(a) => {
            Observed::SelinuxEnforcing(system::observe_selinux_enforcing(a, host)?)
        }
        Action::SelinuxPermissive(a) => {
            Observed::SelinuxPermissive(system::observe_selinux_permissive(a, host)?)
        }
        Action::Hostname(a) => Observed::Hostname(system::observe_hostname(a, host)?),
        Action::TimeSyncOn(a) => Observed::TimeSyncOn(system::observe_time_sync_on(a, host)?),
        Action::Package(a) => Observed::Package(package::observe_package(a, host)?),
        Action::Unheld(a) => Observed::Unheld(package::observe_unheld(a, host)?),
        Action::Image(a) => Observed::Image(image::observe_image(a, host)?),
        Action::RegistryLogins(a) => {
            Observed::RegistryLogins(registry::observe_registry_logins(a, host)?)
        }
        Action::SystemTrust(a) => Observed::SystemTrust(registry::observe_system_trust(a, host)?),
        Action::Unit(a) => Observed::Unit(unit::observe_unit(a, host)?),
        Action::DockerEngine(a) => Observed::DockerEngine(docker::observe_docker_engine(a, host)?),
        Action::Unmasked(a) => Observed::Unmasked(unit::observe_unmasked(a, host)?),
        Action::Link(a) => Observed::Link(unit::observe_link(a, host)?),
        Action::AliasOff(a) => Observed::AliasOff(alias::observe_alias_off(a, host)?),
        Action::AliasOn(a) => Observed::AliasOn(alias::observe_alias_on(a, host)?),
        Action::KubeletFlag(a) => Observed::KubeletFlag(kubelet::observe_kubelet_flag(a, host)?),
        Action::Firewall(a) => Observed::Firewall(firewall::observe_firewall(a, host)?),
        Action::KubeadmInit(a) => Observed::KubeadmInit(kubeadm::observe_kubeadm_init(a, host)?),
        Action::BootstrapToken(a) => {
            Observed::BootstrapToken(kubeadm::observe_bootstrap_token(a, host)?)
        }
        Action::EtcdListens(a) => Observed::EtcdListens(kubeadm::observe_etcd_listens(a, host)?),
        Action::UploadedCerts(a) => {
            Observed::UploadedCerts(kubeadm::observe_uploaded_certs(a, host)?)
        }
        Action::KubeadmJoin(a) => Observed::KubeadmJoin(kubeadm::observe_kubeadm_join(a, host)?),
        Action::KubeadmReset(a) => Observed::KubeadmReset(kubeadm::observe_kubeadm_reset(a, host)?),
        Action::Object(a) => Observed::Object(cluster::observe_object(a, host)?),
        Action::NodeMeta(a) => Observed::NodeMeta(cluster::observe_node_meta(a, host)?),
        Action::Announced(a) => Observed::Announced(cluster::observe_announced(a, host)?),
        Action::Spread(a) => Observed::Spread(cluster::observe_spread(a, host)?),
    })
}

/// Goals that are looked at side by side: most looks wait for another program, and few need a core of their own.
const LOOKS: usize = 8;

/// Nodes in one question, so that the answer stays far below what is kept of a program's output.
const NODES: usize = 50;

/// Looks how far this host is from each of some goals.
pub fn observe_all(goals: &[Action], host: &Host) -> Vec<Result<Observed, String>> {
    let questions = questions(goals);
    let host = &host.looking(goals);
    let next = AtomicUsize::new(0);
    let look = || -> Vec<(usize, Result<Observed, String>)> {
        let mine = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = mine.map_while(|index| questions.get(index));
        mine.flat_map(|places| {
            let goals: Vec<&Action> = places.iter().map(|place| &goals[*place]).collect();
            places.iter().copied().zip(observe_together(&goals, host))
        })
        .collect()
    };
    let mut seen: Vec<_> = thread::scope(|scope| {
        let looks: Vec<_> = (0..LOOKS.min(questions.len())).map(|_| scope.spawn(look)).collect();
        looks.into_iter().flat_map(|look| look.join().expect("a look does not panic")).collect()
    });
    host.seen().keep();
    seen.sort_by_key(|(index, _)| *index);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

/// Units that looks at these goals ask about.
fn unit_names(goals: &[Action]) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let names = |goal: &Action| -> Vec<String> {
        match goal {
            Action::Unit(unit) => vec![unit.name.clone()],
            Action::Unmasked(unmasked) => vec![unmasked.unit.clone()],
            Action::KubeletFlag(_) => owned(&[kubelet::UNIT]),
            Action::TimeSyncOn(_) => owned(system::TIME_SERVICES),
            Action::SwapOff(_) => {
                unit_files("swap").into_iter().chain(owned(system::SWAP_SERVICES)).collect()
            }
            Action::Firewall(goal) => owned(firewall::service(goal).as_slice()),
            _ => Vec::new(),
        }
    };
    let names: BTreeSet<String> = goals.iter().flat_map(names).collect();
    names.into_iter().collect()
}

/// The goals' places, those together that one run of another program tells about: a `kubectl` or `ctr` needs longer to
/// start than to answer.
fn questions(goals: &[Action]) -> Vec<Vec<usize>> {
    let mut alone = Vec::new();
    let (mut images, mut objects, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for (place, goal) in goals.iter().enumerate() {
        match goal {
            Action::Image(_) => images.push(place),
            Action::KubeadmInit(_) | Action::Object(_) => objects.push(place),
            Action::NodeMeta(_) | Action::Announced(_) => nodes.push(place),
            _ => alone.push(vec![place]),
        }
    }
    let mut nodes = nodes.chunks(NODES).map(<[usize]>::to_vec);
    objects.extend(nodes.next().unwrap_or_default());
    // The longest first.
    let together = [objects, images].into_iter().chain(nodes).filter(|places| !places.is_empty());
    together.chain(alone).collect()
}

/// Looks at goals of one question; at each alone where the one question does not tell of all.
fn observe_together(goals: &[&Action], host: &Host) -> Vec<Result<Observed, String>> {
    let together = |goals: &[&Action]| -> Option<Vec<Observed>> {
        match goals {
            [] | [_] => None,
            [Action::Image(_), ..] => {
                let images = goals.iter().filter_map(|goal| match goal {
                    Action::Image(image) => Some(image),
                    _ => None,
                });
                let images: Vec<_> = images.collect();
                let seen = image::observe_images(&images, host).ok()?;
                Some(seen.into_iter().map(Observed::Image).collect())
            }
            _ => cluster::observe_together(goals, host),
        }
        .filter(|seen| seen.len() == goals.len())
    };
    let alone = |goals: &[&Action]| goals.iter().map(|goal| observe(goal, host)).collect();
    match (together(goals), goals) {
        (Some(seen), _) => seen.into_iter().map(Ok).collect(),
        // A control plane that is not whole keeps nobody from asking for the rest at once.
        (None, [init @ Action::KubeadmInit(_), rest @ ..]) => {
            let mut seen = vec![observe(init, host)];
            match together(rest) {
                Some(rest) => seen.extend(rest.into_iter().map(Ok)),
                None => seen.extend::<Vec<_>>(alone(rest)),
            }
            seen
        }
        (None, _) => alone(goals),
    }
}

/// Changes what keeps this host from a goal, given what was observed just before.
///
/// Called only where the core's diff of the two says that something has to change. It may be called again
/// after it was killed half-way.
///
/// # Errors
/// What was attempted, what came back, what to do next.
pub fn perform(goal: &Action, seen: &Observed, cx: &mut Performing<'_>) -> Result<(), String> {
    for artifact in goal.artifacts() {
        crate::artifacts::download(artifact, cx)?;
    }
    macro_rules! pairs {
        ($($kind:ident => $perform:path),+ $(,)?) => {
            match (goal, seen) {
                $((Action::$kind(goal), Observed::$kind(seen)) => $perform(goal, seen, cx),)+
                _ => Err(format!("{}: observed as something else; this is a bug", goal.kind())),
            }
        };
    }
    pairs!(
        File => file::perform_file,
        Block => file::perform_block,
        Removed => file::perform_removed,
        Module => system::perform_module,
        Sysctl => system::perform_sysctl,
        SwapOff => system::perform_swap_off,
        SwapOn => system::perform_swap_on,
        SelinuxEnforcing => system::perform_selinux_enforcing,
        SelinuxPermissive => system::perform_selinux_permissive,
        Hostname => system::perform_hostname,
        TimeSyncOn => system::perform_time_sync_on,
        Package => package::perform_package,
        Unheld => package::perform_unheld,
        Image => image::perform_image,
        RegistryLogins => registry::perform_registry_logins,
        SystemTrust => registry::perform_system_trust,
        Unit => unit::perform_unit,
        DockerEngine => docker::perform_docker_engine,
        Unmasked => unit::perform_unmasked,
        Link => unit::perform_link,
        AliasOff => alias::perform_alias_off,
        AliasOn => alias::perform_alias_on,
        KubeletFlag => kubelet::perform_kubelet_flag,
        Firewall => firewall::perform_firewall,
        KubeadmInit => kubeadm::perform_kubeadm_init,
        BootstrapToken => kubeadm::perform_bootstrap_token,
        EtcdListens => kubeadm::perform_etcd_listens,
        UploadedCerts => kubeadm::perform_uploaded_certs,
        KubeadmJoin => kubeadm::perform_kubeadm_join,
        KubeadmReset => kubeadm::perform_kubeadm_reset,
        Object => cluster::perform_object,
        NodeMeta => cluster::perform_node_meta,
        Announced => cluster::perform_announced,
        Spread => cluster::perform_spread,
    )
}

#[cfg(test)]
mod tests {
    use kubewan_core::action::firewall::{FirewallGoal, FirewallState};
    use kubewan_core::action::{Announced, KubeletFlag, Module, Object, SwapOff};
    use kubewan_core::facts::FirewallTool;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_look_asks_systemd_about_the_units_of_its_goals() {
        let unit = |name: &str| {
            let (name, restart_on) = (name.to_owned(), Vec::new());
            Action::Unit(kubewan_core::action::Unit {
                name,
                enabled: true,
                active: None,
                restart_on,
                node: None,
            })
        };
        let flag = KubeletFlag { name: "node-ip".into(), value: "192.0.2.1".into() };
        let ufw = FirewallGoal { tool: FirewallTool::Ufw, state: FirewallState::Off };
        let firewalld = FirewallGoal { tool: FirewallTool::Firewalld, ..ufw.clone() };
        let goals = [
            unit("kubelet.service"),
            Action::KubeletFlag(flag),
            unit("containerd.service"),
            Action::Firewall(ufw),
            Action::Firewall(firewalld),
            Action::Module(Module { name: "overlay".into() }),
        ];
        let expected = ["containerd.service", "firewalld.service", "kubelet.service"];
        assert_eq!(unit_names(&goals), expected);
        let swap = unit_names(&[Action::SwapOff(SwapOff {})]);
        assert!(swap.contains(&"zramswap.service".to_owned()), "{swap:?}");
    }

    #[test]
    fn goals_of_one_program_are_one_question() {
        let module = |name: &str| Action::Module(Module { name: name.into() });
        let object = || Action::Object(Object { manifest: json!({}) });
        let node = |number: usize| {
            let address = std::net::Ipv4Addr::new(192, 0, 2, 1);
            Action::Announced(Announced { node: format!("n{number}"), address, timeout_s: 1 })
        };
        let goals = [module("a"), object(), module("b"), object()];
        assert_eq!(questions(&goals), [vec![1, 3], vec![0], vec![2]]);
        let many: Vec<Action> = (0..NODES + 1).map(node).collect();
        let sizes: Vec<usize> = questions(&many).iter().map(Vec::len).collect();
        assert_eq!(sizes, [NODES, 1]);
        assert_eq!(questions(&[node(1), module("a"), object()]), [vec![2, 0], vec![1]]);
        assert!(questions(&[]).is_empty());
    }

    #[test]
    fn answers_come_in_the_order_of_the_goals() {
        let module = |name: &str| Action::Module(Module { name: name.into() });
        let hostname = Action::Hostname(kubewan_core::action::Hostname { name: "x".into() });
        let goals = [module("no-such-module"), hostname, module("neither")];
        let seen = observe_all(&goals, &Host::at("/nonexistent"));
        let is = |seen: &Result<Observed, String>| matches!(seen, Ok(Observed::Hostname(_)));
        assert_eq!(seen.iter().map(is).collect::<Vec<_>>(), [false, true, false]);
    }
}
