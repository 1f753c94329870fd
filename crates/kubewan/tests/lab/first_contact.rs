//! Hosts that nobody has seen yet: whose keys are right, what is asked and what never is, logins that need a password,
//! jump hosts, and hosts that are odd in themselves. Each works, or ends clearly with no byte changed anywhere.

mod by_hand;
mod desk;

use std::fs;

use kubewan_core::inventory::host_key;
use kubewan_lab::LabHost;

use crate::support::golden;
use crate::terminal::Watch;
use desk::{Desk, fingerprint};

/// Nothing else has these.
const JUMPS: &str = "Sesame-for-the-jump-host";
const LOGINS: &str = "Sesame-for-login-and-sudo";
/// What a key is locked with: an argument, which the watch of a story beside this one would see.
const KEYS: &str = "Passphrase-of-a-key";

/// How the lab's inventory logs in.
const USUAL: [&str; 3] = ["user: root", "user: admin, port: 2222", "user: root"];

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn host_keys_are_shown_at_once_and_only_a_person_trusts_them() {
    let desk = Desk::new();
    // A server has several keys; the inventory may pin one that it does not show by itself.
    let make_rsa = "ssh-keygen -q -t rsa -N '' -f /etc/ssh/ssh_host_rsa_key && systemctl restart ssh && \
                    cat /etc/ssh/ssh_host_rsa_key.pub";
    let rsa = desk.stage.on("master01", make_rsa);
    let rsa = host_key::parse(&rsa).unwrap().fingerprint();
    desk.inventory(USUAL);
    let before = desk.look();

    let said = desk.kubewan(&["up", "--yes"]);
    golden("lab-unknown-host-keys", &desk.said(said.code, &said.stderr));
    said.expect_code(4);
    assert!(!desk.known_hosts().exists());

    // `--yes` is about the plan.
    let mut terminal = desk.terminal(&["up", "--yes"]);
    terminal.await_words("Only 'yes' is accepted: ");
    terminal.type_line("y");
    let (code, shown) = terminal.end();
    golden("lab-host-keys-not-trusted", &desk.said(code, &shown));
    assert_eq!(code, 5);
    assert!(!desk.known_hosts().exists());

    // One is new, one has changed, one is withdrawn: nobody is asked to trust anything.
    let [_, node01, node02] = &desk.hosts[..] else { panic!("three hosts") };
    let known = format!(
        "{}@revoked {}",
        desk.line(node01, &node02.host_key),
        desk.line(node02, &node02.host_key)
    );
    fs::write(desk.known_hosts(), &known).unwrap();
    let (code, shown) = desk.terminal(&["up", "--yes"]).end();
    golden("lab-changed-and-revoked-host-keys", &desk.said(code, &shown));
    assert_eq!(code, 4);
    assert_eq!(fs::read_to_string(desk.known_hosts()).unwrap(), known);
    fs::remove_file(desk.known_hosts()).unwrap();

    // A fingerprint of another key.
    let other = format!("user: root, hostKey: \"{}\"", fingerprint(node01));
    desk.inventory([&other, USUAL[1], USUAL[2]]);
    desk.know(&["node01", "node02"]);
    let said = desk.kubewan(&["up", "--yes"]);
    let text =
        desk.said(said.code, &said.stderr).replace(&rsa, "SHA256:FINGERPRINT-OF-ITS-RSA-KEY");
    golden("lab-other-than-fingerprint", &text);
    said.expect_code(4);
    desk.unchanged_since(&before);
    fs::remove_file(desk.known_hosts()).unwrap();

    // The right ones: no question, and nothing to keep.
    let pin = |login: &str, fingerprint: &str| format!("{login}, hostKey: \"{fingerprint}\"");
    let pinned = [
        pin(USUAL[0], &rsa),
        pin(USUAL[1], &fingerprint(node01)),
        pin(USUAL[2], &fingerprint(node02)),
    ];
    desk.inventory([&pinned[0], &pinned[1], &pinned[2]]);
    desk.kubewan(&["plan"]).expect_code(0);
    assert!(!desk.known_hosts().exists());

    // Trusted once, and for good.
    desk.inventory(USUAL);
    let mut terminal = desk.terminal(&["plan"]);
    let question = terminal.await_words("Only 'yes' is accepted: ");
    for host in &desk.hosts {
        assert!(question.contains(&fingerprint(host)), "{question}");
    }
    terminal.type_line("yes");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(shown.matches("Only 'yes' is accepted").count(), 1, "{shown}");
    let kept = fs::read_to_string(desk.known_hosts()).unwrap();
    assert_eq!(kept.lines().count(), 3, "{kept}");
    desk.kubewan(&["plan"]).expect_code(0);

    // A key with a passphrase, and no agent: it is asked for once, whatever number of hosts takes the key.
    let locked = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", KEYS, "-f"])
        .arg(desk.folder().join("id_ed25519"))
        .status();
    assert!(locked.unwrap().success());
    desk.kubewan(&["plan"]).expect_code(4);
    let mut terminal = desk.terminal(&["plan"]);
    terminal.await_words("passphrase of the key ");
    terminal.await_words(": ");
    terminal.type_line(KEYS);
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(shown.matches("passphrase").count(), 1, "{shown}");
    assert!(!shown.contains(KEYS), "{shown}");
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn a_cluster_is_built_with_passwords_through_a_jump_host() {
    let desk = Desk::new();
    make_users(&desk);
    let gate = desk.hosts[0].address;
    let behind = desk.hosts[2].address;
    desk.configure(&format!(
        "Host gate\n  HostName {gate}\nHost behind\n  HostName {behind}\n  ProxyJump olga@gate\n"
    ));
    desk.inventory(["user: root", "user: olga, port: 2222", "host: behind, user: olga"]);
    desk.know(&["master01", "node01", "node02"]);
    let before = desk.look();
    let watch = Watch::begin(&[JUMPS, LOGINS]);

    // No terminal: both passwords are named.
    let said = desk.kubewan(&["up", "--yes"]);
    golden("lab-passwords-without-a-terminal", &desk.said(said.code, &said.stderr));
    said.expect_code(4);

    // sudo's password, three times wrong.
    let wrong = ["one", "two", "three"];
    refused(&desk, "password for sudo of olga@", &wrong, "lab-wrong-sudo-password");

    // The operator breaks off, and the terminal shows again what is typed.
    let mut terminal = desk.terminal(&["plan"]);
    terminal.await_words("password for sudo of olga@");
    terminal.await_words(": ");
    terminal.type_keys("Sesam\u{3}");
    let (code, shown) = terminal.end();
    golden("lab-broke-off", &desk.said(code, &shown));
    assert_eq!(code, 4);
    people_who_may_not(&desk);
    desk.unchanged_since(&before);

    // From the very first contact to a cluster, on node02 by a server that asks by way of PAM only.
    let asks = "PasswordAuthentication no\\nKbdInteractiveAuthentication yes\\nUsePAM yes\\n";
    desk.stage.on(
        "node02",
        &format!("printf '{asks}' > /etc/ssh/sshd_config.d/10-pam.conf && systemctl reload ssh"),
    );
    fs::remove_file(desk.known_hosts()).unwrap();
    let mut terminal = desk.terminal(&["up", "--yes", "--no-smoke", "-o", "json"]);
    let question = terminal.await_words("Only 'yes' is accepted: ");
    assert!(question.contains("jump host olga@gate"), "{question}");
    terminal.type_line("yes");
    terminal.await_words("on the way to node02: password of olga@");
    terminal.await_words(": ");
    terminal.type_line(JUMPS);
    let question = terminal.await_words("Trust these 2 keys");
    assert!(question.contains("node01") && question.contains("node02"), "{question}");
    terminal.await_words("Only 'yes' is accepted: ");
    terminal.type_line("yes");
    terminal.await_words("node01: password for sudo of olga@");
    terminal.type_line("wrong");
    terminal.await_words("that was wrong, again: ");
    terminal.type_line(LOGINS);
    terminal.await_words("node02: password of olga@behind (Enter: as for node01): ");
    terminal.type_line("");
    // The link is lost in the middle, and nobody is asked again.
    terminal.await_words("\"event\":\"phase-started\"");
    for node in ["node01", "node02"] {
        desk.stage.lab.cut(node).unwrap();
    }
    let lost = ["node01", "node02"].map(|_| terminal.await_words("\"up\":false"));
    for node in ["node01", "node02"] {
        assert!(lost.iter().any(|text| text.contains(node)), "{lost:?}");
        desk.stage.lab.heal(node).unwrap();
    }
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.matches("\"up\":true").count() >= 2, "{shown}");
    assert_eq!(shown.matches("password").count(), 4, "{shown}");
    assert!(!shown.contains(JUMPS) && !shown.contains(LOGINS), "{shown}");
    let nodes = desk.stage.kubectl("get nodes --no-headers");
    assert_eq!(nodes.lines().filter(|line| line.contains(" Ready ")).count(), 3, "{nodes}");

    let seen = watch.end();
    eprintln!("{} looks at processes", seen.looks);
    assert!(seen.with_word.is_empty(), "{:?}", seen.with_word);
    for program in ["ssh", "sudo", "sshd"] {
        let met = seen.programs.iter().any(|name| name.starts_with(program));
        assert!(met, "{program} was not looked at: {:?}", seen.programs);
    }
    nothing_kept(&desk);
}

