//! Providers filter outside the machine. What they close is named before anything is installed.

use std::time::Instant;

use crate::support::{Kubernetes, Said, Stage, lab_name};

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn closed_ports_are_named_before_anything_is_changed() {
    let stage = Stage::hosts_only(Kubernetes::Rehearsal);
    let hosts = stage.lab.info().unwrap().hosts;
    let [master01, node01, node02] = [0, 1, 2].map(|index| hosts[index].address.to_string());
    stage.lab.close("master01", &["6443/tcp"]).unwrap();
    stage.lab.close("node01", &["10250/tcp", "8472/udp"]).unwrap();

    let said = stage.kubewan(&["up", "--yes"]);
    said.expect_code(3);
    let silent = "no answer within 3 s";
    let must = [
        format!(
            "error[port-closed]: master01: 6443/tcp at {master01} can't be reached from node01, node02: {silent}"
        ),
        format!("let 6443/tcp in from {node01}, {node02} at the provider of master01"),
        format!(
            "warning[port-closed]: master01: 6443/tcp at {master01} can't be reached from this machine"
        ),
        format!(
            "error[port-closed]: node01: 10250/tcp at {node01} can't be reached from master01: {silent}"
        ),
        // Only pods that gather metrics need it.
        format!(
            "warning[port-closed]: node01: 10250/tcp at {node01} can't be reached from node02: {silent}"
        ),
        format!(
            "error[port-closed]: node01: 8472/udp at {node01} can't be reached from master01, node02: {silent}"
        ),
    ];
    for words in &must {
        assert!(said.stderr.contains(words), "no `{words}` in:\n{}", said.stderr);
    }
    assert_eq!(said.stderr.matches("[port-closed]: ").count(), 5, "{}", said.stderr);
    for host in ["master01", "node01", "node02"] {
        stage.on(host, "test ! -e /etc/containerd && test ! -e /var/lib/kubewan/journal.jsonl");
        let listening =
            stage.on(host, "ss -Hltun '( sport = :6443 or sport = :10250 or sport = :8472 )'");
        assert_eq!(listening, "", "{host} still answers");
    }

    // Whoever knows better says so, and is told what it means.
    let inventory = std::fs::read_to_string(stage.inventory()).unwrap();
    let name = format!("name: {}\n", lab_name());
    let accepting = inventory.replacen(&name, &format!("{name}accept: [port-closed]\n"), 1);
    std::fs::write(stage.inventory(), accepting).unwrap();
    let plan = stage.kubewan(&["plan"]);
    plan.expect_code(0);
    let accepted = format!(
        "warning[port-closed]: master01: 6443/tcp at {master01} can't be reached from node01"
    );
    assert!(plan.stderr.contains(&accepted), "{}", plan.stderr);
    std::fs::write(stage.inventory(), inventory).unwrap();

    stage.lab.close("master01", &[]).unwrap();
    stage.lab.close("node01", &[]).unwrap();
    let plan = stage.kubewan(&["plan"]);
    assert!(!mentions(plan.expect_code(0)), "{}", plan.stderr);

    behind_a_firewall_of_its_own(&stage, [&master01, &node01, &node02]);
}

/// The same where the host itself drops what a run will let in: nobody can answer there, so it is looked who comes.
fn behind_a_firewall_of_its_own(stage: &Stage, [master01, node01, node02]: [&str; 3]) {
    let name = format!("name: {}\n", lab_name());
    let inventory = std::fs::read_to_string(stage.inventory()).unwrap();
    let opening = inventory.replacen(&name, &format!("{name}firewall: open\n"), 1);
    std::fs::write(stage.inventory(), opening).unwrap();
    stage.on("master01", "ufw allow 22/tcp && ufw --force enable");
    // Somebody's own word on a port is theirs to take back.
    stage.on("master01", "ufw limit 6443/tcp");
    let refused = stage.kubewan(&["plan"]);
    let rule =
        "error[firewall-rule-against]: master01: somebody's own rule in ufw, `limit 6443/tcp`";
    assert!(refused.stderr.contains(rule), "no `{rule}`:\n{}", refused.stderr);
    stage.on("master01", "ufw status | grep -q '6443/tcp *LIMIT' && ufw delete limit 6443/tcp");
    let begin = Instant::now();
    let plan = stage.kubewan(&["plan"]);
    eprintln!("a plan with ufw active on a host took {:.1} s", begin.elapsed().as_secs_f32());
    assert!(!mentions(plan.expect_code(0)), "{}", plan.stderr);

    stage.lab.close("master01", &["6443/tcp"]).unwrap();
    let said = stage.kubewan(&["up", "--yes"]);
    said.expect_code(3);
    let silent = "no packet came as far as its own firewall";
    let must = [
        format!(
            "error[port-closed]: master01: 6443/tcp at {master01} can't be reached from node01, node02: {silent}"
        ),
        format!("let 6443/tcp in from {node01}, {node02} at the provider of master01"),
        format!(
            "warning[port-closed]: master01: 6443/tcp at {master01} can't be reached from this machine: {silent}"
        ),
    ];
    for words in &must {
        assert!(said.stderr.contains(words), "no `{words}` in:\n{}", said.stderr);
    }
    assert_eq!(said.stderr.matches("[port-closed]: ").count(), 2, "{}", said.stderr);
    for host in ["master01", "node01", "node02"] {
        stage.on(host, "test ! -e /etc/containerd && test ! -e /var/lib/kubewan/journal.jsonl");
    }
    let rules = stage.on("master01", "ufw status");
    assert!(!rules.contains("6443"), "the firewall was opened: {rules}");

    // A host that shows nobody such packets, as many containers don't: sshd's children may have no socket for them.
    stage.on(
        "master01",
        "mkdir -p /run/systemd/system/ssh.service.d && \
         printf '[Service]\\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\\n' \
         > /run/systemd/system/ssh.service.d/deaf.conf && systemctl daemon-reload && systemctl restart ssh.service",
    );
    let plan = stage.kubewan(&["plan"]);
    plan.expect_code(0);
    let untried = "warning[port-untried]: master01: nobody tried whether 6443/tcp, ";
    assert!(plan.stderr.contains(untried) && !mentions(&plan), "{}", plan.stderr);
}

fn mentions(said: &Said) -> bool {
    said.stderr.contains("port-closed")
}
