//! Rest for what is woken in vain.

use std::time::Duration;

use tokio::time::Instant;

/// How often in a row a lane may look in vain at once.
const VAIN_MAX: u32 = 4;
const REST_MAX: Duration = Duration::from_secs(1);

/// Looks that found nothing although there was said to be something. What wakes a lane for nothing, again and again, is not
/// to keep it and the store busy.
#[derive(Default)]
pub(super) struct Vain {
    count: u32,
    until: Option<Instant>,
}

impl Vain {
    /// It looked because it was told to, and found nothing.
    pub(super) fn looked(&mut self) {
        let now = Instant::now();
        let is_long_ago = self.until.is_none_or(|until| now > until + Duration::from_millis(100));
        self.count = if is_long_ago { 1 } else { self.count.saturating_add(1) };
        let exponent = self.count.saturating_sub(VAIN_MAX);
        let rest = match exponent {
            0 => Duration::ZERO,
            _ => Duration::from_millis(1_u64 << exponent.min(10)).min(REST_MAX),
        };
        self.until = Some(now + rest);
    }

    pub(super) fn found(&mut self) {
        *self = Self::default();
    }

    /// How long it is to rest yet.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_woken_for_nothing_comes_to_rest_and_forgets_it() {
        let mut vain = Vain::default();
        for _ in 0..VAIN_MAX {
            vain.looked();
            assert_eq!(vain.left(), None);
        }
        vain.looked();
        assert!(vain.left().is_some());
        for _ in 0..40 {
            vain.looked();
        }
        assert_eq!(vain.left(), Some(REST_MAX));
        tokio::time::sleep(REST_MAX + Duration::from_millis(101)).await;
        assert_eq!(vain.left(), None);
        vain.looked();
        assert_eq!(vain.left(), None, "it was long ago");
    }
}