/// A plan that asks this for each of the words, and ends without a host.
fn refused(desk: &Desk, question: &str, words: &[&str], name: &str) {
    let mut terminal = desk.terminal(&["plan"]);
    for word in words {
        terminal.await_words(question);
        terminal.await_words(": ");
        terminal.type_line(word);
    }
    let (code, shown) = terminal.end();
    golden(name, &desk.said(code, &shown));
    assert_eq!(code, 4);
}

/// A login whose password is wrong three times, and one that sudo does not know.
fn people_who_may_not(desk: &Desk) {
    desk.inventory(["user: root", "user: admin, port: 2222", "user: olga"]);
    let wrong = ["one", "two", "three"];
    refused(desk, "password of olga@", &wrong, "lab-wrong-login-password");

    desk.inventory(["user: root", "user: admin, port: 2222", "user: nora"]);
    refused(desk, "password for sudo of nora@", &[LOGINS], "lab-not-in-sudoers");
    desk.inventory(["user: root", "user: olga, port: 2222", "host: behind, user: olga"]);
}

/// olga is on every host: behind a password on the jump host, with a key and a password for sudo on node01, with a
/// password for both on node02. nora is on node02 with a key, and sudo does not know her.
fn make_users(desk: &Desk) {
    for (host, password) in [("master01", JUMPS), ("node01", LOGINS), ("node02", LOGINS)] {
        desk.stage.on(host, "useradd --create-home --shell /bin/bash olga");
        let line = format!("olga:{password}\n");
        let set = desk.stage.lab.exec(host, &["chpasswd"], line.as_bytes()).unwrap();
        assert!(set.status.success(), "{set:?}");
        if host != "master01" {
            desk.stage.on(host, "usermod -a -G sudo olga");
        }
    }
    let keys = |host: &str, user: &str, from: &str| {
        desk.stage.on(
            host,
            &format!(
                "install -d -m 700 -o {user} -g {user} /home/{user}/.ssh && \
                 install -m 600 -o {user} -g {user} {from}/.ssh/authorized_keys /home/{user}/.ssh/"
            ),
        );
    };
    keys("node01", "olga", "/home/admin");
    let line = format!("nora:{LOGINS}\n");
    desk.stage.on("node02", "useradd --create-home --shell /bin/bash nora");
    let set = desk.stage.lab.exec("node02", &["chpasswd"], line.as_bytes()).unwrap();
    assert!(set.status.success(), "{set:?}");
    keys("node02", "nora", "/root");
}

