//! What others run in the containerd that kubewan would configure, and what they wrote into its configuration.

use super::containerd::lost;
use crate::facts::{Container, Facts};
use crate::finding::Finding;
use crate::inventory::{Host, RuntimeSource};
use crate::packages;
use crate::plan::phase::runtime::{CONFIG, config};
use crate::plan::planner::View;
use crate::registry::legacy;

/// Containers or settings that a finding names.
const NAMED_MAX: usize = 8;

/// Containers of others, where containerd would get another configuration and start again.
pub(super) fn containers(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let others = &facts.runtime.others;
    // Docker's own containerd runs the kubelet's containers too.
    if view.inventory.is_docker()
        || others.is_empty()
        || facts.runtime.containerd_config == Some(config(view, facts))
    {
        return None;
    }
    Some(Finding::error(
        "foreign-containers",
        &host.name,
        format!(
            "containers that are not Kubernetes' run in this host's containerd: {}; kubewan changes its configuration \
             and starts it again under them",
            named(others.iter().map(container).collect())
        ),
        "stop them, or move them to another host",
    ))
}

/// `moby/3f2a9c11d0aa (nginx)`
fn container(of: &Container) -> String {
    let id: String = of.id.chars().take(32).collect();
    match of.program.as_str() {
        "" => format!("{}/{id}", of.namespace),
        program => format!("{}/{id} ({program})", of.namespace),
    }
}

/// A configuration that someone wrote. What our journal tells of is ours, whoever edited it since.
pub(super) fn configuration(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    if view.inventory.is_docker() {
        return None;
    }
    let there = facts.runtime.containerd_config.as_deref()?;
    let ours = config(view, facts);
    if there == ours || facts.own.left.contains_key(CONFIG) {
        return None;
    }
    let finding = |message: String, remedy: &str| {
        Finding::error("foreign-containerd-config", &host.name, message, remedy)
    };
    let carried = carried(view, there);
    match lost(there, facts.runtime.containerd_defaults.as_deref(), &ours, &carried) {
        Ok(lost) if lost.is_empty() => None,
        Ok(lost) => Some(finding(
            format!(
                "{CONFIG} is someone's own: kubewan's would take its place, without {}",
                named(lost.into_iter().map(|line| format!("`{line}`")).collect())
            ),
            "carry over what is still needed as `runtime.containerd` in the inventory, which becomes part of kubewan's \
             file",
        )),
        Err(why) => Some(finding(
            format!(
                "{CONFIG} is someone's own and can't be read, so that nobody knows what would be lost: {why}"
            ),
            "mend it, or move it away",
        )),
    }
}

/// Docker's package and the distribution's bring the same programs; released ones would be found before Docker's.
pub(super) fn package(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    if view.inventory.is_docker() {
        return None;
    }
    let runtime = &facts.runtime;
    let program = packages::manager(&facts.os).program();
    let ours = match view.inventory.runtime.source {
        RuntimeSource::Docker => {
            let distributions = runtime.containerd.is_some() && !runtime.containerd_io;
            return distributions.then(|| {
                Finding::error(
                    "foreign-containerd-package",
                    &host.name,
                    "a containerd is installed that is not Docker's, whose package would take its place",
                    format!(
                        "use it: `runtime: {{ source: distribution }}`; or, if nobody needs it here, `{program} remove containerd`"
                    ),
                )
            });
        }
        RuntimeSource::Bundle => "the bundle's",
        RuntimeSource::Release => "the released",
        RuntimeSource::Distribution => "the distribution's",
    };
    runtime.containerd_io.then(|| {
        Finding::error(
            "foreign-containerd-package",
            &host.name,
            format!("Docker's package containerd.io is installed, and {ours} containerd can't be beside it"),
            format!(
                "use Docker's: `runtime: {{ source: docker }}`; or, if nobody needs Docker here, `{program} remove containerd.io`"
            ),
        )
    })
}

/// The settings of registries that what kubewan writes has the sense of: how a registry is spoken to is lost where the inventory names
/// that registry and says nothing of its certificate.
fn carried(view: &View, there: &str) -> Vec<Vec<String>> {
    let mut carried = legacy::read(there).carried;
    let silent = |address: &String| {
        let mut registries = view.inventory.registries.iter();
        registries.any(|of| of.address == *address && of.ca_file.is_none() && !of.skip_verify)
    };
    carried.retain(|path| {
        let is_tls = path.get(3).is_some_and(|kind| kind == "configs")
            && path.get(5).is_some_and(|key| key == "tls");
        !(is_tls && path.get(4).is_some_and(silent))
    });
    carried
}

pub(super) fn named(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    names.truncate(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    names.join(", ") + &more
}
