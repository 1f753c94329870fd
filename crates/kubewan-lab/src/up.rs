//! Makes a lab.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::call::Call;
use crate::error::OnPath;
use crate::image::ImageChoice;
use crate::lab::{Lab, LabEvent, LabOptions, Place};
use crate::state::{self, State, Written};
use crate::topology::{Cloud, HOSTS_MAX, HOSTS_MIN, Host, Spec, Subnet, Topology, is_lab_name};
use crate::{
    KernelFacts, LabError, down, folder, image, kernel, keys, namespace, netem, paths,
    requirements, seed, sysctl,
};

pub(crate) fn up(options: &LabOptions, events: &mut dyn FnMut(LabEvent)) -> Result<Lab, LabError> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let name = options.name.as_str();
    check_name(name)?;
    check_size(&options.topology)?;
    let dir = std::path::absolute(&options.dir).on("find", &options.dir)?;
    check_folder(name, &dir, State::load(name)?.as_ref())?;
    install_requirements(events)?;
    let _lock = state::lock(name)?;
    let earlier = State::load(name)?;
    if let Some(state) = earlier.clone().filter(|state| state.complete) {
        events(LabEvent::AlreadyUp);
        return same_lab(state, options, &dir);
    }
    // Whoever made it is gone, as the lock is ours: an `up` that was ended half-way.
    down::remove_everything(name, earlier.as_ref(), events)?;
    let made = prepare(options, dir, events).and_then(|mut lab| {
        make(&mut lab, events)?;
        Ok(lab)
    });
    if made.is_err() {
        events(LabEvent::UndoingFailedUp);
        let state = State::load(name).unwrap_or_default();
        down::remove_everything(name, state.as_ref(), events)?;
        let _all = state::lock_all()?;
        state::remove_storage(name)?;
    }
    made
}

/// Makes a host's empty disk and writes into it what is the host's own.
pub(crate) fn make_disk(lab: &Lab, cloud: &Cloud, host: &Host) -> Result<(), LabError> {
    let machine = lab.machine(host);
    machine.layer.make()?;
    let client_key = keys::public(&lab.state.dir.join(keys::CLIENT_KEY))?;
    let root = machine.layer.root();
    seed::write(&root, (cloud, host), &lab.state.topology, &lab.identity(host), &client_key)
}

/// Whether a lab may be called so.
pub(crate) fn check_name(name: &str) -> Result<(), LabError> {
    if is_lab_name(name) {
        return Ok(());
    }
    Err(LabError::BadOption {
        option: "--name",
        value: name.into(),
        why: "a lab's name has one to eight small letters and digits".into(),
        next: "name it shorter".into(),
    })
}

fn check_size(topology: &Spec) -> Result<(), LabError> {
    let hosts: usize = topology.clouds.iter().map(|cloud| cloud.hosts.len()).sum();
    if (HOSTS_MIN..=HOSTS_MAX).contains(&hosts) {
        return Ok(());
    }
    Err(LabError::BadOption {
        option: "--hosts",
        value: hosts.to_string(),
        why: format!("a lab has {HOSTS_MIN} to {HOSTS_MAX} hosts"),
        next: "ask for fewer".into(),
    })
}

/// Whether the folder may be this lab's, before anything is made or written.
fn check_folder(name: &str, dir: &Path, earlier: Option<&State>) -> Result<(), LabError> {
    folder::refuse_anothers(name, dir, &State::all())?;
    let own = earlier.filter(|state| state.dir == dir);
    folder::refuse_foreign(dir, own.map_or(&[], |state| &state.written))
}

fn install_requirements(events: &mut dyn FnMut(LabEvent)) -> Result<(), LabError> {
    let missing = requirements::missing();
    if missing.is_empty() {
        return Ok(());
    }
    events(LabEvent::InstallingPackages(missing.iter().map(|name| (*name).into()).collect()));
    requirements::install(&missing)
}

/// The lab that is up, if it is the one asked for; an error if it is another.
fn same_lab(state: State, options: &LabOptions, dir: &Path) -> Result<Lab, LabError> {
    let lab = Lab { state, kernel: KernelFacts::gather() };
    let state = &lab.state;
    // What was asked for then, with the addresses that it was given.
    let elsewhere: Vec<Subnet> = Vec::new();
    let asked = Topology::lay_out(state.name(), &options.topology, &elsewhere).ok();
    let same = asked.is_some_and(|asked| asked.is_alike(&state.topology));
    let differs = if state.is_of_earlier_boot() {
        Some("it was made before this machine was restarted".to_owned())
    } else if !same || state.dir != dir {
        let hosts = state.topology.hosts().count();
        Some(format!("it has {hosts} hosts and its folder is {}", state.dir.display()))
    } else {
        let stopped = lab.places().find(|(_, host)| !lab.is_running(host));
        stopped.map(|(_, host)| format!("its host {} doesn't run", host.name))
    };
    match differs {
        None => Ok(lab),
        Some(found) => Err(LabError::AlreadyUp {
            found,
            next: format!(
                "`kubewan lab down {}` removes it; then run the command again, or give this one \
                 another `--name`",
                lab.name()
            ),
        }),
    }
}

