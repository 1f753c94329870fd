//! `adopt`: an inventory of a cluster that is there.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// `adopt`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan adopt --hosts 198.51.100.10,admin@198.51.100.20:2222,vps3
      all hosts of the cluster: an address or a name of ~/.ssh/config, with a login and a port where they are not ssh's own

It logs in, asks the cluster's API on its control plane, and writes the inventory. It changes nothing there. `kubewan plan` then \
shows what differs, and `kubewan up` takes the cluster over: nothing of it is reset, and no certificate is made anew. A cluster \
that can't be taken over is refused with the reasons.")]
pub struct AdoptArgs {
    /// The inventory that is written
    #[arg(short, long, value_name = "FILE", default_value = "cluster.yaml")]
    pub file: PathBuf,
    /// The hosts of the cluster, instead of asking for them: [LOGIN@]ADDRESS[:PORT] or a name of ~/.ssh/config
    #[arg(long, value_name = "HOST", value_delimiter = ',', conflicts_with = "from_ssh_config")]
    pub hosts: Vec<String>,
    /// Choose among the hosts that ~/.ssh/config names
    #[arg(long)]
    pub from_ssh_config: bool,
    /// The cluster's name here; its own unless said, or `home` where that is everybody's (`kubernetes`)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The private key that all hosts are logged in to with, where ssh does not know it
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
}
