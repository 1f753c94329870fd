//! Makes a lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::call::Call;
use crate::error::OnPath;
use crate::lab::{Lab, LabEvent, LabOptions};
use crate::state::{self, State, Written};
use crate::topology::{Cloud, HOSTS_MAX, HOSTS_MIN, Subnet, Topology};
use crate::{
    KernelFacts, LabError, down, image, kernel, keys, namespace, requirements, seed, sysctl,
};

pub(crate) fn up(options: &LabOptions, events: &mut dyn FnMut(LabEvent)) -> Result<Lab, LabError> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    check_size(options.hosts)?;
    let dir = std::path::absolute(&options.dir).on("find", &options.dir)?;
    install_requirements(events)?;
    let _lock = state::lock()?;
    let earlier = State::load()?;
    if let Some(state) = earlier.clone().filter(|state| state.complete) {
        events(LabEvent::AlreadyUp);
        return same_lab(state, options, &dir);
    }
    // Whoever made it is gone, as the lock is ours: an `up` that was ended half-way.
    down::remove_everything(earlier.as_ref(), events)?;
    let made = prepare(options, dir, events).and_then(|mut lab| {
        make(&mut lab, events)?;
        Ok(lab)
    });
    if made.is_err() {
        events(LabEvent::UndoingFailedUp);
        let state = State::load().unwrap_or_default();
        down::remove_everything(state.as_ref(), events)?;
        state::remove_storage()?;
    }
    made
}

/// Makes a host's empty disk and writes into it what is the host's own.
pub(crate) fn make_disk(lab: &Lab, cloud: &Cloud) -> Result<(), LabError> {
    let machine = lab.machine(cloud);
    machine.layer.make()?;
    let client_key = keys::public(&lab.state.dir.join(keys::CLIENT_KEY))?;
    let root = machine.layer.root();
    seed::write(&root, &cloud.host, &lab.state.topology, &lab.identity(cloud), &client_key)
}

fn check_size(hosts: usize) -> Result<(), LabError> {
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
    let hosts = state.topology.clouds.len();
    let differs = if state.is_of_earlier_boot() {
        Some("it was made before this machine was restarted".to_owned())
    } else if hosts != options.hosts || state.dir != dir {
        Some(format!("it has {hosts} hosts and its folder is {}", state.dir.display()))
    } else {
        let stopped = state.topology.clouds.iter().find(|cloud| !lab.is_running(cloud));
        stopped.map(|cloud| format!("its host {} doesn't run", cloud.host.name))
    };
    match differs {
        None => Ok(lab),
        Some(found) => Err(LabError::AlreadyUp {
            found,
            next: "`kubewan lab down` removes it; then run the command again".into(),
        }),
    }
}

/// Everything that can be decided and built before the first change to this machine's network.
fn prepare(
    options: &LabOptions,
    dir: PathBuf,
    events: &mut dyn FnMut(LabEvent),
) -> Result<Lab, LabError> {
    let folder = image::folder(options.image);
    if !image::is_cached(options.image) {
        let image = options.image.name().to_owned();
        events(LabEvent::BuildingImage { image, folder: folder.clone() });
        let start = Instant::now();
        image::build(options.image)?;
        events(LabEvent::ImageBuilt { took: start.elapsed() });
    }
    let occupied = occupied_networks()?;
    let topology = Topology::plan(options.hosts, &occupied).ok_or_else(|| LabError::BadOption {
        option: "this machine's routes",
        value: "in the way".into(),
        why: "every range that documentation reserves is routed somewhere already".into(),
        next: "remove the routes to 198.51.100.0/24 or 192.0.2.0/24".into(),
    })?;
    kernel::load_modules();
    let state = State::new(dir, folder, topology, sysctl::record());
    state.save()?;
    Ok(Lab { state, kernel: KernelFacts::gather() })
}

fn make(lab: &mut Lab, events: &mut dyn FnMut(LabEvent)) -> Result<(), LabError> {
    sysctl::raise();
    namespace::make_internet(&lab.state.topology)?;
    events(LabEvent::NetworkReady { clouds: lab.state.topology.clouds.len() });
    write_keys(lab)?;
    let clouds: Vec<&Cloud> = lab.state.topology.clouds.iter().collect();
    for cloud in &clouds {
        make_disk(lab, cloud)?;
        namespace::make_host(cloud)?;
    }
    lab.boot(&clouds, events)?;
    lab.state.complete = true;
    lab.state.save()
}

/// Makes the lab's key and every host's identity, and the files that tell the user of them.
fn write_keys(lab: &mut Lab) -> Result<(), LabError> {
    let dir = lab.state.dir.clone();
    fs::create_dir_all(&dir).on("make the folder", &dir)?;
    let public = format!("{}.pub", keys::CLIENT_KEY);
    for name in [keys::CLIENT_KEY, &public, keys::KNOWN_HOSTS] {
        if !dir.join(name).exists() {
            lab.state.written.push(Written { name: name.into(), sha256: None });
        }
    }
    lab.state.save()?;
    keys::make(&dir.join(keys::CLIENT_KEY), "kubewan-lab")?;
    let mut host_keys = Vec::new();
    for cloud in &lab.state.topology.clouds {
        let identity = lab.identity(cloud);
        identity.make(&cloud.host)?;
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
