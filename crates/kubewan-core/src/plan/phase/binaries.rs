//! kubeadm, kubelet, kubectl, the CNI plugins, and the kubelet's unit.

use super::control_plane::node;
use super::runtime::{artifact, excluding, repository};
use crate::action::registry::LOGINS;
use crate::action::{Action, File, KubeletFlag, Package, Unit};
use crate::bundle::ArtifactKind;
use crate::facts::{ClusterState, Facts};
use crate::inventory::{Host, Inventory, KubernetesSource};
use crate::packages;
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::kubeadm::{accepted_args, kubelet_args};
use crate::render::unit;
use crate::supply;

/// The kubelet's unit and what changes its command line.
pub(in crate::plan) const UNIT: &str = "/etc/systemd/system/kubelet.service";
const DROP_IN: &str = "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf";

/// Kubernetes' packages. What they depend on comes with them: kubernetes-cni and cri-tools.
const PACKAGES: [&str; 3] = ["kubeadm", "kubectl", "kubelet"];

pub(in crate::plan) fn steps(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let step = |action, why: &str| Step::new(Phase::Binaries, &host.name, action, why);
    let mut steps = match view.inventory.source() {
        KubernetesSource::Packages => packages(view, host, facts),
        KubernetesSource::Release | KubernetesSource::Bundle => files(view, host, facts),
    };
    let node = node(view, host, facts);
    let accepted = accepted_args(view.inventory, &node);
    for (name, value) in kubelet_args(view.inventory, &node) {
        let why = match name.as_str() {
            "node-ip" => {
                "the node is known by its public address; another file that sets it would win"
            }
            name if accepted.contains_key(name) => {
                "the inventory accepts it, and the kubelet would not start"
            }
            _ => "the inventory's kubeletArgs",
        };
        steps.push(step(Action::KubeletFlag(KubeletFlag { name, value }), why));
    }
    // Before kubeadm has configured it the kubelet can only fail, so that nobody waits for it.
    let active = (facts.kubernetes.state == ClusterState::Done).then_some(true);
    let program = format!("{}/kubelet", supply::bin(view.inventory));
    let mut restart_on = match view.inventory.source() {
        KubernetesSource::Packages => vec![program],
        KubernetesSource::Release | KubernetesSource::Bundle => {
            vec![UNIT.into(), DROP_IN.into(), program]
        }
    };
    // The kubelet keeps logins, and that there are none, for five minutes (pkg/credentialprovider/provider.go).
    if view.inventory.registries.iter().any(|registry| registry.username.is_some())
        || !facts.own.logins.is_empty()
    {
        restart_on.push(LOGINS.into());
    }
    steps.push(step(
        Action::Unit(Unit {
            name: "kubelet.service".into(),
            enabled: true,
            active,
            restart_on,
            node: None,
        }),
        "the kubelet comes back after a reboot",
    ));
    steps
}

/// Units that the kubelet waits for.
fn runtime_units(inventory: &Inventory) -> &'static str {
    match (inventory.is_docker(), inventory.uses_cri_dockerd()) {
        (false, _) => "containerd.service",
        (true, true) => "docker.service cri-docker.service",
        (true, false) => "docker.service",
    }
}

/// Programs and the kubelet's unit as files.
fn files(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let step = |action, why: &str| Step::new(Phase::Binaries, &host.name, action, why);
    let bundle = view.inputs.bundle;
    let arch = &facts.kernel.arch;
    let mut steps = Vec::new();
    for program in bundle.of(ArtifactKind::Binary, arch) {
        let path = format!("{}/{}", supply::FILES_BIN, program.name);
        let why = format!("Kubernetes {}", program.version);
        steps.push(step(Action::File(File::program(path, artifact(program))), &why));
    }
    for plugin in bundle.of(ArtifactKind::CniPlugin, arch) {
        let path = format!("/opt/cni/bin/{}", plugin.name);
        steps.push(step(
            Action::File(File::program(path, artifact(plugin))),
            "pods get their network through it",
        ));
    }
    steps.push(step(
        Action::File(File::text(UNIT, 0o644, unit::kubelet_unit(runtime_units(view.inventory)))),
        "systemd keeps the kubelet running",
    ));
    steps.push(step(
        Action::File(File::text(DROP_IN, 0o644, unit::kubelet_drop_in())),
        "the kubelet reads the arguments that kubeadm writes",
    ));
    steps
}

/// Packages, which bring the kubelet's unit.
fn packages(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let wanted = &view.inventory.kubernetes.version;
    let manager = packages::manager(&facts.os);
    let of = supply::kubernetes_repository(view.inventory, &facts.os);
    let mut steps = match &of {
        Some(of) => repository(view, host, Phase::Binaries, of),
        None => Vec::new(),
    };
    let names: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
    let package = Package {
        held: if manager.is_rpm() { Vec::new() } else { names.clone() },
        repository: excluding(manager, of),
        versions: names.iter().map(|name| (name.clone(), wanted.clone())).collect(),
        names,
        origin: view.inventory.mirrors.packages.to_string(),
        ..Package::default()
    };
    steps.push(Step::new(
        Phase::Binaries,
        &host.name,
        Action::Package(package),
        "Kubernetes' programs and the CNI plugins; held, so that no upgrade of the system changes the cluster",
    ));
    steps
}
