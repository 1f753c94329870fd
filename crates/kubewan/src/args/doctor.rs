//! What can be typed after `doctor` and `support`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{File, Output};

/// `doctor`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan doctor                     looks at all hosts that can be reached, and at the cluster
  kubewan doctor --fix               and does what `kubewan up` would do against what it found
  kubewan doctor --log init.log      reads a text that someone sent; asks no host
  journalctl -u kubelet | kubewan doctor --log -

Exit codes: 0 nothing is wrong (or only warnings), 1 something is, 4 a host can't be reached.")]
pub struct DoctorArgs {
    #[command(flatten)]
    pub file: File,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Read this text instead of looking at hosts: journals, etcd's or kubeadm's output, configuration, in any mixture;
    /// `-` is standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "fix")]
    pub log: Option<PathBuf>,
    /// Do what `kubewan up` has for what was found, and only that; shows it and asks first
    #[arg(long)]
    pub fix: bool,
    /// With `--fix`: do it without asking
    #[arg(short, long, requires = "fix")]
    pub yes: bool,
}

/// `support`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan support                      kubewan-support-CLUSTER.tar.gz, with a list of what is in it
  kubewan support --hide-addresses bundle.tar.gz

Private keys, tokens, passwords and Secrets are left out. Look at it before you pass it on.")]
pub struct SupportArgs {
    #[command(flatten)]
    pub file: File,
    /// The bundle (0600), which must not be there yet [default: kubewan-support-CLUSTER.tar.gz]
    pub path: Option<PathBuf>,
    /// Replace addresses by address-1, address-2, …
    #[arg(long)]
    pub hide_addresses: bool,
}
