//! A pause image that can't be had: no pod gets a sandbox.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{HostCase, has_any};
use crate::diagnosis::{Diagnosis, Goal, goal};

pub(super) const CHECK: Check = Check {
    code: "pause-image",
    means: "the pause image can't be pulled, so that no pod starts",
    looks_at: "`failed to get sandbox image` and `failed to pull image …pause` in the logs of kubelet and containerd",
    explains: &["init-timeout", "node-not-ready", "no-cni", "api-refused"],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &HostCase| {
            let said = host.says_now(&[Component::Kubelet, Component::Containerd], is_said)?;
            // A registry that was away for a minute leaves the words, and pods that run.
            let ill = host.is_pasted() || case.node_may_be_ill(host) || is_stuck(case, host);
            if !ill || was_had_since(host) {
                return None;
            }
            let by_docker =
                case.uses_docker(host) || said.text.contains("Error response from daemon");
            let (remedy, fix) =
                if by_docker { (DOCKERS, DOCKERS_FIX) } else { (CONTAINERDS, CONTAINERDS_FIX) };
            Some(
                Diagnosis::error("pause-image", host.who(), "no pod starts, and `kubeadm init` waits in vain for the control plane")
                    .cause("the runtime can't get the pause image that every pod begins with: its registry can't be reached, or the image is not there")
                    .seen([said])
                    .remedy(remedy)
                    .fix(fix),
            )
        };
        case.present().filter_map(of).collect()
    },
};

const CONTAINERDS: &str = "name one that can be had: `sandbox_image` in /etc/containerd/config.toml (containerd 1), \
     `pinned_images.sandbox` (2), for instance registry.aliyuncs.com/google_containers/pause; \
     kubeadm's `imageRepository` does not reach containerd. With kubewan: `kubernetes.imageRepository`, \
     `mirrors.images`, or a bundle";
const CONTAINERDS_FIX: &[Goal] = &[
    goal("image", "/pause:"),
    goal("file", "/etc/containerd/config.toml"),
    goal("unit", "containerd.service"),
];

/// cri-dockerd has an argument of its own; with dockershim it is the kubelet's, which kubeadm writes.
const DOCKERS: &str = "name one that can be had, for instance registry.aliyuncs.com/google_containers/pause: \
     `--pod-infra-container-image` in the unit cri-docker.service, up to Kubernetes 1.23 without cri-dockerd in \
     /var/lib/kubelet/kubeadm-flags.env. With kubewan: `kubernetes.imageRepository`, `mirrors.images`, or a bundle";
const DOCKERS_FIX: &[Goal] = &[
    goal("image", "/pause:"),
    goal("file", "cri-docker.service"),
    goal("unit", "cri-docker.service"),
];

fn is_said(line: &str) -> bool {
    // Somebody's own image may be called the same.
    let is_containers =
        has_any(line, &["StartContainer", "ErrImagePull", "PullImage", "kuberuntime_image.go"]);
    line.contains("failed to get sandbox image")
        || (line.contains("/pause:")
            && !is_containers
            && has_any(
                line,
                &[
                    "failed to pull image",
                    "failed to pull and unpack image",
                    "failed to resolve",
                    // Docker's (`ensureSandboxImageExists` in core/helpers.go of Mirantis/cri-dockerd, and dockershim's before).
                    "failed pulling image",
                ],
            ))
}

/// containerd has made a sandbox after the last failure (`RunPodSandbox … returns sandbox id`, its internal/cri/instrument).
fn was_had_since(host: &HostCase) -> bool {
    let failed = host.said_at(&[Component::Kubelet, Component::Containerd], is_said);
    let made = host.said_at(&[Component::Containerd], |line| line.contains("returns sandbox id"));
    matches!((made, failed), (Some(made), Some(failed)) if made > failed)
}

fn is_stuck(case: &crate::Case, host: &HostCase) -> bool {
    let mut pods = case.cluster.iter().flat_map(|cluster| &cluster.pods);
    pods.any(|pod| Some(pod.node.as_str()) == host.who() && !pod.ready && !pod.waiting.is_empty())
}
