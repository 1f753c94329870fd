//! docs/reference.md names every code that can be met, and none that can't.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kubewan_core::inventory::{Acceptance, Code};

/// What a finding's code follows in the sources.
const BEFORE_CODE: [&str; 4] = ["Finding::error(", "Finding::warning(", " about(", " cluster("];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn reference() -> String {
    fs::read_to_string(root().join("docs/reference.md")).unwrap()
}

fn sources() -> String {
    let mut text = String::new();
    for name in ["kubewan", "kubewan-core", "kubewan-fleet"] {
        let mut folders = vec![root().join("crates").join(name).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => text += &fs::read_to_string(path).unwrap(),
                }
            }
        }
    }
    text
}

/// A text literal that the text begins with.
fn literal(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix('"')?.split('"').next()
}

#[test]
fn every_finding_is_in_the_reference_and_exists() {
    let (reference, sources) = (reference(), sources());
    let in_sources: BTreeSet<&str> = BEFORE_CODE
        .iter()
        .flat_map(|before| sources.split(before).skip(1).filter_map(literal))
        .filter(|code| {
            !code.is_empty() && code.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric())
        })
        .collect();
    assert!(in_sources.len() > 30, "the sources are searched in the wrong way: {in_sources:?}");
    let (_, table) = reference.split_once("\n## Findings\n").unwrap();
    let (table, _) = table.split_once("\n### ").unwrap();
    let first_cells =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let documented: BTreeSet<&str> = first_cells
        .flat_map(|cell| cell.split('`').step_by(2))
        .filter(|code| !code.is_empty())
        .collect();
    let missing: Vec<&&str> = in_sources.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/reference.md: {missing:?}");
    let gone: Vec<&&str> =
        documented.iter().filter(|code| !sources.contains(&format!("\"{code}\""))).collect();
    assert!(gone.is_empty(), "only in docs/reference.md: {gone:?}");
}

#[test]
fn every_command_and_option_is_in_the_reference_and_in_both_readmes() {
    let kubewan = std::process::Command::new(env!("CARGO_BIN_EXE_kubewan"));
    let help = { kubewan }.arg("-h").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("\nCommands:\n").unwrap();
    let (commands, options) = commands.split_once("\n\n").unwrap();
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let texts = ["README.md", "README.zh-CN.md", "docs/reference.md"];
    let words = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = words.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 12, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        for text in texts {
            assert!(read(text).contains(&format!("| `kubewan {name}")), "{name} is not in {text}");
        }
    }
    let reference = reference();
    let (_, table) = reference.split_once("\n## What is told\n").unwrap();
    let (_, options) = options.split_once("Options of all commands:\n").unwrap();
    let (options, _) = options.split_once("\n\n").unwrap_or((options, ""));
    let named: Vec<&str> = options
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
        .collect();
    assert!(named.len() >= 4, "{named:?} in {options}");
    for name in named {
        assert!(table.contains(&format!("`--{name}")), "--{name} is not in docs/reference.md");
    }
}

#[test]
fn every_error_of_the_inventory_is_in_the_reference() {
    let reference = reference();
    for code in Code::ALL {
        let line = format!("| `{}` | {} |", code.name(), code.meaning());
        assert!(reference.contains(&line), "not in docs/reference.md: {line}");
    }
}

