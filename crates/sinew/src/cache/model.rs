//! What a cache promises about its entries, without I/O.

use std::time::Duration;

use super::outage::Outage;
use crate::kernel::clock::UnixMillis;
use crate::kernel::envelope::{Envelope, Nonce};
use crate::kernel::error::{Error, Result};
use crate::kernel::name::Space;
use crate::kernel::ttl::Ttl;

pub(crate) const TTL_DEFAULT: Duration = Duration::from_secs(300);
pub(crate) const JITTER_DEFAULT: f64 = 0.1;
/// How long a crashed loader can hold up the others, at most.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// How long a caller waits for another process's load before it loads for itself.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);

/// The settings of one cache.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) space: Space,
    pub(crate) ttl: Ttl,
    /// Share of the TTL by which entries may die early, 0 to 1.
    pub(crate) jitter: f64,
    pub(crate) outage: Outage,
    pub(crate) value_len_max: usize,
}

impl Policy {
    /// Puts a payload into its envelope, and says how long it is to live.
    ///
    /// # Errors
    /// `Rejected` when the value is over the limit.
    pub(crate) fn seal(
        &self,
        payload: Vec<u8>,
        ttl: Ttl,
        now: UnixMillis,
        random: f64,
    ) -> Result<(bytes::Bytes, Ttl)> {
        if payload.len() > self.value_len_max {
            return Err(Error::rejected(format!(
                "value of {} bytes is too large: expected at most {}",
                payload.len(),
                self.value_len_max
            )));
        }
        let ttl = ttl.jittered(self.jitter, random);
        let envelope = Envelope {
            nonce: Nonce::random(),
            created_at: now,
            fresh_until: UnixMillis(now.0.saturating_add(ttl.as_millis())),
            payload: &payload,
        };
        Ok((envelope.seal(), ttl))
    }
}

/// How long to wait before looking again whether another process has loaded: short at
/// first, since most loads are, then longer, never past the end of its lease.
pub(crate) fn poll_pause(round: u32, lease_left: Duration, random: f64) -> Duration {
    const FIRST: Duration = Duration::from_millis(2);
    const LAST: Duration = Duration::from_millis(50);
    let bound = FIRST.saturating_mul(1 << round.min(8)).min(LAST);
    bound.mul_f64(0.5 + 0.5 * random).min(lease_left.max(FIRST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_back_off_and_never_sleep_past_the_lease() {
        let long = Duration::from_secs(5);
        assert!(poll_pause(0, long, 1.0) <= Duration::from_millis(2));
        assert_eq!(poll_pause(30, long, 1.0), Duration::from_millis(50));
        let short = Duration::from_millis(7);
        assert_eq!(poll_pause(30, short, 1.0), short);
    }
}
