//! Ways between clouds at run time: cut, slowed, lossy, narrow, and healed again. Everything is done in the
//! Internet's namespace, so that hosts and clouds see nothing but what a real path would show them.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::call::Call;
use crate::error::OnPath;
use crate::lab::Lab;
use crate::network::{CUT_PATH, Way};
use crate::process::Detached;
use crate::topology::{Path, ends};
use crate::{LabError, cgroup, layer, namespace, requirements, state};

/// Where the kernel lists the packet queues of a namespace.
const QUEUES: &str = "/proc/net/netfilter/nfnetlink_queue";
/// How long a program that holds packets may take to start.
const START_SECONDS_MAX: u64 = 10;
/// Packets that netem keeps at most; its own default of 1000 is a few milliseconds of a fast link.
const NETEM_PACKETS: &str = "65536";

/// The way between two ends, each a cloud, a host in it, or `operator`.
pub(crate) fn way(lab: &Lab, a: &str, b: &str) -> Result<Way, LabError> {
    let topology = &lab.state.topology;
    let end = |name: &str| {
        let cloud = topology.cloud(name).map(|cloud| cloud.name.clone());
        cloud.unwrap_or_else(|| name.to_owned())
    };
    let names = ends(&[end(a), end(b)]);
    let found = Way::find(topology, &names).filter(|_| names[0] != names[1]);
    found.ok_or_else(|| {
        let clouds: Vec<&str> = topology.clouds.iter().map(|cloud| cloud.name.as_str()).collect();
        LabError::NoSuchWay { a: a.into(), b: b.into(), known: clouds.join(", ") }
    })
}

/// Cuts a way both ways.
pub(crate) fn cut(lab: &Lab, way: &Way) -> Result<(), LabError> {
    if is_cut(lab, way) {
        return Ok(());
    }
    namespace::nft(&lab.state.topology.internet(), &way.cut_rules())
}

/// Undoes [`cut`].
pub(crate) fn heal(lab: &Lab, way: &Way) -> Result<(), LabError> {
    if !is_cut(lab, way) {
        return Ok(());
    }
    let table = format!("{CUT_PATH}{}", way.name());
    namespace::nft(&lab.state.topology.internet(), &format!("delete table ip {table}\n"))
}

/// Whether a way is cut.
pub(crate) fn is_cut(lab: &Lab, way: &Way) -> bool {
    namespace::inside(&lab.state.topology.internet(), "nft", "look for a cut")
        .args(["list", "table", "ip", &format!("{CUT_PATH}{}", way.name())])
        .succeeds()
}

/// Makes a way what `path` says, whatever it was before.
pub(crate) fn impair(lab: &Lab, way: &Way, path: &Path) -> Result<(), LabError> {
    clear(lab, way)?;
    if path.is_plain() {
        return Ok(());
    }
    let topology = &lab.state.topology;
    let folder = state::path_folder(&topology.lab, &way.name());
    fs::create_dir_all(&folder).on("make the folder", &folder)?;
    let note = folder.join("path.json");
    let text = serde_json::to_string(&(&way.ends, path)).unwrap_or_default();
    fs::write(&note, text).on("write", &note)?;
    segment(lab, way);
    if path.black_hole {
        namespace::nft(&topology.internet(), &way.hole_rules(path))?;
    }
    let netem = path.holds_packets() && make_loops(lab, way, path)?;
    if path.mtu.is_some() || netem {
        let mtu = path.mtu.filter(|_| !path.black_hole);
        let device = |direction| netem.then(|| way.loop_of(direction)[0].clone());
        let routes = way.routes(topology, mtu, device);
        namespace::ip_batch(Some(&topology.internet()), &routes)?;
    }
    if path.holds_packets() && !netem { hold(lab, way, path) } else { Ok(()) }
}

/// The ways that are not plain, by their names.
pub(crate) fn impaired(lab: &Lab) -> BTreeMap<String, ([String; 2], Path)> {
    let folder = state::folder(&lab.state.topology.lab).join("paths");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("path.json")).ok()?;
        Some((entry.file_name().into_string().ok()?, serde_json::from_str(&text).ok()?))
    };
    entries.filter_map(read).collect()
}

/// Takes away whatever an earlier [`impair`] has made.
fn clear(lab: &Lab, way: &Way) -> Result<(), LabError> {
    let topology = &lab.state.topology;
    let internet = topology.internet();
    let folder = state::path_folder(&topology.lab, &way.name());
    if !folder.exists() {
        return Ok(());
    }
    for (from, to) in way.links() {
        let rule = queue_rule("-D", from, to, way.queue());
        let _ = namespace::inside(&internet, "iptables", "let packets pass").args(rule).succeeds();
    }
    detached(lab, way, &folder).end();
    for line in way.without_routes() {
        let _ = Call::new("ip", "let packets take the usual way")
            .args(["-n", &internet])
            .args(line.split(' '))
            .succeeds();
    }
    for direction in [0, 1] {
        let [link, _] = way.loop_of(direction);
        let _ = Call::new("ip", "take the loop away")
            .args(["-n", &internet, "link", "del", &link])
            .succeeds();
    }
    let table = format!("{}{}", crate::network::HOLE_PATH, way.name());
    let rules = format!("table ip {table} {{ }}\ndelete table ip {table}\n");
    namespace::nft(&internet, &rules)?;
    layer::remove_tree(&folder)
}

