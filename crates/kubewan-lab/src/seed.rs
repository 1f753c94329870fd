//! What makes one host differ from the next, as a provider's first boot writes it. The same
//! again after a rewind, so that pinned host keys stay right.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::error::OnPath;
use crate::lab::Place;
use crate::topology::{Host, Topology};
use crate::{LabError, keys, stack};

/// The user that providers' images have where root can't log in.
pub(crate) const SUDO_USER: &str = "admin";

/// A host's identity: a folder outside its root that outlives rewinds.
pub(crate) struct Identity(PathBuf);

impl Identity {
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Makes what isn't there yet.
    pub(crate) fn make(&self, host: &Host) -> Result<(), LabError> {
        fs::create_dir_all(&self.0).on("make the folder", &self.0)?;
        keys::make(&self.host_key(), &format!("root@{}", host.name))?;
        for path in [self.machine_id(), self.product_uuid()] {
            if !path.exists() {
                let source = Path::new("/proc/sys/kernel/random/uuid");
                let uuid = fs::read_to_string(source).on("read", source)?;
                fs::write(&path, uuid).on("write", &path)?;
            }
        }
        Ok(())
    }

    /// The private key of the host's sshd.
    pub(crate) fn host_key(&self) -> PathBuf {
        self.0.join("ssh_host_ed25519_key")
    }

    /// What the host finds as its mainboard's identity, where there is such a file.
    pub(crate) fn product_uuid(&self) -> PathBuf {
        self.0.join("product_uuid")
    }

    fn machine_id(&self) -> PathBuf {
        self.0.join("machine-id")
    }
}

/// Writes a host's own files into its fresh root.
pub(crate) fn write(
    root: &Path,
    (cloud, host): Place<'_>,
    lab: &Topology,
    identity: &Identity,
    client_key: &str,
) -> Result<(), LabError> {
    let id = identity.machine_id();
    let machine_id = fs::read_to_string(&id).on("read", &id)?.replace('-', "");
    let Host { name, .. } = host;
    put(root, "etc/machine-id", machine_id.as_bytes(), 0o444)?;
    put(root, "etc/hostname", format!("{name}\n").as_bytes(), 0o644)?;
    put(root, "etc/hosts", hosts_file(name).as_bytes(), 0o644)?;
    put(root, "etc/resolv.conf", format!("nameserver {}\n", lab.resolver).as_bytes(), 0o644)?;
    for (suffix, mode) in [("", 0o600), (".pub", 0o644)] {
        let source = PathBuf::from(format!("{}{suffix}", identity.host_key().display()));
        let key = fs::read(&source).on("read", &source)?;
        put(root, &format!("etc/ssh/ssh_host_ed25519_key{suffix}"), &key, mode)?;
    }
    for (name, text, mode) in stack::files(cloud, host) {
        put(root, name, text.as_bytes(), mode)?;
    }
    if host.ssh_port != 22 {
        let port = format!("Port {}\n", host.ssh_port);
        put(root, "etc/ssh/sshd_config.d/10-port.conf", port.as_bytes(), 0o644)?;
    }
    authorise(root, &host.ssh_user, client_key)
}

fn authorise(root: &Path, user: &str, client_key: &str) -> Result<(), LabError> {
    let home = if user == "root" { "root".into() } else { format!("home/{user}") };
    let folder = root.join(&home).join(".ssh");
    fs::create_dir_all(&folder).on("make the folder", &folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
        .on("set the mode of", &folder)?;
    let name = format!("{home}/.ssh/authorized_keys");
    put(root, &name, format!("{client_key} kubewan-lab\n").as_bytes(), 0o600)?;
    if user != "root" {
        // The image's first user.
        const USER_ID: u32 = 1000;
        for path in [folder, root.join(name)] {
            chown(&path, Some(USER_ID), Some(USER_ID)).on("give away", &path)?;
        }
    }
    Ok(())
}

/// As Debian's installer writes it: the name stands for a loopback address.
fn hosts_file(name: &str) -> String {
    format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
    )
}

fn put(root: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), LabError> {
    let path = root.join(name);
    fs::write(&path, content).on("write", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).on("set the mode of", &path)
}
