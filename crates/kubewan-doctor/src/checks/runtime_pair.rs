//! A kubelet and a runtime that don't speak with each other.

use kubewan_core::evidence::Component;
use kubewan_core::versions::{Version, series};

use super::{Check, NODE};
use crate::case::{HostCase, has_all, has_any};
use crate::diagnosis::{Diagnosis, goal};

/// gRPC's words for a plugin that is switched off, or for a version of the CRI that the runtime does not have.
const WORDS: [&str; 4] = [
    "unknown service runtime.v1.RuntimeService",
    "unknown service runtime.v1alpha2.RuntimeService",
    "unknown service runtime.v1.ImageService",
    "CRI v1 runtime API is not implemented for endpoint",
];

pub(super) const CHECK: Check = Check {
    code: "runtime-pair",
    means: "kubelet and container runtime are of versions that can't work together, or containerd's CRI plugin is off",
    looks_at: "both versions, `disabled_plugins`, `unknown service runtime.v1.RuntimeService`",
    explains: NODE,
    explains_everywhere: &[],
    run: |case| {
        // Docker uses containerd without its CRI plugin, and of whichever version it came with.
        let by_containerd = case.present().filter(|host| !case.uses_docker(host));
        by_containerd
            .filter_map(|host| {
                disabled(host).or_else(|| sources_twice(host)).or_else(|| versions(host))
            })
            .collect()
    },
};

/// `disabled_plugins = ["cri"]`, as Docker's package of containerd has it.
fn disables_cri(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("disabled_plugins")
        && has_any(line, &["\"cri\"", "\"io.containerd.grpc.v1.cri\""])
}

fn disabled(host: &HostCase) -> Option<Diagnosis> {
    let line = match &host.facts {
        Some(facts) if host.has_cluster() => {
            let text = facts.runtime.containerd_config.as_deref()?;
            host.quote("/etc/containerd/config.toml", text.lines().find(|line| disables_cri(line))?)
        }
        Some(_) => return None,
        None => host.said(&[], disables_cri)?,
    };
    let said = host.said(&[Component::Kubelet], |line| has_any(line, &WORDS));
    Some(
        Diagnosis::error("runtime-pair", host.who(), "kubeadm and the kubelet say that the container runtime is not running")
            .cause("containerd runs without its CRI plugin: Docker's package switches it off in /etc/containerd/config.toml")
            .seen([line].into_iter().chain(said))
            .remedy("take `cri` out of `disabled_plugins`, set `SystemdCgroup = true`, `systemctl restart containerd`")
            .fix(&[goal("file", "/etc/containerd/config.toml"), goal("unit", "containerd.service")]),
    )
}

/// containerd's words where it is told of registries in both ways (containerd, `internal/cri/config`, `ValidateImageConfig`; in
/// 1.x `pkg/cri/config`): `mirrors`, or `configs.tls`.
const TWICE: &str = "cannot be set when `config_path` is provided";

fn names_folder(line: &str) -> bool {
    let value = line
        .trim()
        .strip_prefix("config_path")
        .map(|rest| rest.trim_matches([' ', '=', '"', '\'']));
    value.is_some_and(|value| !value.is_empty())
}

/// A mirror, or a registry's TLS; the tables that `containerd config default` prints are empty, and do no harm.
fn names_registry(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('[')
        && (line.contains(".registry.mirrors.") || has_all(line, &[".registry.configs.", ".tls"]))
}

/// Registries of the older kind beside a folder of them.
fn sources_twice(host: &HostCase) -> Option<Diagnosis> {
    let said = host.said(&[Component::Containerd], |line| line.contains(TWICE));
    let seen = match &host.facts {
        Some(facts) if host.has_cluster() => {
            let text = facts.runtime.containerd_config.as_deref()?;
            let quote = |line: &str| host.quote("/etc/containerd/config.toml", line);
            let folder = quote(text.lines().find(|line| names_folder(line))?);
            let older = quote(text.lines().find(|line| names_registry(line))?);
            [folder, older].into_iter().chain(said).collect()
        }
        Some(_) => return None,
        None => vec![said?],
    };
    Some(
        Diagnosis::error("runtime-pair", host.who(), "kubeadm and the kubelet say that the container runtime is not running")
            .cause("containerd's CRI plugin does not start with mirrors or `tls` of registries in its own file beside `config_path`")
            .seen(seen)
            .remedy("`kubewan up` carries them over; by hand: each mirror and authority into /etc/containerd/certs.d/REGISTRY/hosts.toml, `registry.mirrors` and `registry.configs` out of /etc/containerd/config.toml, `systemctl restart containerd`")
            .fix(&[goal("file", "/etc/containerd/config.toml"), goal("unit", "containerd.service")]),
    )
}

fn versions(host: &HostCase) -> Option<Diagnosis> {
    let said = host.said(&[Component::Kubelet], |line| has_any(line, &WORDS));
    let pair = host.facts.as_ref().and_then(|facts| {
        let containerd = facts.runtime.containerd.as_deref()?;
        let kubelet = facts.kubernetes.kubelet.as_deref()?;
        let works = kubelet.parse::<Version>().ok()?.release()?.containerd;
        let is = series(containerd)?;
        let wrong = is < works.oldest || works.is_too_new(is);
        wrong.then(|| host.quote("versions", format!("kubelet {kubelet}, containerd {containerd}")))
    });
    // Words of a day when it was so are no trouble of today.
    let said = said.filter(|_| host.is_pasted() || pair.is_some());
    if pair.is_none() && said.is_none() {
        return None;
    }
    Some(
        Diagnosis::error("runtime-pair", host.who(), "kubeadm and the kubelet say that the container runtime is not running")
            .cause("the runtime does not have the version of the CRI that the kubelet speaks: containerd is too old or too new for it, or its CRI plugin is off")
            .seen(pair.into_iter().chain(said))
            .remedy("docs/reference.md, \"Versions\", has what works with what; Kubernetes 1.26 and later want containerd 1.6 or later, and `disabled_plugins` without `cri`"),
    )
}
