//! Every kind of action has a way back or a reason to need none, and the order of the way.

use super::*;
use crate::action::alias::{AddressSettings, AliasSeen};
use crate::action::file::{BlockSeen, Extent, FileSeen, FileState, RemovedSeen};
use crate::action::firewall::{FirewallSeen, FirewallState};
use crate::action::kubeadm::{InitSeen, JoinSeen};
use crate::action::package::PackageSeen;
use crate::action::registry::{LoginsSeen, TrustSeen};
use crate::action::system::{HostnameSeen, SelinuxSeen, SwapSeen, SysctlSeen, TimeSyncSeen};
use crate::action::unit::{KubeletFlagSeen, UnitSeen};
use crate::action::{
    AliasOff, Block, Content, File, FirewallGoal, Hostname, KubeadmInit, KubeadmJoin, KubeletFlag,
    Package, RegistryLogins, SelinuxPermissive, SwapOff, Sysctl, SystemTrust, TimeSyncOn, Unit,
};
use crate::facts::FirewallTool;

/// Kinds that need no way back, and why.
const NO_WAY_BACK: &[(&str, &str)] = &[
    ("removed", "only resets remove"),
    ("module", "something else may use it by now, and it goes with the next boot"),
    ("swap-on", "a reset's"),
    ("alias-on", "a reset's"),
    ("selinux-enforcing", "a reset's"),
    ("unheld", "a reset's"),
    ("unmasked", "a reset's"),
    ("kubeadm-reset", "a reset's"),
    ("docker-engine", "its configuration is a file's step, its daemon a unit's"),
    ("image", "goes with the runtime's store"),
    ("link", "goes when the unit that makes it stops"),
    ("bootstrap-token", "goes with the cluster, and expires"),
    ("etcd-listens", "goes with the control plane, whose manifest it is"),
    ("uploaded-certs", "goes with the cluster, and expires"),
    ("object", "goes with the cluster"),
    ("node-meta", "goes with the cluster"),
    ("announced", "goes with the cluster"),
    ("spread", "goes with the cluster"),
];

pub(super) fn begun(number: u64, action: Action, before: Observed) -> Entry {
    let step = format!("h/{}:{}", action.kind(), action.subject());
    Entry::Begun(Box::new(Begun {
        number,
        run: "r".into(),
        step,
        action,
        before,
        unix_s: 0,
        reset: false,
    }))
}

fn along(number: u64, lines: &[&str]) -> Entry {
    Entry::Along { number, along: lines.iter().map(|line| (*line).to_owned()).collect() }
}

fn ids(journal: &[Entry]) -> Vec<String> {
    steps("h", journal).steps.into_iter().map(|step| step.id).collect()
}

fn package(names: &[&str], held: &[&str]) -> Action {
    let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    Action::Package(Package { names: own(names), held: own(held), ..Package::default() })
}

fn unit(name: &str, before: (&str, &str)) -> (Action, Observed) {
    let restart_on = vec!["/etc/x".to_owned()];
    let goal =
        Unit { name: name.into(), enabled: true, active: Some(true), restart_on, node: None };
    let (enabled, active) = (before.0.to_owned(), before.1.to_owned());
    (Action::Unit(goal), Observed::Unit(UnitSeen { loaded: true, enabled, active, stale: vec![] }))
}

fn alias_off() -> Action {
    let address = "198.51.100.10/24".parse().expect("an address");
    Action::AliasOff(AliasOff { interface: "eth0".into(), address })
}

fn label() -> AddressSettings {
    AddressSettings { label: "eth0:1".into(), scope: "global".into(), ..AddressSettings::default() }
}

#[test]
fn an_alias_comes_back_as_it_was_at_first() {
    let seen = |there| Observed::AliasOff(AliasSeen { there });
    let later = AddressSettings { label: "eth0".into(), ..label() };
    let (first, again) = (seen(Some(label())), seen(Some(later)));
    let reset = steps("h", &[begun(1, alias_off(), first), begun(2, alias_off(), again)]);
    assert_eq!(reset.steps.len(), 1);
    match &reset.steps[0].action {
        Action::AliasOn(on) => assert_eq!(on.settings, label()),
        other => panic!("{other:?}"),
    }
    assert_eq!(ids(&[begun(1, alias_off(), seen(None))]), Vec::<String>::new());
}

