//! `kubewan lab`: servers to try with. The lab hands over an inventory and nothing else; from then on it is `up`, as on
//! any server.

use std::os::unix::process::CommandExt;
use std::path::Path as FilePath;
use std::process::Command;

use kubewan_core::bundle::{Artifact, ArtifactKind, Bundle};
use kubewan_fleet::bundle::{self, BundleDir, BundleError};
use kubewan_fleet::program::go_arch;
use kubewan_lab::topology::{self, Path, Spec};
use kubewan_lab::{Inventory, KubernetesChoice, Lab, LabError, LabEvent, LabOptions, Standing};

use crate::args::{File, LabCommand, LabImpairArgs, LabKubernetes, LabUpArgs, Output, UpArgs};
use crate::commands::up;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;
use crate::report::lab::{self as words, Shown, State};

/// containerd's major version in the lab's default image, for a bundle without one.
const DISTRIBUTIONS_CONTAINERD: u32 = 1;

/// Runs a command.
pub fn run(command: LabCommand) -> Result<Code, Failure> {
    let tell = &mut |event: LabEvent| report::note(&words::event(&event));
    match command {
        LabCommand::Up(args) => return make(&args, tell),
        LabCommand::Ls => return list(),
        LabCommand::Ssh { lab, host } => {
            let argv = Lab::open(&lab.name)?.ssh_command(&host)?;
            return Err(replaced_by(Command::new(&argv[0]).args(&argv[1..])));
        }
        LabCommand::Exec { lab, host, command } => {
            let argv: Vec<&str> = command.iter().map(String::as_str).collect();
            return Err(replaced_by(&mut Lab::open(&lab.name)?.exec_command(&host, &argv)?));
        }
        LabCommand::Reboot { lab, host } => Lab::open(&lab.name)?.reboot(&host, tell)?,
        LabCommand::Rewind { lab, host } => {
            let hosts: Vec<&str> = host.iter().map(String::as_str).collect();
            opened(&lab.name)?.rewind(&hosts, tell)?;
        }
        LabCommand::Cut { lab, end, other } => match other {
            Some(other) => Lab::open(&lab.name)?.cut_between(&end, &other)?,
            None => Lab::open(&lab.name)?.cut(&end)?,
        },
        LabCommand::Heal { lab, end, other } => match (end, other) {
            (Some(end), Some(other)) => opened(&lab.name)?.heal_between(&end, &other)?,
            (Some(end), None) => opened(&lab.name)?.heal(&end)?,
            (None, _) => opened(&lab.name)?.heal_all()?,
        },
        LabCommand::Impair(args) => impair(&args)?,
        LabCommand::Down { name } => {
            let was = Lab::down(&name, tell)?;
            report::note(if was { "The lab is gone." } else { "There was no lab." });
        }
        LabCommand::Forward { queue, latency, loss } => {
            let path = Path { latency, loss, ..Path::default() };
            return Err(match kubewan_lab::forward(queue, &path) {
                Ok(()) => Failure::text(Code::Failed, "error: the queue ended".to_owned()),
                Err(error) => Failure::text(Code::Failed, format!("error: queue {queue}: {error}")),
            });
        }
    }
    Ok(Code::Done)
}

fn list() -> Result<Code, Failure> {
    let labs = Lab::all();
    if labs.is_empty() {
        report::note("No lab is up on this machine; `kubewan lab up` makes one.");
    } else {
        let shown: Vec<Shown> = labs.into_iter().map(|(name, lab)| found(name, lab)).collect();
        report::say(&words::labs(&shown));
    }
    Ok(Code::Done)
}

/// What is wrong with one lab is said in its place.
fn found(name: String, standing: Standing) -> Shown {
    let state = match standing {
        Standing::Up(lab) => match lab.list() {
            Ok(hosts) => State::Up { hosts, ways: lab.ways() },
            Err(error) => State::Unreadable(error.to_string()),
        },
        Standing::BeingMade => State::BeingMade,
        Standing::HalfMade => State::HalfMade,
        Standing::Unreadable(error) => State::Unreadable(error.to_string()),
    };
    Shown { name, state }
}

fn shown(lab: &Lab) -> Result<Shown, LabError> {
    let state = State::Up { hosts: lab.list()?, ways: lab.ways() };
    Ok(Shown { name: lab.name().to_owned(), state })
}

