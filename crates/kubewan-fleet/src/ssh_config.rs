//! What the operator's own configuration of ssh says: which hosts it names, and, by `ssh -G`, what stands behind a name.
//! Only their names are read here; all else ssh itself says, which alone knows how its files are meant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::trust::{Resolved, resolved};

/// Files that include each other are followed so deep (ssh_config(5) allows 16).
const DEPTH: usize = 16;

/// What ssh makes of a destination, with everything that its files say.
///
/// # Errors
/// Says what ssh said.
pub fn meaning(destination: &str) -> Result<Resolved, String> {
    let output = Command::new("ssh")
        .args(["-G", "--", destination])
        .output()
        .map_err(|error| format!("ssh can't be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let seen = resolved(&String::from_utf8_lossy(&output.stdout));
    match seen.hostname.as_str() {
        "" => Err("`ssh -G` names no host".to_owned()),
        _ => Ok(seen),
    }
}

/// The hosts that a configuration names one by one, in its order; patterns name none.
pub fn hosts(config: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(config, config.parent().unwrap_or(Path::new(".")), 0, &mut found);
    found
}

fn collect(config: &Path, base: &Path, depth: usize, found: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(config) else { return };
    if depth > DEPTH {
        return;
    }
    for line in text.lines() {
        match keyword(line) {
            Some((key, words)) if key == "host" => {
                for word in words.iter().filter(|word| !word.contains(['*', '?', '!'])) {
                    if !found.contains(word) {
                        found.push(word.clone());
                    }
                }
            }
            Some((key, words)) if key == "include" => {
                for word in words {
                    for file in included(&word, base) {
                        collect(&file, base, depth + 1, found);
                    }
                }
            }
            _ => {}
        }
    }
}

/// A line's keyword in lower case, and its words, which may be quoted (ssh_config(5)).
pub(crate) fn keyword(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start().trim_start_matches('=');
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for c in rest.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            c if c.is_whitespace() && !is_quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            '#' if word.is_empty() && !is_quoted => break,
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Some((key.to_ascii_lowercase(), words))
}

/// The files of an `Include`, whose last part may have one `*`; a relative path starts at the configuration's folder.
fn included(path: &str, base: &Path) -> Vec<PathBuf> {
    let path = match path.strip_prefix("~/") {
        Some(rest) => base.parent().unwrap_or(base).join(rest),
        None => base.join(path),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((before, after)) = name.split_once('*') else { return vec![path] };
    let folder = path.parent().unwrap_or(base);
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let fits = |name: &str| {
        !name.starts_with('.')
            && name.len() >= before.len() + after.len()
            && name.starts_with(before)
            && name.ends_with(after)
    };
    let mut names: Vec<String> =
        names.map(|name| name.to_string_lossy().into_owned()).filter(|name| fits(name)).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_all_files_and_patterns_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            ".ssh/config",
            "# Host old\nInclude config.d/*.conf\nHost vps1 vps2 *.example\n  HostName 198.51.100.10\n\
             host=\"vps3\"\nHost *\n  User me\nMatch host a\nHost !no vps1\nHost a # b\n",
        );
        put(".ssh/config.d/b.conf", "Host second\nInclude ~/.ssh/config\n");
        put(".ssh/config.d/a.conf", "\tHost\tfirst\n");
        put(".ssh/config.d/c", "Host third\n");
        assert_eq!(
            hosts(&folder.path().join(".ssh/config")),
            ["first", "second", "vps1", "vps2", "vps3", "a"]
        );
        assert_eq!(hosts(&folder.path().join("none")), Vec::<String>::new());
    }
}
