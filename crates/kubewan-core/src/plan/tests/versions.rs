//! Old versions as whole plans.

use super::*;
use crate::inventory::{KubernetesSource, RuntimeSource};
use crate::versions::Version;

/// The usual recipe's cluster: Kubernetes 1.23.6, images of a mirror in China, flannel's own subnet, workloads on the control
/// plane too. Its runtime is containerd, since `dockershim` is not there yet.
fn recipe() -> Inventory {
    let text = r#"
name: kubernetes
kubernetes:
  version: "1.23.6"
  imageRepository: registry.aliyuncs.com/google_containers
runtime: { source: release }
network:
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/12
  dnsDomain: cluster.local
  backend: vxlan
hosts:
  - { name: master01, address: 198.51.100.10, roles: [control-plane, worker] }
  - { name: node01, address: 192.0.2.30, roles: [worker] }
"#;
    crate::inventory::parse_bytes("cluster.yaml", text.as_bytes()).expect("a good inventory")
}

#[test]
fn the_recipes_own_version_plans_as_it_is_written() {
    let inventory = recipe();
    assert_eq!(inventory.source(), KubernetesSource::Release);
    assert_eq!(inventory.runtime.source, RuntimeSource::Release);
    let plan = planned(&inventory, ClusterState::None, untouched);
    let mut text = String::new();
    for step in plan.changes() {
        let change = step.change.as_ref().expect("changes() has changes");
        text +=
            &format!("{:<13} {:<8} {}\n", step.step.phase.name(), step.step.host, change.summary);
    }
    for finding in &plan.findings {
        text += &format!(
            "\n{:?} {}: {}\n  {}\n",
            finding.severity, finding.code, finding.message, finding.remedy
        );
    }
    let config = plan.steps.iter().find_map(|planned| match &planned.step.action {
        Action::KubeadmInit(init) => Some(init.config.clone()),
        _ => None,
    });
    text += &format!("\n{}", config.expect("an init"));
    insta::assert_snapshot!(text);
    assert!(!plan.is_refused(), "{:?}", plan.findings);
    assert!(planned(&inventory, ClusterState::Done, reached).is_empty());
}

/// Whatever the version, a cluster that has reached its goals has nothing left to do.
#[test]
fn every_release_plans_and_comes_to_rest() {
    for release in crate::versions::RELEASES {
        let version = format!("1.{}.{}", release.minor, release.last_patch);
        let several = version.parse().is_ok_and(Version::joins_control_planes);
        let mut inventory =
            if several { samples::control_planes(3) } else { samples::inventory(3) };
        inventory.kubernetes.version = version;
        inventory.kubernetes.source = Some(KubernetesSource::Release);
        inventory.runtime.source = RuntimeSource::Release;
        inventory.accept = vec![crate::inventory::Acceptance::ControlPlaneExposed];
        let plan = planned(&inventory, ClusterState::None, untouched);
        assert!(!plan.is_refused(), "1.{}: {:?}", release.minor, plan.findings);
        let rest = planned(&inventory, ClusterState::Done, reached);
        assert!(rest.is_empty(), "1.{}: {:?}", release.minor, rest.changes().next());
    }
}
