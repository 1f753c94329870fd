//! The kubelet's logins to registries, and authorities in the operating system's store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubewan_core::action::registry::{LOGINS, LOGINS_MODE, LoginSeen, LoginsSeen, TrustSeen};
use kubewan_core::action::{Action, RegistryLogins, SystemTrust};
use serde_json::{Map, Value, json};

use super::{Host, Performing};
use crate::command::{Program, exists};
use crate::disk::{self, Access};
use crate::journal;

/// How long a store may take to be built again.
const STORE_MAX: Duration = Duration::from_secs(120);

/// Reads what the kubelet's file has for the goal's registries.
///
/// # Errors
/// Fails where the file can't be read, or is none of the kind that the kubelet reads: then nobody knows what would be lost.
pub fn observe_registry_logins(goal: &RegistryLogins, host: &Host) -> Result<LoginsSeen, String> {
    let path = Path::new(LOGINS);
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            let logins = vec![LoginSeen::Missing; goal.logins.len()];
            return Ok(LoginsSeen { logins, ..LoginsSeen::default() });
        }
        Err(e) => return Err(format!("can't read {LOGINS}: {e}")),
    };
    let file = read(path)?;
    let logins = goal.logins.iter().map(|login| {
        let there = user_and_password(&file["auths"][&login.registry]);
        let wanted = host.value(&login.password);
        compared(there, &login.username, wanted)
    });
    Ok(LoginsSeen {
        exists: true,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        logins: logins.collect(),
        gone: goal
            .gone
            .iter()
            .filter(|(registry, user)| is_of(&file["auths"][registry], user))
            .map(|(registry, _)| registry.clone())
            .collect(),
    })
}

/// `wanted` is not known to looks that nobody gave it; the user's name has to do then.
fn compared(there: Option<(String, String)>, username: &str, wanted: Option<&str>) -> LoginSeen {
    match there {
        None => LoginSeen::Missing,
        Some((user, _)) if user != username => LoginSeen::OtherUser(user),
        Some((_, password)) if wanted.is_some_and(|wanted| wanted != password) => {
            LoginSeen::OtherPassword
        }
        Some(_) => LoginSeen::Same,
    }
}

/// The file as JSON, an object with an object `auths`.
fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("can't read {LOGINS}: {e}"))?;
    parse(&text).map_err(|why| {
        format!("{LOGINS} is none of the files that the kubelet reads logins from ({why}): mend it, or move it away")
    })
}

/// Docker's `config.json`, as far as the kubelet reads it (pkg/credentialprovider/config.go).
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    // What serde_json says of a text that is wrong does not quote it.
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match (&value, value.get("auths")) {
        (Value::Object(_), None | Some(Value::Object(_))) => Ok(value),
        _ => Err("it has no `auths` of the usual form".into()),
    }
}

/// The login in an entry: `auth` is `user:password` in base64 and goes before the other two fields.
pub(crate) fn user_and_password(entry: &Value) -> Option<(String, String)> {
    let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty());
    if let Some(auth) = text("auth") {
        let decoded = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
        return decoded.split_once(':').map(|(user, password)| (user.into(), password.into()));
    }
    Some((text("username")?.into(), text("password").unwrap_or_default().into()))
}

fn is_of(entry: &Value, user: &str) -> bool {
    user_and_password(entry).is_some_and(|(there, _)| there == user)
}

/// Takes out the logins of these users.
pub(crate) fn without(file: &mut Value, gone: &BTreeMap<String, String>) {
    if let Some(auths) = file.get_mut("auths").and_then(Value::as_object_mut) {
        auths.retain(|registry, entry| !gone.get(registry).is_some_and(|user| is_of(entry, user)));
    }
}

/// Writes the logins; what else is in the file stays.
///
/// # Errors
/// Fails where a password did not come along, or the file can't be written.
pub fn perform_registry_logins(
    goal: &RegistryLogins,
    seen: &LoginsSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let path = Path::new(LOGINS);
    let mut file = if seen.exists { read(path)? } else { json!({}) };
    without(&mut file, &goal.gone);
    for login in &goal.logins {
        let registry = &login.registry;
        let password = cx
            .host
            .value(&login.password)
            .ok_or_else(|| format!("the password for {registry} did not come along"))?;
        let auth = STANDARD.encode(format!("{}:{password}", login.username));
        let auths = file.as_object_mut().expect("parse() lets objects through alone");
        let auths = auths.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        auths[registry] = json!({ "auth": auth });
    }
    cx.record(disk::missing_parents(path).iter().map(|dir| format!("dir:{}", dir.display())))?;
    disk::make_parents(path)?;
    let text = format!("{file:#}\n");
    cx.record_left(LOGINS, &text)?;
    let access = Access::root(LOGINS_MODE);
    disk::write_atomic(path, &mut text.as_bytes(), access, &|_| Ok(())).map(drop)
}

/// A store of trusted certificates as a family of distributions has it.
struct Store {
    /// What builds it.
    program: &'static str,
    /// Folder for an administrator's own certificates.
    folder: &'static str,
    /// What programs read.
    bundle: &'static str,
}

/// update-ca-certificates(8); update-ca-trust(8).
const STORES: [Store; 2] = [
    Store {
        program: "update-ca-certificates",
        folder: "/usr/local/share/ca-certificates",
        bundle: "/etc/ssl/certs/ca-certificates.crt",
    },
    Store {
        program: "update-ca-trust",
        folder: "/etc/pki/ca-trust/source/anchors",
        bundle: "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    },
];

impl Store {
    /// The one that this host has; Debian's where its package is still to come.
    fn here() -> &'static Store {
        STORES.iter().find(|store| exists(store.program)).unwrap_or(&STORES[0])
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.folder).join(format!("{name}.crt"))
    }
}

