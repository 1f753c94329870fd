//! tar archives of a few small files (POSIX.1-1988 ustar).

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Bytes of a block.
const BLOCK: usize = 512;

/// A tar archive of regular files with short names.
pub fn tar(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
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
    assert!(name.len() < 100, "names in our archives are short");
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

/// The same, compressed: what `tar -xzf` reads.
///
/// # Errors
/// Fails where nothing can be compressed, as without memory.
pub fn gzipped(files: &[(&str, &[u8], u32)]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&tar(files))?;
    encoder.finish()
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
