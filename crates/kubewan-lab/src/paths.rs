//! Ways between clouds at run time: cut, slowed, lossy, narrow, and healed again. Everything is done in the
//! Internet's namespace, so that hosts and clouds see nothing but what a real path would show them.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::call::Call;
use crate::error::OnPath;
use crate::lab::Lab;
use crate::netem::Holder;
use crate::network::{CUT_PATH, Way};
use crate::process::Detached;
use crate::topology::{Path, ends};
use crate::{LabError, cgroup, layer, namespace, netem, requirements, state};

/// Where the kernel lists the packet queues of a namespace.
const QUEUES: &str = "/proc/net/netfilter/nfnetlink_queue";
/// How long a program that holds packets may take to start.
const START_SECONDS_MAX: u64 = 60;
/// The control group of what holds packets; no host's name has a `_`.
const CGROUP: &str = "paths_";
/// The note in a way's folder of what it was made; written last, so that a way without is half made.
const NOTE: &str = "path.json";
/// How many packets the kernel joins as one for a link, where nobody has said otherwise (`GSO_MAX_SEGS` of
/// linux/netdevice.h).
const SEGMENTS_USUAL: &str = "65535";

/// What a way is, and whether it still does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// What it was made.
    pub(crate) path: Path,
    /// Whether it was made whole, and what holds its packets is still there. Else they may vanish, or pass untouched.
    pub(crate) sound: bool,
}

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
    // What the kernel joins for speed would be lost, or be too large, as one.
    way.ends.iter().for_each(|end| segment(lab, end, "1"));
    match path.mtu {
        Some(_) if path.black_hole => {
            namespace::nft(&topology.internet(), &way.hole_rules(path))?;
        }
        Some(mtu) => namespace::ip_batch(Some(&topology.internet()), &way.routes(topology, mtu))?,
        None => {}
    }
    match lab.state.holder {
        _ if !path.holds_packets() => {}
        Holder::Netem => netem::hold(&topology.internet(), way, path)?,
        Holder::Forwarder => hold(lab, way, path)?,
    }
    let note = folder.join(NOTE);
    let text = serde_json::to_string(path).unwrap_or_default();
    fs::write(&note, text).on("write", &note)
}

/// What a way is now.
pub(crate) fn condition(lab: &Lab, way: &Way) -> Condition {
    let folder = state::path_folder(&lab.state.topology.lab, &way.name());
    if !folder.exists() {
        return Condition { path: Path::default(), sound: true };
    }
    let text = fs::read_to_string(folder.join(NOTE)).unwrap_or_default();
    let noted: Option<Path> = serde_json::from_str(&text).ok();
    let runs = || match lab.state.holder {
        Holder::Netem => netem::is_held(&lab.state.topology.internet(), way),
        Holder::Forwarder => detached(lab, way, &folder).process().is_some(),
    };
    let sound = noted.is_some_and(|path| !path.holds_packets() || runs());
    Condition { path: noted.unwrap_or_default(), sound }
}

/// Takes away whatever an earlier [`impair`] has made.
fn clear(lab: &Lab, way: &Way) -> Result<(), LabError> {
    let topology = &lab.state.topology;
    let internet = topology.internet();
    let folder = state::path_folder(&topology.lab, &way.name());
    if !folder.exists() {
        return Ok(());
    }
    if lab.state.holder == Holder::Netem {
        netem::release(&internet, way)?;
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
    let table = format!("{}{}", crate::network::HOLE_PATH, way.name());
    let rules = format!("table ip {table} {{ }}\ndelete table ip {table}\n");
    namespace::nft(&internet, &rules)?;
    layer::remove_tree(&folder)?;
    let unused = way.ends.iter().filter(|end| !is_end_of_any(lab, end));
    unused.for_each(|end| segment(lab, end, SEGMENTS_USUAL));
    Ok(())
}

/// Whether some way of this end is not plain.
fn is_end_of_any(lab: &Lab, end: &str) -> bool {
    let ways = fs::read_dir(state::paths_folder(&lab.state.topology.lab));
    let names =
        ways.into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    names.into_iter().any(|name| name.split('_').any(|named| named == end))
}

/// Has an end join at most so many packets into one.
fn segment(lab: &Lab, end: &str, packets: &str) {
    let topology = &lab.state.topology;
    let (namespace, link) = match topology.clouds.iter().find(|cloud| cloud.name == end) {
        Some(cloud) => (Some(cloud.namespace.as_str()), "wan".to_owned()),
        None => (None, topology.operator_link()),
    };
    let mut call = Call::new("ip", "send packets one by one");
    if let Some(namespace) = namespace {
        call = call.args(["-n", namespace]);
    }
    let _ = call.args(["link", "set", &link, "gso_max_segs", packets]).succeeds();
}

/// Starts the program that holds packets, and leads them to it.
fn hold(lab: &Lab, way: &Way, path: &Path) -> Result<(), LabError> {
    if let Some(package) = requirements::missing_for_queues() {
        requirements::install(&[package])?;
    }
    if lab.state.forwarder.is_empty() {
        return Err(LabError::BadOption {
            option: "the forwarder",
            value: "no program".into(),
            why: "latency and loss need one that holds packets".into(),
            next: "name one in `LabOptions`, as `kubewan lab forward`".into(),
        });
    }
    let topology = &lab.state.topology;
    let folder = state::path_folder(&topology.lab, &way.name());
    let groups = cgroup::make(&lab.kernel.cgroups, &topology.lab, CGROUP)?;
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
        if queues.lines().any(|line| is_set_up(line, &number)) {
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

/// Reads a line of [`QUEUES`]: number, port, waiting packets, what is copied of each (0 until the last setting has
/// been made), … (`seq_show` in net/netfilter/nfnetlink_queue.c).
fn is_set_up(line: &str, number: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    fields.first() == Some(&number) && fields.get(3).is_some_and(|copied| *copied != "0")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_ready_when_its_last_setting_is_made() {
        let bound = "    3   4711     0 0     0     0     0        0  1";
        let ready = "    3   4711     0 1     0     0     0        0  1";
        assert!(!is_set_up(bound, "3") && is_set_up(ready, "3"));
        assert!(!is_set_up(ready, "4") && !is_set_up("", "3"));
    }
}
