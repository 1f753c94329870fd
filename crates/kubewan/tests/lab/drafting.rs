//! `kubewan init` as somebody meets it: on a terminal, with questions and answers, and with a configuration of ssh as people
//! have them. What it writes is planned as it is, and nothing that was there before is written over.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use kubewan_core::bundle::CNI_PLUGINS;
use kubewan_lab::LabHost;

use crate::sources::tree::sh;
use crate::support::{Kubernetes, Stage};
use crate::terminal::Terminal;

/// Its program in front of curl: what the publishers of a release say of it, and their archive of CNI plugins.
const PUBLISHERS: &str = r#"#!/bin/sh
url= into= last=
for word; do
  case $word in https://*) url=$word ;; esac
  [ "$last" != --output ] || into=$word
  last=$word
done
cd "$(dirname "$0")" || exit
case $url in
  https://github.com/*.tgz.sha256) sha256sum plugins.tgz | sed "s,plugins.tgz,$(basename "$url" .sha256)," ;;
  https://github.com/*.tgz) cp plugins.tgz "$into" ;;
  https://dl.k8s.io/*.sha256) printf %s "$url" | sha256sum | cut -d' ' -f1 ;;
  *) echo "curl: (6) Could not resolve host: $url" >&2; exit 6 ;;
esac
"#;

/// An operator with a home of his own, who has seen none of the hosts.
struct Operator {
    stage: Stage,
    hosts: Vec<LabHost>,
    home: PathBuf,
}

