//! How hosts speak to registries of one's own: containerd's `hosts.toml` (docs/hosts.md there), Docker's folder of certificates,
//! and the names that logins go by.

use super::containerd::{CERTS_D, HEADER};
use crate::inventory::Registry;
use crate::registry::legacy::{Hosts, Tls};

/// Docker's folder with a folder for each registry that is signed by someone unknown (docs.docker.com, "Verify repository
/// client with certificates").
pub const DOCKER_CERTS_D: &str = "/etc/docker/certs.d";

/// How a file begins that says what an older configuration said: no entry of the inventory is behind it.
pub const CARRIED: &str =
    "# Written by kubewan, carried over from containerd's older configuration.\n";

/// containerd's file of a registry.
pub fn hosts_path(registry: &str) -> String {
    format!("{CERTS_D}/{registry}/hosts.toml")
}

/// Where its authorities lie for containerd.
pub fn ca_path(registry: &str) -> String {
    format!("{CERTS_D}/{registry}/ca.crt")
}

/// Where its authorities lie for Docker, which finds them there by itself.
pub fn docker_ca_path(registry: &str) -> String {
    format!("{DOCKER_CERTS_D}/{registry}/ca.crt")
}

/// What the kubelet's file has for a key (pkg/credentialprovider/keyring.go: Docker's registry goes by its old name).
pub fn login_key(registry: &str) -> String {
    match registry {
        // containerd's settings had it by the name of its server.
        "docker.io" | "registry-1.docker.io" => "https://index.docker.io/v1/".into(),
        other => other.into(),
    }
}

/// Where a registry answers.
fn server(registry: &str) -> String {
    match registry {
        "docker.io" => "https://registry-1.docker.io".into(),
        other => format!("https://{other}"),
    }
}

/// `hosts.toml` of a registry of the inventory. Its authorities are good for its mirrors too, which often are the same
/// program under another name; what they are not, they change nothing.
pub fn hosts_toml(registry: &Registry, has_ca: bool) -> String {
    let ca = has_ca.then(|| ca_path(&registry.address));
    let server = Tls { ca: ca.clone(), client: None, skip_verify: registry.skip_verify };
    let mirror = |url: &String| {
        let tls = Tls { ca: ca.clone(), ..Tls::default() };
        (url.trim_end_matches('/').to_owned(), tls)
    };
    let mirrors = registry.mirrors.iter().map(mirror).collect();
    text_of(&format!("{HEADER}.\n"), &registry.address, &Hosts { mirrors, server })
}

/// `hosts.toml` of servers, those that an older configuration named among them. A path in a mirror's URL that begins with `/v2`
/// is the whole one.
pub fn legacy_hosts_toml(registry: &str, hosts: &Hosts) -> String {
    text_of(CARRIED, registry, hosts)
}

fn text_of(header: &str, registry: &str, hosts: &Hosts) -> String {
    let mut text = header.to_owned();
    if registry != "_default" {
        text += &format!("server = \"{}\"\n{}", server(registry), lines(&hosts.server));
    }
    for (url, tls) in &hosts.mirrors {
        text += &format!("\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        if url.splitn(4, '/').nth(3).is_some_and(|path| path.starts_with("v2/")) {
            text += "override_path = true\n";
        }
        text += &lines(tls);
    }
    text
}

/// How a registry of the inventory's is trusted, where it stands in for another.
pub(super) fn trust(registry: &Registry) -> String {
    let ca = registry.ca_file.is_some().then(|| ca_path(&registry.address));
    lines(&Tls { ca, client: None, skip_verify: registry.skip_verify })
}

/// Paths and names hold nothing that TOML would escape: the inventory and the reader of older settings see to that.
fn lines(tls: &Tls) -> String {
    let mut text = String::new();
    if let Some(ca) = &tls.ca {
        text += &format!("ca = \"{ca}\"\n");
    }
    if let Some((cert, key)) = &tls.client {
        text += &format!("client = [[\"{cert}\", \"{key}\"]]\n");
    }
    if tls.skip_verify {
        text += "skip_verify = true\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_file_has_its_authorities_and_mirrors() {
        let registry = Registry {
            address: "r.example:5000".into(),
            mirrors: vec!["https://near.example/".into(), "https://hub.example/v2/proxy".into()],
            ..Registry::default()
        };
        insta::assert_snapshot!(hosts_toml(&registry, true));
        let unverified = Registry { skip_verify: true, mirrors: Vec::new(), ..registry };
        insta::assert_snapshot!(hosts_toml(&unverified, false));
    }

    #[test]
    fn older_settings_become_files_that_toml_reads() {
        let tls = Tls {
            ca: Some("/data/cert/harbor.crt".into()),
            client: Some(("/a.crt".into(), "/a.key".into())),
            skip_verify: true,
        };
        let mirrors = vec![
            ("https://m.example".to_owned(), tls),
            ("http://n.example".into(), Tls::default()),
        ];
        let hosts = Hosts { mirrors, server: Tls::default() };
        for registry in ["docker.io", "_default"] {
            let text = legacy_hosts_toml(registry, &hosts);
            insta::assert_snapshot!(text);
            assert!(text.parse::<toml::Table>().is_ok(), "{text}");
        }
    }

    #[test]
    fn docker_s_registry_goes_by_its_old_name_for_logins() {
        assert_eq!(login_key("docker.io"), "https://index.docker.io/v1/");
        assert_eq!(login_key("r.example:5000"), "r.example:5000");
        assert_eq!(docker_ca_path("r.example:5000"), "/etc/docker/certs.d/r.example:5000/ca.crt");
    }
}
