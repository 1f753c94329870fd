//! The catalogue is whole: every text of the sources and of the command line is in it, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::super::help::tests::texts_of_help;
use super::super::language::of_test::in_chinese;
use super::*;
use crate::args::Args;
use sources::{Literal, literals};

#[path = "catalogue/exact_tests.rs"]
mod exact;
#[path = "catalogue/sources.rs"]
mod sources;

/// Rooms whose texts people are told. The stand-ins speak as Kubernetes does.
const ROOMS: [&str; 6] =
    ["kubewan", "kubewan-agent", "kubewan-core", "kubewan-doctor", "kubewan-fleet", "kubewan-lab"];

/// Literals that look like texts and are none: commands, files for hosts, others' words that are looked for. One a line,
/// escaped, below the file they stand in.
const NOT_TOLD: &str = include_str!("zh/not-told.txt");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All literals of the rooms, with the files they stand in.
fn all() -> Vec<(String, Literal)> {
    let mut found = Vec::new();
    for room in ROOMS {
        let mut folders = vec![root().join(room).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                match path.is_dir() {
                    true => folders.push(path),
                    false if is_source(&name) => {
                        let text = fs::read_to_string(&path).unwrap();
                        found
                            .extend(literals(&text).into_iter().map(|found| (name.clone(), found)));
                    }
                    false => {}
                }
            }
        }
    }
    assert!(found.len() > 5000, "the sources are read in the wrong way");
    found
}

fn is_source(name: &str) -> bool {
    let of_tests = ["/tests", "_tests.rs", "/fuzz", "samples.rs", "/bench.rs", "/properties.rs"];
    // What can be typed is read from clap.
    let is_other =
        name.starts_with("kubewan/src/args") || of_tests.iter().any(|part| name.contains(part));
    name.ends_with(".rs") && !is_other
}

fn messages() -> Vec<(&'static str, Message)> {
    let of = |(name, text): &(&'static str, &str)| {
        let name = *name;
        po::messages(text).into_iter().map(move |message| (name, message)).collect::<Vec<_>>()
    };
    FILES.iter().flat_map(of).collect()
}

fn not_told() -> BTreeSet<String> {
    NOT_TOLD.lines().filter(|line| line.starts_with('"')).map(po::unquoted).collect()
}

fn escaped(text: &str) -> String {
    text.replace('\n', "\\n")
}

/// The format strings that a number of things is told by.
fn counted(thing: &str) -> [String; 2] {
    [format!("{{count}} {thing}"), format!("{{count}} {thing}s")]
}

#[test]
fn every_text_of_the_sources_is_in_the_catalogue() {
    let known: BTreeSet<String> =
        messages().into_iter().map(|(_, message)| message.english).collect();
    let not_told = not_told();
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, literal) in all() {
        let texts = match literal.is_counted() {
            true => counted(&literal.text).to_vec(),
            false if literal.is_told() => vec![literal.text.clone()],
            false => continue,
        };
        for text in texts {
            if !known.contains(&text) && !not_told.contains(&text) {
                let line = format!("{}: {}", literal.line, escaped(&text));
                missing.entry(file.clone()).or_default().push(line);
            }
        }
    }
    let told: Vec<String> = missing
        .iter()
        .flat_map(|(file, lines)| lines.iter().map(move |line| format!("crates/{file}:{line}")))
        .collect();
    assert!(
        told.is_empty(),
        "{} texts that crates/kubewan/src/report/zh/ does not have. Each goes into a .po file with its translation or, \
         where nobody is told it, into not-told.txt:\n{}",
        told.len(),
        told.join("\n")
    );
}

/// What is said of a key of the inventory that is missing.
fn of_keys() -> BTreeSet<String> {
    fn collect(value: &serde_json::Value, texts: &mut BTreeSet<String>) {
        let required = value["required"].as_array().into_iter().flatten();
        for name in required.filter_map(serde_json::Value::as_str) {
            if let Some(about) = value["properties"][name]["description"].as_str() {
                let about = about.replace('\n', " ");
                let first = about.split(". ").next().unwrap_or_default();
                texts.insert(first.trim_end_matches('.').to_owned());
            }
        }
        value.as_object().into_iter().for_each(|map| map.values().for_each(|v| collect(v, texts)));
    }
    let mut texts = BTreeSet::new();
    collect(&kubewan_core::inventory::schema(), &mut texts);
    assert!(texts.len() > 8, "{texts:?}");
    texts
}

