//! Templates fit what they were made for and nothing else: each fits itself, and what other programs say is told as it is.

use std::collections::BTreeSet;

use super::super::template::COUNT;
use super::*;

/// A template with values in its places. Of places side by side only the first has one, since nothing tells them apart.
fn with_values(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut beside = false;
    let mut text = String::new();
    for part in parts(template) {
        match part {
            Part::Text(own) => {
                text += &own;
                beside = false;
            }
            Part::Place(_) if beside => {}
            Part::Place(name) => {
                text += &value(&name);
                beside = true;
            }
        }
    }
    text
}

/// The places of an English template that have no value there.
fn without_value(template: &str) -> BTreeSet<String> {
    let mut beside = false;
    let mut without = BTreeSet::new();
    for part in parts(template) {
        match part {
            Part::Text(_) => beside = false,
            Part::Place(name) if beside => {
                without.insert(name);
            }
            Part::Place(_) => beside = true,
        }
    }
    without
}

/// Names of places, with a value for each: a word that no text has, or a number.
fn value_of(place: &str) -> String {
    match place {
        COUNT => "17".into(),
        name => format!("w9{}", name.to_lowercase().replace('_', "")),
    }
}

#[test]
fn a_template_with_single_words_is_told_by_its_own_translation() {
    let mut others = Vec::new();
    let mut count = 0;
    for (file, message) in messages() {
        let own = parts(&message.english);
        let letters: usize = own.iter().filter_map(Part::own).map(str::len).sum();
        if own.iter().all(|part| part.own().is_some()) || letters < LETTERS_LEAST + 2 {
            continue;
        }
        count += 1;
        let empty = without_value(&message.english);
        let english = with_values(&message.english, value_of);
        let chinese: String = parts(&message.chinese)
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Place(name) if empty.contains(name) => String::new(),
                Part::Place(name) => value_of(name),
            })
            .collect();
        let said = told(&english);
        if said != chinese {
            others.push(format!(
                "{file}:{}: {english:?}\n  is told  {said:?}\n  and not  {chinese:?}",
                message.line
            ));
        }
    }
    assert!(count > 900, "{count}");
    assert!(others.is_empty(), "{} of {count}:\n{}", others.len(), others.join("\n"));
}

/// What other programs have said, from the other tests: kubelet's, etcd's, containerd's, kubeadm's, apt's and ssh's words.
fn said_by_others() -> Vec<String> {
    let folders = ["kubewan-doctor/tests/pasted", "kubewan-rehearsal/recorded"];
    let mut lines = BTreeSet::new();
    for folder in folders {
        for entry in fs::read_dir(root().join(folder)).unwrap().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            lines.extend(text.lines().map(|line| line.trim().to_owned()));
        }
    }
    lines.extend(SAID.map(str::to_owned));
    lines.retain(|line| line.contains(|c: char| c.is_ascii_alphabetic()));
    lines.into_iter().collect()
}

/// Recorded on Debian 12 and with OpenSSH 9.2, curl 7.88 and kubectl 1.36.
const SAID: [&str; 28] = [
    "Reading package lists...",
    "Building dependency tree...",
    "Get:1 http://deb.debian.org/debian bookworm InRelease [151 kB]",
    "Hit:2 http://deb.debian.org/debian bookworm-updates InRelease",
    "Err:3 https://pkgs.k8s.io/core:/stable:/v1.36/deb  InRelease",
    "E: Unable to locate package kubeadm",
    "E: The repository 'http://192.0.2.1/debian ./ Release' is not signed.",
    "0 upgraded, 4 newly installed, 0 to remove and 2 not upgraded.",
    "Setting up containerd (1.6.20~ds1-1+deb12u1) ...",
    "dpkg: error processing package containerd (--configure):",
    "Created symlink /etc/systemd/system/multi-user.target.wants/kubelet.service.",
    "ssh: connect to host 198.51.100.10 port 22: Connection refused",
    "ssh: connect to host 198.51.100.10 port 22: Connection timed out",
    "kex_exchange_identification: read: Connection reset by peer",
    "root@198.51.100.10: Permission denied (publickey,password).",
    "client_loop: send disconnect: Broken pipe",
    "Connection closed by 198.51.100.10 port 22",
    "curl: (7) Failed to connect to 192.0.2.1 port 443: Connection refused",
    "curl: (60) SSL certificate problem: self-signed certificate",
    "curl: (22) The requested URL returned error: 404",
    "error: the server doesn't have a resource type \"pod\"",
    "Error from server (NotFound): nodes \"node01\" not found",
    "The connection to the server 198.51.100.10:6443 was refused - did you specify the right host or port?",
    "Unit kubelet.service could not be found.",
    "Job for containerd.service failed because the control process exited with error code.",
    "No such file or directory (os error 2)",
    "permission denied",
    "lib from usr is x",
];

#[test]
fn what_other_programs_say_is_told_as_it_is() {
    let mut changed = Vec::new();
    let lines = said_by_others();
    assert!(lines.len() > 400, "{}", lines.len());
    let as_line = |line: &str| in_chinese(|| localized_line(line).into_owned());
    for line in &lines {
        let said = as_line(line);
        if said != *line {
            changed.push(format!("{line:?}\n  is told {said:?}"));
        }
        // In a place of a text of ours: one that is known to have others' words, and one that is not.
        for (before, chinese) in [
            ("can't log in to 192.0.2.1: ", "无法登录 192.0.2.1："),
            ("its node is not Ready: ", "它的节点不是 Ready："),
        ] {
            let said = told(&format!("{before}{line}"));
            if said != format!("{chinese}{line}") {
                changed.push(format!("{before}{line:?}\n  is told {said:?}"));
            }
        }
        // Below an error of ours.
        let error = format!(
            "error[step-failed]: node01: kubeadm init failed\n  {line}\n  = help: run the same command again"
        );
        let said = told(&error);
        if !said.contains(&format!("\n  {line}\n")) || !said.contains("= 办法: 再次运行") {
            changed.push(format!("{line:?} below an error\n  is told {said:?}"));
        }
    }
    assert!(changed.is_empty(), "{} of {}:\n{}", changed.len(), lines.len(), changed.join("\n"));
}

/// The first of two places side by side would take all of it to another end of the Chinese sentence.
#[test]
fn places_side_by_side_are_told_apart_where_another_text_begins() {
    let made = "take 198.51.100.10/24 off eth0 as a control plane";
    assert_eq!(told(made), "从 eth0 去掉 198.51.100.10/24（作为控制平面）");
    let made = "join the hosts: 3 steps on 2 hosts in 1:02, node02 last";
    assert!(told(made).ends_with("用时 1:02，node02 最后"), "{}", told(made));
}

#[test]
fn a_text_is_filled_where_it_is_made() {
    let filled = |values: &[(&str, &str)]| {
        let english = super::super::filled("{counts}; {looked}.", values);
        (english, in_chinese(|| super::super::filled("{counts}; {looked}.", values)))
    };
    let (english, chinese) = filled(&[("counts", "2 errors"), ("looked", "3 checks on 2 hosts")]);
    assert_eq!(english, "2 errors; 3 checks on 2 hosts.");
    assert_eq!(chinese, "2 个错误；3 项检查（2 台主机）。");
}
