//! Registries of one's own on each host: whom their certificates are signed by, who logs in, and what an older configuration of
//! containerd said of registries.

use std::collections::BTreeMap;

use super::runtime::CONFIG;
use super::taken_out;
use crate::action::registry::LOGINS;
use crate::action::{Action, File, Input, Login, Package, RegistryLogins, SystemTrust};
use crate::facts::Facts;
use crate::inventory::{Host, Registry};
use crate::plan::planner::View;
use crate::plan::{Phase, Step};
use crate::registry::legacy::{self, Legacy};
use crate::render::containerd::{CERTS_D, HEADER};
use crate::render::registry as render;
use crate::secret::Secret;

/// The package with the system's store of certificates, in every family of distributions.
const STORE: &str = "ca-certificates";

/// The steps of one host, before containerd's own file: what that carried is safe elsewhere before it goes.
pub(in crate::plan) fn steps(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let registries = &view.inventory.registries;
    let mut steps = Vec::new();
    if registries.iter().any(|registry| registry.trust_in_system) {
        let package = Package { names: vec![STORE.into()], ..Package::default() };
        let why = "it has the store of certificates that every program trusts";
        steps.push(Step::new(Phase::Runtime, &host.name, Action::Package(package), why));
    }
    steps.extend(taken_out::of_registries(view, host, facts));
    steps.extend(registries.iter().flat_map(|registry| files(view, host, registry)));
    steps.extend(trusts(view).map(|(name, address, pem)| {
        let goal = Action::SystemTrust(SystemTrust { name, certificate: Some(pem) });
        let why = format!("the inventory says `trustInSystem` of {address}");
        Step::new(Phase::Runtime, &host.name, goal, why)
    }));
    steps.extend(carried_files(view, host, facts));
    let logins: Vec<Login> =
        logins(view, host, facts).into_iter().map(|(login, _)| login).collect();
    let gone = taken_out::logins(view, facts);
    if !logins.is_empty() || !gone.is_empty() {
        let from_before = !carried(view, facts).logins.is_empty();
        let why = match from_before {
            true => format!(
                "containerd has no word for logins beside its registries' folders, and some stood in {CONFIG}"
            ),
            false => "the kubelet logs in to registries, with any runtime".to_owned(),
        };
        let goal = Action::RegistryLogins(RegistryLogins { logins, gone });
        steps.push(Step::new(Phase::Runtime, &host.name, goal, why));
    }
    steps
}

/// One registry's files.
fn files(view: &View, host: &Host, registry: &Registry) -> Vec<Step> {
    let step = |action, why: String| Step::new(Phase::Runtime, &host.name, action, why);
    let address = &registry.address;
    let files = view.inputs.registries.get(address);
    let ca = files.and_then(|files| files.ca());
    let is_docker = view.inventory.is_docker();
    let mut steps = Vec::new();
    if let Some(ca) = &ca {
        let why = format!("who has signed the certificate of {address}");
        let path =
            if is_docker { render::docker_ca_path(address) } else { render::ca_path(address) };
        steps.push(step(Action::File(File::text(path, 0o644, ca)), why));
    }
    // Docker has the rest in its daemon.json.
    if is_docker {
        return steps;
    }
    let text = render::hosts_toml(registry, ca.is_some());
    let why = format!("how containerd speaks to {address}");
    steps.push(step(Action::File(File::text(render::hosts_path(address), 0o644, text)), why));
    steps
}

/// Authorities that every program is to trust: the file's name in the store, the registry and the certificate. The store's
/// program takes one certificate a file.
pub(super) fn trusts<'a>(view: &'a View) -> impl Iterator<Item = (String, &'a str, String)> {
    let registries = view.inventory.registries.iter().filter(|registry| registry.trust_in_system);
    registries.flat_map(move |registry| {
        let address = registry.address.as_str();
        let files = view.inputs.registries.get(address);
        let authorities = files.map(|files| files.authorities.as_slice()).unwrap_or_default();
        authorities.iter().enumerate().map(move |(place, authority)| {
            let number = if place == 0 { String::new() } else { format!("-{}", place + 1) };
            let name = format!("kubewan-{}{number}", address.replace(':', "-"));
            (name, address, authority.pem.clone())
        })
    })
}