#[test]
fn every_text_of_the_command_line_is_in_the_catalogue() {
    let mut missing = BTreeSet::new();
    let texts: Vec<String> = texts_of_help(Args::command()).into_iter().chain(of_keys()).collect();
    assert!(texts.len() > 150, "{texts:#?}");
    for text in texts {
        let told = in_chinese(|| localized(&text).into_owned());
        if told == text && text.contains(|c: char| c.is_ascii_alphabetic()) {
            missing.insert(text);
        }
    }
    assert!(missing.is_empty(), "not in crates/kubewan/src/report/zh/help.po: {missing:#?}");
}

#[test]
fn the_catalogue_has_nothing_that_nobody_says() {
    let mut said: BTreeSet<String> = BTreeSet::new();
    for (_, literal) in all() {
        if literal.is_counted() {
            said.extend(counted(&literal.text));
        }
        said.insert(literal.text);
    }
    let gone: Vec<String> = messages()
        .into_iter()
        .filter(|(file, message)| *file != "help.po" && !said.contains(&message.english))
        .map(|(file, message)| format!("{file}:{}: {}", message.line, escaped(&message.english)))
        .collect();
    assert!(gone.is_empty(), "no source says this any more:\n{}", gone.join("\n"));
    let gone: Vec<String> = not_told().into_iter().filter(|text| !said.contains(text)).collect();
    assert!(gone.is_empty(), "not-told.txt: no source has this any more:\n{}", gone.join("\n"));
    let helped = texts_of_help(Args::command()).into_iter().chain(of_keys());
    let helped: BTreeSet<String> = helped.collect();
    let own = |message: &Message| {
        helped.contains(&message.english)
            || said.contains(&message.english)
            || CLAPS.contains(&&*message.english)
    };
    let gone: Vec<String> = messages()
        .into_iter()
        .filter(|(file, message)| *file == "help.po" && !own(message))
        .map(|(file, message)| format!("{file}:{}: {}", message.line, message.english))
        .collect();
    assert!(gone.is_empty(), "no help says this any more:\n{}", gone.join("\n"));
}

/// clap's own words (src/error/format.rs and src/output/help_template.rs of clap_builder).
const CLAPS: [&str; 26] = [
    "[default: {}]",
    "[possible values: {}]",
    "[subcommands: {}]",
    "unexpected argument '{}' found",
    "unrecognized subcommand '{}'",
    "a value is required for '{}' but none was supplied",
    "invalid value '{}' for '{}'",
    "invalid value '{}' for '{}': {}",
    "the argument '{}' cannot be used with '{}'",
    "the argument '{}' cannot be used with:",
    "the argument '{}' cannot be used multiple times",
    "the following required arguments were not provided:",
    "equal sign is needed when assigning values to '{}'",
    "unexpected value '{}' for '{}' found; no more were expected",
    "'{}' requires a subcommand but one was not provided",
    "tip: a similar argument exists: '{}'",
    "tip: some similar arguments exist: {}",
    "tip: a similar subcommand exists: '{}'",
    "tip: some similar subcommands exist: {}",
    "tip: a similar value exists: '{}'",
    "tip: some similar values exist: {}",
    "tip: to pass '{}' as a value, use '{}'",
    "For more information, try '{}'.",
    "Print help (see a summary with '-h')",
    "Print help (see more with '--help')",
    "Possible values:",
];

#[test]
fn both_sides_of_a_message_have_the_same_places() {
    let places = |text: &str| -> BTreeSet<String> {
        let places = parts(text).into_iter().filter_map(|part| match part {
            Part::Place(name) => Some(name),
            Part::Text(_) => None,
        });
        places.collect()
    };
    let mut seen = BTreeMap::new();
    for (file, message) in messages() {
        let at = format!("{file}:{}", message.line);
        let mut english = places(&message.english);
        for name in &message.without {
            assert!(english.remove(name), "{at}: there is no place {name}");
        }
        assert_eq!(english, places(&message.chinese), "{at}: {}", message.english);
        assert!(!message.chinese.is_empty(), "{at}: {} has no translation", message.english);
        if let Some(first) = seen.insert(message.english.clone(), at.clone()) {
            panic!("{at}: {first} has it already");
        }
    }
}

fn told(text: &str) -> String {
    in_chinese(|| localized(text).into_owned())
}

