//! A real lab on this machine. Needs root, so a plain `cargo test` leaves it out; `cargo xtask test` runs it.
//! One test, as there is one lab at a time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kubewan_lab::topology::Spec;
use kubewan_lab::{
    Allow, Claim, KubernetesChoice, Lab, LabError, LabEvent, LabOptions, compare, leftovers,
};

/// What a host writes by itself from one boot to the next.
const EVERY_BOOT: [Allow<'static>; 3] = [
    Allow { pattern: "file /var/log/journal/**", reason: "the journal goes on" },
    Allow { pattern: "file /var/log/wtmp", reason: "boots are logged" },
    Allow { pattern: "file /var/tmp/systemd-private-**", reason: "named after the boot" },
];

#[test]
#[ignore = "needs root: cargo xtask lab"]
fn a_lab_from_up_to_down() {
    let claim = Claim::new().unwrap();
    assert_eq!(leftovers(None), Vec::<String>::new(), "another lab is up");
    let before = shared_settings();

    a_failed_up_leaves_nothing();
    let options = LabOptions { dir: claim.lab_dir(), ..LabOptions::default() };
    let mut lab = Lab::up(&options, &mut quiet).unwrap();
    up_again_takes_the_same_lab(&options);
    hosts_are_reached_by_ssh(&lab);
    hosts_differ(&lab);
    hosts_may_not_touch_the_machine(&lab);
    the_clouds_behave(&lab);
    a_cut_cloud_is_silent_until_healed(&lab);
    a_reboot_leaves_the_card_only(&lab);
    a_rewind_leaves_the_first_state(&lab);
    the_inventory_is_the_users_once_edited(&mut lab);

    assert!(Lab::down("lab", &mut quiet).unwrap());
    assert_eq!(leftovers(None), Vec::<String>::new());
    assert_eq!(shared_settings(), before);
    assert!(!options.dir.join("id_ed25519").exists());
    assert!(options.dir.join("cluster.yaml").exists(), "an edited inventory is kept");
    assert!(matches!(Lab::open("lab"), Err(LabError::NotUp { .. })));
}

fn quiet(_: LabEvent) {}

fn a_failed_up_leaves_nothing() {
    let options = LabOptions { dir: "/proc/no-folder-here".into(), ..LabOptions::default() };
    let error = Lab::up(&options, &mut quiet).unwrap_err().to_string();
    assert!(error.contains("/proc/no-folder-here"), "{error}");
    assert_eq!(leftovers(None), Vec::<String>::new());
}

fn up_again_takes_the_same_lab(options: &LabOptions) {
    let mut events = Vec::new();
    Lab::up(options, &mut |event| events.push(event)).unwrap();
    assert_eq!(events, [LabEvent::AlreadyUp]);
    let other = LabOptions { topology: Spec::usual(2), ..options.clone() };
    assert!(matches!(Lab::up(&other, &mut quiet), Err(LabError::AlreadyUp { .. })));
}

