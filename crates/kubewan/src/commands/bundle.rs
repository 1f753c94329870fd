//! `kubewan bundle check`: whether a bundle is what it says, and what a cluster would miss in it. `bundle create`: one
//! with everything from the publishers' servers, or their mirrors. `bundle packages`: those of a distribution beside it.

use std::collections::{BTreeMap, BTreeSet};

use kubewan_core::inventory::{self, Inventory};
use kubewan_core::supply::unencrypted;
use kubewan_fleet::bundle;
use kubewan_fleet::supply::packages::{self, PackagesError};
use kubewan_fleet::supply::{self, create};
use serde::Serialize;

use crate::args::{BundleCheckArgs, BundleCreateArgs, BundlePackagesArgs, Output};
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, downloads::Downloads, json};
use crate::site::Site;

#[derive(Serialize)]
struct Check {
    kubernetes: String,
    rehearsal: bool,
    provenance: String,
    artifacts: usize,
    bytes: u64,
    problems: Vec<String>,
    missing: BTreeMap<String, Vec<String>>,
    packages: Vec<Packages>,
}

/// Packages for hosts of a distribution that reach no mirror of it.
#[derive(Serialize)]
struct Packages {
    distribution: String,
    arch: String,
    count: usize,
    /// What such hosts have to have already.
    missing: Vec<&'static str>,
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
        packages: bundle
            .distributions()
            .into_iter()
            .map(|(distribution, arch)| Packages {
                distribution: distribution.to_owned(),
                arch: arch.to_owned(),
                count: bundle.packages(distribution, arch).count(),
                missing: bundle.packages_missing(distribution, arch),
            })
            .collect(),
    };
    match args.output {
        Output::Json => json::document(&check),
        Output::Table => report::say(&text(&check)),
    }
    let whole = check.missing.values().all(Vec::is_empty) && !check.missing.is_empty();
    Ok(if check.problems.is_empty() && whole { Code::Done } else { Code::Refused })
}

/// Makes a bundle.
pub fn create(args: &BundleCreateArgs) -> Result<Code, Failure> {
    let inventory = inventory_for(args)?;
    let version = &inventory.kubernetes.version;
    let folder =
        args.dir.clone().unwrap_or_else(|| bundle::cache().join(format!("kubernetes-{version}")));
    report::findings(unencrypted(&inventory).as_slice());
    let archs: BTreeSet<String> = args.arch.iter().cloned().collect();
    let wanted = create::Wanted {
        inventory: &inventory,
        archs: &archs,
        folder: &folder,
        cache: &supply::cache(),
    };
    let downloads = Downloads::new();
    let made = create::create(&wanted, &|step| downloads.hear(&step)).map_err(|error| {
        let next = "what came is kept: run the same command again. `--file` takes an inventory, whose `mirrors` name \
                    other servers";
        Failure::new(Code::Failed, format!("can't download {error}"), next)
    })?;
    let bytes: u64 = made.artifacts.iter().map(|artifact| artifact.size).sum();
    report::say(&format!(
        "{}: Kubernetes {version}, {} files, {} MiB; used with `kubernetes: {{ source: bundle }}`, and elsewhere than where \
         bundles are looked for with `bundle: DIR`\n",
        folder.display(),
        made.artifacts.len(),
        bytes.div_ceil(1 << 20)
    ));
    Ok(Code::Done)
}

/// Adds a distribution's packages to a bundle.
pub fn packages(args: &BundlePackagesArgs) -> Result<Code, Failure> {
    let downloads = Downloads::new();
    let added = packages::add(&args.dir, &supply::cache(), &|step| downloads.hear(&step));
    drop(downloads);
    let added = added.map_err(|error| match error {
        PackagesError::Bundle(error) => Failure::from(error),
        PackagesError::NoDpkg => {
            let next = "run it where Debian or Ubuntu runs, in the hosts' release, as a container of it does";
            Failure::new(Code::Refused, error.to_string(), next)
        }
        error => {
            let next = "the bundle is as it was; see to that this machine's apt reaches its mirror, and run the same command again";
            Failure::new(Code::Failed, format!("can't add packages: {error}"), next)
        }
    })?;
    report::data(&format!(
        "{}: {} packages of {} for {}, {} MiB; hosts take them with `runtime: {{ source: bundle }}`\n",
        args.dir.display(),
        added.count,
        added.distribution,
        added.arch,
        added.bytes.div_ceil(1 << 20)
    ));
    Ok(Code::Done)
}

/// The inventory that says what is wanted; one of no hosts' where only a version is given.
fn inventory_for(args: &BundleCreateArgs) -> Result<Inventory, Failure> {
    if let Some(file) = &args.file {
        return Ok(Site::read(file)?.inventory);
    }
    let version = args.kubernetes.as_deref().unwrap_or_default();
    let text = format!(
        "name: bundle\nkubernetes: {{ version: {} }}\nhosts: [{{ name: a, address: a.example, roles: [control-plane] }}]\n",
        serde_json::Value::from(version)
    );
    inventory::parse("--kubernetes", &text).map_err(|errors| {
        let text = errors.to_string();
        let first = text.lines().next().unwrap_or_default().to_owned();
        let help =
            text.lines().rev().find(|line| line.contains("help:")).unwrap_or_default().trim();
        Failure::text(Code::Usage, format!("{first}\n  {help}"))
    })
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
    for found in &check.packages {
        let Packages { distribution, arch, count, missing } = found;
        text +=
            &format!("{count} packages for hosts of {distribution} for {arch} without a mirror");
        if !missing.is_empty() {
            text += &format!(", which have to have {} already", missing.join(", "));
        }
        text += "\n";
    }
    if check.packages.is_empty() && !check.rehearsal {
        text +=
            "no packages: hosts need a mirror of their distribution (`kubewan bundle packages`)\n";
    }
    if check.problems.is_empty() {
        text += "every file is as bundle.yaml says\n";
    }
    text
}
