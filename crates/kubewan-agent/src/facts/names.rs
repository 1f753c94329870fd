//! The host's name: whether it resolves, and cloud-init's hold on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewan_core::facts::CloudInit;
use kubewan_core::packages::PackageManager;

use crate::act::package::manager;
use crate::command::{Program, exists};

/// Whether a name resolves through NSS.
pub(super) fn resolves(name: &str) -> bool {
    // Not `getent hosts`, which asks for IPv6 first: for a name that /etc/hosts has an IPv4 address of, that goes to DNS,
    // and a resolver that answers nobody makes it wait 5 s per try and server.
    let getent = Program::new("getent").args(["ahosts", name]).timeout(Duration::from_secs(10));
    !name.is_empty() && getent.output().is_ok_and(|output| output.code == 0)
}

/// cloud-init's settings; `None` where it is not installed or switched off for good.
pub(super) fn cloud_init() -> Option<CloudInit> {
    let folder = Path::new("/etc/cloud");
    // Documented off switch: https://cloudinit.readthedocs.io/en/latest/howto/disable_cloud_init.html
    if !folder.is_dir() || !exists("cloud-init") || folder.join("cloud-init.disabled").exists() {
        return None;
    }
    let mut files = vec![folder.join("cloud.cfg")];
    let mut extra: Vec<PathBuf> = fs::read_dir(folder.join("cloud.cfg.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cfg"))
        .collect();
    extra.sort();
    files.extend(extra);
    let rpm = manager().is_ok_and(PackageManager::is_rpm);
    let texts: Vec<String> =
        files.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    Some(CloudInit { hosts_template: hosts_template(folder, rpm), ..parse_cloud(&texts) })
}

/// The template of the host's family to cloud-init (`cc_update_etc_hosts`, `hosts.<osfamily>.tmpl`; packages bring those
/// of all families), else the one that goes before any family.
fn hosts_template(folder: &Path, rpm: bool) -> Option<String> {
    let templates = [if rpm { "hosts.redhat.tmpl" } else { "hosts.debian.tmpl" }, "hosts.tmpl"];
    let mut paths = templates.iter().map(|name| folder.join("templates").join(name));
    paths.find(|path| path.is_file()).map(|path| path.to_string_lossy().into_owned())
}

/// Settings in force: later files win (`cloud.cfg.d` is read in the order of its names).
pub(crate) fn parse_cloud(texts: &[String]) -> CloudInit {
    let mut found = CloudInit::default();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let Some((key, value)) = line.split_once(':') else { continue };
        // Top level only: the same word deeper down is another module's setting.
        let value = value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        let value = value.to_ascii_lowercase();
        match key {
            "preserve_hostname" => found.preserve_hostname = truth(&value),
            // `localhost` manages the file as well, `template` is the old word for `true`.
            "manage_etc_hosts" => {
                found.manage_etc_hosts =
                    truth(&value) || matches!(value.as_str(), "localhost" | "template");
            }
            _ => {}
        }
    }
    found
}

fn truth(value: &str) -> bool {
    matches!(value, "true" | "yes" | "on" | "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_own_template() {
        let folder = tempfile::tempdir().unwrap();
        let templates = folder.path().join("templates");
        fs::create_dir(&templates).unwrap();
        for name in ["hosts.debian.tmpl", "hosts.redhat.tmpl"] {
            fs::write(templates.join(name), "").unwrap();
        }
        let ends = |rpm, name| hosts_template(folder.path(), rpm).unwrap().ends_with(name);
        assert!(ends(true, "/hosts.redhat.tmpl") && ends(false, "/hosts.debian.tmpl"));
    }

    #[test]
    fn later_files_win() {
        let cfg = "users:\n - default\npreserve_hostname: false\nmanage_etc_hosts: localhost # x\n";
        let both = [cfg.to_owned(), "preserve_hostname: true\n".to_owned()];
        assert_eq!(
            parse_cloud(&both),
            CloudInit { preserve_hostname: true, manage_etc_hosts: true, hosts_template: None }
        );
        let off = [cfg.to_owned(), "manage_etc_hosts: False\n  preserve_hostname: true\n".into()];
        assert_eq!(parse_cloud(&off), CloudInit::default());
    }
}
