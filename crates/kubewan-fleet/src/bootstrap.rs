//! How a host gets the agent and starts it, over the same connection that then speaks the agent's protocol.
//!
//! The remote side of the talk is one POSIX shell script:
//!
//! | the host says | we answer |
//! |---|---|
//! | `kubewan-host NONCE Linux x86_64` | `SHA256` of the program for that machine |
//! | `kubewan-have NONCE` | nothing |
//! | `kubewan-noexec NONCE`, `kubewan-bad NONCE` | nothing: it ends |
//! | `kubewan-need NONCE` | `BYTES`, and that many bytes of gzip |
//! | `kubewan-agent NONCE` (the agent itself) | requests |
//!
//! Where sudo asks for a password, it does so with `kubewan-sudo NONCE` on standard error, before all that.
//!
//! The nonce tells our lines from a login shell's banner. But for that number we never write ahead of an answer, so it
//! does no harm that some tools read more than they were asked to; `read` takes its line and no byte more (POSIX).

/// Where agents live on a host, each in a folder with the name of its SHA-256.
pub const AGENTS: &str = "/var/lib/kubewan/agent";

/// How the script becomes root where the login is another user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sudo {
    /// Without being asked.
    Silent,
    /// Its question is marked, and answered over standard input.
    Asking,
}

/// What sudo asks with, on standard error.
pub fn sudo_prompt(nonce: &str) -> String {
    format!("kubewan-sudo {nonce}")
}

/// Becomes root and runs its first argument. Neither script holds a single quote, backslash, newline or exclamation
/// mark: login shells from csh to fish then hand them on as they are.
fn become_root(nonce: &str, sudo: Sudo) -> String {
    let sudo = match sudo {
        Sudo::Silent => "sudo -n".to_owned(),
        // It reads one line and not a byte more, so that the script finds its own.
        Sudo::Asking => format!("sudo -S -p \"{}\"", sudo_prompt(nonce)),
    };
    // sudo's words are read, and its own prompt only takes the place of an English one.
    format!(
        "LC_ALL=C; export LC_ALL; if [ \"$(id -u)\" = 0 ]; then exec sh -c \"$1\" kubewan; else exec {sudo} sh -c \"$1\" \
         kubewan; fi"
    )
}

/// The remote command for one connection.
pub fn remote_command(nonce: &str, sudo: Sudo) -> String {
    format!("sh -c '{}' kubewan '{}'", become_root(nonce, sudo), script(nonce))
}

fn script(nonce: &str) -> String {
    let sum = |path: &str| format!("\"$(sha256sum {path} 2>/dev/null | cut -c1-64)\" = \"$sha\"");
    [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH",
        "LC_ALL=C",
        "export PATH LC_ALL",
        "umask 077",
        &format!("echo kubewan-host {nonce} $(uname -s) $(uname -m)"),
        "read -r sha || exit 70",
        &format!("d={AGENTS}/$sha"),
        "f=$d/kubewan",
        // To take the sum takes longer than all the rest, so a file that was found whole since the host was booted is
        // not read again until it changes. A program can set a file's other times, but not that of its last change
        // (inode(7)); what was not on disk when the power went, another boot finds.
        "w=$d/whole",
        "h=",
        "k=",
        "s=$(stat -c \"%d %i %s %y %z\" $f 2>/dev/null)",
        "b=/proc/sys/kernel/random/boot_id",
        "[ -n \"$s\" ] && [ -r $b ] && read -r k < $b && k=\"$k $s\"",
        "[ -n \"$k\" ] && [ -f $w ] && read -r h < $w",
        // Folders that were made for nothing go again.
        "n=$d/new.$$",
        "gone() { rm -f $n; rmdir -p $d 2>/dev/null; echo $1; exit 71; }",
        // Another build's agent may serve another run at this moment, which starts it again for each of its phases.
        "used() { ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q $1/; }",
        // An empty file is a script that a shell runs, unless the file system is mounted noexec.
        &format!(
            "if [ -n \"$k\" ] && [ \"$h\" = \"$k\" ]; then echo kubewan-have {nonce}; \
             elif [ {have} ]; then [ -z \"$k\" ] || echo \"$k\" > $w; echo kubewan-have {nonce}; else \
             mkdir -p $d && touch $n && chmod 700 $n || gone \"kubewan-bad {nonce}\"; \
             $n 2>/dev/null || gone \"kubewan-noexec {nonce}\"; \
             echo kubewan-need {nonce}; \
             read -r size || gone \"kubewan-bad {nonce}\"; \
             head -c $size | gzip -dc > $n && [ {got} ] && mv -f $n $f || gone \"kubewan-bad {nonce}\"; \
             for o in {AGENTS}/*; do [ $o = $d ] || used $o || rm -rf $o; done; fi",
            have = sum("$f"),
            got = sum("$n"),
        ),
        // What the agent writes gets its mode from the agent.
        "umask 022",
        &format!("exec $f agent serve {nonce}"),
    ]
    .join("; ")
}

/// A line that the host says before the agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The script runs as root on such a machine.
    Host {
        /// `uname -s`.
        system: String,
        /// `uname -m`.
        machine: String,
    },
    /// The agent is there already.
    Have,
    /// The agent has to be sent.
    Need,
    /// What is sent can't be stored.
    Bad,
    /// Nothing can be executed where it would be stored.
    NoExec,
    /// The agent runs; frames follow.
    Agent,
}

