//! The program that becomes the agent on a host: this very executable where it is Linux, static and of the host's
//! architecture, else `agents/kubewan-<arch>` beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A program for one architecture.
#[derive(Debug)]
pub struct Program {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their SHA-256, lower-case hex.
    pub sha256: String,
    gzip: OnceLock<Vec<u8>>,
}

/// There is no program for a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProgram {
    /// The host is something else than Linux.
    #[error("it runs {0}, and kubewan's agent runs on Linux only")]
    System(String),
    /// There is no program for its architecture.
    #[error("it is a {arch} machine, this kubewan is not ({why}), and there is no {}", path.display())]
    Architecture {
        /// Go's name of the architecture.
        arch: String,
        /// Why the running executable won't do.
        why: String,
        /// Where another one was looked for.
        path: PathBuf,
    },
    /// It is there but won't do.
    #[error("{} can't be the agent: {why}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Programs by architecture, each read once.
#[derive(Debug, Default)]
pub struct Programs {
    read: Mutex<BTreeMap<String, Result<Arc<Program>, NoProgram>>>,
}

impl Program {
    fn new(bytes: Vec<u8>) -> Self {
        let sha256 = kubewan_core::sha256_hex(&bytes);
        Program { bytes, sha256, gzip: OnceLock::new() }
    }

    /// Its bytes as gzip, which every host can unpack. Made once, when the first host needs it.
    pub fn gzip(&self) -> &[u8] {
        self.gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&self.bytes).expect("memory takes all bytes");
            encoder.finish().expect("memory takes all bytes")
        })
    }
}

impl Programs {
    /// The program for a machine, by `uname`'s names.
    ///
    /// # Errors
    /// Fails where there is none, naming the file that would serve.
    pub fn for_machine(&self, system: &str, machine: &str) -> Result<Arc<Program>, NoProgram> {
        if system != "Linux" {
            return Err(NoProgram::System(system.into()));
        }
        self.for_arch(go_arch(machine))
    }

    /// The program for an architecture, by Go's name.
    ///
    /// # Errors
    /// As [`Programs::for_machine`].
    pub fn for_arch(&self, arch: &str) -> Result<Arc<Program>, NoProgram> {
        let mut read = self.read.lock().expect("no thread panics while it reads a program");
        read.entry(arch.to_owned()).or_insert_with(|| find(arch).map(Arc::new)).clone()
    }
}

fn find(arch: &str) -> Result<Program, NoProgram> {
    // Through /proc the running file can be read even after a new build has taken its place.
    let own = PathBuf::from("/proc/self/exe");
    let why = match fs::read(&own) {
        Ok(bytes) => match fitness(&bytes, arch) {
            Ok(()) => return Ok(Program::new(bytes)),
            Err(why) => why,
        },
        Err(error) => error.to_string(),
    };
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let path = beside.unwrap_or_default().join("agents").join(format!("kubewan-{arch}"));
    let Ok(bytes) = fs::read(&path) else {
        return Err(NoProgram::Architecture { arch: arch.into(), why, path });
    };
    match fitness(&bytes, arch) {
        Ok(()) => Ok(Program::new(bytes)),
        Err(why) => Err(NoProgram::Unfit { path, why }),
    }
}

/// Go's name for `uname -m`'s.
pub fn go_arch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether an ELF file runs on Linux of that architecture whatever libc is there (`elf(5)`).
pub(crate) fn fitness(file: &[u8], arch: &str) -> Result<(), String> {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| file.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let u32_at = |at: usize| {
        let bytes = file.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let broken = || "its ELF header is cut".to_owned();
    // Magic, 64 bit, little endian: all architectures that Kubernetes' releases and kubewan share.
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return Err("not a 64-bit Linux program".into());
    }
    let machine = match u16_at(18).ok_or_else(broken)? {
        62 => "amd64",
        183 => "arm64",
        _ => "of another architecture",
    };
    if machine != arch {
        return Err(format!("it is {machine}"));
    }
    let table = file
        .get(32..40)
        .and_then(|b| Some(u64::from_le_bytes(b.try_into().ok()?) as usize))
        .ok_or_else(broken)?;
    let size = usize::from(u16_at(54).ok_or_else(broken)?);
    for index in 0..usize::from(u16_at(56).ok_or_else(broken)?) {
        let kind = table.checked_add(index * size).and_then(u32_at);
        if kind.ok_or_else(broken)? == PT_INTERP {
            return Err(
                "it is linked dynamically; RUSTFLAGS in the environment overrides the static build"
                    .into(),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_linux_programs_of_the_architecture_fit() {
        assert_eq!(fitness(b"#!/bin/sh\n", "amd64").unwrap_err(), "not a 64-bit Linux program");
        assert_eq!(fitness(b"\x7fELF\x02\x01", "amd64").unwrap_err(), "its ELF header is cut");
        let mut elf = vec![0_u8; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 183;
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        assert_eq!(fitness(&elf, "amd64").unwrap_err(), "it is arm64");
        assert_eq!(fitness(&elf, "arm64"), Ok(()));
        for at in [u64::MAX, u64::MAX - 3, u64::MAX - 100] {
            let mut cut = elf.clone();
            cut[32..40].copy_from_slice(&at.to_le_bytes());
            cut[56] = 9;
            assert_eq!(fitness(&cut, "arm64").unwrap_err(), "its ELF header is cut");
        }
        elf[64] = 3;
        assert!(fitness(&elf, "arm64").unwrap_err().contains("linked dynamically"));
    }

    #[test]
    fn this_test_is_static_itself() {
        let programs = Programs::default();
        let program = programs.for_machine("Linux", std::env::consts::ARCH).unwrap();
        assert_eq!(program.sha256.len(), 64);
        let error = programs.for_machine("Linux", "riscv64").unwrap_err().to_string();
        assert!(error.contains("agents/kubewan-riscv64"), "{error}");
        let error = programs.for_machine("Darwin", "arm64").unwrap_err().to_string();
        assert_eq!(error, "it runs Darwin, and kubewan's agent runs on Linux only");
    }
}