/// Has both clouds send packets as large as they travel: what the kernel joins for speed would be lost, or be
/// too large, as one.
fn segment(lab: &Lab, way: &Way) {
    let topology = &lab.state.topology;
    for end in &way.ends {
        let (namespace, link) = match topology.clouds.iter().find(|cloud| cloud.name == *end) {
            Some(cloud) => (Some(cloud.namespace.as_str()), "wan".to_owned()),
            None => (None, topology.operator_link()),
        };
        let mut call = Call::new("ip", "send packets one by one");
        if let Some(namespace) = namespace {
            call = call.args(["-n", namespace]);
        }
        let _ = call.args(["link", "set", &link, "gso_max_segs", "1"]).succeeds();
    }
}

/// Makes the interface pairs on which the kernel's netem holds packets; says no where it has none.
fn make_loops(lab: &Lab, way: &Way, path: &Path) -> Result<bool, LabError> {
    let internet = lab.state.topology.internet();
    for direction in [0, 1] {
        namespace::ip_batch(Some(&internet), &way.make_loop(direction))?;
        let [link, _] = way.loop_of(direction);
        let delay = format!("{}us", path.latency.0.as_micros());
        let netem = namespace::inside(&internet, "tc", "try netem")
            .args(["qdisc", "add", "dev", &link, "root", "netem", "limit", NETEM_PACKETS])
            .args(["delay", &delay, "loss", &path.loss.to_string()])
            .succeeds();
        if !netem {
            for direction in 0..=direction {
                let [link, _] = way.loop_of(direction);
                namespace::ip_batch(Some(&internet), &[format!("link del {link}")])?;
            }
            return Ok(false);
        }
    }
    Ok(true)
}

/// Starts the program that holds packets, and leads them to it.
fn hold(lab: &Lab, way: &Way, path: &Path) -> Result<(), LabError> {
    if let Some(package) = requirements::missing_for_queues() {
        requirements::install(&[package])?;
    }
    let topology = &lab.state.topology;
    let folder = state::path_folder(&topology.lab, &way.name());
    let groups = cgroup::make(&lab.kernel.cgroups, &topology.lab, "paths")?;
    let mut program = ["ip", "netns", "exec", &topology.internet()].map(str::to_owned).to_vec();
    program.extend(lab.state.forwarder.iter().cloned());
    program.extend(["--queue".into(), way.queue().to_string()]);
    program.extend(["--latency".into(), path.latency.to_string()]);
    program.extend(["--loss".into(), path.loss.to_string()]);
    let what = format!("what holds packets between {} and {}", way.ends[0], way.ends[1]);
    let forwarder = detached(lab, way, &folder);
    forwarder.start(&what, &groups, &program)?;
    await_queue(lab, way, &forwarder, &what)?;
    for (from, to) in way.links() {
        namespace::inside(&topology.internet(), "iptables", "lead packets into the queue")
            .args(queue_rule("-A", from, to, way.queue()))
            .run()?;
    }
    Ok(())
}

fn await_queue(lab: &Lab, way: &Way, forwarder: &Detached<'_>, what: &str) -> Result<(), LabError> {
    let number = way.queue().to_string();
    let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
    while Instant::now() < deadline {
        let queues = namespace::inside(&lab.state.topology.internet(), "cat", "read the queues")
            .arg(QUEUES)
            .run()?;
        if queues.lines().any(|line| line.split_whitespace().next() == Some(number.as_str())) {
            return Ok(());
        }
        sleep(Duration::from_millis(20));
    }
    Err(LabError::TimedOut {
        awaited: what.to_owned(),
        seconds: START_SECONDS_MAX,
        came_back: fs::read_to_string(forwarder.log()).unwrap_or_default().trim().to_owned(),
        next: "see what it said; `kubewan lab heal` takes the way back to what it was".into(),
    })
}

fn queue_rule(what: &str, from: &str, to: &str, queue: u32) -> Vec<String> {
    let queue = queue.to_string();
    [
        "-w",
        "-t",
        "mangle",
        what,
        "FORWARD",
        "-i",
        from,
        "-o",
        to,
        "-j",
        "NFQUEUE",
        "--queue-num",
        &queue,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn detached<'a>(lab: &'a Lab, way: &Way, folder: &'a std::path::Path) -> Detached<'a> {
    let unit =
        format!("{}path-{}.service", crate::machine::prefix(&lab.state.topology.lab), way.name());
    Detached { folder, unit, cgroups: &lab.kernel.cgroups }
}
