//! `kubewan support`: packs what someone else needs to see of a cluster, without secrets.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use kubewan_doctor::support::{self, PackedFile};
use kubewan_fleet::tar;

use crate::args::SupportArgs;
use crate::commands::doctor::Examination;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;
use crate::site::Site;

/// Packs it.
pub fn run(args: &SupportArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let name = format!("kubewan-support-{}.tar.gz", site.inventory.name);
    let path = args.path.clone().unwrap_or_else(|| PathBuf::from(name));
    let failed = |error: std::io::Error| {
        let said = format!("can't write {}: {error}", path.display());
        Failure::new(Code::Refused, said, "name another file, or move that one away")
    };
    // Before hosts are asked: what is there is not overwritten.
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let packed = pack(args, &site).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
    let members: Vec<(&str, &[u8], u32)> =
        packed.files.iter().map(|f| (f.path.as_str(), f.text.as_bytes(), 0o600)).collect();
    let bytes = tar::gzipped(&members).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    report::data(&packed.files[0].text);
    report::say(&format!("\n{}: {} bytes, 0600\n", path.display(), bytes.len()));
    Ok(if packed.whole { Code::Done } else { Code::Unreachable })
}

struct Packed {
    files: Vec<PackedFile>,
    /// All hosts are in it.
    whole: bool,
}

fn pack(args: &SupportArgs, site: &Site) -> Result<Packed, Failure> {
    let dial = site.dial();
    let seen = Examination::of(site, &dial)?;
    let version = env!("CARGO_PKG_VERSION");
    let files =
        support::files(version, &seen.case, &seen.answers, &seen.found, args.hide_addresses);
    Ok(Packed { files, whole: seen.case.hosts.iter().all(|host| host.unreachable.is_none()) })
}
