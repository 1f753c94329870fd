//! What nodes take things from where no record tells what was chosen: a cluster from before there were records, or one whose
//! record a newer kubewan wrote. It was good enough for the cluster that stands, so it is the choice until it fails.

use super::Key;
use crate::facts::Facts;
use crate::inventory::Servers;
use crate::render::docker;

/// The one of a key's servers that a node's own files name. kubeadm, kubelet and the CNI plugins lie on a host without a word
/// on where they came from, so that `mirrors.kubernetes` and `mirrors.github` have none.
pub(super) fn server(key: &Key, servers: &Servers, facts: &Facts) -> Option<String> {
    let taken = &facts.taken;
    let named: Vec<String> = match key {
        Key::ImageRepository => {
            taken.api_server_image.iter().filter_map(|i| repository(i)).collect()
        }
        Key::Images(registry) => {
            let dockers = docker_mirrors(facts).into_iter().filter(|_| registry == "docker.io");
            taken.registries.get(registry).cloned().into_iter().chain(dockers).collect()
        }
        Key::Packages => uris(facts, "kubewan-kubernetes."),
        Key::Docker => uris(facts, "kubewan-docker."),
        Key::Kubernetes | Key::Github => Vec::new(),
    };
    let is_in_use = |candidate: &&String| {
        let candidate = candidate.trim_end_matches('/');
        let is_below = |uri: &String| {
            let rest = uri.strip_prefix(candidate);
            let below = matches!(key, Key::Packages | Key::Docker);
            rest.is_some_and(|rest| {
                rest.trim_end_matches('/').is_empty() || below && rest.starts_with('/')
            })
        };
        named.iter().any(is_below)
    };
    // One may lie below another: the longer is meant.
    servers.candidates().iter().filter(is_in_use).max_by_key(|server| server.len()).cloned()
}

/// `registry.example/k8s` of `registry.example/k8s/kube-apiserver:v1.36.2`.
fn repository(image: &str) -> Option<String> {
    let (repository, rest) = image.rsplit_once('/')?;
    rest.starts_with("kube-apiserver").then(|| repository.to_owned())
}

fn docker_mirrors(facts: &Facts) -> Vec<String> {
    let text = facts.runtime.docker.config.as_ref().map(|config| config.text.as_str());
    docker::texts(text.unwrap_or_default(), docker::MIRRORS)
}

fn uris(facts: &Facts, file: &str) -> Vec<String> {
    let ours =
        facts.taken.packages.iter().filter(|source| {
            source.path.rsplit('/').next().is_some_and(|name| name.starts_with(file))
        });
    ours.map(|source| source.uri.clone()).collect()
}