/// Reads a line; `None` for a banner's. A banner without a newline at its end may stand before ours.
pub fn understand(line: &str, nonce: &str) -> Option<Said> {
    let (before, after) = line.split_once(nonce)?;
    let mut words = after.split_whitespace();
    match before.trim_end() {
        text if text.ends_with("kubewan-host") => {
            Some(Said::Host { system: words.next()?.to_owned(), machine: words.next()?.to_owned() })
        }
        text if text.ends_with("kubewan-have") => Some(Said::Have),
        text if text.ends_with("kubewan-need") => Some(Said::Need),
        text if text.ends_with("kubewan-bad") => Some(Said::Bad),
        text if text.ends_with("kubewan-noexec") => Some(Said::NoExec),
        text if text.ends_with("kubewan-agent") => Some(Said::Agent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn every_login_shell_hands_the_scripts_on() {
        let root = [Sudo::Silent, Sudo::Asking].map(|sudo| become_root("00ff", sudo));
        for text in root.into_iter().chain([script("00ff")]) {
            assert!(!text.contains(['\'', '\\', '\n', '!']), "{text}");
        }
    }

    #[test]
    fn the_command_is_valid_for_a_shell() {
        for sudo in [Sudo::Silent, Sudo::Asking] {
            let command = remote_command("00ff", sudo);
            let status = Command::new("sh").args(["-n", "-c", &command]).status().unwrap();
            assert!(status.success());
        }
        let status = Command::new("sh").args(["-n", "-c", &script("00ff")]).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn banners_are_skipped() {
        let nonce = "00ff";
        assert_eq!(understand("Welcome to Debian!", nonce), None);
        assert_eq!(understand("kubewan-host 1234 Linux x86_64", nonce), None);
        let host = Said::Host { system: "Linux".into(), machine: "x86_64".into() };
        assert_eq!(understand("kubewan-host 00ff Linux x86_64", nonce), Some(host.clone()));
        assert_eq!(understand("no newline: kubewan-host 00ff Linux x86_64", nonce), Some(host));
        assert_eq!(understand("kubewan-agent 00ff", nonce), Some(Said::Agent));
    }

    /// The script itself, run here up to the point where it would write below /var/lib.
    #[test]
    fn a_program_that_is_sent_arrives_whole() {
        use flate2::{Compression, write::GzEncoder};
        let root = tempfile::tempdir().unwrap();
        let program = b"#!/bin/sh\necho kubewan-agent $3; cat\n";
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(program).unwrap();
        let gzip = gzip.finish().unwrap();
        let sha = kubewan_core::sha256_hex(program);
        let script = script("00ff").replace(AGENTS, &root.path().display().to_string());
        let talk = |bytes: &[u8]| {
            let mut child = Command::new("sh")
                .args(["-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut input = child.stdin.take().unwrap();
            // dash reads no further than the newline, so the answers need not be waited for here.
            writeln!(input, "{sha}").unwrap();
            input.write_all(bytes).unwrap();
            drop(input);
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        let sized = |bytes: &[u8]| [format!("{}\n", gzip.len()).as_bytes(), bytes].concat();
        let cut = talk(&sized(&gzip[..gzip.len() / 2]));
        assert_eq!(cut, ["kubewan-need 00ff", "kubewan-bad 00ff"]);
        assert!(!root.path().exists(), "what was made for nothing is gone");
        let mut first = sized(&gzip);
        first.extend(b"frames\n");
        assert_eq!(talk(&first), ["kubewan-need 00ff", "kubewan-agent 00ff", "frames"]);
        std::fs::create_dir(root.path().join("older")).unwrap();
        assert_eq!(talk(b"frames\n"), ["kubewan-have 00ff", "kubewan-agent 00ff", "frames"]);
        assert!(root.path().join("older").exists());
        // It is known to be whole until it changes, be it in its size and with its old mtime.
        let file = root.path().join(&sha).join("kubewan");
        let known = std::fs::read_to_string(root.path().join(&sha).join("whole")).unwrap();
        assert_eq!(known.split(' ').nth(3).unwrap(), program.len().to_string(), "{known}");
        assert_eq!(talk(b"frames\n"), ["kubewan-have 00ff", "kubewan-agent 00ff", "frames"]);
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        let mut other = program.to_vec();
        other[12] ^= 1;
        std::fs::write(&file, other).unwrap();
        let times = std::fs::FileTimes::new().set_modified(modified);
        std::fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
        assert_eq!(talk(&first), ["kubewan-need 00ff", "kubewan-agent 00ff", "frames"]);
        std::fs::remove_dir_all(root.path().join(&sha)).unwrap();
        std::fs::create_dir(root.path().join("older")).unwrap();
        let older = root.path().join("older/kubewan");
        // By another process: one of ours that is forked meanwhile would hold it open for writing.
        assert!(Command::new("cp").arg("/bin/sleep").arg(&older).status().unwrap().success());
        let mut run = Command::new(&older).arg("60").spawn().unwrap();
        talk(&first);
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(older.exists(), "one that runs stays");
        std::fs::remove_dir_all(root.path().join(&sha)).unwrap();
        talk(&first);
        assert!(!root.path().join("older").exists(), "a new agent takes the place of older ones");
    }
}