/// A lab that is up. What holds its packets is this program, as that which made the lab may be gone.
fn opened(name: &str) -> Result<Lab, Failure> {
    Ok(Lab::open(name)?.with_forwarder(forwarder()?))
}

fn forwarder() -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe().map_err(|error| no_path(&error))?;
    Ok(vec![program.to_string_lossy().into_owned(), "lab".into(), "forward".into()])
}

fn impair(args: &LabImpairArgs) -> Result<(), Failure> {
    let LabImpairArgs { latency, loss, mtu, black_hole, .. } = *args;
    let path = Path { latency, loss, mtu, black_hole };
    Ok(opened(&args.lab.name)?.impair(&args.end, &args.other, &path)?)
}

/// The program takes our place, so that its streams and exit code are its own; it returns only if it can't start.
fn replaced_by(command: &mut Command) -> Failure {
    let error = command.exec();
    let program = command.get_program().to_string_lossy().into_owned();
    Failure::new(
        Code::Failed,
        format!("can't run {program}: {error}"),
        format!("install {program}"),
    )
}

/// A path that can't be made absolute: the working folder is gone.
fn no_path(error: &std::io::Error) -> Failure {
    let said = format!("can't tell where this is: {error}");
    Failure::new(Code::Failed, said, "run it in a folder that exists")
}

fn make(args: &LabUpArgs, tell: &mut dyn FnMut(LabEvent)) -> Result<Code, Failure> {
    let options = options(args)?;
    let bundle = bundle_for(args, &options.topology)?;
    report::rehearsal(bundle.is_none() && !args.hosts_only, || {
        let mut lab = Lab::up(&options, tell)?;
        let kubernetes = match bundle {
            Some(bundle) => choice(&bundle)?,
            None => choice(&bundle::load(&rehearsal(&lab, tell)?)?)?,
        };
        let Inventory { path: file, edited } = lab.write_inventory(&kubernetes)?;
        report::note(words::labs(&[shown(&lab)?]).trim_end());
        if edited {
            report::note(&words::event(&LabEvent::Kept { path: file.clone() }));
        }
        if edited && !args.hosts_only {
            return Err(not_run(&file));
        }
        if args.hosts_only {
            report::note(&format!(
                "Servers are there. A cluster on them: kubewan up -f {}",
                file.display()
            ));
            return Ok(Code::Done);
        }
        up::run(&UpArgs { file: File { file }, output: Output::Table, yes: true, no_smoke: false })
    })
}

/// An edited inventory may be about any servers: `up --yes` is for what the lab itself wrote.
fn not_run(file: &FilePath) -> Failure {
    let file = file.display();
    Failure::new(
        Code::Refused,
        format!("{file} was edited since the lab wrote it, so `lab up` doesn't build by it"),
        format!("kubewan up -f {file}"),
    )
}

fn options(args: &LabUpArgs) -> Result<LabOptions, Failure> {
    let dir = args.dir.clone().unwrap_or_else(|| args.name.clone().into());
    let topology = match &args.topology {
        Some(file) => read_topology(file)?,
        None => Spec::usual(usize::from(args.hosts)),
    };
    let topology = topology.on(args.distribution);
    Ok(LabOptions {
        name: args.name.clone(),
        dir: std::path::absolute(&dir).map_err(|error| no_path(&error))?,
        topology,
        forwarder: forwarder()?,
    })
}

fn read_topology(file: &FilePath) -> Result<Spec, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        let next = "next: name a file as docs/lab.md describes it";
        Failure::text(Code::Refused, format!("error: can't read {name}: {error}\n{next}"))
    })?;
    topology::parse(&name, &text).map_err(|wrong| {
        let error = LabError::BadTopology(wrong);
        Failure::text(Code::Refused, format!("error: {error}"))
    })
}

/// Stand-ins, with the packages of the lab's distributions.
fn rehearsal(lab: &Lab, tell: &mut dyn FnMut(LabEvent)) -> Result<std::path::PathBuf, Failure> {
    let program = std::env::current_exe().map_err(|error| no_path(&error))?;
    let hosts = lab.info()?.hosts;
    let distributions: Vec<_> = hosts.iter().map(|host| host.image.distribution).collect();
    Ok(kubewan_lab::rehearsal_bundle(&distributions, &program, tell)?)
}

