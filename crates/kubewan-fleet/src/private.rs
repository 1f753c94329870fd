//! Files of the operator's that registries of the inventory need: certificates and passwords. They are read, and looked at
//! closely, before any host is changed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kubewan_core::finding::Finding;
use kubewan_core::inventory::{Inventory, Registry};
use kubewan_core::registry::certificate::{Certificate, authorities};
use kubewan_core::registry::{Files, Registries, password};
use kubewan_core::secret::Secret;

use crate::survey::unix_ms;

/// Largest file that is read; the authorities of all the world have a quarter of it.
const FILE_MAX: u64 = 1 << 20;

/// Everyone else's right to read a file.
const OTHERS_READ: u32 = 0o004;

/// What the files of all registries hold. Relative paths start at `base`.
///
/// # Errors
/// Fails with everything that is wrong with them.
pub fn read(inventory: &Inventory, base: &Path) -> Result<Registries, Vec<Finding>> {
    let mut registries = Registries::new();
    let mut findings = Vec::new();
    for registry in &inventory.registries {
        let mut files = Files::default();
        match ca(registry, base) {
            Ok(authorities) => files.authorities = authorities,
            Err(finding) => findings.push(*finding),
        }
        match secret(registry, base) {
            Ok(secret) => files.password = secret,
            Err(finding) => findings.push(*finding),
        }
        registries.insert(registry.address.clone(), files);
    }
    if findings.is_empty() { Ok(registries) } else { Err(findings) }
}

fn ca(registry: &Registry, base: &Path) -> Result<Vec<Certificate>, Box<Finding>> {
    let Some(name) = &registry.ca_file else { return Ok(Vec::new()) };
    let path = base.join(name);
    let unusable = |why: String| {
        let message = format!("`caFile` of {}: {}: {why}", registry.address, path.display());
        let remedy = format!(
            "name a file with the certificate of who has signed the registry's own; `openssl s_client -showcerts -connect {}` shows what it sends",
            with_port(&registry.address)
        );
        Box::new(Finding::error("ca-file-unusable", "", message, remedy).for_cluster())
    };
    let bytes = bytes(&path).map_err(|error| unusable(error.to_string()))?;
    authorities(&bytes, unix_ms() / 1000).map_err(unusable)
}

fn with_port(address: &str) -> String {
    if address.contains(':') { address.to_owned() } else { format!("{address}:443") }
}

fn secret(registry: &Registry, base: &Path) -> Result<Option<Secret>, Box<Finding>> {
    let Some(name) = &registry.password_file else { return Ok(None) };
    let path = base.join(name);
    let unusable = |why: String, remedy: String| {
        let message = format!("`passwordFile` of {}: {}: {why}", registry.address, path.display());
        Box::new(Finding::error("password-file-unusable", "", message, remedy).for_cluster())
    };
    let write = || "write the password into it, and nothing else, with one line".to_owned();
    let read = || -> io::Result<(u32, Vec<u8>)> {
        Ok((fs::metadata(&path)?.permissions().mode(), bytes(&path)?))
    };
    let (mode, bytes) = read().map_err(|error| unusable(error.to_string(), write()))?;
    if mode & OTHERS_READ != 0 {
        let remedy = format!("`chmod 600 {}`", path.display());
        return Err(unusable("everyone on this machine can read it".into(), remedy));
    }
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is no text".into(), write()))?;
    let secret = password(&text).map_err(|why| unusable(why, write()))?;
    Ok(Some(secret))
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if metadata.len() > FILE_MAX {
        return Err(io::Error::other(format!("it has {} bytes", metadata.len())));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(registry: serde_json::Value) -> Inventory {
        serde_json::from_value(serde_json::json!({
            "name": "home",
            "kubernetes": { "version": "1.36.2" },
            "registries": [registry],
            "hosts": [{ "name": "a", "address": "198.51.100.10", "roles": ["control-plane"] }],
        }))
        .unwrap()
    }

    fn codes(base: &Path, registry: serde_json::Value) -> Vec<(String, String)> {
        match read(&inventory(registry), base) {
            Ok(_) => Vec::new(),
            Err(findings) => findings.into_iter().map(|f| (f.code, f.message)).collect(),
        }
    }

    #[test]
    fn files_are_looked_at_before_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            fs::write(dir.path().join(name), text).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        write("password", "open sesame\n", 0o600);
        write("open", "open sesame\n", 0o644);
        write("two", "open\nsesame\n", 0o600);
        write("ca", "no certificate", 0o644);
        let login = |file: &str| serde_json::json!({ "address": "r.example", "username": "me", "passwordFile": file });
        let whole = read(&inventory(login("password")), dir.path()).unwrap();
        assert_eq!(whole["r.example"].password.as_ref().unwrap().reveal(), "open sesame");
        for (file, said) in [
            ("open", "everyone"),
            ("two", "more than one line"),
            ("none", "No such file"),
            (".", "no file"),
        ] {
            let found = codes(dir.path(), login(file));
            assert_eq!(found.len(), 1, "{file}: {found:?}");
            assert_eq!(found[0].0, "password-file-unusable");
            assert!(found[0].1.contains(said) && !found[0].1.contains("sesame"), "{found:?}");
        }
        for (file, said) in [("ca", "no certificate in PEM"), ("none", "No such file")] {
            let found =
                codes(dir.path(), serde_json::json!({ "address": "r.example", "caFile": file }));
            assert_eq!(found[0].0, "ca-file-unusable");
            assert!(found[0].1.contains(said), "{found:?}");
        }
    }
}
