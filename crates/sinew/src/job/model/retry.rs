//! What becomes of a job whose handler has ended.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ATTEMPTS_DEFAULT, ATTEMPTS_MAX, CRASHES_MAX, DELAY_MAX, ERROR_LEN_MAX, NOTE_LEN_MAX,
    NOTE_RUNS_MAX, SNOOZES_MAX, UNKNOWN_KEEP, UNKNOWN_PAUSE, cut, millis,
};
use crate::kernel::error::{Error, Result};

/// How a failed job is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is given to a job's options"]
pub struct Backoff {
    first: Duration,
    last: Duration,
    is_drawn: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_secs(1)..Duration::from_secs(3_600))
    }
}

impl Backoff {
    /// Pauses that double from the first to the last, each drawn anew between half of its bound and all of it, so that
    /// what failed together does not come back together. 1 s to 1 h unless said.
    pub const fn exponential(pauses: Range<Duration>) -> Self {
        Self { first: pauses.start, last: pauses.end, is_drawn: true }
    }

    /// The same pause each time.
    pub const fn fixed(pause: Duration) -> Self {
        Self { first: pause, last: pause, is_drawn: false }
    }

    /// # Errors
    /// `Rejected` for pauses out of bounds.
    pub(in crate::job) fn check(&self) -> Result<()> {
        match self.first <= self.last && self.last <= DELAY_MAX {
            true => Ok(()),
            false => Err(Error::rejected(format!(
                "pauses of {:?} to {:?} are out of bounds: expected the first not to be longer than the last, and at most 365 days",
                self.first, self.last
            ))),
        }
    }

    /// The pause after so many failures; `draw` is between 0 and 1.
    pub(in crate::job) fn pause(&self, failures: u32, draw: f64) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.first.saturating_mul(doubled).min(self.last);
        match self.is_drawn {
            true => bound.mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0),
            false => bound,
        }
    }
}

/// # Errors
/// `Rejected` for a number of attempts out of bounds.
pub(in crate::job) fn check_attempts(attempts: u32) -> Result<()> {
    match (1..=ATTEMPTS_MAX).contains(&attempts) {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "{attempts} attempts are out of bounds: expected 1 to {ATTEMPTS_MAX}"
        ))),
    }
}

/// How the jobs of one kind are run. What a job says itself goes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Policy {
    pub(in crate::job) attempts: u32,
    pub(in crate::job) backoff: Backoff,
}

impl Default for Policy {
    fn default() -> Self {
        Self { attempts: ATTEMPTS_DEFAULT, backoff: Backoff::default() }
    }
}

/// A run of a handler that did not bring its job to an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::job) struct PastRun {
    /// When it ended.
    pub(in crate::job) at_ms: u64,
    #[serde(default)]
    pub(in crate::job) took_ms: u64,
    /// What people know its worker by.
    #[serde(default)]
    pub(in crate::job) by: String,
    /// Nothing where it was put off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::job) error: Option<String>,
}

/// What went wrong with a job so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::job) struct Note {
    /// How often its handler failed.
    #[serde(default)]
    pub(in crate::job) failures: u32,
    /// How often its handler put it off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::job) snoozes: u32,
    /// When it was run first.
    #[serde(default)]
    pub(in crate::job) first_ms: u64,
    /// Since when it has met no worker that knows its kind; 0 where it was run since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::job) unknown_ms: u64,
    /// The newest, the oldest of them first.
    #[serde(default)]
    pub(in crate::job) runs: Vec<PastRun>,
}

fn is_zero<N: Default + PartialEq>(n: &N) -> bool {
    *n == N::default()
}

/// What a note begins with once its job was taken back from the dead: what it failed before does not count.
const AGAIN: u8 = b'R';

impl Note {
    /// What is no note is an empty one: a job is not held up by it.
    pub(in crate::job) fn read(note: &[u8]) -> Self {
        let (is_again, json) = match note.split_first() {
            Some((&AGAIN, json)) => (true, json),
            _ => (false, note),
        };
        let note: Self = serde_json::from_slice(json).unwrap_or_default();
        if is_again { Self { failures: 0, snoozes: 0, unknown_ms: 0, ..note } } else { note }
    }

