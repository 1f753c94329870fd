//! `kubewan bundle check`: whether a bundle is what it says, and what a cluster would miss in it.

use std::collections::BTreeMap;

use kubewan_fleet::bundle;
use serde::Serialize;

use crate::args::{BundleCheckArgs, Output};
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, json};

#[derive(Serialize)]
struct Check {
    kubernetes: String,
    rehearsal: bool,
    provenance: String,
    artifacts: usize,
    bytes: u64,
    problems: Vec<String>,
    missing: BTreeMap<String, Vec<String>>,
}

/// Checks a bundle.
pub fn check(args: &BundleCheckArgs) -> Result<Code, Failure> {
    let found = bundle::load(&args.dir)?;
    let problems = found.check(&|_| ());
    let bundle = &found.bundle;
    let check = Check {
        kubernetes: bundle.kubernetes.clone(),
        rehearsal: bundle.rehearsal,
        provenance: bundle.provenance.clone(),
        artifacts: bundle.artifacts.len(),
        bytes: bundle.artifacts.iter().map(|artifact| artifact.size).sum(),
        problems,
        missing: bundle
            .architectures()
            .into_iter()
            .map(|arch| (arch.to_owned(), bundle.missing(arch)))
            .collect(),
    };
    match args.output {
        Output::Json => json::document(&check),
        Output::Table => report::data(&text(&check)),
    }
    let whole = check.missing.values().all(Vec::is_empty) && !check.missing.is_empty();
    Ok(if check.problems.is_empty() && whole { Code::Done } else { Code::Refused })
}

fn text(check: &Check) -> String {
    let kind = if check.rehearsal { "a rehearsal of Kubernetes" } else { "Kubernetes" };
    let mut text = format!(
        "{kind} {}, {} files, {} MiB\n",
        check.kubernetes,
        check.artifacts,
        check.bytes.div_ceil(1 << 20)
    );
    if !check.provenance.is_empty() {
        text += &format!("{}\n", check.provenance.trim_end());
    }
    for problem in &check.problems {
        text += &format!("wrong    {problem}\n");
    }
    for (arch, missing) in &check.missing {
        for name in missing {
            text += &format!("missing  {name} for {arch}\n");
        }
        if missing.is_empty() {
            text += &format!("{arch}: everything that a cluster needs is there\n");
        }
    }
    if check.problems.is_empty() {
        text += "every file is as bundle.yaml says\n";
    }
    text
}
