//! `kubewan ssh` and `kubewan kubectl` by logins that are not root: with sudo, with a password for it, and without the right.

use std::io::Write;
use std::process::Stdio;

use super::desk::{Desk, Ended};
use crate::terminal::Watch;

const SUDOS: &str = "Sesame-for-sudo-by-hand";

/// Arguments that no shell on the way may touch.
const ODD: &str = "it's $HOME; `id` \"x\" \\n *";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn kubectl_runs_by_a_login_with_sudo() {
    let desk = Desk::new();
    desk.know(&["master01", "node01", "node02"]);
    desk.inventory(["user: root", "user: admin, port: 2222", "user: root"]);
    desk.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    make_users(&desk);

    // Without a password.
    login(&desk, "nils");
    assert_eq!(desk.kubewan(&["ssh", "master01", "id", "-un"]).stdout.trim(), "nils");
    let nodes = desk.kubewan(&["kubectl", "get", "nodes", "--no-headers"]);
    nodes.expect_code(0);
    assert_eq!(nodes.stdout.matches(" Ready ").count(), 3, "{}", nodes.stdout);
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: by-hand }\ndata: { a: b }\n";
    piped(&desk, &["kubectl", "create", "-f", "-"], manifest).expect_code(0);
    let patch = serde_json::json!({ "data": { "odd": ODD } }).to_string();
    let change = ["kubectl", "patch", "configmap", "by-hand", "--type", "merge", "-p", &patch];
    desk.kubewan(&change).expect_code(0);
    let read = ["kubectl", "get", "configmap", "by-hand", "-o", "jsonpath={.data.a}{.data.odd}"];
    assert_eq!(desk.kubewan(&read).stdout, format!("b{ODD}"));
    // The exit code is kubectl's own, and its words too.
    let missing = desk.kubewan(&["kubectl", "get", "configmap", "not-there"]);
    missing.expect_code(1);
    assert!(missing.stderr.contains("not found"), "{}", missing.stderr);
    desk.stage.on("master01", "test ! -e /root/.kube && test ! -e /home/nils/.kube");

    // With a password, which is asked on a terminal, and by sudo itself.
    login(&desk, "olga");
    let watch = Watch::begin(&[SUDOS]);
    let mut terminal = desk.terminal(&["kubectl", "get", "nodes", "--no-headers"]);
    terminal.await_words("password for olga:");
    terminal.type_line(SUDOS);
    let (code, shown) = terminal.end();
    assert_eq!((code, shown.matches(" Ready ").count()), (0, 3), "{shown}");
    assert!(!shown.contains(SUDOS), "{shown}");
    let seen = watch.end();
    assert!(seen.with_word.is_empty(), "{:?}", seen.with_word);
    let silent = desk.kubewan(&["kubectl", "get", "nodes"]);
    silent.expect_code(1);
    assert!(silent.stderr.contains("sudo: a terminal is required"), "{}", silent.stderr);
    assert_eq!(silent.stdout, "");

    // Who may not become root sees nothing of the cluster.
    login(&desk, "nora");
    let refused = desk.kubewan(&["kubectl", "get", "nodes"]);
    assert_ne!(refused.code, 0);
    assert_eq!(refused.stdout, "");
}

fn login(desk: &Desk, user: &str) {
    desk.inventory([&format!("user: {user}"), "user: admin, port: 2222", "user: root"]);
}

/// On the control plane, each with root's key: nils needs no password for sudo, olga does, and sudo does not know nora.
fn make_users(desk: &Desk) {
    for user in ["nils", "olga", "nora"] {
        desk.stage.on(
            "master01",
            &format!(
                "useradd --create-home --shell /bin/bash {user} && \
                 install -d -m 700 -o {user} -g {user} /home/{user}/.ssh && \
                 install -m 600 -o {user} -g {user} /root/.ssh/authorized_keys /home/{user}/.ssh/"
            ),
        );
    }
    desk.stage.on("master01", "echo 'nils ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/nils");
    desk.stage.on("master01", "usermod -a -G sudo olga");
    let line = format!("olga:{SUDOS}\n");
    let set = desk.stage.lab.exec("master01", &["chpasswd"], line.as_bytes()).unwrap();
    assert!(set.status.success(), "{set:?}");
}

/// The program with this on its standard input.
fn piped(desk: &Desk, arguments: &[&str], input: &str) -> Ended {
    let mut command = desk.command(arguments);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
