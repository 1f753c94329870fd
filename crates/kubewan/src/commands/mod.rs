//! The commands, one file each. A command asks, decides what to do with the answer and hands it to
//! [`crate::report`]; how things are done stands in kubewan-fleet, what has to be done in kubewan-core.

mod adopt;
mod bundle;
mod completions;
mod doctor;
mod init;
mod join_command;
mod kubeconfig;
mod lab;
mod man;
mod plan;
mod ports;
mod reset;
mod schema;
mod smoke;
mod ssh;
pub mod status;
mod support;
mod token;
mod up;

use std::path::Path;

use kubewan_fleet::askpass;

use crate::args::{BundleCommand, Command};
use crate::exit_code::Code;
use crate::failure::Failure;

/// Runs a command.
pub fn run(command: Command) -> Result<Code, Failure> {
    match command {
        Command::Init(args) => init::run(&args),
        Command::Adopt(args) => adopt::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Support(args) => support::run(&args),
        Command::Smoke(args) => smoke::run(&args),
        Command::Ports(args) => ports::run(&args),
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::Ssh(args) => ssh::run(&args),
        Command::Kubectl(args) => ssh::kubectl(&args),
        Command::Token(command) => token::run(&command),
        Command::JoinScript(args) => join_command::run(&args),
        Command::Reset(args) => reset::run(&args),
        Command::Schema => schema::run(),
        Command::Completions { shell } => completions::run(shell),
        Command::Man(args) => man::run(&args),
        Command::Bundle(BundleCommand::Check(args)) => bundle::check(&args),
        Command::Bundle(BundleCommand::Create(args)) => bundle::create(&args),
        Command::Bundle(BundleCommand::Packages(args)) => bundle::packages(&args),
        Command::Lab(command) => lab::run(command),
    }
}

/// What no user types: this program as the agent on a host, as `ssh`'s askpass, inside a smoke pod, or, in a lab, in the
/// place of Kubernetes' programs. Their arguments are their own.
pub fn hidden(words: &[String]) -> Option<u8> {
    let (program, rest) = words.split_first()?;
    // ssh gives its askpass the question as one argument, and cannot give it another.
    if let (Ok(run), [question]) = (std::env::var(askpass::VARIABLE), rest) {
        return Some(askpass::main(&run, question));
    }
    #[cfg(feature = "rehearsal")]
    {
        let name = Path::new(program).file_name()?.to_str()?;
        if kubewan_rehearsal::PROGRAMS.contains(&name) {
            return Some(kubewan_rehearsal::main(name, rest.to_vec()) as u8);
        }
    }
    #[cfg(not(feature = "rehearsal"))]
    let _: &Path = program.as_ref();
    let (command, rest) = rest.split_first()?;
    match command.as_str() {
        "agent" => Some(kubewan_agent::main(rest) as u8),
        "smoke-server" => Some(kubewan_fleet::smoke::server(rest)),
        "smoke-client" => Some(kubewan_fleet::smoke::client(rest)),
        _ => None,
    }
}
