//! Private registries: the kubelet's logins, and authorities in the operating system's store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind, Input};

/// Where the kubelet looks for logins first (pkg/credentialprovider/config.go: `config.json` below its root folder).
pub const LOGINS: &str = "/var/lib/kubelet/config.json";

/// Nobody but root reads it.
pub const LOGINS_MODE: u32 = 0o600;

/// Logins in the kubelet's own file. Those of other registries in it stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryLogins {
    /// Those that are to be there.
    pub logins: Vec<Login>,
    /// Those that are not: the registry as the kubelet's file has it, and the user. Another user's stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<String, String>,
}

/// How the kubelet logs in to one registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The registry, as the kubelet's file has it for a key.
    pub registry: String,
    /// Who.
    pub username: String,
    /// The password; only a marker stands in plans and journals.
    pub password: Input,
}

/// What the kubelet's file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginsSeen {
    /// There is a file.
    pub exists: bool,
    /// Permission bits.
    pub mode: u32,
    /// `uid:gid`.
    pub owner: (u32, u32),
    /// Logins of the goal, in its order.
    pub logins: Vec<LoginSeen>,
    /// Registries whose login is to be gone, and is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
}

/// What the file has for one login. Nothing here tells of a password but whether it is the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginSeen {
    /// Nothing.
    Missing,
    /// The login of someone else.
    OtherUser(String),
    /// The user, with another password.
    OtherPassword,
    /// Just that.
    Same,
}

impl Login {
    /// The marker of a login of the inventory's.
    pub fn secret(address: &str) -> String {
        format!("registry-login {address}")
    }

    /// The marker of a login that an older configuration of a host had.
    pub fn carried_secret(address: &str, host: &str) -> String {
        format!("{}{CARRIED}{host}", Login::secret(address))
    }

    /// It comes from an older configuration, and not from the inventory.
    pub fn is_carried(&self) -> bool {
        matches!(&self.password, Input::Secret { name } if name.contains(CARRIED))
    }
}

/// Between a registry and the host that had the login; no address has a blank.
const CARRIED: &str = " of ";

impl RegistryLogins {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &LoginsSeen) -> Option<Change> {
        let mut details = Vec::new();
        if seen.exists && seen.mode != LOGINS_MODE {
            details.push(format!("mode {:04o} -> {LOGINS_MODE:04o}", seen.mode));
        }
        if seen.exists && seen.owner != (0, 0) {
            details.push(format!("owner {}:{} -> 0:0", seen.owner.0, seen.owner.1));
        }
        for (place, login) in self.logins.iter().enumerate() {
            let (registry, user) = (&login.registry, &login.username);
            details.extend(match seen.logins.get(place) {
                Some(LoginSeen::Same) => None,
                Some(LoginSeen::OtherPassword) => {
                    Some(format!("{registry}: {user} with another password"))
                }
                Some(LoginSeen::OtherUser(other)) => Some(format!("{registry}: {other} -> {user}")),
                Some(LoginSeen::Missing) | None => Some(format!("{registry}: {user}")),
            });
        }
        details.extend(seen.gone.iter().filter_map(|registry| {
            let user = self.gone.get(registry)?;
            Some(format!("{registry}: the login of {user} goes, since the inventory has none"))
        }));
        let kind = if seen.exists { ChangeKind::Update } else { ChangeKind::Create };
        (!details.is_empty()).then(|| {
            let summary = format!("have the kubelet log in by {LOGINS} (mode {LOGINS_MODE:04o})");
            Change::new(kind, summary).with_details(details)
        })
    }
}

/// A certificate that every program of the host trusts, or one of ours that none trusts any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemTrust {
    /// The file's name in the store's folder for an administrator's own, without `.crt`.
    pub name: String,
    /// The certificate in PEM; `None`: not trusted.
    pub certificate: Option<String>,
}

/// How the store has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustSeen {
    /// SHA-256 of the file; `None` where there is none, or none of kubewan's that could be taken out.
    pub sha256: Option<String>,
    /// The certificate is among those that programs read; where it is to be none: that may still be so.
    pub trusted: bool,
}

impl SystemTrust {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &TrustSeen) -> Option<Change> {
        let name = &self.name;
        match &self.certificate {
            None if seen.sha256.is_none() && !seen.trusted => None,
            None => Some(Change::new(
                ChangeKind::Delete,
                format!("take {name} out of the system's trusted certificates"),
            )),
            Some(pem) => {
                let there = seen.sha256.as_deref() == Some(&crate::sha256_hex(pem.as_bytes()));
                (!there || !seen.trusted).then(|| {
                    let summary = format!("add {name} to the system's trusted certificates");
                    Change::new(ChangeKind::Create, summary)
                        .with_details(vec!["every program of the host trusts what it signs".into()])
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal() -> RegistryLogins {
        let login = |registry: &str| Login {
            registry: registry.into(),
            username: "puller".into(),
            password: Input::Secret { name: format!("registry-login:{registry}") },
        };
        let logins = vec![login("r.example:5000"), login("s.example")];
        RegistryLogins { logins, gone: BTreeMap::new() }
    }

    #[test]
    fn only_what_differs_is_told_and_no_password() {
        let right = LoginsSeen {
            exists: true,
            mode: 0o600,
            owner: (0, 0),
            logins: vec![LoginSeen::Same, LoginSeen::Same],
            gone: Vec::new(),
        };
        assert_eq!(goal().diff(&right), None);
        let loose = LoginsSeen {
            mode: 0o644,
            logins: vec![LoginSeen::OtherPassword, LoginSeen::OtherUser("me".into())],
            ..right
        };
        let change = goal().diff(&loose).unwrap();
        let expected = [
            "mode 0644 -> 0600",
            "r.example:5000: puller with another password",
            "s.example: me -> puller",
        ];
        assert_eq!(change.details, expected);
        assert_eq!(goal().diff(&LoginsSeen::default()).unwrap().kind, ChangeKind::Create);
    }

    #[test]
    fn a_certificate_is_added_until_programs_trust_it_and_taken_out_once() {
        let goal = SystemTrust { name: "kubewan-r".into(), certificate: Some("PEM".into()) };
        let sha256 = Some(crate::sha256_hex(b"PEM"));
        assert!(goal.diff(&TrustSeen::default()).is_some());
        assert!(goal.diff(&TrustSeen { sha256: sha256.clone(), trusted: false }).is_some());
        assert_eq!(goal.diff(&TrustSeen { sha256: sha256.clone(), trusted: true }), None);
        let gone = SystemTrust { certificate: None, ..goal };
        assert_eq!(gone.diff(&TrustSeen::default()), None);
        assert!(gone.diff(&TrustSeen { sha256, trusted: true }).is_some());
    }
}
