//! One cluster on different systems; and a system whose own containerd is too old is refused before anything is done.

use kubewan_lab::{Claim, Lab};

use crate::support::{Stage, lab_name, run};

const TOPOLOGY: &str = "\
clouds:
  - name: A
    subnet: 10.0.4.0/24
    hosts: [{ name: thirteen, address: 10.0.4.7, distribution: debian-13 }]
  - name: B
    subnet: 172.21.0.0/20
    hairpin: true
    hosts: [{ name: twelve, user: admin, sshPort: 2222, distribution: debian-12 }]
  - name: C
    subnet: 10.0.4.0/24
    hosts: [{ name: eleven, address: 10.0.4.7, distribution: debian-11 }]
";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn one_cluster_on_different_systems() {
    let claim = Claim::new().expect("a folder, and no lab that another story left");
    let topology = claim.dir().join("topology.yaml");
    std::fs::write(&topology, TOPOLOGY).expect("a file");
    let path = topology.to_string_lossy().into_owned();
    let dir = claim.lab_dir().to_string_lossy().into_owned();
    let name = lab_name();
    let up = ["lab", "up", "--name", &name, "--hosts-only", "--topology", &path, "--dir", &dir];
    run(&[&up[..], &["--kubernetes", "rehearsal"]].concat()).expect_code(0);
    let stage = Stage { claim, lab: Lab::open(&lab_name()).expect("the lab that was just made") };
    for (host, version) in [("thirteen", "13"), ("twelve", "12"), ("eleven", "11")] {
        let seen = stage.on(host, ". /etc/os-release; echo $ID-$VERSION_ID");
        assert_eq!(seen.trim(), format!("debian-{version}"));
    }

    let refused = stage.kubewan(&["up", "--yes"]);
    refused.expect_code(3);
    let reason = "error[containerd-too-old]: eleven: ";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    assert_eq!(refused.stderr.matches("error[").count(), 1, "{}", refused.stderr);
    stage.on("thirteen", "test ! -e /etc/containerd && test ! -e /var/lib/kubewan/journal.jsonl");

    let inventory = std::fs::read_to_string(stage.inventory()).unwrap();
    let (without, _) = inventory.split_once("  # cloud C:").expect("the third host");
    std::fs::write(stage.inventory(), without).unwrap();
    stage.kubewan(&["up", "--yes"]).expect_code(0);
    assert_eq!(stage.planned(), Vec::<String>::new());
    stage.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    for host in ["thirteen", "twelve"] {
        stage.on(host, "test ! -e /etc/kubernetes && ! ip link show kubewan0 2>/dev/null");
    }
}
