//! For every kind of action: exactly that is damaged by hand, and the plan says exactly that. Damage adds up over
//! some rounds; one `up` mends it all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kubewan_core::action::Action;

use super::{Road, STALE_ARGUMENT};
use crate::support::Kubernetes;

/// Something done to a host by hand.
struct Damage {
    /// Kinds of action whose goals it takes away.
    kinds: &'static [&'static str],
    /// Why a rehearsal can't have it.
    not_in_a_rehearsal: Option<&'static str>,
    /// Does it, and names the steps that the plan has to show for it.
    by_hand: fn(&Scene) -> Vec<String>,
}

const fn damage(kinds: &'static [&'static str], by_hand: fn(&Scene) -> Vec<String>) -> Damage {
    Damage { kinds, not_in_a_rehearsal: None, by_hand }
}

/// Rounds with a plan after each. What is done to nodes comes after what needs them to work.
const ROUNDS: &[&[Damage]] = &[
    &[
        damage(&["file"], file),
        damage(&["block"], block),
        damage(&["sysctl"], sysctl),
        damage(&["swap-off"], swap),
        damage(&["hostname"], hostname),
        damage(&["firewall"], firewall),
        damage(&["module"], module),
        damage(&["selinux-permissive"], selinux),
        damage(&["time-sync-on"], time_sync),
    ],
    &[
        damage(&["package"], package),
        damage(&["image"], image),
        damage(&["unit"], unit),
        damage(&["link"], link),
        damage(&["kubelet-flag"], kubelet_flag),
    ],
    &[
        damage(&["object"], object),
        damage(&["node-meta"], node_meta),
        Damage {
            kinds: &["announced"],
            not_in_a_rehearsal: Some("its flannel has no pod that could be started again"),
            by_hand: announced,
        },
        Damage {
            kinds: &["spread"],
            not_in_a_rehearsal: Some("it has no scheduler and no pods to crowd together"),
            by_hand: spread,
        },
    ],
    &[
        damage(&["kubeadm-init"], control_plane),
        damage(&["kubeadm-join", "bootstrap-token", "node-meta", "announced"], node),
        damage(&["kubeadm-join"], kubelet_conf),
    ],
];

/// Kinds that stand in the plan of `reset` only: they are ways back, and no state that an `up` keeps.
const WAYS_BACK: &[(&str, &str)] = &[
    ("removed", "the end of the story compares"),
    ("kubeadm-reset", "the end of the story compares"),
    ("selinux-enforcing", "the end of the story compares"),
    ("alias-on", "the story of what was begun by hand compares"),
    ("swap-on", "hosts have no swap area"),
    ("unheld", "where a package was there before"),
    ("unmasked", "where a swap unit was masked"),
];

/// Kinds that only clusters with Docker have.
const OF_DOCKER: &[(&str, &str)] = &[("docker-engine", "the story of Docker changes its driver")];

/// Kinds that only clusters of several control planes have.
const OF_SEVERAL_CONTROL_PLANES: &[(&str, &str)] = &[
    ("etcd-listens", "the story of control planes begins with an etcd that listens elsewhere"),
    ("uploaded-certs", "the same story mends a control plane whose keys are gone with them"),
];

/// Kinds that only clusters with registries of their own have.
const OF_REGISTRIES: &[(&str, &str)] = &[
    ("registry-logins", "the story of registries changes a password"),
    ("system-trust", "the same story asks for it later"),
];

/// Kinds that only hosts have on which somebody did something by hand.
const OF_SOMEBODY: &[(&str, &str)] =
    &[("alias-off", "the story of what was begun by hand begins with such an address")];

#[test]
fn every_kind_of_action_has_its_damage_or_is_a_way_back() {
    let damaged = ROUNDS.iter().copied().flatten().flat_map(|damage| damage.kinds.iter().copied());
    let others = WAYS_BACK
        .iter()
        .chain(OF_SEVERAL_CONTROL_PLANES)
        .chain(OF_REGISTRIES)
        .chain(OF_DOCKER)
        .chain(OF_SOMEBODY)
        .map(|(kind, _)| *kind);
    let told: BTreeSet<&str> = damaged.chain(others).collect();
    assert_eq!(told, Action::KINDS.iter().copied().collect());
}

/// A cluster at rest and the goals that it has reached.
struct Scene<'a> {
    road: &'a Road,
    steps: Vec<String>,
}

