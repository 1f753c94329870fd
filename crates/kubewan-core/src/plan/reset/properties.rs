//! The way back leads to the first state, from wherever a run was cut off: on a host that is no more than a
//! few maps, with the goals and the `diff` that real hosts have.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::begun;
use super::*;
use crate::action::file::{BlockSeen, Extent, FileSeen, FileState, RemovedSeen};
use crate::action::firewall::{FirewallSeen, FirewallState, Opening};
use crate::action::package::PackageSeen;
use crate::action::system::{SwapOnSeen, SwapSeen, SysctlSeen};
use crate::action::unit::{UnitSeen, UnmaskedSeen};
use crate::action::{Block, Content, File, FirewallGoal, Package, SwapOff, Sysctl, Unit, diff};
use crate::facts::FirewallTool;

const FOLDER: &str = "/opt/cni";
const FSTAB: &str = "/etc/fstab";

/// What of a host the actions here change.
#[derive(Clone, Debug, Default, PartialEq)]
struct Machine {
    files: BTreeMap<String, (String, u32, (u32, u32))>,
    folder: bool,
    sysctls: BTreeMap<String, String>,
    /// Enabled, active.
    units: BTreeMap<String, (bool, bool)>,
    /// Held or not.
    packages: BTreeMap<String, bool>,
    swap: Vec<String>,
    masked: bool,
    firewall: bool,
    rules: Vec<String>,
}

/// A machine with what was kept of its files.
struct Host {
    now: Machine,
    blobs: BTreeMap<String, String>,
}

fn sha(text: &str) -> String {
    crate::sha256_hex(text.as_bytes())
}

impl Host {
    fn observe(&self, goal: &Action) -> Observed {
        let now = &self.now;
        match goal {
            Action::File(file) => Observed::File(match now.files.get(&file.path) {
                Some((text, mode, owner)) => FileSeen {
                    sha256: Some(sha(text)),
                    mode: *mode,
                    owner: *owner,
                    ..FileSeen::default()
                },
                None => FileSeen::default(),
            }),
            Action::Block(block) => Observed::Block(BlockSeen {
                text: now.files.get(&block.path).map(|(text, ..)| text.clone()),
            }),
            Action::Sysctl(s) => Observed::Sysctl(SysctlSeen {
                value: now.sysctls.get(&s.key).cloned(),
                ..SysctlSeen::default()
            }),
            Action::Unit(unit) => {
                let state = now.units.get(&unit.name);
                let word = |on: bool, yes: &str, no: &str| if on { yes } else { no }.to_owned();
                Observed::Unit(UnitSeen {
                    loaded: state.is_some(),
                    enabled: state.map_or(String::new(), |s| word(s.0, "enabled", "disabled")),
                    active: state.map_or(String::new(), |s| word(s.1, "active", "inactive")),
                    stale: Vec::new(),
                })
            }
            Action::Package(package) => Observed::Package(self.packages(&package.names)),
            Action::Unheld(package) => Observed::Unheld(self.packages(&package.names)),
            Action::SwapOff(_) => Observed::SwapOff(SwapSeen {
                active: now.swap.clone(),
                fstab: Vec::new(),
                units: if now.masked { vec![] } else { vec!["z.swap".into()] },
            }),
            Action::SwapOn(swap) => Observed::SwapOn(SwapOnSeen {
                idle: swap.areas.iter().filter(|a| !now.swap.contains(a)).cloned().collect(),
            }),
            Action::Unmasked(_) => Observed::Unmasked(UnmaskedSeen { masked: now.masked }),
            Action::Firewall(goal) => Observed::Firewall(FirewallSeen {
                active: now.firewall,
                enabled: now.firewall,
                open: now.rules.iter().map(Opening::to_anyone).collect(),
                trusted: Vec::new(),
                ours: match &goal.state {
                    FirewallState::Restored { ours, .. } => {
                        ours.iter().filter(|rule| now.rules.contains(rule)).cloned().collect()
                    }
                    _ => Vec::new(),
                },
                against: Vec::new(),
            }),
            Action::Removed(removed) => {
                let file = now.files.get(&removed.path);
                let below = now.files.keys().any(|path| path.starts_with(FOLDER));
                let folder = removed.path == FOLDER && now.folder && !below;
                Observed::Removed(RemovedSeen {
                    exists: folder || file.is_some_and(|(text, ..)| text.is_empty()),
                    volumes: Vec::new(),
                })
            }
            other => panic!("{other:?}"),
        }
    }

    fn packages(&self, names: &[String]) -> PackageSeen {
        let there = |name: &&String| self.now.packages.contains_key(*name);
        PackageSeen {
            installed: names
                .iter()
                .map(|name| (name.clone(), there(&name).then(|| "1".to_owned())))
                .collect(),
            held: names
                .iter()
                .filter(|n| self.now.packages.get(*n) == Some(&true))
                .cloned()
                .collect(),
        }
    }