/// Everything that can be decided and built before the first change to this machine's network.
fn prepare(
    options: &LabOptions,
    dir: PathBuf,
    events: &mut dyn FnMut(LabEvent),
) -> Result<Lab, LabError> {
    kernel::load_modules();
    let mut state = choose_addresses(options, dir)?;
    state.forwarder.clone_from(&options.forwarder);
    state.holder = netem::choose(state.topology.impairment, netem::probe)?;
    let wanted: BTreeSet<ImageChoice> = state.topology.hosts().map(|host| host.image).collect();
    for image in wanted {
        let folder = image::make_image(image, events)?;
        state.images.insert(image.name(), folder);
    }
    state.save()?;
    Ok(Lab { state, kernel: KernelFacts::gather() })
}

/// Takes addresses that neither this machine nor another lab has, and notes them at once.
fn choose_addresses(options: &LabOptions, dir: PathBuf) -> Result<State, LabError> {
    let _all = state::lock_all()?;
    let mut occupied = occupied_networks()?;
    let others: Vec<State> =
        State::all().into_iter().filter(|other| other.name() != options.name).collect();
    folder::refuse_anothers(&options.name, &dir, &others)?;
    occupied.extend(others.iter().flat_map(|other| other.topology.ranges.clone()));
    let topology = Topology::lay_out(&options.name, &options.topology, &occupied);
    let topology = topology.map_err(|why| LabError::BadOption {
        option: "the lab's topology",
        value: "not to be had".into(),
        why,
        next: "remove routes to 198.51.100.0/24, 192.0.2.0/24 and 203.0.113.0/24 or another lab \
               (`kubewan lab ls`), or change the topology"
            .into(),
    })?;
    // With another lab up, today's values are not the first ones.
    let first = others.iter().find(|other| !other.is_of_earlier_boot());
    let sysctls = first.map_or_else(sysctl::record, |other| other.sysctls.clone());
    let state = State::new(dir, topology, sysctls);
    state.save()?;
    Ok(state)
}

fn make(lab: &mut Lab, events: &mut dyn FnMut(LabEvent)) -> Result<(), LabError> {
    sysctl::raise();
    namespace::make_internet(&lab.state.topology)?;
    events(LabEvent::NetworkReady { clouds: lab.state.topology.clouds.len() });
    write_keys(lab)?;
    let places: Vec<Place<'_>> = lab.places().collect();
    for &(cloud, host) in &places {
        make_disk(lab, cloud, host)?;
        namespace::make_host(cloud, host)?;
    }
    lab.boot(&places, events)?;
    for (ends, path) in &lab.state.topology.paths {
        paths::impair(lab, &paths::way(lab, &ends[0], &ends[1])?, path)?;
    }
    lab.state.complete = true;
    lab.state.save()
}

/// Makes the lab's key and every host's identity, and the files that tell the user of them.
fn write_keys(lab: &mut Lab) -> Result<(), LabError> {
    let dir = lab.state.dir.clone();
    fs::create_dir_all(&dir).on("make the folder", &dir)?;
    folder::refuse_foreign(&dir, &lab.state.written)?;
    for name in [keys::CLIENT_KEY, keys::CLIENT_KEY_PUBLIC, keys::KNOWN_HOSTS] {
        lab.state.written.push(Written { name: name.into(), sha256: None });
    }
    lab.state.save()?;
    keys::make(&dir.join(keys::CLIENT_KEY), "kubewan-lab")?;
    let mut host_keys = Vec::new();
    for host in lab.state.topology.hosts() {
        let identity = lab.identity(host);
        identity.make(host)?;
        host_keys.push(keys::public(&identity.host_key())?);
    }
    let path = dir.join(keys::KNOWN_HOSTS);
    fs::write(&path, keys::known_hosts(&lab.state.topology, &host_keys)).on("write", &path)
}

/// The networks that this machine has routes to, the default route aside.
fn occupied_networks() -> Result<Vec<Subnet>, LabError> {
    let routes = Call::new("ip", "read this machine's routes")
        .args(["-4", "-o", "route", "show", "table", "all"])
        .run()?;
    Ok(networks(&routes))
}

fn networks(routes: &str) -> Vec<Subnet> {
    let words = routes.lines().map(|line| line.split_whitespace().find_map(Subnet::parse));
    words.flatten().filter(|network| network.prefix > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_whatever_stands_before_them() {
        let routes = "\
default via 192.0.2.1 dev eth0
192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2
local 127.0.0.1 dev lo table local scope host
broadcast 10.0.0.255 dev eth1 table local
";
        let networks: Vec<String> = networks(routes).iter().map(Subnet::to_string).collect();
        assert_eq!(networks, ["192.0.2.1/32", "192.0.2.0/24", "127.0.0.1/32", "10.0.0.255/32"]);
    }
}
