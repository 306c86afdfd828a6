//! What a cache promises about its entries, without I/O.

use std::time::Duration;

use super::outage::Outage;
use crate::kernel::clock::UnixMillis;
use crate::kernel::envelope::Life;
use crate::kernel::name::Space;
use crate::kernel::ttl::Ttl;

pub(crate) const TTL_DEFAULT: Duration = Duration::from_secs(300);
pub(crate) const JITTER_DEFAULT: f64 = 0.1;
/// How long a crashed loader can hold up the others, at most.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// How long a caller waits for another process's load before it loads for itself.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);
/// A source that failed to refresh an entry is left alone for so long.
pub(crate) const REFRESH_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The settings of one cache.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) space: Space,
    pub(crate) ttl: Ttl,
    /// Share of the TTL by which entries may die early, 0 to 1.
    pub(crate) jitter: f64,
    pub(crate) freshness: Freshness,
    /// How long a caller waits for a load while it could be given a stale value.
    pub(crate) soft_timeout: Option<Duration>,
    /// How long a caller waits for a load at all.
    pub(crate) hard_timeout: Option<Duration>,
    /// How long it is remembered that the source has no such thing.
    pub(crate) absent_ttl: Option<Ttl>,
    pub(crate) tagged: bool,
    pub(crate) outage: Outage,
}

/// How old an entry may be, and for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Freshness {
    /// Share of its life after which an entry is refreshed in the background.
    pub(crate) refresh_ahead: Option<f64>,
    /// XFetch's beta: the more an entry costs to load, the earlier it is refreshed, at random.
    pub(crate) early: Option<f64>,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    /// Nothing older is taken.
    pub(crate) within: Option<Duration>,
}

/// What to do with an entry that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Serve,
    /// Serve it, and load a newer one in the background.
    ServeAndRefresh,
    /// The same with an entry that is fresh no more.
    ServeStaleAndRefresh,
    /// Load; should that fail or take too long, it can be served.
    LoadOrServeStale,
    Load,
}

impl Freshness {
    /// How long an entry stays in the store after it was fresh.
    pub(crate) fn kept_for(&self) -> Duration {
        self.stale_while_revalidate.max(self.stale_if_error)
    }

    /// `random` is drawn evenly between 0 and 1.
    pub(crate) fn decide(&self, life: &Life, now: UnixMillis, random: f64) -> Decision {
        let too_old = self.within.is_some_and(|within| since(now, life.created_at) > within);
        let left = since(life.fresh_until, now);
        // One that is not kept dies in the store, by the store's clock: where the writer's and the
        // reader's differ, that one counts.
        let is_fresh = !life.expired && (!life.kept || left > Duration::ZERO);
        if is_fresh && !too_old {
            return match self.is_due(life, now, random) {
                true => Decision::ServeAndRefresh,
                false => Decision::Serve,
            };
        }
        let past = since(now, life.fresh_until);
        // What was expired by hand is known to be out of date, and only better than nothing.
        let revalidates = !self.stale_while_revalidate.is_zero();
        if !life.expired && !too_old && revalidates && past <= self.stale_while_revalidate {
            return Decision::ServeStaleAndRefresh;
        }
        match past <= self.stale_if_error && !self.stale_if_error.is_zero() {
            true => Decision::LoadOrServeStale,
            false => Decision::Load,
        }
    }

    /// How long until a fresh entry is to be refreshed; for ever, where it is not.
    pub(crate) fn due_in(&self, life: &Life, now: UnixMillis, random: f64) -> Duration {
        let (age, whole) = (since(now, life.created_at), since(life.fresh_until, life.created_at));
        let ahead = self.refresh_ahead.map(|share| whole.mul_f64(share).saturating_sub(age));
        let left = since(life.fresh_until, now);
        let early = self.early.map(|beta| left.saturating_sub(early(life, beta, random)));
        ahead.into_iter().chain(early).min().unwrap_or(Duration::MAX)
    }

    /// Whether a fresh entry is to be refreshed already.
    fn is_due(&self, life: &Life, now: UnixMillis, random: f64) -> bool {
        self.due_in(life, now, random).is_zero()
    }
}

