//! Runs a fuzz entry on seeded inputs. The same seed is the same input, as long as the files that the corpus is made
//! of are the same.
//!
//! First come the files of `fuzz/regressions/<entry>/`: inputs that broke something once. Then the corpus as it is:
//! string literals of the reader's own source, its tests and all, and recorded files. Then mutations of the corpus.
//!
//! The environment variable `KUBEWAN_FUZZ` holds words with blanks between them:
//!
//! | word | effect |
//! |---|---|
//! | `seed=N` | that one input; nothing else is run |
//! | `file=PATH` | the input in that file; nothing else is run |
//! | `inputs=N` | as many inputs for each entry |
//! | `seconds=N` | as long for each entry, beyond the usual inputs; what is found is kept as a regression |
//! | `from=N` | the first seed |
//! | `trace` | prints every seed before its input is read: for what ends the process, as a full stack does |
//!
//! `cargo xtask fuzz` sets it.

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::mutate::{self, Corpus};

/// An input that takes longer is one that hangs. The machine may be busy with other things.
const HANGS: Duration = Duration::from_secs(60);

/// The process has taken more memory than any input deserves.
const MEMORY_MAX_KIB: u64 = 2 << 20;

/// One entry and what it is fed with.
pub struct Target {
    /// Its name, as in the crate's `fuzz` module.
    pub name: &'static str,
    /// The entry.
    pub run: fn(&[u8]),
    /// How many inputs it gets in every run of the tests.
    pub inputs: u64,
    /// Files and folders that the corpus is made of, from the crate's folder.
    pub sources: &'static [&'static str],
    /// Further inputs for the corpus.
    pub samples: Vec<Vec<u8>>,
}

/// What `KUBEWAN_FUZZ` asks for.
#[derive(Default)]
struct Wish {
    seed: Option<u64>,
    file: Option<PathBuf>,
    inputs: Option<u64>,
    seconds: Option<u64>,
    from: u64,
    trace: bool,
}

impl Wish {
    fn of(text: &str) -> Wish {
        let mut wish = Wish::default();
        for word in text.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let number = || value.parse().unwrap_or_else(|_| panic!("KUBEWAN_FUZZ: `{word}`"));
            match key {
                "seed" => wish.seed = Some(number()),
                "file" => wish.file = Some(value.into()),
                "inputs" => wish.inputs = Some(number()),
                "seconds" => wish.seconds = Some(number()),
                "from" => wish.from = number(),
                "trace" => wish.trace = true,
                _ => panic!("KUBEWAN_FUZZ: `{word}` is not known"),
            }
        }
        wish
    }
}

impl Target {
    /// Runs the entry as `KUBEWAN_FUZZ` says.
    pub fn fuzz(&self, crate_dir: &str) {
        let wish = Wish::of(&std::env::var("KUBEWAN_FUZZ").unwrap_or_default());
        let root = Path::new(crate_dir);
        let regressions = root.join("../../fuzz/regressions").join(self.name);
        let run = Run { target: self, watch: Watch::start(self.name), trace: wish.trace };
        if let Some(path) = &wish.file {
            let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            return run.must_hold(&format!("file={}", path.display()), &bytes, None);
        }
        let mut corpus = Corpus::default();
        for source in self.sources {
            corpus.add(&root.join(source));
        }
        corpus.inputs.extend(self.samples.iter().cloned());
        assert!(!corpus.inputs.is_empty(), "{}: nothing to begin with", self.name);
        if let Some(seed) = wish.seed {
            return run.must_hold(&format!("seed={seed}"), &corpus.mutated(seed), None);
        }
        for path in mutate::files(&regressions) {
            let bytes = std::fs::read(&path).expect("a regression");
            run.must_hold(&format!("file={}", path.display()), &bytes, None);
        }
        for (number, bytes) in corpus.inputs.iter().enumerate() {
            run.must_hold(&format!("corpus, {number}"), bytes, None);
        }
        let inputs = wish.inputs.unwrap_or(self.inputs);
        let until = wish.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let keep = until.map(|_| regressions.as_path());
        let begun = Instant::now();
        let mut seed = wish.from;
        while seed - wish.from < inputs || until.is_some_and(|until| Instant::now() < until) {
            run.must_hold(&format!("seed={seed}"), &corpus.mutated(seed), keep);
            seed += 1;
            if seed.is_multiple_of(4096) {
                self.takes_little_memory(seed);
            }
        }
        self.takes_little_memory(seed);
        println!(
            "{}: {} inputs after {} of the corpus, {:.1} s",
            self.name,
            seed - wish.from,
            corpus.inputs.len(),
            begun.elapsed().as_secs_f64()
        );
    }

    /// The whole process: entries run side by side.
    fn takes_little_memory(&self, seed: u64) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        assert!(
            kib <= MEMORY_MAX_KIB,
            "{kib} KiB of memory were taken by the time of {} seed={seed}; `--test-threads=1` shows by which",
            self.name
        );
    }
}

