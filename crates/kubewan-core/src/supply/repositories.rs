//! Package repositories of others than the distribution: where they lie, the key that signs them, and the file that tells
//! a package manager.

use crate::facts::Os;
use crate::finding::Finding;
use crate::inventory::{Inventory, KubernetesSource, PackagesLayout, RuntimeSource};
use crate::packages::{self, PackageManager};

/// A package repository of someone else than the distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// What yum and dnf call it.
    pub id: String,
    /// Where the key that signs its packages lies, ASCII-armoured; `None`: nothing is checked.
    pub key_url: Option<String>,
    /// The file that the key goes to.
    pub key_path: String,
    /// Where the packages lie, without a slash at its end.
    pub uri: String,
    /// The file below that which says what there is.
    pub index: String,
    /// The file that names it.
    pub list_path: String,
    /// What is in that file.
    pub list: String,
}

/// A repository before a package manager is told of it.
struct Source<'a> {
    name: &'a str,
    uri: String,
    /// The key's place; `None`: nothing is checked.
    key_url: Option<String>,
    /// apt's suite and components.
    suite: String,
    /// Packages that no upgrade takes from it.
    held: &'a [&'a str],
}

/// Packages of Kubernetes' repository, with what they depend on.
const KUBERNETES_PACKAGES: [&str; 5] =
    ["kubeadm", "kubectl", "kubelet", "kubernetes-cni", "cri-tools"];

impl Source<'_> {
    fn of(self, manager: PackageManager) -> Repository {
        let id = format!("kubewan-{}", self.name);
        let (key_path, list_path) = match manager {
            PackageManager::Apt => (
                format!("/etc/apt/keyrings/{id}.asc"),
                format!("/etc/apt/sources.list.d/{id}.list"),
            ),
            PackageManager::Yum | PackageManager::Dnf => {
                (format!("/etc/pki/rpm-gpg/{id}.asc"), format!("/etc/yum.repos.d/{id}.repo"))
            }
        };
        let list = match manager {
            PackageManager::Apt => self.list(&key_path),
            PackageManager::Yum | PackageManager::Dnf => self.repo(&id, &key_path),
        };
        let index = match (manager.is_rpm(), self.suite.split(' ').next()) {
            (true, _) => "repodata/repomd.xml".to_owned(),
            (false, None | Some("/")) => "InRelease".to_owned(),
            (false, Some(suite)) => format!("dists/{suite}/InRelease"),
        };
        Repository { list, id, key_url: self.key_url, key_path, uri: self.uri, index, list_path }
    }

    /// sources.list(5).
    fn list(&self, key_path: &str) -> String {
        let trust = match self.key_url {
            Some(_) => format!("signed-by={key_path}"),
            None => "trusted=yes".to_owned(),
        };
        format!("# Written by kubewan.\ndeb [{trust}] {}/ {}\n", self.uri, self.suite)
    }

    /// yum.conf(5), dnf.conf(5). Held by `exclude`, which every yum and dnf knows: versionlock is a plugin, which not
    /// all have. The index is not signed everywhere, and every package is (kubernetes.io, "Installing kubeadm").
    fn repo(&self, id: &str, key_path: &str) -> String {
        let check = match self.key_url {
            Some(_) => format!("gpgcheck=1\nrepo_gpgcheck=0\ngpgkey=file://{key_path}"),
            None => "gpgcheck=0\nrepo_gpgcheck=0".to_owned(),
        };
        format!(
            "# Written by kubewan.
[{id}]
name={id}
baseurl={}/
enabled=1
{check}
exclude={}
",
            self.uri,
            self.held.join(" ")
        )
    }
}