    fn keep(&mut self, path: &str) {
        if let Some((text, ..)) = self.now.files.get(path) {
            self.blobs.insert(sha(text), text.clone());
        }
    }

    /// Reaches a goal; says what it added.
    fn perform(&mut self, goal: &Action) -> Vec<String> {
        let mut along = Vec::new();
        match goal {
            Action::File(file) => self.file(file, &mut along),
            Action::Block(block) => {
                let new = || (String::new(), 0o644, (0, 0));
                let file = self.now.files.entry(block.path.clone()).or_insert_with(new);
                file.0 = block.render(&file.0);
            }
            Action::Sysctl(s) => {
                self.now.sysctls.insert(s.key.clone(), s.value.clone());
            }
            Action::Unit(unit) => {
                let state = self.now.units.entry(unit.name.clone()).or_default();
                *state = (unit.enabled, unit.active.unwrap_or(state.1));
            }
            Action::Package(package) => self.package(package, &mut along),
            Action::Unheld(package) => package.names.iter().for_each(|name| {
                self.now.packages.insert(name.clone(), false);
            }),
            Action::SwapOff(_) => {
                self.keep(FSTAB);
                if let Some((text, mode, (uid, gid))) = self.now.files.get_mut(FSTAB) {
                    along.push(format!("kept:{mode:o},{uid},{gid}:{}:{FSTAB}", sha(text)));
                    text.push('#');
                }
                if !self.now.masked {
                    along.push("masked:z.swap".into());
                }
                (self.now.masked, self.now.swap) = (true, Vec::new());
            }
            Action::SwapOn(swap) => self.now.swap = swap.areas.clone(),
            Action::Unmasked(_) => self.now.masked = false,
            Action::Firewall(goal) => self.firewall(goal, &mut along),
            Action::Removed(removed) => {
                assert_eq!(removed.extent, Extent::IfEmpty);
                self.now.files.remove(&removed.path);
                self.now.folder &= removed.path != FOLDER;
            }
            other => panic!("{other:?}"),
        }
        along
    }

    fn file(&mut self, file: &File, along: &mut Vec<String>) {
        self.keep(&file.path);
        match &file.state {
            FileState::Present { content, mode, owner } => {
                let text = match content {
                    Content::Text(text) => text.clone(),
                    Content::Blob(sha256) => self.blobs[sha256].clone(),
                    Content::Artifact(_) => panic!("no bundle here"),
                };
                if file.path.starts_with(FOLDER) && !self.now.folder {
                    self.now.folder = true;
                    along.push(format!("dir:{FOLDER}"));
                }
                self.now.files.insert(file.path.clone(), (text, *mode, *owner));
            }
            _ => drop(self.now.files.remove(&file.path)),
        }
    }

    fn package(&mut self, package: &Package, along: &mut Vec<String>) {
        for name in &package.names {
            if package.absent {
                self.now.packages.remove(name);
            } else if !self.now.packages.contains_key(name) {
                along.push(format!("package:{name}"));
                self.now.packages.insert(name.clone(), false);
            }
        }
        for name in &package.held {
            self.now.packages.insert(name.clone(), true);
        }
    }

    fn firewall(&mut self, goal: &FirewallGoal, along: &mut Vec<String>) {
        match &goal.state {
            FirewallState::Off => self.now.firewall = false,
            FirewallState::Open { ports, .. } => {
                for port in ports.iter().map(|opening| opening.port.clone()) {
                    if self.now.rules.contains(&port) {
                        continue;
                    }
                    along.push(format!("ufw:{port}"));
                    self.now.rules.push(port);
                }
            }
            FirewallState::Restored { active, ours, .. } => {
                self.now.firewall |= *active;
                self.now.rules.retain(|rule| !ours.contains(rule));
            }
        }
    }
}

/// How far an action comes before it is cut off.
#[derive(Clone, Copy, Debug)]
enum Cut {
    No,
    Before,
    BeforeItsEnd,
}

fn machine() -> impl Strategy<Value = Machine> {
    let file = ("[a-c]{1,2}\n", prop_oneof![Just(0o644u32), Just(0o600)], (0..2u32, 0..2u32));
    let path = prop_oneof![Just("/etc/x"), Just("/etc/hosts"), Just(FSTAB)].prop_map(String::from);
    let files = proptest::collection::btree_map(path, file, 0..4);
    let name = "[uv]";
    let units = proptest::collection::btree_map(name, any::<(bool, bool)>(), 2);
    let packages = proptest::collection::btree_map(name, any::<bool>(), 0..3);
    let flags = any::<(bool, bool, bool, bool, bool)>();
    (files, units, packages, flags).prop_map(|(files, units, packages, f)| Machine {
        files,
        folder: f.0,
        sysctls: BTreeMap::from([("k".into(), "0".into())]),
        units,
        packages,
        swap: if f.1 { vec!["/dev/vdb".into()] } else { vec![] },
        masked: f.2,
        firewall: f.3,
        rules: if f.4 { vec!["1/tcp".into()] } else { vec![] },
    })
}

