//! `kubewan man`: the manual, one page for each command, from the same texts as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Args, ManArgs};
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;

/// Writes all pages into a folder, or prints the first one.
pub fn run(args: &ManArgs) -> Result<Code, Failure> {
    let pages =
        pages().map_err(|error| Failure::new(Code::Failed, error, "this is a fault of kubewan"))?;
    let Some(folder) = &args.dir else {
        // The program's own page comes first.
        report::data(&String::from_utf8_lossy(&pages[0].1));
        return Ok(Code::Done);
    };
    write(folder, &pages).map_err(|error| {
        let said = format!("can't write the manual to {}: {error}", folder.display());
        Failure::new(Code::Failed, said, "name a folder that you can write to")
    })?;
    let count = pages.len();
    report::note(&format!("{count} pages are in {}: man -l {0}/kubewan.1", folder.display()));
    Ok(Code::Done)
}

fn write(folder: &Path, pages: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    pages.iter().try_for_each(|(name, page)| fs::write(folder.join(name), page))
}

/// All pages, with their files' names.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = Args::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add(&program, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let man = Man::new(command.clone()).manual("kubewan").source(source());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let help = AfterHelp::of(command);
    for paragraph in help.notes {
        let mut roff = Roff::default();
        roff.control("PP", []).text([roman(paragraph)]);
        roff.to_writer(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    examples(&help.examples, &mut page)?;
    exit_status(&mut page)?;
    pages.push((man.get_filename(), page));
    command.get_subcommands().try_for_each(|below| add(below, pages))
}

fn source() -> String {
    format!("kubewan {}", env!("CARGO_PKG_VERSION"))
}

/// What `--help` ends with, in parts.
#[derive(Debug, Default, PartialEq, Eq)]
struct AfterHelp {
    examples: Vec<String>,
    notes: Vec<String>,
}

impl AfterHelp {
    fn of(command: &Command) -> AfterHelp {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mut help = AfterHelp::default();
        for paragraph in text.split("\n\n") {
            let (head, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
            match head {
                "Example:" | "Examples:" => help.examples.extend(rest.lines().map(str::to_owned)),
                // Every page has a section of its own on them.
                "" => {}
                _ if head.starts_with("Exit codes:") => {}
                _ => help.notes.push(paragraph.replace('\n', " ")),
            }
        }
        help
    }
}

/// As they stand in `--help`, column for column.
fn examples(lines: &[String], page: &mut impl Write) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut roff = Roff::default();
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in lines {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    roff.to_writer(page)
}

fn exit_status(page: &mut impl Write) -> io::Result<()> {
    let mut roff = Roff::default();
    roff.control("SH", ["EXIT STATUS"]);
    for code in Code::ALL {
        roff.control("TP", []);
        roff.text([bold((code as u8).to_string())]).text([roman(code.meaning().replace('`', ""))]);
    }
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_examples_and_exit_codes() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "kubewan.1");
        for name in ["kubewan-up.1", "kubewan-bundle-check.1", "kubewan-lab-up.1", "kubewan-man.1"]
        {
            assert!(names.contains(&name), "{names:?}");
        }
        for (name, page) in &pages {
            let page = String::from_utf8(page.clone()).unwrap();
            assert!(page.starts_with(".ie"), "{name}:\n{page}");
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\""] {
                assert_eq!(
                    page.matches(&format!(".SH {section}\n")).count(),
                    1,
                    "{name}: {section}"
                );
            }
            assert!(page.contains("a host can\\*(Aqt be reached"), "{name}:\n{page}");
            assert!(
                !page.contains("Examples:") && !page.contains("Exit codes:"),
                "{name}:\n{page}"
            );
        }
        let up = pages.iter().find(|(name, _)| name == "kubewan-up.1").unwrap();
        let up = String::from_utf8(up.1.clone()).unwrap();
        assert!(up.contains("kubewan up \\-\\-yes \\-o json > run.jsonl"), "{up}");
        assert!(up.contains(".PP\nIt is safe to run again at any time"), "{up}");
    }

    #[test]
    fn helps_end_is_read_in_parts() {
        let command =
            Command::new("x").after_help("Examples:\n  x a\n  x b\n\nOne.\nTwo.\n\nExit codes: 0");
        let help = AfterHelp::of(&command);
        assert_eq!(help.examples, ["  x a", "  x b"]);
        assert_eq!(help.notes, ["One. Two."]);
    }
}