/// The bundle of real Kubernetes that is asked for; `None` for a rehearsal.
fn bundle_for(args: &LabUpArgs, topology: &Spec) -> Result<Option<BundleDir>, Failure> {
    let found = match &args.bundle {
        Some(dir) => Some(bundle::load(dir)?),
        None => bundle::newest(&bundle::cache()),
    };
    match (args.kubernetes, found) {
        (LabKubernetes::Rehearsal, _) => Ok(None),
        (LabKubernetes::Bundle, None) => {
            let error = BundleError::NotFound {
                version: "of any version".into(),
                looked_in: bundle::cache(),
            };
            Err(error.into())
        }
        (_, None) => Ok(None),
        (kubernetes, Some(found)) => match without_packages(&found.bundle, topology) {
            None => Ok(Some(found)),
            Some(distribution) => {
                let said = format!(
                    "the bundle {} has no packages for {distribution}, and lab hosts reach no mirror of it",
                    found.root.display()
                );
                if kubernetes == LabKubernetes::Auto && args.bundle.is_none() {
                    report::note(&format!("{said} (docs/bundle.md): stand-ins take its place"));
                    return Ok(None);
                }
                let next = "add them (docs/bundle.md), or use `--kubernetes rehearsal`";
                Err(Failure::new(Code::Refused, said, next))
            }
        },
    }
}

/// A distribution of the lab's hosts that a bundle has no packages for.
fn without_packages(bundle: &Bundle, topology: &Spec) -> Option<&'static str> {
    let arch = go_arch(std::env::consts::ARCH);
    let mut hosts = topology.clouds.iter().flat_map(|cloud| &cloud.hosts);
    hosts.find_map(|host| {
        let name = host.distribution.unwrap_or_default().name();
        bundle.packages(name, arch).next().is_none().then_some(name)
    })
}

fn choice(bundle: &BundleDir) -> Result<KubernetesChoice, Failure> {
    // The package's: a bundle may have containerd's programs too, which a lab's hosts, who have packages, don't take.
    let is_for_it = |a: &&Artifact| a.kind == ArtifactKind::Package && a.runtime.is_none();
    let mut packages = bundle.bundle.artifacts.iter().filter(is_for_it);
    let containerd = packages.find(|artifact| artifact.name == "containerd");
    let major = containerd.and_then(|artifact| artifact.version.split('.').next()?.parse().ok());
    let root: &FilePath = &bundle.root;
    let root = std::path::absolute(root).map_err(|error| no_path(&error))?;
    Ok(KubernetesChoice {
        version: bundle.bundle.kubernetes.clone(),
        bundle: root,
        containerd_major: major.unwrap_or(DISTRIBUTIONS_CONTAINERD),
    })
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        let text = error.to_string();
        let (said, next) =
            text.split_once("\nnext: ").unwrap_or((&text, "`kubewan lab down` removes it"));
        let mut said = said.to_owned();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            said += &format!("\n  | {error}");
            cause = error.source();
        }
        let code = match error {
            LabError::NotOurs { .. } | LabError::BadOption { .. } | LabError::BadTopology(_) => {
                Code::Refused
            }
            _ => Code::Failed,
        };
        Failure::new(code, said, next)
    }
}

#[cfg(test)]
mod tests {
    use kubewan_core::bundle;
    use kubewan_lab::Distribution;

    use super::*;

    #[test]
    fn a_lab_needs_the_packages_of_its_hosts() {
        let arch = go_arch(std::env::consts::ARCH);
        let sha256 = "0".repeat(64);
        let bundle = |distribution: &str| {
            let text = format!(
                "format: 1\nkubernetes: \"1.36.2\"\nartifacts:\n- {{ kind: package, name: socat, version: \"1\", arch: {arch}, \
                 path: socat.deb, size: 1, sha256: \"{sha256}\", distribution: {distribution} }}\n"
            );
            bundle::parse(&text).expect("a bundle")
        };
        let usual = Spec::usual(3);
        assert_eq!(without_packages(&bundle("debian-12"), &usual), None);
        assert_eq!(without_packages(&bundle("debian-13"), &usual), Some("debian-12"));
        let newer = Spec::usual(2).on(Distribution::Debian13);
        assert_eq!(without_packages(&bundle("debian-12"), &newer), Some("debian-13"));
    }
}
