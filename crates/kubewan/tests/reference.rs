//! docs/reference.md names every code that can be met, and none that can't. Its tables of keys and options are made here:
//! `UPDATE_GOLDENS=1 cargo test -p kubewan --test reference` writes them anew. docs/guide.md names only what there is.

#[path = "reference/commands.rs"]
mod commands;
#[path = "reference/versions.rs"]
mod versions;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kubewan_core::inventory::{self, Acceptance, Code, Profile};
use kubewan_core::plan::Phase;
use serde_json::Value;

/// What a finding's code follows in the sources.
const BEFORE_CODE: [&str; 5] =
    ["Finding::error(", "Finding::warning(", " about(", " cluster(", "refusal("];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn reference() -> String {
    fs::read_to_string(root().join("docs/reference.md")).unwrap()
}

fn sources() -> String {
    let mut text = String::new();
    for name in ["kubewan", "kubewan-core", "kubewan-fleet"] {
        let mut folders = vec![root().join("crates").join(name).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => text += &fs::read_to_string(path).unwrap(),
                }
            }
        }
    }
    text
}

/// A text literal that the text begins with.
fn literal(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix('"')?.split('"').next()
}

#[test]
fn every_finding_is_in_the_reference_and_exists() {
    let (reference, sources) = (reference(), sources());
    let in_sources: BTreeSet<&str> = BEFORE_CODE
        .iter()
        .flat_map(|before| sources.split(before).skip(1).filter_map(literal))
        .filter(|code| {
            !code.is_empty() && code.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric())
        })
        .collect();
    assert!(in_sources.len() > 30, "the sources are searched in the wrong way: {in_sources:?}");
    let (_, table) = reference.split_once("\n## Findings\n").unwrap();
    let (table, _) = table.split_once("\n### ").unwrap();
    let first_cells =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let documented: BTreeSet<&str> = first_cells
        .flat_map(|cell| cell.split('`').step_by(2))
        .filter(|code| !code.is_empty())
        .collect();
    let missing: Vec<&&str> = in_sources.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/reference.md: {missing:?}");
    let gone: Vec<&&str> =
        documented.iter().filter(|code| !sources.contains(&format!("\"{code}\""))).collect();
    assert!(gone.is_empty(), "only in docs/reference.md: {gone:?}");
}

#[test]
fn every_command_and_option_is_in_the_reference_and_in_both_readmes() {
    let kubewan = std::process::Command::new(env!("CARGO_BIN_EXE_kubewan"));
    let help = { kubewan }.arg("-h").env("LC_ALL", "C").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("\nCommands:\n").unwrap();
    let (commands, options) = commands.split_once("\n\n").unwrap();
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let texts = ["README.md", "README.zh-CN.md", "docs/reference.md"];
    let words = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = words.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 12, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        for text in texts {
            assert!(read(text).contains(&format!("| `kubewan {name}")), "{name} is not in {text}");
        }
    }
    let reference = reference();
    let (_, table) = reference.split_once("\n## What is told\n").unwrap();
    let (_, options) = options.split_once("Options of all commands:\n").unwrap();
    let (options, _) = options.split_once("\n\n").unwrap_or((options, ""));
    let named: Vec<&str> = options
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
        .collect();
    assert!(named.len() >= 4, "{named:?} in {options}");
    for name in named {
        assert!(table.contains(&format!("`--{name}")), "--{name} is not in docs/reference.md");
    }
}

#[test]
fn every_error_of_the_inventory_is_in_the_reference() {
    let reference = reference();
    for code in Code::ALL {
        let line = format!("| `{}` | {} |", code.name(), code.meaning());
        assert!(reference.contains(&line), "not in docs/reference.md: {line}");
    }
}

