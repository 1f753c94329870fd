//! Registries: settings that contradict each other, and what is carried over from an older configuration.

use serde_json::Value;

use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Host, KubernetesSource};
use crate::plan::phase::registries::{are_told_of, carried, told};
use crate::plan::phase::runtime::CONFIG;
use crate::plan::planner::View;

/// What an older configuration says is carried over, and said.
pub(super) fn carried_over(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let legacy = carried(view, facts);
    (!legacy.is_empty() && !view.inventory.is_docker()).then(|| {
        let message = format!(
            "{CONFIG} says of registries in the old way what containerd does not take beside its folder of registries; carried over: {}",
            told(&legacy).join("; ")
        );
        let remedy = "nothing has to be done; say it in `registries` and `mirrors.images` too, so that every host has it and an edit is noticed";
        Finding::warning("registry-settings-carried", &host.name, message, remedy)
    })
}

/// The user's own settings of containerd against ours.
pub(super) fn old_settings(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let plugins = view.inventory.runtime.containerd.get("plugins")?.as_object()?;
    let mut registries = plugins.values().filter_map(|plugin| plugin.get("registry"));
    let is_old = |registry: &Value| {
        let tls = |config: &Value| config.get("tls").is_some();
        registry.get("mirrors").is_some()
            || registry
                .get("configs")
                .and_then(Value::as_object)
                .is_some_and(|all| all.values().any(tls))
    };
    (registries.any(is_old) && are_told_of(view, facts)).then(|| {
        Finding::error(
            "registry-settings-clash",
            &host.name,
            "`runtime.containerd` sets `registry.mirrors` or `registry.configs`, and beside the folder of registries containerd's CRI plugin does not start with them",
            "say it in `registries` and `mirrors.images` instead",
        )
    })
}

/// kubeadm and the pull before it have no login.
pub(super) fn images_behind_login(view: &View) -> Option<Finding> {
    let inventory = view.inventory;
    let repository = &inventory.kubernetes.image_repository;
    let server = repository.split('/').next().unwrap_or(repository);
    let registry = inventory.registries.iter().find(|registry| registry.address == server)?;
    (registry.username.is_some() && inventory.source() != KubernetesSource::Bundle).then(|| {
        let message = format!(
            "`kubernetes.imageRepository` lies in {server}, which asks for a login, and kubeadm pulls the control plane's images without one"
        );
        let remedy = "let that part of the registry be read without a login, or take the images from a bundle: `kubernetes: { source: bundle }`";
        Finding::error("image-repository-login", "", message, remedy).for_cluster()
    })
}

/// Registries that anyone on the way can stand in for.
pub(super) fn unverified(view: &View) -> Option<Finding> {
    let all = view.inventory.registries.iter().filter(|registry| registry.skip_verify);
    let names: Vec<&str> = all.map(|registry| registry.address.as_str()).collect();
    (!names.is_empty()).then(|| {
        let message = format!(
            "{}: `skipVerify`: whoever is on the way can read the password and change images",
            names.join(", ")
        );
        let remedy = "name the registry's own certificate, or its authority's, in `caFile`";
        Finding::warning("registry-unverified", "", message, remedy).for_cluster()
    })
}
