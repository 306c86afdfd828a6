//! Long histories under random faults.

use crate::{setup, step};

const NAMES: [&str; 1] = ["link"];

pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    let expected = "expected NAME [--seconds N] [--seed S], where NAME is one of";
    let usage = || format!("{expected} {}", NAMES.join(", "));
    let [name, options @ ..] = options else { return Err(usage()) };
    if !NAMES.contains(name) {
        return Err(usage());
    }
    let (mut seconds, mut seed) = (60, u64::from(std::process::id()));
    for pair in options.chunks(2) {
        let number = pair.get(1).and_then(|value| value.parse().ok()).ok_or_else(usage)?;
        match pair[0] {
            "--seconds" => seconds = number,
            "--seed" => seed = number,
            _ => return Err(usage()),
        }
    }
    setup::run()?;
    let test = format!("torture::{name}");
    step::run(
        &format!("torture {name}: {seconds} s, seed {seed}"),
        step::command(&["cargo", "test", "-q", "-p", "sinew", "--all-features", "--test", "it"])
            .args(["--", "--exact", &test, "--nocapture"])
            .env("SINEW_TORTURE_SECONDS", seconds.to_string())
            .env("SINEW_TORTURE_SEED", seed.to_string())
            // Nothing runs beside it, so that deadlines can be held to the letter.
            .env("SINEW_TORTURE_ALONE", "1"),
    )
}
