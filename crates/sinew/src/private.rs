//! What the macros' expansions call.

use crate::Error;

/// The two types of a `Result`, whatever it is called.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a `Result`")]
pub trait Outcome {
    /// What it holds when it went well.
    type Value;
    /// What it holds when it did not.
    type Error;
}

impl<V, E> Outcome for Result<V, E> {
    type Value = V;
    type Error = E;
}

/// The write has been done, so its caller is not told that it failed.
pub fn eviction_failed(error: &Error) {
    tracing::warn!(%error, "what was written could not be evicted: it may be stale for its TTL");
}