/// An entry of each kind that has a way back, with what it added.
fn samples() -> Vec<(Action, Observed, &'static [&'static str])> {
    let file = File::text("/etc/x", 0o644, "ours");
    let block = Block { path: "/etc/hosts".into(), lines: vec!["x".into()] };
    let sysctl = Sysctl { key: "a.b".into(), value: "1".into(), ..Sysctl::default() };
    let init = KubeadmInit {
        config: String::new(),
        ignore_preflight_errors: Vec::new(),
        node: "n".into(),
        endpoint: String::new(),
        timeout_s: 1,
        adopts: String::new(),
    };
    let join = KubeadmJoin {
        config: String::new(),
        discovery: String::new(),
        inputs: Vec::new(),
        ignore_preflight_errors: Vec::new(),
        node: "n".into(),
        endpoint: String::new(),
        timeout_s: 1,
        control_plane: false,
        adopts: String::new(),
    };
    let (on, seen) = unit("x.service", ("disabled", "inactive"));
    let swap = SwapSeen { active: vec!["/dev/vdb".into()], ..SwapSeen::default() };
    let selinux = SelinuxSeen { enforcing: true, ..SelinuxSeen::default() };
    let flag = KubeletFlag { name: "node-ip".into(), value: "1".into() };
    let off = FirewallGoal { tool: FirewallTool::Ufw, state: FirewallState::Off };
    vec![
        (Action::File(file), Observed::File(FileSeen::default()), &[]),
        (Action::Block(block), Observed::Block(BlockSeen::default()), &[]),
        (
            Action::Sysctl(sysctl),
            Observed::Sysctl(SysctlSeen { value: Some("0".into()), ..SysctlSeen::default() }),
            &[],
        ),
        (Action::SwapOff(SwapOff {}), Observed::SwapOff(swap), &[]),
        (alias_off(), Observed::AliasOff(AliasSeen { there: Some(label()) }), &[]),
        (
            Action::SelinuxPermissive(SelinuxPermissive {}),
            Observed::SelinuxPermissive(selinux),
            &[],
        ),
        (
            Action::Hostname(Hostname { name: "n".into() }),
            Observed::Hostname(HostnameSeen { running: "a".into(), configured: "a".into() }),
            &[],
        ),
        (
            Action::TimeSyncOn(TimeSyncOn {}),
            Observed::TimeSyncOn(TimeSyncSeen::default()),
            &["started:chrony.service"],
        ),
        (package(&["runc"], &[]), Observed::Package(PackageSeen::default()), &["package:runc"]),
        (on, seen, &[]),
        (
            Action::KubeletFlag(flag),
            Observed::KubeletFlag(KubeletFlagSeen::default()),
            &["kept:644:ab:/etc/default/kubelet"],
        ),
        (
            Action::RegistryLogins(RegistryLogins { logins: Vec::new(), gone: BTreeMap::new() }),
            Observed::RegistryLogins(LoginsSeen::default()),
            &["dir:/var/lib/kubelet"],
        ),
        (
            Action::SystemTrust(SystemTrust {
                name: "kubewan-r".into(),
                certificate: Some("x".into()),
            }),
            Observed::SystemTrust(TrustSeen::default()),
            &[],
        ),
        (Action::Firewall(off), Observed::Firewall(FirewallSeen::default()), &[]),
        (Action::KubeadmInit(init), Observed::KubeadmInit(InitSeen::default()), &[]),
        (Action::KubeadmJoin(join), Observed::KubeadmJoin(JoinSeen::default()), &[]),
    ]
}

#[test]
fn every_kind_has_a_way_back_or_a_reason() {
    let mut accounted: Vec<&str> = NO_WAY_BACK.iter().map(|(kind, _)| *kind).collect();
    for (action, before, lines) in samples() {
        let kind = action.kind();
        let way = ids(&[begun(1, action, before), along(1, lines)]);
        assert!(!way.is_empty(), "{kind} has no way back");
        accounted.push(kind);
    }
    accounted.sort_unstable();
    let mut kinds = Action::KINDS.to_vec();
    kinds.sort_unstable();
    assert_eq!(accounted, kinds);
}

