//! What can be typed. Only names, types and help texts: what a command does stands in [`crate::commands`].

mod adopt;
mod doctor;
mod init;
mod join;
mod lab;

use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub use self::adopt::AdoptArgs;
pub use self::doctor::{DoctorArgs, SupportArgs};
pub use self::init::InitArgs;
pub use self::join::{
    JoinCommandArgs, TokenCommand, TokenCreateArgs, TokenDeleteArgs, TokenListArgs,
};
pub use self::lab::{LabCommand, LabImpairArgs, LabKubernetes, LabUpArgs};
use crate::report::Verbosity;
use crate::report::language::Language;

/// Builds and keeps one Kubernetes cluster on servers that share nothing but the public Internet.
#[derive(Debug, Parser)]
#[command(name = "kubewan", version, after_help = FIRST_STEPS, max_term_width = 100)]
pub struct Args {
    /// What is told.
    #[command(flatten)]
    pub telling: Telling,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What is told of a run, and how; the same for all commands.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Options of all commands")]
pub struct Telling {
    /// Tell more: what is right already, ssh's command lines, how long things take; -vv: also what agents are asked
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Tell errors and the result only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Keep everything that happens in this file (0600, appended to), whatever is shown; else $KUBEWAN_LOG_FILE
    #[arg(long, global = true, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Colours: where there is a terminal, unless NO_COLOR is set or TERM is dumb
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = ColorWhen::Auto)]
    pub color: ColorWhen,
    /// Language of help, plan, findings and errors; else that of LC_ALL, LC_MESSAGES or LANG. JSON and the log file are
    /// English
    #[arg(long, global = true, value_enum, value_name = "LANGUAGE")]
    pub lang: Option<Lang>,
}

impl Telling {
    /// How much is told.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Usual,
            (false, 1) => Verbosity::Verbose,
            (false, _) => Verbosity::Talkative,
        }
    }

    /// The log file.
    pub fn log_file(&self) -> Option<PathBuf> {
        let variable = || std::env::var_os("KUBEWAN_LOG_FILE").filter(|name| !name.is_empty());
        self.log_file.clone().or_else(|| variable().map(PathBuf::from))
    }
}

/// The first value that an option was given on a command line that is not understood yet.
fn typed<T: ValueEnum>(words: &[String], option: &str) -> Option<T> {
    let mut words = words.iter().map(String::as_str).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let value = match word.strip_prefix(option) {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        if let Some(value) = value.and_then(|value| T::from_str(value, false).ok()) {
            return Some(value);
        }
    }
    None
}

/// A language that people are told things in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// Chinese
    Zh,
}

impl Lang {
    /// What was typed, before the rest of the command line is understood: help and its errors are told in it too.
    pub fn typed(words: &[String]) -> Option<Lang> {
        typed(words, "--lang")
    }

    /// The language that was asked for, else that of the environment.
    pub fn language(asked: Option<Lang>) -> Language {
        match asked {
            Some(Lang::En) => Language::English,
            Some(Lang::Zh) => Language::Chinese,
            None => Language::of_environment(|name| std::env::var(name).ok()),
        }
    }
}

/// When there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// Where there is a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorWhen {
    /// What was typed, before the rest of the command line is understood: its errors have colours too.
    pub fn typed(words: &[String]) -> ColorWhen {
        typed(words, "--color").unwrap_or(ColorWhen::Auto)
    }

    /// Makes it so for all that is printed from now on.
    pub fn apply(self) {
        let choice = match self.on_this_terminal() {
            ColorWhen::Auto => anstream::ColorChoice::Auto,
            ColorWhen::Always => anstream::ColorChoice::Always,
            ColorWhen::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }

    /// A dumb terminal has no colours, also where a CI system says that it has.
    fn on_this_terminal(self) -> ColorWhen {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty());
        match self {
            ColorWhen::Auto if is_dumb && !is_forced => ColorWhen::Never,
            when => when,
        }
    }
}

impl From<ColorWhen> for clap::ColorChoice {
    fn from(when: ColorWhen) -> Self {
        match when.on_this_terminal() {
            ColorWhen::Auto => clap::ColorChoice::Auto,
            ColorWhen::Always => clap::ColorChoice::Always,
            ColorWhen::Never => clap::ColorChoice::Never,
        }
    }
}

const FIRST_STEPS: &str = "\
Examples:
  kubewan lab up                 three clouds behind NAT on this machine, and a cluster in them
  kubewan plan                   what would be done on the servers of cluster.yaml
  kubewan up                     show it, ask, do it, prove it
  kubewan smoke                  prove that pods on all servers reach each other