/// A repository of Kubernetes', which has one per minor release. `None` where it has none for this one.
pub fn kubernetes_repository(inventory: &Inventory, os: &Os) -> Option<Repository> {
    let mirrors = &inventory.mirrors;
    let server = mirrors.packages.trim_end_matches('/');
    let (release, patch) = (inventory.release(), inventory.version().patch);
    let manager = packages::manager(os);
    let (key, uri, suite) = match mirrors.packages_layout {
        PackagesLayout::Community => {
            if !release.packages {
                return None;
            }
            let kind = if manager.is_rpm() { "rpm" } else { "deb" };
            let key = if manager.is_rpm() { "repodata/repomd.xml.key" } else { "Release.key" };
            // Mirrors have folders without colons, and call that part of it their own.
            let below = if server.ends_with("/stable") { "" } else { "/core:/stable:" };
            let uri = format!("{server}{below}/v1.{}/{kind}", release.minor);
            (format!("{uri}/{key}"), uri, "/")
        }
        PackagesLayout::Former => {
            release.former_packages.filter(|last| patch <= *last)?;
            // Packages are signed by the second of the two keys that lie there; the first is the index's.
            let yum = format!("{server}/yum/repos/kubernetes-el7-$basearch");
            match manager.is_rpm() {
                true => (format!("{server}/yum/doc/rpm-package-key.gpg"), yum, ""),
                false => (
                    format!("{server}/apt/doc/apt-key.gpg"),
                    format!("{server}/apt"),
                    "kubernetes-xenial main",
                ),
            }
        }
    };
    let source = Source {
        name: "kubernetes",
        uri,
        key_url: mirrors.checks().then_some(key),
        suite: suite.into(),
        held: &KUBERNETES_PACKAGES,
    };
    Some(source.of(manager))
}

/// Docker's own packages of itself, by the same names with apt and with yum (docs.docker.com, "Install Docker Engine").
pub const DOCKER_PACKAGES: [&str; 3] = ["docker-ce", "docker-ce-cli", "containerd.io"];

/// Docker's repository for a distribution. `None` where it has none: Debian and Ubuntu have theirs, and what is built
/// like Enterprise Linux has CentOS'.
pub fn docker_repository(inventory: &Inventory, os: &Os) -> Option<Repository> {
    let mirrors = &inventory.mirrors;
    let server = mirrors.docker.trim_end_matches('/');
    let manager = PackageManager::of(os)?;
    let (folder, uri, suite) = if manager.is_rpm() {
        let folder = format!("{server}/linux/centos");
        let uri = format!("{folder}/{}/$basearch/stable", packages::enterprise_linux(os)?);
        (folder, uri, String::new())
    } else {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if os.codename.is_empty() || !os.codename.chars().all(plain) {
            return None;
        }
        let folder = format!("{server}/linux/{}", os.id);
        (folder.clone(), folder, format!("{} stable", os.codename))
    };
    let source = Source {
        name: "docker",
        uri,
        key_url: mirrors.checks().then(|| format!("{folder}/gpg")),
        suite,
        held: if inventory.is_docker() { &DOCKER_PACKAGES } else { &["containerd.io"] },
    };
    Some(source.of(manager))
}

/// The series of Docker's containerd.io, as far as a plan goes by it: it has had 2.x since 2025, but where its repositories
/// ended before: of CentOS 7 and 8 in 2024 (docs.docker.com, release notes of Docker Engine 26.1 and 27), of Ubuntu 20.04
/// in 2025 with containerd.io 1.7.27 (download.docker.com, `linux/ubuntu/dists/focal`).
pub fn docker_containerd(os: &Os) -> &'static str {
    if (os.id.as_str(), os.version_id.as_str()) == ("ubuntu", "20.04") {
        return "1.7";
    }
    match packages::enterprise_linux(os) {
        Some(..9) => "1.6",
        _ => "2.0",
    }
}

/// The repositories that a host gets.
pub fn repositories(inventory: &Inventory, os: &Os) -> Vec<Repository> {
    let kubernetes = (inventory.source() == KubernetesSource::Packages)
        .then(|| kubernetes_repository(inventory, os));
    let docker = (inventory.runtime.source == RuntimeSource::Docker)
        .then(|| docker_repository(inventory, os));
    kubernetes.into_iter().chain(docker).flatten().collect()
}