fn action() -> impl Strategy<Value = Action> {
    let path = prop_oneof![Just("/etc/x"), Just("/opt/cni/y"), Just(FSTAB)];
    let names = prop_oneof![Just(vec!["u"]), Just(vec!["u", "v"])];
    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    prop_oneof![
        (path, "[a-c]").prop_map(|(p, text)| Action::File(File::text(p, 0o644, text))),
        "[a-c]".prop_map(|l| Action::Block(Block { path: "/etc/hosts".into(), lines: vec![l] })),
        "[0-2]".prop_map(|value| Action::Sysctl(Sysctl {
            key: "k".into(),
            value,
            ..Sysctl::default()
        })),
        "[uv]".prop_map(|name| Action::Unit(Unit {
            name,
            enabled: true,
            active: Some(true),
            restart_on: vec![],
            node: None,
        })),
        (names, any::<bool>()).prop_map(move |(names, hold)| Action::Package(Package {
            held: if hold { vec!["u".into()] } else { vec![] },
            names: own(names),
            ..Package::default()
        })),
        Just(Action::SwapOff(SwapOff {})),
        prop_oneof![
            Just(FirewallState::Off),
            Just(FirewallState::Open {
                ports: ["1/tcp", "2/tcp"].map(Opening::to_anyone).to_vec(),
                trusted: vec![]
            })
        ]
        .prop_map(|state| Action::Firewall(FirewallGoal { tool: FirewallTool::Ufw, state })),
    ]
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![4 => Just(Cut::No), 1 => Just(Cut::Before), 1 => Just(Cut::BeforeItsEnd)]
}

/// Does what an agent does for a step, and writes the journal.
fn forward(host: &mut Host, journal: &mut Vec<Entry>, number: u64, action: &Action, cut: Cut) {
    let before = host.observe(action);
    if diff(action, &before).expect("a pair").is_none() {
        return;
    }
    if let Action::File(file) = action {
        host.keep(&file.path);
    }
    journal.push(begun(number, action.clone(), before));
    if matches!(cut, Cut::Before) {
        return;
    }
    let along = host.perform(action);
    journal.push(match cut {
        Cut::BeforeItsEnd => Entry::Along { number, along },
        _ => Entry::Ended { number, after: host.observe(action), along },
    });
}

/// Does what a reset does, up to a number of steps; `Undone` is written as the agent does.
fn back(host: &mut Host, journal: &mut Vec<Entry>, most: usize) {
    let reset = steps("h", journal);
    for step in reset.steps.iter().take(most) {
        let seen = host.observe(&step.action);
        if diff(&step.action, &seen).expect("a pair").is_some() {
            host.perform(&step.action);
            let after = host.observe(&step.action);
            assert_eq!(diff(&step.action, &after).expect("a pair"), None, "{}", step.id);
        }
        let undone = reset.undoes.get(&step.id).into_iter().flatten();
        journal.extend(undone.map(|number| Entry::Undone { number: *number }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_way_back_leads_to_the_first_state(
        first in machine(),
        actions in proptest::collection::vec((action(), cut()), 0..14),
        // A reset that is cut off after so many steps, in the middle of the way.
        pause in 0..14usize,
        most in 0..6usize,
    ) {
        let mut host = Host { now: first.clone(), blobs: BTreeMap::new() };
        let mut journal = Vec::new();
        for (index, (action, cut)) in actions.iter().enumerate() {
            if index == pause {
                back(&mut host, &mut journal, usize::MAX);
                prop_assert_eq!(&host.now, &first);
                prop_assert!(steps("h", &journal).steps.is_empty());
            }
            forward(&mut host, &mut journal, index as u64 + 1, action, *cut);
        }
        back(&mut host, &mut journal, most);
        back(&mut host, &mut journal, usize::MAX);
        prop_assert_eq!(&host.now, &first);
    }
}

/// A run that is cut off before it changes anything says how things were in the middle of another run: a reset ends that word too.
#[test]
fn what_changed_nothing_is_no_first_word_for_a_later_run() {
    let package = |names: &[&str], held: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Action::Package(Package { names: own(names), held: own(held), ..Package::default() })
    };
    let packages = BTreeMap::from([("u".to_owned(), false)]);
    let first = Machine { packages, ..Machine::default() };
    let mut host = Host { now: first.clone(), blobs: BTreeMap::new() };
    let mut journal = Vec::new();
    forward(&mut host, &mut journal, 1, &package(&["u"], &["u"]), Cut::No);
    forward(&mut host, &mut journal, 2, &package(&["u", "v"], &[]), Cut::Before);
    back(&mut host, &mut journal, usize::MAX);
    assert_eq!(host.now, first);
    forward(&mut host, &mut journal, 3, &package(&["u", "v"], &["u"]), Cut::No);
    back(&mut host, &mut journal, usize::MAX);
    assert_eq!(host.now, first);
}
