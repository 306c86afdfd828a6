//! So much per period.

use std::time::Duration;

/// A second, for [`Per::per`].
pub const SECOND: Duration = Duration::from_secs(1);
/// A minute, for [`Per::per`].
pub const MINUTE: Duration = Duration::from_secs(60);
/// An hour, for [`Per::per`].
pub const HOUR: Duration = Duration::from_secs(3_600);
/// A day of 24 hours, for [`Per::per`].
pub const DAY: Duration = Duration::from_secs(24 * 3_600);

/// So much per period: `100.per(MINUTE)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub(super) limit: u64,
    pub(super) period: Duration,
}

impl Quota {
    /// How much.
    #[must_use]
    pub fn limit(self) -> u64 {
        self.limit
    }

    /// In how long.
    #[must_use]
    pub fn period(self) -> Duration {
        self.period
    }
}

/// Makes a [`Quota`] of a number.
pub trait Per {
    /// So much in each period of 1 µs to 366 days, in whole microseconds.
    fn per(self, period: Duration) -> Quota;
}

// For one type only: a literal has no other that it could be.
impl Per for u64 {
    fn per(self, period: Duration) -> Quota {
        Quota { limit: self, period }
    }
}
