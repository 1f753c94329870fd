//! Tests on what rpm 4.18 and dnf 4.14 printed for a signed repository of packages made for it, and yum 3.4.3 as its own source
//! words it (`yum/__init__.py`, `output.py`).

use super::*;

const DNF: &str = "\
Last metadata expiration check: 0:00:01 ago on Thu Nov 26 12:56:53 2026.
Dependencies resolved.
================================================================================
 Package            Arch      Version               Repository             Size
================================================================================
Installing:
 containerd.io      noarch    1.7-150500.1.1        kubewan-docker        5.5 k
     replacing  oldrunc.noarch 1-150500.1.1
 kubelet            noarch    1.36.2-150500.1.1     kubewan-kubernetes    5.5 k
Upgrading:
 libseccomp         x86_64    2.5.2-2.el9           baseos                 71 k
Installing dependencies:
 iptables-nft       noarch    1:1.8.8-150500.1.1    kubewan-kubernetes    5.5 k
Removing dependent packages:
 podman             x86_64    4:4.9.4-1.el9         @appstream             50 M

Transaction Summary
================================================================================
Install  3 Packages

Operation aborted.
";

const YUM: &str = "\
Loaded plugins: fastestmirror
Resolving Dependencies
--> Running transaction check

Dependencies Resolved

================================================================================
 Package              Arch     Version              Repository             Size
================================================================================
Installing:
 kubeadm              x86_64   1.23.6-0             kubewan-kubernetes    9.0 M
Installing for dependencies:
 conntrack-tools      x86_64   1.4.4-7.el7          base                  187 k
 libnetfilter_cttimeout-with-a-long-name
                      x86_64   1.0.0-7.el7          base                   18 k
Updating for dependencies:
 libmnl               x86_64   1.0.3-7.el7          base                   23 k

Transaction Summary
================================================================================
Install  1 Package (+2 Dependent packages)

Exiting on user command
";

#[test]
fn reads_what_dnf_and_yum_are_about_to_do() {
    let table = parse_transaction(DNF).unwrap();
    assert_eq!(table.installed, ["containerd.io", "kubelet", "iptables-nft"]);
    assert_eq!(table.removed, ["oldrunc", "podman"]);
    let said = refuse_removals(&table).unwrap_err();
    assert!(said.starts_with("installing would remove oldrunc podman, "), "{said}");
    let table = parse_transaction(YUM).unwrap();
    assert_eq!(
        table.installed,
        ["kubeadm", "conntrack-tools", "libnetfilter_cttimeout-with-a-long-name"]
    );
    assert_eq!(refuse_removals(&table), Ok(()));
    for nothing in ["", "Dependencies resolved.\nNothing to do.\nComplete!\n", "Error: no match\n"]
    {
        assert_eq!(parse_transaction(nothing), None, "{nothing}");
    }
}

#[test]
fn reads_rpms_database_with_its_keys() {
    let text = "gpg-pubkey\t2faa0d19-6b082c7f\nkubelet\t1.36.2-150500.1.1\niptables-nft\t1:1.8.8-1\n\
                gpg-pubkey\tf3b54e1c-6b082c97\nno line\n\t1\nx\t\n";
    let known = parse_installed(text);
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    let keys = ["gpg-pubkey-2faa0d19-6b082c7f", "gpg-pubkey-f3b54e1c-6b082c97"];
    assert_eq!(names, [keys[0], keys[1], "iptables-nft", "kubelet"]);
    assert_eq!(known["iptables-nft"], "1:1.8.8-1");
    assert_eq!(parse_installed("no package provides nothing\n"), BTreeMap::new());
}

#[test]
fn reads_what_a_repository_offers() {
    let dnf =
        "Available Packages\ncontainerd.x86_64          1.6.22-15.oe2403          everything\n";
    assert_eq!(parse_offered(dnf, "containerd").as_deref(), Some("1.6.22"));
    let docker = "Available Packages\ncontainerd.io.x86_64    1:1.7.27-3.1.el9    docker\n";
    assert_eq!(parse_offered(docker, "containerd"), None);
    assert_eq!(parse_offered(docker, "containerd.io").as_deref(), Some("1.7.27"));
    assert_eq!(parse_offered("Error: No matching Packages to list\n", "containerd"), None);
}

/// The words of the command lines, by manager and direction.
#[test]
fn dnf_and_yum_are_told_what_and_from_where() {
    let names = ["kubeadm", "kubectl", "kubelet"].map(str::to_owned);
    let goal = Package {
        names: names.to_vec(),
        versions: names.iter().map(|name| (name.clone(), "1.36.2".to_owned())).collect(),
        repository: "kubewan-kubernetes".into(),
        ..Package::default()
    };
    let installed = vec![
        ("kubeadm".to_owned(), Some("1.36.3-150500.1.1".to_owned())),
        ("kubectl".to_owned(), Some("1.36.1-150500.1.1".to_owned())),
        ("kubelet".to_owned(), None),
    ];
    let (lower, other) = by_direction(&goal, &PackageSeen { installed, held: Vec::new() });
    assert_eq!(lower, ["kubeadm-1.36.2"]);
    let said = format!("{:?}", tool(PackageManager::Dnf, "install", &other, &goal.repository));
    let words = "\"install\", \"kubectl-1.36.2\", \"kubelet-1.36.2\", \"--disableexcludes=kubewan-kubernetes\", \
                 \"--setopt=install_weak_deps=False\", \"--setopt=timeout=30\", \"--setopt=retries=3\"";
    assert!(said.contains("name: \"dnf\"") && said.contains(words), "{said}");
    let said = tool(PackageManager::Yum, "downgrade", &lower, "").describe();
    assert_eq!(said, "yum downgrade kubeadm-1.36.2 --setopt=timeout=30 --setopt=retries=3");
    assert!(is_newer("1:1.10.0-1", "1.9.9") && !is_newer("1.36.2-1", "1.36.2"));
}

#[test]
fn only_telling_lines_are_passed_on() {
    for line in
        ["  Installing       : kubelet-1.36.2-150500.1.1.noarch   6/7 ", "Downloading Packages:"]
    {
        assert!(is_progress(line), "{line}");
    }
    for line in ["Installing:", "  Verifying        : cri-tools-1.36.0.noarch    2/7", "Complete!"]
    {
        assert!(!is_progress(line), "{line}");
    }
}