#[test]
fn everything_that_may_be_accepted_is_in_the_reference() {
    let reference = reference();
    let (_, section) = reference.split_once("\n### What may be accepted\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let cell = |text: String| if text.is_empty() { String::new() } else { format!("`{text}` ") };
    let lines: Vec<String> = Acceptance::ALL
        .iter()
        .map(|what| {
            let check = cell(what.preflight().unwrap_or_default().to_owned());
            let told =
                cell(what.kubelet().map_or(String::new(), |k| format!("{}=false", k.argument)));
            format!("| `{}` | {} | {check}| {told}|", what.code(), what.meaning())
        })
        .collect();
    let table: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(table, lines);
}

/// The tables of docs/reference.md about versions, from the one in the core.
#[test]
fn the_table_of_versions_is_in_the_reference() {
    let reference = reference();
    let (_, section) = reference.split_once("\n## Versions\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let table: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).collect();
    let wanted: Vec<String> =
        [versions::images(), versions::hosts(), versions::marks(), versions::arguments()].concat();
    assert!(
        table == wanted,
        "docs/reference.md has other tables of versions than these:\n{}",
        wanted.join("\n")
    );
}

mod versions {
    use kubewan_core::supply;
    use kubewan_core::versions::arguments::ARGUMENTS;
    use kubewan_core::versions::{CgroupV1, Cri, Crictl, KubeadmApi, RELEASES, Release, Tags};

    fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<String> {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        let rule = format!("|{}", "---|".repeat(head.len()));
        [line(&head), rule].into_iter().chain(rows.map(|row| line(&row))).collect()
    }

    fn of_each(head: &[&str], cells: fn(&Release) -> Vec<String>) -> Vec<String> {
        let row =
            |release: &Release| [vec![format!("1.{}", release.minor)], cells(release)].concat();
        table(head, RELEASES.iter().map(row))
    }

    /// `3.5.1-0; .14: 3.5.5-0`.
    fn tags(tags: Tags) -> String {
        let since = |(from, tag): &(u32, &str)| match from {
            0 => (*tag).to_owned(),
            from => format!(".{from}: {tag}"),
        };
        tags.iter().map(since).collect::<Vec<_>>().join("; ")
    }

    fn yes(is: bool) -> String {
        if is { "yes" } else { "no" }.to_owned()
    }

    fn quoted(names: &[&str]) -> String {
        let last = |name: &&str| format!("`{}`", name.rsplit('/').next().unwrap_or(name));
        names.iter().map(last).collect::<Vec<_>>().join(", ")
    }

    pub fn images() -> Vec<String> {
        let head = [
            "Kubernetes",
            "ends",
            "known to",
            "kubeadm's API",
            "pause",
            "etcd",
            "CoreDNS",
            "kubeadm's own registry",
        ];
        of_each(&head, |release| {
            let registry = match release.registry_from {
                0 => release.registry(0).to_owned(),
                from => format!("{}; .{from}: {}", release.registry(0), release.registry(from)),
            };
            let api = match release.kubeadm_api {
                KubeadmApi::V1Beta3 => "v1beta3",
                KubeadmApi::V1Beta4 => "v1beta4",
            };
            vec![
                release.end_of_life.into(),
                format!(".{}", release.last_patch),
                api.into(),
                release.pause.into(),
                tags(release.etcd),
                tags(release.coredns),
                registry,
            ]
        })
    }

    pub fn hosts() -> Vec<String> {
        let head = [
            "Kubernetes",
            "packages",
            "CRI",
            "containerd",
            "`release` takes",
            "crictl",
            "kernels",
            "cgroup v1",
            "oldest kubelet",
        ];
        of_each(&head, |release| {
            let cri = match release.cri {
                Cri::V1Alpha2 => "v1alpha2",
                Cri::Both => "v1, v1alpha2",
                Cri::V1 => "v1",
            };
            let (oldest, newer) = (release.containerd.oldest, release.containerd.below);
            let below = newer.map_or(String::new(), |(a, b)| format!(", below {a}.{b}"));
            let crictl = match release.crictl {
                Crictl::Needed(version) => version,
                Crictl::Wished => "a warning without",
                Crictl::Unasked => "not asked for",
            };
            let cgroup_v1 = match release.cgroup_v1 {
                CgroupV1::Works => "works",
                CgroupV1::Kept => "works; a warning",
                CgroupV1::Refused => "refused; `accept`",
            };
            vec![
                yes(release.packages),
                cri.into(),
                format!("{}.{}{below}", oldest.0, oldest.1),
                supply::containerd(release).into(),
                crictl.into(),
                release.kernels.to_string(),
                cgroup_v1.into(),
                format!("1.{}", release.oldest_kubelet),
            ]
        })
    }

    pub fn marks() -> Vec<String> {
        let head = [
            "Kubernetes",
            "labels of a control plane",
            "its taints",
            "dockershim",
            "super-admin.conf",
            "`localhostNodePorts`",
        ];
        of_each(&head, |release| {
            vec![
                quoted(release.role_labels),
                quoted(release.role_taints),
                yes(release.dockershim),
                yes(release.super_admin),
                yes(release.localhost_node_ports),
            ]
        })
    }

    pub fn arguments() -> Vec<String> {
        let minor = |minor: Option<u32>| minor.map_or(String::new(), |minor| format!("1.{minor}"));
        let rows = ARGUMENTS.iter().map(|argument| {
            vec![
                format!("`--{}`", argument.name),
                minor(argument.came),
                minor(argument.gone),
                argument.instead.into(),
            ]
        });
        table(&["the kubelet's", "came with", "went with", "instead"], rows)
    }
}
