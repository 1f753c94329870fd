//! `kubewan lab`: its arguments.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

/// `lab`
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Make a lab and a cluster in it
    #[command(after_help = "\
Examples:
  kubewan lab up
  kubewan lab up --hosts-only      servers only; then: kubewan up -f lab/cluster.yaml
  kubewan lab up --kubernetes rehearsal
  kubewan lab up --name home --topology home.yaml      clouds and paths of your own (docs/lab.md)")]
    Up(LabUpArgs),
    /// Show all labs of this machine, their hosts, and paths that are not plain
    #[command(after_help = "Example:\n  kubewan lab ls")]
    Ls,
    /// Log in to a host
    #[command(after_help = "Example:\n  kubewan lab ssh node01")]
    Ssh {
        /// Which lab
        #[command(flatten)]
        lab: LabName,
        /// The host
        host: String,
    },
    /// Run a command on a host, not over its network
    #[command(after_help = "Example:\n  kubewan lab exec node01 -- ip address")]
    Exec {
        /// Which lab
        #[command(flatten)]
        lab: LabName,
        /// The host
        host: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Reboot a host: nothing of its network is left but the NIC
    #[command(after_help = "Example:\n  kubewan lab reboot node01")]
    Reboot {
        /// Which lab
        #[command(flatten)]
        lab: LabName,
        /// The host
        host: String,
    },
    /// Take hosts back to how they were when the lab came up: all of them, or those named
    #[command(after_help = "Examples:\n  kubewan lab rewind node01\n  kubewan lab rewind")]
    Rewind {
        /// Which lab
        #[command(flatten)]
        lab: LabName,
        /// The hosts
        host: Vec<String>,
    },
    /// Cut a cloud off the Internet, or the path between two clouds: packets vanish
    #[command(after_help = "\
Examples:
  kubewan lab cut B            nothing comes out of cloud B or into it
  kubewan lab cut A C          these two don't reach each other, all others do
  kubewan lab cut operator A   this machine doesn't reach cloud A; it takes a second end")]
    Cut {
        /// Which lab
        #[command(flatten)]
        lab: LabName,
        /// A cloud, a host in it, or operator (this machine)
        end: String,
        /// The path's other end
        other: Option<String>,
    },
    /// Undo cuts and impairments: everywhere, at one cloud, or between two
    #[command(after_help = "\
Examples:
  kubewan lab heal
  kubewan lab heal B           cloud B and its paths
  kubewan lab heal operator    the paths of this machine
  kubewan lab heal A C")]
    Heal {
        /// Which lab
        #[command(flatten)]
        lab: LabName,
        /// A cloud, a host in it, or operator (this machine)
        end: Option<String>,
        /// The path's other end
        other: Option<String>,
    },
    /// Make the path between two clouds slow, lossy or narrow
    #[command(after_help = "\
Examples:
  kubewan lab impair --latency 80ms --loss 2% --mtu 1400 A B
  kubewan lab impair A B       as it was made")]
    Impair(LabImpairArgs),
    /// Remove a lab: nothing of it is left on this machine
    #[command(after_help = "Examples:\n  kubewan lab down\n  kubewan lab down home")]
    Down {
        /// Which one
        #[arg(default_value = kubewan_lab::topology::USUAL_NAME)]
        name: String,
    },
    /// Hold packets of a queue back (what `impair` starts for latency and loss)
    #[command(hide = true)]
    Forward {
        /// The queue's number
        #[arg(long)]
        queue: u16,
        /// How long
        #[arg(long)]
        latency: kubewan_lab::topology::Latency,
        /// How many are dropped
        #[arg(long)]
        loss: kubewan_lab::topology::Loss,
    },
}

/// Which of several labs.
#[derive(Debug, ClapArgs)]
pub struct LabName {
    /// Which lab
    #[arg(long, value_name = "NAME", default_value = kubewan_lab::topology::USUAL_NAME)]
    pub name: String,
}

/// `lab impair`
#[derive(Debug, ClapArgs)]
pub struct LabImpairArgs {
    /// Which lab
    #[command(flatten)]
    pub lab: LabName,
    /// How long a packet takes one way: a ping takes twice as long
    #[arg(long, value_name = "TIME", default_value = "0ms")]
    pub latency: kubewan_lab::topology::Latency,
    /// How many packets get lost, in each direction
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    pub loss: kubewan_lab::topology::Loss,
    /// The largest packet that passes, in bytes
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u16>,
    /// Larger packets vanish, and the sender is not told
    #[arg(long, requires = "mtu")]
    pub black_hole: bool,
    /// A cloud, a host in it, or operator (this machine)
    pub end: String,
    /// The path's other end
    pub other: String,
}

/// `lab up`
#[derive(Debug, ClapArgs)]
pub struct LabUpArgs {
    /// What the lab is called: labs of different names go side by side
    #[arg(long, value_name = "NAME", default_value = kubewan_lab::topology::USUAL_NAME)]
    pub name: String,
    /// Folder for the inventory, keys and known_hosts; the lab's name unless said
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How many hosts, each in a cloud of its own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub hosts: u8,
    /// The clouds, their hosts and the paths between them (docs/lab.md)
    #[arg(long, value_name = "FILE", conflicts_with = "hosts")]
    pub topology: Option<PathBuf>,
    /// What hosts run that the topology gives no distribution: debian-11, debian-12 or debian-13
    #[arg(long, value_name = "NAME", default_value = "debian-12", alias = "image")]
    pub distribution: kubewan_lab::Distribution,
    /// Make the hosts and stop there
    #[arg(long)]
    pub hosts_only: bool,
    /// Which Kubernetes
    #[arg(long, value_enum, default_value_t = LabKubernetes::Auto)]
    pub kubernetes: LabKubernetes,
    /// The bundle's folder
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
}

/// Which Kubernetes a lab gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LabKubernetes {
    /// A bundle where there is one, else a rehearsal
    Auto,
    /// A bundle
    Bundle,
    /// Stand-ins that take the place of Kubernetes
    Rehearsal,
}
