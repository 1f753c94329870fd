//! A registry whose certificate no authority that the host knows has signed.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::{Case, HostCase, has_any};
use crate::diagnosis::{Diagnosis, Quote};

pub(super) const CHECK: Check = Check {
    code: "registry-certificate",
    means: "a registry's certificate is signed by an authority that the host does not know",
    looks_at: "`x509: certificate signed by unknown authority` where an image is pulled; pods that wait for their images",
    explains: &["pause-image"],
    explains_everywhere: &[],
    run: |case| {
        let mut found: Vec<Diagnosis> = Vec::new();
        for host in case.present() {
            let said = host
                .says_now(&[Component::Kubelet, Component::Containerd, Component::Docker], is_said);
            let waiting = waiting(case, host);
            if let Some(quote) = waiting.or(said.filter(|_| host.is_pasted())) {
                let known = registry(&quote.text);
                let shows = known.as_deref().unwrap_or("the registry");
                let registry = known.as_deref().unwrap_or("HOST:PORT");
                found.push(
                    Diagnosis::error("registry-certificate", host.who(), "images are not pulled: ErrImagePull, ImagePullBackOff")
                        .cause(format!("{shows} shows a certificate of an authority that the host does not know, mostly its own"))
                        .seen([quote])
                        .remedy(remedy(case, host, registry)),
                );
            }
        }
        found
    },
};

/// Where the runtime looks for authorities; a log that was pasted may be of either.
fn remedy(case: &Case, host: &HostCase, registry: &str) -> String {
    if case.uses_docker(host) {
        return format!(
            "put the authority's certificate to /etc/docker/certs.d/{registry}/ca.crt; try it: `docker pull \
             {registry}/library/nginx:latest`. With kubewan: `registries:` with its `caFile`"
        );
    }
    let dockers = match host.is_pasted() {
        true => format!(" (Docker: /etc/docker/certs.d/{registry}/ca.crt)"),
        false => String::new(),
    };
    format!(
        "put the authority's certificate to /etc/containerd/certs.d/{registry}/ca.crt with a hosts.toml that names it (`ca`), and \
         `config_path = \"/etc/containerd/certs.d\"` in config.toml{dockers}; `systemctl restart containerd`; try it: `crictl pull \
         {registry}/library/nginx:latest`. With kubewan: `registries:` with its `caFile`"
    )
}

/// The words alone are of the API too: here it is about an image.
fn is_said(line: &str) -> bool {
    line.contains("x509: certificate signed by unknown authority")
        && has_any(line, &["/v2/", "pull", "image", "registry"])
        && !line.contains(":6443")
}

fn waiting(case: &Case, host: &HostCase) -> Option<Quote> {
    let pods = case.cluster.iter().flat_map(|cluster| &cluster.pods);
    let mut mine = pods.filter(|pod| Some(pod.node.as_str()) == host.who());
    mine.find_map(|pod| {
        let (reason, said) =
            pod.waiting.iter().find(|(_, said)| is_said(&format!("image {said}")))?;
        Some(host.quote(&format!("pod {}", pod.name), format!("{reason}: {said}")))
    })
}

/// Host and port of the first `https://HOST/v2/`.
fn registry(line: &str) -> Option<String> {
    let (before, _) = line.split_once("/v2/")?;
    let (_, host) = before.rsplit_once("://")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-');
    (!host.is_empty() && host.chars().all(plain)).then(|| host.to_owned())
}
