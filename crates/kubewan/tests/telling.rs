//! How much is told, where, and in which colours, by the program as it is run. `ssh` is a script here that is refused.

// The lab's stories need all of it.
#[allow(dead_code)]
#[path = "lab/terminal.rs"]
mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use terminal::Terminal;

const INVENTORY: &str = "name: home\nkubernetes: { version: \"1.36.2\" }\nhosts:\n  \
    - { name: master01, address: 198.51.100.10, roles: [control-plane, worker] }\n";

const SSH: &str = "#!/bin/sh\n\
    case $1 in -G) printf 'user root\\nhostname 198.51.100.10\\nport 22\\nknownhostscommand true\\n'; exit ;; esac\n\
    SLEEP\n\
    echo 'ssh: connect to host 198.51.100.10 port 22: Connection refused' >&2; exit 255\n";

const REFUSED: &str = "error[ssh-refused]: master01: can't log in to 198.51.100.10: ssh: connect to host 198.51.100.10 \
    port 22: Connection refused\n  = help: check that this is the port of its SSH server (`ssh.port`), and that sshd runs there\n";

/// A folder with an inventory and an `ssh` of its own.
struct Desk(TempDir);

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Desk {
        Desk::waiting(0)
    }

    /// `ssh` takes so many seconds to be refused.
    fn waiting(seconds: u8) -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        fs::write(desk.path("cluster.yaml"), INVENTORY).unwrap();
        fs::create_dir(desk.path("bin")).unwrap();
        // By another process: one of ours that another test starts meanwhile would hold it open for writing, and nobody may
        // run it then.
        let ssh = SSH.replace("SLEEP", &format!("sleep {seconds}"));
        let put = ["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""];
        let put = Command::new("sh").args(put).arg(desk.path("bin/ssh")).arg(ssh).status();
        assert!(put.unwrap().success());
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        // Tests that run in the background may have been told to ignore Ctrl-C, and a program inherits that.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT", env!("CARGO_BIN_EXE_kubewan")])
            .args(arguments)
            .current_dir(self.0.path());
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        // Whatever is set where the tests run.
        command.env("NO_COLOR", "").env("CLICOLOR_FORCE", "").env("KUBEWAN_LOG_FILE", "");
        command.env("LC_ALL", "C");
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        Said {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// On a terminal of this kind.
    fn terminal(&self, term: &str, arguments: &[&str]) -> Terminal {
        let inventory = self.path("cluster.yaml");
        let mut command = self.command(arguments);
        command.args(["-f", inventory.to_str().unwrap()]).env("TERM", term);
        Terminal::start(&command)
    }
}

#[test]
fn each_level_tells_more() {
    let desk = Desk::new();
    let usual = desk.run(&["kubeconfig"]);
    assert_eq!((usual.code, usual.stderr.as_str()), (4, REFUSED));
    let quiet = desk.run(&["kubeconfig", "-q"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (4, REFUSED));
    for arguments in [["-v", "kubeconfig"], ["kubeconfig", "-v"], ["kubeconfig", "-vv"]] {
        let more = desk.run(&arguments).stderr;
        assert!(more.ends_with(REFUSED), "{more}");
        assert!(more.contains("\nmaster01: | ssh: connect to host"), "{more}");
        assert!(more.contains("connecting to 1 host: "), "{more}");
        let call = more.lines().find(|line| line.starts_with("master01: ssh -T ")).unwrap();
        assert!(call.ends_with(" -- 198.51.100.10 …"), "{call}");
    }
    let both = desk.run(&["kubeconfig", "-q", "-v"]);
    assert_eq!(both.code, 64);
    // Warnings are no errors: nothing of them is told.
    let status = desk.run(&["status"]);
    assert!(status.stdout.contains("unreachable") && status.stderr == REFUSED, "{}", status.stderr);
}

#[test]
fn the_log_file_has_everything_whatever_is_shown() {
    let desk = Desk::new();
    let log = desk.path("run.log");
    fs::write(&log, "before\n").unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
    desk.run(&["-q", "kubeconfig", "--log-file", log.to_str().unwrap()]);
    desk.command(&["ssh", "master01", "echo", "Sesame"])
        .env("KUBEWAN_LOG_FILE", &log)
        .output()
        .unwrap();
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "before");
    for line in &lines[1..] {
        let (time, _) = line.split_once(' ').unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
    }
    let kinds: Vec<&str> =
        lines[1..].iter().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    for kind in ["begin", "ssh", "said", "error", "detail", "end"] {
        assert!(kinds.contains(&kind), "{kind} in\n{text}");
    }
    assert!(text.contains(" begin  kubewan 0.1.0 kubeconfig\n"), "{text}");
    assert!(text.contains(" error    = help: check that this is the port"), "{text}");
    assert!(text.contains(" end    exit 4\n") && text.ends_with(" end    exit 255\n"), "{text}");
    // What the operator runs somewhere may hold a secret.
    assert!(text.contains(" -- 198.51.100.10 …\n") && !text.contains("Sesame"), "{text}");
    let said = desk.run(&["status", "--log-file", "nowhere/run.log"]);
    assert_eq!(said.code, 3);
    assert_eq!(
        said.stderr,
        "error: can't open the log file nowhere/run.log: No such file or directory (os error 2)\n  \
         = help: name a file that you can write to\n"
    );
}

#[test]
fn there_are_colours_on_a_terminal_only() {
    let desk = Desk::new();
    assert!(!desk.run(&["kubeconfig"]).stderr.contains('\x1b'));
    let always = desk.run(&["kubeconfig", "--color", "always"]).stderr;
    assert!(always.starts_with("\x1b[1m\x1b[31merror[ssh-refused]\x1b[0m: master01"), "{always:?}");
    let usage = desk.run(&["kubeconfig", "--color=always", "--no-such-option"]);
    assert!(usage.code == 64 && usage.stderr.contains('\x1b'), "{}", usage.stderr);
    let inventory = "name: home\nnmae: x\n";
    fs::write(desk.path("wrong.yaml"), inventory).unwrap();
    let wrong = desk.run(&["ports", "-f", "wrong.yaml", "--color", "always"]).stderr;
    assert!(wrong.contains("\x1b[36m= help:\x1b[0m"), "{wrong:?}");

    let on = |term: &str, arguments: &[&str], variable: Option<&str>| {
        let inventory = desk.path("cluster.yaml");
        let mut command = desk.command(arguments);
        command.args(["-f", inventory.to_str().unwrap()]).env("TERM", term);
        variable.map(|name| command.env(name, "1"));
        Terminal::start(&command).end().1
    };
    let is_coloured = |shown: &str| shown.contains("\x1b[31m");
    assert!(is_coloured(&on("xterm", &["kubeconfig"], None)));
    for shown in [
        on("xterm", &["kubeconfig"], Some("NO_COLOR")),
        on("xterm", &["kubeconfig", "--color", "never"], None),
        on("dumb", &["kubeconfig"], None),
    ] {
        assert!(!is_coloured(&shown) && shown.contains("error[ssh-refused]"), "{shown:?}");
    }
    // Without colour and without lines that change.
    assert_eq!(on("dumb", &["kubeconfig"], None), REFUSED);
}

#[test]
fn what_goes_on_is_shown_and_a_terminal_stays_usable() {
    let desk = Desk::waiting(2);
    let mut terminal = desk.terminal("xterm", &["kubeconfig"]);
    terminal.await_words("connecting to 1 host");
    let (code, shown) = terminal.end();
    assert_eq!(code, 4);
    // The line is taken away before the error comes, and every line is drawn from its start.
    assert!(shown.contains("\r\x1b[1A\x1b[J"), "{shown:?}");
    let error = "(`ssh.port`), and that\n          sshd runs there";
    assert!(shown.trim_end().ends_with(error), "{shown:?}");

    // However busy the machine is, the key comes before ssh is refused.
    let desk = Desk::waiting(20);
    let mut terminal = desk.terminal("xterm", &["kubeconfig"]);
    terminal.await_words("connecting to 1 host");
    std::thread::sleep(Duration::from_millis(300));
    terminal.type_keys("\u{3}");
    let (_, shown) = terminal.end();
    // The cursor was never hidden, and rests at the start of a line of its own.
    assert!(!shown.contains("\x1b[?25l"), "{shown:?}");
    assert!(shown.contains("\x1b[K\n") && !shown.contains("error"), "{shown:?}");
}

#[test]
fn every_error_ends_with_what_to_do_next() {
    let desk = Desk::new();
    fs::write(desk.path("wrong.yaml"), "name: home\nnmae: x\n").unwrap();
    let plain = fs::read_to_string(desk.path("cluster.yaml")).unwrap();
    let bundled = plain.replacen("\"1.36.2\"", "\"1.36.2\", source: bundle", 1);
    assert_ne!(plain, bundled);
    fs::write(desk.path("bundled.yaml"), bundled).unwrap();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["ports", "-f", "nowhere.yaml"], 3, "error: can't read nowhere.yaml: No such file"),
        (
            &["ssh", "node99"],
            3,
            "error: no host `node99` in cluster.yaml\n  = help: there are master01",
        ),
        (&["plan", "-f", "bundled.yaml"], 3, "error[bundle-not-found]: "),
        (&["bundle", "check", "nowhere"], 3, "error[bundle-unreadable]: "),
        (&["kubeconfig", "--merge"], 3, "error: KUBECONFIG names several files; name one of them"),
        (&["status"], 4, "error[ssh-refused]: master01: "),
    ];
    for (arguments, code, begins) in cases {
        let output = desk
            .command(arguments)
            .env("HOME", desk.0.path())
            .env("XDG_CACHE_HOME", desk.path("cache"))
            .env("KUBECONFIG", "a:b")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.starts_with(begins), "{arguments:?}: {said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("  = help: "), "{arguments:?}: {said}");
    }
    let said = desk.run(&["ports", "-f", "wrong.yaml"]);
    let errors = said.stderr.matches("error[").count();
    assert_eq!(
        (said.code, said.stderr.matches("= help: ").count()),
        (3, errors),
        "{}",
        said.stderr
    );
    assert!(said.stderr.ends_with("nothing was touched\n"), "{}", said.stderr);
}

