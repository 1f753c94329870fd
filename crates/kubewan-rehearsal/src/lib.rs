//! Stand-ins for kubeadm, the kubelet and the control plane, for labs where no Kubernetes release can be had.
//!
//! **No Kubernetes.** They rehearse what kubewan does on a host: kubeadm's configuration is checked field by field,
//! certificates, manifests and kubeconfigs are made, static pods run through the container runtime with a real
//! etcd, and a small API server stores JSON there, well enough for `kubectl` and bootstrap tokens. There is no
//! scheduler and no pod network. They start only inside a kubewan lab's host.

mod api;
mod client;
mod config;
mod controllers;
mod cri;
mod kubeadm;
mod kubelet;
mod manifests;
mod net;
mod pki;
mod preflight;
#[cfg(test)]
mod recorded;
mod strict;
mod token;
mod value;

use std::path::Path;

use time::OffsetDateTime;

/// The version the stand-ins claim.
pub const VERSION: &str = "v1.36.2";

/// Its presence says that this is a kubewan lab's host.
pub const LAB_MARK: &str = "/run/kubewan-lab-host";

/// The programs that can be stood in for, by the names they are called with.
pub const PROGRAMS: [&str; 6] =
    ["kubeadm", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "pause"];

/// Runs the stand-in for `program`, one of [`PROGRAMS`], and returns its exit code.
pub fn main(program: &str, args: Vec<String>) -> i32 {
    if program == "pause" {
        loop {
            std::thread::park();
        }
    }
    eprintln!("[rehearsal] {program}: kubewan's stand-in, not Kubernetes");
    if !Path::new(LAB_MARK).exists() {
        eprintln!(
            "[rehearsal] {LAB_MARK} is missing: stand-ins start only inside a kubewan lab's host"
        );
        return 1;
    }
    let result = match program {
        "kubeadm" => kubeadm::main(&args),
        "kubelet" => kubelet::main(&args),
        "kube-apiserver" => api::main(&args),
        "kube-controller-manager" => controllers::manager(&args),
        "kube-scheduler" => controllers::scheduler(&args),
        other => Err(format!("[rehearsal] nothing stands in for {other:?}")),
    };
    match (result, program) {
        (Ok(()), _) => 0,
        (Err(error), "kubeadm") => {
            eprintln!(
                "error: {error}\nTo see the stack trace of this error execute with --v=5 or higher"
            );
            1
        }
        (Err(error), _) => {
            eprintln!("E{} run.go:72] \"command failed\" err={error:?}", clock());
            1
        }
    }
}

/// A warning as klog prints it.
fn warn(text: &str) {
    eprintln!("W{} kubeadm.go] {text}", clock());
}

/// klog's date and time.
fn clock() -> String {
    let now = OffsetDateTime::now_utc();
    let (month, day) = (u8::from(now.month()), now.day());
    let (h, m, s, us) = (now.hour(), now.minute(), now.second(), now.microsecond());
    format!("{month:02}{day:02} {h:02}:{m:02}:{s:02}.{us:06} {:>7}", std::process::id())
}

/// This machine's architecture by Go's name.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