/// Where a certificate of that name lies on this host.
pub fn trust_file(name: &str) -> PathBuf {
    Store::here().file(name)
}

/// Looks for the file, and for the certificate among those that programs read.
///
/// # Errors
/// Fails where the file is there and can't be read.
pub fn observe_system_trust(goal: &SystemTrust, host: &Host) -> Result<TrustSeen, String> {
    let store = Store::here();
    let path = store.file(&goal.name);
    let mut sha256 = match fs::read(&path) {
        Ok(bytes) => Some(kubewan_core::sha256_hex(&bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(format!("can't read {}: {e}", path.display())),
    };
    let bundle = fs::read_to_string(store.bundle).unwrap_or_default();
    let trusted = match &goal.certificate {
        Some(pem) => is_among(pem, &bundle),
        None => {
            // What somebody put there since is not ours to take away.
            let ours = written(&goal.name, host)?;
            sha256 = sha256.filter(|now| ours.contains(now));
            being_taken_out(host, &goal.name).exists()
        }
    };
    Ok(TrustSeen { sha256, trusted })
}

/// SHA-256s of what kubewan wrote under a name.
fn written(name: &str, host: &Host) -> Result<BTreeSet<String>, String> {
    let entries = journal::read(host)?;
    let written = journal::standing(&entries).into_iter().filter_map(|(begun, _)| {
        let Action::SystemTrust(goal) = &begun.action else { return None };
        let pem = goal.certificate.as_ref().filter(|_| goal.name == name)?;
        Some(kubewan_core::sha256_hex(pem.as_bytes()))
    });
    Ok(written.collect())
}

/// There while a certificate's file is gone and the store may not have been built again.
fn being_taken_out(host: &Host, name: &str) -> PathBuf {
    host.root().join(format!("taking-out-{name}"))
}

/// Whether a certificate is in a bundle, however its lines are broken there.
pub(crate) fn is_among(pem: &str, bundle: &str) -> bool {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let one_line = |text: &str| text.split_whitespace().collect::<String>();
    let body = one_line(&body);
    !body.is_empty() && bundle.split("-----").any(|part| one_line(part) == body)
}

/// Puts the certificate into the store or takes it out, and has the store built again.
///
/// # Errors
/// Fails where the host has no such store, or what builds it says so.
pub fn perform_system_trust(
    goal: &SystemTrust,
    seen: &TrustSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let store = Store::here();
    let path = store.file(&goal.name);
    let mark = being_taken_out(cx.host, &goal.name);
    match &goal.certificate {
        Some(pem) => {
            super::file::keep_first(&path.to_string_lossy(), cx.host)?;
            let missing = disk::missing_parents(&path);
            cx.record(missing.iter().map(|dir| format!("dir:{}", dir.display())))?;
            disk::make_parents(&path)?;
            let access = Access::root(0o644);
            disk::write_atomic(&path, &mut pem.as_bytes(), access, &|_| Ok(()))?;
        }
        None => {
            disk::write_atomic(&mark, &mut io::empty(), Access::root(0o600), &|_| Ok(()))?;
            if seen.sha256.is_some() {
                disk::remove(&path)?;
            }
        }
    }
    if goal.certificate.is_some() || exists(store.program) {
        (cx.progress)(&format!("runs {}", store.program));
        Program::new(store.program).timeout(STORE_MAX).stdout()?;
    }
    disk::remove(&mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_login_of_that_user_goes() {
        let mut file = json!({ "auths": { "a": { "username": "me", "password": "x" }, "b": { "username": "you" },
            "c": { "username": "me" } }, "credsStore": "x" });
        let gone = [("a", "me"), ("b", "me"), ("d", "me")];
        without(&mut file, &gone.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
        assert_eq!(
            file,
            json!({ "auths": { "b": { "username": "you" }, "c": { "username": "me" } }, "credsStore": "x" })
        );
    }

    #[test]
    fn logins_are_read_in_both_forms() {
        let file = parse(
            r#"{ "auths": { "a": { "auth": "cHVsbGVyOm9wZW46c2VzYW1l" }, "b": { "username": "me", "password": "x" },
                "c": { "auth": "no base64" } }, "credsStore": "x" }"#,
        )
        .unwrap();
        let of = |name: &str| user_and_password(&file["auths"][name]);
        assert_eq!(of("a"), Some(("puller".into(), "open:sesame".into())));
        assert_eq!(of("b"), Some(("me".into(), "x".into())));
        assert_eq!((of("c"), of("d")), (None, None));
        assert!(parse("{}").is_ok());
        for wrong in ["", "[]", "\"x\"", "{\"auths\": []}", "{"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_that_is_not_known_is_not_told_apart() {
        let there = || Some(("puller".to_owned(), "sesame".to_owned()));
        assert_eq!(compared(there(), "puller", Some("sesame")), LoginSeen::Same);
        assert_eq!(compared(there(), "puller", None), LoginSeen::Same);
        assert_eq!(compared(there(), "puller", Some("other")), LoginSeen::OtherPassword);
        assert_eq!(compared(there(), "me", Some("x")), LoginSeen::OtherUser("puller".into()));
        assert_eq!(compared(None, "me", Some("x")), LoginSeen::Missing);
    }

    #[test]
    fn a_certificate_is_found_however_its_lines_are_broken() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\nCC==\n-----END CERTIFICATE-----\n";
        let bundle =
            "# x\n-----BEGIN CERTIFICATE-----\nAA\nAABBBBCC==\n-----END CERTIFICATE-----\n";
        assert!(is_among(pem, bundle));
        assert!(!is_among(pem, &bundle.replace("CC", "DD")));
        assert!(!is_among(pem, "") && !is_among("", bundle));
    }
}