#[test]
fn everything_that_may_be_accepted_is_in_the_reference() {
    let reference = reference();
    let (_, section) = reference.split_once("\n### What may be accepted\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let cell = |text: String| if text.is_empty() { String::new() } else { format!("`{text}` ") };
    let lines: Vec<String> = Acceptance::ALL
        .iter()
        .map(|what| {
            let check = cell(what.preflight().unwrap_or_default().to_owned());
            let told =
                cell(what.kubelet().map_or(String::new(), |k| format!("{}=false", k.argument)));
            format!("| `{}` | {} | {check}| {told}|", what.code(), what.meaning())
        })
        .collect();
    let table: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(table, lines);
}

/// The text between a section's marks is `table`, or becomes so.
fn holds_between_marks(section: &str, table: &str) {
    let reference = reference();
    let (before, rest) = reference.split_once(&format!("<!-- {section}: ")).expect(section);
    let (mark, rest) = rest.split_once("-->\n").expect(section);
    let end = format!("<!-- end of {section} -->");
    let (found, after) = rest.split_once(&end).expect(section);
    let expected = format!("\n{table}\n");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        let text = format!("{before}<!-- {section}: {mark}-->\n{expected}{end}{after}");
        fs::write(root().join("docs/reference.md"), text).unwrap();
        return;
    }
    assert_eq!(found, expected, "docs/reference.md, {section}: see the head of this file");
}

#[test]
fn generated_tables_of_the_reference_are_those_of_the_code() {
    // One after the other: all are in one file.
    let options = options();
    assert!(options.contains("`--detailed-exitcode`") && options.contains("`lab impair`"));
    holds_between_marks("options", &options);
    let schema = inventory::schema();
    let mut keys = String::from("| key | takes | default | is |\n|---|---|---|---|\n");
    keys_of(&schema, &schema, "", &mut keys);
    assert!(keys.contains("| `hosts[].ssh.hostKey` |") && keys.contains("| `network.mtu` |"));
    holds_between_marks("keys", &keys);
    holds_between_marks("profiles", &profiles());
    holds_between_marks("images", &versions::images());
    holds_between_marks("hosts", &versions::hosts());
    holds_between_marks("marks", &versions::marks());
    holds_between_marks("arguments", &versions::arguments());
    holds_between_marks("doctor", &doctor());
}

/// A line for each check of the doctor's.
fn doctor() -> String {
    let mut lines = String::from("| code | means | looks at |\n|---|---|---|\n");
    for check in kubewan_doctor::checks::CHECKS {
        lines +=
            &format!("| `{}` | {} | {} |\n", check.code, cell(check.means), cell(check.looks_at));
    }
    lines
}

/// docs/support.md says of each check where its fault is made, and the lab test that it names knows the check.
#[test]
fn support_says_where_each_check_was_seen() {
    let text = fs::read_to_string(root().join("docs/support.md")).unwrap();
    let (_, table) = text.split_once("<!-- doctor -->").expect("the table's begin");
    let (table, _) = table.split_once("<!-- end of doctor -->").expect("the table's end");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let codes: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let checks: Vec<&str> = kubewan_doctor::checks::CHECKS.iter().map(|check| check.code).collect();
    assert_eq!(codes, checks, "one row for each check, in their order");
    for row in &rows {
        let code = row[0].trim_matches('`');
        let Some(story) = row[1].strip_prefix("lab `") else {
            assert_eq!(row[1], "recorded", "{code}");
            let file = row[2].strip_prefix('`').and_then(|rest| rest.split('`').next());
            let file = root().join("crates/kubewan-doctor/tests/pasted").join(file.expect(code));
            assert!(file.exists(), "{code}: {}", file.display());
            continue;
        };
        let (story, way) = story.split_once("` ").expect(code);
        assert!(matches!(way, "F" | "H" | "found" | "not run"), "{code}: {way}");
        let told = ["doctor", story].map(story_source).concat();
        assert!(told.contains(&format!(" {code}\"")), "{code} is not in the lab test {story}");
    }
}