Exit codes: 0 done, 1 failed, 2 changes (plan --detailed-exitcode), 3 refused, 4 host unreachable,
5 not confirmed, 6 a proof failed, 64 wrong usage.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask for addresses, look at the hosts, and write a commented cluster.yaml
    Init(InitArgs),
    /// Write a cluster.yaml for a cluster that somebody made with kubeadm, to take it into kubewan's care
    Adopt(AdoptArgs),
    /// Show every step on every host with its reason and diff; change nothing
    Plan(PlanArgs),
    /// Show the plan, ask, apply it, and prove the result
    Up(UpArgs),
    /// Show hosts, nodes, versions, addresses, and what is not right
    Status(StatusArgs),
    /// Say what is wrong, why, and what to do; read logs that someone sent
    Doctor(DoctorArgs),
    /// Pack logs and facts of all hosts for someone else, without secrets
    Support(SupportArgs),
    /// Prove the cluster: pods on every node, HTTP, Services, DNS, logs, exec
    Smoke(SmokeArgs),
    /// Show what must be reachable, from whom, and why
    Ports(PortsArgs),
    /// Print the admin's kubeconfig, or add it to kubectl's
    Kubeconfig(KubeconfigArgs),
    /// Log in to a host, or run a command there
    Ssh(SshArgs),
    /// Run the cluster's own kubectl, on the control plane
    Kubectl(KubectlArgs),
    /// Bootstrap tokens: list, create, delete; the authority's pin
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print all that makes a host a worker that kubewan can't reach
    #[command(name = "join-command")]
    JoinScript(JoinCommandArgs),
    /// Give the hosts back as they were, from their journals
    Reset(ResetArgs),
    /// Print the JSON schema of cluster.yaml
    #[command(after_help = "Example:\n  kubewan schema > cluster.schema.json")]
    Schema,
    /// Print a shell's completions
    #[command(
        after_help = "Examples:\n  kubewan completions bash > /etc/bash_completion.d/kubewan\n  kubewan completions fish > ~/.config/fish/completions/kubewan.fish"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages, one for each command
    Man(ManArgs),
    /// Look at bundles: folders with everything a host needs
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Servers to try with: clouds behind NAT on this machine
    #[command(subcommand)]
    Lab(LabCommand),
}

impl Command {
    /// What was asked for, without arguments: those of `ssh` and `kubectl` may hold secrets.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Init(_) => "init",
            Command::Adopt(_) => "adopt",
            Command::Plan(_) => "plan",
            Command::Up(_) => "up",
            Command::Status(_) => "status",
            Command::Doctor(_) => "doctor",
            Command::Support(_) => "support",
            Command::Smoke(_) => "smoke",
            Command::Ports(_) => "ports",
            Command::Kubeconfig(_) => "kubeconfig",
            Command::Ssh(_) => "ssh",
            Command::Kubectl(_) => "kubectl",
            Command::Token(_) => "token",
            Command::JoinScript(_) => "join-command",
            Command::Reset(_) => "reset",
            Command::Schema => "schema",
            Command::Completions { .. } => "completions",
            Command::Man(_) => "man",
            Command::Bundle(_) => "bundle",
            Command::Lab(_) => "lab",
        }
    }

    /// Its answer is one JSON document, so that a failure has to be one too.
    pub fn answers_one_document(&self) -> bool {
        match self {
            Command::Plan(PlanArgs { output, .. })
            | Command::Doctor(DoctorArgs { output, .. })
            | Command::Smoke(SmokeArgs { output, .. })
            | Command::Ports(PortsArgs { output, .. })
            | Command::Token(TokenCommand::List(TokenListArgs { output, .. }))
            | Command::Bundle(BundleCommand::Check(BundleCheckArgs { output, .. })) => {
                *output == Output::Json
            }
            Command::Status(StatusArgs { output, .. }) => *output == WideOutput::Json,
            _ => false,
        }
    }
}

/// Where the inventory is.
#[derive(Debug, ClapArgs)]
pub struct File {
    /// The inventory
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    pub file: PathBuf,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs; see docs/reference.md
    Json,
}

/// Form of an answer that has more columns than fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WideOutput {
    /// For people
    Table,
    /// For programs; see docs/reference.md
    Json,
    /// For people with wide screens
    Wide,
}

/// `plan`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan plan
  kubewan plan -f home.yaml --detailed-exitcode    0: nothing to do, 2: changes
  kubewan plan -o json | jq '.steps[] | select(.change)'")]
pub struct PlanArgs {
    #[command(flatten)]
    pub file: File,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Exit with 2 where there is something to do, with 0 where there is nothing
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `up`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan up
  kubewan up --yes -o json > run.jsonl     one event a line

It is safe to run again at any time: what is right already is left alone, and what was cut off goes on.

Hosts that are new to this machine: the fingerprints of all are shown, and asked for once. Passwords of logins and of
sudo are asked for where they are needed. Without a terminal neither is: pin `ssh.hostKey`, use keys.")]
pub struct UpArgs {
    #[command(flatten)]
    pub file: File,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Apply without asking; new host keys and passwords are asked for all the same
    #[arg(short, long)]
    pub yes: bool,
    /// Leave out the proof with pods at the end
    #[arg(long)]
    pub no_smoke: bool,
}

/// `status`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  kubewan status\n  kubewan status -o wide\n  kubewan status -o json | jq '.hosts[] | select(.ready | not)'"
)]
pub struct StatusArgs {
    #[command(flatten)]
    pub file: File,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = WideOutput::Table)]
    pub output: WideOutput,
}

