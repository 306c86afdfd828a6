//! What is said of jobs in words, in a query as at a terminal.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as WordError, StrDeserializer};
use sinew::job::{Dst, JobId, JobState, Missed, Overlap};

/// What a rate looks like, for messages.
const RATE_EXPECTED: &str = "expected starts per window, like 100/1s or 1000/10m; 0 for none";
const STATES: [JobState; 5] =
    [JobState::Waiting, JobState::Scheduled, JobState::Running, JobState::Done, JobState::Dead];

/// A state, as it is called.
pub(crate) fn name_of(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Scheduled => "scheduled",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Dead => "dead",
    }
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn state(text: &str) -> Result<JobState, String> {
    let found = STATES.into_iter().find(|state| name_of(*state) == text);
    found.ok_or_else(|| {
        "invalid state: expected waiting, scheduled, running, done or dead".to_owned()
    })
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|error: sinew::Error| error.to_string())
}

/// When something is to be.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "expected a time like 2026-01-31T12:00:00Z".to_owned())
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn dst(text: &str) -> Result<Dst, String> {
    word(text).ok_or_else(|| "expected run-once, run-twice or skip".to_owned())
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn missed(text: &str) -> Result<Missed, String> {
    word(text).ok_or_else(|| "expected fire-once, fire-all or skip".to_owned())
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn overlap(text: &str) -> Result<Overlap, String> {
    word(text).ok_or_else(|| "expected skip, allow or replace".to_owned())
}

/// A policy, as it is called in JSON.
fn word<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let word: StrDeserializer<'a, WordError> = text.into_deserializer();
    T::deserialize(word).ok()
}

/// So many starts in any window of this length; 0 for no limit.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn rate(text: &str) -> Result<(u64, Duration), String> {
    let wrong = || format!("invalid rate: {RATE_EXPECTED}");
    let (starts, per) = match text.split_once('/') {
        Some((starts, per)) => (starts, crate::duration::parse(per).map_err(|_| wrong())?),
        None if text == "0" => (text, Duration::from_secs(1)),
        None => return Err(wrong()),
    };
    Ok((starts.parse().map_err(|_| wrong())?, per))
}

/// What so many are called.
pub(crate) fn jobs(count: u64) -> &'static str {
    if count == 1 { "job" } else { "jobs" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_is_called() {
        assert!(STATES.into_iter().all(|of| state(name_of(of)) == Ok(of)));
        assert!(state("asleep").is_err_and(|told| told.contains("expected waiting")));
    }

    #[test]
    fn a_policy_is_read_as_it_is_called_in_json() {
        assert_eq!((dst("run-twice"), dst("run-once")), (Ok(Dst::RunTwice), Ok(Dst::RunOnce)));
        assert_eq!(missed("fire-all"), Ok(Missed::FireAll));
        assert_eq!(overlap("replace"), Ok(Overlap::Replace));
        assert!(dst("RunOnce").is_err_and(|told| told.starts_with("expected run-once")));
        assert!(missed("").is_err() && overlap("both").is_err());
    }

    #[test]
    fn a_rate_is_starts_in_a_window() {
        assert_eq!(rate("100/1s"), Ok((100, Duration::from_secs(1))));
        assert_eq!(rate("1000/10m"), Ok((1_000, Duration::from_secs(600))));
        assert_eq!(rate("0"), Ok((0, Duration::from_secs(1))));
        for bad in ["", "100", "/1s", "-1/1s", "100/", "100/soon"] {
            assert!(rate(bad).is_err_and(|told| told.contains("like 100/1s")), "{bad}");
        }
    }

    #[test]
    fn what_is_no_id_or_time_is_told_so() {
        assert!(id("7").is_err_and(|told| told.contains("expected 26 characters")));
        assert!(time("tomorrow").is_err_and(|told| told.contains("expected a time like")));
    }
}