/// A lab test's source, with the files beside it.
fn story_source(name: &str) -> String {
    let lab = root().join("crates/kubewan/tests/lab");
    let beside = fs::read_dir(lab.join(name)).into_iter().flatten().flatten();
    let paths = beside.map(|entry| entry.path()).chain([lab.join(format!("{name}.rs"))]);
    { paths }
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// What each profile says, and where that is known from.
fn profiles() -> String {
    let mut lines = String::from("| profile | key | value | source |\n|---|---|---|---|\n");
    for profile in Profile::ALL {
        for setting in profile.settings() {
            let (key, source) = (setting.path(), setting.source);
            let values: Vec<String> = setting.values.iter().map(|v| format!("`{v}`")).collect();
            let values = values.join("<br>");
            lines += &format!("| `{}` | `{key}` | {values} | {source} |\n", profile.name());
        }
    }
    lines
}

/// A cell of a table: one line, and no end of the cell in it.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// What `$ref` leads to.
fn followed<'a>(schema: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(path) => schema.pointer(path.trim_start_matches('#')).expect(path),
        None => value,
    }
}

/// A line for each key of an object and of the objects in it, in the order of the types.
fn keys_of(schema: &Value, object: &Value, prefix: &str, lines: &mut String) {
    let required = object["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, property) in object["properties"].as_object().into_iter().flatten() {
        let kind = followed(schema, property);
        let is = cell(property["description"].as_str().expect("every key has a description"));
        let path = format!("{prefix}{name}");
        let default = match &property["default"] {
            _ if required.contains(&Value::from(name.as_str())) => "required".to_owned(),
            Value::Null | Value::Object(_) | Value::Array(_) => String::new(),
            value => format!("`{}`", value.as_str().map_or(value.to_string(), str::to_owned)),
        };
        *lines += &format!("| `{path}` | {} | {default} | {is} |\n", takes(schema, kind));
        keys_of(schema, kind, &format!("{path}."), lines);
        if kind["type"] == "array" {
            keys_of(schema, followed(schema, &kind["items"]), &format!("{path}[]."), lines);
        }
    }
}

/// Which values a key takes.
fn takes(schema: &Value, kind: &Value) -> String {
    let words = kind["oneOf"].as_array().into_iter().flatten();
    let words: Vec<String> = words
        .map(|word| (&word["const"], &word["description"]))
        .map(|(word, is)| (word.as_str().expect("a word"), cell(is.as_str().unwrap_or_default())))
        .map(|(word, is)| format!("`{word}`: {is}"))
        .collect();
    if !words.is_empty() {
        return words.join("<br>");
    }
    if kind["anyOf"][0]["type"] == "string" {
        return "text, or a list of which one is chosen".into();
    }
    let between = |least: &str, most: &str| match (&kind[least], &kind[most]) {
        (Value::Number(least), Value::Number(most)) => format!(", {least} to {most}"),
        _ => String::new(),
    };
    match kind["type"].as_str().expect("every key has a type") {
        "string" => "text".into(),
        "boolean" => "`true`, `false`".into(),
        "integer" => format!("a number{}", between("minimum", "maximum")),
        "array" if kind["items"]["$ref"] == "#/$defs/Acceptance" => {
            "[codes of findings](#what-may-be-accepted)".into()
        }
        "array" => match takes(schema, followed(schema, &kind["items"])) {
            items if items.starts_with('`') => format!("a list of<br>{items}"),
            items => format!("a list: {items}"),
        },
        "object" if kind["properties"].is_object() => "the keys below".into(),
        "object" if kind["additionalProperties"]["anyOf"].is_array() => {
            "keys and values, each text or a list of which one is chosen".into()
        }
        "object" => "keys and values".into(),
        other => panic!("the reference has no word for {other}"),
    }
}

/// The options of all commands but those that all have; commands with the same one share a line.
fn options() -> String {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for command in commands(&[]) {
        for option in options_of(&command) {
            let name = format!("`{}`", command.join(" "));
            match lines.iter_mut().find(|(line, _)| *line == option) {
                Some((_, names)) => names.push(name),
                None => lines.push((option, vec![name])),
            }
        }
    }
    let rows = lines.iter().map(|(option, names)| format!("| {} | {option} |\n", names.join(", ")));
    format!("| command | option | does |\n|---|---|---|\n{}", rows.collect::<String>())
}

/// All commands that have none below them.
fn commands(parent: &[String]) -> Vec<Vec<String>> {
    let help = help(parent);
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return vec![parent.to_vec()] };
    let (list, _) = list.split_once("\n\n").unwrap_or((list, ""));
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let child = |name: &str| parent.iter().cloned().chain([name.to_owned()]).collect::<Vec<_>>();
    names.filter(|name| *name != "help").flat_map(|name| commands(&child(name))).collect()
}

