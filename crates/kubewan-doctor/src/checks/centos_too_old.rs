//! CentOS below 7.8, on which the recipe saw `kubeadm init` fail.

use kubewan_core::facts::Os;

use super::{Check, NODE};
use crate::diagnosis::{Diagnosis, Quote};

/// Red Hat's kernel of 7.8 (its table "Red Hat Enterprise Linux Release Dates"); those before have a lower number behind 3.10.0.
const KERNEL: u32 = 1127;

pub(super) const CHECK: Check = Check {
    code: "centos-too-old",
    means: "CentOS 7 before 7.8: its kernel and libraries are older than Kubernetes works with",
    looks_at: "/etc/centos-release, the kernel's release",
    explains: NODE,
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let release = host.file("/etc/centos-release").filter(|text| is_old_release(text));
            let quote = match (&host.facts, release) {
                (_, Some(text)) => Some(Quote::new("/etc/centos-release", text)),
                (Some(facts), None)
                    if is_centos(&facts.os) && is_old_kernel(&facts.kernel.release) =>
                {
                    Some(Quote::new("uname -r", &facts.kernel.release))
                }
                (Some(_), None) => None,
                (None, None) => host.said(&[], |line| is_old_release(line) || is_old_kernel(line)),
            }?;
            Some(
                Diagnosis::error("centos-too-old", host.who(), "`kubeadm init` or a join ends with a time-out")
                    .cause("it is CentOS before 7.8, on which the usual blog recipe saw `kubeadm init` fail (7.2, 7.5) until it was brought to 7.9")
                    .seen([quote])
                    .remedy("`yum update -y` to 7.9 and reboot; CentOS 7 itself gets no updates any more, so better a newer system"),
            )
        };
        case.present().filter_map(of).collect()
    },
};

fn is_centos(os: &Os) -> bool {
    os.id == "centos"
}

/// `CentOS Linux release 7.5.1804 (Core)`
fn is_old_release(text: &str) -> bool {
    let Some((_, version)) = text.split_once("CentOS Linux release 7.") else { return false };
    version.split('.').next().and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|m| m < 8)
}

/// `3.10.0-862.el7.x86_64`
fn is_old_kernel(text: &str) -> bool {
    let Some((_, build)) = text.split_once("3.10.0-") else { return false };
    let number: String = build.chars().take_while(char::is_ascii_digit).collect();
    build.contains(".el7") && number.parse::<u32>().is_ok_and(|number| number < KERNEL)
}
