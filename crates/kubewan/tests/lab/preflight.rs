//! Hosts that can be built on, and should not be: each reason is named with its host and how much it matters, and nothing
//! is changed. What may be lived with can be accepted.

use serde_json::Value;

use crate::support::looks::{LOGINS, allow, differences, looks};
use crate::support::{HOSTS, Kubernetes, Said, Stage, lab_name};

/// Findings that this story is about; others tell of the machine that the lab runs on.
const CODES: [&str; 4] =
    ["hostname-unresolvable", "identity-not-unique", "subnet-collision", "swap-returns"];

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn what_speaks_against_a_host_is_named_and_nothing_is_changed() {
    let stage = Stage::hosts_only(Kubernetes::Rehearsal);
    let said = stage.kubewan(&["plan", "-o", "json"]);
    said.expect_code(0);
    assert!(findings(&said).is_empty(), "{}", said.stdout);
    let uuids = turned(&stage);

    let before = looks(&stage);
    let said = stage.kubewan(&["plan", "-o", "json"]);
    said.expect_code(3);
    let mut expected = vec![
        "warning hostname-unresolvable master01: its own name master01 does not resolve",
        "error swap-returns node01: swapfile.swap brings swap back at boot",
        "error identity-not-unique node02: has the machine-id of node01",
        "error subnet-collision node02: network.podSubnet 10.244.0.0/16 overlaps the route to 10.244.7.0/24",
        "error subnet-collision node02: network.serviceSubnet 10.96.0.0/12 overlaps the name server 10.96.0.53",
    ];
    if uuids {
        expected.push("error identity-not-unique node02: has the product_uuid of master01");
    }
    same(&findings(&said), &expected);
    untouched(&stage, &before);

    // Some of it nobody can live with.
    let inventory = std::fs::read_to_string(stage.inventory()).unwrap();
    accept(&stage, &inventory, "[swap-returns, subnet-collision]");
    let said = stage.kubewan(&["plan"]);
    said.expect_code(3);
    let words = "the host would lose what it reaches there: choose another subnet";
    assert!(said.stderr.contains(words), "{}", said.stderr);

    mended(&stage);
    let before = looks(&stage);
    std::fs::write(stage.inventory(), &inventory).unwrap();
    let said = stage.kubewan(&["plan", "-o", "json"]);
    said.expect_code(3);
    let mut expected = expected[..2].to_vec();
    same(&findings(&said), &expected);
    accept(&stage, &inventory, "[swap-returns]");
    let said = stage.kubewan(&["plan", "-o", "json"]);
    said.expect_code(0);
    expected[1] = "warning swap-returns node01: swapfile.swap brings swap back at boot";
    same(&findings(&said), &expected);
    untouched(&stage, &before);
}

/// Somebody's hosts, as they come. Answers whether hosts have a product_uuid here.
fn turned(stage: &Stage) -> bool {
    stage.on("master01", "sed -i '/^127.0.1.1/d' /etc/hosts");
    stage.on(
        "node01",
        "printf '[Swap]\\nWhat=/swapfile\\n[Install]\\nWantedBy=swap.target\\n' > /etc/systemd/system/swapfile.swap && \
         systemctl -q enable swapfile.swap",
    );
    let id = stage.on("node01", "cat /etc/machine-id");
    stage.on(
        "node02",
        &format!(
            "cp -p /etc/machine-id /etc/resolv.conf /root/ && echo {} > /etc/machine-id && \
             echo nameserver 10.96.0.53 >> /etc/resolv.conf && \
             ip route add 10.244.7.0/24 dev $(ip -o -4 route show default | sed 's/.* dev //; s/ .*//')",
            id.trim()
        ),
    );
    let uuid = stage.on("master01", "cat /sys/class/dmi/id/product_uuid 2> /dev/null || echo none");
    if uuid.trim() == "none" {
        return false;
    }
    stage.on(
        "node02",
        &format!(
            "echo {} > /root/uuid && mount --bind /root/uuid /sys/class/dmi/id/product_uuid",
            uuid.trim()
        ),
    );
    true
}

/// What nobody can live with is taken back.
fn mended(stage: &Stage) {
    stage.on(
        "node02",
        "cp -p /root/machine-id /root/resolv.conf /etc/ && ip route del 10.244.7.0/24 && \
         if [ -e /root/uuid ]; then umount /sys/class/dmi/id/product_uuid; fi",
    );
}

/// Of the findings those that this story is about: `severity code host: message`.
fn findings(said: &Said) -> Vec<String> {
    let answer: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let all = answer["findings"].as_array().expect("findings").iter();
    let ours = all.filter(|finding| CODES.iter().any(|code| finding["code"] == *code));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let line = |finding| {
        let [severity, code, host, message] =
            ["severity", "code", "host", "message"].map(|key| text(finding, key));
        format!("{severity} {code} {host}: {message}")
    };
    ours.map(line).collect()
}

/// Each finding begins as one of these does, and each of these is found once.
fn same(found: &[String], expected: &[&str]) {
    let count = |words: &&str| found.iter().filter(|line| line.starts_with(*words)).count();
    let all = found.len() == expected.len() && expected.iter().all(|words| count(words) == 1);
    assert!(all, "found:\n{}\nexpected:\n{}", found.join("\n"), expected.join("\n"));
}

fn accept(stage: &Stage, inventory: &str, codes: &str) {
    let name = format!("name: {}\n", lab_name());
    let accepting = inventory.replacen(&name, &format!("{name}accept: {codes}\n"), 1);
    assert_ne!(accepting, inventory);
    std::fs::write(stage.inventory(), accepting).unwrap();
}

/// Not a byte of any host differs, but for what a login leaves and the agent that looks.
fn untouched(stage: &Stage, before: &[kubewan_lab::HostSnapshot]) {
    let agent = [
        allow("file /var/lib/kubewan", "the agent's folder, which a reset removes"),
        allow("file /var/lib/kubewan/agent**", "the agent, which a reset removes"),
    ];
    let found = differences(HOSTS, before, &looks(stage), &[LOGINS, &agent].concat());
    assert!(found.is_empty(), "{found}");
}
