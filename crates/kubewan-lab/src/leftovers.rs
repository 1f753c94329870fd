//! What a lab would have left behind, found by looking at the machine and not at its state.

use std::fs;
use std::path::PathBuf;

use crate::call::Call;
use crate::kernel::{CgroupLayout, KernelFacts};
use crate::topology::operator_link;
use crate::{cgroup, layer, machine, namespace, state};

/// Names every namespace, link, route, mount, control group, process and file of a lab that is on
/// this machine; of all labs where none is named. Empty after `down`, and after an `up` that failed.
pub fn leftovers(lab: Option<&str>) -> Vec<String> {
    let namespaces = namespace::existing(lab);
    let mut found: Vec<String> =
        namespaces.iter().map(|name| format!("namespace {name}")).collect();
    found.extend(links_and_routes(lab));
    let storage = lab.map_or_else(|| PathBuf::from(state::STORAGE), state::folder);
    found.extend(layer::mounts_below(&storage).iter().map(|at| format!("mount {}", at.display())));
    let layout = KernelFacts::gather().cgroups;
    let groups = cgroup::existing(&layout);
    let own = |group: &&PathBuf| lab.is_none_or(|lab| group.ends_with(cgroup::group(lab)));
    let groups: Vec<&PathBuf> = groups.iter().filter(own).collect();
    found.extend(groups.iter().map(|group| format!("control group {}", group.display())));
    found.extend(processes(lab));
    let machines = lab.map_or_else(|| machine::NAME_PREFIX.to_owned(), machine::prefix);
    found.extend(units(&layout, &machines));
    if storage.exists() {
        found.push(format!("folder {}", storage.display()));
    }
    let traces = machine::nspawn_traces(&machines);
    found.extend(traces.iter().map(|name| format!("systemd-nspawn's folder of {name}")));
    found
}

fn links_and_routes(lab: Option<&str>) -> Vec<String> {
    let link = lab.map_or_else(|| "kwl-".to_owned(), operator_link);
    let ip = |arguments: &[&str]| {
        Call::new("ip", "look for links").args(arguments).run().unwrap_or_default()
    };
    let links = ip(&["-o", "link", "show"]);
    let ours = links.lines().filter(|line| line.contains(&format!(": {link}")));
    let mut found: Vec<String> = ours.map(|line| format!("link {line}")).collect();
    let routes = ip(&["route", "show", "table", "all"]);
    let ours = routes.lines().filter(|line| line.contains(&format!("dev {link}")));
    found.extend(ours.map(|line| format!("route {}", line.trim())));
    found
}

/// Processes in labs' control groups or started on its files. One that has ended and is only
/// waiting for its parent to notice isn't counted.
fn processes(lab: Option<&str>) -> Vec<String> {
    let group = format!("/{}", lab.map_or_else(|| cgroup::PREFIX.to_owned(), cgroup::group));
    let machines = lab.map_or_else(|| machine::NAME_PREFIX.to_owned(), machine::prefix);
    let read = |pid: &str, name: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let numbers = entries("/proc");
    let numbers = numbers.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let ours = numbers.filter_map(|pid| {
        let command = read(pid, "cmdline");
        let groups = read(pid, "cgroup");
        let in_group = groups.lines().any(|line| {
            line.split_once(&group)
                .is_some_and(|(_, rest)| lab.is_none() || rest.is_empty() || rest.starts_with('/'))
        });
        let on_files = command.contains("nspawn") && command.contains(&machines);
        let alive = !read(pid, "status").contains("State:\tZ");
        (alive && (in_group || on_files)).then(|| format!("process {pid} {}", command.trim()))
    });
    ours.collect()
}

fn units(layout: &CgroupLayout, machines: &str) -> Vec<String> {
    if !matches!(layout, CgroupLayout::V2Systemd(_)) {
        return Vec::new();
    }
    let pattern = format!("{machines}*");
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
