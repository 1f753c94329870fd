//! Programs that the tests need from the distribution. Installing is idempotent: what is there is left alone.

use std::path::Path;
use std::process::Command;

use crate::run::show;

/// A program and the Debian/Ubuntu package that brings it.
const PROGRAMS: [(&str, &str); 10] = [
    ("cc", "gcc"),
    ("ssh", "openssh-client"),
    ("ip", "iproute2"),
    ("openssl", "openssl"),
    ("strace", "strace"),
    ("curl", "curl"),
    ("gpg", "gnupg"),
    ("dpkg-scanpackages", "dpkg-dev"),
    // Login shells of a host's users.
    ("fish", "fish"),
    ("tcsh", "tcsh"),
];

/// Installs the packages of programs that are not there. The lab installs its own.
pub fn install() -> Result<(), String> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut update = Command::new("apt-get");
    update.args(["update", "-q"]);
    show(&mut update)?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
    ]);
    show(install.args(missing))
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| Path::new(&dir).join(program).exists())
}
