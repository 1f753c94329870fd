//! The stand-ins by themselves, for work on them: called by their own name, or with it as the first argument.

fn main() {
    let mut args: Vec<String> = std::env::args().collect();
    let own = std::path::Path::new(&args[0]).file_name().map(|n| n.to_string_lossy().into_owned());
    let mut program = own.unwrap_or_default();
    args.remove(0);
    if !kubewan_rehearsal::PROGRAMS.contains(&program.as_str()) && !args.is_empty() {
        program = args.remove(0);
    }
    std::process::exit(kubewan_rehearsal::main(&program, args));
}
