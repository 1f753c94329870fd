//! Hosts that can't be reached: the whole of standard error, as an operator sees it. `ssh` is a script here that says
//! what OpenSSH 9.2p1 of Debian 12 said; the lab's tests meet the real one.
//!
//! `UPDATE_GOLDENS=1 cargo test -p kubewan` writes the goldens anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Offending ED25519 key in /root/.ssh/known_hosts:3
Host key for 198.51.100.10 has changed and you have requested strict checking.
Host key verification failed.";

const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF4pPfy1XfhKYyOa7sAnGYWdJF1cGyLLWVZSVd3kvI2Y";

/// Name, what ssh does, settings of the host's `ssh:`.
const CASES: [(&str, &str, &str); 9] = [
    (
        "unknown-host-key",
        "echo 'No ED25519 host key is known for 198.51.100.10 and you have requested strict checking.
Host key verification failed.' >&2; exit 255",
        "port: 2222",
    ),
    ("changed-host-key", "", ""),
    ("other-than-pinned", "", "hostKey"),
    (
        "wrong-key",
        "echo 'ubuntu@198.51.100.10: Permission denied (publickey,password).' >&2; exit 255",
        "user: ubuntu",
    ),
    (
        "refused",
        "echo 'ssh: connect to host 198.51.100.10 port 22: Connection refused' >&2; exit 255",
        "",
    ),
    (
        "no-answer",
        "echo 'ssh: connect to host 198.51.100.10 port 22: Connection timed out' >&2; exit 255",
        "",
    ),
    ("sudo-password", "echo 'sudo: a password is required' >&2; exit 1", "user: ubuntu"),
    (
        "another-architecture",
        // The last argument but the scripts' quoting holds the nonce behind this word.
        "echo banner; for last; do :; done; n=${last##*exec ?f agent serve }; echo kubewan-host ${n%?} Linux riscv64; sleep 5",
        "",
    ),
    ("banner-only", "echo 'This account is currently not available.'; exit 1", ""),
];

#[test]
fn every_obstacle_says_what_to_do_next() {
    let mut wrong = Vec::new();
    for (name, script, ssh) in CASES {
        let script = if script.is_empty() {
            format!("echo '{CHANGED}' >&2; exit 255")
        } else {
            script.into()
        };
        let ssh = if ssh == "hostKey" { format!("hostKey: \"{HOST_KEY}\"") } else { ssh.into() };
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ssh");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let inventory = format!(
            "name: home\nkubernetes: {{ version: \"1.36.2\" }}\nhosts:\n  - {{ name: master01, address: 198.51.100.10, \
             roles: [control-plane, worker], ssh: {{ {ssh} }} }}\n"
        );
        fs::write(folder.path().join("cluster.yaml"), inventory).unwrap();
        let path = std::env::var("PATH").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_kubewan"))
            .args(["kubeconfig"])
            .current_dir(folder.path())
            .env("PATH", format!("{}:{path}", folder.path().display()))
            .output()
            .unwrap();
        assert!(output.stdout.is_empty(), "{name}: only data goes to standard output");
        let beside =
            Path::new(env!("CARGO_BIN_EXE_kubewan")).parent().unwrap().display().to_string();
        let stderr = String::from_utf8(output.stderr).unwrap().replace(&beside, "BIN");
        let text = format!("exit {}\n{stderr}", output.status.code().unwrap());
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/{name}.txt"));
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&golden, &text).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
