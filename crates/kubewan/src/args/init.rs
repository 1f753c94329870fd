//! `init`: an inventory from what is there.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// `init`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan init                                             asks for addresses
  kubewan init --from-ssh-config                           asks which hosts of ~/.ssh/config
  kubewan init --hosts 198.51.100.10,admin@198.51.100.20:2222,vps3 --name home
      an address or a name of ~/.ssh/config, with a login and a port where they are not ssh's own; asks nothing of it

It logs in, looks, tries the ways between the hosts, and changes nothing there. A file that is there is left alone.")]
pub struct InitArgs {
    /// The inventory that is written
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    pub file: PathBuf,
    /// The hosts, instead of asking for them: [LOGIN@]ADDRESS[:PORT] or a name of ~/.ssh/config
    #[arg(long, value_name = "HOST", value_delimiter = ',', conflicts_with = "from_ssh_config")]
    pub hosts: Vec<String>,
    /// Choose among the hosts that ~/.ssh/config names
    #[arg(long)]
    pub from_ssh_config: bool,
    /// The cluster's name; asked for unless hosts are given, then `home`
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Kubernetes' version, as 1.36.2; the newest that kubewan knows unless said
    #[arg(long, value_name = "VERSION")]
    pub kubernetes: Option<String>,
    /// The private key that all hosts are logged in to with, where ssh does not know it
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
}