/// The passwords are in no file, neither here nor on a host; a look that finds nothing anywhere shows nothing.
fn nothing_kept(desk: &Desk) {
    let planted = desk.folder().join("planted");
    fs::write(&planted, JUMPS).unwrap();
    let here = std::process::Command::new("grep")
        .args(["-rlsF", "-e", JUMPS, "-e", LOGINS, "--exclude-dir=target"])
        .arg(desk.folder())
        .args(["/root/.ssh", "/dev/shm"])
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&here.stdout).into_owned();
    assert_eq!(found.trim(), planted.display().to_string());
    for host in &desk.hosts {
        desk.stage.on(&host.name, &format!("echo {LOGINS} > /var/tmp/planted"));
        let look = format!(
            "grep -rlsIF -e {JUMPS} -e {LOGINS} /etc /home /root /run /tmp /var; journalctl -q --no-pager | grep -F -e {JUMPS} \
             -e {LOGINS} | grep -v planted; true"
        );
        assert_eq!(desk.stage.on(&host.name, &look).trim(), "/var/tmp/planted", "{}", host.name);
    }
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn odd_hosts_work_or_end_clearly() {
    let desk = Desk::new();
    let on = |host: &str, line: &str| desk.stage.on(host, line);
    desk.know(&["master01", "node01", "node02"]);
    desk.inventory(USUAL);
    let end = |name: &str| {
        let before = desk.look();
        let said = desk.kubewan(&["up", "--yes"]);
        golden(name, &desk.said(said.code, &said.stderr));
        desk.unchanged_since(&before);
        said
    };

    // Shells that don't come to what they were given.
    on("master01", "cp /root/.bashrc /root/bashrc; printf 'exit 1\\n' > /root/.bashrc");
    on(
        "node01",
        "cp /home/admin/.bashrc /home/admin/bashrc; printf 'yes Welcome\\n' > /home/admin/.bashrc",
    );
    on("node02", "cp /root/.bashrc /root/bashrc; printf 'exec cat\\n' > /root/.bashrc");
    end("lab-broken-shells").expect_code(4);
    on("master01", "mv /root/bashrc /root/.bashrc");
    on("node01", "mv /home/admin/bashrc /home/admin/.bashrc");
    on("node02", "mv /root/bashrc /root/.bashrc");

    // Another architecture.
    let uname = "#!/bin/sh\ncase $1 in -m) echo riscv64 ;; *) exec /bin/uname $1 ;; esac\n";
    let put = ["sh", "-c", "cat > /usr/local/sbin/uname && chmod 755 /usr/local/sbin/uname"];
    desk.stage.lab.exec("node02", &put, uname.as_bytes()).unwrap();
    end("lab-another-architecture").expect_code(4);
    on("node02", "rm /usr/local/sbin/uname");

    // sudo that is not there, or wants a terminal.
    on("node01", "mv /usr/bin/sudo /usr/bin/sudo.away");
    end("lab-no-sudo").expect_code(4);
    on(
        "node01",
        "mv /usr/bin/sudo.away /usr/bin/sudo; echo 'Defaults:admin requiretty' > /etc/sudoers.d/tty",
    );
    end("lab-sudo-wants-a-terminal").expect_code(4);
    on("node01", "rm /etc/sudoers.d/tty");

    // Nowhere to put the agent, or to run it from. The first host, which could have it, is sent it.
    on("node01", "mount --bind /var /var && mount -o remount,bind,noexec /var");
    on("node02", "mkdir /var/lib/kubewan && mount -t tmpfs -o size=1m tmpfs /var/lib/kubewan");
    let said = desk.kubewan(&["up", "--yes"]);
    golden("lab-noexec-and-full-disk", &desk.said(said.code, &said.stderr));
    said.expect_code(4);
    // What the remedy says of packages is so.
    on(
        "node01",
        "mkdir -p /root/small/DEBIAN && cd /root/small/DEBIAN && \
         printf 'Package: small\\nVersion: 1\\nArchitecture: all\\nMaintainer: a\\nDescription: b\\n' > control && \
         printf '#!/bin/sh\\nexit 0\\n' > preinst && chmod 755 preinst && \
         dpkg-deb --build /root/small /root/small.deb && ! dpkg -i /root/small.deb > /root/said 2>&1 && \
         grep -q 'Permission denied' /root/said && rm -r /root/small /root/small.deb /root/said",
    );
    for host in ["node01", "node02"] {
        assert_eq!(on(host, "ls -A /var/lib/kubewan 2>/dev/null || true"), "", "{host}");
    }
    on("node01", "umount /var");
    on("node02", "umount /var/lib/kubewan; mount -t tmpfs -o ro tmpfs /var/lib/kubewan");
    let said = desk.kubewan(&["up", "--yes"]);
    golden("lab-read-only-disk", &desk.said(said.code, &said.stderr));
    said.expect_code(4);
    on("node02", "umount /var/lib/kubewan");

    // It is seen before anything is changed.
    on("node02", "mount --bind /etc /etc && mount -o remount,bind,ro /etc");
    let said = desk.kubewan(&["up", "--yes"]);
    said.expect_code(3);
    assert_eq!(said.stderr.matches("error[").count(), 1, "{}", said.stderr);
    assert!(
        said.stderr.contains("error[read-only]: node02: /etc is to be written to"),
        "{}",
        said.stderr
    );
    for host in &desk.hosts {
        on(&host.name, "test ! -e /var/lib/kubewan/journal.jsonl && test ! -e /etc/containerd");
    }
    on("node02", "umount /etc");

    shells_that_come_to_it(&desk);
}

