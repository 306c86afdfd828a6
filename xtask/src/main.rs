//! `cargo xtask`: what a contributor runs.

mod backports;
mod bench;
mod check;
mod setup;
mod step;
mod test;
mod torture;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  setup                            install what tests need, or print the command that does
  test                             setup, check, then every test and doc-test; CI runs this
  check                            format, lints, documentation, licences, the architecture's rules
  bench [CAPABILITY] [--quick] [--json]
                                   measure beside peers, and write docs/benchmarks.md;
                                   CAPABILITY is link, cache, lock, limit, session, flag
                                   or stream
  torture NAME [--seconds N] [--seed S] [--release]
                                   a long history under random faults; NAME is cache, limit,
                                   link, lock, session or stream; --release builds longer
                                   and plays faster

Examples:
  cargo xtask test
  cargo test -p sinew cache::redis     one capability's laws on one store
  cargo xtask bench cache --quick --json
  cargo xtask torture link --seconds 60 --seed 7";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["setup"] => setup::run(),
        ["test"] => test::run(),
        ["check"] => check::run(),
        ["bench", options @ ..] => bench::run(options),
        ["torture", options @ ..] => torture::run(options),
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!(
                "error: unknown command: expected one of setup, test, check, bench, torture\n\n{HELP}"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nerror: {message}");
            ExitCode::FAILURE
        }
    }
}
