//! Wall time for what is stored, monotonic time for durations, both replaceable.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Wall time in whole milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnixMillis(pub(crate) u64);

/// A point on a clock that never goes back and counts the time a machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Monotonic(Duration);

impl Monotonic {
    #[cfg(test)]
    pub(crate) const ZERO: Self = Self(Duration::ZERO);

    pub(crate) fn as_nanos(self) -> u128 {
        self.0.as_nanos()
    }

    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A point on a clock that is cheap to read and exact to some milliseconds: for what is looked at
/// with every hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Coarse(u64);

impl Coarse {
    pub(crate) const LONG_AGO: Self = Self(0);

    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    #[inline]
    pub(crate) fn after_ms(self, millis: u32) -> Self {
        Self(self.0.saturating_add(u64::from(millis)))
    }
}

/// Where Sinew takes the time from.
///
/// [`Clock::system`] in production; [`Clock::manual`] in tests of what expires.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<watch::Sender<Duration>>),
    /// The runtime's own, which a test can stop.
    #[cfg(test)]
    Runtime(tokio::time::Instant),
}

/// The hands of a [`Clock::manual`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Duration>>);

impl ManualClock {
    /// Moves the clock forward and wakes everyone whose time has come.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is moved. Only the embedded store obeys it:
    /// Redis expires by its own.
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        let hands = Arc::new(watch::Sender::new(Duration::from_secs(1_700_000_000)));
        (Self(Source::Manual(Arc::clone(&hands))), ManualClock(hands))
    }

    /// The runtime's clock, for tests that stop it.
    #[cfg(test)]
    pub(crate) fn runtime() -> Self {
        Self(Source::Runtime(tokio::time::Instant::now()))
    }

    pub(crate) fn wall(&self) -> UnixMillis {
        let since_epoch = match &self.0 {
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Manual(now) => *now.borrow(),
            #[cfg(test)]
            Source::Runtime(began) => Duration::from_secs(1_700_000_000) + began.elapsed(),
        };
        UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn now(&self) -> Monotonic {
        match &self.0 {
            Source::System => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Monotonic(Duration::new(
                    u64::try_from(now.tv_sec).unwrap_or_default(),
                    u32::try_from(now.tv_nsec).unwrap_or_default(),
                ))
            }
            Source::Manual(now) => Monotonic(*now.borrow()),
            #[cfg(test)]
            Source::Runtime(began) => Monotonic(began.elapsed()),
        }
    }

    /// A fifth of the cost of [`Clock::now`], and it stands still while a machine is suspended.
    #[inline]
    pub(crate) fn coarse(&self) -> Coarse {
        match &self.0 {
            Source::System => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
                let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
                let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or_default();
                Coarse(seconds * 1_000 + millis)
            }
            Source::Manual(now) => {
                Coarse(u64::try_from(now.borrow().as_millis()).unwrap_or(u64::MAX))
            }
            #[cfg(test)]
            Source::Runtime(began) => {
                Coarse(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
        }
    }

    /// Waits until `at`. Cancel-safe.
    pub(crate) async fn sleep_until(&self, at: Monotonic) {
        match &self.0 {
            Source::System => tokio::time::sleep(at.since(self.now())).await,
            #[cfg(test)]
            Source::Runtime(began) => tokio::time::sleep_until(*began + at.0).await,
            Source::Manual(now) => {
                let mut moves = now.subscribe();
                // The sender lives in `self`, so waiting cannot fail.
                let _ = moves.wait_for(|now| Monotonic(*now) >= at).await;
            }
        }
    }
}
