//! SSH keys: the lab's own, and every host's.

use std::fs;
use std::path::Path;

use crate::LabError;
use crate::call::Call;
use crate::error::OnPath;
use crate::topology::Topology;

/// The lab's private key, in the lab's folder.
pub(crate) const CLIENT_KEY: &str = "id_ed25519";
/// Its public half.
pub(crate) const CLIENT_KEY_PUBLIC: &str = "id_ed25519.pub";
/// The hosts' public keys, in the lab's folder.
pub(crate) const KNOWN_HOSTS: &str = "known_hosts";

/// Makes an ed25519 key pair (the private key is 0600) unless it is there.
pub(crate) fn make(path: &Path, comment: &str) -> Result<(), LabError> {
    if path.exists() {
        return Ok(());
    }
    Call::new("ssh-keygen", format!("make the key {}", path.display()))
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(path)
        .run()
        .map(drop)
}

/// The public half, as `ssh-ed25519 AAAA…` without its comment.
pub(crate) fn public(path: &Path) -> Result<String, LabError> {
    let path = path.with_extension("pub");
    let line = fs::read_to_string(&path).on("read", &path)?;
    Ok(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// The lines of a known_hosts file: of the hosts that can be reached, as others have no address and port of their own.
pub(crate) fn known_hosts(lab: &Topology, host_keys: &[String]) -> String {
    lab.hosts()
        .zip(host_keys)
        .filter(|(host, _)| lab.is_reachable(host))
        .map(|(host, key)| match host.ssh_port {
            22 => format!("{} {key}\n", host.public),
            port => format!("[{}]:{port} {key}\n", host.public),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Spec, parse};

    #[test]
    fn another_port_is_written_as_ssh_wants_it() {
        let lab = Topology::lay_out("lab", &Spec::usual(2), &[]).unwrap();
        let lines = known_hosts(&lab, &["ssh-ed25519 AA".into(), "ssh-ed25519 BB".into()]);
        let expected = "198.51.100.10 ssh-ed25519 AA\n[198.51.100.20]:2222 ssh-ed25519 BB\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_address_and_port_have_one_key() {
        let text = "
clouds:
  - name: home
    nat: port-restricted
    subnet: 10.0.4.0/24
    hosts: [{ name: a }, { name: b, forward: [22/tcp] }]
";
        let lab = Topology::lay_out("lab", &parse("t", text).unwrap(), &[]).unwrap();
        let lines = known_hosts(&lab, &["ssh-ed25519 AA".into(), "ssh-ed25519 BB".into()]);
        assert_eq!(lines, "198.51.100.10 ssh-ed25519 BB\n");
    }
}
