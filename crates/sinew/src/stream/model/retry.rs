//! What becomes of an event whose handler has ended.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ATTEMPTS_DEFAULT, ATTEMPTS_MAX, CRASHES_MAX, DELAY_MAX, RETRIES_MAX, cut};
use crate::kernel::error::{Error, Result};
use crate::stream::handler::Ack;

const NOTE_LEN_MAX: usize = 4 << 10;
const NOTE_ERRORS_MAX: usize = 8;
const ERROR_LEN_MAX: usize = 512;

/// How a failed event is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is given to retry()"]
pub struct Backoff {
    first: Duration,
    last: Duration,
    is_drawn: bool,
    pub(in crate::stream) attempts_max: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100)..Duration::from_secs(60))
    }
}

impl Backoff {
    /// Pauses that double from the first to the last, each drawn anew between nothing and its bound, so that
    /// what failed together does not come back together. 100 ms to 60 s unless said.
    pub fn exponential(pauses: Range<Duration>) -> Self {
        Self {
            first: pauses.start,
            last: pauses.end,
            is_drawn: true,
            attempts_max: ATTEMPTS_DEFAULT,
        }
    }

    /// The same pause each time.
    pub fn fixed(pause: Duration) -> Self {
        Self { first: pause, last: pause, is_drawn: false, attempts_max: ATTEMPTS_DEFAULT }
    }

    /// How often a handler is called for an event that it fails: 1 to 1,000, 8 unless said.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// # Errors
    /// `Rejected` for settings out of bounds.
    pub(in crate::stream) fn check(&self) -> Result<()> {
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts_max) {
            return Err(Error::rejected(format!(
                "{} attempts are out of bounds: expected 1 to {ATTEMPTS_MAX}",
                self.attempts_max
            )));
        }
        if self.first > self.last || self.last > DELAY_MAX {
            return Err(Error::rejected(format!(
                "pauses of {:?} to {:?} are out of bounds: expected the first not to be longer than the last, and at most 365 days",
                self.first, self.last
            )));
        }
        Ok(())
    }

    /// The pause after so many failures; `draw` is between 0 and 1.
    pub(in crate::stream) fn pause(&self, failures: u32, draw: f64) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = self.first.saturating_mul(doubled).min(self.last);
        match self.is_drawn {
            true => bound.mul_f64(draw.clamp(0.0, 1.0)),
            false => bound,
        }
    }
}

/// What went wrong with an event so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::stream) struct Note {
    /// How often its handler failed.
    #[serde(default)]
    pub(in crate::stream) failures: u32,
    /// How often its handler asked to be called again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::stream) retries: u32,
    /// When it was run first.
    #[serde(default)]
    pub(in crate::stream) first_ms: u64,
    /// The newest, with when they were, the oldest of them first.
    #[serde(default)]
    pub(in crate::stream) errors: Vec<(u64, String)>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Note {
    /// What is no note is an empty one: an event is not held up by it.
    pub(in crate::stream) fn read(note: Option<&[u8]>) -> Self {
        note.and_then(|note| serde_json::from_slice(note).ok()).unwrap_or_default()
    }

    /// As JSON, of 4 KiB at most.
    pub(in crate::stream) fn write(mut self) -> Bytes {
        loop {
            let written = serde_json::to_vec(&self).unwrap_or_default();
            if written.len() <= NOTE_LEN_MAX || self.errors.is_empty() {
                return written.into();
            }
            self.errors.remove(0);
        }
    }

    fn began(&mut self, now_ms: u64) {
        if self.first_ms == 0 {
            self.first_ms = now_ms;
        }
    }

    fn failed(&mut self, error: &str, now_ms: u64) {
        self.failures = self.failures.saturating_add(1);
        self.errors.push((now_ms, cut(error, ERROR_LEN_MAX).to_owned()));
        if self.errors.len() > NOTE_ERRORS_MAX {
            self.errors.remove(0);
        }
    }
}

/// What becomes of an event whose handler has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Becomes {
    Ack {
        /// What it is called, where the group has an inbox.
        event_id: Option<String>,
    },
    Park {
        delay: Duration,
        /// Nothing leaves what is noted.
        note: Option<Bytes>,
    },
    Bury {
        reason: String,
        note: Bytes,
    },
    /// The store has said that it is no longer this process's.
    Abandon,
}

impl Becomes {
    /// For whoever is the next to take it, as if it had not been run: the store is asked whose it is.
    pub(in crate::stream) fn back() -> Self {
        Self::Park { delay: Duration::ZERO, note: None }
    }
}