impl Scene<'_> {
    fn on(&self, host: &str, line: &str) {
        self.road.stage.on(host, line);
    }

    fn kubectl(&self, arguments: &str) -> String {
        self.road.stage.kubectl(arguments)
    }

    /// The step whose id begins so, where there is only one.
    fn step(&self, begins: &str) -> Vec<String> {
        let found: Vec<&String> = self.steps.iter().filter(|id| id.starts_with(begins)).collect();
        assert_eq!(found.len(), 1, "`{begins}` is not one step: {found:?}");
        vec![found[0].clone()]
    }
}

/// Damages everything, round after round, and has it mended.
pub fn every_kind(road: &mut Road) {
    let scene = Scene { steps: road.stage.steps(), road };
    let mut expected = BTreeSet::new();
    for round in ROUNDS {
        for damage in *round {
            expected.extend(done(damage, &scene));
        }
        let planned: BTreeSet<String> = road.stage.planned().into_iter().collect();
        assert_eq!(planned, expected, "the plan is not what was damaged");
    }
    let up = road.timed("mending up", &["up", "--yes", "--no-smoke"]);
    eprintln!("{}", up.stderr);
    up.expect_code(0);
    road.at_rest("after everything was mended");
}

/// Does one damage and gives the steps that have to undo it.
fn done(damage: &Damage, scene: &Scene) -> Vec<String> {
    let kinds = damage.kinds.join(", ");
    if let (Kubernetes::Rehearsal, Some(reason)) =
        (scene.road.kubernetes, damage.not_in_a_rehearsal)
    {
        eprintln!("{kinds}: not in a rehearsal, since {reason}");
        return Vec::new();
    }
    let steps = (damage.by_hand)(scene);
    let damaged: BTreeSet<&str> = steps.iter().map(|id| kind(id)).collect();
    assert_eq!(damaged, damage.kinds.iter().copied().collect(), "{steps:?}");
    eprintln!("damaged by hand: {}", steps.join(", "));
    steps
}

/// `node01/sysctl:net.ipv4.ip_forward` is of kind `sysctl`.
fn kind(id: &str) -> &str {
    let rest = id.split_once('/').map_or(id, |(_, rest)| rest);
    rest.split_once(':').map_or(rest, |(kind, _)| kind)
}

fn file(scene: &Scene) -> Vec<String> {
    scene.on("node01", "echo '# a line' >> /etc/sysctl.d/99-zz-kubewan.conf");
    scene.step("node01/file:/etc/sysctl.d/99-zz-kubewan.conf")
}

fn block(scene: &Scene) -> Vec<String> {
    scene.on("node02", "grep -q ' node01$' /etc/hosts && sed -i '/ node01$/d' /etc/hosts");
    scene.step("node02/block:/etc/hosts")
}

fn sysctl(scene: &Scene) -> Vec<String> {
    scene.on("node01", "sysctl -q -w net.ipv4.ip_forward=0");
    scene.step("node01/sysctl:net.ipv4.ip_forward")
}

fn swap(scene: &Scene) -> Vec<String> {
    scene.on("node01", "echo '/swapfile none swap sw 0 0' >> /etc/fstab");
    scene.step("node01/swap-off:")
}

fn hostname(scene: &Scene) -> Vec<String> {
    scene.on("node01", "echo vps-4712 > /etc/hostname && hostname vps-4712");
    scene.step("node01/hostname:")
}

/// One firewall was off and then in no plan, so its step is a new one; the other has lost a rule.
fn firewall(scene: &Scene) -> Vec<String> {
    scene.on("node02", "systemctl enable --now nftables.service");
    let peer = scene.road.address("node01");
    scene.on("master01", &format!("ufw delete allow from {peer} to any port 8472 proto udp"));
    let [ufw] = scene.step("master01/firewall:ufw").try_into().expect("one step");
    vec!["node02/firewall:nftables.service".into(), ufw]
}

/// The kernel's modules can't be unloaded below others' feet: what tells of one is hidden, and is seen again once
/// `modprobe` is asked to load it.
fn module(scene: &Scene) -> Vec<String> {
    scene.on(
        "node01",
        "set -e; grep -v overlay /proc/filesystems > /run/filesystems; \
         mount --bind /run/filesystems /proc/filesystems; mount -t tmpfs -o mode=755 none /sys/module; \
         printf '#!/bin/sh -e\\n[ \"$*\" = overlay ]\\numount /sys/module /proc/filesystems\\n' \
         > /usr/local/sbin/modprobe; \
         echo 'rm /run/filesystems /usr/local/sbin/modprobe' >> /usr/local/sbin/modprobe; \
         chmod 755 /usr/local/sbin/modprobe",
    );
    scene.step("node01/module:overlay")
}

