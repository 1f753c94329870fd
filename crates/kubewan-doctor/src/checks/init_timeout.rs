//! A `kubeadm init` that waited in vain, in the words of each version. The words are the same for every cause.

use super::Check;
use crate::case::has_any;
use crate::diagnosis::Diagnosis;

/// What kubeadm says, with the versions that say it (cmd/kubeadm/app/util/apiclient/wait.go and
/// cmd/kubeadm/app/cmd/phases/init/waitcontrolplane.go of these).
const WORDS: [&str; 10] = [
    // 1.22 to 1.28.
    "Initial timeout of 40s passed",
    "couldn't initialize a Kubernetes cluster",
    // 1.29 to 1.31.
    "[api-check] The API server is not healthy after",
    // 1.30 and later.
    "could not initialize a Kubernetes cluster",
    // 1.31 and later, for each part of the control plane.
    "[control-plane-check] kube-apiserver is not healthy after",
    "[control-plane-check] kube-controller-manager is not healthy after",
    "[control-plane-check] kube-scheduler is not healthy after",
    // 1.36, whose first call to the API is the admin's binding.
    "wait-control-plane: cannot obtain client without bootstrap",
    "could not bootstrap the admin user in file admin.conf",
    "error execution phase wait-control-plane",
];

pub(super) const CHECK: Check = Check {
    code: "init-timeout",
    means: "`kubeadm init` waited in vain for the control plane; its words don't tell why",
    looks_at: "the words of kubeadm 1.22 to 1.36",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let quote =
                host.said(&[], |line| has_any(line, &WORDS)).filter(|_| host.is_pasted())?;
            Some(
                Diagnosis::error("init-timeout", None, "`kubeadm init` ends after its time-out")
                    .cause(
                        "the control plane did not come up, and these words are the same for every reason: an address that etcd can't bind (behind NAT), \
                         a NAT without hairpin, images that can't be pulled, another cgroup driver. etcd's log and the kubelet's tell them apart",
                    )
                    .seen([quote])
                    .remedy(
                        "on the host: `sudo sh -c 'cat /var/log/pods/kube-system_etcd-*/etcd/*.log; journalctl -u kubelet -n 200' > log`, then \
                         `kubewan doctor --log log`. No such folder: the images are missing, or the kubelet does not run",
                    ),
            )
        };
        case.present().filter_map(of).collect()
    },
};
