//! `kubewan lab`: servers to try with. The lab hands over an inventory and nothing else; from then on it is `up`, as on
//! any server.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use kubewan_fleet::bundle::{self, BundleDir, BundleError};
use kubewan_lab::{ImageChoice, KubernetesChoice, Lab, LabError, LabEvent, LabOptions};

use crate::args::{File, LabCommand, LabKubernetes, LabUpArgs, Output, UpArgs};
use crate::commands::up;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, lab as words};

/// containerd's major version in the lab's default image, for a bundle without one.
const DISTRIBUTIONS_CONTAINERD: u32 = 1;

/// Runs a command.
pub fn run(command: LabCommand) -> Result<Code, Failure> {
    let tell = &mut |event: LabEvent| report::note(&words::event(&event));
    match command {
        LabCommand::Up(args) => return make(&args, tell),
        LabCommand::Ls => report::data(&words::hosts(&Lab::open()?.list()?)),
        LabCommand::Ssh { host } => {
            let argv = Lab::open()?.ssh_command(&host)?;
            return Err(replaced_by(Command::new(&argv[0]).args(&argv[1..])));
        }
        LabCommand::Exec { host, command } => {
            let argv: Vec<&str> = command.iter().map(String::as_str).collect();
            return Err(replaced_by(&mut Lab::open()?.exec_command(&host, &argv)?));
        }
        LabCommand::Reboot { host } => Lab::open()?.reboot(&host, tell)?,
        LabCommand::Rewind { host } => {
            let hosts: Vec<&str> = host.iter().map(String::as_str).collect();
            Lab::open()?.rewind(&hosts, tell)?;
        }
        LabCommand::Down => {
            let was = Lab::down(tell)?;
            report::note(if was { "The lab is gone." } else { "There was no lab." });
        }
    }
    Ok(Code::Done)
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
    let bundle = bundle_for(args)?;
    report::rehearsal(bundle.is_none() && !args.hosts_only, || {
        let dir = std::path::absolute(&args.dir).map_err(|error| no_path(&error))?;
        let image = ImageChoice::default();
        let options = LabOptions { dir, hosts: usize::from(args.hosts), image };
        let mut lab = Lab::up(&options, tell)?;
        let kubernetes = match bundle {
            Some(bundle) => choice(&bundle)?,
            None => choice(&bundle::load(&rehearsal(image, tell)?)?)?,
        };
        let file = lab.write_inventory(&kubernetes)?;
        report::note(words::hosts(&lab.list()?).trim_end());
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

fn rehearsal(
    image: ImageChoice,
    tell: &mut dyn FnMut(LabEvent),
) -> Result<std::path::PathBuf, Failure> {
    let program = std::env::current_exe().map_err(|error| no_path(&error))?;
    Ok(kubewan_lab::rehearsal_bundle(image, &program, tell)?)
}

/// The bundle of real Kubernetes that is asked for; `None` for a rehearsal.
fn bundle_for(args: &LabUpArgs) -> Result<Option<BundleDir>, Failure> {
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
        (_, found) => Ok(found),
    }
}

fn choice(bundle: &BundleDir) -> Result<KubernetesChoice, Failure> {
    let containerd = bundle.bundle.artifacts.iter().find(|artifact| artifact.name == "containerd");
    let major = containerd.and_then(|artifact| artifact.version.split('.').next()?.parse().ok());
    let root: &Path = &bundle.root;
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
        Failure::new(Code::Failed, said, next)
    }
}
