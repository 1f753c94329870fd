//! What can be checked without running the product: formatting, lints, walls between crates, licences.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::run::{cargo, output, show};

/// Crates that are pure: all that they need of the world is passed in.
const PURE: [&str; 2] = ["kubewan-core", "kubewan-doctor"];

/// What a pure crate may depend on, besides what these depend on themselves: parsers, formats, arithmetic.
const PURE_MAY_USE: [&str; 10] = [
    "base64",
    "ipnet",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "sha2",
    "similar",
    "thiserror",
    "toml",
];

/// Which crate of ours may depend on which. Nothing points back.
const ARROWS: [(&str, &[&str]); 8] = [
    ("kubewan-core", &[]),
    ("kubewan-rehearsal", &[]),
    ("kubewan-doctor", &["kubewan-core"]),
    ("kubewan-agent", &["kubewan-core"]),
    ("kubewan-fleet", &["kubewan-core"]),
    ("kubewan-lab", &["kubewan-core"]),
    (
        "kubewan",
        &[
            "kubewan-core",
            "kubewan-doctor",
            "kubewan-agent",
            "kubewan-fleet",
            "kubewan-lab",
            "kubewan-rehearsal",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that must not be in the tree, with the reason.
const BANNED: [(&str, &str); 9] = [
    ("openssl-sys", "needs a C library that hosts don't share; the product carries no TLS"),
    ("aws-lc-sys", "a large C build; rustls is used with ring"),
    ("serde_yaml", "unmaintained; serde-saphyr is the one YAML"),
    ("serde_yml", "RUSTSEC-2025-0068"),
    ("chrono", "a second notion of time"),
    ("hickory-resolver", "the product carries no DNS stack: the system resolves"),
    ("reqwest", "the product carries no HTTP stack: curl downloads"),
    ("kube", "the API is reached through the host's own kubectl"),
    ("tokio", "the work is a thread per host; see ARCHITECTURE.md"),
];

/// TLS is the rehearsal's alone.
const REHEARSAL_ONLY: [&str; 4] = ["rustls", "ring", "rcgen", "hyper"];

/// Licences that may be linked into a binary under MIT or Apache-2.0.
const LICENCES: [&str; 13] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "0BSD",
    "Unlicense",
    "MIT-0",
];

/// Lines of Rust that a reader will follow in one file, tests and all.
const FILE_LINES_MAX: usize = 600;

/// All checks, cheapest first.
pub fn all() -> Result<(), String> {
    show(cargo().args(["fmt", "--all", "--check"]))?;
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|e| e.to_string())?;
    let mut wrong = arrows(&metadata);
    wrong.extend(purity(&metadata));
    wrong.extend(banned(&metadata));
    wrong.extend(licences(&metadata));
    wrong.extend(long_files(Path::new("."))?);
    if !wrong.is_empty() {
        return Err(format!("cargo xtask check:\n  {}", wrong.join("\n  ")));
    }
    show(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    eprintln!("check: formatting, walls, licences and lints hold");
    Ok(())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

/// Direct dependencies of a package that end up in the product.
fn normal_dependencies(package: &Value) -> impl Iterator<Item = &str> {
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|d| d["kind"].is_null())
        .filter_map(|d| d["name"].as_str())
}

fn arrows(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into();
    let ours: BTreeSet<&str> = packages(metadata).filter(|p| is_ours(p)).map(name).collect();
    let mut wrong = Vec::new();
    for package in packages(metadata).filter(|p| is_ours(p)) {
        let Some(may) = allowed.get(name(package)) else {
            wrong.push(format!("{} is a crate that ARCHITECTURE.md does not know", name(package)));
            continue;
        };
        for dependency in
            normal_dependencies(package).filter(|d| ours.contains(d) && !may.contains(d))
        {
            wrong.push(format!("{} must not depend on {dependency}", name(package)));
        }
    }
    wrong
}

fn purity(metadata: &Value) -> Vec<String> {
    let pure = packages(metadata).filter(|p| PURE.contains(&name(p)));
    pure.flat_map(|p| normal_dependencies(p).map(move |d| (name(p), d)))
        .filter(|(_, d)| !PURE_MAY_USE.contains(d) && *d != PURE[0])
        .map(|(pure, d)| format!("{pure} must stay pure: it may not depend on {d}"))
        .collect()
}

fn banned(metadata: &Value) -> Vec<String> {
    let mut wrong: Vec<String> = Vec::new();
    for package in packages(metadata) {
        if let Some((name, why)) = BANNED.iter().find(|(banned, _)| *banned == name(package)) {
            wrong.push(format!("{name} is banned: {why}"));
        }
        if is_ours(package) && name(package) != "kubewan-rehearsal" {
            for dependency in normal_dependencies(package).filter(|d| REHEARSAL_ONLY.contains(d)) {
                wrong.push(format!(
                    "{} must not depend on {dependency}: TLS is the rehearsal's alone",
                    name(package)
                ));
            }
        }
    }
    wrong
}

fn licences(metadata: &Value) -> Vec<String> {
    packages(metadata)
        .filter(|package| !package["license"].as_str().is_some_and(acceptable))
        .map(|package| format!("{}: licence {}", name(package), package["license"]))
        .collect()
}

/// An SPDX expression: some alternative of which every part is acceptable.
fn acceptable(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain
        .split(" OR ")
        .any(|choice| choice.split(" AND ").all(|part| LICENCES.contains(&part.trim())))
}

fn long_files(root: &Path) -> Result<Vec<String>, String> {
    let list =
        output(std::process::Command::new("git").current_dir(root).args(["ls-files", "*.rs"]))?;
    let mut wrong = Vec::new();
    for path in list.lines() {
        let Ok(text) = std::fs::read_to_string(root.join(path)) else { continue };
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{path} has {lines} lines; a reader would split it (at most {FILE_LINES_MAX})"
            ));
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::acceptable;

    #[test]
    fn licence_expressions() {
        assert!(acceptable("MIT OR Apache-2.0"));
        assert!(acceptable("Unlicense/MIT"));
        assert!(acceptable("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!acceptable("GPL-3.0"));
        assert!(!acceptable("MIT AND GPL-3.0"));
    }
}