/// Packages that nobody checks, since the inventory says so.
pub fn unchecked(inventory: &Inventory) -> Option<Finding> {
    let taken = inventory.source() == KubernetesSource::Packages
        || inventory.runtime.source == RuntimeSource::Docker;
    (taken && !inventory.mirrors.checks()).then(|| {
        let message = "`mirrors.gpgCheck: off`: packages are installed whoever made them";
        let remedy =
            "take it out; where a mirror's packages don't pass, take another mirror, or a bundle";
        Finding::warning("packages-unchecked", "", message, remedy).for_cluster()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::GpgCheck;
    use crate::samples;

    fn inventory() -> Inventory {
        let mut inventory = samples::inventory(1);
        inventory.kubernetes.source = Some(KubernetesSource::Packages);
        inventory.runtime.source = RuntimeSource::Docker;
        inventory
    }

    fn shown(repository: &Repository) -> String {
        let Repository { key_url, key_path, list_path, list, .. } = repository;
        let key_url = key_url.as_deref().unwrap_or("no key");
        format!("{key_url}\n{key_path}\n{list_path}\n{list}\n")
    }

    fn all(inventory: &Inventory, os: &Os) -> String {
        repositories(inventory, os).iter().map(shown).collect()
    }

    /// A `config.toml` of version 3 would be refused by 1.7, and 1.22's kubelet speaks to no 2.x.
    #[test]
    fn where_dockers_repository_has_ended_containerd_stays_as_it_was() {
        let ubuntu = |version: &str| Os {
            id: "ubuntu".into(),
            version_id: version.into(),
            ..samples::facts(0).os
        };
        assert_eq!(["20.04", "22.04"].map(|v| docker_containerd(&ubuntu(v))), ["1.7", "2.0"]);
        let el = |version: &str| docker_containerd(&samples::rpm_system("rocky", version));
        assert_eq!((el("8.10"), el("9.6")), ("1.6", "2.0"));
    }

    /// What every family gets from the publishers.
    #[test]
    fn repositories_are_of_the_minor_release_and_of_the_distribution() {
        let mut text = String::new();
        for os in [vec![samples::facts(0).os], samples::rpm_systems()].concat() {
            text += &format!("## {}\n{}", os.pretty_name, all(&inventory(), &os));
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn mirrors_have_the_folders_of_their_layout() {
        let mut inventory = inventory();
        inventory.kubernetes.version = "1.28.2".into();
        inventory.runtime.source = RuntimeSource::Release;
        let (debian, centos) = (samples::facts(0).os, samples::rpm_system("centos", "7"));
        let mut text = String::new();
        for (server, layout, gpg_check) in [
            (
                "https://mirrors.aliyun.com/kubernetes-new/core/stable/",
                PackagesLayout::Community,
                GpgCheck::On,
            ),
            ("https://mirrors.aliyun.com/kubernetes", PackagesLayout::Former, GpgCheck::On),
            ("http://192.0.2.1/pkgs", PackagesLayout::Community, GpgCheck::Off),
        ] {
            inventory.mirrors.packages = server.into();
            inventory.mirrors.packages_layout = layout;
            inventory.mirrors.gpg_check = gpg_check;
            for os in [&debian, &centos] {
                text += &format!("## {server}, {layout:?}, {}\n{}", os.id, all(&inventory, os));
            }
            assert_eq!(unchecked(&inventory).is_some(), gpg_check == GpgCheck::Off);
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn former_repositories_end_where_they_were_frozen() {
        let mut inventory = inventory();
        inventory.mirrors.packages_layout = PackagesLayout::Former;
        let os = samples::rpm_system("centos", "7");
        let mut has = |version: &str, layout| {
            inventory.kubernetes.version = version.into();
            inventory.mirrors.packages_layout = layout;
            kubernetes_repository(&inventory, &os).is_some()
        };
        assert!(["1.22.17", "1.23.6", "1.28.2"].iter().all(|v| has(v, PackagesLayout::Former)));
        assert!(!["1.28.3", "1.29.0"].iter().any(|v| has(v, PackagesLayout::Former)));
        assert!(
            !has("1.23.6", PackagesLayout::Community) && has("1.24.0", PackagesLayout::Community)
        );
    }
}