    /// As JSON, of 4 KiB at most.
    pub(in crate::job) fn write(mut self) -> Bytes {
        loop {
            let written = serde_json::to_vec(&self).unwrap_or_default();
            if written.len() <= NOTE_LEN_MAX || self.runs.is_empty() {
                return written.into();
            }
            self.runs.remove(0);
        }
    }

    fn add(&mut self, ran: &Ran, error: Option<&str>) {
        if self.first_ms == 0 {
            self.first_ms = ran.now_ms.saturating_sub(ran.took_ms);
        }
        self.unknown_ms = 0;
        self.runs.push(PastRun {
            at_ms: ran.now_ms,
            took_ms: ran.took_ms,
            by: cut(&ran.by, 64).to_owned(),
            error: error.map(|error| cut(error, ERROR_LEN_MAX).to_owned()),
        });
        if self.runs.len() > NOTE_RUNS_MAX {
            self.runs.remove(0);
        }
    }
}

/// A run, as its worker saw it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::job) struct Ran {
    /// When it ended, by the store's clock as far as it is known.
    pub(in crate::job) now_ms: u64,
    pub(in crate::job) took_ms: u64,
    pub(in crate::job) by: String,
    /// Between 0 and 1.
    pub(in crate::job) draw: f64,
}

/// What a handler comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) enum Said {
    /// With its result as JSON; none where it has none.
    Done(Option<Bytes>),
    /// In the words of its error, which is counted.
    Failed(String),
    /// The same, with a pause of the handler's choice.
    FailedFor(Duration, String),
    Snooze(Duration),
    Dead(String),
    /// No handler here is registered for its kind.
    Unknown,
    /// It was not run, or not to its end, and through no fault of its own.
    Back,
}

/// What becomes of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) enum Becomes {
    Done { result: Option<Bytes> },
    Later { delay: Duration, note: Bytes, is_failure: bool },
    Dead { reason: String, note: Bytes },
    Back,
}

/// What becomes of a job, by what its handler said.
pub(in crate::job) fn becomes(said: Said, mut note: Note, policy: &Policy, ran: &Ran) -> Becomes {
    match said {
        Said::Done(result) => Becomes::Done { result },
        Said::Back => Becomes::Back,
        Said::Dead(reason) => {
            note.failures = note.failures.saturating_add(1);
            note.add(ran, Some(&reason));
            dead(&reason, note)
        }
        Said::Snooze(_) if note.snoozes >= SNOOZES_MAX => {
            dead(&format!("its handler put it off {SNOOZES_MAX} times"), note)
        }
        Said::Snooze(delay) => {
            note.snoozes += 1;
            note.add(ran, None);
            Becomes::Later { delay: delay.min(DELAY_MAX), note: note.write(), is_failure: false }
        }
        Said::Unknown => {
            if note.unknown_ms == 0 {
                note.unknown_ms = ran.now_ms;
            }
            match ran.now_ms.saturating_sub(note.unknown_ms) < millis(UNKNOWN_KEEP) {
                true => {
                    Becomes::Later { delay: UNKNOWN_PAUSE, note: note.write(), is_failure: false }
                }
                false => dead("no worker has a handler for its kind", note),
            }
        }
        Said::Failed(error) => failed(None, &error, note, policy, ran),
        Said::FailedFor(delay, error) => failed(Some(delay), &error, note, policy, ran),
    }
}

fn failed(
    delay: Option<Duration>,
    error: &str,
    mut note: Note,
    policy: &Policy,
    ran: &Ran,
) -> Becomes {
    note.failures = note.failures.saturating_add(1);
    note.add(ran, Some(error));
    if note.failures >= policy.attempts {
        return dead(error, note);
    }
    let delay = delay.unwrap_or_else(|| policy.backoff.pause(note.failures, ran.draw));
    Becomes::Later { delay: delay.min(DELAY_MAX), note: note.write(), is_failure: true }
}

fn dead(reason: &str, note: Note) -> Becomes {
    Becomes::Dead { reason: cut(reason, ERROR_LEN_MAX).to_owned(), note: note.write() }
}