#[test]
fn templates_are_read_as_format_strings_are() {
    let place = |name: &str| Part::Place(name.into());
    let text = |text: &str| Part::Text(text.into());
    assert_eq!(
        parts("a {} {b:>6} {}"),
        [text("a "), place("0"), text(" "), place("b"), text(" "), place("1")]
    );
    assert_eq!(parts("`r: {{ s: {x} }}`"), [text("`r: { s: "), place("x"), text(" }`")]);
    assert_eq!(parts("`r: { s: release }`"), [text("`r: { s: release }`")]);
    assert_eq!(values(&parts("{} on {}{}"), "a on b, c"), Some(vec!["a", "b, c", ""]));
    assert_eq!(
        values(&parts("{a} and {b} more"), "x and y and 3 more"),
        Some(vec!["x", "y and 3"])
    );
    assert_eq!(values(&parts("x {a}"), "y"), None);
}

#[test]
fn what_is_told_is_chinese_with_its_values() {
    let cases = [
        ("set net.ipv4.ip_forward = 1 (now 0)", "设置 net.ipv4.ip_forward = 1（现在是 0）"),
        (
            "join the cluster as a control plane with kubeadm join",
            "用 kubeadm join 加入集群（作为控制平面）",
        ),
        ("connecting to 3 hosts", "连接 3 台主机"),
        (
            "1 core; kubeadm asks for 2 on a control plane, where the API server and etcd would wait for every pod",
            "1 核；kubeadm 要求控制平面有 2 核，否则 API server 和 etcd 要与每个 pod 争抢",
        ),
        (
            "can't log in to 198.51.100.10: ssh: connect to host 198.51.100.10 port 22: Connection refused",
            "无法登录 198.51.100.10：ssh: connect to host 198.51.100.10 port 22: Connection refused",
        ),
        (
            "error: can't read x: No such file or directory (os error 2)\n  = help: name a file that you can write to",
            "错误: 无法读取 x：No such file or directory (os error 2)\n  = 办法: 指定一个可写的文件",
        ),
        (
            "error[ssh-refused]: node01: it said nothing",
            "错误[ssh-refused]: node01: 它没有任何输出",
        ),
        (
            "error[clock-skew]: node01: its clock is 1 h 2 min behind the operator's: leases and etcd's timers suffer",
            "错误[clock-skew]: node01: 它的时钟比操作者的机器慢 1 h 2 min：租约和 etcd 的定时器会受影响",
        ),
        (
            "error[unknown-key]: unknown key `mirorrs`\n  --> a.yaml:9:1\n   |\n\nerror[unknown-value]: `runtime.kind` cannot be `dockr`",
            "错误[unknown-key]: 未知的键 `mirorrs`\n  --> a.yaml:9:1\n   |\n\n错误[unknown-value]: `runtime.kind` 不能是 `dockr`",
        ),
        ("1 error in a.log.", "a.log 中有 1 个错误。"),
        ("what nobody of us says, as kubeadm", "what nobody of us says, as kubeadm"),
    ];
    for (english, chinese) in cases {
        assert_eq!(told(english), chinese);
    }
    assert_eq!(localized("connecting to 3 hosts"), "connecting to 3 hosts");
}

/// What the other tests' goldens have is told in Chinese, the parts of texts that are put together too.
#[test]
fn the_goldens_are_chinese() {
    let mut english = Vec::new();
    let mut count = 0;
    let folders =
        ["kubewan/tests/goldens", "kubewan-core/tests/bad", "kubewan-core/src/plan/lint/snapshots"];
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let paths = fs::read_dir(root().join(folder)).unwrap().flatten().map(|entry| entry.path());
        files.extend(
            paths.filter(|path| path.extension().is_some_and(|e| e == "txt" || e == "snap")),
        );
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines() {
            let finding = ["error[", "warning["].iter().any(|begin| line.starts_with(begin));
            let said = match line.split_once("= help: ").or(line.split_once("  remedy: ")) {
                Some((_, help)) => help,
                None if finding => {
                    line.split_once("] ").or(line.split_once("]: ")).unwrap_or_default().1
                }
                None => continue,
            };
            // A host's name goes before the message, which is told by itself.
            let said = match said
                .split_once(": ")
                .filter(|(host, _)| finding && !host.contains([' ', '`']))
            {
                Some((_, said)) => said,
                None => said,
            };
            count += 1;
            // Some are as tests have them.
            if said.split(' ').count() < 4 {
                continue;
            }
            let told = told(said);
            if !told.contains(|sign: char| ('\u{4e00}'..'\u{a000}').contains(&sign)) {
                english.push(format!("{}: {said}", file.display()));
            }
        }
    }
    assert!(count > 150, "{count}");
    assert!(english.is_empty(), "{english:#?}");
}