/// An entry at work.
struct Run<'a> {
    target: &'a Target,
    watch: Watch,
    trace: bool,
}

impl Run<'_> {
    /// Panics with all that is needed to see the failure again. `keep`: where the input is written then.
    fn must_hold(&self, which: &str, bytes: &[u8], keep: Option<&Path>) {
        if self.trace {
            say(&format!("{} {which}", self.target.name));
        }
        self.watch.begin(which, bytes);
        let result = catch_unwind(AssertUnwindSafe(|| (self.target.run)(bytes)));
        self.watch.end();
        let Err(panic) = result else { return };
        let name = self.target.name;
        self.watch.begin(which, bytes);
        let small = self.smaller(bytes);
        self.watch.end();
        let mut kept = String::new();
        if let Some(folder) = keep {
            let path = folder.join(format!("{:016x}", mutate::fingerprint(&small)));
            std::fs::create_dir_all(folder).expect("a folder for regressions");
            std::fs::write(&path, &small).expect("a regression is written");
            kept = format!("\nkept as {}", path.display());
        }
        panic!(
            "fuzz entry `{name}` broke at {which}: {}\ninput ({} bytes): b\"{}\"\nas much of it breaks too \
             ({} bytes): b\"{}\"\nagain: KUBEWAN_FUZZ='{which}' cargo test --workspace --test fuzz -- --exact {name}{kept}",
            words(panic.as_ref()),
            bytes.len(),
            bytes.escape_ascii(),
            small.len(),
            small.escape_ascii()
        );
    }

    /// Leaves out parts as long as it still breaks, for a while.
    fn smaller(&self, bytes: &[u8]) -> Vec<u8> {
        let breaks = |bytes: &[u8]| {
            let run = self.target.run;
            catch_unwind(AssertUnwindSafe(|| run(bytes))).is_err()
        };
        let until = Instant::now() + Duration::from_secs(10);
        let mut small = bytes.to_vec();
        let mut length = small.len() / 2;
        // Each try says why it broke.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        while length > 0 {
            let mut at = 0;
            while at < small.len() && Instant::now() < until {
                let mut less = small.clone();
                less.drain(at..(at + length).min(small.len()));
                if breaks(&less) { small = less } else { at += length }
            }
            length /= 2;
        }
        std::panic::set_hook(hook);
        small
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it says nothing")
}

/// Past the test runner, which keeps what a test prints until that has ended.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The input in progress, since when.
type Now = Arc<Mutex<Option<(Instant, String, Vec<u8>)>>>;

/// Ends the process for an input that hangs.
struct Watch {
    now: Now,
    ended: Arc<AtomicBool>,
}

impl Watch {
    fn start(name: &'static str) -> Watch {
        let watch = Watch { now: Now::default(), ended: Arc::default() };
        let (now, ended) = (watch.now.clone(), watch.ended.clone());
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(500));
                let Ok(now) = now.lock() else { return };
                if let Some((begun, which, bytes)) = now.as_ref()
                    && begun.elapsed() > HANGS
                {
                    let input = bytes.escape_ascii();
                    say(&format!("fuzz entry `{name}` hangs at {which}\ninput: b\"{input}\""));
                    std::process::exit(101);
                }
            }
        });
        watch
    }

    fn begin(&self, which: &str, bytes: &[u8]) {
        if let Ok(mut now) = self.now.lock() {
            *now = Some((Instant::now(), which.to_owned(), bytes.to_vec()));
        }
    }

    fn end(&self) {
        if let Ok(mut now) = self.now.lock() {
            *now = None;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// A test for each entry, and one that each has its wrapper for cargo-fuzz.
macro_rules! targets {
    ($entries:path: $($name:ident: $inputs:literal, [$($source:literal),* $(,)?], $samples:expr;)+) => {
        $(
            #[test]
            fn $name() {
                use $entries as entries;
                support::Target {
                    name: stringify!($name),
                    run: entries::$name,
                    inputs: $inputs,
                    sources: &[$($source),*],
                    samples: $samples,
                }
                .fuzz(env!("CARGO_MANIFEST_DIR"));
            }
        )+

        #[test]
        fn every_entry_has_its_wrapper() {
            let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
            let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("fuzz/Cargo.toml");
            for name in [$(stringify!($name)),+] {
                let call = format!(" {}::{name}(", stringify!($entries));
                let wrapper = fuzz.join(format!("fuzz_targets/{name}.rs"));
                let text = std::fs::read_to_string(&wrapper).unwrap_or_default();
                assert!(text.contains(&call), "{} has to call{call}data)", wrapper.display());
                assert!(manifest.contains(&format!("\"fuzz_targets/{name}.rs\"")), "{name}");
            }
        }
    };
}
