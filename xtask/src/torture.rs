//! Long histories under random faults.

use crate::{setup, step};

/// What can be played, and the test that plays it.
const NAMES: [(&str, &str); 7] = [
    ("cache", "fleet::no_process_sees_what_was_invalidated_before"),
    ("job", "job_torture::no_history_breaks_a_promise"),
    ("limit", "limit_fleet::processes_that_are_cut_off_admit_the_limit_between_them"),
    ("link", "torture::link"),
    ("lock", "lock_torture::no_history_breaks_a_promise"),
    ("session", "session_torture::no_session_that_was_ended_answers_again"),
    ("stream", "stream_torture::no_history_breaks_a_promise"),
];

pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    let expected = "expected NAME [--seconds N] [--seed S] [--release], where NAME is one of";
    let usage = || format!("{expected} {}", NAMES.map(|(name, _)| name).join(", "));
    let [name, options @ ..] = options else { return Err(usage()) };
    let Some((_, test)) = NAMES.iter().find(|(known, _)| known == name) else {
        return Err(usage());
    };
    let (mut seconds, mut seed) = (60, u64::from(std::process::id()));
    let (mut options, mut profile) = (options.iter(), None);
    while let Some(&option) = options.next() {
        let mut number = || options.next().and_then(|value| value.parse().ok()).ok_or_else(usage);
        match option {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            "--release" => profile = Some(option),
            _ => return Err(usage()),
        }
    }
    setup::run()?;
    step::run(
        &format!("torture {name}: {seconds} s, seed {seed}"),
        step::command(&["cargo", "test", "-q", "-p", "sinew", "--all-features", "--test", "it"])
            .args(profile)
            .args(["--", "--exact", test, "--nocapture"])
            .env("SINEW_TORTURE_SECONDS", seconds.to_string())
            .env("SINEW_TORTURE_SEED", seed.to_string())
            // Nothing runs beside it, so that deadlines can be held to the letter.
            .env("SINEW_TORTURE_ALONE", "1"),
    )
}
