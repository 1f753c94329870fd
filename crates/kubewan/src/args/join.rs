//! `token` and `join-command`: how hosts join that no run of kubewan's reaches.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{File, Output};

/// How long a token lives that nobody says anything about: kubeadm's own default.
const LIFETIME: &str = "24h";

/// `token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List the cluster's bootstrap tokens, by the half that is no secret
    #[command(after_help = "Example:\n  kubewan token list")]
    List(TokenListArgs),
    /// Make a bootstrap token, and print it to standard output
    #[command(after_help = "\
Examples:
  kubewan token create --ttl 30m
  kubewan token create --print-join-command     for a host that is prepared already; else see `kubewan join-command`")]
    Create(TokenCreateArgs),
    /// Delete bootstrap tokens
    #[command(after_help = "Example:\n  kubewan token delete abcdef")]
    Delete(TokenDeleteArgs),
    /// Print the pin of the cluster's authority, which whoever joins compares
    #[command(after_help = "Example:\n  kubewan token ca-hash")]
    CaHash(TokenCaHashArgs),
}

/// `token list`
#[derive(Debug, ClapArgs)]
pub struct TokenListArgs {
    #[command(flatten)]
    pub file: File,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `token create`
#[derive(Debug, ClapArgs)]
pub struct TokenCreateArgs {
    #[command(flatten)]
    pub file: File,
    /// How long it lives, as 30m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = LIFETIME, value_parser = kubewan_core::token::lifetime)]
    pub ttl: u64,
    /// Print the whole `kubeadm join` instead
    #[arg(long)]
    pub print_join_command: bool,
}

/// `token delete`
#[derive(Debug, ClapArgs)]
pub struct TokenDeleteArgs {
    #[command(flatten)]
    pub file: File,
    /// Tokens, by the half that `kubewan token list` shows
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
}

/// `token ca-hash`
#[derive(Debug, ClapArgs)]
pub struct TokenCaHashArgs {
    #[command(flatten)]
    pub file: File,
}

/// `join-command`
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kubewan join-command node07 --address 192.0.2.70 > join.sh
  mkdir node07 && kubewan join-command node07 --address 192.0.2.70 --files node07 > node07/join.sh
      then bring the folder node07 to the host, and there, as root: sh node07/join.sh

The script prepares the host as `kubewan up` prepares its own, and joins it as a worker. It holds a token: it goes to
standard output only, and a file that it goes to becomes its owner's alone (0600).")]
pub struct JoinCommandArgs {
    #[command(flatten)]
    pub file: File,
    /// The node's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The address that the world reaches the host by
    #[arg(long, value_name = "ADDRESS")]
    pub address: String,
    /// How long its token lives, as 30m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = LIFETIME, value_parser = kubewan_core::token::lifetime)]
    pub ttl: u64,
    /// A host of the inventory with the same distribution and architecture; the first control plane unless said
    #[arg(long, value_name = "HOST")]
    pub like: Option<String>,
    /// Put the files that it needs into this folder: programs, images and packages that the host does not download
    #[arg(long, value_name = "DIR")]
    pub files: Option<PathBuf>,
}
