//! What the macros' expansions call.

use crate::{Error, ErrorKind, Ran, Result};

/// The two types of a `Result`, whatever it is called.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a `Result`")]
pub trait Outcome {
    /// What it holds when it went well.
    type Value;
    /// What it holds when it did not.
    type Error;
}

impl<V, E> Outcome for std::result::Result<V, E> {
    type Value = V;
    type Error = E;
}

/// The write has been done, so its caller is not told that it failed.
pub fn eviction_failed(error: &Error) {
    tracing::warn!(%error, "what was written could not be evicted: it may be stale for its TTL");
}

/// What the body of a locked function brought, if it ran to its end.
///
/// # Errors
/// `Conflict` if someone else holds the lock, and those of the lock itself.
pub fn under_lock<T>(ran: Result<Ran<T>>) -> Result<T> {
    under_lock_or_skipped(ran)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            "someone else holds the lock: expected it to be free in time",
        )
    })
}

/// The same, and nothing if someone else holds the lock.
///
/// # Errors
/// Those of the lock itself.
pub fn under_lock_or_skipped<T>(ran: Result<Ran<T>>) -> Result<Option<T>> {
    match ran? {
        Ran::Done(brought) => Ok(Some(brought)),
        Ran::Held { .. } => Ok(None),
        Ran::Lost => Err(Error::new(
            ErrorKind::Unavailable { maybe_applied: true },
            "the lock was lost, and what ran under it was dropped where it stood",
        )),
    }
}

/// The keys of the flags whose day to be removed has come by `today`.
#[must_use]
pub fn overdue(expiries: &[(&'static str, &'static str)], today: &str) -> Vec<&'static str> {
    // Days are written so that they sort as text.
    let overdue = expiries.iter().filter(|(_, expires)| *expires <= today);
    overdue.map(|(key, _)| *key).collect()
}

/// Tells of them in the log.
pub fn warn_of_overdue(of: &'static str, overdue: fn(&str) -> Vec<&'static str>) {
    let now = jiff::Timestamp::now().to_string();
    let flags = overdue(now.get(..10).unwrap_or_default());
    if !flags.is_empty() {
        tracing::warn!(of, ?flags, "flags are overdue: expected them to be removed from the code");
    }
}