fn help(command: &[String]) -> String {
    let kubewan = std::process::Command::new(env!("CARGO_BIN_EXE_kubewan"));
    let output = { kubewan }.args(command).arg("-h").env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A command's options as cells of a table: what is typed, and what it does.
fn options_of(command: &[String]) -> Vec<String> {
    let help = help(command);
    let Some((_, list)) = help.split_once("\nOptions:\n") else { return Vec::new() };
    let (list, _) = list.split_once("\n\n").unwrap_or((list, ""));
    let mut options: Vec<(String, String)> = Vec::new();
    for line in list.lines() {
        let trimmed = line.trim_start();
        // clap begins an option in column 2 or, where it has no short form, in column 6.
        if line.len() - trimmed.len() <= 6 && trimmed.starts_with('-') {
            let (typed, does) = trimmed.split_once("  ").unwrap_or((trimmed, ""));
            options.push((typed.into(), does.into()));
        } else if let Some((_, does)) = options.last_mut() {
            *does = format!("{does} {trimmed}");
        }
    }
    let asked = options.into_iter().filter(|(typed, _)| !typed.ends_with("--help"));
    asked.map(|(typed, does)| format!("`{}` | {}", cell(&typed), cell(&does))).collect()
}

/// Names of the variants or fields of a public type, as they stand in a source file.
fn parts(file: &str, head: &str) -> Vec<String> {
    let source = fs::read_to_string(root().join("crates").join(file)).unwrap();
    let (_, body) = source.split_once(&format!("{head} {{\n")).expect(head);
    let (body, _) = body.split_once("\n}").unwrap();
    let lines = body.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    let names = lines.map(|line| line.trim().trim_start_matches("pub "));
    let names = names.filter(|line| line.starts_with(|first: char| first.is_alphabetic()));
    let names = names.filter_map(|line| line.split([' ', ':', '(', ',', '{']).next());
    names.map(str::to_owned).collect()
}

fn section(reference: &str, head: &str) -> String {
    let (_, section) = reference.split_once(&format!("\n## {head}\n")).expect(head);
    section.split("\n## ").next().unwrap_or_default().to_owned()
}

fn first_cells(section: &str) -> BTreeSet<String> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(str::to_owned).collect()
}

#[test]
fn events_checks_phases_and_fields_are_in_the_reference() {
    let reference = reference();
    let kebab = |name: String| {
        let small = name.chars().flat_map(|c| match c.is_uppercase() {
            true => vec!['-', c.to_ascii_lowercase()],
            false => vec![c],
        });
        small.collect::<String>().trim_start_matches('-').to_owned()
    };
    let events = parts("kubewan-core/src/event.rs", "pub enum Event");
    let events: BTreeSet<String> = events.into_iter().map(kebab).collect();
    let mut documented = first_cells(&section(&reference, "Events"));
    documented.remove("event"); // the table's head
    assert_eq!(documented, events);

    let sources = sources();
    let made = [".tell(", ".tell_outcome(", "Proof { check: "];
    let made = made.iter().flat_map(|before| sources.split(before).skip(1));
    let made: BTreeSet<String> = made
        .filter_map(literal)
        .filter(|name| name.bytes().all(|b| b == b'-' || b.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect();
    assert_eq!(first_cells(&section(&reference, "Checks")), made);

    let phases = Phase::ALL.map(|phase| format!("`{}`", phase.name())).join(", ");
    assert!(reference.contains(&format!("| `phase` | {phases}, in this order |")), "{phases}");

    let documents = section(&reference, "JSON documents") + &section(&reference, "Events");
    for (file, head) in [
        ("kubewan/src/commands/status.rs", "pub struct Status"),
        ("kubewan/src/commands/status.rs", "pub struct HostStatus"),
        ("kubewan/src/commands/bundle.rs", "struct Check"),
        ("kubewan/src/report/plan_view.rs", "pub struct Summary"),
        ("kubewan-core/src/plan/mod.rs", "pub struct Step"),
        ("kubewan-core/src/action/mod.rs", "pub struct Change"),
        ("kubewan-core/src/finding.rs", "pub struct Finding"),
        ("kubewan-core/src/event.rs", "pub struct Proof"),
        ("kubewan-core/src/event.rs", "pub struct StepNews"),
        ("kubewan-core/src/network/ports.rs", "pub struct Port"),
    ] {
        let fields = parts(file, head);
        assert!(fields.len() > 2, "{head}: {fields:?}");
        for field in fields {
            assert!(documents.contains(&format!("`{field}`")), "{head} has `{field}`");
        }
    }
}

/// The guide's code blocks of a language, without what indents them.
fn blocks<'a>(guide: &'a str, language: &str) -> Vec<Vec<&'a str>> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let mut inside = None;
    for line in guide.lines() {
        match (line.trim_start().strip_prefix("```"), inside) {
            (Some(_), Some(_)) => inside = None,
            (Some(found), None) => {
                inside = Some((line.len() - line.trim_start().len(), found == language));
                if found == language {
                    blocks.push(Vec::new());
                }
            }
            (None, Some((indent, true))) => {
                blocks.last_mut().expect("pushed before").push(line.get(indent..).unwrap_or(""));
            }
            _ => {}
        }
    }
    blocks
}

