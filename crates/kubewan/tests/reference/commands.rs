//! The commands that the documents name.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::root;

/// Where users read commands.
const DOCUMENTS: [&str; 10] = [
    "README.md",
    "README.zh-CN.md",
    "docs/guide.md",
    "docs/recipe.md",
    "docs/reference.md",
    "docs/support.md",
    "docs/bundle.md",
    "docs/lab.md",
    "docs/benchmarks.md",
    "docs/comparison.md",
];

/// Commands that pass on what follows them.
const PASSING_ON: [&[&str]; 3] = [&["kubectl"], &["ssh"], &["lab", "exec"]];

/// Every command of a text: between backticks, and at the beginning of a line of code, where it ends at a comment or at another
/// program.
fn commands(text: &str) -> BTreeSet<String> {
    let (mut in_code, mut all) = (false, Vec::new());
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            all.push(line);
        } else {
            all.extend(line.split('`').skip(1).step_by(2));
        }
    }
    let all = all.into_iter().filter_map(|command| command.strip_prefix("kubewan "));
    let ends = [" #", " | ", " > ", " < ", " && ", "; "];
    let cut = |command: &str| {
        let end = ends.iter().filter_map(|end| command.find(end)).min().unwrap_or(command.len());
        command[..end].trim().to_owned()
    };
    all.map(cut).filter(|command| !command.is_empty()).collect()
}

/// One command for each choice: of `a\|b`, and of what stands in brackets its own.
fn spelled_out(command: &str) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    let bare = command
        .replace(",…", "")
        .replace("[=", "=")
        .replace(['[', ']', '…', '\'', '"'], " ")
        .replace(" \\| ", " ")
        .replace("\\|-", " -");
    for word in bare.split_whitespace() {
        let choices: Vec<&str> = word.split("\\|").collect();
        all = all
            .into_iter()
            .flat_map(|before| {
                choices.iter().map(move |choice| {
                    before.iter().cloned().chain([(*choice).to_owned()]).collect()
                })
            })
            .collect();
    }
    all
}

#[test]
fn every_command_that_a_document_names_is_one() {
    let mut tried = BTreeSet::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let all: Vec<Vec<String>> =
            commands(&text).iter().flat_map(|command| spelled_out(command)).collect();
        for mut words in all {
            if let Some(own) = PASSING_ON
                .iter()
                .find(|own| words.len() >= own.len() && own.iter().zip(&words).all(|(a, b)| a == b))
            {
                words.truncate(own.len());
            }
            if !tried.insert(words.clone()) {
                continue;
            }
            let output =
                Command::new(env!("CARGO_BIN_EXE_kubewan")).args(&words).arg("--help").output();
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // An option may be named without its value, and `N` stands for one.
            let wrong =
                said.split("invalid value '").nth(1).and_then(|rest| rest.split('\'').next());
            let stands_for =
                wrong.is_some_and(|value| value.bytes().all(|b| b.is_ascii_uppercase()));
            let is_one =
                output.status.success() || stands_for || said.contains("a value is required for '");
            assert!(is_one, "{document}: `kubewan {}`: {said}", words.join(" "));
        }
    }
    assert!(tried.len() > 60, "{tried:?}");
}