impl Operator {
    fn new() -> Operator {
        let stage = Stage::hosts_only(Kubernetes::Rehearsal);
        let hosts = stage.lab.info().expect("the lab").hosts;
        let home = stage.claim.lab_dir().with_file_name("home");
        let folder = |path: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).expect("a folder");
        };
        folder(&home.join(".ssh/conf.d"));
        folder(&home.join("bin"));
        fs::copy(&hosts[0].ssh_key, home.join(".ssh/id_ed25519")).expect("the lab's key");
        // OpenSSH looks a home up among the users, whatever the environment says.
        let users = fs::read_to_string("/etc/passwd").expect("this machine's users");
        let at_home = |line: &str| match line.splitn(6, ':').collect::<Vec<_>>()[..] {
            ["root", x, uid, gid, name, rest] => {
                let shell = rest.rsplit_once(':').map_or("/bin/sh", |(_, shell)| shell);
                format!("root:{x}:{uid}:{gid}:{name}:{}:{shell}\n", home.display())
            }
            _ => format!("{line}\n"),
        };
        fs::write(home.join("passwd"), users.lines().map(at_home).collect::<String>()).unwrap();
        let mut curl = fs::OpenOptions::new();
        curl.write(true).create_new(true).mode(0o755).open(home.join("bin/curl")).unwrap();
        fs::write(home.join("bin/curl"), PUBLISHERS).unwrap();
        let names: Vec<String> = CNI_PLUGINS.iter().map(|name| format!("./{name}")).collect();
        let names = names.join(" ");
        sh(
            &home.join("bin"),
            &format!("touch {names} && tar -czf plugins.tgz {names} && rm {names}"),
        );
        Operator { stage, hosts, home }
    }

    /// A configuration as it grows: a file that is included, jump hosts, patterns, an address that only `Match` gives.
    fn configures_ssh(&self) {
        let [first, second, third] = &self.hosts[..] else { panic!("three hosts") };
        let main = format!(
            "# Host old\nInclude conf.d/*.conf\n\nHost bastion gate\n  HostName 198.51.100.250\n  User olga\n\
             Host *.shop.example !cash.shop.example\n  User shop\n\
             Host first\n  HostName {}\n  User {}\n  Port {}\n\
             Match originalhost third\n  HostName {}\n  User {}\n  Port {}\n\
             Host third\n  ServerAliveInterval 60\n\
             Host *\n  ConnectTimeout 20\n",
            first.address,
            first.ssh_user,
            first.ssh_port,
            third.address,
            third.ssh_user,
            third.ssh_port,
        );
        let included = format!(
            "Host second\n  HostName {}\n  User {}\n  Port {}\n",
            second.address, second.ssh_user, second.ssh_port,
        );
        fs::write(self.home.join(".ssh/config"), main).unwrap();
        fs::write(self.home.join(".ssh/conf.d/rented.conf"), included).unwrap();
        fs::write(self.home.join(".ssh/conf.d/notes.txt"), "Host notes\n").unwrap();
    }

    /// The program in the operator's home.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount --bind \"$0\" /etc/passwd && exec \"$@\"").arg(self.home.join("passwd"));
        command.arg(env!("CARGO_BIN_EXE_kubewan")).args(arguments).current_dir(&self.home);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.home.join("bin").display()));
        command.env("HOME", &self.home).env("LC_ALL", "C").env("TERM", "dumb");
        command.env("XDG_CACHE_HOME", self.home.join(".cache"));
        command
    }

    fn terminal(&self, arguments: &[&str]) -> Terminal {
        Terminal::start(&self.command(arguments))
    }

    /// A plan takes the file as it is; what it refuses of this machine's kernel stands in the file as what is to be decided.
    fn plans(&self, file: &str) {
        let plan = self.command(&["plan", "-f", file, "--detailed-exitcode"]).output().unwrap();
        let [told, said] = [plan.stdout, plan.stderr].map(|t| String::from_utf8(t).unwrap());
        let all = format!("--- stdout\n{told}\n--- stderr\n{said}");
        let refused =
            said.lines().filter_map(|line| line.strip_prefix("error[")?.split(']').next());
        let refused: Vec<&str> = refused.collect();
        assert_eq!(plan.status.code(), Some(if refused.is_empty() { 2 } else { 3 }), "{all}");
        let text = self.read(file);
        for code in refused {
            let decides = format!("to decide before `kubewan up` ({code}):");
            assert!(
                text.replace("\n# ", " ").contains(&decides),
                "no `{decides}` in {text}\n{all}"
            );
        }
        assert!(told.contains("make the control plane with kubeadm init"), "{all}");
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.home.join(file)).expect("it was written")
    }

    /// Nothing in the home but what the operator put there: no inventory, and no part of one.
    fn has_written_nothing(&self) {
        let mut names: Vec<String> = fs::read_dir(&self.home)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| ![".ssh", ".cache", "bin", "passwd"].contains(&name.as_str()))
            .collect();
        names.sort();
        assert_eq!(names, Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn an_inventory_comes_of_questions_and_answers_and_plans_as_it_is() {
    let operator = Operator::new();
    let before: Vec<_> =
        operator.hosts.iter().map(|host| operator.stage.lab.observe_host(&host.name)).collect();
    assert!(before.iter().all(Result::is_ok), "{before:?}");
    let [first, second, third] = &operator.hosts[..] else { panic!("three hosts") };
    let login = |host: &LabHost| format!("{}@{}:{}", host.ssh_user, host.address, host.ssh_port);
    breaks_off(&operator, &login(first));

    // Typed, one and two on a line; the name is Enter.
    let mut terminal = operator.terminal(&["init"]);
    terminal.await_words("Host 1:");
    terminal.type_line(&login(first));
    terminal.await_words("Host 2:");
    terminal.type_line(&format!("{}, {}", login(second), login(third)));
    terminal.await_words("Host 4:");
    terminal.type_line("");
    terminal.await_words("The cluster's name [home]:");
    terminal.type_line("");
    let question = terminal.await_words("Only 'yes' is accepted: ");
    assert!(question.contains(&first.address.to_string()), "{question}");
    terminal.type_line("yes");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("cluster.yaml is written. Next"), "{shown}");
    let text = operator.read("cluster.yaml");
    eprintln!("{text}");
    for words in ["# Written by `kubewan init`", "\nname: home\n", "\n  # behind NAT: "] {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
    let mode = fs::metadata(operator.home.join("cluster.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o700, 0o600, "{mode:o}");
    operator.plans("cluster.yaml");

    // A file that is there stays, and nobody is asked for what would not be written.
    operator.configures_ssh();
    let (code, shown) = operator.terminal(&["init", "--from-ssh-config"]).end();
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("cluster.yaml is there already") && !shown.contains("Which"), "{shown}");
    assert_eq!(operator.read("cluster.yaml"), text);

    of_ssh_configuration(&operator);
}

/// Ctrl-C at a question and at the keys: there is no file, nor a half of one.
fn breaks_off(operator: &Operator, login: &str) {
    for answers in [&[][..], &["Host 2:"], &["Host 2:", "The cluster's name"]] {
        let mut terminal = operator.terminal(&["init"]);
        terminal.await_words("Host 1:");
        for question in answers {
            terminal.type_line(if *question == "Host 2:" { login } else { "" });
            terminal.await_words(question);
        }
        if answers.len() == 2 {
            terminal.type_line("");
            terminal.await_words("Only 'yes' is accepted: ");
        }
        terminal.type_keys("\u{3}");
        let (code, shown) = terminal.end();
        assert_ne!(code, 0, "{shown}");
        operator.has_written_nothing();
    }
    assert!(!operator.home.join(".ssh/known_hosts").exists());
    // With nobody named there is nothing to write.
    let mut terminal = operator.terminal(&["init"]);
    terminal.await_words("Host 1:");
    terminal.type_line("");
    let (code, shown) = terminal.end();
    assert_eq!(code, 5, "{shown}");
    assert!(shown.contains("No host was named, so nothing was written."), "{shown}");
    operator.has_written_nothing();
}

/// Hosts are chosen by number from what the configuration names one by one, and go by their names there.
fn of_ssh_configuration(operator: &Operator) {
    let mut terminal = operator.terminal(&["init", "--from-ssh-config", "-f", "named.yaml"]);
    let list = terminal.await_words("or `all`:");
    let rows: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|row: &Vec<&str>| row.first().is_some_and(|word| word.parse::<u8>().is_ok()))
        .collect();
    let [first, second, third] = &operator.hosts[..] else { panic!("three hosts") };
    let row = |number: &'static str, name: &'static str, host: &LabHost| {
        [
            number.into(),
            name.into(),
            host.address.to_string(),
            host.ssh_user.clone(),
            host.ssh_port.to_string(),
        ]
    };
    let other = |number: &str, name: &str| {
        [number, name, "198.51.100.250", "olga", "22"].map(str::to_owned)
    };
    let wanted = [
        row("1", "second", second),
        other("2", "bastion"),
        other("3", "gate"),
        row("4", "first", first),
        row("5", "third", third),
    ];
    assert_eq!(rows, wanted, "{list}");
    terminal.type_line("4-5 1");
    terminal.await_words("The cluster's name [home]:");
    terminal.type_line("shop");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("Only 'yes'"), "these keys are known: {shown}");
    let last = shown.trim_end().lines().last().unwrap_or_default();
    let next = last.starts_with("named.yaml is written. Next")
        && last.ends_with(": kubewan plan -f named.yaml");
    assert!(next, "{shown}");
    let text = operator.read("named.yaml");
    eprintln!("{text}");
    for (name, host) in [("first", first), ("second", second), ("third", third)] {
        let words = [format!("    address: {}\n", host.address), format!("      host: {name}\n")];
        for words in words {
            assert!(text.contains(&words), "no `{words}` in:\n{text}");
        }
    }
    assert!(text.contains("\nname: shop\n") && !text.contains("port:"), "{text}");
    operator.plans("named.yaml");
}