fn selinux(scene: &Scene) -> Vec<String> {
    scene.on("node01", "grep -q '^SELINUX=permissive$' /etc/selinux/config");
    scene.on("node01", "grep -q 0 /sys/fs/selinux/enforce && echo 1 > /sys/fs/selinux/enforce");
    scene.step("node01/selinux-permissive:")
}

fn time_sync(scene: &Scene) -> Vec<String> {
    scene.on("node01", "systemctl -q is-active chrony.service && systemctl stop chrony.service");
    scene.step("node01/time-sync-on:")
}

fn package(scene: &Scene) -> Vec<String> {
    scene.on("node01", "apt-mark unhold containerd");
    scene.step("node01/package:")
}

/// An image that no container of the host runs, where there is one.
fn image(scene: &Scene) -> Vec<String> {
    const BEGIN: &str = "node02/image:";
    let mut images = scene.steps.iter().filter(|id| id.starts_with(BEGIN));
    let coredns = images.clone().find(|id| id.contains("coredns"));
    let step = coredns.or_else(|| images.next()).expect("an image of the bundle's");
    scene.on("node02", &format!("ctr -n k8s.io images rm {}", &step[BEGIN.len()..]));
    vec![step.clone()]
}

fn unit(scene: &Scene) -> Vec<String> {
    scene.on("node02", "systemctl disable kubelet.service");
    scene.step("node02/unit:kubelet.service")
}

fn link(scene: &Scene) -> Vec<String> {
    scene.on("node02", "ip link del kubewan0");
    scene.step("node02/link:kubewan0")
}

/// The line in another file wins over kubeadm's, and the node goes by an address that nobody else reaches.
fn kubelet_flag(scene: &Scene) -> Vec<String> {
    scene.on("master01", &format!("echo {STALE_ARGUMENT} > /etc/default/kubelet"));
    scene.on("master01", "systemctl restart kubelet.service");
    scene.step("master01/kubelet-flag:--node-ip")
}

fn object(scene: &Scene) -> Vec<String> {
    scene.kubectl("delete configmap -n kube-flannel kube-flannel-cfg");
    scene.step("master01/object:ConfigMap kube-flannel/kube-flannel-cfg")
}

fn node_meta(scene: &Scene) -> Vec<String> {
    scene.kubectl("label node node01 node-role.kubernetes.io/worker-");
    scene.step("master01/node-meta:node node01")
}

fn announced(scene: &Scene) -> Vec<String> {
    let wrong = "flannel.alpha.coreos.com/public-ip=192.0.2.99";
    scene.kubectl(&format!("annotate --overwrite node node01 {wrong}"));
    scene.step("master01/announced:node node01")
}

/// Both of CoreDNS's pods on the first node.
fn spread(scene: &Scene) -> Vec<String> {
    const PODS: &str = "-n kube-system -l k8s-app=kube-dns";
    let each = "{range .items[*]}{.spec.nodeName}:{.status.containerStatuses[0].ready} {end}";
    scene.kubectl("cordon node01 node02");
    scene.kubectl(&format!("delete pod {PODS}"));
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let pods = scene.kubectl(&format!("get pod {PODS} -o 'jsonpath={each}'"));
        if pods.trim() == "master01:true master01:true" {
            break;
        }
        assert!(Instant::now() < deadline, "CoreDNS's pods are on: {pods}");
        std::thread::sleep(Duration::from_secs(1));
    }
    scene.kubectl("uncordon node01 node02");
    scene.step("master01/spread:kube-system/coredns")
}

fn control_plane(scene: &Scene) -> Vec<String> {
    scene.on("master01", "rm /etc/kubernetes/manifests/kube-scheduler.yaml");
    scene.step("master01/kubeadm-init:")
}

/// A node that the API has forgotten joins again, is marked again and announced again.
fn node(scene: &Scene) -> Vec<String> {
    scene.kubectl("delete node node02");
    ["node02/kubeadm-join:", "master01/bootstrap-token:"]
        .into_iter()
        .chain(["master01/node-meta:node node02", "master01/announced:node node02"])
        .flat_map(|begins| scene.step(begins))
        .collect()
}

fn kubelet_conf(scene: &Scene) -> Vec<String> {
    scene.on("node01", "rm /etc/kubernetes/kubelet.conf");
    scene.step("node01/kubeadm-join:")
}