/// How long before the end of its freshness an entry is refreshed this time: Vattani, Chierichetti
/// and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015.
fn early(life: &Life, beta: f64, random: f64) -> Duration {
    let cost = f64::from(life.load_ms) / 1_000.0;
    // Never the logarithm of zero.
    let seconds = cost * beta * -(random.max(f64::MIN_POSITIVE)).ln();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Zero where `later` is the earlier one.
pub(crate) fn since(later: UnixMillis, earlier: UnixMillis) -> Duration {
    Duration::from_millis(later.0.saturating_sub(earlier.0))
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn polls_back_off_and_never_sleep_past_the_lease() {
        let long = Duration::from_secs(5);
        assert!(poll_pause(0, long, 1.0) <= Duration::from_millis(2));
        assert_eq!(poll_pause(30, long, 1.0), Duration::from_millis(50));
        let short = Duration::from_millis(7);
        assert_eq!(poll_pause(30, short, 1.0), short);
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Created at 1,000 s, fresh for 100 s.
    fn life() -> Life {
        Life {
            created_at: UnixMillis(1_000_000),
            fresh_until: UnixMillis(1_100_000),
            load_ms: 2_000,
            kept: true,
            expired: false,
        }
    }

    fn at(seconds: u64) -> UnixMillis {
        UnixMillis(seconds * 1_000)
    }

    fn freshness() -> Freshness {
        Freshness {
            refresh_ahead: Some(0.8),
            stale_while_revalidate: 10 * SECOND,
            stale_if_error: 60 * SECOND,
            ..Freshness::default()
        }
    }

    #[test]
    fn an_entry_goes_through_its_ages() {
        for (seconds, decision) in [
            (1_000, Decision::Serve),
            (1_079, Decision::Serve),
            (1_080, Decision::ServeAndRefresh),
            (1_099, Decision::ServeAndRefresh),
            (1_100, Decision::ServeStaleAndRefresh),
            (1_110, Decision::ServeStaleAndRefresh),
            (1_111, Decision::LoadOrServeStale),
            (1_160, Decision::LoadOrServeStale),
            (1_161, Decision::Load),
        ] {
            assert_eq!(freshness().decide(&life(), at(seconds), 0.5), decision, "{seconds}");
        }
    }

    #[test]
    fn what_was_expired_by_hand_is_only_better_than_nothing() {
        let expired = Life { expired: true, fresh_until: UnixMillis(1_050_000), ..life() };
        assert_eq!(freshness().decide(&expired, at(1_051), 0.5), Decision::LoadOrServeStale);
        assert_eq!(Freshness::default().decide(&expired, at(1_050), 0.5), Decision::Load);
    }

    #[test]
    fn a_caller_that_wants_it_fresher_gets_it_fresher() {
        let picky = Freshness { within: Some(5 * SECOND), ..freshness() };
        assert_eq!(picky.decide(&life(), at(1_005), 0.5), Decision::Serve);
        assert_eq!(picky.decide(&life(), at(1_006), 0.5), Decision::LoadOrServeStale);
        let strict = Freshness { within: Some(5 * SECOND), ..Freshness::default() };
        assert_eq!(strict.decide(&life(), at(1_006), 0.5), Decision::Load);
    }

    #[test]
    fn dear_entries_are_refreshed_early_and_at_random() {
        let early = Freshness { early: Some(1.0), ..Freshness::default() };
        // A load of 2 s, and -ln(0.5) of it: 1.39 s before the end.
        assert_eq!(early.decide(&life(), at(1_098), 0.5), Decision::Serve);
        assert_eq!(early.decide(&life(), at(1_099), 0.5), Decision::ServeAndRefresh);
        assert_eq!(early.decide(&life(), at(1_090), 0.000_1), Decision::ServeAndRefresh);
        assert_eq!(early.decide(&life(), at(1_000), 0.0), Decision::ServeAndRefresh, "infinitely");
    }

    prop_compose! {
        fn any_life()(created in 0..500u64, fresh in 0..500u64, load_ms in 0..5_000u32, kept: bool, expired: bool) -> Life {
            Life { created_at: at(created), fresh_until: at(created + fresh), load_ms, kept, expired }
        }
    }

    prop_compose! {
        fn any_freshness()(
            refresh_ahead in prop::option::of(0.0..1.0f64), early in prop::option::of(0.0..3.0f64),
            revalidate in 0..300u64, error in 0..300u64, within in prop::option::of(0..300u64),
        ) -> Freshness {
            Freshness {
                refresh_ahead,
                early,
                stale_while_revalidate: Duration::from_secs(revalidate),
                stale_if_error: Duration::from_secs(error),
                within: within.map(Duration::from_secs),
            }
        }
    }

    proptest! {
        /// An entry that grows older is never treated as a fresher one.
        #[test]
        fn age_never_makes_an_entry_better(
            life in any_life(), freshness in any_freshness(), now in 0..1_500u64, later in 0..500u64, random in 0.0..1.0f64,
        ) {
            let rank = |decision| match decision {
                Decision::Serve => 0,
                Decision::ServeAndRefresh => 1,
                Decision::ServeStaleAndRefresh => 2,
                Decision::LoadOrServeStale => 3,
                Decision::Load => 4,
            };
            let decide = |now| rank(freshness.decide(&life, at(now), random));
            prop_assert!(decide(now) <= decide(now + later));
        }

        #[test]
        fn no_one_is_served_what_is_older_than_asked_for_or_kept_too_long(
            life in any_life(), freshness in any_freshness(), now in 0..1_500u64, random in 0.0..1.0f64,
        ) {
            let decision = freshness.decide(&life, at(now), random);
            let is_served = !matches!(decision, Decision::Load | Decision::LoadOrServeStale);
            if let (true, Some(within)) = (is_served, freshness.within) {
                prop_assert!(since(at(now), life.created_at) <= within);
            }
            if decision == Decision::ServeStaleAndRefresh {
                prop_assert!(!life.expired && since(at(now), life.fresh_until) <= freshness.stale_while_revalidate);
            }
            if decision == Decision::LoadOrServeStale {
                prop_assert!(since(at(now), life.fresh_until) <= freshness.stale_if_error);
            }
            if freshness == Freshness::default() && !life.expired && !life.kept {
                prop_assert_eq!(decision, Decision::Serve);
            }
        }
    }
}
