//! containerd and the images.

use crate::action::{Action, Artifact, File, Image, Package, Unit};
use crate::bundle::{self, ArtifactKind};
use crate::facts::Facts;
use crate::inventory::{Host, RuntimeSource};
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::render::containerd::{self, Containerd};

/// containerd's configuration.
pub(in crate::plan) const CONFIG: &str = "/etc/containerd/config.toml";

/// What containerd and kubeadm's preflight need from the distribution.
const DISTRIBUTION_PACKAGES: [&str; 6] =
    ["containerd", "runc", "conntrack", "iptables", "ethtool", "socat"];
/// Packages whose upgrade would restart or change a running cluster.
const HELD: [&str; 2] = ["containerd", "runc"];
/// Images that only a control plane runs.
const CONTROL_PLANE_IMAGES: [&str; 4] =
    ["/kube-apiserver", "/kube-controller-manager", "/kube-scheduler", "/etcd"];

pub(in crate::plan) fn steps(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let step = |action, why: &str| Step::new(Phase::Runtime, &host.name, action, why);
    let bundle = view.inputs.bundle;
    let arch = &facts.kernel.arch;
    let package = package(view, facts);
    let config = config(view, facts);
    // The file comes before the package, which then starts containerd once, with the right settings.
    let mut steps = vec![
        step(
            Action::File(File::text(CONFIG, 0o644, config)),
            "kubelet and containerd must use one cgroup driver, and the pause image that kubeadm expects",
        ),
        step(
            Action::Package(package),
            "Kubernetes needs a container runtime; held, so that no upgrade restarts it",
        ),
        step(
            Action::Unit(Unit {
                name: "containerd.service".into(),
                enabled: true,
                active: Some(true),
                restart_on: vec![CONFIG.into()],
            }),
            "the kubelet speaks to it",
        ),
    ];
    for image in bundle.of(ArtifactKind::Image, arch).filter(|image| runs_on(host, image)) {
        let action =
            Action::Image(Image { reference: image.name.clone(), artifact: artifact(image) });
        steps.push(step(action, "from the bundle: no registry is needed"));
    }
    steps
}

/// The text of containerd's configuration.
pub(in crate::plan) fn config(view: &View, facts: &Facts) -> String {
    let version = containerd_version(view, facts);
    let pause = view.inventory.pause_image();
    containerd::config(&Containerd {
        version: version.as_deref(),
        pause: &pause,
        extra: &view.inventory.runtime.containerd,
    })
}

fn package(view: &View, facts: &Facts) -> Package {
    let held = HELD.map(str::to_owned).to_vec();
    match view.inventory.runtime.source {
        RuntimeSource::Distribution => Package {
            names: DISTRIBUTION_PACKAGES.map(str::to_owned).to_vec(),
            artifacts: Vec::new(),
            held,
            absent: false,
        },
        RuntimeSource::Bundle => {
            let distribution = facts.os.distribution();
            let packages: Vec<&bundle::Artifact> =
                view.inputs.bundle.packages(&distribution, &facts.kernel.arch).collect();
            Package {
                names: packages.iter().map(|p| p.name.clone()).collect(),
                artifacts: packages.iter().map(|p| artifact(p)).collect(),
                held,
                absent: false,
            }
        }
    }
}

/// The containerd that the host will run: the bundle's, else the one that is there, else what its package manager has.
pub(in crate::plan) fn containerd_version(view: &View, facts: &Facts) -> Option<String> {
    let runtime = &facts.runtime;
    match view.inventory.runtime.source {
        RuntimeSource::Bundle => bundled_version(view, facts).or(runtime.containerd.clone()),
        RuntimeSource::Distribution => {
            runtime.containerd.clone().or(runtime.containerd_offered.clone())
        }
    }
}

fn bundled_version(view: &View, facts: &Facts) -> Option<String> {
    view.inputs
        .bundle
        .packages(&facts.os.distribution(), &facts.kernel.arch)
        .find(|package| package.name == "containerd")
        .map(|package| package.version.clone())
}

fn runs_on(host: &Host, image: &bundle::Artifact) -> bool {
    let repository =
        image.name.rsplit_once(':').map_or(image.name.as_str(), |(repository, _)| repository);
    host.is_control_plane() || !CONTROL_PLANE_IMAGES.iter().any(|end| repository.ends_with(end))
}

/// A bundle's file as a host gets it.
pub(in crate::plan) fn artifact(of: &bundle::Artifact) -> Artifact {
    let name = of.path.rsplit('/').next().unwrap_or(&of.path).to_owned();
    Artifact { sha256: of.sha256.clone(), size: of.size, name }
}