#[test]
fn what_tells_of_one_file_is_taken_back_together() {
    let swap = SwapSeen { active: vec![], fstab: vec![], units: vec!["z.swap".into()] };
    let swap_off =
        |number| begun(number, Action::SwapOff(SwapOff {}), Observed::SwapOff(swap.clone()));
    let fstab = File::text("/etc/fstab", 0o644, "a");
    // Swap was first begun before the file was written, and edited it afterwards.
    let journal = [
        swap_off(1),
        begun(2, Action::File(fstab), Observed::File(FileSeen::default())),
        swap_off(3),
        along(3, &["kept:644,0,0:a:/etc/fstab", "masked:z.swap"]),
    ];
    let reset = steps("h", &journal);
    let ids: Vec<&str> = reset.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["h/file:/etc/fstab", "h/unmasked:z.swap"]);
    // After the first step alone, the second entry has to be there still: it says that there was no such file.
    assert_eq!(reset.undoes, BTreeMap::from([("h/unmasked:z.swap".to_owned(), vec![1, 2, 3])]));
}

/// chrony gives servers back when it reads its folder again, and of a file that went nothing is left to tell when.
#[test]
fn a_service_that_ran_reads_what_is_left_once_its_file_is_gone() {
    let path = "/etc/chrony/sources.d/kubewan.sources";
    let goal = |file: &str| Unit {
        name: "chrony.service".into(),
        enabled: true,
        active: Some(true),
        restart_on: vec![file.into()],
        node: None,
    };
    let (_, seen) = unit("chrony.service", ("enabled", "active"));
    let file = File::text(path, 0o644, "server 192.0.2.1 iburst\n");
    let journal = |before: FileSeen| {
        [
            begun(1, Action::File(file.clone()), Observed::File(before)),
            begun(2, Action::Unit(goal(path)), seen.clone()),
        ]
    };
    let back = |before: FileSeen| steps("h", &journal(before)).steps;
    let gone = back(FileSeen::default());
    assert_eq!(gone.last().unwrap().action, Action::Unit(goal("/etc/chrony/sources.d")));
    let was = FileSeen { sha256: Some("ab".into()), ..FileSeen::default() };
    assert_eq!(back(was).last().unwrap().action, Action::Unit(goal(path)));
}

#[test]
fn a_folder_that_was_foreign_stays_when_a_reset_comes_again() {
    let module = Action::Module(crate::action::Module { name: "m".into() });
    let mut journal = vec![
        begun(
            1,
            Action::File(File::text("/etc/x", 0o644, "a")),
            Observed::File(FileSeen::default()),
        ),
        along(1, &["foreign:/etc/cni"]),
        // Empty by then, which says nothing of how it was at first.
        begun(2, module, Observed::Module(crate::action::system::ModuleSeen::default())),
        along(2, &["contents:/etc/cni"]),
    ];
    let reset = steps("h", &journal);
    assert_eq!(reset.undoes, BTreeMap::from([("h/file:/etc/x".to_owned(), vec![1, 2])]));
    journal.extend([1, 2].map(|number| Entry::Undone { number }));
    assert_eq!(ids(&journal), Vec::<String>::new());
}

#[test]
fn the_oldest_word_on_a_file_counts() {
    let flag = |number, name: &str| {
        let goal = KubeletFlag { name: name.into(), value: "1".into() };
        let before = Observed::KubeletFlag(KubeletFlagSeen::default());
        begun(number, Action::KubeletFlag(goal), before)
    };
    // The first subject's second entry is younger than the second subject's.
    let journal = [
        flag(1, "node-ip"),
        flag(2, "v"),
        along(2, &["kept:600,7,8:first:/etc/default/kubelet"]),
        flag(3, "node-ip"),
        along(3, &["kept:644:second:/etc/default/kubelet", "left:third:/etc/default/kubelet"]),
    ];
    let reset = steps("h", &journal);
    let [step] = reset.steps.as_slice() else { panic!("{:?}", reset.steps) };
    let state =
        FileState::Present { content: Content::Blob("first".into()), mode: 0o600, owner: (7, 8) };
    let path = "/etc/default/kubelet".to_owned();
    assert_eq!(step.action, Action::File(File { path, state }));
    assert_eq!(reset.undoes[&step.id], [1, 2, 3]);
    assert!(reset.left[&step.id].contains("third"));
}