fn hosts_are_reached_by_ssh(lab: &Lab) {
    for status in lab.list().unwrap() {
        let command = lab.ssh_command(&status.host.name).unwrap();
        let output = std::process::Command::new(&command[0])
            .args(&command[1..])
            .args(["sudo", "-n", "cat", "/etc/hostname", "/run/kubewan-lab-host"])
            .output()
            .unwrap();
        let name = &status.host.name;
        let expected = format!("{name}\n{name}\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
}

fn hosts_differ(lab: &Lab) {
    let ids: Vec<String> = names(lab).iter().map(|n| run(lab, n, "cat /etc/machine-id")).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    let keys: Vec<String> = lab.info().unwrap().hosts.into_iter().map(|h| h.host_key).collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
}

fn hosts_may_not_touch_the_machine(lab: &Lab) {
    assert_eq!(run(lab, "node01", "date -s 2020-01-01 >/dev/null 2>&1 || echo refused"), "refused");
    assert_eq!(run(lab, "node01", "tail -n +2 /proc/swaps | wc -l"), "0");
    // Over SSH and by systemd, a process has what exec gives it.
    let by_systemd = "systemd-run --quiet --wait --pipe grep CapEff /proc/self/status";
    assert_eq!(run(lab, "node01", by_systemd), run(lab, "node01", "grep CapEff /proc/self/status"));
    // A kubelet writes this; it is given back by `down`.
    run(lab, "node01", "echo 10 > /proc/sys/kernel/panic");
}

fn the_clouds_behave(lab: &Lab) {
    let address = |name: &str| {
        let hosts = lab.info().unwrap().hosts;
        hosts.into_iter().find(|host| host.name == name).unwrap().address
    };
    let (a, b, c) = (address("master01"), address("node01"), address("node02"));
    let ping = |from: &str, arguments: &str| {
        run(lab, from, &format!("ping -q -c1 -W1 {arguments} >/dev/null && echo yes || echo no"))
    };
    for (from, to) in [("master01", b), ("master01", c), ("node01", a), ("node02", a)] {
        assert_eq!(ping(from, &format!("-c3 -i0.3 {to}")), "yes", "{from} to {to}");
    }
    assert_eq!(ping("node01", &format!("-c3 -i0.3 {b}")), "yes", "cloud B hairpins");
    assert_eq!(ping("master01", &a.to_string()), "no", "cloud A doesn't");
    for name in names(lab) {
        let public = address(&name).to_string();
        assert!(!run(lab, &name, "ip address").contains(&public), "{public} is on no card");
    }

    assert!(lab.spoof_counters().unwrap().values().all(|count| *count == 0));
    let own = format!("ip link add k0 type bridge; ip addr add {c}/32 dev k0; ip link set k0 up");
    run(lab, "node02", &own);
    assert_eq!(ping("node02", &format!("-I {c} {a}")), "no", "a forged source is dropped");
    let counters = lab.spoof_counters().unwrap();
    assert_eq!((counters["node02"], counters["master01"]), (1, 0));
}

fn a_cut_cloud_is_silent_until_healed(lab: &Lab) {
    let node01 = lab.info().unwrap().hosts[1].address;
    let ping = format!("ping -q -c1 -W1 {node01} >/dev/null && echo yes || echo no");
    lab.cut("node01").unwrap();
    assert_eq!(run(lab, "master01", &ping), "no");
    assert!(lab.list().unwrap()[1].cut);
    lab.heal("node01").unwrap();
    assert_eq!(run(lab, "master01", &ping), "yes");
}

fn a_reboot_leaves_the_card_only(lab: &Lab) {
    run(
        lab,
        "node02",
        "nft add table ip mine; echo kept > /root/file; echo kept > /var/lib/etcd/x",
    );
    lab.reboot("node02", &mut quiet).unwrap();
    assert_eq!(run(lab, "node02", "ls /sys/class/net"), "eth0\nlo");
    assert_eq!(run(lab, "node02", "nft list ruleset"), "");
    assert_eq!(run(lab, "node02", "cat /root/file /var/lib/etcd/x"), "kept\nkept");
}

fn a_rewind_leaves_the_first_state(lab: &Lab) {
    lab.rewind(&["node02"], &mut quiet).unwrap();
    let before = lab.observe_host("node02").unwrap();
    run(lab, "node02", "echo x > /root/file; echo x > /var/lib/etcd/x; rm /etc/debian_version");
    run(lab, "node02", "chmod 600 /etc/passwd; chmod 644 /etc/passwd; ip link add k0 type bridge");
    let report = compare(&before, &lab.observe_host("node02").unwrap(), &EVERY_BOOT[..1]);
    let found: Vec<&str> = report.differences.iter().map(|found| found.item.as_str()).collect();
    let expected =
        ["file /etc/debian_version", "file /root/file", "file /var/lib/etcd/x", "link k0"];
    assert_eq!(found, expected.map(str::to_owned));

    lab.rewind(&["node02"], &mut quiet).unwrap();
    let report = compare(&before, &lab.observe_host("node02").unwrap(), &EVERY_BOOT);
    assert!(report.is_clean(), "{report}");
    hosts_are_reached_by_ssh(lab);
}

fn the_inventory_is_the_users_once_edited(lab: &mut Lab) {
    let choice = |version: &str| KubernetesChoice {
        version: version.into(),
        bundle: "/bundle".into(),
        containerd_major: 1,
    };
    let path = lab.write_inventory(&choice("1.35.0")).unwrap().path;
    assert!(!lab.write_inventory(&choice("1.36.2")).unwrap().edited);
    assert!(fs::read_to_string(&path).unwrap().contains("version: \"1.36.2\""));
    fs::write(&path, "# mine\n").unwrap();
    assert!(lab.write_inventory(&choice("1.36.2")).unwrap().edited);
    assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\n");
}

fn names(lab: &Lab) -> Vec<String> {
    lab.info().unwrap().hosts.into_iter().map(|host| host.name).collect()
}

/// Runs a line of shell in a host and gives what it printed.
fn run(lab: &Lab, host: &str, line: &str) -> String {
    let output = lab.exec(host, &["sh", "-c", line], b"").unwrap();
    assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Settings of this machine that hosts can change.
fn shared_settings() -> BTreeMap<&'static str, String> {
    let names =
        ["kernel/panic", "vm/overcommit_memory", "fs/inotify/max_user_instances", "fs/file-max"];
    let read = |name| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    names.into_iter().map(|name| (name, read(name))).collect()
}
