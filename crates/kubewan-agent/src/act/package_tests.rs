//! Tests of what dpkg and apt print, from Debian 12.

use super::locks::lock_holder;
use super::*;

#[test]
fn reads_dpkgs_database() {
    let text = "containerd\thi \t1.6.20~ds1-1+deb12u1\nrunc\tii \t1.1.5+ds1-1+deb12u1\n\
                cri-tools\trc \t1.26\niptables\tiF \t1.8.9-2\nebtables\tun \t\nbash\tiiR\t5.2\n";
    let known = parse_known(text);
    let with = |test: fn(&Known) -> bool| -> Vec<&str> {
        known.iter().filter(|k| test(k)).map(|k| k.name.as_str()).collect()
    };
    assert_eq!(with(Known::installed), ["containerd", "runc"]);
    assert_eq!(with(Known::held), ["containerd"]);
    assert_eq!(with(Known::halfway), ["iptables"]);
    assert_eq!(parse_known("x\té\t1").iter().filter(|k| k.installed()).count(), 0);
}

#[test]
fn reads_a_simulation() {
    let text = "NOTE: This is only a simulation!\nReading package lists...\n\
        The following NEW packages will be installed:\n  containerd runc\n\
        Inst libc6 [2.36-9+deb12u9] (2.36-9+deb12u10 Debian:12.10/stable [amd64])\n\
        Inst runc (1.1.5+ds1-1+deb12u1 Debian:12.10/stable [amd64])\n\
        Inst libseccomp2:i386 (2.5.4-1 Debian:12.10/stable [i386])\n\
        Inst containerd (1.6.20~ds1-1+b1 local-deb [amd64])\nConf runc (1.1.5)\n";
    assert_eq!(newly_installed(text), ["runc", "libseccomp2", "containerd"]);
    assert_eq!(newly_installed("Inst  (1)\nInst :i386 (1)\n"), Vec::<String>::new());
    assert_eq!(removed("Remv \nPurg\nRemv a\tb [1]\n"), ["a"]);
    let text = "Purg cri-tools [1.26]\nRemv containerd [1.6.20~ds1-1+b1] [docker.io:amd64 ]\n";
    assert_eq!(removed(text), ["cri-tools", "containerd"]);
}

#[test]
fn reads_a_packages_fields() {
    assert_eq!(
        parse_fields("Package: runc\nVersion: 1.1.5+ds1-1+deb12u1\n"),
        Some(("runc".into(), "1.1.5+ds1-1+deb12u1".into()))
    );
    assert_eq!(parse_fields(""), None);
}

#[test]
fn asks_the_real_dpkg_where_there_is_one() {
    if !exists("dpkg-query") {
        return;
    }
    let goal =
        Package { names: vec!["dpkg".into(), "no-such-package-here".into()], ..Package::default() };
    let seen = observe_package(&goal, &Host::at("/nonexistent")).unwrap();
    assert!(seen.installed[0].1.is_some(), "{seen:?}");
    assert_eq!(seen.installed[1], ("no-such-package-here".into(), None));
    assert_eq!(is_older("1.6.20~ds1-1", "1.6.20"), Ok(true));
    assert_eq!(is_older("1.7", "1.7"), Ok(false));
}

#[test]
fn sees_who_holds_a_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    assert_eq!(lock_holder(&path), None);
    std::fs::write(&path, "").unwrap();
    assert_eq!(lock_holder(&path), None);
    let Ok(python) = std::process::Command::new("python3")
        .args(["-c", "import fcntl,sys,time\nf=open(sys.argv[1],'w');fcntl.lockf(f,fcntl.LOCK_EX)\nprint('x',flush=True);time.sleep(9)"])
        .arg(&path)
        .stdout(std::process::Stdio::piped())
        .spawn()
    else {
        return;
    };
    let mut python = python;
    let mut byte = [0; 1];
    std::io::Read::read_exact(python.stdout.as_mut().unwrap(), &mut byte).unwrap();
    assert_eq!(lock_holder(&path), Some(python.id().cast_signed()));
    python.kill().unwrap();
    python.wait().unwrap();
}

#[test]
fn only_failed_units_without_a_file_are_forgotten() {
    let listed = "containerd.service not-found failed failed containerd.service\n\
                  nginx.service loaded failed failed A web server\n\
                  old.service not-found active exited old.service\n";
    assert_eq!(gone_and_failed(listed).collect::<Vec<_>>(), ["containerd.service"]);
}

#[test]
fn only_packages_that_go_are_configured_without_a_start() {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let goal =
        |absent| Package { names: own(&["runc", "containerd"]), absent, ..Package::default() };
    assert!(all_go(&goal(true), &own(&["containerd"])));
    assert!(!all_go(&goal(true), &own(&["containerd", "postgresql"])), "somebody's own");
    assert!(!all_go(&goal(false), &own(&["containerd"])), "an installation that goes on");
}
