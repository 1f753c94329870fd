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

/// Of another key.
const FINGERPRINT: &str = "SHA256:aKIC+4oqGfF1tv3H13Tfo1Als/WUohgLlRwP7x0uPlw";

/// `ssh -G` says what becomes of a destination; only what is called unknown is not known.
const RESOLVES: &str = "\
for last; do :; done
case $1 in -G)
    printf 'user root\\nhostname 198.51.100.10\\nport 2222\\nuserknownhostsfile %s/known_hosts\\n' \"${0%/*}\"
    case $0 in *unknown-host-key*) ;; *) echo 'knownhostscommand true' ;; esac
    exit ;;
esac";

/// Name, what ssh does, settings of the host's `ssh:`.
const CASES: [(&str, &str, &str); 14] = [
    (
        "unknown-host-key",
        // It accepts the key into the file that it is given first.
        "file=${*#*UserKnownHostsFile=}; echo \"[198.51.100.10]:2222 $KEY\" > ${file%% *}; exit 255",
        "port: 2222",
    ),
    (
        "unknown-jump-host-key",
        // Through a ProxyCommand of the operator's, whose own ssh asks us.
        "q=\"The authenticity of host 'bastion (192.0.2.1)' can't be established.
ED25519 key fingerprint is SHA256:jw91HGO+docgLLeJr/KBUee/EHiHsPBBzFQs/s3vdGE.
Are you sure you want to continue connecting (yes/no/[fingerprint])? \"; $SSH_ASKPASS \"$q\"; echo never",
        "",
    ),
    (
        "revoked-host-key",
        "echo '@       WARNING: REVOKED HOST KEY DETECTED!               @
The ED25519 host key for 198.51.100.10 is marked as revoked.
Host key verification failed.' >&2; exit 255",
        "",
    ),
    (
        "other-than-fingerprint",
        "file=${*#*UserKnownHostsFile=}; echo \"kubewan-master01 $KEY\" > ${file%% *}; exit 255",
        "fingerprint",
    ),
    ("jump-host-asks", "$SSH_ASKPASS \"me@bastion's password: \"; echo never", ""),
    (
        "shell-prints-without-end",
        "yes 'Welcome! \u{1b}[31m'",
        "",
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
        let ssh = match ssh {
            "hostKey" => format!("hostKey: \"{HOST_KEY}\""),
            "fingerprint" => format!("hostKey: \"{FINGERPRINT}\""),
            settings => settings.into(),
        };
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join(name);
        fs::create_dir(&programs).unwrap();
        let program = programs.join("ssh");
        fs::write(&program, format!("#!/bin/sh\nKEY='{HOST_KEY}'\n{RESOLVES}\n{script}\n"))
            .unwrap();
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
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("LC_ALL", "C")
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