/// What becomes of an event, by what its handler said. `draw` is between 0 and 1.
pub(in crate::stream) fn becomes(
    said: Result<Ack, String>,
    mut note: Note,
    backoff: &Backoff,
    event_id: Option<String>,
    now_ms: u64,
    draw: f64,
) -> Becomes {
    note.began(now_ms);
    match said {
        Ok(Ack::Done | Ack::Drop) => Becomes::Ack { event_id },
        Ok(Ack::Retry { after }) if note.retries < RETRIES_MAX => {
            note.retries += 1;
            Becomes::Park { delay: after.min(DELAY_MAX), note: Some(note.write()) }
        }
        Ok(Ack::Retry { .. }) => Becomes::Bury {
            reason: format!("its handler asked to be called again {RETRIES_MAX} times"),
            note: note.write(),
        },
        Ok(Ack::DeadLetter { reason }) => {
            // Its handler was called, too.
            note.failed(&reason, now_ms);
            Becomes::Bury { reason: cut(&reason, ERROR_LEN_MAX).to_owned(), note: note.write() }
        }
        Err(error) => {
            note.failed(&error, now_ms);
            match note.failures < backoff.attempts_max {
                true => Becomes::Park {
                    delay: backoff.pause(note.failures, draw),
                    note: Some(note.write()),
                },
                false => Becomes::Bury {
                    reason: cut(&error, ERROR_LEN_MAX).to_owned(),
                    note: note.write(),
                },
            }
        }
    }
}

/// Why an event is not run any more, although no handler has failed it.
pub(in crate::stream) fn crashed_too_often(crashes: u32) -> Option<String> {
    (crashes >= CRASHES_MAX).then(|| format!("{crashes} deliveries ended with their process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(said: Result<Ack, String>, note: Note) -> Becomes {
        let backoff = Backoff::exponential(Duration::from_secs(1)..Duration::from_secs(4));
        becomes(said, note, &backoff.max_attempts(4), None, 5_000, 1.0)
    }

    #[test]
    fn an_event_that_fails_is_put_aside_after_its_attempts_with_its_history() {
        let (mut note, mut pauses_s) = (Note::default(), Vec::new());
        let reason = loop {
            match after(Err("no".to_owned()), note) {
                Becomes::Park { delay, note: noted } => {
                    pauses_s.push(delay.as_secs());
                    note = Note::read(noted.as_deref());
                }
                Becomes::Bury { reason, note } => break (reason, Note::read(Some(&note))),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(pauses_s, [1, 2, 4]);
        assert_eq!((reason.0.as_str(), reason.1.failures, reason.1.first_ms), ("no", 4, 5_000));
        assert_eq!(reason.1.errors.len(), 4);
    }

    #[test]
    fn to_be_called_again_is_no_failure_and_has_an_end() {
        let again = || Ok(Ack::Retry { after: Duration::from_secs(9) });
        let Becomes::Park { delay, note } = after(again(), Note::default()) else {
            panic!("it is parked");
        };
        let note = Note::read(note.as_deref());
        assert_eq!((delay.as_secs(), note.failures, note.retries), (9, 0, 1));
        let last = Note { retries: RETRIES_MAX, ..note };
        assert!(matches!(after(again(), last), Becomes::Bury { .. }));
    }

    #[test]
    fn a_note_is_of_four_kibibytes_and_keeps_what_is_newest() {
        let mut note = Note::default();
        for n in 0..20 {
            note.failed(&format!("{n}{}", "\u{1}".repeat(1_000)), n);
        }
        let written = note.write();
        assert!(written.len() <= NOTE_LEN_MAX, "{}", written.len());
        let read = Note::read(Some(&written));
        assert_eq!((read.failures, read.errors.last().map(|(ms, _)| *ms)), (20, Some(19)));
        assert_eq!(Note::read(Some(b"no note")), Note::default());
    }

    #[test]
    fn a_pause_is_drawn_up_to_its_bound_and_never_overflows() {
        let backoff = Backoff::default();
        assert_eq!(backoff.pause(1, 0.5), Duration::from_millis(50));
        assert_eq!(backoff.pause(u32::MAX, 1.0), Duration::from_secs(60));
        assert_eq!(Backoff::fixed(Duration::from_secs(3)).pause(7, 0.1), Duration::from_secs(3));
        assert!(backoff.max_attempts(0).check().is_err());
    }
}
