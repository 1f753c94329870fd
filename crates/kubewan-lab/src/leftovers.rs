//! What a lab would have left behind, found by looking at the machine and not at its state.

use std::fs;
use std::path::Path;

use crate::call::Call;
use crate::kernel::{CgroupLayout, KernelFacts};
use crate::topology::Topology;
use crate::{cgroup, layer, machine, namespace, state};

/// Names every namespace, link, route, mount, control group, process and file of a lab that is on
/// this machine. Empty after `down`, and after an `up` that failed.
pub fn leftovers() -> Vec<String> {
    let namespaces = namespace::existing();
    let mut found: Vec<String> =
        namespaces.iter().map(|name| format!("namespace {name}")).collect();
    found.extend(links_and_routes());
    let storage = Path::new(state::STORAGE);
    found.extend(layer::mounts_below(storage).iter().map(|at| format!("mount {}", at.display())));
    let layout = KernelFacts::gather().cgroups;
    let groups = cgroup::existing(&layout);
    found.extend(groups.iter().map(|group| format!("control group {}", group.display())));
    found.extend(processes());
    found.extend(units(&layout));
    if storage.exists() {
        found.push(format!("folder {}", storage.display()));
    }
    let traces = machine::nspawn_traces();
    found.extend(traces.iter().map(|name| format!("systemd-nspawn's folder of {name}")));
    found
}

fn links_and_routes() -> Vec<String> {
    let ip = |arguments: &[&str]| {
        Call::new("ip", "look for links").args(arguments).run().unwrap_or_default()
    };
    let links = ip(&["-o", "link", "show"]);
    let ours = links.lines().filter(|line| line.contains(": kwl-"));
    let mut found: Vec<String> = ours.map(|line| format!("link {line}")).collect();
    let routes = ip(&["route", "show", "table", "all"]);
    let ours = routes.lines().filter(|line| line.contains(Topology::OPERATOR_LINK));
    found.extend(ours.map(|line| format!("route {}", line.trim())));
    found
}

/// Processes in the lab's control groups or started on its files. One that has ended and is only
/// waiting for its parent to notice isn't counted.
fn processes() -> Vec<String> {
    let read = |pid: &str, name: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let numbers = entries("/proc");
    let numbers = numbers.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let ours = numbers.filter_map(|pid| {
        let command = read(pid, "cmdline");
        let in_group = read(pid, "cgroup").contains("/kubewan-lab");
        let on_files = command.contains("nspawn") && command.contains(machine::NAME_PREFIX);
        let alive = !read(pid, "status").contains("State:\tZ");
        (alive && (in_group || on_files)).then(|| format!("process {pid} {}", command.trim()))
    });
    ours.collect()
}

fn units(layout: &CgroupLayout) -> Vec<String> {
    if !matches!(layout, CgroupLayout::V2Systemd(_)) {
        return Vec::new();
    }
    let pattern = format!("{}*", machine::NAME_PREFIX);
    let listed = Call::new("systemctl", "look for units")
        .args(["list-units", "--all", "--plain", "--no-legend", &pattern])
        .run()
        .unwrap_or_default();
    listed.lines().map(|line| format!("unit {}", line.trim())).collect()
}

fn entries(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