#[test]
fn services_that_ran_read_restored_files_and_folders_go_last() {
    let (goal, seen) = unit("containerd.service", ("enabled", "active"));
    let (other, idle) = unit("kubelet.service", ("static", "inactive"));
    let text = |path: &str| Action::File(File::text(path, 0o644, "x"));
    let absent = || Observed::File(FileSeen::default());
    let journal = [
        begun(1, text("/opt/cni/bin/x"), absent()),
        along(1, &["dir:/opt/cni", "dir:/opt/cni/bin", "dir:/etc/k"]),
        begun(2, goal, seen),
        begun(3, other, idle),
        begun(4, package(&["runc"], &[]), Observed::Package(PackageSeen::default())),
        along(4, &["package:runc", "tree:/var/lib/containerd", "contents:/run/x", "tree:/etc/k"]),
    ];
    let expected = [
        "h/unit:kubelet.service",
        "h/file:/opt/cni/bin/x",
        "h/package:runc",
        "h/unit:containerd.service",
        "h/removed:/var/lib/containerd",
        "h/removed:/run/x/*",
        "h/removed:/opt/cni/bin if empty",
        "h/removed:/opt/cni if empty",
        "h/removed:/etc/k",
    ];
    assert_eq!(ids(&journal), expected);
    let reset = steps("h", &journal);
    let Action::Unit(restored) = &reset.steps[0].action else { panic!() };
    assert!(!restored.enabled);
    let seen = UnitSeen { loaded: true, enabled: "static".into(), ..UnitSeen::default() };
    assert_eq!(restored.diff(&seen), None);
    let Action::Unit(restored) = &reset.steps[3].action else { panic!() };
    assert_eq!(restored.restart_on, ["/etc/x"]);
    let Action::Removed(last) = &reset.steps[8].action else { panic!() };
    assert_eq!(last.extent, Extent::Whole);
}

#[test]
fn packages_that_were_there_are_only_unheld() {
    let seen = |version: &str| {
        let installed = [("containerd", Some(version)), ("runc", None)];
        let installed = installed.map(|(n, v)| (n.to_owned(), v.map(str::to_owned))).to_vec();
        Observed::Package(PackageSeen { installed, held: vec![] })
    };
    let goal = package(&["containerd", "runc"], &["containerd", "runc"]);
    let ended = Entry::Ended { number: 1, after: seen("2"), along: vec!["package:runc".into()] };
    let reset = steps("h", &[begun(1, goal, seen("1")), ended]);
    let ids: Vec<&str> = reset.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["h/unheld:containerd", "h/package:runc"]);
    assert_eq!(reset.findings[0].code, "package-stays");
}

#[test]
fn an_edit_of_a_file_that_was_cut_short_is_spared() {
    let goal = Action::File(File::text("/etc/x", 0o644, "ours"));
    let journal = [begun(1, goal, Observed::File(FileSeen::default()))];
    for (now, spared) in [("ours", false), ("theirs", true)] {
        let mut reset = steps("h", &journal);
        let sha256 = Some(crate::sha256_hex(now.as_bytes()));
        let seen = Ok(Observed::File(FileSeen { sha256, ..FileSeen::default() }));
        let seen = BTreeMap::from([(reset.steps[0].id.clone(), seen)]);
        spare_foreign_edits(&mut reset, &seen);
        assert_eq!((reset.steps.is_empty(), reset.findings.len() == 1), (spared, spared), "{now}");
    }
}

#[test]
fn what_somebody_put_in_a_files_place_is_spared() {
    let goal = Action::File(File::text("/etc/x", 0o644, "ours"));
    let journal = [begun(1, goal, Observed::File(FileSeen::default()))];
    for other in ["symlink to /srv/x", "directory"] {
        let mut reset = steps("h", &journal);
        let seen = FileSeen { other: Some(other.into()), ..FileSeen::default() };
        let seen = BTreeMap::from([(reset.steps[0].id.clone(), Ok(Observed::File(seen)))]);
        spare_foreign_edits(&mut reset, &seen);
        assert_eq!((reset.steps.len(), reset.findings.len()), (0, 1), "{other}");
    }
}

#[test]
fn a_name_that_somebody_gave_since_stays() {
    let name = |name: &str| {
        Observed::Hostname(HostnameSeen { running: name.into(), configured: name.into() })
    };
    let goal = Action::Hostname(Hostname { name: "node01".into() });
    let journal = [begun(1, goal, name("vps-7"))];
    for (now, spared) in [("node01", false), ("vps-7", false), ("", false), ("shop", true)] {
        let mut reset = steps("h", &journal);
        let seen = BTreeMap::from([(reset.steps[0].id.clone(), Ok(name(now)))]);
        spare_foreign_edits(&mut reset, &seen);
        assert_eq!((reset.steps.is_empty(), reset.findings.len() == 1), (spared, spared), "{now}");
    }
}

