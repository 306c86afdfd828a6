//! Trying again what failed, for as long as it takes.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_millis(250);
const SHORTEST: Duration = Duration::from_millis(5);

/// A pause that grows, drawn anew each time.
pub(crate) struct Again {
    bound: Duration,
    last: Duration,
}

impl Again {
    /// It stays short: without a connection a call fails here, at no one's cost.
    pub(crate) fn new() -> Self {
        Self::up_to(LAST)
    }

    pub(crate) fn up_to(last: Duration) -> Self {
        Self { bound: FIRST, last }
    }

    /// It went well: the next pause is a short one.
    pub(crate) fn well(&mut self) {
        self.bound = FIRST;
    }

    /// Cancel-safe.
    pub(crate) async fn pause(&mut self) {
        let drawn = self.bound.mul_f64(fastrand::f64());
        self.bound = (self.bound * 2).min(self.last);
        tokio::time::sleep(drawn.max(SHORTEST)).await;
    }
}
