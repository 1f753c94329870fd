use super::super::language::of_test::in_chinese;
use super::*;
use crate::args::Args;
use clap::CommandFactory;

fn rendered(command: &Command, long: bool) -> String {
    let mut command = command.clone().term_width(0);
    let help = if long { command.render_long_help() } else { command.render_help() };
    help.to_string()
}

/// Every text of a command's help and of all below it.
pub fn texts_of_help(mut command: Command) -> Vec<String> {
    fn collect(command: &Command, texts: &mut Vec<String>) {
        for long in [false, true] {
            for line in lines(&rendered(command, long)) {
                if !line.text.starts_with("Usage: ") && !line.text.is_empty() {
                    texts.push(line.text);
                }
            }
        }
        command.get_subcommands().for_each(|below| collect(below, texts));
    }
    command.build();
    let mut texts = vec!["Usage:".to_owned()];
    collect(&command, &mut texts);
    texts
}

fn help(words: &[&str], columns: usize) -> String {
    in_chinese(|| {
        let command = in_language(Args::command());
        let error = command.try_get_matches_from(words).unwrap_err();
        style::plain(&told(&error.render().ansi().to_string(), columns))
    })
}

#[test]
fn help_is_chinese() {
    insta::assert_snapshot!("help", help(&["kubewan", "--help"], 100));
    insta::assert_snapshot!("help_of_up", help(&["kubewan", "up", "-h"], 80));
    insta::assert_snapshot!("help_of_init", help(&["kubewan", "init", "--help"], 80));
}

#[test]
fn no_line_of_help_is_wider_than_the_terminal() {
    for words in
        [["kubewan", "up", "--help"], ["kubewan", "doctor", "-h"], ["kubewan", "lab", "-h"]]
    {
        for line in help(&words, 80).lines() {
            let is_whole = line.contains('`') || line.trim_start().starts_with("kubewan");
            assert!(style::width(line) <= 80 || is_whole, "{line}");
        }
    }
}

#[test]
fn notes_of_claps_are_taken_off() {
    let line = "  -f, --file <FILE>  The inventory [default: cluster.yaml]";
    let line = taken_apart(line);
    assert_eq!(
        (line.head.as_str(), line.text.as_str()),
        ("  -f, --file <FILE>  ", "The inventory")
    );
    assert_eq!(line.notes, ["[default: cluster.yaml]"]);
}