/// What stays as something else may need it is named, and is no change.
#[test]
fn a_setting_that_may_be_needed_stays() {
    let sysctl = Sysctl { key: "a.b".into(), value: "1".into(), ..Sysctl::default() };
    let before = SysctlSeen { value: Some("0".into()), ..SysctlSeen::default() };
    let reset = steps("h", &[begun(1, Action::Sysctl(sysctl), Observed::Sysctl(before))]);
    for (needed_by, stays) in [(vec![], 0), (vec!["the tunnel wg0".to_owned()], 1)] {
        let now = Observed::Sysctl(SysctlSeen { value: Some("1".into()), needed_by });
        assert_eq!(
            crate::action::diff(&reset.steps[0].action, &now).unwrap().is_none(),
            stays == 1
        );
        let seen = BTreeMap::from([(reset.steps[0].id.clone(), Ok(now))]);
        let findings = settings_that_stay(&reset, &seen);
        assert_eq!(findings.len(), stays);
        assert!(
            findings.iter().all(|found| found
                .message
                .contains("stays 1, which may be needed: the tunnel wg0"))
        );
    }
}

#[test]
fn a_runtime_does_not_go_with_what_others_have_in_it() {
    let journal = [
        begun(1, package(&["docker.io"], &[]), Observed::Package(PackageSeen::default())),
        along(1, &["tree:/var/lib/docker", "tree:/var/lib/containerd"]),
    ];
    let reset = steps("h", &journal);
    let told = |volumes: &[&str], docker: &[&str], containerd: &[&str]| {
        let container = |id: &&str| Container {
            namespace: "default".into(),
            id: (*id).to_owned(),
            program: "nginx".into(),
        };
        let mut facts = Facts::default();
        facts.runtime.docker.others = docker.iter().map(container).collect();
        facts.runtime.docker.installed = !docker.is_empty() || !volumes.is_empty();
        facts.runtime.others = containerd.iter().map(container).collect();
        let volumes: Vec<String> = volumes.iter().map(|name| (*name).to_owned()).collect();
        let seen = |step: &Step| {
            let is_docker = step.action.subject() == "/var/lib/docker";
            let volumes = if is_docker { volumes.clone() } else { Vec::new() };
            Ok(Observed::Removed(RemovedSeen { exists: true, volumes }))
        };
        let seen = reset.steps.iter().map(|step| (step.id.clone(), seen(step))).collect();
        let found = others(&reset, &seen, &BTreeMap::from([("h".to_owned(), facts)]));
        found.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told(&[], &[], &[]), "");
    assert!(told(&["data"], &["web"], &["k8s"]).ends_with("Kubernetes': web (nginx), volume data"));
    assert!(told(&[], &[], &["web"]).starts_with("containerd came with kubewan"));
}

#[test]
fn an_edit_that_a_run_put_back_is_told_of_before_it_goes() {
    let sha = |text: &str| crate::sha256_hex(text.as_bytes());
    let seen = |text: &str| {
        Observed::File(FileSeen { sha256: Some(sha(text)), mode: 0o644, ..FileSeen::default() })
    };
    let goal = || Action::File(File::text("/etc/x", 0o644, "ours"));
    let ended = |number| Entry::Ended { number, after: seen("ours"), along: vec![] };
    for (second, told) in [("theirs", 1), ("ours", 0), ("first", 0)] {
        let journal =
            [begun(1, goal(), seen("first")), ended(1), begun(2, goal(), seen(second)), ended(2)];
        let reset = steps("h", &journal);
        assert_eq!(reset.findings.len(), told, "{second}: {:?}", reset.findings);
        assert_eq!(left(&journal), BTreeMap::from([("/etc/x".to_owned(), [sha("ours")].into())]));
    }
}

