//! The smoke image: one layer with one static program, as a docker archive, which containerd imports in every version.

use std::io::Write;

use serde_json::json;

use crate::program::Program;

/// Bytes of a tar block (POSIX.1-1988 ustar).
const BLOCK: usize = 512;

/// An image's reference and its archive. The same program gives the same bytes.
pub fn archive(program: &Program, arch: &str) -> (String, Vec<u8>) {
    let reference = format!("kubewan.local/smoke:{}", &program.sha256[..12]);
    let layer = tar(&[("kubewan", &program.bytes, 0o755)]);
    let diff_id = format!("sha256:{}", kubewan_core::sha256_hex(&layer));
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "config": { "Entrypoint": ["/kubewan", "smoke-server"] },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    })
    .to_string();
    let config_name = format!("{}.json", kubewan_core::sha256_hex(config.as_bytes()));
    let manifest =
        json!([{ "Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"] }])
            .to_string();
    let archive = tar(&[
        ("manifest.json", manifest.as_bytes(), 0o644),
        (&config_name, config.as_bytes(), 0o644),
        ("layer.tar", &layer, 0o644),
    ]);
    (reference, archive)
}

/// A tar archive of regular files with short names.
fn tar(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes, mode) in files {
        tar.extend(header(name, bytes.len(), *mode));
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks end an archive.
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

fn header(name: &str, size: usize, mode: u32) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        let mut field = &mut header[at..];
        field.write_all(text.as_bytes()).expect("all fields lie inside the block");
    };
    assert!(name.len() < 100, "names of the smoke image are short");
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    // The sum is made with blanks in its own place.
    put(148, "        ");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(sum.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_systems_tar_reads_it() {
        let bytes = vec![b'x'; 1000];
        let archive = tar(&[("one", b"", 0o644), ("two", &bytes, 0o755)]);
        let mut child = Command::new("tar")
            .args(["-tv", "--utc", "--full-time"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("-rw-r--r--") && lines[0].ends_with("one"), "{text}");
        assert!(lines[1].starts_with("-rwxr-xr-x") && lines[1].contains(" 1000 "), "{text}");
    }
}
