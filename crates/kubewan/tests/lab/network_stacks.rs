//! The public address survives reboots, and whatever the host's own network stack does on its restarts, under the
//! four stacks that servers come with; and theirs stays as it was.

use std::thread::sleep;
use std::time::{Duration, Instant};

use kubewan_lab::{Claim, Lab};

use crate::support::{Kubernetes, PATIENCE, Stage, lab_name, run};

const TOPOLOGY: &str = "\
clouds:
  - name: A
    subnet: 10.0.4.0/24
    hosts: [{ name: networkd, address: 10.0.4.7, network: networkd }]
  - name: B
    subnet: 172.21.0.0/20
    hosts: [{ name: netplan, address: 172.21.3.4, network: netplan }]
  - name: C
    subnet: 10.0.4.0/24
    hosts: [{ name: ifupdown, address: 10.0.4.7, network: ifupdown }]
  - name: D
    subnet: 192.168.7.0/24
    hosts: [{ name: manager, address: 192.168.7.20, network: network-manager }]
";

/// A host, a command that succeeds where its stack is in charge of the card, and what an administrator does with it.
const STACKS: [(&str, &str, &[&str]); 4] = [
    (
        "networkd",
        "networkctl status eth0 | grep -q 'routable (configured)'",
        &["systemctl restart systemd-networkd", "networkctl reload", "networkctl reconfigure eth0"],
    ),
    (
        "netplan",
        "networkctl status eth0 | grep -q '/run/systemd/network/.*netplan-eth0.network'",
        // What `netplan apply` does; itself it wants to trigger udev, which a lab host's read-only /sys forbids.
        &[
            "netplan generate && networkctl reload && networkctl reconfigure eth0",
            "systemctl restart systemd-networkd",
        ],
    ),
    (
        "ifupdown",
        "ifquery --state eth0",
        &["systemctl restart networking", "ifdown eth0 && ifup eth0"],
    ),
    (
        "manager",
        "nmcli -g GENERAL.STATE device show eth0 | grep -q '(connected)'",
        &[
            "systemctl restart NetworkManager",
            "nmcli connection reload && nmcli device reapply eth0",
            "nmcli networking off; nmcli networking on",
        ],
    ),
];

/// Every file that a stack of theirs is configured by; ours are named `kubewan`, and the package ethtool, which
/// Kubernetes wants, brings hooks for ifupdown.
const FILES: &str = "find /etc/systemd/network /etc/netplan /etc/network /etc/NetworkManager -type f \
                     ! -name '*kubewan*' ! -name ethtool -exec sha256sum {} + 2>/dev/null | sort -k2";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn the_address_survives_under_every_network_stack() {
    let stage = stage();
    let files = || STACKS.map(|(host, ..)| stage.on(host, &format!("{FILES} || true")));
    let before = files();
    for (host, in_charge, _) in STACKS {
        awaits(&stage, host, in_charge);
    }
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    for (host, in_charge, restarts) in STACKS {
        is_there(&stage, host, "the run");
        for restart in restarts {
            stage.on(host, restart);
            is_there(&stage, host, restart);
            awaits(&stage, host, in_charge);
        }
    }
    assert_eq!(files(), before, "their files are theirs");
    a_lost_file_is_read_again(&stage);
    for (host, in_charge, restarts) in STACKS {
        stage.lab.reboot(host, &mut |_| {}).expect("a reboot");
        is_there(&stage, host, "a reboot");
        // Once more: what a stack remembers of the boot before is gone.
        stage.on(host, restarts[0]);
        is_there(&stage, host, restarts[0]);
        awaits(&stage, host, in_charge);
    }
    assert_eq!(stage.planned(), Vec::<String>::new(), "everything is as it was made");
    stage.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    assert_eq!(files(), before);
    for (host, in_charge, _) in STACKS {
        awaits(&stage, host, in_charge);
        stage.on(host, "! ip link show kubewan0 2>/dev/null");
    }
}

/// Someone takes NetworkManager's file away, and NetworkManager holds our interface for its own from its next start on.
fn a_lost_file_is_read_again(stage: &Stage) {
    let host = "manager";
    let held = "nmcli -g GENERAL.STATE device show kubewan0 | grep -qv unmanaged";
    let index = || stage.on(host, "cat /sys/class/net/kubewan0/ifindex");
    let before = index();
    stage.on(
        host,
        "rm /etc/NetworkManager/conf.d/99-kubewan.conf; systemctl restart NetworkManager",
    );
    awaits(stage, host, held);
    is_there(stage, host, "a lost file");
    stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    awaits(stage, host, &format!("! {{ {held}; }}"));
    assert_eq!(index(), before, "the interface is the same one");
    let off_and_on = "nmcli networking off; nmcli networking on";
    stage.on(host, off_and_on);
    is_there(stage, host, off_and_on);
}

fn stage() -> Stage {
    let claim = Claim::new().expect("a folder, and no lab that another story left");
    let topology = claim.dir().join("topology.yaml");
    std::fs::write(&topology, TOPOLOGY).expect("a file");
    let path = topology.to_string_lossy().into_owned();
    let dir = claim.lab_dir().to_string_lossy().into_owned();
    let kubernetes = Kubernetes::Rehearsal.flag();
    let name = lab_name();
    let up = ["lab", "up", "--name", &name, "--hosts-only", "--topology", &path, "--dir", &dir];
    run(&[&up[..], &["--kubernetes", kubernetes]].concat()).expect_code(0);
    Stage { claim, lab: Lab::open(&lab_name()).expect("the lab that was just made") }
}

/// Stacks come back in their own time.
fn awaits(stage: &Stage, host: &str, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !succeeds(stage, host, line) {
        let all = stage
            .on(host, "ip address; ip route; networkctl status eth0; systemctl --failed; true");
        assert!(Instant::now() < deadline, "{host}: `{line}` fails:\n{all}");
        sleep(Duration::from_millis(200));
    }
}

fn succeeds(stage: &Stage, host: &str, line: &str) -> bool {
    let output = stage.lab.exec(host, &["sh", "-c", line], &[]).expect("the host runs");
    output.status.success()
}

/// The public address on our interface, all the while; and soon the card's own on the card, and the way out.
fn is_there(stage: &Stage, host: &str, after: &str) {
    let facts = stage.lab.info().expect("the lab").hosts;
    let facts = facts.into_iter().find(|known| known.name == host).expect("the host");
    let ours = format!("ip -4 address show dev kubewan0 up | grep -q 'inet {}/32'", facts.address);
    assert!(succeeds(stage, host, &ours), "{host} after {after}: {}", stage.on(host, "ip address"));
    let theirs = format!(
        "ip -4 address show dev eth0 | grep -q 'inet {} ' && \
         ip route show default | grep -q 'dev eth0' && {ours}",
        facts.private
    );
    awaits(stage, host, &theirs);
}