/// Why a job is not run any more, although no handler has failed it. As the scripts say it.
pub(in crate::job) fn crashed_too_often(crashes: u32) -> Option<String> {
    (crashes >= CRASHES_MAX).then(|| format!("{crashes} deliveries ended with their process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran() -> Ran {
        Ran { now_ms: 5_000, took_ms: 20, by: "host:7".to_owned(), draw: 1.0 }
    }

    fn policy() -> Policy {
        let backoff = Backoff::exponential(Duration::from_secs(1)..Duration::from_secs(4));
        Policy { attempts: 4, backoff }
    }

    #[test]
    fn a_job_that_fails_is_dead_after_its_attempts_with_its_history() {
        let (mut note, mut pauses_s) = (Note::default(), Vec::new());
        let (reason, note) = loop {
            match becomes(Said::Failed("no".to_owned()), note, &policy(), &ran()) {
                Becomes::Later { delay, note: noted, is_failure: true } => {
                    pauses_s.push(delay.as_secs());
                    note = Note::read(&noted);
                }
                Becomes::Dead { reason, note } => break (reason, Note::read(&note)),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(pauses_s, [1, 2, 4]);
        assert_eq!((reason.as_str(), note.failures, note.first_ms), ("no", 4, 4_980));
        assert_eq!((note.runs.len(), note.runs[0].by.as_str()), (4, "host:7"));
    }

    #[test]
    fn to_be_put_off_is_no_failure_and_has_an_end() {
        let snooze = || Said::Snooze(Duration::from_secs(9));
        let Becomes::Later { delay, note, is_failure: false } =
            becomes(snooze(), Note::default(), &policy(), &ran())
        else {
            panic!("it is put off");
        };
        let note = Note::read(&note);
        assert_eq!((delay.as_secs(), note.failures, note.snoozes), (9, 0, 1));
        let last = Note { snoozes: SNOOZES_MAX, ..note };
        assert!(matches!(becomes(snooze(), last, &policy(), &ran()), Becomes::Dead { .. }));
    }

    #[test]
    fn what_no_one_knows_waits_for_a_day() {
        let of = |note: &Note, now_ms| {
            becomes(Said::Unknown, note.clone(), &policy(), &Ran { now_ms, ..ran() })
        };
        // However long ago it was run by one that knew it.
        let late = millis(UNKNOWN_KEEP) + 1;
        let ran_once = Note { first_ms: 1, ..Note::default() };
        let Becomes::Later { note, is_failure: false, .. } = of(&ran_once, late) else {
            panic!("it waits");
        };
        let mut note = Note::read(&note);
        assert!(matches!(of(&note, late + 60_000), Becomes::Later { .. }));
        assert!(matches!(of(&note, 2 * late), Becomes::Dead { .. }));
        note.add(&ran(), Some("no"));
        assert!(matches!(of(&note, 2 * late), Becomes::Later { .. }), "it was run since");
    }

    #[test]
    fn what_was_taken_back_from_the_dead_has_all_its_attempts_and_its_history() {
        let mut note = Note { failures: 10, ..Note::default() };
        note.add(&ran(), Some("no"));
        let written = [&b"R"[..], &note.clone().write()[..]].concat();
        let read = Note::read(&written);
        assert_eq!((read.failures, read.runs), (0, note.runs));
        assert_eq!(Note::read(b"no note"), Note::default());
    }

    #[test]
    fn a_note_is_of_four_kibibytes_and_keeps_what_is_newest() {
        let mut note = Note::default();
        for n in 0..20 {
            note.add(&Ran { now_ms: n, ..ran() }, Some(&"\u{1}".repeat(1_000)));
        }
        let written = note.write();
        assert!(written.len() <= NOTE_LEN_MAX, "{}", written.len());
        assert_eq!(Note::read(&written).runs.last().map(|run| run.at_ms), Some(19));
    }

    #[test]
    fn a_pause_is_drawn_up_to_its_bound_and_never_overflows() {
        let backoff = Backoff::default();
        assert_eq!(backoff.pause(1, 0.0), Duration::from_millis(500));
        assert_eq!(backoff.pause(u32::MAX, 1.0), Duration::from_secs(3_600));
        assert_eq!(Backoff::fixed(Duration::from_secs(3)).pause(7, 0.1), Duration::from_secs(3));
        assert!(
            Backoff::exponential(Duration::from_secs(2)..Duration::from_secs(1)).check().is_err()
        );
        assert!(check_attempts(0).is_err() && check_attempts(1_000).is_ok());
        assert_eq!(crashed_too_often(CRASHES_MAX - 1), None);
    }
}