/// `smoke`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan smoke                    the image is made from kubewan itself: no registry is needed
  kubewan smoke --image nginx      the recipe's test, with an image that the nodes pull")]
pub struct SmokeArgs {
    #[command(flatten)]
    pub file: File,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Instead run this image once, and ask it by HTTP
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
}

/// `ports`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  kubewan ports            what to enter at your providers' firewalls; asks no host"
)]
pub struct PortsArgs {
    #[command(flatten)]
    pub file: File,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `kubeconfig`
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  kubewan kubeconfig --merge       then: kubectl get nodes\n  (umask 077; kubewan kubeconfig > ~/.kube/home) && kubectl --kubeconfig ~/.kube/home get nodes"
)]
pub struct KubeconfigArgs {
    #[command(flatten)]
    pub file: File,
    /// Add it to kubectl's file instead: $KUBECONFIG, else ~/.kube/config; the file as it was is kept beside it
    #[arg(long, value_name = "INTO", num_args = 0..=1, require_equals = true)]
    pub merge: Option<Option<PathBuf>>,
}

/// `ssh`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan ssh node01
  kubewan ssh node01 journalctl -u kubelet -n 50")]
pub struct SshArgs {
    #[command(flatten)]
    pub file: File,
    /// The host
    pub host: String,
    /// A command and its arguments, for the login's shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `kubectl`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan kubectl get nodes -o wide
  kubewan kubectl apply -f - < app.yaml      it runs there: files go in by standard input
  kubewan kubectl -f home.yaml get pods -A   kubewan's own options come first")]
pub struct KubectlArgs {
    #[command(flatten)]
    pub file: File,
    /// kubectl's arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

/// `man`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan man ~/.local/share/man/man1    then: man kubewan-up
  kubewan man | man -l -                 the first page")]
pub struct ManArgs {
    /// The folder that they go to; without one, the first page is printed
    pub dir: Option<PathBuf>,
}

/// `reset`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan reset
  kubewan reset --confirm home     without asking: the cluster's name, typed")]
pub struct ResetArgs {
    #[command(flatten)]
    pub file: File,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// The cluster's name: reset without asking for it
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

/// `bundle`
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Check every file of a bundle, and say what a cluster would miss
    #[command(
        after_help = "Example:\n  kubewan bundle check ~/.cache/kubewan/bundles/kubernetes-1.36.2"
    )]
    Check(BundleCheckArgs),
    /// Download everything that a cluster needs into a bundle
    #[command(after_help = "\
Examples:
  kubewan bundle create --kubernetes 1.36.2                     where bundles are looked for
  kubewan bundle create -f cluster.yaml /media/usb              the inventory's version and mirrors
  kubewan bundle create --kubernetes 1.36.2 --arch amd64,arm64

What is there already is not downloaded again: interrupted, run the same command again.")]
    Create(BundleCreateArgs),
    /// Add the packages that hosts without a mirror of their distribution need
    #[command(after_help = "\
Example, on a machine of the hosts' distribution and architecture:
  kubewan bundle packages /media/usb/kubernetes-1.36.2

This machine's apt downloads them and checks them by its keys; nothing is installed here, and no root is needed.")]
    Packages(BundlePackagesArgs),
}

/// `bundle packages`
#[derive(Debug, ClapArgs)]
pub struct BundlePackagesArgs {
    /// The bundle's folder
    pub dir: PathBuf,
}

/// `bundle create`
#[derive(Debug, ClapArgs)]
pub struct BundleCreateArgs {
    /// The bundle's folder [default: kubernetes-VERSION where bundles are looked for]
    pub dir: Option<PathBuf>,
    /// Kubernetes' version, as 1.36.2
    #[arg(long, value_name = "VERSION", required_unless_present = "file", conflicts_with = "file")]
    pub kubernetes: Option<String>,
    /// An inventory that gives version, mirrors and image repository
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Go's names of the hosts' architectures
    #[arg(long, value_name = "ARCH", value_delimiter = ',', default_value = "amd64",
        value_parser = clap::builder::PossibleValuesParser::new(kubewan_fleet::bundle::ARCHITECTURES))]
    pub arch: Vec<String>,
}

/// `bundle check`
#[derive(Debug, ClapArgs)]
pub struct BundleCheckArgs {
    /// The bundle's folder
    pub dir: PathBuf,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}
