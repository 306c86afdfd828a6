//! How long data may live.

use std::time::Duration;

use super::error::{Error, Result};

/// A time to live: at least one millisecond, at most ten years.
///
/// Nothing that Sinew writes for a while is written without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(Duration);

impl Ttl {
    /// The shortest: one millisecond, Redis's own grain.
    pub const MIN: Self = Self(Duration::from_millis(1));
    /// The longest: ten years of 365 days.
    pub const MAX: Self = Self(Duration::from_secs(10 * 365 * 24 * 3600));

    /// Takes a duration within the bounds.
    ///
    /// # Errors
    /// `Rejected` when it is shorter than [`Ttl::MIN`] or longer than [`Ttl::MAX`].
    pub fn new(duration: Duration) -> Result<Self> {
        if duration < Self::MIN.0 || duration > Self::MAX.0 {
            return Err(Error::rejected(format!(
                "a TTL of {duration:?} is out of bounds: expected 1 ms to 10 years"
            )));
        }
        Ok(Self(duration))
    }

    /// The TTL as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }

    /// Whole milliseconds, as Redis takes them; never zero.
    pub(crate) fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Shortens by up to `share`, so that entries written together do not die together.
    /// Only ever shorter: a TTL is a promise of how old data may get.
    pub(crate) fn jittered(self, share: f64, random: f64) -> Self {
        Self(self.0.mul_f64(1.0 - share * random).max(Self::MIN.0))
    }
}

impl TryFrom<Duration> for Ttl {
    type Error = Error;

    fn try_from(duration: Duration) -> Result<Self> {
        Self::new(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        assert!(Ttl::new(Duration::ZERO).is_err());
        assert!(Ttl::new(Duration::from_micros(999)).is_err());
        assert!(Ttl::new(Ttl::MIN.duration()).is_ok());
        assert!(Ttl::new(Ttl::MAX.duration()).is_ok());
        assert!(Ttl::new(Ttl::MAX.duration() + Duration::from_nanos(1)).is_err());
    }

    #[test]
    fn jitter_only_shortens_and_by_no_more_than_its_share() {
        let ttl = Ttl::new(Duration::from_secs(100)).unwrap();
        assert_eq!(ttl.jittered(0.1, 0.0), ttl);
        assert_eq!(ttl.jittered(0.1, 1.0).duration(), Duration::from_secs(90));
        assert_eq!(Ttl::MIN.jittered(1.0, 1.0), Ttl::MIN);
    }
}
