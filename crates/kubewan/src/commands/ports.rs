//! `kubewan ports`: what must be reachable. It asks no host.

use kubewan_core::network::ports::{Port, ports};
use serde::Serialize;

use crate::args::{Output, PortsArgs};
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, json, table};
use crate::site::Site;

#[derive(Serialize)]
struct Ports {
    ports: Vec<Port>,
}

/// Shows the ports.
pub fn run(args: &PortsArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let ports = ports(&site.inventory);
    match args.output {
        Output::Json => json::document(&Ports { ports }),
        Output::Table => report::data(&table::ports(&ports)),
    }
    Ok(Code::Done)
}
