//! Trying again what failed: after how long, and how often.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::kernel::again::Again;
use crate::kernel::error::Error;

/// How long a pause that grows is at most.
const AGAIN_LAST: Duration = Duration::from_secs(2);
/// How long one that does not grow is, while the store does not answer.
const PAUSE_MIN_MS: u64 = 20;
pub(super) const PAUSE_MAX_MS: u64 = 200;
/// So many times a dead letter is tried that the store refuses.
const REFUSALS_MAX: u32 = 5;

/// Pauses that grow.
pub(super) fn growing() -> Again {
    Again::up_to(AGAIN_LAST)
}

/// Waits a little before what failed is tried again.
pub(super) async fn pause() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(PAUSE_MIN_MS..PAUSE_MAX_MS))).await;
}

/// Whether the store refuses this very thing, which may last. An outage is no refusal, as far as it can be told.
pub(super) fn is_refusal(error: &Error) -> bool {
    !error.is_outage() && !error.is_final()
}

/// How often the store has refused a dead letter: what it says again and again lasts, and is not to hold up the others.
#[derive(Default)]
pub(super) struct Refusals(AtomicU32);

impl Refusals {
    /// Whether it is to wait as if there were no room.
    pub(super) fn last(&self, error: &Error) -> bool {
        is_refusal(error) && self.0.fetch_add(1, Ordering::Relaxed) >= REFUSALS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::error::ErrorKind;

    #[test]
    fn what_the_store_refuses_again_and_again_holds_up_no_one() {
        let of = |kind| Error::new(kind, "of another type");
        let (refusals, refused) =
            (Refusals::default(), ErrorKind::Unavailable { maybe_applied: true });
        let others = [
            ErrorKind::Timeout { maybe_applied: true },
            ErrorKind::Unavailable { maybe_applied: false },
            ErrorKind::Denied,
        ];
        for _ in 0..REFUSALS_MAX {
            assert!(!refusals.last(&of(refused)));
            assert!(others.iter().all(|kind| !refusals.last(&of(*kind))));
        }
        assert!(refusals.last(&of(refused)));
        assert!(others.iter().all(|kind| !refusals.last(&of(*kind))), "an outage may end");
    }
}
