//! Running programs: what is run is said first, and a failure says what it was.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Cargo, as this process was started by it.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a program with the terminal as its output.
pub fn show(command: &mut Command) -> Result<(), String> {
    eprintln!("==> {}", words(command));
    let status =
        command.status().map_err(|e| format!("`{}` can't be started: {e}", words(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", words(command))) }
}

/// Runs a program and gives every line of its output to `line` as well as to the terminal.
pub fn watch(command: &mut Command, mut line: impl FnMut(&str)) -> Result<(), String> {
    eprintln!("==> {}", words(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("`{}` can't be started: {e}", words(command)))?;
    let output = child.stdout.take().ok_or("no output")?;
    for text in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{text}");
        line(&text);
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", words(command))) }
}

/// Runs a program and returns what it printed.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("`{}` can't be started: {e}", words(command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed ({})", words(command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| e.to_string())
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

/// A line as the words that a shell would make of it.
#[cfg(test)]
pub fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