/// What a containerd of before kubewan was told of registries; nothing of a file that is kubewan's.
pub(in crate::plan) fn carried(view: &View, facts: &Facts) -> Legacy {
    let config = facts.runtime.containerd_config.as_deref().unwrap_or_default();
    // Docker's containerd is asked for no image.
    let is_read = !view.inventory.is_docker() && !config.starts_with(HEADER);
    if !is_read || facts.own.left.contains_key(CONFIG) {
        return Legacy::default();
    }
    let mut legacy = legacy::read(config);
    // What the inventory says of a registry goes before it.
    let named = |name: &String| {
        view.inventory.mirrors.images.contains_key(name)
            || view.inventory.registries.iter().any(|registry| registry.address == *name)
    };
    legacy.hosts.retain(|name, _| !named(name));
    let logs_in = |name: &String| {
        let mut registries = view.inventory.registries.iter();
        registries.any(|registry| registry.address == *name && registry.username.is_some())
    };
    legacy.logins.retain(|name, _| !logs_in(name));
    legacy
}

fn carried_files(view: &View, host: &Host, facts: &Facts) -> Vec<Step> {
    let hosts = carried(view, facts).hosts;
    let step = |(name, hosts): (&String, &legacy::Hosts)| {
        let text = render::legacy_hosts_toml(name, hosts);
        let why = format!("carried over from {CONFIG}, which said it of {name} in the old way");
        let goal = Action::File(File::text(render::hosts_path(name), 0o644, text));
        Step::new(Phase::Runtime, &host.name, goal, why)
    };
    hosts.iter().map(step).collect()
}

/// Whether containerd has to look into its folder of registries.
pub(in crate::plan) fn are_told_of(view: &View, facts: &Facts) -> bool {
    let inventory = view.inventory;
    !inventory.mirrors.images.is_empty()
        || !inventory.registries.is_empty()
        || facts.runtime.registry_folders
        // Also where what it had there is taken out: the setting would go, and come back with the next registry.
        || facts.own.left.keys().any(|path| path.starts_with(CERTS_D))
        || !carried(view, facts).hosts.is_empty()
}

/// A host's logins: the inventory's, and those that its containerd had.
fn logins(view: &View, host: &Host, facts: &Facts) -> Vec<(Login, Secret)> {
    let login = |registry: &str, user: &str, secret: String, password: &Secret| {
        let login = Login {
            registry: render::login_key(registry),
            username: user.into(),
            password: Input::Secret { name: secret },
        };
        (login, password.clone())
    };
    let ours = view.inventory.registries.iter().filter_map(|registry| {
        let address = &registry.address;
        let password = view.inputs.registries.get(address)?.password.as_ref()?;
        Some(login(address, registry.username.as_ref()?, Login::secret(address), password))
    });
    let carried = carried(view, facts).logins;
    let theirs = carried.iter().map(|(address, (user, password))| {
        login(address, user, Login::carried_secret(address, &host.name), password)
    });
    ours.chain(theirs).collect()
}

/// The passwords behind the markers of all hosts' logins.
pub(in crate::plan) fn secrets(view: &View) -> BTreeMap<String, Secret> {
    let of_host = |host: &Host| {
        let facts = view.facts.get(&host.name)?;
        Some(logins(view, host, facts))
    };
    let all = view.inventory.hosts.iter().filter_map(of_host).flatten();
    all.map(|(login, password)| (login.password.marker(), password)).collect()
}

/// What of an older configuration goes where, for people.
pub(in crate::plan) fn told(legacy: &Legacy) -> Vec<String> {
    let mut lines: Vec<String> = legacy
        .hosts
        .iter()
        .map(|(name, hosts)| {
            let what = match hosts.mirrors.len() {
                0 => "how it is trusted".to_owned(),
                1 => format!("its mirror {}", hosts.mirrors[0].0),
                count => format!("its {count} mirrors"),
            };
            format!("{name}: {what} to {}", render::hosts_path(name))
        })
        .collect();
    lines.extend(
        legacy
            .logins
            .iter()
            .map(|(name, (user, _))| format!("{name}: the login of {user} to {LOGINS}")),
    );
    lines
}