#[test]
fn a_docker_that_goes_is_not_started_again() {
    let running =
        UnitSeen { active: "active".into(), enabled: "enabled".into(), ..UnitSeen::default() };
    let unit = Unit {
        name: "docker.service".into(),
        enabled: true,
        active: Some(true),
        restart_on: vec!["/etc/docker/daemon.json".into()],
        node: None,
    };
    let package = |names: &[&str]| {
        let installed = names.iter().map(|name| ((*name).to_owned(), None)).collect();
        let seen = PackageSeen { installed, ..PackageSeen::default() };
        begun(1, package(names, &[]), Observed::Package(seen))
    };
    let restarted = begun(2, Action::Unit(unit), Observed::Unit(running));
    let came = |name: &str| along(1, &[&format!("package:{name}")]);
    let journal = |name: &str| [package(&[name]), came(name), restarted.clone()];
    let ids_of = |name: &str| ids(&journal(name));
    assert_eq!(ids_of("docker.io"), ["h/package:docker.io"]);
    let reset = steps("h", &journal("docker.io"));
    assert_eq!(reset.undoes["h/package:docker.io"], [1, 2], "both are taken back with the package");
    // One that was there before goes on, by its own settings.
    assert_eq!(ids_of("socat"), ["h/unit:docker.service", "h/package:socat"]);
    // A package that did not come along, and is there now, is who installed it's.
    assert_eq!(ids(&[package(&["docker.io"]), restarted]), ["h/unit:docker.service"]);
}

#[test]
fn a_service_that_was_off_is_off_again_however_often_it_was_restarted() {
    let name = || "chrony.service".to_owned();
    let on = begun(1, Action::TimeSyncOn(TimeSyncOn {}), Observed::TimeSyncOn(Default::default()));
    let noted = along(1, &["started:chrony.service", "enabled:chrony.service"]);
    let unit = Unit {
        name: name(),
        enabled: true,
        active: Some(true),
        restart_on: vec!["/etc/chrony/conf.d/kubewan.conf".into()],
        node: None,
    };
    let running =
        UnitSeen { active: "active".into(), enabled: "enabled".into(), ..UnitSeen::default() };
    let restarted = begun(2, Action::Unit(unit), Observed::Unit(running));
    let reset = steps("h", &[on, noted, restarted]);
    let [Step { action: Action::Unit(unit), .. }] = &reset.steps[..] else {
        panic!("{:?}", reset.steps)
    };
    assert_eq!((&unit.name, unit.enabled, unit.active), (&name(), false, Some(false)));
}

#[test]
fn a_file_of_logins_goes_or_is_put_back_as_it_was_first() {
    let logins =
        || Action::RegistryLogins(RegistryLogins { logins: Vec::new(), gone: BTreeMap::new() });
    let seen = |exists| Observed::RegistryLogins(LoginsSeen { exists, ..LoginsSeen::default() });
    let step = |journal: &[Entry]| {
        let reset = steps("h", journal);
        let of = |step: &&Step| step.id == "h/file:/var/lib/kubelet/config.json";
        let steps: Vec<&Step> = reset.steps.iter().filter(of).collect();
        assert_eq!(steps.len(), 1, "{:?}", reset.steps);
        steps[0].action.clone()
    };
    // Ours, changed once more: the second entry saw a file that was there.
    let ours = [begun(1, logins(), seen(false)), begun(2, logins(), seen(true))];
    let absent =
        |action: &Action| matches!(action, Action::File(File { state: FileState::Absent, .. }));
    assert!(absent(&step(&ours)));
    let kept = along(1, &["kept:644,0,0:ab:/var/lib/kubelet/config.json"]);
    let theirs = [begun(1, logins(), seen(true)), kept, begun(2, logins(), seen(true))];
    let back = step(&theirs);
    assert!(format!("{back:?}").contains("Blob(\"ab\")"), "{back:?}");
}

#[test]
fn settings_that_go_with_a_purged_package_are_put_back_after_it() {
    let path = "/etc/containerd/config.toml";
    let file = |text: &str| Action::File(File::text(path, 0o644, text));
    let seen = |sha256: Option<&str>| {
        Observed::File(FileSeen { sha256: sha256.map(str::to_owned), ..FileSeen::default() })
    };
    let (goal, before) = (package(&["containerd"], &[]), Observed::Package(PackageSeen::default()));
    let came = || along(2, &["package:containerd"]);
    let order = |first: Option<&str>| {
        let entries =
            [begun(1, file("ours"), seen(first)), begun(2, goal.clone(), before.clone()), came()];
        let ids = ids(&entries);
        let place = |kind: &str| ids.iter().position(|id| id.starts_with(kind)).expect(kind);
        (place("h/file:"), place("h/package:"))
    };
    let (theirs, purge) = order(Some("ab"));
    assert!(theirs > purge);
    let (gone, purge) = order(None);
    assert!(gone < purge);
}