/// Each prints, which `true` on the host shows, and each comes to what it was given.
fn shells_that_come_to_it(desk: &Desk) {
    let on = |host: &str, line: &str| desk.stage.on(host, line);
    // Before the line that ends for whoever is not at a terminal.
    on(
        "node01",
        "sed -i '1i echo Welcome to node01; echo warned >&2; printf no-newline' /home/admin/.bashrc",
    );
    give_shell(desk, "node02", "fish", &["/usr/share/fish", "/etc/fish"]);
    on(
        "node02",
        "mkdir -p /root/.config/fish && echo 'echo Welcome to fish' > /root/.config/fish/config.fish",
    );
    give_shell(desk, "master01", "tcsh", &["/etc/csh.cshrc"]);
    on("master01", "echo 'echo Welcome to $shell of $version' > /root/.cshrc");
    for (host, words) in [
        (0, "Welcome to /usr/local/bin/tcsh of tcsh "),
        (1, "Welcome to node01\nno-newline"),
        (2, "Welcome to fish"),
    ] {
        let said = printed_by_true(desk, &desk.hosts[host]);
        assert!(said.contains(words), "{said}");
    }
    desk.kubewan(&["plan"]).expect_code(0);
}

/// What `ssh host true` prints.
fn printed_by_true(desk: &Desk, host: &LabHost) -> String {
    let output = std::process::Command::new(desk.folder().join("bin/ssh"))
        .args(["-o", "BatchMode=yes", "-p", &host.ssh_port.to_string()])
        .args(["-l", &host.ssh_user, &host.address.to_string(), "true"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {output:?}", host.name);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Brings a shell of this machine (`cargo xtask lab` installs it) to a host, with the libraries that it was linked to,
/// since the host may be of another release; and makes it root's.
fn give_shell(desk: &Desk, host: &str, shell: &str, data: &[&str]) {
    let pack = format!(
        "shell=$(command -v {shell}) && tar -chf - $shell $(ldd $shell | grep -o '/[^ ]*') {}",
        data.join(" ")
    );
    let files = std::process::Command::new("sh").args(["-c", &pack]).output().unwrap();
    assert!(files.status.success(), "{shell} of this machine: {files:?}");
    let beside = format!("/opt/{shell}");
    desk.stage.on(host, &format!("mkdir {beside}"));
    let put = desk.stage.lab.exec(host, &["tar", "-x", "-C", &beside], &files.stdout).unwrap();
    assert!(put.status.success(), "{put:?}");
    desk.stage.on(
        host,
        &format!(
            "cd {beside} && loader=$PWD/$(find . -name 'ld-linux*' | head -n 1) && \
             libraries=$(find $PWD -name '*.so*' -printf '%h\\n' | sort -u | paste -s -d :) && \
             for at in {}; do [ -e $at ] || cp -a $PWD$at $at; done && \
             printf '#!/bin/sh\\nexec %s --library-path %s %s \"$@\"\\n' $loader $libraries \
               $PWD/$(find . -name {shell} -type f -perm -1 | head -n 1) > /usr/local/bin/{shell} && \
             chmod 755 /usr/local/bin/{shell} && {shell} -c true && \
             usermod --shell /usr/local/bin/{shell} root",
            data.join(" ")
        ),
    );
}