/// A copy that was cut short is refused before anybody is connected to, by the plan as by the run.
#[test]
fn a_bundle_with_a_truncated_file_is_refused_before_any_host_is_reached() {
    let desk = Desk::new();
    let plain = fs::read_to_string(desk.path("cluster.yaml")).unwrap();
    let bundled = plain.replacen("\"1.36.2\"", "\"1.36.2\", source: bundle, bundle: b", 1);
    assert_ne!(plain, bundled);
    fs::write(desk.path("bundled.yaml"), bundled).unwrap();
    fs::create_dir_all(desk.path("b/bin")).unwrap();
    let artifact = |name: &str| {
        let sha256 = "0".repeat(64);
        format!(
            "  - {{ kind: binary, name: {name}, version: \"1.36.2\", arch: amd64, path: bin/{name}, size: 7, sha256: \"{sha256}\" }}\n"
        )
    };
    let text = ["kubeadm", "kubelet", "kubectl"].map(artifact).concat();
    let text = format!("format: 1\nkubernetes: \"1.36.2\"\nartifacts:\n{text}");
    fs::write(desk.path("b/bundle.yaml"), text).unwrap();
    fs::write(desk.path("b/bin/kubeadm"), "kubeadm").unwrap();
    fs::write(desk.path("b/bin/kubelet"), "kube").unwrap();
    for command in [&["plan", "-f", "bundled.yaml"][..], &["up", "--yes", "-f", "bundled.yaml"]] {
        let said = desk.run(command);
        assert_eq!(said.code, 3, "{}", said.stderr);
        assert!(said.stderr.starts_with("error[bundle-damaged]: "), "{}", said.stderr);
        for problem in
            ["bin/kubelet: has 4 bytes, and bundle.yaml says 7", "bin/kubectl: No such file"]
        {
            assert!(said.stderr.contains(problem), "{}", said.stderr);
        }
        assert!(!said.stderr.contains("bin/kubeadm"), "{}", said.stderr);
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let desk = Desk::new();
    let said = desk.run(&["man", "pages"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let mut pages: Vec<String> = fs::read_dir(desk.path("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert!(pages.len() > 20, "{pages:?}");
    let first = fs::read_to_string(desk.path("pages/kubewan.1")).unwrap();
    assert_eq!(desk.run(&["man"]).stdout, first);
    let help = desk.run(&["kubeconfig", "--help"]).stdout;
    let page = fs::read_to_string(desk.path("pages/kubewan-kubeconfig.1")).unwrap();
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    for line in examples.lines().map(str::trim) {
        let words = line.replace('-', "\\-").replace('\'', "\\*(Aq");
        assert!(page.contains(&words), "{words} in\n{page}");
    }
    fs::write(desk.path("file"), "").unwrap();
    let said = desk.run(&["man", "file/pages"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("\n  = help: name a folder"), "{}", said.stderr);
}

#[test]
fn the_language_is_the_environments_or_the_one_asked_for() {
    let desk = Desk::new();
    let english = desk.run(&["kubeconfig"]).stderr;
    let chinese = desk.run(&["kubeconfig", "--lang", "zh"]).stderr;
    assert_eq!(english, REFUSED);
    insta::assert_snapshot!("refused_in_chinese", chinese);
    let by_locale = |locale: &str, arguments: &[&str]| {
        let output = desk.command(arguments).env("LC_ALL", locale).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(by_locale("zh_CN.UTF-8", &["kubeconfig"]), chinese);
    assert_eq!(by_locale("zh_CN.UTF-8", &["kubeconfig", "--lang=en"]), english);
    assert_eq!(by_locale("en_US.UTF-8", &["kubeconfig"]), english);
    // What is wrong with a command line, and a wrong language.
    insta::assert_snapshot!(
        "usage_in_chinese",
        desk.run(&["--lang", "zh", "plan", "--frobnicate"]).stderr
    );
    let wrong = desk.run(&["--lang", "tlh", "plan"]);
    assert!(
        wrong.code == 64 && wrong.stderr.contains("[possible values: en, zh]"),
        "{}",
        wrong.stderr
    );
    let wrong = desk.run(&["--lang", "zh", "plan", "-o", "xml"]);
    assert!(
        wrong.code == 64 && wrong.stderr.contains("  [可选值: table, json]"),
        "{}",
        wrong.stderr
    );
    assert!(desk.run(&["--help", "--lang", "zh"]).stdout.contains("所有命令的选项："));

    // Without the command that has to follow there is help, and a lab's error says what to do.
    for command in ["bundle", "token", "lab"] {
        let said = desk.run(&["--lang", "zh", command]);
        assert_eq!(said.code, 64, "{}", said.stderr);
        assert!(said.stderr.contains("所有命令的选项："), "{}", said.stderr);
        assert_eq!(in_english(&said.stderr), [""; 0], "kubewan {command}");
    }
    let nobody = desk.run(&["--lang", "zh", "lab", "ssh", "--name", "nope", "a"]).stderr;
    assert_eq!(in_english(&nobody), [""; 0], "{nobody}");
}

/// Lines with four English words in a row, but for code.
fn in_english(text: &str) -> Vec<&str> {
    let is_prose = |line: &&str| {
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("|");
        let words: Vec<&str> = plain.split(' ').collect();
        let is_word = |w: &&str| w.len() > 1 && w.chars().all(|c| c.is_ascii_lowercase());
        words.windows(4).any(|four| four.iter().all(is_word))
    };
    text.lines().filter(is_prose).collect()
}

#[test]
fn what_machines_read_is_english() {
    let desk = Desk::new();
    let json = |lang: &str| desk.run(&["status", "-o", "json", "--lang", lang]).stdout;
    assert_eq!(json("zh"), json("en"));
    let log = desk.path("run.log");
    desk.run(&["kubeconfig", "--lang", "zh", "--log-file", log.to_str().unwrap()]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains(" error    = help: check that this is the port"), "{text}");
    assert!(text.is_ascii() || !text.contains('，'), "{text}");
}

#[test]
fn the_doctor_speaks_chinese() {
    let desk = Desk::new();
    let pasted = concat!(env!("CARGO_MANIFEST_DIR"), "/../kubewan-doctor/tests/pasted");
    let mut logs: Vec<PathBuf> =
        fs::read_dir(pasted).unwrap().flatten().map(|entry| entry.path()).collect();
    logs.sort();
    let log = logs.iter().find(|log| log.to_string_lossy().contains("etcd")).unwrap();
    fs::copy(log, desk.path("pasted.log")).unwrap();
    insta::assert_snapshot!(
        "doctor_in_chinese",
        desk.run(&["doctor", "--lang", "zh", "--log", "pasted.log"]).stdout
    );
}