#[test]
fn the_guide_names_only_what_there_is() {
    let reference = reference();
    let guide = fs::read_to_string(root().join("docs/guide.md")).unwrap();
    let known = section(&reference, "Findings") + &section(&reference, "Errors of the inventory");

    let is_row = |line: &&str| line.starts_with('|');
    let tables = guide.split("\n| finding |").skip(1);
    let rows = tables.flat_map(|table| table.lines().skip(2).take_while(is_row));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let codes: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(codes.len() > 40, "{codes:?}");
    for code in codes {
        assert!(known.contains(&format!("`{code}`")), "the guide names a finding {code}");
    }

    let commands: BTreeSet<String> = commands(&[]).iter().map(|c| c[0].clone()).collect();
    let options = section(&reference, "Commands") + &section(&reference, "What is told");
    let options: BTreeSet<&str> =
        options.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).collect();
    let lines = ["sh", ""].into_iter().flat_map(|language| blocks(&guide, language)).flatten();
    let calls: Vec<&str> =
        lines.filter_map(|l| l.trim_start_matches("$ ").strip_prefix("kubewan ")).collect();
    assert!(calls.len() > 30, "{calls:?}");
    for call in calls {
        let call = call.split(" #").next().unwrap_or_default();
        let mut words = call.split_whitespace().take_while(|word| !["|", ">"].contains(word));
        let command = words.clone().find(|word| !word.starts_with('-')).unwrap_or_default();
        assert!(commands.contains(command), "the guide calls `kubewan {call}`");
        if ["ssh", "kubectl"].contains(&command) {
            continue;
        }
        for option in words.by_ref().filter(|word| word.starts_with("--")) {
            let option = option.split('=').next().unwrap_or_default();
            assert!(options.contains(option), "the guide calls `kubewan {call}`");
        }
    }

    let inventories = blocks(&guide, "yaml");
    assert!(inventories.len() > 4);
    for block in inventories {
        let has = |key: &str| block.iter().any(|line| line.starts_with(key));
        let mut text: Vec<&str> = block.clone();
        let hosts =
            ["hosts:", "  - { name: control, address: 203.0.113.77, roles: [control-plane] }"];
        for (key, line) in
            [("name:", "name: home"), ("kubernetes:", "kubernetes: { version: \"1.36.2\" }")]
        {
            text.extend((!has(key)).then_some(line));
        }
        match block.iter().position(|line| *line == "hosts:") {
            Some(at) if !block.iter().any(|line| line.contains("control-plane")) => {
                text.insert(at + 1, hosts[1]);
            }
            Some(_) => {}
            None => text.extend(hosts),
        }
        let text = text.join("\n") + "\n";
        if let Err(errors) = inventory::parse("guide", &text) {
            panic!("{errors}\n{text}");
        }
    }
}
